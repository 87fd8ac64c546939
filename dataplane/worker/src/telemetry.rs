//! Where a worker's time goes, at a cost below one percent of it.
//!
//! One round in [`EVERY`] is looked at, and in the others every place where something could be is one
//! branch. Of such a round the time of each stage is taken and each port's part in it, the sizes of its
//! bursts, and of one packet of each burst the time from the return of the port's `rx` to the call of a
//! port's `tx` (residence; if the packet is handed to another worker, that one's part included). Rounds
//! without packets are not sampled.
//!
//! Time is taken in ticks of the processor's time stamp counter, which costs some 20 cycles to read
//! where the system's clock costs 60.

mod histogram;
mod probe;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use histogram::{Histogram, HistogramSnapshot};
pub use os::ticks_per_second;
pub(crate) use probe::Probe;

/// One round with packets in so many is timed, on average.
pub const EVERY: u32 = 128;

macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal,)*) => {
        /// What a worker's time goes into.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Stage { $($(#[doc = $doc])+ $variant),* }

        impl Stage {
            /// Every stage, in the order of a packet's way.
            pub const ALL: &'static [Stage] = &[$(Stage::$variant),*];

            /// Name in the CLI and in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Stage::$variant => $name),* }
            }

            /// One sentence on what it is.
            pub const fn explain(self) -> &'static str {
                match self { $(Stage::$variant => concat!($($doc),+)),* }
            }
        }
    };
}

stages! {
    /// Taking packets from ports and from other workers.
    Rx "rx",
    /// Reading the exact key; taking packets out of tunnels.
    Classify "classify",
    /// Finding programs in the flow cache.
    Lookup "lookup",
    /// Walking the tables for what the cache did not know.
    Walk "walk",
    /// Checking connections and running programs.
    Execute "execute",
    /// Handing packets to ports and to other workers.
    Tx "tx",
    /// New tables, commands, timers.
    Control "control",
}

impl Stage {
    /// Number of stages.
    pub const COUNT: usize = Self::ALL.len();
}

/// Sizes of bursts are counted as 1, 2, 3-4, 5-8, 9-16, 17-32.
pub const BURST_SIZES: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// What one worker measures: written by that worker alone, read by anyone.
#[derive(Debug, Default)]
pub struct Telemetry {
    bursts: [AtomicU64; BURST_SIZES.len()],
    burst_packets: AtomicU64,
    stages: [AtomicU64; Stage::COUNT],
    sampled_rounds: AtomicU64,
    sampled_packets: AtomicU64,
    residence: Histogram,
}

impl Telemetry {
    /// Counts a burst of so many packets, of a round that is timed.
    pub(crate) fn burst(&self, packets: usize) {
        let size = packets.clamp(1, 32).next_power_of_two().trailing_zeros();
        if let Some(count) = self.bursts.get(size as usize) {
            add(count, 1);
        }
        add(&self.burst_packets, packets as u64);
    }

    /// Ticks in all stages, of the rounds that were sampled.
    pub(crate) fn stage_ticks(&self) -> u64 {
        self.stages.iter().map(|n| n.load(Relaxed)).sum()
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> TelemetrySnapshot {
        TelemetrySnapshot {
            bursts: self.bursts.each_ref().map(|n| n.load(Relaxed)),
            burst_packets: self.burst_packets.load(Relaxed),
            stages: self.stages.each_ref().map(|n| n.load(Relaxed)),
            sampled_rounds: self.sampled_rounds.load(Relaxed),
            sampled_packets: self.sampled_packets.load(Relaxed),
            residence: self.residence.snapshot(),
        }
    }
}

/// [`Telemetry`] at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetrySnapshot {
    /// Bursts of the rounds that were sampled by their size; see [`BURST_SIZES`].
    pub bursts: [u64; BURST_SIZES.len()],
    /// Packets of these bursts.
    pub burst_packets: u64,
    /// Ticks in each stage, of the rounds that were sampled.
    pub stages: [u64; Stage::COUNT],
    /// Rounds that were sampled.
    pub sampled_rounds: u64,
    /// Packets that these rounds took.
    pub sampled_packets: u64,
    /// Residence of sampled packets.
    pub residence: HistogramSnapshot,
}

impl TelemetrySnapshot {
    /// Ticks per packet in a stage; None before a round was sampled.
    #[allow(clippy::indexing_slicing)] // the array is as long as there are stages
    pub fn ticks_per_packet(&self, stage: Stage) -> Option<f64> {
        let packets = self.sampled_packets;
        (packets != 0).then(|| self.stages[stage as usize] as f64 / packets as f64)
    }

    /// What came since an earlier reading of the same.
    #[must_use]
    pub fn since(&self, earlier: &TelemetrySnapshot) -> TelemetrySnapshot {
        let minus = |now: &u64, before: &u64| now.saturating_sub(*before);
        let mut since = self.clone();
        for (now, before) in since.bursts.iter_mut().zip(&earlier.bursts) {
            *now = minus(now, before);
        }
        for (now, before) in since.stages.iter_mut().zip(&earlier.stages) {
            *now = minus(now, before);
        }
        since.burst_packets = minus(&self.burst_packets, &earlier.burst_packets);
        since.sampled_rounds = minus(&self.sampled_rounds, &earlier.sampled_rounds);
        since.sampled_packets = minus(&self.sampled_packets, &earlier.sampled_packets);
        since.residence = self.residence.since(&earlier.residence);
        since
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_counted_under_its_size() {
        let telemetry = Telemetry::default();
        for packets in [1, 2, 3, 4, 5, 16, 17, 32] {
            telemetry.burst(packets);
        }
        assert_eq!(telemetry.snapshot().bursts, [1, 1, 2, 1, 1, 2]);
        let before = telemetry.snapshot();
        telemetry.burst(9);
        assert_eq!(
            telemetry.snapshot().since(&before).bursts,
            [0, 0, 0, 0, 1, 0]
        );
    }
}
