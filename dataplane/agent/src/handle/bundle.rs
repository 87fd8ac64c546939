//! Bundles (ONF extension 230 on 1.3): messages that take effect together, or not at all.

use std::rc::Rc;

use openflow::Message;
use openflow::error::*;
use openflow::msg::{BUNDLE_ATOMIC, BUNDLE_ORDERED, BundleAdd, BundleControl, BundleControlType};

use super::{check_packet_out, check_port_mod, modify, packet_out, port_mod};
use crate::Switch;
use crate::session::Session;

/// Most bundles of a connection.
const MOST_BUNDLES: usize = 64;
/// Most bytes of messages in a connection's bundles.
const MOST_BYTES: usize = 128 << 20;

/// A bundle that is being filled.
#[derive(Debug)]
pub(crate) struct Bundle {
    flags: u16,
    closed: bool,
    bytes: usize,
    /// Messages with their transaction numbers and first bytes, for errors about them.
    messages: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    xid: u32,
    message: Message,
    head: Vec<u8>,
}

/// Opens, closes, commits or discards.
pub(crate) fn control(
    switch: &Rc<Switch>,
    session: &Session,
    xid: u32,
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
            if request.flags & !(BUNDLE_ATOMIC | BUNDLE_ORDERED) != 0 {
                return Err(OFPBFC_BAD_FLAGS);
            }
            if bundles.len() >= MOST_BUNDLES {
                return Err(OFPBFC_OUT_OF_BUNDLES);
            }
            bundles.insert(id, Bundle::new(request.flags));
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
        }
        BundleControlType::CommitRequest => {
            let bundle = session.bundles.borrow_mut().remove(&id);
            let bundle = bundle.ok_or(OFPBFC_BAD_ID)?;
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
        ..request
    };
    session.reply(xid, &Message::BundleControl(reply));
    Ok(())
}

/// Puts a message into a bundle, which is opened if need be.
pub(crate) fn add(session: &Session, frame: &[u8], request: BundleAdd) -> Result<(), OfError> {
    let may_be_inside = matches!(
        *request.message,
        Message::FlowMod(_) | Message::GroupMod(_) | Message::PortMod(_) | Message::PacketOut(_)
    );
    let mut bundles = session.bundles.borrow_mut();
    if !may_be_inside {
        return Err(OFPBFC_MSG_UNSUP);
    }
    let held: usize = bundles.values().map(|b| b.bytes).sum();
    if held + frame.len() > MOST_BYTES {
        return Err(OFPBFC_MSG_TOO_MANY);
    }
    if !bundles.contains_key(&request.bundle) && bundles.len() >= MOST_BUNDLES {
        return Err(OFPBFC_OUT_OF_BUNDLES);
    }
    let bundle = bundles
        .entry(request.bundle)
        .or_insert_with(|| Bundle::new(request.flags));
    if bundle.closed {
        return Err(OFPBFC_BUNDLE_CLOSED);
    }
    if bundle.flags != request.flags {
        return Err(OFPBFC_BAD_FLAGS);
    }
    bundle.bytes += frame.len();
    // The inner message begins behind the header, the experimenter's, and 8 bytes of its own.
    let head = frame.get(24..).unwrap_or_default();
    bundle.messages.push(Part {
        xid: request.xid,
        message: *request.message,
        head: head.iter().take(64).copied().collect(),
    });
    Ok(())
}

impl Bundle {
    fn new(flags: u16) -> Self {
        Bundle {
            flags,
            closed: false,
            bytes: 0,
            messages: Vec::new(),
        }
    }
}

/// Applies all messages, or none: then the failing one is told under its own number.
fn commit(switch: &Rc<Switch>, session: &Session, bundle: Bundle) -> Result<(), OfError> {
    let saved = switch.tables.borrow().save();
    let mut changes = Vec::new();
    let mut last = Vec::new();
    for part in bundle.messages {
        let done = match &part.message {
            Message::PortMod(request) => check_port_mod(switch, request).map(|()| Vec::new()),
            Message::PacketOut(request) => check_packet_out(switch, request).map(|()| Vec::new()),
            message => modify(switch, message),
        };
        match done {
            Ok(done) => changes.extend(done),
            Err(error) => {
                switch.tables.borrow_mut().restore(saved);
                session.error(part.xid, error, &part.head);
                return Err(OFPBFC_MSG_FAILED);
            }
        }
        if matches!(part.message, Message::PortMod(_) | Message::PacketOut(_)) {
            last.push(part);
        }
    }
    switch.note(&mut changes);
    switch.publish();
    // Ports and packets follow the tables they may depend on.
    for part in last {
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
