//! The pod's network namespace.

use std::fs::File;
use std::io;
use std::path::Path;

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
        let opened = os::in_netns(Path::new(&self.path), Netlink::open);
        let opened = opened.map_err(io::Error::other).and_then(|opened| opened);
        opened.map_err(|e| {
            let msg = format!("cannot enter the network namespace {}", self.path);
            Failure::new(code::IO, msg).with(e)
        })
    }
}
