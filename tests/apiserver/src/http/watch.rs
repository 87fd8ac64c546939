//! Watches: a stream of events, until somebody has enough of it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::answer::{Answer, Form};
use super::handle::{Caller, LOOK, To, trouble_in_watch};
use super::query::{Query, invalid};
use crate::faults::WatchFault;
use crate::resource::Resource;
use crate::selector::Selector;
use crate::status::Refusal;
use crate::store::{At, Change, Listing, parse_revision, present};

/// Everything about one watch.
struct Watch {
    caller: Caller,
    resource: Arc<Resource>,
    namespace: String,
    selector: Selector,
    form: Form,
    bookmarks: bool,
    /// Changes up to here were sent.
    revision: u64,
    end: Instant,
    faults_seen: u64,
}

/// Begins a watch.
pub(super) fn start(
    caller: &Caller,
    query: &Query,
    selector: Selector,
    to: &To,
    form: Form,
) -> Result<Answer, Refusal> {
    let version = query.text("resourceVersion");
    let matching = query.text("resourceVersionMatch");
    let bookmarks = query.flag("allowWatchBookmarks");
    let streams_list = query.flag("sendInitialEvents");
    if query.text("sendInitialEvents").is_empty() {
        if !matching.is_empty() {
            return Err(invalid(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch \
                 unless sendInitialEvents is provided",
            ));
        }
    } else if matching != "NotOlderThan" {
        return Err(invalid(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
             resourceVersionMatch to NotOlderThan",
        ));
    }
    let from = match version {
        "" => 0,
        text => parse_revision(text)?,
    };
    let store = caller.store();
    let options = &store.options;
    let timeout = match query.number("timeoutSeconds") {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => options.watch_timeout,
    };
    let mut first: VecDeque<Bytes> = VecDeque::new();
    // Without a version, and with version 0, a watch begins with what there is.
    let revision = if streams_list || from == 0 && query.text("sendInitialEvents").is_empty() {
        let at = match (version, streams_list) {
            ("0", _) => At::Any,
            (_, true) if from > 0 => At::NotOlderThan(from),
            _ => At::Newest,
        };
        let listing = Listing {
            at,
            lag: caller.faults.lag(),
            ..Listing::newest()
        };
        let page = store.list(to.resource, to.namespace, &selector, listing)?;
        for object in &page.items {
            first.push_back(line("ADDED", &form.of_object(object)));
        }
        if streams_list && bookmarks {
            first.push_back(bookmark(to.resource, form, page.revision, true));
        }
        page.revision
    } else if from == 0 {
        store.revision()
    } else {
        from
    };
    let watch = Watch {
        caller: caller.clone(),
        resource: to.resource.clone(),
        namespace: to.namespace.to_owned(),
        selector,
        form,
        bookmarks: bookmarks && !caller.faults.bookmarks_refused(),
        revision,
        end: Instant::now() + timeout,
        faults_seen: caller.faults.watches.borrow().0,
    };
    drop(store);
    let (sender, body) = Channel::new(16);
    tokio::spawn(watch.run(first, sender));
    let mut answer = Response::new(body.boxed());
    let media = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, media);
    Ok(answer)
}

impl Watch {
    async fn run(mut self, mut pending: VecDeque<Bytes>, mut out: Sender<Bytes, std::io::Error>) {
        let mut changed = self.caller.store().subscribe();
        let mut faults = self.caller.faults.watches.subscribe();
        let mut up = self.caller.faults.up.subscribe();
        let interval = self.caller.store().options.bookmark_interval;
        let mut bookmark_due = Instant::now() + interval;
        loop {
            let (count, fault) = *faults.borrow_and_update();
            if count != self.faults_seen {
                self.faults_seen = count;
                if self.fails(fault, &mut out).await.is_none() {
                    return;
                }
            }
            changed.borrow_and_update();
            if !self.caller.faults.muted() {
                match self.events() {
                    Ok(events) => pending.extend(events),
                    Err(refusal) => {
                        pending.push_back(line("ERROR", &refusal.to_status()));
                        for bytes in pending {
                            if out.send_data(bytes).await.is_err() {
                                return;
                            }
                        }
                        return;
                    }
                }
                if !pending.is_empty() {
                    bookmark_due = Instant::now() + interval;
                } else if self.bookmarks && Instant::now() >= bookmark_due {
                    pending.push_back(bookmark(&self.resource, self.form, self.revision, false));
                    bookmark_due = Instant::now() + interval;
                }
                while let Some(bytes) = pending.pop_front() {
                    tokio::select! {
                        sent = out.send_data(bytes) => if sent.is_err() { return },
                        () = down(&mut up) => return out.abort(broken()),
                    }
                }
            }
            if Instant::now() >= self.end {
                if self.bookmarks {
                    let last = bookmark(&self.resource, self.form, self.revision, false);
                    let _gone = out.send_data(last).await;
                }
                return;
            }
            let look = (Instant::now() + LOOK).min(self.end).min(bookmark_due);
            tokio::select! {
                _ = changed.changed() => {}
                _ = faults.changed() => {}
                () = down(&mut up) => return out.abort(broken()),
                () = tokio::time::sleep_until(look) => {}
            }
        }
    }

