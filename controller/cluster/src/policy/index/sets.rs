//! Policy sets, and the classes that they hold for.

use std::collections::{BTreeMap, BTreeSet};

use super::numbers::{Crowded, Numbers};
use crate::name::ObjectRef;
use crate::policy::classes::NamedPort;

/// A policy set, by the policies that are in it.
#[derive(Debug)]
pub(super) struct Record {
    pub ingress: bool,
    /// Ports of the pods that its rules ask for by name.
    pub ports: BTreeSet<NamedPort>,
    /// In the order in which they are asked.
    pub policies: Vec<ObjectRef>,
    /// Identities it holds for.
    classes: BTreeSet<u32>,
}

/// Every policy set.
#[derive(Debug)]
pub(super) struct Sets {
    numbers: Numbers,
    records: BTreeMap<u32, Record>,
    by_policy: BTreeMap<ObjectRef, BTreeSet<u32>>,
}

impl Sets {
    pub fn new(mask: u32) -> Self {
        Sets {
            numbers: Numbers::new(mask),
            records: BTreeMap::new(),
            by_policy: BTreeMap::new(),
        }
    }

    pub fn number(&self, text: &str) -> Option<u32> {
        self.numbers.get(text)
    }

    pub fn get(&self, number: u32) -> Option<&Record> {
        self.records.get(&number)
    }

    /// Those that a policy is in.
    pub fn of_policy(&self, policy: &ObjectRef) -> impl Iterator<Item = u32> {
        self.by_policy.get(policy).into_iter().flatten().copied()
    }

    /// Gives texts of sets numbers.
    pub fn enter(&mut self, texts: BTreeSet<String>) -> Result<(), Crowded> {
        self.numbers.enter(texts)
    }

    /// Puts a class into a set; gives its number, and whether the set is new. None for a text that
    /// has no number.
    pub fn join(
        &mut self,
        text: &str,
        ingress: bool,
        ports: BTreeSet<NamedPort>,
        policies: Vec<ObjectRef>,
        identity: u32,
    ) -> Option<(u32, bool)> {
        let number = self.numbers.get(text)?;
        let is_new = !self.records.contains_key(&number);
        if is_new {
            for policy in &policies {
                let sets = self.by_policy.entry(policy.clone()).or_default();
                sets.insert(number);
            }
        }
        let record = self.records.entry(number).or_insert_with(|| Record {
            ingress,
            ports,
            policies,
            classes: BTreeSet::new(),
        });
        record.classes.insert(identity);
        Some((number, is_new))
    }

    /// Takes a class out of a set; true if the set is gone with it.
    pub fn leave(&mut self, number: u32, identity: u32) -> Result<bool, Crowded> {
        let Some(record) = self.records.get_mut(&number) else {
            return Ok(false);
        };
        record.classes.remove(&identity);
        if !record.classes.is_empty() {
            return Ok(false);
        }
        for policy in &record.policies {
            if let Some(sets) = self.by_policy.get_mut(policy) {
                sets.remove(&number);
                if sets.is_empty() {
                    self.by_policy.remove(policy);
                }
            }
        }
        self.records.remove(&number);
        self.numbers.leave(number)?;
        Ok(true)
    }
}
