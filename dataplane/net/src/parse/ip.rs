//! IPv4, and IPv6 with its extension headers.

use zerocopy::big_endian::{U16, U32};

use super::transport::transport;
use super::{Fragment, Layout, Malformed, Network, Reader};
use crate::FlowKey;
use crate::headers::{Ipv4, Ipv6, Ipv6Fragment, proto};

pub(super) fn ipv4(
    reader: &mut Reader<'_>,
    key: &mut FlowKey,
    layout: &mut Layout,
) -> Result<(), Malformed> {
    let at = usize::from(layout.l3);
    let ip: &Ipv4 = reader.header(at, Malformed::Ipv4Header)?;
    let header_len = ip.header_len();
    if ip.version_ihl >> 4 != 4 || header_len < Ipv4::LEN {
        return Err(Malformed::Ipv4Header);
    }
    reader.present(at, header_len, Malformed::Ipv4Header)?;
    let total_len = usize::from(ip.total_len.get());
    if total_len < header_len || at + total_len > reader.total_len {
        return Err(Malformed::Ipv4Length);
    }
    reader.total_len = at + total_len;
    layout.network = Network::Ipv4;
    layout.l4 = (at + header_len) as u16;
    layout.payload = layout.l4;
    layout.end = reader.total_len as u32;
    key.nw_src = U32::from_bytes(ip.src);
    key.nw_dst = U32::from_bytes(ip.dst);
    key.nw_proto = ip.proto;
    key.nw_tos = ip.tos;
    key.nw_ttl = ip.ttl;
    let fragment = ip.fragment.get();
    let offset = (fragment & Ipv4::OFFSET_MASK) << 3;
    let more = fragment & Ipv4::MORE_FRAGMENTS != 0;
    if offset != 0 || more {
        layout.fragment = Some(Fragment {
            id: ip.id.get().into(),
            offset,
            more,
        });
    }
    transport(reader, key, layout, ip.proto, Network::Ipv4)
}

/// OFPIEH_* (OpenFlow 1.3.5, 7.2.3.8).
mod exthdr {
    pub const NO_NEXT: u16 = 1;
    pub const ESP: u16 = 2;
    pub const AUTH: u16 = 4;
    pub const DESTINATION: u16 = 8;
    pub const FRAGMENT: u16 = 16;
    pub const ROUTING: u16 = 32;
    pub const HOP_BY_HOP: u16 = 64;
    pub const REPEATED: u16 = 128;
    pub const OUT_OF_SEQUENCE: u16 = 256;
}

pub(super) fn ipv6(
    reader: &mut Reader<'_>,
    key: &mut FlowKey,
    layout: &mut Layout,
) -> Result<(), Malformed> {
    let start = usize::from(layout.l3);
    let ip: &Ipv6 = reader.header(start, Malformed::Ipv6Header)?;
    if ip.version_class_label.get() >> 28 != 6 {
        return Err(Malformed::Ipv6Header);
    }
    let end = start + Ipv6::LEN + usize::from(ip.payload_len.get());
    if end > reader.total_len {
        return Err(Malformed::Ipv6Length);
    }
    reader.total_len = end;
    layout.network = Network::Ipv6;
    layout.end = end as u32;
    layout.l4 = (start + Ipv6::LEN) as u16;
    layout.payload = layout.l4;
    key.ipv6_src = ip.src;
    key.ipv6_dst = ip.dst;
    key.nw_proto = ip.next_header;
    key.nw_tos = ip.tos();
    key.nw_ttl = ip.hop_limit;
    key.ipv6_label = U32::new(ip.label());

    let mut seen = Extensions::default();
    let mut next = ip.next_header;
    let mut at = start + Ipv6::LEN;
    loop {
        seen.note(next);
        key.ipv6_exthdr = U16::new(seen.bits);
        let len = match next {
            proto::HOP_BY_HOP
            | proto::ROUTING
            | proto::DESTINATION
            | proto::MOBILITY
            | proto::HIP
            | proto::SHIM6 => {
                let header: &[u8; 4] = reader.header(at, Malformed::Ipv6Extension)?;
                layout.source_routed |= next == proto::ROUTING && header[3] != 0;
                next = header[0];
                (usize::from(header[1]) + 1) * 8
            }
            proto::AUTH => {
                let header: &[u8; 2] = reader.header(at, Malformed::Ipv6Extension)?;
                next = header[0];
                (usize::from(header[1]) + 2) * 4
            }
            proto::FRAGMENT => {
                let header: &Ipv6Fragment = reader.header(at, Malformed::Ipv6Extension)?;
                let offset = header.offset_more.get() & 0xfff8;
                let more = header.offset_more.get() & 1 != 0;
                next = header.next_header;
                // An atomic fragment (RFC 6946) is a whole packet.
                if offset != 0 || more {
                    layout.fragment = Some(Fragment {
                        id: header.id.get(),
                        offset,
                        more,
                    });
                }
                Ipv6Fragment::LEN
            }
            _ => break,
        };
        reader.present(at, len, Malformed::Ipv6Extension)?;
        at += len;
        layout.l4 = at as u16;
        layout.payload = layout.l4;
        key.nw_proto = next;
        // What follows in a later fragment is payload, whatever the header before calls it.
        if layout.fragment.is_some_and(|f| f.offset != 0) {
            break;
        }
    }
    transport(reader, key, layout, next, Network::Ipv6)
}

/// Bits of the extension headers met, and whether they came in the order of RFC 8200 4.1.
#[derive(Default)]
struct Extensions {
    bits: u16,
    rank: u8,
    count: u8,
}

impl Extensions {
    fn note(&mut self, header: u8) {
        let (bit, rank) = match header {
            proto::HOP_BY_HOP => (exthdr::HOP_BY_HOP, 0),
            // Destination options may stand before a routing header or last.
            proto::DESTINATION if self.rank < 2 => (exthdr::DESTINATION, 1),
            proto::DESTINATION => (exthdr::DESTINATION, 6),
            proto::ROUTING => (exthdr::ROUTING, 2),
            proto::FRAGMENT => (exthdr::FRAGMENT, 3),
            proto::AUTH => (exthdr::AUTH, 4),
            proto::ESP => (exthdr::ESP, 5),
            proto::NO_NEXT => (exthdr::NO_NEXT, 7),
            _ => return,
        };
        let twice_allowed = header == proto::DESTINATION && rank == 6 && self.rank < 6;
        if self.bits & bit != 0 && !twice_allowed {
            self.bits |= exthdr::REPEATED;
        }
        if rank < self.rank || (header == proto::HOP_BY_HOP && self.count > 0) {
            self.bits |= exthdr::OUT_OF_SEQUENCE;
        }
        self.bits |= bit;
        self.rank = self.rank.max(rank);
        self.count += 1;
    }
}
