//! What every node sees alike: numbers of nodes and networks, which pods a node has, and pods by
//! blocks. Built once, kept up to date pod by pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cluster::NamespacedName;
use cluster::backends;
use cluster::desired::{Balanced, DesiredState, Frontends, Pod, Service, Subnet, SubnetKind};
use cluster::edge::Announced;
use net::Vni;

use crate::blocks::{BlockKey, Blocks};
use crate::ids;

/// VNIs from here to the last are for pods of underlay subnets, when a Service's connection brings
/// overlay traffic to them; overlay subnets get theirs from below.
pub const TRANSIT_VNI_FIRST: u32 = 0x00f0_0000;

/// The network between the nodes themselves.
pub const HOST_VNI: u32 = Vni::MAX;

/// Networks that are VLANs have this bit; the low 12 bits are the tag, 0 for untagged.
pub const SEGMENT: u32 = 0x8000_0000;

/// The numbers of a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubnetNumbers {
    /// The network its pods send in.
    pub net: u32,
    /// The network, and VNI, in which routed traffic comes to its pods from other nodes: the same
    /// for an overlay, one of its own for an underlay.
    pub vni: Vni,
    /// True for an underlay.
    pub underlay: bool,
}

/// What every node sees alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Numbers of nodes, by name.
    pub nodes: BTreeMap<String, u32>,
    /// Numbers of subnets, by name.
    pub subnets: BTreeMap<String, SubnetNumbers>,
    /// The pods of each node, in order.
    pub pods_of: BTreeMap<String, BTreeSet<NamespacedName>>,
    /// Pods by blocks.
    pub blocks: Blocks,
    /// Services whose endpoints depend on the client's node or cell.
    pub by_place: BTreeSet<NamespacedName>,
    /// Load balancers' addresses.
    pub balanced: Balancers,
}

/// Load balancers' addresses on physical networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balancers {
    /// By the node that answers for them: address, subnet, Service.
    pub of: BTreeMap<String, BTreeSet<(IpAddr, String, NamespacedName)>>,
    /// Subnets that have any, and how many.
    pub subnets: BTreeMap<String, usize>,
}

impl Balancers {
    /// Of a whole state.
    pub fn new(state: &DesiredState) -> Self {
        let mut all = Balancers::default();
        for (name, frontends) in &state.frontends {
            all.enter(name, frontends);
        }
        all
    }

    /// A Service has others now; true if subnets have any that had none, or the other way round.
    pub fn follow(
        &mut self,
        name: &NamespacedName,
        before: Option<&Frontends>,
        after: Option<&Frontends>,
    ) -> bool {
        let both = before.into_iter().chain(after);
        let subnets = both.flat_map(announced).map(|(_, a)| &a.subnet);
        let had: Vec<_> = subnets
            .map(|subnet| (subnet, self.subnets.contains_key(subnet)))
            .collect();
        if let Some(frontends) = before {
            self.remove(name, frontends);
        }
        if let Some(frontends) = after {
            self.enter(name, frontends);
        }
        let mut had = had.into_iter();
        had.any(|(subnet, had)| self.subnets.contains_key(subnet) != had)
    }

    fn enter(&mut self, name: &NamespacedName, frontends: &Frontends) {
        for (balanced, announced) in announced(frontends) {
            let subnet = announced.subnet.clone();
            *self.subnets.entry(subnet.clone()).or_default() += 1;
            if let Some(node) = &announced.node {
                let of = self.of.entry(node.clone()).or_default();
                of.insert((balanced.address, subnet, name.clone()));
            }
        }
    }

    fn remove(&mut self, name: &NamespacedName, frontends: &Frontends) {
        for (balanced, announced) in announced(frontends) {
            let subnet = announced.subnet.clone();
            if let Some(count) = self.subnets.get_mut(&subnet) {
                *count -= 1;
                if *count == 0 {
                    self.subnets.remove(&subnet);
                }
            }
            if let Some((node, of)) = announced
                .node
                .as_ref()
                .and_then(|node| Some((node, self.of.get_mut(node)?)))
            {
                of.remove(&(balanced.address, subnet, name.clone()));
                if of.is_empty() {
                    self.of.remove(node);
                }
            }
        }
    }
}

