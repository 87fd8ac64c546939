//! Pods: their addresses, then their ports.

use std::collections::{BTreeMap, BTreeSet};

use super::Resolver;
use super::problems::Finder;
use crate::annotations;
use crate::bindings::Bindings;
use crate::desired::{self, DesiredState, SubnetKind, Waiting};
use crate::ipam::{self, AskedFor, Owner, Presence, Want};
use crate::map::changes;
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::nodes;
use crate::portname::{DEFAULT_INTERFACE, port_name};
use crate::problem::Problem;
use crate::qos;
use crate::reserve;
use crate::resolve::Settings;
use crate::state::{Allocation, State};
use crate::sticky;
use crate::view::{ClusterView, Pod};

/// What is known of those who want addresses, beside who holds which.
#[derive(Debug, Default)]
pub(super) struct Pods {
    asked_for: AskedFor,
    /// Who was given something the last time: whether they are content with it is looked at once.
    granted: BTreeSet<Owner>,
    /// Who did not get what it wants, and may when others give something back.
    refused: BTreeSet<Owner>,
    /// Somebody may have let go of something in the course of the last time.
    let_go: bool,
    /// Whose a port is, by node and name.
    ports: BTreeMap<(String, String), NamespacedName>,
    /// Pods whose port has the name of another's.
    crowded: BTreeSet<NamespacedName>,
}

