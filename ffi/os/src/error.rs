//! What the kernel refused, and what to do about it.

use std::io;

/// A refused operation: what was tried, what the kernel said, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}{hint}")]
pub struct OsError {
    what: String,
    hint: &'static str,
    #[source]
    source: io::Error,
}

impl OsError {
    pub(crate) fn new(what: impl Into<String>, source: io::Error) -> OsError {
        OsError {
            what: what.into(),
            hint: hint(&source),
            source,
        }
    }

    /// With the error of the last libc call.
    pub(crate) fn last(what: impl Into<String>) -> OsError {
        Self::new(what, io::Error::last_os_error())
    }

    /// The errno.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; run as root or with CAP_NET_ADMIN and CAP_NET_RAW",
        Some(libc::ENODEV) => "; is there such an interface in this network namespace?",
        Some(libc::EBUSY) => "; another process holds it, or an interface of that name exists",
        Some(libc::ENOMEM) => "; ask for less, or free or add memory",
        _ => "",
    }
}
