//! Going through a table's rules bit by bit, while the table goes on changing.

use std::sync::Arc;

use super::Table;
use super::subtable::{Subtable, Within};
use crate::rule::{MaskedKey, Rule};
use crate::trie::Walk;

/// A place among the rules of a table as it was when the scan began. What it has still to see
/// stays in memory, shared with the table where that has not changed.
#[derive(Debug)]
pub(crate) struct TableScan {
    subtables: std::vec::IntoIter<Arc<Subtable>>,
    walk: Walk<Arc<Rule>>,
}

impl Table {
    /// Begins to go through its rules.
    pub(crate) fn scan(&self) -> TableScan {
        let subtables: Vec<_> = self.entries.iter().map(|e| e.subtable.clone()).collect();
        TableScan {
            subtables: subtables.into_iter(),
            walk: Walk::default(),
        }
    }
}

impl TableScan {
    /// Gives `visit` further rules that match nothing that `wider` does not, after looking at
    /// about `most`; false at the end.
    pub fn step(
        &mut self,
        wider: &MaskedKey,
        most: usize,
        visit: &mut dyn FnMut(&Arc<Rule>),
    ) -> bool {
        let mut left = most;
        while left > 0 {
            let walked = self.walk.step(left, &mut |rule| {
                if rule.key.is_within(wider) {
                    visit(rule);
                }
            });
            if walked > 0 {
                left -= walked.min(left);
                continue;
            }
            let Some(subtable) = self.subtables.next() else {
                return false;
            };
            match subtable.within(wider) {
                Within::None => {}
                Within::All(..) => self.walk = subtable.walk(),
                few @ Within::Some(..) => few.for_each(&mut *visit),
            }
            left -= 1;
        }
        true
    }
}
