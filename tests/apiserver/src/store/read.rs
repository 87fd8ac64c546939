//! Reading: one object, pages of a list at one revision, changes since a revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Change, Key, Store, about};
use crate::resource::Resource;
use crate::selector::Selector;
use crate::status::Refusal;

/// Which state a list shows (API concepts, "resourceVersion").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The newest.
    Newest,
    /// Any: what a cache has, which may lag behind.
    Any,
    /// At least as new as this.
    NotOlderThan(u64),
    /// Exactly this.
    Exactly(u64),
}

/// Which part of which state is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing<'a> {
    pub(crate) at: At,
    /// 0 for everything.
    pub(crate) limit: usize,
    /// Of the page before; empty for the first.
    pub(crate) token: &'a str,
    /// How many revisions the cache is behind.
    pub(crate) lag: u64,
}

impl Listing<'static> {
    /// Everything, as it is at this moment.
    pub(crate) fn newest() -> Self {
        Listing {
            at: At::Newest,
            limit: 0,
            token: "",
            lag: 0,
        }
    }
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<Arc<Value>>,
    pub(crate) revision: u64,
    pub(crate) continue_token: Option<String>,
    pub(crate) remaining: Option<usize>,
}

/// Reads a resourceVersion of a request.
pub(crate) fn parse_revision(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| {
        Refusal::bad_request(format!(
            "Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

fn too_large(wanted: u64, current: u64) -> Refusal {
    let message = format!("Too large resource version: {wanted}, current: {current}");
    let mut refusal = Refusal::new(504, "Timeout", format!("Timeout: {message}"));
    refusal.details = json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    });
    refusal
}

impl Store {
    /// One object, as its resource's version shows it.
    pub(crate) fn get(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, Refusal> {
        let key = (namespace.to_owned(), name.to_owned());
        match self.object(&resource.storage(), &key) {
            Some(object) => Ok(present(resource, object)),
            None => Err(Refusal::not_found(about(resource, name))),
        }
    }

    /// A list, or a page of it. `namespace` is empty for every namespace.
    pub(crate) fn list(
        &self,
        resource: &Resource,
        namespace: &str,
        selector: &Selector,
        listing: Listing,
    ) -> Result<Page, Refusal> {
        let Listing {
            at,
            limit,
            token,
            lag,
        } = listing;
        let (revision, after) = if token.is_empty() {
            let revision = match at {
                At::Newest => self.revision,
                At::Any => self.revision.saturating_sub(lag).max(1),
                At::NotOlderThan(revision) if revision > self.revision => {
                    return Err(too_large(revision, self.revision));
                }
                At::NotOlderThan(revision) => self.revision.saturating_sub(lag).max(revision),
                At::Exactly(revision) if revision > self.revision => {
                    return Err(too_large(revision, self.revision));
                }
                At::Exactly(revision) => revision,
            };
            (revision, None)
        } else {
            let (revision, after) = read_token(token)?;
            (revision, Some(after))
        };
        let state = match self.state_at(resource, revision) {
            Some(state) => state,
            // A list that may be of any age is of this one then.
            None if matches!(at, At::Any | At::NotOlderThan(_)) && token.is_empty() => {
                let newest = Listing {
                    at: At::Newest,
                    lag: 0,
                    ..listing
                };
                return self.list(resource, namespace, selector, newest);
            }
            None if !token.is_empty() => {
                return Err(Refusal::expired(
                    "The provided continue parameter is too old to display a consistent list \
                     result. You can start a new list without the continue parameter.",
                ));
            }
            None => {
                return Err(Refusal::expired(format!(
                    "The resourceVersion for the provided list is too old: {revision}"
                )));
            }
        };
        let mut left = state
            .into_iter()
            .filter(|(key, _)| namespace.is_empty() || key.0 == namespace)
            .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after))
            .map(|(key, object)| (key, present(resource, &object)))
            .filter(|(_, object)| selector.matches(object))
            .peekable();
        let mut page = Page {
            items: Vec::new(),
            revision,
            continue_token: None,
            remaining: None,
        };
        let mut last: Option<Key> = None;
        while let Some((key, object)) = left.next_if(|_| limit == 0 || page.items.len() < limit) {
            page.items.push(object);
            last = Some(key);
        }
        if let (Some(_), Some(last)) = (left.peek(), last) {
            page.continue_token = Some(write_token(revision, &last));
            if selector.is_everything() {
                page.remaining = Some(left.count());
            }
        }
        Ok(page)
    }

    /// A collection as it was at a revision, by undoing what came after it.
    fn state_at(&self, resource: &Resource, revision: u64) -> Option<BTreeMap<Key, Arc<Value>>> {
        let Some(collection) = self.collections.get(&resource.storage()) else {
            return Some(BTreeMap::new());
        };
        let mut state = collection.objects.clone();
        if revision >= self.revision {
            return Some(state);
        }
        if revision < self.compacted || revision < collection.forgotten {
            return None;
        }
        for change in collection.log.iter().rev() {
            if change.revision <= revision {
                break;
            }
            let key = key_of(&change.object);
            match &change.before {
                Some(before) => state.insert(key, before.clone()),
                None => state.remove(&key),
            };
        }
        Some(state)
    }

    /// Changes after a revision, oldest first.
    pub(crate) fn changes_since(
        &self,
        resource: &Resource,
        revision: u64,
    ) -> Result<Vec<Change>, Refusal> {
        let collection = self.collections.get(&resource.storage());
        let forgotten = collection.map_or(0, |c| c.forgotten).max(self.compacted);
        if revision < forgotten {
            return Err(Refusal::expired(format!(
                "too old resource version: {revision} ({})",
                forgotten + 1
            )));
        }
        let Some(collection) = collection else {
            return Ok(Vec::new());
        };
        let start = collection.log.partition_point(|c| c.revision <= revision);
        Ok(collection.log.range(start..).cloned().collect())
    }
}

fn key_of(object: &Value) -> Key {
    let text = |name: &str| {
        let value = object["metadata"].get(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    (text("namespace"), text("name"))
}

/// The object as this version of its resource shows it.
pub(crate) fn present(resource: &Resource, object: &Arc<Value>) -> Arc<Value> {
    let api_version = resource.api_version();
    if object["apiVersion"] == api_version.as_str() {
        return object.clone();
    }
    let mut shown = (**object).clone();
    if resource.plural == "events" {
        crate::kinds::event_in_version(&mut shown, &resource.group);
    }
    shown["apiVersion"] = json!(api_version);
    Arc::new(shown)
}

fn write_token(revision: u64, last: &Key) -> String {
    let start = if last.0.is_empty() {
        format!("{}\u{0}", last.1)
    } else {
        format!("{}/{}\u{0}", last.0, last.1)
    };
    let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn read_token(token: &str) -> Result<(u64, Key), Refusal> {
    let read = || -> Option<(u64, Key)> {
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
        let token: Value = serde_json::from_slice(&bytes).ok()?;
        let start = token["start"].as_str()?.trim_end_matches('\u{0}');
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        Some((token["rv"].as_u64()?, (namespace.into(), name.into())))
    };
    read().ok_or_else(|| Refusal::bad_request("continue key is not valid"))
}
