//! Subnets: which are in force, with what ranges, and which number each has in tunnels.
//!
//! A subnet that is in force keeps its place: a newcomer that contradicts it is refused, and a
//! change to it that cannot be done leaves its last good version in force.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use net::{MacAddr, Vni};

use crate::addr::Family;
use crate::annotations;
use crate::desired::{self, SubnetKind};
use crate::ipam::pool::Pool;
use crate::map::Map;
use crate::name::{Kind, ObjectRef};
use crate::nodes::by_age;
use crate::problem::Problem;
use crate::resolve::Settings;
use crate::state::{Seen, State, SubnetSpec, SubnetState};
use crate::view::{ClusterView, Subnet};

use plan::{Context, Refusal};

/// A subnet in force.
#[derive(Clone, Debug)]
pub(crate) struct SubnetPlan {
    pub(crate) subnet: desired::Subnet,
    /// One pool for each range, IPv4 first.
    pub(crate) pools: Vec<Pool>,
}

impl SubnetPlan {
    pub(crate) fn name(&self) -> &str {
        &self.subnet.name
    }

    pub(crate) fn pool(&self, family: Family) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.family() == family)
    }

    /// The Ethernet segment: subnets on one VLAN share it, and with it the need for distinct MACs.
    pub(crate) fn segment(&self) -> String {
        match &self.subnet.kind {
            SubnetKind::Overlay { .. } => format!("subnet {}", self.subnet.name),
            SubnetKind::Underlay { provider, vlan } => {
                format!("vlan {provider} {}", vlan.map_or(0, |id| id.get()))
            }
        }
    }
}

/// The subnets in force, and the state brought up to date with them.
pub(crate) fn subnets(
    view: &ClusterView,
    settings: &Settings,
    providers: &Map<String, desired::ProviderNetwork>,
    state: &mut State,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, SubnetPlan> {
    forget_deleted(view, state);
    let vlans = plan::vlans(view, providers, problems);
    let mut context = Context {
        settings,
        vlans,
        nodes: node_addresses(view),
        accepted: BTreeMap::new(),
        vnis: BTreeMap::new(),
    };
    for (name, subnet) in in_order_of_claim(view, state) {
        let object = ObjectRef::cluster(Kind::Subnet, name);
        annotations::report_unread(&object, &subnet.meta, problems);
        let spec = spec_of(subnet);
        let known = state.subnets.get(name).cloned();
        let known_vni = known.as_ref().and_then(|k| k.vni);
        match context.plan(name, &spec, known_vni, problems) {
            Ok(planned) => accept(&mut context, state, planned, spec),
            Err(refusal) => {
                // The last good version stays, if there is one and it still can.
                let earlier = known.filter(|k| k.spec != spec).and_then(|known| {
                    let plan = context
                        .plan(name, &known.spec, known_vni, &mut Vec::new())
                        .ok()?;
                    Some((plan, known.spec))
                });
                problems.push(told(object, refusal, earlier.is_some()));
                if let Some((planned, spec)) = earlier {
                    accept(&mut context, state, planned, spec);
                }
            }
        }
    }
    context.accepted
}

fn accept(context: &mut Context<'_>, state: &mut State, planned: SubnetPlan, spec: SubnetSpec) {
    let name = planned.name().to_string();
    let vni = match planned.subnet.kind {
        SubnetKind::Overlay { vni } => Some(vni.get()),
        SubnetKind::Underlay { .. } => None,
    };
    if let Some(vni) = vni {
        context.vnis.insert(vni, name.clone());
    }
    let known = state.subnets.get(&name);
    let next = SubnetState {
        spec,
        vni,
        cursor_v4: known.and_then(|known| known.cursor_v4),
        cursor_v6: known.and_then(|known| known.cursor_v6),
        seen: Seen(true),
    };
    state.subnets.insert(name.clone(), next);
    context.accepted.insert(name, planned);
}

fn told(object: ObjectRef, refusal: Refusal, earlier_stays: bool) -> Problem {
    let consequence = if earlier_stays {
        "the previous version stays in force"
    } else {
        "the subnet is not in force"
    };
    Problem::refused(
        object,
        refusal.field,
        format!("{}; {consequence}", refusal.message),
        refusal.remedy,
    )
}

fn node_addresses(view: &ClusterView) -> Vec<IpNet> {
    let addresses = view.nodes.values().flat_map(|node| &node.internal_ips);
    let addresses = addresses.filter_map(|text| text.parse::<IpAddr>().ok());
    addresses.map(IpNet::from).collect()
}

/// Forgets subnets whose object is gone.
fn forget_deleted(view: &ClusterView, state: &mut State) {
    for name in view.subnets.keys() {
        if let Some(known) = state.subnets.get_mut(name) {
            known.seen.0 = true;
        }
    }
    let gone = |known: &SubnetState| view.complete || known.seen.0;
    state
        .subnets
        .retain(|name, known| view.subnets.contains_key(name) || !gone(known));
}

/// Those in force unchanged, then those in force with a change, then newcomers by age and name.
fn in_order_of_claim<'a>(view: &'a ClusterView, state: &State) -> Vec<(&'a str, &'a Subnet)> {
    let rank = |name: &str, subnet: &Subnet| match state.subnets.get(name) {
        Some(known) if known.spec == spec_of(subnet) => 0,
        Some(_) => 1,
        None => 2,
    };
    let mut order: Vec<_> = by_age(&view.subnets, |s| s.meta.created)
        .into_iter()
        .map(|(name, subnet)| (name.as_str(), subnet))
        .collect();
    order.sort_by_cached_key(|(name, subnet)| rank(name, subnet));
    order
}

