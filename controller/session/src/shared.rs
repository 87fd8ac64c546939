//! What every switch holds alike: encoded once, and the same bytes are sent to all of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use flows::Changes;

use crate::entry::{Act, Entry, Key, Step};
use crate::labels;
use crate::plan::{Known, Plan, set};

/// Changes that are remembered; a switch that is further behind is read and compared anew.
const REMEMBERED: usize = 256;

/// What every switch holds alike, with its latest changes.
#[derive(Debug, Default)]
pub struct Shared {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    version: u64,
    entries: Known,
    labels: BTreeMap<u64, String>,
    flows: usize,
    /// What cannot be sent, with its object.
    unsendable: BTreeMap<Key, String>,
    log: VecDeque<Arc<Delta>>,
    whole: OnceLock<Arc<Delta>>,
}

/// An entry before and after.
pub(crate) type Change = (Option<Arc<Entry>>, Option<Arc<Entry>>);

/// One change of it.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// What it leads to.
    pub version: u64,
    /// Each entry before and after.
    pub changes: Vec<Change>,
    /// The same as steps; no meters.
    pub plan: Plan,
    /// The steps as they are sent: groups set, flows, groups deleted.
    pub groups: Bytes,
    pub flows: Bytes,
    pub deleted_groups: Bytes,
    /// Names of cookies; empty: nobody's any more.
    pub labels: Vec<(u64, String)>,
    /// The same as they are sent.
    pub labels_bytes: Bytes,
}

impl Delta {
    fn new(version: u64, changes: Vec<Change>, labels: Vec<(u64, String)>) -> Self {
        let mut plan = Plan::default();
        for (before, after) in &changes {
            match (before, after) {
                (_, Some(after)) => set(before.as_deref(), after, &mut plan),
                (Some(before), None) => plan.push(Step::new(Act::Delete, before)),
                (None, None) => {}
            }
        }
        let bytes = |steps: &mut dyn Iterator<Item = &Step>| {
            let mut bytes = Vec::new();
            steps.for_each(|step| step.write(&mut bytes));
            Bytes::from(bytes)
        };
        Delta {
            version,
            groups: bytes(&mut plan.groups.iter().chain(&plan.chained)),
            flows: bytes(&mut plan.flows.iter().chain(&plan.deleted_flows)),
            deleted_groups: bytes(&mut plan.deleted_chained.iter().chain(&plan.deleted_groups)),
            labels_bytes: labels::encode(&labels),
            changes,
            plan,
            labels,
        }
    }
}

impl Shared {
    /// Nothing yet.
    pub fn new() -> Self {
        Shared::default()
    }

    /// Takes a change; true if there is something to be sent to every switch.
    pub fn apply(&self, changes: &Changes) -> bool {
        if changes.is_empty() {
            return false;
        }
        let mut guard = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *guard;
        let mut list = Vec::with_capacity(changes.groups.len() + changes.flows.len());
        for (cookie, label) in &changes.labels {
            match label {
                Some(label) => drop(inner.labels.insert(*cookie, label.clone())),
                None => drop(inner.labels.remove(cookie)),
            }
        }
        for (id, group) in &changes.groups {
            let key = Key::Group(id.0);
            if group.is_none() {
                inner.unsendable.remove(&key);
            }
            let now = group.as_ref().and_then(|group| {
                let object = crate::entry::object_of(&group.label);
                let entry = Entry::group(*id, group.kind, &group.buckets, &group.label);
                keep(&mut inner.unsendable, key, object, entry)
            });
            note(&mut inner.entries, key, now, &mut list);
        }
        for (id, flow) in &changes.flows {
            let key = Entry::key_of(id);
            if flow.is_none() {
                inner.unsendable.remove(&key);
            }
            let now = flow.as_ref().and_then(|flow| {
                let object = inner.labels.get(&flow.cookie).map_or("", String::as_str);
                let entry = Entry::flow(id, flow.cookie, &flow.instructions);
                keep(&mut inner.unsendable, key, object, entry)
            });
            note(&mut inner.entries, key, now, &mut list);
        }
        let labels = changes.labels.iter();
        let labels = labels.map(|(c, label)| (*c, label.clone().unwrap_or_default()));
        let labels: Vec<_> = labels.collect();
        if list.is_empty() && labels.is_empty() {
            return false;
        }
        let is_flow =
            |e: &&Option<Arc<Entry>>| e.as_ref().is_some_and(|e| matches!(e.key, Key::Flow(_)));
        inner.flows += list.iter().map(|(_, after)| after).filter(is_flow).count();
        inner.flows -= list.iter().map(|(b, _)| b).filter(is_flow).count();
        inner.version += 1;
        inner.whole = OnceLock::new();
        let delta = Delta::new(inner.version, list, labels);
        // What makes nearly all of it anew is not worth remembering.
        if delta.changes.len() * 2 > inner.entries.len() + 1000 {
            inner.log.clear();
        } else {
            inner.log.push_back(Arc::new(delta));
            if inner.log.len() > REMEMBERED {
                inner.log.pop_front();
            }
        }
        true
    }

