//! Network policies: which hold for which pod, and what each of their rules matches, with every
//! selector resolved (docs/adr/0031-policies-by-identity.md).
//!
//! A pod's identity is a number for its namespace, labels and named ports: pods that no policy can
//! tell apart share it, and a new policy changes nobody's. The policies that hold for a pod in one
//! direction are its policy set, numbered too. Both numbers are hashes, so that they are the same
//! after every restart and on every node.

mod classes;
mod index;
pub(crate) mod log;
mod parts;
mod problems;
mod rules;
mod spec;
#[cfg(test)]
mod whole;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

pub(crate) use self::index::Index;
use crate::desired::{Node, Protocol};
use crate::map::Map;
use crate::name::{NamespacedName, ObjectRef};
use crate::view::Action;

pub use log::Log;

/// What policies say of every pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// There is a policy in the cluster: connections are remembered for it.
    pub active: bool,
    /// By pod; pods that have addresses only.
    pub pods: Map<NamespacedName, PodPolicy>,
    /// By number; those that hold for a pod only.
    pub sets: Map<u32, Arc<PolicySet>>,
    /// Identities with the pods that have them.
    pub members: Map<(u32, NamespacedName), ()>,
    /// Addresses of pods that stand on physical networks, among machines that are no pods.
    pub underlay_pods: Map<NamespacedName, Vec<IpAddr>>,
    /// By node name, the addresses it has.
    pub node_addresses: Map<String, Vec<IpAddr>>,
}

impl Policies {
    /// The pods of an identity, in order.
    pub fn members_of(&self, identity: u32) -> impl Iterator<Item = &NamespacedName> {
        let first = (identity, NamespacedName::new("", ""));
        let from = self.members.starting_at(&first);
        let members = from.take_while(move |((of, _), ())| *of == identity);
        members.map(|((_, name), ())| name)
    }
}

/// What policies say of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodPolicy {
    /// Its identity, from 1.
    pub identity: u32,
    /// The policy set of what it gets; none: everything.
    pub ingress: Option<u32>,
    /// The policy set of what it sends.
    pub egress: Option<u32>,
}

/// The policies that hold for some pods in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySet {
    /// NetworkPolicies that isolate: what no rule of theirs allows is denied.
    pub isolated_by: Vec<ObjectRef>,
    /// Those of them that want what they deny by isolating in the policy log.
    pub isolation_logged_by: Vec<ObjectRef>,
    /// Rules, the tiers in order; within [`Tier::Admin`] and [`Tier::Baseline`] the first that
    /// matches decides.
    pub rules: Vec<SetRule>,
}

/// When a rule is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Before NetworkPolicies.
    Admin,
    /// With the NetworkPolicies, all at once.
    Namespace,
    /// Where no NetworkPolicy isolates.
    Baseline,
}

/// A rule, as it stands in a policy set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRule {
    /// The policy.
    pub policy: ObjectRef,
    /// The rule: `ingress[0]`, or with its name `ingress[0] (name)`.
    pub part: String,
    /// When it is asked.
    pub tier: Tier,
    /// What becomes of what it matches.
    pub action: Action,
    /// Its decisions are written to the policy log.
    pub log: bool,
    /// What it matches: any of these.
    pub scopes: Vec<Scope>,
}

/// Peers with ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The other end of the connection.
    pub peers: Arc<Peers>,
    /// The destination's ports, any of these; `None` is all there is, of any protocol.
    pub ports: Option<Vec<Ports>>,
}

/// Destination ports of a protocol, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// The protocol.
    pub protocol: Protocol,
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// Ends of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Everybody.
    pub any: bool,
    /// Every pod that has an address of ours.
    pub all_pods: bool,
    /// Pods by identity, in order.
    pub identities: Vec<u32>,
    /// Addresses.
    pub blocks: Vec<Block>,
}

/// A prefix less other prefixes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// The prefix.
    pub cidr: IpNet,
    /// Not these; all inside.
    pub except: Vec<IpNet>,
}

/// What a node may be reached by.
fn addresses(node: &Node) -> Vec<IpAddr> {
    let addresses = node.addresses.iter().copied().chain(node.vtep);
    let addresses: BTreeSet<IpAddr> = addresses.collect();
    addresses.into_iter().collect()
}
