//! The hash index: from a tuple's hash to places in the arena, in both directions.
//!
//! Two choices of a bucket of eight slots, one cache line each, at most five eighths full. With a
//! keyed hash nobody outside can fill a bucket; should one overflow nevertheless, the connection
//! is refused as if the table were full.

use std::ops::Deref;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use os::prefetch;

use crate::entry::Direction;
use crate::sync::{AtomicU64, shared};

/// An index over buckets.
pub(crate) struct Index<B> {
    pub(crate) buckets: B,
}

shared! {
    /// Slots of 64 bits: signature (31 bits), direction (1), place + 1 (32). Zero is free.
    #[repr(align(64))]
    pub(crate) struct Bucket {
        pub(crate) slots: [AtomicU64; 8],
    }
}

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Place in the arena.
    pub(crate) place: u32,
    /// Which of the connection's tuples has that hash.
    pub(crate) direction: Direction,
}

impl Index<()> {
    /// Buckets for so many connections.
    pub(crate) fn buckets(capacity: u32) -> usize {
        // Two tuples each, in buckets of 8 that are filled to 5.
        (u64::from(capacity) * 2).div_ceil(5).max(2) as usize
    }
}

impl<B: Deref<Target = [Bucket]>> Index<B> {
    /// Over buckets that were zero at first.
    pub(crate) fn over(buckets: B) -> Self {
        Index { buckets }
    }

    /// The first answer that `accept` gives for a connection that may have a tuple with this hash.
    #[inline]
    pub(crate) fn find<T>(&self, hash: u64, accept: impl Fn(Hit) -> Option<T>) -> Option<T> {
        let signature = signature(hash);
        let places = self.places(hash);
        // A new connection is in neither; the second one comes while the first is looked at.
        let [_, second] = places;
        if let Some(bucket) = self.buckets.get(second) {
            prefetch(bucket);
        }
        for bucket in places {
            for slot in &self.buckets.get(bucket)?.slots {
                let slot = slot.load(Acquire);
                if slot >> 33 != signature || slot as u32 == 0 {
                    continue;
                }
                let direction = if slot >> 32 & 1 == 0 {
                    Direction::Original
                } else {
                    Direction::Reply
                };
                let place = slot as u32 - 1;
                if let Some(found) = accept(Hit { place, direction }) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// Adds a tuple; false if both its buckets are full.
    pub(crate) fn insert(&self, hash: u64, hit: Hit) -> bool {
        let slot = encode(hash, hit);
        // The emptier bucket first keeps the fill even.
        let [a, b] = self.places(hash);
        let used = |bucket: usize| {
            self.buckets.get(bucket).map_or(8, |bucket| {
                bucket
                    .slots
                    .iter()
                    .filter(|slot| slot.load(Relaxed) != 0)
                    .count()
            })
        };
        let order = if used(b) < used(a) { [b, a] } else { [a, b] };
        order
            .iter()
            .filter_map(|bucket| self.buckets.get(*bucket))
            .flat_map(|bucket| &bucket.slots)
            .any(|free| free.compare_exchange(0, slot, AcqRel, Relaxed).is_ok())
    }

    /// Removes what [`Index::insert`] added.
    pub(crate) fn remove(&self, hash: u64, hit: Hit) {
        let slot = encode(hash, hit);
        for place in self.slots(hash) {
            if place.compare_exchange(slot, 0, AcqRel, Relaxed).is_ok() {
                return;
            }
        }
    }

    fn slots(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        self.places(hash)
            .into_iter()
            .filter_map(|bucket| self.buckets.get(bucket))
            .flat_map(|bucket| &bucket.slots)
    }

    fn places(&self, hash: u64) -> [usize; 2] {
        let count = self.buckets.len() as u64;
        let scale = |half: u32| ((u64::from(half) * count) >> 32) as usize;
        let (first, second) = (scale(hash as u32), scale((hash >> 32) as u32));
        // The same bucket twice would be one choice, and found twice.
        let second = match (first == second, second + 1 < self.buckets.len()) {
            (false, _) => second,
            (true, true) => second + 1,
            (true, false) => 0,
        };
        [first, second]
    }
}

fn encode(hash: u64, hit: Hit) -> u64 {
    let direction = u64::from(hit.direction == Direction::Reply);
    signature(hash) << 33 | direction << 32 | u64::from(hit.place + 1)
}

/// Bits of the hash that do not choose the bucket.
fn signature(hash: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33
}
