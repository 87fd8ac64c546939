//! `/api`, `/apis`, `/version`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::{self, Answer};
use crate::resource::Resource;
use crate::status::Refusal;
use crate::store::Store;

/// Answers a path that is no resource.
pub(crate) fn discover(store: &Store, path: &[String], address: &str) -> Result<Answer, Refusal> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let value = match words.as_slice() {
        [] => {
            let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
            paths.extend(groups(store).keys().map(|group| format!("/apis/{group}")));
            json!({"paths": paths})
        }
        ["healthz" | "livez" | "readyz", ..] => return Ok(answer::text("ok")),
        ["version"] => json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0-sluice", "gitCommit": "",
            "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "",
            "compiler": "", "platform": "linux/amd64",
        }),
        ["api"] => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [
                {"clientCIDR": "0.0.0.0/0", "serverAddress": address}
            ],
        }),
        ["api", "v1"] => resources(store, "", "v1")?,
        ["apis"] => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups(store).into_iter().map(|(g, v)| group(&g, &v)).collect::<Vec<_>>(),
        }),
        ["apis", name] => {
            let versions = groups(store).remove(*name);
            let versions = versions.ok_or_else(Refusal::no_such_resource)?;
            let mut group = group(name, &versions);
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            group
        }
        ["apis", group, version] => resources(store, group, version)?,
        ["openapi", "v3"] => super::openapi::index(store),
        ["openapi", "v3", "api", "v1"] => super::openapi::document(store, "", "v1"),
        ["openapi", "v3", "apis", group, version] => {
            super::openapi::document(store, group, version)
        }
        _ => return Err(Refusal::no_such_resource()),
    };
    Ok(answer::json(200, &value))
}

/// Groups with their versions; the core group is none of them.
pub(crate) fn groups(store: &Store) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in store.resources().iter().filter(|r| !r.group.is_empty()) {
        let versions = groups.entry(resource.group.clone()).or_default();
        if !versions.contains(&resource.version) {
            versions.push(resource.version.clone());
        }
    }
    groups
        .entry("authorization.k8s.io".into())
        .or_insert_with(|| vec!["v1".into()]);
    for versions in groups.values_mut() {
        versions.sort_by_key(|version| priority(version));
    }
    groups
}

/// GA before beta before alpha, newer before older.
fn priority(version: &str) -> (u8, i64) {
    let stage = if version.contains("alpha") {
        2
    } else {
        u8::from(version.contains("beta"))
    };
    let digits: String = version.chars().filter(char::is_ascii_digit).collect();
    (stage, -digits.parse::<i64>().unwrap_or(0))
}

fn group(name: &str, versions: &[String]) -> Value {
    let version =
        |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

fn resources(store: &Store, group: &str, version: &str) -> Result<Value, Refusal> {
    let mut list: Vec<Value> = store
        .resources()
        .iter()
        .filter(|r| r.group == group && r.version == version)
        .flat_map(|r| entries(r))
        .collect();
    if group == "authorization.k8s.io" && version == "v1" {
        list.push(
            json!({"name": "selfsubjectaccessreviews", "singularName": "",
                         "namespaced": false, "kind": "SelfSubjectAccessReview",
                         "verbs": ["create"]}),
        );
    }
    if list.is_empty() {
        return Err(Refusal::no_such_resource());
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Ok(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
              "resources": list}),
    )
}

fn entries(resource: &Resource) -> Vec<Value> {
    let mut main = json!({
        "name": resource.plural, "singularName": resource.singular,
        "namespaced": resource.namespaced, "kind": resource.kind,
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    });
    if !resource.short_names.is_empty() {
        main["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        main["categories"] = json!(resource.categories);
    }
    let mut all = vec![main];
    for subresource in &resource.subresources {
        let (kind, verbs): (&str, &[&str]) = match subresource.as_str() {
            "binding" => ("Binding", &["create"]),
            "eviction" => ("Eviction", &["create"]),
            "token" => ("TokenRequest", &["create"]),
            "finalize" => (resource.kind.as_str(), &["update"]),
            _ => (resource.kind.as_str(), &["get", "patch", "update"]),
        };
        all.push(json!({
            "name": format!("{}/{subresource}", resource.plural), "singularName": "",
            "namespaced": resource.namespaced, "kind": kind, "verbs": verbs,
        }));
    }
    all
}
