//! Somebody who shall have addresses, and whether they are content with what they hold.

use std::net::IpAddr;

use super::claim::Claim;
use super::named::NamedPool;
use super::owner::Owner;
use crate::addr::{Family, bits};
use crate::name::ObjectRef;
use crate::problem::Problem;
use crate::state::{Allocation, Workload};
use crate::subnets::SubnetPlan;

/// Somebody who shall have addresses.
pub(crate) struct Want<'a> {
    pub(crate) owner: Owner,
    /// Who is told if it does not come about.
    pub(crate) object: ObjectRef,
    pub(crate) uid: Option<&'a str>,
    pub(crate) created: Option<i64>,
    /// The node it runs on, whose blocks its addresses come from.
    pub(crate) node: Option<&'a str>,
    /// The StatefulSet it is a pod of: what it held when it went is its own.
    pub(crate) workload: Option<Workload>,
    /// The pod is not there: its addresses are kept for it.
    pub(crate) away: bool,
    /// The subnets it may have them from, the first choice first; never empty.
    pub(crate) candidates: Vec<&'a SubnetPlan>,
    /// What it is given comes from one of these; empty: from what no IPPool has.
    pub(crate) pools: Vec<&'a NamedPool>,
    /// What it asks for, or why that cannot be read.
    pub(crate) claim: Result<Claim, Box<Problem>>,
}

impl Want<'_> {
    /// True for a claim that has to be honoured, or refused, before others are served.
    pub(crate) fn is_claim(&self) -> bool {
        !matches!(&self.claim, Ok(claim) if claim.is_empty())
    }

    /// True if what it holds is what it asks for.
    pub(crate) fn is_met_by(&self, held: &Allocation) -> bool {
        let Ok(claim) = &self.claim else {
            return false;
        };
        self.can_stay_with(held)
            && claim.is_met_by(|family| held.address(family))
            && claim.mac.is_none_or(|mac| mac == held.mac)
            && (self.is_same_pod(held)
                || self.has_all_families(held, claim) && self.is_from_its_pools(held, claim))
    }

    /// True if what it holds is usable, whatever it asks for.
    pub(super) fn can_stay_with(&self, held: &Allocation) -> bool {
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

    /// True if it keeps what it holds although it asks for something else.
    pub(crate) fn stays_with(&self, held: &Allocation, was_away: bool) -> bool {
        self.keeps(held, was_away) && self.can_stay_with(held)
    }

    /// True for one whose addresses are its own, whatever else it asks for now: the very pod that
    /// was given them, or a StatefulSet's pod that comes back.
    fn keeps(&self, held: &Allocation, was_away: bool) -> bool {
        self.is_same_pod(held) || was_away && self.workload.is_some()
    }

    /// The families it shall have in a subnet.
    pub(super) fn families(&self, plan: &SubnetPlan, claim: &Claim) -> Vec<Family> {
        let families = plan.pools.iter().map(|pool| pool.family());
        families
            .filter(|family| {
                claim.family.is_none_or(|only| only == *family) || claim.address(*family).is_some()
            })
            .collect()
    }

    fn has_all_families(&self, held: &Allocation, claim: &Claim) -> bool {
        let plan = self.candidates.iter().find(|p| p.name() == held.subnet);
        plan.is_some_and(|plan| {
            let wanted = self.families(plan, claim);
            plan.pools.iter().all(|pool| {
                held.address(pool.family()).is_some() == wanted.contains(&pool.family())
            })
        })
    }

    fn is_from_its_pools(&self, held: &Allocation, claim: &Claim) -> bool {
        let asked: Vec<IpAddr> = claim.all_addresses().collect();
        let from = |pool: &&NamedPool| {
            pool.subnet == held.subnet
                && held.addresses().all(|address| {
                    asked.contains(&address)
                        || pool.ranges(Family::of(address)).contains(bits(address))
                })
        };
        self.pools.is_empty() || self.pools.iter().any(from)
    }

    /// True for the very pod that was given the allocation: its interface is configured, so a
    /// change would cut it off. Manifests in a folder have no uid, and there a change is a change.
    pub(super) fn is_same_pod(&self, held: &Allocation) -> bool {
        self.uid.is_some() && self.uid == held.uid.as_deref()
    }
}

/// The subnet of a fixed address is where that address is; otherwise the one the pod was in comes
/// first, so that nothing moves without need.
pub(super) fn in_order_of_choice<'a>(
    want: &Want<'a>,
    claim: &Claim,
    before: Option<&Allocation>,
) -> Vec<&'a SubnetPlan> {
    let mut plans = want.candidates.clone();
    let has_claimed = |plan: &SubnetPlan| {
        let first = claim.list.first();
        claim
            .addresses()
            .chain(first.into_iter().flat_map(|pair| pair.addresses()))
            .all(|a| plan.subnet.contains(a))
    };
    let was_in = |plan: &SubnetPlan| before.is_some_and(|b| b.subnet == plan.name());
    plans.sort_by_key(|plan| (!has_claimed(plan), !was_in(plan)));
    plans
}
