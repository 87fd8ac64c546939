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

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::Waiting;
use crate::name::NamespacedName;
use crate::problem::Problem;
use crate::state::{Allocation, State};
use crate::subnets::SubnetPlan;

pub(crate) use owner::Owner;
pub(crate) use round::AskedFor;
use round::Round;
pub(crate) use want::Want;

/// What is there and what is not, as far as addresses depend on it.
pub(crate) struct Presence<'a> {
    /// True for a pod, wanting or not, that still may hold what it holds.
    pub(crate) pod: &'a dyn Fn(&NamespacedName) -> bool,
    /// True for a pod that is not there and for which this is kept.
    pub(crate) kept: &'a dyn Fn(&NamespacedName, &Allocation) -> bool,
    /// What is not there is really gone.
    pub(crate) complete: bool,
}

/// What became of those who want addresses.
#[derive(Default)]
pub(crate) struct Served {
    /// Pods that have none.
    pub(crate) waiting: BTreeMap<NamespacedName, Waiting>,
    /// Who holds something now that they did not hold before, or as somebody else.
    pub(crate) granted: Vec<Owner>,
    /// Who did not get what it wants: others may have to give it back first.
    pub(crate) refused: Vec<Owner>,
}

/// Brings the state up to date with those who want addresses. Afterwards `state.pods` has an
/// entry for each pod of them that is not waiting.
///
/// Whoever holds what it wants need not be among them: nothing would come of it.
pub(crate) fn assign(
    state: &mut State,
    mut wants: Vec<Want<'_>>,
    asked_for: &AskedFor,
    plans: &BTreeMap<String, SubnetPlan>,
    block_bits: u8,
    problems: &mut Vec<Problem>,
) -> Served {
    let mut round = Round::new(asked_for, plans, block_bits, state, problems);
    let mut served = Served::default();
    wants.sort_by(|a, b| {
        let age = |want: &Want<'_>| want.created.unwrap_or(i64::MAX);
        (age(a), &a.owner).cmp(&(age(b), &b.owner))
    });
    let mut claims = Vec::new();
    let mut others = Vec::new();
    for want in &wants {
        match round.state.held(&want.owner) {
            Some((held, away)) if want.is_met_by(held) || want.stays_with(held, away) => {
                if !want.is_met_by(held) {
                    round.tell_it_stays(want);
                }
                if round.confirm(want) {
                    served.granted.push(want.owner.clone());
                }
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
            Ok(()) => served.granted.push(want.owner.clone()),
            Err(problem) => refused.push((want, before, problem)),
        }
    }
    for (want, before, problem) in refused {
        served.refused.push(want.owner.clone());
        round.refuse(want, before, *problem);
    }
    for want in others {
        if round.waits_for_its_node(want) {
            round.wait_for_a_node(want);
            continue;
        }
        let before = round.let_go(want);
        match round.grant(want, before.as_ref()) {
            Ok(()) => served.granted.push(want.owner.clone()),
            Err(problem) => {
                served.refused.push(want.owner.clone());
                round.refuse(want, before, *problem);
            }
        }
    }
    served.waiting = round.waiting;
    served
}

/// Frees what is held by those of these pods that are gone; true if something was freed. What an
/// incomplete view does not show is gone only if this process has seen it before.
pub(crate) fn free_the_gone(
    state: &mut State,
    pods: &BTreeSet<NamespacedName>,
    presence: &Presence<'_>,
) -> bool {
    let (mut gone, mut away) = (Vec::new(), Vec::new());
    for name in pods {
        let there = (presence.pod)(name);
        let Some(held) = state.pods.get(name) else {
            continue;
        };
        let seen = held.seen.0;
        if there {
            if !seen && let Some(held) = state.pods.get_mut(name) {
                held.seen.0 = true;
            }
            continue;
        }
        if !(presence.complete || seen) {
            continue;
        }
        if (presence.kept)(name, held) {
            away.push(name);
        } else {
            gone.push(name);
        }
    }
    for name in away {
        state.keep(name);
    }
    if presence.complete {
        let of_nobody = |name: &NamespacedName| {
            let kept = state.kept.get(name);
            kept.is_some_and(|kept| !(presence.pod)(name) && !(presence.kept)(name, kept))
        };
        gone.extend(pods.iter().filter(|name| of_nobody(name)));
    }
    for name in &gone {
        state.release(name);
    }
    !gone.is_empty()
}

/// Frees what is held by Vips that are gone.
pub(crate) fn free_gone_vips(state: &mut State, is_there: impl Fn(&str) -> bool) {
    let gone = state.vips.keys().filter(|name| !is_there(name));
    let gone: Vec<String> = gone.cloned().collect();
    for name in gone {
        state.let_go(&Owner::Vip(name));
    }
}
