//! Policies of all kinds, as far as they are alike.

use std::collections::BTreeMap;

use super::Tier;
use super::classes::Key;
use crate::map::Map;
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::view::{
    ClusterPolicy, ClusterTier, ClusterView, LabelSelector, Meta, NetworkPolicy, Peer, PolicyPort,
    PolicyRule, Subject,
};

/// The label that every namespace has; the API server sees to it, a folder of manifests need not.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Labels of a namespace.
pub(super) fn namespace_labels(view: &ClusterView, name: &str) -> BTreeMap<String, String> {
    let given = view.namespaces.get(name);
    let mut labels = given.map_or_else(BTreeMap::new, |n| n.meta.labels.clone());
    labels.insert(NAMESPACE_NAME.into(), name.into());
    labels
}

/// Some pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Selection {
    /// Of one namespace.
    Own(String, LabelSelector),
    /// Of several.
    Of(Subject),
}

impl Selection {
    /// Those that a peer names by labels, if it does.
    pub(super) fn of(peer: &Peer, own_namespace: &str) -> Option<Selection> {
        match peer {
            Peer::OwnNamespace(pods) => Some(Selection::Own(own_namespace.into(), pods.clone())),
            Peer::Pods(subject) => Some(Selection::Of(subject.clone())),
            Peer::Block { .. } | Peer::Nodes(_) | Peer::Unknown(_) => None,
        }
    }

    /// True if pods of that class are among them; `namespace` are the labels of its namespace.
    pub(super) fn matches(&self, class: &Key, namespace: &BTreeMap<String, String>) -> bool {
        match self {
            Selection::Own(own, pods) => class.namespace == *own && pods.matches(&class.labels),
            Selection::Of(subject) => {
                subject.namespaces.matches(namespace) && subject.pods.matches(&class.labels)
            }
        }
    }

    /// What it asks of pods' labels.
    pub(super) fn pods(&self) -> &LabelSelector {
        match self {
            Selection::Own(_, pods) => pods,
            Selection::Of(subject) => &subject.pods,
        }
    }
}

/// In which order policies are asked: by tier and priority; of equal priorities the specification
/// leaves the order to us: by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    tier: Tier,
    priority: u16,
    kind: u8,
    name: (String, String),
}

/// A policy of any kind.
pub(super) struct Spec<'a> {
    pub(super) object: ObjectRef,
    pub(super) meta: &'a Meta,
    pub(super) tier: Tier,
    pub(super) rank: Rank,
    /// The pods it holds for.
    pub(super) subject: Selection,
    /// Empty for those of no namespace.
    pub(super) namespace: &'a str,
    /// None: it says nothing of ingress.
    pub(super) ingress: Option<&'a [PolicyRule]>,
    pub(super) egress: Option<&'a [PolicyRule]>,
}

impl<'a> Spec<'a> {
    fn of_namespace(name: &'a NamespacedName, policy: &'a NetworkPolicy) -> Self {
        Spec {
            object: ObjectRef::namespaced(Kind::NetworkPolicy, name),
            meta: &policy.meta,
            tier: Tier::Namespace,
            rank: Rank {
                tier: Tier::Namespace,
                priority: 0,
                kind: 0,
                name: (name.namespace.clone(), name.name.clone()),
            },
            subject: Selection::Own(name.namespace.clone(), policy.pods.clone()),
            namespace: &name.namespace,
            ingress: policy.ingress.as_deref(),
            egress: policy.egress.as_deref(),
        }
    }

    fn of_cluster(kind: Kind, name: &str, policy: &'a ClusterPolicy) -> Self {
        let tier = match policy.tier {
            ClusterTier::Admin => Tier::Admin,
            ClusterTier::Baseline => Tier::Baseline,
        };
        let some = |rules: &'a [PolicyRule]| (!rules.is_empty()).then_some(rules);
        Spec {
            object: ObjectRef::cluster(kind, name),
            meta: &policy.meta,
            tier,
            rank: Rank {
                tier,
                priority: policy.priority,
                kind: match kind {
                    Kind::AdminNetworkPolicy => 0,
                    Kind::ClusterNetworkPolicy => 1,
                    _ => 2,
                },
                name: (String::new(), name.to_string()),
            },
            subject: Selection::Of(policy.subject.clone()),
            namespace: "",
            ingress: some(&policy.ingress),
            egress: some(&policy.egress),
        }
    }

