//! Flow-mods that are like one that came before: applied without being decoded.

use std::cell::RefCell;
use std::rc::Rc;

use openflow::Version;
use openflow::error::OfError;
use openflow::model::{FlowMod, NO_BUFFER};
use openflow::msg::Role;
use openflow::wire::{FlowModReader, Header, Read};
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

impl Fast {
    /// What was allowed before may not be any more.
    pub(crate) fn forget(&self) {
        self.reader.take();
    }
}

/// Carries out a flow-mod of a known shape. None: it is another message, or has to be decoded.
pub(crate) fn flow_mod(
    switch: &Rc<Switch>,
    session: &Session,
    version: Version,
    frame: &[u8],
) -> Option<Result<(), OfError>> {
    let mut changes = switch.fast.changes.borrow_mut();
    let done = apply(switch, session, version, frame, &mut changes)?;
    let xid = Header::read(frame).map_or(0, |header| header.xid);
    switch.note(Some(Origin::new(session, xid)), &mut changes);
    Some(done)
}

/// Applies a flow-mod of a known shape to the tables.
pub(super) fn apply(
    switch: &Switch,
    session: &Session,
    version: Version,
    frame: &[u8],
    changes: &mut Vec<Change>,
) -> Option<Result<(), OfError>> {
    let mut reader = switch.fast.reader.borrow_mut();
    let request = read(switch, session, version, &mut reader, frame)?;
    let now = switch.read_at.get();
    let mut tables = switch.tables.borrow_mut();
    let done = tables.flow_mod_read(request, now, changes);
    Some(done.map_err(|refused| {
        tracing::debug!("flow-mod refused: {refused}");
        of_error(refused)
    }))
}

/// True for flow-mods that will not have to be decoded.
pub(super) fn is_well_formed(
    switch: &Switch,
    session: &Session,
    version: Version,
    frame: &[u8],
) -> bool {
    let mut reader = switch.fast.reader.borrow_mut();
    read(switch, session, version, &mut reader, frame).is_some()
}

fn read<'a>(
    switch: &Switch,
    session: &Session,
    version: Version,
    reader: &'a mut FlowModReader<MatchPlan>,
    frame: &'a [u8],
) -> Option<Read<'a, MatchPlan>> {
    if session.role.get() == Role::Slave {
        return None;
    }
    let request = reader.read(version, frame, |matching, instructions| {
        features::check_flow(matching, instructions).is_ok()
            && tlv::check_flow(&switch.tunnel_options.get(), matching, instructions).is_ok()
    })?;
    (request.head.buffer_id == NO_BUFFER).then_some(request)
}

/// Remembers what a flow-mod that was decoded and allowed looked like.
pub(crate) fn learn(switch: &Switch, version: Version, frame: &[u8], request: &FlowMod) {
    let mut tables = switch.tables.borrow_mut();
    let mut reader = switch.fast.reader.borrow_mut();
    reader.learn(version, frame, &request.matching, |example, pieces| {
        tables.plan(example, pieces)
    });
}
