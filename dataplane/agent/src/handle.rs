//! What each message of a controller does.

mod asynchronous;
pub(crate) mod bundle;
pub(crate) mod controllers;
pub(crate) mod ct;
pub(crate) mod fast;
mod features;
pub(crate) mod multipart;
mod queues;
mod resume;
mod role;
pub(crate) mod stream;
pub(crate) mod table;
mod tlv;

use std::rc::Rc;

use conntrack::Filter;
use net::PortNo;
use openflow::error::*;
use openflow::model::NO_BUFFER;
use openflow::msg::{
    CAP_BUNDLES, CAP_FLOW_MONITORING, CAP_FLOW_STATS, CAP_GROUP_STATS, CAP_PORT_STATS,
    CAP_QUEUE_STATS, CAP_TABLE_STATS, MultipartRequest, NICIRA, ONF, PacketOut, PortMod,
    RequestBody, Role, SLUICE, SwitchConfig, SwitchFeatures,
};
use openflow::{Message, Version};
use tables::{Change, TABLES};

use crate::monitors::{self, Origin};
use crate::ports::CONFIG_BITS;
use crate::refusal::of_error;
use crate::session::Session;
use crate::{Switch, limits, notices};

/// Shortest packet that can be sent: an Ethernet header.
const SHORTEST_PACKET: usize = 14;

/// Fragments are handled as other packets (OFPC_FRAG_NORMAL).
const FRAG_NORMAL: u16 = 0;
/// Fragments are dropped (OFPC_FRAG_DROP).
const FRAG_DROP: u16 = 1;
/// First fragments are matched with their ports (Open vSwitch's OFPC_FRAG_NX_MATCH): always so.
const FRAG_NX_MATCH: u16 = 3;

