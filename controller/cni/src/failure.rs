//! A failure as the container runtime is told it (CNI specification 1.1, "Error").

use std::fmt;

/// Code, what and why. The text names the pod or the setting and says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of [`code`].
    pub code: u32,
    /// One line.
    pub msg: String,
    /// What the step said that failed, if there is more to know.
    pub details: String,
}

/// Codes: those below 100 are the specification's, those above are ours.
pub mod code {
    /// The version asked for is not supported.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A field that is not supported.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is not known or does not exist.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A `CNI_*` variable is missing or wrong.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// A file, socket or interface could not be used.
    pub const IO: u32 = 5;
    /// Input that is not JSON.
    pub const DECODE: u32 = 6;
    /// The network configuration is wrong.
    pub const INVALID_CONFIG: u32 = 7;
    /// Not yet: the runtime may try again.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: ADD cannot be served now.
    pub const NOT_AVAILABLE: u32 = 50;
    /// The dataplane refused.
    pub const DATAPLANE: u32 = 100;
    /// The controller refused.
    pub const CONTROLLER: u32 = 101;
    /// CHECK: the attachment is not as it was made.
    pub const DIFFERS: u32 = 102;
}

impl Failure {
    /// A failure without details.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Failure {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// With what the failed step itself said.
    pub fn with(mut self, details: impl fmt::Display) -> Self {
        self.details = details.to_string();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if self.details.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.details)
        }
    }
}

impl From<admin::Error> for Failure {
    fn from(error: admin::Error) -> Self {
        let code = match error {
            admin::Error::Refused(_) => code::DATAPLANE,
            admin::Error::Connect { .. } | admin::Error::Silent { .. } => code::TRY_AGAIN_LATER,
            admin::Error::NotUnderstood { .. } => code::IO,
        };
        Failure::new(code, error.to_string())
    }
}
