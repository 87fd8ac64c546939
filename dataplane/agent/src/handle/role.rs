//! Roles (OpenFlow 1.3.5, 6.3.4 and 6.3.5; 1.5.1, 7.3.8).

use std::rc::Rc;

use openflow::error::{OFPRRFC_ID_IN_USE, OFPRRFC_STALE, OfError};
use openflow::msg::{ControllerReason, Role, RoleReason, RoleRequest};

use crate::session::Session;
use crate::{Switch, notices};

/// Applies a role request; gives the reply.
pub(super) fn request(
    switch: &Switch,
    session: &Session,
    request: RoleRequest,
) -> Result<RoleRequest, OfError> {
    let elected = matches!(request.role, Role::Master | Role::Slave);
    let generation = request.generation_id;
    let older = |last: u64| (generation.wrapping_sub(last) as i64) < 0;
    if elected && switch.election.get().is_some_and(older) {
        return Err(OFPRRFC_STALE);
    }
    name(switch, session, request.short_id)?;
    if elected {
        switch.election.set(Some(generation));
    }
    assume(switch, session, request.role);
    Ok(RoleRequest {
        role: session.role.get(),
        // All ones: there was no election yet.
        generation_id: switch.election.get().unwrap_or(u64::MAX),
        short_id: session.short_id.get(),
    })
}

/// Gives a connection its role, and says so to those who lose theirs by that.
pub(super) fn assume(switch: &Switch, session: &Session, role: Role) {
    let before = session.role.get();
    if role == Role::Master {
        let masters: Vec<Rc<Session>> = {
            let sessions = switch.sessions.borrow();
            let others = sessions.values().filter(|s| s.id != session.id);
            others
                .filter(|s| s.role.get() == Role::Master)
                .cloned()
                .collect()
        };
        for other in masters {
            other.role.set(Role::Slave);
            notices::role_status(switch, &other, RoleReason::MasterRequest);
            notices::controller_status(switch, &other, ControllerReason::Role);
        }
    }
    if role != Role::NoChange && role != before {
        session.role.set(role);
        notices::controller_status(switch, session, ControllerReason::Role);
    }
}

/// Gives a connection the short identifier that it asks for; 0: none.
fn name(switch: &Switch, session: &Session, short_id: u16) -> Result<(), OfError> {
    if short_id == 0 || short_id == session.short_id.get() {
        return Ok(());
    }
    let sessions = switch.sessions.borrow();
    let taken = |s: &&Rc<Session>| s.id != session.id && s.short_id.get() == short_id;
    if sessions.values().any(|s| taken(&s)) {
        return Err(OFPRRFC_ID_IN_USE);
    }
    drop(sessions);
    session.short_id.set(short_id);
    notices::controller_status(switch, session, ControllerReason::ShortId);
    Ok(())
}
