//! Controllers as one of them asks about the others (OpenFlow 1.5.1, 7.3.5.20).

use openflow::msg::{ControllerReason, ControllerStatus, Role};

use crate::Switch;
use crate::links::Link;
use crate::session::Session;

/// Every controller that is connected, and those that are to be connected to and are not.
pub(super) fn all(switch: &Switch) -> Vec<ControllerStatus> {
    let sessions = switch.sessions.borrow();
    let connected = sessions.values().filter(|s| s.version.get().is_some());
    let mut all: Vec<_> = connected
        .map(|session| status(switch, session, ControllerReason::Request))
        .collect();
    for (target, link) in switch.links.each() {
        if matches!(link, Link::Primary(primary) if !primary.connected.get()) {
            all.push(ControllerStatus {
                short_id: 0,
                role: Role::Equal,
                reason: ControllerReason::Request,
                up: false,
                uri: Some(target),
                properties: Vec::new(),
            });
        }
    }
    all
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
