//! Masks and masked keys without their zero words.

// Positions of mask words are below KEY_WORDS by construction, and values are as long as masks.
#![allow(clippy::indexing_slicing)]

use net::{FlowKey, KEY_WORDS};
use openflow::Field;

use crate::rule::Words;

/// The words of a flow key's mask that are not zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mask {
    words: Box<[MaskWord]>,
}

/// One word of a mask: where, and which bits (in memory order, as [`FlowKey::words`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MaskWord {
    pub at: u16,
    pub bits: u64,
}

/// Fields that the workers' flow caches do not keep in their keys. They are looked at last, so
/// that a packet is not said to depend on one of them where another field decided already.
pub(crate) const LATE: &[Field] = &[
    Field::IpTtl,
    Field::TcpFlags,
    Field::IpFrag,
    Field::Ipv6Label,
    Field::Ipv6Exthdr,
    Field::ArpSha,
    Field::ArpTha,
    Field::NdTarget,
    Field::MplsTtl,
];

impl Mask {
    /// Of a whole mask.
    pub fn new(mask: &FlowKey) -> Self {
        let words = mask.words().iter().enumerate();
        Mask {
            words: words
                .filter(|(_, bits)| **bits != 0)
                .map(|(at, bits)| MaskWord {
                    at: at as u16,
                    bits: *bits,
                })
                .collect(),
        }
    }

    pub(crate) fn words(&self) -> &[MaskWord] {
        &self.words
    }

    /// The masked words of a key.
    pub(crate) fn pack(&self, key: &FlowKey) -> Words {
        let words = key.words();
        self.words
            .iter()
            .map(|w| words[usize::from(w.at)] & w.bits)
            .collect()
    }

    /// The key that has these words and is zero elsewhere.
    pub(crate) fn unpack(&self, packed: &[u64]) -> FlowKey {
        let mut key = FlowKey::default();
        for (w, value) in self.words.iter().zip(packed) {
            key.words_mut()[usize::from(w.at)] = *value;
        }
        key
    }

    /// True where a key agrees with packed words under this mask.
    #[inline]
    pub(crate) fn agrees(&self, words: &[u64; KEY_WORDS], packed: &[u64]) -> bool {
        self.words
            .iter()
            .zip(packed)
            .all(|(w, value)| words[usize::from(w.at)] & w.bits == *value)
    }

    /// Hash of a key under this mask; equal to [`hash_packed`] of the packed key.
    #[inline]
    pub(crate) fn hash(&self, words: &[u64; KEY_WORDS]) -> u64 {
        let masked = self.words.iter();
        finish(masked.fold(SEED, |h, w| mix(h, words[usize::from(w.at)] & w.bits)))
    }

    /// True where every bit of `other` is a bit of this mask.
    pub(crate) fn covers(&self, other: &Mask) -> bool {
        let mut mine = self.words.iter();
        other.words.iter().all(|theirs| {
            mine.find(|w| w.at >= theirs.at)
                .is_some_and(|w| w.at == theirs.at && w.bits & theirs.bits == theirs.bits)
        })
    }

    /// ORs the mask into a whole one.
    #[inline]
    pub(crate) fn add_to(&self, mask: &mut FlowKey) {
        let words = mask.words_mut();
        for w in &self.words {
            words[usize::from(w.at)] |= w.bits;
        }
    }
}

const SEED: u64 = 0x243f_6a88_85a3_08d3; // fractional digits of pi
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 divided by the golden ratio

/// Hash of packed words.
pub(crate) fn hash_packed(packed: &[u64]) -> u64 {
    finish(packed.iter().fold(SEED, |h, word| mix(h, *word)))
}

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(FACTOR);
    (product as u64) ^ ((product >> 64) as u64).rotate_left(29)
}

#[inline]
fn finish(hash: u64) -> u64 {
    let mut h = hash;
    h ^= h >> 32;
    h = h.wrapping_mul(0xd6e8_feb8_6659_fd93);
    h ^ (h >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openflow::Match;

    #[test]
    fn packing_keeps_what_the_mask_covers() {
        let wide = Match::any().with(Field::EthType, 0x0800u16).with_masked(
            Field::Ipv4Dst,
            0x0a00_0000u32,
            0xff00_0000u32,
        );
        let narrow = Match::any().with(Field::EthType, 0x0800u16);
        let (value, mask) = wide.to_keys();
        let (wide, narrow) = (Mask::new(&mask), Mask::new(&narrow.to_keys().1));
        assert!(wide.covers(&narrow) && wide.covers(&wide) && !narrow.covers(&wide));
        let packed = wide.pack(&value);
        assert_eq!(wide.unpack(&packed), value);
        assert_eq!(wide.hash(value.words()), hash_packed(&packed));
        assert!(wide.agrees(value.words(), &packed));
        let mut all = FlowKey::default();
        wide.add_to(&mut all);
        assert_eq!(all, mask);
    }
}
