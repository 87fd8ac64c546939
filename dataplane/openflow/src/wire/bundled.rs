//! Flow-mods in bundles, found without decoding.

use super::{Header, kind};
use crate::Version;
use crate::msg::ONF;

/// Its number among the ONF's messages on 1.3.
const ONF_ADD_MESSAGE: u32 = 2301;

/// A flow-mod that is put into a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundledFlowMod<'a> {
    /// The controller's number for the bundle.
    pub bundle: u32,
    /// BUNDLE_*.
    pub flags: u16,
    /// Transaction number of both messages.
    pub xid: u32,
    /// The flow-mod with its header.
    pub flow_mod: &'a [u8],
}

impl<'a> BundledFlowMod<'a> {
    /// Looks into a message. None: it is another one, or has to be decoded.
    pub fn find(version: Version, frame: &'a [u8]) -> Option<Self> {
        let header = Header::read(frame)?;
        let whole =
            header.version == version.to_wire() && usize::from(header.length) == frame.len();
        let word = |at: usize| Some(u32::from_be_bytes(*frame.get(at..)?.first_chunk()?));
        let at = match header.kind {
            kind::BUNDLE_ADD_MESSAGE if whole && version >= Version::V1_4 => 8,
            kind::EXPERIMENTER if whole && version < Version::V1_4 => {
                (word(8)? == ONF && word(12)? == ONF_ADD_MESSAGE).then_some(16)?
            }
            _ => return None,
        };
        let flow_mod = frame.get(at + 8..)?;
        let inner = Header::read(flow_mod)?;
        // Bytes behind it are properties.
        let alone = usize::from(inner.length) == flow_mod.len();
        let is_it = inner.kind == kind::FLOW_MOD && inner.xid == header.xid && alone;
        is_it.then_some(BundledFlowMod {
            bundle: word(at)?,
            flags: word(at + 4)? as u16,
            xid: header.xid,
            flow_mod,
        })
    }
}
