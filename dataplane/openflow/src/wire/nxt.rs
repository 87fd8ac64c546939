//! Open vSwitch's own messages (NXT_*, nicira-ext.h): tunnel options, connections to forget, roles,
//! packet-ins and flows that went in the form of NXM.

use std::net::{IpAddr, Ipv6Addr};

use net::TableId;

use super::oxm::{Strictness, read_bare_match, write_fields};
use super::packet::in_version;
use super::{EncodeError, Reader, Writer, property};
use crate::Match;
use crate::error::{self, OfError};
use crate::msg::{
    CtFlush, CtTuple, FlowRemoved, MoreStats, PacketIn, PacketInReason, RemovedReason, Role,
    TlvCommand, TlvMap, TlvTable, TlvTableMod,
};

pub(super) fn read_role(mut r: Reader<'_>) -> Result<Role, OfError> {
    let role = match r.u32()? {
        0 => Role::Equal,
        1 => Role::Master,
        2 => Role::Slave,
        _ => return Err(error::OFPRRFC_BAD_ROLE),
    };
    r.end()?;
    Ok(role)
}

pub(super) fn write_role(w: &mut Writer<'_>, role: Role) -> Result<(), EncodeError> {
    w.u32(match role {
        Role::NoChange => return w.unsupported("a role that stays, in Nicira's form"),
        Role::Equal => 0,
        Role::Master => 1,
        Role::Slave => 2,
    });
    Ok(())
}

pub(super) fn read_tlv_mod(mut r: Reader<'_>) -> Result<TlvTableMod, OfError> {
    let command = match r.u16()? {
        0 => TlvCommand::Add,
        1 => TlvCommand::Delete,
        2 => TlvCommand::Clear,
        _ => return Err(error::NXTTMFC_BAD_COMMAND),
    };
    r.skip(6)?;
    let maps = read_maps(r)?;
    if maps.iter().any(|map| map.len % 4 != 0 || map.len > 124) {
        return Err(error::NXTTMFC_BAD_OPT_LEN);
    }
    Ok(TlvTableMod { command, maps })
}

fn read_maps(mut r: Reader<'_>) -> Result<Vec<TlvMap>, OfError> {
    let mut maps = Vec::new();
    while !r.is_empty() {
        maps.push(TlvMap {
            class: r.u16()?,
            kind: r.u8()?,
            len: r.u8()?,
            index: r.u16()?,
        });
        r.skip(2)?;
    }
    Ok(maps)
}

pub(super) fn write_tlv_mod(w: &mut Writer<'_>, m: &TlvTableMod) {
    w.u16(m.command as u16);
    w.zeros(6);
    write_maps(w, &m.maps);
}

fn write_maps(w: &mut Writer<'_>, maps: &[TlvMap]) {
    for map in maps {
        w.u16(map.class);
        w.u8(map.kind);
        w.u8(map.len);
        w.u16(map.index);
        w.zeros(2);
    }
}

pub(super) fn read_tlv_reply(mut r: Reader<'_>) -> Result<TlvTable, OfError> {
    let (max_space, max_fields) = (r.u32()?, r.u16()?);
    r.skip(10)?;
    Ok(TlvTable {
        max_space,
        max_fields,
        maps: read_maps(r)?,
    })
}

pub(super) fn write_tlv_reply(w: &mut Writer<'_>, m: &TlvTable) {
    w.u32(m.max_space);
    w.u16(m.max_fields);
    w.zeros(10);
    write_maps(w, &m.maps);
}

/// NXT_CT_*: which connections.
mod flush {
    pub(super) const ORIGINAL: u16 = 0;
    pub(super) const REPLY: u16 = 1;
    pub(super) const ZONE: u16 = 2;
    pub(super) const MARK: u16 = 3;
    pub(super) const MARK_MASK: u16 = 4;
    pub(super) const LABEL: u16 = 5;
    pub(super) const LABEL_MASK: u16 = 6;
}

/// NXT_CT_TUPLE_*.
mod tuple {
    pub(super) const SRC: u16 = 0;
    pub(super) const DST: u16 = 1;
    pub(super) const SRC_PORT: u16 = 2;
    pub(super) const DST_PORT: u16 = 3;
    pub(super) const ICMP_ID: u16 = 4;
    pub(super) const ICMP_TYPE: u16 = 5;
    pub(super) const ICMP_CODE: u16 = 6;
}

