//! The shape that nearly all packets have: at most one 802.1Q tag, IPv4 without options or
//! fragmentation, TCP or UDP, not from a tunnel. Every field is at a constant offset then, and
//! the length is checked once.

// Offsets are constants below the chunk's length, which `first_chunk` has checked.
#![allow(clippy::indexing_slicing)]

use super::{ExactKey, KeyMask, shape};
use crate::headers::{Ipv4, Tcp, Udp, ethertype, proto};
use crate::key::VLAN_PRESENT;
use crate::parse::{Layout, Network, Transport};

/// Bytes up to the end of a TCP header without options; what is read behind a tag is within them too.
const BYTES: usize = 14 + Ipv4::LEN + Tcp::LEN;

/// Reads the key and layout of such a packet; false for others, and for those that look odd in any way.
#[inline(always)]
pub(super) fn read(
    head: &[u8],
    total_len: usize,
    in_port: u32,
    mask: &KeyMask,
    key: &mut ExactKey,
    layout: &mut Layout,
) -> bool {
    let head_len = head.len();
    let Some(bytes) = head.first_chunk::<BYTES>() else {
        return false;
    };
    match u16::from_be_bytes([bytes[12], bytes[13]]) {
        ethertype::IPV4 => read_at::<14>(bytes, head_len, total_len, in_port, mask, key, layout),
        ethertype::VLAN if u16::from_be_bytes([bytes[16], bytes[17]]) == ethertype::IPV4 => {
            read_at::<18>(bytes, head_len, total_len, in_port, mask, key, layout)
        }
        _ => false,
    }
}

#[inline(always)]
fn read_at<const L3: usize>(
    bytes: &[u8; BYTES],
    head_len: usize,
    total_len: usize,
    in_port: u32,
    mask: &KeyMask,
    key: &mut ExactKey,
    layout: &mut Layout,
) -> bool {
    let word16 = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let word32 =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let word64 =
        |at: usize| (u64::from(word32(at)) << 32) | u64::from(word32(at + size_of::<u32>()));

    let l4 = L3 + Ipv4::LEN;
    let end = L3 + usize::from(word16(L3 + 2));
    let protocol = bytes[L3 + 9];
    let whole = word16(L3 + 6) & (Ipv4::OFFSET_MASK | Ipv4::MORE_FRAGMENTS) == 0;
    let (transport, header_len, fits) = match protocol {
        proto::TCP => {
            let header_len = usize::from(bytes[l4 + 12] >> 4) * 4;
            let fits = header_len >= Tcp::LEN && l4 + header_len <= end.min(head_len);
            (Transport::Tcp, header_len, fits)
        }
        proto::UDP => {
            let len = usize::from(word16(l4 + 4));
            let fits = len >= Udp::LEN && l4 + len <= end;
            (Transport::Udp, Udp::LEN, fits)
        }
        _ => return false,
    };
    if bytes[L3] != 0x45 || !whole || !fits || end > total_len {
        return false;
    }
    let tagged = L3 == 18;
    let (tag, tags) = match tagged {
        true => (u64::from(word16(14) | VLAN_PRESENT), shape::TAGS),
        false => (0, 0),
    };
    key.len = 5;
    let first = (u64::from(in_port) << 32)
        | (u64::from(ethertype::IPV4) << 16)
        | (u64::from(protocol) << 8)
        | u64::from(bytes[L3 + 1]);
    // What is left out is left out here: in words that have just been written it would cost more.
    let [keep0, keep1, keep2, keep3] = mask.front;
    key.words[0] = first & keep0;
    // Six bytes of address and whatever two follow.
    key.words[1] = ((word64(0) & !0xffff) | tag) & keep1;
    key.words[2] = word64(6) & !0xffff & keep2;
    key.words[3] = ((u64::from(word32(l4)) << 32) | u64::from(shape::IPV4 | tags)) & keep3;
    key.words[4] = word64(L3 + 12) & mask.v4;
    *layout = Layout {
        network: Network::Ipv4,
        transport,
        vlan_tags: tagged.into(),
        l3: L3 as u16,
        l4: l4 as u16,
        payload: (l4 + header_len) as u16,
        end: end as u32,
        ..Layout::default()
    };
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::read_any;

    /// A good packet, and each of its bytes replaced by each of some values: whatever is read
    /// plainly is what the general reader reads.
    #[test]
    fn what_is_read_plainly_is_what_the_general_reader_reads() {
        let mut plain = 0;
        for (tag, protocol) in [(false, 6u8), (true, 6), (false, 17), (true, 17)] {
            let mut good = vec![2u8, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2];
            if tag {
                good.extend([0x81, 0, 0xb0, 7]);
            }
            let l3 = good.len() + 2;
            good.extend([8, 0, 0x45, 0xb8, 0, 46, 1, 2, 0x40, 0, 64, protocol, 0, 0]);
            good.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            good.extend([0x12, 0x34, 0, 80, 0, 26, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 2]);
            good.resize(l3 + 46 + 3, 0x11);
            for at in 0..good.len() {
                for value in [0u8, 1, 4, 5, 0x20, 0x44, 0x46, 0x81, 0x88, 0xa8, 0xf0, 0xff] {
                    for cut in [0, 1, 3, 4, 9, 20] {
                        let mut frame = good.clone();
                        frame[at] = value;
                        frame.truncate(good.len() - cut);
                        let (mut a, mut b) = (ExactKey::default(), ExactKey::default());
                        let mut layout = Layout::default();
                        if !read(&frame, frame.len(), 9, &KeyMask::ALL, &mut a, &mut layout) {
                            continue;
                        }
                        plain += 1;
                        let general = read_any(&frame, frame.len(), 9, None, &mut b);
                        assert_eq!(general, Ok(layout), "{frame:02x?}");
                        assert_eq!(a, b, "{frame:02x?}");
                    }
                }
            }
        }
        assert!(plain > 5000, "{plain} were plain");
    }
}
