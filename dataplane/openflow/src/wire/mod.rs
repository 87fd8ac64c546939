//! The wire form: bytes to [`Message`] and back.
//!
//! Decoding checks every length, refuses what the specification refuses with the error it names,
//! never panics, and keeps no more memory than the message is long. Encoding writes the canonical
//! form: match fields in their order, padding zero.

mod actions;
mod bundle;
mod bundled;
mod continuation;
mod controller;
mod ct;
mod encap;
mod events;
mod experimenter;
mod flow;
mod flow_reader;
mod framer;
mod group;
mod instructions;
mod learn;
mod limits;
pub(crate) mod links;
mod meter;
mod monitor;
mod multipart;
mod nicira;
mod nxt;
mod oxm;
mod oxs;
mod packet;
mod port;
mod property;
mod queue;
mod reader;
mod sample;
mod stats;
mod switch;
mod table;
mod table_features;
mod writer;

pub use bundled::BundledFlowMod;
pub use flow_reader::{FlowModReader, Piece, Read, Shape};
pub use framer::{FrameError, Framer};
pub use writer::EncodeError;

use reader::Reader;
use writer::Writer;

use crate::error::{self, OfError};
use crate::msg::FlowUpdate;
use crate::{Message, Version};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// Message types (OFPT_*) as 1.3 and later number them.
pub mod kind {
    #![allow(missing_docs)] // the specification's own names
    pub const HELLO: u8 = 0;
    pub const ERROR: u8 = 1;
    pub const ECHO_REQUEST: u8 = 2;
    pub const ECHO_REPLY: u8 = 3;
    pub const EXPERIMENTER: u8 = 4;
    pub const FEATURES_REQUEST: u8 = 5;
    pub const FEATURES_REPLY: u8 = 6;
    pub const GET_CONFIG_REQUEST: u8 = 7;
    pub const GET_CONFIG_REPLY: u8 = 8;
    pub const SET_CONFIG: u8 = 9;
    pub const PACKET_IN: u8 = 10;
    pub const FLOW_REMOVED: u8 = 11;
    pub const PORT_STATUS: u8 = 12;
    pub const PACKET_OUT: u8 = 13;
    pub const FLOW_MOD: u8 = 14;
    pub const GROUP_MOD: u8 = 15;
    pub const PORT_MOD: u8 = 16;
    pub const TABLE_MOD: u8 = 17;
    pub const MULTIPART_REQUEST: u8 = 18;
    pub const MULTIPART_REPLY: u8 = 19;
    pub const BARRIER_REQUEST: u8 = 20;
    pub const BARRIER_REPLY: u8 = 21;
    pub const QUEUE_GET_CONFIG_REQUEST: u8 = 22;
    pub const QUEUE_GET_CONFIG_REPLY: u8 = 23;
    pub const ROLE_REQUEST: u8 = 24;
    pub const ROLE_REPLY: u8 = 25;
    pub const GET_ASYNC_REQUEST: u8 = 26;
    pub const GET_ASYNC_REPLY: u8 = 27;
    pub const SET_ASYNC: u8 = 28;
    pub const METER_MOD: u8 = 29;
    pub const ROLE_STATUS: u8 = 30;
    pub const TABLE_STATUS: u8 = 31;
    pub const REQUEST_FORWARD: u8 = 32;
    pub const BUNDLE_CONTROL: u8 = 33;
    pub const BUNDLE_ADD_MESSAGE: u8 = 34;
    pub const CONTROLLER_STATUS: u8 = 35;

    use crate::Version;

    /// True for a type that the version has.
    pub fn is_in(kind: u8, version: Version) -> bool {
        match kind {
            HELLO..=PORT_MOD | TABLE_MOD..=BARRIER_REPLY | ROLE_REQUEST..=METER_MOD => true,
            QUEUE_GET_CONFIG_REQUEST | QUEUE_GET_CONFIG_REPLY => version < Version::V1_4,
            ROLE_STATUS..=BUNDLE_ADD_MESSAGE => version >= Version::V1_4,
            CONTROLLER_STATUS => version >= Version::V1_5,
            _ => false,
        }
    }
}

