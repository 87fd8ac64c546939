//! The keyed hash of exact keys and connection tuples.

// Every index is a constant, or bounded by WORDS.
#![allow(clippy::indexing_slicing)]

use super::{ExactKey, WORDS};

/// The secret with which keys are hashed; one per process, so that nobody outside can choose
/// packets that collide.
#[derive(Clone)]
pub struct HashKey([u64; WORDS + 2]);

impl HashKey {
    /// Expands a random seed (SplitMix64, Steele et al., OOPSLA 2014).
    pub fn new(seed: [u64; 2]) -> Self {
        let mut state = seed[0];
        let mut key = [0u64; WORDS + 2];
        for (i, word) in key.iter_mut().enumerate() {
            if i == WORDS / 2 {
                state ^= seed[1];
            }
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *word = z ^ (z >> 31) ^ seed[1];
        }
        HashKey(key)
    }

    /// Hash of an exact key.
    #[inline]
    pub fn hash(&self, key: &ExactKey) -> u64 {
        // The two lengths of ordinary packets as straight lines.
        match key.words().len() {
            5 => self.hash_words(&key.words[..5]),
            8 => self.hash_words(&key.words[..8]),
            _ => self.hash_words(key.words()),
        }
    }

    /// Hash of up to [`WORDS`] words; further ones do not count.
    ///
    /// A sum of folded 64 x 64 bit products, each word mixed with its own secret word before it is
    /// multiplied, then a last fold: every bit of the input reaches every bit of the result, and
    /// without the secret no input is known to zero a product.
    #[inline(always)]
    pub fn hash_words(&self, words: &[u64]) -> u64 {
        let mut sum = words.len() as u64;
        let (pairs, rest) = words[..words.len().min(WORDS)].as_chunks::<2>();
        let (secrets, _) = self.0.as_chunks::<2>();
        for (pair, secret) in pairs.iter().zip(secrets) {
            sum = sum
                .rotate_left(23)
                .wrapping_add(fold(pair[0] ^ secret[0], pair[1] ^ secret[1]));
        }
        if let (Some(last), Some(secret)) = (rest.first(), secrets.get(pairs.len())) {
            sum = sum
                .rotate_left(23)
                .wrapping_add(fold(last ^ secret[0], secret[1]));
        }
        fold(sum ^ self.0[WORDS], self.0[WORDS + 1])
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}
