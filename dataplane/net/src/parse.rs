//! From packet bytes to a [`FlowKey`] and a [`Layout`]: the complete parser, used by the slow path
//! and as the twin of [`crate::exact`].
//!
//! The parser is tolerant: a packet whose deeper headers are broken still has its key down to the
//! last good header, and [`Layout::malformed`] says what was wrong. Only a frame without an
//! Ethernet header is refused.

use core::fmt;

use zerocopy::big_endian::{U16, U32};

use crate::headers::{
    Arp, Ethernet, Icmp, Ipv4, Ipv6, Ipv6Fragment, Sctp, Tcp, Udp, VlanTag, ethertype, proto, view,
};
use crate::key::{FRAG_ANY, FRAG_LATER, VLAN_PRESENT};
use crate::{FlowKey, MacAddr};

/// Headers are looked for in this many bytes. A caller makes the smaller of this and the packet's
/// length contiguous before parsing; headers that reach further are [`Malformed::HeadersTooLong`].
pub const HEADER_BYTES: usize = 256;

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

/// Reads every header of a packet whose first bytes are `head` and whose length is `total_len`.
///
/// All header fields of the key are written, those that the packet does not have as zero. Fields
/// that are not in the packet (ports, tunnel, registers, metadata, connection) are left alone.
///
/// # Errors
/// [`Malformed::Ethernet`] only; other faults are in [`Layout::malformed`].
pub fn extract(head: &[u8], total_len: usize, key: &mut FlowKey) -> Result<Layout, Malformed> {
    clear(key);
    let total_len = total_len.max(head.len());
    let mut layout = Layout {
        end: total_len as u32,
        ..Layout::default()
    };
    let ethernet: &Ethernet = view(head, 0).ok_or(Malformed::Ethernet)?;
    key.eth_dst = ethernet.dst;
    key.eth_src = ethernet.src;

    let mut reader = Reader {
        // What lies past HEADER_BYTES is not looked at even if it happens to be contiguous: a
        // packet must parse alike however it is cut into segments.
        head: head.get(..HEADER_BYTES).unwrap_or(head),
        total_len,
    };
    let fault = link(&mut reader, key, &mut layout, ethernet.ethertype.get())
        .and_then(|next| match next {
            Network::Arp => arp(&reader, key, &mut layout),
            Network::Ipv4 => ipv4(&mut reader, key, &mut layout),
            Network::Ipv6 => ipv6(&mut reader, key, &mut layout),
            Network::Mpls => mpls(&reader, key, &mut layout),
            Network::None => Ok(()),
        })
        .err();
    layout.malformed = fault;
    Ok(layout)
}

/// The headers seen so far of the packet. `total_len` shrinks to the IP packet's end once that is
/// known.
struct Reader<'a> {
    head: &'a [u8],
    total_len: usize,
}

impl<'a> Reader<'a> {
    /// The header at `at`, which must lie in the packet and in its first bytes.
    fn header<T>(&self, at: usize, fault: Malformed) -> Result<&'a T, Malformed>
    where
        T: zerocopy::FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
    {
        self.present(at, size_of::<T>(), fault)?;
        view(self.head, at).ok_or(Malformed::HeadersTooLong)
    }

    /// Checks that `len` bytes from `at` are there, and contiguous.
    fn present(&self, at: usize, len: usize, fault: Malformed) -> Result<(), Malformed> {
        if at + len > self.total_len {
            Err(fault)
        } else if at + len > self.head.len() {
            Err(Malformed::HeadersTooLong)
        } else {
            Ok(())
        }
    }
}

fn clear(key: &mut FlowKey) {
    key.ipv6_src = [0; 16];
    key.ipv6_dst = [0; 16];
    key.nd_target = [0; 16];
    key.nw_src = U32::ZERO;
    key.nw_dst = U32::ZERO;
    key.ipv6_label = U32::ZERO;
    key.mpls = [U32::ZERO; 3];
    key.pbb_itag = U32::ZERO;
    key.eth_dst = MacAddr::ZERO;
    key.eth_src = MacAddr::ZERO;
    key.arp_sha = MacAddr::ZERO;
    key.arp_tha = MacAddr::ZERO;
    key.eth_type = U16::ZERO;
    key.vlan_tci = U16::ZERO;
    key.vlan_tpid = U16::ZERO;
    key.vlan_tci2 = U16::ZERO;
    key.vlan_tpid2 = U16::ZERO;
    key.tp_src = U16::ZERO;
    key.tp_dst = U16::ZERO;
    key.tcp_flags = U16::ZERO;
    key.ipv6_exthdr = U16::ZERO;
    key.nw_proto = 0;
    key.nw_tos = 0;
    key.nw_ttl = 0;
    key.nw_frag = 0;
}

