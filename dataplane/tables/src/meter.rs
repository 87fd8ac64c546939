//! Meters (OpenFlow 1.3.5, 5.7): token buckets, shared by all workers without being passed to and
//! fro between their cores.
//!
//! Every worker writes only its own lines: it counts there, and it takes credit from the shared
//! bucket not for one packet, but for [`LEASE`] of the rate at a time. What passes is paid for
//! before it passes. So over any time a meter lets through its rate times that time, its burst and
//! at most one lease for each worker and one for the bucket more. With one worker there is no lease, and no locked cycle.
//!
//! A large frame that segmentation offload carries whole counts as the packets that it stands for,
//! and as the bytes that it has, as Open vSwitch and the kernel's policer count it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use net::MeterId;
use openflow::model::{Band, BandKind, METER_BURST, METER_PKTPS, MeterMod};

use crate::Counters;
use crate::bucket::{Bucket, ticks_of};

/// A meter, shared by all workers.
#[derive(Debug)]
pub struct Meter {
    /// Its number.
    pub id: MeterId,
    /// `openflow::model::METER_*`, as given.
    pub flags: u16,
    /// When it was added, nanoseconds of the writer's clock.
    pub created: u64,
    pub(crate) generation: u64,
    bands: Vec<MeterBand>,
    /// By worker; shared with the meter that this one took the place of.
    input: Arc<[Lane]>,
    /// By worker, and then by band.
    lanes: Box<[Lane]>,
}

#[derive(Debug)]
struct MeterBand {
    band: Band,
    bucket: Bucket,
    /// Ticks of credit that a worker takes at a time; none: each packet is charged to the bucket.
    lease: Option<u64>,
    state: State,
}

/// State of a bucket, on a line of its own: others only read what stands around it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct State {
    full_at: AtomicU64,
}

/// What one worker alone writes. Reads are never torn.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane {
    packets: AtomicU64,
    bytes: AtomicU64,
    /// Ticks taken from the bucket and not spent yet.
    credit: AtomicU64,
}

impl Lane {
    /// A load and a store, no locked cycle: there is one writer.
    #[inline]
    fn add(&self, packets: u64, bytes: u64) {
        for (counter, n) in [(&self.packets, packets), (&self.bytes, bytes)] {
            counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
        }
    }
}

fn lanes(count: usize) -> impl Iterator<Item = Lane> {
    std::iter::repeat_with(Lane::default).take(count)
}

fn sum<'a>(lanes: impl Iterator<Item = &'a Lane>) -> Counters {
    let mut sum = Counters::default();
    for lane in lanes {
        sum.packets = sum.packets.wrapping_add(lane.packets.load(Relaxed));
        sum.bytes = sum.bytes.wrapping_add(lane.bytes.load(Relaxed));
    }
    sum
}

/// What a meter says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within every rate.
    Pass,
    /// A drop band's rate is exceeded.
    Drop,
    /// Raise the drop precedence of the DSCP.
    Remark {
        /// By so many levels.
        prec_level: u8,
    },
}

/// Nanoseconds of its rate that a worker takes from a shared bucket at a time: 20,000 locked cycles
/// per second and meter at most, however many packets pass, and 0.0005 % of what passes in ten seconds.
const LEASE: u64 = 50_000;
/// Leases of all workers together are at most this part of the burst.
const LEASED_PART: u64 = 16;

impl Meter {
    /// A meter for so many workers.
    pub(crate) fn new(request: &MeterMod, now: u64, workers: usize) -> Self {
        // The control thread charges the controllers' meter, beside whoever else may.
        let workers = match request.meter {
            MeterId::CONTROLLER => workers + 1,
            _ => workers.max(1),
        };
        let band = |band: &Band| MeterBand::new(band, request.flags, workers);
        Meter {
            id: request.meter,
            flags: request.flags,
            created: now,
            generation: 0,
            bands: request.bands.iter().map(band).collect(),
            input: lanes(workers).collect(),
            lanes: lanes(workers * request.bands.len()).collect(),
        }
    }

    /// The meter in the place of an older one, whose age and input go on; the bands begin anew.
    pub(crate) fn replacing(old: &Meter, request: &MeterMod) -> Self {
        Meter {
            input: old.input.clone(),
            ..Meter::new(request, old.created, old.workers())
        }
    }

