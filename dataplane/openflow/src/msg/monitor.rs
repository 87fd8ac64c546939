//! Watching the flow tables: OFPMP_FLOW_MONITOR (OpenFlow 1.5.1, 7.3.5.20), extension ONF 1870 on
//! 1.3.

use net::{GroupId, PortNo, TableId};

use super::RemovedReason;
use crate::{Instructions, Match};

/// Tell what is there already (OFPFMF_INITIAL).
pub const MONITOR_INITIAL: u16 = 1;
/// Tell of new flows (OFPFMF_ADD).
pub const MONITOR_ADD: u16 = 2;
/// Tell of flows that go (OFPFMF_REMOVED).
pub const MONITOR_REMOVED: u16 = 4;
/// Tell of changes (OFPFMF_MODIFY).
pub const MONITOR_MODIFY: u16 = 8;
/// With instructions (OFPFMF_INSTRUCTIONS).
pub const MONITOR_INSTRUCTIONS: u16 = 16;
/// The controller's own changes in full (OFPFMF_NO_ABBREV; ONFFMF_OWN on 1.3).
pub const MONITOR_NO_ABBREV: u16 = 32;
/// Nothing but the controller's own changes (OFPFMF_ONLY_OWN, 1.4).
pub const MONITOR_ONLY_OWN: u16 = 64;

/// OFPFMC_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the specification's own names
pub enum MonitorCommand {
    Add = 0,
    Modify = 1,
    Delete = 2,
}

/// What to watch. On 1.3 there is only [`MonitorCommand::Add`], without a group; it ends with
/// [`super::Message::FlowMonitorCancel`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowMonitorRequest {
    /// The controller's number for it.
    pub id: u32,
    /// Begin, change or end it.
    pub command: MonitorCommand,
    /// MONITOR_*.
    pub flags: u16,
    /// Only flows with an output there; [`PortNo::ANY`]: no restriction.
    pub out_port: PortNo,
    /// Only flows with that group; [`GroupId::ANY`]: no restriction.
    pub out_group: GroupId,
    /// Table; [`TableId::ALL`]: every one.
    pub table: TableId,
    /// Only flows at least as specific as this.
    pub matching: Match,
}

/// What happened to a flow (OFPFME_*). 1.3 says added for what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[allow(missing_docs)] // the specification's own names
pub enum FlowEvent {
    Initial = 0,
    Added = 1,
    Removed = 2,
    Modified = 3,
}

/// An entry of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowUpdate {
    /// A flow.
    Full(FlowUpdateFull),
    /// A change that this controller asked for with that transaction number.
    Abbrev(u32),
    /// The switch tells no more for want of room (native form; see
    /// [`super::Message::FlowMonitorPaused`]).
    Paused,
    /// It tells again.
    Resumed,
}

/// A flow that was there, came, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowUpdateFull {
    /// What happened.
    pub event: FlowEvent,
    /// Why, where it went.
    pub reason: Option<RemovedReason>,
    /// Its table.
    pub table: TableId,
    /// Seconds.
    pub idle_timeout: u16,
    /// Seconds.
    pub hard_timeout: u16,
    /// Its priority.
    pub priority: u16,
    /// Its cookie.
    pub cookie: u64,
    /// What it matches.
    pub matching: Match,
    /// What it does, if that was asked for.
    pub instructions: Instructions,
}
