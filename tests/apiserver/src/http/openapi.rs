//! OpenAPI v3, as much of it as kubectl needs to leave validation to the server: which kinds there
//! are, and that their writes know `fieldValidation`.

use serde_json::{Map, Value, json};

use super::discovery::groups;
use crate::store::Store;

/// `/openapi/v3`.
pub(crate) fn index(store: &Store) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String| {
        let url = format!("/openapi/v3/{path}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    add("api/v1".into());
    for (group, versions) in groups(store) {
        for version in versions {
            add(format!("apis/{group}/{version}"));
        }
    }
    json!({"paths": paths})
}

/// The document of a group and version.
pub(crate) fn document(store: &Store, group: &str, version: &str) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let mut paths = Map::new();
    for resource in store.resources() {
        if resource.group != group || resource.version != version {
            continue;
        }
        let root = if group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{group}/{version}")
        };
        let within = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let kind = json!({"group": group, "version": version, "kind": resource.kind});
        let operation = |action: &str| {
            json!({
                "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind,
                "parameters": [
                    parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation"),
                ],
                "responses": {"200": {"description": "OK"}},
            })
        };
        let plural = &resource.plural;
        paths.insert(
            format!("{root}{within}/{plural}"),
            json!({"post": operation("post")}),
        );
        paths.insert(
            format!("{root}{within}/{plural}/{{name}}"),
            json!({"patch": operation("patch"), "put": operation("put")}),
        );
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths, "components": {"schemas": {}},
    })
}
