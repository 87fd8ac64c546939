//! Which lists are merged element by element, and by what; which maps are taken as one.
//!
//! For custom resources their schema says it (`x-kubernetes-list-type`, `x-kubernetes-map-type`).
//! For built-in kinds the table below does, after the published OpenAPI of Kubernetes.

use serde_json::Value;

/// How a list is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    /// As one value.
    Atomic,
    /// As a set of scalars.
    Set,
    /// As elements known by these fields.
    Map(Vec<String>),
}

/// Where in an object we are, with what is known of its type there.
#[derive(Clone, Debug)]
pub(crate) struct Shape<'a> {
    kind: &'a str,
    /// Names of the fields on the way, without elements of lists.
    path: Vec<String>,
    /// The structural schema of this place; none in built-in kinds.
    schema: Option<&'a Value>,
    /// A custom resource; then only its `metadata` is as in the table.
    custom: bool,
}

impl<'a> Shape<'a> {
    /// The root of an object of a built-in kind.
    pub(crate) fn built_in(kind: &'a str) -> Self {
        Shape {
            kind,
            path: Vec::new(),
            schema: None,
            custom: false,
        }
    }

    /// The root of a custom resource with this schema (null: none).
    pub(crate) fn custom(kind: &'a str, schema: &'a Value) -> Self {
        Shape {
            kind,
            path: Vec::new(),
            schema: Some(schema),
            custom: true,
        }
    }

    /// The place of a field.
    pub(crate) fn field(&self, name: &str) -> Self {
        let mut path = self.path.clone();
        path.push(name.to_owned());
        let schema = self.schema.and_then(|schema| {
            let property = schema.get("properties").and_then(|p| p.get(name));
            property.or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()))
        });
        Shape {
            path,
            schema,
            ..*self
        }
    }

    /// The place of an element of this list.
    pub(crate) fn element(&self) -> Self {
        Shape {
            path: self.path.clone(),
            schema: self.schema.and_then(|s| s.get("items")),
            ..*self
        }
    }

    fn by_table(&self) -> bool {
        !self.custom || self.path.first().is_some_and(|first| first == "metadata")
    }

    /// How the list at this place is merged.
    pub(crate) fn list(&self) -> ListType {
        if self.by_table() {
            return self.list_by_table(false);
        }
        let text = |key: &str| self.schema.and_then(|s| s.get(key));
        match text("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map(
                text("x-kubernetes-list-map-keys")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|key| key.as_str().map(str::to_owned))
                    .collect(),
            ),
            _ => ListType::Atomic,
        }
    }

    /// How a strategic merge patch merges it: by the `patchMergeKey` of the Go types, which
    /// differs from the keys of server-side apply for ports.
    pub(crate) fn strategic_list(&self) -> ListType {
        self.list_by_table(true)
    }

    fn list_by_table(&self, strategic: bool) -> ListType {
        let mut names = self.path.iter().rev().map(String::as_str);
        let name = names.next().unwrap_or_default();
        let parent = names.next().unwrap_or_default();
        let keys = |keys: &[&str]| ListType::Map(keys.iter().map(|k| (*k).to_owned()).collect());
        let in_container = matches!(
            parent,
            "containers" | "initContainers" | "ephemeralContainers"
        );
        match (name, parent) {
            ("ownerReferences", "metadata") => keys(&["uid"]),
            ("finalizers", "metadata") | ("podCIDRs", "spec") => ListType::Set,
            ("conditions", "status") => keys(&["type"]),
            ("containers" | "initContainers" | "ephemeralContainers", "spec") => keys(&["name"]),
            ("volumes" | "imagePullSecrets" | "resourceClaims" | "schedulingGates", "spec") => {
                keys(&["name"])
            }
            ("hostAliases", "spec") => keys(&["ip"]),
            ("topologySpreadConstraints", "spec") if strategic => keys(&["topologyKey"]),
            ("topologySpreadConstraints", "spec") => keys(&["topologyKey", "whenUnsatisfiable"]),
            ("ports", _) if in_container && strategic => keys(&["containerPort"]),
            ("ports", _) if in_container => keys(&["containerPort", "protocol"]),
            ("ports", "spec") if self.kind == "Service" && strategic => keys(&["port"]),
            ("ports", "spec") if self.kind == "Service" => keys(&["port", "protocol"]),
            ("env", _) if in_container => keys(&["name"]),
            ("volumeMounts", _) if in_container => keys(&["mountPath"]),
            ("volumeDevices", _) if in_container => keys(&["devicePath"]),
            ("podIPs", "status") => keys(&["ip"]),
            ("addresses", "status") if self.kind == "Node" => keys(&["type"]),
            ("secrets", _) if self.kind == "ServiceAccount" => keys(&["name"]),
            ("taints", "spec") if strategic => keys(&["key"]),
            ("imagePullSecrets", _) if self.kind == "ServiceAccount" && strategic => {
                keys(&["name"])
            }
            _ => ListType::Atomic,
        }
    }

    /// Whether the map at this place is taken as one value.
    pub(crate) fn atomic_map(&self) -> bool {
        let name = self.path.last().map(String::as_str).unwrap_or_default();
        if self.by_table() {
            // Label selectors and references are declared atomic.
            return matches!(
                name,
                "selector"
                    | "podSelector"
                    | "namespaceSelector"
                    | "labelSelector"
                    | "nodeSelector"
                    | "involvedObject"
                    | "regarding"
                    | "related"
                    | "claimRef"
                    | "roleRef"
                    | "secretKeyRef"
                    | "configMapKeyRef"
                    | "fieldRef"
                    | "targetRef"
            );
        }
        self.schema
            .and_then(|s| s.get("x-kubernetes-map-type"))
            .is_some_and(|t| t == "atomic")
    }
}

/// The serialised key of an element of a list: `k:{"type":"Ready"}` or `v:"kubernetes"`.
/// None where it lacks every key field.
pub(crate) fn element_key(list: &ListType, element: &Value) -> Option<String> {
    match list {
        ListType::Atomic => None,
        ListType::Set => Some(format!("v:{element}")),
        ListType::Map(keys) => {
            let mut found = serde_json::Map::new();
            for key in keys {
                if let Some(value) = element.get(key) {
                    found.insert(key.clone(), value.clone());
                } else if key == "protocol" {
                    // The default of ports, which is a part of their key.
                    found.insert(key.clone(), Value::from("TCP"));
                }
            }
            let complete = !found.is_empty();
            complete.then(|| format!("k:{}", Value::Object(found)))
        }
    }
}
