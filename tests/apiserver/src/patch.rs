//! The patches that are not server-side apply: JSON merge (RFC 7396), JSON (RFC 6902) and
//! strategic merge.

use serde_json::{Map, Value};

use crate::fields::{ListType, Shape};
use crate::status::Refusal;

/// RFC 7396.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else {
        return;
    };
    for (name, part) in patch {
        if part.is_null() {
            map.remove(name);
        } else {
            merge(map.entry(name.clone()).or_insert(Value::Null), part);
        }
    }
}

/// RFC 6902.
pub(crate) fn json(target: &mut Value, patch: &Value) -> Result<(), Refusal> {
    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
    json_patch::patch(target, &patch).map_err(|error| {
        Refusal::new(
            422,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {error}"),
        )
    })
}

/// Strategic merge: lists with a merge key are merged by it, `$patch`, `$deleteFromPrimitiveList`,
/// `$retainKeys` and `$setElementOrder` are followed.
pub(crate) fn strategic(target: &mut Value, patch: &Value, shape: &Shape) -> Result<(), Refusal> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = without_directives(&Value::Object(patch.clone()));
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => {
            return Err(Refusal::bad_request(format!("unknown patch type: {other}")));
        }
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else {
        return Ok(());
    };
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|name, _| keep.iter().any(|k| k == name));
    }
    for (name, part) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = part.as_array().cloned().unwrap_or_default();
            if let Some(list) = map.get_mut(list).and_then(Value::as_array_mut) {
                list.retain(|element| !gone.contains(element));
            }
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        if part.is_null() {
            map.remove(name);
            continue;
        }
        let below = shape.field(name);
        match part {
            Value::Array(patches) => {
                let list = map.entry(name.clone()).or_insert(Value::Array(Vec::new()));
                let order = patch.get(&format!("$setElementOrder/{name}"));
                strategic_list(list, patches, order, &below)?;
            }
            _ => strategic(map.entry(name.clone()).or_insert(Value::Null), part, &below)?,
        }
    }
    Ok(())
}

fn strategic_list(
    target: &mut Value,
    patches: &[Value],
    order: Option<&Value>,
    shape: &Shape,
) -> Result<(), Refusal> {
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Some(list) = target.as_array_mut() else {
        return Ok(());
    };
    if patches
        .iter()
        .any(|p| p.get("$patch").is_some_and(|d| d == "replace"))
    {
        list.clear();
    }
    match shape.strategic_list() {
        ListType::Atomic => {
            *list = patches.iter().map(without_directives).collect();
        }
        ListType::Set => {
            for element in patches {
                if !list.contains(element) {
                    list.push(element.clone());
                }
            }
        }
        ListType::Map(keys) => {
            let key = keys.first().cloned().unwrap_or_default();
            for patch in patches {
                let Some(value) = patch.get(&key) else {
                    if patch.get("$patch").is_some() {
                        continue;
                    }
                    return Err(Refusal::bad_request(format!(
                        "map: {patch} does not contain declared merge key: {key}"
                    )));
                };
                let at = list.iter().position(|e| e.get(&key) == Some(value));
                match (at, patch.get("$patch").and_then(Value::as_str)) {
                    (Some(at), Some("delete")) => {
                        list.remove(at);
                    }
                    (None, Some("delete")) => {}
                    (Some(at), _) => strategic(&mut list[at], patch, &shape.element())?,
                    (None, _) => list.push(without_directives(patch)),
                }
            }
            if let Some(order) = order.and_then(Value::as_array) {
                let rank = |element: &Value| {
                    let same = |o: &Value| o.get(&key) == element.get(&key);
                    order.iter().position(same).unwrap_or(order.len())
                };
                list.sort_by_key(rank);
            }
        }
    }
    Ok(())
}

fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(name, part)| !name.starts_with('$') && !part.is_null())
            .map(|(name, part)| (name.clone(), without_directives(part)))
            .collect(),
        Value::Array(list) => list
            .iter()
            .filter(|e| e.get("$patch").is_none())
            .map(without_directives)
            .collect(),
        other => other.clone(),
    }
}
