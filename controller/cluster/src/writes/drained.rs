//! The readiness gate by which a pod that goes away learns that nothing new will come: the condition
//! `sluice.io/drained`, on Pods whose `spec.readinessGates` name it.
//!
//! A gate that is not `True` keeps a pod from being ready, so it is `True` while the pod is in service
//! (reason `InService`), `False` from its deletion on (`Draining`), and `True` again (`Drained`) when
//! every node's switch has acknowledged flows that bring no new connection there.

use std::net::IpAddr;

use super::{Condition, Picture, Reached, Wanted};
use crate::backends;
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::view::{Pod, has_all};

/// The condition's type, and the gate's.
pub const DRAINED: &str = "sluice.io/drained";

/// Adds the condition to what shall stand on a Pod that asks for it.
pub(super) fn add(picture: &Picture<'_>, name: &NamespacedName, wanted: &mut Wanted) {
    let pod = picture.view.pods.get(name);
    if let Some(pod) = pod.filter(|pod| pod.drain_gate) {
        let (status, reason, message) = judge(picture, name, pod);
        let reason = reason.to_string();
        let condition = Condition {
            status,
            reason,
            message,
        };
        wanted.conditions.insert(DRAINED.into(), condition);
    }
}

/// Pods of a Service's namespace whose condition may be another when the Service has changed, or is in
/// force.
pub fn waiting_to_drain<'a>(
    picture: &'a Picture<'_>,
    service: &'a NamespacedName,
) -> impl Iterator<Item = ObjectRef> + 'a {
    let first = NamespacedName::new(&service.namespace, "");
    let pods = picture.view.pods.starting_at(&first);
    pods.take_while(|(name, _)| name.namespace == service.namespace)
        .filter(|(_, pod)| pod.drain_gate && pod.meta.deleting)
        .map(|(name, _)| ObjectRef::namespaced(Kind::Pod, name))
}

fn judge(picture: &Picture<'_>, name: &NamespacedName, pod: &Pod) -> (bool, &'static str, String) {
    if !pod.meta.deleting {
        let message = "not draining: this gate does not hold the pod back".into();
        return (true, "InService", message);
    }
    let held = picture.state.allocation(name);
    let addresses: Vec<IpAddr> = held.into_iter().flat_map(|held| held.addresses()).collect();
    for (service, desired) in &picture.desired.services {
        if backends::may_get_connections(desired, &addresses) {
            let message = format!("Service {service} still brings connections here");
            return (false, "Draining", message);
        }
    }
    // It may have left a Service just now: what leads there is then still in some switch.
    let leads_here = |service: &NamespacedName| {
        let listed = picture.desired.services.get(service);
        let listed = listed.is_some_and(|desired| backends::lists(desired, &addresses));
        let view = picture.view.services.get(service);
        let selects = |selector: &std::collections::BTreeMap<String, String>| {
            !selector.is_empty() && has_all(&pod.meta.labels, selector)
        };
        listed
            || service.namespace == name.namespace
                && view.is_some_and(|service| selects(&service.selector))
    };
    let services = picture.desired.services.keys();
    let objects = services
        .filter(|service| leads_here(service))
        .map(|service| ObjectRef::namespaced(Kind::Service, service));
    for object in objects.chain([ObjectRef::namespaced(Kind::Pod, name)]) {
        if let Reached::NotYet { nodes, example } = picture.reach.of(&object) {
            let message = format!("not yet acknowledged by {nodes} nodes, {example} for one");
            return (false, "Draining", message);
        }
    }
    let message = "no node brings a new connection here".into();
    (true, "Drained", message)
}
