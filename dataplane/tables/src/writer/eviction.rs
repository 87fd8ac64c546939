//! Which flow goes when a full table gets another (OpenFlow 1.5.1, 5.5 and 7.3.4.1).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use net::TableId;

use super::limits::EvictBy;
use super::{Tables, is_installed};
use crate::{Rule, Table, expiry};

/// A table's flows in the order in which they would be evicted. Made when the first one is needed;
/// flows that are gone stay in until their turn comes.
#[derive(Debug, Default)]
pub(super) struct Victims {
    queue: Option<BinaryHeap<Reverse<Victim>>>,
}

#[derive(Debug)]
struct Victim {
    rank: Rank,
    rule: Arc<Rule>,
}

/// Lower goes first: importance, time at which it would time out, time at which it was added.
type Rank = (u16, u64, u64);

impl PartialEq for Victim {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Victim {}

impl PartialOrd for Victim {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Victim {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

/// A flow's place in the order; none: it must not be evicted.
fn rank(by: EvictBy, rule: &Rule) -> Option<Rank> {
    let ends = expiry::deadline(rule).map(|(at, _)| at);
    if ends.is_none() && !by.importance && !by.other {
        return None;
    }
    let importance = if by.importance { rule.importance } else { 0 };
    let ends = if by.lifetime { ends } else { None };
    Some((importance, ends.unwrap_or(u64::MAX), rule.created))
}

impl Victims {
    /// Starts anew when the next one is needed.
    pub(super) fn forget(&mut self) {
        self.queue = None;
    }

    /// A flow is put into the table.
    fn watch(&mut self, by: EvictBy, table: &Table, rule: &Arc<Rule>) {
        if self.is_stale(table) {
            self.forget();
        }
        if let Some(queue) = &mut self.queue
            && let Some(rank) = rank(by, rule)
        {
            let rule = rule.clone();
            queue.push(Reverse(Victim { rank, rule }));
        }
    }

    /// Flows that are gone must not be many more than those that are there.
    fn is_stale(&self, table: &Table) -> bool {
        let most = 2 * table.len() + 1024;
        self.queue.as_ref().is_some_and(|queue| queue.len() > most)
    }

    /// The flow that goes first, taken out of the order.
    fn pop(
        &mut self,
        by: EvictBy,
        table: &Table,
        installed: impl Fn(&Arc<Rule>) -> bool,
    ) -> Option<Arc<Rule>> {
        if self.is_stale(table) {
            self.forget();
        }
        let queue = self.queue.get_or_insert_with(|| {
            let victim = |rule: &Arc<Rule>| {
                let rank = rank(by, rule)?;
                let rule = rule.clone();
                Some(Reverse(Victim { rank, rule }))
            };
            table.rules().filter_map(victim).collect()
        });
        while let Some(Reverse(mut first)) = queue.pop() {
            if !installed(&first.rule) {
                continue;
            }
            // A packet since then prolongs the life of a flow with an idle timeout.
            match rank(by, &first.rule) {
                Some(rank) if rank > first.rank => {
                    first.rank = rank;
                    queue.push(Reverse(first));
                }
                Some(_) => return Some(first.rule),
                None => {}
            }
        }
        None
    }
}

impl Tables {
    /// The flows to be evicted from a table, none of them if not so many may be.
    pub(super) fn victims(&mut self, table: TableId, count: usize) -> Option<Vec<Arc<Rule>>> {
        if count > self.next.table(table)?.len() {
            return None;
        }
        let mut victims = Vec::new();
        while victims.len() < count {
            let Some(victim) = self.victim(table) else {
                // They stay, and may be evicted another time.
                victims.iter().for_each(|rule| self.watch_victim(rule));
                return None;
            };
            victims.push(victim);
        }
        Some(victims)
    }

    /// The flow to be evicted next, taken out of the order.
    fn victim(&mut self, table: TableId) -> Option<Arc<Rule>> {
        let next = &self.next;
        let limited = self.limited.get_mut(usize::from(table.0))?;
        if !limited.limits.evict {
            return None;
        }
        let by = limited.limits.evict_by;
        let installed = |rule: &Arc<Rule>| is_installed(next, rule);
        limited.victims.pop(by, next.table(table)?, installed)
    }

    /// A flow is put into its table.
    pub(super) fn watch_victim(&mut self, rule: &Arc<Rule>) {
        if let Some(limited) = self.limited.get_mut(usize::from(rule.table.0))
            && let Some(table) = self.next.table(rule.table)
        {
            limited.victims.watch(limited.limits.evict_by, table, rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TableLimits;
    use openflow::model::FlowMod;
    use openflow::{Field, Instructions, Match};

    #[test]
    fn flows_that_replace_each_other_do_not_pile_up_in_the_order() {
        let mut tables = Tables::new();
        let limits = TableLimits {
            max_entries: 1,
            evict: true,
            ..TableLimits::default()
        };
        tables.set_limits(TableId(0), limits).unwrap();
        let mut add = |port: u32| {
            let matching = Match::any().with(Field::InPort, port);
            let flow = FlowMod::add(TableId(0), 5, matching, Instructions::drop());
            tables.flow_mod(&flow, 0).unwrap().len()
        };
        assert_eq!((add(1), add(2)), (1, 2));
        for _ in 0..5000 {
            assert_eq!(add(2), 1);
        }
        assert_eq!(add(3), 2);
        let queue = tables.limited[0].victims.queue.as_ref().unwrap();
        assert!(queue.len() <= 2 + 1024, "{}", queue.len());
    }
}
