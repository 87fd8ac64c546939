//! What can go wrong on purpose.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered after this time.
    Delay(Duration),
    /// It is refused with this HTTP status before anything happens: 429 and 503 with Retry-After,
    /// 500 and 504 as the server's own troubles.
    Status(u16),
    /// The connection breaks before anything happens.
    Drop,
    /// It takes effect, then the connection breaks without an answer.
    DropAfter,
}

/// Which requests a rule is for; an empty text matches everything.
#[derive(Clone, Debug, Default)]
pub struct On {
    /// As in RBAC: get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// Plural, with a subresource after a slash: `pods`, `pods/status`.
    pub resource: String,
    /// Name of the object.
    pub name: String,
    /// Part of the User-Agent or field manager.
    pub client: String,
}

impl On {
    /// Every request.
    pub fn everything() -> Self {
        On::default()
    }

    /// Requests with this verb to this resource.
    pub fn verb(verb: &str, resource: &str) -> Self {
        On {
            verb: verb.into(),
            resource: resource.into(),
            ..On::default()
        }
    }

    /// Every write: create, update, patch, delete.
    pub fn writes() -> Self {
        On::verb("write", "")
    }

    fn matches(&self, request: &Asked) -> bool {
        let is = |wanted: &str, given: &str| wanted.is_empty() || wanted == given;
        let verb = match self.verb.as_str() {
            "write" => matches!(
                request.verb.as_str(),
                "create" | "update" | "patch" | "delete" | "deletecollection"
            ),
            verb => is(verb, &request.verb),
        };
        verb && is(&self.resource, &request.resource)
            && is(&self.name, &request.name)
            && (request.user_agent.contains(&self.client) || request.manager.contains(&self.client))
    }
}

/// One request, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// As in RBAC.
    pub verb: String,
    /// Plural, with a subresource after a slash; a path for what is no resource.
    pub resource: String,
    /// Empty for cluster-wide ones, and for all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// `fieldManager` of the request.
    pub manager: String,
    /// The client.
    pub user_agent: String,
    /// Who asked.
    pub user: String,
    /// HTTP status of the answer; 0 for none.
    pub code: u16,
}

/// What happens to watches that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchFault {
    None,
    /// The answer ends as it does at a time-out.
    Close,
    /// The connection breaks.
    Cut,
    /// The connection breaks in the middle of an event.
    CutInEvent,
    /// An ERROR event with this code, then the end.
    Error(u16),
}

#[derive(Debug, Default)]
struct Inner {
    rules: Vec<(On, Fault, Option<usize>)>,
    log: Vec<Asked>,
    stale_by: u64,
    muted: bool,
    refuse_bookmarks: bool,
}

/// The faults of a server, and its log. Clones are the same.
#[derive(Clone, Debug)]
pub struct Faults {
    inner: Arc<Mutex<Inner>>,
    pub(crate) watches: watch::Sender<(u64, WatchFault)>,
    pub(crate) up: watch::Sender<bool>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Faults {
            inner: Arc::default(),
            watches: watch::Sender::new((0, WatchFault::None)),
            up: watch::Sender::new(true),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next `times` matching requests meet this fault; later ones go on as usual.
    pub fn next(&self, times: usize, on: On, fault: Fault) {
        self.inner().rules.push((on, fault, Some(times)));
    }

    /// Every matching request meets this fault, until `clear`.
    pub fn always(&self, on: On, fault: Fault) {
        self.inner().rules.push((on, fault, None));
    }

    /// No more faults; a server that is down comes back.
    pub fn clear(&self) {
        let mut inner = self.inner();
        inner.rules.clear();
        inner.stale_by = 0;
        inner.muted = false;
        inner.refuse_bookmarks = false;
        drop(inner);
        self.watches.send_modify(|(count, _)| *count += 1);
        self.up.send_replace(true);
    }

    /// Ends every open watch as a time-out does.
    pub fn close_watches(&self) {
        self.all_watches(WatchFault::Close);
    }

    /// Breaks the connections of every open watch.
    pub fn cut_watches(&self) {
        self.all_watches(WatchFault::Cut);
    }

    /// Breaks them with half an event sent.
    pub fn cut_watches_in_event(&self) {
        self.all_watches(WatchFault::CutInEvent);
    }

    /// Every open watch gets an ERROR event with this code and ends; 410 is "Expired".
    pub fn fail_watches(&self, code: u16) {
        self.all_watches(WatchFault::Error(code));
    }

    fn all_watches(&self, fault: WatchFault) {
        self.watches
            .send_modify(|state| *state = (state.0 + 1, fault));
    }

    /// Open watches stay open and say nothing, as behind a dead network; events come when this is
    /// set back.
    pub fn mute_watches(&self, muted: bool) {
        self.inner().muted = muted;
        self.watches
            .send_modify(|state| *state = (state.0 + 1, WatchFault::None));
    }

    pub(crate) fn muted(&self) -> bool {
        self.inner().muted
    }

    /// Lists that may be answered from a cache show the state of so many revisions ago.
    pub fn stale_lists(&self, revisions: u64) {
        self.inner().stale_by = revisions;
    }

    pub(crate) fn lag(&self) -> u64 {
        self.inner().stale_by
    }

    /// Bookmarks are never sent, though clients ask for them (they are optional).
    pub fn no_bookmarks(&self) {
        self.inner().refuse_bookmarks = true;
    }

    pub(crate) fn bookmarks_refused(&self) -> bool {
        self.inner().refuse_bookmarks
    }

    /// The server goes away: connections break, new ones are refused. What it holds stays.
    pub fn down(&self) {
        self.up.send_replace(false);
    }

    /// It comes back at the same address.
    pub fn up(&self) {
        self.up.send_replace(true);
    }

    /// Requests so far, oldest first.
    pub fn log(&self) -> Vec<Asked> {
        self.inner().log.clone()
    }

    /// Forgets the log.
    pub fn clear_log(&self) {
        self.inner().log.clear();
    }

    /// How many requests with this verb to this resource there were; empty texts match all.
    pub fn count(&self, verb: &str, resource: &str) -> usize {
        let on = On::verb(verb, resource);
        self.inner()
            .log
            .iter()
            .filter(|asked| on.matches(asked))
            .count()
    }

    pub(crate) fn record(&self, asked: Asked) {
        self.inner().log.push(asked);
    }

    /// Faults that this request meets.
    pub(crate) fn meet(&self, asked: &Asked) -> Vec<Fault> {
        let mut met = Vec::new();
        self.inner().rules.retain_mut(|(on, fault, left)| {
            if !on.matches(asked) {
                return true;
            }
            met.push(*fault);
            match left {
                Some(left) => {
                    *left = left.saturating_sub(1);
                    *left > 0
                }
                None => true,
            }
        });
        met
    }
}
