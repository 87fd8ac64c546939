//! The choice of a table's template.

// Positions come from the lists themselves.
#![allow(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;

use net::FlowKey;

use super::direct::Direct;
use super::prefix::{Family, Kind};
use super::subtable::Subtable;
use super::{Entry, MERGED, RUN, Table, Template, merge};
use crate::Mask;
use crate::rule::Rule;
use crate::trie::Trie;

/// Rules up to which trying them in turn is cheaper than hashing; see docs/classifier.md.
const DIRECT: usize = 8;
/// Prefix lengths from which on one descent is cheaper than a probe for each.
const PREFIXES: usize = 12;
/// Masks up to which each has its own hash table.
const TUPLES: usize = 32;
/// A table has changed enough to be looked at again when this many rules more than half have.
const PATIENCE: usize = 64;

/// Up to where, or from where, a template is taken.
struct Limits {
    direct: usize,
    prefixes: usize,
    tuples: usize,
}

impl Limits {
    fn of(forced: Option<Template>) -> Self {
        const NEVER: usize = usize::MAX;
        let (direct, prefixes, tuples) = match forced {
            None => (DIRECT, PREFIXES, TUPLES),
            Some(Template::Direct) => (NEVER, NEVER, NEVER),
            Some(Template::Exact | Template::Tuples) => (0, NEVER, NEVER),
            Some(Template::Prefix) => (0, 1, NEVER),
            Some(Template::Merged) => (0, NEVER, 1),
        };
        Limits {
            direct,
            prefixes,
            tuples,
        }
    }
}

impl Table {
    /// To be called after every change.
    pub(super) fn changed(&mut self) {
        self.patience = self.patience.saturating_sub(1);
        if self.patience == 0 {
            self.look();
        }
        if self.len == 0 {
            self.families.clear();
            (self.masks, self.no_families, self.most_tuples) = (None, false, 0);
        }
        let few = self.len <= Limits::of(self.forced).direct && self.len > 0;
        self.direct = few.then(|| Arc::new(Direct::new(self.rules())));
    }

    /// Looks whether another template fits better by now. What it costs is shared by the changes
    /// since the last time.
    fn look(&mut self) {
        let limits = Limits::of(self.forced);
        let may_form = std::mem::take(&mut self.no_families);
        match &self.masks {
            Some(masks) => {
                let few_masks = masks.len() <= limits.tuples / 2;
                let is_strained = self.strained > self.len / 8 + RUN;
                if few_masks || may_form || is_strained {
                    self.rebuild();
                }
            }
            None => {
                if self.removed > PATIENCE {
                    self.measure_priorities();
                }
                // With half as many masks, merging is worth another try.
                if self.loose() < self.most_tuples / 4 {
                    self.most_tuples = 0;
                }
                if may_form {
                    self.plan();
                }
            }
        }
        self.removed = 0;
        self.patience = self.len / 2 + PATIENCE;
    }

    /// Chooses for subtables of one mask each: which are searched by prefix, and whether the rest
    /// are too many.
    pub(super) fn plan(&mut self) {
        let limits = Limits::of(self.forced);
        if !self.no_families {
            self.form_families(limits.prefixes);
        }
        if self.loose() > limits.tuples.max(self.most_tuples) {
            self.merge();
        }
        for at in 0..self.entries.len() {
            self.want_filter(at);
        }
    }

    /// Makes everything anew from the rules.
    pub(super) fn rebuild(&mut self) {
        let mut by_mask: HashMap<Arc<Mask>, Vec<Arc<Rule>>> = HashMap::new();
        for rule in self.rules() {
            let mask = rule.key.mask().early();
            by_mask.entry(mask).or_default().push(rule.clone());
        }
        self.entries.clear();
        self.families.clear();
        self.most_tuples = 0;
        (self.masks, self.strained) = (None, 0);
        for (mask, rules) in by_mask {
            if let Some(subtable) = subtable_of(mask, &rules) {
                self.push(subtable, None);
            }
        }
        self.sort();
        self.plan();
    }

    /// A filter pays where several subtables are searched for each packet.
    pub(super) fn want_filter(&mut self, at: usize) {
        const FEW: usize = 2;
        let several = self.loose() > FEW;
        let entry = &mut self.entries[at];
        let wants = several && entry.family.is_none() && entry.subtable.len() > 1;
        if wants && !entry.subtable.has_filter() {
            Arc::make_mut(&mut entry.subtable).want_filter();
        }
    }

    /// Takes subtables together that differ in the length of a prefix only.
    fn form_families(&mut self, least: usize) {
        let mut kinds: HashMap<Kind, usize> = HashMap::new();
        let free = |e: &Entry| e.family.is_none() && e.subtable.is_uniform();
        for entry in self.entries.iter().filter(|e| free(e)) {
            for (kind, _) in Kind::of(entry.subtable.mask()) {
                *kinds.entry(kind).or_default() += 1;
            }
        }
        let mut kinds: Vec<(Kind, usize)> = kinds.into_iter().collect();
        kinds.retain(|(_, masks)| *masks >= least);
        kinds.sort_by_key(|(_, masks)| std::cmp::Reverse(*masks));
        for (kind, _) in kinds {
            if self.families.len() == usize::from(u8::MAX) {
                return;
            }
            self.form_family(kind, least);
        }
    }

