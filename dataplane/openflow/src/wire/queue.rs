//! Queues: configuration and counters (OpenFlow 1.3.5, 7.2.2, 7.3.6; 1.5.1, 7.3.5.8, 7.3.5.18).

use net::PortNo;

use super::{EncodeError, Reader, Writer, property};
use crate::error::{self, OfError};
use crate::msg::{PacketQueue, QueueStats, RawProperty};
use crate::{Message, Version};

/// OFPQT_MIN_RATE and OFPQDPT_MIN_RATE.
const MIN_RATE: u16 = 1;
/// OFPQT_MAX_RATE and OFPQDPT_MAX_RATE.
const MAX_RATE: u16 = 2;

pub(super) fn read_config_request(mut r: Reader<'_>) -> Result<Message, OfError> {
    let port = PortNo(r.u32()?);
    r.skip(4)?;
    r.end()?;
    Ok(Message::QueueGetConfigRequest(port))
}

pub(super) fn write_config_request(w: &mut Writer<'_>, port: PortNo) {
    w.u32(port.0);
    w.zeros(4);
}

pub(super) fn read_config_reply(mut r: Reader<'_>) -> Result<Message, OfError> {
    let port = PortNo(r.u32()?);
    r.skip(4)?;
    let mut queues = Vec::new();
    while !r.is_empty() {
        queues.push(read_config(&mut r)?);
    }
    Ok(Message::QueueGetConfigReply { port, queues })
}

/// A queue of 1.3. Its properties are padded inside, and their lengths count that.
fn read_config(r: &mut Reader<'_>) -> Result<PacketQueue, OfError> {
    let (queue, port) = (r.u32()?, PortNo(r.u32()?));
    let length = usize::from(r.u16()?);
    r.skip(6)?;
    let mut properties = r.sub(length.checked_sub(16).ok_or(error::OFPBRC_BAD_LEN)?)?;
    let mut queue = no_rates(queue, port);
    while !properties.is_empty() {
        let (kind, length) = (properties.u16()?, usize::from(properties.u16()?));
        let mut body = properties.sub(length.checked_sub(4).ok_or(error::OFPBRC_BAD_LEN)?)?;
        let data = body.rest().to_vec();
        body.skip(4)?;
        match kind {
            MIN_RATE => queue.min_rate = Some(body.u16()?),
            MAX_RATE => queue.max_rate = Some(body.u16()?),
            _ => queue.properties.push(RawProperty { kind, data }),
        }
    }
    Ok(queue)
}

const fn no_rates(queue: u32, port: PortNo) -> PacketQueue {
    PacketQueue {
        queue,
        port,
        min_rate: None,
        max_rate: None,
        properties: Vec::new(),
    }
}

pub(super) fn write_config_reply(
    w: &mut Writer<'_>,
    port: PortNo,
    queues: &[PacketQueue],
) -> Result<(), EncodeError> {
    w.u32(port.0);
    w.zeros(4);
    for queue in queues {
        let start = w.len();
        w.u32(queue.queue);
        w.u32(queue.port.0);
        w.u16(0);
        w.zeros(6);
        for (kind, rate) in [(MIN_RATE, queue.min_rate), (MAX_RATE, queue.max_rate)] {
            if let Some(rate) = rate {
                w.u16(kind);
                w.u16(16);
                w.zeros(4);
                w.u16(rate);
                w.zeros(6);
            }
        }
        for property in &queue.properties {
            let start = w.len();
            w.u16(property.kind);
            w.u16(0);
            w.bytes(&property.data);
            w.patch_length(start + 2, start, "a queue's property")?;
        }
        w.patch_length(start + 8, start, "queue")?;
    }
    Ok(())
}

/// Reads one entry of OFPMP_QUEUE_DESC.
pub(super) fn read_desc(r: &mut Reader<'_>) -> Result<PacketQueue, OfError> {
    // The length stands behind the numbers.
    let mut head = *r;
    head.skip(8)?;
    let length = usize::from(head.u16()?);
    let mut r = r.sub(length)?;
    let (port, queue) = (PortNo(r.u32()?), r.u32()?);
    r.skip(8)?;
    let mut desc = no_rates(queue, port);
    while let Some((kind, body)) = property::next(&mut r)? {
        match kind {
            MIN_RATE => property::once(&mut desc.min_rate, property::short(body)?)?,
            MAX_RATE => property::once(&mut desc.max_rate, property::short(body)?)?,
            _ => desc.properties.push(property::experimenter(kind, body)?),
        }
    }
    Ok(desc)
}

pub(super) fn write_desc(w: &mut Writer<'_>, m: &PacketQueue) -> Result<(), EncodeError> {
    let start = w.len();
    w.u32(m.port.0);
    w.u32(m.queue);
    w.zeros(8);
    for (kind, rate) in [(MIN_RATE, m.min_rate), (MAX_RATE, m.max_rate)] {
        if let Some(rate) = rate {
            property::write(w, kind, |w| {
                w.u16(rate);
                w.zeros(2);
            })?;
        }
    }
    property::write_raw(w, &m.properties)?;
    w.patch_length(start + 8, start, "queue")
}

pub(super) fn read_stats(r: &mut Reader<'_>) -> Result<QueueStats, OfError> {
    if r.version < Version::V1_4 {
        return read_counters(r);
    }
    let length = usize::from(r.peek_u16()?);
    let mut r = r.sub(length)?;
    r.skip(8)?;
    let mut m = read_counters(&mut r)?;
    m.properties = property::all_experimenters(r)?;
    Ok(m)
}

fn read_counters(r: &mut Reader<'_>) -> Result<QueueStats, OfError> {
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

pub(super) fn write_stats(w: &mut Writer<'_>, m: &QueueStats) -> Result<(), EncodeError> {
    let start = w.len();
    let framed = w.version >= Version::V1_4;
    if framed {
        w.zeros(8);
    }
    w.u32(m.port.0);
    w.u32(m.queue);
    w.u64(m.tx_bytes);
    w.u64(m.tx_packets);
    w.u64(m.tx_errors);
    w.u32(m.duration_sec);
    w.u32(m.duration_nsec);
    if framed {
        property::write_raw(w, &m.properties)?;
        w.patch_length(start, start, "queue statistics")?;
    }
    Ok(())
}
