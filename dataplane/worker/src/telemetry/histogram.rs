//! Durations counted in buckets whose width grows with the duration.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets in each doubling: a duration is known to 1/16.
const PARTS: u64 = 16;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// Doublings that are told apart: up to 2^34 ns, 17 s.
const TOP_BIT: u32 = 33;
const BUCKETS: usize = (PARTS as usize) * (TOP_BIT - PART_BITS + 2) as usize;

/// Counts of durations: written by one thread, read by any.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts a duration of so many nanoseconds. One thread only.
    pub fn record(&self, nanos: u64) {
        if let Some(count) = self.counts.get(bucket(nanos)) {
            count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        }
        self.sum
            .store(self.sum.load(Relaxed).wrapping_add(nanos), Relaxed);
        if nanos > self.max.load(Relaxed) {
            self.max.store(nanos, Relaxed);
        }
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            counts: self
                .counts
                .iter()
                .map(|count| count.load(Relaxed))
                .collect(),
            sum: self.sum.load(Relaxed),
            max: self.max.load(Relaxed),
        }
    }
}

/// A [`Histogram`] at a moment; adds up over workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// By bucket; those missing are zero.
    counts: Vec<u64>,
    sum: u64,
    max: u64,
}

impl HistogramSnapshot {
    /// Number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All durations added up, nanoseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The longest since the start, nanoseconds.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The duration that `share` (0 to 1) of all do not exceed, nanoseconds; at most 1/16 too long.
    /// None if nothing was counted.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let wanted = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (at, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= wanted {
                return Some(upper(at).min(self.max));
            }
        }
        None
    }

    /// Number of durations shorter than 2^`bits` nanoseconds.
    pub fn shorter_than(&self, bits: u32) -> u64 {
        let end = bucket(1_u64.checked_shl(bits).unwrap_or(u64::MAX));
        self.counts.iter().take(end).sum()
    }

    /// What was counted since an earlier reading of the same; the longest stays that since the
    /// start, unless a bucket says that it cannot be.
    #[must_use]
    pub fn since(&self, earlier: &HistogramSnapshot) -> HistogramSnapshot {
        let before = |at: usize| earlier.counts.get(at).copied().unwrap_or_default();
        let counts: Vec<u64> = (0..)
            .zip(&self.counts)
            .map(|(at, n)| n.saturating_sub(before(at)))
            .collect();
        let longest = counts.iter().rposition(|n| *n != 0).map_or(0, upper);
        HistogramSnapshot {
            counts,
            sum: self.sum.saturating_sub(earlier.sum),
            max: self.max.min(longest),
        }
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &HistogramSnapshot) {
        let needed = self.counts.len().max(other.counts.len());
        self.counts.resize(needed, 0);
        for (sum, n) in self.counts.iter_mut().zip(&other.counts) {
            *sum += n;
        }
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }
}

/// The bucket of a duration.
fn bucket(nanos: u64) -> usize {
    if nanos < PARTS {
        return nanos as usize;
    }
    let top = 63 - nanos.leading_zeros();
    if top > TOP_BIT {
        return BUCKETS - 1;
    }
    let part = (nanos >> (top - PART_BITS)) & (PARTS - 1);
    (u64::from(top - PART_BITS + 1) * PARTS + part) as usize
}

/// The longest duration of a bucket.
fn upper(bucket: usize) -> u64 {
    let (row, part) = (bucket as u64 / PARTS, bucket as u64 % PARTS);
    match row {
        0 => part,
        _ => ((PARTS + part + 1) << (row - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_durations_and_is_a_sixteenth_wide(nanos in 0..1_u64 << 34) {
            let at = bucket(nanos);
            prop_assert!(at < BUCKETS);
            prop_assert!(nanos <= upper(at));
            prop_assert!(at == 0 || nanos > upper(at - 1));
            prop_assert!(upper(at) - nanos <= nanos / PARTS);
        }

        /// Quantiles against the sorted list itself.
        #[test]
        fn quantiles_are_those_of_the_list(
            mut list in prop::collection::vec(0..5_000_000_u64, 1..300),
            share in 0.0..=1.0_f64,
        ) {
            let histogram = Histogram::default();
            list.iter().for_each(|nanos| histogram.record(*nanos));
            let seen = histogram.snapshot();
            list.sort_unstable();
            let rank = ((list.len() as f64 * share).ceil() as usize).max(1) - 1;
            let found = seen.quantile(share).unwrap();
            prop_assert!(found >= list[rank] && found <= list[rank] + list[rank] / PARTS);
            prop_assert_eq!(seen.max(), *list.last().unwrap());
            prop_assert_eq!(seen.sum(), list.iter().sum::<u64>());
            for bits in 0..36 {
                let shorter = list.iter().filter(|n| **n < 1 << bits).count() as u64;
                prop_assert_eq!(seen.shorter_than(bits), shorter);
            }
        }
    }

    #[test]
    fn what_came_since_is_told_apart() {
        let histogram = Histogram::default();
        histogram.record(1_000_000);
        let before = histogram.snapshot();
        histogram.record(50);
        let since = histogram.snapshot().since(&before);
        assert_eq!((since.count(), since.sum()), (1, 50));
        assert!((50..54).contains(&since.max()));
        let mut both = since;
        both.merge(&before);
        assert_eq!((both.count(), both.max()), (2, 1_000_000));
        assert_eq!(HistogramSnapshot::default().quantile(0.5), None);
    }

    #[test]
    fn a_duration_beyond_all_buckets_is_in_the_last() {
        let histogram = Histogram::default();
        histogram.record(u64::MAX / 2);
        assert_eq!(histogram.snapshot().count(), 1);
        assert_eq!(histogram.snapshot().max(), u64::MAX / 2);
    }
}
