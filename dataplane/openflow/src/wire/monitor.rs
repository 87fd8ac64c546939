//! Flow monitors: native from 1.4 on, ONF extension 1870 on 1.3 (OpenFlow 1.5.1, 7.3.5.20).

use net::{GroupId, PortNo, TableId};

use super::instructions::{read_instructions, write_instructions};
use super::oxm::{MATCH_OXM, Strictness, read_bare_match, read_match, write_match};
use super::{EncodeError, Reader, Writer};
use crate::error::{self, OfError};
use crate::msg::{
    FlowEvent, FlowMonitorRequest, FlowUpdate, FlowUpdateFull, MONITOR_ADD, MONITOR_MODIFY,
    MONITOR_ONLY_OWN, MONITOR_REMOVED, MonitorCommand, MultipartReply, MultipartRequest,
    RemovedReason, ReplyBody, RequestBody,
};
use crate::{Instructions, Match, Version};

/// Every flag of 1.3.
const FLAGS_1_3: u16 = 0x3f;
/// Every flag.
const FLAGS: u16 = FLAGS_1_3 | MONITOR_ONLY_OWN;

/// Reads one request.
pub(super) fn read_request(r: &mut Reader<'_>) -> Result<FlowMonitorRequest, OfError> {
    if r.version < Version::V1_4 {
        return read_request_1_3(r);
    }
    let id = r.u32()?;
    let (out_port, out_group) = (PortNo(r.u32()?), GroupId(r.u32()?));
    let (flags, table) = (r.u16()?, TableId(r.u8()?));
    let command = match r.u8()? {
        0 => MonitorCommand::Add,
        1 => MonitorCommand::Modify,
        2 => MonitorCommand::Delete,
        _ => return Err(error::OFPMOFC_BAD_COMMAND),
    };
    // Open vSwitch ends a deletion without a match.
    let matching = match command {
        MonitorCommand::Delete if r.is_empty() => Match::any(),
        _ => read_match(r, Strictness::Prerequisites)?,
    };
    if command != MonitorCommand::Delete {
        check_flags(flags, FLAGS)?;
    }
    Ok(FlowMonitorRequest {
        id,
        command,
        flags,
        out_port,
        out_group,
        table,
        matching,
    })
}

fn read_request_1_3(r: &mut Reader<'_>) -> Result<FlowMonitorRequest, OfError> {
    let (id, flags) = (r.u32()?, r.u16()?);
    let match_len = r.u16()?;
    let (out_port, table) = (PortNo(r.u32()?), TableId(r.u8()?));
    r.zeros(3, error::NXBRC_MUST_BE_ZERO)?;
    check_flags(flags, FLAGS_1_3)?;
    Ok(FlowMonitorRequest {
        id,
        command: MonitorCommand::Add,
        flags,
        out_port,
        out_group: GroupId::ANY,
        table,
        matching: read_match_1_3(r, match_len)?,
    })
}

/// The ONF's text has the bare fields behind the request, Open vSwitch a whole `ofp_match`, whose
/// own length is then the one that stands in the request.
fn read_match_1_3(r: &mut Reader<'_>, match_len: u16) -> Result<Match, OfError> {
    let mut head = *r;
    let whole = head.u16() == Ok(MATCH_OXM) && head.u16() == Ok(match_len);
    if whole {
        return read_match(r, Strictness::Prerequisites);
    }
    read_bare_match(r, usize::from(match_len), Strictness::Prerequisites)
}

/// A monitor must tell something.
fn check_flags(flags: u16, known: u16) -> Result<(), OfError> {
    let tells = flags & (MONITOR_ADD | MONITOR_REMOVED | MONITOR_MODIFY) != 0;
    if tells && flags & !known == 0 {
        Ok(())
    } else {
        Err(error::OFPMOFC_BAD_FLAGS)
    }
}

pub(super) fn write_request(w: &mut Writer<'_>, m: &FlowMonitorRequest) -> Result<(), EncodeError> {
    if w.version >= Version::V1_4 {
        w.u32(m.id);
        w.u32(m.out_port.0);
        w.u32(m.out_group.0);
        w.u16(m.flags);
        w.u8(m.table.0);
        w.u8(m.command as u8);
        return write_match(w, &m.matching);
    }
    let plain = m.command == MonitorCommand::Add && m.out_group == GroupId::ANY;
    if !plain || m.flags & !FLAGS_1_3 != 0 {
        return w.unsupported("such a flow monitor");
    }
    w.u32(m.id);
    w.u16(m.flags);
    let length_at = w.len();
    w.u16(0);
    w.u32(m.out_port.0);
    w.u8(m.table.0);
    w.zeros(3);
    write_match_with_length(w, length_at, &m.matching)
}

/// Writes a match, and its length without padding to `length_at`.
fn write_match_with_length(
    w: &mut Writer<'_>,
    length_at: usize,
    matching: &Match,
) -> Result<(), EncodeError> {
    let start = w.len();
    write_match(w, matching)?;
    let length = w.get_u16(start + 2);
    w.patch_u16(length_at, length);
    Ok(())
}

/// The numbers of events on 1.3 are one less: there is none for what is there already.
const ABBREV_1_3: u16 = 3;
/// OFPFME_ABBREV.
const ABBREV: u16 = 4;
/// OFPFME_PAUSED.
const PAUSED: u16 = 5;
/// OFPFME_RESUMED.
const RESUMED: u16 = 6;

