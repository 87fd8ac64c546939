//! Structural schemas of custom resources: defaults, pruning, validation
//! (k8s.io/apiextensions-apiserver; OpenAPI v3 with the `x-kubernetes-` extensions).
//!
//! `x-kubernetes-validations` (CEL) and formats are not evaluated.

use serde_json::{Map, Value};

use crate::status::FieldError;

/// Sets defaults, drops unknown fields; says which ones it dropped.
pub(crate) fn default_and_prune(object: &mut Value, schema: &Value) -> Vec<String> {
    let mut dropped = Vec::new();
    let Some(map) = object.as_object_mut() else {
        return dropped;
    };
    // The root's metadata is of the server's own type.
    let own: Vec<(String, Value)> = ["apiVersion", "kind", "metadata"]
        .iter()
        .filter_map(|name| map.remove_entry(*name))
        .collect();
    default(object, schema);
    prune(object, schema, String::new(), &mut dropped);
    if let Some(map) = object.as_object_mut() {
        map.extend(own);
    }
    dropped
}

fn default(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in schema_map(schema, "properties") {
                let nullable = property.get("nullable").is_some_and(|n| n == true);
                if map.get(name).is_some_and(Value::is_null)
                    && !nullable
                    && property.get("default").is_some()
                {
                    map.remove(name);
                }
                if !map.contains_key(name)
                    && let Some(value) = property.get("default")
                {
                    map.insert(name.clone(), value.clone());
                }
                if let Some(part) = map.get_mut(name) {
                    default(part, property);
                }
            }
            if let Some(additional) = additional(schema) {
                let known: Vec<&String> = schema_map(schema, "properties").map(|p| p.0).collect();
                for (name, part) in map.iter_mut() {
                    if !known.contains(&name) {
                        default(part, additional);
                    }
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                list.iter_mut().for_each(|element| default(element, items));
            }
        }
        _ => {}
    }
}

fn prune(value: &mut Value, schema: &Value, path: String, dropped: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if flag(schema, "x-kubernetes-embedded-resource") {
                return;
            }
            let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
            let properties = schema.get("properties").and_then(Value::as_object);
            let additional = schema.get("additionalProperties");
            let names: Vec<String> = map.keys().cloned().collect();
            for name in names {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let property = properties
                    .and_then(|p| p.get(&name))
                    .or(additional.filter(|a| a.is_object()));
                match (property, map.get_mut(&name)) {
                    (Some(property), Some(part)) => prune(part, property, below, dropped),
                    _ if preserve || additional.is_some_and(|a| a == true) => {}
                    _ => {
                        map.remove(&name);
                        dropped.push(below);
                    }
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                for (at, element) in list.iter_mut().enumerate() {
                    prune(element, items, format!("{path}[{at}]"), dropped);
                }
            }
        }
        _ => {}
    }
}

/// Every way in which the value does not fit the schema.
pub(crate) fn validate(object: &Value, schema: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(object, schema, String::new(), &mut errors);
    errors
}

fn check(value: &Value, schema: &Value, path: String, errors: &mut Vec<FieldError>) {
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    if flag(schema, "x-kubernetes-int-or-string") {
        if !value.is_i64() && !value.is_u64() && !value.is_string() {
            errors.push(FieldError::wrong_type(
                path.clone(),
                value,
                "integer,string",
            ));
        }
    } else if let Some(wanted) = schema.get("type").and_then(Value::as_str) {
        let fits = match wanted {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => true,
        };
        if !fits {
            errors.push(FieldError::wrong_type(path, value, wanted));
            return;
        }
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        errors.push(FieldError::unsupported(path.clone(), value, allowed));
    }
    check_limits(value, schema, &path, errors);
    match value {
        Value::Object(map) => check_object(map, schema, &path, errors),
        Value::Array(list) => check_list(list, schema, &path, errors),
        _ => {}
    }
    check_combinations(value, schema, &path, errors);
}

