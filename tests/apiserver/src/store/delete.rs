//! Deleting: grace periods, finalizers, and what goes along.

use std::sync::Arc;

use serde_json::{Value, json};

use super::write::now;
use super::{Key, Store, Write, about, read::present};
use crate::kinds;
use crate::resource::{Resource, Storage};
use crate::selector::Selector;
use crate::status::Refusal;

/// `metav1.DeleteOptions`, what of it has an effect here.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    /// Seconds.
    pub(crate) grace: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

impl Store {
    /// Deletes one object; the answer is that object if it stays for a while, or if its kind says
    /// so, else a Status.
    pub(crate) fn delete(
        &mut self,
        resource: &Arc<Resource>,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, Refusal> {
        let storage = resource.storage();
        let Some(old) = self.object(&storage, key).cloned() else {
            return Err(Refusal::not_found(about(resource, &key.1)));
        };
        for (what, wanted, field) in [
            ("UID", &options.uid, "uid"),
            (
                "ResourceVersion",
                &options.resource_version,
                "resourceVersion",
            ),
        ] {
            let current = old["metadata"][field].as_str().unwrap_or_default();
            if let Some(wanted) = wanted
                && wanted != current
            {
                return Err(Refusal::conflict(
                    about(resource, &key.1),
                    &format!(
                        "Precondition failed: {what} in precondition: {wanted}, {what} in object \
                         meta: {current}"
                    ),
                ));
            }
        }
        let grace = kinds::grace(resource, &old, options.grace);
        let finalizers = has_finalizers(&old);
        let namespace = resource.plural == "namespaces" && resource.group.is_empty();
        if options.dry_run {
            return Ok(present(resource, &old));
        }
        if grace == 0 && !finalizers && !namespace {
            self.remove(resource, key);
            return Ok(match resource.plural.as_str() {
                // Kinds of which the deleted object is the answer.
                "pods" | "services" | "serviceaccounts" => present(resource, &old),
                _ => Arc::new(json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "details": {"name": key.1, "group": resource.group, "kind": resource.plural,
                                "uid": old["metadata"]["uid"]},
                })),
            });
        }
        let before = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
        if before.is_some_and(|before| before <= grace) {
            // It is on its way already, and no sooner than asked.
            return Ok(present(resource, &old));
        }
        let mut object = (*old).clone();
        let due = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
        object["metadata"]["deletionTimestamp"] =
            json!(due.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        if let Some(generation) = object["metadata"]["generation"].as_i64() {
            object["metadata"]["generation"] = json!(generation + 1);
        }
        if namespace {
            object["status"]["phase"] = json!("Terminating");
        }
        let stored = self.put(&storage, key, object);
        if namespace {
            self.empty_namespace(&key.1);
        }
        Ok(present(resource, &stored))
    }

