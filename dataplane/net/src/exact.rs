//! The key of the flow cache: the cheap header fields of ordinary packets, packed into a few words,
//! straight from the packet's bytes.
//!
//! Where [`crate::parse::extract`] reads everything, [`read`] reads what nearly all packets have
//! and refuses the others ([`Uncacheable`]); those take the slow path. Two packets with equal
//! exact keys have equal fields wherever [`covered`] has ones.

// Every index is a constant below WORDS, or bounded by `len`, which is at most WORDS.
#![allow(clippy::indexing_slicing)]

mod hash;
mod mask;
mod plain;

pub use hash::HashKey;
pub use mask::KeyMask;

use core::net::IpAddr;

use zerocopy::big_endian::{U16, U32, U64};

use crate::FlowKey;
use crate::headers::{Ethernet, Icmp, Ipv4, Ipv6, Sctp, Tcp, Udp, VlanTag, ethertype, proto, view};
use crate::key::{FRAG_ANY, FRAG_LATER};
use crate::options::{self, Options};
use crate::parse::{
    Fragment, HEADER_BYTES, ICMP_QUERIES, ICMPV6_QUERIES, Layout, Network, Transport, echo_id,
    is_vlan, snap,
};

/// Most words an [`ExactKey`] uses: IPv6 in a tunnel over IPv6.
pub const WORDS: usize = 13;
/// Words of the longest key without IPv6 and tunnel.
pub const FRONT: usize = 5;

/// The packed key. Only the words of [`ExactKey::words`] count.
///
/// | word | bits, high to low |
/// |---|---|
/// | 0 | in_port 32, ethertype 16, protocol 8, tos 8 |
/// | 1 | destination MAC 48, outer tag 16 |
/// | 2 | source MAC 48, inner tag 16 |
/// | 3 | source port 16, destination port 16, ICMP identifier 16, shape 16 |
/// | 4.. | IPv4 source 32 and destination 32; or IPv6 source 128 and destination 128 |
/// | then, from a tunnel | tunnel id 64; source and destination as above |
/// | then, with tunnel options | which of them 64; the value of each 64 |
#[derive(Clone, Copy, Debug, Default)]
pub struct ExactKey {
    words: [u64; WORDS],
    len: u8,
}

impl PartialEq for ExactKey {
    /// Word by word without a branch: comparing the slices would call a function for bytes.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.words().iter().zip(&other.words);
        let differ = pairs.fold(u64::from(self.len ^ other.len), |d, (a, b)| d | (a ^ b));
        differ == 0
    }
}

impl Eq for ExactKey {}

impl ExactKey {
    /// The words in use: 4 without addresses, 5 with IPv4, 8 with IPv6; 2 or 5 more from a tunnel.
    #[inline]
    pub fn words(&self) -> &[u64] {
        &self.words[..usize::from(self.len)]
    }

    /// The first words. With four in use the last is zero.
    #[inline]
    pub fn front(&self) -> &[u64; FRONT] {
        let (front, _) = self.words.split_first_chunk().unwrap_or((&[0; FRONT], &[]));
        front
    }

    /// True if there are words behind [`ExactKey::front`].
    #[inline]
    pub fn is_long(&self) -> bool {
        usize::from(self.len) > FRONT
    }

    /// The words in use behind [`ExactKey::front`].
    #[inline]
    pub fn rest(&self) -> &[u64] {
        self.words().get(FRONT..).unwrap_or_default()
    }

    #[inline]
    fn push(&mut self, word: u64) {
        if let Some(slot) = self.words.get_mut(usize::from(self.len)) {
            *slot = word;
            self.len += 1;
        }
    }
}

/// Bits of word 3 that say how the rest is to be read.
mod shape {
    pub const TAGS: u16 = 0x1; // 0..=2, two bits
    pub const QINQ: u16 = 0x4; // the outer tag is 802.1ad; 0x8: the inner one is
    pub const FRAGMENT: u16 = 0x10; // FRAG_* bits, two
    pub const IPV4: u16 = 0x40;
    pub const IPV6: u16 = 0x80;
    pub const TUNNEL_IPV4: u16 = 0x100;
    pub const TUNNEL_IPV6: u16 = 0x200;
    pub const TUNNEL_OPTIONS: u16 = 0x400;
}

/// What a packet's outer headers said, for a packet that came out of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelKey {
    /// Tunnel key; a VNI for Geneve and VXLAN.
    pub id: u64,
    /// Outer source.
    pub src: IpAddr,
    /// Outer destination, of the same family.
    pub dst: IpAddr,
    /// Options.
    pub options: Options,
}

impl TunnelKey {
    /// Writes the tunnel fields of a flow key.
    pub fn apply(&self, key: &mut FlowKey) {
        key.tun_id = U64::new(self.id);
        (key.tun_src, key.tun_ipv6_src) = split(self.src);
        (key.tun_dst, key.tun_ipv6_dst) = split(self.dst);
        self.options.apply(key);
    }
}

