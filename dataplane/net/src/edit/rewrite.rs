//! Many fields changed at once: what routing and translation do to nearly every packet.
//!
//! [`Editor`] looks for one header at a time and folds one checksum update after the other. For TCP
//! and UDP over IPv4 without options all of it is one pass with two sums, since what an update adds
//! to a checksum (RFC 1624, eqn. 3) can be added up first. Other packets are changed by [`Editor`];
//! the result is the same to the bit, which a property test holds.

// Indices are constants below the length of the chunk they are used on.
#![allow(clippy::indexing_slicing)]

use zerocopy::{Immutable, IntoBytes};

use super::{ChecksumField, Editor};
use crate::MacAddr;
use crate::headers::{Ipv4, Tcp, Udp};
use crate::parse::{Layout, Network, Transport};

/// Changes of link-layer addresses, IPv4 addresses, ports, traffic class and time to live.
///
/// A field that a packet does not have stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rewrite {
    macs: Masked<12>,
    fields: Masked<12>,
    /// Those of the fields that are given with each packet; the masks do not overlap.
    given: [u8; 12],
    tos: Option<u8>,
    ttl: Ttl,
}

/// Addresses and ports that are given with each packet, as they are on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, IntoBytes, Immutable)]
#[repr(C)]
pub struct Given {
    /// IPv4 source address.
    pub src: [u8; 4],
    /// IPv4 destination address.
    pub dst: [u8; 4],
    /// Source port.
    pub src_port: [u8; 2],
    /// Destination port.
    pub dst_port: [u8; 2],
}

/// A field that can be [`Given`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// IPv4 source address.
    Ipv4Src,
    /// IPv4 destination address.
    Ipv4Dst,
    /// Source port.
    SrcPort,
    /// Destination port.
    DstPort,
}

/// What is done to the time to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Ttl {
    #[default]
    Kept,
    Set(u8),
    Down(u8),
}

/// Bytes of which those under the mask are written; value bytes beyond it are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Masked<const N: usize> {
    value: [u8; N],
    mask: [u8; N],
}

/// Where things are in [`Rewrite::fields`], which is the end of an IPv4 header and the ports.
const SRC: usize = 0;
const DST: usize = 4;
const SRC_PORT: usize = 8;
const DST_PORT: usize = 10;

impl Rewrite {
    /// Sets the destination MAC address.
    pub fn eth_dst(&mut self, mac: MacAddr) {
        self.macs.set(0, mac.0);
    }

    /// Sets the source MAC address.
    pub fn eth_src(&mut self, mac: MacAddr) {
        self.macs.set(6, mac.0);
    }

    /// Sets the IPv4 source address.
    pub fn ipv4_src(&mut self, address: [u8; 4]) {
        self.set(SRC, address);
    }

    /// Sets the IPv4 destination address.
    pub fn ipv4_dst(&mut self, address: [u8; 4]) {
        self.set(DST, address);
    }

    /// Sets the source port.
    pub fn src_port(&mut self, port: u16) {
        self.set(SRC_PORT, port.to_be_bytes());
    }

    /// Sets the destination port.
    pub fn dst_port(&mut self, port: u16) {
        self.set(DST_PORT, port.to_be_bytes());
    }

    /// Sets DSCP and ECN.
    pub fn tos(&mut self, tos: u8) {
        self.tos = Some(tos);
    }

    /// Sets the time to live or hop limit.
    pub fn ttl(&mut self, ttl: u8) {
        self.ttl = Ttl::Set(ttl);
    }

    /// Counts the time to live or hop limit down, to 0 at least. False, and nothing noted, if
    /// something is done to it already.
    pub fn ttl_down(&mut self, steps: u8) -> bool {
        let first = self.ttl == Ttl::Kept;
        if first {
            self.ttl = Ttl::Down(steps);
        }
        first
    }

    /// Sets a field to what is given with the packet.
    pub fn given(&mut self, field: Field) {
        match field {
            Field::Ipv4Src => self.take::<4>(SRC),
            Field::Ipv4Dst => self.take::<4>(DST),
            Field::SrcPort => self.take::<2>(SRC_PORT),
            Field::DstPort => self.take::<2>(DST_PORT),
        }
    }

