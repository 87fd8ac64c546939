//! The addresses and ports that identify a connection in one direction.

use std::fmt;
use std::net::IpAddr;

use net::FlowKey;
use net::headers::{ethertype, proto};
use net::icmp::Embedded;
use net::parse::{Layout, Network};

/// Source and destination of one direction.
///
/// Query messages of ICMP and ICMPv6 have their identifier in `src_port`, and type (high byte) and
/// code in `dst_port`. Protocols without ports have zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Protocol.
    pub proto: u8,
}

impl Tuple {
    /// The tuple of a parsed packet. None if it cannot be tracked: not IP, broken, a fragment
    /// other than the first, or an ICMP message that is no query (errors go by
    /// [`Tuple::of_embedded`]).
    pub fn of_packet(key: &FlowKey, layout: &Layout) -> Option<Self> {
        if layout.malformed.is_some() || layout.fragment.is_some_and(|f| f.offset != 0) {
            return None;
        }
        Self::of_key(key, layout.network, layout.icmp_id)
    }

    /// The tuple of a fragment other than the first: its addresses, and the protocol and ports (as
    /// in the first one's tuple) that it does not carry.
    pub fn of_fragment(
        key: &FlowKey,
        network: Network,
        proto: u8,
        (src_port, dst_port): (u16, u16),
    ) -> Option<Self> {
        let (src, dst) = addresses(key, network)?;
        Some(Tuple {
            src,
            dst,
            src_port,
            dst_port,
            proto,
        })
    }

    /// The tuple of a flow key, such as one that a walk has rewritten.
    pub fn of_key(key: &FlowKey, network: Network, icmp_id: u16) -> Option<Self> {
        let (src, dst) = addresses(key, network)?;
        let (src_port, dst_port) = match key.nw_proto {
            proto::ICMP | proto::ICMPV6 => {
                let kind = u8::try_from(key.tp_src.get()).ok()?;
                answered_by(key.nw_proto, kind)?;
                (icmp_id, u16::from(kind) << 8 | (key.tp_dst.get() & 0xff))
            }
            _ => (key.tp_src.get(), key.tp_dst.get()),
        };
        Some(Tuple {
            src,
            dst,
            src_port,
            dst_port,
            proto: key.nw_proto,
        })
    }

    /// The tuple of the packet inside an ICMP error.
    pub fn of_embedded(inner: &Embedded) -> Option<Self> {
        let (src_port, dst_port) = match inner.proto {
            proto::ICMP | proto::ICMPV6 => {
                let kind = u8::try_from(inner.src_port).ok()?;
                answered_by(inner.proto, kind)?;
                (
                    inner.icmp_id,
                    u16::from(kind) << 8 | (inner.dst_port & 0xff),
                )
            }
            _ => (inner.src_port, inner.dst_port),
        };
        Some(Tuple {
            src: inner.src,
            dst: inner.dst,
            src_port,
            dst_port,
            proto: inner.proto,
        })
    }

    /// The embedded packet as it looks with this tuple; places stay those of `old`.
    pub fn to_embedded(&self, old: &Embedded) -> Embedded {
        let mut new = *old;
        (new.src, new.dst) = (self.src, self.dst);
        if self.is_icmp() {
            new.icmp_id = self.src_port;
        } else {
            (new.src_port, new.dst_port) = (self.src_port, self.dst_port);
        }
        new
    }

    /// The tuple of an answer.
    pub fn reverse(&self) -> Self {
        let (src_port, dst_port) = if self.is_icmp() {
            let [kind, code] = self.dst_port.to_be_bytes();
            let answer = answered_by(self.proto, kind).unwrap_or(kind);
            (self.src_port, u16::from_be_bytes([answer, code]))
        } else {
            (self.dst_port, self.src_port)
        };
        Tuple {
            src: self.dst,
            dst: self.src,
            src_port,
            dst_port,
            proto: self.proto,
        }
    }

    /// ICMP or ICMPv6.
    pub fn is_icmp(&self) -> bool {
        matches!(self.proto, proto::ICMP | proto::ICMPV6)
    }

