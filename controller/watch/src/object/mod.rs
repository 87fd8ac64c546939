//! One object: from a tree of values to what we use of it.

mod core;
mod crd;
mod exposure;
mod kubeovn;
mod policy;
mod policy_crd;
mod typed;
mod unknown;

use cluster::{ClusterView, Kind, Map, NamespacedName, ObjectRef, Problem, view};
use serde_json::Value;

/// An object that we use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) id: ObjectRef,
    pub(crate) content: Content,
    /// What of it has no effect.
    pub(crate) problems: Vec<Problem>,
}

/// Every kind with where the view keeps it and what reads it: the whole of what a new kind needs
/// here.
macro_rules! kinds {
    ($($kind:ident: $map:ident, $content:ty, $read:path;)*) => {
        /// What an object says, by kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Content {
            $($kind($content),)*
        }

        fn content(
            value: &Value,
            id: &ObjectRef,
            problems: &mut Vec<Problem>,
        ) -> Result<Content, FieldError> {
            match id.kind {
                $(Kind::$kind => $read(value, id, problems).map(Content::$kind),)*
            }
        }

        impl Object {
            /// True if the view has the very same already.
            pub(crate) fn stands_in(&self, view: &ClusterView) -> bool {
                let told = view.problems.get(&self.id).map_or(&[][..], Vec::as_slice);
                let same = match &self.content {
                    $(Content::$kind(content) => get(&view.$map, &self.id) == Some(content),)*
                };
                same && told == self.problems
            }

            /// Puts the object into the view in the place of what is there under its name; true if
            /// that was not the same.
            pub(crate) fn replace_in(self, view: &mut ClusterView) -> bool {
                let told = tell(view, &self.id, self.problems);
                let changed = match self.content {
                    $(Content::$kind(content) => replace(&mut view.$map, &self.id, content),)*
                };
                changed || told
            }
        }

        /// Takes an object out of the view; true if it was there.
        pub(crate) fn remove(view: &mut ClusterView, id: &ObjectRef) -> bool {
            let told = tell(view, id, Vec::new());
            let removed = match id.kind {
                $(Kind::$kind => take(&mut view.$map, id),)*
            };
            removed || told
        }

        /// Every object of a kind that is in the view.
        pub(crate) fn of_kind(view: &ClusterView, kind: Kind) -> Vec<ObjectRef> {
            match kind {
                $(Kind::$kind => view.$map.keys().map(|key| key.object(kind)).collect(),)*
            }
        }

        /// True if the view has the object.
        pub(crate) fn has(view: &ClusterView, id: &ObjectRef) -> bool {
            match id.kind {
                $(Kind::$kind => is_in(&view.$map, id),)*
            }
        }
    };
}

kinds! {
    Node: nodes, view::Node, core::node;
    Namespace: namespaces, view::Namespace, core::namespace;
    Pod: pods, view::Pod, core::pod;
    Service: services, view::Service, core::service;
    EndpointSlice: endpoint_slices, view::EndpointSlice, core::endpoint_slice;
    Subnet: subnets, view::Subnet, kubeovn::subnet;
    Vlan: vlans, view::Vlan, kubeovn::vlan;
    ProviderNetwork: provider_networks, view::ProviderNetwork, kubeovn::provider_network;
    IpPool: ip_pools, view::IpPool, kubeovn::ip_pool;
    Ip: ips, view::Ip, kubeovn::ip;
    Vip: vips, view::Vip, kubeovn::vip;
    StatefulSet: stateful_sets, view::StatefulSet, core::stateful_set;
    NetworkPolicy: network_policies, view::NetworkPolicy, policy::network_policy;
    AdminNetworkPolicy: admin_network_policies, view::ClusterPolicy, policy::admin;
    BaselineAdminNetworkPolicy:
        baseline_admin_network_policies, view::ClusterPolicy, policy::baseline;
    ClusterNetworkPolicy: cluster_network_policies, view::ClusterPolicy, policy::cluster;
}

/// True for what is told of a field that nobody knows.
pub(crate) fn is_unknown_field(problem: &Problem) -> bool {
    problem.remedy == typed::UNKNOWN_REMEDY
}

/// What a tree of values is.
#[derive(Debug)]
pub(crate) enum Reading {
    /// An object that we use.
    Object(Box<Object>),
    /// An object of a kind that we do not use.
    Foreign { api_version: String, kind: String },
    /// An object that cannot be read.
    Bad(BadObject),
}

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadObject {
    /// Which one it is, if that much could be read.
    pub(crate) id: Option<ObjectRef>,
    /// As an operator calls it: `Pod bank/web-1`, or whatever of that is known.
    pub(crate) called: Option<String>,
    pub(crate) field: String,
    pub(crate) message: String,
}

