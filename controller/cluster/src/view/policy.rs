//! Network policies as read: NetworkPolicy, and the three kinds that speak for the whole cluster.

use super::{LabelSelector, Meta};
use crate::desired::Protocol;

/// `networking.k8s.io/v1` NetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.podSelector`: the pods of its namespace that it holds for.
    pub pods: LabelSelector,
    /// `spec.ingress`, if `spec.policyTypes` says that ingress is isolated; always with action
    /// [`Action::Allow`].
    pub ingress: Option<Vec<PolicyRule>>,
    /// `spec.egress`, if egress is isolated.
    pub egress: Option<Vec<PolicyRule>>,
}

/// `policy.networking.k8s.io` ClusterNetworkPolicy (v1alpha2), AdminNetworkPolicy or
/// BaselineAdminNetworkPolicy (v1alpha1): the second and third are the first one's tiers under
/// their older names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.tier`
    pub tier: ClusterTier,
    /// `spec.priority`, 0..=1000; lower goes first.
    pub priority: u16,
    /// `spec.subject`: the pods it holds for.
    pub subject: Subject,
    /// `spec.ingress`, in order.
    pub ingress: Vec<PolicyRule>,
    /// `spec.egress`, in order.
    pub egress: Vec<PolicyRule>,
}

/// `spec.tier` of a ClusterNetworkPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterTier {
    /// Before every NetworkPolicy.
    Admin,
    /// For what no NetworkPolicy holds for.
    Baseline,
}

/// Pods of several namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Of the namespaces with these labels,
    pub namespaces: LabelSelector,
    /// the pods with these.
    pub pods: LabelSelector,
}

/// A rule of a policy, of either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// `name`, where the kind has one and it is given.
    pub name: String,
    /// What becomes of the traffic.
    pub action: Action,
    /// `from` or `to`; `None` is everybody, as a NetworkPolicy says it by leaving the field out.
    pub peers: Option<Vec<Peer>>,
    /// `ports` or `protocols`; `None` is every port of every protocol.
    pub ports: Option<Vec<PolicyPort>>,
}

/// What becomes of traffic that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It is let through (`Accept` of a ClusterNetworkPolicy).
    Allow,
    /// It is dropped.
    Deny,
    /// The next tier decides.
    Pass,
}

/// One end of a connection, as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Pods of the policy's own namespace.
    OwnNamespace(LabelSelector),
    /// Pods of several namespaces.
    Pods(Subject),
    /// Addresses: `ipBlock`, or one of `networks`.
    Block {
        /// A prefix.
        cidr: String,
        /// Less these.
        except: Vec<String>,
    },
    /// Nodes with these labels, by their addresses.
    Nodes(LabelSelector),
    /// Something that is not understood, and why; the rule fails closed.
    Unknown(String),
}

/// A port, as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyPort {
    /// Every port of a protocol.
    All(Protocol),
    /// Ports by number, both ends included.
    Range(Protocol, u16, u16),
    /// What the containers of the destination pod call so; `None` is whatever protocol it has there.
    Named(Option<Protocol>, String),
    /// Something that is not understood, and why; the rule fails closed.
    Unknown(String),
}
