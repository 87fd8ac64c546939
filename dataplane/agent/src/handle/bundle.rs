//! Bundles (OpenFlow 1.5.1, 6.9 and 7.3.9; ONF extension 230 on 1.3): messages that take effect
//! together, or not at all.

mod staged;

use std::cell::Cell;
use std::rc::Rc;

use openflow::error::*;
use openflow::msg::{
    BUNDLE_ATOMIC, BUNDLE_ORDERED, BUNDLE_TIME, BundleAdd, BundleControl, BundleControlType,
};
use openflow::wire::{self, BundledFlowMod, Header};
use openflow::{Message, Version};
use tables::Change;

use super::{check_packet_out, check_port_mod, fast, modify, packet_out, port_mod};
use crate::monitors::Origin;
use crate::session::Session;
use crate::{Switch, monitors, notices};
use staged::Staged;

/// Most bundles of a connection.
const MOST_BUNDLES: usize = 64;
/// Most bytes of messages in a connection's bundles.
const MOST_BYTES: usize = 256 << 20;
/// Most bytes of messages in all bundles.
const MOST_BYTES_IN_ALL: usize = 512 << 20;
/// A bundle of which nothing is heard for so long is discarded; nanoseconds.
const IDLE: u64 = 10_000_000_000;
/// Bytes of a message that are kept for an error about it.
const HEAD: usize = 64;

/// Bytes of messages in bundles, of all connections.
pub(crate) type Held = Rc<Cell<usize>>;

/// A bundle that is being filled.
#[derive(Debug)]
pub(crate) struct Bundle {
    flags: u16,
    closed: bool,
    messages: Staged,
    /// The last message about it, and when it came.
    last: (u32, Vec<u8>),
    heard: u64,
    held: Held,
}

impl Bundle {
    fn new(switch: &Switch, flags: u16) -> Self {
        Bundle {
            flags,
            closed: false,
            messages: Staged::default(),
            last: (0, Vec::new()),
            heard: switch.engine.now(),
            held: switch.bundled.clone(),
        }
    }

    fn hear(&mut self, switch: &Switch, xid: u32, frame: &[u8]) {
        let (last, head) = &mut self.last;
        *last = xid;
        head.clear();
        head.extend_from_slice(frame.get(..HEAD).unwrap_or(frame));
        self.heard = switch.engine.now();
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.held
            .set(self.held.get().saturating_sub(self.messages.len()));
    }
}

/// Opens, closes, commits or discards.
pub(crate) fn control(
    switch: &Rc<Switch>,
    session: &Session,
    xid: u32,
    frame: &[u8],
    request: BundleControl,
) -> Result<(), OfError> {
    let id = request.bundle;
    match request.kind {
        BundleControlType::OpenRequest => {
            let mut bundles = session.bundles.borrow_mut();
            if bundles.remove(&id).is_some() {
                // Opening it again is an error, and the end of the one that was there.
                return Err(OFPBFC_BUNDLE_EXIST);
            }
            check_flags(session, request.flags)?;
            if bundles.len() >= MOST_BUNDLES {
                return Err(OFPBFC_OUT_OF_BUNDLES);
            }
            let mut bundle = Bundle::new(switch, request.flags);
            bundle.hear(switch, xid, frame);
            bundles.insert(id, bundle);
        }
        BundleControlType::CloseRequest => {
            let mut bundles = session.bundles.borrow_mut();
            let bundle = bundles.get_mut(&id).ok_or(OFPBFC_BAD_ID)?;
            if bundle.closed {
                bundles.remove(&id);
                return Err(OFPBFC_BUNDLE_CLOSED);
            }
            if bundle.flags != request.flags {
                bundles.remove(&id);
                return Err(OFPBFC_BAD_FLAGS);
            }
            bundle.closed = true;
            bundle.hear(switch, xid, frame);
        }
        BundleControlType::CommitRequest => {
            let bundle = session.bundles.borrow_mut().remove(&id);
            let bundle = bundle.ok_or(OFPBFC_BAD_ID)?;
            check_flags(session, request.flags)?;
            if bundle.flags != request.flags {
                return Err(OFPBFC_BAD_FLAGS);
            }
            commit(switch, session, bundle)?;
        }
        BundleControlType::DiscardRequest => {
            let bundle = session.bundles.borrow_mut().remove(&id);
            bundle.ok_or(OFPBFC_BAD_ID)?;
        }
        BundleControlType::OpenReply
        | BundleControlType::CloseReply
        | BundleControlType::CommitReply
        | BundleControlType::DiscardReply => return Err(OFPBFC_BAD_TYPE),
    }
    let reply = BundleControl {
        kind: request.kind.reply(),
        properties: Vec::new(),
        ..request
    };
    session.reply(xid, &Message::BundleControl(reply));
    Ok(())
}

fn check_flags(session: &Session, flags: u16) -> Result<(), OfError> {
    let knows_time = session.version.get() >= Some(Version::V1_5);
    match flags & !(BUNDLE_ATOMIC | BUNDLE_ORDERED) {
        0 => Ok(()),
        BUNDLE_TIME if knows_time => Err(OFPBFC_SCHED_NOT_SUPPORTED),
        _ => Err(OFPBFC_BAD_FLAGS),
    }
}

