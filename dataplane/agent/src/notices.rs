//! Messages nobody asked for, about the switch and its controllers: free space of tables, roles,
//! other controllers, and what those changed.

use std::rc::Rc;

use net::TableId;
use openflow::msg::{
    AsyncKind, ControllerReason, RequestForward, RoleReason, RoleStatus, TableReason, TableStatus,
};
use openflow::{Message, Version};
use tables::VacancyEvent;

use crate::Switch;
use crate::events::{offer, wanting};
use crate::handle::{controllers, table};
use crate::session::Session;

/// OFPRFR_GROUP_MOD.
const GROUP_MOD: u32 = 0;
/// OFPRFR_METER_MOD.
const METER_MOD: u32 = 1;

/// Tells of tables whose free space passed a threshold (OpenFlow 1.4.1, 7.4.5).
pub(crate) fn table_status(switch: &Switch, passed: Vec<(TableId, VacancyEvent)>) {
    for (id, event) in passed {
        let reason = match event {
            VacancyEvent::Down => TableReason::VacancyDown,
            VacancyEvent::Up => TableReason::VacancyUp,
        };
        let desc = table::describe(&switch.tables.borrow(), id);
        let message = Message::TableStatus(TableStatus { reason, desc });
        for session in wanting(switch, AsyncKind::TableStatus, |_| reason as u32) {
            offer(&session, &message);
        }
    }
}

/// Tells a controller that it has another role now (OpenFlow 1.4.1, 7.4.4).
pub(crate) fn role_status(switch: &Switch, session: &Session, reason: RoleReason) {
    let mask = session.wants.get().role_status;
    let wanted = (mask.master | mask.slave) >> (reason as u32) & 1 == 1;
    if !wanted {
        return;
    }
    let status = RoleStatus {
        role: session.role.get(),
        reason,
        generation_id: switch.election.get().unwrap_or(u64::MAX),
        properties: Vec::new(),
    };
    offer(session, &Message::RoleStatus(status));
}

/// Tells the other controllers of a modification of groups or meters (OpenFlow 1.4.1, 7.4.6).
pub(crate) fn forward_request(switch: &Switch, from: &Session, xid: u32, request: &Message) {
    let reason = match request {
        Message::GroupMod(_) => GROUP_MOD,
        Message::MeterMod(_) => METER_MOD,
        _ => return,
    };
    let sessions = wanting(switch, AsyncKind::RequestForward, |_| reason);
    let mut others = sessions.iter().filter(|s| s.id != from.id).peekable();
    if others.peek().is_none() {
        return;
    }
    let message = Message::RequestForward(RequestForward {
        xid,
        request: Box::new(request.clone()),
    });
    others.for_each(|session| offer(session, &message));
}

/// Tells controllers about one of them (OpenFlow 1.5.1, 7.4.7).
pub(crate) fn controller_status(switch: &Switch, about: &Session, reason: ControllerReason) {
    let sessions = wanting(switch, AsyncKind::ControllerStatus, |_| reason as u32);
    let sessions: Vec<Rc<Session>> = sessions
        .into_iter()
        .filter(|session| session.version.get() == Some(Version::V1_5))
        .collect();
    if sessions.is_empty() {
        return;
    }
    let message = Message::ControllerStatus(controllers::status(switch, about, reason));
    for session in sessions {
        offer(&session, &message);
    }
}
