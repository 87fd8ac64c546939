//! Experimenter messages: ONF bundles (extension 230), Open vSwitch's, and ours.

use super::{EncodeError, HEADER_LEN, Header, Reader, Writer, decode, encode_message, packet};
use crate::Message;
use crate::error::{self, OfError};
use crate::msg::{
    BundleAdd, BundleControl, BundleControlType, CookieLabels, NICIRA, ONF, PacketInFormat, SLUICE,
};

/// ONF messages.
mod onf {
    pub(super) const BUNDLE_CONTROL: u32 = 2300;
    pub(super) const BUNDLE_ADD: u32 = 2301;
}

/// Nicira messages (NXT_*).
mod nxt {
    pub(super) const SET_PACKET_IN_FORMAT: u32 = 16;
    pub(super) const SET_CONTROLLER_ID: u32 = 20;
    pub(super) const RESUME: u32 = 28;
    pub(super) const CT_FLUSH_ZONE: u32 = 29;
    pub(super) const PACKET_IN2: u32 = 30;
}

/// Our messages.
mod slc {
    pub(super) const COOKIE_LABELS: u32 = 1;
}

pub(super) fn read(mut r: Reader<'_>) -> Result<Message, OfError> {
    let (experimenter, exp_type) = (r.u32()?, r.u32()?);
    match (experimenter, exp_type) {
        (ONF, onf::BUNDLE_CONTROL) => read_control(r).map(Message::BundleControl),
        (ONF, onf::BUNDLE_ADD) => read_add(r).map(Message::BundleAdd),
        (NICIRA, nxt::SET_PACKET_IN_FORMAT) => {
            let format = match r.u32()? {
                0 => PacketInFormat::Standard,
                1 => PacketInFormat::Nxt,
                2 => PacketInFormat::Nxt2,
                _ => return Err(error::OFPBRC_EPERM),
            };
            r.end()?;
            Ok(Message::SetPacketInFormat(format))
        }
        (NICIRA, nxt::SET_CONTROLLER_ID) => {
            r.skip(6)?;
            let id = r.u16()?;
            r.end()?;
            Ok(Message::SetControllerId(id))
        }
        (NICIRA, nxt::RESUME) => packet::read_packet_in2(r).map(Message::Resume),
        (NICIRA, nxt::PACKET_IN2) => packet::read_packet_in2(r).map(Message::PacketIn2),
        (NICIRA, nxt::CT_FLUSH_ZONE) => {
            // Six bytes of padding that must be zero come first.
            r.zeros(6, error::OFPBRC_BAD_LEN)?;
            let zone = r.u16()?;
            r.end()?;
            Ok(Message::CtFlushZone(zone))
        }
        (SLUICE, slc::COOKIE_LABELS) => read_labels(r).map(Message::CookieLabels),
        _ => Ok(Message::Experimenter {
            experimenter,
            exp_type,
            data: r.rest().to_vec(),
        }),
    }
}

/// Writes what stands behind the header.
pub(super) fn write(w: &mut Writer<'_>, message: &Message) -> Result<(), EncodeError> {
    let begin = |w: &mut Writer<'_>, experimenter: u32, exp_type: u32| {
        w.u32(experimenter);
        w.u32(exp_type);
    };
    match message {
        Message::Experimenter {
            experimenter,
            exp_type,
            data,
        } => {
            begin(w, *experimenter, *exp_type);
            w.bytes(data);
        }
        Message::BundleControl(m) => {
            begin(w, ONF, onf::BUNDLE_CONTROL);
            w.u32(m.bundle);
            w.u16(m.kind as u16);
            w.u16(m.flags);
        }
        Message::BundleAdd(m) => {
            begin(w, ONF, onf::BUNDLE_ADD);
            return write_add(w, m);
        }
        Message::SetPacketInFormat(format) => {
            begin(w, NICIRA, nxt::SET_PACKET_IN_FORMAT);
            w.u32(*format as u32);
        }
        Message::SetControllerId(id) => {
            begin(w, NICIRA, nxt::SET_CONTROLLER_ID);
            w.zeros(6);
            w.u16(*id);
        }
        Message::PacketIn2(m) => {
            begin(w, NICIRA, nxt::PACKET_IN2);
            return packet::write_packet_in2(w, m);
        }
        Message::Resume(m) => {
            begin(w, NICIRA, nxt::RESUME);
            return packet::write_packet_in2(w, m);
        }
        Message::CtFlushZone(zone) => {
            begin(w, NICIRA, nxt::CT_FLUSH_ZONE);
            w.zeros(6);
            w.u16(*zone);
        }
        Message::CookieLabels(m) => {
            begin(w, SLUICE, slc::COOKIE_LABELS);
            return write_labels(w, m);
        }
        _ => return w.unsupported("that message"),
    }
    Ok(())
}

/// Reads what stands behind the experimenter's type, or the header of a native message.
fn read_control(mut r: Reader<'_>) -> Result<BundleControl, OfError> {
    let bundle = r.u32()?;
    let kind = BundleControlType::from_wire(r.u16()?).ok_or(error::OFPBFC_BAD_TYPE)?;
    let flags = r.u16()?;
    // Properties (none is defined that we know) are passed over.
    Ok(BundleControl {
        bundle,
        kind,
        flags,
        properties: Vec::new(),
    })
}

fn read_add(mut r: Reader<'_>) -> Result<BundleAdd, OfError> {
    let bundle = r.u32()?;
    r.skip(2)?;
    let flags = r.u16()?;
    let bytes = r.rest();
    let inner = Header::read(bytes).ok_or(error::OFPBFC_MSG_BAD_LEN)?;
    let length = usize::from(inner.length);
    let frame = bytes.get(..length).ok_or(error::OFPBFC_MSG_BAD_LEN)?;
    if length < HEADER_LEN {
        return Err(error::OFPBFC_MSG_BAD_LEN);
    }
    if inner.version != r.version.to_wire() {
        return Err(error::OFPBFC_MSG_UNSUP);
    }
    if !may_be_bundled(inner.kind) {
        return Err(error::OFPBFC_MSG_UNSUP);
    }
    Ok(BundleAdd {
        bundle,
        flags,
        xid: inner.xid,
        message: Box::new(decode(r.version, frame)?),
        properties: Vec::new(),
    })
}

/// Messages that change the switch, and packet-outs.
const fn may_be_bundled(kind: u8) -> bool {
    use super::kind;
    matches!(
        kind,
        kind::FLOW_MOD
            | kind::GROUP_MOD
            | kind::METER_MOD
            | kind::PORT_MOD
            | kind::TABLE_MOD
            | kind::PACKET_OUT
    )
}

fn write_add(w: &mut Writer<'_>, m: &BundleAdd) -> Result<(), EncodeError> {
    w.u32(m.bundle);
    w.zeros(2);
    w.u16(m.flags);
    encode_message(w, m.xid, &m.message)
}

fn read_labels(mut r: Reader<'_>) -> Result<CookieLabels, OfError> {
    let mut entries = Vec::new();
    while !r.is_empty() {
        let (cookie, length) = (r.u64()?, usize::from(r.u16()?));
        let name = String::from_utf8_lossy(r.take(length)?).into_owned();
        entries.push((cookie, name));
    }
    Ok(CookieLabels { entries })
}

fn write_labels(w: &mut Writer<'_>, m: &CookieLabels) -> Result<(), EncodeError> {
    for (cookie, name) in &m.entries {
        let length = u16::try_from(name.len());
        w.u64(*cookie);
        w.u16(length.map_err(|_| EncodeError::TooLong { what: "a label" })?);
        w.bytes(name.as_bytes());
    }
    Ok(())
}
