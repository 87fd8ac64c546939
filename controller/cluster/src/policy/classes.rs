//! Pods that no policy can tell apart: of one namespace, with the same labels and named ports.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::Protocol;
use crate::name::NamespacedName;
use crate::view::{LabelSelector, Pod};

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
pub(super) type NamedPort = (String, Protocol, u16);

/// What tells pods apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: String,
    /// As far as any policy asks.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) ports: BTreeSet<NamedPort>,
}

impl Key {
    /// Of a pod; `asked` are the labels of [`PER_INSTANCE`] that a policy asks for.
    pub(super) fn new(name: &NamespacedName, pod: &Pod, asked: impl Fn(&str) -> bool) -> Self {
        let labels = pod.meta.labels.iter();
        let counts = |key: &str| !PER_INSTANCE.contains(&key) || asked(key);
        let ports = pod.ports.iter().filter_map(|port| {
            let name = port.name.as_deref()?;
            Some((name.to_string(), port.protocol, port.port))
        });
        Key {
            namespace: name.namespace.clone(),
            labels: labels
                .filter(|(key, _)| counts(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            ports: ports.collect(),
        }
    }

    /// No part of it contains a zero, a newline or, but for the ports, a space.
    pub(super) fn text(&self) -> String {
        use std::fmt::Write;
        let mut text = self.namespace.clone();
        for (name, value) in &self.labels {
            let _ = write!(text, "\n{name}={value}");
        }
        for (name, protocol, port) in &self.ports {
            let _ = write!(text, "\n{name} {protocol} {port}");
        }
        text
    }
}

/// Labels of [`PER_INSTANCE`] that a selector asks for.
pub(super) fn asked(selector: &LabelSelector) -> impl Iterator<Item = &str> {
    let labels = selector.match_labels.keys();
    let expressions = selector.match_expressions.iter().map(|r| &r.key);
    let keys = labels.chain(expressions).map(String::as_str);
    keys.filter(|key| PER_INSTANCE.contains(key))
}
