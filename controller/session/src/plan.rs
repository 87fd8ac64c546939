//! The difference between what a switch holds and what it shall hold: pure functions.

use std::collections::HashMap;
use std::sync::Arc;

use flows::FlowSet;

use crate::entry::{Act, Entry, Key, Step, entries};
use crate::inventory::Inventory;

/// The modifications that make one out of the other, in an order that leaves no gap: what is
/// referred to comes before what refers to it, and goes after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Meters and limits added and changed. Bundles do not carry them (Open vSwitch refuses meters).
    pub meters: Vec<Step>,
    /// Groups added and changed. They and what follows are one bundle.
    pub groups: Vec<Step>,
    /// The same, of groups that refer to groups.
    pub chained: Vec<Step>,
    /// Flows added and changed.
    pub flows: Vec<Step>,
    /// Flows deleted.
    pub deleted_flows: Vec<Step>,
    /// Groups deleted that refer to groups.
    pub deleted_chained: Vec<Step>,
    /// Groups deleted.
    pub deleted_groups: Vec<Step>,
    /// Meters and limits deleted, after the bundle.
    pub deleted_meters: Vec<Step>,
}

impl Plan {
    /// True where nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Modifications in it.
    pub fn len(&self) -> usize {
        self.meters.len() + self.bundle().count() + self.deleted_meters.len()
    }

    /// Every step, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let steps = self.meters.iter().chain(self.bundle());
        steps.chain(&self.deleted_meters)
    }

    /// Steps of the bundle, in order.
    pub(crate) fn bundle(&self) -> impl Iterator<Item = &Step> {
        let groups = self.groups.iter().chain(&self.chained);
        let flows = groups.chain(&self.flows).chain(&self.deleted_flows);
        flows
            .chain(&self.deleted_chained)
            .chain(&self.deleted_groups)
    }

    pub(crate) fn push(&mut self, step: Step) {
        let list = match (step.entry.key, step.act) {
            (Key::Meter(_) | Key::Zone(_) | Key::Impairment(_), Act::Delete) => {
                &mut self.deleted_meters
            }
            (Key::Meter(_) | Key::Zone(_) | Key::Impairment(_), _) => &mut self.meters,
            (Key::Group(_), Act::Delete) if step.entry.chained => &mut self.deleted_chained,
            (Key::Group(_), Act::Delete) => &mut self.deleted_groups,
            (Key::Group(_), _) if step.entry.chained => &mut self.chained,
            (Key::Group(_), _) => &mut self.groups,
            (Key::Flow(_), Act::Delete) => &mut self.deleted_flows,
            (Key::Flow(_), _) => &mut self.flows,
        };
        list.push(step);
    }
}

/// What is known of what a switch holds.
pub(crate) type Known = HashMap<Key, Arc<Entry>>;

/// Adds what makes `held` into an entry, if anything does.
pub(crate) fn set(held: Option<&Entry>, entry: &Arc<Entry>, plan: &mut Plan) {
    let act = match held {
        Some(there) if there.digest == entry.digest => return,
        // Modification keeps counters and age, but cannot change the cookie (6.4).
        Some(there) if there.cookie == entry.cookie && !there.is_unlike() => Act::Modify,
        // Adding replaces a flow, but is an error of a group or meter that is there.
        Some(_) if !matches!(entry.key, Key::Flow(_)) => Act::Modify,
        Some(_) | None => Act::Add,
    };
    plan.push(Step::new(act, entry));
}

/// Takes what is wanted out of what is held; what is left is not wanted.
pub(crate) fn compare<'a>(
    held: &mut Known,
    wanted: impl IntoIterator<Item = &'a Arc<Entry>>,
    plan: &mut Plan,
) {
    for entry in wanted {
        let there = held.remove(&entry.key);
        set(there.as_deref(), entry, plan);
    }
}

/// Adds the deletion of what is left, in an order of its own.
pub(crate) fn delete(left: Known, plan: &mut Plan) {
    let mut left: Vec<_> = left.into_values().collect();
    left.sort_by_key(|entry| entry.key);
    for entry in left {
        plan.push(Step::new(Act::Delete, &entry));
    }
}

/// Compares. With `complete` false nothing is deleted: what the intent does not name may only not
/// have been read yet.
pub fn plan(held: &Inventory, desired: &FlowSet, complete: bool) -> Plan {
    let mut plan = Plan::default();
    let mut left = held.entries.clone();
    compare(&mut left, &entries(desired).0, &mut plan);
    if complete {
        delete(left, &mut plan);
    }
    plan
}
