//! The state of one OpenFlow connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use openflow::error::OfError;
use openflow::msg::{AsyncConfig, ErrorMsg, PacketInFormat, Role};
use openflow::{Message, Version};

use crate::Options;
use crate::handle::bundle::Bundle;
use crate::links::Primary;
use crate::monitors::Monitors;
use crate::outbox::Outbox;
use crate::pacer::Pacer;
use crate::parts::Parts;

/// Bytes of a packet that a controller gets where no action says how many
/// (OFP_DEFAULT_MISS_SEND_LEN; OpenFlow 1.3.5, 7.3.2).
const MISS_SEND_LEN: u16 = 128;

/// State of a connection.
pub(crate) struct Session {
    /// Number, for the registry.
    pub id: u64,
    /// Target or peer.
    pub peer: String,
    /// The controller that we connected to; none for whoever connected to us.
    pub primary: Option<Rc<Primary>>,
    /// What waits to be written.
    pub out: Outbox,
    /// Agreed version, once there is one.
    pub version: Cell<Option<Version>>,
    /// Role.
    pub role: Cell<Role>,
    /// Which messages it wants unasked.
    pub wants: Cell<AsyncConfig>,
    /// How it wants packet-ins.
    pub packet_in_format: Cell<PacketInFormat>,
    /// Number that controller actions name.
    pub controller_id: Cell<u16>,
    /// Bytes of a packet that came without an action that says how many.
    pub miss_send_len: Cell<u16>,
    /// The controller's name for itself (1.5); 0: none.
    pub short_id: Cell<u16>,
    /// Flows that it follows.
    pub monitors: Monitors,
    /// Bundles that are being filled.
    pub bundles: RefCell<HashMap<u32, Bundle>>,
    /// Requests of which more parts are to come.
    pub parts: RefCell<Parts>,
    /// Packets that wait for their turn.
    pub pacer: RefCell<Pacer>,
    /// Version of what is sent before there is an agreement.
    first: Version,
}

impl Session {
    pub fn new(id: u64, peer: String, primary: Option<Rc<Primary>>, options: &Options) -> Self {
        Session {
            id,
            peer,
            out: Outbox::new(options.queue),
            version: Cell::new(None),
            role: Cell::new(Role::Equal),
            wants: Cell::new(AsyncConfig::default()),
            packet_in_format: Cell::new(PacketInFormat::Standard),
            controller_id: Cell::new(0),
            miss_send_len: Cell::new(match primary {
                Some(_) => MISS_SEND_LEN,
                None => 0,
            }),
            primary,
            short_id: Cell::new(0),
            monitors: Monitors::default(),
            bundles: RefCell::default(),
            parts: RefCell::default(),
            pacer: RefCell::new(Pacer::new(options.packet_in)),
            first: options.newest(),
        }
    }

    /// Appends a reply.
    pub fn reply(&self, xid: u32, message: &Message) {
        let version = self.version.get().unwrap_or(self.first);
        self.out.reply(version, xid, message);
    }

    /// Appends an error about a request.
    pub fn error(&self, xid: u32, error: OfError, request: &[u8]) {
        tracing::debug!(peer = %self.peer, xid, "refused: {error}");
        let about = ErrorMsg::about(error, request);
        self.reply(xid, &Message::Error(about));
    }

    /// True if it may get messages that it did not ask for, once its masks allow them. Whoever
    /// connected to us gets none before a SET_CONFIG with a `miss_send_len` above 0, as with Open
    /// vSwitch's service controllers: tools that ask one thing are not to be bothered.
    pub fn hears(&self) -> bool {
        self.version.get().is_some() && (self.primary.is_some() || self.miss_send_len.get() > 0)
    }
}
