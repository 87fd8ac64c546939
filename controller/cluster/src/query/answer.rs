//! What is answered.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Trace;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Not done; one line: what, why, what to do.
    Error(String),
    /// Pods.
    Pods(Vec<Pod>),
    /// Services.
    Services(Vec<Service>),
    /// Policies.
    Policies(Vec<Policy>),
    /// Subnets.
    Subnets(Vec<Subnet>),
    /// Nodes.
    Nodes(Vec<Node>),
    /// The way of a packet.
    Trace(Box<Trace>),
    /// Differences, by node.
    Diff(Vec<NodeDiff>),
}

/// How far an object has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum InForce {
    /// On all nodes, or on the one that was asked for.
    InForce,
    /// Switches have not acknowledged it yet.
    Pending {
        /// How many nodes have not.
        nodes: usize,
        /// One of them, and what is with it: `node2 (disconnected)`.
        example: String,
    },
    /// It will come by itself; completes "waiting for ...".
    Waiting {
        /// For what.
        why: String,
    },
    /// Not before somebody changes something.
    Refused {
        /// What and how.
        why: String,
    },
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it runs; empty if it has no place in the network yet.
    pub node: String,
    /// Its subnet.
    pub subnet: String,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Its Ethernet address.
    pub mac: String,
    /// The name of its port.
    pub port: String,
    /// Its switch has the port; none: the switch is not connected.
    pub port_there: Option<bool>,
    /// On its node.
    pub in_force: InForce,
    /// Policies that hold for what it gets.
    pub ingress_policies: Vec<String>,
    /// Policies that hold for what it sends.
    pub egress_policies: Vec<String>,
    /// What it asks for and does not get.
    pub problems: Vec<String>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its cluster addresses.
    pub cluster_ips: Vec<IpAddr>,
    /// Its other addresses.
    pub external_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Seconds that a client stays with its endpoint; none: no affinity.
    pub affinity_seconds: Option<u32>,
    /// How far it has come.
    pub in_force: InForce,
    /// What it asks for and does not get.
    pub problems: Vec<String>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Its name.
    pub name: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// The port at its addresses.
    pub port: u16,
    /// The port at every node.
    pub node_port: Option<u16>,
    /// Where it leads.
    pub backends: Vec<Backend>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// The port there.
    pub port: u16,
    /// The pod that has the address.
    pub pod: Option<String>,
    /// Where it is.
    pub node: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// `ready`, `draining` or `not ready`.
    pub condition: String,
    /// Its weight for new connections; none: it gets none.
    pub weight: Option<u16>,
    /// What is decided of it, in words.
    pub verdict: String,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `NetworkPolicy`, `ClusterNetworkPolicy` and so on.
    pub kind: String,
    /// Its namespace; empty: it speaks for the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many pods it holds for.
    pub pods: usize,
    /// Some of them: at most ten, all of them where one policy is asked for.
    pub selected: Vec<String>,
    /// It isolates its pods in the directions.
    pub isolates: Vec<String>,
    /// Its rules.
    pub rules: Vec<PolicyRule>,
    /// What was denied since no rule allowed it.
    pub isolation_hits: Option<Counted>,
    /// How far it has come.
    pub in_force: InForce,
    /// What it asks for and does not get.
    pub problems: Vec<String>,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// `ingress[0]`, with its name if it has one.
    pub rule: String,
    /// `allow`, `deny` or `pass`.
    pub action: String,
    /// The other end, in words.
    pub peers: String,
    /// Destination ports, in words.
    pub ports: String,
    /// What it has decided; none: nobody was asked.
    pub hits: Option<Counted>,
}

/// What flows have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Flows that have counted them, on all nodes.
    pub flows: u64,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its name.
    pub name: String,
    /// `overlay` or `underlay`.
    pub kind: String,
    /// Its ranges.
    pub ranges: Vec<String>,
    /// Their gateways.
    pub gateways: Vec<IpAddr>,
    /// The provider network of an underlay.
    pub provider: Option<String>,
    /// The 802.1Q tag of an underlay.
    pub vlan: Option<u16>,
    /// The VNI of an overlay.
    pub vni: Option<u32>,
    /// Bytes of IP.
    pub mtu: u16,
    /// How full each range is.
    pub room: Vec<Room>,
    /// Pods that have a port in it.
    pub pods: usize,
    /// How far it has come.
    pub in_force: InForce,
    /// What it asks for and does not get.
    pub problems: Vec<String>,
}

/// How full a range is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// `ipv4` or `ipv6`
    pub family: String,
    /// Addresses that pods hold; decimal, since an IPv6 range has more than JSON numbers.
    pub used: String,
    /// Addresses that can still be given.
    pub available: String,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its tunnel endpoint.
    pub vtep: Option<IpAddr>,
    /// Its zone.
    pub zone: Option<String>,
    /// Pods on it that have a place in the network.
    pub pods: usize,
    /// Its switch is connected.
    pub connected: bool,
    /// From where, or why it is not.
    pub session: String,
    /// The number of the picture that it has acknowledged; 0: none.
    pub picture: u64,
    /// The number of the picture that it shall have.
    pub latest: u64,
    /// Flows it shall hold.
    pub flows_desired: usize,
    /// Flows it holds.
    pub flows_installed: usize,
    /// What its switch refused, and what could not be compiled for it.
    pub problems: Vec<String>,
}

/// What is otherwise on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDiff {
    /// The node.
    pub node: String,
    /// Why nothing can be said of it.
    pub unknown: Option<String>,
    /// Flows, groups and meters that are as they shall be.
    pub same: usize,
    /// What is not.
    pub differences: Vec<Difference>,
}

/// What is otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// In which way.
    pub how: How,
    /// `flow`, `group` or `meter`.
    pub what: String,
    /// The object it comes from, as far as that is known.
    pub object: String,
    /// What it is for.
    pub intent: String,
    /// As it shall be; empty: not at all.
    pub desired: String,
    /// As the switch has it; empty: not at all.
    pub held: String,
}

/// In which way something is otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The switch lacks it.
    Missing,
    /// The switch has it as something else.
    Different,
    /// Nobody asked for it.
    Extra,
}