/// The header of a message (`ofp_header`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version byte.
    pub version: u8,
    /// OFPT_*.
    pub kind: u8,
    /// Bytes of the message, header included.
    pub length: u16,
    /// Transaction number.
    pub xid: u32,
}

impl Header {
    /// The header at the front of some bytes; none where they are too few.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let [version, kind, l0, l1, x0, x1, x2, x3] = *bytes.first_chunk::<HEADER_LEN>()?;
        Some(Header {
            version,
            kind,
            length: u16::from_be_bytes([l0, l1]),
            xid: u32::from_be_bytes([x0, x1, x2, x3]),
        })
    }
}

/// Decodes one whole message, as [`Framer`] cuts them, of the version agreed.
///
/// Hello and error messages are understood whatever version their header has, since they come
/// before there is an agreement. The transaction number is in [`Header::read`].
pub fn decode(version: Version, frame: &[u8]) -> Result<Message, OfError> {
    let header = Header::read(frame).ok_or(error::OFPBRC_BAD_LEN)?;
    if usize::from(header.length) != frame.len() {
        return Err(error::OFPBRC_BAD_LEN);
    }
    let before_agreement = matches!(header.kind, kind::HELLO | kind::ERROR);
    if header.version != version.to_wire() && !before_agreement {
        return Err(error::OFPBRC_BAD_VERSION);
    }
    let mut r = Reader::new(version, frame, error::OFPBRC_BAD_LEN);
    r.skip(HEADER_LEN)?;
    let message = decode_body(header.kind, r)?;
    match &message {
        // "The xid of the inner message must be that of the outer" (ONF extension 230).
        Message::BundleAdd(add) if add.xid != header.xid => Err(error::OFPBFC_MSG_BAD_XID),
        _ => Ok(message),
    }
}

fn decode_body(kind: u8, r: Reader<'_>) -> Result<Message, OfError> {
    let empty = |message: Message| r.end().map(|()| message);
    if !kind::is_in(kind, r.version) {
        return Err(error::OFPBRC_BAD_TYPE);
    }
    match kind {
        kind::HELLO => switch::read_hello(r).map(Message::Hello),
        kind::ERROR => switch::read_error(r).map(Message::Error),
        kind::ECHO_REQUEST => Ok(Message::EchoRequest(r.rest().to_vec())),
        kind::ECHO_REPLY => Ok(Message::EchoReply(r.rest().to_vec())),
        kind::FEATURES_REQUEST => empty(Message::FeaturesRequest),
        kind::FEATURES_REPLY => switch::read_features(r).map(Message::FeaturesReply),
        kind::GET_CONFIG_REQUEST => empty(Message::GetConfigRequest),
        kind::GET_CONFIG_REPLY => switch::read_config(r).map(Message::GetConfigReply),
        kind::SET_CONFIG => switch::read_config(r).map(Message::SetConfig),
        kind::EXPERIMENTER => experimenter::read(r),
        kind::PACKET_IN => packet::read_packet_in(r).map(Message::PacketIn),
        kind::FLOW_REMOVED => flow::read_flow_removed(r).map(Message::FlowRemoved),
        kind::PACKET_OUT => packet::read_packet_out(r).map(Message::PacketOut),
        kind::FLOW_MOD => flow::read_flow_mod(r).map(Message::FlowMod),
        kind::GROUP_MOD => group::read_group_mod(r).map(Message::GroupMod),
        kind::METER_MOD => meter::read_meter_mod(r).map(Message::MeterMod),
        kind::MULTIPART_REQUEST => multipart::read_request(r).map(Message::MultipartRequest),
        kind::MULTIPART_REPLY => multipart::read_reply(r).map(Message::MultipartReply),
        kind::PORT_STATUS => port::read_status(r).map(Message::PortStatus),
        kind::PORT_MOD => port::read_mod(r).map(Message::PortMod),
        kind::TABLE_MOD => table::read_mod(r).map(Message::TableMod),
        kind::BARRIER_REQUEST => empty(Message::BarrierRequest),
        kind::BARRIER_REPLY => empty(Message::BarrierReply),
        kind::QUEUE_GET_CONFIG_REQUEST => queue::read_config_request(r),
        kind::QUEUE_GET_CONFIG_REPLY => queue::read_config_reply(r),
        kind::ROLE_REQUEST => events::read_role(r).map(Message::RoleRequest),
        kind::ROLE_REPLY => events::read_role(r).map(Message::RoleReply),
        kind::GET_ASYNC_REQUEST => empty(Message::GetAsyncRequest),
        kind::GET_ASYNC_REPLY => events::read_async(r).map(Message::GetAsyncReply),
        kind::SET_ASYNC => events::read_set_async(r).map(Message::SetAsync),
        kind::ROLE_STATUS => events::read_role_status(r).map(Message::RoleStatus),
        kind::TABLE_STATUS => table::read_status(r).map(Message::TableStatus),
        kind::REQUEST_FORWARD => events::read_forward(r).map(Message::RequestForward),
        kind::BUNDLE_CONTROL => bundle::read_control(r).map(Message::BundleControl),
        kind::BUNDLE_ADD_MESSAGE => bundle::read_add(r).map(Message::BundleAdd),
        kind::CONTROLLER_STATUS => events::read_controller_status(r).map(Message::ControllerStatus),
        _ => Err(error::OFPBRC_BAD_TYPE),
    }
}

