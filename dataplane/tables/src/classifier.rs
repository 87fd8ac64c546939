//! One table's rules, and how they are found.
//!
//! All rules are kept in subtables, hash tables under a mask ([`subtable`]): a tuple space
//! (Srinivasan et al., SIGCOMM 1999), which is searched in the order of priority (as Open vSwitch
//! does, NSDI 2015). Where there is something cheaper for the rules of a table it stands beside or
//! in place of that: see [`Template`]. What is changed by a flow-mod is the path to one rule;
//! larger rebuilding happens when a table has changed by half, or takes another template.

// Positions come from the lists themselves.
#![allow(clippy::indexing_slicing)]

mod direct;
mod filter;
mod merge;
mod plan;
mod prefix;
mod scan;
mod subtable;
mod template;

use std::sync::Arc;

use net::FlowKey;

use crate::Mask;
use crate::change_log::{ChangeLog, KeyBits};
use crate::conjunction::{self, Floor, Matches};
use crate::rule::{MaskedKey, Rule};
use crate::trie::Trie;
use direct::Direct;
use prefix::Family;
pub(crate) use scan::TableScan;
use subtable::Subtable;
pub use template::{Shape, Template};

/// Rules that differ in late bits only, under one hash.
const LATE_RUN: usize = 16;
/// Rules of several masks under one hash.
const RUN: usize = 8;
/// Subtables of several masks that may be made between two choices of masks, at least.
const MERGED: usize = 8;

