//! Changes of header fields in place, with every checksum that covers them kept right.
//!
//! Checksums are updated incrementally (RFC 1624), never recomputed: a packet that was damaged
//! before stays recognisably damaged, and the payload is not touched. SCTP's CRC32c is linear, so
//! it is updated the same way.

use zerocopy::big_endian::U16;

use crate::MacAddr;
use crate::csum;
use crate::headers::{Arp, Ethernet, Icmp, Ipv4, Ipv6, Sctp, Tcp, Udp, VlanTag, view, view_mut};
use crate::key::VLAN_PRESENT;
use crate::nd;
use crate::parse::{Layout, Network, Transport};

mod embedded;
mod labels;
mod protocol;
mod rewrite;

pub use embedded::translate_embedded;
pub use rewrite::{Field, Given, Rewrite};

/// What the transport checksum field of a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumField {
    /// The checksum.
    Full,
    /// The sum of the pseudo-header, to be completed by whoever sends the packet to a wire (as
    /// virtio's `NEEDS_CSUM`). Only for packets whose `csum_start` is [`Layout::l4`].
    Partial,
}

/// Edits one packet.
///
/// Methods return whether the packet has such a field; if not, nothing has changed. The layout is
/// that of the packet as it is: changes here move nothing.
pub struct Editor<'a> {
    head: &'a mut [u8],
    layout: &'a Layout,
    field: ChecksumField,
}

impl<'a> Editor<'a> {
    /// For a packet whose headers are in `head`.
    pub fn new(head: &'a mut [u8], layout: &'a Layout, field: ChecksumField) -> Self {
        Editor {
            head,
            layout,
            field,
        }
    }

    /// Destination MAC address.
    pub fn set_eth_dst(&mut self, mac: MacAddr) -> bool {
        self.change(0, |ethernet: &mut Ethernet| ethernet.dst = mac)
    }

    /// Source MAC address.
    pub fn set_eth_src(&mut self, mac: MacAddr) -> bool {
        self.change(0, |ethernet: &mut Ethernet| ethernet.src = mac)
    }

    /// The ethertype below all tags.
    pub fn set_eth_type(&mut self, ethertype: u16) -> bool {
        let at = usize::from(self.layout.l3).checked_sub(2);
        at.is_some_and(|at| self.change(at, |field: &mut U16| field.set(ethertype)))
    }

    /// Priority and identifier of tag `tag` (0 is the outermost), in the form of
    /// [`crate::FlowKey::vlan_tci`]. The drop eligible indicator stays.
    pub fn set_vlan(&mut self, tag: u8, tci: u16) -> bool {
        let at = Ethernet::LEN + usize::from(tag) * VlanTag::LEN;
        tag < self.layout.vlan_tags
            && self.change(at, |vlan: &mut VlanTag| {
                let kept = vlan.tci.get() & VLAN_PRESENT;
                vlan.tci.set((tci & !VLAN_PRESENT) | kept);
            })
    }

    /// IPv4 source address.
    pub fn set_ipv4_src(&mut self, address: [u8; 4]) -> bool {
        self.set_ipv4_address(12, address)
    }

    /// IPv4 destination address.
    pub fn set_ipv4_dst(&mut self, address: [u8; 4]) -> bool {
        self.set_ipv4_address(16, address)
    }

    /// IPv6 source address.
    pub fn set_ipv6_src(&mut self, address: [u8; 16]) -> bool {
        self.layout.network == Network::Ipv6 && self.set_ipv6_address(8, address, true)
    }

    /// IPv6 destination address.
    pub fn set_ipv6_dst(&mut self, address: [u8; 16]) -> bool {
        // The checksum covers the last destination, which a routing header holds.
        let covered = !self.layout.source_routed;
        self.layout.network == Network::Ipv6 && self.set_ipv6_address(24, address, covered)
    }

    /// DSCP and ECN.
    pub fn set_tos(&mut self, tos: u8) -> bool {
        let at = usize::from(self.layout.l3);
        match self.layout.network {
            Network::Ipv4 => self.change(at, |ip: &mut Ipv4| {
                let old = u16::from_be_bytes([ip.version_ihl, ip.tos]);
                ip.tos = tos;
                let new = u16::from_be_bytes([ip.version_ihl, ip.tos]);
                update_ipv4(ip, old, new);
            }),
            Network::Ipv6 => self.change(at, |ip: &mut Ipv6| {
                let rest = ip.version_class_label.get() & 0xf00f_ffff;
                ip.version_class_label.set(rest | (u32::from(tos) << 20));
            }),
            _ => false,
        }
    }

