//! Built-in kinds as the real server decodes them: unknown fields are dropped, wrong types refused.

use k8s_openapi::api::{
    apps::v1 as apps, batch::v1 as batch, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, networking::v1 as networking,
    policy::v1 as policy, rbac::v1 as rbac, scheduling::v1 as scheduling,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::resource::Resource;
use crate::status::Refusal;

/// The object as its type has it.
pub(crate) fn decode(resource: &Resource, object: Value) -> Result<Value, Refusal> {
    let through = match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Namespace") => through::<core::Namespace>,
        ("", "Node") => through::<core::Node>,
        ("", "Pod") => through::<core::Pod>,
        ("", "Service") => through::<core::Service>,
        ("", "Endpoints") => through::<core::Endpoints>,
        ("", "ConfigMap") => through::<core::ConfigMap>,
        ("", "Secret") => through::<core::Secret>,
        ("", "Event") => through::<core::Event>,
        ("", "ServiceAccount") => through::<core::ServiceAccount>,
        ("apps", "Deployment") => through::<apps::Deployment>,
        ("apps", "ReplicaSet") => through::<apps::ReplicaSet>,
        ("apps", "StatefulSet") => through::<apps::StatefulSet>,
        ("apps", "DaemonSet") => through::<apps::DaemonSet>,
        ("batch", "Job") => through::<batch::Job>,
        ("coordination.k8s.io", "Lease") => through::<coordination::Lease>,
        ("discovery.k8s.io", "EndpointSlice") => through::<discovery::EndpointSlice>,
        ("events.k8s.io", "Event") => through::<events::Event>,
        ("networking.k8s.io", "NetworkPolicy") => through::<networking::NetworkPolicy>,
        ("policy", "PodDisruptionBudget") => through::<policy::PodDisruptionBudget>,
        ("rbac.authorization.k8s.io", "Role") => through::<rbac::Role>,
        ("rbac.authorization.k8s.io", "RoleBinding") => through::<rbac::RoleBinding>,
        ("rbac.authorization.k8s.io", "ClusterRole") => through::<rbac::ClusterRole>,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => through::<rbac::ClusterRoleBinding>,
        ("scheduling.k8s.io", "PriorityClass") => through::<scheduling::PriorityClass>,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            through::<apiextensions::CustomResourceDefinition>
        }
        _ => return Ok(object),
    };
    through(object).map_err(|error| {
        Refusal::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {error}",
            resource.kind, resource.version, resource.kind
        ))
    })
}

fn through<T: DeserializeOwned + Serialize>(object: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(object)?)
}

/// Fields of `given` that are not in `kept`, as paths: what was unknown.
pub(crate) fn dropped(given: &Value, kept: &Value) -> Vec<String> {
    let mut all = Vec::new();
    collect(given, kept, String::new(), &mut all);
    all
}

fn collect(given: &Value, kept: &Value, path: String, all: &mut Vec<String>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (name, part) in given {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                match kept.get(name) {
                    Some(kept) => collect(part, kept, path, all),
                    None if is_nothing(part) => {}
                    None => all.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) if given.len() == kept.len() => {
            for (at, (given, kept)) in given.iter().zip(kept).enumerate() {
                collect(given, kept, format!("{path}[{at}]"), all);
            }
        }
        _ => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_nothing),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}
