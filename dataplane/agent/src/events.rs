//! Messages nobody asked for: to each connection that wants them, by role and configuration.

use std::rc::Rc;

use net::MeterId;
use openflow::msg::{
    AsyncKind, Continuation, FlowRemoved, PacketIn, PacketIn2, PacketInFormat, PacketInReason,
    PortReason, RemovedReason as WireReason, Role,
};
use openflow::{Field, Match, Message, Version};
use tables::{RemovedReason, Rule, Verdict};

use crate::Switch;
use crate::handle::multipart::flow_stats;
use crate::pacer::Packet;
use crate::session::Session;

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
    for session in wanting(switch, AsyncKind::PortStatus, |_| reason as u32) {
        offer(&session, message);
    }
}

/// Tells of a flow that is gone. The workers have given up their counts of it.
pub(crate) fn flow_removed(switch: &Switch, rule: &Rule, reason: RemovedReason) {
    let reason = removed_reason(reason);
    let by_version = |version| known_reason(version, reason);
    let sessions = wanting(switch, AsyncKind::FlowRemoved, |v| by_version(v) as u32);
    if sessions.is_empty() {
        return;
    }
    let stats = flow_stats(rule, switch.engine.now());
    for session in sessions {
        let message = Message::FlowRemoved(FlowRemoved {
            cookie: stats.cookie,
            priority: stats.priority,
            reason: session.version.get().map_or(reason, by_version),
            table: stats.table,
            duration_sec: stats.duration_sec,
            duration_nsec: stats.duration_nsec,
            idle_timeout: stats.idle_timeout,
            hard_timeout: stats.hard_timeout,
            packet_count: stats.packet_count,
            byte_count: stats.byte_count,
            matching: stats.matching.clone(),
            more: stats.more.clone(),
        });
        offer(&session, &message);
    }
}

/// The protocol's word for why a flow went.
pub(crate) fn removed_reason(reason: RemovedReason) -> WireReason {
    match reason {
        RemovedReason::IdleTimeout => WireReason::IdleTimeout,
        RemovedReason::HardTimeout => WireReason::HardTimeout,
        RemovedReason::Delete => WireReason::Delete,
        RemovedReason::GroupDelete => WireReason::GroupDelete,
        RemovedReason::MeterDelete => WireReason::MeterDelete,
        RemovedReason::Eviction => WireReason::Eviction,
    }
}

/// 1.3 has no words of its own for meters and for eviction.
fn known_reason(version: Version, reason: WireReason) -> WireReason {
    match reason {
        WireReason::MeterDelete | WireReason::Eviction if version < Version::V1_4 => {
            WireReason::Delete
        }
        reason => reason,
    }
}

/// Hands a packet to the controllers: at once, or when its turn comes ([`release_packets`]).
pub(crate) fn packet_in(switch: &Switch, packet: &Packet) {
    let sessions = wanting(switch, AsyncKind::PacketIn, |v| reason_of(v, packet) as u32);
    let now = switch.engine.now();
    if sessions.is_empty() || is_metered_away(switch, packet, now) {
        return;
    }
    for session in sessions {
        if session.controller_id.get() == packet.controller_id
            && session.pacer.borrow_mut().admit(packet, now)
        {
            send_packet(switch, &session, packet);
        }
    }
}

/// True if the meter of packets to controllers drops this one (OFPM_CONTROLLER; OpenFlow 1.3.5,
/// A.3.4.4).
fn is_metered_away(switch: &Switch, packet: &worker::PacketIn, now: u64) -> bool {
    let tables = switch.tables.borrow();
    let meter = tables.pipeline().meter(MeterId::CONTROLLER);
    let verdict = meter.map(|meter| meter.charge(usize::MAX, now, 1, packet.total_len as u64));
    verdict == Some(Verdict::Drop)
}

/// Sends the packets whose turn has come; true if others still wait.
pub(crate) fn release_packets(switch: &Switch) -> bool {
    let waiting = |session: &&Rc<Session>| session.pacer.borrow().waiting() > 0;
    let sessions: Vec<_> = {
        let sessions = switch.sessions.borrow();
        sessions.values().filter(waiting).cloned().collect()
    };
    let now = switch.engine.now();
    for session in &sessions {
        let due = session.pacer.borrow_mut().due(now);
        due.iter()
            .for_each(|packet| send_packet(switch, session, packet));
    }
    sessions.iter().any(|session| waiting(&session))
}

