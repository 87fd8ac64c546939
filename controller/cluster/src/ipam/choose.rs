//! Which addresses and which MAC a pod is given, part by part.

use std::net::IpAddr;

use net::MacAddr;

use super::claim::Claim;
use super::pool::{Holders, Pool};
use super::round::Round;
use super::want::Want;
use crate::addr::Family;
use crate::name::NamespacedName;
use crate::problem::Problem;
use crate::state::{Allocation, Seen};
use crate::subnets::SubnetPlan;

impl Round<'_> {
    pub(super) fn allocate(
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
            written: Seen(false),
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
        pool: &Pool,
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
        pool: &Pool,
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
