//! Address management: who gets which address and MAC, in which order claims are honoured, and
//! what is said to those who get none.
//!
//! 1. What a pod holds it keeps, as long as that is what it asks for.
//! 2. Claims by annotation come next, the oldest pod first; a claim to what somebody holds is
//!    refused, and its pod waits, or stays with what it had.
//! 3. Everybody else is given addresses: what a pod of that name held before, if that is free, or
//!    the next free one.

pub(crate) mod claim;
mod ledger;
pub(crate) mod pool;
pub(crate) mod ranges;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use net::MacAddr;

use crate::addr::Family;
use crate::desired::Waiting;
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::problem::Problem;
use crate::state::{Allocation, Seen, State};
use crate::subnets::SubnetPlan;

use claim::Claim;
use ledger::Ledger;
use pool::Holders;

/// A pod that shall have addresses.
pub(crate) struct Want<'a> {
    pub(crate) name: &'a NamespacedName,
    pub(crate) uid: Option<&'a str>,
    pub(crate) created: Option<i64>,
    /// The subnets it may have them from, the first choice first; never empty.
    pub(crate) candidates: Vec<&'a SubnetPlan>,
    /// What it asks for, or why that cannot be read.
    pub(crate) claim: Result<Claim, Box<Problem>>,
}

impl Want<'_> {
    fn object(&self) -> ObjectRef {
        ObjectRef::namespaced(Kind::Pod, self.name)
    }

    /// True for a claim that has to be honoured, or refused, before others are served.
    fn is_claim(&self) -> bool {
        !matches!(&self.claim, Ok(claim) if claim.is_empty())
    }

    /// True if what the pod holds is what it asks for.
    fn is_met_by(&self, held: &Allocation) -> bool {
        let Ok(claim) = &self.claim else {
            return false;
        };
        self.can_stay_with(held)
            && claim
                .addresses()
                .all(|asked| held.address(Family::of(asked)) == Some(asked))
            && claim.mac.is_none_or(|mac| mac == held.mac)
            && (self.is_same_pod(held) || self.has_all_families(held))
    }

    /// True if what the pod holds is usable, whatever it asks for.
    fn can_stay_with(&self, held: &Allocation) -> bool {
        let Some(plan) = self.candidates.iter().find(|p| p.name() == held.subnet) else {
            return false;
        };
        let usable = |address: IpAddr| {
            let pool = plan.pool(Family::of(address));
            pool.is_some_and(|pool| pool.objection(address).is_none())
        };
        held.addresses().next().is_some()
            && held.addresses().all(usable)
            && held.mac != plan.subnet.router_mac
    }

    fn has_all_families(&self, held: &Allocation) -> bool {
        self.candidates
            .iter()
            .filter(|plan| plan.name() == held.subnet)
            .flat_map(|plan| &plan.pools)
            .all(|pool| held.address(pool.family()).is_some())
    }

    /// True for the very pod that was given the allocation: its interface is configured, so a
    /// change would cut it off. Manifests in a folder have no uid, and there a change is a change.
    fn is_same_pod(&self, held: &Allocation) -> bool {
        self.uid.is_some() && self.uid == held.uid.as_deref()
    }
}

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
    let mut round = Round {
        ledger: Ledger::default(),
        asked_for: AskedFor::new(&wants),
        plans,
        state,
        problems,
        waiting: BTreeMap::new(),
    };
    round.book_what_is_held();

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

/// What anybody asks for in this round, granted or not: none of it is given unasked.
#[derive(Default)]
struct AskedFor {
    addresses: BTreeSet<IpAddr>,
    macs: BTreeSet<MacAddr>,
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

struct Round<'a> {
    ledger: Ledger,
    asked_for: AskedFor,
    plans: &'a BTreeMap<String, SubnetPlan>,
    state: &'a mut State,
    problems: &'a mut Vec<Problem>,
    waiting: BTreeMap<NamespacedName, Waiting>,
}

