//! What the real server knows of each kind: defaults, checks, how it is deleted.

mod event;
mod service;

use serde_json::{Value, json};

pub(crate) use event::event_in_version;

use crate::resource::Resource;
use crate::schema;
use crate::status::FieldError;

/// Whether `metadata.generation` counts changes of this kind's objects.
pub(crate) fn has_generation(resource: &Resource) -> bool {
    resource.custom.is_some()
        || matches!(
            resource.kind.as_str(),
            "Pod"
                | "Deployment"
                | "ReplicaSet"
                | "StatefulSet"
                | "DaemonSet"
                | "Job"
                | "NetworkPolicy"
                | "PodDisruptionBudget"
                | "EndpointSlice"
                | "CustomResourceDefinition"
                | "PriorityClass"
        )
}

/// Whether two states differ in more than metadata and status.
pub(crate) fn content_differs(resource: &Resource, old: &Value, new: &Value) -> bool {
    let has_status = resource.has("status");
    let counts = |name: &str| match name {
        "metadata" | "apiVersion" | "kind" => false,
        "status" => !has_status,
        _ => true,
    };
    let fields = |object: &Value| -> Vec<(String, Value)> {
        let map = object.as_object().into_iter().flatten();
        map.filter(|(name, _)| counts(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    fields(old) != fields(new)
}

/// Seconds that an object stays after it was deleted.
pub(crate) fn grace(resource: &Resource, object: &Value, asked: Option<i64>) -> i64 {
    if resource.kind != "Pod" || !resource.group.is_empty() {
        return 0;
    }
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let scheduled = text("/spec/nodeName").is_some_and(|node| !node.is_empty());
    let over = matches!(text("/status/phase"), Some("Succeeded" | "Failed"));
    if !scheduled || over {
        return 0;
    }
    let own = object.pointer("/spec/terminationGracePeriodSeconds");
    let own = own.and_then(Value::as_i64).unwrap_or(30);
    asked.unwrap_or(own).max(0)
}

/// Sets what is left out to what the real server sets it to.
pub(crate) fn default(resource: &Resource, object: &mut Value) {
    if let Some(custom) = &resource.custom {
        if !custom.schema.is_null() {
            schema::default_and_prune(object, &custom.schema);
        }
        return;
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod(object),
        ("", "Service") => service::default(object),
        ("", "Namespace") => namespace(object),
        ("", "Secret") => secret(object),
        ("networking.k8s.io", "NetworkPolicy") => network_policy(object),
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in list(object, "/ports") {
                set(port, "protocol", json!("TCP"));
                set(port, "name", json!(""));
            }
        }
        ("apps", _) => {
            set(&mut object["spec"], "revisionHistoryLimit", json!(10));
            if matches!(
                resource.kind.as_str(),
                "Deployment" | "ReplicaSet" | "StatefulSet"
            ) {
                set(&mut object["spec"], "replicas", json!(1));
            }
            if object.pointer("/spec/template/spec").is_some() {
                pod_spec(&mut object["spec"]["template"]["spec"]);
            }
        }
        _ => {}
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if object.is_null() {
        *object = json!({});
    }
    if let Some(map) = object.as_object_mut()
        && map.get(name).is_none_or(Value::is_null)
    {
        map.insert(name.into(), value);
    }
}

fn list<'a>(object: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = object.pointer_mut(pointer).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

fn pod(object: &mut Value) {
    pod_spec(&mut object["spec"]);
    let status = &mut object["status"];
    set(status, "phase", json!("Pending"));
    set(status, "qosClass", json!("BestEffort"));
}

fn pod_spec(spec: &mut Value) {
    let host = spec.get("hostNetwork").is_some_and(|h| h == true);
    for (name, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("serviceAccountName", json!("default")),
        ("serviceAccount", json!("default")),
        ("enableServiceLinks", json!(true)),
        ("securityContext", json!({})),
    ] {
        set(spec, name, value);
    }
    for containers in ["/containers", "/initContainers"] {
        for container in list(spec, containers) {
            let latest = container["image"]
                .as_str()
                .is_some_and(|image| image.ends_with(":latest") || !image.contains(':'));
            let pull = if latest { "Always" } else { "IfNotPresent" };
            set(container, "imagePullPolicy", json!(pull));
            set(container, "resources", json!({}));
            set(
                container,
                "terminationMessagePath",
                json!("/dev/termination-log"),
            );
            set(container, "terminationMessagePolicy", json!("File"));
            for port in list(container, "/ports") {
                set(port, "protocol", json!("TCP"));
                if host {
                    let number = port["containerPort"].clone();
                    set(port, "hostPort", number);
                }
            }
        }
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    set(&mut object["metadata"], "labels", json!({}));
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    if object["metadata"].get("deletionTimestamp").is_none() {
        set(&mut object["spec"], "finalizers", json!(["kubernetes"]));
    }
    set(&mut object["status"], "phase", json!("Active"));
}

fn secret(object: &mut Value) {
    use base64::Engine as _;
    set(object, "type", json!("Opaque"));
    let Some(plain) = object.as_object_mut().and_then(|o| o.remove("stringData")) else {
        return;
    };
    for (name, text) in plain.as_object().into_iter().flatten() {
        let text = text.as_str().unwrap_or_default();
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        object["data"][name] = json!(encoded);
    }
}

fn network_policy(object: &mut Value) {
    let spec = &mut object["spec"];
    set(spec, "podSelector", json!({}));
    if spec
        .get("policyTypes")
        .is_none_or(|t| t.as_array().is_none_or(Vec::is_empty))
    {
        let egress = spec.get("egress").and_then(Value::as_array);
        spec["policyTypes"] = match egress {
            Some(rules) if !rules.is_empty() => json!(["Ingress", "Egress"]),
            _ => json!(["Ingress"]),
        };
    }
    for rules in ["/ingress", "/egress"] {
        for rule in list(spec, rules) {
            for port in list(rule, "/ports") {
                set(port, "protocol", json!("TCP"));
            }
        }
    }
}

/// What is wrong with an object, of the checks that networks depend on.
pub(crate) fn validate(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if !is_name(resource, name) {
        errors.push(FieldError::invalid(
            "metadata.name",
            &json!(name),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '-' or '.', and must start and end with an alphanumeric character",
        ));
    }
    for (label, value) in object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
    {
        if !is_label_value(value.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(
                "metadata.labels",
                value,
                format!("a valid label must be at most 63 characters of alphanumerics, '-', '_' or '.' ({label})"),
            ));
        }
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Service") => service::validate(object, &mut errors),
        ("", "Pod") => {
            let containers = object.pointer("/spec/containers").and_then(Value::as_array);
            if containers.is_none_or(Vec::is_empty) {
                errors.push(FieldError::required("spec.containers", ""));
            }
        }
        ("discovery.k8s.io", "EndpointSlice") => endpoint_slice(object, &mut errors),
        ("coordination.k8s.io", "Lease") => lease(object, &mut errors),
        ("networking.k8s.io", "NetworkPolicy") => policy(object, &mut errors),
        _ => {}
    }
    errors
}

fn is_name(resource: &Resource, name: &str) -> bool {
    if resource.group == "rbac.authorization.k8s.io" {
        return !name.is_empty() && !name.contains(['/', '%']);
    }
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    let label =
        resource.group.is_empty() && matches!(resource.kind.as_str(), "Service" | "Namespace");
    let longest = if label { 63 } else { 253 };
    (1..=longest).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| alphanumeric(b) || *b == b'-' || (*b == b'.' && !label))
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    bytes.is_empty()
        || bytes.len() <= 63
            && bytes.iter().all(inner)
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

fn endpoint_slice(object: &Value, errors: &mut Vec<FieldError>) {
    let family = object["addressType"].as_str().unwrap_or_default();
    if !matches!(family, "IPv4" | "IPv6" | "FQDN") {
        let allowed = [json!("FQDN"), json!("IPv4"), json!("IPv6")];
        errors.push(FieldError::unsupported(
            "addressType",
            &object["addressType"],
            &allowed,
        ));
    }
    for (at, endpoint) in object["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = format!("endpoints[{at}].addresses");
        let addresses = endpoint["addresses"].as_array();
        if addresses.is_none_or(Vec::is_empty) {
            errors.push(FieldError::required(
                field.clone(),
                "must contain at least 1 address",
            ));
        }
        for (n, address) in addresses.into_iter().flatten().enumerate() {
            let parsed = address
                .as_str()
                .and_then(|a| a.parse::<std::net::IpAddr>().ok());
            let fits = match family {
                "IPv4" => parsed.is_some_and(|a| a.is_ipv4()),
                "IPv6" => parsed.is_some_and(|a| a.is_ipv6()),
                _ => true,
            };
            if !fits {
                let why = format!("must be a valid {family} address");
                errors.push(FieldError::invalid(format!("{field}[{n}]"), address, why));
            }
        }
    }
}

fn lease(object: &Value, errors: &mut Vec<FieldError>) {
    for (field, least) in [("leaseDurationSeconds", 1), ("leaseTransitions", 0)] {
        let value = &object["spec"][field];
        if value.as_i64().is_some_and(|n| n < least) {
            let why = format!("must be greater than or equal to {least}");
            errors.push(FieldError::invalid(format!("spec.{field}"), value, why));
        }
    }
}

fn policy(object: &Value, errors: &mut Vec<FieldError>) {
    for direction in ["ingress", "egress"] {
        let rules = object["spec"][direction].as_array();
        for (at, rule) in rules.into_iter().flatten().enumerate() {
            for (n, port) in rule["ports"].as_array().into_iter().flatten().enumerate() {
                let field = format!("spec.{direction}[{at}].ports[{n}]");
                if let Some(end) = port["endPort"].as_i64() {
                    match port["port"].as_i64() {
                        Some(first) if end < first => errors.push(FieldError::invalid(
                            format!("{field}.endPort"),
                            &port["endPort"],
                            "must be greater than or equal to `port`",
                        )),
                        Some(_) => {}
                        None => errors.push(FieldError::required(
                            format!("{field}.port"),
                            "must be a number when endPort is specified",
                        )),
                    }
                }
            }
            let peers = if direction == "ingress" { "from" } else { "to" };
            for (n, peer) in rule[peers].as_array().into_iter().flatten().enumerate() {
                let block = peer.get("ipBlock").is_some();
                let selected =
                    peer.get("podSelector").is_some() || peer.get("namespaceSelector").is_some();
                let field = format!("spec.{direction}[{at}].{peers}[{n}]");
                if block && selected {
                    errors.push(FieldError::forbidden(
                        field,
                        "may not specify both ipBlock and another peer",
                    ));
                } else if !block && !selected {
                    errors.push(FieldError::required(field, "must specify a peer"));
                }
            }
        }
    }
}
