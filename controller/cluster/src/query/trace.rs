//! The way of one packet, as it is told.

use serde::{Deserialize, Serialize};

/// What becomes of the first packet of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Who sends: `Pod bank/web-1 on node1`.
    pub from: String,
    /// Who is meant: `Service bank/api port 80`.
    pub to: String,
    /// The packet: `TCP 10.16.0.2:40000 -> 10.96.0.10:80`.
    pub packet: String,
    /// It comes to somebody, whichever endpoint is chosen.
    pub delivered: bool,
    /// In a sentence, what becomes of it.
    pub verdict: String,
    /// What to know about the answer: nodes that are not connected, for instance.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What is decided of each endpoint, if it goes to a Service.
    #[serde(default)]
    pub backends: Vec<super::Backend>,
    /// The ways that it may go: one for each endpoint that may be chosen.
    pub paths: Vec<Path>,
    /// Ways that are not told, as there are too many.
    #[serde(default)]
    pub more_paths: usize,
}

/// One way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// What was chosen by weight, in order.
    #[serde(default)]
    pub chosen: Vec<Choice>,
    /// Every flow that it met, in order.
    pub steps: Vec<Step>,
    /// Where it ended: one place but for what is flooded.
    pub ends: Vec<End>,
    /// The policy rule that decided for the sender, as `NetworkPolicy bank/web egress[0]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_rule: Option<String>,
    /// The policy rule that decided for the receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_rule: Option<String>,
}

/// A bucket of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The group, by what it is for.
    pub group: String,
    /// What the bucket does.
    pub does: String,
    /// Its weight.
    pub weight: u32,
    /// The weights of all buckets.
    pub of: u32,
}

/// A flow that the packet met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The node.
    pub node: String,
    /// The table's name.
    pub table: String,
    /// The flow's priority.
    pub priority: u16,
    /// The object that the flow comes from.
    pub object: String,
    /// What the flow is for.
    pub intent: String,
    /// What it matches.
    pub matching: String,
    /// What it does.
    pub does: String,
}

/// Where a packet ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    /// A pod gets it.
    Pod {
        /// `namespace/name`
        pod: String,
        /// Where it runs.
        node: String,
        /// As what it gets it: `TCP 10.16.0.2:40000 -> 10.16.0.3:8080`.
        packet: String,
    },
    /// The kernel of a node gets it.
    Node {
        /// The node.
        node: String,
        /// As what.
        packet: String,
    },
    /// It leaves by a port to a physical network, where no pod has its destination.
    Outside {
        /// The node.
        node: String,
        /// The port's name.
        port: String,
        /// The 802.1Q tag; none: untagged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vlan: Option<u16>,
        /// As what.
        packet: String,
    },
    /// It goes back to where it came from: an answer of the switch's own.
    Answered {
        /// The node.
        node: String,
        /// What is answered.
        packet: String,
    },
    /// It is dropped.
    Dropped {
        /// The node.
        node: String,
        /// The table.
        table: String,
        /// The object whose flow it is.
        object: String,
        /// Why.
        why: String,
    },
    /// It cannot be said.
    Unclear {
        /// The node.
        node: String,
        /// Why not.
        why: String,
    },
}

impl End {
    /// Somebody gets it.
    pub fn is_delivery(&self) -> bool {
        !matches!(self, End::Dropped { .. } | End::Unclear { .. })
    }
}
