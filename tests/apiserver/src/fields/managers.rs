//! `metadata.managedFields`.

use serde_json::{Value, json};

use super::set::{FieldSet, compare};
use super::shape::Shape;

/// How fields came to be a manager's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who writes: the key of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) api_version: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) manager: Manager,
    pub(crate) time: String,
    pub(crate) fields: FieldSet,
}

/// Every manager of an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Managers(pub(crate) Vec<Entry>);

impl Managers {
    /// Reads them from an object.
    pub(crate) fn of(object: &Value) -> Self {
        let list = object.pointer("/metadata/managedFields");
        let entries = list.and_then(Value::as_array).into_iter().flatten();
        Managers(entries.filter_map(entry).collect())
    }

    /// The entry of a manager; the version it wrote in does not matter.
    fn position(&self, manager: &Manager) -> Option<usize> {
        self.0.iter().position(|entry| {
            entry.manager.name == manager.name
                && entry.manager.operation == manager.operation
                && entry.manager.subresource == manager.subresource
        })
    }

    pub(crate) fn fields(&self, manager: &Manager) -> FieldSet {
        self.position(manager)
            .map(|at| self.0[at].fields.clone())
            .unwrap_or_default()
    }

    /// What everybody else has, one by one.
    pub(crate) fn others(&mut self, manager: &Manager) -> impl Iterator<Item = &mut Entry> {
        let own = self.position(manager);
        self.0
            .iter_mut()
            .enumerate()
            .filter(move |(at, _)| Some(*at) != own)
            .map(|(_, entry)| entry)
    }

    /// Gives a manager exactly these fields.
    pub(crate) fn set(&mut self, manager: &Manager, fields: FieldSet, now: &str) {
        match self.position(manager) {
            Some(at) if self.0[at].fields == fields => {}
            Some(at) => {
                let entry = &mut self.0[at];
                entry.fields = fields;
                entry.time = now.to_owned();
                entry.manager.api_version.clone_from(&manager.api_version);
            }
            None => self.0.push(Entry {
                manager: manager.clone(),
                time: now.to_owned(),
                fields,
            }),
        }
        self.0.retain(|entry| !entry.fields.is_empty());
    }

    /// After a write that was no apply: what it changed is its own now, and nobody else's.
    pub(crate) fn update(
        &mut self,
        manager: &Manager,
        old: &Value,
        new: &Value,
        shape: &Shape,
        now: &str,
    ) {
        let (changed, removed) = compare(old, new, shape);
        if changed.is_empty() && removed.is_empty() {
            return;
        }
        for entry in self.others(manager) {
            entry.fields = entry.fields.difference(&changed).without_below(&removed);
        }
        let own = self.fields(manager).without_below(&removed).union(&changed);
        self.set(manager, own, now);
    }

    /// Writes them into an object.
    pub(crate) fn write(&self, object: &mut Value) {
        let entries: Vec<Value> = self
            .0
            .iter()
            .map(|entry| {
                let mut value = json!({
                    "manager": entry.manager.name, "operation": entry.manager.operation.as_str(),
                    "apiVersion": entry.manager.api_version, "time": entry.time,
                    "fieldsType": "FieldsV1", "fieldsV1": entry.fields.to_v1(),
                });
                if !entry.manager.subresource.is_empty() {
                    value["subresource"] = json!(entry.manager.subresource);
                }
                value
            })
            .collect();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            if entries.is_empty() {
                metadata.remove("managedFields");
            } else {
                metadata.insert("managedFields".into(), Value::Array(entries));
            }
        }
    }
}

fn entry(value: &Value) -> Option<Entry> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let operation = match text("operation")? {
        "Apply" => Operation::Apply,
        _ => Operation::Update,
    };
    Some(Entry {
        manager: Manager {
            name: text("manager").unwrap_or_default().to_owned(),
            operation,
            api_version: text("apiVersion").unwrap_or_default().to_owned(),
            subresource: text("subresource").unwrap_or_default().to_owned(),
        },
        time: text("time").unwrap_or_default().to_owned(),
        fields: FieldSet::from_v1(value.get("fieldsV1")?),
    })
}