pub(super) fn read_ct_flush(mut r: Reader<'_>) -> Result<CtFlush, OfError> {
    let proto = r.u8()?;
    r.zeros(7, error::NXBRC_MUST_BE_ZERO)?;
    let mut m = CtFlush {
        proto,
        ..CtFlush::default()
    };
    while let Some((kind, mut body)) = property::next(&mut r)? {
        match kind {
            flush::ORIGINAL => m.original = read_tuple(body)?,
            flush::REPLY => m.reply = read_tuple(body)?,
            flush::ZONE => m.zone = Some(body.u16()?),
            // A mask stands behind its value.
            flush::MARK => m.mark = Some((body.u32()?, u32::MAX)),
            flush::MARK_MASK => {
                let (value, mask) = m.mark.as_mut().ok_or(error::OFPBPC_BAD_VALUE)?;
                *mask = body.u32()?;
                *value &= *mask;
            }
            flush::LABEL => m.label = Some((u128::from_be_bytes(body.array()?), u128::MAX)),
            flush::LABEL_MASK => {
                let (value, mask) = m.label.as_mut().ok_or(error::OFPBPC_BAD_VALUE)?;
                *mask = u128::from_be_bytes(body.array()?);
                *value &= *mask;
            }
            _ => return Err(error::OFPBPC_BAD_TYPE),
        }
    }
    let families = [m.original.src, m.original.dst, m.reply.src, m.reply.dst];
    let mut families = families.iter().flatten().map(IpAddr::is_ipv4);
    let first = families.next();
    if families.any(|family| Some(family) != first) {
        return Err(error::OFPBPC_BAD_VALUE);
    }
    Ok(m)
}

fn read_tuple(mut body: Reader<'_>) -> Result<CtTuple, OfError> {
    // Padding up to eight bytes comes before the properties inside.
    body = body.failing(error::OFPBPC_BAD_LEN);
    body.skip(4)?;
    let mut m = CtTuple::default();
    while let Some((kind, mut body)) = property::next(&mut body)? {
        match kind {
            tuple::SRC => m.src = read_address(body)?,
            tuple::DST => m.dst = read_address(body)?,
            tuple::SRC_PORT => m.src_port = Some(body.u16()?).filter(|port| *port != 0),
            tuple::DST_PORT => m.dst_port = Some(body.u16()?).filter(|port| *port != 0),
            tuple::ICMP_ID => m.icmp_id = Some(body.u16()?),
            tuple::ICMP_TYPE => m.icmp_type = Some(body.u8()?),
            tuple::ICMP_CODE => m.icmp_code = Some(body.u8()?),
            _ => return Err(error::OFPBPC_BAD_TYPE),
        }
    }
    // ovs-ofctl writes zeros for a direction that it says nothing about.
    let zeros = CtTuple {
        icmp_id: Some(0),
        icmp_type: Some(0),
        icmp_code: Some(0),
        ..CtTuple::default()
    };
    Ok(if m == zeros { CtTuple::default() } else { m })
}

/// An IPv6 address; an IPv4 one in mapped form, `::` for none.
fn read_address(mut body: Reader<'_>) -> Result<Option<IpAddr>, OfError> {
    let address = Ipv6Addr::from(body.array()?);
    Ok((!address.is_unspecified()).then(|| address.to_canonical()))
}

pub(super) fn write_ct_flush(w: &mut Writer<'_>, m: &CtFlush) -> Result<(), EncodeError> {
    w.u8(m.proto);
    w.zeros(7);
    for (kind, direction) in [(flush::ORIGINAL, &m.original), (flush::REPLY, &m.reply)] {
        if !direction.is_empty() {
            property::write_as(w, kind, "a property", |w| {
                w.zeros(4);
                write_tuple(w, direction)
            })?;
        }
    }
    if let Some(zone) = m.zone {
        write_short(w, flush::ZONE, zone)?;
    }
    if let Some((value, mask)) = m.mark {
        property::write(w, flush::MARK, |w| w.u32(value))?;
        if mask != u32::MAX {
            property::write(w, flush::MARK_MASK, |w| w.u32(mask))?;
        }
    }
    if let Some((value, mask)) = m.label {
        property::write(w, flush::LABEL, |w| w.bytes(&value.to_be_bytes()))?;
        if mask != u128::MAX {
            property::write(w, flush::LABEL_MASK, |w| w.bytes(&mask.to_be_bytes()))?;
        }
    }
    Ok(())
}

