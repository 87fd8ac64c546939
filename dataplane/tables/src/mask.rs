//! Masks and masked keys without their zero words.

// Positions of mask words are below KEY_WORDS by construction, and values are as long as masks.
#![allow(clippy::indexing_slicing)]

use std::sync::{Arc, LazyLock};

use net::{FlowKey, KEY_WORDS};
use openflow::Field;

use crate::rule::Words;

/// The words of a flow key's mask that are not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mask {
    words: Box<[MaskWord]>,
    /// Some bit is of a [`LATE`] field.
    has_late: bool,
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

/// The bits of [`LATE`] fields, by word.
static LATE_WORDS: LazyLock<[u64; KEY_WORDS]> = LazyLock::new(|| {
    let mut late = FlowKey::default();
    for field in LATE {
        let slot = field.info().slot;
        slot.set(&mut late, slot.ones(), slot.ones());
    }
    *late.words()
});

/// The bits of a word that belong to [`LATE`] fields.
#[inline]
pub(crate) fn late_bits(at: u16) -> u64 {
    LATE_WORDS[usize::from(at)]
}

impl Mask {
    /// Of a whole mask.
    pub fn new(mask: &FlowKey) -> Self {
        let words = mask.words().iter().enumerate();
        Mask::of_words(words.map(|(at, bits)| (at as u16, *bits)))
    }

    /// Of words in ascending order.
    pub(crate) fn of_words(words: impl Iterator<Item = (u16, u64)>) -> Self {
        let words: Box<[MaskWord]> = words
            .filter(|(_, bits)| *bits != 0)
            .map(|(at, bits)| MaskWord { at, bits })
            .collect();
        Mask {
            has_late: words.iter().any(|w| w.bits & late_bits(w.at) != 0),
            words,
        }
    }

    /// The mask without the bits of [`LATE`] fields.
    pub(crate) fn early(self: &Arc<Self>) -> Arc<Self> {
        if !self.has_late {
            return self.clone();
        }
        let words = self.words.iter();
        let early = words.map(|w| (w.at, w.bits & !late_bits(w.at)));
        Arc::new(Mask::of_words(early))
    }

    /// The bits of both.
    pub(crate) fn or(&self, other: &Mask) -> Self {
        let mut all = self.to_key();
        other.add_to(&mut all);
        Mask::new(&all)
    }

    /// The whole mask.
    pub(crate) fn to_key(&self) -> FlowKey {
        let mut key = FlowKey::default();
        self.add_to(&mut key);
        key
    }

    /// Hash of the mask itself.
    pub(crate) fn own_hash(&self) -> u64 {
        let words = self.words.iter();
        finish(words.fold(SEED, |h, w| mix(mix(h, w.at.into()), w.bits)))
    }

    /// Number of bits.
    pub(crate) fn ones(&self) -> u32 {
        self.words.iter().map(|w| w.bits.count_ones()).sum()
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.words)
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

    /// True where a key agrees with packed words under this mask. What decided is ORed into
    /// `seen`: bits of [`LATE`] fields only if no other bit did.
    #[inline]
    pub(crate) fn judge(
        &self,
        words: &[u64; KEY_WORDS],
        packed: &[u64],
        seen: &mut [u64; KEY_WORDS],
    ) -> bool {
        if !self.has_late {
            for (w, value) in self.words.iter().zip(packed) {
                let at = usize::from(w.at);
                if words[at] & w.bits != *value {
                    seen[at] |= w.bits;
                    return false;
                }
            }
        } else {
            let differs = |w: &MaskWord, value: &u64| (words[usize::from(w.at)] & w.bits) ^ value;
            let pairs = || self.words.iter().zip(packed);
            let early = pairs().find_map(|(w, value)| {
                let early = !late_bits(w.at);
                (differs(w, value) & early != 0).then_some((w.at, w.bits & early))
            });
            let decided = early.or_else(|| {
                let late = pairs().find(|(w, value)| differs(w, value) != 0);
                late.map(|(w, _)| (w.at, w.bits))
            });
            if let Some((at, bits)) = decided {
                seen[usize::from(at)] |= bits;
                return false;
            }
        }
        for w in &self.words {
            seen[usize::from(w.at)] |= w.bits;
        }
        true
    }

    /// Hash under this mask of a packed key whose mask has all bits of this one.
    pub(crate) fn hash_packed(&self, mask: &Mask, packed: &[u64]) -> u64 {
        let mut theirs = mask.words.iter().zip(packed);
        let words = self.words.iter().map(|w| {
            let same = theirs.find(|(their, _)| their.at >= w.at);
            same.map_or(0, |(_, value)| value & w.bits)
        });
        finish(words.fold(SEED, mix))
    }

    /// [`Mask::hash`] and [`Mask::add_to`] in one.
    #[inline]
    pub(crate) fn hash_seen(&self, words: &[u64; KEY_WORDS], seen: &mut [u64; KEY_WORDS]) -> u64 {
        let mut hash = SEED;
        for w in &self.words {
            let at = usize::from(w.at);
            seen[at] |= w.bits;
            hash = mix(hash, words[at] & w.bits);
        }
        finish(hash)
    }

    /// Hash of a key under this mask; equal to [`Mask::hash_packed`] of the packed key.
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
        assert_eq!(wide.hash(value.words()), wide.hash_packed(&wide, &packed));
        assert_eq!(
            narrow.hash(value.words()),
            narrow.hash_packed(&wide, &packed)
        );
        assert!(wide.agrees(value.words(), &packed));
        let mut all = FlowKey::default();
        wide.add_to(&mut all);
        assert_eq!(all, mask);
    }
}
