//! `struct virtio_net_hdr` to and from a packet's meta data (virtio 1.2, 5.1.6; host byte order as
//! taps and packet sockets use it).

use os::VNET_HEADER;
use packet::{Csum, Gso, Packet};

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Byte 12 of a TCP header: the data offset in words, in its upper half (RFC 9293, 3.1).
const TCP_DATA_OFFSET: usize = 12;
const TCP_MIN: usize = 20;
const UDP_HEADER: usize = 8;

/// Takes what the header says into the packet's meta data; false if it contradicts the frame.
pub(super) fn apply(header: &[u8; VNET_HEADER], packet: &mut Packet) -> bool {
    let [flags, gso_type, _, _, s0, s1, c0, c1, o0, o1] = *header;
    if flags & NEEDS_CSUM == 0 {
        packet.meta_mut().csum = match flags & DATA_VALID {
            0 => Csum::Unknown,
            _ => Csum::Valid,
        };
        return gso_type == GSO_NONE; // a large frame always leaves its checksum open
    }
    let start = u16::from_ne_bytes([c0, c1]);
    let offset = u16::from_ne_bytes([o0, o1]);
    let field_end = usize::from(start) + usize::from(offset) + 2;
    if field_end > packet.len() {
        return false;
    }
    let gso_size = u16::from_ne_bytes([s0, s1]);
    let gso = match gso_type & !GSO_ECN {
        GSO_NONE => Gso::None,
        GSO_TCPV4 => Gso::Tcp4,
        GSO_TCPV6 => Gso::Tcp6,
        GSO_UDP_L4 => Gso::Udp,
        _ => return false,
    };
    let Some(hdr_len) = header_length(packet, gso, usize::from(start)) else {
        return false;
    };
    if gso != Gso::None && gso_size == 0 {
        return false;
    }
    let meta = packet.meta_mut();
    meta.csum = Csum::Partial;
    meta.csum_start = start;
    meta.csum_offset = offset;
    meta.gso = gso;
    meta.gso_size = gso_size;
    meta.gso_ecn = gso_type & GSO_ECN != 0;
    meta.hdr_len = hdr_len;
    true
}

/// Length of all headers of a large frame, read from the frame: the kernel's own `hdr_len` is a hint.
/// Zero for an ordinary frame, None if the headers are not whole.
fn header_length(packet: &Packet, gso: Gso, start: usize) -> Option<u16> {
    let head = packet.head();
    let end = match gso {
        Gso::None => return Some(0),
        Gso::Udp => start + UDP_HEADER,
        Gso::Tcp4 | Gso::Tcp6 => {
            let words = head.get(start + TCP_DATA_OFFSET)? >> 4;
            let len = usize::from(words) * 4;
            if len < TCP_MIN {
                return None;
            }
            start + len
        }
    };
    u16::try_from(end).ok().filter(|_| end <= head.len())
}

/// The header for a packet about to be written.
pub(super) fn of(packet: &Packet) -> [u8; VNET_HEADER] {
    let meta = packet.meta();
    let mut header = [0; VNET_HEADER];
    let [flags, gso_type, h0, h1, s0, s1, c0, c1, o0, o1] = &mut header;
    match meta.csum {
        Csum::Unknown => return header,
        Csum::Valid => {
            *flags = DATA_VALID;
            return header;
        }
        Csum::Partial => *flags = NEEDS_CSUM,
    }
    [*c0, *c1] = meta.csum_start.to_ne_bytes();
    [*o0, *o1] = meta.csum_offset.to_ne_bytes();
    *gso_type = match meta.gso {
        Gso::None => return header,
        Gso::Tcp4 => GSO_TCPV4,
        Gso::Tcp6 => GSO_TCPV6,
        Gso::Udp => GSO_UDP_L4,
    };
    if meta.gso_ecn {
        *gso_type |= GSO_ECN;
    }
    [*h0, *h1] = meta.hdr_len.to_ne_bytes();
    [*s0, *s1] = meta.gso_size.to_ne_bytes();
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Pool;

    /// An Ethernet, IPv4, TCP frame with a 24-byte TCP header at 34.
    fn frame() -> Packet {
        let mut bytes = vec![0; 3000];
        bytes[34 + TCP_DATA_OFFSET] = 6 << 4;
        Packet::from_slice(&Pool::heap(2048), &bytes).unwrap()
    }

    fn header(flags: u8, gso: u8, size: u16, start: u16, offset: u16) -> [u8; VNET_HEADER] {
        let [s, c, o] = [size, start, offset].map(u16::to_ne_bytes);
        [flags, gso, 0, 0, s[0], s[1], c[0], c[1], o[0], o[1]]
    }

    #[test]
    fn what_was_read_is_written_back() {
        for (flags, gso) in [
            (NEEDS_CSUM, GSO_NONE),
            (NEEDS_CSUM, GSO_TCPV4 | GSO_ECN),
            (NEEDS_CSUM, GSO_TCPV6),
            (NEEDS_CSUM, GSO_UDP_L4),
        ] {
            let size = if gso == GSO_NONE { 0 } else { 1448 };
            let raw = header(flags, gso, size, 34, 16);
            let mut packet = frame();
            assert!(apply(&raw, &mut packet));
            let mut back = of(&packet);
            let hdr_len = u16::from_ne_bytes([back[2], back[3]]);
            let expected = match gso {
                GSO_NONE => 0,
                GSO_UDP_L4 => 42,
                _ => 58,
            };
            assert_eq!(hdr_len, expected, "computed from the frame, not copied");
            back[2..4].fill(0);
            assert_eq!(back, raw);
        }
    }

    #[test]
    fn a_frame_nobody_checked_is_unknown_and_a_checked_one_valid() {
        let mut packet = frame();
        assert!(apply(&[0; VNET_HEADER], &mut packet));
        assert_eq!(packet.meta().csum, Csum::Unknown);
        assert!(apply(&header(DATA_VALID, 0, 0, 0, 0), &mut packet));
        assert_eq!(packet.meta().csum, Csum::Valid);
        assert_eq!(of(&packet)[0], DATA_VALID);
    }

    #[test]
    fn a_header_that_contradicts_the_frame_is_refused() {
        for (what, raw) in [
            (
                "checksum behind the end",
                header(NEEDS_CSUM, 0, 0, 2990, 16),
            ),
            (
                "large without open checksum",
                header(0, GSO_TCPV4, 1448, 34, 16),
            ),
            (
                "large with size zero",
                header(NEEDS_CSUM, GSO_TCPV4, 0, 34, 16),
            ),
            (
                "a kind never asked for",
                header(NEEDS_CSUM, 3, 1448, 34, 16),
            ),
            (
                "TCP header too short",
                header(NEEDS_CSUM, GSO_TCPV4, 1448, 50, 16),
            ),
            (
                "headers not in the first segment",
                header(NEEDS_CSUM, GSO_UDP_L4, 1448, 2045, 6),
            ),
        ] {
            assert!(!apply(&raw, &mut frame()), "{what}");
        }
    }
}