fn split(address: IpAddr) -> (U32, [u8; 16]) {
    match address {
        IpAddr::V4(v4) => (U32::from_bytes(v4.octets()), [0; 16]),
        IpAddr::V6(v6) => (U32::ZERO, v6.octets()),
    }
}

/// Why a packet has no exact key. All of these go through [`crate::parse::extract`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncacheable {
    /// Something is cut off or inconsistent; the complete parser says what.
    Malformed,
    /// ARP, MPLS, PBB, SNAP or three tags: matchable fields that the key lacks.
    Ethertype,
    /// IPv6 extension headers.
    Extension,
    /// Neighbour discovery.
    NeighbourDiscovery,
    /// More tunnel options than there is room for.
    Options,
}

/// Packs the key of a packet whose first bytes are `head`; see [`HEADER_BYTES`].
///
/// # Errors
/// The packet needs the complete parser; the key is not to be used then.
pub fn read(
    head: &[u8],
    total_len: usize,
    in_port: u32,
    tunnel: Option<&TunnelKey>,
    key: &mut ExactKey,
) -> Result<Layout, Uncacheable> {
    let mut layout = Layout::default();
    let mask = &KeyMask::ALL;
    read_into(head, total_len, in_port, tunnel, mask, key, &mut layout).map(|()| layout)
}

/// As [`read`], of the key what the mask keeps, with the layout written where it is kept: the burst's
/// way.
///
/// # Errors
/// As [`read`]; the layout is not to be used then either.
#[inline]
pub fn read_into(
    head: &[u8],
    total_len: usize,
    in_port: u32,
    tunnel: Option<&TunnelKey>,
    mask: &KeyMask,
    key: &mut ExactKey,
    layout: &mut Layout,
) -> Result<(), Uncacheable> {
    if tunnel.is_none() && plain::read(head, total_len, in_port, mask, key, layout) {
        return Ok(());
    }
    *layout = read_any(head, total_len, in_port, tunnel, key)?;
    key.keep(mask);
    Ok(())
}

/// Where the headers of an ordinary packet are: TCP or UDP over IPv4 without options, not a fragment,
/// with at most one tag. False for others; the layout is not to be used then.
#[inline]
pub fn read_layout(head: &[u8], total_len: usize, layout: &mut Layout) -> bool {
    // Nobody looks at the key, so that it costs nothing.
    let mut key = ExactKey::default();
    plain::read(head, total_len, 0, &KeyMask::ALL, &mut key, layout)
}

/// As [`read`], for packets of every shape.
#[inline(never)]
fn read_any(
    head: &[u8],
    total_len: usize,
    in_port: u32,
    tunnel: Option<&TunnelKey>,
    key: &mut ExactKey,
) -> Result<Layout, Uncacheable> {
    let head = head.get(..HEADER_BYTES).unwrap_or(head);
    let total_len = total_len.max(head.len());
    let ethernet: &Ethernet = view(head, 0).ok_or(Uncacheable::Malformed)?;
    let mut fields = Fields::default();
    let mut layout = Layout::default();
    let mut tci = [0u16; 2];

    let mut ethertype = ethernet.ethertype.get();
    let mut at = Ethernet::LEN;
    if is_vlan(ethertype) {
        for tag in 0..2u16 {
            if !is_vlan(ethertype) {
                break;
            }
            let vlan: &VlanTag = view(head, at).ok_or(Uncacheable::Malformed)?;
            tci[usize::from(tag)] = vlan.tci.get() | crate::key::VLAN_PRESENT;
            fields.shape += shape::TAGS;
            if ethertype == ethertype::QINQ {
                fields.shape |= shape::QINQ << tag;
            }
            ethertype = vlan.ethertype.get();
            at += VlanTag::LEN;
        }
        layout.vlan_tags = (fields.shape & 3) as u8;
    }
    layout.l3 = at as u16;
    layout.end = total_len as u32;
    key.len = 4;
    key.words[4] = 0;
    match ethertype {
        ethertype::IPV4 => ipv4(head, total_len, key, &mut fields, &mut layout)?,
        ethertype::IPV6 => ipv6(head, total_len, key, &mut fields, &mut layout)?,
        ethertype::ARP
        | ethertype::RARP
        | ethertype::MPLS
        | ethertype::MPLS_MULTICAST
        | ethertype::PBB
        | ethertype::VLAN
        | ethertype::QINQ => return Err(Uncacheable::Ethertype),
        other => {
            layout.l4 = layout.l3;
            layout.payload = layout.l3;
            if other < ethertype::FIRST {
                if snap(head, at).is_some() {
                    return Err(Uncacheable::Ethertype);
                }
                ethertype = ethertype::NONE;
            }
        }
    }
    if let Some(tunnel) = tunnel {
        key.push(tunnel.id);
        match (tunnel.src, tunnel.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                fields.shape |= shape::TUNNEL_IPV4;
                key.push((u64::from(src.to_bits()) << 32) | u64::from(dst.to_bits()));
            }
            (src, dst) => {
                fields.shape |= shape::TUNNEL_IPV6;
                for address in [src, dst] {
                    let bits = match address {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
                        IpAddr::V6(v6) => v6.to_bits(),
                    };
                    key.push((bits >> 64) as u64);
                    key.push(bits as u64);
                }
            }
        }
    }
    if let Some(options) = tunnel.map(|tunnel| &tunnel.options)
        && options.present != 0
    {
        fields.shape |= shape::TUNNEL_OPTIONS;
        let needed = 1 + options.present.count_ones() as usize;
        if usize::from(key.len) + needed > WORDS {
            return Err(Uncacheable::Options);
        }
        key.push(options.present.into());
        for (at, value) in options.values.iter().enumerate() {
            if options.present & 1 << at != 0 {
                key.push(*value);
            }
        }
    }
    key.words[0] = (u64::from(in_port) << 32)
        | (u64::from(ethertype) << 16)
        | (u64::from(fields.proto) << 8)
        | u64::from(fields.tos);
    key.words[1] = (ethernet.dst.to_u64() << 16) | u64::from(tci[0]);
    key.words[2] = (ethernet.src.to_u64() << 16) | u64::from(tci[1]);
    key.words[3] = (u64::from(fields.src_port) << 48)
        | (u64::from(fields.dst_port) << 32)
        | (u64::from(layout.icmp_id) << 16)
        | u64::from(fields.shape);
    Ok(layout)
}

