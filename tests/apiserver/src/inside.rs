//! What a test does without a client: the same reads and writes, past network, faults and RBAC.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::ApiServer;
use crate::resource::Resource;
use crate::selector::Selector;
use crate::status::Refusal;
use crate::store::{DeleteOptions, FieldValidation, Listing, Patch, Store, Write};

/// The field manager of tests.
const MANAGER: &str = "test";

impl ApiServer {
    /// Applies manifests (YAML documents, or Lists) as `kubectl apply --server-side
    /// --force-conflicts` would; a `status` in them is written too, where the real server would
    /// ignore it. Objects without a namespace go to `default`.
    ///
    /// # Errors
    ///
    /// The first document that the server refuses; those before it are applied.
    pub fn apply(&self, yaml: &str) -> Result<(), Refusal> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)
            .map_err(|error| Refusal::bad_request(error.to_string()))?;
        for document in documents {
            match document.get("items").and_then(Value::as_array) {
                Some(items)
                    if document["kind"]
                        .as_str()
                        .is_some_and(|k| k.ends_with("List")) =>
                {
                    for item in items {
                        self.apply_object(item.clone())?;
                    }
                }
                _ if document.is_null() => {}
                _ => self.apply_object(document)?,
            }
        }
        Ok(())
    }

    /// Applies one object.
    ///
    /// # Errors
    ///
    /// The server refuses it.
    pub fn apply_object(&self, mut object: Value) -> Result<(), Refusal> {
        let mut store = self.caller.store();
        let text = |object: &Value, field: &str| {
            let value = object.get(field).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let (version, kind) = (text(&object, "apiVersion"), text(&object, "kind"));
        let resource = store.find(&version, &kind).ok_or_else(|| {
            Refusal::new(
                404,
                "NotFound",
                format!("no kind {kind:?} in version {version:?}"),
            )
        })?;
        let namespace = match text(&object["metadata"], "namespace") {
            _ if !resource.namespaced => String::new(),
            namespace if namespace.is_empty() => "default".into(),
            namespace => namespace,
        };
        let name = text(&object["metadata"], "name");
        let status = object
            .as_object_mut()
            .filter(|_| resource.has("status"))
            .and_then(|map| map.remove("status"));
        let mut w = write(&resource, &namespace, &name);
        let apply = |wanted: Value| Patch::Apply {
            wanted,
            force: true,
        };
        store.patch(&w, apply(object))?;
        if let Some(status) = status {
            w.subresource = "status";
            let wanted = json!({"apiVersion": version, "kind": kind,
                                "metadata": {"name": name}, "status": status});
            store.patch(&w, apply(wanted))?;
        }
        Ok(())
    }

    /// One object; the kind may be a kind, plural or short name. Cluster-wide ones have no
    /// namespace.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let store = self.caller.store();
        let resource = store.find_by_name(kind)?;
        let object = store
            .get(&resource, scope(&resource, namespace), name)
            .ok()?;
        Some((*object).clone())
    }

    /// Every object of a kind; of every namespace, if none is given.
    pub fn list(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let store = self.caller.store();
        let Some(resource) = store.find_by_name(kind) else {
            return Vec::new();
        };
        let everything = Selector::default();
        let page = store.list(&resource, namespace, &everything, Listing::newest());
        let items = page.map(|page| page.items).unwrap_or_default();
        items.iter().map(|object| (**object).clone()).collect()
    }

    /// Merges a patch (RFC 7396) into an object.
    ///
    /// # Errors
    ///
    /// The object is not there, or would not be valid.
    pub fn patch(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<(), Refusal> {
        self.merge(kind, namespace, name, "", patch)
    }

    /// Merges a patch into an object's status.
    ///
    /// # Errors
    ///
    /// The object is not there, has no status subresource, or would not be valid.
    pub fn patch_status(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        status: Value,
    ) -> Result<(), Refusal> {
        self.merge(kind, namespace, name, "status", json!({"status": status}))
    }

    fn merge(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: Value,
    ) -> Result<(), Refusal> {
        let mut store = self.caller.store();
        let resource = known(&store, kind)?;
        let mut w = write(&resource, scope(&resource, namespace), name);
        w.subresource = subresource;
        store.patch(&w, Patch::Merge(patch)).map(|_| ())
    }

    /// Deletes an object at once (grace period 0); finalizers keep it.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<(), Refusal> {
        self.delete_with_grace(kind, namespace, name, Some(0))
    }

    /// Deletes an object with a grace period in seconds, or its own one.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn delete_with_grace(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        grace: Option<i64>,
    ) -> Result<(), Refusal> {
        let mut store = self.caller.store();
        let resource = known(&store, kind)?;
        let key = (scope(&resource, namespace).to_owned(), name.to_owned());
        let options = DeleteOptions {
            grace,
            ..DeleteOptions::default()
        };
        store.delete(&resource, &key, &options).map(|_| ())
    }

    /// The revision of the newest change.
    pub fn revision(&self) -> u64 {
        self.caller.store().revision()
    }

    /// Waits until `wanted` holds of the server; false if it did not in `seconds`.
    pub async fn eventually(&self, seconds: u64, wanted: impl Fn(&ApiServer) -> bool) -> bool {
        let mut changed = self.caller.store().subscribe();
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds);
        loop {
            changed.borrow_and_update();
            if wanted(self) {
                return true;
            }
            if tokio::time::timeout_at(end, changed.changed())
                .await
                .is_err()
            {
                return wanted(self);
            }
        }
    }
}

fn known(store: &Store, kind: &str) -> Result<Arc<Resource>, Refusal> {
    let found = store.find_by_name(kind);
    found.ok_or_else(|| Refusal::new(404, "NotFound", format!("no kind {kind:?}")))
}

fn scope<'a>(resource: &Resource, namespace: &'a str) -> &'a str {
    if resource.namespaced { namespace } else { "" }
}

fn write<'a>(resource: &'a Arc<Resource>, namespace: &'a str, name: &'a str) -> Write<'a> {
    Write {
        resource,
        namespace,
        name,
        subresource: "",
        manager: MANAGER.into(),
        dry_run: false,
        validation: FieldValidation::Ignore,
    }
}
