//! One round of serving: each one's way to an allocation or to a refusal.

use std::collections::BTreeMap;
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

/// What anybody asks for, granted or not: none of it is given unasked.
#[derive(Debug, Default)]
pub(crate) struct AskedFor {
    /// By how many each is asked for.
    addresses: BTreeMap<IpAddr, usize>,
    macs: BTreeMap<MacAddr, usize>,
    /// Who asks for what.
    by_owner: BTreeMap<Owner, Asked>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Asked {
    addresses: Vec<IpAddr>,
    mac: Option<MacAddr>,
}

impl AskedFor {
    /// Somebody asks for this now; true if they asked for something before that they do not ask
    /// for any more.
    pub(crate) fn set(&mut self, owner: &Owner, claim: Option<&Claim>) -> bool {
        let asked = Asked {
            addresses: claim.map_or_else(Vec::new, |claim| claim.all_addresses().collect()),
            mac: claim.and_then(|claim| claim.mac),
        };
        let before = self.by_owner.get(owner).cloned().unwrap_or_default();
        if before == asked {
            return false;
        }
        for address in &asked.addresses {
            *self.addresses.entry(*address).or_default() += 1;
        }
        if let Some(mac) = asked.mac {
            *self.macs.entry(mac).or_default() += 1;
        }
        for address in &before.addresses {
            one_less(&mut self.addresses, address);
        }
        if let Some(mac) = &before.mac {
            one_less(&mut self.macs, mac);
        }
        if asked == Asked::default() {
            self.by_owner.remove(owner);
        } else {
            self.by_owner.insert(owner.clone(), asked);
        }
        before != Asked::default()
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    pub(super) fn has_mac(&self, mac: MacAddr) -> bool {
        self.macs.contains_key(&mac)
    }
}

fn one_less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

pub(super) struct Round<'a> {
    pub(super) asked_for: &'a AskedFor,
    pub(super) state: &'a mut State,
    pub(super) problems: &'a mut Vec<Problem>,
    pub(super) waiting: BTreeMap<NamespacedName, Waiting>,
    /// Blocks are in use: who runs nowhere yet is given nothing unasked.
    has_blocks: bool,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        asked_for: &'a AskedFor,
        plans: &BTreeMap<String, SubnetPlan>,
        block_bits: u8,
        state: &'a mut State,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        let segments = plans.iter();
        let segments = segments.map(|(name, plan)| (name.clone(), plan.segment()));
        state.open_books(&segments.collect(), block_bits);
        Round {
            asked_for,
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

    /// It keeps what it holds; what is known of it is brought up to date. True if that was something
    /// else.
    pub(super) fn confirm(&mut self, want: &Want<'_>) -> bool {
        let Some((held, was_away)) = self.state.held(&want.owner) else {
            return false;
        };
        let node = want.node.map(str::to_string);
        let moved = node.is_some() && node != held.node;
        if !moved && was_away == want.away {
            let is_known = held.uid.as_deref() == want.uid && held.workload == want.workload;
            if let Owner::Pod(name) = &want.owner
                && !is_known
                && let Some(held) = self.state.pods.get_mut(name)
            {
                // Another pod of that name: nothing stands on it yet.
                held.written.0 &= held.uid.as_deref() == want.uid;
                held.uid = want.uid.map(str::to_string);
                held.workload.clone_from(&want.workload);
            }
            return !is_known;
        }
        let Some(held) = self.state.let_go(&want.owner) else {
            return false;
        };
        let allocation = Allocation {
            uid: want.uid.map(str::to_string),
            node: node.or(held.node),
            // An IP object does not say whose pod it is that is away.
            workload: match want.away {
                true => held.workload,
                false => want.workload.clone(),
            },
            seen: Seen(true),
            written: Seen(held.written.0 && held.uid.as_deref() == want.uid),
            ..held
        };
        // What was just let go is free.
        self.state.hold(&want.owner, allocation, want.away)
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
