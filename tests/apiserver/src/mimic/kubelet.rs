//! What kubelets report: a Pod with an address runs, one that was deleted ends after its grace.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::store::{DeleteOptions, Patch, Store, Write};

/// Where the network's controller writes a Pod's addresses.
const ADDRESS: &str = "ovn.kubernetes.io/ip_address";

/// Brings every bound Pod's status up to date.
pub(super) fn reconcile(store: &mut Store, _seen: u64) -> Option<Duration> {
    let pods: Vec<Arc<Value>> = store.all("", "pods").cloned().collect();
    let mut next = None;
    for pod in pods {
        let text = |pointer: &str| {
            let value = pod.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default()
        };
        if text("/spec/nodeName").is_empty() {
            continue;
        }
        let resource = store.find("v1", "Pod")?;
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        if let Some(due) = pod
            .pointer("/metadata/deletionTimestamp")
            .and_then(Value::as_str)
        {
            let due: Option<jiff::Timestamp> = due.parse().ok();
            let left = due.map_or(0, |due| {
                due.as_second() - jiff::Timestamp::now().as_second()
            });
            if left > 0 {
                let left = Duration::from_secs(left.unsigned_abs());
                next = Some(next.map_or(left, |next: Duration| next.min(left)));
            } else {
                let options = DeleteOptions {
                    grace: Some(0),
                    ..DeleteOptions::default()
                };
                let key = (namespace.to_owned(), name.to_owned());
                let _gone_already = store.delete(&resource, &key, &options);
            }
            continue;
        }
        if matches!(text("/status/phase"), "Succeeded" | "Failed") {
            continue;
        }
        let Some(status) = running(store, &pod) else {
            continue;
        };
        let mut w = Write::by_server(&resource, namespace, name);
        w.subresource = "status";
        w.manager = "kubelet".into();
        let _tried_again = store.patch(&w, Patch::Strategic(json!({"status": status})));
    }
    next
}

/// The status of a running Pod; none while it has no address.
fn running(store: &Store, pod: &Value) -> Option<Value> {
    let addresses: Vec<String> = if pod.pointer("/spec/hostNetwork") == Some(&json!(true)) {
        let node = store
            .all("", "nodes")
            .find(|node| node["metadata"]["name"] == pod["spec"]["nodeName"])?;
        let list = node
            .pointer("/status/addresses")
            .and_then(Value::as_array)?;
        list.iter()
            .filter(|a| a["type"] == "InternalIP")
            .filter_map(|a| a["address"].as_str().map(str::to_owned))
            .collect()
    } else {
        let text = pod["metadata"]["annotations"][ADDRESS].as_str()?;
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let first = addresses.first()?;
    let has = |condition: &str| {
        let list = pod.pointer("/status/conditions").and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .any(|c| c["type"] == condition && c["status"] == "True")
    };
    let gates = pod
        .pointer("/spec/readinessGates")
        .and_then(Value::as_array);
    // What a test has said of the containers stands.
    let told = pod.pointer("/status/conditions").and_then(Value::as_array);
    let unready = told
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "ContainersReady" && c["status"] == "False");
    let ready = !unready
        && gates
            .into_iter()
            .flatten()
            .all(|gate| gate["conditionType"].as_str().is_some_and(has));
    let flag = |yes: bool| if yes { "True" } else { "False" };
    Some(json!({
        "phase": "Running", "podIP": first,
        "podIPs": addresses.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>(),
        "conditions": [
            {"type": "Initialized", "status": "True"},
            {"type": "Ready", "status": flag(ready)},
            {"type": "ContainersReady", "status": flag(!unready)},
            {"type": "PodScheduled", "status": "True"},
        ],
    }))
}