/// Handles one message; an error is sent by the caller.
pub(crate) async fn message(
    switch: &Rc<Switch>,
    session: &Rc<Session>,
    xid: u32,
    frame: &[u8],
    message: Message,
) -> Result<(), OfError> {
    use Message as M;
    let version = session.version.get().unwrap_or(Version::V1_3);
    message.unsupported()?;
    if session.role.get() == Role::Slave && changes_the_switch(&message) {
        return Err(OFPBRC_IS_SLAVE);
    }
    match message {
        M::Hello(_) | M::EchoReply(_) => {}
        M::Error(error) => {
            tracing::debug!(peer = %session.peer, "sent an error: {}", error.error);
        }
        M::EchoRequest(data) => session.reply(xid, &M::EchoReply(data)),
        M::FeaturesRequest => {
            session.reply(xid, &M::FeaturesReply(switch_features(switch, version)))
        }
        M::GetConfigRequest => {
            let config = SwitchConfig {
                flags: switch.frag_flags.get(),
                miss_send_len: session.miss_send_len.get(),
            };
            session.reply(xid, &M::GetConfigReply(config));
        }
        M::SetConfig(config) => set_config(switch, session, config)?,
        M::BarrierRequest => {
            switch.barrier().await;
            session.reply(xid, &M::BarrierReply);
        }
        M::PacketOut(request) => packet_out(switch, request)?,
        M::PortMod(request) => {
            check_port_mod(switch, &request)?;
            port_mod(switch, request);
        }
        M::TableMod(request) => {
            table::modify(switch, version, &request)?;
            switch.tell_vacancy();
        }
        M::FlowMod(_) | M::GroupMod(_) | M::MeterMod(_) => {
            let mut changes = modify(switch, &message)?;
            switch.note(Some(Origin::new(session, xid)), &mut changes);
            if let M::FlowMod(request) = &message {
                fast::learn(switch, version, frame, request);
            }
            notices::forward_request(switch, session, xid, &message);
        }
        M::MultipartRequest(request) => {
            multipart::answer(switch, session, xid, request).await?;
        }
        M::QueueGetConfigRequest(port) => {
            let queues = queues::config(switch, port, u32::MAX)?;
            session.reply(xid, &M::QueueGetConfigReply { port, queues });
        }
        M::RoleRequest(request) => {
            let reply = role::request(switch, session, request)?;
            switch.review_wishes();
            session.reply(xid, &M::RoleReply(reply));
        }
        M::GetAsyncRequest => session.reply(xid, &M::GetAsyncReply(session.wants.get().into())),
        M::SetAsync(settings) => {
            let wants = asynchronous::applied(session.wants.get(), version, &settings)?;
            session.wants.set(wants);
            switch.review_wishes();
        }
        M::BundleControl(control) => bundle::control(switch, session, xid, frame, control)?,
        M::BundleAdd(add) => bundle::add(switch, session, frame, add)?,
        M::SetPacketInFormat(format) => session.packet_in_format.set(format),
        M::SetControllerId(id) => session.controller_id.set(id),
        M::CtFlushZone(zone) => {
            let zone = Some(zone);
            ct::flush(
                switch,
                &Filter {
                    zone,
                    ..Filter::default()
                },
            );
        }
        M::CtFlush(request) => ct::flush(switch, &ct::filter(&request)),
        M::HttpAnswers(answers) => switch.answers.borrow_mut().update(answers),
        M::ZoneLimits(zones) => limits::set_zones(switch, &zones),
        M::ZoneLimitsRequest => {
            let zones = switch.limits.borrow().zones();
            session.reply(xid, &M::ZoneLimits(zones));
        }
        M::Impairments(impairments) => limits::set_impairments(switch, &impairments)?,
        M::ImpairmentsRequest => {
            let impairments = switch.limits.borrow().impairments();
            session.reply(xid, &M::Impairments(impairments));
        }
        M::CookieLabels(labels) => switch.labels.borrow_mut().update(labels),
        M::TlvTableMod(request) => tlv::modify(switch, &request)?,
        M::TlvTableRequest => {
            let table = tlv::table(&switch.tunnel_options.get());
            session.reply(xid, &M::TlvTableReply(table));
        }
        // Ages are in every reply that has a place for them.
        M::NxtFlowAge => {}
        M::NxtRoleRequest(request) => {
            role::assume(switch, session, request);
            switch.review_wishes();
            session.reply(xid, &M::NxtRoleReply(session.role.get()));
        }
        M::FlowMonitorCancel(id) => {
            let ended = session.monitors.cancel(id);
            monitors::review(switch);
            ended?;
        }
        M::Resume(request) => resume::resume(switch, request)?,
        M::Experimenter { experimenter, .. } => {
            return Err(unknown(experimenter));
        }
        // What only a switch sends.
        M::FeaturesReply(_)
        | M::GetConfigReply(_)
        | M::PacketIn(_)
        | M::FlowRemoved(_)
        | M::PortStatus(_)
        | M::MultipartReply(_)
        | M::BarrierReply
        | M::QueueGetConfigReply { .. }
        | M::RoleReply(_)
        | M::GetAsyncReply(_)
        | M::RoleStatus(_)
        | M::TableStatus(_)
        | M::RequestForward(_)
        | M::ControllerStatus(_)
        | M::NxtRoleReply(_)
        | M::NxtPacketIn(_)
        | M::NxtFlowRemoved(_)
        | M::TlvTableReply(_)
        | M::FlowMonitorPaused
        | M::FlowMonitorResumed
        | M::PacketIn2(_) => return Err(OFPBRC_BAD_TYPE),
    }
    Ok(())
}

/// The error for an experimenter's message that nobody here knows.
fn unknown(experimenter: u32) -> OfError {
    match experimenter {
        NICIRA | ONF | SLUICE => OFPBRC_BAD_EXP_TYPE,
        _ => OFPBRC_BAD_EXPERIMENTER,
    }
}

/// What a slave may not do (OpenFlow 1.3.5, 6.3.4).
fn changes_the_switch(message: &Message) -> bool {
    use Message as M;
    let sets_features = |request: &MultipartRequest| match &request.body {
        RequestBody::TableFeatures(wanted) => !wanted.is_empty(),
        _ => false,
    };
    if matches!(message, M::MultipartRequest(request) if sets_features(request)) {
        return true;
    }
    matches!(
        message,
        M::PacketOut(_)
            | M::FlowMod(_)
            | M::GroupMod(_)
            | M::MeterMod(_)
            | M::PortMod(_)
            | M::TableMod(_)
            | M::BundleControl(_)
            | M::BundleAdd(_)
            | M::CtFlushZone(_)
            | M::CtFlush(_)
            | M::TlvTableMod(_)
            | M::CookieLabels(_)
            | M::HttpAnswers(_)
            | M::ZoneLimits(_)
            | M::Impairments(_)
    )
}

