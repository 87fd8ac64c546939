//! What a switch holds, as far as it has to be remembered: its own entries, the version of what all
//! hold alike, and what is otherwise than it shall be.

use std::collections::HashMap;
use std::sync::Arc;

use crate::entry::{Act, Entry, Key, Step};
use crate::event::Rejected;
use crate::inventory::Inventory;
use crate::plan::{Known, Plan, compare, delete, set};
use crate::shared::Delta;

/// What a switch holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Of what all hold alike, this version, but for what was refused.
    pub version: u64,
    own: Known,
    /// What nobody asked for, kept while something has not been read yet that may ask for it.
    strangers: Known,
    /// What the switch has refused, and is asked for again.
    refused: HashMap<Key, (Step, Rejected)>,
}

impl Held {
    /// Of a switch that was read: what makes it hold all of `shared` and `own`, and what it holds then.
    pub fn meet(
        inventory: Inventory,
        shared: &Delta,
        own: &[Arc<Entry>],
        complete: bool,
    ) -> (Self, Plan) {
        let mut plan = Plan::default();
        let mut left = inventory.entries;
        let alike = shared.changes.iter().filter_map(|(_, now)| now.as_ref());
        compare(&mut left, alike.chain(own), &mut plan);
        let mut held = Held {
            version: shared.version,
            own: own.iter().map(|entry| (entry.key, entry.clone())).collect(),
            ..Held::default()
        };
        if complete {
            delete(left, &mut plan);
        } else {
            held.strangers = left;
        }
        (held, plan)
    }

    /// True if what all hold alike can be sent as it is sent to everybody.
    pub fn is_ordinary(&self) -> bool {
        self.strangers.is_empty() && self.refused.is_empty()
    }

    /// Adds the steps of a change of what all hold alike, fitted to this switch.
    pub fn follow(&mut self, delta: &Delta, complete: bool, plan: &mut Plan) {
        for (before, after) in &delta.changes {
            match (before, after) {
                (before, Some(after)) => self.set(before.as_ref(), after, plan),
                (Some(before), None) => self.delete(before.clone(), complete, plan),
                (None, None) => {}
            }
        }
        self.version = delta.version;
    }

    /// Adds what makes its own entries these.
    pub fn turn(&mut self, own: &[Arc<Entry>], complete: bool, plan: &mut Plan) {
        let mut before = std::mem::take(&mut self.own);
        for entry in own {
            let there = before.remove(&entry.key);
            self.set(there.as_ref(), entry, plan);
        }
        self.own = own.iter().map(|entry| (entry.key, entry.clone())).collect();
        let mut left: Vec<_> = before.into_values().collect();
        left.sort_by_key(|entry| entry.key);
        for entry in left {
            self.delete(entry, complete, plan);
        }
    }

    /// Everything was read: what nobody asked for goes.
    pub fn clean(&mut self, plan: &mut Plan) {
        delete(std::mem::take(&mut self.strangers), plan);
    }

    /// Asks again for what was refused.
    pub fn retry(&mut self, plan: &mut Plan) {
        let mut steps: Vec<_> = self.refused.drain().map(|(_, (step, _))| step).collect();
        steps.sort_by_key(|step| step.entry.key);
        steps.into_iter().for_each(|step| plan.push(step));
    }

    /// A step was refused.
    pub fn refuse(&mut self, step: Step, told: Rejected) {
        self.refused.insert(step.entry.key, (step, told));
    }

    /// What was refused, in order.
    pub fn rejected(&self) -> Vec<Rejected> {
        let mut refused: Vec<_> = self.refused.iter().collect();
        refused.sort_by_key(|(key, _)| **key);
        refused
            .into_iter()
            .map(|(_, (_, told))| told.clone())
            .collect()
    }

    /// Flows of its own.
    pub fn own_flows(&self) -> usize {
        self.own.keys().filter(|key| is_flow(key)).count()
    }

    /// Flows that it holds, where everybody has `shared` of them alike.
    pub fn flows(&self, shared: usize) -> usize {
        let strangers = self.strangers.keys().filter(|key| is_flow(key)).count();
        let refused = |act| {
            let of = self.refused.values().filter(|(step, _)| step.act == act);
            of.filter(|(step, _)| is_flow(&step.entry.key)).count()
        };
        let there = shared + self.own_flows() + strangers + refused(Act::Delete);
        there.saturating_sub(refused(Act::Add))
    }

    fn set(&mut self, before: Option<&Arc<Entry>>, entry: &Arc<Entry>, plan: &mut Plan) {
        let stranger = self.strangers.remove(&entry.key);
        match self.refused.remove(&entry.key) {
            // It is not there, whatever we wished.
            Some((step, _)) if step.act == Act::Add => plan.push(Step::new(Act::Add, entry)),
            // What is there is not known for certain; both ways it becomes this.
            Some(_) => plan.push(Step::new(Act::Modify, entry)),
            None => set(before.or(stranger.as_ref()).map(|e| &**e), entry, plan),
        }
    }

    fn delete(&mut self, entry: Arc<Entry>, complete: bool, plan: &mut Plan) {
        let refused = self.refused.remove(&entry.key);
        if refused.is_some_and(|(step, _)| step.act == Act::Add) {
            return;
        }
        if complete || is_flow(&entry.key) {
            plan.push(Step::new(Act::Delete, &entry));
        } else {
            // Flows that are not known yet may refer to it.
            self.strangers.insert(entry.key, entry);
        }
    }
}

fn is_flow(key: &Key) -> bool {
    matches!(key, Key::Flow(_))
}