/// True for the ethertypes of VLAN tags.
pub(crate) const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::QINQ)
}

/// Tags and ethertype; says which network header follows.
fn link(
    reader: &mut Reader<'_>,
    key: &mut FlowKey,
    layout: &mut Layout,
    mut ethertype: u16,
) -> Result<Network, Malformed> {
    let mut at = Ethernet::LEN;
    let mut place = |at: usize| {
        layout.l3 = at as u16;
        (layout.l4, layout.payload) = (layout.l3, layout.l3);
    };
    place(at);
    // A third tag is not looked into: its ethertype is the packet's.
    for tag in 0..2u8 {
        if !is_vlan(ethertype) {
            break;
        }
        key.eth_type = U16::new(ethertype);
        let vlan: &VlanTag = reader.header(at, Malformed::Vlan)?;
        let tci = U16::new(vlan.tci.get() | VLAN_PRESENT);
        let tpid = U16::new(ethertype);
        if tag == 0 {
            (key.vlan_tci, key.vlan_tpid) = (tci, tpid);
        } else {
            (key.vlan_tci2, key.vlan_tpid2) = (tci, tpid);
        }
        ethertype = vlan.ethertype.get();
        at += VlanTag::LEN;
        place(at);
        layout.vlan_tags = tag + 1;
    }
    if ethertype < ethertype::FIRST {
        ethertype = ethertype::NONE;
    }
    key.eth_type = U16::new(ethertype);
    Ok(match ethertype {
        ethertype::ARP | ethertype::RARP => Network::Arp,
        ethertype::IPV4 => Network::Ipv4,
        ethertype::IPV6 => Network::Ipv6,
        ethertype::MPLS | ethertype::MPLS_MULTICAST => Network::Mpls,
        ethertype::PBB => {
            key.pbb_itag = *reader.header(at, Malformed::Label)?;
            Network::None
        }
        _ => Network::None,
    })
}

fn arp(reader: &Reader<'_>, key: &mut FlowKey, layout: &mut Layout) -> Result<(), Malformed> {
    let arp: &Arp = reader.header(layout.l3.into(), Malformed::Arp)?;
    let for_ipv4 = arp.hardware.get() == 1
        && arp.protocol.get() == ethertype::IPV4
        && arp.hardware_len == 6
        && arp.protocol_len == 4;
    if for_ipv4 {
        layout.network = Network::Arp;
        // Operations above 255 exist in no registry; Open vSwitch shows them as 0 too.
        key.nw_proto = u8::try_from(arp.operation.get()).unwrap_or(0);
        key.nw_src = U32::from_bytes(arp.sender_ip);
        key.nw_dst = U32::from_bytes(arp.target_ip);
        key.arp_sha = arp.sender_mac;
        key.arp_tha = arp.target_mac;
    }
    Ok(())
}

fn mpls(reader: &Reader<'_>, key: &mut FlowKey, layout: &mut Layout) -> Result<(), Malformed> {
    let mut at = usize::from(layout.l3);
    for entry in &mut key.mpls {
        *entry = *reader.header::<U32>(at, Malformed::Label)?;
        layout.network = Network::Mpls;
        at += 4;
        let bottom_of_stack = entry.get() & 0x100 != 0;
        if bottom_of_stack {
            break;
        }
    }
    Ok(())
}

fn ipv4(reader: &mut Reader<'_>, key: &mut FlowKey, layout: &mut Layout) -> Result<(), Malformed> {
    let at = usize::from(layout.l3);
    let ip: &Ipv4 = reader.header(at, Malformed::Ipv4Header)?;
    let header_len = ip.header_len();
    if ip.version_ihl >> 4 != 4 || header_len < Ipv4::LEN {
        return Err(Malformed::Ipv4Header);
    }
    reader.present(at, header_len, Malformed::Ipv4Header)?;
    let total_len = usize::from(ip.total_len.get());
    if total_len < header_len || at + total_len > reader.total_len {
        return Err(Malformed::Ipv4Length);
    }
    reader.total_len = at + total_len;
    layout.network = Network::Ipv4;
    layout.l4 = (at + header_len) as u16;
    layout.payload = layout.l4;
    layout.end = reader.total_len as u32;
    key.nw_src = U32::from_bytes(ip.src);
    key.nw_dst = U32::from_bytes(ip.dst);
    key.nw_proto = ip.proto;
    key.nw_tos = ip.tos;
    key.nw_ttl = ip.ttl;
    let fragment = ip.fragment.get();
    let offset = (fragment & Ipv4::OFFSET_MASK) << 3;
    let more = fragment & Ipv4::MORE_FRAGMENTS != 0;
    if offset != 0 || more {
        layout.fragment = Some(Fragment {
            id: ip.id.get().into(),
            offset,
            more,
        });
    }
    transport(reader, key, layout, ip.proto, Network::Ipv4)
}

