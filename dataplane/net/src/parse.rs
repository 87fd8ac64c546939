//! From packet bytes to a [`FlowKey`] and a [`Layout`]: the complete parser, used by the slow path
//! and as the twin of [`crate::exact`].
//!
//! The parser is tolerant: a packet whose deeper headers are broken still has its key down to the
//! last good header, and [`Layout::malformed`] says what was wrong. Only a frame without an
//! Ethernet header is refused.

mod ip;
mod layout;
mod transport;

pub use layout::{Fragment, Layout, Malformed, Network, Transport};
pub(crate) use transport::{ICMP_QUERIES, ICMPV6_QUERIES, echo_id};

use zerocopy::big_endian::{U16, U32};

use crate::headers::{Arp, Ethernet, VlanTag, ethertype, view};
use crate::key::VLAN_PRESENT;
use crate::reshape::{BOTTOM_OF_STACK, ITAG_LEN, LSE_LEN};
use crate::{FlowKey, MacAddr};

/// Headers are looked for in this many bytes. A caller makes the smaller of this and the packet's
/// length contiguous before parsing; headers that reach further are [`Malformed::HeadersTooLong`].
pub const HEADER_BYTES: usize = 256;

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
            Network::Ipv4 => ip::ipv4(&mut reader, key, &mut layout),
            Network::Ipv6 => ip::ipv6(&mut reader, key, &mut layout),
            Network::Mpls => mpls(&reader, key, &mut layout),
            Network::Pbb => pbb(&reader, key, &mut layout),
            Network::None => Ok(()),
        })
        .err();
    layout.malformed = fault;
    Ok(layout)
}

/// Where the headers are of the IP packet behind labels or I-TAGs, for a packet that [`extract`] found to
/// begin with one; offsets are from the packet's first byte. None if it does not, or there is no IP packet.
pub(crate) fn behind_shims(head: &[u8], total_len: usize, outer: &Layout) -> Option<Layout> {
    /// Labels and I-TAGs that are looked through; more do not fit in the headers that are read.
    const MOST: usize = 64;
    if !matches!(outer.network, Network::Mpls | Network::Pbb) {
        return None;
    }
    let mut at = usize::from(outer.l3);
    let mut network = outer.network;
    let mut key = FlowKey::default();
    for _ in 0..MOST {
        match network {
            Network::Mpls => {
                let entry: &U32 = view(head, at)?;
                at += LSE_LEN;
                if entry.get() & BOTTOM_OF_STACK == 0 {
                    continue;
                }
                // The version tells what a label would have to be known for.
                network = match head.get(at)? >> 4 {
                    4 => Network::Ipv4,
                    6 => Network::Ipv6,
                    _ => return None,
                };
            }
            Network::Pbb => {
                let start = at + ITAG_LEN;
                let inside = extract(head.get(start..)?, total_len.checked_sub(start)?, &mut key);
                at = start + usize::from(inside.ok()?.l3);
                network = inside.ok()?.network;
            }
            Network::Ipv4 | Network::Ipv6 => {
                let mut layout = Layout {
                    l3: at as u16,
                    ..Layout::default()
                };
                let mut reader = Reader {
                    head: head.get(..HEADER_BYTES).unwrap_or(head),
                    total_len,
                };
                let read = match network {
                    Network::Ipv4 => ip::ipv4(&mut reader, &mut key, &mut layout),
                    _ => ip::ipv6(&mut reader, &mut key, &mut layout),
                };
                layout.malformed = read.err();
                return Some(layout);
            }
            Network::Arp | Network::None => return None,
        }
    }
    None
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

/// Bytes of an LLC header and the SNAP header behind it (IEEE 802, 9.2).
const SNAP_LEN: usize = 8;

/// The ethertype that a SNAP header carries, where there is one behind an 802.3 length: LLC says
/// SNAP, the organization is 0, and the protocol is an ethertype (RFC 1042).
pub(crate) fn snap(head: &[u8], at: usize) -> Option<u16> {
    let [0xaa, 0xaa, 0x03, 0, 0, 0, high, low] = *head.get(at..)?.first_chunk::<SNAP_LEN>()? else {
        return None;
    };
    let ethertype = u16::from_be_bytes([high, low]);
    (ethertype >= ethertype::FIRST).then_some(ethertype)
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
        ethertype = match snap(reader.head, at) {
            Some(encapsulated) => {
                at += SNAP_LEN;
                place(at);
                encapsulated
            }
            None => ethertype::NONE,
        };
    }
    key.eth_type = U16::new(ethertype);
    Ok(match ethertype {
        ethertype::ARP | ethertype::RARP => Network::Arp,
        ethertype::IPV4 => Network::Ipv4,
        ethertype::IPV6 => Network::Ipv6,
        ethertype::MPLS | ethertype::MPLS_MULTICAST => Network::Mpls,
        ethertype::PBB => Network::Pbb,
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

fn pbb(reader: &Reader<'_>, key: &mut FlowKey, layout: &mut Layout) -> Result<(), Malformed> {
    key.pbb_itag = *reader.header(layout.l3.into(), Malformed::Label)?;
    layout.network = Network::Pbb;
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
