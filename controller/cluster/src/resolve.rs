//! From the view to the desired state, in the order in which one thing depends on another.

use std::collections::BTreeMap;

use crate::addr::Family;
use crate::annotations;
use crate::desired::{self, DesiredState, SubnetKind, Usage, Waiting};
use crate::edge;
use crate::ipam::{self, Want, claim};
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::nodes;
use crate::policy;
use crate::portname::{DEFAULT_INTERFACE, port_name};
use crate::problem::Problem;
use crate::qos;
use crate::services;
use crate::state::State;
use crate::subnets::{self, SubnetPlan};
use crate::view::{ClusterView, Pod};

/// What holds where no object says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// MTU of overlay subnets, bytes of L3 payload: the physical one less Geneve with room for
    /// options, over IPv4 or IPv6 (as Kube-OVN does it: 100 bytes).
    pub overlay_mtu: u16,
    /// MTU of underlay subnets, bytes of L3 payload.
    pub underlay_mtu: u16,
    /// A pod is told to switches only when its addresses stand on its Pod: whoever comes after us
    /// reads there who holds what.
    pub written_first: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            overlay_mtu: 1400,
            underlay_mtu: 1500,
            written_first: false,
        }
    }
}

/// Computes what the network shall be. `state` is brought up to date with it and has to be kept,
/// before anything is told to switches or pods.
///
/// The same view and state give the same result; calling it again with the state it left changes
/// nothing.
pub fn resolve(view: &ClusterView, settings: &Settings, state: &mut State) -> DesiredState {
    let mut problems: Vec<Problem> = view.problems.values().flatten().cloned().collect();
    let nodes = nodes::nodes(view, &mut problems);
    let provider_networks = nodes::provider_networks(view, &mut problems);
    let plans = subnets::subnets(view, settings, &provider_networks, state, &mut problems);
    let bindings = Bindings::new(view, &plans, &mut problems);

    let mut waiting = BTreeMap::new();
    let mut wants = Vec::new();
    for (name, pod) in &view.pods {
        let object = ObjectRef::namespaced(Kind::Pod, name);
        annotations::report_unread(&object, &pod.meta, &mut problems);
        if !takes_part(pod) {
            continue;
        }
        match bindings.candidates(name, pod) {
            Ok(candidates) => wants.push(Want {
                name,
                uid: pod.meta.uid.as_deref(),
                created: pod.meta.created,
                candidates,
                claim: claim::read(&object, &pod.meta),
            }),
            Err(problem) => {
                waiting.insert(name.clone(), Waiting::Refused(problem.to_string()));
                problems.push(*problem);
            }
        }
    }
    let exists = |name: &NamespacedName| view.pods.get(name).is_some_and(takes_part);
    let unserved = ipam::assign(state, wants, &plans, exists, view.complete, &mut problems);
    waiting.extend(unserved);

    let mut desired = DesiredState {
        nodes,
        provider_networks,
        subnets: plans
            .iter()
            .map(|(name, plan)| (name.clone(), plan.subnet.clone()))
            .collect(),
        waiting,
        usage: usage(&plans, state),
        ..DesiredState::default()
    };
    add_pods(view, settings, state, &mut desired, &mut problems);
    for (name, namespace) in &view.namespaces {
        let object = ObjectRef::cluster(Kind::Namespace, name);
        let limits = qos::of_namespace(&object, &namespace.meta, &mut problems);
        desired
            .namespace_limits
            .extend(limits.map(|limits| (name.clone(), limits)));
    }
    desired.services = services::services(view, &desired, &mut problems);
    desired.hosts = edge::hosts(view, &desired, &mut problems);
    desired.nat_outgoing = edge::nat_outgoing(view, &desired, &mut problems);
    desired.frontends = edge::frontends(view, &desired, &mut problems);
    desired.policies = policy::policies(view, &desired, &mut problems);
    problems.sort();
    problems.dedup();
    desired.problems = problems;
    desired
}

fn usage(plans: &BTreeMap<String, SubnetPlan>, state: &State) -> BTreeMap<String, Vec<Usage>> {
    let mut usage = BTreeMap::new();
    for (name, plan) in plans {
        let entry = plan.pools.iter().map(|pool| Usage {
            family: match pool.family() {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            },
            used: 0,
            available: pool.size(),
        });
        usage.insert(name.clone(), entry.collect::<Vec<_>>());
    }
    for (_, allocation) in state.allocations() {
        let subnet = plans
            .get(&allocation.subnet)
            .zip(usage.get_mut(&allocation.subnet));
        let Some((plan, usage)) = subnet else {
            continue;
        };
        for (pool, usage) in plan.pools.iter().zip(usage) {
            if let Some(address) = allocation.address(pool.family()) {
                usage.used += 1;
                usage.available -= u128::from(pool.gives(address)).min(usage.available);
            }
        }
    }
    usage
}

/// True for pods that have a port of ours, and addresses.
fn takes_part(pod: &Pod) -> bool {
    !pod.host_network && !pod.finished
}

