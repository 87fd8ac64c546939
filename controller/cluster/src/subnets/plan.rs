//! One subnet's specification judged: ranges, gateways, exclusions, VLAN, tunnel number.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use net::{VlanId, Vni};

use super::{SubnetPlan, give_vni, router_mac};
use crate::acl;
use crate::addr::{Family, is_host};
use crate::annotations;
use crate::desired::{self, Prefix4, Prefix6, SubnetKind};
use crate::ipam::pool::Pool;
use crate::ipam::ranges::parse_range;
use crate::map::Map;
use crate::name::{Kind, ObjectRef};
use crate::nodes::by_age;
use crate::problem::Problem;
use crate::resolve::Settings;
use crate::state::SubnetSpec;
use crate::view::ClusterView;

/// Longest prefixes that leave room for a gateway and a pod.
const LONGEST_V4: u8 = 30;
const LONGEST_V6: u8 = 126;

/// Smallest MTU of a link (RFC 791 3.1; RFC 8200 5).
const MIN_MTU_V4: u32 = 68;
const MIN_MTU_V6: u32 = 1280;

/// Why a specification cannot be done.
pub(super) struct Refusal {
    pub(super) field: String,
    pub(super) message: String,
    pub(super) remedy: String,
}

fn refuse<T>(
    field: impl Into<String>,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Result<T, Refusal> {
    Err(Refusal {
        field: field.into(),
        message: message.into(),
        remedy: remedy.into(),
    })
}

/// What a specification is judged against.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) vlans: BTreeMap<String, Vlan>,
    /// Addresses of nodes, which reach pods of private subnets too.
    pub(super) nodes: Vec<IpNet>,
    pub(super) accepted: BTreeMap<String, SubnetPlan>,
    pub(super) vnis: BTreeMap<u32, String>,
}

/// A Vlan that can be used.
pub(super) struct Vlan {
    provider: String,
    id: Option<VlanId>,
}