/// Appends a message to `out`. Nothing is appended where it fails.
///
/// A multipart reply that does not fit one message is written as several, all but the last with
/// OFPMPF_REPLY_MORE.
pub fn encode(
    version: Version,
    xid: u32,
    message: &Message,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let mut w = Writer {
        out,
        version,
        describes: false,
    };
    let done = encode_message(&mut w, xid, message);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Writes a message of one kind: header, then what `body` writes, then the length.
fn framed(
    w: &mut Writer<'_>,
    kind: u8,
    xid: u32,
    what: &'static str,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = w.len();
    w.u8(w.version.to_wire());
    w.u8(kind);
    w.u16(0);
    w.u32(xid);
    body(w)?;
    w.patch_length(start + 2, start, what)
}

fn encode_message(w: &mut Writer<'_>, xid: u32, message: &Message) -> Result<(), EncodeError> {
    use Message as M;
    let native = w.version >= Version::V1_4;
    let (kind, what) = match message {
        M::Hello(_) => (kind::HELLO, "hello"),
        M::Error(_) => (kind::ERROR, "error"),
        M::EchoRequest(_) => (kind::ECHO_REQUEST, "echo request"),
        M::EchoReply(_) => (kind::ECHO_REPLY, "echo reply"),
        M::FeaturesRequest => (kind::FEATURES_REQUEST, "features request"),
        M::FeaturesReply(_) => (kind::FEATURES_REPLY, "features reply"),
        M::GetConfigRequest => (kind::GET_CONFIG_REQUEST, "config request"),
        M::GetConfigReply(_) => (kind::GET_CONFIG_REPLY, "config reply"),
        M::SetConfig(_) => (kind::SET_CONFIG, "set config"),
        M::PacketIn(_) => (kind::PACKET_IN, "packet-in"),
        M::FlowRemoved(_) => (kind::FLOW_REMOVED, "flow removed"),
        M::PortStatus(_) => (kind::PORT_STATUS, "port status"),
        M::PacketOut(_) => (kind::PACKET_OUT, "packet-out"),
        M::FlowMod(_) => (kind::FLOW_MOD, "flow mod"),
        M::GroupMod(_) => (kind::GROUP_MOD, "group mod"),
        M::PortMod(_) => (kind::PORT_MOD, "port mod"),
        M::TableMod(_) => (kind::TABLE_MOD, "table mod"),
        M::MeterMod(_) => (kind::METER_MOD, "meter mod"),
        M::BarrierRequest => (kind::BARRIER_REQUEST, "barrier request"),
        M::BarrierReply => (kind::BARRIER_REPLY, "barrier reply"),
        M::QueueGetConfigRequest(_) => (kind::QUEUE_GET_CONFIG_REQUEST, "queue request"),
        M::QueueGetConfigReply { .. } => (kind::QUEUE_GET_CONFIG_REPLY, "queue reply"),
        M::RoleRequest(_) => (kind::ROLE_REQUEST, "role request"),
        M::RoleReply(_) => (kind::ROLE_REPLY, "role reply"),
        M::GetAsyncRequest => (kind::GET_ASYNC_REQUEST, "async request"),
        M::GetAsyncReply(_) => (kind::GET_ASYNC_REPLY, "async reply"),
        M::SetAsync(m) if native || events::is_whole(m) => (kind::SET_ASYNC, "set async"),
        M::TableStatus(_) => (kind::TABLE_STATUS, "table status"),
        M::ControllerStatus(_) => (kind::CONTROLLER_STATUS, "controller status"),
        M::RoleStatus(_) if native => (kind::ROLE_STATUS, "role status"),
        M::RequestForward(_) if native => (kind::REQUEST_FORWARD, "forwarded request"),
        M::BundleControl(_) if native => (kind::BUNDLE_CONTROL, "bundle control"),
        M::BundleAdd(_) if native => (kind::BUNDLE_ADD_MESSAGE, "bundle message"),
        M::MultipartRequest(m) => return multipart::write_request(w, xid, m),
        M::MultipartReply(m) => return multipart::write_reply(w, xid, m),
        M::FlowMonitorPaused if native => {
            return multipart::write_reply(w, xid, &monitor::alone(FlowUpdate::Paused));
        }
        M::FlowMonitorResumed if native => {
            return multipart::write_reply(w, xid, &monitor::alone(FlowUpdate::Resumed));
        }
        M::FlowMonitorCancel(id) if native => {
            return multipart::write_request(w, xid, &monitor::cancel(*id));
        }
        _ => (kind::EXPERIMENTER, "experimenter message"),
    };
    if !kind::is_in(kind, w.version) {
        return w.unsupported("that message");
    }
    framed(w, kind, xid, what, |w| write_body(w, message))
}

/// Writes what stands behind the header.
fn write_body(w: &mut Writer<'_>, message: &Message) -> Result<(), EncodeError> {
    use Message as M;
    match message {
        M::Hello(m) => switch::write_hello(w, m),
        M::Error(m) => switch::write_error(w, m),
        M::EchoRequest(data) | M::EchoReply(data) => w.bytes(data),
        M::FeaturesRequest
        | M::GetConfigRequest
        | M::BarrierRequest
        | M::BarrierReply
        | M::GetAsyncRequest => {}
        M::FeaturesReply(m) => switch::write_features(w, m),
        M::GetConfigReply(m) | M::SetConfig(m) => switch::write_config(w, *m),
        M::PortStatus(m) => return port::write_status(w, m),
        M::PortMod(m) => return port::write_mod(w, m),
        M::TableMod(m) => return table::write_mod(w, m),
        M::TableStatus(m) => return table::write_status(w, m),
        M::QueueGetConfigRequest(port) => queue::write_config_request(w, *port),
        M::QueueGetConfigReply { port, queues } => {
            return queue::write_config_reply(w, *port, queues);
        }
        M::RoleRequest(m) | M::RoleReply(m) => events::write_role(w, *m),
        M::GetAsyncReply(m) => return events::write_async(w, m),
        M::SetAsync(m) if w.version >= Version::V1_4 || events::is_whole(m) => {
            return events::write_async(w, m);
        }
        M::ControllerStatus(m) => return events::write_controller(w, m),
        M::PacketIn(m) => return packet::write_packet_in(w, m),
        M::FlowRemoved(m) => return flow::write_flow_removed(w, m),
        M::PacketOut(m) => return packet::write_packet_out(w, m),
        M::FlowMod(m) => return flow::write_flow_mod(w, m),
        M::GroupMod(m) => return group::write_group_mod(w, m),
        M::MeterMod(m) => meter::write_meter_mod(w, m),
        M::RoleStatus(m) if w.version >= Version::V1_4 => {
            return events::write_role_status(w, m);
        }
        M::RequestForward(m) if w.version >= Version::V1_4 => return events::write_forward(w, m),
        M::BundleControl(m) if w.version >= Version::V1_4 => return bundle::write_control(w, m),
        M::BundleAdd(m) if w.version >= Version::V1_4 => return bundle::write_add(w, m),
        _ => return experimenter::write(w, message),
    }
    Ok(())
}
