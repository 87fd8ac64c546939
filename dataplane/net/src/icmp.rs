//! ICMP and ICMPv6: what errors carry (the start of the packet that caused them), and the answers
//! that a router gives.

mod answer;

pub use answer::{ERROR_BYTES, Problem, echo_reply, error};
pub(crate) use answer::{TTL, Writer, is_single};

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::headers::{Icmp, Ipv4, Ipv6, proto, view};
use crate::parse::{ICMP_QUERIES, ICMPV6_QUERIES, Layout, Transport, echo_id};

/// The packet inside an ICMP error, as far as it is there (RFC 792, RFC 4443 2.4: at least 8 bytes
/// of transport header for IPv4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Source of the inner packet.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Protocol.
    pub proto: u8,
    /// Source port; ICMP type.
    pub src_port: u16,
    /// Destination port; ICMP code.
    pub dst_port: u16,
    /// Identifier of an ICMP echo message, else 0.
    pub icmp_id: u16,
    /// Where its network header is, from the first byte of the outer packet.
    pub l3: u16,
    /// Where its transport header is.
    pub l4: u16,
}

/// True for the types that carry a packet: destination unreachable, source quench, redirect, time
/// exceeded, parameter problem.
pub const fn is_error(transport: Transport, kind: u8) -> bool {
    match transport {
        Transport::Icmp => matches!(kind, 3 | 4 | 5 | 11 | 12),
        Transport::Icmpv6 => matches!(kind, 1..=4),
        _ => false,
    }
}

/// Reads the packet inside an ICMP error; none if this is no error, or too little of it is there.
/// Fragments other than first ones have no ports and are not read; nor are IPv6 extension headers.
pub fn embedded(head: &[u8], layout: &Layout) -> Option<Embedded> {
    let head = head.get(..layout.end as usize).unwrap_or(head);
    let outer: &Icmp = view(head, layout.l4.into())?;
    if !is_error(layout.transport, outer.kind) {
        return None;
    }
    let l3 = usize::from(layout.l4) + Icmp::LEN;
    let (src, dst, proto, l4) = match layout.transport {
        Transport::Icmp => {
            let ip: &Ipv4 = view(head, l3)?;
            let later_fragment = ip.fragment.get() & Ipv4::OFFSET_MASK != 0;
            if ip.version_ihl >> 4 != 4 || ip.header_len() < Ipv4::LEN || later_fragment {
                return None;
            }
            let l4 = l3 + ip.header_len();
            (
                IpAddr::V4(Ipv4Addr::from(ip.src)),
                IpAddr::V4(Ipv4Addr::from(ip.dst)),
                ip.proto,
                l4,
            )
        }
        _ => {
            let ip: &Ipv6 = view(head, l3)?;
            if ip.version_class_label.get() >> 28 != 6 {
                return None;
            }
            (
                IpAddr::V6(Ipv6Addr::from(ip.src)),
                IpAddr::V6(Ipv6Addr::from(ip.dst)),
                ip.next_header,
                l3 + Ipv6::LEN,
            )
        }
    };
    let mut inner = Embedded {
        src,
        dst,
        proto,
        src_port: 0,
        dst_port: 0,
        icmp_id: 0,
        l3: l3 as u16,
        l4: l4 as u16,
    };
    match proto {
        proto::TCP | proto::UDP | proto::SCTP => {
            let ports: &[u8; 4] = view(head, l4)?;
            inner.src_port = u16::from_be_bytes([ports[0], ports[1]]);
            inner.dst_port = u16::from_be_bytes([ports[2], ports[3]]);
        }
        proto::ICMP | proto::ICMPV6 => {
            let icmp: &Icmp = view(head, l4)?;
            let queries: &[u8] = if proto == proto::ICMP {
                &ICMP_QUERIES
            } else {
                &ICMPV6_QUERIES
            };
            inner.src_port = icmp.kind.into();
            inner.dst_port = icmp.code.into();
            inner.icmp_id = echo_id(icmp, queries);
        }
        _ => {}
    }
    Some(inner)
}
