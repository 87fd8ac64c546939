//! A bad line behind the queues of a port: packets are late, or lost.
//!
//! Each packet has a delay of its own, between delay less jitter and delay and jitter, each as
//! likely, and leaves when it is over; so with jitter packets overtake one another, as they do in
//! the kernel's emulator of networks. Loss is decided for each packet by itself.

use std::collections::BinaryHeap;

use ports::Impairment;

/// What is on its way.
pub(crate) struct Line<T> {
    impairment: Impairment,
    held: BinaryHeap<Held<T>>,
    /// Packets so far: of two that are due at one time, the first goes first.
    count: u64,
    random: u64,
}

/// Why a packet is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Chance,
    Full,
}

struct Held<T> {
    due: u64,
    number: u64,
    item: T,
}

impl<T> Line<T> {
    /// An empty line; the same seed gives the same losses.
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Line {
            impairment,
            held: BinaryHeap::with_capacity(impairment.limit as usize),
            count: 0,
            random: seed,
        }
    }

    /// Sends something at `now` nanoseconds; gives it back if it is lost.
    pub fn push(&mut self, item: T, now: u64) -> Result<(), (T, Lost)> {
        let Impairment {
            delay,
            jitter,
            loss_ppm,
            limit,
        } = self.impairment;
        if self.below(1_000_000) < u64::from(loss_ppm) {
            return Err((item, Lost::Chance));
        }
        if self.held.len() >= limit as usize {
            return Err((item, Lost::Full));
        }
        let late = match jitter {
            0 => delay,
            _ => (delay + self.below(2 * jitter + 1)).saturating_sub(jitter),
        };
        self.put(now.saturating_add(late), item);
        Ok(())
    }

    /// When the next one arrives; `u64::MAX` if nothing is on its way.
    pub fn due(&self) -> u64 {
        self.held.peek().map_or(u64::MAX, |held| held.due)
    }

    /// One that has arrived.
    pub fn pop(&mut self, now: u64) -> Option<T> {
        if self.due() > now {
            return None;
        }
        self.held.pop().map(|held| held.item)
    }

    /// What was on its way on another line goes on here; none of it is lost.
    pub fn inherit(&mut self, mut other: Line<T>) {
        while let Some(held) = other.held.pop() {
            self.put(held.due, held.item);
        }
    }

    /// What is on its way, in no order.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.held.iter().map(|held| &held.item)
    }

    /// How many are on their way.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Everything, in the order in which it would have arrived.
    pub fn into_items(mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(move || self.held.pop().map(|held| held.item))
    }

    fn put(&mut self, due: u64, item: T) {
        let number = self.count;
        self.count += 1;
        self.held.push(Held { due, number, item });
    }

    /// A random number below another, each as likely (SplitMix64, Steele, Lea and Flood 2014).
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(bound)) >> 64) as u64
    }
}

/// The greatest is the next to arrive.
impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Held<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn line(delay: u64, jitter: u64, loss_ppm: u32, limit: u32) -> Line<u32> {
        let impairment = Impairment {
            delay,
            jitter,
            loss_ppm,
            limit,
        };
        Line::new(impairment, 7)
    }

    #[test]
    fn every_packet_is_as_late_as_it_shall_be_and_order_is_kept_without_jitter() {
        let mut line = line(10 * MS, 0, 0, 1000);
        for n in 0..100 {
            line.push(n, u64::from(n / 2) * MS).unwrap();
        }
        let mut now = 0;
        let mut came = Vec::new();
        while line.due() != u64::MAX {
            assert!(line.due() > now || line.due() == 10 * MS);
            now = line.due();
            assert_eq!(line.pop(now - 1), None, "early");
            while let Some(n) = line.pop(now) {
                assert_eq!(now, u64::from(n / 2) * MS + 10 * MS);
                came.push(n);
            }
        }
        assert_eq!(came, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn jitter_is_spread_evenly_about_the_delay() {
        let mut line = line(10 * MS, 4 * MS, 0, 20_000);
        for n in 0..20_000 {
            line.push(n, 0).unwrap();
        }
        let mut parts = [0u32; 8];
        let mut before = 0;
        while line.due() != u64::MAX {
            let due = line.due();
            assert!((6 * MS..=14 * MS).contains(&due) && due >= before, "{due}");
            parts[((due - 6 * MS) / MS).min(7) as usize] += 1;
            before = due;
            line.pop(due).unwrap();
        }
        // 2,500 each; six standard deviations are 281.
        assert!(parts.iter().all(|n| n.abs_diff(2500) < 281), "{parts:?}");
    }

    #[test]
    fn jitter_larger_than_the_delay_makes_no_packet_early() {
        let mut line = line(MS, 5 * MS, 0, 1000);
        for n in 0..1000 {
            line.push(n, 100 * MS).unwrap();
        }
        assert_eq!(line.due(), 100 * MS);
    }

    #[test]
    fn losses_are_as_many_as_they_shall_be_and_no_two_hang_together() {
        for (loss_ppm, expected) in [(0, 0), (10_000, 2_000), (300_000, 60_000)] {
            let mut line = line(0, 0, loss_ppm, 10);
            let mut lost = Vec::new();
            for n in 0..200_000 {
                match line.push(n, 0) {
                    Ok(()) => assert_eq!(line.pop(0), Some(n)),
                    Err((_, why)) => {
                        assert_eq!(why, Lost::Chance);
                        lost.push(n);
                    }
                }
            }
            let p = f64::from(loss_ppm) / 1e6;
            let spread = |n: f64, p: f64| 6.0 * (n * p * (1.0 - p)).sqrt();
            let off = (lost.len() as f64 - f64::from(expected)).abs();
            assert!(off <= spread(2e5, p), "{} of {expected}", lost.len());
            // Pairs in a row: p of the lost ones.
            let pairs = lost.windows(2).filter(|w| w[1] == w[0] + 1).count() as f64;
            let wanted = lost.len() as f64 * p;
            assert!((pairs - wanted).abs() <= spread(lost.len() as f64, p) + 1.0);
        }
        let mut line = line(0, 0, 1_000_000, 10);
        assert!((0..1000).all(|n| line.push(n, 0) == Err((n, Lost::Chance))));
    }

    #[test]
    fn no_more_than_the_limit_are_on_their_way() {
        let mut line = line(MS, 0, 0, 3);
        for n in 0..3 {
            line.push(n, 0).unwrap();
        }
        assert_eq!(line.push(3, 0), Err((3, Lost::Full)));
        assert_eq!(line.pop(MS), Some(0));
        assert_eq!(line.push(4, MS), Ok(()));
        assert_eq!(line.len(), 3);
    }

    #[test]
    fn what_is_on_its_way_when_settings_change_arrives_when_it_would_have() {
        let mut old = line(10 * MS, 0, 0, 10);
        for n in 0..5 {
            old.push(n, 0).unwrap();
        }
        let mut new = line(20 * MS, 0, 0, 1);
        new.inherit(old);
        assert_eq!((new.due(), new.len()), (10 * MS, 5));
        let came: Vec<_> = std::iter::from_fn(|| new.pop(10 * MS)).collect();
        assert_eq!(came, [0, 1, 2, 3, 4]);
        new.push(9, 10 * MS).unwrap();
        assert_eq!((new.due(), new.into_items().collect()), (30 * MS, vec![9]));
    }
}