/// The Vlans that can be used; the others are reported.
pub(super) fn vlans(
    view: &ClusterView,
    providers: &Map<String, desired::ProviderNetwork>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Vlan> {
    let mut taken: BTreeMap<(&str, i64), &str> = BTreeMap::new();
    let mut usable = BTreeMap::new();
    for (name, vlan) in by_age(&view.vlans, |v| v.meta.created) {
        let object = ObjectRef::cluster(Kind::Vlan, name);
        annotations::report_unread(&object, &vlan.meta, problems);
        let id = match u16::try_from(vlan.id).map(|id| (id, VlanId::new(id))) {
            Ok((0, _)) => None,
            Ok((_, Ok(id))) => Some(id),
            _ => {
                problems.push(Problem::refused(
                    object,
                    "spec.id",
                    format!("VLAN {} is outside 0..=4094", vlan.id),
                    "use 1 to 4094, or 0 for untagged",
                ));
                continue;
            }
        };
        if !providers.contains_key(&vlan.provider) {
            problems.push(Problem::refused(
                object,
                "spec.provider",
                format!("there is no ProviderNetwork {:?}", vlan.provider),
                "create it, or correct the name",
            ));
            continue;
        }
        if let Some(other) = taken.insert((&vlan.provider, vlan.id), name) {
            taken.insert((&vlan.provider, vlan.id), other);
            problems.push(Problem::refused(
                object,
                "spec.id",
                format!(
                    "VLAN {} of ProviderNetwork {} is Vlan {other} already",
                    vlan.id, vlan.provider
                ),
                format!("use Vlan {other} in the Subnet, or another id"),
            ));
            continue;
        }
        let provider = vlan.provider.clone();
        usable.insert(name.clone(), Vlan { provider, id });
    }
    usable
}

/// Refuses what would be another network than the one there is: its pods would be connected with
/// everybody, and its prefixes, which may be somebody else's outside, would be taken for ours.
fn check_network(spec: &SubnetSpec) -> Result<(), Refusal> {
    if !matches!(spec.provider.as_str(), "" | "ovn") {
        return refuse(
            "spec.provider",
            format!(
                "{:?} is about further interfaces of pods, which are not supported",
                spec.provider
            ),
            "attach that network with another plugin, or write ovn for the pods' own interface",
        );
    }
    if !matches!(spec.vpc.as_str(), "" | "ovn-cluster") {
        return refuse(
            "spec.vpc",
            format!("{:?}: there is no other VPC than ovn-cluster", spec.vpc),
            "leave it out, and separate pods with spec.private or NetworkPolicies",
        );
    }
    Ok(())
}

impl Context<'_> {
    /// Judges a specification. What is wrong but harmless goes to `problems`.
    pub(super) fn plan(
        &self,
        name: &str,
        spec: &SubnetSpec,
        known_vni: Option<u32>,
        problems: &mut Vec<Problem>,
    ) -> Result<SubnetPlan, Refusal> {
        check_network(spec)?;
        let mut notes = Vec::new();
        let cidrs = cidrs(&spec.cidr_block, &mut notes)?;
        check_protocol(&spec.protocol, &cidrs)?;
        self.check_overlap(name, &cidrs)?;
        let gateways = gateways(&spec.gateway, &cidrs)?;
        let mut excluded = excluded(&spec.exclude_ips, &cidrs, &mut notes)?;
        let kind = self.kind(name, spec, known_vni)?;
        let underlay = matches!(kind, SubnetKind::Underlay { .. });
        excluded.extend(interconnection(spec, underlay, &mut notes)?);
        let mut told = Vec::new();
        let rules = acl::rules(spec, &cidrs, &self.nodes, &mut told);
        let refusal = |(field, message, remedy)| Refusal {
            field,
            message,
            remedy,
        };
        let rules = rules.map_err(refusal)?;
        notes.extend(told.into_iter().map(refusal));
        let mtu = self.mtu(spec.mtu, &kind, &cidrs)?;
        let pools: Vec<Pool> = cidrs
            .iter()
            .zip(gateways)
            .map(|(&cidr, gateway)| {
                let family = Family::of_net(cidr);
                let excluded = excluded.iter().filter(|(of, _, _)| *of == family);
                Pool::new(cidr, gateway, excluded.map(|&(_, a, b)| (a, b)).collect())
            })
            .collect();
        let mut subnet = desired::Subnet {
            name: name.to_string(),
            v4: None,
            v6: None,
            kind,
            router_mac: router_mac(name),
            mtu,
            rules,
            logical_gateway: underlay && spec.logical_gateway,
            interconnected: underlay && spec.u2o_interconnection,
        };
        for pool in &pools {
            match (pool.cidr, pool.gateway) {
                (IpNet::V4(cidr), IpAddr::V4(gateway)) => {
                    subnet.v4 = Some(Prefix4 { cidr, gateway });
                }
                (IpNet::V6(cidr), IpAddr::V6(gateway)) => {
                    subnet.v6 = Some(Prefix6 { cidr, gateway });
                }
                _ => {}
            }
        }
        problems.extend(notes.into_iter().map(|note: Refusal| {
            let object = ObjectRef::cluster(Kind::Subnet, name);
            Problem::ignored(object, note.field, note.message, note.remedy)
        }));
        Ok(SubnetPlan { subnet, pools })
    }

    fn check_overlap(&self, name: &str, cidrs: &[IpNet]) -> Result<(), Refusal> {
        for other in self.accepted.values().filter(|other| other.name() != name) {
            for pool in &other.pools {
                let clash = cidrs
                    .iter()
                    .find(|c| c.contains(&pool.cidr) || pool.cidr.contains(*c));
                if let Some(cidr) = clash {
                    return refuse(
                        "spec.cidrBlock",
                        format!("{cidr} overlaps {} of Subnet {}", pool.cidr, other.name()),
                        "choose a range that no other Subnet has",
                    );
                }
            }
        }
        Ok(())
    }

    fn kind(
        &self,
        name: &str,
        spec: &SubnetSpec,
        known_vni: Option<u32>,
    ) -> Result<SubnetKind, Refusal> {
        if spec.vlan.is_empty() {
            let vni = self.vni(name, spec.vni.as_deref(), known_vni)?;
            return Ok(SubnetKind::Overlay { vni });
        }
        match self.vlans.get(&spec.vlan) {
            Some(vlan) => Ok(SubnetKind::Underlay {
                provider: vlan.provider.clone(),
                vlan: vlan.id,
            }),
            None => refuse(
                "spec.vlan",
                format!("there is no usable Vlan {:?}", spec.vlan),
                "create the Vlan, mend it if it is refused, or correct the name",
            ),
        }
    }

    fn vni(&self, name: &str, asked: Option<&str>, known: Option<u32>) -> Result<Vni, Refusal> {
        let field = "metadata.annotations[sluice.io/vni]";
        if let Some(text) = asked {
            // 0 is left out: it is what a Geneve or VXLAN port without a network uses; the last is
            // the nodes' own (ADR 29).
            let vni = text.parse().ok().filter(|vni| (1..Vni::MAX).contains(vni));
            let Some(vni) = vni.and_then(|vni| Vni::new(vni).ok()) else {
                return refuse(
                    field,
                    format!("{text:?} is not a VNI"),
                    format!("use a number from 1 to {}", Vni::MAX - 1),
                );
            };
            return match self.vnis.get(&vni.get()) {
                Some(other) if other != name => refuse(
                    field,
                    format!("VNI {vni} is Subnet {other}'s already"),
                    "choose another, or remove the annotation to be given one",
                ),
                _ => Ok(vni),
            };
        }
        let known = known
            .filter(|vni| !self.vnis.contains_key(vni))
            .and_then(|vni| Vni::new(vni).ok());
        match known.or_else(|| give_vni(name, &self.vnis)) {
            Some(vni) => Ok(vni),
            None => refuse(field, "no VNI is free", "remove subnets that are not used"),
        }
    }

    fn mtu(&self, asked: Option<u32>, kind: &SubnetKind, cidrs: &[IpNet]) -> Result<u16, Refusal> {
        // Kube-OVN's way to say "the default" is 0.
        let Some(asked) = asked.filter(|mtu| *mtu != 0) else {
            return Ok(match kind {
                SubnetKind::Overlay { .. } => self.settings.overlay_mtu,
                SubnetKind::Underlay { .. } => self.settings.underlay_mtu,
            });
        };
        let has_v6 = cidrs.iter().any(|c| Family::of_net(*c) == Family::V6);
        let least = if has_v6 { MIN_MTU_V6 } else { MIN_MTU_V4 };
        match u16::try_from(asked) {
            Ok(mtu) if asked >= least => Ok(mtu),
            _ => refuse(
                "spec.mtu",
                format!("{asked} is outside {least}..=65535"),
                "correct it, or remove it for the default",
            ),
        }
    }
}

