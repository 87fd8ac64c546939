//! CustomResourceDefinitions: what applying one makes of it, and the resources it adds.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::resource::{Custom, Resource};
use crate::status::FieldError;

/// The resources of a definition, one for each served version.
pub(crate) fn resources(definition: &Value) -> Vec<Resource> {
    let text = |pointer: &str| {
        let value = definition.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let words = |pointer: &str| -> Vec<String> {
        let list = definition.pointer(pointer).and_then(Value::as_array);
        let words = list.into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    };
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array);
    let versions: Vec<&Value> = versions.into_iter().flatten().collect();
    let stored = versions.iter().find(|v| v["storage"] == true);
    let storage_version = stored.and_then(|v| v["name"].as_str()).unwrap_or_default();
    let plural = text("/spec/names/plural");
    let served = versions.iter().filter(|v| v["served"] == true);
    served
        .map(|version| {
            let has = |name: &str| version.pointer(&format!("/subresources/{name}")).is_some();
            let subresources = ["status", "scale"].into_iter().filter(|name| has(name));
            let selectable = version.get("selectableFields").and_then(Value::as_array);
            let selectable = selectable.into_iter().flatten();
            Resource {
                group: text("/spec/group"),
                version: version["name"].as_str().unwrap_or_default().to_owned(),
                plural: plural.clone(),
                singular: text("/spec/names/singular"),
                kind: text("/spec/names/kind"),
                namespaced: text("/spec/scope") == "Namespaced",
                short_names: words("/spec/names/shortNames"),
                categories: words("/spec/names/categories"),
                subresources: subresources.map(str::to_owned).collect(),
                custom: Some(Custom {
                    schema: Arc::new(
                        version
                            .pointer("/schema/openAPIV3Schema")
                            .cloned()
                            .unwrap_or_default(),
                    ),
                    storage_version: storage_version.to_owned(),
                    selectable: selectable
                        .filter_map(|f| f["jsonPath"].as_str())
                        .map(|path| path.trim_start_matches('.').to_owned())
                        .collect(),
                }),
            }
        })
        .collect()
}

/// What the naming and establishing controllers fill in; the real server does it a moment later.
pub(crate) fn establish(definition: &mut Value, now: &str) {
    let kind = definition
        .pointer("/spec/names/kind")
        .cloned()
        .unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default().to_owned();
    let names = &mut definition["spec"]["names"];
    if names.get("singular").is_none() {
        names["singular"] = json!(kind.to_lowercase());
    }
    if names.get("listKind").is_none() {
        names["listKind"] = json!(format!("{kind}List"));
    }
    if definition.pointer("/spec/conversion").is_none() {
        definition["spec"]["conversion"] = json!({"strategy": "None"});
    }
    let names = definition["spec"]["names"].clone();
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array);
    let stored: Vec<Value> = versions
        .into_iter()
        .flatten()
        .filter(|v| v["storage"] == true)
        .map(|v| v["name"].clone())
        .collect();
    let established = definition
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    if !established {
        let condition = |kind: &str, reason: &str, message: &str| {
            json!({"type": kind, "status": "True", "reason": reason, "message": message,
                   "lastTransitionTime": now})
        };
        definition["status"]["conditions"] = json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                "InitialNamesAccepted",
                "the initial names have been accepted"
            ),
        ]);
    }
    definition["status"]["acceptedNames"] = names;
    definition["status"]["storedVersions"] = Value::Array(stored);
}

/// What the real server refuses first of all in definitions that people write.
pub(crate) fn validate(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str);
    for field in ["group", "names/plural", "names/kind", "scope"] {
        if text(&format!("/spec/{field}")).is_none_or(str::is_empty) {
            errors.push(FieldError::required(
                format!("spec.{}", field.replace('/', ".")),
                "",
            ));
        }
    }
    let wanted = format!(
        "{}.{}",
        text("/spec/names/plural").unwrap_or_default(),
        text("/spec/group").unwrap_or_default()
    );
    let name = text("/metadata/name").unwrap_or_default();
    if name != wanted {
        errors.push(FieldError::invalid(
            "metadata.name",
            &json!(name),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array);
    let versions: Vec<&Value> = versions.into_iter().flatten().collect();
    if versions.iter().filter(|v| v["storage"] == true).count() != 1 {
        errors.push(FieldError::invalid(
            "spec.versions",
            &json!(versions.len()),
            "must have exactly one version marked as storage version",
        ));
    }
    for (at, version) in versions.iter().enumerate() {
        if version.pointer("/schema/openAPIV3Schema").is_none() {
            errors.push(FieldError::required(
                format!("spec.versions[{at}].schema.openAPIV3Schema"),
                "schemas are required",
            ));
        } else if version.pointer("/schema/openAPIV3Schema/type") != Some(&json!("object")) {
            errors.push(FieldError::required(
                format!("spec.versions[{at}].schema.openAPIV3Schema.type"),
                "must not be empty at the root",
            ));
        }
    }
    errors
}