/// Ones in every field of a flow key that an exact key determines.
///
/// Registers, metadata and the connection fields are not among them: a walk starts with them zero,
/// so what it reads of them follows from what it did before.
pub fn covered() -> FlowKey {
    let mac = crate::MacAddr([0xff; 6]);
    FlowKey {
        in_port: U32::MAX_VALUE,
        eth_dst: mac,
        eth_src: mac,
        eth_type: U16::MAX_VALUE,
        vlan_tci: U16::MAX_VALUE,
        vlan_tpid: U16::MAX_VALUE,
        vlan_tci2: U16::MAX_VALUE,
        vlan_tpid2: U16::MAX_VALUE,
        nw_src: U32::MAX_VALUE,
        nw_dst: U32::MAX_VALUE,
        ipv6_src: [0xff; 16],
        ipv6_dst: [0xff; 16],
        // Packets that have these fields other than zero have no exact key.
        arp_sha: mac,
        arp_tha: mac,
        nd_target: [0xff; 16],
        mpls: [U32::MAX_VALUE; 3],
        pbb_itag: U32::MAX_VALUE,
        ipv6_exthdr: U16::MAX_VALUE,
        nw_proto: 0xff,
        nw_tos: 0xff,
        nw_frag: 0xff,
        tp_src: U16::MAX_VALUE,
        tp_dst: U16::MAX_VALUE,
        tun_id: U64::MAX_VALUE,
        tun_src: U32::MAX_VALUE,
        tun_dst: U32::MAX_VALUE,
        tun_ipv6_src: [0xff; 16],
        tun_ipv6_dst: [0xff; 16],
        tun_metadata: [U64::MAX_VALUE; options::FIELDS],
        tun_present: 0xff,
        ..FlowKey::default()
    }
}

#[derive(Default)]
struct Fields {
    src_port: u16,
    dst_port: u16,
    shape: u16,
    proto: u8,
    tos: u8,
}

#[inline]
fn ipv4(
    head: &[u8],
    total_len: usize,
    key: &mut ExactKey,
    fields: &mut Fields,
    layout: &mut Layout,
) -> Result<(), Uncacheable> {
    let at = usize::from(layout.l3);
    let ip: &Ipv4 = view(head, at).ok_or(Uncacheable::Malformed)?;
    let header_len = ip.header_len();
    let end = at + usize::from(ip.total_len.get());
    let consistent = ip.version_ihl >> 4 == 4
        && header_len >= Ipv4::LEN
        && at + header_len <= end.min(head.len())
        && end <= total_len;
    if !consistent {
        return Err(Uncacheable::Malformed);
    }
    layout.network = Network::Ipv4;
    layout.l4 = (at + header_len) as u16;
    layout.end = end as u32;
    fields.shape |= shape::IPV4;
    fields.proto = ip.proto;
    fields.tos = ip.tos;
    let fragment = ip.fragment.get();
    if fragment & (Ipv4::OFFSET_MASK | Ipv4::MORE_FRAGMENTS) != 0 {
        let offset = (fragment & Ipv4::OFFSET_MASK) << 3;
        layout.fragment = Some(Fragment {
            id: ip.id.get().into(),
            offset,
            more: fragment & Ipv4::MORE_FRAGMENTS != 0,
        });
        let bits = if offset == 0 {
            FRAG_ANY
        } else {
            FRAG_ANY | FRAG_LATER
        };
        fields.shape |= u16::from(bits) * shape::FRAGMENT;
    }
    key.push((u64::from(u32::from_be_bytes(ip.src)) << 32) | u64::from(u32::from_be_bytes(ip.dst)));
    transport(head, fields, layout)
}

