//! The machines' own addresses, and who leaves the cluster with them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use net::MacAddr;

use super::Host;
use crate::addr::{bits, is_host};
use crate::annotations;
use crate::desired::{DesiredState, SubnetKind};
use crate::map::Map;
use crate::name::{Kind, ObjectRef};
use crate::nodes::by_age;
use crate::problem::Problem;
use crate::view::{ClusterView, Meta};

/// The well-known label that takes a node out of load balancers' sight.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Every machine, with the addresses it has to itself.
pub(crate) fn hosts(
    view: &ClusterView,
    desired: &DesiredState,
    problems: &mut Vec<Problem>,
) -> Map<String, Host> {
    let networks = node_networks(view, desired, problems);
    let mut taken: BTreeMap<IpAddr, &str> = BTreeMap::new();
    let mut hosts = Map::new();
    for (name, node) in by_age(&view.nodes, |node| node.meta.created) {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for text in &node.internal_ips {
            match text.parse() {
                Ok(address) if is_host(address) && !taken.contains_key(&address) => {
                    taken.insert(address, name);
                    addresses.push(address);
                }
                // That an address is no address, or another node's, is told of tunnel endpoints.
                _ => {}
            }
        }
        let network = networks.iter().find(|network| {
            let subnet = &desired.subnets[**network];
            has_uplink(desired, network, name) && addresses.iter().any(|a| subnet.contains(*a))
        });
        let host = Host {
            mac: host_mac(name, &addresses),
            network: network.map(|network| network.to_string()),
            addresses,
        };
        hosts.insert(name.clone(), host);
    }
    hosts
}

/// The Ethernet address of a node's port `sluice0`: `0a:5c:` and its first IPv4 address, or a hash
/// of its name where it has none. Scripts compute it too (`scripts/host-network.sh`).
pub fn host_mac(name: &str, addresses: &[IpAddr]) -> MacAddr {
    let v4 = addresses.iter().find_map(|address| match address {
        IpAddr::V4(v4) => Some(v4.octets()),
        IpAddr::V6(_) => None,
    });
    let [a, b, c, d] = v4.unwrap_or_else(|| crate::hash::bytes(&[name]));
    // Names may hash alike, and 0a:5d cannot be an IPv4 node's.
    MacAddr([0x0a, 0x5c | u8::from(v4.is_none()), a, b, c, d])
}

/// True if a node has part in the physical network that an underlay subnet is on.
pub(super) fn has_uplink(desired: &DesiredState, subnet: &str, node: &str) -> bool {
    let kind = desired.subnets.get(subnet).map(|subnet| &subnet.kind);
    let Some(SubnetKind::Underlay { provider, .. }) = kind else {
        return false;
    };
    let network = desired.provider_networks.get(provider);
    network.is_some_and(|network| network.uplinks.contains_key(node))
}

/// The subnets that nodes' own addresses are on, and their dataplanes' ports.
fn node_networks<'a>(
    view: &'a ClusterView,
    desired: &DesiredState,
    problems: &mut Vec<Problem>,
) -> Vec<&'a str> {
    let mut networks = Vec::new();
    for (name, subnet) in &view.subnets {
        let Some(is) = flag(&subnet.meta, "node-network", Kind::Subnet, name, problems) else {
            continue;
        };
        let Some(planned) = desired.subnets.get(name).filter(|_| is) else {
            continue; // a subnet that is refused is told so
        };
        match planned.kind {
            SubnetKind::Underlay { .. } => networks.push(name.as_str()),
            SubnetKind::Overlay { .. } => problems.push(Problem::ignored(
                ObjectRef::cluster(Kind::Subnet, name),
                "metadata.annotations[sluice.io/node-network]",
                "nodes' own addresses are on no overlay",
                "annotate a Subnet with spec.vlan, or remove the annotation",
            )),
        }
    }
    networks
}

fn flag(
    meta: &Meta,
    annotation: &str,
    kind: Kind,
    name: &str,
    problems: &mut Vec<Problem>,
) -> Option<bool> {
    let annotation = annotations::ours(meta, annotation)?;
    match annotation.value {
        "true" => Some(true),
        "false" => Some(false),
        other => {
            problems.push(Problem::ignored(
                ObjectRef::cluster(kind, name),
                annotation.field(),
                format!("{other:?} is neither \"true\" nor \"false\""),
                "write one of the two",
            ));
            None
        }
    }
}

/// Subnets whose pods leave the cluster with their node's address.
pub(crate) fn nat_outgoing(
    view: &ClusterView,
    desired: &DesiredState,
    problems: &mut Vec<Problem>,
) -> BTreeSet<String> {
    let mut subnets = BTreeSet::new();
    for (name, _) in view.subnets.iter().filter(|(_, s)| s.nat_outgoing) {
        match desired.subnets.get(name).map(|subnet| &subnet.kind) {
            Some(SubnetKind::Overlay { .. }) => {
                subnets.insert(name.clone());
            }
            // As in Kube-OVN: there the physical gateway routes.
            Some(SubnetKind::Underlay { .. }) => problems.push(Problem::ignored(
                ObjectRef::cluster(Kind::Subnet, name),
                "spec.natOutgoing",
                "pods on a VLAN leave by the physical gateway, with their own addresses",
                "remove it, and translate at the gateway",
            )),
            None => {}
        }
    }
    subnets
}

/// A node that may answer for others' addresses.
#[derive(Debug)]
pub(super) struct Candidate {
    /// A hash of its name.
    hash: u64,
    pub(super) name: String,
}

/// Nodes that are ready, and not excluded from load balancers.
pub(super) fn candidates(view: &ClusterView) -> Vec<Candidate> {
    let usable = view
        .nodes
        .iter()
        .filter(|(_, node)| node.ready.unwrap_or(true) && !node.meta.labels.contains_key(EXCLUDED));
    usable
        .map(|(name, _)| Candidate {
            hash: u64::from_be_bytes(crate::hash::bytes(&[name])),
            name: name.clone(),
        })
        .collect()
}

/// Which of the nodes answers for an address: the highest hash of both, so that a node that comes
/// or goes moves only what is its own (rendezvous hashing).
pub(super) fn elect<'a>(
    address: IpAddr,
    nodes: impl Iterator<Item = &'a Candidate>,
) -> Option<&'a str> {
    let number = bits(address);
    let folded = (number >> 64) as u64 ^ number as u64;
    // The finalizer of SplitMix64: every bit of both numbers decides.
    let mix = |node: u64| {
        let mut x = node ^ folded.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let highest = nodes.max_by_key(|node| (mix(node.hash), &node.name));
    highest.map(|node| node.name.as_str())
}
