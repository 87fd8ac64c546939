//! Packets to and from the controller, and flows that went.

use net::{PortNo, TableId};

use super::{Continuation, MoreStats};
use crate::model::NO_BUFFER;
use crate::{Action, Match};

/// Why a packet went to the controller (OFPR_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the specification's own names
pub enum PacketInReason {
    NoMatch = 0,
    Action = 1,
    InvalidTtl = 2,
    /// 1.4.
    ActionSet = 3,
    /// 1.4.
    Group = 4,
    /// 1.4.
    PacketOut = 5,
}

impl PacketInReason {
    /// From its number.
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::NoMatch,
            1 => Self::Action,
            2 => Self::InvalidTtl,
            3 => Self::ActionSet,
            4 => Self::Group,
            5 => Self::PacketOut,
            _ => return None,
        })
    }
}

/// OFPT_PACKET_IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketIn {
    /// Packet kept at the switch; [`NO_BUFFER`] otherwise.
    pub buffer_id: u32,
    /// Length of the packet, bytes.
    pub total_len: u16,
    /// Why.
    pub reason: PacketInReason,
    /// Table of the flow.
    pub table: TableId,
    /// Cookie of the flow; all ones where there is none.
    pub cookie: u64,
    /// in_port, metadata, registers, tunnel fields.
    pub matching: Match,
    /// The packet, or its beginning.
    pub data: Vec<u8>,
}

/// NXT_PACKET_IN2 and NXT_RESUME: a packet-in made of properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketIn2 {
    /// The packet, or its beginning.
    pub data: Vec<u8>,
    /// Length of the packet, bytes; none: that of `data`.
    pub full_len: Option<u32>,
    /// Packet kept at the switch.
    pub buffer_id: Option<u32>,
    /// Table of the flow.
    pub table: Option<TableId>,
    /// Cookie of the flow.
    pub cookie: Option<u64>,
    /// Why.
    pub reason: Option<PacketInReason>,
    /// in_port, metadata, registers, tunnel fields.
    pub matching: Match,
    /// From the controller action.
    pub userdata: Vec<u8>,
    /// What the switch needs to go on, where the packet is paused.
    pub continuation: Option<Continuation>,
}

/// NXT_SET_PACKET_IN_FORMAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum PacketInFormat {
    /// OFPT_PACKET_IN.
    Standard = 0,
    /// NXT_PACKET_IN ([`super::Message::NxtPacketIn`]).
    Nxt = 1,
    /// NXT_PACKET_IN2.
    Nxt2 = 2,
}

/// OFPT_PACKET_OUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketOut {
    /// Packet kept at the switch; [`NO_BUFFER`]: it is in `data`.
    pub buffer_id: u32,
    /// Where it shall seem to have come from.
    pub in_port: PortNo,
    /// What to do with it.
    pub actions: Vec<Action>,
    /// The packet.
    pub data: Vec<u8>,
    /// Pipeline fields to begin with (1.5); `in_port` is not in it.
    pub matching: Match,
}

impl PacketOut {
    /// Sends a packet as if from the controller.
    pub fn new(actions: Vec<Action>, data: Vec<u8>) -> Self {
        PacketOut {
            buffer_id: NO_BUFFER,
            in_port: PortNo::CONTROLLER,
            actions,
            data,
            matching: Match::any(),
        }
    }
}

/// Why a flow went (OFPRR_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the specification's own names
pub enum RemovedReason {
    IdleTimeout = 0,
    HardTimeout = 1,
    Delete = 2,
    GroupDelete = 3,
    /// 1.4.
    MeterDelete = 4,
    /// 1.4.
    Eviction = 5,
}

impl RemovedReason {
    /// From its number.
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::IdleTimeout,
            1 => Self::HardTimeout,
            2 => Self::Delete,
            3 => Self::GroupDelete,
            4 => Self::MeterDelete,
            5 => Self::Eviction,
            _ => return None,
        })
    }
}

/// OFPT_FLOW_REMOVED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRemoved {
    /// Its cookie.
    pub cookie: u64,
    /// Its priority.
    pub priority: u16,
    /// Why.
    pub reason: RemovedReason,
    /// Its table.
    pub table: TableId,
    /// Its age, whole seconds; all ones: not known.
    pub duration_sec: u32,
    /// Its age, nanoseconds beyond that.
    pub duration_nsec: u32,
    /// Seconds.
    pub idle_timeout: u16,
    /// Seconds.
    pub hard_timeout: u16,
    /// Packets; all ones: not counted.
    pub packet_count: u64,
    /// Bytes; all ones: not counted.
    pub byte_count: u64,
    /// What it matched.
    pub matching: Match,
    /// What 1.5 adds.
    pub more: MoreStats,
}