    /// The generation in which it changed last.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The bands as given, each with the counters of what it acted on.
    pub fn bands(&self) -> impl ExactSizeIterator<Item = (&Band, Counters)> {
        let count = self.bands.len();
        let bands = self.bands.iter().enumerate();
        bands.map(move |(at, band)| (&band.band, sum(self.lanes.iter().skip(at).step_by(count))))
    }

    /// What came in.
    pub fn input(&self) -> Counters {
        sum(self.input.iter())
    }

    /// Charges `packets` of together `bytes` at `now` nanoseconds. Of the bands whose rate is
    /// exceeded, the one with the highest rate decides. Bytes are those of frames without the check
    /// sequence.
    ///
    /// Each worker has a number and calls with that alone; the control thread, which charges nothing
    /// but the controllers' meter, calls with `usize::MAX`.
    #[inline]
    pub fn charge(&self, worker: usize, now: u64, packets: u64, bytes: u64) -> Verdict {
        let worker = worker.min(self.workers().wrapping_sub(1));
        if let Some(input) = self.input.get(worker) {
            input.add(packets, bytes);
        }
        let units = match self.flags & METER_PKTPS {
            0 => bytes.saturating_mul(8),
            _ => packets,
        };
        let first = worker * self.bands.len();
        let lanes = self.lanes.get(first..).unwrap_or_default();
        let mut exceeded: Option<(&MeterBand, &Lane)> = None;
        for (band, lane) in self.bands.iter().zip(lanes) {
            if !band.take(now, units, lane)
                && exceeded.is_none_or(|(other, _)| other.band.rate < band.band.rate)
            {
                exceeded = Some((band, lane));
            }
        }
        let Some((band, lane)) = exceeded else {
            return Verdict::Pass;
        };
        lane.add(packets, bytes);
        match band.band.kind {
            BandKind::Drop => Verdict::Drop,
            BandKind::DscpRemark { prec_level } => Verdict::Remark { prec_level },
        }
    }

    /// As [`Meter::charge`] for several packets, each given by its packets and bytes, if all of them
    /// pass. False, and nothing charged, if one may not, or there is more than one band: then they are
    /// to be charged one by one.
    #[inline]
    pub fn charge_all(
        &self,
        worker: usize,
        now: u64,
        sizes: impl Iterator<Item = (u64, u64)>,
    ) -> bool {
        let worker = worker.min(self.workers().wrapping_sub(1));
        let [band] = &*self.bands else {
            return false;
        };
        let (Some(input), Some(lane)) = (self.input.get(worker), self.lanes.get(worker)) else {
            return false;
        };
        let by_packets = self.flags & METER_PKTPS != 0;
        let (mut packets, mut bytes, mut cost, mut last) = (0, 0, 0u64, 0);
        for (n, length) in sizes {
            last = band.bucket.cost(match by_packets {
                true => n,
                false => length.saturating_mul(8),
            });
            cost = cost.saturating_add(last);
            (packets, bytes) = (packets + n, bytes + length);
        }
        let pass = band.take_all(now, cost, last, lane);
        if pass {
            input.add(packets, bytes);
        }
        pass
    }

    fn workers(&self) -> usize {
        self.input.len()
    }
}

impl MeterBand {
    fn new(band: &Band, flags: u16, workers: usize) -> Self {
        let scale = if flags & METER_PKTPS != 0 { 1 } else { 1000 };
        let rate = u64::from(band.rate).max(1) * scale;
        let burst = if flags & METER_BURST != 0 && band.burst != 0 {
            u64::from(band.burst) * scale
        } else {
            default_burst(rate, scale)
        };
        let bucket = match scale {
            1 => Bucket::of_packets(rate, burst),
            _ => Bucket::of_bits(rate, burst),
        };
        let part = bucket.depth() / (LEASED_PART * workers as u64);
        MeterBand {
            band: *band,
            bucket,
            lease: (workers > 1).then(|| ticks_of(LEASE).min(part)),
            state: State::default(),
        }
    }

