//! Token buckets in integers, on a clock that is passed in: the arithmetic of meters and of the
//! queues of ports.
//!
//! The state of a bucket is one word, kept by its owner: the time at which it will be full again
//! (the theoretical arrival time of GCRA, ITU-T I.371 A). What a packet costs is a multiplication.

/// Clock ticks per nanosecond: a 64-byte frame at 400 Gbit/s still costs more than a thousand.
const TICKS: u64 = 1 << 10;
/// Longest time a full bucket may stand for: about 26 days.
const LONGEST: u64 = 1 << 61;
/// Most units that one charge can have. A frame of 64 KB that segmentation offload carries whole may
/// stand for as many segments as it has bytes, each with its headers.
pub const MOST_PACKETS: u64 = 1 << 16;
/// Likewise, in bits.
pub const MOST_BITS: u64 = 1 << 26;
/// More than the clocks of two workers differ: one second.
const SKEW: u64 = 1_000_000_000 * TICKS;

/// A token bucket without its state. A packet passes while the bucket is not empty and may leave
/// it below empty, so the rate is exact for frames of any size, and a 64 KB frame passes a small bucket.
///
/// Times are nanoseconds; states and costs are ticks, of which only differences count, because
/// they wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Ticks per unit, times 2 to the power of `shift`.
    ticks: u64,
    shift: u32,
    /// Most units of a charge.
    most: u64,
    /// Ticks in which the bucket fills.
    depth: u64,
    /// No charge leaves the bucket further from full than this; what looks like more is a time
    /// long past, seen through the clock's wrapping around (every 208 days).
    furthest: u64,
}

impl Bucket {
    /// Of `rate` bits per second (at least 1), and `burst` bits deep.
    pub fn of_bits(rate: u64, burst: u64) -> Self {
        Self::new(rate, burst, MOST_BITS)
    }

    /// Of `rate` packets per second (at least 1), and `burst` packets deep.
    pub fn of_packets(rate: u64, burst: u64) -> Self {
        Self::new(rate, burst, MOST_PACKETS)
    }

    fn new(rate: u64, burst: u64, most: u64) -> Self {
        let rate = rate.max(1);
        // The product has 64 significant bits then: no rate is off by more than rounding.
        let shift = 24 + rate.ilog2();
        let second = u128::from(1_000_000_000 * TICKS);
        let ticks = (second << shift) / u128::from(rate);
        let mut bucket = Bucket {
            ticks: u64::try_from(ticks).unwrap_or(u64::MAX),
            shift,
            most,
            depth: 0,
            furthest: 0,
        };
        bucket.depth = bucket.ticks(burst).clamp(1, LONGEST);
        bucket.furthest = 2 * bucket.depth + bucket.cost(most) + SKEW;
        bucket
    }

    /// What so many units cost.
    #[inline]
    pub fn cost(&self, units: u64) -> u64 {
        self.ticks(units.min(self.most))
    }

    /// Ticks in which the bucket fills.
    pub fn depth(&self) -> u64 {
        self.depth
    }

    /// The state after a charge; none if the bucket is empty.
    #[inline]
    pub fn take(&self, full_at: u64, now: u64, cost: u64) -> Option<u64> {
        let now = now.wrapping_mul(TICKS);
        let missing = self.missing(full_at, now);
        (missing < self.depth).then(|| now.wrapping_add(missing + cost))
    }

    /// The state after a charge that is not refused: the bucket does not become emptier than by
    /// its depth and this charge.
    #[inline]
    pub fn overdraw(&self, full_at: u64, now: u64, cost: u64) -> u64 {
        let now = now.wrapping_mul(TICKS);
        let missing = self.missing(full_at, now).min(self.depth);
        now.wrapping_add(missing + cost)
    }

    /// Nanoseconds until the bucket is not empty; 0 if it is not.
    #[inline]
    pub fn wait(&self, full_at: u64, now: u64) -> u64 {
        let missing = self.missing(full_at, now.wrapping_mul(TICKS));
        match missing.checked_sub(self.depth) {
            None => 0,
            Some(over) => over / TICKS + 1,
        }
    }

    /// Ticks until full; a time that has passed wraps to a large number.
    #[inline]
    fn missing(&self, full_at: u64, now: u64) -> u64 {
        match full_at.wrapping_sub(now) {
            missing if missing > self.furthest => 0,
            missing => missing,
        }
    }

    /// Rounded to the nearest.
    #[inline]
    fn ticks(&self, units: u64) -> u64 {
        let exact = u128::from(units) * u128::from(self.ticks);
        let rounded = (exact >> (self.shift - 1)).div_ceil(2);
        u64::try_from(rounded).unwrap_or(LONGEST).min(LONGEST)
    }
}

/// Ticks of so many nanoseconds.
pub(crate) const fn ticks_of(nanoseconds: u64) -> u64 {
    nanoseconds * TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_exact_from_a_packet_a_second_to_four_terabits() {
        for rate in [
            1,
            3,
            1000,
            999_999,
            1 << 30,
            100_000_000_000,
            4_294_967_295_000,
        ] {
            let bucket = Bucket::of_bits(rate, 1);
            for units in [1, 512, 12_112, 524_280, MOST_BITS] {
                let exact = u128::from(units) * 1_024_000_000_000 * 2 / u128::from(rate);
                let exact = exact.div_ceil(2).min(u128::from(LONGEST));
                let cost = u128::from(bucket.cost(units));
                assert!(
                    cost.abs_diff(exact) <= 1,
                    "{units} at {rate}: {cost}, {exact}"
                );
            }
        }
    }

    #[test]
    fn the_wait_is_over_when_it_says() {
        let bucket = Bucket::of_packets(1_000_000, 100);
        let mut full_at = 0;
        let mut now = 5_000_000_000;
        for units in [70, 70, 3000, 1, 1, 90] {
            let wait = bucket.wait(full_at, now);
            if wait > 1 {
                assert_eq!(bucket.take(full_at, now + wait - 2, 1), None);
            }
            now += wait;
            full_at = bucket.take(full_at, now, bucket.cost(units)).unwrap();
        }
    }

    #[test]
    fn an_overdrawn_bucket_recovers_within_its_depth_and_one_charge() {
        let bucket = Bucket::of_packets(1000, 10);
        let mut full_at = 0;
        for _ in 0..1000 {
            full_at = bucket.overdraw(full_at, 7, bucket.cost(50));
        }
        // 50 units at 1000 a second.
        let wait = bucket.wait(full_at, 7);
        assert!((49_000_000..=50_000_001).contains(&wait), "{wait}");
    }
}
