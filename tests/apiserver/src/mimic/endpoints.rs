//! The EndpointSlice controller: which Pods a Service has, and in what condition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::slices;
use crate::store::Store;

/// One slice's worth of endpoints shares address type and port numbers.
pub(super) type Group = (String, String);

/// Brings the slices of every Service of a namespace that changed up to date.
pub(super) fn reconcile(store: &mut Store, seen: u64) -> Option<Duration> {
    let mut namespaces: BTreeSet<String> = BTreeSet::new();
    for (kind, namespaced) in [("Service", true), ("Pod", true), ("Node", false)] {
        let Some(resource) = store.find("v1", kind) else {
            continue;
        };
        let changes = store.changes_since(&resource, seen);
        let everything =
            changes.is_err() || !namespaced && changes.as_ref().is_ok_and(|c| !c.is_empty());
        let changed: Vec<Arc<Value>> = if everything {
            store.all("", "services").cloned().collect()
        } else {
            changes
                .unwrap_or_default()
                .into_iter()
                .map(|c| c.object)
                .collect()
        };
        for object in changed {
            let namespace = object["metadata"]["namespace"].as_str();
            namespaces.extend(namespace.map(str::to_owned));
        }
    }
    let zones = zones(store);
    for namespace in namespaces {
        let of = |plural: &str| -> Vec<Arc<Value>> {
            store
                .all("", plural)
                .filter(|object| object["metadata"]["namespace"] == namespace.as_str())
                .cloned()
                .collect()
        };
        let (services, pods) = (of("services"), of("pods"));
        for service in &services {
            let selector = service.pointer("/spec/selector").and_then(Value::as_object);
            let leaving = service["metadata"].get("deletionTimestamp").is_some();
            if selector.is_none_or(serde_json::Map::is_empty)
                || leaving
                || service["spec"]["type"] == "ExternalName"
            {
                continue;
            }
            let wanted = wanted(service, &pods, &zones);
            slices::write(store, service, wanted);
        }
        slices::remove_orphans(store, &namespace, &services);
    }
    None
}

fn zones(store: &Store) -> BTreeMap<String, String> {
    store
        .all("", "nodes")
        .filter_map(|node| {
            let zone = node["metadata"]["labels"]["topology.kubernetes.io/zone"].as_str()?;
            Some((
                node["metadata"]["name"].as_str()?.to_owned(),
                zone.to_owned(),
            ))
        })
        .collect()
}

/// The endpoints of a Service, by address type and ports (as JSON text).
fn wanted(
    service: &Value,
    pods: &[Arc<Value>],
    zones: &BTreeMap<String, String>,
) -> BTreeMap<Group, Vec<Value>> {
    let mut groups: BTreeMap<Group, Vec<Value>> = BTreeMap::new();
    let families = service
        .pointer("/spec/ipFamilies")
        .and_then(Value::as_array);
    for family in families.into_iter().flatten().filter_map(Value::as_str) {
        for pod in pods.iter().filter(|pod| is_selected(service, pod)) {
            let Some(address) = address(pod, family) else {
                continue;
            };
            let ports = Value::Array(ports(service, pod)).to_string();
            let endpoint = endpoint(service, pod, &address, zones);
            groups
                .entry((family.to_owned(), ports))
                .or_default()
                .push(endpoint);
        }
        // A Service without endpoints has an empty slice.
        if !groups.keys().any(|(of, _)| of == family) {
            groups.insert((family.to_owned(), "null".into()), Vec::new());
        }
    }
    groups
}

fn is_selected(service: &Value, pod: &Value) -> bool {
    let labels = &pod["metadata"]["labels"];
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    selector
        .into_iter()
        .flatten()
        .all(|(name, value)| labels.get(name) == Some(value))
}

/// The Pod's address in a family; none where it is no endpoint.
fn address(pod: &Value, family: &str) -> Option<String> {
    if matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    ) {
        return None;
    }
    let mut all: Vec<&str> = pod
        .pointer("/status/podIPs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|ip| ip["ip"].as_str())
        .collect();
    all.extend(pod.pointer("/status/podIP").and_then(Value::as_str));
    all.into_iter()
        .find(|ip| ip.contains(':') == (family == "IPv6"))
        .map(str::to_owned)
}

/// Ports with the numbers that this Pod has for them; those it does not have are left out.
fn ports(service: &Value, pod: &Value) -> Vec<Value> {
    let list = service.pointer("/spec/ports").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|port| {
            let number = match &port["targetPort"] {
                Value::String(name) => named_port(pod, name, &port["protocol"])?,
                Value::Number(number) => number.as_i64()?,
                _ => port["port"].as_i64()?,
            };
            let name = port["name"].as_str().unwrap_or_default();
            let mut entry = json!({"name": name, "port": number, "protocol": port["protocol"]});
            if let Some(protocol) = port.get("appProtocol") {
                entry["appProtocol"] = protocol.clone();
            }
            Some(entry)
        })
        .collect()
}

fn named_port(pod: &Value, name: &str, protocol: &Value) -> Option<i64> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array)?;
    // Sidecars are init containers that go on.
    let sidecars = pod
        .pointer("/spec/initContainers")
        .and_then(Value::as_array);
    let sidecars = sidecars
        .into_iter()
        .flatten()
        .filter(|c| c["restartPolicy"] == "Always");
    containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container["ports"].as_array().into_iter().flatten())
        .find(|port| port["name"] == name && port["protocol"] == *protocol)
        .and_then(|port| port["containerPort"].as_i64())
}

fn endpoint(
    service: &Value,
    pod: &Value,
    address: &str,
    zones: &BTreeMap<String, String>,
) -> Value {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let serving = conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True");
    let terminating = pod["metadata"].get("deletionTimestamp").is_some();
    let publish = service.pointer("/spec/publishNotReadyAddresses") == Some(&json!(true));
    let ready = publish || serving && !terminating;
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod", "namespace": pod["metadata"]["namespace"],
            "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
        },
    });
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str);
    if let Some(node) = node.filter(|node| !node.is_empty()) {
        endpoint["nodeName"] = json!(node);
        if let Some(zone) = zones.get(node) {
            endpoint["zone"] = json!(zone);
        }
        if ready {
            hint(service, node, zones.get(node), &mut endpoint);
        }
    }
    let hostname = pod.pointer("/spec/hostname").and_then(Value::as_str);
    if let Some(hostname) = hostname
        && pod.pointer("/spec/subdomain") == service.pointer("/metadata/name")
    {
        endpoint["hostname"] = json!(hostname);
    }
    endpoint
}

/// Hints of `trafficDistribution` (KEP 2433, 3015).
fn hint(service: &Value, node: &str, zone: Option<&String>, endpoint: &mut Value) {
    let wish = service
        .pointer("/spec/trafficDistribution")
        .and_then(Value::as_str);
    if let (Some("PreferClose" | "PreferSameZone" | "PreferSameNode"), Some(zone)) = (wish, zone) {
        endpoint["hints"]["forZones"] = json!([{"name": zone}]);
    }
    if wish == Some("PreferSameNode") {
        endpoint["hints"]["forNodes"] = json!([{"name": node}]);
    }
}
