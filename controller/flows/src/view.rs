//! The desired state as one node sees it: which pods are here, which elsewhere, and which networks
//! this node takes part in.

use std::collections::{BTreeMap, BTreeSet};

use cluster::desired::{DesiredState, Host, Node, Pod, Subnet, SubnetKind};
use cluster::{Kind, ObjectRef, Problem};
use net::{PortNo, VlanId, Vni};

use crate::flow::{Announcement, FlowSet, PodPort};
use crate::ids;
use crate::network::Network;

/// The ports a switch has: name to OpenFlow number.
pub type Ports = BTreeMap<String, PortNo>;

/// Names of tunnel ports begin so.
pub const TUNNEL_PREFIX: &str = "geneve";

/// The name of the port by which the node's own kernel is reached.
pub const HOST_PORT: &str = "sluice0";

pub use crate::network::{SEGMENT, TRANSIT_VNI_FIRST};

/// Cells of pods that one node can tell apart (`fields::CELL`).
const MOST_CELLS: u32 = 255;

/// A subnet as this node sees it.
#[derive(Debug)]
pub struct SubnetView<'a> {
    /// The subnet.
    pub subnet: &'a Subnet,
    /// The network its pods send in.
    pub net: u32,
    /// The network, and VNI, in which routed traffic comes to its pods from other nodes: the same
    /// for an overlay, one of its own for an underlay.
    pub vni: Vni,
    /// True for an underlay.
    pub underlay: bool,
    /// Some of its pods have a port here.
    pub here: bool,
}

/// A VLAN of a provider network on this node.
#[derive(Debug)]
pub struct Segment<'a> {
    /// The network number.
    pub net: u32,
    /// The provider network's name.
    pub provider: &'a str,
    /// The tag.
    pub vlan: Option<VlanId>,
    /// The port that leads to it; none if this node has no part in it, or lacks the port.
    pub uplink: Option<PortNo>,
    /// Its subnets.
    pub subnets: Vec<&'a str>,
    /// Ports of pods of this node in it, and of the node itself.
    pub pods: Vec<PortNo>,
}

/// Where a pod of this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this port.
    Local(PortNo),
    /// Its port has not come yet.
    Awaited,
}

/// A pod of this node.
#[derive(Debug)]
pub struct PodView<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its subnet, an index for [`View::subnet`].
    pub subnet: &'a str,
    /// Where it is.
    pub place: Place,
}

impl PodView<'_> {
    /// The pod as an object.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::namespaced(Kind::Pod, &self.pod.name)
    }
}

/// The desired state as one node sees it.
#[derive(Debug)]
pub struct View<'a> {
    /// The whole state.
    pub state: &'a DesiredState,
    /// What every node sees alike.
    pub network: &'a Network,
    /// This node.
    pub node: &'a Node,
    /// The tunnel port, if there is one.
    pub tunnel: Option<PortNo>,
    /// Every subnet, by name.
    pub subnets: BTreeMap<&'a str, SubnetView<'a>>,
    /// VLANs that have a pod here, by network number.
    pub segments: BTreeMap<u32, Segment<'a>>,
    /// The node's own part, if it is known.
    pub host: Option<&'a Host>,
    /// The node's port [`HOST_PORT`], if its dataplane has one.
    pub host_port: Option<PortNo>,
    /// The physical network that the node's own addresses are on, by an uplink of its dataplane.
    pub host_segment: Option<u32>,
    /// Every pod of this node. Those of other nodes are reached by blocks ([`crate::blocks`]).
    pub pods: Vec<PodView<'a>>,
    /// Cells of pods here that are not the node's, with the value of `fields::CELL`.
    pub cells: BTreeMap<&'a str, u32>,
}

