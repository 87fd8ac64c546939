//! A few rules: tried one after the other, over their words packed one behind the other.

// Word positions are below KEY_WORDS, and ends of rules within the words, by construction.
#![allow(clippy::indexing_slicing)]

use std::sync::Arc;

use net::KEY_WORDS;

use crate::mask::late_bits;
use crate::rule::Rule;

/// Rules in the order of priority, made anew with every change.
#[derive(Debug)]
pub(super) struct Direct {
    words: Box<[Word]>,
    /// Each with the end of its words.
    rules: Box<[(u32, Arc<Rule>)]>,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    at: u32,
    bits: u64,
    value: u64,
}

impl Direct {
    pub fn new<'a>(rules: impl Iterator<Item = &'a Arc<Rule>>) -> Self {
        let mut rules: Vec<_> = rules.cloned().collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        let mut words = Vec::new();
        let ends = rules.into_iter().map(|rule| {
            let (early, late) = split(&rule);
            // Ethertype and protocol stand near the end of the key and decide most often.
            words.extend(early.into_iter().rev());
            words.extend(late);
            (words.len() as u32, rule)
        });
        let rules = ends.collect();
        Direct {
            words: words.into(),
            rules,
        }
    }

    /// The rule of the highest priority that matches.
    #[inline]
    pub fn lookup(
        &self,
        key: &[u64; KEY_WORDS],
        seen: &mut [u64; KEY_WORDS],
    ) -> Option<&Arc<Rule>> {
        let mut start = 0;
        for (end, rule) in &self.rules {
            let end = *end as usize;
            let differs = self.words[start..end].iter().any(|word| {
                let at = word.at as usize;
                seen[at] |= word.bits;
                (key[at] ^ word.value) & word.bits != 0
            });
            if !differs {
                return Some(rule);
            }
            start = end;
        }
        None
    }

    /// Bytes, without those of the rules.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.words) + size_of_val(&*self.rules)
    }
}

/// A rule's words; those of fields that the flow cache has not in its key apart, to be looked at
/// only when everything else agrees.
fn split(rule: &Rule) -> (Vec<Word>, Vec<Word>) {
    let key = &rule.key;
    let part = |late: bool| {
        let words = key.mask().words().iter().zip(key.value.iter());
        let words = words.map(move |(w, value)| {
            let of_part = late_bits(w.at) ^ if late { 0 } else { u64::MAX };
            let bits = w.bits & of_part;
            Word {
                at: w.at.into(),
                bits,
                value: value & bits,
            }
        });
        words.filter(|word| word.bits != 0).collect()
    };
    (part(false), part(true))
}
