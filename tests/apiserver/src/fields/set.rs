//! A set of fields, as a tree.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::shape::{ListType, Shape, element_key};

/// A set of fields of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// This place itself is in the set.
    pub(crate) member: bool,
    /// Places below, by their serialised path element.
    pub(crate) children: BTreeMap<String, FieldSet>,
}

/// Fields of metadata that nobody manages.
const UNMANAGED: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
    "generateName",
];

impl FieldSet {
    /// Every leaf of an object; elements of merged lists count themselves too.
    pub(crate) fn of(value: &Value, shape: &Shape) -> Self {
        let mut set = FieldSet::default();
        for (name, part) in value.as_object().into_iter().flatten() {
            match name.as_str() {
                "apiVersion" | "kind" => continue,
                "metadata" => {
                    let mut part = part.clone();
                    if let Some(map) = part.as_object_mut() {
                        map.retain(|name, _| !UNMANAGED.contains(&name.as_str()));
                        if map.is_empty() {
                            continue;
                        }
                    }
                    set.insert("f:metadata", leaves(&part, &shape.field(name)));
                }
                _ => set.insert(&format!("f:{name}"), leaves(part, &shape.field(name))),
            }
        }
        set
    }

    fn insert(&mut self, key: &str, set: FieldSet) {
        if !set.is_empty() {
            self.children.insert(key.to_owned(), set);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(FieldSet::is_empty)
    }

    pub(crate) fn union(&self, other: &FieldSet) -> FieldSet {
        let mut set = self.clone();
        set.member |= other.member;
        for (key, theirs) in &other.children {
            let ours = set.children.entry(key.clone()).or_default();
            *ours = ours.union(theirs);
        }
        set
    }

    pub(crate) fn intersection(&self, other: &FieldSet) -> FieldSet {
        let both = self.children.iter().filter_map(|(key, ours)| {
            let set = ours.intersection(other.children.get(key)?);
            (!set.is_empty()).then(|| (key.clone(), set))
        });
        FieldSet {
            member: self.member && other.member,
            children: both.collect(),
        }
    }

    pub(crate) fn difference(&self, other: &FieldSet) -> FieldSet {
        let left = self.children.iter().filter_map(|(key, ours)| {
            let set = match other.children.get(key) {
                Some(theirs) => ours.difference(theirs),
                None => ours.clone(),
            };
            (!set.is_empty()).then(|| (key.clone(), set))
        });
        FieldSet {
            member: self.member && !other.member,
            children: left.collect(),
        }
    }

    /// Takes away whatever `gone` has, and everything below its members.
    pub(crate) fn without_below(&self, gone: &FieldSet) -> FieldSet {
        if gone.member {
            return FieldSet::default();
        }
        let left = self.children.iter().filter_map(|(key, ours)| {
            let set = match gone.children.get(key) {
                Some(gone) => ours.without_below(gone),
                None => ours.clone(),
            };
            (!set.is_empty()).then(|| (key.clone(), set))
        });
        FieldSet {
            member: self.member,
            children: left.collect(),
        }
    }

    /// Members as paths: `.spec.ports[port=80,protocol="TCP"].name`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.collect(String::new(), &mut all);
        all
    }

    fn collect(&self, path: String, all: &mut Vec<String>) {
        if self.member {
            all.push(path.clone());
        }
        for (key, set) in &self.children {
            let step = match key.split_once(':') {
                Some(("f", name)) => format!(".{name}"),
                Some(("v", value)) => format!("[={value}]"),
                Some((_, keys)) => {
                    let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                    let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    format!("[{}]", keys.join(","))
                }
                None => key.clone(),
            };
            set.collect(format!("{path}{step}"), all);
        }
    }

    /// As `fieldsV1`.
    pub(crate) fn to_v1(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (key, set) in &self.children {
            map.insert(key.clone(), set.to_v1());
        }
        Value::Object(map)
    }

    /// From `fieldsV1`.
    pub(crate) fn from_v1(value: &Value) -> FieldSet {
        let mut set = FieldSet::default();
        for (key, below) in value.as_object().into_iter().flatten() {
            if key == "." {
                set.member = true;
            } else {
                let mut child = FieldSet::from_v1(below);
                child.member |= child.children.is_empty();
                set.children.insert(key.clone(), child);
            }
        }
        set
    }
}

const LEAF: FieldSet = FieldSet {
    member: true,
    children: BTreeMap::new(),
};

fn leaves(value: &Value, shape: &Shape) -> FieldSet {
    let mut set = FieldSet::default();
    match value {
        Value::Object(map) if !map.is_empty() && !shape.atomic_map() => {
            for (name, part) in map {
                set.insert(&format!("f:{name}"), leaves(part, &shape.field(name)));
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let how = shape.list();
            if how == ListType::Atomic {
                return LEAF;
            }
            for element in list {
                let Some(key) = element_key(&how, element) else {
                    return LEAF;
                };
                let mut below = match how {
                    ListType::Map(_) => leaves(element, &shape.element()),
                    _ => FieldSet::default(),
                };
                below.member = true;
                set.insert(&key, below);
            }
        }
        _ => return LEAF,
    }
    set
}

/// What differs between two objects: fields that are new or have another value, and fields that
/// are gone.
pub(crate) fn compare(old: &Value, new: &Value, shape: &Shape) -> (FieldSet, FieldSet) {
    let (before, after) = (FieldSet::of(old, shape), FieldSet::of(new, shape));
    let removed = before.difference(&after);
    let mut changed = after.difference(&before);
    changed = changed.union(&other_values(old, new, shape, &before.intersection(&after)));
    (changed, removed)
}

/// Members of `both` that have another value in `new` than in `old`.
fn other_values(old: &Value, new: &Value, shape: &Shape, both: &FieldSet) -> FieldSet {
    let mut set = FieldSet::default();
    if both.children.is_empty() {
        set.member = both.member && old != new;
        return set;
    }
    for (key, below) in &both.children {
        let parts = match key.split_once(':') {
            Some(("f", name)) => old
                .get(name)
                .zip(new.get(name))
                .map(|(old, new)| (old, new, shape.field(name))),
            Some(("k", _)) => {
                let how = shape.list();
                let find = |list: &'_ Value| -> Option<usize> {
                    list.as_array()?
                        .iter()
                        .position(|e| element_key(&how, e).as_ref() == Some(key))
                };
                find(old)
                    .and_then(|i| old.get(i))
                    .zip(find(new).and_then(|i| new.get(i)))
                    .map(|(old, new)| (old, new, shape.element()))
            }
            _ => None,
        };
        if let Some((old, new, shape)) = parts {
            set.insert(key, other_values(old, new, &shape, below));
        }
    }
    set
}