impl Resolver {
    /// Serves pods that differ from the view before with addresses, and says what their ports
    /// shall be, or what they wait for.
    pub(super) fn place(&mut self, before: Option<&ClusterView>, view: &ClusterView) {
        let mut names = match before {
            Some(before) => differing(before, view, &self.state),
            None => {
                self.pods = Pods::default();
                let held = self.state.pods.keys().chain(self.state.kept.keys());
                let reserved = view.ips.values().filter(|ip| reserve::is_reserved(ip));
                let reserved = reserved.map(|ip| NamespacedName::new(&ip.namespace, &ip.pod));
                let there = view.pods.keys().chain(held);
                there.cloned().chain(reserved).collect()
            }
        };
        let presence = Presence {
            pod: &|name: &NamespacedName| view.pods.get(name).is_some_and(takes_part),
            kept: &|name: &NamespacedName, held: &Allocation| {
                reserve::of_pod(view, name).is_some() || sticky::is_kept(view, name, held)
            },
            complete: view.complete,
        };
        let segments = self.plans.iter();
        let segments = segments.map(|(name, plan)| (name.clone(), plan.segment()));
        let block_bits = self.settings.block_bits;
        self.state.open_books(&segments.collect(), block_bits);
        let mut freed = ipam::free_the_gone(&mut self.state, &names, &presence);

        let bindings = Bindings::new(view, &self.plans, &self.pools);
        let mut asking = Asking {
            view,
            bindings: &bindings,
            wants: Vec::new(),
            waiting: BTreeMap::new(),
            found: BTreeMap::new(),
        };
        for name in &names {
            asking.pod(name);
        }
        let mut vip_problems = Vec::new();
        let mut vips = Vec::new();
        if before.is_none() {
            if view.complete {
                ipam::free_gone_vips(&mut self.state, |name| view.vips.contains_key(name));
            }
            vips = reserve::of_vips(view, &self.plans, &mut vip_problems);
        }
        // What those ask for who are looked at anew, and no others.
        let pods = &mut self.pods;
        let mut claims: BTreeMap<&Owner, _> = BTreeMap::new();
        for want in asking.wants.iter().chain(&vips) {
            claims.insert(&want.owner, want.claim.as_ref().ok());
        }
        for want in &vips {
            pods.asked_for.set(&want.owner, want.claim.as_ref().ok());
        }
        for name in &names {
            let owner = Owner::Pod(name.clone());
            let claim = claims.get(&owner).copied().flatten();
            freed |= pods.asked_for.set(&owner, claim);
        }
        // Who was given something the last time is asked once more; and if something may become
        // free, so is everybody who was refused. Of those, who has something lets go of it first.
        let mut again_vips = BTreeSet::new();
        let mut ask = |owners: &BTreeSet<Owner>, asking: &mut Asking<'_>| {
            for owner in owners {
                match owner {
                    Owner::Pod(name) => {
                        if names.insert(name.clone()) {
                            asking.pod(name);
                        }
                    }
                    Owner::Vip(name) => drop(again_vips.insert(name.clone())),
                }
            }
        };
        ask(&pods.granted, &mut asking);
        let state = &self.state;
        freed |= pods.refused.iter().any(|owner| state.held(owner).is_some());
        let lets_go = asking
            .wants
            .iter()
            .any(|want| match state.held(&want.owner) {
                Some((held, away)) => !want.is_met_by(held) && !want.stays_with(held, away),
                None => want.is_claim(),
            });
        // Who asks for something certain comes before those who let go of it: it is their turn the
        // next time.
        freed |= std::mem::replace(&mut pods.let_go, lets_go) | lets_go;
        if freed {
            ask(&pods.refused, &mut asking);
        }
        if !again_vips.is_empty() {
            // They may come to have other addresses, which pods may use too.
            for (name, pod) in &view.pods {
                let uses = annotations::kube_ovn(&pod.meta, "aaps").is_some();
                if uses && names.insert(name.clone()) {
                    asking.pod(name);
                }
            }
            let all = reserve::of_vips(view, &self.plans, &mut Vec::new());
            let is_due = |want: &Want<'_>| match &want.owner {
                Owner::Vip(name) => again_vips.contains(name),
                Owner::Pod(_) => false,
            };
            vips.extend(all.into_iter().filter(is_due));
        }
        let Asking {
            mut wants,
            mut waiting,
            mut found,
            ..
        } = asking;
        wants.extend(vips);
        let owners: BTreeMap<ObjectRef, Owner> = wants
            .iter()
            .map(|want| (want.object.clone(), want.owner.clone()))
            .collect();
        let mut told = Vec::new();
        let served = ipam::assign(
            &mut self.state,
            wants,
            &pods.asked_for,
            &self.plans,
            block_bits,
            &mut told,
        );
        for owner in owners.values() {
            pods.refused.remove(owner);
        }
        for name in &names {
            pods.refused.remove(&Owner::Pod(name.clone()));
        }
        pods.refused.extend(served.refused);
        pods.granted = served.granted.into_iter().collect();
        waiting.extend(served.waiting);
        let mut by_owner: BTreeMap<Owner, Vec<Problem>> = BTreeMap::new();
        for name in &names {
            by_owner.insert(Owner::Pod(name.clone()), Vec::new());
        }
        for owner in owners.values() {
            by_owner.entry(owner.clone()).or_default();
        }
        for problem in told {
            if let Some(owner) = owners.get(&problem.object) {
                by_owner.entry(owner.clone()).or_default().push(problem);
            }
        }
        for problem in vip_problems {
            let owner = Owner::Vip(problem.object.name.clone());
            by_owner.entry(owner).or_default().push(problem);
        }
        for (owner, problems) in by_owner {
            self.problems.set(Finder::Want(owner), problems);
        }

        // Names of ports are 65 bits of SHA-256: that two agree is not by chance, but never to be
        // passed over in silence. The first by name has it.
        names.extend(self.pods.crowded.iter().cloned());
        let mut places = BTreeMap::new();
        for name in &names {
            if let Some(old) = self.desired.pods.get(name) {
                self.pods
                    .ports
                    .remove(&(old.node.clone(), old.port.clone()));
            }
            let Some(pod) = view.pods.get(name).filter(|pod| takes_part(pod)) else {
                continue;
            };
            if waiting.contains_key(name) {
                continue;
            }
            let problems = found.entry(name.clone()).or_default();
            let context = (view, &self.settings, &self.state, &self.desired);
            match port_of(context, name, pod, problems) {
                Some(Ok(placed)) => drop(places.insert(name, placed)),
                Some(Err(what)) => drop(waiting.insert(name.clone(), Waiting::For(what))),
                None => {}
            }
        }
        self.pods.crowded.clear();
        for name in &names {
            if let Some(placed) = places.get(name) {
                let key = (placed.node.clone(), placed.port.clone());
                match self.pods.ports.get(&key) {
                    None => drop(self.pods.ports.insert(key, name.clone())),
                    Some(other) => {
                        let problem = port_is_taken(name, placed, other);
                        waiting.insert(name.clone(), Waiting::Refused(problem.to_string()));
                        found.entry(name.clone()).or_default().push(problem);
                        self.pods.crowded.extend([name.clone(), other.clone()]);
                        places.remove(name);
                    }
                }
            }
            self.desired.pods.set(name.clone(), places.remove(name));
            self.desired.waiting.set(name.clone(), waiting.remove(name));
            let found = found.remove(name).unwrap_or_default();
            self.problems.set(Finder::Pod(name.clone()), found);
        }
    }
}

