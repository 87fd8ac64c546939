//! What policies say of a whole cluster, worked out at once and in the plainest way: what
//! [`super::Index`] has to come to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::classes::{self, Key, NamedPort};
use super::index::{self, Numbers};
use super::parts::{self, Part};
use super::rules::World;
use super::spec::{self, Selection, Spec};
use super::{PodPolicy, Policies, addresses};
use crate::annotations;
use crate::desired::{DesiredState, SubnetKind};
use crate::map::Map;
use crate::name::NamespacedName;
use crate::problem::{Problem, Problems};
use crate::view::{ClusterView, LabelSelector};

/// Resolves every policy of the view for the pods of the desired state.
pub(super) fn policies(
    view: &ClusterView,
    desired: &DesiredState,
    mask: u32,
) -> (Policies, Problems) {
    let mut specs: Vec<Spec<'_>> = Spec::all(view).collect();
    if specs.is_empty() {
        return Default::default();
    }
    specs.sort_by(|a, b| a.rank.cmp(&b.rank));
    let subjects = specs.iter().map(|policy| policy.subject.clone());
    let selections = specs.iter().flat_map(Spec::selections).chain(subjects);
    let selections: Vec<Selection> = selections.collect();
    let asked = selections.iter().flat_map(|s| classes::asked(s.pods()));
    let asked: BTreeSet<&str> = asked.collect();

    let mut classes: BTreeMap<Key, Vec<NamespacedName>> = BTreeMap::new();
    for (name, pod) in &view.pods {
        if desired.pods.contains_key(name) {
            let key = Key::new(name, pod, |label| asked.contains(label));
            classes.entry(key).or_default().push(name.clone());
        }
    }
    let identities = numbers(classes.keys().map(Key::text).collect(), mask);
    let world = All {
        classes: classes
            .into_iter()
            .map(|(key, pods)| (identities[&key.text()], (key, pods)))
            .collect(),
        view,
        desired,
        node_addresses: desired
            .nodes
            .iter()
            .map(|(name, node)| (name.clone(), addresses(node)))
            .collect(),
    };

    let mut problems: Vec<Problem> = Vec::new();
    let mut drafts = Vec::new();
    for ingress in [true, false] {
        let part = |policy| {
            Some((
                policy,
                Part::new(&world, view, policy, ingress, &mut problems)?,
            ))
        };
        let all: Vec<(&Spec<'_>, Part)> = specs.iter().filter_map(part).collect();
        for (identity, (key, _)) in &world.classes {
            let labels = spec::namespace_labels(view, &key.namespace);
            let holds = all.iter().filter(|(p, _)| p.subject.matches(key, &labels));
            let holding: Vec<&Part> = holds.map(|(_, part)| part).collect();
            if !holding.is_empty() {
                let parts = holding.iter().copied();
                let (text, ports) = parts::describe(ingress, parts.clone(), &key.ports);
                drafts.push((*identity, ingress, text, parts::set(parts, &ports)));
            }
        }
        for (policy, part) in &all {
            let held = world.classes.values().filter(|(key, _)| {
                let labels = spec::namespace_labels(view, &key.namespace);
                policy.subject.matches(key, &labels)
            });
            part.report_unused(ingress, held.map(|(key, _)| &key.ports), &mut problems);
        }
    }
    for policy in &specs {
        annotations::report_unread(&policy.object, policy.meta, &mut problems);
    }

    let texts = drafts.iter().map(|(_, _, text, _)| text.clone());
    let numbers = numbers(texts.collect(), mask);
    let mut policies = Policies {
        active: true,
        ..Policies::default()
    };
    let mut chosen: BTreeMap<(u32, bool), u32> = BTreeMap::new();
    for (identity, ingress, text, set) in drafts {
        chosen.insert((identity, ingress), numbers[&text]);
        policies.sets.insert(numbers[&text], Arc::new(set));
    }
    for (identity, (_, pods)) in &world.classes {
        let pod = PodPolicy {
            identity: *identity,
            ingress: chosen.get(&(*identity, true)).copied(),
            egress: chosen.get(&(*identity, false)).copied(),
        };
        for name in pods {
            policies.members.insert((*identity, name.clone()), ());
            policies.pods.insert(name.clone(), pod);
        }
    }
    let underlay = |subnet: &str| {
        let subnet = desired.subnets.get(subnet);
        subnet.is_some_and(|s| matches!(s.kind, SubnetKind::Underlay { .. }))
    };
    let pods = desired.pods.values().filter(|pod| underlay(&pod.subnet));
    let pods = pods.map(|pod| (pod.name.clone(), pod.addresses().collect()));
    policies.underlay_pods = pods.collect();
    policies.node_addresses = world.node_addresses;
    (policies, problems.into_iter().collect())
}

fn numbers(texts: BTreeSet<String>, mask: u32) -> BTreeMap<String, u32> {
    let mut numbers = Numbers::new(mask);
    numbers.enter(texts.clone()).expect("there is room");
    let number = |text: String| {
        let number = numbers.get(&text).expect("it has been entered");
        (text, number)
    };
    texts.into_iter().map(number).collect()
}

/// Every class by identity, gone through for each question.
struct All<'a> {
    classes: BTreeMap<u32, (Key, Vec<NamespacedName>)>,
    view: &'a ClusterView,
    desired: &'a DesiredState,
    node_addresses: Map<String, Vec<IpAddr>>,
}

impl World for All<'_> {
    fn select(&self, selection: &Selection, each: &mut dyn FnMut(u32)) {
        for (identity, (key, _)) in &self.classes {
            let labels = spec::namespace_labels(self.view, &key.namespace);
            if selection.matches(key, &labels) {
                each(*identity);
            }
        }
    }

    fn with_port(&self, name: &str, each: &mut dyn FnMut(u32)) {
        for (identity, (key, _)) in &self.classes {
            if key.ports.iter().any(|port| port.0 == name) {
                each(*identity);
            }
        }
    }

    fn ports(&self, identity: u32) -> Option<&BTreeSet<NamedPort>> {
        Some(&self.classes.get(&identity)?.0.ports)
    }

    fn addresses(&self, identity: u32, each: &mut dyn FnMut(IpAddr)) {
        let pods = &self.classes[&identity].1;
        let pods = pods.iter().map(|name| &self.desired.pods[name]);
        pods.flat_map(|pod| pod.addresses()).for_each(each);
    }

    fn nodes(&self, selector: &LabelSelector) -> Vec<IpAddr> {
        index::nodes(self.view, &self.node_addresses, selector)
    }
}
