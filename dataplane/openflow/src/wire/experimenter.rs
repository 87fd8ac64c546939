//! Experimenter messages: the ONF's, which 1.4 made native, Open vSwitch's, and ours.

use super::{EncodeError, Reader, Writer, bundle, events, limits, nxt, packet};
use crate::error::{self, OfError};
use crate::msg::{CookieLabels, HttpAnswers, NICIRA, ONF, PacketInFormat, SLUICE};
use crate::{Message, Version};

/// ONF messages, all for 1.3 (extensions 187, 191, 230, 235).
mod onf {
    pub(super) const FLOW_MONITOR_CANCEL: u32 = 1870;
    pub(super) const FLOW_MONITOR_PAUSED: u32 = 1871;
    pub(super) const FLOW_MONITOR_RESUMED: u32 = 1872;
    pub(super) const ROLE_STATUS: u32 = 1911;
    pub(super) const BUNDLE_CONTROL: u32 = 2300;
    pub(super) const BUNDLE_ADD: u32 = 2301;
    pub(super) const REQUEST_FORWARD: u32 = 2350;
}

/// Nicira messages (NXT_*).
mod nx {
    pub(super) const ROLE_REQUEST: u32 = 10;
    pub(super) const ROLE_REPLY: u32 = 11;
    pub(super) const FLOW_REMOVED: u32 = 14;
    pub(super) const SET_PACKET_IN_FORMAT: u32 = 16;
    pub(super) const PACKET_IN: u32 = 17;
    pub(super) const FLOW_AGE: u32 = 18;
    pub(super) const SET_ASYNC_CONFIG: u32 = 19;
    pub(super) const SET_CONTROLLER_ID: u32 = 20;
    pub(super) const TLV_TABLE_MOD: u32 = 24;
    pub(super) const TLV_TABLE_REQUEST: u32 = 25;
    pub(super) const TLV_TABLE_REPLY: u32 = 26;
    pub(super) const SET_ASYNC_CONFIG2: u32 = 27;
    pub(super) const RESUME: u32 = 28;
    pub(super) const CT_FLUSH_ZONE: u32 = 29;
    pub(super) const PACKET_IN2: u32 = 30;
    pub(super) const CT_FLUSH: u32 = 32;
}

/// Our messages.
mod slc {
    pub(super) const COOKIE_LABELS: u32 = 1;
    pub(super) const HTTP_ANSWERS: u32 = 2;
    pub(super) const ZONE_LIMITS: u32 = 3;
    pub(super) const ZONE_LIMITS_REQUEST: u32 = 4;
    pub(super) const IMPAIRMENTS: u32 = 5;
    pub(super) const IMPAIRMENTS_REQUEST: u32 = 6;
}

pub(super) fn read(mut r: Reader<'_>) -> Result<Message, OfError> {
    let (experimenter, exp_type) = (r.u32()?, r.u32()?);
    let known = match experimenter {
        ONF if r.version < Version::V1_4 => read_onf(exp_type, r)?,
        NICIRA => read_nicira(exp_type, r)?,
        SLUICE => read_ours(exp_type, r)?,
        _ => None,
    };
    Ok(known.unwrap_or_else(|| Message::Experimenter {
        experimenter,
        exp_type,
        data: r.rest().to_vec(),
    }))
}

fn read_ours(exp_type: u32, r: Reader<'_>) -> Result<Option<Message>, OfError> {
    let message = match exp_type {
        slc::COOKIE_LABELS => Message::CookieLabels(read_labels(r)?),
        slc::HTTP_ANSWERS => Message::HttpAnswers(read_answers(r)?),
        slc::ZONE_LIMITS => Message::ZoneLimits(limits::read_zones(r)?),
        slc::ZONE_LIMITS_REQUEST => empty(r, Message::ZoneLimitsRequest)?,
        slc::IMPAIRMENTS => Message::Impairments(limits::read_impairments(r)?),
        slc::IMPAIRMENTS_REQUEST => empty(r, Message::ImpairmentsRequest)?,
        _ => return Ok(None),
    };
    Ok(Some(message))
}

