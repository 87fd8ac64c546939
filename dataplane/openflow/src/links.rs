//! Choice of one of several links by a hash: the `multipath`, `bundle` and `bundle_load` actions
//! (ovs-actions(7)).

use net::PortNo;

use crate::SubField;

/// Most members of a bundle (Open vSwitch's BUNDLE_MAX_MEMBERS).
pub const MAX_MEMBERS: usize = 2048;

/// What goes into the hash (NX_HASH_FIELDS_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum HashFields {
    /// The source MAC address.
    EthSrc = 0,
    /// MAC addresses, VLANs, ethertype, IP addresses and protocol, TCP and SCTP ports; both
    /// directions alike.
    SymmetricL4 = 1,
    /// IP addresses, protocol, TCP and SCTP ports; both directions alike.
    SymmetricL3L4 = 2,
    /// Likewise, and UDP ports.
    SymmetricL3L4Udp = 3,
    /// The source IP address.
    NwSrc = 4,
    /// The destination IP address.
    NwDst = 5,
    /// IP addresses; both directions alike.
    SymmetricL3 = 6,
}

impl HashFields {
    /// Every one, with its name in text.
    pub const ALL: [(HashFields, &'static str); 7] = [
        (HashFields::EthSrc, "eth_src"),
        (HashFields::SymmetricL4, "symmetric_l4"),
        (HashFields::SymmetricL3L4, "symmetric_l3l4"),
        (HashFields::SymmetricL3L4Udp, "symmetric_l3l4+udp"),
        (HashFields::NwSrc, "nw_src"),
        (HashFields::NwDst, "nw_dst"),
        (HashFields::SymmetricL3, "symmetric_l3"),
    ];
}

/// How `multipath` makes a link's number of a hash (NX_MP_ALG_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum MultipathAlgorithm {
    /// Remainder of the division by the number of links.
    ModuloN = 0,
    /// Equal slices of the hash's range.
    HashThreshold = 1,
    /// Highest random weight.
    Hrw = 2,
    /// Hashed again until it is a link's number.
    IterHash = 3,
}

impl MultipathAlgorithm {
    /// Every one, with its name in text.
    pub const ALL: [(MultipathAlgorithm, &'static str); 4] = [
        (MultipathAlgorithm::ModuloN, "modulo_n"),
        (MultipathAlgorithm::HashThreshold, "hash_threshold"),
        (MultipathAlgorithm::Hrw, "hrw"),
        (MultipathAlgorithm::IterHash, "iter_hash"),
    ];
}

/// Write the number of a link, chosen by a hash, to a field (NXAST_MULTIPATH).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Multipath {
    /// What is hashed.
    pub fields: HashFields,
    /// Varies the hash.
    pub basis: u16,
    /// How a link is chosen.
    pub algorithm: MultipathAlgorithm,
    /// Number of links, less one.
    pub max_link: u16,
    /// Argument of [`MultipathAlgorithm::IterHash`].
    pub arg: u32,
    /// Where the link's number goes, from 0; wide enough for the greatest.
    pub dst: SubField,
}

/// How `bundle` chooses a member (NX_BD_ALG_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum BundleAlgorithm {
    /// The first that is up.
    ActiveBackup = 0,
    /// Highest random weight among those that are up.
    Hrw = 1,
}

impl BundleAlgorithm {
    /// Every one, with its name in text.
    pub const ALL: [(BundleAlgorithm, &'static str); 2] = [
        (BundleAlgorithm::ActiveBackup, "active_backup"),
        (BundleAlgorithm::Hrw, "hrw"),
    ];
}

/// Send to one of several ports, or write its number to a field (NXAST_BUNDLE, NXAST_BUNDLE_LOAD).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bundle {
    /// What is hashed.
    pub fields: HashFields,
    /// Varies the hash.
    pub basis: u16,
    /// How a member is chosen.
    pub algorithm: BundleAlgorithm,
    /// Where the port's number goes, 0xffff if no member is up; none: send to it.
    pub dst: Option<SubField>,
    /// The ports, at most [`MAX_MEMBERS`]; [`PortNo::ANY`] is one that is never up.
    pub members: Vec<PortNo>,
}