    /// Deletes every object that is selected; answers what they were.
    pub(crate) fn delete_collection(
        &mut self,
        resource: &Arc<Resource>,
        namespace: &str,
        selector: &Selector,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<Value>>, Refusal> {
        let page = self.list(resource, namespace, selector, super::Listing::newest())?;
        for object in &page.items {
            let text = |name: &str| {
                let value = object["metadata"].get(name).and_then(Value::as_str);
                value.unwrap_or_default().to_owned()
            };
            let key = (text("namespace"), text("name"));
            match self.delete(resource, &key, options) {
                Ok(_) => {}
                Err(refusal) if refusal.code == 404 => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(page.items)
    }

    /// After a write: an object that nothing keeps any more goes.
    pub(super) fn finish_deletion(&mut self, resource: &Arc<Resource>, key: &Key) {
        let Some(object) = self.object(&resource.storage(), key) else {
            return;
        };
        let metadata = &object["metadata"];
        let due = metadata.get("deletionTimestamp").is_some()
            && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
        if !due || has_finalizers(object) {
            return;
        }
        if resource.plural == "namespaces" {
            let kept = object.pointer("/spec/finalizers").and_then(Value::as_array);
            if kept.is_some_and(|list| !list.is_empty()) {
                self.empty_namespace(&key.1.clone());
                return;
            }
        }
        self.remove(resource, key);
    }

    fn remove(&mut self, resource: &Arc<Resource>, key: &Key) {
        let Some(object) = self.take(&resource.storage(), key) else {
            return;
        };
        if resource.plural == "customresourcedefinitions" {
            self.remove_resource(&object);
        }
        if self.options.garbage {
            self.collect_garbage(&object);
        }
        if resource.namespaced {
            self.empty_namespace(&key.0);
        }
    }

    /// The objects of a definition go with it.
    fn remove_resource(&mut self, definition: &Value) {
        let text = |pointer: &str| {
            let value = definition.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let storage = Storage {
            group: text("/spec/group"),
            plural: text("/spec/names/plural"),
        };
        let collection = self.collections.get(&storage);
        let keys: Vec<Key> = collection
            .map(|c| c.objects.keys().cloned().collect())
            .unwrap_or_default();
        for key in keys {
            self.take(&storage, &key);
        }
        self.set_resources(&storage.group, &storage.plural, Vec::new());
    }

    /// Deletes what the object owned and nobody else does.
    fn collect_garbage(&mut self, object: &Value) {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        for (storage, key) in self.owned.remove(uid).unwrap_or_default() {
            let Some(owned) = self.object(&storage, &key) else {
                continue;
            };
            let owners = super::owners(owned);
            let alive = owners
                .iter()
                .any(|owner| owner != uid && self.is_alive(owner));
            if !owners.iter().any(|owner| owner == uid) || alive {
                continue;
            }
            let resource = self
                .resources
                .iter()
                .find(|r| r.storage() == storage)
                .cloned();
            if let Some(resource) = resource {
                let _gone_already = self.delete(&resource, &key, &DeleteOptions::default());
            }
        }
    }

    fn is_alive(&self, uid: &str) -> bool {
        let mut objects = self.collections.values().flat_map(|c| c.objects.values());
        objects.any(|object| object["metadata"]["uid"] == uid)
    }

    /// Deletes the content of a namespace that is terminating, then the namespace.
    fn empty_namespace(&mut self, name: &str) {
        let Some(namespaces) = self.find("v1", "Namespace") else {
            return;
        };
        let key: Key = (String::new(), name.to_owned());
        let storage = namespaces.storage();
        let terminating = self
            .object(&storage, &key)
            .is_some_and(|n| n["metadata"].get("deletionTimestamp").is_some());
        if !terminating || !self.options.namespaces || self.sweeping {
            return;
        }
        self.sweeping = true;
        self.delete_content(name);
        self.sweeping = false;
        let left = self
            .collections
            .values()
            .any(|c| c.objects.keys().any(|key| key.0 == name));
        let Some(namespace) = self.object(&storage, &key).cloned() else {
            return;
        };
        if left {
            return;
        }
        if namespace
            .pointer("/spec/finalizers")
            .is_some_and(|f| *f != json!([]))
        {
            let mut done = (*namespace).clone();
            done["spec"]["finalizers"] = json!([]);
            self.put(&storage, &key, done);
        }
        if !has_finalizers(&namespace) {
            self.take(&storage, &key);
        }
    }

    fn delete_content(&mut self, name: &str) {
        let content: Vec<(Storage, Key)> = self
            .collections
            .iter()
            .flat_map(|(storage, c)| {
                c.objects
                    .keys()
                    .map(move |key| (storage.clone(), key.clone()))
            })
            .filter(|(_, key)| key.0 == name)
            .collect();
        for (storage, key) in content {
            let waits = self
                .object(&storage, &key)
                .is_some_and(|o| o["metadata"].get("deletionTimestamp").is_some());
            let resource = self
                .resources
                .iter()
                .find(|r| r.storage() == storage)
                .cloned();
            if let (Some(resource), false) = (resource, waits) {
                let _gone_already = self.delete(&resource, &key, &DeleteOptions::default());
            }
        }
    }

    /// Gives a Pod to a node (`pods/binding`).
    pub(crate) fn bind(&mut self, w: &Write, binding: &Value) -> Result<(), Refusal> {
        let node = binding.pointer("/target/name").and_then(Value::as_str);
        let node = node.unwrap_or_default();
        let pod = self.get(w.resource, w.namespace, w.name)?;
        let bound = pod.pointer("/spec/nodeName").and_then(Value::as_str);
        if let Some(bound) = bound.filter(|bound| !bound.is_empty()) {
            return Err(Refusal::conflict(
                about(w.resource, w.name),
                &format!("pod {} is already assigned to node {bound:?}", w.name),
            ));
        }
        let mut pod = (*pod).clone();
        pod["spec"]["nodeName"] = json!(node);
        let scheduled =
            json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now()});
        let conditions = &mut pod["status"]["conditions"];
        match conditions.as_array_mut() {
            Some(list) => {
                list.retain(|c| c["type"] != "PodScheduled");
                list.push(scheduled);
            }
            None => *conditions = json!([scheduled]),
        }
        let key = (w.namespace.to_owned(), w.name.to_owned());
        self.put(&w.resource.storage(), &key, pod);
        Ok(())
    }
}

fn has_finalizers(object: &Value) -> bool {
    let list = object.pointer("/metadata/finalizers");
    list.and_then(Value::as_array)
        .is_some_and(|l| !l.is_empty())
}
