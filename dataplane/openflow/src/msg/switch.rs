//! The switch itself: hello, errors, features, configuration, ports, roles.

use net::{MacAddr, PortNo};

use super::RawProperty;
use crate::error::OfError;
use crate::model::PortDesc;
use crate::version::Version;

/// OFPT_HELLO (OpenFlow 1.3.5, A.5.1).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Hello {
    /// Bit `n` stands for wire version `n` (4: 1.3). None where there is no bitmap element: then
    /// the header's version is the highest one.
    pub versions: Option<u32>,
}

impl Hello {
    /// Offers these versions.
    pub fn offering(versions: &[Version]) -> Self {
        Hello {
            versions: Some(versions.iter().fold(0, |bits, v| bits | 1 << v.to_wire())),
        }
    }

    /// The highest version that both sides speak (6.3.1), given the version byte of the peer's
    /// hello.
    pub fn agree(&self, peer_header_version: u8, ours: &[Version]) -> Option<Version> {
        let speaks = |v: &&Version| match self.versions {
            Some(bits) => bits & (1 << v.to_wire()) != 0,
            None => v.to_wire() == peer_header_version || v.to_wire() < peer_header_version,
        };
        ours.iter().filter(speaks).max().copied()
    }
}

/// OFPT_ERROR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMsg {
    /// Type and code.
    pub error: OfError,
    /// At least the first 64 bytes of the offending message, or text for OFPET_HELLO_FAILED.
    pub data: Vec<u8>,
}

impl ErrorMsg {
    /// About a request, of which the first 64 bytes are given back.
    pub fn about(error: OfError, request: &[u8]) -> Self {
        ErrorMsg {
            error,
            data: request.iter().take(64).copied().collect(),
        }
    }
}

/// OFPC_FLOW_STATS.
pub const CAP_FLOW_STATS: u32 = 1;
/// OFPC_TABLE_STATS.
pub const CAP_TABLE_STATS: u32 = 2;
/// OFPC_PORT_STATS.
pub const CAP_PORT_STATS: u32 = 4;
/// OFPC_GROUP_STATS.
pub const CAP_GROUP_STATS: u32 = 8;
/// OFPC_IP_REASM.
pub const CAP_IP_REASM: u32 = 32;
/// OFPC_QUEUE_STATS.
pub const CAP_QUEUE_STATS: u32 = 64;
/// OFPC_PORT_BLOCKED.
pub const CAP_PORT_BLOCKED: u32 = 256;
/// OFPC_BUNDLES (1.4.1).
pub const CAP_BUNDLES: u32 = 512;
/// OFPC_FLOW_MONITORING (1.4.1).
pub const CAP_FLOW_MONITORING: u32 = 1024;

/// OFPT_FEATURES_REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SwitchFeatures {
    /// Datapath number.
    pub datapath_id: u64,
    /// Packets that can be kept for the controller.
    pub n_buffers: u32,
    /// Tables.
    pub n_tables: u8,
    /// 0 for the main connection.
    pub auxiliary_id: u8,
    /// CAP_*.
    pub capabilities: u32,
}

/// OFPT_SET_CONFIG and OFPT_GET_CONFIG_REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SwitchConfig {
    /// OFPC_FRAG_*: 0 normal, 1 drop, 2 reassemble.
    pub flags: u16,
    /// Bytes of a packet sent to the controller on a table miss.
    pub miss_send_len: u16,
}

/// Why a port status was sent (OFPPR_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // the specification's own names
pub enum PortReason {
    Add = 0,
    Delete = 1,
    Modify = 2,
}

/// OFPT_PORT_STATUS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// What happened.
    pub reason: PortReason,
    /// The port as it is now, or was.
    pub desc: PortDesc,
}

/// OFPT_PORT_MOD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMod {
    /// Which port.
    pub port: PortNo,
    /// Its address, as a check.
    pub hw_addr: MacAddr,
    /// PORT_* bits to set.
    pub config: u32,
    /// PORT_* bits that change.
    pub mask: u32,
    /// OFPPF_* bits; 0: leave alone.
    pub advertise: u32,
    /// Other properties (1.4): optical, an experimenter's.
    pub properties: Vec<RawProperty>,
}

/// OFPCR_ROLE_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Role {
    /// Leave it as it is; asks for the generation.
    NoChange = 0,
    /// Full access, the default.
    Equal = 1,
    /// Full access, one at most (OFPCR_ROLE_MASTER).
    Master = 2,
    /// Reading only (OFPCR_ROLE_SLAVE).
    Slave = 3,
}

/// OFPT_ROLE_REQUEST and its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleRequest {
    /// Role.
    pub role: Role,
    /// Number of the master's election, compared as in RFC 1982 style (6.3.5).
    pub generation_id: u64,
    /// The controller's short identifier (1.5); 0: none.
    pub short_id: u16,
}

/// A queue of a port (OFPT_QUEUE_GET_CONFIG_REPLY; OFPMP_QUEUE_DESC from 1.4 on).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketQueue {
    /// Number.
    pub queue: u32,
    /// Port.
    pub port: PortNo,
    /// Guaranteed rate in 1/10 of a percent; over 1000: disabled.
    pub min_rate: Option<u16>,
    /// Maximum rate in 1/10 of a percent; over 1000: disabled.
    pub max_rate: Option<u16>,
    /// An experimenter's properties.
    pub properties: Vec<RawProperty>,
}
