//! What the rest of the controller hears of a session.

use std::net::IpAddr;
use std::time::Duration;

use flows::Problem;
use flows::flow::Logged;
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
        /// How long ago it was told what it has acknowledged; none: it has not been told anything
        /// since it connected, or has acknowledged that before.
        took: Option<Duration>,
    },
    /// A connection was allowed or denied by a policy that is in the policy log.
    Judged(Box<Judged>),
    /// What policies that are in the log have counted on a node.
    Counted(Counted),
}

/// The first packet of a connection, and what decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Where.
    pub node: String,
    /// The name of the port by which it came in.
    pub port: Option<String>,
    /// The address it comes from.
    pub source: IpAddr,
    /// The address it goes to, after a Service has translated it.
    pub destination: IpAddr,
    /// The protocol of the IP header.
    pub protocol: u8,
    /// Source and destination port of TCP, UDP and SCTP; of ICMP type and code; else 0.
    pub ports: (u16, u16),
    /// What decided; of the sender's policies, of the receiver's, or of both if both allow it.
    pub logged: Vec<Logged>,
}

/// What a node has counted, since its switch has the flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The node.
    pub node: String,
    /// Packets that the policy log has not heard of, because there were too many.
    pub kept_back: u64,
    /// Packets and bytes by rule: `NetworkPolicy bank/web ingress[0]`.
    pub rules: Vec<(String, (u64, u64))>,
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