/// 1.3 has three reasons; whatever is newer is an action's there.
fn reason_of(version: Version, packet: &worker::PacketIn) -> PacketInReason {
    match PacketInReason::from_wire(packet.reason) {
        Some(reason @ (PacketInReason::NoMatch | PacketInReason::InvalidTtl)) => reason,
        Some(reason) if version >= Version::V1_4 => reason,
        _ => PacketInReason::Action,
    }
}

fn send_packet(switch: &Switch, session: &Session, packet: &worker::PacketIn) {
    let Some(version) = session.version.get() else {
        return;
    };
    let reason = reason_of(version, packet);
    let matching = pipeline_fields(packet);
    // No action has said how much of it is wanted.
    let most = match reason {
        PacketInReason::InvalidTtl => usize::from(session.miss_send_len.get()),
        _ => usize::MAX,
    };
    let data: Vec<u8> = packet.data.iter().take(most).copied().collect();
    let message = match session.packet_in_format.get() {
        format @ (PacketInFormat::Standard | PacketInFormat::Nxt) => {
            let packet_in = PacketIn {
                buffer_id: openflow::model::NO_BUFFER,
                total_len: u16::try_from(packet.total_len).unwrap_or(u16::MAX),
                reason,
                table: packet.table,
                cookie: packet.cookie,
                matching,
                data,
            };
            match format {
                PacketInFormat::Nxt => Message::NxtPacketIn(packet_in),
                _ => Message::PacketIn(packet_in),
            }
        }
        PacketInFormat::Nxt2 => Message::PacketIn2(PacketIn2 {
            full_len: (packet.total_len != data.len()).then_some(packet.total_len as u32),
            data,
            buffer_id: None,
            table: Some(packet.table),
            cookie: (packet.cookie != u64::MAX).then_some(packet.cookie),
            reason: Some(reason),
            matching,
            userdata: packet.userdata.to_vec(),
            continuation: packet.rest.as_deref().map(|rest| Continuation {
                bridge: switch.instance,
                ..rest.clone()
            }),
        }),
    };
    offer(session, &message);
}

/// True if some controller wants packets whose time to live ran out.
pub(crate) fn invalid_ttl_wanted(switch: &Switch) -> bool {
    let reason = PacketInReason::InvalidTtl as u32;
    !wanting(switch, AsyncKind::PacketIn, |_| reason).is_empty()
}

fn pipeline_fields(packet: &worker::PacketIn) -> Match {
    let mut matching = Match::any().with(Field::InPort, packet.key.in_port.get());
    let physical = packet.key.in_phy_port;
    if physical.get() != 0 && physical != packet.key.in_port {
        matching.set(Field::InPhyPort, physical.get().into(), u32::MAX.into());
    }
    for field in Field::ALL {
        let there = |bit| packet.key.tun_present & bit != 0;
        if field.presence().is_some_and(there) {
            let slot = field.info().slot;
            matching.set(*field, slot.get(&packet.key), slot.ones());
        }
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

/// True for a field that a packet has besides its headers, and that a packet-in tells.
pub(crate) fn is_pipeline_field(field: Field) -> bool {
    field == Field::InPhyPort || PIPELINE_FIELDS.contains(&field)
}

/// Connections that want a message of a kind, for its reason in their version.
pub(crate) fn wanting(
    switch: &Switch,
    kind: AsyncKind,
    reason: impl Fn(Version) -> u32,
) -> Vec<Rc<Session>> {
    let sessions = switch.sessions.borrow();
    let wants = |session: &&Rc<Session>| {
        let masks = session.wants.get().masks(kind);
        let mask = match session.role.get() {
            Role::Slave => masks.slave,
            _ => masks.master,
        };
        let version = session.version.get().filter(|_| session.hears());
        version.is_some_and(|v| mask.checked_shr(reason(v)).is_some_and(|m| m & 1 == 1))
    };
    sessions.values().filter(wants).cloned().collect()
}

pub(crate) fn offer(session: &Session, message: &Message) {
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
