//! Flow-mods that are like one that came before: applied without being decoded.

use std::cell::RefCell;
use std::rc::Rc;

use openflow::Version;
use openflow::error::OfError;
use openflow::model::{FlowMod, NO_BUFFER};
use openflow::msg::Role;
use openflow::wire::{FlowModReader, Header};
use tables::{Change, MatchPlan};

use super::{features, tlv};
use crate::Switch;
use crate::monitors::Origin;
use crate::refusal::of_error;
use crate::session::Session;

/// What flow-mods looked like lately.
#[derive(Default)]
pub(crate) struct Fast {
    reader: RefCell<FlowModReader<MatchPlan>>,
    /// Empty between flow-mods; kept for its memory.
    changes: RefCell<Vec<Change>>,
}

/// Applies a flow-mod of a known shape. None: it is another message, or has to be decoded.
pub(crate) fn flow_mod(
    switch: &Rc<Switch>,
    session: &Session,
    version: Version,
    frame: &[u8],
) -> Option<Result<(), OfError>> {
    if session.role.get() == Role::Slave {
        return None;
    }
    let mut reader = switch.fast.reader.borrow_mut();
    let request = reader.read(version, frame, |matching, instructions| {
        features::check_flow(matching, instructions).is_ok()
            && tlv::check_flow(&switch.tunnel_options.get(), matching, instructions).is_ok()
    })?;
    if request.head.buffer_id != NO_BUFFER {
        return None;
    }
    let mut changes = switch.fast.changes.borrow_mut();
    let mut tables = switch.tables.borrow_mut();
    let done = tables.flow_mod_read(request, switch.engine.now(), &mut changes);
    drop(tables);
    let xid = Header::read(frame).map_or(0, |header| header.xid);
    switch.note(Some(Origin::new(session, xid)), &mut changes);
    Some(done.map_err(|refused| {
        tracing::debug!("flow-mod refused: {refused}");
        of_error(refused)
    }))
}

/// Remembers what a flow-mod that was decoded and allowed looked like.
pub(crate) fn learn(switch: &Switch, version: Version, frame: &[u8], request: &FlowMod) {
    let mut tables = switch.tables.borrow_mut();
    let mut reader = switch.fast.reader.borrow_mut();
    reader.learn(version, frame, &request.matching, |example, pieces| {
        tables.plan(example, pieces)
    });
}