    /// One policy; none: it is not there, or it is of another kind.
    pub(super) fn find(view: &'a ClusterView, object: &ObjectRef) -> Option<Self> {
        let cluster = |policies: &'a Map<String, ClusterPolicy>| {
            let policy = policies.get(&object.name)?;
            Some(Spec::of_cluster(object.kind, &object.name, policy))
        };
        match object.kind {
            Kind::NetworkPolicy => {
                let namespace = object.namespace.as_ref()?;
                let name = NamespacedName::new(namespace, &object.name);
                let (name, policy) = view.network_policies.get_key_value(&name)?;
                Some(Spec::of_namespace(name, policy))
            }
            Kind::AdminNetworkPolicy => cluster(&view.admin_network_policies),
            Kind::BaselineAdminNetworkPolicy => cluster(&view.baseline_admin_network_policies),
            Kind::ClusterNetworkPolicy => cluster(&view.cluster_network_policies),
            _ => None,
        }
    }

    /// Every policy.
    pub(super) fn all(view: &'a ClusterView) -> impl Iterator<Item = Spec<'a>> {
        let kinds = [
            (Kind::AdminNetworkPolicy, &view.admin_network_policies),
            (Kind::ClusterNetworkPolicy, &view.cluster_network_policies),
            (
                Kind::BaselineAdminNetworkPolicy,
                &view.baseline_admin_network_policies,
            ),
        ];
        let cluster = kinds.into_iter().flat_map(|(kind, policies)| {
            let spec = move |(name, policy): (&'a String, &'a ClusterPolicy)| {
                Spec::of_cluster(kind, name, policy)
            };
            policies.iter().map(spec)
        });
        let own = view.network_policies.iter();
        cluster.chain(own.map(|(name, policy)| Spec::of_namespace(name, policy)))
    }

    /// Its rules of a direction.
    pub(super) fn rules(&self, ingress: bool) -> Option<&'a [PolicyRule]> {
        if ingress { self.ingress } else { self.egress }
    }

    fn peers(&self) -> impl Iterator<Item = &'a Peer> {
        let rules = self.ingress.into_iter().chain(self.egress).flatten();
        rules.flat_map(|rule| rule.peers.iter().flatten())
    }

    /// Every selection of its rules; every pod there is is none.
    pub(super) fn selections(&self) -> impl Iterator<Item = Selection> {
        let selections = self.peers();
        let selections = selections.filter_map(|peer| Selection::of(peer, self.namespace));
        selections.filter(|selection| *selection != Selection::Of(Subject::default()))
    }

    /// True if a rule names nodes.
    pub(super) fn names_nodes(&self) -> bool {
        self.peers().any(|peer| matches!(peer, Peer::Nodes(_)))
    }

    /// Ports that its egress rules ask for by name, of pods that they do not name by labels.
    pub(super) fn asks(&self) -> Vec<Asks> {
        let mut all = Vec::new();
        for rule in self.egress.into_iter().flatten() {
            let peers = || rule.peers.iter().flatten();
            let every = |peer: &Peer| matches!(peer, Peer::Pods(s) if *s == Subject::default());
            let address = |peer: &Peer| matches!(peer, Peer::Block { .. } | Peer::Nodes(_));
            let every_pod = rule.peers.is_none() || peers().any(every);
            let addresses = peers().any(address);
            for port in rule.ports.iter().flatten() {
                if let PolicyPort::Named(_, name) = port
                    && (every_pod || addresses)
                {
                    all.push(Asks {
                        port: name.clone(),
                        every_pod,
                        addresses,
                    });
                }
            }
        }
        all
    }
}

/// A port that a rule asks for by name.
#[derive(Clone, Debug)]
pub(super) struct Asks {
    pub(super) port: String,
    /// Of every pod.
    pub(super) every_pod: bool,
    /// Of pods with some addresses.
    pub(super) addresses: bool,
}

/// True if there is no policy at all.
pub(super) fn none(view: &ClusterView) -> bool {
    view.network_policies.is_empty()
        && view.admin_network_policies.is_empty()
        && view.cluster_network_policies.is_empty()
        && view.baseline_admin_network_policies.is_empty()
}