fn check_object(
    map: &Map<String, Value>,
    schema: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let join = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(name) {
            errors.push(FieldError::required(join(name), ""));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, part) in map {
        if let Some(property) = properties
            .and_then(|p| p.get(name))
            .or_else(|| additional(schema))
        {
            check(part, property, join(name), errors);
        }
    }
}

fn check_list(list: &[Value], schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(items) = schema.get("items") {
        for (at, element) in list.iter().enumerate() {
            check(element, items, format!("{path}[{at}]"), errors);
        }
    }
    let kind = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    let identity = |element: &Value| -> Value {
        let keys = schema.get("x-kubernetes-list-map-keys");
        match (kind, keys.and_then(Value::as_array)) {
            (Some("map"), Some(keys)) => keys
                .iter()
                .filter_map(Value::as_str)
                .map(|key| {
                    (
                        key.to_owned(),
                        element.get(key).cloned().unwrap_or_default(),
                    )
                })
                .collect(),
            _ => element.clone(),
        }
    };
    if matches!(kind, Some("map" | "set")) {
        let identities: Vec<Value> = list.iter().map(identity).collect();
        for (at, identity) in identities.iter().enumerate() {
            if identities[..at].contains(identity) {
                errors.push(FieldError::duplicate(format!("{path}[{at}]"), identity));
            }
        }
    }
}

fn check_limits(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let mut wrong = |why: String| errors.push(FieldError::invalid(path, value, why));
    if let Some(n) = value.as_f64() {
        if let Some(min) = number("minimum") {
            let exclusive = flag(schema, "exclusiveMinimum");
            if n < min || (exclusive && n == min) {
                let than = if exclusive {
                    "greater than"
                } else {
                    "greater than or equal to"
                };
                wrong(format!("{path} in body should be {than} {min}"));
            }
        }
        if let Some(max) = number("maximum") {
            let exclusive = flag(schema, "exclusiveMaximum");
            if n > max || (exclusive && n == max) {
                let than = if exclusive {
                    "less than"
                } else {
                    "less than or equal to"
                };
                wrong(format!("{path} in body should be {than} {max}"));
            }
        }
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count() as f64;
        if number("minLength").is_some_and(|min| length < min) {
            wrong(format!(
                "{path} in body should be at least {} chars long",
                schema["minLength"]
            ));
        }
        if number("maxLength").is_some_and(|max| length > max) {
            wrong(format!(
                "{path}: may not be more than {} bytes",
                schema["maxLength"]
            ));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && regex::Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
        {
            wrong(format!("{path} in body should match '{pattern}'"));
        }
    }
    let (what, size) = match value {
        Value::Array(list) => ("Items", list.len()),
        Value::Object(map) => ("Properties", map.len()),
        _ => return,
    };
    if number(&format!("min{what}")).is_some_and(|min| (size as f64) < min) {
        wrong(format!(
            "{path} in body should have at least {} items",
            schema[format!("min{what}")]
        ));
    }
    if number(&format!("max{what}")).is_some_and(|max| size as f64 > max) {
        wrong(format!(
            "{path}: must have at most {} items",
            schema[format!("max{what}")]
        ));
    }
}

fn check_combinations(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let fits = |schema: &Value| {
        let mut found = Vec::new();
        check(value, schema, path.to_owned(), &mut found);
        found.is_empty()
    };
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    let mut wrong = |why: &str| errors.push(FieldError::invalid(path, value, why));
    if let Some(all) = list("allOf")
        && !all.iter().all(fits)
    {
        wrong("must validate all the schemas (allOf)");
    }
    // The int-or-string idiom repeats the types in anyOf; it is checked above.
    if let Some(any) = list("anyOf")
        && !any.iter().any(fits)
    {
        wrong("must validate at least one schema (anyOf)");
    }
    if let Some(one) = list("oneOf")
        && one.iter().filter(|schema| fits(schema)).count() != 1
    {
        wrong("must validate one and only one schema (oneOf)");
    }
    if schema.get("not").is_some_and(fits) {
        wrong("must not validate the schema (not)");
    }
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).is_some_and(|value| value == true)
}

fn additional(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|a| a.is_object())
}

fn schema_map<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema
        .get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}
