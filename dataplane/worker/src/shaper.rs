//! A port that sends no faster than it may, and the queues in front of it.
//!
//! Token buckets say when something may go: one of the port, one of each queue with a highest rate.
//! Who goes is decided packet by packet, among the queues whose own bucket allows it:
//! 1. queues that have not had their lowest rate;
//! 2. then the queues of the smallest priority number;
//! 3. of these, the one that has had least, bytes over weight (start-time fair queueing, Goyal,
//!    Vin and Cheng 1996; it needs no rounds, and frames of 64 KB need no large quantum).
//!
//! So a lowest rate is a floor, not an addition: what a queue gets by priority and weight counts
//! towards it. All of it is integers on the caller's clock, and nothing is allocated per packet.

mod class;
mod line;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ports::shaping::BURST_MS;
use tables::bucket::Bucket;

use crate::Queues;
use class::{Class, Waiting};
pub(crate) use line::{Line, Lost};

/// The queues of a port with what waits in them.
pub(crate) struct Shaper<T> {
    queues: Arc<Queues>,
    port: Option<Paced>,
    classes: Box<[Class<T>]>,
    /// A bit for each class in which something waits.
    busy: u128,
    /// By priority: how much the queues in turn have had.
    levels: [u64; 8],
}

/// A token bucket with its state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paced {
    bucket: Bucket,
    full_at: u64,
}

/// What is to be done with what waits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    /// Send this; it is in the queue of that place.
    Send(T, u8),
    /// Drop this: it has waited for too long.
    Expired(T, u8),
    /// Nothing before this time.
    Wait(u64),
    /// Nothing waits.
    Idle,
}

/// Something to be sent, as it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Packets on the wire.
    pub packets: u32,
    /// Bytes on the wire.
    pub bytes: u32,
}

impl Paced {
    /// Of so many bit/s; without a burst in bytes, that of [`BURST_MS`].
    fn new(rate: u64, burst: Option<u64>) -> Self {
        let bits = burst.map_or(rate / 1000 * BURST_MS, |bytes| bytes * 8);
        Paced {
            bucket: Bucket::of_bits(rate, bits),
            full_at: 0,
        }
    }

    /// Nanoseconds until something may go.
    #[inline]
    fn wait(&self, now: u64) -> u64 {
        self.bucket.wait(self.full_at, now)
    }

    /// Pays for what goes, whether or not it may.
    #[inline]
    fn charge(&mut self, now: u64, bytes: u32) {
        let cost = self.bucket.cost(u64::from(bytes) * 8);
        self.full_at = self.bucket.overdraw(self.full_at, now, cost);
    }
}

impl<T> Shaper<T> {
    /// Empty queues.
    pub fn new(queues: Arc<Queues>) -> Self {
        let shaping = queues.shaping();
        let port = shaping.rate.map(|rate| Paced::new(rate, shaping.burst));
        let places = queues.places().iter();
        Shaper {
            port,
            classes: places.map(|q| Class::new(&q.spec, shaping.rate)).collect(),
            busy: 0,
            levels: [0; 8],
            queues,
        }
    }

    /// The port's queues, as they were when this was made.
    pub fn queues(&self) -> &Arc<Queues> {
        &self.queues
    }

    /// The place that is meant: the first, if there is no such.
    pub fn place(&self, place: u8) -> u8 {
        match usize::from(place) < self.classes.len() {
            true => place,
            false => 0,
        }
    }

    /// Puts something into the queue of a place (or of the first place, if there is no such); gives it back if
    /// there is no room.
    #[inline]
    pub fn push(&mut self, place: u8, item: T, size: Size, now: u64) -> Result<(), (T, u8)> {
        let place = self.place(place);
        let at = usize::from(place);
        let Some(class) = self.classes.get_mut(at) else {
            return Err((item, place));
        };
        let waiting = Waiting {
            item,
            size,
            since: now,
        };
        let level = level(&mut self.levels, class);
        class.push(waiting, *level).map_err(|item| (item, place))?;
        self.busy |= 1 << at;
        Ok(())
    }

