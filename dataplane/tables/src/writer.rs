//! The writer: OpenFlow's modifications applied to the next pipeline.

mod buckets;
mod eviction;
mod flows;
mod forms;
mod groups;
mod learn;
mod limits;
mod meters;
mod plan;
mod scan;
mod select;
mod users;
mod watch;

pub use limits::{EvictBy, TableLimits, Vacancy, VacancyEvent};
pub use meters::MAX_BANDS;
pub use plan::MatchPlan;
pub use scan::Scan;
pub use select::FlowFilter;
pub use watch::Selector;

use std::sync::Arc;

use net::{FlowKey, GroupId, MeterId, TableId};
use openflow::Match;

use crate::expiry::Expiry;
use crate::rule::{Form, MaskedKey};
use crate::{Pipeline, Published, Rule, Table, Template};
use forms::Forms;
use users::Users;

/// Number of tables: 0..=253, as many as Open vSwitch shows.
pub const TABLES: u8 = 254;
/// Most flows in one table.
pub const MAX_FLOWS: usize = 2_000_000;
/// Most flows in all tables, unless [`Tables::set_most_flows`] says otherwise.
pub const MAX_FLOWS_IN_ALL: usize = 4_000_000;
/// Flows with timeouts that [`Tables::expire`] looks at.
const EXPIRED_AT_ONCE: usize = 10_000;
/// Most groups.
pub const MAX_GROUPS: usize = 1_000_000;
/// Most meters.
pub const MAX_METERS: usize = 1_000_000;

/// Why a flow went (OFPRR_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovedReason {
    /// No packet for its idle timeout.
    IdleTimeout,
    /// Its hard timeout passed.
    HardTimeout,
    /// A flow-mod deleted it.
    Delete,
    /// Its group was deleted.
    GroupDelete,
    /// Its meter was deleted.
    MeterDelete,
    /// Its table was full.
    Eviction,
}

/// What a modification did to one flow.
#[derive(Clone, Debug)]
pub enum Change {
    /// Added, perhaps in the place of one of the same match and priority.
    Added(Arc<Rule>),
    /// Has new instructions.
    Modified(Arc<Rule>),
    /// Gone. Counters are final once the workers have given up theirs.
    Removed(Arc<Rule>, RemovedReason),
}

/// The one writer. Modifications gather until [`Tables::publish`].
#[derive(Debug)]
pub struct Tables {
    next: Pipeline,
    /// Flows in all tables.
    flows: usize,
    most_flows: usize,
    most_groups: usize,
    most_meters: usize,
    changed: bool,
    published: Arc<Published>,
    /// Earlier pipelines that a worker may still hold: freed here, not on a worker.
    retired: Vec<Arc<Pipeline>>,
    expiry: Expiry,
    forms: Forms,
    /// Flows that use a group or a meter, and groups that send to a group, counted.
    group_users: Users,
    chain_users: Users,
    meter_users: Users,
    learners: learn::Learners,
    /// By table.
    limited: Vec<limits::Limited>,
    watches_vacancy: bool,
}

/// A state to go back to; see [`Tables::save`].
#[derive(Debug)]
pub struct Saved {
    tidied: u64,
    next: Pipeline,
    changed: bool,
    group_users: Users,
    chain_users: Users,
    meter_users: Users,
    learners: learn::Learners,
}

impl Default for Tables {
    fn default() -> Self {
        Tables::new()
    }
}

impl Tables {
    /// Empty tables, published as generation 1.
    pub fn new() -> Self {
        let mut pipeline = Pipeline::new(TABLES);
        pipeline.generation = 1;
        let published = Arc::new(pipeline.clone());
        pipeline.generation = 2;
        Tables {
            next: pipeline,
            flows: 0,
            most_flows: MAX_FLOWS_IN_ALL,
            most_groups: MAX_GROUPS,
            most_meters: MAX_METERS,
            changed: false,
            published: Arc::new(Published::new(published)),
            retired: Vec::new(),
            expiry: Expiry::default(),
            forms: Forms::default(),
            group_users: Users::default(),
            chain_users: Users::default(),
            meter_users: Users::default(),
            learners: learn::Learners::default(),
            limited: (0..TABLES).map(|_| limits::Limited::default()).collect(),
            watches_vacancy: false,
        }
    }

    /// Where readers find the newest pipeline.
    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// What readers will see after the next publication.
    pub fn pipeline(&self) -> &Pipeline {
        &self.next
    }

    /// True if there is something to publish.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Makes all modifications so far visible at once. Gives the generation that holds them.
    pub fn publish(&mut self) -> u64 {
        self.retired.retain(|old| Arc::strong_count(old) > 1);
        if !self.changed {
            return self.published.generation();
        }
        self.changed = false;
        if self.flows == 0 && self.next.groups.len() == 0 {
            self.next.look_at_nothing();
        }
        let generation = self.next.generation;
        self.retired.push(self.published.load());
        self.published.store(Arc::new(self.next.clone()));
        self.next.generation = generation + 1;
        generation
    }