/// OFPIEH_* (OpenFlow 1.3.5, 7.2.3.8).
mod exthdr {
    pub const NO_NEXT: u16 = 1;
    pub const ESP: u16 = 2;
    pub const AUTH: u16 = 4;
    pub const DESTINATION: u16 = 8;
    pub const FRAGMENT: u16 = 16;
    pub const ROUTING: u16 = 32;
    pub const HOP_BY_HOP: u16 = 64;
    pub const REPEATED: u16 = 128;
    pub const OUT_OF_SEQUENCE: u16 = 256;
}

fn ipv6(reader: &mut Reader<'_>, key: &mut FlowKey, layout: &mut Layout) -> Result<(), Malformed> {
    let start = usize::from(layout.l3);
    let ip: &Ipv6 = reader.header(start, Malformed::Ipv6Header)?;
    if ip.version_class_label.get() >> 28 != 6 {
        return Err(Malformed::Ipv6Header);
    }
    let end = start + Ipv6::LEN + usize::from(ip.payload_len.get());
    if end > reader.total_len {
        return Err(Malformed::Ipv6Length);
    }
    reader.total_len = end;
    layout.network = Network::Ipv6;
    layout.end = end as u32;
    layout.l4 = (start + Ipv6::LEN) as u16;
    layout.payload = layout.l4;
    key.ipv6_src = ip.src;
    key.ipv6_dst = ip.dst;
    key.nw_proto = ip.next_header;
    key.nw_tos = ip.tos();
    key.nw_ttl = ip.hop_limit;
    key.ipv6_label = U32::new(ip.label());

    let mut seen = Extensions::default();
    let mut next = ip.next_header;
    let mut at = start + Ipv6::LEN;
    loop {
        seen.note(next);
        key.ipv6_exthdr = U16::new(seen.bits);
        let len = match next {
            proto::HOP_BY_HOP
            | proto::ROUTING
            | proto::DESTINATION
            | proto::MOBILITY
            | proto::HIP
            | proto::SHIM6 => {
                let header: &[u8; 4] = reader.header(at, Malformed::Ipv6Extension)?;
                layout.source_routed |= next == proto::ROUTING && header[3] != 0;
                next = header[0];
                (usize::from(header[1]) + 1) * 8
            }
            proto::AUTH => {
                let header: &[u8; 2] = reader.header(at, Malformed::Ipv6Extension)?;
                next = header[0];
                (usize::from(header[1]) + 2) * 4
            }
            proto::FRAGMENT => {
                let header: &Ipv6Fragment = reader.header(at, Malformed::Ipv6Extension)?;
                let offset = header.offset_more.get() & 0xfff8;
                let more = header.offset_more.get() & 1 != 0;
                next = header.next_header;
                // An atomic fragment (RFC 6946) is a whole packet.
                if offset != 0 || more {
                    layout.fragment = Some(Fragment {
                        id: header.id.get(),
                        offset,
                        more,
                    });
                }
                Ipv6Fragment::LEN
            }
            _ => break,
        };
        reader.present(at, len, Malformed::Ipv6Extension)?;
        at += len;
        layout.l4 = at as u16;
        layout.payload = layout.l4;
        key.nw_proto = next;
        // What follows in a later fragment is payload, whatever the header before calls it.
        if layout.fragment.is_some_and(|f| f.offset != 0) {
            break;
        }
    }
    transport(reader, key, layout, next, Network::Ipv6)
}

/// Bits of the extension headers met, and whether they came in the order of RFC 8200 4.1.
#[derive(Default)]
struct Extensions {
    bits: u16,
    rank: u8,
    count: u8,
}

impl Extensions {
    fn note(&mut self, header: u8) {
        let (bit, rank) = match header {
            proto::HOP_BY_HOP => (exthdr::HOP_BY_HOP, 0),
            // Destination options may stand before a routing header or last.
            proto::DESTINATION if self.rank < 2 => (exthdr::DESTINATION, 1),
            proto::DESTINATION => (exthdr::DESTINATION, 6),
            proto::ROUTING => (exthdr::ROUTING, 2),
            proto::FRAGMENT => (exthdr::FRAGMENT, 3),
            proto::AUTH => (exthdr::AUTH, 4),
            proto::ESP => (exthdr::ESP, 5),
            proto::NO_NEXT => (exthdr::NO_NEXT, 7),
            _ => return,
        };
        let twice_allowed = header == proto::DESTINATION && rank == 6 && self.rank < 6;
        if self.bits & bit != 0 && !twice_allowed {
            self.bits |= exthdr::REPEATED;
        }
        if rank < self.rank || (header == proto::HOP_BY_HOP && self.count > 0) {
            self.bits |= exthdr::OUT_OF_SEQUENCE;
        }
        self.bits |= bit;
        self.rank = self.rank.max(rank);
        self.count += 1;
    }
}

