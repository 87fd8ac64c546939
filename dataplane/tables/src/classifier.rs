//! One table's rules, found by tuple space search.
//!
//! Rules of one mask form a subtable, a hash table over the masked key. Subtables are tried in the
//! order of their highest priority, and the search ends at the first that cannot do better than
//! what was found (Srinivasan et al., SIGCOMM 1999, with the pruning of Open vSwitch, NSDI 2015).
//! Bits that are the same in all rules of a subtable are compared before anything is hashed: most
//! subtables are left at a wrong ethertype or protocol, and the packet is then not said to depend
//! on the rest of the mask.

// Word positions are below KEY_WORDS by construction.
#![allow(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use net::{FlowKey, KEY_WORDS};

use crate::Mask;
use crate::conjunction::{self, Floor, Matches};
use crate::mask::{LATE, hash_packed};
use crate::rule::{MaskedKey, Rule};
use crate::trie::{self, Trie};

/// The rules of one OpenFlow table, in one version.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Highest priority first.
    subtables: Vec<Entry>,
    len: usize,
    /// Rules that are clauses of conjunctive matches.
    clauses: usize,
    pub(crate) generation: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    max_priority: u16,
    subtable: Arc<Subtable>,
}

#[derive(Clone, Debug)]
struct Subtable {
    mask: Arc<Mask>,
    /// Bits that all rules have in common, fields of the flow cache's key first.
    common: Vec<CommonWord>,
    /// The key's hash, as long as all rules have the same key and differ in priority only.
    one_key: Option<u64>,
    rules: Trie<Arc<Rule>>,
    priorities: BTreeMap<u16, u32>,
}

#[derive(Clone, Copy, Debug)]
struct CommonWord {
    at: u16,
    bits: u64,
    value: u64,
}

impl Table {
    /// Number of rules.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without rules.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of different masks.
    pub fn masks(&self) -> usize {
        self.subtables.len()
    }

    /// Changes whenever a rule of the table does.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The rule of the highest priority that matches `key`; among equals any. The bits of the key
    /// that decided are ORed into `consulted`.
    #[inline]
    pub fn lookup(&self, key: &FlowKey, consulted: &mut FlowKey) -> Option<&Arc<Rule>> {
        if self.clauses != 0 {
            return conjunction::lookup(self, key, consulted);
        }
        let words = key.words();
        let mut best: Option<&Arc<Rule>> = None;
        for entry in &self.subtables {
            if best.is_some_and(|rule| rule.priority >= entry.max_priority) {
                break;
            }
            let Some(found) = entry.subtable.lookup(words, consulted) else {
                continue;
            };
            if best.is_none_or(|rule| rule.priority < found.priority) {
                best = Some(found);
            }
        }
        best
    }

