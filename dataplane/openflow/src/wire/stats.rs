//! The entries of multipart replies.

use net::{GroupId, MeterId, TableId};

use super::instructions::{read_instructions, write_instructions};
use super::oxm::{Strictness, read_match, write_match};
use super::oxs::Stats;
use super::{EncodeError, Reader, Writer, oxs};
use crate::Version;
use crate::error::{self, OfError};
use crate::msg::{
    AggregateStats, BandStats, BucketStats, FlowCounters, FlowStats, FlowStatsReason,
    GroupFeatures, GroupStats, MeterFeatures, MeterStats, MoreStats, SwitchDesc, TableStats,
};

/// DESC_STR_LEN.
const DESC_LEN: usize = 256;
/// SERIAL_NUM_LEN.
const SERIAL_LEN: usize = 32;

pub(super) fn read_desc(mut r: Reader<'_>) -> Result<SwitchDesc, OfError> {
    let desc = SwitchDesc {
        mfr_desc: r.text(DESC_LEN)?,
        hw_desc: r.text(DESC_LEN)?,
        sw_desc: r.text(DESC_LEN)?,
        serial_num: r.text(SERIAL_LEN)?,
        dp_desc: r.text(DESC_LEN)?,
    };
    r.end()?;
    Ok(desc)
}

pub(super) fn write_desc(w: &mut Writer<'_>, m: &SwitchDesc) {
    w.text(&m.mfr_desc, DESC_LEN);
    w.text(&m.hw_desc, DESC_LEN);
    w.text(&m.sw_desc, DESC_LEN);
    w.text(&m.serial_num, SERIAL_LEN);
    w.text(&m.dp_desc, DESC_LEN);
}

pub(super) fn read_flow(r: &mut Reader<'_>) -> Result<FlowStats, OfError> {
    if r.version >= Version::V1_5 {
        return read_flow_desc(r);
    }
    let length = usize::from(r.peek_u16()?);
    let mut r = r.sub(length)?;
    r.skip(2)?;
    let table = TableId(r.u8()?);
    r.skip(1)?;
    let (duration_sec, duration_nsec) = (r.u32()?, r.u32()?);
    let (priority, idle_timeout, hard_timeout) = (r.u16()?, r.u16()?, r.u16()?);
    // Padding before 1.4.
    let (flags, importance) = (r.u16()?, r.u16()?);
    let importance = if r.version < Version::V1_4 {
        0
    } else {
        importance
    };
    r.skip(2)?;
    let (cookie, packet_count, byte_count) = (r.u64()?, r.u64()?, r.u64()?);
    Ok(FlowStats {
        table,
        duration_sec,
        duration_nsec,
        priority,
        idle_timeout,
        hard_timeout,
        flags,
        importance,
        cookie,
        packet_count,
        byte_count,
        matching: read_match(&mut r, Strictness::Prerequisites)?,
        instructions: read_instructions(r)?,
        more: MoreStats::default(),
    })
}

/// OFPMP_FLOW_DESC of 1.5.
fn read_flow_desc(r: &mut Reader<'_>) -> Result<FlowStats, OfError> {
    let length = usize::from(r.peek_u16()?);
    let mut r = r.sub(length)?;
    r.skip(4)?;
    let table = TableId(r.u8()?);
    r.skip(1)?;
    let (priority, idle_timeout, hard_timeout) = (r.u16()?, r.u16()?, r.u16()?);
    let (flags, importance) = (r.u16()?, r.u16()?);
    let cookie = r.u64()?;
    let matching = read_match(&mut r, Strictness::Prerequisites)?;
    let stats = oxs::read(&mut r)?;
    Ok(FlowStats {
        table,
        duration_sec: stats.duration_sec,
        duration_nsec: stats.duration_nsec,
        priority,
        idle_timeout,
        hard_timeout,
        flags,
        importance,
        cookie,
        packet_count: stats.packet_count,
        byte_count: stats.byte_count,
        matching,
        instructions: read_instructions(r)?,
        more: stats.more,
    })
}

pub(super) fn write_flow(w: &mut Writer<'_>, m: &FlowStats) -> Result<(), EncodeError> {
    if w.version >= Version::V1_5 {
        return write_flow_desc(w, m);
    }
    let start = w.len();
    w.u16(0);
    w.u8(m.table.0);
    w.u8(0);
    w.u32(m.duration_sec);
    w.u32(m.duration_nsec);
    w.u16(m.priority);
    w.u16(m.idle_timeout);
    w.u16(m.hard_timeout);
    w.u16(m.flags);
    let later = w.version >= Version::V1_4;
    w.u16(if later { m.importance } else { 0 });
    w.zeros(2);
    w.u64(m.cookie);
    w.u64(m.packet_count);
    w.u64(m.byte_count);
    write_match(w, &m.matching)?;
    w.describing(|w| write_instructions(w, &m.instructions))?;
    w.patch_length(start, start, "flow")
}

