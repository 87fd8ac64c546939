//! Match fields: each declared once, with its name, width, wire code, place in the flow key and
//! prerequisites.

// A variant is an index into INFO by construction.
#![allow(clippy::indexing_slicing)]

mod lookup;
mod prereq;
mod slot;
mod subfield;

use std::mem::offset_of;

use net::FlowKey;

pub use lookup::{CLASS_BASIC, CLASS_EXPERIMENTER, CLASS_NXM_0, CLASS_NXM_1, CLASS_REGISTERS};
pub use prereq::Prereq;
pub use slot::Slot;
pub use subfield::SubField;

/// How Open vSwitch writes a field's values in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Decimal, hexadecimal when masked.
    Decimal,
    /// Hexadecimal.
    Hex,
    /// An Ethernet address.
    Mac,
    /// An IPv4 address, masks as prefix lengths where they are ones.
    Ipv4,
    /// An IPv6 address, likewise.
    Ipv6,
    /// A port number or a reserved port's name.
    Port,
    /// `+new-est` and so on.
    CtState,
    /// `+syn-ack` or a number.
    TcpFlags,
    /// `no`, `yes`, `first`, `later`, `not_later`.
    Frag,
    /// Tunnel flags (`oam`).
    TunFlags,
}

/// Everything known of a field.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Name as `ovs-ofctl` prints it in set_field.
    pub name: &'static str,
    /// Name of its header, as in `load:1->NXM_NX_REG0[]`.
    pub header: &'static str,
    /// Other names it accepts (the specification's, older ones).
    pub aliases: &'static [&'static str],
    /// Where it is in the key.
    pub slot: Slot,
    /// Bytes of its value on the wire.
    pub wire_bytes: u8,
    /// OXM class and field of the standard, where it has one.
    pub oxm: Option<(u16, u8)>,
    /// NXM class and field, where it has one.
    pub nxm: Option<(u16, u8)>,
    /// May be matched with an arbitrary mask.
    pub maskable: bool,
    /// May be the target of set_field, load and move.
    pub writable: bool,
    /// What must be matched too.
    pub prereq: Prereq,
    /// How values are written.
    pub format: Format,
}

macro_rules! slot {
    ($member:ident $(. $index:literal)? , $bytes:literal, $shift:literal, $bits:literal) => {
        Slot {
            offset: (offset_of!(FlowKey, $member) $(+ $index * $bytes)?) as u16,
            bytes: $bytes,
            shift: $shift,
            bits: $bits,
        }
    };
}

macro_rules! code {
    (-) => {
        None
    };
    (($class:literal, $field:literal)) => {
        Some(($class, $field))
    };
}

macro_rules! mask {
    (mask) => {
        true
    };
    (exact) => {
        false
    };
}

macro_rules! write {
    (rw) => {
        true
    };
    (ro) => {
        false
    };
}

macro_rules! fields {
    ($(
        $variant:ident $name:literal $header:literal [$($alias:literal),*] $format:ident
        { $member:ident $(. $index:literal)?, $bytes:literal, $shift:literal, $bits:literal }
        $wire:literal $oxm:tt $nxm:tt $mask:ident $write:ident $prereq:ident;
    )*) => {
        /// A match field, by its name in Open vSwitch.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)] // the name is the documentation: ovs-fields(7)
        pub enum Field { $($variant),* }

        impl Field {
            /// Every field, in the order of declaration.
            pub const ALL: &'static [Field] = &[$(Field::$variant),*];

            /// What is known of the field.
            pub const fn info(self) -> &'static Info {
                const INFO: &[Info] = &[$(Info {
                    name: $name,
                    header: $header,
                    aliases: &[$($alias),*],
                    slot: slot!($member $(. $index)?, $bytes, $shift, $bits),
                    wire_bytes: $wire,
                    oxm: code!($oxm),
                    nxm: code!($nxm),
                    maskable: mask!($mask),
                    writable: write!($write),
                    prereq: Prereq::$prereq,
                    format: Format::$format,
                }),*];
                &INFO[self as usize]
            }
        }
    };
}