impl<'a> View<'a> {
    /// None for a node that the state does not know. Ports to open and problems go to `set`.
    pub fn new(
        state: &'a DesiredState,
        network: &'a Network,
        node: &str,
        ports: &Ports,
        set: &mut FlowSet,
    ) -> Option<Self> {
        let node = state.nodes.get(node)?;
        let mut view = View {
            state,
            network,
            node,
            tunnel: tunnel_port(ports),
            subnets: subnets(state, network),
            segments: BTreeMap::new(),
            host: state.hosts.get(&node.name),
            host_port: ports.get(HOST_PORT).copied(),
            host_segment: None,
            pods: Vec::new(),
            cells: BTreeMap::new(),
        };
        view.join_networks(ports);
        let here = network.pods_of.get(&node.name).into_iter().flatten();
        for pod in here.filter_map(|name| state.pods.get(name)) {
            let Some((name, subnet)) = view.subnets.get_key_value(pod.subnet.as_str()) else {
                continue; // the state promises that the subnet is there
            };
            let name: &'a str = name;
            let net = subnet.net;
            let place = match ports.get(&pod.port) {
                Some(port) => Place::Local(*port),
                None => Place::Awaited,
            };
            if let Place::Local(port) = place {
                view.subnets.entry(name).and_modify(|s| s.here = true);
                view.join_segment(name, net, Some(port), ports);
                let object = ObjectRef::namespaced(Kind::Pod, &pod.name);
                let label = object.to_string();
                let announce = view.segments.get(&net).and_then(|segment| {
                    Some(Announcement {
                        object,
                        uplink: segment.uplink?,
                        vlan: segment.vlan,
                        mac: pod.mac,
                        addresses: pod.addresses().collect(),
                    })
                });
                set.pod_ports.insert(port, PodPort { label, announce });
            }
            view.pods.push(PodView {
                pod,
                subnet: name,
                place,
            });
        }
        let local = view
            .local_pods()
            .filter_map(|(pod, _)| pod.pod.cell.as_deref());
        let own: BTreeSet<&'a str> = local
            .filter(|cell| view.node.cell.as_deref() != Some(*cell))
            .collect();
        view.cells = ids::number(own.iter().copied(), 1, MOST_CELLS, BTreeSet::new());
        if own.len() > view.cells.len() {
            set.problems.push(Problem::ignored(
                ObjectRef::cluster(Kind::Node, &view.node.name),
                "",
                format!("pods of more than {MOST_CELLS} cells run here; those of some are treated as of the node's cell"),
                "spread them over more nodes",
            ));
        }
        view.report(set);
        Some(view)
    }

    /// The subnet of a pod.
    pub fn subnet(&self, pod: &PodView<'_>) -> &SubnetView<'a> {
        &self.subnets[pod.subnet]
    }

    /// Pods that have their port here.
    pub fn local_pods(&self) -> impl Iterator<Item = (&PodView<'a>, PortNo)> {
        self.pods.iter().filter_map(|pod| match pod.place {
            Place::Local(port) => Some((pod, port)),
            Place::Awaited => None,
        })
    }

    /// Overlay subnets that have a pod here.
    pub fn overlays_here(&self) -> impl Iterator<Item = &SubnetView<'a>> {
        self.subnets.values().filter(|s| s.here && !s.underlay)
    }

