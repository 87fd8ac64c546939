//! What can be asked.

use serde::{Deserialize, Serialize};

/// The source port of a traced packet that names none.
pub const DEFAULT_SOURCE_PORT: u16 = 40_000;

/// Which objects; what is not said is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The one of this name; `namespace/name`, or with `namespace` the name alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As this node sees them: its pods, and whether objects are in force there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A question; the comment of each names its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Question {
    /// Pods, with and without a port -> [`Answer::Pods`](super::Answer::Pods).
    Pods(Selection),
    /// Services with their endpoints -> [`Answer::Services`](super::Answer::Services). With a node,
    /// what becomes of each endpoint for clients there.
    Services(Selection),
    /// Policies with their rules -> [`Answer::Policies`](super::Answer::Policies).
    Policies {
        /// Which.
        #[serde(flatten)]
        which: Selection,
        /// Ask the switches how many packets each rule has decided.
        #[serde(default)]
        hits: bool,
    },
    /// Subnets and how full they are -> [`Answer::Subnets`](super::Answer::Subnets).
    Subnets(Selection),
    /// Nodes and what their switches have -> [`Answer::Nodes`](super::Answer::Nodes).
    Nodes(Selection),
    /// What would become of a connection's first packet -> [`Answer::Trace`](super::Answer::Trace).
    Trace {
        /// A pod: `namespace/name`, or a name that only one pod has; `node:NAME` is the node itself.
        from: String,
        /// A pod, Service or address: `NAME[:PORT][/PROTOCOL]`; `pod:` or `service:` before it says
        /// which, where both have the name.
        to: String,
        /// The source port; [`DEFAULT_SOURCE_PORT`] if none is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source_port: Option<u16>,
        /// `4` or `6`, where both would do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        family: Option<u8>,
    },
    /// What switches have against what they shall have -> [`Answer::Diff`](super::Answer::Diff).
    Diff {
        /// Only this node.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
}
