//! What the network shall be: everything the flows of any node derive from.
//!
//! All maps are ordered and all values compare, so that the same cluster always gives the same
//! state; versions of it share what did not change, so that two of them are told apart object by
//! object at the cost of what differs ([`crate::different`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use net::{MacAddr, VlanId, Vni};

use crate::addr::Family;
pub use crate::edge::{Balanced, Frontends, Host};
use crate::map::Map;
use crate::name::NamespacedName;
use crate::policy::Policies;
use crate::problem::Problems;

/// The whole network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredState {
    /// Nodes by name.
    pub nodes: Map<String, Node>,
    /// Physical networks by name.
    pub provider_networks: Map<String, ProviderNetwork>,
    /// Subnets in force, by name; no two overlap.
    pub subnets: Map<String, Subnet>,
    /// Pods that have node, subnet, addresses and MAC, by name.
    pub pods: Map<NamespacedName, Pod>,
    /// Services with at least one cluster IP, by name; those without ready endpoints included.
    pub services: Map<NamespacedName, Service>,
    /// What Services are reached by besides their cluster IPs, by the Service's name; Services that
    /// have no more than those are not here.
    pub frontends: Map<NamespacedName, Frontends>,
    /// The machines' own part in the network, by node name; every key of `nodes` is here.
    pub hosts: Map<String, Host>,
    /// Subnets whose pods leave the cluster with their node's address.
    pub nat_outgoing: BTreeSet<String>,
    /// What network policies say.
    pub policies: Policies,
    /// Records of the policy log that a node may cause, a second.
    pub policy_log_rate: u32,
    /// Pods that cannot have a port yet, and what each waits for or why it is refused.
    pub waiting: Map<NamespacedName, Waiting>,
    /// What the pods of a namespace share on each node, by namespace; only those with a limit.
    pub namespace_limits: Map<String, Limits>,
    /// Everything that was asked for and not done, by object and field.
    pub problems: Problems,
    /// How full each subnet is, one entry for each of its ranges.
    pub usage: Map<String, Vec<Usage>>,
    /// How full each IPPool is, one entry for each family it has addresses of.
    pub ip_pools: Map<String, Vec<Usage>>,
    /// What is kept for pods that are away and will come back, or are to come.
    pub kept: Map<NamespacedName, Kept>,
    /// What Vips have.
    pub vips: Map<String, Kept>,
}

/// How full a range of a subnet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// `ipv4` or `ipv6`
    pub family: &'static str,
    /// Addresses that pods hold.
    pub used: u128,
    /// Addresses that can still be given without being asked for.
    pub available: u128,
    /// Which are held: addresses and ranges `a-b` with commas between, cut if they are many.
    pub used_ranges: String,
    /// Which are available, written alike.
    pub available_ranges: String,
}

/// Addresses that somebody has who has no port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The subnet.
    pub subnet: String,
    /// The IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// The Ethernet address.
    pub mac: MacAddr,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, which is also the datapath description of its switch.
    pub name: String,
    /// Its tunnel endpoint; without one it takes no part in overlays.
    pub vtep: Option<IpAddr>,
    /// Its internal addresses, in order.
    pub addresses: Vec<IpAddr>,
    /// `topology.kubernetes.io/zone`
    pub zone: Option<String>,
    /// `sluice.io/cell`
    pub cell: Option<String>,
}

/// One physical network that underlay subnets are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderNetwork {
    /// Its name.
    pub name: String,
    /// Node name to the name of the port on that node which is the uplink; a node that is not here
    /// has no part in this network.
    pub uplinks: BTreeMap<String, String>,
}

