//! Which policies hold for which pods: policy sets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::classes::{Class, Classes, numbers};
use super::log::{self, Log};
use super::problems::Told;
use super::rules::{Resolved, World};
use super::{PolicySet, SetRule, Tier};
use crate::annotations;
use crate::desired::{DesiredState, Pod, Protocol};
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::problem::Problem;
use crate::view::{
    ClusterPolicy, ClusterTier, ClusterView, LabelSelector, NetworkPolicy, Peer, PolicyRule,
};

/// The label that every namespace has; the API server sees to it, a folder of manifests need not.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Every policy and every class of pods.
pub(super) struct Index<'a> {
    view: &'a ClusterView,
    pods: &'a BTreeMap<NamespacedName, Pod>,
    pub(super) classes: Classes<'a>,
    pub(super) node_addresses: BTreeMap<String, Vec<IpAddr>>,
    cluster: Vec<(ObjectRef, &'a ClusterPolicy)>,
}

/// What came out, by number of class: ingress set and egress set.
pub(super) struct Outcome {
    pub(super) of_class: Vec<(Option<u32>, Option<u32>)>,
    pub(super) sets: BTreeMap<u32, PolicySet>,
}

/// A direction of a policy, resolved.
struct Part<'a> {
    object: ObjectRef,
    tier: Tier,
    log: Log,
    rules: Vec<(String, Resolved<'a>)>,
}

impl Part<'_> {
    /// Names of the pods' own ports that its rules depend on.
    fn own_ports(&self) -> impl Iterator<Item = (Option<Protocol>, &str)> {
        self.rules.iter().flat_map(|(_, rule)| rule.own_ports())
    }
}

impl<'a> Index<'a> {
    pub(super) fn new(view: &'a ClusterView, desired: &'a DesiredState) -> Self {
        let kinds = [
            (Kind::AdminNetworkPolicy, &view.admin_network_policies),
            (Kind::ClusterNetworkPolicy, &view.cluster_network_policies),
            (
                Kind::BaselineAdminNetworkPolicy,
                &view.baseline_admin_network_policies,
            ),
        ];
        let cluster = kinds.into_iter().flat_map(|(kind, policies)| {
            let named = move |name: &String| ObjectRef::cluster(kind, name);
            policies.iter().map(move |(name, p)| (named(name), p))
        });
        let mut cluster: Vec<_> = cluster.collect();
        // Of equal priorities the specification leaves the order to us: by kind and name.
        cluster.sort_by_key(|(_, policy)| (policy.tier, policy.priority));
        let mut index = Index {
            view,
            pods: &desired.pods,
            classes: Classes::default(),
            node_addresses: BTreeMap::new(),
            cluster,
        };
        if !index.is_empty() {
            index.classes = Classes::new(view, desired, index.pod_selectors());
            for (name, node) in &desired.nodes {
                let addresses = node.addresses.iter().copied().chain(node.vtep);
                let addresses: BTreeSet<IpAddr> = addresses.collect();
                let addresses = addresses.into_iter().collect();
                index.node_addresses.insert(name.clone(), addresses);
            }
        }
        index
    }

    /// True if there is no policy at all.
    pub(super) fn is_empty(&self) -> bool {
        self.view.network_policies.is_empty() && self.cluster.is_empty()
    }

