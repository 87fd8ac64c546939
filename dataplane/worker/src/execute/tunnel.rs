//! Packets wrapped for a tunnel.

use net::parse::Layout;
use packet::{Csum, Packet};
use ports::Burst;

use super::{exceeds, may_exceed};
use crate::egress::Egress;
use crate::facts::Facts;
use crate::program::Encap;
use crate::tunnel::inherit;
use crate::{Counter, DropReason};

/// Wraps a packet and sends it to its next hop.
#[inline]
pub(super) fn tunnel(
    encap: &Encap,
    egress: &mut Egress,
    mut packet: Packet,
    layout: &Layout,
    hash: u64,
) {
    if may_exceed(&packet, encap.inner_mtu) && exceeds(&packet, layout, encap.inner_mtu) {
        return egress.drop(DropReason::TooBig, packet);
    }
    if !wrap(encap, egress, &mut packet, layout, hash) {
        return egress.drop(DropReason::NoMemory, packet);
    }
    egress
        .shared
        .counters(egress.index)
        .add(Counter::TunnelEncap, 1);
    egress.send_to_neighbor(encap.neighbor, encap.uplink, packet);
}

/// Likewise, all packets of a burst.
#[inline]
pub(super) fn tunnel_all(
    encap: &Encap,
    packets: &mut Burst,
    facts: &mut [Facts],
    egress: &mut Egress,
) {
    super::together::keep(packets, facts, |packet, facts| {
        let mtu = encap.inner_mtu;
        let reason = if may_exceed(packet, mtu) && exceeds(packet, &facts.layout, mtu) {
            DropReason::TooBig
        } else if !wrap(encap, egress, packet, &facts.layout, facts.entropy) {
            DropReason::NoMemory
        } else {
            return true;
        };
        egress.count_drop(reason);
        false
    });
    let counters = egress.shared.counters(egress.index);
    counters.add(Counter::TunnelEncap, packets.len() as u64);
    egress.send_all_to_neighbor(encap.neighbor, encap.uplink, packets);
}

/// Puts the outer headers on; false if there is no memory for them.
#[inline(always)]
fn wrap(
    encap: &Encap,
    egress: &mut Egress,
    packet: &mut Packet,
    layout: &Layout,
    hash: u64,
) -> bool {
    let (inner_len, outer_len) = (packet.len(), encap.template.len());
    let inner = inherit::read(packet.head(), layout);
    if packet.prepend(outer_len).is_none() || !packet.pull_up(outer_len) {
        return false;
    }
    // Ports above 49152 are for this (RFC 8926 3.3, RFC 6335 6).
    let src_port = 0xc000 | (hash >> 48) as u16;
    let template = &encap.template;
    // Only what may be fragmented needs an identification (RFC 6864 4.1).
    let id = match encap.outer.dont_fragment {
        true => 0,
        false => egress.tunnel_id(),
    };
    if !template.write(packet.head_mut(), inner_len, src_port, id) {
        return false;
    }
    inherit::apply(encap, packet.head_mut(), inner);
    packet.meta_mut().tunnel_len = outer_len as u16;
    if encap.checksum {
        outer_checksum(encap, packet);
    }
    true
}

/// Over IPv6 the outer UDP checksum is not optional for every receiver (RFC 6935); over IPv4 it
/// is there if the port asks for it.
#[inline(never)]
fn outer_checksum(encap: &Encap, packet: &mut Packet) {
    let (meta, template) = (*packet.meta(), &encap.template);
    let found = if meta.csum == Csum::Partial {
        let (start, offset) = (usize::from(meta.csum_start), usize::from(meta.csum_offset));
        template.udp_checksum_over_partial(packet.head(), packet.len(), start, offset)
    } else {
        let mut skip = template.l4();
        Some(template.udp_checksum(packet.segments().map(|segment| {
            let from = skip.min(segment.len());
            skip -= from;
            segment.get(from..).unwrap_or_default()
        })))
    };
    if let Some((at, checksum)) = found {
        packet.write_at(at, &checksum.to_be_bytes());
    }
}