fn write_flow_desc(w: &mut Writer<'_>, m: &FlowStats) -> Result<(), EncodeError> {
    let start = w.len();
    w.zeros(4);
    w.u8(m.table.0);
    w.u8(0);
    w.u16(m.priority);
    w.u16(m.idle_timeout);
    w.u16(m.hard_timeout);
    w.u16(m.flags);
    w.u16(m.importance);
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
    )?;
    w.describing(|w| write_instructions(w, &m.instructions))?;
    w.patch_length(start, start, "flow")
}

/// OFPMP_FLOW_STATS of 1.5.
pub(super) fn read_flow_counters(r: &mut Reader<'_>) -> Result<FlowCounters, OfError> {
    let length = usize::from(r.peek_u16()?);
    let mut r = r.sub(length)?;
    r.skip(4)?;
    let table = TableId(r.u8()?);
    let reason = match r.u8()? {
        0 => FlowStatsReason::Request,
        1 => FlowStatsReason::Trigger,
        _ => return Err(error::OFPBRC_BAD_TYPE),
    };
    let priority = r.u16()?;
    let matching = read_match(&mut r, Strictness::Loose)?;
    let stats = oxs::read(&mut r)?;
    r.end()?;
    Ok(FlowCounters {
        table,
        reason,
        priority,
        duration_sec: stats.duration_sec,
        duration_nsec: stats.duration_nsec,
        packet_count: stats.packet_count,
        byte_count: stats.byte_count,
        matching,
        more: stats.more,
    })
}

pub(super) fn write_flow_counters(w: &mut Writer<'_>, m: &FlowCounters) -> Result<(), EncodeError> {
    let start = w.len();
    w.zeros(4);
    w.u8(m.table.0);
    w.u8(m.reason as u8);
    w.u16(m.priority);
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
    )?;
    w.patch_length(start, start, "flow statistics")
}

pub(super) fn read_aggregate(mut r: Reader<'_>) -> Result<AggregateStats, OfError> {
    if r.version >= Version::V1_5 {
        let stats = oxs::read(&mut r)?;
        r.end()?;
        return Ok(AggregateStats {
            packet_count: stats.packet_count,
            byte_count: stats.byte_count,
            flow_count: stats.more.flow_count.unwrap_or(u32::MAX),
        });
    }
    let m = AggregateStats {
        packet_count: r.u64()?,
        byte_count: r.u64()?,
        flow_count: r.u32()?,
    };
    r.skip(4)?;
    r.end()?;
    Ok(m)
}

pub(super) fn write_aggregate(w: &mut Writer<'_>, m: &AggregateStats) -> Result<(), EncodeError> {
    if w.version >= Version::V1_5 {
        let more = MoreStats {
            flow_count: (m.flow_count != u32::MAX).then_some(m.flow_count),
            ..MoreStats::default()
        };
        return oxs::write(
            w,
            &Stats {
                packet_count: m.packet_count,
                byte_count: m.byte_count,
                more,
                ..Stats::default()
            },
        );
    }
    w.u64(m.packet_count);
    w.u64(m.byte_count);
    w.u32(m.flow_count);
    w.zeros(4);
    Ok(())
}

pub(super) fn read_table(r: &mut Reader<'_>) -> Result<TableStats, OfError> {
    let table = TableId(r.u8()?);
    r.skip(3)?;
    Ok(TableStats {
        table,
        active_count: r.u32()?,
        lookup_count: r.u64()?,
        matched_count: r.u64()?,
    })
}

pub(super) fn write_table(w: &mut Writer<'_>, m: &TableStats) -> Result<(), EncodeError> {
    w.u8(m.table.0);
    w.zeros(3);
    w.u32(m.active_count);
    w.u64(m.lookup_count);
    w.u64(m.matched_count);
    Ok(())
}

