//! Segmentation of large TCP and UDP frames, where they leave on a port that cannot do it.
//!
//! A [`Segmenter`] yields, for each segment, its complete headers and the range of the frame's
//! payload that follows them; the caller puts the two together without this module seeing packet
//! buffers. The transport checksum of a segment is left partial, as it was in the frame, to be
//! completed by [`crate::csum::complete`] or by the device. Outer headers of Geneve and VXLAN are
//! complete, their UDP checksum included.

use core::fmt;
use core::ops::Range;

use crate::FlowKey;
use crate::csum;
use crate::edit::checksum_offset;
use crate::headers::{Ipv4, Ipv6, Tcp, Udp, proto, view_mut};
use crate::parse::{Layout, Network, Transport, behind_shims, extract};
use crate::tunnel::{Encapsulation, arrived, checksum_over_partial};

/// Most bytes of headers that a segment has; the size of the buffer for them.
pub const MAX_HEADER: usize = 384;

/// What a large frame is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP segments, over either IP.
    Tcp,
    /// UDP datagrams of one size, the last one maybe shorter (Linux's `UDP_L4`).
    Udp,
}

/// Why a frame cannot be segmented; it is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotSegmentable {
    /// Headers broken, too long, or not where the frame's checksum start says.
    Headers,
    /// Not of the kind it is said to be, or a fragment.
    Kind,
    /// A segment size of zero, or one with which a segment exceeds an IP packet.
    Size,
}

impl fmt::Display for NotSegmentable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotSegmentable::Headers => "large frame with headers that cannot be repeated",
            NotSegmentable::Kind => "large frame of another kind than it is said to be",
            NotSegmentable::Size => "large frame with an impossible segment size",
        })
    }
}

impl core::error::Error for NotSegmentable {}

/// One segment: its headers are in the caller's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Bytes of headers written.
    pub header_len: usize,
    /// The frame's bytes that follow them.
    pub payload: Range<usize>,
}

/// Cuts one frame; an iterator whose items go to a caller's buffer.
#[derive(Debug)]
pub struct Segmenter<'a> {
    /// The frame's headers.
    header: &'a [u8],
    /// The outer headers, for a frame in a tunnel.
    outer: Option<Layout>,
    /// The headers that are repeated, offsets from the frame's first byte.
    inner: Layout,
    size: usize,
    /// Payload not yet given out.
    rest: Range<usize>,
    index: u32,
    done: bool,
}

impl<'a> Segmenter<'a> {
    /// For a frame of `total_len` bytes that begins with `head`, whose innermost transport header
    /// is at `csum_start` and holds a partial checksum; `size` is the payload of a segment in
    /// bytes. All headers must be in `head`.
    ///
    /// # Errors
    /// [`NotSegmentable`]; the frame is to be dropped.
    pub fn new(
        head: &'a [u8],
        total_len: usize,
        csum_start: u16,
        kind: Kind,
        size: u16,
    ) -> Result<Self, NotSegmentable> {
        let (outer, inner) = layouts(head, total_len, csum_start)?;
        let wanted = match kind {
            Kind::Tcp => Transport::Tcp,
            Kind::Udp => Transport::Udp,
        };
        if inner.transport != wanted || inner.fragment.is_some() {
            return Err(NotSegmentable::Kind);
        }
        let payload = usize::from(inner.payload);
        let header = head.get(..payload).ok_or(NotSegmentable::Headers)?;
        let l3 = outer.unwrap_or(inner).l3;
        let longest = payload - usize::from(l3) + usize::from(size);
        if size == 0 || longest > usize::from(u16::MAX) {
            return Err(NotSegmentable::Size);
        }
        if header.len() > MAX_HEADER {
            return Err(NotSegmentable::Headers);
        }
        Ok(Segmenter {
            header,
            outer,
            inner,
            size: size.into(),
            rest: payload..inner.end as usize,
            index: 0,
            done: false,
        })
    }

    /// Segments that are still to come.
    pub fn remaining(&self) -> usize {
        if self.done {
            0
        } else {
            self.rest.len().div_ceil(self.size).max(1)
        }
    }

    /// Where the transport checksum of every segment is, from [`Segmenter::csum_start`] on.
    pub fn csum_offset(&self) -> u16 {
        checksum_offset(self.inner.transport).unwrap_or(0) as u16
    }

    /// Where the innermost transport header of every segment is.
    pub fn csum_start(&self) -> u16 {
        self.inner.l4
    }

    /// Writes the headers of the next segment into `out` ([`MAX_HEADER`] bytes suffice). None
    /// after the last one, or if `out` is too short.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<Segment> {
        if self.done {
            return None;
        }
        let out = out.get_mut(..self.header.len())?;
        out.copy_from_slice(self.header);
        let len = self.rest.len().min(self.size);
        let payload = self.rest.start..self.rest.start + len;
        self.rest.start = payload.end;
        let first = self.index == 0;
        let last = self.rest.is_empty();
        self.done = last;

