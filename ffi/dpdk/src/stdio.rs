//! Keeps what EAL prints on its own (usage texts, getopt's complaints) off the operator's terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Runs `work` with stdout discarded and stderr collected; returns what was written to stderr.
/// Other threads that print meanwhile are affected too: for start-up only.
pub(crate) fn collect<T>(work: impl FnOnce() -> T) -> (T, String) {
    let Ok(mut redirect) = Redirect::new() else {
        return (work(), String::new()); // no descriptors left: then they print
    };
    let result = work();
    let text = redirect.finish();
    (result, text)
}

struct Redirect {
    collected: File,
    saved: [OwnedFd; 2],
}

impl Redirect {
    fn new() -> io::Result<Redirect> {
        let null = OpenOptions::new().write(true).open("/dev/null")?;
        // SAFETY: the name is a C string; the descriptor is checked and then owned.
        let collected = unsafe {
            let fd = libc::memfd_create(c"sluice-eal".as_ptr(), libc::MFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            File::from_raw_fd(fd)
        };
        let saved = [io::stdout().as_fd_clone()?, io::stderr().as_fd_clone()?];
        flush();
        replace(libc::STDOUT_FILENO, null.as_raw_fd());
        replace(libc::STDERR_FILENO, collected.as_raw_fd());
        Ok(Redirect { collected, saved })
    }

    fn finish(&mut self) -> String {
        flush();
        replace(libc::STDOUT_FILENO, self.saved[0].as_raw_fd());
        replace(libc::STDERR_FILENO, self.saved[1].as_raw_fd());
        let mut text = String::new();
        let _ = self.collected.rewind();
        let _ = self.collected.read_to_string(&mut text);
        text
    }
}

trait CloneFd: std::os::fd::AsFd {
    fn as_fd_clone(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}
impl<T: std::os::fd::AsFd> CloneFd for T {}

/// Empties Rust's and C's buffers.
fn flush() {
    let _ = io::stdout().flush();
    // SAFETY: null flushes all of C's streams.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

fn replace(target: i32, source: i32) {
    // SAFETY: both are open descriptors of this process; dup2 closes `target` first.
    unsafe { libc::dup2(source, target) };
}