#[cfg(test)]
mod tests {
    use flows::flow::{Flow, bucket, output};
    use flows::{Changes, Feature, FlowSet, Origin, Table};
    use net::PortNo;
    use openflow::model::GroupType;
    use openflow::{Action, Field};
    use proptest::prelude::*;

    use super::*;
    use crate::entry::entries;
    use crate::shared::{Shared, join};

    /// Flows by in_port, some through a group of their own; what is shared is apart from what is own.
    fn set(shared: bool, ports: &[(u32, u8)]) -> FlowSet {
        let mut set = FlowSet::default();
        let (table, base) = if shared {
            (Table::Output, 100)
        } else {
            (Table::Mirror, 0)
        };
        for (port, kind) in ports {
            let origin = Origin::table(Feature::Output, table);
            let mut flow = Flow::new(table, 7, "test").when(Field::InPort, base + *port);
            if kind & 1 != 0 {
                let buckets = vec![bucket(vec![output(PortNo(u32::from(*kind)))])];
                let label = format!("Pod a/b {}", base + port);
                let group = set.add_group(GroupType::All, label, buckets);
                flow = flow.act(Action::Group(group));
            }
            set.add(&origin, flow.output(PortNo(u32::from(*kind) + 1)));
        }
        set
    }

    fn changes(before: &FlowSet, after: &FlowSet) -> Changes {
        let mut changes = Changes::default();
        for id in before.flows.keys().chain(after.flows.keys()) {
            changes
                .flows
                .insert(id.clone(), after.flows.get(id).cloned());
        }
        for id in before.groups.keys().chain(after.groups.keys()) {
            changes.groups.insert(*id, after.groups.get(id).cloned());
        }
        changes
    }

    /// A switch that takes the steps, but for those of these keys.
    fn take(switch: &mut Known, plan: &Plan, refuse: &dyn Fn(&Key) -> bool, held: &mut Held) {
        for step in plan.steps() {
            let there = switch.contains_key(&step.entry.key);
            match step.act {
                Act::Add => assert!(!there || is_flow(&step.entry.key), "adds what is there"),
                Act::Modify => assert!(there, "changes what is not there"),
                Act::Delete => assert!(there, "deletes what is not there"),
            }
            if refuse(&step.entry.key) {
                let told = Rejected {
                    object: String::new(),
                    what: String::new(),
                    error: openflow::error::OFPFMFC_TABLE_FULL,
                };
                held.refuse(step.clone(), told);
            } else if step.act == Act::Delete {
                switch.remove(&step.entry.key);
            } else {
                switch.insert(step.entry.key, step.entry.clone());
            }
        }
    }

    fn digests(entries: impl IntoIterator<Item = Arc<Entry>>) -> Vec<(Key, u64)> {
        let mut list: Vec<_> = entries.into_iter().map(|e| (e.key, e.digest)).collect();
        list.sort_unstable();
        list
    }

    type Ports = Vec<(u32, u8)>;

    fn ports() -> impl Strategy<Value = Ports> {
        proptest::collection::btree_map(1u32..8, 0u8..4, 0..6).prop_map(|m| m.into_iter().collect())
    }

    proptest! {
        #[test]
        fn whatever_comes_the_switch_ends_as_it_shall_be(
            strange in ports(),
            rounds in proptest::collection::vec(
                (ports(), ports(), any::<bool>(), 1usize..3, 0u32..12), 1..6),
        ) {
            let shared = Shared::new();
            let (mut alike, mut own) = (FlowSet::default(), FlowSet::default());
            // Strangers: of another time, with keys that ours may have too.
            let mut switch: Known = entries(&set(false, &strange)).0.into_iter()
                .map(|e| (e.key, e)).collect();
            let mut held: Option<Held> = None;
            for (next_alike, next_own, complete, at_once, refused) in rounds {
                for _ in 0..at_once {
                    let next = set(true, &next_alike);
                    shared.apply(&changes(&alike, &next));
                    alike = next;
                }
                own = set(false, &next_own);
                let (wanted, _) = entries(&own);
                let mut plan = Plan::default();
                let mut now = match held.take() {
                    Some(mut held) => {
                        if let Some(delta) = join(&shared.since(held.version).unwrap()) {
                            held.follow(&delta, complete, &mut plan);
                        }
                        held.turn(&wanted, complete, &mut plan);
                        if complete {
                            held.clean(&mut plan);
                        }
                        held
                    }
                    None => {
                        let inventory = Inventory { entries: switch.clone() };
                        let (held, first) = Held::meet(inventory, &shared.whole(), &wanted, complete);
                        plan = first;
                        held
                    }
                };
                // Flows only: a group that is refused takes its flow with it on a real switch.
                let key = |port: u32| {
                    let table = if port < 6 { Table::Mirror } else { Table::Output };
                    let base = if port < 6 { 0 } else { 94 };
                    Entry::key_of(&Flow::new(table, 7, "").when(Field::InPort, base + port).id())
                };
                let refuse = key(refused);
                take(&mut switch, &plan, &|k| *k == refuse, &mut now);
                held = Some(now);
            }
            // Everything is known and nothing is refused any more.
            let mut held = held.unwrap();
            let mut plan = Plan::default();
            held.turn(&entries(&own).0, true, &mut plan);
            held.clean(&mut plan);
            held.retry(&mut plan);
            take(&mut switch, &plan, &|_| false, &mut held);
            let wanted = entries(&alike).0.into_iter().chain(entries(&own).0);
            prop_assert_eq!(digests(switch.into_values()), digests(wanted));
            prop_assert_eq!(held.flows(shared.flows()), alike.flows.len() + own.flows.len());
        }
    }
}
