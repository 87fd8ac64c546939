//! Bundles (OpenFlow 1.5.1, 6.9 and 7.3.9; ONF extension 230 on 1.3): messages that take effect
//! together, or not at all.

use std::cell::Cell;
use std::rc::Rc;

use openflow::Message;
use openflow::error::*;
use openflow::msg::{
    BUNDLE_ATOMIC, BUNDLE_ORDERED, BUNDLE_TIME, BundleAdd, BundleControl, BundleControlType,
};
use tables::Change;

use super::{check_packet_out, check_port_mod, modify, packet_out, port_mod};
use crate::monitors::Origin;
use crate::session::Session;
use crate::{Switch, monitors, notices};

/// Most bundles of a connection.
const MOST_BUNDLES: usize = 64;
/// Most bytes of messages in a connection's bundles.
const MOST_BYTES: usize = 128 << 20;
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
    bytes: usize,
    /// Messages with their transaction numbers and first bytes, for errors about them.
    messages: Vec<Part>,
    /// The last message about it, and when it came.
    last: (u32, Vec<u8>),
    heard: u64,
    held: Held,
}

#[derive(Debug)]
struct Part {
    xid: u32,
    message: Message,
    head: Vec<u8>,
}

impl Bundle {
    fn new(switch: &Switch, flags: u16) -> Self {
        Bundle {
            flags,
            closed: false,
            bytes: 0,
            messages: Vec::new(),
            last: (0, Vec::new()),
            heard: switch.engine.now(),
            held: switch.bundled.clone(),
        }
    }

    fn hear(&mut self, switch: &Switch, xid: u32, frame: &[u8]) {
        self.last = (xid, head(frame));
        self.heard = switch.engine.now();
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.held.set(self.held.get().saturating_sub(self.bytes));
    }
}

fn head(frame: &[u8]) -> Vec<u8> {
    frame.iter().take(HEAD).copied().collect()
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
            check_flags(request.flags)?;
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
            check_flags(request.flags)?;
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

fn check_flags(flags: u16) -> Result<(), OfError> {
    match flags & !(BUNDLE_ATOMIC | BUNDLE_ORDERED) {
        0 => Ok(()),
        BUNDLE_TIME => Err(OFPBFC_SCHED_NOT_SUPPORTED),
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
    check_flags(request.flags)?;
    let mut bundles = session.bundles.borrow_mut();
    let held: usize = bundles.values().map(|b| b.bytes).sum();
    let in_all = switch.bundled.get() + frame.len();
    if held + frame.len() > MOST_BYTES || in_all > MOST_BYTES_IN_ALL {
        return Err(OFPBFC_MSG_TOO_MANY);
    }
    if !bundles.contains_key(&request.bundle) && bundles.len() >= MOST_BUNDLES {
        return Err(OFPBFC_OUT_OF_BUNDLES);
    }
    let bundle = bundles
        .entry(request.bundle)
        .or_insert_with(|| Bundle::new(switch, request.flags));
    if bundle.closed {
        return Err(OFPBFC_BUNDLE_CLOSED);
    }
    if bundle.flags != request.flags {
        return Err(OFPBFC_BAD_FLAGS);
    }
    bundle.hear(switch, request.xid, frame);
    bundle.bytes += frame.len();
    switch.bundled.set(in_all);
    bundle.messages.push(Part {
        xid: request.xid,
        head: head(inner(session, frame)),
        message: *request.message,
    });
    Ok(())
}

/// The inner message's bytes: behind the header, on 1.3 the experimenter's, and 8 bytes of its own.
fn inner<'a>(session: &Session, frame: &'a [u8]) -> &'a [u8] {
    let at = match session.version.get() {
        Some(version) if version >= openflow::Version::V1_4 => 16,
        _ => 24,
    };
    frame.get(at..).unwrap_or_default()
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
fn commit(switch: &Rc<Switch>, session: &Session, mut bundle: Bundle) -> Result<(), OfError> {
    let parts = std::mem::take(&mut bundle.messages);
    let saved = switch.tables.borrow().save();
    let mut done: Vec<Vec<Change>> = Vec::with_capacity(parts.len());
    for part in &parts {
        let changes = match &part.message {
            Message::PortMod(request) => check_port_mod(switch, request).map(|()| Vec::new()),
            Message::PacketOut(request) => check_packet_out(switch, request).map(|()| Vec::new()),
            message => modify(switch, message),
        };
        match changes {
            Ok(changes) => done.push(changes),
            Err(error) => {
                switch.tables.borrow_mut().restore(saved);
                session.error(part.xid, error, &part.head);
                return Err(OFPBFC_MSG_FAILED);
            }
        }
    }
    for (part, changes) in parts.iter().zip(&mut done) {
        switch.remember(Some(Origin::new(session, part.xid)), changes);
    }
    monitors::hold_back(switch);
    switch.publish();
    for part in &parts {
        notices::forward_request(switch, session, part.xid, &part.message);
    }
    // Ports and packets follow the tables they may depend on.
    for part in parts {
        match part.message {
            Message::PortMod(request) => port_mod(switch, request),
            Message::PacketOut(request) => {
                if let Err(error) = packet_out(switch, request) {
                    session.error(part.xid, error, &part.head);
                }
            }
            _ => {}
        }
    }
    Ok(())
}
