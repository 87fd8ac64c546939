//! Addresses for load balancers: ranges of underlay subnets (`sluice.io/lb-pool`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::addr::{Family, bits};
use crate::annotations;
use crate::desired::{DesiredState, SubnetKind};
use crate::ipam::ranges::{RangeSet, parse_range};
use crate::name::{Kind, ObjectRef};
use crate::problem::Problem;
use crate::view::ClusterView;

/// The pools, and what is taken of them.
pub(super) struct Pools<'a> {
    /// By subnet: ranges, IPv4 first.
    ranges: BTreeMap<&'a str, Vec<(Family, u128, u128)>>,
    taken: BTreeSet<IpAddr>,
}

impl<'a> Pools<'a> {
    pub(super) fn new(
        view: &'a ClusterView,
        desired: &DesiredState,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut pools = Pools {
            ranges: BTreeMap::new(),
            taken: BTreeSet::new(),
        };
        for (name, subnet) in &view.subnets {
            let Some(annotation) = annotations::ours(&subnet.meta, "lb-pool") else {
                continue;
            };
            let Some(planned) = desired.subnets.get(name) else {
                continue; // a subnet that is refused is told so
            };
            let mut refuse = |message: String, remedy: &str| {
                let object = ObjectRef::cluster(Kind::Subnet, name);
                let field = annotation.field();
                problems.push(Problem::refused(object, field, message, remedy));
            };
            if let SubnetKind::Overlay { .. } = planned.kind {
                let message = "an overlay has no neighbours that could reach such an address";
                refuse(message.into(), "annotate a Subnet with spec.vlan");
                continue;
            }
            let excluded = |family| {
                let ranges = subnet
                    .exclude_ips
                    .iter()
                    .filter_map(|t| parse_range(t).ok());
                let ranges = ranges.filter(|(of, _, _)| *of == family);
                RangeSet::new(ranges.map(|(_, first, last)| (first, last)).collect())
            };
            for text in annotation.value.split(',').map(str::trim) {
                let (family, first, last) = match parse_range(text) {
                    Ok(range) => range,
                    Err(why) => {
                        refuse(why, "write FIRST..LAST, several with commas between");
                        continue;
                    }
                };
                let inside = [first, last].map(|end| planned.contains(family.address(end)));
                if inside != [true, true] {
                    let message = format!("{text} is not inside the Subnet's cidrBlock");
                    refuse(message, "choose addresses of the Subnet");
                } else if excluded(family).gaps(first, last) > 0 {
                    let message = format!("{text} is not in spec.excludeIps, so pods could get it");
                    refuse(message, "list the same range in spec.excludeIps");
                } else {
                    let ranges = pools.ranges.entry(name).or_default();
                    ranges.push((family, first, last));
                    ranges.sort_unstable();
                }
            }
        }
        if !pools.ranges.is_empty() {
            // A pod may claim an excluded address by annotation.
            let pods = desired.pods.values().flat_map(|pod| pod.addresses());
            let gateways = desired.subnets.values().flat_map(|s| s.prefixes());
            pools.taken.extend(pods);
            pools.taken.extend(gateways.map(|(_, gateway)| gateway));
        }
        pools
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Every range: family, first and last address.
    pub(super) fn all(&self) -> impl Iterator<Item = (Family, u128, u128)> {
        self.ranges.values().flatten().copied()
    }

    /// True if there is a pool of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.ranges.contains_key(name)
    }

    /// The pool that an address is in, of those that may be used, and takes it. None where it is
    /// in none, or taken.
    pub(super) fn take(&mut self, address: IpAddr, only: Option<&str>) -> Option<&'a str> {
        let number = bits(address);
        let family = Family::of(address);
        let pool = self.usable(only).find(|pool| {
            let ranges = self.ranges[*pool].iter();
            ranges
                .filter(|(of, _, _)| *of == family)
                .any(|(_, first, last)| (*first..=*last).contains(&number))
        })?;
        self.taken.insert(address).then_some(pool)
    }

    /// Gives an address of the family: the search begins where the Service's name says, so that
    /// one that comes or goes does not move the others.
    pub(super) fn give(
        &mut self,
        service: &str,
        family: Family,
        only: Option<&str>,
    ) -> Option<(IpAddr, &'a str)> {
        let pools: Vec<_> = self.usable(only).collect();
        for pool in pools {
            let ranges = self.ranges[pool].iter();
            let ranges = ranges.filter(|(of, _, _)| *of == family);
            let sizes: Vec<(u128, u128)> = ranges
                .map(|(_, first, last)| (*first, (last - first).saturating_add(1)))
                .collect();
            let total = sizes
                .iter()
                .fold(0u128, |all, (_, n)| all.saturating_add(*n));
            if total == 0 {
                continue;
            }
            let start = u128::from_be_bytes(crate::hash::bytes(&[service])) % total;
            // One more than is taken is free, if there is one.
            let tries = total.min(self.taken.len() as u128 + 1);
            for step in 0..tries {
                let mut at = (start + step) % total;
                let mut found = None;
                for (first, size) in &sizes {
                    if at < *size {
                        found = Some(family.address(first + at));
                        break;
                    }
                    at -= size;
                }
                if let Some(address) = found.filter(|address| !self.taken.contains(address)) {
                    self.taken.insert(address);
                    return Some((address, pool));
                }
            }
        }
        None
    }

    fn usable<'s>(&'s self, only: Option<&'s str>) -> impl Iterator<Item = &'a str> + 's {
        let names = self.ranges.keys().copied();
        names.filter(move |name| only.is_none_or(|only| only == *name))
    }
}
