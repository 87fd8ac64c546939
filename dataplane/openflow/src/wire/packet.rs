//! Packets to and from the controller (OpenFlow 1.3.5, 7.3.7, 7.4.1; NXT_PACKET_IN2).

use net::{PortNo, TableId};

use super::actions::{read_actions, write_actions};
use super::oxm::{Strictness, read_fields, read_match, write_fields, write_match};
use super::property::write_as;
use super::{EncodeError, Reader, Writer, continuation};
use crate::check::{self, Place};
use crate::error::{self, OfError};
use crate::msg::{PacketIn, PacketIn2, PacketInReason, PacketOut};
use crate::{Field, Match, Version};

pub(super) fn read_packet_in(mut r: Reader<'_>) -> Result<PacketIn, OfError> {
    let (buffer_id, total_len) = (r.u32()?, r.u16()?);
    let reason = PacketInReason::from_wire(r.u8()?).ok_or(error::OFPBRC_BAD_TYPE)?;
    let reason = in_version(reason, r.version);
    let (table, cookie) = (TableId(r.u8()?), r.u64()?);
    let matching = read_match(&mut r, Strictness::Loose)?;
    r.skip(2)?;
    Ok(PacketIn {
        buffer_id,
        total_len,
        reason,
        table,
        cookie,
        matching,
        data: r.rest().to_vec(),
    })
}

pub(super) fn write_packet_in(w: &mut Writer<'_>, m: &PacketIn) -> Result<(), EncodeError> {
    w.u32(m.buffer_id);
    w.u16(m.total_len);
    w.u8(in_version(m.reason, w.version) as u8);
    w.u8(m.table.0);
    w.u64(m.cookie);
    write_match(w, &m.matching)?;
    w.zeros(2);
    w.bytes(&m.data);
    Ok(())
}

/// The later reasons are kinds of "action" before 1.4.
pub(super) fn in_version(reason: PacketInReason, version: Version) -> PacketInReason {
    match reason {
        PacketInReason::NoMatch | PacketInReason::InvalidTtl => reason,
        _ if version < Version::V1_4 => PacketInReason::Action,
        _ => reason,
    }
}

pub(super) fn read_packet_out(mut r: Reader<'_>) -> Result<PacketOut, OfError> {
    let buffer_id = r.u32()?;
    let (in_port, matching, actions_len);
    if r.version < Version::V1_5 {
        in_port = PortNo(r.u32()?);
        actions_len = usize::from(r.u16()?);
        r.skip(6)?;
        matching = Match::any();
    } else {
        actions_len = usize::from(r.u16()?);
        r.skip(2)?;
        (in_port, matching) = read_pipeline_fields(&mut r)?;
    }
    let actions = read_actions(r.failing(error::OFPBAC_BAD_LEN).sub(actions_len)?)?;
    r.skip(actions_len)?;
    let usable = in_port < PortNo::MAX
        || matches!(in_port, PortNo::CONTROLLER | PortNo::LOCAL | PortNo::ANY);
    if !usable {
        return Err(error::OFPBRC_BAD_PORT);
    }
    check::list(&actions, Place::PacketOut)?;
    Ok(PacketOut {
        buffer_id,
        in_port,
        actions,
        data: r.rest().to_vec(),
        matching,
    })
}

/// The match of a packet-out: the port that it seems to have come from, which must be there, and
/// other pipeline fields (1.5.1, 7.3.6).
fn read_pipeline_fields(r: &mut Reader<'_>) -> Result<(PortNo, Match), OfError> {
    let mut matching = read_match(r, Strictness::Prerequisites)?;
    if !matching.iter().all(|entry| entry.field.is_pipeline()) {
        return Err(error::OFPBRC_PIPELINE_FIELDS_ONLY);
    }
    let port = matching.get(Field::InPort).ok_or(error::OFPBRC_BAD_PORT)?;
    matching.set(Field::InPort, 0, 0);
    let port = u32::try_from(port.value).map_err(|_| error::OFPBRC_BAD_PORT)?;
    Ok((PortNo(port), matching))
}

