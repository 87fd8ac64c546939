//! How long to wait before the next attempt.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Doubles from the first pause to the longest, each time between half of that and all of it, so
/// that many who lost the same server do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Backoff {
            first,
            longest,
            failures: 0,
        }
    }

    /// The pause after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let factor = 1 << self.failures.min(20);
        self.failures = self.failures.saturating_add(1);
        let longest = self.first.saturating_mul(factor).min(self.longest);
        jittered(longest)
    }

    /// How often it failed since it last went well.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// It went well.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Between half of the duration and all of it.
pub(crate) fn jittered(longest: Duration) -> Duration {
    // Each state has keys of its own, which is all the chance that is needed.
    let random = RandomState::new().hash_one(0) >> 11;
    let share = 0.5 + random as f64 / (1u64 << 53) as f64 / 2.0;
    longest.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_agree() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000));
        for longest in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.next();
            assert!(
                pause >= ms(longest) / 2 && pause <= ms(longest),
                "{pause:?}"
            );
        }
        assert_eq!(backoff.failures(), 6);
        backoff.reset();
        assert!(backoff.next() <= ms(100));
        let pauses: std::collections::BTreeSet<_> = (0..20).map(|_| jittered(ms(1000))).collect();
        assert!(pauses.len() > 10);
    }
}