    /// Time to live or hop limit.
    pub fn set_ttl(&mut self, ttl: u8) -> bool {
        let at = usize::from(self.layout.l3);
        match self.layout.network {
            Network::Ipv4 => self.change(at, |ip: &mut Ipv4| {
                let old = u16::from_be_bytes([ip.ttl, ip.proto]);
                ip.ttl = ttl;
                let new = u16::from_be_bytes([ip.ttl, ip.proto]);
                update_ipv4(ip, old, new);
            }),
            Network::Ipv6 => self.change(at, |ip: &mut Ipv6| ip.hop_limit = ttl),
            _ => false,
        }
    }

    /// Time to live or hop limit as it is.
    pub fn ttl(&self) -> Option<u8> {
        let at = usize::from(self.layout.l3);
        match self.layout.network {
            Network::Ipv4 => view(self.head, at).map(|ip: &Ipv4| ip.ttl),
            Network::Ipv6 => view(self.head, at).map(|ip: &Ipv6| ip.hop_limit),
            _ => None,
        }
    }

    /// Decrements the time to live or hop limit. False, and nothing changed, if it would reach
    /// zero (OpenFlow 1.3.5, 5.12) or there is none.
    pub fn decrement_ttl(&mut self) -> bool {
        match self.ttl() {
            Some(ttl) if ttl > 1 => self.set_ttl(ttl - 1),
            _ => false,
        }
    }

    /// IPv6 flow label; the low 20 bits count.
    pub fn set_ipv6_label(&mut self, label: u32) -> bool {
        self.layout.network == Network::Ipv6
            && self.change(self.layout.l3.into(), |ip: &mut Ipv6| {
                let rest = ip.version_class_label.get() & 0xfff0_0000;
                ip.version_class_label.set(rest | (label & 0xf_ffff));
            })
    }

    /// Source port of TCP, UDP or SCTP.
    pub fn set_src_port(&mut self, port: u16) -> bool {
        self.set_port(0, port)
    }

    /// Destination port of TCP, UDP or SCTP.
    pub fn set_dst_port(&mut self, port: u16) -> bool {
        self.set_port(2, port)
    }

    /// Type of ICMP or ICMPv6.
    pub fn set_icmp_type(&mut self, kind: u8) -> bool {
        self.set_icmp_word(0, |[_, code]| [kind, code])
    }

    /// Code of ICMP or ICMPv6.
    pub fn set_icmp_code(&mut self, code: u8) -> bool {
        self.set_icmp_word(0, |[kind, _]| [kind, code])
    }

    /// Identifier of an ICMP or ICMPv6 echo message.
    pub fn set_icmp_id(&mut self, id: u16) -> bool {
        self.set_icmp_word(4, |_| id.to_be_bytes())
    }

    /// ARP operation.
    pub fn set_arp_operation(&mut self, operation: u16) -> bool {
        self.change_arp(|arp| arp.operation.set(operation))
    }

    /// ARP sender hardware address.
    pub fn set_arp_sha(&mut self, mac: MacAddr) -> bool {
        self.change_arp(|arp| arp.sender_mac = mac)
    }

    /// ARP target hardware address.
    pub fn set_arp_tha(&mut self, mac: MacAddr) -> bool {
        self.change_arp(|arp| arp.target_mac = mac)
    }

    /// ARP sender protocol address.
    pub fn set_arp_spa(&mut self, address: [u8; 4]) -> bool {
        self.change_arp(|arp| arp.sender_ip = address)
    }

    /// ARP target protocol address.
    pub fn set_arp_tpa(&mut self, address: [u8; 4]) -> bool {
        self.change_arp(|arp| arp.target_ip = address)
    }

    /// Target of a neighbour solicitation or advertisement.
    pub fn set_nd_target(&mut self, address: [u8; 16]) -> bool {
        self.is_neighbour_discovery()
            && self.write_covered(usize::from(self.layout.l4) + Icmp::LEN, address)
    }