#[inline]
fn ipv6(
    head: &[u8],
    total_len: usize,
    key: &mut ExactKey,
    fields: &mut Fields,
    layout: &mut Layout,
) -> Result<(), Uncacheable> {
    let at = usize::from(layout.l3);
    let ip: &Ipv6 = view(head, at).ok_or(Uncacheable::Malformed)?;
    let end = at + Ipv6::LEN + usize::from(ip.payload_len.get());
    if ip.version_class_label.get() >> 28 != 6 || end > total_len {
        return Err(Uncacheable::Malformed);
    }
    let extension = matches!(
        ip.next_header,
        proto::HOP_BY_HOP
            | proto::ROUTING
            | proto::DESTINATION
            | proto::FRAGMENT
            | proto::AUTH
            | proto::ESP
            | proto::NO_NEXT
            | proto::MOBILITY
            | proto::HIP
            | proto::SHIM6
    );
    if extension {
        return Err(Uncacheable::Extension);
    }
    layout.network = Network::Ipv6;
    layout.l4 = (at + Ipv6::LEN) as u16;
    layout.end = end as u32;
    fields.shape |= shape::IPV6;
    fields.proto = ip.next_header;
    fields.tos = ip.tos();
    for address in [&ip.src, &ip.dst] {
        let bits = u128::from_be_bytes(*address);
        key.push((bits >> 64) as u64);
        key.push(bits as u64);
    }
    transport(head, fields, layout)
}

#[inline]
fn transport(head: &[u8], fields: &mut Fields, layout: &mut Layout) -> Result<(), Uncacheable> {
    layout.payload = layout.l4;
    if layout.fragment.is_some_and(|f| f.offset != 0) {
        return Ok(());
    }
    let at = usize::from(layout.l4);
    let end = layout.end as usize;
    // Only headers that lie within the IP packet count.
    let inside = head.get(..end).unwrap_or(head);
    let header_len = match (fields.proto, layout.network) {
        (proto::TCP, _) => {
            let tcp: &Tcp = view(inside, at).ok_or(Uncacheable::Malformed)?;
            let header_len = tcp.header_len();
            if header_len < Tcp::LEN || at + header_len > inside.len() {
                return Err(Uncacheable::Malformed);
            }
            (fields.src_port, fields.dst_port) = (tcp.src.get(), tcp.dst.get());
            layout.transport = Transport::Tcp;
            header_len
        }
        (proto::UDP, _) => {
            let udp: &Udp = view(inside, at).ok_or(Uncacheable::Malformed)?;
            let len = usize::from(udp.len.get());
            if len < Udp::LEN || (layout.fragment.is_none() && at + len > end) {
                return Err(Uncacheable::Malformed);
            }
            (fields.src_port, fields.dst_port) = (udp.src.get(), udp.dst.get());
            layout.transport = Transport::Udp;
            Udp::LEN
        }
        (proto::SCTP, _) => {
            let sctp: &Sctp = view(inside, at).ok_or(Uncacheable::Malformed)?;
            (fields.src_port, fields.dst_port) = (sctp.src.get(), sctp.dst.get());
            layout.transport = Transport::Sctp;
            Sctp::LEN
        }
        (proto::ICMP, Network::Ipv4) => {
            let icmp: &Icmp = view(inside, at).ok_or(Uncacheable::Malformed)?;
            layout.icmp_id = echo_id(icmp, &ICMP_QUERIES);
            layout.transport = Transport::Icmp;
            (fields.src_port, fields.dst_port) = (icmp.kind.into(), icmp.code.into());
            Icmp::LEN
        }
        (proto::ICMPV6, Network::Ipv6) => {
            let icmp: &Icmp = view(inside, at).ok_or(Uncacheable::Malformed)?;
            if matches!(icmp.kind, 135 | 136) {
                return Err(Uncacheable::NeighbourDiscovery);
            }
            layout.icmp_id = echo_id(icmp, &ICMPV6_QUERIES);
            layout.transport = Transport::Icmpv6;
            (fields.src_port, fields.dst_port) = (icmp.kind.into(), icmp.code.into());
            Icmp::LEN
        }
        _ => 0,
    };
    layout.payload = (at + header_len) as u16;
    Ok(())
}
