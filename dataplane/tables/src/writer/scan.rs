//! The flows a request is about, bit by bit: for answers that are longer than anybody should wait.

use std::cmp::Reverse;
use std::sync::Arc;

use net::TableId;
use openflow::Match;

use super::select::Filter;
use super::{FlowFilter, Tables};
use crate::classifier::TableScan;
use crate::rule::MaskedKey;
use crate::{Rule, Table};

/// Tables with at most so many rules are gone through at once, and in order.
const SORTED: usize = 2048;

/// The flows a request is about, as they were when it was begun; needs no table meanwhile.
#[derive(Debug)]
pub struct Scan {
    key: MaskedKey,
    filter: Filter,
    tables: std::vec::IntoIter<Arc<Table>>,
    table: Option<TableScan>,
}

impl Tables {
    /// Begins to look for the flows a request is about.
    pub fn scan(&self, request: &FlowFilter) -> Scan {
        let (first, most) = match request.table {
            TableId::ALL => (0, usize::MAX),
            table => (usize::from(table.0), 1),
        };
        let tables = self.next.tables.iter().skip(first).take(most);
        let tables: Vec<_> = tables.filter(|table| !table.is_empty()).cloned().collect();
        Scan {
            key: self.peek_key(&request.matching),
            filter: request.filter(),
            tables: tables.into_iter(),
            table: None,
        }
    }

    /// The flow of exactly this match and priority.
    pub fn find(&self, table: TableId, matching: &Match, priority: u16) -> Option<Arc<Rule>> {
        let key = self.peek_key(matching);
        self.next.table(table)?.exact(&key, priority).cloned()
    }
}

impl Scan {
    /// Appends further flows after looking at about `most`; false at the end. Tables come in their
    /// order; of small ones the flow of the highest priority and then the oldest comes first, of
    /// large ones the order means nothing.
    pub fn step(&mut self, most: usize, found: &mut Vec<Arc<Rule>>) -> bool {
        let filter = &self.filter;
        loop {
            if let Some(table) = &mut self.table {
                let mut take = |rule: &Arc<Rule>| {
                    if filter.selects(rule) {
                        found.push(rule.clone());
                    }
                };
                if table.step(&self.key, most, &mut take) {
                    return true;
                }
                self.table = None;
                return self.tables.len() > 0;
            }
            let Some(table) = self.tables.next() else {
                return false;
            };
            if table.len() > SORTED {
                self.table = Some(table.scan());
                continue;
            }
            let from = found.len();
            let few = table.within(&self.key).filter(|rule| filter.selects(rule));
            found.extend(few.cloned());
            let order = |r: &Arc<Rule>| (Reverse(r.priority), r.created, r.cookie);
            if let Some(of_table) = found.get_mut(from..) {
                of_table.sort_by(|a, b| (order(a), &a.key.value).cmp(&(order(b), &b.key.value)));
            }
            if found.len() >= most {
                return self.tables.len() > 0;
            }
        }
    }
}
