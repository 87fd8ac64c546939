//! Where the pod network meets the machines themselves and the world outside (ADR 29).

mod frontends;
mod hosts;
mod pool;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use net::MacAddr;

use crate::addr::Family;
use crate::desired::Protocol;

pub(crate) use frontends::{Index, frontends};
pub use hosts::host_mac;
pub(crate) use hosts::{hosts, nat_outgoing};

/// The class of load balancer that is ours (`spec.loadBalancerClass`).
pub const LB_CLASS: &str = "sluice.io/lb";

/// A machine's own part in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its own addresses (`InternalIP`), in order; no two machines share one.
    pub addresses: Vec<IpAddr>,
    /// The Ethernet address of its port `sluice0`, and of the node where it answers for others'
    /// addresses: [`host_mac`].
    pub mac: MacAddr,
    /// The underlay subnet that its own addresses are on, by an uplink of its dataplane; none:
    /// its kernel has a network interface of its own.
    pub network: Option<String>,
}

impl Host {
    /// Its first address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        let mut of_family = self.addresses.iter().filter(|a| Family::of(**a) == family);
        of_family.next().copied()
    }
}

/// What a Service is reached by besides its cluster IPs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontends {
    /// Ports of every node, by protocol and port at the virtual address.
    pub node_ports: BTreeMap<(Protocol, u16), u16>,
    /// `spec.externalIPs`, ordered.
    pub external: Vec<IpAddr>,
    /// Addresses of its load balancer.
    pub balanced: Vec<Balanced>,
    /// From outside only to endpoints of the node where a connection arrives, which see the
    /// client's own address (`externalTrafficPolicy: Local`).
    pub local: bool,
    /// Who may use the load balancer's addresses; empty: everybody.
    pub sources: Vec<IpNet>,
    /// The port of every node that says how many endpoints it has (`healthCheckNodePort`).
    pub health_check: Option<u16>,
}

impl Frontends {
    /// External addresses and those of the load balancer.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let balanced = self.balanced.iter().map(|balanced| balanced.address);
        self.external.iter().copied().chain(balanced)
    }
}

/// An address of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balanced {
    /// The address.
    pub address: IpAddr,
    /// How it comes to be on a network; none: another load balancer's, which sends to the nodes.
    pub announced: Option<Announced>,
}

/// An address of ours on a physical network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The underlay subnet it is from.
    pub subnet: String,
    /// The node that answers for it; none: no node can.
    pub node: Option<String>,
}