fn spec_of(subnet: &Subnet) -> SubnetSpec {
    SubnetSpec {
        cidr_block: subnet.cidr_block.clone(),
        gateway: subnet.gateway.clone(),
        exclude_ips: subnet.exclude_ips.clone(),
        vlan: subnet.vlan.clone(),
        provider: subnet.provider.clone(),
        vpc: subnet.vpc.clone(),
        mtu: subnet.mtu,
        vni: annotations::ours(&subnet.meta, "vni").map(|a| a.value.to_string()),
        protocol: subnet.protocol.clone(),
        private: subnet.private,
        allow_subnets: subnet.allow_subnets.clone(),
        acls: subnet.acls.clone(),
        allow_ew_traffic: subnet.allow_ew_traffic,
        logical_gateway: subnet.logical_gateway,
        u2o_interconnection: subnet.u2o_interconnection,
        u2o_interconnection_ip: subnet.u2o_interconnection_ip.clone(),
    }
}

/// The router's address in a subnet: `02:5e` (locally administered, IEEE 802-2014 8.4) and a hash
/// of the subnet's name.
fn router_mac(subnet: &str) -> MacAddr {
    let [a, b, c, d] = crate::hash::bytes(&["router", subnet]);
    MacAddr([0x02, 0x5e, a, b, c, d])
}

/// Where a VNI is looked for when none is asked for: high enough to stay out of the way of those
/// that people choose.
const VNI_FIRST: u32 = 0x10_0000;

/// A number that the name suggests, or the next one that is free.
fn give_vni(name: &str, taken: &BTreeMap<u32, String>) -> Option<Vni> {
    let count = Vni::MAX - VNI_FIRST + 1;
    let start = u32::from_be_bytes(crate::hash::bytes(&["vni", name])) % count;
    // Among as many numbers as there are subnets, plus one, one is free.
    (0..=taken.len() as u32)
        .map(|step| VNI_FIRST + (start + step) % count)
        .find(|vni| !taken.contains_key(vni))
        .and_then(|vni| Vni::new(vni).ok())
}

/// The subnets of a namespace, in the order in which they are tried.
pub(crate) fn bound_to<'a>(
    view: &'a ClusterView,
    namespace: &str,
    default: Option<&'a str>,
) -> Vec<&'a str> {
    let mut labels = view
        .namespaces
        .get(namespace)
        .map(|n| n.meta.labels.clone())
        .unwrap_or_default();
    // The API server sets this label on every namespace; manifests in a folder need not have it.
    labels.insert("kubernetes.io/metadata.name".into(), namespace.into());
    let bound: Vec<&str> = view
        .subnets
        .iter()
        .filter(|(_, subnet)| {
            let by_selector = |s: &crate::view::LabelSelector| s.matches(&labels);
            subnet.namespaces.contains(namespace)
                || subnet.namespace_selectors.iter().any(by_selector)
        })
        .map(|(name, _)| name.as_str())
        .collect();
    if bound.is_empty() {
        default.into_iter().collect()
    } else {
        bound
    }
}

/// The subnet for namespaces that no other names: the oldest that says so.
pub(crate) fn default_subnet<'a>(
    view: &'a ClusterView,
    in_force: &BTreeMap<String, SubnetPlan>,
    problems: &mut Vec<Problem>,
) -> Option<&'a str> {
    let candidates: Vec<&str> = by_age(&view.subnets, |s| s.meta.created)
        .into_iter()
        .filter(|(_, subnet)| subnet.default)
        .map(|(name, _)| name.as_str())
        .collect();
    let chosen = candidates
        .iter()
        .find(|name| in_force.contains_key(**name))
        .or(candidates.first())
        .copied()?;
    let others: BTreeSet<&str> = candidates.into_iter().filter(|n| *n != chosen).collect();
    for other in others {
        problems.push(Problem::ignored(
            ObjectRef::cluster(Kind::Subnet, other),
            "spec.default",
            format!("Subnet {chosen} is the default already, and stays it"),
            "set spec.default on one subnet only",
        ));
    }
    Some(chosen)
}