pub(super) fn write_packet_out(w: &mut Writer<'_>, m: &PacketOut) -> Result<(), EncodeError> {
    if w.version < Version::V1_5 && !m.matching.is_empty() {
        return w.unsupported("pipeline fields in a packet-out");
    }
    w.u32(m.buffer_id);
    let length_at;
    if w.version < Version::V1_5 {
        w.u32(m.in_port.0);
        length_at = w.len();
        w.u16(0);
        w.zeros(6);
    } else {
        length_at = w.len();
        w.zeros(4);
        let matching = m.matching.clone().with(Field::InPort, m.in_port.0);
        write_match(w, &matching)?;
    }
    let start = w.len();
    write_actions(w, &m.actions)?;
    w.patch_length(length_at, start, "list of actions")?;
    w.bytes(&m.data);
    Ok(())
}

/// NXPINT_*: properties of NXT_PACKET_IN2.
mod property {
    pub(super) const PACKET: u16 = 0;
    pub(super) const FULL_LEN: u16 = 1;
    pub(super) const BUFFER_ID: u16 = 2;
    pub(super) const TABLE_ID: u16 = 3;
    pub(super) const COOKIE: u16 = 4;
    pub(super) const REASON: u16 = 5;
    pub(super) const METADATA: u16 = 6;
    pub(super) const USERDATA: u16 = 7;
    pub(super) const CONTINUATION: u16 = 8;
}

pub(super) fn read_packet_in2(mut r: Reader<'_>) -> Result<PacketIn2, OfError> {
    let mut m = PacketIn2 {
        data: Vec::new(),
        full_len: None,
        buffer_id: None,
        table: None,
        cookie: None,
        reason: None,
        matching: Match::any(),
        userdata: Vec::new(),
        continuation: None,
    };
    r = r.failing(error::OFPBPC_BAD_LEN);
    while !r.is_empty() {
        let (kind, length) = (r.u16()?, usize::from(r.u16()?));
        let payload = length.checked_sub(4).ok_or(error::OFPBPC_BAD_LEN)?;
        let mut body = r.sub(payload)?;
        r.skip((length.next_multiple_of(8) - length).min(r.len()))?;
        match kind {
            property::PACKET => m.data = body.rest().to_vec(),
            property::FULL_LEN => m.full_len = Some(body.u32()?),
            property::BUFFER_ID => m.buffer_id = Some(body.u32()?),
            property::TABLE_ID => m.table = Some(TableId(body.u8()?)),
            property::COOKIE => {
                body.skip(4)?;
                m.cookie = Some(body.u64()?);
            }
            property::REASON => {
                let reason = PacketInReason::from_wire(body.u8()?);
                m.reason = Some(reason.ok_or(error::OFPBPC_BAD_VALUE)?);
            }
            property::METADATA => m.matching = read_fields(body, Strictness::Loose)?,
            property::USERDATA => m.userdata = body.rest().to_vec(),
            property::CONTINUATION => {
                body.skip(4)?;
                m.continuation = Some(continuation::read(body)?);
            }
            _ => return Err(error::OFPBPC_BAD_TYPE),
        }
    }
    Ok(m)
}

pub(super) fn write_packet_in2(w: &mut Writer<'_>, m: &PacketIn2) -> Result<(), EncodeError> {
    if !m.data.is_empty() {
        write_property(w, property::PACKET, |w| w.bytes(&m.data))?;
    }
    if let Some(full_len) = m.full_len {
        write_property(w, property::FULL_LEN, |w| w.u32(full_len))?;
    }
    if let Some(buffer_id) = m.buffer_id {
        write_property(w, property::BUFFER_ID, |w| w.u32(buffer_id))?;
    }
    if let Some(table) = m.table {
        write_property(w, property::TABLE_ID, |w| w.u8(table.0))?;
    }
    if let Some(cookie) = m.cookie {
        write_property(w, property::COOKIE, |w| {
            w.zeros(4);
            w.u64(cookie);
        })?;
    }
    if let Some(reason) = m.reason {
        write_property(w, property::REASON, |w| w.u8(reason as u8))?;
    }
    if !m.matching.is_empty() {
        write_property(w, property::METADATA, |w| write_fields(w, &m.matching))?;
    }
    if !m.userdata.is_empty() {
        write_property(w, property::USERDATA, |w| w.bytes(&m.userdata))?;
    }
    if let Some(state) = &m.continuation {
        write_as(w, property::CONTINUATION, "continuation", |w| {
            w.zeros(4);
            continuation::write(w, state)
        })?;
    }
    Ok(())
}

fn write_property(
    w: &mut Writer<'_>,
    kind: u16,
    body: impl FnOnce(&mut Writer<'_>),
) -> Result<(), EncodeError> {
    write_as(w, kind, "packet-in property", |w| {
        body(w);
        Ok(())
    })
}
