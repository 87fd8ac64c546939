//! Answers that a router gives: echo replies and errors about packets it cannot forward.

use core::net::IpAddr;

use zerocopy::IntoBytes;

use super::is_error;
use crate::edit::{ChecksumField, Editor};
use crate::headers::{Ethernet, Icmp, Ipv4, Ipv6, ethertype, proto, view, view_mut};
use crate::parse::{Layout, Network, Transport};
use crate::{MacAddr, csum};

/// Most bytes of an error frame without tag: an IPv6 packet of the minimum MTU (RFC 4443 2.4).
pub const ERROR_BYTES: usize = Ethernet::LEN + 1280;

/// Time to live of what we originate (RFC 1700).
pub(crate) const TTL: u8 = 64;

/// Why a packet could not be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Longer than the next link carries; the MTU in bytes (RFC 1191, RFC 8201).
    TooBig(u16),
    /// Its time to live ran out (RFC 792, RFC 4443 3.3).
    TimeExceeded,
    /// No way to its destination.
    NoRoute,
    /// The destination does not answer.
    HostUnreachable,
    /// Refused by rule.
    Prohibited,
    /// Nobody serves that port.
    PortUnreachable,
}

impl Problem {
    fn icmp(self, network: Network) -> (u8, u8, u32) {
        match (self, network) {
            (Problem::TooBig(mtu), Network::Ipv6) => (2, 0, mtu.into()),
            (Problem::TooBig(mtu), _) => (3, 4, mtu.into()),
            (Problem::TimeExceeded, Network::Ipv6) => (3, 0, 0),
            (Problem::TimeExceeded, _) => (11, 0, 0),
            (Problem::NoRoute, _) => match network {
                Network::Ipv6 => (1, 0, 0),
                _ => (3, 0, 0),
            },
            (Problem::HostUnreachable, Network::Ipv6) => (1, 3, 0),
            (Problem::HostUnreachable, _) => (3, 1, 0),
            (Problem::Prohibited, Network::Ipv6) => (1, 1, 0),
            (Problem::Prohibited, _) => (3, 13, 0),
            (Problem::PortUnreachable, Network::Ipv6) => (1, 4, 0),
            (Problem::PortUnreachable, _) => (3, 3, 0),
        }
    }
}

/// Turns an echo request into its reply, in place: addresses swapped, type and time to live set.
/// False, and nothing changed, if the packet is no echo request.
pub fn echo_reply(head: &mut [u8], layout: &Layout) -> bool {
    let Some(icmp) = view::<Icmp>(head, layout.l4.into()) else {
        return false;
    };
    let reply = match (layout.transport, icmp.kind, icmp.code) {
        (Transport::Icmp, 8, 0) => 0,
        (Transport::Icmpv6, 128, 0) => 129,
        _ => return false,
    };
    let l3 = usize::from(layout.l3);
    if let Some(ethernet) = view_mut::<Ethernet>(head, 0) {
        core::mem::swap(&mut ethernet.src, &mut ethernet.dst);
    }
    // The order of the addresses is in no checksum.
    match layout.network {
        Network::Ipv4 => {
            if let Some(ip) = view_mut::<Ipv4>(head, l3) {
                core::mem::swap(&mut ip.src, &mut ip.dst);
            }
        }
        _ => {
            if let Some(ip) = view_mut::<Ipv6>(head, l3) {
                core::mem::swap(&mut ip.src, &mut ip.dst);
            }
        }
    }
    let mut editor = Editor::new(head, layout, ChecksumField::Full);
    editor.set_ttl(TTL) && editor.set_icmp_type(reply)
}

