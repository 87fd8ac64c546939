//! Messages nobody asked for: to each connection that wants them, by role and configuration.

use openflow::msg::{
    AsyncConfig, AsyncMasks, FlowRemoved, PacketIn, PacketIn2, PacketInFormat, PacketInReason,
    PortReason, RemovedReason as WireReason, Role,
};
use openflow::{Field, Match, Message};
use tables::{RemovedReason, Rule};

use crate::Switch;
use crate::session::Session;

const NANOS: u64 = 1_000_000_000;

/// Fields of a packet-in besides in_port, told when they are not zero.
const PIPELINE_FIELDS: &[Field] = &[
    Field::Metadata,
    Field::TunId,
    Field::TunSrc,
    Field::TunDst,
    Field::TunIpv6Src,
    Field::TunIpv6Dst,
    Field::PktMark,
    Field::CtState,
    Field::CtZone,
    Field::CtMark,
    Field::CtLabel,
    Field::Reg0,
    Field::Reg1,
    Field::Reg2,
    Field::Reg3,
    Field::Reg4,
    Field::Reg5,
    Field::Reg6,
    Field::Reg7,
    Field::Reg8,
    Field::Reg9,
    Field::Reg10,
    Field::Reg11,
    Field::Reg12,
    Field::Reg13,
    Field::Reg14,
    Field::Reg15,
];

/// Tells of a port.
pub(crate) fn port_status(switch: &Switch, message: &Message, reason: PortReason) {
    for session in wanting(switch, |wants| wants.port_status, reason as u32) {
        offer(&session, message);
    }
}

/// Tells of a flow that is gone. The workers have given up their counts of it.
pub(crate) fn flow_removed(switch: &Switch, rule: &Rule, reason: RemovedReason) {
    let reason = match reason {
        RemovedReason::IdleTimeout => WireReason::IdleTimeout,
        RemovedReason::HardTimeout => WireReason::HardTimeout,
        // 1.3 has no reason of its own for meters.
        RemovedReason::Delete | RemovedReason::MeterDelete | RemovedReason::Eviction => {
            WireReason::Delete
        }
        RemovedReason::GroupDelete => WireReason::GroupDelete,
    };
    let sessions = wanting(switch, |wants| wants.flow_removed, reason as u32);
    if sessions.is_empty() {
        return;
    }
    let age = switch.engine.now().saturating_sub(rule.created);
    let counters = rule.stats.counters();
    let message = Message::FlowRemoved(FlowRemoved {
        cookie: rule.cookie,
        priority: rule.priority,
        reason,
        table: rule.table,
        duration_sec: (age / NANOS) as u32,
        duration_nsec: (age % NANOS) as u32,
        idle_timeout: rule.timeouts().0,
        hard_timeout: rule.timeouts().1,
        packet_count: counters.packets,
        byte_count: counters.bytes,
        matching: rule.matching(),
        more: openflow::msg::MoreStats::default(),
    });
    for session in sessions {
        offer(&session, &message);
    }
}

/// Hands a packet to the controllers.
pub(crate) fn packet_in(switch: &Switch, packet: &worker::PacketIn) {
    // 1.3 has three reasons; whatever is newer is an action's.
    let reason = match PacketInReason::from_wire(packet.reason) {
        Some(reason @ (PacketInReason::NoMatch | PacketInReason::InvalidTtl)) => reason,
        _ => PacketInReason::Action,
    };
    let sessions = wanting(switch, |wants| wants.packet_in, reason as u32);
    let matching = pipeline_fields(packet);
    for session in sessions {
        if session.controller_id.get() != packet.controller_id {
            continue;
        }
        let message = match session.packet_in_format.get() {
            PacketInFormat::Standard | PacketInFormat::Nxt => Message::PacketIn(PacketIn {
                buffer_id: openflow::model::NO_BUFFER,
                total_len: u16::try_from(packet.total_len).unwrap_or(u16::MAX),
                reason,
                table: packet.table,
                cookie: packet.cookie,
                matching: matching.clone(),
                data: packet.data.clone(),
            }),
            PacketInFormat::Nxt2 => Message::PacketIn2(PacketIn2 {
                data: packet.data.clone(),
                full_len: (packet.total_len != packet.data.len())
                    .then_some(packet.total_len as u32),
                buffer_id: None,
                table: Some(packet.table),
                cookie: (packet.cookie != u64::MAX).then_some(packet.cookie),
                reason: Some(reason),
                matching: matching.clone(),
                userdata: packet.userdata.to_vec(),
                continuation: None,
            }),
        };
        offer(&session, &message);
    }
}

/// True if some controller wants packets whose time to live ran out.
pub(crate) fn invalid_ttl_wanted(switch: &Switch) -> bool {
    let reason = PacketInReason::InvalidTtl as u32;
    !wanting(switch, |wants| wants.packet_in, reason).is_empty()
}

fn pipeline_fields(packet: &worker::PacketIn) -> Match {
    let mut matching = Match::any().with(Field::InPort, packet.key.in_port.get());
    let physical = packet.key.in_phy_port;
    if physical.get() != 0 && physical != packet.key.in_port {
        matching.set(Field::InPhyPort, physical.get().into(), u32::MAX.into());
    }
    for field in PIPELINE_FIELDS {
        let slot = field.info().slot;
        let value = slot.get(&packet.key);
        if value != 0 {
            matching.set(*field, value, slot.ones());
        }
    }
    matching
}

fn wanting(
    switch: &Switch,
    masks: impl Fn(AsyncConfig) -> AsyncMasks,
    reason: u32,
) -> Vec<std::rc::Rc<Session>> {
    let sessions = switch.sessions.borrow();
    let wants = |session: &&std::rc::Rc<Session>| {
        let masks = masks(session.wants.get());
        let mask = match session.role.get() {
            Role::Slave => masks.slave,
            _ => masks.master,
        };
        session.version.get().is_some() && mask.checked_shr(reason).is_some_and(|m| m & 1 == 1)
    };
    sessions.values().filter(wants).cloned().collect()
}

fn offer(session: &Session, message: &Message) {
    if let Some(version) = session.version.get()
        && !session.out.offer(version, message)
        && session.out.left_out().is_power_of_two()
    {
        tracing::warn!(
            "{}: reads too slowly; {} messages were left out so far",
            session.peer,
            session.out.left_out()
        );
    }
}
