//! One round of serving: each one's way to an allocation or to a refusal.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use net::MacAddr;

use super::claim::Claim;
use super::ledger::Ledger;
use super::owner::Owner;
use super::want::{Want, in_order_of_choice};
use crate::addr::{Family, bits};
use crate::desired::Waiting;
use crate::name::NamespacedName;
use crate::problem::Problem;
use crate::state::{Allocation, Seen, State};
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
            addresses: claims().flat_map(|claim| claim.all_addresses()).collect(),
            macs: claims().filter_map(|claim| claim.mac).collect(),
        }
    }
}

pub(super) struct Round<'a> {
    pub(super) asked_for: AskedFor,
    pub(super) state: &'a mut State,
    pub(super) problems: &'a mut Vec<Problem>,
    pub(super) waiting: BTreeMap<NamespacedName, Waiting>,
    /// Blocks are in use: who runs nowhere yet is given nothing unasked.
    has_blocks: bool,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        wants: &[Want<'_>],
        plans: &BTreeMap<String, SubnetPlan>,
        block_bits: u8,
        state: &'a mut State,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        let segments = plans.iter();
        let segments = segments.map(|(name, plan)| (name.clone(), plan.segment()));
        state.open_books(&segments.collect(), block_bits);
        Round {
            asked_for: AskedFor::new(wants),
            state,
            problems,
            waiting: BTreeMap::new(),
            has_blocks: block_bits > 0,
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        // Opened in `new`.
        static EMPTY: std::sync::LazyLock<Ledger> = std::sync::LazyLock::new(Ledger::default);
        self.state.ledger.0.as_deref().unwrap_or(&EMPTY)
    }

    pub(super) fn ledger_mut(&mut self) -> &mut Ledger {
        self.state.ledger.0.get_or_insert_default()
    }

    /// It keeps what it holds; what is known of it is brought up to date.
    pub(super) fn confirm(&mut self, want: &Want<'_>) {
        let Some((held, was_away)) = self.state.held(&want.owner) else {
            return;
        };
        let node = want.node.map(str::to_string);
        let moved = node.is_some() && node != held.node;
        if !moved && was_away == want.away {
            if let Owner::Pod(name) = &want.owner
                && let Some(held) = self.state.pods.get_mut(name)
            {
                // Another pod of that name: nothing stands on it yet.
                held.written.0 &= held.uid.as_deref() == want.uid;
                held.uid = want.uid.map(str::to_string);
                held.workload.clone_from(&want.workload);
            }
            return;
        }
        let Some(held) = self.state.let_go(&want.owner) else {
            return;
        };
        let allocation = Allocation {
            uid: want.uid.map(str::to_string),
            node: node.or(held.node),
            workload: want.workload.clone().or(held.workload),
            seen: Seen(true),
            written: Seen(held.written.0 && held.uid.as_deref() == want.uid),
            ..held
        };
        // What was just let go is free.
        self.state.hold(&want.owner, allocation, want.away);
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
                let (what, remedy) = match want.workload {
                    Some(_) => (
                        "what the annotation asks for differs from what the StatefulSet's pod has, \
                         which stays",
                        "scale the StatefulSet down to 0 and up again to have it changed",
                    ),
                    None => (
                        "what the annotation asks for differs from what the running pod has, which \
                         stays",
                        "re-create the pod to have it changed",
                    ),
                };
                Problem::ignored(want.object.clone(), field, what, remedy)
            }
            Ok(_) => return,
        };
        self.problems.push(problem);
    }

    /// Takes what it holds out of books and state.
    pub(super) fn let_go(&mut self, want: &Want<'_>) -> Option<Allocation> {
        self.state.let_go(&want.owner)
    }

    /// True for one that is given something only when it is known where it runs.
    pub(super) fn waits_for_its_node(&self, want: &Want<'_>) -> bool {
        self.has_blocks
            && want.node.is_none()
            && !want.away
            && matches!(want.owner, Owner::Pod(_))
            && !want.is_claim()
            && self.state.held(&want.owner).is_none()
    }

    pub(super) fn wait_for_a_node(&mut self, want: &Want<'_>) {
        if let Owner::Pod(name) = &want.owner {
            let what = format!("Pod {name} to be scheduled to a node (spec.nodeName)");
            self.waiting.insert(name.clone(), Waiting::For(what));
        }
    }

    /// Gives it what it asks for, and for the rest what it had, or else what is free.
    pub(super) fn grant(
        &mut self,
        want: &Want<'_>,
        before: Option<&Allocation>,
    ) -> Result<(), Box<Problem>> {
        let claim = want.claim.clone()?;
        let remembered = self.state.recall(&want.owner).cloned();
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
                want.object.clone(),
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
        let asked: Vec<IpAddr> = claim.all_addresses().collect();
        let is_its_own = |address: &IpAddr| {
            asked.contains(address)
                || before.and_then(|before| before.address(Family::of(*address))) == Some(*address)
        };
        let given: Vec<IpAddr> = allocation
            .addresses()
            .filter(|address| !is_its_own(address))
            .collect();
        for address in &given {
            let book = self.ledger().book(plan.name(), Family::of(*address));
            if book.is_some_and(|book| !book.moves_cursor(bits(*address))) {
                continue;
            }
            if let Some(subnet) = self.state.subnets.get_mut(plan.name()) {
                match *address {
                    IpAddr::V4(v4) => subnet.cursor_v4 = Some(v4),
                    IpAddr::V6(v6) => subnet.cursor_v6 = Some(v6),
                }
            }
        }
        // The books were consulted for every part of it, so this cannot fail.
        self.state.hold(&want.owner, allocation, want.away);
        for address in given {
            self.ledger_mut().note(plan.name(), address);
        }
    }

    /// A claim that cannot be honoured: it stays with what it had if it still can, and waits
    /// otherwise.
    pub(super) fn refuse(
        &mut self,
        want: &Want<'_>,
        before: Option<Allocation>,
        mut problem: Problem,
    ) {
        // Not what its predecessor of that name had: a new pod waits for what it asks for.
        let its_own = |before: &Allocation| want.uid.is_none() || want.is_same_pod(before);
        let stays = before
            .filter(|before| its_own(before) && want.can_stay_with(before))
            .is_some_and(|before| self.state.hold(&want.owner, before, want.away));
        match &want.owner {
            Owner::Vip(_) if stays => problem.message += "; the Vip stays with what it has",
            Owner::Vip(_) => problem.message += "; the Vip has no address",
            Owner::Pod(_) if want.away => {}
            Owner::Pod(_) if stays => problem.message += "; the pod stays with what it has",
            Owner::Pod(name) => {
                problem.message += "; the pod waits";
                let text = problem.to_string();
                self.waiting.insert(name.clone(), Waiting::Refused(text));
            }
        }
        self.problems.push(problem);
    }
}