/// Builds the error that tells a packet's sender why it was not forwarded, as a frame without tag
/// into `out` ([`ERROR_BYTES`] suffice). Returns its length; none if no error may be sent about
/// such a packet (RFC 1122 3.2.2, RFC 4443 2.4 e): an error itself, a later fragment, one to many
/// stations or from no single one.
pub fn error(
    head: &[u8],
    layout: &Layout,
    problem: Problem,
    (from_mac, from): (MacAddr, IpAddr),
    out: &mut [u8],
) -> Option<usize> {
    let ethernet: &Ethernet = view(head, 0)?;
    if ethernet.dst.is_multicast()
        || layout.fragment.is_some_and(|fragment| fragment.offset != 0)
        || about_error(head, layout)
    {
        return None;
    }
    let original = head.get(layout.l3.into()..(layout.end as usize).min(head.len()))?;
    let (kind, code, word) = problem.icmp(layout.network);
    let mut icmp = Icmp {
        kind,
        code,
        checksum: 0.into(),
        id: ((word >> 16) as u16).into(),
        seq: (word as u16).into(),
    };
    let mut writer = Writer { out, len: 0 };
    let mut outer = Ethernet {
        dst: ethernet.src,
        src: from_mac,
        ethertype: ethertype::IPV4.into(),
    };
    match (layout.network, from) {
        (Network::Ipv4, IpAddr::V4(from)) => {
            let cause: &Ipv4 = view(head, layout.l3.into())?;
            if !is_single(IpAddr::from(cause.src)) || !is_single(IpAddr::from(cause.dst)) {
                return None;
            }
            // RFC 1812 4.3.2.3: as much as fits in 576 bytes.
            let carried = original.get(..576 - 28).unwrap_or(original);
            icmp.checksum.set(
                csum::Sum::default()
                    .bytes(icmp.as_bytes())
                    .bytes(carried)
                    .checksum(),
            );
            let mut ip = Ipv4 {
                version_ihl: 0x45,
                tos: 0xc0, // RFC 1812 4.3.2.5: internetwork control
                total_len: ((Ipv4::LEN + Icmp::LEN + carried.len()) as u16).into(),
                id: 0.into(),
                fragment: 0.into(),
                ttl: TTL,
                proto: proto::ICMP,
                checksum: 0.into(),
                src: from.octets(),
                dst: cause.src,
            };
            ip.checksum = csum::ipv4_header(ip.as_bytes()).into();
            writer.put(outer.as_bytes())?;
            writer.put(ip.as_bytes())?;
            writer.put(icmp.as_bytes())?;
            writer.put(carried)?;
        }
        (Network::Ipv6, IpAddr::V6(from)) => {
            let cause: &Ipv6 = view(head, layout.l3.into())?;
            let to_many = IpAddr::from(cause.dst).is_multicast();
            // RFC 4443 2.4 e.3: packet too big is told even to senders to many.
            let allowed = !to_many || matches!(problem, Problem::TooBig(_));
            if !is_single(IpAddr::from(cause.src)) || !allowed {
                return None;
            }
            let carried = original.get(..1280 - 48).unwrap_or(original);
            let len = Icmp::LEN + carried.len();
            icmp.checksum.set(
                csum::pseudo_ipv6(&from.octets(), &cause.src, proto::ICMPV6, len as u32)
                    .bytes(icmp.as_bytes())
                    .bytes(carried)
                    .checksum(),
            );
            let ip = Ipv6 {
                version_class_label: 0x6000_0000.into(),
                payload_len: (len as u16).into(),
                next_header: proto::ICMPV6,
                hop_limit: TTL,
                src: from.octets(),
                dst: cause.src,
            };
            outer.ethertype = ethertype::IPV6.into();
            writer.put(outer.as_bytes())?;
            writer.put(ip.as_bytes())?;
            writer.put(icmp.as_bytes())?;
            writer.put(carried)?;
        }
        _ => return None,
    }
    Some(writer.len)
}

fn about_error(head: &[u8], layout: &Layout) -> bool {
    let kind = view::<Icmp>(head, layout.l4.into()).map(|icmp| icmp.kind);
    match layout.transport {
        Transport::Icmp => kind.is_none_or(|kind| is_error(Transport::Icmp, kind)),
        // All types below 128 are errors, those not yet invented too.
        Transport::Icmpv6 => kind.is_none_or(|kind| kind < 128),
        _ => false,
    }
}

pub(crate) fn is_single(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_multicast() || address.is_unspecified() || broadcast)
}

pub(crate) struct Writer<'a> {
    pub out: &'a mut [u8],
    pub len: usize,
}

impl Writer<'_> {
    pub fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len + bytes.len();
        self.out.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }
}
