//! Which flows a request is about.

use std::cmp::Reverse;
use std::sync::Arc;

use net::{GroupId, PortNo, TableId};
use openflow::{Action, Match};

use super::Tables;
use crate::rule::MaskedKey;
use crate::{Rule, Table};

/// Which flows a request is about.
#[derive(Clone, Debug)]
pub struct FlowFilter {
    /// Table, or [`TableId::ALL`].
    pub table: TableId,
    /// Flows that match nothing else than this does.
    pub matching: Match,
    /// Cookie under `cookie_mask`.
    pub cookie: u64,
    /// Bits of the cookie that must agree.
    pub cookie_mask: u64,
    /// Only flows with an output there, unless [`PortNo::ANY`].
    pub out_port: PortNo,
    /// Only flows with that group, unless [`GroupId::ANY`].
    pub out_group: GroupId,
}

impl Default for FlowFilter {
    fn default() -> Self {
        FlowFilter {
            table: TableId::ALL,
            matching: Match::any(),
            cookie: 0,
            cookie_mask: 0,
            out_port: PortNo::ANY,
            out_group: GroupId::ANY,
        }
    }
}

impl FlowFilter {
    pub(super) fn filter(&self) -> Filter {
        Filter {
            cookie: self.cookie,
            cookie_mask: self.cookie_mask,
            out_port: self.out_port,
            out_group: self.out_group,
        }
    }
}

/// What a request says of flows besides their match.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    pub(super) cookie: u64,
    pub(super) cookie_mask: u64,
    pub(super) out_port: PortNo,
    pub(super) out_group: GroupId,
}

impl Filter {
    /// True where cookie and outputs fit.
    pub(super) fn selects(&self, rule: &Rule) -> bool {
        let sends = |port| {
            any_action(
                rule,
                &|a| matches!(a, Action::Output { port: p, .. } if *p == port),
            )
        };
        (rule.cookie ^ self.cookie) & self.cookie_mask == 0
            && (self.out_port == PortNo::ANY || sends(self.out_port))
            && (self.out_group == GroupId::ANY
                || any_action(rule, &|a| *a == Action::Group(self.out_group)))
    }
}

impl Tables {
    /// The flows a request is about, as they will be after the next publication; by table, then
    /// highest priority first, then oldest first.
    pub fn flows(&self, request: &FlowFilter) -> Vec<Arc<Rule>> {
        let key = self.peek_key(&request.matching);
        let filter = request.filter();
        let found = self.within(request.table, &key, &filter);
        let mut found: Vec<Arc<Rule>> = found.cloned().collect();
        let order = |r: &Arc<Rule>| (r.table, Reverse(r.priority), r.created, r.cookie);
        found.sort_by(|a, b| (order(a), &a.key.value).cmp(&(order(b), &b.key.value)));
        found
    }

    /// Flows that match nothing that `key` does not, in no order that means anything.
    pub(super) fn within<'a>(
        &'a self,
        table: TableId,
        key: &'a MaskedKey,
        filter: &'a Filter,
    ) -> impl Iterator<Item = &'a Arc<Rule>> {
        self.tables_of(table)
            .flat_map(|table| table.within(key))
            .filter(|rule| filter.selects(rule))
    }

    /// One table, or all.
    pub(super) fn tables_of(&self, table: TableId) -> impl Iterator<Item = &Table> {
        let (first, most) = match table {
            TableId::ALL => (0, usize::MAX),
            table => (usize::from(table.0), 1),
        };
        let tables = self.next.tables.iter().skip(first).take(most);
        tables.map(|table| &**table)
    }
}

/// True if an action of the rule, nested ones included, is of that kind.
fn any_action(rule: &Rule, is_it: &dyn Fn(&Action) -> bool) -> bool {
    let written = rule.instructions.write.iter().flatten();
    any_in(rule.instructions.apply.iter().chain(written), is_it)
}

fn any_in<'a>(
    mut actions: impl Iterator<Item = &'a Action>,
    is_it: &dyn Fn(&Action) -> bool,
) -> bool {
    actions.any(|action| {
        is_it(action) || matches!(action, Action::Clone(inner) if any_in(inner.iter(), is_it))
    })
}