fn transport(
    reader: &Reader<'_>,
    key: &mut FlowKey,
    layout: &mut Layout,
    protocol: u8,
    network: Network,
) -> Result<(), Malformed> {
    if let Some(fragment) = layout.fragment {
        key.nw_frag = FRAG_ANY;
        if fragment.offset != 0 {
            key.nw_frag |= FRAG_LATER;
            return Ok(());
        }
    }
    let at = usize::from(layout.l4);
    let header_len = match (protocol, network) {
        (proto::TCP, _) => {
            let tcp: &Tcp = reader.header(at, Malformed::Tcp)?;
            if tcp.header_len() < Tcp::LEN {
                return Err(Malformed::Tcp);
            }
            reader.present(at, tcp.header_len(), Malformed::Tcp)?;
            key.tp_src = tcp.src;
            key.tp_dst = tcp.dst;
            key.tcp_flags = U16::new(tcp.flags());
            layout.transport = Transport::Tcp;
            tcp.header_len()
        }
        (proto::UDP, _) => {
            let udp: &Udp = reader.header(at, Malformed::Udp)?;
            let len = usize::from(udp.len.get());
            let whole = layout.fragment.is_none();
            if len < Udp::LEN || (whole && at + len > reader.total_len) {
                return Err(Malformed::Udp);
            }
            key.tp_src = udp.src;
            key.tp_dst = udp.dst;
            layout.transport = Transport::Udp;
            Udp::LEN
        }
        (proto::SCTP, _) => {
            let sctp: &Sctp = reader.header(at, Malformed::Sctp)?;
            key.tp_src = sctp.src;
            key.tp_dst = sctp.dst;
            layout.transport = Transport::Sctp;
            Sctp::LEN
        }
        (proto::ICMP, Network::Ipv4) | (proto::ICMPV6, Network::Ipv6) => {
            let icmp: &Icmp = reader.header(at, Malformed::Icmp)?;
            key.tp_src = U16::new(icmp.kind.into());
            key.tp_dst = U16::new(icmp.code.into());
            if network == Network::Ipv4 {
                layout.transport = Transport::Icmp;
                layout.icmp_id = echo_id(icmp, &ICMP_QUERIES);
            } else {
                layout.transport = Transport::Icmpv6;
                layout.icmp_id = echo_id(icmp, &ICMPV6_QUERIES);
                neighbour_discovery(reader, key, layout, icmp);
            }
            Icmp::LEN
        }
        _ => 0,
    };
    layout.payload = (at + header_len) as u16;
    Ok(())
}

/// ICMP messages with an identifier: echo, timestamp, information, address mask (RFC 792, 950).
pub(crate) const ICMP_QUERIES: [u8; 8] = [8, 0, 13, 14, 15, 16, 17, 18];
/// ICMPv6 echo (RFC 4443 4).
pub(crate) const ICMPV6_QUERIES: [u8; 2] = [128, 129];

pub(crate) fn echo_id(icmp: &Icmp, queries: &[u8]) -> u16 {
    if queries.contains(&icmp.kind) {
        icmp.id.get()
    } else {
        0
    }
}

/// Target and link-layer address options of solicitations and advertisements (RFC 4861 4.3, 4.4).
/// Broken options leave the fields that follow them zero; they break nothing else.
fn neighbour_discovery(reader: &Reader<'_>, key: &mut FlowKey, layout: &Layout, icmp: &Icmp) {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    if !matches!(icmp.kind, SOLICITATION | ADVERTISEMENT) || icmp.code != 0 {
        return;
    }
    let packet = reader.head.get(..reader.total_len).unwrap_or(reader.head);
    let mut at = usize::from(layout.l4) + Icmp::LEN;
    let Some(target) = view::<[u8; 16]>(packet, at) else {
        return;
    };
    key.nd_target = *target;
    at += 16;
    while let Some(&[kind, units]) = view::<[u8; 2]>(packet, at) {
        if units == 0 {
            return;
        }
        if let (1 | 2, 1, Some(address)) = (kind, units, view::<MacAddr>(packet, at + 2)) {
            let field = if kind == 1 {
                &mut key.arp_sha
            } else {
                &mut key.arp_tha
            };
            *field = *address;
        }
        at += usize::from(units) * 8;
    }
}
