//! What the parser finds besides the key: where headers are, and what is wrong with them.

use core::fmt;

/// Where the headers of a packet are. Offsets are from the packet's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Layout {
    /// What the network header is.
    pub network: Network,
    /// What the transport header is; none in later fragments and where it is broken.
    pub transport: Transport,
    /// VLAN tags before the network header, at most 2.
    pub vlan_tags: u8,
    /// An IPv6 routing header with segments left: the transport checksum covers another
    /// destination than the IPv6 header names (RFC 8200 8.1).
    pub source_routed: bool,
    /// First byte after Ethernet header and tags, where the network header is.
    pub l3: u16,
    /// First byte of the transport header, or of what follows the network header.
    pub l4: u16,
    /// First byte after the transport header and its options.
    pub payload: u16,
    /// Identifier of an ICMP or ICMPv6 echo message, else 0.
    pub icmp_id: u16,
    /// Where the IP packet ends; anything after it is Ethernet padding.
    pub end: u32,
    /// Fragment information, for fragments only.
    pub fragment: Option<Fragment>,
    /// What was wrong, if anything was.
    pub malformed: Option<Malformed>,
}

/// The network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Network {
    /// Not one of these, or broken.
    #[default]
    None,
    /// ARP or RARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// An MPLS label stack.
    Mpls,
    /// A PBB I-TAG, with a whole Ethernet frame behind it.
    Pbb,
}

/// The transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transport {
    /// Not one of these, not there (later fragment), or broken.
    #[default]
    None,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP over IPv4.
    Icmp,
    /// ICMPv6 over IPv6.
    Icmpv6,
}

/// What makes a packet a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification.
    pub id: u32,
    /// Offset in bytes; 0 in the first fragment.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
}

/// Why a packet, or a part of it, could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Shorter than an Ethernet header.
    Ethernet,
    /// The headers do not fit in the first [`HEADER_BYTES`].
    HeadersTooLong,
    /// A VLAN tag is cut off.
    Vlan,
    /// ARP that is cut off.
    Arp,
    /// An MPLS label stack or a PBB tag that is cut off.
    Label,
    /// IPv4 header cut off, of another version, or with an impossible header length.
    Ipv4Header,
    /// IPv4 total length beyond the frame, or below its own header.
    Ipv4Length,
    /// IPv6 header cut off or of another version.
    Ipv6Header,
    /// IPv6 payload length beyond the frame.
    Ipv6Length,
    /// An IPv6 extension header that is cut off.
    Ipv6Extension,
    /// TCP header cut off, or with an impossible header length.
    Tcp,
    /// UDP header cut off, or with an impossible length.
    Udp,
    /// SCTP header cut off.
    Sctp,
    /// ICMP or ICMPv6 header cut off.
    Icmp,
}

impl Malformed {
    /// Every reason, for counters indexed by `reason as usize`.
    pub const ALL: [Malformed; 14] = [
        Malformed::Ethernet,
        Malformed::HeadersTooLong,
        Malformed::Vlan,
        Malformed::Arp,
        Malformed::Label,
        Malformed::Ipv4Header,
        Malformed::Ipv4Length,
        Malformed::Ipv6Header,
        Malformed::Ipv6Length,
        Malformed::Ipv6Extension,
        Malformed::Tcp,
        Malformed::Udp,
        Malformed::Sctp,
        Malformed::Icmp,
    ];

    /// A short name for counters and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Malformed::Ethernet => "short_frame",
            Malformed::HeadersTooLong => "headers_too_long",
            Malformed::Vlan => "bad_vlan_tag",
            Malformed::Arp => "bad_arp",
            Malformed::Label => "bad_label",
            Malformed::Ipv4Header => "bad_ipv4_header",
            Malformed::Ipv4Length => "bad_ipv4_length",
            Malformed::Ipv6Header => "bad_ipv6_header",
            Malformed::Ipv6Length => "bad_ipv6_length",
            Malformed::Ipv6Extension => "bad_ipv6_extension",
            Malformed::Tcp => "bad_tcp_header",
            Malformed::Udp => "bad_udp_header",
            Malformed::Sctp => "bad_sctp_header",
            Malformed::Icmp => "bad_icmp_header",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Malformed {}
