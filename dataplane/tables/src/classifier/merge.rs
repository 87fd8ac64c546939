//! Which bits to hash when rules have too many masks for a hash table each.
//!
//! After TupleMerge (Daly et al., ToN 2019): rules of several masks share a hash table under the
//! bits that all of these masks have. Here those bits are found from the rules: one after the
//! other, that which splits the rules of one hash best while most rules have it.

// Words of samples are as many as the words in use.
#![allow(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;

use crate::Mask;
use crate::mask::late_bits;
use crate::rule::Rule;

/// Rules that are looked at to choose bits.
const SAMPLE: usize = 512;

/// A rule of the sample: its bits in the words in use.
struct Sampled {
    care: Vec<u64>,
    value: Vec<u64>,
    /// Hash of the chosen bits so far.
    bucket: u32,
}

/// Bits under which many of the rules can be hashed so that few have the same hash.
pub(super) fn choose(rules: &[Arc<Rule>]) -> Mask {
    let step = rules.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<&Arc<Rule>> = rules.iter().step_by(step).collect();
    let mut used: Vec<u16> = Vec::new();
    for rule in &sample {
        for w in rule.key.mask().words() {
            if !used.contains(&w.at) {
                used.push(w.at);
            }
        }
    }
    used.sort_unstable();
    let mut left: Vec<Sampled> = sample
        .iter()
        .map(|rule| Sampled::new(rule, &used))
        .collect();
    let mut chosen = vec![0u64; used.len()];
    let mut run = left.len() as f64;
    while run > 1.5 {
        let Some((word, bit, better)) = best_bit(&left, &chosen) else {
            break;
        };
        chosen[word] |= 1 << bit;
        left.retain(|rule| rule.care[word] >> bit & 1 != 0);
        renumber(&mut left, word, bit);
        run = better;
    }
    // Bits that all of them have cost nothing, and split what the sample does not show.
    for (word, chosen) in chosen.iter_mut().enumerate() {
        *chosen |= left
            .iter()
            .fold(u64::MAX, |all, rule| all & rule.care[word]);
    }
    Mask::of_words(used.into_iter().zip(chosen))
}

impl Sampled {
    fn new(rule: &Rule, used: &[u16]) -> Self {
        let (mut care, mut value) = (vec![0; used.len()], vec![0; used.len()]);
        for (w, v) in rule.key.mask().words().iter().zip(rule.key.value.iter()) {
            if let Ok(at) = used.binary_search(&w.at) {
                let early = !late_bits(w.at);
                (care[at], value[at]) = (w.bits & early, v & early);
            }
        }
        Sampled {
            care,
            value,
            bucket: 0,
        }
    }
}

/// The bit worth most, with the mean number of rules of one hash once it is chosen.
fn best_bit(left: &[Sampled], chosen: &[u64]) -> Option<(usize, u32, f64)> {
    let buckets = left.iter().map(|r| r.bucket as usize + 1).max()?;
    let mut counts = vec![[0u32; 2]; buckets];
    let mut best: Option<(f64, usize, u32, f64)> = None;
    for word in 0..chosen.len() {
        let any = left.iter().fold(0, |any, rule| any | rule.care[word]) & !chosen[word];
        for bit in (0..64).filter(|bit| any >> bit & 1 != 0) {
            counts.fill([0; 2]);
            let mut have = 0u32;
            for rule in left.iter().filter(|rule| rule.care[word] >> bit & 1 != 0) {
                counts[rule.bucket as usize][(rule.value[word] >> bit & 1) as usize] += 1;
                have += 1;
            }
            let square = |n: u32| u64::from(n).pow(2);
            let split: u64 = counts.iter().flatten().map(|n| square(*n)).sum();
            let whole: u64 = counts.iter().map(|[a, b]| square(a + b)).sum();
            let mean = split as f64 / f64::from(have);
            let share = f64::from(have) / left.len() as f64;
            // A bit that splits next to nothing, or that most rules lack, is not worth its cost.
            if split as f64 > 0.8 * whole as f64 || share < 0.25 {
                continue;
            }
            let worth = share * share / mean;
            if best.is_none_or(|(most, ..)| most < worth) {
                best = Some((worth, word, bit, mean));
            }
        }
    }
    best.map(|(_, word, bit, mean)| (word, bit, mean))
}

fn renumber(left: &mut [Sampled], word: usize, bit: u32) {
    let mut numbers: HashMap<(u32, u64), u32> = HashMap::new();
    for rule in left {
        let split = (rule.bucket, rule.value[word] >> bit & 1);
        let next = numbers.len() as u32;
        rule.bucket = *numbers.entry(split).or_insert(next);
    }
}
