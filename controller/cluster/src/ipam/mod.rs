//! Address management: who gets which address and MAC, in which order claims are honoured, and
//! what is said to those who get none.
//!
//! 1. What a pod holds it keeps, as long as that is what it asks for.
//! 2. Claims by annotation come next, the oldest pod first; a claim to what somebody holds is
//!    refused, and its pod waits, or stays with what it had.
//! 3. Everybody else is given addresses: what a pod of that name held before, if that is free, or
//!    the next free one.

mod choose;
pub(crate) mod claim;
mod ledger;
pub(crate) mod pool;
pub(crate) mod ranges;
mod round;
mod want;

use std::collections::BTreeMap;

use crate::desired::Waiting;
use crate::name::NamespacedName;
use crate::problem::Problem;
use crate::state::State;
use crate::subnets::SubnetPlan;

use round::Round;
pub(crate) use want::Want;

/// Brings the state up to date with the pods that want addresses. Afterwards `state.pods` has an
/// entry for each of them that is not in the returned map.
///
/// `exists` says of a pod, wanting or not, that it still may hold what it holds.
pub(crate) fn assign(
    state: &mut State,
    mut wants: Vec<Want<'_>>,
    plans: &BTreeMap<String, SubnetPlan>,
    exists: impl Fn(&NamespacedName) -> bool,
    complete: bool,
    problems: &mut Vec<Problem>,
) -> BTreeMap<NamespacedName, Waiting> {
    free_the_gone(state, exists, complete);
    let mut round = Round::new(&wants, plans, state, problems);

    wants.sort_by_key(|want| (want.created.unwrap_or(i64::MAX), want.name));
    let mut claims = Vec::new();
    let mut others = Vec::new();
    for want in &wants {
        match round.state.pods.get(want.name) {
            Some(held) if want.is_met_by(held) => round.confirm(want),
            Some(held) if want.is_same_pod(held) && want.can_stay_with(held) => {
                round.tell_it_stays(want);
                round.confirm(want);
            }
            _ if want.is_claim() => claims.push(want),
            _ => others.push(want),
        }
    }
    // Who asks for something else lets go of what it has first, so that two can swap.
    let before: Vec<_> = claims.iter().map(|want| round.let_go(want)).collect();
    let mut refused = Vec::new();
    for (want, before) in claims.into_iter().zip(before) {
        match round.grant(want, before.as_ref()) {
            Ok(()) => {}
            Err(problem) => refused.push((want, before, problem)),
        }
    }
    for (want, before, problem) in refused {
        round.refuse(want, before, *problem);
    }
    for want in others {
        let before = round.let_go(want);
        if let Err(problem) = round.grant(want, before.as_ref()) {
            round.refuse(want, before, *problem);
        }
    }
    round.waiting
}

/// Frees what pods hold that are gone. What an incomplete view does not show is gone only if this
/// process has seen it before.
fn free_the_gone(state: &mut State, exists: impl Fn(&NamespacedName) -> bool, complete: bool) {
    let mut gone = Vec::new();
    for (name, held) in &mut state.pods {
        let there = exists(name);
        held.seen.0 |= there;
        if !there && (complete || held.seen.0) {
            gone.push(name.clone());
        }
    }
    for name in gone {
        state.release(&name);
    }
}
