//! From the view to the desired state, in the order in which one thing depends on another.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::addr::Family;
use crate::annotations;
use crate::bindings::Bindings;
use crate::desired::{self, DesiredState, SubnetKind, Usage, Waiting};
use crate::edge;
use crate::ipam::book::Book;
use crate::ipam::named::{self, NamedPool};
use crate::ipam::ranges::RangeSet;
use crate::ipam::{self, Presence};
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::nodes;
use crate::policy;
use crate::portname::{DEFAULT_INTERFACE, port_name};
use crate::problem::Problem;
use crate::qos;
use crate::reserve;
use crate::services;
use crate::state::{Allocation, State};
use crate::sticky;
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
    /// Addresses given unasked come from blocks of 2 to the power of this many, each of which is
    /// one node's as far as the subnet has enough; 0: wherever a node is.
    pub block_bits: u8,
    /// Records of the policy log that a node may cause, a second; from 1.
    pub policy_log_rate: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            overlay_mtu: 1400,
            underlay_mtu: 1500,
            written_first: false,
            block_bits: 6,
            policy_log_rate: 100,
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
    let mut plans = subnets::subnets(view, settings, &provider_networks, state, &mut problems);
    let pools = named::named_pools(view, &mut plans, &mut problems);
    let plans = plans;
    let bindings = Bindings::new(view, &plans, &pools, &mut problems);
    let reserved = reserve::reserved(view, &mut problems);

    let mut waiting = BTreeMap::new();
    let mut wants = reserve::of_vips(view, &plans, &mut problems);
    wants.extend(reserve::of_absent_pods(
        view,
        &reserved,
        &plans,
        &mut problems,
    ));
    for (name, pod) in &view.pods {
        let object = ObjectRef::namespaced(Kind::Pod, name);
        annotations::report_unread(&object, &pod.meta, &mut problems);
        if !takes_part(pod) {
            continue;
        }
        match bindings.want(name, pod, reserved.get(name).copied()) {
            Ok(want) => wants.push(want),
            Err(problem) => {
                waiting.insert(name.clone(), Waiting::Refused(problem.to_string()));
                problems.push(*problem);
            }
        }
    }
    let presence = Presence {
        pod: &|name: &NamespacedName| view.pods.get(name).is_some_and(takes_part),
        kept: &|name: &NamespacedName, held: &Allocation| {
            reserved.contains_key(name) || sticky::is_kept(view, name, held)
        },
        vip: &|name: &str| view.vips.contains_key(name),
        complete: view.complete,
    };
    let unserved = ipam::assign(
        state,
        wants,
        &plans,
        settings.block_bits,
        &presence,
        &mut problems,
    );
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
        ip_pools: pool_usage(&pools, state),
        kept: state
            .kept
            .iter()
            .map(|(name, held)| (name.clone(), reserve::kept(held)))
            .collect(),
        vips: state
            .vips
            .iter()
            .map(|(name, held)| (name.clone(), reserve::kept(held)))
            .collect(),
        policy_log_rate: settings.policy_log_rate,
        ..DesiredState::default()
    };
    add_pods(view, settings, state, &mut desired, &mut problems);
    for (name, namespace) in &view.namespaces {
        let object = ObjectRef::cluster(Kind::Namespace, name);
        let limits = qos::of_namespace(&object, &namespace.meta, &mut problems);
        desired
            .namespace_limits
            .extend(limits.map(|limits| (name.clone(), limits)));
        policy::log::of_namespace(&object, &namespace.meta, &mut problems);
    }
    desired.services = services::services(view, &desired, &mut problems);
    desired.hosts = edge::hosts(view, &desired, &mut problems);
    desired.nat_outgoing = edge::nat_outgoing(view, &desired, &mut problems);
    desired.frontends = edge::frontends(view, &desired, &mut state.balanced, &mut problems);
    desired.policies = policy::policies(view, &desired, &mut problems);
    problems.sort();
    problems.dedup();
    desired.problems = problems;
    desired
}

fn usage(plans: &BTreeMap<String, SubnetPlan>, state: &State) -> BTreeMap<String, Vec<Usage>> {
    let usage = plans.iter().map(|(name, plan)| {
        let of = |pool: &ipam::pool::Pool| usage_of(state, name, pool.family(), pool.given(), None);
        (name.clone(), plan.pools.iter().map(of).collect())
    });
    usage.collect()
}

fn pool_usage(pools: &BTreeMap<String, NamedPool>, state: &State) -> BTreeMap<String, Vec<Usage>> {
    let usage = pools.iter().map(|(name, pool)| {
        let of = |family: Family| {
            let (all, given) = (pool.ranges(family), pool.given(family));
            (!all.is_empty()).then(|| usage_of(state, &pool.subnet, family, given, Some(all)))
        };
        let families = [Family::V4, Family::V6].into_iter().filter_map(of);
        (name.clone(), families.collect())
    });
    usage.collect()
}

/// What of `given` is free, and how many are held of `all`, or of the whole subnet.
fn usage_of(
    state: &State,
    subnet: &str,
    family: Family,
    given: &RangeSet,
    all: Option<&RangeSet>,
) -> Usage {
    static NOBODY: LazyLock<Book> = LazyLock::new(Book::default);
    let ledger = state.ledger.0.as_deref();
    let book = ledger.and_then(|ledger| ledger.book(subnet, family));
    let book = book.unwrap_or(&NOBODY);
    let held = book.held();
    Usage {
        family: match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        },
        used: match all {
            Some(all) => book.held_of(all),
            None => book.len() as u128,
        },
        available: given.len().saturating_sub(book.held_of(given)),
        used_ranges: match all {
            Some(all) => held.inside_text(all, family),
            None => held.all_text(family),
        },
        available_ranges: held.outside_text(given, family),
    }
}

/// True for pods that have a port of ours, and addresses.
fn takes_part(pod: &Pod) -> bool {
    !pod.host_network && !pod.finished
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
        let subnet = desired.subnets.get(&held.subnet);
        let overlay = subnet.is_some_and(|s| matches!(s.kind, SubnetKind::Overlay { .. }));
        let port = desired::Pod {
            name: name.clone(),
            node: node.to_string(),
            port,
            subnet: held.subnet.clone(),
            mac: held.mac,
            v4: held.v4,
            v6: held.v6,
            allowed: reserve::allowed(view, state, name, pod, (&held.subnet, overlay), problems),
            qos,
            cell: nodes::label(&pod.meta, annotations::CELL),
        };
        desired.pods.insert(name.clone(), port);
    }
}