/// A field with what is wrong with it.
#[derive(Debug)]
pub(crate) struct FieldError {
    pub(crate) field: String,
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        FieldError {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Reads one object.
pub(crate) fn read(value: &Value) -> Reading {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let (Some(api_version), Some(kind_name)) = (text("/apiVersion"), text("/kind")) else {
        let missing = if text("/apiVersion").is_none() {
            "apiVersion"
        } else {
            "kind"
        };
        return Reading::Bad(BadObject {
            id: None,
            called: text("/metadata/name").map(str::to_string),
            field: missing.into(),
            message: "is missing or not a text, so this is no Kubernetes object; add it".into(),
        });
    };
    let Some(kind) = Kind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == kind_name)
    else {
        return foreign(api_version, kind_name);
    };
    let called = called(kind_name, value);
    if api_version != kind.api_version() {
        if group(api_version) != group(kind.api_version()) {
            return foreign(api_version, kind_name);
        }
        return Reading::Bad(BadObject {
            id: None,
            called: Some(called),
            field: "apiVersion".into(),
            message: format!("{api_version:?} is not read; write {}", kind.api_version()),
        });
    }
    let id = match identity(kind, value) {
        Ok(id) => id,
        Err(error) => {
            return Reading::Bad(BadObject {
                id: None,
                called: Some(called),
                field: error.field,
                message: error.message,
            });
        }
    };
    let mut problems = Vec::new();
    let content = content(value, &id, &mut problems);
    match content {
        Ok(content) => Reading::Object(Box::new(Object {
            id,
            content,
            problems,
        })),
        Err(error) => Reading::Bad(BadObject {
            called: Some(id.to_string()),
            id: Some(id),
            field: error.field,
            message: error.message,
        }),
    }
}

fn foreign(api_version: &str, kind: &str) -> Reading {
    Reading::Foreign {
        api_version: api_version.into(),
        kind: kind.into(),
    }
}

fn group(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

fn called(kind: &str, value: &Value) -> String {
    match value.pointer("/metadata/name").and_then(Value::as_str) {
        Some(name) => format!("{kind} {name}"),
        None => format!("{kind} without a name"),
    }
}

/// Name and namespace, where those can be names of objects at all (RFC 1123 labels, dots between).
fn identity(kind: Kind, value: &Value) -> Result<ObjectRef, FieldError> {
    let part = |field: &str| -> Result<Option<&str>, FieldError> {
        let path = format!("metadata.{field}");
        match value.pointer(&format!("/metadata/{field}")) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(name)) if is_name(name) => Ok(Some(name)),
            Some(other) => Err(FieldError::new(
                path,
                format!("{other} is not a name: use lower-case letters, digits, '-' and '.'"),
            )),
        }
    };
    let Some(name) = part("name")? else {
        return Err(FieldError::new(
            "metadata.name",
            "is missing; name the object",
        ));
    };
    let namespace = part("namespace")?;
    if kind.is_namespaced() {
        let name = NamespacedName::new(namespace.unwrap_or("default"), name);
        Ok(ObjectRef::namespaced(kind, &name))
    } else {
        Ok(ObjectRef::cluster(kind, name))
    }
}

fn is_name(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|b| alphanumeric(b) || b == b'-' || b == b'.')
        && text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().last().is_some_and(alphanumeric)
}

/// How the view calls an object within its kind.
trait Key: Ord + Sized {
    fn of(id: &ObjectRef) -> Self;
    fn object(&self, kind: Kind) -> ObjectRef;
}

impl Key for String {
    fn of(id: &ObjectRef) -> Self {
        id.name.clone()
    }

    fn object(&self, kind: Kind) -> ObjectRef {
        ObjectRef::cluster(kind, self)
    }
}

impl Key for NamespacedName {
    fn of(id: &ObjectRef) -> Self {
        NamespacedName::new(id.namespace.clone().unwrap_or_default(), &id.name)
    }

    fn object(&self, kind: Kind) -> ObjectRef {
        ObjectRef::namespaced(kind, self)
    }
}

fn replace<K: Key, V: PartialEq>(map: &mut Map<K, V>, id: &ObjectRef, value: V) -> bool {
    map.set(K::of(id), Some(value))
}

fn take<K: Key, V>(map: &mut Map<K, V>, id: &ObjectRef) -> bool {
    map.remove(&K::of(id)).is_some()
}

fn get<'a, K: Key, V>(map: &'a Map<K, V>, id: &ObjectRef) -> Option<&'a V> {
    map.get(&K::of(id))
}

fn is_in<K: Key, V>(map: &Map<K, V>, id: &ObjectRef) -> bool {
    map.contains_key(&K::of(id))
}

/// Replaces what reading found wrong with an object; true if that was something else.
pub(crate) fn tell(view: &mut ClusterView, id: &ObjectRef, problems: Vec<Problem>) -> bool {
    let problems = Some(problems).filter(|problems| !problems.is_empty());
    view.problems.set(id.clone(), problems)
}