    /// True if the tuple's ICMP message is a question, not an answer: only those begin a
    /// connection. True for all other protocols.
    pub(crate) fn may_begin(&self) -> bool {
        let [kind, _] = self.dst_port.to_be_bytes();
        match self.proto {
            proto::ICMP => matches!(kind, 8 | 13 | 15 | 17),
            proto::ICMPV6 => kind == 128,
            _ => true,
        }
    }

    /// Ports, or identifiers, that translation may change.
    pub(crate) fn has_ports(&self) -> bool {
        matches!(self.proto, proto::TCP | proto::UDP | proto::SCTP) || self.is_icmp()
    }

    /// Packs tuple and zone into words; the last three are zero for IPv4.
    pub(crate) fn pack(&self, zone: u16) -> Packed {
        let ports = u64::from(self.src_port) << 16 | u64::from(self.dst_port);
        let first = |family: u64| {
            family << 56 | u64::from(self.proto) << 48 | u64::from(zone) << 32 | ports
        };
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let addresses = u64::from(src.to_bits()) << 32 | u64::from(dst.to_bits());
                Packed([first(4), addresses, 0, 0, 0])
            }
            (src, dst) => {
                let [src, dst] = [src, dst].map(|address| match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
                    IpAddr::V6(v6) => v6.to_bits(),
                });
                Packed([
                    first(6),
                    (src >> 64) as u64,
                    src as u64,
                    (dst >> 64) as u64,
                    dst as u64,
                ])
            }
        }
    }
}

fn addresses(key: &FlowKey, network: Network) -> Option<(IpAddr, IpAddr)> {
    match (network, key.eth_type.get()) {
        (Network::Ipv4, ethertype::IPV4) => Some((
            IpAddr::from(key.nw_src.to_bytes()),
            IpAddr::from(key.nw_dst.to_bytes()),
        )),
        (Network::Ipv6, ethertype::IPV6) => {
            Some((IpAddr::from(key.ipv6_src), IpAddr::from(key.ipv6_dst)))
        }
        _ => None,
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tuple {
            src,
            dst,
            src_port,
            dst_port,
            proto,
        } = self;
        write!(f, "{proto}:{src}:{src_port}>{dst}:{dst_port}")
    }
}

/// A tuple with its zone, as it is stored and hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed(pub(crate) [u64; 5]);

impl Packed {
    /// The words that are not always zero.
    pub(crate) fn words(&self) -> &[u64] {
        let [first, ..] = self.0;
        let used = if first >> 56 == 4 { 2 } else { 5 };
        self.0.get(..used).unwrap_or(&self.0)
    }

    pub(crate) fn zone(&self) -> u16 {
        let [first, ..] = self.0;
        (first >> 32) as u16
    }

    pub(crate) fn proto(&self) -> u8 {
        let [first, ..] = self.0;
        (first >> 48) as u8
    }

    pub(crate) fn unpack(&self) -> Tuple {
        let [first, a, b, c, d] = self.0;
        let (src, dst) = if first >> 56 == 4 {
            (
                IpAddr::from(((a >> 32) as u32).to_be_bytes()),
                IpAddr::from((a as u32).to_be_bytes()),
            )
        } else {
            let join =
                |high: u64, low: u64| (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
            (IpAddr::from(join(a, b)), IpAddr::from(join(c, d)))
        };
        Tuple {
            src,
            dst,
            src_port: (first >> 16) as u16,
            dst_port: first as u16,
            proto: self.proto(),
        }
    }
}

/// The type of the message that answers a query, and of the query that an answer belongs to (RFC
/// 792, RFC 950, RFC 4443 4); none for messages that are neither.
fn answered_by(protocol: u8, kind: u8) -> Option<u8> {
    match (protocol, kind) {
        (proto::ICMP, 8) => Some(0),
        (proto::ICMP, 0) => Some(8),
        (proto::ICMP, 13 | 15 | 17) => Some(kind + 1),
        (proto::ICMP, 14 | 16 | 18) => Some(kind - 1),
        (proto::ICMPV6, 128) => Some(129),
        (proto::ICMPV6, 129) => Some(128),
        _ => None,
    }
}