    /// Underlay subnets that have a pod here, and no gateway on their VLAN.
    pub fn switched_gateways_here(&self) -> impl Iterator<Item = &SubnetView<'a>> {
        self.underlays_here().filter(|s| s.subnet.logical_gateway)
    }

    /// Underlay subnets that have a pod here.
    pub fn underlays_here(&self) -> impl Iterator<Item = &SubnetView<'a>> {
        self.subnets.values().filter(|s| s.here && s.underlay)
    }

    /// Physical networks that the node itself is on, pods or not.
    fn join_networks(&mut self, ports: &Ports) {
        let own = self.host.and_then(|host| host.network.as_deref());
        let balanced = self.network.balanced.subnets.keys().map(String::as_str);
        for name in own
            .into_iter()
            .chain(balanced.filter(|name| Some(*name) != own))
        {
            let Some((name, subnet)) = self.subnets.get_key_value(name) else {
                continue;
            };
            let (name, net): (&'a str, u32) = (name, subnet.net);
            let SubnetKind::Underlay { provider, .. } = &subnet.subnet.kind else {
                continue;
            };
            let network = self.state.provider_networks.get(provider);
            let uplink = network.and_then(|network| network.uplinks.get(&self.node.name));
            if !uplink.is_some_and(|uplink| ports.contains_key(uplink)) {
                continue;
            }
            let is_own = own == Some(name);
            self.join_segment(name, net, self.host_port.filter(|_| is_own), ports);
            if is_own {
                self.host_segment = Some(net);
            }
        }
    }

    fn join_segment(&mut self, subnet: &'a str, net: u32, port: Option<PortNo>, ports: &Ports) {
        let kind = &self.subnets[subnet].subnet.kind;
        let SubnetKind::Underlay { provider, vlan } = kind else {
            return;
        };
        let uplinks = self.state.provider_networks.get(provider);
        let uplink = uplinks.and_then(|p| p.uplinks.get(&self.node.name));
        let segment = self.segments.entry(net).or_insert_with(|| Segment {
            net,
            provider,
            vlan: *vlan,
            uplink: uplink.and_then(|name| ports.get(name).copied()),
            subnets: Vec::new(),
            pods: Vec::new(),
        });
        segment.pods.extend(port);
        if !segment.subnets.contains(&subnet) {
            segment.subnets.push(subnet);
        }
    }

    fn report(&self, set: &mut FlowSet) {
        let node = || ObjectRef::cluster(Kind::Node, &self.node.name);
        let overlay = self.overlays_here().next();
        if let (Some(subnet), None) = (overlay, self.tunnel) {
            set.problems.push(Problem::refused(
                node(),
                "",
                format!(
                    "its dataplane has no tunnel port, so pods of Subnet {} here reach none on \
                     other nodes",
                    subnet.subnet.name
                ),
                "start sluice-dataplane with --port geneve0,ofport=2,tunnel=geneve",
            ));
        }
        for segment in self.segments.values().filter(|s| s.uplink.is_none()) {
            let provider = ObjectRef::cluster(Kind::ProviderNetwork, segment.provider);
            let provider_network = self.state.provider_networks.get(segment.provider);
            let problem = match provider_network.and_then(|p| p.uplinks.get(&self.node.name)) {
                Some(uplink) => Problem::refused(
                    provider,
                    "spec.defaultInterface",
                    format!(
                        "the dataplane of Node {} has no port {uplink}; pods of {} there reach \
                         nothing beyond the node",
                        self.node.name,
                        segment.subnets.join(", ")
                    ),
                    format!(
                        "give it --port {uplink},ofport=1,dev=..., or name the port it has in \
                         spec.customInterfaces"
                    ),
                ),
                None => Problem::refused(
                    provider,
                    "spec",
                    format!(
                        "Node {} has no part in it, but pods of {} run there",
                        self.node.name,
                        segment.subnets.join(", ")
                    ),
                    "take the node out of excludeNodes, or schedule the pods elsewhere",
                ),
            };
            set.problems.push(problem);
        }
    }
}

fn tunnel_port(ports: &Ports) -> Option<PortNo> {
    let mut tunnels = ports
        .iter()
        .filter(|(name, _)| name.starts_with(TUNNEL_PREFIX));
    tunnels.next().map(|(_, port)| *port)
}

fn subnets<'a>(state: &'a DesiredState, network: &Network) -> BTreeMap<&'a str, SubnetView<'a>> {
    let view = |subnet: &'a Subnet| {
        let numbers = network.subnets.get(&subnet.name)?;
        let view = SubnetView {
            subnet,
            net: numbers.net,
            vni: numbers.vni,
            underlay: numbers.underlay,
            here: false,
        };
        Some((subnet.name.as_str(), view))
    };
    state.subnets.values().filter_map(view).collect()
}
