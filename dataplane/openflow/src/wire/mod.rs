//! The wire form: bytes to [`Message`] and back.
//!
//! Decoding checks every length, refuses what the specification refuses with the error it names,
//! never panics, and keeps no more memory than the message is long. Encoding writes the canonical
//! form: match fields in their order, padding zero.

mod actions;
mod bundled;
mod continuation;
mod controller;
mod ct;
mod experimenter;
mod flow;
mod flow_reader;
mod framer;
mod group;
mod instructions;
mod learn;
pub(crate) mod links;
mod meter;
mod multipart;
mod nicira;
mod oxm;
mod packet;
mod reader;
mod sample;
mod stats;
mod switch;
mod table_features;
mod writer;

pub use bundled::BundledFlowMod;
pub use flow_reader::{FlowModReader, Piece, Read, Shape};
pub use framer::{FrameError, Framer};
pub use writer::EncodeError;

use reader::Reader;
use writer::Writer;

use crate::error::{self, OfError};
use crate::{Message, Version};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// Message types (OFPT_*) as 1.3 numbers them.
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
        kind::PORT_STATUS => switch::read_port_status(r).map(Message::PortStatus),
        kind::PORT_MOD => switch::read_port_mod(r).map(Message::PortMod),
        kind::TABLE_MOD => switch::read_table_mod(r).map(Message::TableMod),
        kind::BARRIER_REQUEST => empty(Message::BarrierRequest),
        kind::BARRIER_REPLY => empty(Message::BarrierReply),
        kind::QUEUE_GET_CONFIG_REQUEST => switch::read_queue_request(r),
        kind::QUEUE_GET_CONFIG_REPLY => switch::read_queue_reply(r),
        kind::ROLE_REQUEST => switch::read_role(r).map(Message::RoleRequest),
        kind::ROLE_REPLY => switch::read_role(r).map(Message::RoleReply),
        kind::GET_ASYNC_REQUEST => empty(Message::GetAsyncRequest),
        kind::GET_ASYNC_REPLY => switch::read_async(r).map(Message::GetAsyncReply),
        kind::SET_ASYNC => switch::read_async(r).map(Message::SetAsync),
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
    let mut w = Writer { out, version };
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
    let plain =
        |w: &mut Writer<'_>, kind: u8, what: &'static str, body: &dyn Fn(&mut Writer<'_>)| {
            framed(w, kind, xid, what, |w| {
                body(w);
                Ok(())
            })
        };
    match message {
        M::Hello(m) => plain(w, kind::HELLO, "hello", &|w| switch::write_hello(w, m)),
        M::Error(m) => plain(w, kind::ERROR, "error", &|w| switch::write_error(w, m)),
        M::EchoRequest(data) => plain(w, kind::ECHO_REQUEST, "echo request", &|w| w.bytes(data)),
        M::EchoReply(data) => plain(w, kind::ECHO_REPLY, "echo reply", &|w| w.bytes(data)),
        M::FeaturesRequest => plain(w, kind::FEATURES_REQUEST, "features request", &|_| ()),
        M::FeaturesReply(m) => plain(w, kind::FEATURES_REPLY, "features reply", &|w| {
            switch::write_features(w, m);
        }),
        M::GetConfigRequest => plain(w, kind::GET_CONFIG_REQUEST, "config request", &|_| ()),
        M::GetConfigReply(m) => plain(w, kind::GET_CONFIG_REPLY, "config reply", &|w| {
            switch::write_config(w, *m);
        }),
        M::SetConfig(m) => plain(w, kind::SET_CONFIG, "set config", &|w| {
            switch::write_config(w, *m);
        }),
        M::PortStatus(m) => plain(w, kind::PORT_STATUS, "port status", &|w| {
            switch::write_port_status(w, m);
        }),
        M::PortMod(m) => plain(w, kind::PORT_MOD, "port mod", &|w| {
            switch::write_port_mod(w, m);
        }),
        M::TableMod(m) => plain(w, kind::TABLE_MOD, "table mod", &|w| {
            switch::write_table_mod(w, m);
        }),
        M::BarrierRequest => plain(w, kind::BARRIER_REQUEST, "barrier request", &|_| ()),
        M::BarrierReply => plain(w, kind::BARRIER_REPLY, "barrier reply", &|_| ()),
        M::QueueGetConfigRequest(port) => {
            plain(w, kind::QUEUE_GET_CONFIG_REQUEST, "queue request", &|w| {
                switch::write_queue_request(w, *port);
            })
        }
        M::QueueGetConfigReply { port, queues } => {
            plain(w, kind::QUEUE_GET_CONFIG_REPLY, "queue reply", &|w| {
                switch::write_queue_reply(w, *port, queues);
            })
        }
        M::RoleRequest(m) => plain(w, kind::ROLE_REQUEST, "role request", &|w| {
            switch::write_role(w, *m);
        }),
        M::RoleReply(m) => plain(w, kind::ROLE_REPLY, "role reply", &|w| {
            switch::write_role(w, *m);
        }),
        M::GetAsyncRequest => plain(w, kind::GET_ASYNC_REQUEST, "async request", &|_| ()),
        M::GetAsyncReply(m) => framed(w, kind::GET_ASYNC_REPLY, xid, "async reply", |w| {
            switch::write_async(w, m)
        }),
        M::SetAsync(m) => framed(w, kind::SET_ASYNC, xid, "set async", |w| {
            switch::write_async(w, m)
        }),
        M::PacketIn(m) => framed(w, kind::PACKET_IN, xid, "packet-in", |w| {
            packet::write_packet_in(w, m)
        }),
        M::FlowRemoved(m) => framed(w, kind::FLOW_REMOVED, xid, "flow removed", |w| {
            flow::write_flow_removed(w, m)
        }),
        M::PacketOut(m) => framed(w, kind::PACKET_OUT, xid, "packet-out", |w| {
            packet::write_packet_out(w, m)
        }),
        M::FlowMod(m) => framed(w, kind::FLOW_MOD, xid, "flow mod", |w| {
            flow::write_flow_mod(w, m)
        }),
        M::GroupMod(m) => framed(w, kind::GROUP_MOD, xid, "group mod", |w| {
            group::write_group_mod(w, m)
        }),
        M::MeterMod(m) => plain(w, kind::METER_MOD, "meter mod", &|w| {
            meter::write_meter_mod(w, m);
        }),
        M::MultipartRequest(m) => multipart::write_request(w, xid, m),
        M::MultipartReply(m) => multipart::write_reply(w, xid, m),
        M::Experimenter { .. }
        | M::BundleControl(_)
        | M::BundleAdd(_)
        | M::SetPacketInFormat(_)
        | M::SetControllerId(_)
        | M::PacketIn2(_)
        | M::Resume(_)
        | M::CtFlushZone(_)
        | M::CookieLabels(_) => framed(w, kind::EXPERIMENTER, xid, "experimenter message", |w| {
            experimenter::write(w, message)
        }),
        _ => w.unsupported("that message"),
    }
}
