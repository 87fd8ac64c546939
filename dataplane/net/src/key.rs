//! The flow key: every header and metadata field that an OpenFlow table can match, in one flat
//! record.
//!
//! All fields are stored in network byte order, so that a match field is a range of bytes (see
//! `openflow::Field::slot`), registers alias as Open vSwitch defines it (`xreg0` is `reg0`
//! followed by `reg1`), a mask has the same type as a key, and comparing a key with a rule is a
//! loop over 64-bit words. The record is the slow path's; the worker's flow cache packs the cheap
//! part of it much tighter.

use zerocopy::big_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{MacAddr, options};

/// Bit of [`FlowKey::vlan_tci`] that says that a tag is there. It stands where the tag's drop
/// eligible indicator is on the wire, as `OFPVID_PRESENT` does (OpenFlow 1.3.5, 7.2.3.8).
pub const VLAN_PRESENT: u16 = 0x1000;

/// [`FlowKey::nw_frag`]: the packet is a fragment (as Open vSwitch's `ip_frag`).
pub const FRAG_ANY: u8 = 1;
/// [`FlowKey::nw_frag`]: the packet is a fragment other than the first.
pub const FRAG_LATER: u8 = 2;

/// Every field a table can match; see the module's text for the representation.
///
/// A field that the packet does not have is zero. Fields of different protocols share a place
/// where no packet has both, as in Open vSwitch: TCP, UDP and SCTP ports and ICMP type and code in
/// `tp_src` and `tp_dst`; ARP addresses in `nw_src`, `nw_dst`, `arp_sha` and `arp_tha`; the ARP
/// operation in `nw_proto`; the neighbour discovery link-layer options in `arp_sha` and `arp_tha`.
/// A match on one of them carries its prerequisites, so the sharing is never visible.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Default, Debug, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// OpenFlow metadata.
    pub metadata: U64,
    /// Tunnel key: a VNI in its low 24 bits for Geneve and VXLAN.
    pub tun_id: U64,
    /// Label of the connection, 128 bits.
    pub ct_label: U128,
    /// Tunnel options, each at the low end; see [`crate::options`].
    pub tun_metadata: [U64; options::FIELDS],
    /// Registers; pairs and quadruples of them are the xregs and xxregs.
    pub regs: [U32; 16],
    /// Source of the connection's original direction, IPv6.
    pub ct_ipv6_src: [u8; 16],
    /// Destination of the connection's original direction, IPv6.
    pub ct_ipv6_dst: [u8; 16],
    /// Outer source, IPv6.
    pub tun_ipv6_src: [u8; 16],
    /// Outer destination, IPv6.
    pub tun_ipv6_dst: [u8; 16],
    /// IPv6 source.
    pub ipv6_src: [u8; 16],
    /// IPv6 destination.
    pub ipv6_dst: [u8; 16],
    /// Target of a neighbour solicitation or advertisement (RFC 4861).
    pub nd_target: [u8; 16],

    /// Port it came in on.
    pub in_port: U32,
    /// Physical port below `in_port`, where they differ.
    pub in_phy_port: U32,
    /// Output of the action set (OpenFlow 1.5).
    pub actset_output: U32,
    /// Packet type (OpenFlow 1.5); 0 is Ethernet.
    pub packet_type: U32,
    /// Connection state bits; see [`ct_state`].
    pub ct_state: U32,
    /// Mark of the connection.
    pub ct_mark: U32,
    /// Source of the connection's original direction, IPv4.
    pub ct_nw_src: U32,
    /// Destination of the connection's original direction, IPv4.
    pub ct_nw_dst: U32,
    /// Outer source, IPv4.
    pub tun_src: U32,
    /// Outer destination, IPv4.
    pub tun_dst: U32,
    /// Packet mark.
    pub pkt_mark: U32,
    /// Hash computed by the datapath.
    pub dp_hash: U32,
    /// Conjunction that matched.
    pub conj_id: U32,
    /// Output queue.
    pub queue: U32,
    /// IPv4 source, or ARP sender protocol address.
    pub nw_src: U32,
    /// IPv4 destination, or ARP target protocol address.
    pub nw_dst: U32,
    /// IPv6 flow label, in the low 20 bits.
    pub ipv6_label: U32,
    /// MPLS label stack entries, outermost first (RFC 3032).
    pub mpls: [U32; 3],
    /// PBB I-TAG: service instance in the low 24 bits (IEEE 802.1ah), UCA in bit 27.
    pub pbb_itag: U32,
    /// Fills up to eight bytes.
    pub pad0: U32,

    /// Destination address.
    pub eth_dst: MacAddr,
    /// Source address.
    pub eth_src: MacAddr,
    /// ARP sender, or neighbour discovery source link-layer address.
    pub arp_sha: MacAddr,
    /// ARP target, or neighbour discovery target link-layer address.
    pub arp_tha: MacAddr,

    /// Ethertype below all tags; 0x05ff where the frame has a length instead (as Open vSwitch).
    pub eth_type: U16,
    /// Outermost tag: priority, [`VLAN_PRESENT`], identifier.
    pub vlan_tci: U16,
    /// Ethertype of the outermost tag, 0 without one.
    pub vlan_tpid: U16,
    /// Second tag, likewise.
    pub vlan_tci2: U16,
    /// Ethertype of the second tag.
    pub vlan_tpid2: U16,
    /// Source port; ICMP and ICMPv6 type.
    pub tp_src: U16,
    /// Destination port; ICMP and ICMPv6 code.
    pub tp_dst: U16,
    /// TCP flags, 12 bits.
    pub tcp_flags: U16,
    /// OFPIEH_* bits (OpenFlow 1.3.5, 7.2.3.8).
    pub ipv6_exthdr: U16,
    /// Zone of the connection.
    pub ct_zone: U16,
    /// Source port of the connection's original direction.
    pub ct_tp_src: U16,
    /// Destination port of the connection's original direction.
    pub ct_tp_dst: U16,
    /// Tunnel flags (bit 0: OAM).
    pub tun_flags: U16,
    /// VXLAN group policy identifier.
    pub tun_gbp_id: U16,

    /// VXLAN group policy flags.
    pub tun_gbp_flags: u8,
    /// Outer DS field.
    pub tun_tos: u8,
    /// Outer time to live.
    pub tun_ttl: u8,
    /// Protocol of the connection's original direction.
    pub ct_nw_proto: u8,
    /// IP protocol below IPv6 extension headers, or the low byte of the ARP operation.
    pub nw_proto: u8,
    /// DS field: DSCP in the high six bits, ECN in the low two.
    pub nw_tos: u8,
    /// IPv4 time to live, IPv6 hop limit.
    pub nw_ttl: u8,
    /// [`FRAG_ANY`] and [`FRAG_LATER`].
    pub nw_frag: u8,
    /// A bit for each of `tun_metadata` that is there.
    pub tun_present: u8,
    /// Fills up to eight bytes.
    pub pad1: [u8; 3],
}

