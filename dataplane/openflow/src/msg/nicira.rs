//! Messages of Open vSwitch's own: tunnel options, connections to forget (nicira-ext.h).

use std::net::IpAddr;

/// Which tunnel option a `tun_metadata` field is (`nx_tlv_map`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlvMap {
    /// Class of the option.
    pub class: u16,
    /// Its type.
    pub kind: u8,
    /// Length of its value, bytes: a multiple of 4, at most 124.
    pub len: u8,
    /// Number of the field: `tun_metadataN`.
    pub index: u16,
}

/// NXTTMC_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum TlvCommand {
    /// New mappings; fails if one of the options or fields is mapped.
    Add = 0,
    /// Removes the fields' mappings.
    Delete = 1,
    /// Removes all mappings.
    Clear = 2,
}

/// NXT_TLV_TABLE_MOD (24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvTableMod {
    /// What to do.
    pub command: TlvCommand,
    /// With which.
    pub maps: Vec<TlvMap>,
}

/// NXT_TLV_TABLE_REPLY (26).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TlvTable {
    /// Bytes of options there is room for.
    pub max_space: u32,
    /// How many fields there are.
    pub max_fields: u16,
    /// What is mapped.
    pub maps: Vec<TlvMap>,
}

/// NXT_CT_FLUSH (32): forget the connections that agree with all of this.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CtFlush {
    /// IP protocol; 0: whichever.
    pub proto: u8,
    /// In the original direction.
    pub original: CtTuple,
    /// In the reply's direction.
    pub reply: CtTuple,
    /// Zone; none: every one.
    pub zone: Option<u16>,
    /// Mark and its mask.
    pub mark: Option<(u32, u32)>,
    /// Label and its mask.
    pub label: Option<(u128, u128)>,
}

/// One direction of a connection; what is none matches everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct CtTuple {
    /// Source.
    pub src: Option<IpAddr>,
    /// Destination.
    pub dst: Option<IpAddr>,
    /// Port.
    pub src_port: Option<u16>,
    /// Port.
    pub dst_port: Option<u16>,
    /// ICMP identifier.
    pub icmp_id: Option<u16>,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
}

impl CtTuple {
    /// True where it matches everything.
    pub fn is_empty(&self) -> bool {
        *self == CtTuple::default()
    }
}