impl Round<'_> {
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

    fn confirm(&mut self, want: &Want<'_>) {
        if let Some(held) = self.state.pods.get_mut(want.name) {
            held.uid = want.uid.map(str::to_string);
        }
    }

    fn tell_it_stays(&mut self, want: &Want<'_>) {
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
    fn let_go(&mut self, want: &Want<'_>) -> Option<Allocation> {
        let held = self.state.pods.remove(want.name)?;
        let segment = self.segment(&held.subnet);
        self.ledger.give_back(&segment, &held);
        Some(held)
    }

    /// Gives the pod what it asks for, and for the rest what it had, or else what is free.
    fn grant(&mut self, want: &Want<'_>, before: Option<&Allocation>) -> Result<(), Box<Problem>> {
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

    fn allocate(
        &mut self,
        want: &Want<'_>,
        plan: &SubnetPlan,
        claim: &Claim,
        before: Option<&Allocation>,
    ) -> Result<Allocation, Box<Problem>> {
        let outside = claim
            .addresses()
            .find(|asked| plan.pool(Family::of(*asked)).is_none());
        if let Some(asked) = outside {
            return Err(Box::new(Problem::refused(
                want.object(),
                &claim.address_field,
                format!(
                    "{asked} is outside Subnet {} ({})",
                    plan.name(),
                    ranges_of(plan)
                ),
                "choose an address inside it, or another subnet by ovn.kubernetes.io/logical_switch",
            )));
        }
        let before = before.filter(|before| before.subnet == plan.name());
        let mut allocation = Allocation {
            subnet: plan.name().to_string(),
            v4: None,
            v6: None,
            mac: MacAddr::ZERO,
            uid: want.uid.map(str::to_string),
            seen: Seen(true),
        };
        for pool in &plan.pools {
            let family = pool.family();
            let address = match claim.address(family) {
                Some(asked) => self.check_claim(want, plan, pool, asked, claim)?,
                None => self.give_address(want, plan, pool, before)?,
            };
            match address {
                IpAddr::V4(v4) => allocation.v4 = Some(v4),
                IpAddr::V6(v6) => allocation.v6 = Some(v6),
            }
        }
        allocation.mac = self.choose_mac(want, plan, claim, before, &allocation)?;
        Ok(allocation)
    }

    fn check_claim(
        &self,
        want: &Want<'_>,
        plan: &SubnetPlan,
        pool: &pool::Pool,
        asked: IpAddr,
        claim: &Claim,
    ) -> Result<IpAddr, Box<Problem>> {
        let refused = |message: String| {
            Err(Box::new(Problem::refused(
                want.object(),
                &claim.address_field,
                message,
                "choose another address",
            )))
        };
        if let Some(objection) = pool.objection(asked) {
            let (subnet, cidr) = (plan.name(), pool.cidr);
            return refused(format!("{asked} {objection} Subnet {subnet} ({cidr})"));
        }
        match self.ledger.holder(plan.name(), asked) {
            Some(holder) => refused(format!("{asked} is held by Pod {holder}, which keeps it")),
            None => Ok(asked),
        }
    }

    fn give_address(
        &mut self,
        want: &Want<'_>,
        plan: &SubnetPlan,
        pool: &pool::Pool,
        before: Option<&Allocation>,
    ) -> Result<IpAddr, Box<Problem>> {
        let family = pool.family();
        let had = before.and_then(|before| before.address(family));
        let is_free = |address: &IpAddr| {
            pool.gives(*address)
                && self.ledger.holder(plan.name(), *address).is_none()
                && !self.asked_for.addresses.contains(address)
        };
        if let Some(had) = had.filter(is_free) {
            return Ok(had);
        }
        let mut cursor = self
            .state
            .subnets
            .get(plan.name())
            .and_then(|s| match family {
                Family::V4 => s.cursor_v4.map(IpAddr::V4),
                Family::V6 => s.cursor_v6.map(IpAddr::V6),
            });
        let none = Holders::new();
        let holders = self.ledger.holders(plan.name(), family).unwrap_or(&none);
        let mut found = None;
        if !self.ledger.is_full(plan.name(), family) {
            // Each step but the last finds another address that somebody asks for.
            for _ in 0..=self.asked_for.addresses.len() {
                found = pool.next_free(holders, cursor);
                match found {
                    Some(address) if self.asked_for.addresses.contains(&address) => cursor = found,
                    _ => break,
                }
            }
            found = found.filter(|address| !self.asked_for.addresses.contains(address));
        }
        let Some(found) = found else {
            self.ledger.mark_full(plan.name(), family);
            return Err(Box::new(Problem::refused(
                want.object(),
                "",
                format!(
                    "Subnet {} has no free {family} address left in {}",
                    plan.name(),
                    pool.cidr
                ),
                "widen the subnet or its exclusions, add another to the namespace, or delete pods",
            )));
        };
        Ok(found)
    }

    fn choose_mac(
        &self,
        want: &Want<'_>,
        plan: &SubnetPlan,
        claim: &Claim,
        before: Option<&Allocation>,
        addresses: &Allocation,
    ) -> Result<MacAddr, Box<Problem>> {
        let segment = plan.segment();
        let router = plan.subnet.router_mac;
        if let Some(asked) = claim.mac {
            let message = match self.ledger.mac_holder(&segment, asked) {
                Some(holder) => format!("{asked} is held by Pod {holder}, which keeps it"),
                None if asked == router => {
                    format!("{asked} is the router's in Subnet {}", plan.name())
                }
                None => return Ok(asked),
            };
            return Err(Box::new(Problem::refused(
                want.object(),
                &claim.mac_field,
                message,
                "choose another MAC, or remove the annotation to be given one",
            )));
        }
        let is_free = |mac: &MacAddr| {
            *mac != router
                && self.ledger.mac_holder(&segment, *mac).is_none()
                && !self.asked_for.macs.contains(mac)
        };
        let had = before.map(|before| before.mac);
        had.into_iter()
            .chain(suggested_macs(want.name, addresses))
            .find(is_free)
            .ok_or_else(|| {
                Box::new(Problem::refused(
                    want.object(),
                    "",
                    format!("every MAC tried in Subnet {} is taken", plan.name()),
                    "set ovn.kubernetes.io/mac_address",
                ))
            })
    }

    /// A claim that cannot be honoured: the pod stays with what it had if it still can, and waits
    /// otherwise.
    fn refuse(&mut self, want: &Want<'_>, before: Option<Allocation>, mut problem: Problem) {
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

/// The subnet of a fixed address is where that address is; otherwise the one the pod was in comes
/// first, so that nothing moves without need.
fn in_order_of_choice<'a>(
    want: &Want<'a>,
    claim: &Claim,
    before: Option<&Allocation>,
) -> Vec<&'a SubnetPlan> {
    let mut plans = want.candidates.clone();
    let has_claimed = |plan: &SubnetPlan| claim.addresses().all(|a| plan.subnet.contains(a));
    let was_in = |plan: &SubnetPlan| before.is_some_and(|b| b.subnet == plan.name());
    plans.sort_by_key(|plan| (!has_claimed(plan), !was_in(plan)));
    plans
}

fn ranges_of(plan: &SubnetPlan) -> String {
    let cidrs: Vec<String> = plan.pools.iter().map(|p| p.cidr.to_string()).collect();
    cidrs.join(",")
}

/// MACs for an address, the best first: `02:5c` (locally administered, IEEE 802-2014 8.4) and the
/// IPv4 address, which makes it unique without looking; then hashes of the pod's name.
fn suggested_macs(pod: &NamespacedName, addresses: &Allocation) -> impl Iterator<Item = MacAddr> {
    let from_v4 = addresses.v4.map(|v4| {
        let [a, b, c, d] = v4.octets();
        MacAddr([0x02, 0x5c, a, b, c, d])
    });
    let pod = pod.to_string();
    let subnet = addresses.subnet.clone();
    let hashed = (0..64).map(move |attempt: u32| {
        let [a, b, c, d] = crate::hash::bytes(&["mac", &subnet, &pod, &attempt.to_string()]);
        MacAddr([0x02, 0x5d, a, b, c, d])
    });
    from_v4.into_iter().chain(hashed)
}
