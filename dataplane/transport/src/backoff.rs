//! Pauses between attempts to connect.

use std::time::Duration;

/// The pause before the first attempt after one that failed.
const FIRST: Duration = Duration::from_secs(1);

/// Pauses that double up to a limit, as Open vSwitch's `max_backoff` has them.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Pauses from 1 s, or `longest` if that is less, to `longest`.
    pub fn new(longest: Duration) -> Self {
        Backoff {
            next: FIRST.min(longest),
            longest,
        }
    }

    /// How long to wait now; the next pause is twice as long, up to the limit.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// A connection held: begin with the short pauses again.
    pub fn reset(&mut self) {
        *self = Backoff::new(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(8));
        let pauses: Vec<u64> = (0..5).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 8]);
        backoff.reset();
        assert_eq!(backoff.pause(), Duration::from_secs(1));
        let mut short = Backoff::new(Duration::from_millis(300));
        assert_eq!(short.pause(), Duration::from_millis(300));
        assert_eq!(short.pause(), Duration::from_millis(300));
    }
}