/// The rules of one OpenFlow table, in one version.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Highest priority first.
    entries: Vec<Entry>,
    /// Found by prefix rather than in their subtables.
    families: Vec<Family>,
    /// All rules, if they are few.
    direct: Option<Arc<Direct>>,
    /// How many rules have each mask, once subtables are of several masks.
    masks: Option<Trie<(Arc<Mask>, u32)>>,
    len: usize,
    /// Rules that are clauses of conjunctive matches.
    clauses: usize,
    /// Changes until the template is chosen anew.
    patience: usize,
    /// Rules that were removed since then.
    removed: usize,
    /// A family was given up since then.
    no_families: bool,
    /// Rules that stand where they make lookups longer than planned.
    strained: usize,
    /// Subtables up to which rules may be spread; up to which each mask has one.
    most_merged: usize,
    most_tuples: usize,
    forced: Option<Template>,
    /// Bits that rules look at; some of these rules may be gone.
    used: Arc<Mask>,
    log: ChangeLog,
    pub(crate) generation: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    max_priority: u16,
    /// Place of the family through which its rules are found.
    family: Option<u8>,
    subtable: Arc<Subtable>,
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
        let own = |entry: &&Entry| entry.family.is_some() || self.masks.is_none();
        let merged = self.masks.as_ref().map_or(0, Trie::len);
        // Masks that differ in late bits only share a subtable.
        let several = |entry: &Entry| match entry.subtable.is_uniform() {
            true => 1,
            false => {
                let masks = entry.subtable.rules().map(|rule| &**rule.key.mask());
                masks.collect::<std::collections::HashSet<_>>().len()
            }
        };
        merged + self.entries.iter().filter(own).map(several).sum::<usize>()
    }

    /// What the table looks like inside. Goes through all of it but, mostly, the rules themselves.
    pub fn shape(&self) -> Shape {
        let loose = self.loose();
        let entries: usize = self.entries.iter().map(|e| e.subtable.memory()).sum();
        let families: usize = self.families.iter().map(Family::memory).sum();
        let masks = self.masks.as_ref().map_or(0, |masks| {
            masks.memory() + masks.iter().map(|(mask, _)| mask.memory()).sum::<usize>()
        });
        Shape {
            template: self.template(),
            entries: self.len,
            masks: self.masks(),
            probes: match self.direct {
                Some(_) => self.len,
                None => loose + self.families.len(),
            },
            memory: size_of::<Self>()
                + self.entries.capacity() * size_of::<Entry>()
                + self.direct.as_ref().map_or(0, |direct| direct.memory())
                + entries
                + families
                + masks,
        }
    }

    /// How the table is searched.
    pub fn template(&self) -> Template {
        let catch_all = |e: &Entry| e.family.is_none() && e.subtable.mask().words().is_empty();
        let catch_alls = self.entries.iter().filter(|e| catch_all(e)).count();
        match self.loose() {
            _ if self.direct.is_some() => Template::Direct,
            _ if !self.families.is_empty() => Template::Prefix,
            _ if self.masks.is_some() => Template::Merged,
            loose if loose <= 1 + catch_alls => Template::Exact,
            _ => Template::Tuples,
        }
    }

    /// Changes whenever a rule of the table does.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Remembers of a key that is looked up what is needed to ask [`Table::still_decides`] later:
    /// of the bits that rules look at, those of `known`.
    pub fn remember(&self, key: &FlowKey, known: &FlowKey, into: &mut Vec<KeyBits>) {
        let used = self.used.words().iter();
        into.extend(used.filter_map(|w| KeyBits::of(w.at, w.bits, key, known)));
    }

    /// True if what a lookup decided at a generation of this table holds in this one for all keys
    /// with these bits: no rule has changed since that may match one of them.
    pub fn still_decides(&self, key: &[KeyBits], since: u64) -> bool {
        self.generation == since || self.log.spares(key, since)
    }

    /// The rule of the highest priority that matches `key`; among equals any. The bits of the key
    /// that decided are ORed into `consulted`.
    #[inline]
    pub fn lookup(&self, key: &FlowKey, consulted: &mut FlowKey) -> Option<&Arc<Rule>> {
        if self.clauses != 0 {
            return conjunction::lookup(self, key, consulted);
        }
        let (words, seen) = (key.words(), consulted.words_mut());
        if let Some(direct) = &self.direct {
            return direct.lookup(words, seen);
        }
        let mut best: Option<&Arc<Rule>> = None;
        for family in &self.families {
            if best.is_some_and(|rule| rule.priority >= family.max_priority()) {
                continue;
            }
            let found = family.lookup(key, seen);
            if found.map(|rule| rule.priority) > best.map(|rule| rule.priority) {
                best = found;
            }
        }
        for entry in &self.entries {
            let floor = best.map(|rule| rule.priority);
            if floor >= Some(entry.max_priority) {
                break;
            }
            if entry.family.is_none()
                && let Some(found) = entry.subtable.lookup(words, floor, seen)
            {
                best = Some(found);
            }
        }
        best
    }

    /// Every rule, in no order that means anything.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.entries.iter().flat_map(|e| e.subtable.rules())
    }

    /// Rules that match nothing that `wider` does not match.
    pub(crate) fn within<'a>(
        &'a self,
        wider: &'a MaskedKey,
    ) -> impl Iterator<Item = &'a Arc<Rule>> + 'a {
        self.entries.iter().flat_map(|e| e.subtable.within(wider))
    }

    /// The rule of exactly this match and priority.
    pub(crate) fn exact(&self, key: &MaskedKey, priority: u16) -> Option<&Arc<Rule>> {
        self.entries
            .iter()
            .find_map(|entry| entry.subtable.exact(key, priority))
    }

    /// True where another rule of this priority shares a packet with `key`.
    pub(crate) fn has_overlap(&self, key: &MaskedKey, priority: u16) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.subtable.has_overlap(key, priority))
    }

    /// Adds a rule, or puts it in the place of the one of the same match and priority.
    pub(crate) fn insert(&mut self, rule: Arc<Rule>) -> Option<Arc<Rule>> {
        let Some(at) = self.holder(&rule.key, rule.priority) else {
            self.insert_new(rule);
            return None;
        };
        let subtable = Arc::make_mut(&mut self.entries[at].subtable);
        let replaced = subtable.replace(rule.clone());
        let was_clause = replaced.as_ref().is_some_and(|r| conjunction::is_clause(r));
        self.inserted(at, false, rule);
        self.clauses -= usize::from(was_clause);
        replaced
    }

    /// Adds a rule; there is none of the same match and priority.
    pub(crate) fn insert_new(&mut self, rule: Arc<Rule>) {
        let entries = self.entries.len();
        let at = self.place_for(&rule);
        Arc::make_mut(&mut self.entries[at].subtable).add(rule.clone());
        self.len += 1;
        self.count_mask(rule.key.mask(), self.entries[at].family, true);
        let at = self.settle(at);
        self.inserted(at, self.entries.len() > entries, rule);
    }

    /// A rule has come into a subtable, which may be new.
    fn inserted(&mut self, at: usize, is_new: bool, rule: Arc<Rule>) {
        if !self.used.covers(rule.key.mask()) {
            self.used = Arc::new(self.used.or(rule.key.mask()));
        }
        match self.entries[at].family {
            Some(family) => self.set_prefix(family, at, &rule),
            None if is_new && self.masks.is_none() => self.plan(),
            None => self.want_filter(at),
        }
        self.clauses += usize::from(conjunction::is_clause(&rule));
        self.log.add(self.generation, rule);
        self.changed();
    }

    /// Takes out the rule of exactly this match and priority.
    pub(crate) fn remove(&mut self, key: &MaskedKey, priority: u16) -> Option<Arc<Rule>> {
        let at = self.holder(key, priority)?;
        let subtable = Arc::make_mut(&mut self.entries[at].subtable);
        let removed = subtable.remove(key, priority)?;
        let is_empty = subtable.len() == 0;
        let family = self.entries[at].family;
        let best = family.and_then(|_| self.entries[at].subtable.best(key).cloned());
        self.len -= 1;
        self.removed += 1;
        self.log.add(self.generation, removed.clone());
        self.clauses -= usize::from(conjunction::is_clause(&removed));
        self.count_mask(key.mask(), family, false);
        if let Some(family) = family {
            self.families[usize::from(family)].set(key, best);
        }
        if is_empty {
            self.entries.remove(at);
        }
        self.changed();
        Some(removed)
    }

    /// Takes out all rules.
    pub(crate) fn clear(&mut self) {
        *self = Table {
            forced: self.forced,
            generation: self.generation,
            ..Table::default()
        };
    }

    /// True if rules of the table look, or looked, at anything.
    pub(crate) fn has_used_bits(&self) -> bool {
        !self.used.words().is_empty()
    }

    /// Makes the table keep to a template as far as its rules let it, or choose for itself again.
    /// For tests and measurements.
    pub(crate) fn force(&mut self, template: Option<Template>) {
        self.forced = template;
        self.rebuild();
        self.changed();
    }

    /// The subtable that holds the rule of exactly this match and priority.
    fn holder(&self, key: &MaskedKey, priority: u16) -> Option<usize> {
        let mut entries = self.entries.iter();
        entries.position(|entry| entry.subtable.exact(key, priority).is_some())
    }

    /// The subtable that a new rule goes into, made if need be.
    fn place_for(&mut self, rule: &Rule) -> usize {
        let whole = rule.key.mask();
        let mut mask = whole.early();
        let is_family = |e: &Entry| e.family.is_some();
        let own = |e: &Entry, mask: &Arc<Mask>| {
            (is_family(e) || self.masks.is_none()) && e.subtable.mask() == mask
        };
        let mut at = self.entries.iter().position(|e| own(e, &mask));
        if mask != *whole
            && at.is_some_and(|at| self.entries[at].subtable.run(&rule.key) >= LATE_RUN)
        {
            mask = whole.clone();
            at = self.entries.iter().position(|e| own(e, &mask));
        }
        if let Some(at) = at {
            return at;
        }
        let family = match mask == *whole {
            true => self.families.iter().position(|f| f.len(&mask).is_some()),
            false => None,
        };
        match family {
            Some(family) => self.add_entry(mask, rule, Some(family as u8)),
            None if self.masks.is_some() => self.place_merged(mask, rule),
            None => self.add_entry(mask, rule, None),
        }
    }

    /// As [`Table::place_for`], where subtables are of several masks.
    fn place_merged(&mut self, mask: Arc<Mask>, rule: &Rule) -> usize {
        let entries = self.entries.iter().enumerate();
        let fits = entries.filter(|(_, e)| e.family.is_none() && mask.covers(e.subtable.mask()));
        let runs: Vec<(usize, usize, u32)> = fits
            .map(|(at, e)| (at, e.subtable.run(&rule.key), e.subtable.mask().ones()))
            .collect();
        let short = runs.iter().filter(|(_, run, _)| *run < RUN);
        if let Some((at, ..)) = short.max_by_key(|(.., ones)| *ones) {
            return *at;
        }
        if self.loose() < self.most_merged {
            return self.add_entry(mask, rule, None);
        }
        self.strained += 1;
        match runs.iter().min_by_key(|(_, run, _)| *run) {
            Some((at, ..)) => *at,
            None => self.add_entry(Arc::default(), rule, None),
        }
    }

    fn add_entry(&mut self, mask: Arc<Mask>, first: &Rule, family: Option<u8>) -> usize {
        self.entries.push(Entry {
            max_priority: 0,
            family,
            subtable: Arc::new(Subtable::new(mask, first)),
        });
        self.entries.len() - 1
    }

    fn count_mask(&mut self, mask: &Arc<Mask>, family: Option<u8>, more: bool) {
        let Some(masks) = self.masks.as_mut().filter(|_| family.is_none()) else {
            return;
        };
        let hash = mask.own_hash();
        match (masks.find_mut(hash, |(m, _)| m == mask), more) {
            (Some((_, count)), true) => *count += 1,
            (Some((_, count)), false) if *count > 1 => *count -= 1,
            (Some(_), false) => drop(masks.remove(hash, |(m, _)| m == mask)),
            (None, true) => masks.insert(hash, (mask.clone(), 1), |_| true),
            (None, false) => {}
        }
    }

    /// Puts a changed subtable in its place again, and says where that is.
    fn settle(&mut self, at: usize) -> usize {
        let max = self.entries[at].subtable.max_priority();
        let is_first = |at: usize| at == 0 || self.entries[at - 1].max_priority >= max;
        if self.entries[at].max_priority == max && is_first(at) {
            return at;
        }
        let mut entry = self.entries.remove(at);
        entry.max_priority = max;
        let to = self.entries.partition_point(|e| e.max_priority >= max);
        self.entries.insert(to, entry);
        to
    }

    /// A rule of a family has come or changed.
    fn set_prefix(&mut self, family: u8, at: usize, rule: &Arc<Rule>) {
        let of_rule = &mut self.families[usize::from(family)];
        let len = of_rule.len(rule.key.mask());
        if len.is_some_and(|len| of_rule.admit(len, (rule.priority, rule.priority))) {
            let best = self.entries[at].subtable.best(&rule.key).cloned();
            of_rule.set(&rule.key, best);
        } else {
            self.dissolve(family);
        }
    }

    /// Gives up a family: a longer prefix is not always the better rule any more.
    fn dissolve(&mut self, family: u8) {
        self.families.remove(family.into());
        for entry in &mut self.entries {
            entry.family = match entry.family {
                Some(at) if at == family => None,
                Some(at) if at > family => Some(at - 1),
                other => other,
            };
        }
        self.no_families = true;
        match self.masks.is_some() {
            true => self.rebuild(),
            false => self.plan(),
        }
    }

    /// Subtables that are searched.
    fn loose(&self) -> usize {
        self.entries.iter().filter(|e| e.family.is_none()).count()
    }
}

impl Matches for Table {
    fn each_match<'a>(
        &'a self,
        key: &FlowKey,
        consulted: &mut FlowKey,
        visit: &mut dyn FnMut(&'a Arc<Rule>) -> Floor,
    ) {
        let (words, seen) = (key.words(), consulted.words_mut());
        let mut floor = None;
        for entry in &self.entries {
            if floor >= Some(entry.max_priority) {
                break;
            }
            floor = entry.subtable.each(words, floor, seen, visit);
        }
    }
}