/// One subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its name.
    pub name: String,
    /// Its IPv4 range; at least one of `v4` and `v6` is there.
    pub v4: Option<Prefix4>,
    /// Its IPv6 range.
    pub v6: Option<Prefix6>,
    /// How its packets travel between nodes.
    pub kind: SubnetKind,
    /// The Ethernet address of the router that the pods see: the same on every node, different in
    /// every subnet.
    pub router_mac: MacAddr,
    /// Bytes of L3 payload.
    pub mtu: u16,
    /// Who may begin connections with its pods, and with whom they may; the highest priority
    /// first, and what no rule speaks of is allowed.
    pub rules: Vec<Rule>,
    /// On an underlay: the gateway's address is nobody's on the VLAN, the switch routes.
    pub logical_gateway: bool,
    /// On an underlay: its pods and those of overlays reach each other.
    pub interconnected: bool,
}

/// A rule about connections of a subnet's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Higher wins; at most [`Rule::MAX_PRIORITY`].
    pub priority: u16,
    /// Whose side of the connection it speaks of.
    pub direction: Direction,
    /// What becomes of the connection.
    pub verdict: Verdict,
    /// Any of these has to hold.
    pub terms: Vec<Term>,
}

impl Rule {
    /// The highest priority (OVN's `ACL` table: 0 to 32767).
    pub const MAX_PRIORITY: u16 = 32_767;
}

/// Whose side of a connection a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What the subnet's pods begin, seen before a Service chooses an endpoint.
    FromPod,
    /// What reaches the subnet's pods, seen after a Service has chosen.
    ToPod,
    /// What passes the subnet's edge either way, seen after a Service has chosen.
    Either,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It passes, and so do its replies.
    Allow,
    /// Its packets pass; replies are judged by themselves.
    AllowStateless,
    /// It does not come about.
    Drop,
}

/// What has to hold of a packet, all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    /// IP of which family; `None`: either.
    pub family: Option<Family>,
    /// From one of these; empty: from anywhere.
    pub sources: Vec<IpNet>,
    /// To one of these; empty: to anywhere.
    pub destinations: Vec<IpNet>,
    /// The protocol of the IP header.
    pub protocol: Option<u8>,
    /// First and last source port, of TCP, UDP and SCTP only; empty: any.
    pub source_ports: Vec<(u16, u16)>,
    /// First and last destination port.
    pub destination_ports: Vec<(u16, u16)>,
}

/// An IPv4 range and its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix4 {
    /// The range.
    pub cidr: Ipv4Net,
    /// The default gateway: our router in an overlay, a machine of the physical network in an underlay.
    pub gateway: Ipv4Addr,
}

/// An IPv6 range and its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix6 {
    /// The range.
    pub cidr: Ipv6Net,
    /// The default gateway, as in [`Prefix4`].
    pub gateway: Ipv6Addr,
}

impl Subnet {
    /// Each range with its gateway, IPv4 first.
    pub fn prefixes(&self) -> impl Iterator<Item = (IpNet, IpAddr)> {
        let v4 = self.v4.map(|p| (IpNet::V4(p.cidr), IpAddr::V4(p.gateway)));
        let v6 = self.v6.map(|p| (IpNet::V6(p.cidr), IpAddr::V6(p.gateway)));
        v4.into_iter().chain(v6)
    }

    /// True if the address belongs to one of the ranges.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.prefixes().any(|(cidr, _)| cidr.contains(&address))
    }
}

/// How packets of a subnet travel between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubnetKind {
    /// In Geneve between the nodes' tunnel endpoints.
    Overlay {
        /// The network identifier that the tunnel header carries.
        vni: Vni,
    },
    /// On a physical network, beside machines that know nothing of us.
    Underlay {
        /// The provider network's name.
        provider: String,
        /// The 802.1Q tag; `None` is untagged.
        vlan: Option<VlanId>,
    },
}

/// One pod's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The pod's name.
    pub name: NamespacedName,
    /// The node it runs on; always a key of [`DesiredState::nodes`].
    pub node: String,
    /// The name of its port on that node, [`crate::port_name`] for `eth0`.
    pub port: String,
    /// The subnet; always a key of [`DesiredState::subnets`].
    pub subnet: String,
    /// Its Ethernet address, unique in the subnet.
    pub mac: MacAddr,
    /// Its IPv4 address, in `subnet.v4`.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address, in `subnet.v6`.
    pub v6: Option<Ipv6Addr>,
    /// Further addresses of the subnet that it may use, which others may use too.
    pub allowed: Vec<IpAddr>,
    /// Bandwidth limits.
    pub qos: Qos,
    /// Its own cell, label `sluice.io/cell`; `None`: that of its node.
    pub cell: Option<String>,
}