    /// Source link-layer address option of neighbour discovery; false if there is none.
    pub fn set_nd_sll(&mut self, mac: MacAddr) -> bool {
        self.set_nd_option(1, mac)
    }

    /// Target link-layer address option of neighbour discovery; false if there is none.
    ///
    /// An advertisement that was made from a solicitation still has the solicitation's source
    /// option: that one becomes the target option, and the advertisement one that answers
    /// (solicited, override; RFC 4861, 4.4). This is how flows answer neighbour discovery.
    pub fn set_nd_tll(&mut self, mac: MacAddr) -> bool {
        self.set_nd_option(2, mac) || self.turn_into_answer(mac)
    }

    fn change<T>(&mut self, at: usize, change: impl FnOnce(&mut T)) -> bool
    where
        T: zerocopy::FromBytes
            + zerocopy::IntoBytes
            + zerocopy::KnownLayout
            + zerocopy::Immutable
            + zerocopy::Unaligned,
    {
        match view_mut::<T>(self.head, at) {
            Some(header) => {
                change(header);
                true
            }
            None => false,
        }
    }

    fn change_arp(&mut self, change: impl FnOnce(&mut Arp)) -> bool {
        self.layout.network == Network::Arp && self.change(self.layout.l3.into(), change)
    }

    fn set_ipv4_address(&mut self, offset: usize, new: [u8; 4]) -> bool {
        if self.layout.network != Network::Ipv4 {
            return false;
        }
        let l3 = usize::from(self.layout.l3);
        let Some(old) = replace(self.head, l3 + offset, new) else {
            return false;
        };
        let delta = csum::delta(&old, &new);
        self.change(l3, |ip: &mut Ipv4| {
            ip.checksum.set(csum::apply(ip.checksum.get(), delta));
        });
        self.pseudo_header_changed(delta);
        true
    }

    fn set_ipv6_address(&mut self, offset: usize, new: [u8; 16], covered: bool) -> bool {
        let Some(old) = replace(self.head, usize::from(self.layout.l3) + offset, new) else {
            return false;
        };
        if covered {
            self.pseudo_header_changed(csum::delta(&old, &new));
        }
        true
    }

    fn set_port(&mut self, offset: usize, port: u16) -> bool {
        let has_ports = matches!(
            self.layout.transport,
            Transport::Tcp | Transport::Udp | Transport::Sctp
        );
        has_ports && self.write_covered(usize::from(self.layout.l4) + offset, port.to_be_bytes())
    }

    fn set_icmp_word(&mut self, offset: usize, new: impl FnOnce([u8; 2]) -> [u8; 2]) -> bool {
        let is_icmp = matches!(self.layout.transport, Transport::Icmp | Transport::Icmpv6);
        let at = usize::from(self.layout.l4) + offset;
        match view::<[u8; 2]>(self.head, at) {
            Some(old) if is_icmp => {
                let new = new(*old);
                self.write_covered(at, new)
            }
            _ => false,
        }
    }

    fn is_neighbour_discovery(&self) -> bool {
        self.layout.transport == Transport::Icmpv6
            && view::<Icmp>(self.head, self.layout.l4.into())
                .is_some_and(|icmp| matches!(icmp.kind, 135 | 136))
    }

    fn set_nd_option(&mut self, wanted: u8, mac: MacAddr) -> bool {
        match self.find_nd_option(wanted) {
            Some(at) => self.write_covered(at + 2, mac.0),
            None => false,
        }
    }

    fn turn_into_answer(&mut self, mac: MacAddr) -> bool {
        let l4 = usize::from(self.layout.l4);
        let is_advertisement =
            view::<Icmp>(self.head, l4).is_some_and(|icmp| icmp.kind == nd::ADVERTISEMENT);
        let Some(option) = self.find_nd_option(1).filter(|_| is_advertisement) else {
            return false;
        };
        let [a, b, c, d, e, f] = mac.0;
        self.write_covered(option, [2, 1, a, b, c, d, e, f])
            && self.write_covered(l4 + 4, [nd::flags::SOLICITED | nd::flags::OVERRIDE, 0])
    }