    /// Every selector of pods in any policy.
    fn pod_selectors(&self) -> Vec<&'a LabelSelector> {
        let mut selectors = Vec::new();
        let mut rules: Vec<&PolicyRule> = Vec::new();
        for policy in self.view.network_policies.values() {
            selectors.push(&policy.pods);
            rules.extend(policy.ingress.iter().chain(&policy.egress).flatten());
        }
        for (_, policy) in &self.cluster {
            selectors.push(&policy.subject.pods);
            rules.extend(policy.ingress.iter().chain(&policy.egress));
        }
        for peer in rules.into_iter().flat_map(|r| r.peers.iter().flatten()) {
            match peer {
                Peer::OwnNamespace(pods) => selectors.push(pods),
                Peer::Pods(subject) => selectors.push(&subject.pods),
                Peer::Block { .. } | Peer::Nodes(_) | Peer::Unknown(_) => {}
            }
        }
        selectors
    }

    pub(super) fn resolve(&self, problems: &mut Vec<Problem>) -> Outcome {
        let namespaces = self.classes.namespaces().map(|name| {
            let given = self.view.namespaces.get(name);
            let mut labels = given.map_or_else(BTreeMap::new, |n| n.meta.labels.clone());
            labels.insert(NAMESPACE_NAME.into(), name.into());
            (name, labels)
        });
        let world = World {
            namespaces: namespaces.collect(),
            classes: self.classes.clone(),
            pods: self.pods,
            nodes: &self.view.nodes,
            node_addresses: &self.node_addresses,
        };
        let mut drafts = Drafts::default();
        drafts
            .classes
            .resize(world.classes.iter().count(), Default::default());
        for ingress in [true, false] {
            self.direction(&world, ingress, &mut drafts, problems);
        }
        for (object, meta) in self.metas() {
            annotations::report_unread(&object, meta, problems);
        }
        drafts.finish()
    }

    fn metas(&self) -> impl Iterator<Item = (ObjectRef, &'a crate::view::Meta)> {
        let of_namespaces = self.view.network_policies.iter().map(|(name, policy)| {
            let object = ObjectRef::namespaced(Kind::NetworkPolicy, name);
            (object, &policy.meta)
        });
        let cluster = self.cluster.iter();
        of_namespaces.chain(cluster.map(|(object, policy)| (object.clone(), &policy.meta)))
    }

    fn direction(
        &self,
        world: &World<'a>,
        ingress: bool,
        drafts: &mut Drafts,
        problems: &mut Vec<Problem>,
    ) {
        let mut by_namespace: BTreeMap<&str, Vec<(&NetworkPolicy, Part<'_>)>> = BTreeMap::new();
        for (name, policy) in &self.view.network_policies {
            let rules = if ingress {
                &policy.ingress
            } else {
                &policy.egress
            };
            let Some(rules) = rules else { continue };
            let object = ObjectRef::namespaced(Kind::NetworkPolicy, name);
            let log = log::of_policy(self.view, &object, &policy.meta, problems);
            let namespace = name.namespace.as_str();
            let part = part(
                world,
                object,
                Tier::Namespace,
                rules,
                namespace,
                ingress,
                problems,
            );
            by_namespace
                .entry(namespace)
                .or_default()
                .push((policy, Part { log, ..part }));
        }
        let mut cluster: Vec<(&ClusterPolicy, Part<'_>)> = Vec::new();
        for (object, policy) in &self.cluster {
            let rules = if ingress {
                &policy.ingress
            } else {
                &policy.egress
            };
            if rules.is_empty() {
                continue;
            }
            let tier = match policy.tier {
                ClusterTier::Admin => Tier::Admin,
                ClusterTier::Baseline => Tier::Baseline,
            };
            let log = log::of_policy(self.view, object, &policy.meta, problems);
            let part = part(world, object.clone(), tier, rules, "", ingress, problems);
            cluster.push((policy, Part { log, ..part }));
        }
        let mut used: BTreeSet<&ObjectRef> = BTreeSet::new();
        let mut ports_found: BTreeSet<(&ObjectRef, &str)> = BTreeSet::new();
        for namespace in world.classes.namespaces() {
            let cluster: Vec<_> = cluster
                .iter()
                .filter(|(policy, _)| world.in_namespace(&policy.subject, namespace))
                .collect();
            let own = by_namespace.get(namespace).map_or(&[][..], Vec::as_slice);
            for (number, class) in world.classes.numbered(namespace) {
                let selected = |policy: &ClusterPolicy| policy.subject.pods.matches(class.labels);
                let cluster = cluster.iter().filter(|(policy, _)| selected(policy));
                let own = own
                    .iter()
                    .filter(|(policy, _)| policy.pods.matches(class.labels));
                let mut parts: Vec<&Part<'_>> = own.map(|(_, part)| part).collect();
                parts.extend(cluster.map(|(_, part)| part));
                if parts.is_empty() {
                    continue;
                }
                // Within a tier they are in order already, and the sort is stable.
                parts.sort_by_key(|part| part.tier);
                used.extend(parts.iter().map(|part| &part.object));
                for part in &parts {
                    let has = |(protocol, name): &(Option<Protocol>, &str)| {
                        has_port(class, *protocol, name)
                    };
                    let found = part.own_ports().filter(has);
                    ports_found.extend(found.map(|(_, name)| (&part.object, name)));
                }
                drafts.add(number, ingress, &parts, class);
            }
        }
        let own = by_namespace.values().flatten().map(|(_, part)| part);
        for part in own.chain(cluster.iter().map(|(_, part)| part)) {
            report_unused(
                part,
                used.contains(&part.object),
                &ports_found,
                ingress,
                problems,
            );
        }
    }
}

fn has_port(class: &Class<'_>, protocol: Option<Protocol>, name: &str) -> bool {
    let of_protocol = |p: Protocol| protocol.is_none_or(|protocol| protocol == p);
    class
        .ports
        .iter()
        .any(|(n, p, _)| *n == name && of_protocol(*p))
}

fn part<'a>(
    world: &World<'a>,
    object: ObjectRef,
    tier: Tier,
    rules: &'a [PolicyRule],
    own_namespace: &str,
    ingress: bool,
    problems: &mut Vec<Problem>,
) -> Part<'a> {
    let (direction, peers) = if ingress {
        ("ingress", "from")
    } else {
        ("egress", "to")
    };
    let resolve = |(index, rule): (usize, &'a PolicyRule)| {
        let field = format!("{direction}[{index}]");
        let mut told = Told {
            policy: &object,
            field: format!("spec.{field}"),
            peers,
            problems,
        };
        let resolved = world.rule(rule, own_namespace, ingress, &mut told);
        let name = match rule.name.as_str() {
            "" => field,
            name => format!("{field} ({name})"),
        };
        (name, resolved)
    };
    let rules = rules.iter().enumerate().map(resolve).collect();
    Part {
        object,
        tier,
        log: Log::default(),
        rules,
    }
}

