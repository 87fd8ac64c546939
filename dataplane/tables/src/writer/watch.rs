//! For those who watch flows: which are watched, and what became of them meanwhile.

use std::sync::Arc;

use super::select::Filter;
use super::{Change, FlowFilter, RemovedReason, Tables};
use crate::rule::MaskedKey;
use crate::{Pipeline, Rule, Table};
use net::TableId;

/// A filter to be asked about flows one by one.
#[derive(Clone, Debug)]
pub struct Selector {
    table: TableId,
    filter: Filter,
    key: MaskedKey,
}

impl Selector {
    /// True for the flows that the filter is about.
    pub fn selects(&self, rule: &Rule) -> bool {
        (self.table == TableId::ALL || self.table == rule.table)
            && rule.key.is_within(&self.key)
            && self.filter.selects(rule)
    }
}

impl Tables {
    /// Prepares a filter for flows one by one.
    pub fn selector(&self, request: &FlowFilter) -> Selector {
        Selector {
            table: request.table,
            filter: request.filter(),
            key: self.peek_key(&request.matching),
        }
    }

    /// What must be told to somebody who knows the flows of an earlier pipeline, apart from flows
    /// that came and went since. Why flows went is not known any more.
    pub fn changes_since(&self, old: &Pipeline) -> Vec<Change> {
        let mut changes = Vec::new();
        let tables = old.tables.iter().zip(&self.next.tables);
        for (before, now) in tables.filter(|(before, now)| !Arc::ptr_eq(before, now)) {
            let find = |table: &Table, rule: &Rule| table.exact(&rule.key, rule.priority).cloned();
            for rule in before.rules() {
                if find(now, rule).is_none() {
                    changes.push(Change::Removed(rule.clone(), RemovedReason::Delete));
                }
            }
            for rule in now.rules() {
                match find(before, rule) {
                    None => changes.push(Change::Added(rule.clone())),
                    Some(same) if Arc::ptr_eq(&same, rule) => {}
                    Some(_) => changes.push(Change::Modified(rule.clone())),
                }
            }
        }
        changes
    }
}
