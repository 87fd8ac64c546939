//! Server-side apply: merge what a manager wants into what is there, and find conflicts.

use serde_json::{Map, Value};

use super::managers::{Manager, Managers};
use super::set::{FieldSet, compare};
use super::shape::{ListType, Shape, element_key};

/// What an apply makes of an object.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) object: Value,
    pub(crate) managers: Managers,
    /// Who has a field that would change, and which: manager, apiVersion, path.
    pub(crate) conflicts: Vec<(String, String, String)>,
}

/// Applies `wanted` to `live`. `mine` says which top-level fields this endpoint may touch.
pub(crate) fn apply(
    live: &Value,
    wanted: &Value,
    manager: &Manager,
    shape: &Shape,
    mine: impl Fn(&str) -> bool,
    now: &str,
) -> Applied {
    let mut managers = Managers::of(live);
    let wanted = restrict(wanted, &mine);
    let set = FieldSet::of(&wanted, shape);
    let merged = merge(live, &wanted, shape);

    let (changed, _) = compare(live, &merged, shape);
    let mut conflicts = Vec::new();
    for entry in managers.others(manager) {
        for path in entry.fields.intersection(&changed).paths() {
            conflicts.push((
                entry.manager.name.clone(),
                entry.manager.api_version.clone(),
                path,
            ));
        }
        entry.fields = entry.fields.difference(&changed);
    }

    // What the manager had and does not want any more goes, unless somebody else has it too.
    let mut gone = managers.fields(manager).difference(&set);
    for entry in managers.others(manager) {
        gone = gone.difference(&entry.fields);
    }
    let mut kept = set.clone();
    for entry in managers.others(manager) {
        kept = kept.union(&entry.fields);
    }
    let mut object = merged;
    remove(&mut object, &gone, &kept, shape);
    managers.set(manager, set, now);
    Applied {
        object,
        managers,
        conflicts,
    }
}

fn restrict(wanted: &Value, mine: &impl Fn(&str) -> bool) -> Value {
    let mut wanted = wanted.clone();
    if let Some(map) = wanted.as_object_mut() {
        map.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind") || mine(name));
    }
    wanted
}

/// Lays `wanted` over `live`.
fn merge(live: &Value, wanted: &Value, shape: &Shape) -> Value {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) if !shape.atomic_map() => {
            let mut merged = live.clone();
            for (name, part) in wanted {
                let before = live.get(name).unwrap_or(&Value::Null);
                merged.insert(name.clone(), merge(before, part, &shape.field(name)));
            }
            Value::Object(merged)
        }
        (Value::Array(live), Value::Array(wanted)) => {
            let how = shape.list();
            let mut merged = live.clone();
            for element in wanted {
                let Some(key) = element_key(&how, element) else {
                    return Value::Array(wanted.clone());
                };
                let same = |e: &Value| element_key(&how, e).as_ref() == Some(&key);
                match merged.iter().position(same) {
                    Some(at) => merged[at] = merge(&merged[at], element, &shape.element()),
                    None => merged.push(element.clone()),
                }
            }
            if how == ListType::Atomic {
                return Value::Array(wanted.clone());
            }
            Value::Array(merged)
        }
        // An empty map or list takes nothing away from what others have there.
        (Value::Null, wanted) => wanted.clone(),
        (_, wanted) => wanted.clone(),
    }
}

/// Takes the members of `gone` out of a value, with what stands below them and is in nobody's set.
fn remove(value: &mut Value, gone: &FieldSet, kept: &FieldSet, shape: &Shape) {
    let nothing = FieldSet::default();
    match value {
        Value::Object(map) => {
            let mut emptied: Vec<String> = Vec::new();
            for (key, below) in &gone.children {
                let Some(name) = key.strip_prefix("f:") else {
                    continue;
                };
                let kept = kept.children.get(key).unwrap_or(&nothing);
                if below.member && kept.is_empty() {
                    map.remove(name);
                } else if let Some(part) = map.get_mut(name) {
                    remove(part, below, kept, &shape.field(name));
                    if kept.is_empty() && is_empty(part) {
                        emptied.push(name.to_owned());
                    }
                }
            }
            map.retain(|name, _| !emptied.contains(name));
        }
        Value::Array(list) => {
            let how = shape.list();
            list.retain_mut(|element| {
                let Some(key) = element_key(&how, element) else {
                    return true;
                };
                let Some(below) = gone.children.get(&key) else {
                    return true;
                };
                let kept = kept.children.get(&key).unwrap_or(&nothing);
                if below.member && kept.is_empty() {
                    return false;
                }
                remove(element, below, kept, &shape.element());
                true
            });
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}
