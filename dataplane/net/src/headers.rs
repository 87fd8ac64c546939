//! Typed views of the headers that the dataplane reads and writes, as they are on the wire.
//!
//! Every view is unaligned and made of bytes or big-endian integers, so that it can be laid over a
//! packet anywhere; [`view`] and [`view_mut`] check the length once.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::MacAddr;

/// Ethertypes (IEEE registration authority).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// Reverse ARP (RFC 903).
    pub const RARP: u16 = 0x8035;
    /// 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad service tag.
    pub const QINQ: u16 = 0x88a8;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// MPLS, unicast (RFC 3032).
    pub const MPLS: u16 = 0x8847;
    /// MPLS, upstream-assigned label (RFC 5332).
    pub const MPLS_MULTICAST: u16 = 0x8848;
    /// 802.1ah backbone service tag.
    pub const PBB: u16 = 0x88e7;
    /// Ethernet inside a tunnel (RFC 8926 3.4, transparent Ethernet bridging).
    pub const BRIDGED: u16 = 0x6558;
    /// What the key holds for a frame with a length instead of a type (as Open vSwitch).
    pub const NONE: u16 = 0x05ff;
    /// Values from here on are types, below lengths (IEEE 802.3, 3.2.6).
    pub const FIRST: u16 = 0x0600;
}

/// IP protocol numbers (IANA).
pub mod proto {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP over IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Encapsulating security payload.
    pub const ESP: u8 = 50;
    /// Authentication header.
    pub const AUTH: u8 = 51;
    /// ICMP over IPv6.
    pub const ICMPV6: u8 = 58;
    /// Nothing follows an IPv6 header.
    pub const NO_NEXT: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// IPv6 mobility header.
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol.
    pub const HIP: u8 = 139;
    /// Shim6.
    pub const SHIM6: u8 = 140;
}

macro_rules! header {
    ($(#[$doc:meta])* $name:ident, $len:literal { $($(#[$field_doc:meta])* $field:ident : $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
        )]
        #[repr(C)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }

        impl $name {
            /// Bytes on the wire.
            pub const LEN: usize = $len;
        }

        const _: () = assert!(size_of::<$name>() == $len);
    };
}

header! {
    /// Ethernet II header (IEEE 802.3, 3.1.1).
    Ethernet, 14 {
        /// Destination.
        dst: MacAddr,
        /// Source.
        src: MacAddr,
        /// Type, or length below 0x600.
        ethertype: U16,
    }
}
header! {
    /// The part of a VLAN tag after its own ethertype (IEEE 802.1Q, 9.6).
    VlanTag, 4 {
        /// Priority (3 bits), drop eligible (1), identifier (12).
        tci: U16,
        /// Ethertype of what follows.
        ethertype: U16,
    }
}
header! {
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp, 28 {
        /// Hardware type; 1 is Ethernet.
        hardware: U16,
        /// Protocol type; 0x0800.
        protocol: U16,
        /// Bytes of a hardware address; 6.
        hardware_len: u8,
        /// Bytes of a protocol address; 4.
        protocol_len: u8,
        /// 1 request, 2 reply.
        operation: U16,
        /// Sender's hardware address.
        sender_mac: MacAddr,
        /// Sender's protocol address.
        sender_ip: [u8; 4],
        /// Target's hardware address.
        target_mac: MacAddr,
        /// Target's protocol address.
        target_ip: [u8; 4],
    }
}
header! {
    /// IPv4 header without options (RFC 791 3.1).
    Ipv4, 20 {
        /// Version (4 bits) and header length in 32-bit words.
        version_ihl: u8,
        /// DSCP and ECN.
        tos: u8,
        /// Bytes of header and payload.
        total_len: U16,
        /// Identification.
        id: U16,
        /// Flags (3 bits) and fragment offset in units of 8 bytes.
        fragment: U16,
        /// Time to live.
        ttl: u8,
        /// Protocol of the payload.
        proto: u8,
        /// Header checksum.
        checksum: U16,
        /// Source.
        src: [u8; 4],
        /// Destination.
        dst: [u8; 4],
    }
}

impl Ipv4 {
    /// Don't fragment, in [`Ipv4::fragment`].
    pub const DONT_FRAGMENT: u16 = 0x4000;
    /// More fragments.
    pub const MORE_FRAGMENTS: u16 = 0x2000;
    /// Offset bits.
    pub const OFFSET_MASK: u16 = 0x1fff;

