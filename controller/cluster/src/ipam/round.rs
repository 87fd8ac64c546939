//! One round of serving: the books, and each pod's way to an allocation or to a refusal.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use net::MacAddr;

use super::claim::Claim;
use super::ledger::Ledger;
use super::want::{Want, in_order_of_choice};
use crate::addr::Family;
use crate::desired::Waiting;
use crate::name::NamespacedName;
use crate::problem::Problem;
use crate::state::{Allocation, State};
use crate::subnets::SubnetPlan;

/// What anybody asks for in this round, granted or not: none of it is given unasked.
#[derive(Default)]
pub(super) struct AskedFor {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) macs: BTreeSet<MacAddr>,
}

impl AskedFor {
    fn new(wants: &[Want<'_>]) -> Self {
        let claims = || wants.iter().filter_map(|want| want.claim.as_ref().ok());
        AskedFor {
            addresses: claims().flat_map(|claim| claim.addresses()).collect(),
            macs: claims().filter_map(|claim| claim.mac).collect(),
        }
    }
}

pub(super) struct Round<'a> {
    pub(super) ledger: Ledger,
    pub(super) asked_for: AskedFor,
    pub(super) plans: &'a BTreeMap<String, SubnetPlan>,
    pub(super) state: &'a mut State,
    pub(super) problems: &'a mut Vec<Problem>,
    pub(super) waiting: BTreeMap<NamespacedName, Waiting>,
}

impl<'a> Round<'a> {
    /// Opens the books.
    pub(super) fn new(
        wants: &[Want<'_>],
        plans: &'a BTreeMap<String, SubnetPlan>,
        state: &'a mut State,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        let mut round = Round {
            ledger: Ledger::default(),
            asked_for: AskedFor::new(wants),
            plans,
            state,
            problems,
            waiting: BTreeMap::new(),
        };
        round.book_what_is_held();
        round
    }

    /// The Ethernet segment that a subnet is on; one that is not in force has its own.
    fn segment(&self, subnet: &str) -> String {
        match self.plans.get(subnet) {
            Some(plan) => plan.segment(),
            None => format!("subnet {subnet}"),
        }
    }

    /// Books every allocation of the state. Two that contradict each other cannot come from us;
    /// should the file have been edited so, the second is dropped and its pod served anew.
    fn book_what_is_held(&mut self) {
        let mut contradicting = Vec::new();
        for (name, held) in &self.state.pods {
            let segment = self.segment(&held.subnet);
            if self.ledger.take(&segment, held, name).is_err() {
                contradicting.push(name.clone());
            }
        }
        for name in contradicting {
            self.state.pods.remove(&name);
        }
    }

    pub(super) fn confirm(&mut self, want: &Want<'_>) {
        if let Some(held) = self.state.pods.get_mut(want.name) {
            // Another pod of that name: nothing stands on it yet.
            held.written.0 &= held.uid.as_deref() == want.uid;
            held.uid = want.uid.map(str::to_string);
        }
    }

    pub(super) fn tell_it_stays(&mut self, want: &Want<'_>) {
        let problem = match &want.claim {
            Err(problem) => Problem {
                message: format!("{}; the pod stays with what it has", problem.message),
                ..(**problem).clone()
            },
            Ok(claim) if !claim.is_empty() => {
                let field = if claim.address_field.is_empty() {
                    &claim.mac_field
                } else {
                    &claim.address_field
                };
                Problem::ignored(
                    want.object(),
                    field,
                    "what the annotation asks for differs from what the running pod has, which stays",
                    "re-create the pod to have it changed",
                )
            }
            Ok(_) => return,
        };
        self.problems.push(problem);
    }

    /// Takes what the pod holds out of books and state.
    pub(super) fn let_go(&mut self, want: &Want<'_>) -> Option<Allocation> {
        let held = self.state.pods.remove(want.name)?;
        let segment = self.segment(&held.subnet);
        self.ledger.give_back(&segment, &held);
        Some(held)
    }

    /// Gives the pod what it asks for, and for the rest what it had, or else what is free.
    pub(super) fn grant(
        &mut self,
        want: &Want<'_>,
        before: Option<&Allocation>,
    ) -> Result<(), Box<Problem>> {
        let claim = want.claim.clone()?;
        let remembered = self.state.recall(want.name).cloned();
        let before = before.or(remembered.as_ref());
        let mut first_objection = None;
        for plan in in_order_of_choice(want, &claim, before) {
            match self.allocate(want, plan, &claim, before) {
                Ok(allocation) => {
                    self.record(want, plan, allocation, &claim, before);
                    return Ok(());
                }
                Err(problem) => {
                    first_objection.get_or_insert(problem);
                }
            }
        }
        Err(first_objection.unwrap_or_else(|| {
            Box::new(Problem::refused(
                want.object(),
                "",
                "there is no subnet for it",
                "name the pod's namespace in a Subnet's spec.namespaces, or make one the default",
            ))
        }))
    }

    fn record(
        &mut self,
        want: &Want<'_>,
        plan: &SubnetPlan,
        allocation: Allocation,
        claim: &Claim,
        before: Option<&Allocation>,
    ) {
        // The books were consulted for every part of it, so this cannot fail.
        let _ = self.ledger.take(&plan.segment(), &allocation, want.name);
        if let Some(subnet) = self.state.subnets.get_mut(plan.name()) {
            for address in allocation.addresses() {
                let family = Family::of(address);
                let was_its_own = claim.address(family).is_some()
                    || before.and_then(|before| before.address(family)) == Some(address);
                match address {
                    _ if was_its_own => {}
                    IpAddr::V4(v4) => subnet.cursor_v4 = Some(v4),
                    IpAddr::V6(v6) => subnet.cursor_v6 = Some(v6),
                }
            }
        }
        self.state.hold(want.name, allocation);
    }

    /// A claim that cannot be honoured: the pod stays with what it had if it still can, and waits
    /// otherwise.
    pub(super) fn refuse(
        &mut self,
        want: &Want<'_>,
        before: Option<Allocation>,
        mut problem: Problem,
    ) {
        let stays = before
            .filter(|before| want.can_stay_with(before))
            .filter(|before| {
                let segment = self.segment(&before.subnet);
                self.ledger.take(&segment, before, want.name).is_ok()
            });
        match stays {
            Some(before) => {
                problem.message += "; the pod stays with what it has";
                self.state.hold(want.name, before);
            }
            None => {
                problem.message += "; the pod waits";
                let text = problem.to_string();
                self.waiting
                    .insert(want.name.clone(), Waiting::Refused(text));
            }
        }
        self.problems.push(problem);
    }
}