    /// Frees earlier pipelines that no worker holds any more; gives how many are still held.
    pub fn reclaim(&mut self) -> usize {
        self.retired.retain(|old| Arc::strong_count(old) > 1);
        self.retired.len()
    }

    /// Makes a table keep to a template as far as its rules let it, or (none) choose for itself.
    /// For tests and measurements.
    pub fn force_template(&mut self, table: TableId, template: Option<Template>) {
        if let Some(table) = self.table_mut(table) {
            table.force(template);
        }
    }

    /// Remembers the state before a bundle.
    pub fn save(&self) -> Saved {
        Saved {
            tidied: self.expiry.tidied(),
            next: self.next.clone(),
            changed: self.changed,
            group_users: self.group_users.clone(),
            chain_users: self.chain_users.clone(),
            meter_users: self.meter_users.clone(),
            learners: self.learners.clone(),
        }
    }

    /// Goes back to a state, as if nothing had happened since. Must not be used across a
    /// publication or [`Tables::expire`].
    pub fn restore(&mut self, saved: Saved) {
        self.next = saved.next;
        self.flows = self.next.rules();
        self.changed = saved.changed;
        self.group_users = saved.group_users;
        self.chain_users = saved.chain_users;
        if saved.tidied != self.expiry.tidied() {
            // Flows that are back may have been forgotten meanwhile.
            let tables = self.next.tables();
            for rule in tables.flat_map(|(_, table)| table.rules()) {
                self.expiry.watch(rule);
            }
        }
        self.meter_users = saved.meter_users;
        self.learners = saved.learners;
        for limited in &mut self.limited {
            // Flows that are back were taken out of the order.
            limited.victims.forget();
        }
    }

    /// Number of flows and groups that use a group.
    pub fn group_references(&self, id: GroupId) -> usize {
        self.group_users.count(id.0) + self.chain_users.count(id.0)
    }

    /// Number of flows that use a meter.
    pub fn meter_references(&self, id: MeterId) -> usize {
        self.meter_users.count(id.0)
    }

    /// The earliest time (nanoseconds) at which [`Tables::expire`] may have something to do.
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiry.next()
    }

    /// Removes flows whose timeout has passed. Workers should have given up their counters just
    /// before, as these hold when a flow was used last. Looks at a part of them only, if they are
    /// many: then [`Tables::next_expiry`] is not later than `now`, and there is more to do.
    pub fn expire(&mut self, now: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut most = EXPIRED_AT_ONCE;
        loop {
            let next = &self.next;
            let installed = |rule: &Arc<Rule>| is_installed(next, rule);
            let Some((rule, reason)) = self.expiry.pop(now, &mut most, installed) else {
                self.drop_learned(&mut changes);
                return changes;
            };
            self.take_out(&rule);
            changes.push(Change::Removed(rule, reason));
        }
    }

    /// The table, to be changed in the next generation.
    fn table_mut(&mut self, table: TableId) -> Option<&mut Table> {
        let generation = self.next.generation;
        let table = Arc::make_mut(self.next.tables.get_mut(usize::from(table.0))?);
        table.generation = generation;
        self.changed = true;
        Some(table)
    }

    fn take_out(&mut self, rule: &Rule) {
        let removed = self
            .table_mut(rule.table)
            .and_then(|table| table.remove(&rule.key, rule.priority));
        if let Some(removed) = removed {
            self.flows -= 1;
            self.forget_users(&removed);
        }
    }

    /// Takes out all flows of a table.
    fn empty(&mut self, table: TableId, reason: RemovedReason, changes: &mut Vec<Change>) {
        let Some(at) = self.next.table(table).filter(|table| !table.is_empty()) else {
            return;
        };
        let rules: Vec<Arc<Rule>> = at.rules().cloned().collect();
        if let Some(table) = self.table_mut(table) {
            table.clear();
        }
        self.flows -= rules.len();
        for rule in rules {
            self.forget_users(&rule);
            changes.push(Change::Removed(rule, reason));
        }
    }

    /// A key for comparing.
    fn peek_key(&self, matching: &Match) -> MaskedKey {
        let (value, mask) = matching.to_keys();
        masked_key(self.forms.peek(matching, &mask), &value)
    }

    /// A key to be kept: shares what other rules have alike.
    fn shared_key(&mut self, matching: &Match) -> MaskedKey {
        let (value, mask) = matching.to_keys();
        masked_key(self.forms.intern(matching, &mask), &value)
    }
}

fn masked_key(form: Arc<Form>, value: &FlowKey) -> MaskedKey {
    MaskedKey {
        value: form.mask.pack(value),
        form,
    }
}

fn is_installed(pipeline: &Pipeline, rule: &Arc<Rule>) -> bool {
    pipeline
        .table(rule.table)
        .and_then(|table| table.exact(&rule.key, rule.priority))
        .is_some_and(|now| Arc::ptr_eq(now, rule))
}
