//! Meters in text.

use std::fmt::{self, Write};

use net::MeterId;

use super::flow::write_duration;
use super::{TextError, scan};
use crate::model::{
    Band, BandKind, METER_BURST, METER_KBPS, METER_PKTPS, METER_STATS, MeterCommand, MeterMod,
};
use crate::msg::{MeterConfig, MeterStats};

const FLAGS: &[(u16, &str)] = &[
    (METER_KBPS, "kbps"),
    (METER_PKTPS, "pktps"),
    (METER_BURST, "burst"),
    (METER_STATS, "stats"),
];

/// Virtual meters, by name.
const NAMES: &[(&str, u32)] = &[
    ("slowpath", 0xffff_fffd),
    ("controller", 0xffff_fffe),
    ("all", 0xffff_ffff),
];

/// One meter of `dump-meters`: a line, and one for each band.
pub fn print_meter_config(meter: &MeterConfig) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_config(&mut text, meter);
    text
}

fn write_config(f: &mut String, meter: &MeterConfig) -> fmt::Result {
    write!(f, "meter={} ", name(meter.meter))?;
    for (_, flag) in FLAGS.iter().filter(|(bit, _)| meter.flags & bit != 0) {
        write!(f, "{flag} ")?;
    }
    f.push_str("bands=");
    for band in &meter.bands {
        let kind = match band.kind {
            BandKind::Drop => "drop",
            BandKind::DscpRemark { .. } => "dscp_remark",
        };
        write!(f, "\ntype={kind} rate={}", band.rate)?;
        if meter.flags & METER_BURST != 0 {
            write!(f, " burst_size={}", band.burst)?;
        }
        if let BandKind::DscpRemark { prec_level } = band.kind {
            write!(f, " prec_level={prec_level}")?;
        }
    }
    f.push('\n');
    Ok(())
}

fn name(meter: MeterId) -> String {
    match NAMES.iter().find(|(_, number)| *number == meter.0) {
        Some((name, _)) => (*name).to_owned(),
        None => meter.to_string(),
    }
}

/// One meter of `meter-stats`: a line, and one for each band.
pub fn print_meter_stats(meter: &MeterStats) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_stats(&mut text, meter);
    text
}

fn write_stats(f: &mut String, meter: &MeterStats) -> fmt::Result {
    write!(
        f,
        "meter:{} flow_count:{} packet_in_count:{} byte_in_count:{} duration:",
        name(meter.meter),
        meter.flow_count,
        meter.packet_in_count,
        meter.byte_in_count
    )?;
    write_duration(f, meter.duration_sec, meter.duration_nsec)?;
    f.push_str(" bands:");
    for (at, band) in meter.bands.iter().enumerate() {
        write!(
            f,
            "\n{at}: packet_count:{} byte_count:{}",
            band.packet_count, band.byte_count
        )?;
    }
    f.push('\n');
    Ok(())
}

/// Parses a meter as `ovs-ofctl add-meter`, `mod-meter` and `del-meters` take it.
pub fn parse_meter(text: &str, command: MeterCommand) -> Result<MeterMod, TextError> {
    let mut meter = None;
    let mut flags = 0;
    let mut bands = Vec::new();
    let mut items = scan::items(text).into_iter().peekable();
    while let Some(item) = items.next() {
        let (key, argument) = scan::key_argument(item)?;
        if let Some((bit, _)) = FLAGS.iter().find(|(_, name)| *name == key) {
            flags |= bit;
            continue;
        }
        let text = argument.unwrap_or_default();
        match key {
            "meter" => {
                let named = NAMES.iter().find(|(name, _)| *name == text);
                meter = Some(MeterId(match named {
                    Some((_, number)) => *number,
                    None => scan::number(key, text)?,
                }));
            }
            "band" | "bands" => {
                // The first argument of the first band may stand right behind the sign.
                let first = (!text.is_empty()).then_some(text);
                let rest: Vec<&str> = first.into_iter().chain(items.by_ref()).collect();
                bands = parse_bands(&rest)?;
            }
            other => return Err(TextError::new(format!("{other}: unknown in a meter"))),
        }
    }
    let deletes = command == MeterCommand::Delete;
    let meter = match meter {
        Some(meter) => meter,
        None if deletes => MeterId::ALL,
        None => return Err(TextError::new("the meter has no meter=")),
    };
    if !deletes {
        let unit = flags & (METER_KBPS | METER_PKTPS);
        if unit == (METER_KBPS | METER_PKTPS) {
            return Err(TextError::new("a meter has either kbps or pktps"));
        }
        if unit == 0 {
            flags |= METER_KBPS;
        }
        if bands.is_empty() {
            return Err(TextError::new("the meter has no band="));
        }
        if bands.iter().any(|band| band.burst != 0) {
            flags |= METER_BURST;
        }
    }
    Ok(MeterMod {
        command,
        flags,
        meter,
        bands,
    })
}

fn parse_bands(items: &[&str]) -> Result<Vec<Band>, TextError> {
    let mut bands: Vec<Band> = Vec::new();
    for item in items {
        let (key, argument) = scan::key_argument(item)?;
        // Another band= or bands= changes nothing.
        let (key, text) = match (key, argument) {
            ("band" | "bands", Some(inner)) => {
                let (key, argument) = scan::key_argument(inner)?;
                (key, argument.unwrap_or_default())
            }
            (key, argument) => (key, argument.unwrap_or_default()),
        };
        if key == "type" {
            let kind = match text {
                "drop" => BandKind::Drop,
                "dscp_remark" => BandKind::DscpRemark { prec_level: 0 },
                _ => {
                    return Err(TextError::new(format!("type={text}: drop or dscp_remark")));
                }
            };
            bands.push(Band {
                kind,
                rate: 0,
                burst: 0,
            });
            continue;
        }
        let band = bands
            .last_mut()
            .ok_or_else(|| TextError::new("a band begins with type="))?;
        match (key, &mut band.kind) {
            ("rate", _) => band.rate = scan::number(key, text)?,
            ("burst_size", _) => band.burst = scan::number(key, text)?,
            ("prec_level", BandKind::DscpRemark { prec_level }) => {
                *prec_level = scan::number(key, text)?;
            }
            (other, _) => return Err(TextError::new(format!("{other}: unknown in a band"))),
        }
    }
    match bands.iter().find(|band| band.rate == 0) {
        Some(_) => Err(TextError::new("a band needs a rate above 0")),
        None => Ok(bands),
    }
}
