//! Flow modifications and flows that went (OpenFlow 1.3.5, 7.3.4.1, 7.4.2).

use net::{GroupId, PortNo, TableId};

use super::instructions::{read_instructions, write_instructions};
use super::oxm::{Strictness, read_match, write_match};
use super::oxs::Stats;
use super::{EncodeError, Reader, Writer, oxs};
use crate::error::{self, OfError};
use crate::model::{FlowCommand, FlowHead, FlowMod};
use crate::msg::{FlowRemoved, MoreStats, RemovedReason};
use crate::{Version, check};

/// Every OFPFF_* of 1.3.
const KNOWN_FLAGS: u16 = 0x1f;

pub(super) fn read_flow_mod(mut r: Reader<'_>) -> Result<FlowMod, OfError> {
    let head = read_head(&mut r)?;
    let matching = read_match(&mut r, Strictness::Prerequisites)?;
    let instructions = read_instructions(r)?;
    let version = r.version;
    check::flow(&matching, &instructions, head.table).map_err(|error| match error {
        // The meter is an action's argument from 1.5 on.
        error::OFPMMFC_INVALID_METER if version >= Version::V1_5 => error::OFPBAC_BAD_METER,
        other => other,
    })?;
    Ok(FlowMod::of(head, matching, instructions))
}

/// All but match and instructions.
pub(super) fn read_head(r: &mut Reader<'_>) -> Result<FlowHead, OfError> {
    let (cookie, cookie_mask) = (r.u64()?, r.u64()?);
    let table = TableId(r.u8()?);
    let command = match r.u8()? {
        0 => FlowCommand::Add,
        1 => FlowCommand::Modify,
        2 => FlowCommand::ModifyStrict,
        3 => FlowCommand::Delete,
        4 => FlowCommand::DeleteStrict,
        _ => return Err(error::OFPFMFC_BAD_COMMAND),
    };
    let (idle_timeout, hard_timeout, priority) = (r.u16()?, r.u16()?, r.u16()?);
    let buffer_id = r.u32()?;
    let (out_port, out_group) = (PortNo(r.u32()?), GroupId(r.u32()?));
    let flags = r.u16()?;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(error::OFPFMFC_BAD_FLAGS);
    }
    // Padding before 1.4.
    let importance = r.u16()?;
    let importance = if r.version < Version::V1_4 {
        0
    } else {
        importance
    };
    Ok(FlowHead {
        command,
        table,
        cookie,
        cookie_mask,
        idle_timeout,
        hard_timeout,
        priority,
        buffer_id,
        out_port,
        out_group,
        flags,
        importance,
    })
}

pub(super) fn write_flow_mod(w: &mut Writer<'_>, m: &FlowMod) -> Result<(), EncodeError> {
    w.u64(m.cookie);
    w.u64(m.cookie_mask);
    w.u8(m.table.0);
    w.u8(m.command as u8);
    w.u16(m.idle_timeout);
    w.u16(m.hard_timeout);
    w.u16(m.priority);
    w.u32(m.buffer_id);
    w.u32(m.out_port.0);
    w.u32(m.out_group.0);
    w.u16(m.flags);
    w.u16(if w.version < Version::V1_4 {
        0
    } else {
        m.importance
    });
    write_match(w, &m.matching)?;
    write_instructions(w, &m.instructions)
}

pub(super) fn read_flow_removed(mut r: Reader<'_>) -> Result<FlowRemoved, OfError> {
    if r.version >= Version::V1_5 {
        return read_flow_removed_1_5(r);
    }
    let (cookie, priority) = (r.u64()?, r.u16()?);
    let reason = RemovedReason::from_wire(r.u8()?).ok_or(error::OFPBRC_BAD_TYPE)?;
    let table = TableId(r.u8()?);
    let (duration_sec, duration_nsec) = (r.u32()?, r.u32()?);
    let (idle_timeout, hard_timeout) = (r.u16()?, r.u16()?);
    let (packet_count, byte_count) = (r.u64()?, r.u64()?);
    let matching = read_match(&mut r, Strictness::Loose)?;
    r.end()?;
    Ok(FlowRemoved {
        cookie,
        priority,
        reason,
        table,
        duration_sec,
        duration_nsec,
        idle_timeout,
        hard_timeout,
        packet_count,
        byte_count,
        matching,
        more: MoreStats::default(),
    })
}

fn read_flow_removed_1_5(mut r: Reader<'_>) -> Result<FlowRemoved, OfError> {
    let table = TableId(r.u8()?);
    let reason = RemovedReason::from_wire(r.u8()?).ok_or(error::OFPBRC_BAD_TYPE)?;
    let (priority, idle_timeout, hard_timeout) = (r.u16()?, r.u16()?, r.u16()?);
    let cookie = r.u64()?;
    let matching = read_match(&mut r, Strictness::Loose)?;
    let stats = oxs::read(&mut r)?;
    r.end()?;
    Ok(FlowRemoved {
        cookie,
        priority,
        reason,
        table,
        duration_sec: stats.duration_sec,
        duration_nsec: stats.duration_nsec,
        idle_timeout,
        hard_timeout,
        packet_count: stats.packet_count,
        byte_count: stats.byte_count,
        matching,
        more: stats.more,
    })
}

fn write_flow_removed_1_5(w: &mut Writer<'_>, m: &FlowRemoved) -> Result<(), EncodeError> {
    w.u8(m.table.0);
    w.u8(m.reason as u8);
    w.u16(m.priority);
    w.u16(m.idle_timeout);
    w.u16(m.hard_timeout);
    w.u64(m.cookie);
    write_match(w, &m.matching)?;
    oxs::write(
        w,
        &Stats {
            duration_sec: m.duration_sec,
            duration_nsec: m.duration_nsec,
            packet_count: m.packet_count,
            byte_count: m.byte_count,
            more: m.more.clone(),
        },
    )
}

pub(super) fn write_flow_removed(w: &mut Writer<'_>, m: &FlowRemoved) -> Result<(), EncodeError> {
    if w.version >= Version::V1_5 {
        return write_flow_removed_1_5(w, m);
    }
    w.u64(m.cookie);
    w.u16(m.priority);
    w.u8(m.reason as u8);
    w.u8(m.table.0);
    w.u32(m.duration_sec);
    w.u32(m.duration_nsec);
    w.u16(m.idle_timeout);
    w.u16(m.hard_timeout);
    w.u64(m.packet_count);
    w.u64(m.byte_count);
    write_match(w, &m.matching)
}
