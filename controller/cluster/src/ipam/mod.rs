//! Address management: who gets which address and MAC, in which order claims are honoured, and
//! what is said to those who get none.
//!
//! 1. What somebody holds it keeps, as long as that is what it asks for. What a StatefulSet's pod
//!    held when it went is kept for it.
//! 2. Claims by annotation come next, the oldest pod first; a claim to what somebody holds is
//!    refused, and its pod waits, or stays with what it had.
//! 3. Everybody else is given addresses: what a pod of that name held before, if that is free, or
//!    a free one of the blocks that its node has ([`book`]).

pub(crate) mod book;
mod choose;
pub(crate) mod claim;
pub(crate) mod ledger;
pub(crate) mod named;
pub(crate) mod owner;
pub(crate) mod pool;
pub(crate) mod ranges;
mod round;
pub(crate) mod runs;
mod want;

use std::collections::BTreeMap;

use crate::desired::Waiting;
use crate::name::NamespacedName;
use crate::problem::Problem;
use crate::state::{Allocation, State};
use crate::subnets::SubnetPlan;

use round::Round;
pub(crate) use want::Want;

/// What is there and what is not, as far as addresses depend on it.
pub(crate) struct Presence<'a> {
    /// True for a pod, wanting or not, that still may hold what it holds.
    pub(crate) pod: &'a dyn Fn(&NamespacedName) -> bool,
    /// True for a pod that is not there and for which this is kept.
    pub(crate) kept: &'a dyn Fn(&NamespacedName, &Allocation) -> bool,
    /// True for a Vip.
    pub(crate) vip: &'a dyn Fn(&str) -> bool,
    /// What is not there is really gone.
    pub(crate) complete: bool,
}

/// Brings the state up to date with those who want addresses. Afterwards `state.pods` has an
/// entry for each pod of them that is not in the returned map.
pub(crate) fn assign(
    state: &mut State,
    mut wants: Vec<Want<'_>>,
    plans: &BTreeMap<String, SubnetPlan>,
    block_bits: u8,
    presence: &Presence<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<NamespacedName, Waiting> {
    let mut round = Round::new(&wants, plans, block_bits, state, problems);
    free_the_gone(round.state, presence);

    wants.sort_by(|a, b| {
        let age = |want: &Want<'_>| want.created.unwrap_or(i64::MAX);
        (age(a), &a.owner).cmp(&(age(b), &b.owner))
    });
    let mut claims = Vec::new();
    let mut others = Vec::new();
    for want in &wants {
        match round.state.held(&want.owner) {
            Some((held, _)) if want.is_met_by(held) => round.confirm(want),
            Some((held, away)) if want.keeps(held, away) && want.can_stay_with(held) => {
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
        if round.waits_for_its_node(want) {
            round.wait_for_a_node(want);
            continue;
        }
        let before = round.let_go(want);
        if let Err(problem) = round.grant(want, before.as_ref()) {
            round.refuse(want, before, *problem);
        }
    }
    round.waiting
}

/// Frees what is held by what is gone. What an incomplete view does not show is gone only if this
/// process has seen it before.
fn free_the_gone(state: &mut State, presence: &Presence<'_>) {
    let (mut gone, mut away) = (Vec::new(), Vec::new());
    for (name, held) in &mut state.pods {
        let there = (presence.pod)(name);
        held.seen.0 |= there;
        if there || !(presence.complete || held.seen.0) {
            continue;
        }
        if (presence.kept)(name, held) {
            away.push(name.clone());
        } else {
            gone.push(name.clone());
        }
    }
    for name in away {
        state.keep(&name);
    }
    if presence.complete {
        let of_nobody = |(name, held): &(&NamespacedName, &Allocation)| {
            !(presence.pod)(name) && !(presence.kept)(name, held)
        };
        let kept = state.kept.iter().filter(of_nobody);
        gone.extend(kept.map(|(name, _)| name.clone()));
        let vips: Vec<String> = state
            .vips
            .keys()
            .filter(|name| !(presence.vip)(name))
            .cloned()
            .collect();
        for name in vips {
            state.let_go(&owner::Owner::Vip(name));
        }
    }
    for name in gone {
        state.release(&name);
    }
}