    /// Takes `units` if the bucket is not empty, or the worker's credit suffices.
    #[inline]
    fn take(&self, now: u64, units: u64, lane: &Lane) -> bool {
        let cost = self.bucket.cost(units);
        let state = &self.state.full_at;
        let Some(lease) = self.lease else {
            let next = self.bucket.take(state.load(Relaxed), now, cost);
            if let Some(next) = next {
                state.store(next, Relaxed);
            }
            return next.is_some();
        };
        let credit = lane.credit.load(Relaxed);
        if let Some(left) = credit.checked_sub(cost) {
            lane.credit.store(left, Relaxed);
            return true;
        }
        let wanted = cost - credit + lease;
        let paid = state.fetch_update(Relaxed, Relaxed, |full_at| {
            self.bucket.take(full_at, now, wanted)
        });
        if paid.is_ok() {
            lane.credit.store(lease, Relaxed);
        }
        paid.is_ok()
    }
}

impl MeterBand {
    /// Takes the `cost` of several charges, the last of which costs `last`, if each of them would be
    /// taken; false, and nothing taken, if that is not sure.
    #[inline]
    fn take_all(&self, now: u64, cost: u64, last: u64, lane: &Lane) -> bool {
        if self.lease.is_some() {
            let left = lane.credit.load(Relaxed).checked_sub(cost);
            if let Some(left) = left {
                lane.credit.store(left, Relaxed);
            }
            return left.is_some();
        }
        // The bucket is at its emptiest before the last one.
        let before = cost - last;
        if before >= self.bucket.depth() {
            return false;
        }
        let full_at = self.state.full_at.load(Relaxed);
        let next = self
            .bucket
            .take(full_at, now, before)
            .and_then(|full_at| self.bucket.take(full_at, now, last));
        if let Some(next) = next {
            self.state.full_at.store(next, Relaxed);
        }
        next.is_some()
    }
}

