//! The answer of a host that has no such connection and begins none.

use core::net::IpAddr;

use zerocopy::IntoBytes;

use super::{TcpInfo, flags};
use crate::csum;
use crate::headers::{Ethernet, Ipv4, Ipv6, Tcp, ethertype, proto, view};
use crate::icmp::{TTL, Writer, is_single};
use crate::parse::{Layout, Network};

/// Builds the reset that answers a segment (RFC 9293 3.10.7.1), as a frame without tag into `out`
/// (74 bytes suffice). Returns its length; none if there is no answer to it: it is a reset itself, to
/// many stations, or from no single one.
pub fn reset(head: &[u8], layout: &Layout, out: &mut [u8]) -> Option<usize> {
    let segment = TcpInfo::read(head, layout)?;
    let ethernet: &Ethernet = view(head, 0)?;
    if segment.has(flags::RST) || ethernet.dst.is_multicast() {
        return None;
    }
    let cause: &Tcp = view(head, layout.l4.into())?;
    let (seq, ack, flags) = match segment.has(flags::ACK) {
        true => (segment.ack, 0, flags::RST),
        false => (0, segment.end(), flags::RST | flags::ACK),
    };
    let mut tcp = Tcp {
        src: cause.dst,
        dst: cause.src,
        seq: seq.into(),
        ack: ack.into(),
        offset_flags: (((Tcp::LEN as u16 / 4) << 12) | flags).into(),
        window: 0.into(),
        checksum: 0.into(),
        urgent: 0.into(),
    };
    let len = Tcp::LEN as u32;
    let mut writer = Writer { out, len: 0 };
    let mut outer = Ethernet {
        dst: ethernet.src,
        src: ethernet.dst,
        ethertype: ethertype::IPV4.into(),
    };
    match layout.network {
        Network::Ipv4 => {
            let asked: &Ipv4 = view(head, layout.l3.into())?;
            if !is_single(IpAddr::from(asked.src)) || !is_single(IpAddr::from(asked.dst)) {
                return None;
            }
            let pseudo = csum::pseudo_ipv4(asked.dst, asked.src, proto::TCP, len);
            tcp.checksum = pseudo.bytes(tcp.as_bytes()).checksum().into();
            let mut ip = Ipv4 {
                version_ihl: 0x45,
                tos: 0,
                total_len: ((Ipv4::LEN + Tcp::LEN) as u16).into(),
                id: 0.into(),
                fragment: Ipv4::DONT_FRAGMENT.into(),
                ttl: TTL,
                proto: proto::TCP,
                checksum: 0.into(),
                src: asked.dst,
                dst: asked.src,
            };
            ip.checksum = csum::ipv4_header(ip.as_bytes()).into();
            writer.put(outer.as_bytes())?;
            writer.put(ip.as_bytes())?;
        }
        Network::Ipv6 => {
            let asked: &Ipv6 = view(head, layout.l3.into())?;
            if !is_single(IpAddr::from(asked.src)) || !is_single(IpAddr::from(asked.dst)) {
                return None;
            }
            let pseudo = csum::pseudo_ipv6(&asked.dst, &asked.src, proto::TCP, len);
            tcp.checksum = pseudo.bytes(tcp.as_bytes()).checksum().into();
            let ip = Ipv6 {
                version_class_label: 0x6000_0000.into(),
                payload_len: (Tcp::LEN as u16).into(),
                next_header: proto::TCP,
                hop_limit: TTL,
                src: asked.dst,
                dst: asked.src,
            };
            outer.ethertype = ethertype::IPV6.into();
            writer.put(outer.as_bytes())?;
            writer.put(ip.as_bytes())?;
        }
        _ => return None,
    }
    writer.put(tcp.as_bytes())?;
    Some(writer.len)
}
