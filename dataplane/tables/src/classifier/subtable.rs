//! Rules that are found by one hash probe: those whose masks have certain bits in common.

// Word positions are below KEY_WORDS by construction.
#![allow(clippy::indexing_slicing)]

use std::sync::Arc;

use net::KEY_WORDS;

use super::filter::Filter;
use crate::Mask;
use crate::conjunction::Floor;
use crate::mask::late_bits;
use crate::rule::{MaskedKey, Rule};
use crate::trie::{self, Trie, Walk};

/// Bytes of a rule and the counts of its Arc.
const RULE: usize = size_of::<Rule>() + 2 * size_of::<usize>();
/// Words of a rule's key that need no memory of their own.
const IN_PLACE: usize = 4;

/// Rules under a hash of the bits that all their masks have.
///
/// Where the rules have no other bits than these it is one part of a tuple space, and a found hash
/// is as good as a found rule. Where they have, those of one hash are tried in the order of
/// priority. Bits of fields that the flow cache has not in its key are never hashed, so that a
/// packet is said to depend on one only if there is a rule that it meets in everything else.
#[derive(Clone, Debug)]
pub(super) struct Subtable {
    mask: Arc<Mask>,
    /// All rules have exactly this mask.
    uniform: bool,
    /// Bits with the same value in all rules, compared before anything is hashed: most subtables
    /// are left at a wrong ethertype or protocol.
    common: Vec<CommonWord>,
    filter: Option<Filter>,
    rules: Trie<Arc<Rule>>,
    /// No rule has more or less than this; rules that had may be gone.
    priorities: (u16, u16),
}

#[derive(Clone, Copy, Debug)]
struct CommonWord {
    at: u16,
    bits: u64,
    value: u64,
}

impl Subtable {
    /// Without rules, but for some like this one: `mask` has no bits that its mask has not.
    pub fn new(mask: Arc<Mask>, first: &Rule) -> Self {
        let key = &first.key;
        let words = key.mask().words().iter().zip(key.value.iter());
        let mut common: Vec<CommonWord> = words
            .map(|(w, value)| {
                let bits = w.bits & !late_bits(w.at);
                let value = value & bits;
                CommonWord {
                    at: w.at,
                    bits,
                    value,
                }
            })
            .filter(|common| common.bits != 0)
            .collect();
        // Ethertype and protocol stand near the end of the key and decide most often.
        common.reverse();
        Subtable {
            uniform: *mask == **key.mask(),
            mask,
            common,
            filter: None,
            rules: Trie::default(),
            priorities: (u16::MAX, 0),
        }
    }