    fn set<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.fields.set(at, bytes);
        self.given[at..at + N].fill(0);
    }

    fn take<const N: usize>(&mut self, at: usize) {
        self.fields.set(at, [0; N]);
        self.given[at..at + N].fill(0xff);
    }

    /// True if nothing but link-layer addresses is changed.
    pub fn is_link_layer(&self) -> bool {
        self.fields.mask == [0; 12] && self.tos.is_none() && self.ttl == Ttl::Kept
    }

    /// Changes the link-layer addresses of a frame, whatever is behind them.
    #[inline]
    pub fn link_layer(&self, frame: &mut [u8]) {
        if let Some(place) = frame.first_chunk_mut() {
            self.macs.write(place);
        }
    }

    /// Makes the changes to a packet.
    pub fn apply(&self, head: &mut [u8], layout: &Layout, checksum: ChecksumField, given: &Given) {
        self.apply_inline(head, layout, checksum, given);
    }

    /// True if addresses or ports behind the link layer are changed, and with them the checksum of the
    /// transport header.
    #[inline]
    pub fn changes_tuple(&self) -> bool {
        self.fields.mask != [0; 12]
    }

    /// As [`Rewrite::apply`], for loops over packets.
    #[inline(always)]
    pub fn apply_inline(
        &self,
        head: &mut [u8],
        layout: &Layout,
        checksum: ChecksumField,
        given: &Given,
    ) {
        let l3 = usize::from(layout.l3);
        let plain = layout.network == Network::Ipv4 && usize::from(layout.l4) == l3 + Ipv4::LEN;
        if plain && let Some((ethernet, rest)) = head.split_at_mut_checked(l3) {
            const TCP: usize = Ipv4::LEN + Tcp::LEN;
            const UDP: usize = Ipv4::LEN + Udp::LEN;
            const TCP_SUM: usize = Ipv4::LEN + core::mem::offset_of!(Tcp, checksum);
            const UDP_SUM: usize = Ipv4::LEN + core::mem::offset_of!(Udp, checksum);
            if let Some(ethernet) = ethernet.first_chunk_mut() {
                match layout.transport {
                    Transport::Tcp => {
                        if let Some(ip) = rest.first_chunk_mut::<TCP>() {
                            self.macs.write(ethernet);
                            return self.at_once::<TCP, TCP_SUM, false>(ip, checksum, given);
                        }
                    }
                    Transport::Udp => {
                        if let Some(ip) = rest.first_chunk_mut::<UDP>() {
                            self.macs.write(ethernet);
                            return self.at_once::<UDP, UDP_SUM, true>(ip, checksum, given);
                        }
                    }
                    _ => {}
                }
            }
        }
        self.one_by_one(head, layout, checksum, given);
    }

    /// Everything above Ethernet, in an IPv4 header without options and the transport header behind
    /// it, whose checksum is at `SUM`.
    ///
    /// One's complement sums do not depend on the order of bytes (RFC 1071 2 (B)), so all words are
    /// taken as the processor has them. Each sum gets exactly the terms that the single updates
    /// would add: so it is zero only where theirs is, and there are no two ways to write it.
    #[inline(always)]
    fn at_once<const LEN: usize, const SUM: usize, const IS_UDP: bool>(
        &self,
        ip: &mut [u8; LEN],
        checksum: ChecksumField,
        given: &Given,
    ) {
        const CHECKSUM: usize = core::mem::offset_of!(Ipv4, checksum);
        let mut sum = 0;
        if let Some(tos) = self.tos {
            let old = get16(ip, 0);
            ip[1] = tos;
            sum += changed(old, get16(ip, 0));
        }
        if self.ttl != Ttl::Kept {
            let old = get16(ip, 8);
            ip[8] = self.ttl.of(ip[8]);
            sum += changed(old, get16(ip, 8));
        }
        if self.fields.mask != [0; 12] {
            let (addresses, ports) = self.fields.replace(ip, self.fields_of(given));
            sum += addresses;
            let old = get16(ip, SUM);
            if checksum == ChecksumField::Partial {
                put16(ip, SUM, fold(addresses + u64::from(old)));
            } else if !(IS_UDP && old == 0) {
                // Without a checksum it stays without (RFC 768).
                let new = !fold(addresses + ports + u64::from(!old));
                let zero_means_none = IS_UDP && new == 0;
                put16(ip, SUM, if zero_means_none { 0xffff } else { new });
            }
        }
        if sum != 0 {
            let old = get16(ip, CHECKSUM);
            put16(ip, CHECKSUM, !fold(sum + u64::from(!old)));
        }
    }

    /// What is written behind the link-layer addresses.
    #[inline(always)]
    fn fields_of(&self, given: &Given) -> (u64, u32) {
        let given: [u8; 12] = zerocopy::transmute!(*given);
        let ((g8, g4), (m8, m4)) = (split(&given), split(&self.given));
        let (v8, v4) = split(&self.fields.value);
        (v8 | (g8 & m8), v4 | (g4 & m4))
    }

    /// The same, field by field.
    #[inline(never)]
    fn one_by_one(&self, head: &mut [u8], layout: &Layout, checksum: ChecksumField, given: &Given) {
        let mut editor = Editor::new(head, layout, checksum);
        let (macs, mut fields) = (&self.macs, self.fields);
        let (low, high) = self.fields_of(given);
        put(&mut fields.value, low, high);
        let mut has_all = true;
        if let Some(mac) = macs.get(0) {
            has_all &= editor.set_eth_dst(MacAddr(mac));
        }
        if let Some(mac) = macs.get(6) {
            has_all &= editor.set_eth_src(MacAddr(mac));
        }
        if let Some(address) = fields.get(SRC) {
            has_all &= editor.set_ipv4_src(address);
        }
        if let Some(address) = fields.get(DST) {
            has_all &= editor.set_ipv4_dst(address);
        }
        if let Some(tos) = self.tos {
            has_all &= editor.set_tos(tos);
        }
        if self.ttl != Ttl::Kept
            && let Some(ttl) = editor.ttl()
        {
            has_all &= editor.set_ttl(self.ttl.of(ttl));
        }
        if let Some(port) = fields.get(SRC_PORT) {
            has_all &= editor.set_src_port(u16::from_be_bytes(port));
        }
        if let Some(port) = fields.get(DST_PORT) {
            has_all &= editor.set_dst_port(u16::from_be_bytes(port));
        }
        let _a_field_may_be_missing = has_all;
    }
}

