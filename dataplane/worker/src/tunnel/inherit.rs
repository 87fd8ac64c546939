//! What the outer header takes over from the packet inside: congestion marks always (RFC 6040), DSCP
//! and time to live where the port says so.
//!
//! It is read when the packet is wrapped, not when its program is made: a program may be for packets of
//! any mark, since nothing has to look at it.

use net::ecn;
use net::parse::{Layout, Network};
use ports::{Mark, OuterSpec};

use crate::program::Encap;

/// TOS and time to live of an IP packet.
pub(crate) type Inner = Option<(u8, u8)>;

/// Of the packet that will be wrapped.
#[inline]
pub(crate) fn read(head: &[u8], layout: &Layout) -> Inner {
    let header = head.get(usize::from(layout.l3)..)?.first_chunk::<9>()?;
    match (layout.network, *header) {
        (Network::Ipv4, [_, tos, _, _, _, _, _, _, ttl]) => Some((tos, ttl)),
        (Network::Ipv6, [a, b, _, _, _, _, _, hop_limit, _]) => Some((a << 4 | b >> 4, hop_limit)),
        _ => None,
    }
}

/// Into the outer headers, which stand at the packet's start.
#[inline]
pub(crate) fn apply(encap: &Encap, head: &mut [u8], inner: Inner) {
    let Some((inner_tos, inner_ttl)) = inner else {
        return;
    };
    let outer = &encap.outer;
    // Most packets come here and have nothing to hand on.
    if inner_tos & ecn::MASK == 0 && !encap.inherits {
        return;
    }
    let tos = match outer.tos {
        Mark::Fixed(tos) => tos,
        Mark::Inherit => inner_tos,
    };
    let ttl = match outer.ttl {
        Mark::Fixed(ttl) => ttl,
        Mark::Inherit => inner_ttl,
    };
    encap.template.mark(head, ecn::outer(tos, inner_tos), ttl);
}

/// TOS and time to live of the template: of packets that are not IP, too.
pub(crate) fn defaults(outer: &OuterSpec) -> (u8, u8) {
    let fixed = |mark, default| match mark {
        Mark::Fixed(value) => value,
        Mark::Inherit => default,
    };
    (fixed(outer.tos, 0), fixed(outer.ttl, OuterSpec::TTL))
}

/// True if a field other than the congestion mark comes from inside.
pub(crate) fn inherits(outer: &OuterSpec) -> bool {
    outer.tos == Mark::Inherit || outer.ttl == Mark::Inherit
}
