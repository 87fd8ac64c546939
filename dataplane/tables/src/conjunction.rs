//! Conjunctive matches (ovs-fields(7), "Conjunctive Match Fields").
//!
//! A flow with `conjunction` actions is a clause: it says for its packets that one dimension of a
//! conjunction holds. A packet for which all dimensions hold is looked up once more with `conj_id`
//! set, among the flows that are no clauses; that flow is the answer. Clauses stand below flows of
//! the same priority that match for themselves, and a conjunction whose second look-up finds
//! nothing counts as not matched.

use std::sync::Arc;

use net::FlowKey;
use openflow::Action;
use openflow::action::Conjunction;
use smallvec::SmallVec;

use crate::Rule;

/// The rules of a table, as this module needs them.
pub(crate) trait Matches {
    /// Gives `visit` rules that match `key`, until none of more than `floor` priority is left:
    /// each call says the floor from then on. Rules of the floor's priority or less may be left
    /// out. What decided about the rules is ORed into `consulted`.
    fn each_match<'a>(
        &'a self,
        key: &FlowKey,
        consulted: &mut FlowKey,
        visit: &mut dyn FnMut(&'a Arc<Rule>) -> Floor,
    );
}

/// A priority up to which rules are of no interest; none: all are.
pub(crate) type Floor = Option<u16>;

/// The clauses that a rule stands for.
fn clauses(rule: &Rule) -> impl Iterator<Item = &Conjunction> {
    let actions = rule.instructions.apply.iter();
    actions.filter_map(|action| match action {
        Action::Conjunction(clause) => Some(clause),
        _ => None,
    })
}

/// True for a rule that is part of a conjunction, and no answer itself.
pub(crate) fn is_clause(rule: &Rule) -> bool {
    clauses(rule).next().is_some()
}

/// The rule that a packet gets in a table with clauses.
pub(crate) fn lookup<'a>(
    table: &'a impl Matches,
    key: &FlowKey,
    consulted: &mut FlowKey,
) -> Option<&'a Arc<Rule>> {
    let mut hard: Option<&Arc<Rule>> = None;
    let mut soft: SmallVec<[&Arc<Rule>; 16]> = SmallVec::new();
    table.each_match(key, consulted, &mut |rule| {
        if is_clause(rule) {
            soft.push(rule);
        } else if hard.is_none_or(|best| best.priority < rule.priority) {
            hard = Some(rule);
        }
        hard.map(|rule| rule.priority)
    });
    if let Some(hard) = hard {
        soft.retain(|rule| rule.priority > hard.priority);
    }
    soft.sort_unstable_by_key(|rule| std::cmp::Reverse(rule.priority));
    let found = soft
        .chunk_by(|a, b| a.priority == b.priority)
        .flat_map(complete)
        .find_map(|id| with_id(table, key, id, consulted));
    found.or(hard)
}

/// The best rule that is no clause, for a packet with this `conj_id`.
fn with_id<'a>(
    table: &'a impl Matches,
    key: &FlowKey,
    id: u32,
    consulted: &mut FlowKey,
) -> Option<&'a Arc<Rule>> {
    let mut key = *key;
    key.conj_id = id.into();
    let mut best: Option<&Arc<Rule>> = None;
    table.each_match(&key, consulted, &mut |rule| {
        if !is_clause(rule) && best.is_none_or(|best| best.priority < rule.priority) {
            best = Some(rule);
        }
        best.map(|rule| rule.priority)
    });
    best
}

/// Numbers of the conjunctions of which these rules are all clauses, lowest first.
fn complete(rules: &[&Arc<Rule>]) -> SmallVec<[u32; 4]> {
    let mut all: SmallVec<[&Conjunction; 64]> =
        rules.iter().flat_map(|rule| clauses(rule)).collect();
    // Flows that share thousands of conjunctions name them in order: this merges then.
    all.sort_by_key(|clause| (clause.id, clause.n_clauses));
    let whole = all
        .chunk_by(|a, b| (a.id, a.n_clauses) == (b.id, b.n_clauses))
        .filter_map(|clauses| {
            let first = clauses.first()?;
            let held = clauses.iter().fold(0u64, |held, c| held | 1 << c.clause);
            (held.count_ones() == u32::from(first.n_clauses)).then_some(first.id)
        });
    whole.collect()
}
