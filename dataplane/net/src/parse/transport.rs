//! TCP, UDP, SCTP, ICMP, ICMPv6 and neighbour discovery.

use zerocopy::big_endian::U16;

use super::{Layout, Malformed, Network, Reader, Transport};
use crate::headers::{Icmp, Sctp, Tcp, Udp, proto, view};
use crate::key::{FRAG_ANY, FRAG_LATER};
use crate::{FlowKey, MacAddr};

pub(super) fn transport(
    reader: &Reader<'_>,
    key: &mut FlowKey,
    layout: &mut Layout,
    protocol: u8,
    network: Network,
) -> Result<(), Malformed> {
    if let Some(fragment) = layout.fragment {
        key.nw_frag = FRAG_ANY;
        if fragment.offset != 0 {
            key.nw_frag |= FRAG_LATER;
            return Ok(());
        }
    }
    let at = usize::from(layout.l4);
    let header_len = match (protocol, network) {
        (proto::TCP, _) => {
            let tcp: &Tcp = reader.header(at, Malformed::Tcp)?;
            if tcp.header_len() < Tcp::LEN {
                return Err(Malformed::Tcp);
            }
            reader.present(at, tcp.header_len(), Malformed::Tcp)?;
            key.tp_src = tcp.src;
            key.tp_dst = tcp.dst;
            key.tcp_flags = U16::new(tcp.flags());
            layout.transport = Transport::Tcp;
            tcp.header_len()
        }
        (proto::UDP, _) => {
            let udp: &Udp = reader.header(at, Malformed::Udp)?;
            let len = usize::from(udp.len.get());
            let whole = layout.fragment.is_none();
            if len < Udp::LEN || (whole && at + len > reader.total_len) {
                return Err(Malformed::Udp);
            }
            key.tp_src = udp.src;
            key.tp_dst = udp.dst;
            layout.transport = Transport::Udp;
            Udp::LEN
        }
        (proto::SCTP, _) => {
            let sctp: &Sctp = reader.header(at, Malformed::Sctp)?;
            key.tp_src = sctp.src;
            key.tp_dst = sctp.dst;
            layout.transport = Transport::Sctp;
            Sctp::LEN
        }
        (proto::ICMP, Network::Ipv4) | (proto::ICMPV6, Network::Ipv6) => {
            let icmp: &Icmp = reader.header(at, Malformed::Icmp)?;
            key.tp_src = U16::new(icmp.kind.into());
            key.tp_dst = U16::new(icmp.code.into());
            if network == Network::Ipv4 {
                layout.transport = Transport::Icmp;
                layout.icmp_id = echo_id(icmp, &ICMP_QUERIES);
            } else {
                layout.transport = Transport::Icmpv6;
                layout.icmp_id = echo_id(icmp, &ICMPV6_QUERIES);
                neighbour_discovery(reader, key, layout, icmp);
            }
            Icmp::LEN
        }
        _ => 0,
    };
    layout.payload = (at + header_len) as u16;
    Ok(())
}

/// ICMP messages with an identifier: echo, timestamp, information, address mask (RFC 792, 950).
pub(crate) const ICMP_QUERIES: [u8; 8] = [8, 0, 13, 14, 15, 16, 17, 18];
/// ICMPv6 echo (RFC 4443 4).
pub(crate) const ICMPV6_QUERIES: [u8; 2] = [128, 129];

pub(crate) fn echo_id(icmp: &Icmp, queries: &[u8]) -> u16 {
    if queries.contains(&icmp.kind) {
        icmp.id.get()
    } else {
        0
    }
}

/// Target and link-layer address options of solicitations and advertisements (RFC 4861 4.3, 4.4).
/// Broken options leave the fields that follow them zero; they break nothing else.
fn neighbour_discovery(reader: &Reader<'_>, key: &mut FlowKey, layout: &Layout, icmp: &Icmp) {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    if !matches!(icmp.kind, SOLICITATION | ADVERTISEMENT) || icmp.code != 0 {
        return;
    }
    let packet = reader.head.get(..reader.total_len).unwrap_or(reader.head);
    let mut at = usize::from(layout.l4) + Icmp::LEN;
    let Some(target) = view::<[u8; 16]>(packet, at) else {
        return;
    };
    key.nd_target = *target;
    at += 16;
    while let Some(&[kind, units]) = view::<[u8; 2]>(packet, at) {
        if units == 0 {
            return;
        }
        if let (1 | 2, 1, Some(address)) = (kind, units, view::<MacAddr>(packet, at + 2)) {
            let field = if kind == 1 {
                &mut key.arp_sha
            } else {
                &mut key.arp_tha
            };
            *field = *address;
        }
        at += usize::from(units) * 8;
    }
}
