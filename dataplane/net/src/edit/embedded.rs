//! Translation of the packet inside an ICMP error, so that its receiver recognises it (RFC 5508
//! 4.2, RFC 3022 4.3).

use core::net::IpAddr;

use zerocopy::big_endian::U16;

use super::{ChecksumField, Editor, checksum_offset, replace, udp_update};
use crate::csum;
use crate::headers::{Icmp, Ipv4, proto, view_mut};
use crate::icmp::Embedded;
use crate::parse::Transport;

/// Gives the packet inside an ICMP error the addresses, ports and echo identifier of `new`, and
/// keeps right: its IPv4 header checksum, its transport checksum as far as that is there, and the
/// checksum of the error around it. Families and protocol must be those of `old`, which
/// [`crate::icmp::embedded`] returned for the packet.
pub fn translate_embedded(editor: &mut Editor<'_>, old: &Embedded, new: &Embedded) -> bool {
    if old.proto != new.proto || editor.field == ChecksumField::Partial {
        return false;
    }
    let (l3, l4) = (usize::from(old.l3), usize::from(old.l4));
    // All changed bytes, for the checksum of the error; and of those the ones that the inner
    // transport checksum covers.
    let mut outer = 0u16;
    let mut addresses = 0u16;
    let head = &mut *editor.head;
    match (new.src, new.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) if old.src.is_ipv4() => {
            for (at, address) in [(l3 + 12, src.octets()), (l3 + 16, dst.octets())] {
                let Some(before) = replace(head, at, address) else {
                    return false;
                };
                addresses = csum::apply_partial(addresses, csum::delta(&before, &address));
            }
            // The header's sum stays what it was, so neither its address nor its checksum change
            // the sum of the error around it.
            if let Some(ip) = view_mut::<Ipv4>(head, l3) {
                ip.checksum.set(csum::apply(ip.checksum.get(), addresses));
            }
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) if old.src.is_ipv6() => {
            for (at, address) in [(l3 + 8, src.octets()), (l3 + 24, dst.octets())] {
                let Some(before) = replace(head, at, address) else {
                    return false;
                };
                addresses = csum::apply_partial(addresses, csum::delta(&before, &address));
            }
            outer = addresses;
        }
        _ => return false,
    }

    let mut ports = 0u16;
    let mut write = |at: usize, value: u16| {
        let value = value.to_be_bytes();
        if let Some(before) = replace(head, at, value) {
            ports = csum::apply_partial(ports, csum::delta(&before, &value));
        }
    };
    let transport = match new.proto {
        proto::TCP | proto::UDP | proto::SCTP => {
            write(l4, new.src_port);
            write(l4 + 2, new.dst_port);
            match new.proto {
                proto::TCP => Transport::Tcp,
                proto::UDP => Transport::Udp,
                _ => Transport::Sctp,
            }
        }
        proto::ICMP | proto::ICMPV6 => {
            if old.icmp_id != new.icmp_id {
                write(l4 + 4, new.icmp_id);
            }
            if new.proto == proto::ICMP {
                Transport::Icmp
            } else {
                Transport::Icmpv6
            }
        }
        _ => Transport::None,
    };
    outer = csum::apply_partial(outer, ports);

    // The rest of an SCTP packet is not there, so its CRC cannot be told; receivers check the
    // verification tag instead (RFC 9260 10.2).
    let end = (editor.layout.end as usize).min(head.len());
    let checksum_at = checksum_offset(transport)
        .map(|offset| l4 + offset)
        .filter(|at| at + 2 <= end);
    if let Some(at) = checksum_at
        && let Some(sum) = view_mut::<U16>(head, at)
    {
        let covered = if transport == Transport::Icmp {
            ports
        } else {
            csum::apply_partial(addresses, ports)
        };
        let before = sum.get();
        let after = if transport == Transport::Udp {
            udp_update(before, covered)
        } else {
            csum::apply(before, covered)
        };
        sum.set(after);
        outer = csum::apply_partial(
            outer,
            csum::delta(&before.to_be_bytes(), &after.to_be_bytes()),
        );
    }
    if let Some(error) = view_mut::<Icmp>(head, editor.layout.l4.into()) {
        error.checksum.set(csum::apply(error.checksum.get(), outer));
    }
    true
}
