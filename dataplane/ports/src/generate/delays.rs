//! How long packets were on their way: stamps in them, and a histogram of what the stamps say.

use crate::counters::Counter;
use packet::Packet;
use std::sync::OnceLock;
use std::time::Instant;

/// Begins a stamp. A stamp is the last 16 bytes of a frame: this, when the packet was due (ns), and how
/// many ns later the generator could hand it over.
const MAGIC: u32 = 0x5c1c_e7a9;
/// Bytes of a stamp.
const STAMP: usize = 16;
/// Buckets per factor of two: a bucket is at most 1/16 wide.
const FINE: u32 = 16;
/// Up to some 18 minutes.
const BUCKETS: usize = 608;

/// Nanoseconds since some moment, the same for all ports of the process.
pub(super) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Writes a stamp at the end of a payload, if it has room.
#[inline]
pub(super) fn stamp(payload: &mut [u8], due: u64, now: u64) {
    if let Some(place) = payload.last_chunk_mut::<STAMP>() {
        let waited = u32::try_from(now.saturating_sub(due)).unwrap_or(u32::MAX);
        let stamp = u128::from(MAGIC) << 96 | u128::from(due) << 32 | u128::from(waited);
        *place = stamp.to_be_bytes();
    }
}

/// When a packet was due and when it was handed over, if it has a stamp.
#[inline]
fn read(packet: &Packet) -> Option<(u64, u64)> {
    let mut bytes = [0; STAMP];
    let at = packet.len().checked_sub(STAMP)?;
    if !packet.read_at(at, &mut bytes) {
        return None;
    }
    let stamp = u128::from_be_bytes(bytes);
    let due = (stamp >> 32) as u64;
    ((stamp >> 96) as u32 == MAGIC).then(|| (due, due + u64::from(stamp as u32)))
}

/// From when a delay counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The moment the packet was due, whether anybody was there to take it or not.
    Due,
    /// The moment it was received: its residence in the switch.
    Received,
}

/// So many packets took less than so long, and not less than the bucket before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// From when.
    pub since: Since,
    /// Nanoseconds; the delays are below.
    pub below: u64,
    /// Packets.
    pub packets: u64,
}

/// Histograms of delays; one writer.
pub(super) struct Delays {
    due: Vec<Counter>,
    received: Vec<Counter>,
}

impl Delays {
    pub(super) fn new() -> Delays {
        let buckets = || (0..BUCKETS).map(|_| Counter::default()).collect();
        Delays {
            due: buckets(),
            received: buckets(),
        }
    }

    /// Records a packet that leaves now, if it has a stamp.
    #[inline]
    pub(super) fn record(&self, packet: &Packet, now: u64) {
        let Some((due, received)) = read(packet) else {
            return;
        };
        for (histogram, since) in [(&self.due, due), (&self.received, received)] {
            if let Some(bucket) = histogram.get(bucket(now.saturating_sub(since))) {
                bucket.add(1);
            }
        }
    }

    /// The buckets that are not empty, in order.
    pub(super) fn snapshot(&self) -> Vec<Delay> {
        let kinds = [(Since::Due, &self.due), (Since::Received, &self.received)];
        let mut delays = Vec::new();
        for (since, histogram) in kinds {
            for (at, packets) in histogram.iter().map(Counter::get).enumerate() {
                if packets > 0 {
                    let below = end(at as u32);
                    delays.push(Delay {
                        since,
                        below,
                        packets,
                    });
                }
            }
        }
        delays
    }
}

/// The bucket of a delay: the first [`FINE`] are a nanosecond wide, then [`FINE`] for each factor of two.
fn bucket(ns: u64) -> usize {
    if ns < u64::from(FINE) {
        return ns as usize;
    }
    let octave = ns.ilog2() - FINE.ilog2();
    let within = (ns >> octave) as u32 - FINE;
    (((octave + 1) * FINE + within) as usize).min(BUCKETS - 1)
}

/// The first delay above a bucket.
fn end(bucket: u32) -> u64 {
    match bucket / FINE {
        0 => u64::from(bucket) + 1,
        octave => u64::from(FINE + bucket % FINE + 1) << (octave - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delay_is_below_the_end_of_its_bucket_and_not_below_the_one_before() {
        let mut delays: Vec<u64> = (0..2000).collect();
        delays.extend((11..40).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        for ns in delays {
            let at = bucket(ns) as u32;
            assert!(ns < end(at), "{ns}");
            assert!(at == 0 || end(at - 1) <= ns, "{ns}");
        }
    }
}
