//! Limits of zones and impairments of ports: entries of a fixed length, one behind the other.

use net::PortNo;

use super::{Reader, Writer};
use crate::error::{self, OfError};
use crate::msg::{Impairment, ZoneLimit};

/// Flag of an entry: the zone has a limit.
const LIMITED: u16 = 1;

pub(super) fn read_zones(mut r: Reader<'_>) -> Result<Vec<ZoneLimit>, OfError> {
    let mut entries = Vec::new();
    while !r.is_empty() {
        let (zone, flags, limit, owner) = (r.u16()?, r.u16()?, r.u32()?, r.u64()?);
        let limit = match flags {
            0 => None,
            LIMITED => Some(limit),
            _ => return Err(error::OFPBRC_EPERM),
        };
        entries.push(ZoneLimit { zone, limit, owner });
    }
    Ok(entries)
}

pub(super) fn write_zones(w: &mut Writer<'_>, entries: &[ZoneLimit]) {
    for entry in entries {
        w.u16(entry.zone);
        w.u16(entry.limit.map_or(0, |_| LIMITED));
        w.u32(entry.limit.unwrap_or_default());
        w.u64(entry.owner);
    }
}

pub(super) fn read_impairments(mut r: Reader<'_>) -> Result<Vec<Impairment>, OfError> {
    let mut entries = Vec::new();
    while !r.is_empty() {
        entries.push(Impairment {
            port: PortNo(r.u32()?),
            delay_us: r.u32()?,
            jitter_us: r.u32()?,
            loss_ppm: r.u32()?,
            limit: r.u32()?,
        });
    }
    Ok(entries)
}

pub(super) fn write_impairments(w: &mut Writer<'_>, entries: &[Impairment]) {
    for entry in entries {
        w.u32(entry.port.0);
        w.u32(entry.delay_us);
        w.u32(entry.jitter_us);
        w.u32(entry.loss_ppm);
        w.u32(entry.limit);
    }
}
