//! Fields of MPLS label stack entries and PBB I-TAGs, and times to live that are copied from one header
//! to the next.

use zerocopy::big_endian::U32;

use super::{Editor, update_ipv4};
use crate::headers::{Ipv4, Ipv6, view};
use crate::parse::Network;
use crate::reshape::{BOTTOM_OF_STACK, LSE_LEN};

/// A header with a time to live.
#[derive(Clone, Copy)]
enum Lives {
    /// A label stack entry at this offset.
    Mpls(usize),
    /// An IPv4 header.
    Ipv4(usize),
    /// An IPv6 header.
    Ipv6(usize),
}

impl Editor<'_> {
    /// Replaces bits of the outermost MPLS label stack entry (RFC 3032 2.1): label, class, bottom, time
    /// to live.
    pub fn set_mpls(&mut self, value: u32, mask: u32) -> bool {
        self.layout.network == Network::Mpls
            && self.change(self.layout.l3.into(), |entry: &mut U32| {
                entry.set((entry.get() & !mask) | (value & mask));
            })
    }

    /// Replaces bits of the outermost PBB I-TAG (IEEE 802.1ah 9.7).
    pub fn set_pbb(&mut self, value: u32, mask: u32) -> bool {
        self.layout.network == Network::Pbb
            && self.change(self.layout.l3.into(), |tag: &mut U32| {
                tag.set((tag.get() & !mask) | (value & mask));
            })
    }

    /// Copies the time to live from the header below the outermost one that has one to that one: from
    /// the next label or the IP header to the outermost label (OpenFlow 1.3.5, 5.12). False if there
    /// are no two such headers.
    pub fn copy_ttl_out(&mut self) -> bool {
        match self.two_lives() {
            Some((outer, inner)) => self.copy_ttl(inner, outer),
            None => false,
        }
    }

    /// Copies the time to live the other way, inwards.
    pub fn copy_ttl_in(&mut self) -> bool {
        match self.two_lives() {
            Some((outer, inner)) => self.copy_ttl(outer, inner),
            None => false,
        }
    }

    fn copy_ttl(&mut self, from: Lives, to: Lives) -> bool {
        let ttl = match from {
            Lives::Mpls(at) => view::<U32>(self.head, at).map(|entry| entry.get() as u8),
            Lives::Ipv4(at) => view::<Ipv4>(self.head, at).map(|ip| ip.ttl),
            Lives::Ipv6(at) => view::<Ipv6>(self.head, at).map(|ip| ip.hop_limit),
        };
        let Some(ttl) = ttl else {
            return false;
        };
        match to {
            Lives::Mpls(at) => self.change(at, |entry: &mut U32| {
                entry.set((entry.get() & !0xff) | u32::from(ttl));
            }),
            Lives::Ipv4(at) => self.change(at, |ip: &mut Ipv4| {
                let old = u16::from_be_bytes([ip.ttl, ip.proto]);
                ip.ttl = ttl;
                let new = u16::from_be_bytes([ip.ttl, ip.proto]);
                update_ipv4(ip, old, new);
            }),
            Lives::Ipv6(at) => self.change(at, |ip: &mut Ipv6| ip.hop_limit = ttl),
        }
    }

    /// The outermost label, and the header with a time to live below it.
    fn two_lives(&self) -> Option<(Lives, Lives)> {
        if self.layout.network != Network::Mpls {
            return None;
        }
        let at = usize::from(self.layout.l3);
        let below = at + LSE_LEN;
        let entry: &U32 = view(self.head, at)?;
        let inner = if entry.get() & BOTTOM_OF_STACK == 0 {
            view::<U32>(self.head, below).map(|_| Lives::Mpls(below))?
        } else {
            // The label says what follows, to those who gave it out; the version tells it to others.
            match self.head.get(below)? >> 4 {
                4 => view::<Ipv4>(self.head, below).map(|_| Lives::Ipv4(below))?,
                6 => view::<Ipv6>(self.head, below).map(|_| Lives::Ipv6(below))?,
                _ => return None,
            }
        };
        Some((Lives::Mpls(at), inner))
    }
}
