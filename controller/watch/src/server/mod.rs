//! An API server: every kind is listed and watched, what comes is put into one view, and what of
//! ours stands on objects is noted for who writes there.

mod backoff;
mod board;
mod connection;
mod events;
mod lacking;
mod observed;
mod pod;
mod reflector;
mod resource;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Changes, ClusterView, Kind, ObjectRef};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::object;
use crate::source::{Snapshot, Source, SourceProblem};
use board::Board;
pub(crate) use connection::RequestError;
pub use connection::{ConnectError, Connection};
pub use pod::interface_of;
use reflector::{Item, Reflector, Told, What};
pub use writer::Writer;

/// Messages under way between who reads and who puts together; when there are more, reading waits.
const UNDER_WAY: usize = 4096;

/// Pauses and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Objects in one page of a list.
    pub page: u32,
    /// A watch is opened for between half of this and all of it.
    pub watch: Duration,
    /// A watch that says nothing for this long is given up; servers send bookmarks every minute.
    pub silence: Duration,
    /// The first pause after a failure and the longest.
    pub retry: (Duration, Duration),
    /// How often a kind is looked for that the server does not have.
    pub absent: Duration,
    /// A picture is given when nothing has come for this long ...
    pub quiet: Duration,
    /// ... or at the latest after this.
    pub latest: Duration,
}

/// A cluster's API server, watched.
#[derive(Debug)]
pub struct Server {
    url: String,
    inbox: mpsc::Receiver<Told>,
    board: Board,
    view: Arc<ClusterView>,
    /// Kinds that have been listed.
    listed: BTreeSet<Kind>,
    /// Objects that could not be read from the start on, and of which there is no earlier version.
    unknown: BTreeSet<ObjectRef>,
    /// Kinds that cannot be read now.
    trouble: BTreeMap<Kind, String>,
    /// What was not given in a snapshot yet, and since when that is so.
    pending: Option<(Changes, Instant)>,
    started: bool,
    timing: Timing,
    /// Ends with us.
    _reflectors: JoinSet<()>,
}

impl Server {
    /// Begins to follow every kind. Needs a tokio runtime.
    pub fn watch(connection: &Connection, timing: Timing) -> Server {
        let (told, inbox) = mpsc::channel(UNDER_WAY);
        let mut reflectors = JoinSet::new();
        for kind in Kind::ALL {
            let reflector = Reflector {
                connection: connection.clone(),
                kind,
                timing: timing.clone(),
                told: told.clone(),
            };
            reflectors.spawn(reflector.run());
        }
        Server {
            url: connection.url().to_string(),
            inbox,
            board: Board::default(),
            view: Arc::default(),
            listed: BTreeSet::new(),
            unknown: BTreeSet::new(),
            trouble: BTreeMap::new(),
            pending: None,
            started: false,
            timing,
            _reflectors: reflectors,
        }
    }

    /// Who writes to the same server, by what we see there.
    pub fn writer(&self, connection: &Connection) -> Writer {
        Writer::new(connection.clone(), self.board.clone())
    }

    /// Every kind has been listed once, so what is not in the view is not there.
    fn is_whole(&self) -> bool {
        self.listed.len() == Kind::ALL.len()
    }

