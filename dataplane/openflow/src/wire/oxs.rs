//! Statistics on the wire of 1.5 (OXS; OpenFlow 1.5.1, 7.2.4).

use super::{EncodeError, Reader, Writer};
use crate::error::{self, OfError};
use crate::msg::MoreStats;

/// OFPXSC_OPENFLOW_BASIC.
const CLASS_BASIC: u16 = 0x8002;

/// OFPXST_OFB_*.
mod field {
    pub(super) const DURATION: u8 = 0;
    pub(super) const IDLE_TIME: u8 = 1;
    pub(super) const FLOW_COUNT: u8 = 3;
    pub(super) const PACKET_COUNT: u8 = 4;
    pub(super) const BYTE_COUNT: u8 = 5;
}

/// What is counted. All ones in numbers: not known, and not on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stats {
    pub(super) duration_sec: u32,
    pub(super) duration_nsec: u32,
    pub(super) packet_count: u64,
    pub(super) byte_count: u64,
    pub(super) more: MoreStats,
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            duration_sec: u32::MAX,
            duration_nsec: u32::MAX,
            packet_count: u64::MAX,
            byte_count: u64::MAX,
            more: MoreStats::default(),
        }
    }
}

/// Reads `ofp_stats` with its padding. Statistics of other classes are passed over.
pub(super) fn read(r: &mut Reader<'_>) -> Result<Stats, OfError> {
    r.skip(2)?;
    let length = usize::from(r.u16()?);
    let payload = length.checked_sub(4).ok_or(error::OFPBRC_BAD_LEN)?;
    let mut list = r.sub(payload)?;
    r.skip(length.next_multiple_of(8) - length)?;
    let mut stats = Stats::default();
    while !list.is_empty() {
        let (class, code, len) = (list.u16()?, list.u8()? >> 1, list.u8()?);
        let mut body = list.sub(usize::from(len))?;
        if class != CLASS_BASIC {
            continue;
        }
        match code {
            field::DURATION => (stats.duration_sec, stats.duration_nsec) = time(&mut body)?,
            field::IDLE_TIME => stats.more.idle = Some(time(&mut body)?),
            field::FLOW_COUNT => stats.more.flow_count = Some(body.u32()?),
            field::PACKET_COUNT => stats.packet_count = body.u64()?,
            field::BYTE_COUNT => stats.byte_count = body.u64()?,
            _ => continue,
        }
        body.end()?;
    }
    Ok(stats)
}

/// Seconds and nanoseconds.
fn time(body: &mut Reader<'_>) -> Result<(u32, u32), OfError> {
    Ok((body.u32()?, body.u32()?))
}

/// Writes what is known, in the order of the fields' numbers, and padding.
pub(super) fn write(w: &mut Writer<'_>, stats: &Stats) -> Result<(), EncodeError> {
    let start = w.len();
    w.zeros(4);
    let head = |w: &mut Writer<'_>, code: u8, len: u8| {
        w.u16(CLASS_BASIC);
        w.u8(code << 1);
        w.u8(len);
    };
    let time = |w: &mut Writer<'_>, code: u8, (sec, nsec): (u32, u32)| {
        head(w, code, 8);
        w.u32(sec);
        w.u32(nsec);
    };
    if stats.duration_sec != u32::MAX {
        let duration = (stats.duration_sec, stats.duration_nsec);
        time(w, field::DURATION, duration);
    }
    if let Some(idle) = stats.more.idle {
        time(w, field::IDLE_TIME, idle);
    }
    if let Some(flows) = stats.more.flow_count {
        head(w, field::FLOW_COUNT, 4);
        w.u32(flows);
    }
    for (code, count) in [
        (field::PACKET_COUNT, stats.packet_count),
        (field::BYTE_COUNT, stats.byte_count),
    ] {
        if count != u64::MAX {
            head(w, code, 8);
            w.u64(count);
        }
    }
    w.patch_length(start + 2, start, "statistics")?;
    w.pad8(start);
    Ok(())
}
