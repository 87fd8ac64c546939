//! EndpointSlices: endpoints stay in the slice they are in, new ones fill up what has room.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::endpoints::Group;
use crate::resource::Resource;
use crate::store::{DeleteOptions, Store, Write};

/// Endpoints of a slice at most (kube-controller-manager, `--max-endpoints-per-slice`).
const FULL: usize = 100;
const NAME_LABEL: &str = "kubernetes.io/service-name";
const BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const BY: &str = "endpointslice-controller.k8s.io";

/// Makes a Service's slices hold exactly these endpoints.
pub(super) fn write(store: &mut Store, service: &Value, wanted: BTreeMap<Group, Vec<Value>>) {
    let Some(resource) = store.find("discovery.k8s.io/v1", "EndpointSlice") else {
        return;
    };
    let namespace = text(service, "/metadata/namespace");
    let mut old: BTreeMap<Group, Vec<Arc<Value>>> = BTreeMap::new();
    for slice in ours(store, &namespace) {
        if slice["metadata"]["labels"][NAME_LABEL] == service["metadata"]["name"] {
            let group = (text(&slice, "/addressType"), ports(&slice).to_string());
            old.entry(group).or_default().push(slice);
        }
    }
    for ((family, ports), endpoints) in wanted {
        let before = old
            .remove(&(family.clone(), ports.clone()))
            .unwrap_or_default();
        let ports: Value = serde_json::from_str(&ports).unwrap_or_default();
        let filled = fill(before, endpoints);
        for (slice, endpoints) in filled.kept {
            let new = build(service, &family, &ports, endpoints, slice.as_deref());
            save(store, &resource, &namespace, slice.as_deref(), new);
        }
        for slice in filled.emptied.into_iter().filter_map(|(slice, _)| slice) {
            remove(store, &resource, &slice);
        }
    }
    for slice in old.into_values().flatten() {
        remove(store, &resource, &slice);
    }
}

/// Removes slices of Services that are gone, or have no selector any more.
pub(super) fn remove_orphans(store: &mut Store, namespace: &str, services: &[Arc<Value>]) {
    let Some(resource) = store.find("discovery.k8s.io/v1", "EndpointSlice") else {
        return;
    };
    for slice in ours(store, namespace) {
        let name = &slice["metadata"]["labels"][NAME_LABEL];
        if !services
            .iter()
            .any(|service| service["metadata"]["name"] == *name)
        {
            remove(store, &resource, &slice);
        }
    }
}

fn ours(store: &Store, namespace: &str) -> Vec<Arc<Value>> {
    store
        .all("discovery.k8s.io", "endpointslices")
        .filter(|slice| {
            slice["metadata"]["namespace"] == namespace
                && slice["metadata"]["labels"][BY_LABEL] == BY
        })
        .cloned()
        .collect()
}

fn text(object: &Value, pointer: &str) -> String {
    let value = object.pointer(pointer).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

fn ports(slice: &Value) -> Value {
    slice.get("ports").cloned().unwrap_or_default()
}

/// A slice, if it is there already, and its endpoints.
type Slice = (Option<Arc<Value>>, Vec<Value>);

struct Filled {
    kept: Vec<Slice>,
    emptied: Vec<Slice>,
}

/// Divides endpoints among slices.
fn fill(before: Vec<Arc<Value>>, mut endpoints: Vec<Value>) -> Filled {
    let mut slices: Vec<Slice> = Vec::new();
    for slice in before {
        let here = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let mut kept = Vec::new();
        for old in here {
            let same = |new: &Value| {
                new["targetRef"]["uid"] == old["targetRef"]["uid"]
                    && new["addresses"] == old["addresses"]
            };
            if let Some(at) = endpoints.iter().position(same) {
                kept.push(endpoints.remove(at));
            }
        }
        slices.push((Some(slice), kept));
    }
    for endpoint in endpoints {
        match slices.iter_mut().find(|(_, list)| list.len() < FULL) {
            Some((_, list)) => list.push(endpoint),
            None => slices.push((None, vec![endpoint])),
        }
    }
    if slices.is_empty() {
        slices.push((None, Vec::new()));
    }
    // Of empty ones, the first stays, if there is nothing else.
    let any = slices.iter().any(|(_, list)| !list.is_empty());
    let mut first = true;
    let (kept, emptied) = slices.into_iter().partition(|(_, list)| {
        let kept = !list.is_empty() || (!any && first);
        first &= !kept;
        kept
    });
    Filled { kept, emptied }
}

fn build(
    service: &Value,
    family: &str,
    ports: &Value,
    endpoints: Vec<Value>,
    old: Option<&Value>,
) -> Value {
    let name = text(service, "/metadata/name");
    let mut labels = json!({});
    if let Some(own) = service["metadata"]["labels"].as_object() {
        labels = Value::Object(own.clone());
    }
    labels[NAME_LABEL] = json!(name);
    labels[BY_LABEL] = json!(BY);
    if service["spec"]["clusterIP"] == "None" {
        labels["service.kubernetes.io/headless"] = json!("");
    }
    let mut slice = old.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"generateName": format!("{name}-"), "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": name,
                "uid": service["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
            }]},
            "addressType": family,
        })
    });
    slice["metadata"]["labels"] = labels;
    slice["endpoints"] = Value::Array(endpoints);
    if ports.is_null() {
        if let Some(map) = slice.as_object_mut() {
            map.remove("ports");
        }
    } else {
        slice["ports"] = ports.clone();
    }
    slice
}

fn save(
    store: &mut Store,
    resource: &Arc<Resource>,
    namespace: &str,
    old: Option<&Value>,
    new: Value,
) {
    // What is refused shows in the test that waits for it.
    let _refused = match old {
        None => store
            .create(&Write::by_server(resource, namespace, ""), new)
            .err(),
        Some(old) => {
            let name = text(old, "/metadata/name");
            store
                .update(&Write::by_server(resource, namespace, &name), new)
                .err()
        }
    };
}

fn remove(store: &mut Store, resource: &Arc<Resource>, slice: &Value) {
    let key = (
        text(slice, "/metadata/namespace"),
        text(slice, "/metadata/name"),
    );
    let _gone_already = store.delete(resource, &key, &DeleteOptions::default());
}
