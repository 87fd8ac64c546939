//! Which addresses and which MAC somebody is given, part by part.

use std::net::IpAddr;

use net::MacAddr;

use super::claim::{Claim, Pair};
use super::pool::Pool;
use super::ranges::RangeSet;
use super::round::Round;
use super::want::Want;
use crate::addr::{Family, bits};
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
                want.object.clone(),
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
        let own = self.choose_from_list(want, plan, claim, before)?;
        let claim = own.as_ref().unwrap_or(claim);
        let mut allocation = Allocation {
            subnet: plan.name().to_string(),
            v4: None,
            v6: None,
            mac: MacAddr::ZERO,
            uid: want.uid.map(str::to_string),
            node: want.node.map(str::to_string),
            workload: want.workload.clone(),
            seen: Seen(true),
            written: Seen(false),
        };
        let families = want.families(plan, claim);
        if families.is_empty() {
            return Err(Box::new(Problem::refused(
                want.object.clone(),
                "metadata.annotations[ovn.kubernetes.io/ip_family]",
                format!(
                    "Subnet {} ({}) has no address of that family",
                    plan.name(),
                    ranges_of(plan)
                ),
                "ask for a family that the subnet has, or choose another subnet",
            )));
        }
        for pool in &plan.pools {
            let family = pool.family();
            if !families.contains(&family) {
                continue;
            }
            let address = match claim.address(family) {
                Some(asked) => self.check_claim(want, plan, pool, asked, claim)?,
                None => self.give_address(want, plan, pool, before, &allocation)?,
            };
            match address {
                IpAddr::V4(v4) => allocation.v4 = Some(v4),
                IpAddr::V6(v6) => allocation.v6 = Some(v6),
            }
        }
        allocation.mac = self.choose_mac(want, plan, claim, before, &allocation)?;
        Ok(allocation)
    }

    /// Of a list, what the pod had, or else the first that is free; `None` if there is no list.
    fn choose_from_list(
        &self,
        want: &Want<'_>,
        plan: &SubnetPlan,
        claim: &Claim,
        before: Option<&Allocation>,
    ) -> Result<Option<Claim>, Box<Problem>> {
        if claim.list.is_empty() {
            return Ok(None);
        }
        let chosen = |pair: &Pair| Claim {
            v4: pair.v4,
            v6: pair.v6,
            list: Vec::new(),
            ..claim.clone()
        };
        let had = |pair: &&Pair| {
            before.is_some_and(|b| {
                pair.addresses()
                    .all(|a| b.address(Family::of(a)) == Some(a))
            })
        };
        let first = claim.list.iter().filter(had);
        let mut objection = None;
        for pair in first.chain(&claim.list) {
            let own = chosen(pair);
            let refused = pair.addresses().find_map(|asked| {
                let Some(pool) = plan.pool(Family::of(asked)) else {
                    return Some(format!("{asked} is outside Subnet {}", plan.name()));
                };
                let checked = self.check_claim(want, plan, pool, asked, &own);
                checked.err().map(|problem| problem.message)
            });
            match refused {
                None => return Ok(Some(own)),
                Some(why) => {
                    objection.get_or_insert(why);
                }
            }
        }
        Err(Box::new(Problem::refused(
            want.object.clone(),
            &claim.address_field,
            format!(
                "none of the {} addresses is free in Subnet {}: {}{}",
                claim.list.len(),
                plan.name(),
                objection.unwrap_or_default(),
                if claim.list.len() > 1 {
                    ", and so on"
                } else {
                    ""
                },
            ),
            "add addresses to the list, or run fewer pods",
        )))
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
                want.object.clone(),
                &claim.address_field,
                message,
                "choose another address",
            )))
        };
        if let Some(objection) = pool.objection(asked) {
            let (subnet, cidr) = (plan.name(), pool.cidr);
            return refused(format!("{asked} {objection} Subnet {subnet} ({cidr})"));
        }
        match self.ledger().holder(plan.name(), asked) {
            Some(holder) => refused(format!("{asked} is held by {holder}, which keeps it")),
            None => Ok(asked),
        }
    }

    fn give_address(
        &mut self,
        want: &Want<'_>,
        plan: &SubnetPlan,
        pool: &Pool,
        before: Option<&Allocation>,
        so_far: &Allocation,
    ) -> Result<IpAddr, Box<Problem>> {
        let family = pool.family();
        let mut sources: Vec<(&str, &RangeSet)> = Vec::new();
        for named in want.pools.iter().filter(|p| p.subnet == plan.name()) {
            sources.push((named.name.as_str(), named.given(family)));
        }
        if want.pools.is_empty() {
            sources.push(("", pool.given()));
        }
        let had = before.and_then(|before| before.address(family));
        let in_step = so_far
            .v4
            .zip(plan.pool(Family::V4))
            .filter(|_| family == Family::V6)
            .and_then(|(v4, of)| pool.in_step(of, bits(v4.into())))
            .map(|number| family.address(number));
        let is_free = |address: &IpAddr| {
            sources
                .iter()
                .any(|(_, given)| given.contains(bits(*address)))
                && self.ledger().holder(plan.name(), *address).is_none()
                && !self.asked_for.has(*address)
        };
        if let Some(found) = [had, in_step].into_iter().flatten().find(is_free) {
            return Ok(found);
        }
        let cursor = self
            .state
            .subnets
            .get(plan.name())
            .and_then(|s| match family {
                Family::V4 => s.cursor_v4.map(IpAddr::V4),
                Family::V6 => s.cursor_v6.map(IpAddr::V6),
            })
            .map(bits);
        for (source, given) in &sources {
            if self.ledger().is_full(plan.name(), family, source) {
                continue;
            }
            let avoid = |number: u128| self.asked_for.has(family.address(number));
            let none = self.ledger().empty_book();
            let book = self.ledger().book(plan.name(), family).unwrap_or(&none);
            match book.find(given, want.node, cursor, &avoid) {
                Some(found) => return Ok(family.address(found)),
                None => self.ledger_mut().mark_full(plan.name(), family, source),
            }
        }
        Err(Box::new(self.exhausted(want, plan, pool)))
    }

    fn exhausted(&self, want: &Want<'_>, plan: &SubnetPlan, pool: &Pool) -> Problem {
        let family = pool.family();
        if want.pools.is_empty() {
            return Problem::refused(
                want.object.clone(),
                "",
                format!(
                    "Subnet {} has no free {family} address left in {}",
                    plan.name(),
                    pool.cidr
                ),
                "widen the subnet or its exclusions, add another to the namespace, or delete pods",
            );
        }
        let names: Vec<&str> = want.pools.iter().map(|p| p.name.as_str()).collect();
        Problem::refused(
            want.object.clone(),
            "",
            format!(
                "IPPool {} has no free {family} address left",
                names.join(", ")
            ),
            "add addresses to the pool, or delete pods",
        )
    }

    fn choose_mac(
        &self,
        want: &Want<'_>,
        plan: &SubnetPlan,
        claim: &Claim,
        before: Option<&Allocation>,
        addresses: &Allocation,
    ) -> Result<MacAddr, Box<Problem>> {
        let router = plan.subnet.router_mac;
        let holder = |mac: MacAddr| self.ledger().mac_holder(plan.name(), mac);
        if let Some(asked) = claim.mac {
            let message = match holder(asked) {
                Some(holder) => format!("{asked} is held by {holder}, which keeps it"),
                None if asked == router => {
                    format!("{asked} is the router's in Subnet {}", plan.name())
                }
                None => return Ok(asked),
            };
            return Err(Box::new(Problem::refused(
                want.object.clone(),
                &claim.mac_field,
                message,
                "choose another MAC, or remove the annotation to be given one",
            )));
        }
        let is_free = |mac: &MacAddr| {
            *mac != router && holder(*mac).is_none() && !self.asked_for.has_mac(*mac)
        };
        let had = before.map(|before| before.mac);
        had.into_iter()
            .chain(suggested_macs(want, addresses))
            .find(is_free)
            .ok_or_else(|| {
                Box::new(Problem::refused(
                    want.object.clone(),
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
/// IPv4 address, which makes it unique without looking; then hashes of the owner's name.
fn suggested_macs(want: &Want<'_>, addresses: &Allocation) -> impl Iterator<Item = MacAddr> {
    let from_v4 = addresses.v4.map(|v4| {
        let [a, b, c, d] = v4.octets();
        MacAddr([0x02, 0x5c, a, b, c, d])
    });
    let owner = match &want.owner {
        super::owner::Owner::Pod(name) => name.to_string(),
        super::owner::Owner::Vip(name) => name.clone(),
    };
    let subnet = addresses.subnet.clone();
    let hashed = (0..64).map(move |attempt: u32| {
        let [a, b, c, d] = crate::hash::bytes(&["mac", &subnet, &owner, &attempt.to_string()]);
        MacAddr([0x02, 0x5d, a, b, c, d])
    });
    from_v4.into_iter().chain(hashed)
}