/// The families that `spec.protocol` says, if it says any, are those of the prefixes.
fn check_protocol(protocol: &str, cidrs: &[IpNet]) -> Result<(), Refusal> {
    let has = |family| cidrs.iter().any(|c| Family::of_net(*c) == family);
    let are = match (has(Family::V4), has(Family::V6)) {
        (true, true) => "Dual",
        (true, false) => "IPv4",
        _ => "IPv6",
    };
    if protocol.is_empty() || protocol == are {
        return Ok(());
    }
    refuse(
        "spec.protocol",
        format!("{protocol:?} contradicts spec.cidrBlock, which is {are}"),
        "correct one of the two, or leave this one out",
    )
}

/// What of an underlay's connection with overlays needs no doing, and the address that Kube-OVN
/// would use for it, which is kept free.
fn interconnection(
    spec: &SubnetSpec,
    underlay: bool,
    notes: &mut Vec<Refusal>,
) -> Result<Vec<(Family, u128, u128)>, Refusal> {
    for (field, asked) in [
        ("spec.logicalGateway", spec.logical_gateway),
        ("spec.u2oInterconnection", spec.u2o_interconnection),
    ] {
        if asked && !underlay {
            notes.push(Refusal {
                field: field.into(),
                message: "an overlay has it anyway; it is for subnets with a vlan".into(),
                remedy: "remove it".into(),
            });
        }
    }
    let mut kept = Vec::new();
    let addresses = spec.u2o_interconnection_ip.split(',').map(str::trim);
    for text in addresses.filter(|text| !text.is_empty()) {
        match parse_range(text) {
            Ok(range) => kept.push(range),
            Err(why) => {
                return refuse("spec.u2oInterconnectionIP", why, "correct it, or remove it");
            }
        }
    }
    Ok(kept)
}