    /// What is next at `now` nanoseconds. What is to be sent has been paid for.
    #[inline]
    pub fn next(&mut self, now: u64) -> Next<(T, Size)> {
        if self.busy == 0 {
            return Next::Idle;
        }
        let blocked = self.port.map_or(0, |port| port.wait(now));
        if blocked != 0 {
            return Next::Wait(now.saturating_add(blocked));
        }
        let mut wait = u64::MAX;
        let mut best: Option<(usize, Rank)> = None;
        let mut busy = self.busy;
        while busy != 0 {
            let at = busy.trailing_zeros() as usize;
            busy &= busy - 1;
            let Some(class) = self.classes.get(at) else {
                continue;
            };
            let expires = class.expires();
            if expires <= now {
                return match self.take(at) {
                    Some(waiting) => Next::Expired((waiting.item, waiting.size), at as u8),
                    None => Next::Idle,
                };
            }
            let blocked = class.wait(now);
            if blocked != 0 {
                wait = wait.min(now.saturating_add(blocked)).min(expires);
                continue;
            }
            let rank = Rank {
                above_floor: class.has_floor(now),
                priority: class.priority,
                had: class.had,
            };
            if best.is_none_or(|(_, other)| rank.goes_before(other)) {
                best = Some((at, rank));
            }
        }
        let Some((at, rank)) = best else {
            return Next::Wait(wait);
        };
        match self.take(at) {
            Some(waiting) => {
                self.pay(at, rank, waiting.size, now);
                Next::Send((waiting.item, waiting.size), at as u8)
            }
            None => Next::Idle,
        }
    }

    /// Everything that waits, with its queue's number and since when; the queues are empty afterwards.
    pub fn drain(&mut self) -> impl Iterator<Item = (u32, T, Size, u64)> {
        self.busy = 0;
        let classes = self.classes.iter_mut().zip(self.queues.places());
        classes.flat_map(|(class, queue)| {
            let all = class.drain();
            all.map(|waiting| (queue.spec.id, waiting.item, waiting.size, waiting.since))
        })
    }

    fn take(&mut self, at: usize) -> Option<Waiting<T>> {
        let class = self.classes.get_mut(at)?;
        let waiting = class.pop()?;
        if class.is_empty() {
            self.busy &= !(1 << at);
        }
        Some(waiting)
    }

    fn pay(&mut self, at: usize, rank: Rank, size: Size, now: u64) {
        if let Some(port) = &mut self.port {
            port.charge(now, size.bytes);
        }
        if let Some(class) = self.classes.get_mut(at) {
            let level = level(&mut self.levels, class);
            let ahead = class.had.wrapping_sub(*level) as i64;
            // It had least of those whose turn it is. One that its highest rate has held back is
            // behind: it does not take the others back with it.
            if rank.above_floor && ahead > 0 {
                *level = class.had;
            }
            class.pay(size.bytes, *level, now);
        }
    }
}

/// Who goes first.
#[derive(Clone, Copy)]
struct Rank {
    above_floor: bool,
    priority: u8,
    had: u64,
}

impl Rank {
    #[inline]
    fn goes_before(self, other: Rank) -> bool {
        let (ours, theirs) = (
            (self.above_floor, self.priority),
            (other.above_floor, other.priority),
        );
        // Only differences of what queues have had mean something.
        let less = (self.had.wrapping_sub(other.had) as i64) < 0;
        ours < theirs || (ours == theirs && less)
    }
}

#[inline]
fn level<'a, T>(levels: &'a mut [u64; 8], class: &Class<T>) -> &'a mut u64 {
    // The remainder is in range.
    #[allow(clippy::indexing_slicing)]
    &mut levels[usize::from(class.priority) % 8]
}