/// Those who want addresses.
struct Asking<'a> {
    view: &'a ClusterView,
    bindings: &'a Bindings<'a>,
    wants: Vec<Want<'a>>,
    waiting: BTreeMap<NamespacedName, Waiting>,
    /// What is wrong with what pods ask for.
    found: BTreeMap<NamespacedName, Vec<Problem>>,
}

impl Asking<'_> {
    /// Adds what a pod wants, there or not.
    fn pod(&mut self, name: &NamespacedName) {
        let reserved = reserve::of_pod(self.view, name);
        let mut problems = Vec::new();
        match self.view.pods.get_key_value(name) {
            Some((name, pod)) => {
                let object = ObjectRef::namespaced(Kind::Pod, name);
                annotations::report_unread(&object, &pod.meta, &mut problems);
                if takes_part(pod) {
                    match self.bindings.want(name, pod, reserved) {
                        Ok(want) => self.wants.push(want),
                        Err(problem) => {
                            let text = problem.to_string();
                            self.waiting.insert(name.clone(), Waiting::Refused(text));
                            problems.push(*problem);
                        }
                    }
                }
            }
            None => {
                if let Some(ip) = reserved {
                    match self.bindings.absent(name, ip) {
                        Ok(want) => self.wants.push(want),
                        Err(problem) => problems.push(*problem),
                    }
                }
            }
        }
        self.found.insert(name.clone(), problems);
    }
}

/// Pods that differ, and those of StatefulSets that do.
fn differing(before: &ClusterView, view: &ClusterView, state: &State) -> BTreeSet<NamespacedName> {
    let pods = changes(&before.pods, &view.pods);
    let mut names: BTreeSet<NamespacedName> = pods.map(|pod| pod.key.clone()).collect();
    for set in changes(&before.stateful_sets, &view.stateful_sets) {
        let set = set.key;
        let first = NamespacedName::new(&set.namespace, format!("{}-", set.name));
        let is_of = |name: &NamespacedName| {
            name.namespace == set.namespace && name.name.starts_with(&first.name)
        };
        let there = view.pods.starting_at(&first).map(|(name, _)| name);
        names.extend(there.take_while(|name| is_of(name)).cloned());
        for held in [&state.pods, &state.kept] {
            let held = held.starting_at(&first).map(|(name, _)| name);
            names.extend(held.take_while(|name| is_of(name)).cloned());
        }
    }
    names
}

/// True for pods that have a port of ours, and addresses.
fn takes_part(pod: &Pod) -> bool {
    !pod.host_network && !pod.finished
}

/// The port of a pod that has everything, or else what it waits for; `None` if it holds nothing.
fn port_of(
    (view, settings, state, desired): (&ClusterView, &Settings, &State, &DesiredState),
    name: &NamespacedName,
    pod: &Pod,
    problems: &mut Vec<Problem>,
) -> Option<Result<desired::Pod, String>> {
    let object = ObjectRef::namespaced(Kind::Pod, name);
    let qos = qos::read(&object, &pod.meta, problems);
    let held = state.pods.get(name)?;
    let Some(node) = pod.node.as_deref() else {
        let what = format!("Pod {name} to be scheduled to a node (spec.nodeName)");
        return Some(Err(what));
    };
    if !desired.nodes.contains_key(node) {
        return Some(Err(format!("Node {node}, which Pod {name} is on")));
    }
    if settings.written_first && !held.written.0 {
        let what = format!("the addresses of Pod {name} to stand on it");
        return Some(Err(what));
    }
    let subnet = desired.subnets.get(&held.subnet);
    let overlay = subnet.is_some_and(|s| matches!(s.kind, SubnetKind::Overlay { .. }));
    Some(Ok(desired::Pod {
        name: name.clone(),
        node: node.to_string(),
        port: port_name(&name.namespace, &name.name, DEFAULT_INTERFACE),
        subnet: held.subnet.clone(),
        mac: held.mac,
        v4: held.v4,
        v6: held.v6,
        allowed: reserve::allowed(view, state, name, pod, (&held.subnet, overlay), problems),
        qos,
        cell: nodes::label(&pod.meta, annotations::CELL),
    }))
}

fn port_is_taken(name: &NamespacedName, placed: &desired::Pod, other: &NamespacedName) -> Problem {
    let (port, node) = (&placed.port, &placed.node);
    Problem::refused(
        ObjectRef::namespaced(Kind::Pod, name),
        "metadata.name",
        format!("its port {port} on Node {node} is Pod {other}'s; the pod waits"),
        "rename the pod",
    )
}
