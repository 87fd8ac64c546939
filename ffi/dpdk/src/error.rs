//! What DPDK refused, in its own words and what to do about it.

use dpdk_sys as sys;
use std::ffi::CStr;

/// A refused operation. The message holds what EAL or the driver logged meanwhile.
#[derive(Debug, thiserror::Error)]
pub enum DpdkError {
    /// The environment layer did not start.
    #[error("DPDK does not start: {reason}")]
    Start {
        /// What EAL said and what to do.
        reason: String,
    },
    /// A second [`crate::Eal::start`], or none where one is needed.
    #[error("{0}")]
    State(&'static str),
    /// A device was not found or its driver refused it.
    #[error("{what}: {reason}")]
    Refused {
        /// What was tried.
        what: String,
        /// What EAL or the driver said.
        reason: String,
        /// The negative errno.
        code: i32,
    },
}

impl DpdkError {
    /// From a DPDK return value (a negative errno) and the log lines of the call.
    pub(crate) fn refused(what: impl Into<String>, code: i32, said: &[String]) -> DpdkError {
        DpdkError::Refused {
            what: what.into(),
            reason: reason(code, said),
            code,
        }
    }
}

/// What was logged, or else the errno in words.
pub(crate) fn reason(code: i32, said: &[String]) -> String {
    // EAL closes many complaints with lines that add nothing.
    let filler = |line: &&String| {
        !line.contains("Failed to attach device on primary process")
            && !line.contains("Driver cannot attach the device")
    };
    let said: Vec<&str> = said.iter().filter(filler).map(String::as_str).collect();
    match (said.is_empty(), code) {
        (true, code) => errno_text(code),
        // Drivers return -1 for anything; as an errno it would mean a lack of permission.
        (false, -1) => said.join("; "),
        (false, code) => format!("{} ({})", said.join("; "), errno_text(code)),
    }
}

fn errno_text(code: i32) -> String {
    // SAFETY: rte_strerror gives a string of this thread that lives until its next call here.
    unsafe {
        CStr::from_ptr(sys::rte_strerror(code.abs()))
            .to_string_lossy()
            .into_owned()
    }
}
