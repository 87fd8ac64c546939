//! Who asks, and what they may do: bearer tokens, client certificates, and RBAC.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::store::Store;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `system:serviceaccount:kube-system:sluice-controller`, `kubernetes-admin`.
    pub name: String,
    /// Groups, with `system:authenticated`.
    pub groups: Vec<String>,
}

impl User {
    /// One who may do everything.
    pub(crate) fn administrator() -> Self {
        User {
            name: "kubernetes-admin".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
        }
    }

    pub(crate) fn anonymous() -> Self {
        User {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
        }
    }

    /// A ServiceAccount's user.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
        }
    }
}

/// Credentials that are known.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) tokens: BTreeMap<String, User>,
    /// Client certificates, DER.
    pub(crate) certificates: BTreeMap<Vec<u8>, User>,
}

/// What is asked for, as authorizers see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    /// With a subresource after a slash; empty for a path.
    pub(crate) resource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// For what is no resource.
    pub(crate) path: &'a str,
}

/// Whether a user may do this, by what Roles and their bindings in the store say.
pub(crate) fn allowed(store: &Store, user: &User, asked: &Attributes) -> bool {
    if user.groups.iter().any(|group| group == "system:masters") {
        return true;
    }
    let authenticated = user
        .groups
        .iter()
        .any(|group| group == "system:authenticated");
    if authenticated && (is_discovery(asked) || asked.resource == "selfsubjectaccessreviews") {
        return true;
    }
    const GROUP: &str = "rbac.authorization.k8s.io";
    let everywhere = store.all(GROUP, "clusterrolebindings");
    let here = store.all(GROUP, "rolebindings").filter(|binding| {
        !asked.namespace.is_empty() && binding["metadata"]["namespace"] == asked.namespace
    });
    everywhere
        .chain(here)
        .filter(|binding| is_bound(binding, user))
        .filter_map(|binding| {
            let role = &binding["roleRef"];
            let plural = if role["kind"] == "ClusterRole" {
                "clusterroles"
            } else {
                "roles"
            };
            let namespace = &binding["metadata"]["namespace"];
            store.all(GROUP, plural).find(|found| {
                found["metadata"]["name"] == role["name"]
                    && (plural == "clusterroles" || found["metadata"]["namespace"] == *namespace)
            })
        })
        .flat_map(|role| role["rules"].as_array().into_iter().flatten())
        .any(|rule| grants(rule, asked))
}

fn is_discovery(asked: &Attributes) -> bool {
    asked.resource.is_empty()
        && asked.verb == "get"
        && [
            "/api", "/apis", "/version", "/healthz", "/livez", "/readyz", "/openapi",
        ]
        .iter()
        .any(|path| asked.path == *path || asked.path.starts_with(&format!("{path}/")))
}

fn is_bound(binding: &Value, user: &User) -> bool {
    let subjects = binding["subjects"].as_array();
    subjects.into_iter().flatten().any(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["kind"].as_str() {
            Some("User") => name == user.name,
            Some("Group") => user.groups.iter().any(|group| group == name),
            Some("ServiceAccount") => {
                let namespace = subject["namespace"].as_str().unwrap_or_default();
                user.name == format!("system:serviceaccount:{namespace}:{name}")
            }
            _ => false,
        }
    })
}

fn grants(rule: &Value, asked: &Attributes) -> bool {
    let list = |field: &str| -> Vec<&str> {
        let list = rule[field].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).collect()
    };
    let has = |field: &str, wanted: &str| list(field).iter().any(|x| *x == "*" || *x == wanted);
    if !has("verbs", asked.verb) {
        return false;
    }
    if asked.resource.is_empty() {
        return list("nonResourceURLs").iter().any(|url| {
            *url == asked.path
                || url
                    .strip_suffix('*')
                    .is_some_and(|start| asked.path.starts_with(start))
        });
    }
    let resource = match asked.resource.split_once('/') {
        None => has("resources", asked.resource),
        Some((_, subresource)) => list("resources")
            .iter()
            .any(|x| *x == "*" || *x == asked.resource || *x == format!("*/{subresource}")),
    };
    let names = list("resourceNames");
    has("apiGroups", asked.group) && resource && (names.is_empty() || names.contains(&asked.name))
}