    /// Every rule, in no order that means anything.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.subtables.iter().flat_map(|e| e.subtable.rules.iter())
    }

    /// Rules that match nothing that `wider` does not match.
    pub(crate) fn within<'a>(
        &'a self,
        wider: &'a MaskedKey,
    ) -> impl Iterator<Item = &'a Arc<Rule>> + 'a {
        self.subtables
            .iter()
            .filter(|entry| entry.subtable.mask.covers(wider.mask()))
            .flat_map(|entry| entry.subtable.within(wider))
    }

    /// The rule of exactly this match and priority.
    pub(crate) fn exact(&self, key: &MaskedKey, priority: u16) -> Option<&Arc<Rule>> {
        let entry = &self.subtables[self.position(key.mask())?];
        let hash = hash_packed(&key.value);
        let is_it = |r: &Arc<Rule>| r.priority == priority && r.key.value == key.value;
        entry.subtable.rules.find(hash, is_it)
    }

    /// True where another rule of this priority shares a packet with `key`.
    pub(crate) fn has_overlap(&self, key: &MaskedKey, priority: u16) -> bool {
        self.subtables
            .iter()
            .filter(|entry| entry.subtable.priorities.contains_key(&priority))
            .flat_map(|entry| entry.subtable.rules.iter())
            .any(|rule| rule.priority == priority && rule.key.overlaps(key))
    }

    /// Adds a rule, or puts it in the place of the one of the same match and priority.
    pub(crate) fn insert(&mut self, rule: Arc<Rule>) -> Option<Arc<Rule>> {
        let at = match self.position(rule.key.mask()) {
            Some(at) => at,
            None => {
                let subtable = Arc::new(Subtable::new(&rule));
                self.subtables.push(Entry {
                    max_priority: 0,
                    subtable,
                });
                self.subtables.len() - 1
            }
        };
        let subtable = Arc::make_mut(&mut self.subtables[at].subtable);
        self.clauses += usize::from(conjunction::is_clause(&rule));
        let replaced = subtable.insert(rule);
        self.len += usize::from(replaced.is_none());
        self.clauses -= usize::from(
            replaced
                .as_ref()
                .is_some_and(|old| conjunction::is_clause(old)),
        );
        self.settle(at);
        replaced
    }

    /// Takes out the rule of exactly this match and priority.
    pub(crate) fn remove(&mut self, key: &MaskedKey, priority: u16) -> Option<Arc<Rule>> {
        self.exact(key, priority)?;
        let at = self.position(key.mask())?;
        let removed = Arc::make_mut(&mut self.subtables[at].subtable).remove(key, priority)?;
        self.len -= 1;
        self.clauses -= usize::from(conjunction::is_clause(&removed));
        self.settle(at);
        Some(removed)
    }

    fn position(&self, mask: &Mask) -> Option<usize> {
        let with = |same: &dyn Fn(&Mask) -> bool| {
            self.subtables
                .iter()
                .position(|entry| same(&entry.subtable.mask))
        };
        // Those who only ask whether a flow is there have a mask of their own.
        with(&|known| std::ptr::eq(known, mask)).or_else(|| with(&|known| known == mask))
    }

    /// Puts a changed subtable in its place again.
    fn settle(&mut self, at: usize) {
        let max = self.subtables[at].subtable.priorities.last_key_value();
        let Some(max) = max.map(|(priority, _)| *priority) else {
            self.subtables.remove(at);
            return;
        };
        if self.subtables[at].max_priority == max
            && (at == 0 || self.subtables[at - 1].max_priority >= max)
        {
            return;
        }
        let mut entry = self.subtables.remove(at);
        entry.max_priority = max;
        let to = self.subtables.partition_point(|e| e.max_priority >= max);
        self.subtables.insert(to, entry);
    }
}

impl Matches for Table {
    fn each_match<'a>(
        &'a self,
        key: &FlowKey,
        consulted: &mut FlowKey,
        visit: &mut dyn FnMut(&'a Arc<Rule>) -> Floor,
    ) {
        let mut floor = None;
        for entry in &self.subtables {
            if floor.is_some_and(|floor| floor >= entry.max_priority) {
                break;
            }
            for rule in entry.subtable.all(key.words(), consulted) {
                if floor.is_some_and(|floor| floor >= rule.priority) {
                    break;
                }
                floor = visit(rule);
            }
        }
    }
}

impl Subtable {
    fn new(first: &Rule) -> Self {
        Subtable {
            mask: first.key.mask().clone(),
            common: common_words(&first.key),
            one_key: Some(hash_packed(&first.key.value)),
            rules: Trie::default(),
            priorities: BTreeMap::new(),
        }
    }

    /// True if the packet has the bits that all rules have in common.
    #[inline]
    fn has_common(&self, words: &[u64; KEY_WORDS], consulted: &mut FlowKey) -> bool {
        let seen = consulted.words_mut();
        self.common.iter().all(|common| {
            let at = usize::from(common.at);
            seen[at] |= common.bits;
            (words[at] ^ common.value) & common.bits == 0
        })
    }