/// Puts a message into a bundle, which is opened if need be.
pub(crate) fn add(
    switch: &Switch,
    session: &Session,
    frame: &[u8],
    request: BundleAdd,
) -> Result<(), OfError> {
    let may_be_inside = matches!(
        *request.message,
        Message::FlowMod(_)
            | Message::GroupMod(_)
            | Message::MeterMod(_)
            | Message::PortMod(_)
            | Message::PacketOut(_)
    );
    if !may_be_inside {
        return Err(OFPBFC_MSG_UNSUP);
    }
    // Behind the header, on 1.3 the experimenter's, and 8 bytes of its own; properties may follow.
    let at = match session.version.get() {
        Some(version) if version >= Version::V1_4 => 16,
        _ => 24,
    };
    let inner = frame.get(at..).unwrap_or_default();
    let length = Header::read(inner).map_or(0, |header| header.length.into());
    let inner = inner.get(..length).ok_or(OFPBFC_MSG_BAD_LEN)?;
    let (id, flags) = (request.bundle, request.flags);
    stage(switch, session, frame, id, flags, inner)?;
    if let (Message::FlowMod(request), Some(version)) = (&*request.message, session.version.get()) {
        fast::learn(switch, version, inner, request);
    }
    Ok(())
}

/// Likewise a flow-mod that needs not be decoded to know that it is well formed. None: another
/// message, or one that has to be.
pub(crate) fn add_fast(
    switch: &Switch,
    session: &Session,
    version: Version,
    frame: &[u8],
) -> Option<Result<(), OfError>> {
    let found = BundledFlowMod::find(version, frame)?;
    fast::is_well_formed(switch, session, version, found.flow_mod).then(|| {
        let (id, flags) = (found.bundle, found.flags);
        stage(switch, session, frame, id, flags, found.flow_mod)
    })
}

/// Keeps a message for the commit.
fn stage(
    switch: &Switch,
    session: &Session,
    frame: &[u8],
    id: u32,
    flags: u16,
    inner: &[u8],
) -> Result<(), OfError> {
    check_flags(session, flags)?;
    let mut bundles = session.bundles.borrow_mut();
    let held: usize = bundles.values().map(|b| b.messages.len()).sum();
    let in_all = switch.bundled.get() + inner.len();
    if held + inner.len() > MOST_BYTES || in_all > MOST_BYTES_IN_ALL {
        return Err(OFPBFC_MSG_TOO_MANY);
    }
    if bundles.len() >= MOST_BUNDLES && !bundles.contains_key(&id) {
        return Err(OFPBFC_OUT_OF_BUNDLES);
    }
    let bundle = bundles
        .entry(id)
        .or_insert_with(|| Bundle::new(switch, flags));
    if bundle.closed {
        return Err(OFPBFC_BUNDLE_CLOSED);
    }
    if bundle.flags != flags {
        return Err(OFPBFC_BAD_FLAGS);
    }
    let xid = Header::read(inner).map_or(0, |header| header.xid);
    bundle.hear(switch, xid, frame);
    switch.bundled.set(in_all);
    bundle.messages.push(inner);
    Ok(())
}

/// Discards bundles of which nothing was heard for long.
pub(crate) fn expire(switch: &Switch) {
    let now = switch.engine.now();
    let sessions: Vec<Rc<Session>> = switch.sessions.borrow().values().cloned().collect();
    for session in sessions {
        session.bundles.borrow_mut().retain(|_, bundle| {
            let late = now.saturating_sub(bundle.heard) > IDLE;
            if late {
                let (xid, head) = &bundle.last;
                session.error(*xid, OFPBFC_TIMEOUT, head);
            }
            !late
        });
    }
}

/// Applies all messages, or none: then the failing one is told under its own number.
fn commit(switch: &Rc<Switch>, session: &Session, bundle: Bundle) -> Result<(), OfError> {
    let Some(version) = session.version.get() else {
        return Ok(());
    };
    let saved = switch.tables.borrow().save();
    let mut changes = Vec::new();
    // Where the changes of each message end.
    let mut ends = Vec::new();
    let mut others = Vec::new();
    for (xid, frame) in bundle.messages.frames() {
        let done = match fast::apply(switch, session, version, frame, &mut changes) {
            Some(done) => done,
            None => other(switch, version, frame, &mut changes).map(|message| {
                // Flow-mods are done with.
                if !matches!(message, Message::FlowMod(_)) {
                    others.push((xid, frame, message));
                }
            }),
        };
        if let Err(error) = done {
            switch.tables.borrow_mut().restore(saved);
            session.error(xid, error, frame.get(..HEAD).unwrap_or(frame));
            return Err(OFPBFC_MSG_FAILED);
        }
        ends.push((xid, changes.len()));
    }
    let (mut changes, mut begin) = (changes.into_iter(), 0);
    let mut of_one = Vec::new();
    for (xid, end) in ends {
        of_one.extend(changes.by_ref().take(end - begin));
        switch.remember(Some(Origin::new(session, xid)), &mut of_one);
        begin = end;
    }
    monitors::hold_back(switch);
    switch.publish();
    for (xid, _, message) in &others {
        notices::forward_request(switch, session, *xid, message);
    }
    // Ports and packets follow the tables they may depend on.
    for (xid, frame, message) in others {
        match message {
            Message::PortMod(request) => port_mod(switch, request),
            Message::PacketOut(request) => {
                if let Err(error) = packet_out(switch, request) {
                    session.error(xid, error, frame.get(..HEAD).unwrap_or(frame));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Applies a message that has to be decoded, or sees that it can be later.
fn other(
    switch: &Switch,
    version: Version,
    frame: &[u8],
    changes: &mut Vec<Change>,
) -> Result<Message, OfError> {
    let message = wire::decode(version, frame)?;
    match &message {
        Message::PortMod(request) => check_port_mod(switch, request)?,
        Message::PacketOut(request) => check_packet_out(switch, request)?,
        message => changes.append(&mut modify(switch, message)?),
    }
    Ok(message)
}