fn read_onf(exp_type: u32, mut r: Reader<'_>) -> Result<Option<Message>, OfError> {
    let message = match exp_type {
        onf::FLOW_MONITOR_CANCEL => {
            let id = r.u32()?;
            r.end()?;
            Message::FlowMonitorCancel(id)
        }
        onf::FLOW_MONITOR_PAUSED => empty(r, Message::FlowMonitorPaused)?,
        onf::FLOW_MONITOR_RESUMED => empty(r, Message::FlowMonitorResumed)?,
        onf::ROLE_STATUS => Message::RoleStatus(events::read_role_status(r)?),
        onf::BUNDLE_CONTROL => Message::BundleControl(bundle::read_control(r)?),
        onf::BUNDLE_ADD => Message::BundleAdd(bundle::read_add(r)?),
        onf::REQUEST_FORWARD => Message::RequestForward(events::read_forward(r)?),
        _ => return Ok(None),
    };
    Ok(Some(message))
}

fn empty(r: Reader<'_>, message: Message) -> Result<Message, OfError> {
    r.end().map(|()| message)
}

fn read_nicira(exp_type: u32, mut r: Reader<'_>) -> Result<Option<Message>, OfError> {
    let message = match exp_type {
        nx::ROLE_REQUEST => Message::NxtRoleRequest(nxt::read_role(r)?),
        nx::ROLE_REPLY => Message::NxtRoleReply(nxt::read_role(r)?),
        nx::FLOW_REMOVED => Message::NxtFlowRemoved(nxt::read_flow_removed(r)?),
        nx::SET_PACKET_IN_FORMAT => {
            let format = match r.u32()? {
                0 => PacketInFormat::Standard,
                1 => PacketInFormat::Nxt,
                2 => PacketInFormat::Nxt2,
                _ => return Err(error::OFPBRC_EPERM),
            };
            empty(r, Message::SetPacketInFormat(format))?
        }
        nx::PACKET_IN => Message::NxtPacketIn(nxt::read_packet_in(r)?),
        nx::FLOW_AGE => empty(r, Message::NxtFlowAge)?,
        nx::SET_ASYNC_CONFIG => Message::SetAsync(events::read_old_async(r)?),
        nx::SET_ASYNC_CONFIG2 if r.version < Version::V1_4 => {
            Message::SetAsync(events::read_asked_properties(r)?)
        }
        nx::SET_CONTROLLER_ID => {
            r.zeros(6, error::NXBRC_MUST_BE_ZERO)?;
            let id = r.u16()?;
            empty(r, Message::SetControllerId(id))?
        }
        nx::TLV_TABLE_MOD => Message::TlvTableMod(nxt::read_tlv_mod(r)?),
        nx::TLV_TABLE_REQUEST => empty(r, Message::TlvTableRequest)?,
        nx::TLV_TABLE_REPLY => Message::TlvTableReply(nxt::read_tlv_reply(r)?),
        nx::RESUME => Message::Resume(packet::read_packet_in2(r)?),
        nx::CT_FLUSH_ZONE => {
            r.zeros(6, error::NXBRC_MUST_BE_ZERO)?;
            let zone = r.u16()?;
            empty(r, Message::CtFlushZone(zone))?
        }
        nx::PACKET_IN2 => Message::PacketIn2(packet::read_packet_in2(r)?),
        nx::CT_FLUSH => Message::CtFlush(nxt::read_ct_flush(r)?),
        _ => return Ok(None),
    };
    Ok(Some(message))
}

