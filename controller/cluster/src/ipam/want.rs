//! A pod that shall have addresses, and whether it is content with what it holds.

use std::net::IpAddr;

use super::claim::Claim;
use crate::addr::Family;
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::problem::Problem;
use crate::state::Allocation;
use crate::subnets::SubnetPlan;

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
    pub(super) fn object(&self) -> ObjectRef {
        ObjectRef::namespaced(Kind::Pod, self.name)
    }

    /// True for a claim that has to be honoured, or refused, before others are served.
    pub(super) fn is_claim(&self) -> bool {
        !matches!(&self.claim, Ok(claim) if claim.is_empty())
    }

    /// True if what the pod holds is what it asks for.
    pub(super) fn is_met_by(&self, held: &Allocation) -> bool {
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

    pub(super) fn has_all_families(&self, held: &Allocation) -> bool {
        self.candidates
            .iter()
            .filter(|plan| plan.name() == held.subnet)
            .flat_map(|plan| &plan.pools)
            .all(|pool| held.address(pool.family()).is_some())
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
    let has_claimed = |plan: &SubnetPlan| claim.addresses().all(|a| plan.subnet.contains(a));
    let was_in = |plan: &SubnetPlan| before.is_some_and(|b| b.subnet == plan.name());
    plans.sort_by_key(|plan| (!has_claimed(plan), !was_in(plan)));
    plans
}