// Columns: variant, name, name of its header, other names, text format, { member of FlowKey, bytes, shift, bits },
// bytes on the wire, OXM code, NXM code, maskable, writable, prerequisite.
// 0x8000 is OFPXMC_OPENFLOW_BASIC, 0x8001 packet registers (1.5), 0 and 1 the Nicira classes.
fields! {
    InPort "in_port" "OXM_OF_IN_PORT" ["in_port_oxm"] Port { in_port, 4, 0, 32 } 4 (0x8000, 0) - exact rw None;
    InPortNxm "in_port_nxm" "NXM_OF_IN_PORT" [] Port { in_port, 4, 0, 16 } 2 - (0, 0) exact rw None;
    InPhyPort "in_phy_port" "OXM_OF_IN_PHY_PORT" [] Port { in_phy_port, 4, 0, 32 } 4 (0x8000, 1) - exact ro InPort;
    ActsetOutput "actset_output" "ONFOXM_ET_ACTSET_OUTPUT" [] Port { actset_output, 4, 0, 32 } 4 (0x8000, 43) - exact ro None;
    PacketType "packet_type" "OXM_OF_PACKET_TYPE" [] Hex { packet_type, 4, 0, 32 } 4 (0x8000, 44) - exact ro None;
    Metadata "metadata" "OXM_OF_METADATA" [] Hex { metadata, 8, 0, 64 } 8 (0x8000, 2) - mask rw None;
    TunId "tun_id" "NXM_NX_TUN_ID" ["tunnel_id"] Hex { tun_id, 8, 0, 64 } 8 (0x8000, 38) (1, 16) mask rw None;
    TunSrc "tun_src" "NXM_NX_TUN_IPV4_SRC" [] Ipv4 { tun_src, 4, 0, 32 } 4 - (1, 31) mask rw None;
    TunDst "tun_dst" "NXM_NX_TUN_IPV4_DST" [] Ipv4 { tun_dst, 4, 0, 32 } 4 - (1, 32) mask rw None;
    TunIpv6Src "tun_ipv6_src" "NXM_NX_TUN_IPV6_SRC" [] Ipv6 { tun_ipv6_src, 16, 0, 128 } 16 - (1, 109) mask rw None;
    TunIpv6Dst "tun_ipv6_dst" "NXM_NX_TUN_IPV6_DST" [] Ipv6 { tun_ipv6_dst, 16, 0, 128 } 16 - (1, 110) mask rw None;
    TunFlags "tun_flags" "NXM_NX_TUN_FLAGS" [] TunFlags { tun_flags, 2, 0, 1 } 2 - (1, 104) mask rw None;
    TunGbpId "tun_gbp_id" "NXM_NX_TUN_GBP_ID" [] Decimal { tun_gbp_id, 2, 0, 16 } 2 - (1, 38) mask rw None;
    TunGbpFlags "tun_gbp_flags" "NXM_NX_TUN_GBP_FLAGS" [] Hex { tun_gbp_flags, 1, 0, 8 } 1 - (1, 39) mask rw None;
    TunMetadata0 "tun_metadata0" "NXM_NX_TUN_METADATA0" [] Hex { tun_metadata.0, 8, 0, 64 } 124 - (1, 40) mask rw None;
    TunMetadata1 "tun_metadata1" "NXM_NX_TUN_METADATA1" [] Hex { tun_metadata.1, 8, 0, 64 } 124 - (1, 41) mask rw None;
    TunMetadata2 "tun_metadata2" "NXM_NX_TUN_METADATA2" [] Hex { tun_metadata.2, 8, 0, 64 } 124 - (1, 42) mask rw None;
    TunMetadata3 "tun_metadata3" "NXM_NX_TUN_METADATA3" [] Hex { tun_metadata.3, 8, 0, 64 } 124 - (1, 43) mask rw None;
    TunMetadata4 "tun_metadata4" "NXM_NX_TUN_METADATA4" [] Hex { tun_metadata.4, 8, 0, 64 } 124 - (1, 44) mask rw None;
    TunMetadata5 "tun_metadata5" "NXM_NX_TUN_METADATA5" [] Hex { tun_metadata.5, 8, 0, 64 } 124 - (1, 45) mask rw None;
    TunMetadata6 "tun_metadata6" "NXM_NX_TUN_METADATA6" [] Hex { tun_metadata.6, 8, 0, 64 } 124 - (1, 46) mask rw None;
    TunMetadata7 "tun_metadata7" "NXM_NX_TUN_METADATA7" [] Hex { tun_metadata.7, 8, 0, 64 } 124 - (1, 47) mask rw None;
    PktMark "pkt_mark" "NXM_NX_PKT_MARK" [] Hex { pkt_mark, 4, 0, 32 } 4 - (1, 33) mask rw None;
    DpHash "dp_hash" "NXM_NX_DP_HASH" [] Hex { dp_hash, 4, 0, 32 } 4 - (1, 35) mask ro None;
    ConjId "conj_id" "NXM_NX_CONJ_ID" [] Decimal { conj_id, 4, 0, 32 } 4 - (1, 37) exact ro None;
    CtState "ct_state" "NXM_NX_CT_STATE" [] CtState { ct_state, 4, 0, 8 } 4 - (1, 105) mask ro None;
    CtZone "ct_zone" "NXM_NX_CT_ZONE" [] Decimal { ct_zone, 2, 0, 16 } 2 - (1, 106) exact ro None;
    CtMark "ct_mark" "NXM_NX_CT_MARK" [] Hex { ct_mark, 4, 0, 32 } 4 - (1, 107) mask rw None;
    CtLabel "ct_label" "NXM_NX_CT_LABEL" [] Hex { ct_label, 16, 0, 128 } 16 - (1, 108) mask rw None;
    CtNwProto "ct_nw_proto" "NXM_NX_CT_NW_PROTO" [] Decimal { ct_nw_proto, 1, 0, 8 } 1 - (1, 119) exact ro Ip;
    CtNwSrc "ct_nw_src" "NXM_NX_CT_NW_SRC" [] Ipv4 { ct_nw_src, 4, 0, 32 } 4 - (1, 120) mask ro Ipv4;
    CtNwDst "ct_nw_dst" "NXM_NX_CT_NW_DST" [] Ipv4 { ct_nw_dst, 4, 0, 32 } 4 - (1, 121) mask ro Ipv4;
    CtIpv6Src "ct_ipv6_src" "NXM_NX_CT_IPV6_SRC" [] Ipv6 { ct_ipv6_src, 16, 0, 128 } 16 - (1, 122) mask ro Ipv6;
    CtIpv6Dst "ct_ipv6_dst" "NXM_NX_CT_IPV6_DST" [] Ipv6 { ct_ipv6_dst, 16, 0, 128 } 16 - (1, 123) mask ro Ipv6;
    CtTpSrc "ct_tp_src" "NXM_NX_CT_TP_SRC" [] Decimal { ct_tp_src, 2, 0, 16 } 2 - (1, 124) mask ro Ip;
    CtTpDst "ct_tp_dst" "NXM_NX_CT_TP_DST" [] Decimal { ct_tp_dst, 2, 0, 16 } 2 - (1, 125) mask ro Ip;
    Reg0 "reg0" "NXM_NX_REG0" [] Hex { regs.0, 4, 0, 32 } 4 - (1, 0) mask rw None;
    Reg1 "reg1" "NXM_NX_REG1" [] Hex { regs.1, 4, 0, 32 } 4 - (1, 1) mask rw None;
    Reg2 "reg2" "NXM_NX_REG2" [] Hex { regs.2, 4, 0, 32 } 4 - (1, 2) mask rw None;
    Reg3 "reg3" "NXM_NX_REG3" [] Hex { regs.3, 4, 0, 32 } 4 - (1, 3) mask rw None;
    Reg4 "reg4" "NXM_NX_REG4" [] Hex { regs.4, 4, 0, 32 } 4 - (1, 4) mask rw None;
    Reg5 "reg5" "NXM_NX_REG5" [] Hex { regs.5, 4, 0, 32 } 4 - (1, 5) mask rw None;
    Reg6 "reg6" "NXM_NX_REG6" [] Hex { regs.6, 4, 0, 32 } 4 - (1, 6) mask rw None;
    Reg7 "reg7" "NXM_NX_REG7" [] Hex { regs.7, 4, 0, 32 } 4 - (1, 7) mask rw None;
    Reg8 "reg8" "NXM_NX_REG8" [] Hex { regs.8, 4, 0, 32 } 4 - (1, 8) mask rw None;
    Reg9 "reg9" "NXM_NX_REG9" [] Hex { regs.9, 4, 0, 32 } 4 - (1, 9) mask rw None;
    Reg10 "reg10" "NXM_NX_REG10" [] Hex { regs.10, 4, 0, 32 } 4 - (1, 10) mask rw None;
    Reg11 "reg11" "NXM_NX_REG11" [] Hex { regs.11, 4, 0, 32 } 4 - (1, 11) mask rw None;
    Reg12 "reg12" "NXM_NX_REG12" [] Hex { regs.12, 4, 0, 32 } 4 - (1, 12) mask rw None;
    Reg13 "reg13" "NXM_NX_REG13" [] Hex { regs.13, 4, 0, 32 } 4 - (1, 13) mask rw None;
    Reg14 "reg14" "NXM_NX_REG14" [] Hex { regs.14, 4, 0, 32 } 4 - (1, 14) mask rw None;
    Reg15 "reg15" "NXM_NX_REG15" [] Hex { regs.15, 4, 0, 32 } 4 - (1, 15) mask rw None;
    Xreg0 "xreg0" "OXM_OF_PKT_REG0" [] Hex { regs.0, 8, 0, 64 } 8 (0x8001, 0) - mask rw None;
    Xreg1 "xreg1" "OXM_OF_PKT_REG1" [] Hex { regs.1, 8, 0, 64 } 8 (0x8001, 1) - mask rw None;
    Xreg2 "xreg2" "OXM_OF_PKT_REG2" [] Hex { regs.2, 8, 0, 64 } 8 (0x8001, 2) - mask rw None;
    Xreg3 "xreg3" "OXM_OF_PKT_REG3" [] Hex { regs.3, 8, 0, 64 } 8 (0x8001, 3) - mask rw None;
    Xreg4 "xreg4" "OXM_OF_PKT_REG4" [] Hex { regs.4, 8, 0, 64 } 8 (0x8001, 4) - mask rw None;
    Xreg5 "xreg5" "OXM_OF_PKT_REG5" [] Hex { regs.5, 8, 0, 64 } 8 (0x8001, 5) - mask rw None;
    Xreg6 "xreg6" "OXM_OF_PKT_REG6" [] Hex { regs.6, 8, 0, 64 } 8 (0x8001, 6) - mask rw None;
    Xreg7 "xreg7" "OXM_OF_PKT_REG7" [] Hex { regs.7, 8, 0, 64 } 8 (0x8001, 7) - mask rw None;
    Xxreg0 "xxreg0" "NXM_NX_XXREG0" [] Hex { regs.0, 16, 0, 128 } 16 - (1, 111) mask rw None;
    Xxreg1 "xxreg1" "NXM_NX_XXREG1" [] Hex { regs.1, 16, 0, 128 } 16 - (1, 112) mask rw None;
    Xxreg2 "xxreg2" "NXM_NX_XXREG2" [] Hex { regs.2, 16, 0, 128 } 16 - (1, 113) mask rw None;
    Xxreg3 "xxreg3" "NXM_NX_XXREG3" [] Hex { regs.3, 16, 0, 128 } 16 - (1, 114) mask rw None;
    EthSrc "eth_src" "NXM_OF_ETH_SRC" ["dl_src"] Mac { eth_src, 6, 0, 48 } 6 (0x8000, 4) (0, 2) mask rw None;
    EthDst "eth_dst" "NXM_OF_ETH_DST" ["dl_dst"] Mac { eth_dst, 6, 0, 48 } 6 (0x8000, 3) (0, 1) mask rw None;
    EthType "eth_type" "NXM_OF_ETH_TYPE" ["dl_type"] Hex { eth_type, 2, 0, 16 } 2 (0x8000, 5) (0, 3) exact rw None;
    VlanTci "vlan_tci" "NXM_OF_VLAN_TCI" [] Hex { vlan_tci, 2, 0, 16 } 2 - (0, 4) mask rw None;
    VlanVid "vlan_vid" "OXM_OF_VLAN_VID" [] Decimal { vlan_tci, 2, 0, 13 } 2 (0x8000, 6) - mask rw None;
    VlanPcp "vlan_pcp" "OXM_OF_VLAN_PCP" ["dl_vlan_pcp"] Decimal { vlan_tci, 2, 13, 3 } 1 (0x8000, 7) - exact rw Vlan;
    MplsLabel "mpls_label" "OXM_OF_MPLS_LABEL" [] Decimal { mpls.0, 4, 12, 20 } 4 (0x8000, 34) - exact rw Mpls;
    MplsTc "mpls_tc" "OXM_OF_MPLS_TC" [] Decimal { mpls.0, 4, 9, 3 } 1 (0x8000, 35) - exact rw Mpls;
    MplsBos "mpls_bos" "OXM_OF_MPLS_BOS" [] Decimal { mpls.0, 4, 8, 1 } 1 (0x8000, 36) - exact rw Mpls;
    MplsTtl "mpls_ttl" "NXM_NX_MPLS_TTL" [] Decimal { mpls.0, 4, 0, 8 } 1 - (1, 30) exact rw Mpls;
    PbbIsid "pbb_isid" "OXM_OF_PBB_ISID" [] Hex { pbb_itag, 4, 0, 24 } 3 (0x8000, 37) - mask rw Pbb;
    PbbUca "pbb_uca" "OXM_OF_PBB_UCA" [] Decimal { pbb_itag, 4, 27, 1 } 1 (0x8000, 41) - exact rw Pbb;
    Ipv4Src "ip_src" "NXM_OF_IP_SRC" ["nw_src", "ipv4_src"] Ipv4 { nw_src, 4, 0, 32 } 4 (0x8000, 11) (0, 7) mask rw Ipv4;
    Ipv4Dst "ip_dst" "NXM_OF_IP_DST" ["nw_dst", "ipv4_dst"] Ipv4 { nw_dst, 4, 0, 32 } 4 (0x8000, 12) (0, 8) mask rw Ipv4;
    Ipv6Src "ipv6_src" "NXM_NX_IPV6_SRC" [] Ipv6 { ipv6_src, 16, 0, 128 } 16 (0x8000, 26) (1, 19) mask rw Ipv6;
    Ipv6Dst "ipv6_dst" "NXM_NX_IPV6_DST" [] Ipv6 { ipv6_dst, 16, 0, 128 } 16 (0x8000, 27) (1, 20) mask rw Ipv6;
    Ipv6Label "ipv6_label" "NXM_NX_IPV6_LABEL" ["ipv6_flabel"] Hex { ipv6_label, 4, 0, 20 } 4 (0x8000, 28) (1, 27) mask rw Ipv6;
    Ipv6Exthdr "ipv6_exthdr" "OXM_OF_IPV6_EXTHDR" [] Hex { ipv6_exthdr, 2, 0, 9 } 2 (0x8000, 39) - mask ro Ipv6;
    IpProto "nw_proto" "NXM_OF_IP_PROTO" ["ip_proto"] Decimal { nw_proto, 1, 0, 8 } 1 (0x8000, 10) (0, 6) exact rw Ip;
    IpTos "nw_tos" "NXM_OF_IP_TOS" [] Decimal { nw_tos, 1, 0, 8 } 1 - (0, 5) exact rw Ip;
    IpDscp "ip_dscp" "OXM_OF_IP_DSCP" [] Decimal { nw_tos, 1, 2, 6 } 1 (0x8000, 8) - exact rw Ip;
    IpEcn "nw_ecn" "NXM_NX_IP_ECN" ["ip_ecn"] Decimal { nw_tos, 1, 0, 2 } 1 (0x8000, 9) (1, 28) exact rw Ip;
    IpTtl "nw_ttl" "NXM_NX_IP_TTL" ["ip_ttl"] Decimal { nw_ttl, 1, 0, 8 } 1 - (1, 29) exact rw Ip;
    IpFrag "ip_frag" "NXM_NX_IP_FRAG" ["nw_frag"] Frag { nw_frag, 1, 0, 2 } 1 - (1, 26) mask ro Ip;
    ArpOp "arp_op" "NXM_OF_ARP_OP" [] Decimal { nw_proto, 1, 0, 8 } 2 (0x8000, 21) (0, 15) exact rw Arp;
    ArpSpa "arp_spa" "NXM_OF_ARP_SPA" [] Ipv4 { nw_src, 4, 0, 32 } 4 (0x8000, 22) (0, 16) mask rw Arp;
    ArpTpa "arp_tpa" "NXM_OF_ARP_TPA" [] Ipv4 { nw_dst, 4, 0, 32 } 4 (0x8000, 23) (0, 17) mask rw Arp;
    ArpSha "arp_sha" "NXM_NX_ARP_SHA" [] Mac { arp_sha, 6, 0, 48 } 6 (0x8000, 24) (1, 17) mask rw Arp;
    ArpTha "arp_tha" "NXM_NX_ARP_THA" [] Mac { arp_tha, 6, 0, 48 } 6 (0x8000, 25) (1, 18) mask rw Arp;
    TcpSrc "tcp_src" "NXM_OF_TCP_SRC" ["tp_src"] Decimal { tp_src, 2, 0, 16 } 2 (0x8000, 13) (0, 9) mask rw Tcp;
    TcpDst "tcp_dst" "NXM_OF_TCP_DST" ["tp_dst"] Decimal { tp_dst, 2, 0, 16 } 2 (0x8000, 14) (0, 10) mask rw Tcp;
    TcpFlags "tcp_flags" "NXM_NX_TCP_FLAGS" [] TcpFlags { tcp_flags, 2, 0, 12 } 2 (0x8000, 42) (1, 34) mask ro Tcp;
    UdpSrc "udp_src" "NXM_OF_UDP_SRC" [] Decimal { tp_src, 2, 0, 16 } 2 (0x8000, 15) (0, 11) mask rw Udp;
    UdpDst "udp_dst" "NXM_OF_UDP_DST" [] Decimal { tp_dst, 2, 0, 16 } 2 (0x8000, 16) (0, 12) mask rw Udp;
    SctpSrc "sctp_src" "OXM_OF_SCTP_SRC" [] Decimal { tp_src, 2, 0, 16 } 2 (0x8000, 17) - mask rw Sctp;
    SctpDst "sctp_dst" "OXM_OF_SCTP_DST" [] Decimal { tp_dst, 2, 0, 16 } 2 (0x8000, 18) - mask rw Sctp;
    IcmpType "icmp_type" "NXM_OF_ICMP_TYPE" ["icmpv4_type"] Decimal { tp_src, 2, 0, 8 } 1 (0x8000, 19) (0, 13) exact rw Icmpv4;
    IcmpCode "icmp_code" "NXM_OF_ICMP_CODE" ["icmpv4_code"] Decimal { tp_dst, 2, 0, 8 } 1 (0x8000, 20) (0, 14) exact rw Icmpv4;
    Icmpv6Type "icmpv6_type" "NXM_NX_ICMPV6_TYPE" [] Decimal { tp_src, 2, 0, 8 } 1 (0x8000, 29) (1, 21) exact rw Icmpv6;
    Icmpv6Code "icmpv6_code" "NXM_NX_ICMPV6_CODE" [] Decimal { tp_dst, 2, 0, 8 } 1 (0x8000, 30) (1, 22) exact rw Icmpv6;
    NdTarget "nd_target" "NXM_NX_ND_TARGET" ["ipv6_nd_target"] Ipv6 { nd_target, 16, 0, 128 } 16 (0x8000, 31) (1, 23) mask rw Nd;
    NdSll "nd_sll" "NXM_NX_ND_SLL" ["ipv6_nd_sll"] Mac { arp_sha, 6, 0, 48 } 6 (0x8000, 32) (1, 24) mask rw NdSolicit;
    NdTll "nd_tll" "NXM_NX_ND_TLL" ["ipv6_nd_tll"] Mac { arp_tha, 6, 0, 48 } 6 (0x8000, 33) (1, 25) mask rw NdAdvert;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_holds_its_field_and_names_are_unique() {
        let mut names = std::collections::BTreeSet::new();
        for field in Field::ALL {
            let info = field.info();
            assert!(
                info.slot.shift + info.slot.bits <= info.slot.bytes * 8,
                "{}",
                info.name
            );
            assert!(
                usize::from(info.slot.offset) + usize::from(info.slot.bytes)
                    <= size_of::<FlowKey>()
            );
            assert!(info.oxm.is_some() || info.nxm.is_some(), "{}", info.name);
            for name in info.aliases.iter().chain([&info.name]) {
                assert!(names.insert(*name), "{name} twice");
            }
            for code in [info.oxm, info.nxm].into_iter().flatten() {
                assert_eq!(Field::from_code(code.0, code.1), Some(*field));
            }
            assert_eq!(Field::from_name(info.name), Some(*field));
            let mut key = FlowKey::default();
            info.slot.set(&mut key, u128::MAX, u128::MAX);
            assert_eq!(info.slot.get(&key), info.slot.ones(), "{}", info.name);
        }
    }
}
