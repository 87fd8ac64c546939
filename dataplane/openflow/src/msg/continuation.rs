//! What the switch needs to go on with a paused packet (NXPINT_CONTINUATION).

use net::TableId;

use crate::Action;

/// The state of a packet that a `controller(pause)` action stopped. It travels inside
/// [`super::PacketIn2`] and comes back with NXT_RESUME; what the packet and its registers are is
/// beside it in the packet-in. The properties are those of Open vSwitch 3.1 (NXCPT_*).
///
/// It is foreign bytes when it comes back: a controller may have changed it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Continuation {
    /// Which switch made it (a UUID); zero where that is not said.
    pub bridge: u128,
    /// The packet's stack, top first; each at most 255 bytes.
    pub stack: Vec<Vec<u8>>,
    /// Mirrors that had the packet.
    pub mirrors: u32,
    /// The packet has been through the connection tracker.
    pub conntracked: bool,
    /// What is left to do, innermost first: the rest of the list that paused, then of those that
    /// it was resubmitted from.
    pub frames: Vec<Frame>,
    /// The action set.
    pub action_set: Vec<Action>,
    /// The datapath's number of the port that the packet came from, where the packet-in's in_port
    /// does not say it; 0: not given.
    pub odp_port: u32,
}

/// The rest of one list of actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Table of the flow.
    pub table: TableId,
    /// Cookie of the flow.
    pub cookie: u64,
    /// What it still has to do.
    pub actions: Vec<Action>,
}