    async fn next_snapshot(&mut self) -> Snapshot {
        loop {
            let until = match &self.pending {
                Some((_, since)) if self.is_whole() => {
                    let quiet = Instant::now() + self.timing.quiet;
                    Some(quiet.min(*since + self.timing.latest))
                }
                _ => None,
            };
            let told = match until {
                None => self.inbox.recv().await,
                Some(until) => match timeout_at(until, self.inbox.recv()).await {
                    Ok(told) => told,
                    Err(_) => return self.snapshot(),
                },
            };
            match told {
                Some(told) => self.hear(told),
                // The reflectors end after us.
                None => std::future::pending().await,
            }
            let late = |(_, since): &(Changes, Instant)| since.elapsed() >= self.timing.latest;
            if self.is_whole() && self.pending.as_ref().is_some_and(late) {
                return self.snapshot();
            }
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let pending = self.pending.take();
        let changed = pending.map_or_else(Changes::none, |(changed, _)| changed);
        let complete = self.unknown.is_empty();
        if self.view.complete != complete {
            Arc::make_mut(&mut self.view).complete = complete;
        }
        let first = !std::mem::replace(&mut self.started, true);
        let problem = |(kind, why): (&Kind, &String)| SourceProblem {
            file: self.url.clone().into(),
            line: None,
            object: Some(kind.to_string()),
            field: String::new(),
            message: why.clone(),
        };
        Snapshot {
            view: self.view.clone(),
            problems: self.trouble.iter().map(problem).collect(),
            changed: if first { Changes::Everything } else { changed },
        }
    }

    fn hear(&mut self, told: Told) {
        let kind = told.kind;
        match told.what {
            What::Listed(items) => self.replace_kind(kind, items),
            What::Changed(item) => {
                self.put(*item);
            }
            What::Gone(id) => self.remove(&id),
            What::Trouble(why) => {
                if !self.started
                    && let Some(why) = &why
                {
                    tracing::warn!("{}: {kind}: {why}", self.url);
                }
                let before = match why.clone() {
                    Some(why) => self.trouble.insert(kind, why),
                    None => self.trouble.remove(&kind),
                };
                if before != why {
                    self.touch([]);
                }
            }
        }
    }

    /// Notes that something differs.
    fn touch(&mut self, objects: impl IntoIterator<Item = ObjectRef>) {
        let fresh = || (Changes::none(), Instant::now());
        let (changed, _) = self.pending.get_or_insert_with(fresh);
        for object in objects {
            changed.add(object);
        }
    }

    /// Everything of a kind: what is not in the list has gone while nobody looked.
    fn replace_kind(&mut self, kind: Kind, items: Vec<Item>) {
        let first = self.listed.insert(kind);
        let mut gone: BTreeSet<ObjectRef> = object::of_kind(&self.view, kind).into_iter().collect();
        gone.extend(self.unknown.iter().filter(|id| id.kind == kind).cloned());
        let told = self.view.problems.keys().filter(|id| id.kind == kind);
        gone.extend(told.cloned());
        for item in items {
            gone.remove(&item.id);
            let id = item.id.clone();
            if !self.put(item) && first {
                self.unknown.insert(id);
            }
        }
        for id in gone {
            self.remove(&id);
        }
        if first {
            self.touch([]);
        }
    }

    /// Puts an object in; false if it cannot be read and never could be.
    fn put(&mut self, item: Item) -> bool {
        let id = item.id;
        self.board.observe(&id, Some(item.observed));
        let (changed, known) = match item.object {
            // Heartbeats, and what we write ourselves: the view stays the one that was given out.
            Ok(object) if object.stands_in(&self.view) => {
                self.unknown.remove(&id);
                (false, true)
            }
            Ok(object) => {
                self.unknown.remove(&id);
                (object.replace_in(Arc::make_mut(&mut self.view)), true)
            }
            Err(problem) => {
                let view = Arc::make_mut(&mut self.view);
                let known = object::has(view, &id);
                (object::tell(view, &id, vec![problem]), known)
            }
        };
        if changed {
            self.touch([id]);
        }
        known
    }

    fn remove(&mut self, id: &ObjectRef) {
        self.board.observe(id, None);
        let was_unknown = self.unknown.remove(id);
        let there = object::has(&self.view, id) || self.view.problems.contains_key(id);
        if there && object::remove(Arc::make_mut(&mut self.view), id) || was_unknown {
            self.touch([id.clone()]);
        }
    }
}

impl Source for Server {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Snapshot> + Send + '_>> {
        Box::pin(self.next_snapshot())
    }
}