        let transport_len = self.header.len() - usize::from(self.inner.l4) + len;
        let protocol = match self.inner.transport {
            Transport::Tcp => self.tcp(out, first, last),
            _ => self.udp(out, transport_len as u16),
        };
        let partial = self.network(out, &self.inner, transport_len, protocol);
        if let Some(sum) = self.checksum(out) {
            sum.set(partial);
        }
        if let Some(outer) = self.outer {
            self.tunnel(out, &outer, len, partial);
        }
        self.index += 1;
        Some(Segment {
            header_len: self.header.len(),
            payload,
        })
    }

    /// Sequence number and flags; the protocol for the pseudo-header.
    fn tcp(&self, out: &mut [u8], first: bool, last: bool) -> u8 {
        const CWR: u16 = 0x80;
        const FIN_PSH: u16 = 0x09;
        if let Some(tcp) = view_mut::<Tcp>(out, self.inner.l4.into()) {
            let before = self.index.wrapping_mul(self.size as u32);
            tcp.seq.set(tcp.seq.get().wrapping_add(before));
            let mut offset_flags = tcp.offset_flags.get();
            if !first {
                // The window was reduced once (RFC 3168 6.1.2).
                offset_flags &= !CWR;
            }
            if !last {
                offset_flags &= !FIN_PSH;
            }
            tcp.offset_flags.set(offset_flags);
        }
        proto::TCP
    }

    fn udp(&self, out: &mut [u8], len: u16) -> u8 {
        if let Some(udp) = view_mut::<Udp>(out, self.inner.l4.into()) {
            udp.len.set(len);
        }
        proto::UDP
    }

    /// Lengths, identification and header checksum of the inner packet; returns the sum of its
    /// pseudo-header.
    fn network(&self, out: &mut [u8], layout: &Layout, transport_len: usize, protocol: u8) -> u16 {
        let l3 = usize::from(layout.l3);
        let len = usize::from(layout.l4) - l3 + transport_len;
        match layout.network {
            Network::Ipv4 => ipv4(out, l3, len as u16, self.index as u16).map(|ip| {
                csum::pseudo_ipv4(ip.src, ip.dst, protocol, transport_len as u32).partial()
            }),
            _ => ipv6(out, l3, len).map(|ip| {
                csum::pseudo_ipv6(&ip.src, &ip.dst, protocol, transport_len as u32).partial()
            }),
        }
        .unwrap_or(0)
    }

    fn checksum<'b>(&self, out: &'b mut [u8]) -> Option<&'b mut zerocopy::big_endian::U16> {
        let at = usize::from(self.inner.l4) + checksum_offset(self.inner.transport)?;
        view_mut(out, at)
    }

    /// Lengths and checksums of the outer headers.
    fn tunnel(&self, out: &mut [u8], outer: &Layout, len: usize, partial: u16) {
        let l4 = usize::from(outer.l4);
        let udp_len = self.header.len() - l4 + len;
        let Some(udp) = view_mut::<Udp>(out, l4) else {
            return;
        };
        udp.len.set(udp_len as u16);
        let with_sum = udp.checksum.get() != 0;
        udp.checksum.set(0);
        let pseudo = self.network(out, outer, udp_len, proto::UDP);
        if with_sum && let Some(between) = out.get(l4..usize::from(self.inner.l4)) {
            let sum = checksum_over_partial(pseudo, between, partial);
            if let Some(udp) = view_mut::<Udp>(out, l4) {
                udp.checksum.set(sum);
            }
        }
    }
}

/// The frame's outer headers, if it is in a tunnel, and the ones whose transport is at
/// `csum_start`.
fn layouts(
    head: &[u8],
    total_len: usize,
    csum_start: u16,
) -> Result<(Option<Layout>, Layout), NotSegmentable> {
    let mut key = FlowKey::default();
    let mut outer = extract(head, total_len, &mut key).map_err(|_| NotSegmentable::Headers)?;
    if let Some(behind) = behind_shims(head, total_len, &outer) {
        outer = behind;
    }
    if outer.malformed.is_some() || outer.transport == Transport::None {
        return Err(NotSegmentable::Headers);
    }
    if outer.l4 == csum_start {
        return Ok((None, outer));
    }
    let encapsulation = [Encapsulation::Geneve, Encapsulation::Vxlan]
        .into_iter()
        .find(|encapsulation| encapsulation.port() == key.tp_dst.get())
        .ok_or(NotSegmentable::Headers)?;
    let start = arrived(head, &outer, encapsulation)
        .map_err(|_| NotSegmentable::Headers)?
        .inner;
    let inside = head.get(start.into()..).ok_or(NotSegmentable::Headers)?;
    let inside_len = total_len.saturating_sub(start.into());
    let mut inner = extract(inside, inside_len, &mut key).map_err(|_| NotSegmentable::Headers)?;
    if let Some(behind) = behind_shims(inside, inside_len, &inner) {
        inner = behind;
    }
    inner.l3 += start;
    inner.l4 += start;
    inner.payload += start;
    inner.end += u32::from(start);
    if inner.malformed.is_some() || inner.l4 != csum_start {
        return Err(NotSegmentable::Headers);
    }
    Ok((Some(outer), inner))
}

fn ipv4(out: &mut [u8], l3: usize, len: u16, index: u16) -> Option<Ipv4> {
    let ip = view_mut::<Ipv4>(out, l3)?;
    let header_len = ip.header_len();
    ip.total_len.set(len);
    // Distinct, as if they had been sent one by one; Linux does the same.
    ip.id.set(ip.id.get().wrapping_add(index));
    ip.checksum.set(0);
    let sum = csum::ipv4_header(out.get(l3..l3 + header_len)?);
    let ip = view_mut::<Ipv4>(out, l3)?;
    ip.checksum.set(sum);
    Some(*ip)
}

fn ipv6(out: &mut [u8], l3: usize, len: usize) -> Option<Ipv6> {
    let ip = view_mut::<Ipv6>(out, l3)?;
    ip.payload_len.set(len.saturating_sub(Ipv6::LEN) as u16);
    Some(*ip)
}
