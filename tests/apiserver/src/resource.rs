//! Which resources there are: the built-in ones, and those that CustomResourceDefinitions add.

use std::sync::Arc;

use serde_json::Value;

/// One resource in one version of its group, as discovery lists it.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    /// Plural, as in paths.
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) subresources: Vec<String>,
    /// What a custom resource adds; none for a built-in one.
    pub(crate) custom: Option<Custom>,
}

/// What only custom resources have.
#[derive(Clone, Debug)]
pub(crate) struct Custom {
    /// `openAPIV3Schema`, or null: then everything is kept as it comes.
    pub(crate) schema: Arc<Value>,
    /// The version that objects are stored in.
    pub(crate) storage_version: String,
    /// Fields that `fieldSelector` may name, as JSON paths with a leading dot.
    pub(crate) selectable: Vec<String>,
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(crate) fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|s| s == subresource)
    }

    /// The group of which objects are kept: both groups of Events show the same ones.
    pub(crate) fn storage(&self) -> Storage {
        let group = if self.plural == "events" && self.group == "events.k8s.io" {
            ""
        } else {
            &self.group
        };
        Storage {
            group: group.to_owned(),
            plural: self.plural.clone(),
        }
    }

    /// Whether a write without a resourceVersion replaces what is there (`AllowUnconditionalUpdate`).
    pub(crate) fn unconditional_update(&self) -> bool {
        self.custom.is_none()
            && self.plural != "leases"
            && self.plural != "customresourcedefinitions"
    }

    /// Whether PUT may create (`AllowCreateOnUpdate`).
    pub(crate) fn create_on_update(&self) -> bool {
        self.custom.is_none()
            && matches!(
                self.plural.as_str(),
                "leases"
                    | "endpoints"
                    | "events"
                    | "services"
                    | "roles"
                    | "clusterroles"
                    | "rolebindings"
                    | "clusterrolebindings"
            )
    }
}

/// Under what objects are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Storage {
    pub(crate) group: String,
    pub(crate) plural: String,
}

/// Every built-in resource.
pub(crate) fn built_in() -> Vec<Resource> {
    let mut all: Vec<Resource> = BUILT_IN.iter().map(resource).collect();
    for (kind, plural, version, short) in POLICY {
        all.push(Resource {
            group: "policy.networking.k8s.io".into(),
            version: version.to_string(),
            plural: plural.to_string(),
            singular: kind.to_lowercase(),
            kind: kind.to_string(),
            namespaced: false,
            short_names: vec![short.to_string()],
            categories: Vec::new(),
            subresources: vec!["status".into()],
            custom: Some(Custom {
                schema: Arc::new(Value::Null),
                storage_version: version.to_string(),
                selectable: Vec::new(),
            }),
        });
    }
    all
}

fn resource(row: &Row) -> Resource {
    let words = |list: &str| list.split_whitespace().map(str::to_owned).collect();
    let (group, version) = row.0.rsplit_once('/').unwrap_or(("", row.0));
    Resource {
        group: group.into(),
        version: version.into(),
        plural: row.1.into(),
        singular: row.2.to_lowercase(),
        kind: row.2.into(),
        namespaced: row.3,
        short_names: words(row.4),
        categories: match row.1 {
            "pods" | "services" | "deployments" | "replicasets" | "statefulsets" | "daemonsets"
            | "jobs" => vec!["all".into()],
            _ => Vec::new(),
        },
        subresources: words(row.5),
        custom: None,
    }
}

/// apiVersion, plural, kind, namespaced, short names, subresources.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    bool,
    &'static str,
    &'static str,
);

const BUILT_IN: &[Row] = &[
    (
        "v1",
        "namespaces",
        "Namespace",
        false,
        "ns",
        "status finalize",
    ),
    ("v1", "nodes", "Node", false, "no", "status"),
    (
        "v1",
        "pods",
        "Pod",
        true,
        "po",
        "status binding eviction ephemeralcontainers",
    ),
    ("v1", "services", "Service", true, "svc", "status"),
    ("v1", "endpoints", "Endpoints", true, "ep", ""),
    ("v1", "configmaps", "ConfigMap", true, "cm", ""),
    ("v1", "secrets", "Secret", true, "", ""),
    ("v1", "events", "Event", true, "ev", ""),
    (
        "v1",
        "serviceaccounts",
        "ServiceAccount",
        true,
        "sa",
        "token",
    ),
    (
        "apps/v1",
        "deployments",
        "Deployment",
        true,
        "deploy",
        "status",
    ),
    ("apps/v1", "replicasets", "ReplicaSet", true, "rs", "status"),
    (
        "apps/v1",
        "statefulsets",
        "StatefulSet",
        true,
        "sts",
        "status",
    ),
    ("apps/v1", "daemonsets", "DaemonSet", true, "ds", "status"),
    ("batch/v1", "jobs", "Job", true, "", "status"),
    ("coordination.k8s.io/v1", "leases", "Lease", true, "", ""),
    (
        "discovery.k8s.io/v1",
        "endpointslices",
        "EndpointSlice",
        true,
        "",
        "",
    ),
    ("events.k8s.io/v1", "events", "Event", true, "ev", ""),
    (
        "networking.k8s.io/v1",
        "networkpolicies",
        "NetworkPolicy",
        true,
        "netpol",
        "",
    ),
    (
        "policy/v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        true,
        "pdb",
        "status",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "roles",
        "Role",
        true,
        "",
        "",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "rolebindings",
        "RoleBinding",
        true,
        "",
        "",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "clusterroles",
        "ClusterRole",
        false,
        "",
        "",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
        false,
        "",
        "",
    ),
    (
        "scheduling.k8s.io/v1",
        "priorityclasses",
        "PriorityClass",
        false,
        "pc",
        "",
    ),
    (
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        false,
        "crd crds",
        "status",
    ),
];

/// Cluster-wide policies: custom resources of SIG Network. They are there, without a schema, until
/// their definitions are applied.
const POLICY: &[(&str, &str, &str, &str)] = &[
    (
        "AdminNetworkPolicy",
        "adminnetworkpolicies",
        "v1alpha1",
        "anp",
    ),
    (
        "BaselineAdminNetworkPolicy",
        "baselineadminnetworkpolicies",
        "v1alpha1",
        "banp",
    ),
    (
        "ClusterNetworkPolicy",
        "clusternetworkpolicies",
        "v1alpha2",
        "cnp",
    ),
];
