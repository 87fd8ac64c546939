//! Pods that no policy can tell apart: of one namespace, with the same labels and named ports.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::{DesiredState, Protocol};
use crate::hash;
use crate::name::NamespacedName;
use crate::view::{ClusterView, LabelSelector};

/// Labels that controllers give to each pod, or each generation of pods, of a workload. They tell
/// pods apart only if a policy asks for them, which hardly any does.
const PER_INSTANCE: [&str; 10] = [
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "pod-template-generation",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

/// A port that a pod has under a name.
pub(super) type NamedPort<'a> = (&'a str, Protocol, u16);

/// What tells pods apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    namespace: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    ports: BTreeSet<NamedPort<'a>>,
}

/// Pods of one class.
#[derive(Clone, Debug)]
pub(super) struct Class<'a> {
    pub(super) namespace: &'a str,
    /// Labels of one of them; the others have the same, as far as any policy asks.
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) ports: BTreeSet<NamedPort<'a>>,
    pub(super) pods: Vec<&'a NamespacedName>,
    /// From 1; what the pods are called in flows.
    pub(super) identity: u32,
}

/// Every class, numbered from 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes<'a> {
    list: Vec<Class<'a>>,
    by_namespace: BTreeMap<&'a str, Vec<usize>>,
    by_identity: BTreeMap<u32, usize>,
}

impl<'a> Classes<'a> {
    /// Of the pods that have addresses. `selectors` are those of every policy.
    pub(super) fn new<'s>(
        view: &'a ClusterView,
        desired: &DesiredState,
        selectors: impl IntoIterator<Item = &'s LabelSelector>,
    ) -> Self {
        let asked: BTreeSet<&str> = selectors.into_iter().flat_map(keys).collect();
        let counts = |key: &str| !PER_INSTANCE.contains(&key) || asked.contains(key);
        let mut classes: BTreeMap<Key<'_>, Class<'_>> = BTreeMap::new();
        for (name, pod) in &view.pods {
            if !desired.pods.contains_key(name) {
                continue;
            }
            let labels = pod.meta.labels.iter();
            let labels = labels.map(|(key, value)| (key.as_str(), value.as_str()));
            let ports = pod.ports.iter().filter_map(|port| {
                let name = port.name.as_deref()?;
                Some((name, port.protocol, port.port))
            });
            let key = Key {
                namespace: &name.namespace,
                labels: labels.filter(|(key, _)| counts(key)).collect(),
                ports: ports.collect(),
            };
            let class = classes.entry(key).or_insert_with_key(|key| Class {
                namespace: key.namespace,
                labels: &pod.meta.labels,
                ports: key.ports.clone(),
                pods: Vec::new(),
                identity: 0,
            });
            class.pods.push(name);
        }
        let texts = classes.keys().map(text).collect();
        let numbers = numbers(texts);
        let mut all = Classes::default();
        for (key, mut class) in classes {
            class.identity = numbers[&text(&key)];
            let classes = all.by_namespace.entry(class.namespace).or_default();
            classes.push(all.list.len());
            all.by_identity.insert(class.identity, all.list.len());
            all.list.push(class);
        }
        all
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Class<'a>)> {
        self.list.iter().enumerate()
    }

    /// The one that has the identity.
    pub(super) fn with(&self, identity: u32) -> Option<&Class<'a>> {
        self.list.get(*self.by_identity.get(&identity)?)
    }

    /// Those of a namespace.
    pub(super) fn of(&self, namespace: &str) -> impl Iterator<Item = &Class<'a>> {
        self.numbered(namespace).map(|(_, class)| class)
    }

    /// Those of a namespace, with their numbers.
    pub(super) fn numbered(&self, namespace: &str) -> impl Iterator<Item = (usize, &Class<'a>)> {
        let numbers = self.by_namespace.get(namespace);
        numbers.into_iter().flatten().map(|n| (*n, &self.list[*n]))
    }

    /// Namespaces that have pods.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &'a str> {
        self.by_namespace.keys().copied()
    }
}

fn keys(selector: &LabelSelector) -> impl Iterator<Item = &str> {
    let labels = selector.match_labels.keys();
    let expressions = selector.match_expressions.iter().map(|r| &r.key);
    labels.chain(expressions).map(String::as_str)
}

/// No part of it contains a zero, a newline or, but for the ports, a space.
fn text(key: &Key<'_>) -> String {
    use std::fmt::Write;
    let mut text = key.namespace.to_string();
    for (name, value) in &key.labels {
        let _ = write!(text, "\n{name}={value}");
    }
    for (name, protocol, port) in &key.ports {
        let _ = write!(text, "\n{name} {protocol} {port}");
    }
    text
}

/// Gives each text a number from 1: its hash, or the next free one where two hash alike. The same
/// texts always get the same numbers.
pub(super) fn numbers(texts: BTreeSet<String>) -> BTreeMap<String, u32> {
    let mut taken = BTreeSet::new();
    let mut numbers = BTreeMap::new();
    for text in texts {
        let mut number = u32::from_be_bytes(hash::bytes(&[&text])).max(1);
        while !taken.insert(number) {
            number = number.wrapping_add(1).max(1);
        }
        numbers.insert(text, number);
    }
    numbers
}