pub(super) fn read_group(r: &mut Reader<'_>) -> Result<GroupStats, OfError> {
    let length = usize::from(r.peek_u16()?);
    let mut r = r.sub(length)?;
    r.skip(4)?;
    let (group, ref_count) = (GroupId(r.u32()?), r.u32()?);
    r.skip(4)?;
    let (packet_count, byte_count) = (r.u64()?, r.u64()?);
    let (duration_sec, duration_nsec) = (r.u32()?, r.u32()?);
    let mut buckets = Vec::new();
    while !r.is_empty() {
        buckets.push(BucketStats {
            packet_count: r.u64()?,
            byte_count: r.u64()?,
        });
    }
    Ok(GroupStats {
        group,
        ref_count,
        packet_count,
        byte_count,
        duration_sec,
        duration_nsec,
        buckets,
    })
}

pub(super) fn write_group(w: &mut Writer<'_>, m: &GroupStats) -> Result<(), EncodeError> {
    let start = w.len();
    w.u16(0);
    w.zeros(2);
    w.u32(m.group.0);
    w.u32(m.ref_count);
    w.zeros(4);
    w.u64(m.packet_count);
    w.u64(m.byte_count);
    w.u32(m.duration_sec);
    w.u32(m.duration_nsec);
    for bucket in &m.buckets {
        w.u64(bucket.packet_count);
        w.u64(bucket.byte_count);
    }
    w.patch_length(start, start, "group statistics")
}

pub(super) fn read_group_features(mut r: Reader<'_>) -> Result<GroupFeatures, OfError> {
    let (types, capabilities) = (r.u32()?, r.u32()?);
    let mut four = || -> Result<[u32; 4], OfError> { Ok([r.u32()?, r.u32()?, r.u32()?, r.u32()?]) };
    let (max_groups, actions) = (four()?, four()?);
    r.end()?;
    Ok(GroupFeatures {
        types,
        capabilities,
        max_groups,
        actions,
    })
}

pub(super) fn write_group_features(w: &mut Writer<'_>, m: &GroupFeatures) {
    w.u32(m.types);
    w.u32(m.capabilities);
    for number in m.max_groups.iter().chain(&m.actions) {
        w.u32(*number);
    }
}

pub(super) fn read_meter(r: &mut Reader<'_>) -> Result<MeterStats, OfError> {
    // The length stands behind the number here.
    let mut head = *r;
    head.skip(4)?;
    let length = usize::from(head.u16()?);
    let mut r = r.sub(length)?;
    let meter = MeterId(r.u32()?);
    r.skip(8)?;
    let flow_count = r.u32()?;
    let (packet_in_count, byte_in_count) = (r.u64()?, r.u64()?);
    let (duration_sec, duration_nsec) = (r.u32()?, r.u32()?);
    let mut bands = Vec::new();
    while !r.is_empty() {
        bands.push(BandStats {
            packet_count: r.u64()?,
            byte_count: r.u64()?,
        });
    }
    Ok(MeterStats {
        meter,
        flow_count,
        packet_in_count,
        byte_in_count,
        duration_sec,
        duration_nsec,
        bands,
    })
}

pub(super) fn write_meter(w: &mut Writer<'_>, m: &MeterStats) -> Result<(), EncodeError> {
    let start = w.len();
    w.u32(m.meter.0);
    w.u16(0);
    w.zeros(6);
    w.u32(m.flow_count);
    w.u64(m.packet_in_count);
    w.u64(m.byte_in_count);
    w.u32(m.duration_sec);
    w.u32(m.duration_nsec);
    for band in &m.bands {
        w.u64(band.packet_count);
        w.u64(band.byte_count);
    }
    w.patch_length(start + 4, start, "meter statistics")
}

/// 1.5.1 adds the features; Open vSwitch does not send them, and takes no reply that has them.
pub(super) fn read_meter_features(mut r: Reader<'_>) -> Result<MeterFeatures, OfError> {
    let mut m = MeterFeatures {
        max_meter: r.u32()?,
        band_types: r.u32()?,
        capabilities: r.u32()?,
        max_bands: r.u8()?,
        max_color: r.u8()?,
        features: 0,
    };
    r.skip(2)?;
    if r.version >= Version::V1_5 && !r.is_empty() {
        m.features = r.u32()?;
        r.skip(4)?;
    }
    r.end()?;
    Ok(m)
}

/// The features of 1.5 are left out where there are none, so that a switch that wants to be
/// understood by Open vSwitch's tools and by OVN can be.
pub(super) fn write_meter_features(w: &mut Writer<'_>, m: &MeterFeatures) {
    w.u32(m.max_meter);
    w.u32(m.band_types);
    w.u32(m.capabilities);
    w.u8(m.max_bands);
    w.u8(m.max_color);
    w.zeros(2);
    if w.version >= Version::V1_5 && m.features != 0 {
        w.u32(m.features);
        w.zeros(4);
    }
}