/// Writes what stands behind the header.
pub(super) fn write(w: &mut Writer<'_>, message: &Message) -> Result<(), EncodeError> {
    let begin = |w: &mut Writer<'_>, experimenter: u32, exp_type: u32| {
        w.u32(experimenter);
        w.u32(exp_type);
    };
    let nicira = |w: &mut Writer<'_>, exp_type: u32| begin(w, NICIRA, exp_type);
    match message {
        Message::Experimenter {
            experimenter,
            exp_type,
            data,
        } => {
            begin(w, *experimenter, *exp_type);
            w.bytes(data);
        }
        Message::SetPacketInFormat(format) => {
            nicira(w, nx::SET_PACKET_IN_FORMAT);
            w.u32(*format as u32);
        }
        Message::SetControllerId(id) => {
            nicira(w, nx::SET_CONTROLLER_ID);
            w.zeros(6);
            w.u16(*id);
        }
        Message::PacketIn2(m) => {
            nicira(w, nx::PACKET_IN2);
            return packet::write_packet_in2(w, m);
        }
        Message::Resume(m) => {
            nicira(w, nx::RESUME);
            return packet::write_packet_in2(w, m);
        }
        Message::CtFlushZone(zone) => {
            nicira(w, nx::CT_FLUSH_ZONE);
            w.zeros(6);
            w.u16(*zone);
        }
        Message::CtFlush(m) => {
            nicira(w, nx::CT_FLUSH);
            return nxt::write_ct_flush(w, m);
        }
        Message::NxtRoleRequest(role) => {
            nicira(w, nx::ROLE_REQUEST);
            return nxt::write_role(w, *role);
        }
        Message::NxtRoleReply(role) => {
            nicira(w, nx::ROLE_REPLY);
            return nxt::write_role(w, *role);
        }
        Message::NxtPacketIn(m) => {
            nicira(w, nx::PACKET_IN);
            return nxt::write_packet_in(w, m);
        }
        Message::NxtFlowRemoved(m) => {
            nicira(w, nx::FLOW_REMOVED);
            return nxt::write_flow_removed(w, m);
        }
        Message::NxtFlowAge => nicira(w, nx::FLOW_AGE),
        Message::TlvTableMod(m) => {
            nicira(w, nx::TLV_TABLE_MOD);
            nxt::write_tlv_mod(w, m);
        }
        Message::TlvTableRequest => nicira(w, nx::TLV_TABLE_REQUEST),
        Message::TlvTableReply(m) => {
            nicira(w, nx::TLV_TABLE_REPLY);
            nxt::write_tlv_reply(w, m);
        }
        // What the message of 1.3 cannot say.
        Message::SetAsync(m) => {
            nicira(w, nx::SET_ASYNC_CONFIG2);
            return events::write_async_properties(w, m);
        }
        Message::CookieLabels(m) => {
            begin(w, SLUICE, slc::COOKIE_LABELS);
            return write_labels(w, m);
        }
        Message::HttpAnswers(m) => {
            begin(w, SLUICE, slc::HTTP_ANSWERS);
            return write_answers(w, m);
        }
        Message::ZoneLimits(entries) => {
            begin(w, SLUICE, slc::ZONE_LIMITS);
            limits::write_zones(w, entries);
        }
        Message::ZoneLimitsRequest => begin(w, SLUICE, slc::ZONE_LIMITS_REQUEST),
        Message::Impairments(entries) => {
            begin(w, SLUICE, slc::IMPAIRMENTS);
            limits::write_impairments(w, entries);
        }
        Message::ImpairmentsRequest => begin(w, SLUICE, slc::IMPAIRMENTS_REQUEST),
        _ => return write_onf(w, message),
    }
    Ok(())
}

/// Writes what 1.4 made native, for 1.3.
fn write_onf(w: &mut Writer<'_>, message: &Message) -> Result<(), EncodeError> {
    let begin = |w: &mut Writer<'_>, exp_type: u32| {
        w.u32(ONF);
        w.u32(exp_type);
    };
    match message {
        Message::BundleControl(m) => {
            begin(w, onf::BUNDLE_CONTROL);
            bundle::write_control(w, m)
        }
        Message::BundleAdd(m) => {
            begin(w, onf::BUNDLE_ADD);
            bundle::write_add(w, m)
        }
        Message::RoleStatus(m) => {
            begin(w, onf::ROLE_STATUS);
            events::write_role_status(w, m)
        }
        Message::RequestForward(m) => {
            begin(w, onf::REQUEST_FORWARD);
            events::write_forward(w, m)
        }
        Message::FlowMonitorCancel(id) => {
            begin(w, onf::FLOW_MONITOR_CANCEL);
            w.u32(*id);
            Ok(())
        }
        Message::FlowMonitorPaused => {
            begin(w, onf::FLOW_MONITOR_PAUSED);
            Ok(())
        }
        Message::FlowMonitorResumed => {
            begin(w, onf::FLOW_MONITOR_RESUMED);
            Ok(())
        }
        _ => w.unsupported("that message"),
    }
}

fn read_answers(mut r: Reader<'_>) -> Result<HttpAnswers, OfError> {
    let first = match r.u16()? {
        0 => false,
        1 => true,
        _ => return Err(error::OFPBRC_EPERM),
    };
    let mut entries = Vec::new();
    while !r.is_empty() {
        let (port, status, length) = (r.u16()?, r.u16()?, usize::from(r.u16()?));
        let body = String::from_utf8_lossy(r.take(length)?).into_owned();
        entries.push((port, status, body));
    }
    Ok(HttpAnswers { first, entries })
}

fn write_answers(w: &mut Writer<'_>, m: &HttpAnswers) -> Result<(), EncodeError> {
    w.u16(m.first.into());
    for (port, status, body) in &m.entries {
        let length = u16::try_from(body.len());
        w.u16(*port);
        w.u16(*status);
        w.u16(length.map_err(|_| EncodeError::TooLong { what: "an answer" })?);
        w.bytes(body.as_bytes());
    }
    Ok(())
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
