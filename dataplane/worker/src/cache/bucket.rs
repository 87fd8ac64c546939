//! One line of eight short signatures and the places of eight flows.

use zerocopy::FromZeros;

/// Flows in a bucket.
pub(super) const SLOTS: usize = 8;

#[derive(Clone, Copy, Default, FromZeros)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// 0 is empty.
    pub signatures: [u16; SLOTS],
    pub places: [u32; SLOTS],
}

impl Bucket {
    /// The slots with this signature, as [`Hits`]. Now and then one too many, which the key then
    /// tells.
    #[inline]
    pub fn matches(&self, signature: u16) -> Hits {
        const ONES: u64 = 0x0001_0001_0001_0001;
        const HIGH: u64 = 0x8000_8000_8000_8000;
        let wanted = u64::from(signature) * ONES;
        // Zero where they agree; then the high bit of each zero (and of some above one).
        let zeroes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let [low, high] = self.words();
        Hits {
            low: zeroes(low ^ wanted),
            high: zeroes(high ^ wanted),
        }
    }

    /// A free slot.
    pub fn free(&self) -> Option<usize> {
        self.signatures.iter().position(|s| *s == 0)
    }

    /// Number of free slots.
    pub fn room(&self) -> usize {
        self.signatures.iter().filter(|s| **s == 0).count()
    }

    /// Four signatures in each word, the first in the low bits.
    #[inline]
    fn words(&self) -> [u64; 2] {
        let [a, b, c, d, e, f, g, h] = self.signatures.map(u64::from);
        let word = |a: u64, b: u64, c: u64, d: u64| a | (b << 16) | (c << 32) | (d << 48);
        [word(a, b, c, d), word(e, f, g, h)]
    }
}

/// Slots of a bucket: each has the high bit of its 16.
#[derive(Clone, Copy)]
pub(super) struct Hits {
    low: u64,
    high: u64,
}

impl Iterator for Hits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.low != 0 {
            let slot = self.low.trailing_zeros() / 16;
            self.low &= self.low - 1;
            return Some(slot as usize);
        }
        if self.high != 0 {
            let slot = self.high.trailing_zeros() / 16 + 4;
            self.high &= self.high - 1;
            return Some(slot as usize);
        }
        None
    }
}
