//! Says of most hashes that are not in a subtable that they are not, from one word of memory.

// Places are taken modulo the number of words.
#![allow(clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Hashes per word when the filter is made; three bits of 64 each give about one wrong yes in a
/// hundred then.
const PER_WORD: usize = 4;
/// Hashes per word at which it must be made again.
const FULL: usize = 8;

/// A blocked Bloom filter (Putze et al., 2007) over hashes.
///
/// All versions of a subtable share it: a hash added for the next version is no more than a wrong
/// yes for readers of earlier ones, and one that was removed stays until the filter is made anew.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    words: Arc<[AtomicU64]>,
    added: usize,
}

impl Filter {
    /// With room for as many hashes again as it is given.
    pub fn new(len: usize, hashes: impl Iterator<Item = u64>) -> Self {
        let words = (len * 2).div_ceil(PER_WORD).next_power_of_two();
        let mut filter = Filter {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            added: 0,
        };
        for hash in hashes {
            filter.add(hash);
        }
        filter
    }

    /// True when it says yes too often to be of use.
    pub fn is_full(&self) -> bool {
        self.added >= self.words.len() * FULL
    }

    /// Adds a hash. What is published later is seen by whoever sees the publication.
    pub fn add(&mut self, hash: u64) {
        self.words[self.place(hash)].fetch_or(bits(hash), Relaxed);
        self.added += 1;
    }

    /// False only if the hash was never added.
    #[inline]
    pub fn may_have(&self, hash: u64) -> bool {
        let bits = bits(hash);
        self.words[self.place(hash)].load(Relaxed) & bits == bits
    }

    /// Bytes.
    pub fn memory(&self) -> usize {
        self.words.len() * size_of::<AtomicU64>()
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        hash as usize & (self.words.len() - 1) // a power of two
    }
}

#[inline]
fn bits(hash: u64) -> u64 {
    (1 << (hash >> 58)) | (1 << ((hash >> 52) & 63)) | (1 << ((hash >> 46) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_most_else_is_not() {
        let mix = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ n << 40;
        let mut filter = Filter::new(1000, (0..1000).map(mix));
        assert!(!filter.is_full());
        (1000..2000).for_each(|n| filter.add(mix(n)));
        assert!((0..2000).all(|n| filter.may_have(mix(n))));
        let wrong = (10_000..20_000)
            .filter(|n| filter.may_have(mix(*n)))
            .count();
        assert!(wrong < 1000, "{wrong} of 10,000");
    }
}