/// Which subnets a pod can have its addresses from.
struct Bindings<'a> {
    plans: &'a BTreeMap<String, SubnetPlan>,
    view: &'a ClusterView,
    /// For each namespace with pods, the names in the order in which they are tried.
    by_namespace: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Bindings<'a> {
    fn new(
        view: &'a ClusterView,
        plans: &'a BTreeMap<String, SubnetPlan>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let default = subnets::default_subnet(view, plans, problems);
        for (name, namespace) in &view.namespaces {
            let object = ObjectRef::cluster(Kind::Namespace, name);
            annotations::report_unread(&object, &namespace.meta, problems);
            if let Some(annotation) = annotations::kube_ovn(&namespace.meta, "logical_switch") {
                for subnet in names(annotation.value) {
                    if !view.subnets.contains_key(subnet) {
                        problems.push(Problem::refused(
                            object.clone(),
                            annotation.field(),
                            format!("there is no Subnet {subnet:?}"),
                            "create it, or correct the name",
                        ));
                    }
                }
            }
        }
        let mut by_namespace = BTreeMap::new();
        for pod in view.pods.keys() {
            let namespace = pod.namespace.as_str();
            by_namespace.entry(namespace).or_insert_with(|| {
                let annotation = view
                    .namespaces
                    .get(namespace)
                    .and_then(|n| annotations::kube_ovn(&n.meta, "logical_switch"));
                match annotation {
                    Some(annotation) => names(annotation.value).collect(),
                    None => subnets::bound_to(view, namespace, default),
                }
            });
        }
        Bindings {
            plans,
            view,
            by_namespace,
        }
    }

    fn candidates(
        &self,
        name: &'a NamespacedName,
        pod: &'a Pod,
    ) -> Result<Vec<&'a SubnetPlan>, Box<Problem>> {
        let (field, names) = match annotations::kube_ovn(&pod.meta, "logical_switch") {
            Some(annotation) => (annotation.field(), vec![annotation.value]),
            None => {
                let bound = self.by_namespace.get(name.namespace.as_str());
                (String::new(), bound.cloned().unwrap_or_default())
            }
        };
        let refused = |message: String, remedy: &str| {
            let object = ObjectRef::namespaced(Kind::Pod, name);
            Err(Box::new(Problem::refused(object, &field, message, remedy)))
        };
        let in_force: Vec<_> = names.iter().filter_map(|n| self.plans.get(*n)).collect();
        let Some(first) = names.first() else {
            return refused(
                format!("Namespace {} has no subnet; the pod waits", name.namespace),
                "name the namespace in a Subnet's spec.namespaces, or set spec.default on one",
            );
        };
        if in_force.is_empty() {
            return if names.iter().any(|n| self.view.subnets.contains_key(*n)) {
                refused(
                    format!("Subnet {} is not in force; the pod waits", names.join(", ")),
                    "mend what is reported of the subnet",
                )
            } else {
                refused(
                    format!("there is no Subnet {first:?}; the pod waits"),
                    "create it, or correct the name",
                )
            };
        }
        let without_uplink = |plan: &&SubnetPlan| match (&plan.subnet.kind, &pod.node) {
            (SubnetKind::Underlay { provider, .. }, Some(node)) => !self.has_uplink(provider, node),
            _ => false,
        };
        let usable: Vec<_> = in_force
            .iter()
            .copied()
            .filter(|plan| !without_uplink(plan))
            .collect();
        match in_force.first() {
            Some(plan) if usable.is_empty() => {
                let node = pod.node.as_deref().unwrap_or_default();
                refused(
                    format!(
                        "Node {node} has no uplink to the physical network of Subnet {}; the pod waits",
                        plan.name()
                    ),
                    "add the node to the ProviderNetwork, or run the pod elsewhere",
                )
            }
            _ => Ok(usable),
        }
    }

    /// Unknown nodes are given the benefit of the doubt: their pods wait for them anyway.
    fn has_uplink(&self, provider: &str, node: &str) -> bool {
        !self.view.nodes.contains_key(node)
            || self
                .view
                .provider_networks
                .get(provider)
                .is_some_and(|network| nodes::uplink(network, node, self.view).is_some())
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Adds the pods that have everything; the others wait for what they lack.
fn add_pods(
    view: &ClusterView,
    settings: &Settings,
    state: &State,
    desired: &mut DesiredState,
    problems: &mut Vec<Problem>,
) {
    let mut ports: BTreeMap<(&str, String), &NamespacedName> = BTreeMap::new();
    for (name, pod) in &view.pods {
        if !takes_part(pod) || desired.waiting.contains_key(name) {
            continue;
        }
        let object = ObjectRef::namespaced(Kind::Pod, name);
        let qos = qos::read(&object, &pod.meta, problems);
        let Some(held) = state.pods.get(name) else {
            continue;
        };
        let Some(node) = pod.node.as_deref() else {
            let what = format!("Pod {name} to be scheduled to a node (spec.nodeName)");
            desired.waiting.insert(name.clone(), Waiting::For(what));
            continue;
        };
        if !desired.nodes.contains_key(node) {
            let what = format!("Node {node}, which Pod {name} is on");
            desired.waiting.insert(name.clone(), Waiting::For(what));
            continue;
        }
        if settings.written_first && !held.written.0 {
            let what = format!("the addresses of Pod {name} to stand on it");
            desired.waiting.insert(name.clone(), Waiting::For(what));
            continue;
        }
        let port = port_name(&name.namespace, &name.name, DEFAULT_INTERFACE);
        if let Some(other) = ports.insert((node, port.clone()), name) {
            // 65 bits of SHA-256 agree: not by chance, but never to be passed over in silence.
            ports.insert((node, port.clone()), other);
            let problem = Problem::refused(
                object,
                "metadata.name",
                format!("its port {port} on Node {node} is Pod {other}'s; the pod waits"),
                "rename the pod",
            );
            let text = problem.to_string();
            desired.waiting.insert(name.clone(), Waiting::Refused(text));
            problems.push(problem);
            continue;
        }
        let port = desired::Pod {
            name: name.clone(),
            node: node.to_string(),
            port,
            subnet: held.subnet.clone(),
            mac: held.mac,
            v4: held.v4,
            v6: held.v6,
            allowed: Vec::new(),
            qos,
        };
        desired.pods.insert(name.clone(), port);
    }
}
