//! A folder of manifests, watched.
//!
//! The kernel says when something may have changed; then, and now and then anyway, the folder is
//! looked through and what has changed is read again. Nothing depends on which events came.

mod content;
mod document;
mod objects;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

use crate::source::{Snapshot, Source};
use content::Content;

/// Files are read when nothing has happened for this long, since few programs write a file at one
/// stroke ...
const QUIET: Duration = Duration::from_millis(50);

/// ... or at the latest after this, so that a change shows within a second however busy the folder.
const LATEST: Duration = Duration::from_millis(400);

/// How often the folder is looked through although nothing was said: network file systems say
/// nothing.
const RESCAN: Duration = Duration::from_secs(5);

/// The same where the kernel cannot tell us at all.
const RESCAN_UNTOLD: Duration = Duration::from_millis(500);

/// A folder of manifests.
pub struct Folder {
    path: PathBuf,
    content: Content,
    hint: Arc<Notify>,
    /// Something may have changed that has not been looked at.
    dirty: bool,
    started: bool,
    rescan: Duration,
    next_rescan: Instant,
    watch: Option<Watch>,
}

/// Notification of changes by the kernel; ends when dropped.
struct Watch {
    _watcher: RecommendedWatcher,
    /// Of the folder that is watched. Another one may come to have its name.
    identity: Option<Identity>,
}

/// Device and inode.
type Identity = (u64, u64);

/// The source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such folder, or it cannot be read.
    #[error("--source dir:{}: {why}; name a folder of manifests", path.display())]
    NoFolder {
        /// What was named.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// There is no way to an API server.
    #[error(transparent)]
    Connect(#[from] crate::server::ConnectError),
}

impl Folder {
    /// Begins to watch a folder, which has to be there.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let error = |why: String| OpenError::NoFolder {
            path: path.to_path_buf(),
            why,
        };
        let metadata = std::fs::metadata(path).map_err(|e| error(e.to_string()))?;
        if !metadata.is_dir() {
            return Err(error("is not a folder".into()));
        }
        let hint = Arc::new(Notify::new());
        let mut folder = Folder {
            path: path.to_path_buf(),
            content: Content::new(path.to_path_buf()),
            hint,
            dirty: true,
            started: false,
            rescan: RESCAN,
            next_rescan: Instant::now(),
            watch: None,
        };
        folder.keep_watching();
        Ok(folder)
    }

    /// Sees to it that the folder of this name is the one that is watched.
    fn keep_watching(&mut self) {
        let identity = identity(&self.path);
        let watched = self.watch.as_ref().map(|watch| watch.identity);
        if identity.is_none() || watched == Some(identity) {
            // While there is no folder, its return is looked for often.
            self.rescan = if identity.is_none() {
                RESCAN_UNTOLD
            } else {
                RESCAN
            };
            return;
        }
        match watch(&self.path, self.hint.clone()) {
            Ok(watcher) => {
                self.rescan = RESCAN;
                self.watch = Some(Watch {
                    _watcher: watcher,
                    identity,
                });
            }
            Err(why) => {
                if self.rescan != RESCAN_UNTOLD || !self.started {
                    warn!(
                        "{}: no notification of changes ({why}); looking every {} ms instead",
                        self.path.display(),
                        RESCAN_UNTOLD.as_millis()
                    );
                }
                self.rescan = RESCAN_UNTOLD;
                self.watch = None;
            }
        }
    }

    /// The first picture at once, then another whenever something has changed. Can be dropped and
    /// called again without missing anything.
    pub async fn next(&mut self) -> Snapshot {
        if !self.started {
            self.look();
            self.started = true;
            return self.content.snapshot();
        }
        loop {
            if !self.dirty {
                tokio::select! {
                    () = self.hint.notified() => {}
                    () = sleep_until(self.next_rescan) => {}
                }
                self.dirty = true;
            }
            self.settle().await;
            if self.look() {
                return self.content.snapshot();
            }
        }
    }

    /// Waits until nothing has happened for a moment.
    async fn settle(&self) {
        let latest = Instant::now() + LATEST;
        loop {
            let quiet = Instant::now() + QUIET;
            if timeout_at(quiet.min(latest), self.hint.notified())
                .await
                .is_err()
            {
                return;
            }
            if Instant::now() >= latest {
                return;
            }
        }
    }

    fn look(&mut self) -> bool {
        self.dirty = false;
        // Before the reading, so that nothing falls between the two.
        self.keep_watching();
        self.next_rescan = Instant::now() + self.rescan;
        self.content.refresh()
    }
}

impl Source for Folder {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Snapshot> + Send + '_>> {
        Box::pin(Folder::next(self))
    }
}

fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn watch(path: &Path, hint: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let concerns_us = match event {
            // Our own reading is an access too.
            Ok(event) => !matches!(event.kind, EventKind::Access(kind) if !is_end_of_write(kind)),
            Err(_) => true,
        };
        if concerns_us {
            hint.notify_one();
        }
    })?;
    watcher.watch(path, RecursiveMode::Recursive)?;
    Ok(watcher)
}

fn is_end_of_write(kind: AccessKind) -> bool {
    kind == AccessKind::Close(AccessMode::Write)
}
