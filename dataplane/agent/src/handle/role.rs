//! Roles (OpenFlow 1.3.5, 6.3.4 and 6.3.5).

use openflow::error::{OFPRRFC_STALE, OfError};
use openflow::msg::{Role, RoleRequest};

use crate::Switch;
use crate::session::Session;

/// Applies a role request; gives the reply.
pub(crate) fn request(
    switch: &Switch,
    session: &Session,
    request: RoleRequest,
) -> Result<RoleRequest, OfError> {
    if matches!(request.role, Role::Master | Role::Slave) {
        let older = |last: u64| (request.generation_id.wrapping_sub(last) as i64) < 0;
        if switch.election.get().is_some_and(older) {
            return Err(OFPRRFC_STALE);
        }
        switch.election.set(Some(request.generation_id));
    }
    if request.role == Role::Master {
        let sessions = switch.sessions.borrow();
        for other in sessions.values().filter(|s| s.role.get() == Role::Master) {
            other.role.set(Role::Slave);
        }
    }
    if request.role != Role::NoChange {
        session.role.set(request.role);
    }
    Ok(RoleRequest {
        role: session.role.get(),
        // All ones: there was no election yet.
        generation_id: switch.election.get().unwrap_or(u64::MAX),
        short_id: 0,
    })
}