fn write_tuple(w: &mut Writer<'_>, m: &CtTuple) -> Result<(), EncodeError> {
    for (kind, address) in [(tuple::SRC, m.src), (tuple::DST, m.dst)] {
        let octets = match address {
            Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped().octets(),
            Some(IpAddr::V6(v6)) => v6.octets(),
            None => continue,
        };
        property::write(w, kind, |w| w.bytes(&octets))?;
    }
    for (kind, number) in [
        (tuple::SRC_PORT, m.src_port),
        (tuple::DST_PORT, m.dst_port),
        (tuple::ICMP_ID, m.icmp_id),
    ] {
        if let Some(number) = number {
            write_short(w, kind, number)?;
        }
    }
    for (kind, number) in [
        (tuple::ICMP_TYPE, m.icmp_type),
        (tuple::ICMP_CODE, m.icmp_code),
    ] {
        if let Some(number) = number {
            property::write(w, kind, |w| w.u8(number))?;
        }
    }
    Ok(())
}

/// A number of 16 bits is followed by two bytes that count.
fn write_short(w: &mut Writer<'_>, kind: u16, number: u16) -> Result<(), EncodeError> {
    property::write(w, kind, |w| {
        w.u16(number);
        w.zeros(2);
    })
}

/// NXT_PACKET_IN: like that of 1.3, but the length of the match stands before it.
pub(super) fn read_packet_in(mut r: Reader<'_>) -> Result<PacketIn, OfError> {
    let (buffer_id, total_len) = (r.u32()?, r.u16()?);
    let reason = PacketInReason::from_wire(r.u8()?).ok_or(error::OFPBRC_BAD_TYPE)?;
    let reason = in_version(reason, r.version);
    let (table, cookie) = (TableId(r.u8()?), r.u64()?);
    let length = usize::from(r.u16()?);
    r.skip(6)?;
    let matching = read_bare_match(&mut r, length, Strictness::Loose)?;
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

/// Writes fields padded to eight bytes, and their length to `length_at`.
fn write_nx_match(
    w: &mut Writer<'_>,
    length_at: usize,
    matching: &Match,
) -> Result<(), EncodeError> {
    let start = w.len();
    write_fields(w, matching);
    w.patch_length(length_at, start, "match")?;
    w.pad8(start);
    Ok(())
}

pub(super) fn write_packet_in(w: &mut Writer<'_>, m: &PacketIn) -> Result<(), EncodeError> {
    w.u32(m.buffer_id);
    w.u16(m.total_len);
    w.u8(in_version(m.reason, w.version) as u8);
    w.u8(m.table.0);
    w.u64(m.cookie);
    let length_at = w.len();
    w.zeros(8);
    write_nx_match(w, length_at, &m.matching)?;
    w.zeros(2);
    w.bytes(&m.data);
    Ok(())
}

/// NXT_FLOW_REMOVED: the table's number is one more, since 0 was padding once; there is no hard
/// timeout.
pub(super) fn read_flow_removed(mut r: Reader<'_>) -> Result<FlowRemoved, OfError> {
    let (cookie, priority) = (r.u64()?, r.u16()?);
    let reason = RemovedReason::from_wire(r.u8()?).ok_or(error::OFPBRC_BAD_TYPE)?;
    let table = TableId(r.u8()?.wrapping_sub(1));
    let (duration_sec, duration_nsec) = (r.u32()?, r.u32()?);
    let idle_timeout = r.u16()?;
    let length = usize::from(r.u16()?);
    let (packet_count, byte_count) = (r.u64()?, r.u64()?);
    let matching = read_bare_match(&mut r, length, Strictness::Loose)?;
    r.end()?;
    Ok(FlowRemoved {
        cookie,
        priority,
        reason,
        table,
        duration_sec,
        duration_nsec,
        idle_timeout,
        hard_timeout: 0,
        packet_count,
        byte_count,
        matching,
        more: MoreStats::default(),
    })
}

pub(super) fn write_flow_removed(w: &mut Writer<'_>, m: &FlowRemoved) -> Result<(), EncodeError> {
    w.u64(m.cookie);
    w.u16(m.priority);
    w.u8(m.reason as u8);
    w.u8(m.table.0.wrapping_add(1));
    w.u32(m.duration_sec);
    w.u32(m.duration_nsec);
    w.u16(m.idle_timeout);
    let length_at = w.len();
    w.u16(0);
    w.u64(m.packet_count);
    w.u64(m.byte_count);
    write_nx_match(w, length_at, &m.matching)
}