/// Without a burst given: 200 ms at the rate, but at least one full-size frame or one packet.
///
/// TCP that lost a whole window waits for its retransmission timer, 200 ms at the shortest on
/// Linux; a bucket that is full before that wastes the rest. Measured at 50 Mbit/s: 14 Mbit/s get
/// through with 50 ms, 27 with 100 ms, 49 with 200 ms.
fn default_burst(rate: u64, scale: u64) -> u64 {
    let least = if scale == 1 { 1 } else { 1514 * 8 };
    (rate / 5).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openflow::model::{METER_KBPS, MeterCommand};

    fn meter(flags: u16, bands: &[(BandKind, u32, u32)]) -> Meter {
        shared_meter(1, flags, bands)
    }

    fn shared_meter(workers: usize, flags: u16, bands: &[(BandKind, u32, u32)]) -> Meter {
        let band = |&(kind, rate, burst): &_| Band { kind, rate, burst };
        let request = MeterMod {
            command: MeterCommand::Add,
            flags,
            meter: MeterId(1),
            bands: bands.iter().map(band).collect(),
        };
        Meter::new(&request, 0, workers)
    }

    /// Packets passed of those offered, evenly, for `seconds` from `start` on.
    fn passed(meter: &Meter, start: u64, seconds: u64, bytes: u64, per_second: u64) -> u64 {
        let count = seconds * per_second;
        let gap = |n: u64| start + (u128::from(n) * 1_000_000_000 / u128::from(per_second)) as u64;
        (0..count)
            .filter(|n| meter.charge(0, gap(*n), 1, bytes) == Verdict::Pass)
            .count() as u64
    }

    #[test]
    fn rates_are_exact_to_a_percent_for_small_frames_and_segmentation_offload() {
        for rate_kbps in [1_000u64, 50_000, 1_000_000] {
            // As many small packets as fit in a second of testing.
            for bytes in [64u64, 1514, 65_000]
                .into_iter()
                .filter(|b| rate_kbps / b < 1_000)
            {
                let meter = meter(METER_KBPS, &[(BandKind::Drop, rate_kbps as u32, 0)]);
                let offered = (rate_kbps * 1000 * 2 / (bytes * 8)).max(100);
                // The burst is used up in the first second.
                passed(&meter, 1 << 40, 1, bytes, offered);
                let start = (1 << 40) + 1_000_000_000;
                let passed = passed(&meter, start, 10, bytes, offered) * bytes * 8;
                let error = passed as f64 / (rate_kbps as f64 * 10_000.0) - 1.0;
                // One frame of slack where a frame is a good part of what passes.
                let slack = 0.01 + (bytes * 8) as f64 / (rate_kbps as f64 * 10_000.0);
                assert!(error.abs() <= slack, "{rate_kbps} kbps, {bytes} B: {error}");
            }
        }
    }

    /// Bursts charged at once, or one by one where that is refused, against the same one by one.
    #[test]
    fn what_is_charged_at_once_is_what_is_charged_one_by_one() {
        let rates = [(METER_KBPS, 9_000), (METER_PKTPS, 1_500), (METER_KBPS, 1)];
        let (mut at_once, mut refused) = (0, 0);
        for (workers, (flags, rate)) in [1, 2].into_iter().flat_map(|w| rates.map(|r| (w, r))) {
            let band = (BandKind::Drop, rate, 0);
            let [together, apart] = [(); 2].map(|()| shared_meter(workers, flags, &[band]));
            let mut random = 7u64;
            let mut next = |below: u64| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (random >> 33) % below
            };
            let mut now = 1 << 40;
            for _ in 0..3000 {
                now += next(40_000_000);
                let sizes: Vec<_> = (0..1 + next(32))
                    .map(|_| (1 + next(2), 60 + next(1500)))
                    .collect();
                let one_by_one = |meter: &Meter| -> Vec<_> {
                    let charge =
                        |&(n, length): &_| meter.charge(0, now, n, length) == Verdict::Pass;
                    sizes.iter().map(charge).collect()
                };
                let expected = one_by_one(&apart);
                match together.charge_all(0, now, sizes.iter().copied()) {
                    true => {
                        at_once += 1;
                        assert!(expected.iter().all(|passes| *passes));
                    }
                    false => {
                        refused += 1;
                        assert_eq!(one_by_one(&together), expected);
                    }
                }
                assert_eq!(together.input(), apart.input());
            }
        }
        assert!(at_once > 1000 && refused > 1000, "{at_once} {refused}");
    }

    #[test]
    fn packet_rates_count_packets() {
        let meter = meter(METER_PKTPS, &[(BandKind::Drop, 1000, 0)]);
        let passed = passed(&meter, 5, 10, 9000, 2000);
        // Ten seconds and the default burst.
        assert!((10_150..=10_250).contains(&passed), "{passed}");
    }

    #[test]
    fn a_burst_passes_at_once_and_the_rate_follows() {
        let flags = METER_PKTPS | METER_BURST;
        let meter = meter(flags, &[(BandKind::Drop, 10, 7)]);
        let at_once = (0..20).filter(|_| meter.charge(0, 99, 1, 64) == Verdict::Pass);
        assert_eq!(at_once.count(), 7);
        assert_eq!(meter.charge(0, 99 + 100_000_000, 1, 64), Verdict::Pass);
        assert_eq!(meter.charge(0, 99 + 100_000_000, 1, 64), Verdict::Drop);
    }

    #[test]
    fn the_exceeded_band_of_the_highest_rate_decides_and_counts() {
        let remark = BandKind::DscpRemark { prec_level: 1 };
        let bands = [(remark, 1, 1), (BandKind::Drop, 2, 2)];
        let meter = meter(METER_PKTPS | METER_BURST, &bands);
        let verdicts: Vec<_> = (0..3).map(|_| meter.charge(0, 0, 1, 100)).collect();
        let expected = [
            Verdict::Pass,
            Verdict::Remark { prec_level: 1 },
            Verdict::Drop,
        ];
        assert_eq!(verdicts, expected);
        let counted: Vec<_> = meter.bands().map(|(_, c)| (c.packets, c.bytes)).collect();
        assert_eq!(counted, [(1, 100), (1, 100)]);
        assert_eq!(meter.input().packets, 3);
    }

    #[test]
    fn months_without_a_packet_leave_a_full_bucket() {
        let meter = meter(METER_PKTPS | METER_BURST, &[(BandKind::Drop, 10, 7)]);
        let day = 86_400_000_000_000u64;
        for days in [0, 1, 30, 100, 200, 1000, 20_000] {
            let passed = (0..20).filter(|_| meter.charge(0, days * day, 1, 64) == Verdict::Pass);
            assert_eq!(passed.count(), 7, "after {days} days");
        }
    }

    /// Workers take turns as their packets come; each goes on with its own flows.
    #[test]
    fn workers_together_get_the_rate_to_a_percent_over_ten_seconds() {
        for workers in [1usize, 2, 3, 8] {
            for (rate_kbps, bytes) in [
                (1_000u64, 64u64),
                (1_000, 1514),
                (10_000, 64),
                (100_000, 9000),
                (1_000_000, 65_000),
                (100_000, 1514),
            ] {
                let meter = shared_meter(
                    workers,
                    METER_KBPS,
                    &[(BandKind::Drop, rate_kbps as u32, 0)],
                );
                let gap = bytes * 8 * 1_000_000 / (rate_kbps * 2);
                let (begin, end) = (1 << 40, (1u64 << 40) + 11_000_000_000);
                let (mut now, mut passed, mut turn) = (begin, 0, 0x9e37_79b9_u64);
                while now < end {
                    turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Some workers have more to do than others.
                    let pick = (turn >> 33) as usize;
                    let worker = (pick % workers).min(pick / 64 % workers);
                    let pass = meter.charge(worker, now, 1, bytes) == Verdict::Pass;
                    // The burst is used up in the first second.
                    if pass && now - begin >= 1_000_000_000 {
                        passed += bytes * 8;
                    }
                    now += gap;
                }
                let error = passed as f64 / (rate_kbps as f64 * 10_000.0) - 1.0;
                let frame = (bytes * 8) as f64 / (rate_kbps as f64 * 10_000.0);
                let what = format!("{workers} workers, {rate_kbps} kbps, {bytes} B: {error}");
                assert!(error.abs() <= 0.0005 + frame, "{what}");
            }
        }
    }

    #[test]
    fn what_passes_beyond_rate_and_burst_is_a_lease_per_worker_and_one() {
        let flags = METER_PKTPS | METER_BURST;
        let (rate, burst, workers) = (1_000_000u64, 10_000u64, 4usize);
        let meter = shared_meter(
            workers,
            flags,
            &[(BandKind::Drop, rate as u32, burst as u32)],
        );
        // 50 us of a million packets per second.
        let lease = 50;
        let at = |now: u64, worker: usize| meter.charge(worker, now, 1, 64) == Verdict::Pass;
        let mut most = 0u64;
        for round in 0..50u64 {
            // Each worker ends with credit left; the bucket fills; then all of it goes at once.
            let now = (round + 1) << 30;
            assert!((0..workers).all(|worker| at(now, worker)));
            let now = now + 100_000_000;
            let passed = (0..burst * 2).filter(|n| at(now, (n % 4) as usize));
            most = most.max(passed.count() as u64);
        }
        // The bucket's own comes from the last lease, which may leave it below empty.
        let limit = burst + (workers as u64 + 1) * lease;
        assert!(most > burst && most <= limit + workers as u64, "{most}");
    }

    #[test]
    fn threads_together_get_the_rate_once_and_count_every_packet() {
        let workers = 4;
        let flags = METER_PKTPS | METER_BURST;
        let meter = shared_meter(workers, flags, &[(BandKind::Drop, 1_000_000, 10_000)]);
        let passed: u64 = std::thread::scope(|scope| {
            let work = |worker: usize| {
                let meter = &meter;
                let pass = move |n: &u64| meter.charge(worker, n * 500, 1, 64) == Verdict::Pass;
                scope.spawn(move || (0..100_000u64).filter(pass).count() as u64)
            };
            let threads: Vec<_> = (0..workers).map(work).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        // 50 ms at a million per second, and the bucket; clocks of the threads drift apart.
        assert!((50_000..=61_000).contains(&passed), "{passed}");
        assert_eq!(meter.input().packets, 400_000);
        assert_eq!(meter.input().bytes, 400_000 * 64);
        let dropped: u64 = meter.bands().map(|(_, counters)| counters.packets).sum();
        assert_eq!(dropped + passed, 400_000);
    }

    #[test]
    fn a_changed_meter_goes_on_counting_its_input_and_begins_its_bands_anew() {
        let flags = METER_PKTPS | METER_BURST;
        let old = shared_meter(2, flags, &[(BandKind::Drop, 1, 1)]);
        let passed = (0..4).filter(|at| old.charge(at % 2, 0, 1, 100) == Verdict::Pass);
        assert_eq!(passed.count(), 1);
        let request = MeterMod {
            command: MeterCommand::Modify,
            flags,
            meter: MeterId(1),
            bands: vec![Band {
                kind: BandKind::Drop,
                rate: 2,
                burst: 2,
            }],
        };
        let new = Meter::replacing(&old, &request);
        // A worker that has not seen the change yet.
        old.charge(1, 0, 1, 100);
        new.charge(0, 0, 1, 100);
        assert_eq!((new.input().packets, new.input().bytes), (6, 600));
        assert_eq!(new.bands().next().unwrap().1.packets, 0);
    }
}
