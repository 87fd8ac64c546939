//! Flows that packets asked for, and who asked for them.

use std::sync::Arc;

use net::TableId;
use openflow::action::{LEARN_DELETE_LEARNED, Learn};
use openflow::{Action, Instructions};

use super::{Change, FlowFilter, RemovedReason, Tables};
use crate::rule::RuleClock;
use crate::trie::Trie;
use crate::{Learned, Refused, Rule, RuleStats};

impl Tables {
    /// Adds a flow that a packet asked for at `now` nanoseconds, or gives the flow of that match
    /// what the packet said. The flow's hard timeout begins again.
    ///
    /// # Errors
    /// The flow cannot be added; there are too many of its cookie, or its table is full.
    pub fn learn(&mut self, wanted: &Learned, now: u64) -> Result<Vec<Change>, Refused> {
        let Some(old) = self.next.of_its_match(wanted).cloned() else {
            if !self.next.may_learn(wanted) {
                return Err(Refused::LearnLimit(wanted.flow.cookie));
            }
            return self.flow_mod(&wanted.flow, now);
        };
        if wanted.says_the_same(&old) {
            old.begin_again(now);
            return Ok(Vec::new());
        }
        // As a strict modification: what is not said here stays as it was.
        self.check_instructions(wanted.flow.table, &wanted.flow.instructions)?;
        let rule = Arc::new(Rule {
            table: old.table,
            priority: old.priority,
            idle_timeout: old.idle_timeout,
            hard_timeout: old.hard_timeout,
            flags: old.flags,
            importance: old.importance,
            cookie: wanted.flow.cookie,
            created: old.created,
            instructions: Arc::new(wanted.flow.instructions.clone()),
            stats: RuleStats::of(&old),
            clock: RuleClock::of(&old),
            key: old.key.clone(),
        });
        rule.begin_again(now);
        self.forget_users(&old);
        self.put(rule.clone());
        let mut changes = vec![Change::Modified(rule)];
        self.drop_learned(&mut changes);
        Ok(changes)
    }

    /// Makes a flow's timeouts no longer than this many seconds, if it is still there; 0 leaves
    /// one alone.
    pub fn shorten(&mut self, rule: &Arc<Rule>, idle: u16, hard: u16) {
        if super::is_installed(&self.next, rule) && rule.shorten(idle, hard) {
            self.expiry.watch(rule);
        }
    }

    /// Removes what was learned by flows of which the last is gone.
    pub(super) fn drop_learned(&mut self, changes: &mut Vec<Change>) {
        while let Some((table, cookie)) = self.learners.orphans.pop() {
            // One may have come in the place of the last.
            if self.learners.count(table, cookie) != 0 {
                continue;
            }
            let filter = FlowFilter {
                table,
                cookie,
                cookie_mask: u64::MAX,
                ..FlowFilter::default()
            };
            for rule in self.flows(&filter) {
                self.take_out(&rule);
                changes.push(Change::Removed(rule, RemovedReason::Delete));
            }
        }
    }
}

/// How many actions learn flows of a table and cookie that are to go with them.
#[derive(Clone, Debug, Default)]
pub(super) struct Learners {
    counts: Trie<(TableId, u64, u32)>,
    /// Those whose last action went; looked at when the modification is done.
    orphans: Vec<(TableId, u64)>,
}

impl Learners {
    fn count(&self, table: TableId, cookie: u64) -> u32 {
        let is_it = |known: &(TableId, u64, u32)| (known.0, known.1) == (table, cookie);
        let found = self.counts.find(hash(table, cookie), is_it);
        found.map_or(0, |(_, _, count)| *count)
    }

    /// A flow with these instructions came.
    pub(super) fn add(&mut self, instructions: &Instructions) {
        deleting(&instructions.apply, &mut |learn| {
            let (table, cookie) = (learn.table, learn.cookie);
            let hash = hash(table, cookie);
            let is_it = |known: &(TableId, u64, u32)| (known.0, known.1) == (table, cookie);
            match self.counts.find_mut(hash, is_it) {
                Some((_, _, count)) => *count += 1,
                None => self.counts.insert(hash, (table, cookie, 1), |_| true),
            }
        });
    }

    /// It went.
    pub(super) fn sub(&mut self, instructions: &Instructions) {
        deleting(&instructions.apply, &mut |learn| {
            let (table, cookie) = (learn.table, learn.cookie);
            let hash = hash(table, cookie);
            let is_it = |known: &(TableId, u64, u32)| (known.0, known.1) == (table, cookie);
            match self.counts.find_mut(hash, is_it) {
                Some((_, _, count)) if *count > 1 => *count -= 1,
                _ => {
                    self.counts.remove(hash, is_it);
                    self.orphans.push((table, cookie));
                }
            }
        });
    }
}

/// The learn actions whose flows go with them.
fn deleting(actions: &[Action], visit: &mut dyn FnMut(&Learn)) {
    for action in actions {
        match action {
            Action::Learn(learn) if learn.flags & LEARN_DELETE_LEARNED != 0 => visit(learn),
            Action::Clone(inner) => deleting(inner, visit),
            _ => {}
        }
    }
}

/// Spreads cookies, which often differ in few bits, over the trie's slots.
fn hash(table: TableId, cookie: u64) -> u64 {
    (cookie ^ u64::from(table.0) << 56)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_right(32)
}
