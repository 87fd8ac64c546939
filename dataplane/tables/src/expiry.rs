//! When flows with timeouts are due.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::Rule;
use crate::writer::RemovedReason;

const SECOND: u64 = 1_000_000_000;

/// Flows by the time at which to look at them. Flows that are gone stay in until their time comes.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    queue: BinaryHeap<Reverse<Due>>,
    tidied: u64,
}

#[derive(Debug)]
struct Due {
    at: u64,
    rule: Arc<Rule>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl Expiry {
    /// Remembers a flow, if it has a timeout.
    pub fn watch(&mut self, rule: &Arc<Rule>) {
        if let Some((at, _)) = deadline(rule) {
            self.queue.push(Reverse(Due {
                at,
                rule: rule.clone(),
            }));
        }
    }

    /// The next time at which a flow may have to go.
    pub fn next(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse(due)| due.at)
    }

    /// Number of flows remembered, those that are gone included.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// How often flows that are gone were forgotten.
    pub fn tidied(&self) -> u64 {
        self.tidied
    }

    /// Forgets flows that are gone.
    pub fn retain(&mut self, installed: impl Fn(&Arc<Rule>) -> bool) {
        self.tidied += 1;
        self.queue.retain(|Reverse(due)| installed(&due.rule));
    }

    /// Takes out a flow whose time has come; flows that were used since are put back. Looks at
    /// `most` flows, and counts them down.
    pub fn pop(
        &mut self,
        now: u64,
        most: &mut usize,
        installed: impl Fn(&Arc<Rule>) -> bool,
    ) -> Option<(Arc<Rule>, RemovedReason)> {
        while *most > 0 && self.next().is_some_and(|at| at <= now) {
            *most -= 1;
            let Reverse(due) = self.queue.pop()?;
            if !installed(&due.rule) {
                continue;
            }
            match deadline(&due.rule) {
                Some((at, reason)) if at <= now => return Some((due.rule, reason)),
                _ => self.watch(&due.rule),
            }
        }
        None
    }
}

/// When a flow goes if nothing more happens, and why.
pub(crate) fn deadline(rule: &Rule) -> Option<(u64, RemovedReason)> {
    let after = |start: u64, seconds: u16| start.saturating_add(u64::from(seconds) * SECOND);
    let (idle_timeout, hard_timeout) = rule.timeouts();
    let hard = (hard_timeout != 0).then(|| {
        let at = after(rule.began(), hard_timeout);
        (at, RemovedReason::HardTimeout)
    });
    let idle = (idle_timeout != 0).then(|| {
        let at = after(rule.stats.used(), idle_timeout);
        (at, RemovedReason::IdleTimeout)
    });
    // At the same moment, the hard timeout is the reason.
    match (hard, idle) {
        (Some(hard), Some(idle)) if idle.0 < hard.0 => Some(idle),
        (Some(hard), _) => Some(hard),
        (None, idle) => idle,
    }
}