fn announced(frontends: &Frontends) -> impl Iterator<Item = (&Balanced, &Announced)> {
    let balanced = frontends.balanced.iter();
    balanced.filter_map(|b| Some((b, b.announced.as_ref()?)))
}

impl Network {
    /// Of a whole state.
    pub fn new(state: &DesiredState) -> Self {
        let names = state.nodes.keys().map(String::as_str);
        let nodes = ids::number(names, 1, u32::MAX, BTreeSet::new());
        let mut network = Network {
            nodes: nodes.iter().map(|(n, id)| (n.to_string(), *id)).collect(),
            subnets: subnets(state),
            balanced: Balancers::new(state),
            ..Network::default()
        };
        for pod in state.pods.values() {
            network.enter(state, pod);
        }
        for service in state.services.values() {
            network.enter_service(&service.name, Some(service));
        }
        network
    }

    /// Enters a Service as it is now; true if each node's own flows are for it, or were.
    pub fn enter_service(&mut self, name: &NamespacedName, service: Option<&Service>) -> bool {
        let was = self.by_place.remove(name);
        let is = service.is_some_and(backends::depends_on_place);
        if is {
            self.by_place.insert(name.clone());
        }
        was || is
    }

    /// Enters a pod; gives the blocks that it is in.
    pub fn enter(&mut self, state: &DesiredState, pod: &Pod) -> Vec<BlockKey> {
        let pods = self.pods_of.entry(pod.node.clone()).or_default();
        pods.insert(pod.name.clone());
        let node = self.nodes.get(&pod.node).copied().unwrap_or(0);
        match state.subnets.get(&pod.subnet) {
            Some(subnet) => self.blocks.enter(pod, subnet, node),
            None => Vec::new(), // the state promises that the subnet is there
        }
    }

    /// Takes a pod out as it was entered; gives the blocks that it was in.
    pub fn remove(&mut self, state: &DesiredState, pod: &Pod) -> Vec<BlockKey> {
        if let Some(pods) = self.pods_of.get_mut(&pod.node) {
            pods.remove(&pod.name);
            if pods.is_empty() {
                self.pods_of.remove(&pod.node);
            }
        }
        match state.subnets.get(&pod.subnet) {
            Some(subnet) => self.blocks.remove(pod, subnet),
            None => Vec::new(),
        }
    }
}

fn subnets(state: &DesiredState) -> BTreeMap<String, SubnetNumbers> {
    let underlay = |s: &&Subnet| matches!(s.kind, SubnetKind::Underlay { .. });
    let names = state.subnets.values().filter(underlay);
    let taken = state.subnets.values().filter_map(|s| match s.kind {
        SubnetKind::Overlay { vni } => Some(vni.get()),
        SubnetKind::Underlay { .. } => None,
    });
    let transit = ids::number(
        names.map(|s| s.name.as_str()),
        TRANSIT_VNI_FIRST,
        HOST_VNI - 1,
        taken.collect(),
    );
    let providers = state.subnets.values().filter_map(|s| match &s.kind {
        SubnetKind::Underlay { provider, .. } => Some(provider.as_str()),
        SubnetKind::Overlay { .. } => None,
    });
    // 19 bits between the marking bit and the tag.
    let providers = ids::number(providers, 0, (1 << 19) - 1, BTreeSet::new());
    let mut subnets = BTreeMap::new();
    for subnet in state.subnets.values() {
        let numbers = match &subnet.kind {
            SubnetKind::Overlay { vni } => SubnetNumbers {
                net: vni.get(),
                vni: *vni,
                underlay: false,
            },
            SubnetKind::Underlay { provider, vlan } => {
                let tag = vlan.map_or(0, |id| u32::from(id.get()));
                let provider = providers.get(provider.as_str()).copied().unwrap_or(0);
                let transit = transit.get(subnet.name.as_str()).copied();
                let vni = transit.and_then(|number| Vni::new(number).ok());
                let Some(vni) = vni else { continue }; // more than 2^20 underlay subnets
                SubnetNumbers {
                    net: SEGMENT | provider << 12 | tag,
                    vni,
                    underlay: true,
                }
            }
        };
        subnets.insert(subnet.name.clone(), numbers);
    }
    subnets
}
