//! What the rest of the controller hears of a session.

use std::time::Duration;

use flows::Problem;
use openflow::error::OfError;

/// Something happened to a switch.
#[derive(Clone, Debug)]
pub enum Event {
    /// A switch is connected and has said which node it is.
    Connected {
        /// The node.
        node: String,
        /// Its datapath number.
        datapath: u64,
        /// Where it connects from.
        peer: String,
    },
    /// The switch calls itself a node that the intent does not know; it is left as it is.
    Unknown(String),
    /// The session of a node ended.
    Disconnected {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// The switch has another master, of a later generation than ours; we do not write to it.
    Outranked {
        /// The node.
        node: String,
        /// That master's generation.
        generation: u64,
    },
    /// The switch holds what it shall, but for what it refused.
    Applied(Applied),
    /// The switch has acknowledged all of a picture, changed or not, and refused nothing.
    Reached {
        /// The node.
        node: String,
        /// [`Intent::picture`](crate::Intent::picture)
        picture: u64,
    },
}

/// A reconciliation of one switch.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The node.
    pub node: String,
    /// Flows it shall hold.
    pub desired: usize,
    /// Flows it holds.
    pub installed: usize,
    /// Modifications of flows, groups and meters that were sent.
    pub sent: usize,
    /// Flows added or changed, and flows deleted.
    pub flows: (usize, usize),
    /// From the change to the barrier's reply.
    pub took: Duration,
    /// What the switch refused.
    pub rejected: Vec<Rejected>,
    /// What could not be compiled for this node.
    pub problems: Vec<Problem>,
}

/// A modification that the switch refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The object it comes from, as `Kind namespace/name`.
    pub object: String,
    /// What was refused.
    pub what: String,
    /// The switch's error.
    pub error: OfError,
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: the switch refused {}: {}",
            self.object, self.what, self.error
        )
    }
}
