//! Telling a sender that its packet does not fit into the tunnel (RFC 1191, RFC 8201).

use std::net::IpAddr;

use net::headers::{Ethernet, Ipv4, Ipv6, view};
use net::icmp::{ERROR_BYTES, Problem};
use net::parse::{Layout, Network};

use crate::refusal::{Answer, tagged};

/// The error for a packet of more than `mtu` bytes above Ethernet, with the packet's own tags; none
/// if its sender must not get one, or allows the packet to be fragmented. What it tells is less by
/// the tags: they are payload of the tunnel, and the sender's IP knows nothing of them.
///
/// It comes from the address the packet was sent to: the dataplane has no other address that the
/// sender is sure to know, and hosts look at the quoted packet, not at the sender of the error.
pub(crate) fn error(head: &[u8], layout: &Layout, mtu: u32) -> Option<Answer> {
    let l3 = usize::from(layout.l3);
    let ethernet: &Ethernet = view(head, 0)?;
    let from = match layout.network {
        Network::Ipv4 => {
            let ip: &Ipv4 = view(head, l3)?;
            if ip.fragment.get() & Ipv4::DONT_FRAGMENT == 0 {
                return None;
            }
            IpAddr::from(ip.dst)
        }
        Network::Ipv6 => IpAddr::from(view::<Ipv6>(head, l3)?.dst),
        _ => return None,
    };
    let mut untagged = [0; ERROR_BYTES];
    let tags = l3.saturating_sub(Ethernet::LEN);
    let mtu = (mtu as usize).saturating_sub(tags);
    let problem = Problem::TooBig(u16::try_from(mtu).ok()?);
    let whence = (ethernet.dst, from);
    let len = net::icmp::error(head, layout, problem, whence, &mut untagged)?;
    tagged(head, layout, untagged.get(..len)?)
}
