//! What the agent can ask of a worker.

use std::net::IpAddr;

use net::{MacAddr, PortNo};
use openflow::msg::Continuation;
use openflow::{Action, Match};
use ports::Port;

use crate::PortSlot;

/// What a worker is asked to do. Commands are carried out in order, between bursts; tables and ports
/// that were published before a command was sent are in force when it is carried out.
#[derive(Debug)]
pub enum Command {
    /// Take over a device, or a part of it; its port is in the published map.
    Attach {
        /// The port's place.
        slot: PortSlot,
        /// Which part it is.
        part: Part,
        /// The device.
        device: Device,
        /// Answers when it has it.
        reply: Reply<()>,
    },
    /// Let another worker have an rx queue: everything that came in by it is out of this worker's
    /// hands when it answers.
    Release {
        /// The port's place.
        slot: PortSlot,
        /// Which rx queue; of a port that is one part, 0.
        queue: u16,
        /// Gets the device; none if there was none.
        reply: Reply<Option<Device>>,
    },
    /// Give back all that there is of a port that is gone, after sending what is staged for it.
    Detach {
        /// The port's place.
        slot: PortSlot,
        /// Gets the parts.
        reply: Reply<Vec<Device>>,
    },
    /// Send a packet.
    PacketOut(PacketOut),
    /// Go on with a packet that waited for a controller; its own actions count for nothing.
    Resume(PacketOut, Box<Continuation>),
    /// Answer; every packet taken after that sees what was published before.
    Barrier(Reply<()>),
    /// Add what the cache has counted to rules, groups and tables, then answer.
    Sync(Reply<()>),
    /// Empty the flow cache, then answer.
    FlushCache(Reply<()>),
    /// End.
    Stop,
}

/// What a device in a worker's hands is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Receiving and sending; all there is of the port.
    Whole,
    /// Receiving by this rx queue.
    Rx(u16),
    /// Sending.
    Tx,
}

/// A device in the hands of whoever owns its port.
pub struct Device(pub Box<dyn Port>);

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.0.control().name())
    }
}

/// Where an answer goes. It is called on the worker's thread, so it only hands the value over:
/// to a channel, or to a oneshot of an async runtime.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T: Send + 'static> Reply<T> {
    /// Hands the answer to a function.
    pub fn to(take: impl FnOnce(T) + Send + 'static) -> Self {
        Reply(Box::new(take))
    }

    /// An answer to wait for on a thread that may block.
    pub fn channel() -> (Self, crossbeam_channel::Receiver<T>) {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        // The asker may have gone away meanwhile, then nobody needs the answer.
        let reply = Reply::to(move |value| drop(sender.send(value)));
        (reply, receiver)
    }

    /// For those who need no answer.
    pub fn ignore() -> Self {
        Reply::to(drop)
    }

    /// Gives the answer.
    pub fn send(self, value: T) {
        (self.0)(value);
    }
}

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}

/// A packet that the controller sends (OFPT_PACKET_OUT; OpenFlow 1.3.5, 7.3.7).
#[derive(Clone, Debug)]
pub struct PacketOut {
    /// Port it counts as received on; [`PortNo::CONTROLLER`] if none.
    pub in_port: PortNo,
    /// What to do with it; [`PortNo::TABLE`] as an output runs it through the tables.
    pub actions: Vec<Action>,
    /// The frame.
    pub data: Vec<u8>,
    /// Metadata, registers, tunnel fields that it begins with (1.5).
    pub fields: Match,
}

/// What is known of an underlay next hop's link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborState {
    /// Asked, not answered yet.
    Incomplete,
    /// Known and fresh.
    Reachable,
    /// Known, and being asked again because it is old.
    Stale,
    /// Set by the operator; never asked, never forgotten.
    Permanent,
    /// Did not answer.
    Failed,
}

impl NeighborState {
    /// The state's name, as `ip neighbour` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            NeighborState::Incomplete => "incomplete",
            NeighborState::Reachable => "reachable",
            NeighborState::Stale => "stale",
            NeighborState::Permanent => "permanent",
            NeighborState::Failed => "failed",
        }
    }
}

/// An underlay next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborEntry {
    /// Its address.
    pub address: IpAddr,
    /// Its link-layer address, once known.
    pub mac: Option<MacAddr>,
    /// Port it is reached through.
    pub port: PortNo,
    /// What is known of it.
    pub state: NeighborState,
    /// Milliseconds since it was last confirmed (or first asked for).
    pub age_ms: u64,
}
