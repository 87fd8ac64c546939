//! The slow, obvious twin of a table: a list that is searched from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use net::FlowKey;
use openflow::Action;
use openflow::action::Conjunction;

use crate::Rule;

/// The rules that may be a packet's, by looking at every rule.
///
/// OpenFlow leaves open which of several of the same priority is taken, so an answer is right when
/// it is one of them; likewise when several conjunctions of one priority are complete.
pub fn lookup<'a>(
    rules: impl IntoIterator<Item = &'a Arc<Rule>>,
    key: &FlowKey,
) -> Vec<&'a Arc<Rule>> {
    let rules: Vec<_> = rules.into_iter().collect();
    let mut by_priority: BTreeMap<u16, Vec<&Arc<Rule>>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| matches(rule, key)) {
        by_priority.entry(rule.priority).or_default().push(rule);
    }
    for matching in by_priority.into_values().rev() {
        let (parts, whole): (Vec<_>, Vec<_>) =
            matching.into_iter().partition(|rule| is_clause(rule));
        if !whole.is_empty() {
            return whole;
        }
        let with_id = |id: u32| {
            let mut key = *key;
            key.conj_id = id.into();
            best(rules.iter().copied().filter(|r| !is_clause(r)), &key)
        };
        let answers: Vec<_> = complete(&parts).into_iter().flat_map(with_id).collect();
        if !answers.is_empty() {
            return answers;
        }
    }
    Vec::new()
}

fn matches(rule: &Rule, key: &FlowKey) -> bool {
    let matching = rule.matching();
    let mut fields = matching.iter();
    fields.all(|f| {
        let there = f
            .field
            .presence()
            .is_none_or(|bit| key.tun_present & bit != 0);
        there && f.field.info().slot.get(key) & f.mask == f.value
    })
}

/// Those of the highest priority that match.
fn best<'a>(rules: impl Iterator<Item = &'a Arc<Rule>>, key: &FlowKey) -> Vec<&'a Arc<Rule>> {
    let matching: Vec<_> = rules.filter(|rule| matches(rule, key)).collect();
    let best = matching.iter().map(|rule| rule.priority).max();
    let of_best = |rule: &&Arc<Rule>| Some(rule.priority) == best;
    matching.into_iter().filter(of_best).collect()
}

fn clauses(rule: &Rule) -> Vec<Conjunction> {
    let actions = rule.instructions.apply.iter();
    let clause = |action: &Action| match action {
        Action::Conjunction(clause) => Some(*clause),
        _ => None,
    };
    actions.filter_map(clause).collect()
}

fn is_clause(rule: &Rule) -> bool {
    !clauses(rule).is_empty()
}

/// Numbers of the conjunctions that have all their clauses among these rules. The number of
/// clauses belongs to the name: conjunctions that differ in it are different.
fn complete(rules: &[&Arc<Rule>]) -> BTreeSet<u32> {
    let mut held: BTreeMap<(u32, u8), BTreeSet<u8>> = BTreeMap::new();
    for clause in rules.iter().flat_map(|rule| clauses(rule)) {
        let name = (clause.id, clause.n_clauses);
        held.entry(name).or_default().insert(clause.clause);
    }
    let whole = held
        .into_iter()
        .filter(|((_, n), clauses)| clauses.len() == usize::from(*n));
    whole.map(|((id, _), _)| id).collect()
}
