//! Label and field selectors of lists and watches (k8s.io/apimachinery `labels`, `fields`).

use serde_json::Value;

use crate::status::Refusal;

/// Which objects of a collection are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<(String, Requirement)>,
    /// Path of the field, value, and whether it must be equal or differ.
    fields: Vec<(String, String, bool)>,
}

#[derive(Clone, Debug)]
enum Requirement {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
    Greater(i64),
    Less(i64),
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`. `known` says whether a field may be selected by.
    pub(crate) fn parse(
        labels: &str,
        fields: &str,
        known: impl Fn(&str) -> bool,
    ) -> Result<Self, Refusal> {
        let labels = split(labels)
            .into_iter()
            .map(|part| requirement(part).ok_or(part))
            .collect::<Result<_, _>>()
            .map_err(|part| {
                Refusal::bad_request(format!("unable to parse requirement: {part:?}"))
            })?;
        let mut parsed = Vec::new();
        for part in fields.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value, equal) = if let Some((name, value)) = part.split_once("!=") {
                (name, value, false)
            } else if let Some((name, value)) = part.split_once("==") {
                (name, value, true)
            } else if let Some((name, value)) = part.split_once('=') {
                (name, value, true)
            } else {
                return Err(Refusal::bad_request(format!(
                    "invalid field selector: {part:?}; can't understand it"
                )));
            };
            if !known(name) {
                return Err(Refusal::bad_request(format!(
                    "field label not supported: {name}"
                )));
            }
            parsed.push((name.to_owned(), value.to_owned(), equal));
        }
        Ok(Selector {
            labels,
            fields: parsed,
        })
    }

    /// Whether everything is selected.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let label = |name: &str| {
            object
                .pointer("/metadata/labels")
                .and_then(|labels| labels.get(name))
                .and_then(Value::as_str)
        };
        let number = |name: &str| label(name).and_then(|text| text.parse::<i64>().ok());
        let labels = self.labels.iter().all(|(name, need)| match need {
            Requirement::In(values) => {
                label(name).is_some_and(|v| values.iter().any(|want| want == v))
            }
            Requirement::NotIn(values) => {
                label(name).is_none_or(|v| values.iter().all(|want| want != v))
            }
            Requirement::Exists => label(name).is_some(),
            Requirement::Missing => label(name).is_none(),
            Requirement::Greater(than) => number(name).is_some_and(|n| n > *than),
            Requirement::Less(than) => number(name).is_some_and(|n| n < *than),
        });
        labels
            && self
                .fields
                .iter()
                .all(|(path, value, equal)| (field(object, path) == *value) == *equal)
    }
}

/// The value of a field as text; empty where it is absent.
fn field(object: &Value, path: &str) -> String {
    let mut value = object;
    for name in path.trim_start_matches('.').split('.') {
        match value.get(name) {
            Some(part) => value = part,
            // Booleans of Go types are false where they are absent.
            None if path == "spec.unschedulable" || path == "spec.hostNetwork" => {
                return "false".into();
            }
            None => return String::new(),
        }
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Whether objects of a built-in kind can be selected by this field.
pub(crate) fn is_selectable(kind: &str, path: &str) -> bool {
    if matches!(path, "metadata.name" | "metadata.namespace") {
        return true;
    }
    let fields: &[&str] = match kind {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Node" => &["spec.unschedulable"],
        "Namespace" => &["status.phase"],
        "Secret" => &["type"],
        "Service" => &["spec.clusterIP", "spec.type"],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingComponent",
            "reportingController",
            "source",
            "type",
        ],
        _ => &[],
    };
    fields.contains(&path)
}

/// Splits at commas outside brackets.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn requirement(part: &str) -> Option<(String, Requirement)> {
    let part = part.trim();
    let values = |text: &str| -> Option<Vec<String>> {
        let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|v| v.trim().to_owned()).collect())
    };
    if let Some((name, list)) = part.split_once(" notin ") {
        return Some((name.trim().into(), Requirement::NotIn(values(list)?)));
    }
    if let Some((name, list)) = part.split_once(" in ") {
        return Some((name.trim().into(), Requirement::In(values(list)?)));
    }
    if let Some(name) = part.strip_prefix('!') {
        return Some((name.trim().into(), Requirement::Missing));
    }
    if let Some((name, value)) = part.split_once("!=") {
        let value = vec![value.trim().to_owned()];
        return Some((name.trim().into(), Requirement::NotIn(value)));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        let value = vec![value.trim().to_owned()];
        return Some((name.trim().into(), Requirement::In(value)));
    }
    if let Some((name, value)) = part.split_once('>') {
        return Some((
            name.trim().into(),
            Requirement::Greater(value.trim().parse().ok()?),
        ));
    }
    if let Some((name, value)) = part.split_once('<') {
        return Some((
            name.trim().into(),
            Requirement::Less(value.trim().parse().ok()?),
        ));
    }
    (!part.contains(char::is_whitespace)).then(|| (part.to_owned(), Requirement::Exists))
}