impl Pod {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.map(IpAddr::V4);
        v4.into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// What a pod may send and get, and how it is treated beside others; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Qos {
    /// To the pod (`ingress_rate`, `ingress_burst`).
    pub ingress: Option<Rate>,
    /// From the pod (`egress_rate`, `egress_burst`).
    pub egress: Option<Rate>,
    /// To the pod (`ingress_packet_rate`, `ingress_packet_burst`).
    pub ingress_packets: Option<PacketRate>,
    /// From the pod (`egress_packet_rate`, `egress_packet_burst`).
    pub egress_packets: Option<PacketRate>,
    /// How many connections it may have; none: any number, and none is counted.
    pub connections: Option<Connections>,
    /// What becomes of packets on their way to it, for tests of what depends on a bad line.
    pub impairment: Option<Impairment>,
    /// Which queue what it sends waits in, wherever a port has queues (`priority`).
    pub priority: Priority,
    /// The code point that IP packets leave it with, 0..=63 (RFC 2474); `None`: the pod's own.
    pub dscp: Option<u8>,
}

/// Limits of several pods together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// To the pods.
    pub ingress: Option<Rate>,
    /// From the pods.
    pub egress: Option<Rate>,
}

/// A rate with its burst, in the units of an OpenFlow meter band (OpenFlow 1.3.5, 7.3.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// 1,000 bits a second.
    pub kbps: u32,
    /// 1,000 bits.
    pub burst_kbit: u32,
}

/// A rate of packets with its burst (OpenFlow 1.3.5, 7.3.4.4, OFPMF_PKTPS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketRate {
    /// Packets a second; a frame that is to be split counts as its segments.
    pub pps: u32,
    /// Packets.
    pub burst: u32,
}

/// How many connections a pod may have at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// That others have with it (`ingress_connections`); 0: any number.
    pub ingress: u32,
    /// That it has begun (`egress_connections`); 0: any number.
    pub egress: u32,
    /// A number for this pod that its successor of the same name does not have.
    pub owner: u64,
}

/// What a bad line does to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// Milliseconds by which each packet is late (`latency`).
    pub latency_ms: u32,
    /// Milliseconds that it may be more or less, each as likely (`jitter`).
    pub jitter_ms: u32,
    /// Of a million packets, so many are lost (`loss`).
    pub loss_ppm: u32,
    /// Most packets on their way at a time (`limit`).
    pub limit: u32,
}

/// A class of traffic: the number of the queue of the port that it leaves by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Queue 0, what is not said otherwise.
    #[default]
    Normal,
    /// Queue 1.
    High,
    /// Queue 2.
    Low,
}

impl Priority {
    /// The queue's number.
    pub const fn queue(self) -> u32 {
        match self {
            Priority::Normal => 0,
            Priority::High => 1,
            Priority::Low => 2,
        }
    }
}

/// The protocol of a Service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// IP protocol 6
    Tcp,
    /// IP protocol 17
    Udp,
    /// IP protocol 132
    Sctp,
}

impl Protocol {
    /// The name as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }

    /// The number in the IP header (IANA protocol numbers).
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One Service that is reached by a virtual address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: NamespacedName,
    /// Its virtual addresses, at most one of each family, the primary first.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports, in the order of the manifest.
    pub ports: Vec<ServicePort>,
    /// Which endpoints its connections go to, and whether they stay there.
    pub routing: Routing,
}

