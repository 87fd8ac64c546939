//! Bundles, and the names of cookies.

use super::{Message, RawProperty};

/// All or nothing (OFPBF_ATOMIC).
pub const BUNDLE_ATOMIC: u16 = 1;
/// In the order in which they were added (OFPBF_ORDERED).
pub const BUNDLE_ORDERED: u16 = 2;
/// At a given time (OFPBF_TIME, 1.5).
pub const BUNDLE_TIME: u16 = 4;

/// OFPBCT_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[allow(missing_docs)] // the specification's own names
pub enum BundleControlType {
    OpenRequest = 0,
    OpenReply = 1,
    CloseRequest = 2,
    CloseReply = 3,
    CommitRequest = 4,
    CommitReply = 5,
    DiscardRequest = 6,
    DiscardReply = 7,
}

impl BundleControlType {
    /// From its number.
    pub const fn from_wire(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::OpenRequest,
            1 => Self::OpenReply,
            2 => Self::CloseRequest,
            3 => Self::CloseReply,
            4 => Self::CommitRequest,
            5 => Self::CommitReply,
            6 => Self::DiscardRequest,
            7 => Self::DiscardReply,
            _ => return None,
        })
    }

    /// The reply to a request.
    pub const fn reply(self) -> Self {
        match self {
            Self::OpenRequest | Self::OpenReply => Self::OpenReply,
            Self::CloseRequest | Self::CloseReply => Self::CloseReply,
            Self::CommitRequest | Self::CommitReply => Self::CommitReply,
            Self::DiscardRequest | Self::DiscardReply => Self::DiscardReply,
        }
    }
}

/// Opens, closes, commits or discards a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleControl {
    /// The controller's number for it.
    pub bundle: u32,
    /// What.
    pub kind: BundleControlType,
    /// BUNDLE_*.
    pub flags: u16,
    /// Properties: when to commit (1.5), an experimenter's.
    pub properties: Vec<RawProperty>,
}

/// A message put into a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleAdd {
    /// The controller's number for the bundle.
    pub bundle: u32,
    /// BUNDLE_*, as when it was opened.
    pub flags: u16,
    /// Transaction number of the inner message; errors about it carry this one.
    pub xid: u32,
    /// The inner message: a modification of flows, groups, ports, or a packet-out.
    pub message: Box<Message>,
    /// An experimenter's properties.
    pub properties: Vec<RawProperty>,
}

/// What is asked about bundles (OFPMP_BUNDLE_FEATURES, 1.5).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BundleFeaturesRequest {
    /// OFPBF_*: 1 a timestamp is given, 2 so are the bounds for scheduling.
    pub flags: u32,
    /// Properties: time, an experimenter's.
    pub properties: Vec<RawProperty>,
}

/// What a switch can do with bundles (OFPMP_BUNDLE_FEATURES, 1.5).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BundleFeatures {
    /// BUNDLE_*.
    pub capabilities: u16,
    /// Properties: time, an experimenter's.
    pub properties: Vec<RawProperty>,
}

/// What a TCP port of the machine answers to HTTP requests: our own message, from the controller to
/// the switch, for those who ask a machine whether it has what they look for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HttpAnswers {
    /// Whatever was answered before is answered no more.
    pub first: bool,
    /// Port, status and body, which is JSON.
    pub entries: Vec<(u16, u16, String)>,
}

/// Names of the objects behind cookies: our own message, from the controller to the switch.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CookieLabels {
    /// Cookie and name; an empty name deletes.
    pub entries: Vec<(u64, String)>,
}