    /// What cannot be sent: one line each.
    pub fn problems(&self) -> Vec<String> {
        self.read(|inner| inner.unsendable.values().cloned().collect())
    }

    /// Flows in it.
    pub(crate) fn flows(&self) -> usize {
        self.read(|inner| inner.flows)
    }

    /// What leads from a version to the one in force; none: not remembered.
    pub(crate) fn since(&self, version: u64) -> Option<Vec<Arc<Delta>>> {
        self.read(|inner| {
            let missing = inner.version.checked_sub(version)?;
            let from = inner
                .log
                .len()
                .checked_sub(usize::try_from(missing).ok()?)?;
            Some(inner.log.iter().skip(from).cloned().collect())
        })
    }

    /// What leads from nothing to the version in force.
    pub(crate) fn whole(&self) -> Arc<Delta> {
        self.read(|inner| {
            let make = || {
                let mut entries: Vec<_> = inner.entries.values().cloned().collect();
                entries.sort_by_key(|entry| entry.key);
                let changes = entries.into_iter().map(|entry| (None, Some(entry)));
                let labels = inner.labels.iter().map(|(c, label)| (*c, label.clone()));
                Arc::new(Delta::new(
                    inner.version,
                    changes.collect(),
                    labels.collect(),
                ))
            };
            inner.whole.get_or_init(make).clone()
        })
    }

    /// True if it has an entry of that key.
    pub(crate) fn has(&self, keys: impl Iterator<Item = Key>) -> Vec<bool> {
        self.read(|inner| keys.map(|key| inner.entries.contains_key(&key)).collect())
    }

    /// Names of cookies.
    pub(crate) fn labels_of(&self, cookies: impl Iterator<Item = u64>) -> HashMap<u64, String> {
        self.read(|inner| {
            let found = cookies.filter_map(|c| Some((c, inner.labels.get(&c)?.clone())));
            found.collect()
        })
    }

    fn read<R>(&self, what: impl FnOnce(&Inner) -> R) -> R {
        what(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The entry, or none and why it cannot be sent.
fn keep(
    unsendable: &mut BTreeMap<Key, String>,
    key: Key,
    object: &str,
    entry: Result<Entry, String>,
) -> Option<Arc<Entry>> {
    match entry {
        Ok(entry) => {
            unsendable.remove(&key);
            Some(Arc::new(entry))
        }
        Err(why) => {
            unsendable.insert(key, format!("{object}: no switch has it: {why}"));
            None
        }
    }
}

/// Several changes as one; none: nothing changed.
pub(crate) fn join(deltas: &[Arc<Delta>]) -> Option<Delta> {
    let last = deltas.last()?;
    let mut changes: BTreeMap<Key, Change> = BTreeMap::new();
    let mut labels = BTreeMap::new();
    for delta in deltas {
        for (before, after) in &delta.changes {
            let Some(key) = before.as_ref().or(after.as_ref()).map(|entry| entry.key) else {
                continue;
            };
            let change = changes.entry(key).or_insert_with(|| (before.clone(), None));
            change.1.clone_from(after);
        }
        labels.extend(delta.labels.iter().cloned());
    }
    let changes = changes.into_values().collect();
    Some(Delta::new(
        last.version,
        changes,
        labels.into_iter().collect(),
    ))
}

/// Notes an entry, and what has become of it if that is anything.
fn note(entries: &mut Known, key: Key, now: Option<Arc<Entry>>, list: &mut Vec<Change>) {
    let before = match &now {
        Some(now) => entries.insert(key, now.clone()),
        None => entries.remove(&key),
    };
    let digests = (
        before.as_ref().map(|e| e.digest),
        now.as_ref().map(|e| e.digest),
    );
    if digests.0 != digests.1 {
        list.push((before, now));
    }
}
