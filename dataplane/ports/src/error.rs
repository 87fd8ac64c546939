//! Why a port cannot be opened or set, in the operator's words.

/// A port that could not be opened or changed. The message names the port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The device could not be opened.
    #[error("port {port}: cannot open {device}: {reason}")]
    Open {
        /// The port's name.
        port: String,
        /// The device as the operator spelled it.
        device: String,
        /// What the system or EAL said, and what to do.
        reason: String,
    },
    /// A setting was refused.
    #[error("port {port}: cannot set {what}: {reason}")]
    Set {
        /// The port's name.
        port: String,
        /// The setting and the value wanted.
        what: String,
        /// What the system or EAL said.
        reason: String,
    },
    /// The kind of port has no device, or this build lacks its backend.
    #[error("port {port}: {reason}")]
    Unsupported {
        /// The port's name.
        port: String,
        /// Why.
        reason: String,
    },
}