fn report_unused(
    part: &Part<'_>,
    used: bool,
    ports_found: &BTreeSet<(&ObjectRef, &str)>,
    ingress: bool,
    problems: &mut Vec<Problem>,
) {
    if !used {
        problems.push(Problem::ignored(
            part.object.clone(),
            if part.tier == Tier::Namespace {
                "spec.podSelector"
            } else {
                "spec.subject"
            },
            "selects no pod at present",
            "correct the selector, unless the pods are still to come",
        ));
        return;
    }
    let direction = if ingress { "ingress" } else { "egress" };
    for (index, (_, rule)) in part.rules.iter().enumerate() {
        for (_, name) in rule.own_ports() {
            if !ports_found.contains(&(&part.object, name)) {
                problems.push(Problem::ignored(
                    part.object.clone(),
                    format!("spec.{direction}[{index}].ports"),
                    format!(
                        "no pod that the policy holds for has a port {name:?} of that protocol"
                    ),
                    "name the port in the pods' containers, or use its number",
                ));
            }
        }
    }
}

/// Policy sets that are not numbered yet.
#[derive(Default)]
struct Drafts {
    /// By a text that says what is in the set.
    sets: BTreeMap<String, PolicySet>,
    /// By number of class.
    classes: Vec<(Option<String>, Option<String>)>,
}

impl Drafts {
    fn add(&mut self, class: usize, ingress: bool, parts: &[&Part<'_>], of: &Class<'_>) {
        use std::fmt::Write;
        let mut text = String::from(if ingress { "ingress" } else { "egress" });
        for part in parts {
            let _ = write!(text, "\n{}", part.object);
        }
        let names: BTreeSet<&str> = parts
            .iter()
            .flat_map(|p| p.own_ports())
            .map(|(_, n)| n)
            .collect();
        for (name, protocol, port) in of.ports.iter().filter(|(name, ..)| names.contains(name)) {
            let _ = write!(text, "\n{name} {protocol} {port}");
        }
        let isolates = |part: &&&Part<'_>| part.tier == Tier::Namespace;
        let isolating = parts.iter().filter(isolates);
        let logged = isolating.clone().filter(|part| part.log.denied);
        self.sets.entry(text.clone()).or_insert_with(|| PolicySet {
            isolated_by: isolating.map(|part| part.object.clone()).collect(),
            isolation_logged_by: logged.map(|part| part.object.clone()).collect(),
            rules: parts.iter().flat_map(|part| set_rules(part, of)).collect(),
        });
        let entry = &mut self.classes[class];
        *(if ingress { &mut entry.0 } else { &mut entry.1 }) = Some(text);
    }

    fn finish(self) -> Outcome {
        let numbers = numbers(self.sets.keys().cloned().collect());
        let number = |text: Option<String>| text.map(|text| numbers[&text]);
        let of_class = self.classes.into_iter();
        Outcome {
            of_class: of_class.map(|(i, e)| (number(i), number(e))).collect(),
            sets: self
                .sets
                .into_iter()
                .map(|(text, set)| (numbers[&text], set))
                .collect(),
        }
    }
}

fn set_rules(part: &Part<'_>, class: &Class<'_>) -> impl Iterator<Item = SetRule> {
    part.rules.iter().map(|(name, rule)| SetRule {
        policy: part.object.clone(),
        part: name.clone(),
        tier: part.tier,
        action: rule.action,
        log: part.log.has(rule.action),
        scopes: rule.scopes(&class.ports),
    })
}