impl Ttl {
    #[inline(always)]
    fn of(self, ttl: u8) -> u8 {
        match self {
            Ttl::Kept => ttl,
            Ttl::Set(new) => new,
            Ttl::Down(steps) => ttl.saturating_sub(steps),
        }
    }
}

impl<const N: usize> Default for Masked<N> {
    fn default() -> Self {
        Masked {
            value: [0; N],
            mask: [0; N],
        }
    }
}

impl<const N: usize> Masked<N> {
    fn set<const M: usize>(&mut self, at: usize, bytes: [u8; M]) {
        self.value[at..at + M].copy_from_slice(&bytes);
        self.mask[at..at + M].fill(0xff);
    }

    /// The bytes at a place, if they are to be written.
    fn get<const M: usize>(&self, at: usize) -> Option<[u8; M]> {
        let bytes = self.value[at..].first_chunk().copied();
        bytes.filter(|_| self.mask[at] != 0)
    }
}

impl Masked<12> {
    #[inline(always)]
    fn write(&self, place: &mut [u8; 12]) {
        let ((v8, v4), (m8, m4)) = (split(&self.value), split(&self.mask));
        if m8 | u64::from(m4) == 0 {
            return;
        }
        let (o8, o4) = split(place);
        put(place, (o8 & !m8) | v8, (o4 & !m4) | v4);
    }

    /// Overwrites addresses and ports, which are in one piece without IPv4 options, with these
    /// values under the mask; returns what that adds to the sums of the addresses and of the ports.
    #[inline(always)]
    fn replace<const LEN: usize>(&self, ip: &mut [u8; LEN], (v8, v4): (u64, u32)) -> (u64, u64) {
        const AT: usize = core::mem::offset_of!(Ipv4, src);
        let Some(place) = ip[AT..].first_chunk_mut::<12>() else {
            return (0, 0);
        };
        let (m8, m4) = split(&self.mask);
        let (o8, o4) = split(place);
        put(place, (o8 & !m8) | v8, (o4 & !m4) | v4);
        let halves = |word: u64| (word >> 32) + (word & 0xffff_ffff);
        let addresses = halves(v8) + halves(!o8 & m8);
        let ports = u64::from(v4) + u64::from(!o4 & m4);
        (addresses, ports)
    }
}

/// Twelve bytes as two words.
#[inline(always)]
fn split(bytes: &[u8; 12]) -> (u64, u32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
    (
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
    )
}

#[inline(always)]
fn put(place: &mut [u8; 12], low: u64, high: u32) {
    place[..8].copy_from_slice(&low.to_ne_bytes());
    place[8..].copy_from_slice(&high.to_ne_bytes());
}

/// What the change of a word adds to a sum.
#[inline(always)]
fn changed(old: u16, new: u16) -> u64 {
    u64::from(!old) + u64::from(new)
}

#[inline(always)]
fn get16<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
fn put16<const LEN: usize>(bytes: &mut [u8; LEN], at: usize, word: u16) {
    let [a, b] = word.to_ne_bytes();
    (bytes[at], bytes[at + 1]) = (a, b);
}

/// A sum below 2^48 folded to 16 bits, zero only if it is zero.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}
