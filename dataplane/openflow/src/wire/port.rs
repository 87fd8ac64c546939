//! Ports: descriptions, status, modification, counters (OpenFlow 1.3.5, 7.2.1; 1.5.1, 7.2.1).

use net::PortNo;

use super::{EncodeError, Reader, Writer, property};
use crate::Version;
use crate::error::{self, OfError};
use crate::model::PortDesc;
use crate::msg::{PortMod, PortReason, PortStats, PortStatus};

/// OFPPDPT_ETHERNET, OFPPMPT_ETHERNET and OFPPSPT_ETHERNET.
const ETHERNET: u16 = 0;
/// OFPPMPT_OPTICAL and OFPPSPT_OPTICAL.
const OPTICAL: u16 = 1;

pub(super) fn read_desc(r: &mut Reader<'_>) -> Result<PortDesc, OfError> {
    let whole = *r;
    let port = PortNo(r.u32()?);
    let length = r.u16()?;
    r.skip(2)?;
    let hw_addr = r.mac()?;
    r.skip(2)?;
    let mut desc = PortDesc {
        port,
        hw_addr,
        name: r.text(16)?,
        config: r.u32()?,
        state: r.u32()?,
        curr: 0,
        advertised: 0,
        supported: 0,
        peer: 0,
        curr_speed: 0,
        max_speed: 0,
        properties: Vec::new(),
    };
    if r.version < Version::V1_4 {
        read_features(&mut desc, r)?;
        return Ok(desc);
    }
    // The length counts from the beginning.
    let so_far = whole.len() - r.len();
    let rest = usize::from(length).checked_sub(so_far);
    let mut properties = r.sub(rest.ok_or(error::OFPBRC_BAD_LEN)?)?;
    while let Some((kind, mut body)) = property::next(&mut properties)? {
        match kind {
            ETHERNET => {
                body.skip(4)?;
                read_features(&mut desc, &mut body)?;
                body.end()?;
            }
            _ => desc.properties.push(property::raw(kind, body)?),
        }
    }
    Ok(desc)
}

fn read_features(desc: &mut PortDesc, r: &mut Reader<'_>) -> Result<(), OfError> {
    desc.curr = r.u32()?;
    desc.advertised = r.u32()?;
    desc.supported = r.u32()?;
    desc.peer = r.u32()?;
    desc.curr_speed = r.u32()?;
    desc.max_speed = r.u32()?;
    Ok(())
}

pub(super) fn write_desc(w: &mut Writer<'_>, m: &PortDesc) -> Result<(), EncodeError> {
    let start = w.len();
    w.u32(m.port.0);
    w.zeros(4);
    w.mac(m.hw_addr);
    w.zeros(2);
    w.text(&m.name, 16);
    w.u32(m.config);
    w.u32(m.state);
    let features = |w: &mut Writer<'_>| {
        w.u32(m.curr);
        w.u32(m.advertised);
        w.u32(m.supported);
        w.u32(m.peer);
        w.u32(m.curr_speed);
        w.u32(m.max_speed);
    };
    if w.version < Version::V1_4 {
        features(w);
        return Ok(());
    }
    property::write(w, ETHERNET, |w| {
        w.zeros(4);
        features(w);
    })?;
    property::write_raw(w, &m.properties)?;
    w.patch_length(start + 4, start, "port")
}

pub(super) fn read_status(mut r: Reader<'_>) -> Result<PortStatus, OfError> {
    let reason = match r.u8()? {
        0 => PortReason::Add,
        1 => PortReason::Delete,
        2 => PortReason::Modify,
        _ => return Err(error::OFPBRC_BAD_TYPE),
    };
    r.skip(7)?;
    let desc = read_desc(&mut r)?;
    r.end()?;
    Ok(PortStatus { reason, desc })
}

pub(super) fn write_status(w: &mut Writer<'_>, m: &PortStatus) -> Result<(), EncodeError> {
    w.u8(m.reason as u8);
    w.zeros(7);
    write_desc(w, &m.desc)
}

pub(super) fn read_mod(mut r: Reader<'_>) -> Result<PortMod, OfError> {
    let port = PortNo(r.u32()?);
    r.skip(4)?;
    let hw_addr = r.mac()?;
    r.skip(2)?;
    let (config, mask) = (r.u32()?, r.u32()?);
    let mut m = PortMod {
        port,
        hw_addr,
        config,
        mask,
        advertise: 0,
        properties: Vec::new(),
    };
    if r.version < Version::V1_4 {
        m.advertise = r.u32()?;
        r.skip(4)?;
        r.end()?;
        return Ok(m);
    }
    let mut advertise = None;
    while let Some((kind, body)) = property::next(&mut r)? {
        match kind {
            ETHERNET => property::once(&mut advertise, property::number(body)?)?,
            OPTICAL => m.properties.push(property::raw(kind, body)?),
            _ => m.properties.push(property::experimenter(kind, body)?),
        }
    }
    m.advertise = advertise.unwrap_or(0);
    Ok(m)
}

