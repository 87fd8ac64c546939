//! The wire form: bytes to [`Message`] and back.
//!
//! Decoding checks every length, refuses what the specification refuses with the error it names,
//! never panics, and keeps no more memory than the message is long. Encoding writes the canonical
//! form: match fields in their order, padding zero.

mod framer;
mod reader;
mod switch;
mod writer;

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
    decode_body(header.kind, r)
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
    let mut plain =
        |kind: u8, what: &'static str, body: &dyn Fn(&mut Writer<'_>)| -> Result<(), EncodeError> {
            framed(w, kind, xid, what, |w| {
                body(w);
                Ok(())
            })
        };
    match message {
        M::Hello(m) => plain(kind::HELLO, "hello", &|w| switch::write_hello(w, m)),
        M::Error(m) => plain(kind::ERROR, "error", &|w| switch::write_error(w, m)),
        M::EchoRequest(data) => plain(kind::ECHO_REQUEST, "echo request", &|w| w.bytes(data)),
        M::EchoReply(data) => plain(kind::ECHO_REPLY, "echo reply", &|w| w.bytes(data)),
        M::FeaturesRequest => plain(kind::FEATURES_REQUEST, "features request", &|_| ()),
        M::FeaturesReply(m) => plain(kind::FEATURES_REPLY, "features reply", &|w| {
            switch::write_features(w, m);
        }),
        M::GetConfigRequest => plain(kind::GET_CONFIG_REQUEST, "config request", &|_| ()),
        M::GetConfigReply(m) => plain(kind::GET_CONFIG_REPLY, "config reply", &|w| {
            switch::write_config(w, *m);
        }),
        M::SetConfig(m) => plain(kind::SET_CONFIG, "set config", &|w| {
            switch::write_config(w, *m);
        }),
        M::PortStatus(m) => plain(kind::PORT_STATUS, "port status", &|w| {
            switch::write_port_status(w, m);
        }),
        M::PortMod(m) => plain(kind::PORT_MOD, "port mod", &|w| {
            switch::write_port_mod(w, *m);
        }),
        M::TableMod(m) => plain(kind::TABLE_MOD, "table mod", &|w| {
            switch::write_table_mod(w, *m);
        }),
        M::BarrierRequest => plain(kind::BARRIER_REQUEST, "barrier request", &|_| ()),
        M::BarrierReply => plain(kind::BARRIER_REPLY, "barrier reply", &|_| ()),
        M::QueueGetConfigRequest(port) => {
            plain(kind::QUEUE_GET_CONFIG_REQUEST, "queue request", &|w| {
                switch::write_queue_request(w, *port);
            })
        }
        M::QueueGetConfigReply { port, queues } => {
            plain(kind::QUEUE_GET_CONFIG_REPLY, "queue reply", &|w| {
                switch::write_queue_reply(w, *port, queues);
            })
        }
        M::RoleRequest(m) => plain(kind::ROLE_REQUEST, "role request", &|w| {
            switch::write_role(w, *m);
        }),
        M::RoleReply(m) => plain(kind::ROLE_REPLY, "role reply", &|w| {
            switch::write_role(w, *m);
        }),
        M::GetAsyncRequest => plain(kind::GET_ASYNC_REQUEST, "async request", &|_| ()),
        M::GetAsyncReply(m) => plain(kind::GET_ASYNC_REPLY, "async reply", &|w| {
            switch::write_async(w, m);
        }),
        M::SetAsync(m) => plain(kind::SET_ASYNC, "set async", &|w| switch::write_async(w, m)),
        _ => w.unsupported("this message"),
    }
}