    /// Header bytes, options included, as the header itself says.
    pub const fn header_len(&self) -> usize {
        (self.version_ihl & 0xf) as usize * 4
    }
}

header! {
    /// IPv6 header (RFC 8200 3).
    Ipv6, 40 {
        /// Version (4 bits), traffic class (8), flow label (20).
        version_class_label: U32,
        /// Bytes after this header.
        payload_len: U16,
        /// Protocol or first extension header.
        next_header: u8,
        /// Hop limit.
        hop_limit: u8,
        /// Source.
        src: [u8; 16],
        /// Destination.
        dst: [u8; 16],
    }
}

impl Ipv6 {
    /// DSCP and ECN.
    pub fn tos(&self) -> u8 {
        (self.version_class_label.get() >> 20) as u8
    }

    /// Flow label, 20 bits.
    pub fn label(&self) -> u32 {
        self.version_class_label.get() & 0xf_ffff
    }
}

header! {
    /// IPv6 fragment header (RFC 8200 4.5).
    Ipv6Fragment, 8 {
        /// What follows.
        next_header: u8,
        /// Zero.
        reserved: u8,
        /// Offset in units of 8 bytes (13 bits), 2 reserved bits, more fragments.
        offset_more: U16,
        /// Identification.
        id: U32,
    }
}
header! {
    /// TCP header without options (RFC 9293 3.1).
    Tcp, 20 {
        /// Source port.
        src: U16,
        /// Destination port.
        dst: U16,
        /// Sequence number.
        seq: U32,
        /// Acknowledgment number.
        ack: U32,
        /// Header length in 32-bit words (4 bits) and flags (12).
        offset_flags: U16,
        /// Window, not scaled.
        window: U16,
        /// Checksum over the pseudo-header and all of the segment.
        checksum: U16,
        /// Urgent pointer.
        urgent: U16,
    }
}

impl Tcp {
    /// Header bytes, options included, as the header itself says.
    pub fn header_len(&self) -> usize {
        usize::from(self.offset_flags.get() >> 12) * 4
    }

    /// The 12 flag bits, reserved ones included.
    pub fn flags(&self) -> u16 {
        self.offset_flags.get() & 0xfff
    }
}

header! {
    /// UDP header (RFC 768).
    Udp, 8 {
        /// Source port.
        src: U16,
        /// Destination port.
        dst: U16,
        /// Bytes of header and payload.
        len: U16,
        /// Checksum; zero is none.
        checksum: U16,
    }
}
header! {
    /// SCTP common header (RFC 9260 3.1).
    Sctp, 12 {
        /// Source port.
        src: U16,
        /// Destination port.
        dst: U16,
        /// Verification tag.
        tag: U32,
        /// CRC32c of the packet, least significant byte first (RFC 9260 appendix A).
        checksum: [u8; 4],
    }
}
header! {
    /// ICMP and ICMPv6 header with its second word (RFC 792, RFC 4443 2.1).
    Icmp, 8 {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Checksum; with a pseudo-header for ICMPv6.
        checksum: U16,
        /// Identifier, in echo messages.
        id: U16,
        /// Sequence number, in echo messages.
        seq: U16,
    }
}
header! {
    /// Geneve header without options (RFC 8926 3.4).
    Geneve, 8 {
        /// Version (2 bits) and option bytes in units of 4.
        version_options: u8,
        /// OAM (0x80) and critical options present (0x40).
        flags: u8,
        /// Ethertype of the payload.
        protocol: U16,
        /// Virtual network identifier in the high 24 bits.
        vni: U32,
    }
}
header! {
    /// VXLAN header (RFC 7348 5).
    Vxlan, 8 {
        /// 0x08: the VNI is valid.
        flags: u8,
        /// Zero.
        reserved: [u8; 3],
        /// Virtual network identifier in the high 24 bits.
        vni: U32,
    }
}

/// A header at a place in a packet, if all of it is there.
#[inline(always)]
pub fn view<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    bytes: &[u8],
    at: usize,
) -> Option<&T> {
    T::ref_from_prefix(bytes.get(at..)?)
        .ok()
        .map(|(header, _)| header)
}

/// A header at a place in a packet, to be changed.
#[inline(always)]
pub fn view_mut<T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned>(
    bytes: &mut [u8],
    at: usize,
) -> Option<&mut T> {
    T::mut_from_prefix(bytes.get_mut(at..)?)
        .ok()
        .map(|(header, _)| header)
}
