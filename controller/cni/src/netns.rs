//! The pod's network namespace.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::failure::{Failure, code};
use crate::netlink::Netlink;

/// A network namespace, held open.
pub struct Netns {
    file: File,
    path: String,
}

impl Netns {
    /// Opens it.
    ///
    /// # Errors
    /// Names the path; the code says that the container is unknown if there is none.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        match File::open(path) {
            Ok(file) => Ok(Netns { file, path: shown }),
            Err(e) => {
                let code = match e.kind() {
                    io::ErrorKind::NotFound => code::UNKNOWN_CONTAINER,
                    _ => code::IO,
                };
                let msg = format!("cannot open the network namespace {shown}");
                Err(Failure::new(code, msg).with(e))
            }
        }
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its descriptor, to move interfaces into it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// A netlink socket inside. A socket belongs for ever to the namespace it was opened in, so the
    /// thread that enters it is gone when this returns.
    ///
    /// # Errors
    /// Names the path.
    pub fn netlink(&self) -> Result<Netlink, Failure> {
        let inside = || {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Netlink::open()
        };
        let opened = std::thread::scope(|threads| threads.spawn(inside).join());
        let opened = opened.unwrap_or_else(|_| Err(io::Error::other("the thread inside panicked")));
        opened.map_err(|e| {
            let msg = format!("cannot enter the network namespace {}", self.path);
            Failure::new(code::IO, msg).with(e)
        })
    }
}