    /// Lets the watch end as the fault has it; none if it did.
    async fn fails(
        &mut self,
        fault: WatchFault,
        out: &mut Sender<Bytes, std::io::Error>,
    ) -> Option<()> {
        let replace = || Channel::<Bytes, std::io::Error>::new(1).0;
        match fault {
            WatchFault::None => return Some(()),
            WatchFault::Close => {}
            WatchFault::Cut => std::mem::replace(out, replace()).abort(broken()),
            WatchFault::CutInEvent => {
                let half = Bytes::from_static(b"{\"type\":\"MODIFIED\",\"object\":{\"api");
                let _gone = out.send_data(half).await;
                // It has to be on its way before the break.
                tokio::time::sleep(Duration::from_millis(20)).await;
                std::mem::replace(out, replace()).abort(broken());
            }
            WatchFault::Error(code) => {
                let status = trouble_in_watch(code).to_status();
                let _gone = out.send_data(line("ERROR", &status)).await;
            }
        }
        None
    }

    /// Events of everything that happened since the last call.
    fn events(&mut self) -> Result<Vec<Bytes>, Refusal> {
        let store = self.caller.store();
        let changes = store.changes_since(&self.resource, self.revision)?;
        self.revision = self.revision.max(store.revision());
        drop(store);
        Ok(changes
            .iter()
            .filter_map(|change| self.event(change))
            .collect())
    }

    /// What a change is to somebody who sees only what is selected.
    fn event(&self, change: &Change) -> Option<Bytes> {
        let namespace = change.object["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default();
        if !self.namespace.is_empty() && namespace != self.namespace {
            return None;
        }
        let shown = |object: &Arc<Value>| present(&self.resource, object);
        let after = shown(&change.object);
        let before = change.before.as_ref().map(shown);
        let was = before
            .as_ref()
            .is_some_and(|object| self.selector.matches(object));
        let is = !change.deleted && self.selector.matches(&after);
        let (kind, object) = match (was, is) {
            (false, false) => return None,
            (false, true) => ("ADDED", after),
            (true, true) => ("MODIFIED", after),
            (true, false) => {
                // As it was when it was last seen, at the version of its leaving.
                let mut gone = (*before?).clone();
                gone["metadata"]["resourceVersion"] = json!(change.revision.to_string());
                ("DELETED", Arc::new(gone))
            }
        };
        Some(line(kind, &self.form.of_object(&object)))
    }
}

/// Comes back when the server is down.
async fn down(up: &mut tokio::sync::watch::Receiver<bool>) {
    if up.wait_for(|up| !up).await.is_err() {
        std::future::pending().await
    }
}

fn broken() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset)
}

fn line(kind: &str, object: &Value) -> Bytes {
    #[derive(serde::Serialize)]
    struct Event<'a> {
        r#type: &'a str,
        object: &'a Value,
    }
    let mut bytes = serde_json::to_vec(&Event {
        r#type: kind,
        object,
    })
    .unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

fn bookmark(resource: &Resource, form: Form, revision: u64, initial_end: bool) -> Bytes {
    let (kind, api_version) = match form {
        Form::Whole => (resource.kind.clone(), resource.api_version()),
        Form::Metadata => ("PartialObjectMetadata".into(), "meta.k8s.io/v1".into()),
    };
    let mut object = json!({
        "kind": kind, "apiVersion": api_version,
        "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
    });
    if initial_end {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    line("BOOKMARK", &object)
}