/// 64-bit words in a [`FlowKey`].
pub const KEY_WORDS: usize = size_of::<FlowKey>() / 8;

impl FlowKey {
    /// The key as 64-bit words, for masking and comparing.
    pub fn words(&self) -> &[u64; KEY_WORDS] {
        zerocopy::transmute_ref!(self)
    }

    /// The key as 64-bit words.
    pub fn words_mut(&mut self) -> &mut [u64; KEY_WORDS] {
        zerocopy::transmute_mut!(self)
    }
}

/// Bits of `ct_state`, as Open vSwitch numbers them (ovs-fields(7)).
pub mod ct_state {
    /// New connection, not committed yet.
    pub const NEW: u32 = 1;
    /// Part of an existing connection.
    pub const EST: u32 = 2;
    /// Related to an existing connection, such as an ICMP error.
    pub const REL: u32 = 4;
    /// In the reply direction.
    pub const RPL: u32 = 8;
    /// Could not be identified.
    pub const INV: u32 = 16;
    /// Has been through the connection tracker.
    pub const TRK: u32 = 32;
    /// Source was translated.
    pub const SNAT: u32 = 64;
    /// Destination was translated.
    pub const DNAT: u32 = 128;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_fields_are_two_views_of_one_key() {
        let mut key = FlowKey {
            metadata: U64::new(7),
            ..FlowKey::default()
        };
        assert_eq!(u64::from_be(key.words()[0]), 7);
        key.words_mut()[0] = 9u64.to_be();
        assert_eq!(key.metadata.get(), 9);
    }
}