fn switch_features(switch: &Switch, version: Version) -> SwitchFeatures {
    SwitchFeatures {
        datapath_id: switch.identity.dpid,
        n_buffers: 0,
        n_tables: TABLES,
        auxiliary_id: 0,
        capabilities: CAP_FLOW_STATS
            | CAP_TABLE_STATS
            | CAP_PORT_STATS
            | CAP_GROUP_STATS
            | CAP_QUEUE_STATS
            | match version {
                Version::V1_3 => 0,
                _ => CAP_BUNDLES | CAP_FLOW_MONITORING,
            },
    }
}

fn set_config(switch: &Switch, session: &Session, config: SwitchConfig) -> Result<(), OfError> {
    // Fragments are looked at as they come, or dropped; they are not put together.
    if !matches!(config.flags, FRAG_NORMAL | FRAG_DROP | FRAG_NX_MATCH) {
        return Err(OFPSCFC_BAD_FLAGS);
    }
    // A slave says how much of a packet it wants, and nothing for the switch as a whole.
    if session.role.get() != Role::Slave {
        switch.frag_flags.set(config.flags);
        switch.engine.drop_fragments(config.flags == FRAG_DROP);
    }
    session.miss_send_len.set(config.miss_send_len);
    Ok(())
}

/// Applies a modification of flows, groups or meters.
fn modify(switch: &Switch, message: &Message) -> Result<Vec<Change>, OfError> {
    let now = switch.engine.now();
    let mut tables = switch.tables.borrow_mut();
    let done = match message {
        Message::FlowMod(request) => {
            if request.buffer_id != NO_BUFFER {
                return Err(OFPBRC_BUFFER_UNKNOWN);
            }
            features::check_flow(&request.matching, &request.instructions)?;
            let options = switch.tunnel_options.get();
            tlv::check_flow(&options, &request.matching, &request.instructions)?;
            tables.flow_mod(request, now)
        }
        Message::GroupMod(request) => {
            for bucket in &request.buckets {
                features::check_actions(&bucket.actions, false)?;
                tlv::check_actions(&switch.tunnel_options.get(), &bucket.actions)?;
            }
            tables.group_mod(request, now)
        }
        Message::MeterMod(request) => tables.meter_mod(request, now),
        _ => return Err(OFPBRC_BAD_TYPE),
    };
    done.map_err(|refused| {
        tracing::debug!("modification refused: {refused}");
        of_error(refused)
    })
}

fn packet_out(switch: &Switch, request: PacketOut) -> Result<(), OfError> {
    check_packet_out(switch, &request)?;
    // It must see every modification before it.
    switch.publish();
    switch.engine.packet_out(worker::PacketOut {
        in_port: request.in_port,
        actions: request.actions,
        data: request.data,
        fields: request.matching,
    });
    Ok(())
}

fn check_packet_out(switch: &Switch, request: &PacketOut) -> Result<(), OfError> {
    if request.buffer_id != NO_BUFFER {
        return Err(OFPBRC_BUFFER_UNKNOWN);
    }
    let from = request.in_port;
    let reserved = matches!(from, PortNo::CONTROLLER | PortNo::LOCAL | PortNo::ANY);
    // 0 is no port, but controllers send it where they mean none.
    if !reserved && from.0 != 0 && !from.is_ordinary() {
        return Err(OFPBRC_BAD_PORT);
    }
    // Without actions there is nothing to send, however short it is.
    if request.data.len() < SHORTEST_PACKET && !request.actions.is_empty() {
        return Err(OFPBRC_BAD_PACKET);
    }
    features::check_actions(&request.actions, true)?;
    tlv::check_actions(&switch.tunnel_options.get(), &request.actions)?;
    let tables = switch.tables.borrow();
    tables.check_actions(&request.actions).map_err(of_error)
}

fn check_port_mod(switch: &Switch, request: &PortMod) -> Result<(), OfError> {
    let ports = switch.ports.borrow();
    let port = ports.get(request.port).ok_or(OFPPMFC_BAD_PORT)?;
    if port.state.mac != request.hw_addr {
        return Err(OFPPMFC_BAD_HW_ADDR);
    }
    if request.mask & !CONFIG_BITS != 0 {
        return Err(OFPPMFC_BAD_CONFIG);
    }
    if request.advertise != 0 {
        return Err(OFPPMFC_BAD_ADVERTISE);
    }
    Ok(())
}

fn port_mod(switch: &Switch, request: PortMod) {
    // Opening a port must not overtake the flows sent before.
    switch.publish();
    switch.configure_port(request.port, request.config, request.mask);
}