/// Reads one update.
pub(super) fn read_update(r: &mut Reader<'_>) -> Result<FlowUpdate, OfError> {
    let length = usize::from(r.peek_u16()?);
    if length % 8 != 0 {
        return Err(error::OFPBRC_BAD_LEN);
    }
    let mut r = r.sub(length)?;
    r.skip(2)?;
    let native = r.version >= Version::V1_4;
    let event = match (r.u16()?, native) {
        (0, true) => FlowEvent::Initial,
        (1, true) | (0, false) => FlowEvent::Added,
        (2, true) | (1, false) => FlowEvent::Removed,
        (3, true) | (2, false) => FlowEvent::Modified,
        (ABBREV, true) | (ABBREV_1_3, false) => {
            let xid = r.u32()?;
            r.end()?;
            return Ok(FlowUpdate::Abbrev(xid));
        }
        (event @ (PAUSED | RESUMED), true) => {
            r.skip(4)?;
            r.end()?;
            return Ok(match event {
                PAUSED => FlowUpdate::Paused,
                _ => FlowUpdate::Resumed,
            });
        }
        _ => return Err(error::NXBRC_FM_BAD_EVENT),
    };
    read_full(event, r).map(FlowUpdate::Full)
}

fn read_full(event: FlowEvent, mut r: Reader<'_>) -> Result<FlowUpdateFull, OfError> {
    let (table, reason, idle_timeout, hard_timeout, priority);
    if r.version >= Version::V1_4 {
        (table, reason) = (TableId(r.u8()?), u16::from(r.u8()?));
        (idle_timeout, hard_timeout, priority) = (r.u16()?, r.u16()?, r.u16()?);
        r.skip(4)?;
    } else {
        (reason, priority) = (r.u16()?, r.u16()?);
        (idle_timeout, hard_timeout) = (r.u16()?, r.u16()?);
        r.skip(2)?;
        table = TableId(r.u8()?);
        r.skip(1)?;
    }
    Ok(FlowUpdateFull {
        event,
        reason: read_reason(event, reason)?,
        table,
        idle_timeout,
        hard_timeout,
        priority,
        cookie: r.u64()?,
        matching: read_match(&mut r, Strictness::Loose)?,
        instructions: read_instructions(r)?,
    })
}

fn read_reason(event: FlowEvent, reason: u16) -> Result<Option<RemovedReason>, OfError> {
    if event != FlowEvent::Removed {
        return Ok(None);
    }
    let reason = u8::try_from(reason).ok().and_then(RemovedReason::from_wire);
    reason.map(Some).ok_or(error::OFPBRC_BAD_TYPE)
}

pub(super) fn write_update(w: &mut Writer<'_>, update: &FlowUpdate) -> Result<(), EncodeError> {
    let native = w.version >= Version::V1_4;
    let short = |w: &mut Writer<'_>, event: u16, data: u32| {
        w.u16(8);
        w.u16(event);
        w.u32(data);
        Ok(())
    };
    match update {
        FlowUpdate::Full(full) => write_full(w, full),
        FlowUpdate::Abbrev(xid) => short(w, if native { ABBREV } else { ABBREV_1_3 }, *xid),
        FlowUpdate::Paused if native => short(w, PAUSED, 0),
        FlowUpdate::Resumed if native => short(w, RESUMED, 0),
        FlowUpdate::Paused | FlowUpdate::Resumed => {
            w.unsupported("a pause inside a reply about flows")
        }
    }
}

fn write_full(w: &mut Writer<'_>, m: &FlowUpdateFull) -> Result<(), EncodeError> {
    let start = w.len();
    let reason = m.reason.map_or(0, |reason| reason as u8);
    w.u16(0);
    if w.version >= Version::V1_4 {
        w.u16(m.event as u16);
        w.u8(m.table.0);
        w.u8(reason);
        w.u16(m.idle_timeout);
        w.u16(m.hard_timeout);
        w.u16(m.priority);
        w.zeros(4);
        w.u64(m.cookie);
        write_match(w, &m.matching)?;
    } else {
        w.u16((m.event as u16).saturating_sub(1));
        w.u16(u16::from(reason));
        w.u16(m.priority);
        w.u16(m.idle_timeout);
        w.u16(m.hard_timeout);
        let length_at = w.len();
        w.u16(0);
        w.u8(m.table.0);
        w.u8(0);
        w.u64(m.cookie);
        write_match_with_length(w, length_at, &m.matching)?;
    }
    if m.instructions != Instructions::default() {
        w.describing(|w| write_instructions(w, &m.instructions))?;
    }
    w.patch_length(start, start, "a flow update")
}

/// A reply of one update.
pub(super) fn alone(update: FlowUpdate) -> MultipartReply {
    MultipartReply {
        more: false,
        body: ReplyBody::FlowMonitor(vec![update]),
    }
}

/// The request that ends a monitor.
pub(super) fn cancel(id: u32) -> MultipartRequest {
    let delete = FlowMonitorRequest {
        id,
        command: MonitorCommand::Delete,
        flags: 0,
        out_port: PortNo::ANY,
        out_group: GroupId::ANY,
        table: TableId::ALL,
        matching: Match::any(),
    };
    MultipartRequest {
        more: false,
        body: RequestBody::FlowMonitor(vec![delete]),
    }
}
