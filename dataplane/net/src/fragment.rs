//! Which part of a datagram a fragment carries (RFC 791 3.2, RFC 8200 4.5).

use core::net::IpAddr;

use crate::headers::{Ipv4, Ipv6, Ipv6Fragment, proto, view};
use crate::parse::{Layout, Network};

/// A fragment's place in its datagram, and what all fragments of that datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    /// Source.
    pub src: IpAddr,
    /// Destination, of the same family.
    pub dst: IpAddr,
    /// Identification.
    pub id: u32,
    /// Protocol of an IPv4 datagram, which is part of its identity; 0 for IPv6, where it is not.
    pub proto: u8,
    /// First byte that it carries, counted from the beginning of the fragmented part.
    pub start: u32,
    /// Behind the last byte that it carries; beyond 65,535 in fragments that nobody may send.
    pub end: u32,
    /// It is the last one.
    pub last: bool,
}

impl Piece {
    /// Of a packet that was parsed; none if it is no fragment.
    pub fn of(head: &[u8], layout: &Layout) -> Option<Self> {
        let fragment = layout.fragment?;
        let l3 = usize::from(layout.l3);
        let (src, dst, proto, data) = match layout.network {
            Network::Ipv4 => {
                let ip: &Ipv4 = view(head, l3)?;
                let data = l3 + ip.header_len();
                (ip.src.into(), ip.dst.into(), ip.proto, data)
            }
            Network::Ipv6 => {
                let ip: &Ipv6 = view(head, l3)?;
                let data = behind_fragment_header(head, l3, ip.next_header)?;
                (ip.src.into(), ip.dst.into(), 0, data)
            }
            _ => return None,
        };
        let start = u32::from(fragment.offset);
        Some(Piece {
            src,
            dst,
            id: fragment.id,
            proto,
            start,
            end: start + layout.end.saturating_sub(data as u32),
            last: !fragment.more,
        })
    }

    /// True if no sender may send such a fragment: empty, longer than a datagram can be, or, as
    /// the next one could not begin where it ends, not of a multiple of eight bytes.
    pub const fn is_impossible(&self) -> bool {
        self.end <= self.start || self.end > 0xffff || (!self.last && !self.end.is_multiple_of(8))
    }
}

/// First byte behind the first fragment header of an IPv6 packet.
fn behind_fragment_header(head: &[u8], l3: usize, first: u8) -> Option<usize> {
    let (mut kind, mut at) = (first, l3 + Ipv6::LEN);
    loop {
        let [next, units] = *view::<[u8; 2]>(head, at)?;
        at += match kind {
            proto::FRAGMENT => return Some(at + Ipv6Fragment::LEN),
            proto::AUTH => (usize::from(units) + 2) * 4,
            proto::HOP_BY_HOP
            | proto::ROUTING
            | proto::DESTINATION
            | proto::MOBILITY
            | proto::HIP
            | proto::SHIM6 => (usize::from(units) + 1) * 8,
            _ => return None,
        };
        kind = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FlowKey;
    use crate::parse::extract;

    fn piece(frame: &[u8]) -> Option<Piece> {
        let layout = extract(frame, frame.len(), &mut FlowKey::default()).unwrap();
        Piece::of(frame, &layout)
    }

    #[test]
    fn ipv4_padding_does_not_count_and_whole_packets_are_none() {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 28, 0xab, 0xcd, 0x20, 3, 64, 17, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([7; 26]);
        let found = piece(&frame).unwrap();
        assert_eq!((found.start, found.end, found.last), (24, 32, false));
        assert_eq!((found.id, found.proto), (0xabcd, 17));
        assert!(!found.is_impossible());
        frame[17] = 29;
        assert!(piece(&frame).unwrap().is_impossible());
        frame[20] = 0;
        assert!(piece(&frame).unwrap().last);
        frame[21] = 0;
        frame[38..40].copy_from_slice(&[0, 9]);
        assert_eq!(piece(&frame), None);
    }

    #[test]
    fn ipv6_counts_from_behind_the_fragment_header_whatever_stands_around_it() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8 + 8 + 8 + 16, 0, 64]);
        frame.extend([1; 16]);
        frame.extend([2; 16]);
        frame.extend([44, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop
        frame.extend([60, 0, 0, 1, 0, 0, 0, 9]); // fragment, first
        frame.extend([17, 0, 1, 4, 0, 0, 0, 0]); // destination options
        frame.extend([0, 1, 0, 2, 0, 99, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let found = piece(&frame).unwrap();
        assert_eq!((found.start, found.end, found.last), (0, 24, false));
        assert_eq!((found.id, found.proto), (9, 0));
        // An atomic fragment is a whole packet (RFC 6946).
        frame[65] = 0;
        frame[74..76].copy_from_slice(&[0, 16]);
        assert_eq!(piece(&frame), None);
    }
}
