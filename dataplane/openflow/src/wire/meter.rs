//! Meters (OpenFlow 1.3.5, 7.3.4.4).

use net::MeterId;

use super::{EncodeError, Reader, Writer};
use crate::error::{self, OfError};
use crate::model::{
    Band, BandKind, METER_BURST, METER_KBPS, METER_PKTPS, METER_STATS, MeterCommand, MeterMod,
};
use crate::msg::MeterConfig;

/// OFPMBT_DROP.
const BAND_DROP: u16 = 1;
/// OFPMBT_DSCP_REMARK.
const BAND_DSCP_REMARK: u16 = 2;
/// OFPM_SLOWPATH: the lowest of the virtual meters.
const METER_SLOWPATH: MeterId = MeterId(0xffff_fffd);

pub(super) fn read_meter_mod(mut r: Reader<'_>) -> Result<MeterMod, OfError> {
    let command = match r.u16()? {
        0 => MeterCommand::Add,
        1 => MeterCommand::Modify,
        2 => MeterCommand::Delete,
        _ => return Err(error::OFPMMFC_BAD_COMMAND),
    };
    let (flags, meter) = (r.u16()?, MeterId(r.u32()?));
    if command == MeterCommand::Delete {
        // Only the number counts in a deletion.
        return Ok(MeterMod {
            command,
            flags,
            meter,
            bands: read_bands(r)?,
        });
    }
    let ordinary = meter.0 != 0 && meter <= MeterId::MAX;
    let special = meter >= METER_SLOWPATH && meter != MeterId::ALL;
    if !ordinary && !special {
        return Err(error::OFPMMFC_INVALID_METER);
    }
    let known = METER_KBPS | METER_PKTPS | METER_BURST | METER_STATS;
    let both = METER_KBPS | METER_PKTPS;
    if flags & !known != 0 || flags & both == both {
        return Err(error::OFPMMFC_BAD_FLAGS);
    }
    Ok(MeterMod {
        command,
        flags,
        meter,
        bands: read_bands(r)?,
    })
}

fn read_bands(mut r: Reader<'_>) -> Result<Vec<Band>, OfError> {
    let mut bands = Vec::new();
    while !r.is_empty() {
        let (kind, length) = (r.u16()?, usize::from(r.u16()?));
        let mut body = r.sub(length.checked_sub(4).ok_or(error::OFPBRC_BAD_LEN)?)?;
        let (rate, burst) = (body.u32()?, body.u32()?);
        let kind = match kind {
            BAND_DROP => BandKind::Drop,
            BAND_DSCP_REMARK => BandKind::DscpRemark {
                prec_level: body.u8()?,
            },
            _ => return Err(error::OFPMMFC_BAD_BAND),
        };
        body.skip(if kind == BandKind::Drop { 4 } else { 3 })?;
        body.end()?;
        bands.push(Band { kind, rate, burst });
    }
    Ok(bands)
}

pub(super) fn write_meter_mod(w: &mut Writer<'_>, m: &MeterMod) {
    w.u16(m.command as u16);
    w.u16(m.flags);
    w.u32(m.meter.0);
    write_bands(w, &m.bands);
}

fn write_bands(w: &mut Writer<'_>, bands: &[Band]) {
    for band in bands {
        let (kind, level) = match band.kind {
            BandKind::Drop => (BAND_DROP, 0),
            BandKind::DscpRemark { prec_level } => (BAND_DSCP_REMARK, prec_level),
        };
        w.u16(kind);
        w.u16(16);
        w.u32(band.rate);
        w.u32(band.burst);
        w.u8(level);
        w.zeros(3);
    }
}

/// Reads one entry of OFPMP_METER_CONFIG.
pub(super) fn read_config(r: &mut Reader<'_>) -> Result<MeterConfig, OfError> {
    let length = usize::from(r.peek_u16()?);
    let mut body = r.sub(length)?;
    body.skip(2)?;
    Ok(MeterConfig {
        flags: body.u16()?,
        meter: MeterId(body.u32()?),
        bands: read_bands(body)?,
    })
}

pub(super) fn write_config(w: &mut Writer<'_>, m: &MeterConfig) -> Result<(), EncodeError> {
    let start = w.len();
    w.u16(0);
    w.u16(m.flags);
    w.u32(m.meter.0);
    write_bands(w, &m.bands);
    w.patch_length(start, start, "meter")
}