    /// Offset of a link-layer address option of neighbour discovery (RFC 4861, 4.6.1).
    fn find_nd_option(&self, wanted: u8) -> Option<usize> {
        if !self.is_neighbour_discovery() {
            return None;
        }
        let end = self.head.len().min(self.layout.end as usize);
        let mut at = usize::from(self.layout.l4) + Icmp::LEN + 16;
        while let Some(&[kind, units]) = view::<[u8; 2]>(self.head, at) {
            if units == 0 || at + 8 > end {
                return None;
            }
            if kind == wanted && units == 1 {
                return Some(at);
            }
            at += usize::from(units) * 8;
        }
        None
    }

    /// Writes bytes that the transport checksum covers, at an even offset of the transport header.
    fn write_covered<const N: usize>(&mut self, at: usize, new: [u8; N]) -> bool {
        let Some(old) = replace(self.head, at, new) else {
            return false;
        };
        if self.layout.transport == Transport::Sctp {
            self.update_crc(at, &old, &new);
        } else if self.field == ChecksumField::Full {
            self.update_transport(csum::delta(&old, &new));
        }
        true
    }

    /// The change of an address, which is in the pseudo-header.
    fn pseudo_header_changed(&mut self, delta: u16) {
        if !matches!(
            self.layout.transport,
            Transport::Tcp | Transport::Udp | Transport::Icmpv6
        ) {
            return;
        }
        match (self.field, self.checksum_at()) {
            (ChecksumField::Full, _) => self.update_transport(delta),
            (ChecksumField::Partial, Some(at)) => {
                self.change(at, |sum: &mut U16| {
                    sum.set(csum::apply_partial(sum.get(), delta));
                });
            }
            (ChecksumField::Partial, None) => {}
        }
    }

    fn update_transport(&mut self, delta: u16) {
        let Some(at) = self.checksum_at() else {
            return;
        };
        let is_udp = self.layout.transport == Transport::Udp;
        self.change(at, |sum: &mut U16| {
            if is_udp {
                sum.set(udp_update(sum.get(), delta));
            } else {
                sum.set(csum::apply(sum.get(), delta));
            }
        });
    }

    fn checksum_at(&self) -> Option<usize> {
        checksum_offset(self.layout.transport).map(|offset| usize::from(self.layout.l4) + offset)
    }

    fn update_crc(&mut self, at: usize, old: &[u8], new: &[u8]) {
        // The first fragment does not say how long the whole is: its CRC is left as it was, and
        // the receiver will notice. A partial one is computed later anyway.
        if self.layout.fragment.is_some() || self.field == ChecksumField::Partial {
            return;
        }
        let after = (self.layout.end as usize).saturating_sub(at + new.len());
        self.change(self.layout.l4.into(), |sctp: &mut Sctp| {
            let crc = u32::from_le_bytes(sctp.checksum);
            sctp.checksum = csum::crc32c_change(crc, old, new, after).to_le_bytes();
        });
    }
}

/// Where the 16-bit checksum is in a transport header.
pub const fn checksum_offset(transport: Transport) -> Option<usize> {
    match transport {
        Transport::Tcp => Some(core::mem::offset_of!(Tcp, checksum)),
        Transport::Udp => Some(core::mem::offset_of!(Udp, checksum)),
        Transport::Icmp | Transport::Icmpv6 => Some(core::mem::offset_of!(Icmp, checksum)),
        Transport::Sctp | Transport::None => None,
    }
}

/// A UDP checksum after a change: none stays none, and one that becomes zero is written as 0xffff
/// (RFC 768).
fn udp_update(checksum: u16, delta: u16) -> u16 {
    match (checksum, csum::apply(checksum, delta)) {
        (0, _) => 0,
        (_, 0) => 0xffff,
        (_, updated) => updated,
    }
}

fn update_ipv4(ip: &mut Ipv4, old: u16, new: u16) {
    ip.checksum.set(csum::update16(ip.checksum.get(), old, new));
}

/// Overwrites bytes and returns what they were.
fn replace<const N: usize>(head: &mut [u8], at: usize, new: [u8; N]) -> Option<[u8; N]> {
    let place = head.get_mut(at..)?.first_chunk_mut::<N>()?;
    Some(core::mem::replace(place, new))
}
