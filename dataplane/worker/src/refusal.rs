//! Telling a sender that its packet is refused: a TCP reset, or port unreachable.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use net::headers::{Ethernet, Ipv4, Ipv6, view};
use net::icmp::{ERROR_BYTES, Problem};
use net::parse::{Layout, Network, Transport};
use packet::Packet;

use crate::PortSlot;
use crate::egress::Egress;

/// An answer as a whole frame, with up to two tags.
pub(crate) type Answer = ArrayVec<u8, { ERROR_BYTES + 8 }>;

/// Sends the answer by a port, if there is one to this packet, and not too many were sent.
#[cold]
pub(crate) fn send(slot: PortSlot, egress: &mut Egress, packet: &Packet, layout: &Layout) {
    if let Some(frame) = answer(packet.head(), layout).filter(|_| egress.may_send_error()) {
        egress.send_bytes(slot, &frame);
    }
}

/// It comes from the address that the packet was sent to, by which clients know it.
fn answer(head: &[u8], layout: &Layout) -> Option<Answer> {
    let mut untagged = [0; ERROR_BYTES];
    let len = match layout.transport {
        Transport::Tcp => net::tcp::reset(head, layout, &mut untagged)?,
        _ => {
            let ethernet: &Ethernet = view(head, 0)?;
            let l3 = usize::from(layout.l3);
            let from = match layout.network {
                Network::Ipv4 => IpAddr::from(view::<Ipv4>(head, l3)?.dst),
                Network::Ipv6 => IpAddr::from(view::<Ipv6>(head, l3)?.dst),
                _ => return None,
            };
            let whence = (ethernet.dst, from);
            net::icmp::error(
                head,
                layout,
                Problem::PortUnreachable,
                whence,
                &mut untagged,
            )?
        }
    };
    tagged(head, layout, untagged.get(..len)?)
}

/// A frame without tags, as answer to a packet whose tags it is to have.
pub(crate) fn tagged(head: &[u8], layout: &Layout, untagged: &[u8]) -> Option<Answer> {
    let addresses = Ethernet::LEN - 2;
    let mut frame = Answer::new();
    // Addresses of the answer, then ethertypes and tags of the packet, then the answer's IP.
    frame
        .try_extend_from_slice(untagged.get(..addresses)?)
        .ok()?;
    frame
        .try_extend_from_slice(head.get(addresses..layout.l3.into())?)
        .ok()?;
    frame
        .try_extend_from_slice(untagged.get(Ethernet::LEN..)?)
        .ok()?;
    Some(frame)
}
