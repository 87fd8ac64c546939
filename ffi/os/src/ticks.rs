//! A clock that costs a few nanoseconds to read: the processor's time stamp counter, and how fast it
//! runs.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The time stamp counter: advances at [`ticks_per_second`], the same on all cores of a machine
/// whose counters are invariant (Intel SDM volume 3, 18.17.1; AMD APM volume 2, 13.2.4).
///
/// Where there is no such counter: nanoseconds since the first call.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: reads a counter and has no other effect; every x86-64 processor has it, and Linux
        // lets every process use it.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        let elapsed = START.get_or_init(Instant::now).elapsed();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Ticks in a second, measured against the monotonic clock at the first call, which takes
/// 10 milliseconds; the same number from then on.
pub fn ticks_per_second() -> u64 {
    static RATE: OnceLock<u64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (first, first_at) = both();
        std::thread::sleep(Duration::from_millis(10));
        let (second, second_at) = both();
        let nanos = second_at.duration_since(first_at).as_nanos().max(1);
        let ticks = u128::from(second.wrapping_sub(first));
        u64::try_from(ticks * 1_000_000_000 / nanos).map_or(u64::MAX, |rate| rate.max(1))
    })
}

/// Both clocks at the same moment: of several tries the one that took least.
fn both() -> (u64, Instant) {
    let read = |_| {
        let before = ticks();
        let at = Instant::now();
        let after = ticks();
        (after.wrapping_sub(before), before, at)
    };
    let best = (0..32).map(read).min_by_key(|(took, _, _)| *took);
    best.map_or_else(
        || (ticks(), Instant::now()),
        |(took, before, at)| (before + took / 2, at),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_follow_the_monotonic_clock() {
        let rate = ticks_per_second();
        assert_eq!(rate, ticks_per_second());
        let (ticks_before, before) = both();
        std::thread::sleep(Duration::from_millis(20));
        let (ticks_after, after) = both();
        let by_ticks = (ticks_after - ticks_before) as f64 / rate as f64;
        let by_clock = after.duration_since(before).as_secs_f64();
        assert!(
            (by_ticks / by_clock - 1.0).abs() < 0.01,
            "{by_ticks} and {by_clock} seconds"
        );
    }
}