    /// The rules that match, highest priority first.
    fn all<'a, 'k>(
        &'a self,
        words: &'k [u64; KEY_WORDS],
        consulted: &mut FlowKey,
    ) -> impl Iterator<Item = &'a Arc<Rule>> + use<'a, 'k> {
        let found = self.has_common(words, consulted).then(|| {
            self.mask.add_to(consulted);
            self.rules.all(self.mask.hash(words))
        });
        let agrees = |rule: &&'a Arc<Rule>| self.mask.agrees(words, &rule.key.value);
        found.into_iter().flatten().filter(agrees)
    }

    #[inline]
    fn lookup(&self, words: &[u64; KEY_WORDS], consulted: &mut FlowKey) -> Option<&Arc<Rule>> {
        if !self.has_common(words, consulted) {
            return None;
        }
        if let Some(hash) = self.one_key {
            return self.rules.find(hash, |_| true);
        }
        self.mask.add_to(consulted);
        let hash = self.mask.hash(words);
        self.rules
            .find(hash, |rule| self.mask.agrees(words, &rule.key.value))
    }

    fn within<'a>(&'a self, wider: &'a MaskedKey) -> Within<'a> {
        if self.mask == *wider.mask() {
            let hash = hash_packed(&wider.value);
            return Within::Same(self.rules.all(hash), wider);
        }
        Within::Some(self.rules.iter(), wider)
    }

    fn insert(&mut self, rule: Arc<Rule>) -> Option<Arc<Rule>> {
        let hash = hash_packed(&rule.key.value);
        let same = |r: &Arc<Rule>| r.priority == rule.priority && r.key.value == rule.key.value;
        if let Some(old) = self.rules.find_mut(hash, same) {
            return Some(std::mem::replace(old, rule));
        }
        self.narrow_common(&rule.key);
        *self.priorities.entry(rule.priority).or_default() += 1;
        let priority = rule.priority;
        self.rules
            .insert(hash, rule, |other| other.priority >= priority);
        None
    }

    fn remove(&mut self, key: &MaskedKey, priority: u16) -> Option<Arc<Rule>> {
        let hash = hash_packed(&key.value);
        let same = |r: &Arc<Rule>| r.priority == priority && r.key.value == key.value;
        let removed = self.rules.remove(hash, same)?;
        if let Some(count) = self.priorities.get_mut(&priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&priority);
            }
        }
        Some(removed)
    }

    /// Gives up the common bits in which a new rule differs.
    fn narrow_common(&mut self, key: &MaskedKey) {
        let value = self.mask.unpack(&key.value);
        let words = value.words();
        for common in &mut self.common {
            let different = (words[usize::from(common.at)] ^ common.value) & common.bits;
            if different != 0 {
                common.bits &= !different;
                common.value &= common.bits;
                self.one_key = None;
            }
        }
        self.common.retain(|common| common.bits != 0);
    }
}

/// All bits of a key, those of [`LATE`] fields behind the others.
fn common_words(key: &MaskedKey) -> Vec<CommonWord> {
    let mut late = FlowKey::default();
    for field in LATE {
        let slot = field.info().slot;
        slot.set(&mut late, slot.ones(), slot.ones());
    }
    let late = late.words();
    let part = |is_late: bool| {
        let words = key.mask().words().iter().zip(&key.value);
        words.filter_map(move |(w, value)| {
            let of_part = late[usize::from(w.at)] ^ if is_late { 0 } else { u64::MAX };
            let bits = w.bits & of_part;
            (bits != 0).then_some(CommonWord {
                at: w.at,
                bits,
                value: value & bits,
            })
        })
    };
    // Ethertype and protocol stand near the end of the key and decide most often.
    let mut words: Vec<CommonWord> = part(false).collect();
    words.reverse();
    words.extend(part(true));
    words
}

enum Within<'a> {
    Same(trie::OfHash<'a, Arc<Rule>>, &'a MaskedKey),
    Some(trie::Iter<'a, Arc<Rule>>, &'a MaskedKey),
}

impl<'a> Iterator for Within<'a> {
    type Item = &'a Arc<Rule>;

    fn next(&mut self) -> Option<&'a Arc<Rule>> {
        match self {
            Within::Same(rules, key) => rules.find(|rule| rule.key.value == key.value),
            Within::Some(rules, key) => rules.find(|rule| rule.key.is_within(key)),
        }
    }
}
