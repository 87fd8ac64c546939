//! Headers of any kind put on and taken off: the `encap` and `decap` actions (ovs-actions(7)).

/// Kinds of packets: a name space in the high 16 bits, a type in the low ones (OpenFlow 1.5.1, 7.2.3.11).
pub mod packet_type {
    /// Ethernet.
    pub const ETHERNET: u32 = 0;
    /// A network service header (RFC 8300).
    pub const NSH: u32 = 0x0001_894f;
    /// An MPLS label, unicast.
    pub const MPLS: u32 = 0x0001_8847;
    /// An MPLS label, multicast.
    pub const MPLS_MULTICAST: u32 = 0x0001_8848;
    /// In `decap`: whatever the header says follows it.
    pub const NEXT: u32 = 0x0000_fffe;

    /// That of what an ethertype announces.
    pub const fn of_ethertype(ethertype: u16) -> u32 {
        0x0001_0000 | ethertype as u32
    }

    /// The ethertype, for packets that begin with what one announces.
    pub const fn ethertype(packet_type: u32) -> Option<u16> {
        match packet_type >> 16 {
            1 => Some(packet_type as u16),
            _ => None,
        }
    }
}

/// Put a header in front (NXAST_ENCAP).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Encap {
    /// The header, and the kind of packet that it makes: one of [`packet_type`].
    pub packet_type: u32,
    /// Bytes of the header; 0: as many as it needs.
    pub hdr_size: u16,
    /// What stands in the header.
    pub properties: Vec<EncapProperty>,
}

/// Something that stands in a header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EncapProperty {
    /// Type of a network service header's metadata.
    NshMdType(u8),
    /// Metadata of a network service header.
    NshTlv {
        /// Class.
        class: u16,
        /// Type.
        kind: u8,
        /// Value.
        data: Vec<u8>,
    },
}