/// Which endpoints a Service's connections go to; [`crate::backends::choose`] applies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// Connections of one client address go to one endpoint until it has made none for so long
    /// (`sessionAffinityConfig.clientIP.timeoutSeconds`), seconds, 1..=65535; `None`: no affinity.
    pub affinity: Option<u32>,
    /// From inside the cluster only to endpoints on the client's node (`internalTrafficPolicy: Local`).
    pub internal_local: bool,
    /// From outside only to endpoints on the node they enter by (`externalTrafficPolicy: Local`).
    pub external_local: bool,
    /// Which endpoints are preferred where their slices carry no hints (`trafficDistribution`).
    pub distribution: Distribution,
    /// Rather no endpoint than one beyond the preference (`sluice.io/topology: strict`).
    pub strict: bool,
    /// The share of each zone (`sluice.io/zone-weights`); empty: every endpoint counts alike.
    pub zone_weights: BTreeMap<String, u16>,
    /// Where connections go whose own cell has no endpoint (`sluice.io/cell-fallback`).
    pub cells: CellRules,
    /// Of 10,000 connections, so many go to the endpoints that are marked [`Endpoint::canary`]
    /// (`sluice.io/canary`); `None`: there are none.
    pub canary: Option<u16>,
}

/// What endpoints are preferred (`spec.trafficDistribution`, KEP-3015 and KEP-4444).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    /// None more than others.
    #[default]
    Any,
    /// Those in the client's zone (`PreferClose`, `PreferSameZone`).
    SameZone,
    /// Those on the client's node, then those in its zone (`PreferSameNode`).
    SameNode,
}

/// Rules of cell-wise routing: the client's own cell first, then what the first rule that names the
/// cell says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellRules {
    /// Cells mean nothing to this Service.
    Ignored,
    /// In which order cells are tried after the client's own.
    Then {
        /// By the client's cell.
        by_cell: BTreeMap<String, Vec<CellStep>>,
        /// For cells that are not named.
        others: Vec<CellStep>,
    },
}

impl Default for CellRules {
    fn default() -> Self {
        CellRules::Then {
            by_cell: BTreeMap::new(),
            others: vec![CellStep::Any],
        }
    }
}

/// Where a connection goes that found no endpoint so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellStep {
    /// To this cell.
    Cell(String),
    /// Anywhere.
    Any,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty where the Service has one port only.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The port at the virtual address.
    pub port: u16,
    /// Where it leads, ordered by address and port; both families, to be matched with the family
    /// of the virtual address.
    pub endpoints: Vec<Endpoint>,
}

/// One place a Service port leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address of the pod or machine.
    pub ip: IpAddr,
    /// Port there.
    pub port: u16,
    /// The node it is on, if that is known.
    pub node: Option<String>,
    /// Takes new connections.
    pub ready: bool,
    /// Answers, ready or not (EndpointSlice condition `serving`).
    pub serving: bool,
    /// Is going away (EndpointSlice condition `terminating`).
    pub terminating: bool,
    /// The zone it is in: what its slice says, or else its node's.
    pub zone: Option<String>,
    /// The cell it is in: label `sluice.io/cell` of its pod, or else of its node.
    pub cell: Option<String>,
    /// It is an endpoint of the Service that `sluice.io/canary` names.
    pub canary: bool,
    /// Zones that are to use it (EndpointSlice `hints.forZones`).
    pub for_zones: Vec<String>,
    /// Nodes that are to use it (EndpointSlice `hints.forNodes`).
    pub for_nodes: Vec<String>,
}

impl Endpoint {
    /// One that takes connections and of which no more is known.
    pub fn ready(ip: IpAddr, port: u16) -> Self {
        Endpoint {
            ip,
            port,
            node: None,
            ready: true,
            serving: true,
            terminating: false,
            zone: None,
            cell: None,
            canary: false,
            for_zones: Vec::new(),
            for_nodes: Vec::new(),
        }
    }
}

/// Why a pod has no port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It will come by itself; completes "waiting for ...".
    For(String),
    /// It will not come before somebody changes something; what and how.
    Refused(String),
}
