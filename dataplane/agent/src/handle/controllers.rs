//! Controllers as one of them asks about the others (OpenFlow 1.5.1, 7.3.5.20).

use openflow::msg::{ControllerReason, ControllerStatus};

use crate::Switch;
use crate::session::Session;

/// Every controller that is connected.
pub(super) fn all(switch: &Switch) -> Vec<ControllerStatus> {
    let sessions = switch.sessions.borrow();
    let connected = sessions.values().filter(|s| s.version.get().is_some());
    connected
        .map(|session| status(switch, session, ControllerReason::Request))
        .collect()
}

/// A controller.
pub(crate) fn status(
    switch: &Switch,
    session: &Session,
    reason: ControllerReason,
) -> ControllerStatus {
    let sessions = switch.sessions.borrow();
    ControllerStatus {
        short_id: session.short_id.get(),
        role: session.role.get(),
        reason,
        up: sessions.contains_key(&session.id),
        uri: Some(session.peer.clone()),
        properties: Vec::new(),
    }
}