    fn form_family(&mut self, kind: Kind, least: usize) {
        let free = |e: &&mut Entry| e.family.is_none() && e.subtable.is_uniform();
        let with_len = |e| {
            let entry: &mut Entry = e;
            let len = kind.len(entry.subtable.mask())?;
            Some((entry, len))
        };
        let mut members: Vec<(&mut Entry, u8)> = self
            .entries
            .iter_mut()
            .filter(free)
            .filter_map(with_len)
            .collect();
        if members.len() < least {
            return; // another family has some of them
        }
        let mut family = Family::new(kind.clone());
        for (entry, len) in &members {
            if !family.admit(*len, entry.subtable.measured_priorities()) {
                return;
            }
        }
        let place = self.families.len() as u8;
        for (entry, _) in &mut members {
            entry.family = Some(place);
            for rule in entry.subtable.rules() {
                family.set(&rule.key, entry.subtable.best(&rule.key).cloned());
            }
        }
        self.families.push(family);
    }

    /// Puts rules of different masks into common subtables, if that makes them much fewer.
    fn merge(&mut self) {
        let (_, loose): (Vec<_>, Vec<_>) = self
            .entries
            .iter()
            .partition(|entry| entry.family.is_some());
        let most = match self.forced {
            Some(Template::Merged) => usize::MAX,
            _ => loose.len() / 2,
        };
        let all: Vec<Arc<Rule>> = loose
            .iter()
            .flat_map(|entry| entry.subtable.rules().cloned())
            .collect();
        let plain = || loose.iter().map(|entry| &*entry.subtable);
        let is_worth_it = |merged: &Vec<Subtable>| {
            self.forced.is_some() || effort(|| merged.iter(), &all) < effort(plain, &all)
        };
        let Some(merged) = merged(all.clone(), most).filter(is_worth_it) else {
            self.most_tuples = loose.len() * 2;
            return;
        };
        self.entries.retain(|entry| entry.family.is_some());
        self.most_merged = merged.len() * 2 + MERGED;
        for subtable in merged {
            self.push(subtable, None);
        }
        (self.masks, self.strained) = (Some(Trie::default()), 0);
        for rule in &all {
            self.count_mask(rule.key.mask(), None, true);
        }
        self.sort();
    }

    fn push(&mut self, subtable: Subtable, family: Option<u8>) {
        self.entries.push(Entry {
            max_priority: subtable.max_priority(),
            family,
            subtable: Arc::new(subtable),
        });
    }

    fn measure_priorities(&mut self) {
        for entry in &mut self.entries {
            let (_, max) = Arc::make_mut(&mut entry.subtable).measure_priorities();
            entry.max_priority = max;
        }
        self.sort();
    }

    fn sort(&mut self) {
        let highest_first = |e: &Entry| std::cmp::Reverse(e.max_priority);
        self.entries.sort_by_key(highest_first);
    }
}

/// Subtables of several masks, no more than `most`.
fn merged(mut rules: Vec<Arc<Rule>>, most: usize) -> Option<Vec<Subtable>> {
    let mut subtables = Vec::new();
    while rules.len() > RUN {
        if subtables.len() == most {
            return None;
        }
        let mask = Arc::new(merge::choose(&rules));
        let first = rules.iter().find(|rule| rule.key.mask().covers(&mask))?;
        let mut subtable = Subtable::new(mask.clone(), first);
        rules.retain(|rule| {
            let fits = rule.key.mask().covers(&mask) && subtable.run(&rule.key) < RUN;
            if fits {
                subtable.add(rule.clone());
            }
            !fits
        });
        subtables.push(subtable);
    }
    let rest = subtable_of(Arc::default(), &rules);
    subtables.extend(rest);
    Some(subtables)
}

/// What a search of all these subtables takes, summed over packets that are like the rules: each
/// with the bits of one rule, and those of another where that does not look.
fn effort<'a, I>(subtables: impl Fn() -> I, rules: &[Arc<Rule>]) -> usize
where
    I: Iterator<Item = &'a Subtable>,
{
    const PACKETS: usize = 64;
    // Rules of a large table must be fetched from afar.
    const LARGE: usize = 16_384;
    let each = if rules.len() < LARGE { 2 } else { 16 };
    let step = rules.len().div_ceil(PACKETS).max(1);
    let mut before = FlowKey::default();
    let of_packet = rules.iter().step_by(step).map(|rule| {
        let mask = rule.key.mask();
        let value = mask.unpack(&rule.key.value);
        let (mut key, mask) = (value, mask.to_key());
        let bits = before.words().iter().zip(mask.words());
        for (word, (other, mask)) in key.words_mut().iter_mut().zip(bits) {
            *word |= other & !mask;
        }
        before = value;
        subtables()
            .map(|subtable| subtable.effort(key.words(), each))
            .sum::<usize>()
    });
    of_packet.sum()
}

fn subtable_of(mask: Arc<Mask>, rules: &[Arc<Rule>]) -> Option<Subtable> {
    let mut subtable = Subtable::new(mask, rules.first()?);
    for rule in rules {
        subtable.add(rule.clone());
    }
    Some(subtable)
}
