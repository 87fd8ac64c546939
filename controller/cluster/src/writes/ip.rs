//! IP objects: who holds which address, for people and tools that list them.

use serde_json::json;

use super::{Picture, Wanted};
use crate::annotations::KUBE_OVN;
use crate::name::{Kind, NamespacedName, ObjectRef};

/// Kube-OVN's label that says whether a person keeps the address for a pod that is to come; what
/// we write says that nobody does.
const RESERVED: &str = "ip_reserved";

/// The IP object of a pod, as Kube-OVN calls it.
pub fn ip_object(pod: &NamespacedName) -> ObjectRef {
    ObjectRef::cluster(Kind::Ip, format!("{}.{}", pod.name, pod.namespace))
}

/// The pod of an IP object: a namespace has no dot in its name.
fn pod_of(name: &str) -> Option<NamespacedName> {
    let (pod, namespace) = name.rsplit_once('.')?;
    Some(NamespacedName::new(namespace, pod))
}

impl Picture<'_> {
    /// True for an object that we made, and may delete.
    pub fn is_ours_to_remove(&self, object: &ObjectRef) -> bool {
        let ip = self.view.ips.get(&object.name);
        ip.filter(|_| object.kind == Kind::Ip).is_some_and(|ip| {
            let label = format!("{}{RESERVED}", KUBE_OVN[0]);
            ip.meta
                .labels
                .get(&label)
                .is_some_and(|value| value == "false")
        })
    }
}

/// The IP object of a pod that holds addresses. One that a person wrote is left alone.
pub(super) fn wanted(picture: &Picture<'_>, name: &str) -> Option<Wanted> {
    let object = ObjectRef::cluster(Kind::Ip, name);
    if picture.view.ips.contains_key(name) && !picture.is_ours_to_remove(&object) {
        return None;
    }
    let pod = pod_of(name)?;
    // A pod of a StatefulSet that is away keeps what it has.
    let held = picture.state.allocation(&pod);
    let held = held.or_else(|| picture.state.kept.get(&pod))?;
    let node = picture.view.pods.get(&pod).and_then(|pod| pod.node.clone());
    let node = node.or_else(|| held.node.clone());
    let kind = held.workload.as_ref().map_or("", |_| "StatefulSet");
    let text = |address: Option<String>| address.unwrap_or_default();
    let addresses: Vec<String> = held.addresses().map(|a| a.to_string()).collect();
    let label = |name: &str, value: &str| (format!("{}{name}", KUBE_OVN[0]), value.to_string());
    Some(Wanted {
        labels: [label(RESERVED, "false"), label("subnet", &held.subnet)].into(),
        spec: Some(json!({
            "podName": pod.name,
            "namespace": pod.namespace,
            "subnet": held.subnet,
            "nodeName": node.unwrap_or_default(),
            "ipAddress": addresses.join(","),
            "v4IpAddress": text(held.v4.map(|a| a.to_string())),
            "v6IpAddress": text(held.v6.map(|a| a.to_string())),
            "macAddress": held.mac.to_string(),
            "podType": kind,
        })),
        ..Wanted::default()
    })
}