fn cidrs(text: &str, notes: &mut Vec<Refusal>) -> Result<Vec<IpNet>, Refusal> {
    let field = "spec.cidrBlock";
    let remedy = "write it like 10.16.0.0/16, fd00:10:16::/64 or both with a comma between";
    let mut cidrs: Vec<IpNet> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let Ok(cidr) = part.parse::<IpNet>() else {
            return refuse(field, format!("{part:?} is not a prefix"), remedy);
        };
        let whole = cidr.trunc();
        if whole != cidr {
            notes.push(Refusal {
                field: field.into(),
                message: format!("{cidr} has bits beyond its length; taken as {whole}"),
                remedy: format!("write {whole}"),
            });
        }
        let longest = match whole {
            IpNet::V4(_) => LONGEST_V4,
            IpNet::V6(_) => LONGEST_V6,
        };
        if whole.prefix_len() > longest {
            return refuse(
                field,
                format!("{whole} has no room for a gateway and a pod"),
                format!("use a prefix of length {longest} or less"),
            );
        }
        let (first, last) = crate::ipam::pool::span(whole);
        let family = Family::of_net(whole);
        if whole.prefix_len() == 0
            || !is_host(family.address(first))
            || !is_host(family.address(last))
        {
            return refuse(
                field,
                format!(
                    "{whole} has addresses that no pod can have (loopback, link-local, multicast or unspecified)"
                ),
                remedy,
            );
        }
        if cidrs.iter().any(|c| Family::of_net(*c) == family) {
            return refuse(field, format!("there are two {family} prefixes"), remedy);
        }
        cidrs.push(whole);
    }
    cidrs.sort_by_key(|c| Family::of_net(*c));
    Ok(cidrs)
}

/// One gateway for each prefix: as written, or else the first address.
fn gateways(text: &str, cidrs: &[IpNet]) -> Result<Vec<IpAddr>, Refusal> {
    let field = "spec.gateway";
    let remedy = "name one address of each range, or leave it out for the first one";
    let mut given: BTreeMap<Family, IpAddr> = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let Ok(address) = part.parse::<IpAddr>() else {
            return refuse(field, format!("{part:?} is not an address"), remedy);
        };
        let family = Family::of(address);
        if !cidrs.iter().any(|c| c.contains(&address)) {
            return refuse(
                field,
                format!("{address} is outside spec.cidrBlock"),
                remedy,
            );
        }
        if given.insert(family, address).is_some() {
            return refuse(field, format!("there are two {family} gateways"), remedy);
        }
    }
    cidrs
        .iter()
        .map(|&cidr| {
            let family = Family::of_net(cidr);
            let (first, last) = crate::ipam::pool::span(cidr);
            let gateway = given
                .get(&family)
                .copied()
                .unwrap_or_else(|| family.address(first));
            if (first..=last).contains(&crate::addr::bits(gateway)) {
                Ok(gateway)
            } else {
                refuse(
                    field,
                    format!("{gateway} is the network or broadcast address of {cidr}"),
                    remedy,
                )
            }
        })
        .collect()
}

/// The exclusions. An entry that cannot be read refuses the whole: an address that a machine of
/// the physical network has must not be given away because of a typing error.
fn excluded(
    entries: &[String],
    cidrs: &[IpNet],
    notes: &mut Vec<Refusal>,
) -> Result<Vec<(Family, u128, u128)>, Refusal> {
    let mut ranges = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let field = format!("spec.excludeIps[{index}]");
        let remedy = "write it like 10.16.0.5 or 10.16.0.5..10.16.0.9";
        match parse_range(entry) {
            Ok((family, first, last)) => {
                let inside = cidrs.iter().any(|cidr| {
                    cidr.contains(&family.address(first)) && cidr.contains(&family.address(last))
                });
                if !inside {
                    notes.push(Refusal {
                        field,
                        message: format!("{entry} reaches outside spec.cidrBlock"),
                        remedy: "exclude addresses of this subnet only".into(),
                    });
                }
                ranges.push((family, first, last));
            }
            Err(why) => return refuse(field, why, remedy),
        }
    }
    Ok(ranges)
}
