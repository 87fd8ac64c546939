//! The last thing done to a packet before a device takes it: what the device cannot, in software.

use crate::Caps;
use net::gso::{Kind, MAX_HEADER, Segmenter};
use net::headers::{VlanTag, ethertype};
use net::{MacAddr, csum};
use packet::{Csum, Gso, Packet, Pool};

/// Finishes packets for one port.
pub(crate) struct Finisher {
    caps: Caps,
}

/// Why a packet, or the rest of a large frame, was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// It cannot be made into frames that the device takes.
    Frame,
    /// There were no buffers for its segments.
    Buffers,
}

impl Finisher {
    pub(crate) fn new(caps: Caps) -> Finisher {
        Finisher { caps }
    }

    /// Hands to `send` what the device takes for `packet`: most often the packet itself.
    #[inline]
    pub(crate) fn finish(
        &self,
        packet: Packet,
        send: &mut impl FnMut(Packet),
    ) -> Result<(), Unsent> {
        if packet.meta().is_open() {
            return self.finish_open(packet, send);
        }
        send(packet);
        Ok(())
    }

    #[inline(never)]
    fn finish_open(&self, mut packet: Packet, send: &mut impl FnMut(Packet)) -> Result<(), Unsent> {
        let meta = packet.meta();
        // Devices look for IP right behind Ethernet and its tags.
        let hidden = meta.tunnel_len != 0 || !begins_with_ip(packet.head());
        let carried = match meta.gso {
            Gso::None => true,
            Gso::Tcp4 | Gso::Tcp6 => self.caps.tso && !hidden,
            Gso::Udp => self.caps.uso && !hidden,
        };
        if !carried {
            return self.segment(&mut packet, send);
        }
        // There the device would have to look for the inner headers; not all can.
        let completed = self.caps.csum && !hidden;
        if meta.csum == Csum::Partial && !completed && !complete(&mut packet) {
            return Err(Unsent::Frame);
        }
        send(packet);
        Ok(())
    }

    /// Cuts a large frame.
    #[cold]
    fn segment(&self, frame: &mut Packet, send: &mut impl FnMut(Packet)) -> Result<(), Unsent> {
        let meta = *frame.meta();
        let kind = match meta.gso {
            Gso::Udp => Kind::Udp,
            _ => Kind::Tcp,
        };
        if !frame.pull_up(usize::from(meta.hdr_len).min(MAX_HEADER)) {
            return Err(Unsent::Frame);
        }
        let frame = &*frame;
        let pool = frame.pool().ok_or(Unsent::Buffers)?;
        let (head, len) = (frame.head(), frame.len());
        let mut segments = Segmenter::new(head, len, meta.csum_start, kind, meta.gso_size)
            .map_err(|_| Unsent::Frame)?;
        let completed = self.caps.csum && meta.tunnel_len == 0 && begins_with_ip(head);
        while segments.remaining() > 0 {
            let mut packet = one(&mut segments, frame, &pool)?;
            let out = packet.meta_mut();
            out.in_port = meta.in_port;
            out.csum = Csum::Partial;
            out.csum_start = segments.csum_start();
            out.csum_offset = segments.csum_offset();
            out.tunnel_len = meta.tunnel_len;
            if !completed && !complete(&mut packet) {
                return Err(Unsent::Frame);
            }
            send(packet);
        }
        Ok(())
    }
}

/// True if an IP header follows Ethernet and its tags, and neither a label nor an I-TAG.
fn begins_with_ip(head: &[u8]) -> bool {
    let mut at = 2 * size_of::<MacAddr>();
    while let Some(field) = head.get(at..).and_then(|rest| rest.first_chunk()) {
        match u16::from_be_bytes(*field) {
            ethertype::VLAN | ethertype::QINQ => at += VlanTag::LEN,
            other => return matches!(other, ethertype::IPV4 | ethertype::IPV6),
        }
    }
    false
}

/// The next segment of `frame`.
fn one(segments: &mut Segmenter<'_>, frame: &Packet, pool: &Pool) -> Result<Packet, Unsent> {
    let mut packet = pool.alloc().ok_or(Unsent::Buffers)?;
    let segment = segments
        .next_into(packet.spare_mut())
        .ok_or(Unsent::Frame)?;
    packet.grow(segment.header_len);
    match packet.append_range(frame, segment.payload) {
        true => Ok(packet),
        false => Err(Unsent::Buffers),
    }
}

/// Adds up the bytes that a partial checksum leaves open; false if they are not in the packet.
fn complete(packet: &mut Packet) -> bool {
    let meta = packet.meta();
    let start = usize::from(meta.csum_start);
    let field = start + usize::from(meta.csum_offset);
    if field + 2 > packet.len() {
        return false;
    }
    let mut skip = start;
    let sum = csum::complete(packet.segments().map(|segment| {
        let from = skip.min(segment.len());
        skip -= from;
        segment.get(from..).unwrap_or_default()
    }));
    packet.meta_mut().csum = Csum::Valid;
    packet.write_at(field, &sum.to_be_bytes())
}
