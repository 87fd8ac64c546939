//! What the server holds: objects, their history, and one revision for all of them, as etcd has.

mod delete;
pub(crate) mod read;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::options::Options;
use crate::resource::{Resource, Storage, built_in};
use crate::status::{About, Refusal};

pub(crate) use delete::DeleteOptions;
pub(crate) use read::{At, Listing, Page, parse_revision, present};
pub(crate) use write::{FieldValidation, Patch, Write};

/// Namespace (empty for none) and name.
pub(crate) type Key = (String, String);

/// What happened to an object at a revision.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    /// The object after it; for a deletion, as it was last, at the deletion's revision.
    pub(crate) object: Arc<Value>,
    pub(crate) before: Option<Arc<Value>>,
    pub(crate) deleted: bool,
}

#[derive(Debug, Default)]
struct Collection {
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Change>,
    /// Changes up to here are forgotten.
    forgotten: u64,
}

/// The whole state.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) options: Options,
    revision: u64,
    /// Changes up to here are forgotten in every collection.
    compacted: u64,
    resources: Vec<Arc<Resource>>,
    collections: BTreeMap<Storage, Collection>,
    /// Owner's uid to what it owns.
    owned: HashMap<String, BTreeSet<(Storage, Key)>>,
    changed: watch::Sender<u64>,
    serial: u64,
    /// A namespace is being emptied; each object that goes does not begin that anew.
    sweeping: bool,
}

impl Store {
    pub(crate) fn new(options: Options) -> Self {
        let mut store = Store {
            options,
            revision: 1,
            compacted: 0,
            resources: built_in().into_iter().map(Arc::new).collect(),
            collections: BTreeMap::new(),
            owned: HashMap::new(),
            changed: watch::Sender::new(1),
            serial: 0,
            sweeping: false,
        };
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let object =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let made = store
                .find("v1", "Namespace")
                .ok_or_else(Refusal::no_such_resource)
                .and_then(|resource| store.create(&Write::by_server(&resource, "", name), object));
            debug_assert!(made.is_ok(), "{made:?}");
        }
        store
    }

    /// Every resource, as discovery lists them.
    pub(crate) fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// The resource of a path.
    pub(crate) fn resource(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.group == group && r.version == version && r.plural == plural)
            .cloned()
    }

    /// The resource of a manifest.
    pub(crate) fn find(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.kind == kind && r.api_version() == api_version)
            .cloned()
    }

    /// The resource that goes by this kind, plural, singular or short name, whatever its group.
    pub(crate) fn find_by_name(&self, name: &str) -> Option<Arc<Resource>> {
        let lower = name.to_lowercase();
        self.resources
            .iter()
            .find(|r| {
                r.kind == name
                    || r.plural == lower
                    || r.singular == lower
                    || r.short_names.contains(&lower)
            })
            .cloned()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Says when the revision has grown.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Forgets every change so far, as etcd's compaction does.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.revision;
        for collection in self.collections.values_mut() {
            collection.log.clear();
        }
        self.changed.send_replace(self.revision);
    }

    fn object(&self, storage: &Storage, key: &Key) -> Option<&Arc<Value>> {
        self.collections.get(storage)?.objects.get(key)
    }

    /// Every object of a collection.
    pub(crate) fn all(&self, group: &str, plural: &str) -> impl Iterator<Item = &Arc<Value>> {
        let storage = Storage {
            group: group.to_owned(),
            plural: plural.to_owned(),
        };
        self.collections
            .get(&storage)
            .into_iter()
            .flat_map(|c| c.objects.values())
    }

    /// Puts an object in place of what is there, at the next revision.
    fn put(&mut self, storage: &Storage, key: &Key, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        for owner in owners(&object) {
            let owned = self.owned.entry(owner).or_default();
            owned.insert((storage.clone(), key.clone()));
        }
        let collection = self.collections.entry(storage.clone()).or_default();
        let before = collection.objects.insert(key.clone(), object.clone());
        self.record(storage, object.clone(), before, false);
        object
    }

    /// Takes an object away, at the next revision; it is what watches say was deleted.
    fn take(&mut self, storage: &Storage, key: &Key) -> Option<Arc<Value>> {
        let before = self.collections.get_mut(storage)?.objects.remove(key)?;
        self.revision += 1;
        let mut object = (*before).clone();
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        self.record(storage, object.clone(), Some(before), true);
        Some(object)
    }

    fn record(
        &mut self,
        storage: &Storage,
        object: Arc<Value>,
        before: Option<Arc<Value>>,
        deleted: bool,
    ) {
        let collection = self.collections.entry(storage.clone()).or_default();
        collection.log.push_back(Change {
            revision: self.revision,
            object,
            before,
            deleted,
        });
        while collection.log.len() > self.options.history {
            if let Some(change) = collection.log.pop_front() {
                collection.forgotten = change.revision;
            }
        }
        self.changed.send_replace(self.revision);
    }

    /// A number that no other call has got.
    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn set_resources(&mut self, group: &str, plural: &str, new: Vec<Resource>) {
        self.resources
            .retain(|r| r.group != group || r.plural != plural);
        self.resources.extend(new.into_iter().map(Arc::new));
    }
}

/// uids of an object's owners.
fn owners(object: &Value) -> Vec<String> {
    let list = object.pointer("/metadata/ownerReferences");
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|owner| owner["uid"].as_str().map(str::to_owned))
        .collect()
}

/// What a refusal says an object is.
pub(crate) fn about<'a>(resource: &'a Resource, name: &'a str) -> About<'a> {
    About {
        group: &resource.group,
        resource: &resource.plural,
        name,
    }
}
