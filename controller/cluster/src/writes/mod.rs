//! What shall stand on the cluster's objects: annotations, status, conditions, and what is told
//! about them as Events.
//!
//! All of it is a function of one object and a [`Picture`]; who writes it compares it with what
//! stands there and sends the difference. Times are not part of it: a condition's time is when its
//! status last changed, which only who writes it knows.

mod conditions;
mod drained;
mod ip;
mod notices;
mod pod;
mod reach;
mod service;
mod subnet;
mod vip;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Map, Value};

use crate::annotations::KUBE_OVN;
use crate::desired::DesiredState;
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::problem::Problem;
use crate::state::State;
use crate::view::ClusterView;

pub use conditions::is_our_condition;
pub use drained::{DRAINED, waiting_to_drain};
pub use ip::ip_object;
pub use notices::{Notice, notices};
pub use pod::interface;
pub use reach::{Concerned, Reach, Reached};

/// The name under which we write (`metadata.managedFields[].manager`), and of who reports Events.
pub const MANAGER: &str = "sluice-controller";

/// Everything that what is written derives from.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// The cluster as read.
    pub view: &'a ClusterView,
    /// What the network shall be.
    pub desired: &'a DesiredState,
    /// Who holds what.
    pub state: &'a State,
    /// What switches have acknowledged.
    pub reach: &'a Reach,
    /// What switches found wrong, by object.
    pub found: &'a BTreeMap<ObjectRef, Vec<Problem>>,
}

/// What of ours shall stand on one object. What we once wrote and is not in here shall not stand
/// there any longer; what others wrote is not ours to remove.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`
    pub annotations: BTreeMap<String, String>,
    /// `spec`, of objects that are ours as a whole and made by us.
    pub spec: Option<Value>,
    /// `status`, without conditions.
    pub status: Map<String, Value>,
    /// `status.conditions`, by type.
    pub conditions: BTreeMap<String, Condition>,
    /// Types of conditions, annotations and fields of `status` of which nothing is known yet: they
    /// stay as they are.
    pub unknown: BTreeSet<String>,
    /// Of Pods: the annotations that this was derived from ([`basis`]). Where others stand there
    /// now, somebody has written since, and it has to be derived anew.
    pub basis: Option<u64>,
}

/// What of a Pod's annotations says which addresses it asks for or was given, as one number; in
/// ascending order of the keys.
pub fn basis<'a>(annotations: impl Iterator<Item = (&'a String, &'a str)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (key, value) in annotations {
        if KUBE_OVN.iter().any(|prefix| key.starts_with(prefix)) {
            (key, value).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// A condition, without its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `True` or `False`.
    pub status: bool,
    /// One word, in CamelCase.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Picture<'_> {
    /// What shall stand on one object; `None` leaves it as it is.
    pub fn on(&self, object: &ObjectRef) -> Option<Wanted> {
        let mut wanted = match object.kind {
            Kind::Pod => pod::wanted(self, &full_name(object))?,
            Kind::Ip => ip::wanted(self, &object.name)?,
            Kind::IpPool => vip::pool(self, &object.name),
            Kind::Vip => vip::vip(self, &object.name),
            Kind::Service => service::wanted(self, &full_name(object)),
            Kind::Subnet => subnet::wanted(self, &object.name),
            Kind::Vlan => subnet::vlan(self, &object.name),
            Kind::ProviderNetwork => subnet::provider_network(self, &object.name),
            _ => Wanted::default(),
        };
        conditions::add(self, object, &mut wanted);
        if object.kind == Kind::Pod {
            drained::add(self, &full_name(object), &mut wanted);
        }
        Some(wanted)
    }

    /// What is wrong with one object.
    pub fn problems(&self, object: &ObjectRef) -> Cow<'_, [Problem]> {
        let read = self.desired.problems.of(object);
        match self.found.get(object) {
            Some(found) => [read, found].concat().into(),
            None => read.into(),
        }
    }
}

fn full_name(object: &ObjectRef) -> NamespacedName {
    let namespace = object.namespace.clone().unwrap_or_default();
    NamespacedName::new(namespace, &object.name)
}
