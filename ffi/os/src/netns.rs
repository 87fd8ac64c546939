//! Work in another network namespace.

use crate::OsError;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

/// Runs `work` in the network namespace at `path` (`/run/netns/NAME`, `/proc/PID/ns/net`) on a thread
/// of its own, so that the caller's namespace never changes. Descriptors opened there stay there.
pub fn in_netns<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T, OsError> {
    let namespace = File::open(path)
        .map_err(|e| OsError::new(format!("open network namespace {}", path.display()), e))?;
    let run = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
            |e| {
                OsError::new(
                    format!("enter network namespace {}", path.display()),
                    e.into(),
                )
            },
        )?;
        Ok(work())
    };
    thread::scope(|scope| match scope.spawn(run).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