pub(super) fn write_mod(w: &mut Writer<'_>, m: &PortMod) -> Result<(), EncodeError> {
    w.u32(m.port.0);
    w.zeros(4);
    w.mac(m.hw_addr);
    w.zeros(2);
    w.u32(m.config);
    w.u32(m.mask);
    if w.version < Version::V1_4 {
        w.u32(m.advertise);
        w.zeros(4);
        return property::none(w, &m.properties);
    }
    if m.advertise != 0 {
        property::write(w, ETHERNET, |w| w.u32(m.advertise))?;
    }
    property::write_raw(w, &m.properties)
}

pub(super) fn read_stats(r: &mut Reader<'_>) -> Result<PortStats, OfError> {
    if r.version >= Version::V1_4 {
        return read_stats_properties(r);
    }
    let port = PortNo(r.u32()?);
    r.skip(4)?;
    let mut m = no_stats(port);
    read_counters(&mut m, r)?;
    read_ethernet(&mut m, r)?;
    (m.duration_sec, m.duration_nsec) = (r.u32()?, r.u32()?);
    Ok(m)
}

fn read_stats_properties(r: &mut Reader<'_>) -> Result<PortStats, OfError> {
    let length = usize::from(r.peek_u16()?);
    let mut r = r.sub(length)?;
    r.skip(4)?;
    let mut m = no_stats(PortNo(r.u32()?));
    (m.duration_sec, m.duration_nsec) = (r.u32()?, r.u32()?);
    read_counters(&mut m, &mut r)?;
    while let Some((kind, mut body)) = property::next(&mut r)? {
        match kind {
            ETHERNET => {
                body.skip(4)?;
                read_ethernet(&mut m, &mut body)?;
                body.end()?;
            }
            _ => m.properties.push(property::raw(kind, body)?),
        }
    }
    Ok(m)
}

/// Nothing counted.
const fn no_stats(port: PortNo) -> PortStats {
    let none = u64::MAX;
    PortStats {
        port,
        rx_packets: none,
        tx_packets: none,
        rx_bytes: none,
        tx_bytes: none,
        rx_dropped: none,
        tx_dropped: none,
        rx_errors: none,
        tx_errors: none,
        rx_frame_err: none,
        rx_over_err: none,
        rx_crc_err: none,
        collisions: none,
        duration_sec: 0,
        duration_nsec: 0,
        properties: Vec::new(),
    }
}

fn read_counters(m: &mut PortStats, r: &mut Reader<'_>) -> Result<(), OfError> {
    for counter in [
        &mut m.rx_packets,
        &mut m.tx_packets,
        &mut m.rx_bytes,
        &mut m.tx_bytes,
        &mut m.rx_dropped,
        &mut m.tx_dropped,
        &mut m.rx_errors,
        &mut m.tx_errors,
    ] {
        *counter = r.u64()?;
    }
    Ok(())
}

fn read_ethernet(m: &mut PortStats, r: &mut Reader<'_>) -> Result<(), OfError> {
    m.rx_frame_err = r.u64()?;
    m.rx_over_err = r.u64()?;
    m.rx_crc_err = r.u64()?;
    m.collisions = r.u64()?;
    Ok(())
}

pub(super) fn write_stats(w: &mut Writer<'_>, m: &PortStats) -> Result<(), EncodeError> {
    let counters = |w: &mut Writer<'_>| {
        for counter in [
            m.rx_packets,
            m.tx_packets,
            m.rx_bytes,
            m.tx_bytes,
            m.rx_dropped,
            m.tx_dropped,
            m.rx_errors,
            m.tx_errors,
        ] {
            w.u64(counter);
        }
    };
    let ethernet = |w: &mut Writer<'_>| {
        for counter in [m.rx_frame_err, m.rx_over_err, m.rx_crc_err, m.collisions] {
            w.u64(counter);
        }
    };
    if w.version < Version::V1_4 {
        w.u32(m.port.0);
        w.zeros(4);
        counters(w);
        ethernet(w);
        w.u32(m.duration_sec);
        w.u32(m.duration_nsec);
        return Ok(());
    }
    let start = w.len();
    w.zeros(4);
    w.u32(m.port.0);
    w.u32(m.duration_sec);
    w.u32(m.duration_nsec);
    counters(w);
    property::write(w, ETHERNET, |w| {
        w.zeros(4);
        ethernet(w);
    })?;
    property::write_raw(w, &m.properties)?;
    w.patch_length(start, start, "port statistics")
}
