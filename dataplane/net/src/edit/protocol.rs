//! The protocol of an IP packet.

use super::{Editor, replace, update_ipv4};
use crate::csum;
use crate::headers::{Ipv4, Ipv6, Ipv6Fragment, proto};
use crate::parse::Network;

impl Editor<'_> {
    /// Protocol of an IP packet, below any extension headers. The checksum of the transport header that
    /// is there is brought into line with the changed pseudo-header; nothing else of it is touched.
    pub fn set_ip_proto(&mut self, proto: u8) -> bool {
        let l3 = usize::from(self.layout.l3);
        let Some((at, old)) = self.ip_proto() else {
            return false;
        };
        if self.layout.network == Network::Ipv4 {
            self.change(l3, |ip: &mut Ipv4| {
                let old = u16::from_be_bytes([ip.ttl, ip.proto]);
                ip.proto = proto;
                let new = u16::from_be_bytes([ip.ttl, ip.proto]);
                update_ipv4(ip, old, new);
            });
        } else if replace(self.head, at, [proto]).is_none() {
            return false;
        }
        self.pseudo_header_changed(csum::delta(&[0, old], &[0, proto]));
        true
    }

    /// Where the protocol is, and what it is.
    fn ip_proto(&self) -> Option<(usize, u8)> {
        let l3 = usize::from(self.layout.l3);
        let byte = |at: usize| self.head.get(at).copied();
        match self.layout.network {
            Network::Ipv4 => Some((l3 + 9, byte(l3 + 9)?)),
            Network::Ipv6 => {
                let (mut at, mut next) = (l3 + 6, l3 + Ipv6::LEN);
                while next < usize::from(self.layout.l4) {
                    let units = usize::from(byte(next + 1)?);
                    let len = match byte(at)? {
                        proto::AUTH => (units + 2) * 4,
                        proto::FRAGMENT => Ipv6Fragment::LEN,
                        _ => (units + 1) * 8,
                    };
                    (at, next) = (next, next + len);
                }
                Some((at, byte(at)?))
            }
            _ => None,
        }
    }
}
