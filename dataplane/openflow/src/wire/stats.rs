//! The entries of multipart replies.

use net::{GroupId, MeterId, PortNo, TableId};

use super::instructions::{read_instructions, write_instructions};
use super::oxm::{Strictness, read_match, write_match};
use super::{EncodeError, Reader, Writer};
use crate::error::OfError;
use crate::msg::{
    AggregateStats, BandStats, BucketStats, FlowStats, GroupFeatures, GroupStats, MeterFeatures,
    MeterStats, MoreStats, PortStats, QueueStats, SwitchDesc, TableStats,
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
    let length = usize::from(r.peek_u16()?);
    let mut r = r.sub(length)?;
    r.skip(2)?;
    let table = TableId(r.u8()?);
    r.skip(1)?;
    let (duration_sec, duration_nsec) = (r.u32()?, r.u32()?);
    let (priority, idle_timeout, hard_timeout) = (r.u16()?, r.u16()?, r.u16()?);
    let flags = r.u16()?;
    r.skip(4)?;
    let (cookie, packet_count, byte_count) = (r.u64()?, r.u64()?, r.u64()?);
    Ok(FlowStats {
        table,
        duration_sec,
        duration_nsec,
        priority,
        idle_timeout,
        hard_timeout,
        flags,
        importance: 0,
        cookie,
        packet_count,
        byte_count,
        matching: read_match(&mut r, Strictness::Prerequisites)?,
        instructions: read_instructions(r)?,
        more: MoreStats::default(),
    })
}

pub(super) fn write_flow(w: &mut Writer<'_>, m: &FlowStats) -> Result<(), EncodeError> {
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
    w.zeros(4);
    w.u64(m.cookie);
    w.u64(m.packet_count);
    w.u64(m.byte_count);
    write_match(w, &m.matching)?;
    write_instructions(w, &m.instructions)?;
    w.patch_length(start, start, "flow")
}

pub(super) fn read_aggregate(mut r: Reader<'_>) -> Result<AggregateStats, OfError> {
    let m = AggregateStats {
        packet_count: r.u64()?,
        byte_count: r.u64()?,
        flow_count: r.u32()?,
    };
    r.skip(4)?;
    r.end()?;
    Ok(m)
}

pub(super) fn write_aggregate(w: &mut Writer<'_>, m: &AggregateStats) {
    w.u64(m.packet_count);
    w.u64(m.byte_count);
    w.u32(m.flow_count);
    w.zeros(4);
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

pub(super) fn read_port(r: &mut Reader<'_>) -> Result<PortStats, OfError> {
    let port = PortNo(r.u32()?);
    r.skip(4)?;
    Ok(PortStats {
        port,
        rx_packets: r.u64()?,
        tx_packets: r.u64()?,
        rx_bytes: r.u64()?,
        tx_bytes: r.u64()?,
        rx_dropped: r.u64()?,
        tx_dropped: r.u64()?,
        rx_errors: r.u64()?,
        tx_errors: r.u64()?,
        rx_frame_err: r.u64()?,
        rx_over_err: r.u64()?,
        rx_crc_err: r.u64()?,
        collisions: r.u64()?,
        duration_sec: r.u32()?,
        duration_nsec: r.u32()?,
        properties: Vec::new(),
    })
}

pub(super) fn write_port(w: &mut Writer<'_>, m: &PortStats) -> Result<(), EncodeError> {
    w.u32(m.port.0);
    w.zeros(4);
    for counter in [
        m.rx_packets,
        m.tx_packets,
        m.rx_bytes,
        m.tx_bytes,
        m.rx_dropped,
        m.tx_dropped,
        m.rx_errors,
        m.tx_errors,
        m.rx_frame_err,
        m.rx_over_err,
        m.rx_crc_err,
        m.collisions,
    ] {
        w.u64(counter);
    }
    w.u32(m.duration_sec);
    w.u32(m.duration_nsec);
    Ok(())
}

pub(super) fn read_queue(r: &mut Reader<'_>) -> Result<QueueStats, OfError> {
    Ok(QueueStats {
        port: PortNo(r.u32()?),
        queue: r.u32()?,
        tx_bytes: r.u64()?,
        tx_packets: r.u64()?,
        tx_errors: r.u64()?,
        duration_sec: r.u32()?,
        duration_nsec: r.u32()?,
        properties: Vec::new(),
    })
}

pub(super) fn write_queue(w: &mut Writer<'_>, m: &QueueStats) -> Result<(), EncodeError> {
    w.u32(m.port.0);
    w.u32(m.queue);
    w.u64(m.tx_bytes);
    w.u64(m.tx_packets);
    w.u64(m.tx_errors);
    w.u32(m.duration_sec);
    w.u32(m.duration_nsec);
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

pub(super) fn read_meter_features(mut r: Reader<'_>) -> Result<MeterFeatures, OfError> {
    let m = MeterFeatures {
        max_meter: r.u32()?,
        band_types: r.u32()?,
        capabilities: r.u32()?,
        max_bands: r.u8()?,
        max_color: r.u8()?,
        features: 0,
    };
    r.skip(2)?;
    r.end()?;
    Ok(m)
}

pub(super) fn write_meter_features(w: &mut Writer<'_>, m: &MeterFeatures) {
    w.u32(m.max_meter);
    w.u32(m.band_types);
    w.u32(m.capabilities);
    w.u8(m.max_bands);
    w.u8(m.max_color);
    w.zeros(2);
}
