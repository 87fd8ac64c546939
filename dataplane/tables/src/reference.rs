//! The slow, obvious twin of a table: a list that is searched from end to end.

use std::sync::Arc;

use net::FlowKey;

use crate::Rule;

/// The rules of highest priority that match, by looking at every rule.
///
/// OpenFlow leaves open which of several is taken, so an answer is right when it is one of them.
pub fn lookup<'a>(
    rules: impl IntoIterator<Item = &'a Arc<Rule>>,
    key: &FlowKey,
) -> Vec<&'a Arc<Rule>> {
    let matching: Vec<_> = rules
        .into_iter()
        .filter(|rule| {
            rule.matching()
                .iter()
                .all(|f| f.field.info().slot.get(key) & f.mask == f.value)
        })
        .collect();
    let best = matching.iter().map(|rule| rule.priority).max();
    matching
        .into_iter()
        .filter(|rule| Some(rule.priority) == best)
        .collect()
}
