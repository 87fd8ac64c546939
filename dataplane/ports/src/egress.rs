//! The last thing done to a packet before a device takes it: what the device cannot, in software.

use crate::Caps;
use net::csum::Sum;
use packet::{Csum, Gso, Packet};

/// Finishes packets for one port.
pub(crate) struct Finisher {
    caps: Caps,
}

impl Finisher {
    pub(crate) fn new(caps: Caps) -> Finisher {
        Finisher { caps }
    }

    /// Hands to `send` what the device takes for `packet`: most often the packet itself. False if it
    /// cannot be made into anything the device takes; then nothing is sent.
    #[inline]
    pub(crate) fn finish(&self, mut packet: Packet, send: &mut impl FnMut(Packet)) -> bool {
        let meta = packet.meta();
        let carried = match meta.gso {
            Gso::None => true,
            // A large frame inside a tunnel has two sets of lengths; no device here knows both.
            _ if meta.tunnel_len != 0 => false,
            Gso::Tcp4 | Gso::Tcp6 => self.caps.tso,
            Gso::Udp => self.caps.uso,
        };
        if !carried {
            return false;
        }
        let open = meta.csum == Csum::Partial;
        if open && (!self.caps.csum || meta.tunnel_len != 0) && !finish_checksum(&mut packet) {
            return false;
        }
        send(packet);
        true
    }
}

/// Adds up the bytes that a partial checksum leaves open; false if they are not in the packet.
pub(crate) fn finish_checksum(packet: &mut Packet) -> bool {
    let meta = packet.meta();
    let start = usize::from(meta.csum_start);
    let field = start + usize::from(meta.csum_offset);
    if field + 2 > packet.len() {
        return false;
    }
    let mut skip = start;
    let mut sum = Sum::default();
    for segment in packet.segments() {
        let from = skip.min(segment.len());
        skip -= from;
        sum = sum.bytes(segment.get(from..).unwrap_or_default());
    }
    let done = packet.write_at(field, &sum.nonzero_checksum().to_be_bytes());
    packet.meta_mut().csum = Csum::Valid;
    done
}
