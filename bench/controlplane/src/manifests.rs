//! A cluster as manifests: nodes, pods spread over them, Services of ten pods each, one Service of a
//! thousand, and policies.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

/// How large the cluster is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub nodes: usize,
    pub pods: usize,
    pub services: usize,
    pub policies: usize,
}

/// Pods of one namespace, and endpoints of the large Service.
pub const PER_NAMESPACE: usize = 1000;
/// Endpoints of an ordinary Service.
const PER_SERVICE: usize = 10;

/// The name of a node.
pub fn node(number: usize) -> String {
    format!("node{number:04}")
}

/// The namespace and name of a pod.
pub fn pod_name(number: usize) -> (String, String) {
    let namespace = format!("ns{:03}", number / PER_NAMESPACE);
    (namespace, format!("pod{number:06}"))
}

/// A pod; every thousand share a namespace, every ten a label, and all of the first namespace are
/// endpoints of the large Service.
pub fn pod(number: usize, size: Size, ready: bool) -> Value {
    let (namespace, name) = pod_name(number);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {
            "app": format!("app{}", number / PER_SERVICE),
            "large": if number < PER_NAMESPACE { "yes" } else { "no" },
        }},
        "spec": {"nodeName": node(number % size.nodes), "containers": [
            {"name": "main", "image": "x", "ports": [{"containerPort": 8080}]},
        ]},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": if ready { "True" } else { "False" }},
        ]},
    })
}

/// Writes everything, the pods that will change to files of their own.
pub fn write(folder: &Path, size: Size, changing: &[usize]) -> Result<()> {
    let mut frame = vec![json!({
        "apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": "pods"},
        "spec": {"cidrBlock": "10.0.0.0/13", "default": true, "gateway": "10.0.0.1"},
    })];
    for number in 0..size.nodes {
        let address = format!("172.16.{}.{}", number / 250, number % 250 + 1);
        frame.push(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": node(number)},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }));
    }
    // Room for pods that come later.
    for number in 0..=size.pods / PER_NAMESPACE {
        frame.push(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": format!("ns{number:03}")},
        }));
    }
    list(&folder.join("frame.json"), &frame)?;
    for first in (0..size.pods).step_by(PER_NAMESPACE) {
        let last = (first + PER_NAMESPACE).min(size.pods);
        let numbers = (first..last).filter(|number| !changing.contains(number));
        let pods: Vec<_> = numbers.map(|number| pod(number, size, true)).collect();
        list(&folder.join(format!("pods{first:06}.json")), &pods)?;
    }
    for number in changing {
        one(folder, &pod(*number, size, true))?;
    }
    let mut services = vec![service("large", 0, "large", "yes", 60_000)];
    for number in 0..size.services {
        let label = format!("app{number}");
        let namespace = number * PER_SERVICE / PER_NAMESPACE;
        services.push(service(
            &format!("svc{number}"),
            namespace,
            "app",
            &label,
            number,
        ));
    }
    list(&folder.join("services.json"), &services)?;
    let policies: Vec<_> = (0..size.policies).map(|n| policy(n, size)).collect();
    list(&folder.join("policies.json"), &policies)
}

fn service(name: &str, namespace: usize, key: &str, value: &str, number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": format!("ns{namespace:03}")},
        "spec": {
            "clusterIP": format!("10.96.{}.{}", number / 250, number % 250 + 1),
            "selector": {key: value},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    })
}

/// The label whose pods a policy holds for: every other one has a policy from the start.
fn app_of(policy: usize, size: Size) -> usize {
    let labels = (size.pods / PER_SERVICE).max(2);
    match policy < size.policies {
        true => policy * 2 % labels,
        false => ((policy - size.policies) * 2 + 1) % labels,
    }
}

/// The nodes of the pods that a policy holds for.
pub fn ruled(policy: usize, size: Size) -> BTreeSet<usize> {
    let first = app_of(policy, size) * PER_SERVICE;
    (first..first + PER_SERVICE)
        .map(|pod| pod % size.nodes)
        .collect()
}

/// Ten pods of a label may be reached by ten of another, at one port.
pub fn policy(number: usize, size: Size) -> Value {
    let app = app_of(number, size);
    let namespace = app * PER_SERVICE / PER_NAMESPACE;
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("policy{number}"), "namespace": format!("ns{namespace:03}")},
        "spec": {
            "podSelector": {"matchLabels": {"app": format!("app{app}")}},
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{"podSelector": {"matchLabels": {"app": format!("app{}", app + 1)}}}],
                "ports": [{"protocol": "TCP", "port": 8080}],
            }],
        },
    })
}

fn list(path: &Path, items: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    Ok(fs::write(path, serde_json::to_vec(&list)?)?)
}

/// Writes an object to a file of its own, at one stroke.
pub fn one(folder: &Path, object: &Value) -> Result<()> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let hidden = folder.join(format!(".{name}.json"));
    fs::write(&hidden, serde_json::to_vec(object)?)?;
    Ok(fs::rename(hidden, folder.join(format!("{name}.json")))?)
}