    pub fn mask(&self) -> &Arc<Mask> {
        &self.mask
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True where the hashed bits are all that its rules have.
    pub fn is_uniform(&self) -> bool {
        self.uniform
    }

    /// No rule has a higher priority.
    pub fn max_priority(&self) -> u16 {
        self.priorities.1
    }

    /// The rule of the highest priority that matches, if it is above `floor`.
    #[inline]
    pub fn lookup(
        &self,
        words: &[u64; KEY_WORDS],
        floor: Option<u16>,
        seen: &mut [u64; KEY_WORDS],
    ) -> Option<&Arc<Rule>> {
        let hash = self.candidates(words, seen)?;
        if self.uniform {
            let is_it = |rule: &Arc<Rule>| self.mask.agrees(words, &rule.key.value);
            let found = self.rules.find(hash, is_it)?;
            return (Some(found.priority) > floor).then_some(found);
        }
        for rule in self.rules.all(hash) {
            if Some(rule.priority) <= floor {
                return None;
            }
            if rule.key.mask().judge(words, &rule.key.value, seen) {
                return Some(rule);
            }
        }
        None
    }

    /// Gives `visit` the rules that match, highest priority first, while they are above the floor;
    /// each call says the floor from then on.
    pub fn each<'a>(
        &'a self,
        words: &[u64; KEY_WORDS],
        mut floor: Floor,
        seen: &mut [u64; KEY_WORDS],
        visit: &mut dyn FnMut(&'a Arc<Rule>) -> Floor,
    ) -> Floor {
        let hash = self.candidates(words, seen);
        for rule in hash.map(|hash| self.rules.all(hash)).into_iter().flatten() {
            if Some(rule.priority) <= floor {
                break;
            }
            if rule.key.mask().judge(words, &rule.key.value, seen) {
                floor = visit(rule);
            }
        }
        floor
    }

    /// The hash under which rules for a packet are, if there may be some.
    #[inline]
    fn candidates(&self, words: &[u64; KEY_WORDS], seen: &mut [u64; KEY_WORDS]) -> Option<u64> {
        for common in &self.common {
            let at = usize::from(common.at);
            seen[at] |= common.bits;
            if (words[at] ^ common.value) & common.bits != 0 {
                return None;
            }
        }
        let hash = self.mask.hash_seen(words, seen);
        let filter = self.filter.as_ref();
        filter.is_none_or(|f| f.may_have(hash)).then_some(hash)
    }

    /// What a lookup does here for a packet, in units of a look at a subtable's common bits, given
    /// what each rule of the same hash costs.
    pub fn effort(&self, words: &[u64; KEY_WORDS], rule: usize) -> usize {
        const HASH: usize = 2;
        let apart = |c: &CommonWord| (words[usize::from(c.at)] ^ c.value) & c.bits != 0;
        if self.common.iter().any(apart) {
            return 1;
        }
        HASH + rule * self.rules.all(self.mask.hash(words)).count()
    }

    /// The rule of exactly this match and priority.
    pub fn exact(&self, key: &MaskedKey, priority: u16) -> Option<&Arc<Rule>> {
        let same = |r: &Arc<Rule>| r.priority == priority && r.key.is_same(key);
        self.rules.find(self.hash(key)?, same)
    }

    /// The rule of the highest priority with exactly this match.
    pub fn best(&self, key: &MaskedKey) -> Option<&Arc<Rule>> {
        self.rules.find(self.hash(key)?, |r| r.key.is_same(key))
    }

    /// Hash of a key that may be one of its rules'.
    fn hash(&self, key: &MaskedKey) -> Option<u64> {
        let may_be = match self.uniform {
            true => self.mask == *key.mask(),
            false => key.mask().covers(&self.mask),
        };
        may_be.then(|| self.mask.hash_packed(key.mask(), &key.value))
    }

    /// Number of rules under the hash of a key whose mask has all hashed bits.
    pub fn run(&self, key: &MaskedKey) -> usize {
        self.rules
            .all(self.mask.hash_packed(key.mask(), &key.value))
            .count()
    }

    /// Rules that match nothing that `wider` does not match.
    pub fn within<'a>(&'a self, wider: &'a MaskedKey) -> Within<'a> {
        match wider.mask().covers(&self.mask) {
            true => {
                let hash = self.mask.hash_packed(wider.mask(), &wider.value);
                Within::Some(self.rules.all(hash), wider)
            }
            false if self.uniform && !self.mask.covers(wider.mask()) => Within::None,
            false => Within::All(self.rules.iter(), wider),
        }
    }

    /// True where a rule of this priority shares a packet with `key`.
    pub fn has_overlap(&self, key: &MaskedKey, priority: u16) -> bool {
        let (min, max) = self.priorities;
        if !(min..=max).contains(&priority) {
            return false;
        }
        let is_one = |r: &Arc<Rule>| r.priority == priority && r.key.overlaps(key);
        match key.mask().covers(&self.mask) {
            true => {
                let hash = self.mask.hash_packed(key.mask(), &key.value);
                self.rules.all(hash).any(is_one)
            }
            false => self.rules.iter().any(is_one),
        }
    }

    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    /// Begins to go through its rules bit by bit.
    pub fn walk(&self) -> Walk<Arc<Rule>> {
        self.rules.walk()
    }

    /// Puts a rule in the place of the one of the same match and priority, if there is one.
    pub fn replace(&mut self, rule: Arc<Rule>) -> Option<Arc<Rule>> {
        let key = &rule.key;
        let same = |r: &Arc<Rule>| r.priority == rule.priority && r.key.is_same(key);
        let old = self.rules.find_mut(self.hash(key)?, same)?;
        Some(std::mem::replace(old, rule))
    }

    /// Adds a rule; there is none of the same match and priority, and its mask has all bits that
    /// are hashed.
    pub fn add(&mut self, rule: Arc<Rule>) {
        let key = &rule.key;
        let hash = self.mask.hash_packed(key.mask(), &key.value);
        self.uniform &= self.mask == *key.mask();
        self.narrow_common(key);
        let (min, max) = self.priorities;
        self.priorities = (min.min(rule.priority), max.max(rule.priority));
        if let Some(filter) = &mut self.filter {
            filter.add(hash);
            if filter.is_full() {
                let mut anew = Filter::new(self.rules.len(), self.rules.hashes());
                anew.add(hash);
                self.filter = Some(anew);
            }
        }
        let priority = rule.priority;
        let stays_before = |other: &Arc<Rule>| other.priority >= priority;
        self.rules.insert(hash, rule, stays_before);
    }

    /// Takes out the rule of exactly this match and priority.
    pub fn remove(&mut self, key: &MaskedKey, priority: u16) -> Option<Arc<Rule>> {
        let same = |r: &Arc<Rule>| r.priority == priority && r.key.is_same(key);
        self.rules.remove(self.hash(key)?, same)
    }

    /// Makes a filter, if there is none yet.
    pub fn want_filter(&mut self) {
        let hashes = self.rules.hashes();
        self.filter
            .get_or_insert_with(|| Filter::new(self.rules.len(), hashes));
    }

    /// True with a filter.
    pub fn has_filter(&self) -> bool {
        self.filter.is_some()
    }

    /// The lowest and highest priority, by looking at all rules.
    pub fn measured_priorities(&self) -> (u16, u16) {
        let start = (u16::MAX, 0);
        self.rules.iter().fold(start, |(min, max), rule| {
            (min.min(rule.priority), max.max(rule.priority))
        })
    }

    /// Forgets priorities that rules had which are gone.
    pub fn measure_priorities(&mut self) -> (u16, u16) {
        self.priorities = self.measured_priorities();
        self.priorities
    }

    /// Bytes, with those of the rules.
    pub fn memory(&self) -> usize {
        let longer = |words: usize| match words > IN_PLACE {
            true => words * size_of::<u64>(),
            false => 0,
        };
        let values = match self.uniform {
            true => self.rules.len() * longer(self.mask.words().len()),
            false => self.rules.iter().map(|r| longer(r.key.value.len())).sum(),
        };
        size_of::<Self>()
            + self.common.capacity() * size_of::<CommonWord>()
            + self.rules.len() * RULE
            + values
            + self.rules.memory()
            + self.mask.memory()
            + self.filter.as_ref().map_or(0, Filter::memory)
    }

    /// Gives up the common bits in which a new rule differs, or which it does not have.
    fn narrow_common(&mut self, key: &MaskedKey) {
        for common in &mut self.common {
            let mut words = key.mask().words().iter().zip(key.value.iter());
            let (bits, value) = words
                .find(|(w, _)| w.at == common.at)
                .map_or((0, 0), |(w, value)| (w.bits, *value));
            common.bits &= bits & !(value ^ common.value);
            common.value &= common.bits;
        }
        self.common.retain(|common| common.bits != 0);
    }
}

/// Iterator of [`Subtable::within`].
pub(super) enum Within<'a> {
    None,
    Some(trie::OfHash<'a, Arc<Rule>>, &'a MaskedKey),
    All(trie::Iter<'a, Arc<Rule>>, &'a MaskedKey),
}

impl<'a> Iterator for Within<'a> {
    type Item = &'a Arc<Rule>;

    fn next(&mut self) -> Option<&'a Arc<Rule>> {
        match self {
            Within::None => None,
            Within::Some(rules, key) => rules.find(|rule| rule.key.is_within(key)),
            Within::All(rules, key) => rules.find(|rule| rule.key.is_within(key)),
        }
    }
}
