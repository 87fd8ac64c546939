//! Connections that a program depends on.

use std::net::IpAddr;

use conntrack::{ConnRef, ConnTable, Direction, Expected, Tuple};
use net::headers::proto;
use net::parse::{Layout, Network};
use net::tcp::TcpInfo;
use packet::Packet;

/// What a walk learnt of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The connection exists, and this packet does not change what it is.
    Known {
        conn: ConnRef,
        direction: Direction,
        /// Bits of `ct_state`.
        state: u32,
        /// Mark and label are as they were, if that matters.
        revision: Option<u8>,
    },
    /// There is no such connection.
    Unknown {
        zone: u16,
        tuple: Tuple,
        /// Bits of `ct_state`.
        state: u32,
    },
}

/// What a walk learnt, to be asked again before the program is run for another packet: as [`Found`],
/// but for any flow of the program. Asking takes the packet into account: the connection lives on,
/// its state follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Check {
    Known {
        /// Which of the flow's connections.
        conn: u16,
        direction: Direction,
        expected: Expected,
    },
    Unknown {
        zone: u16,
        tuple: Subject,
        state: u32,
    },
}

/// Whose connection there is none of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// The packet's, as it comes.
    Packet,
    /// That of a packet that was changed on its way through the tables.
    Tuple(Box<Tuple>),
}

/// True while every connection is as it was, for this packet of a flow with these connections; then
/// the packet is counted for them.
#[inline]
pub(crate) fn carry(
    checks: &[Check],
    mine: &[ConnRef],
    conns: &ConnTable,
    packet: &Packet,
    layout: &Layout,
    now: u64,
) -> bool {
    if checks.is_empty() {
        return true;
    }
    let tcp = TcpInfo::read(packet.head(), layout);
    let bytes = packet.len() as u64;
    if let [
        Check::Known {
            conn,
            direction,
            expected,
        },
    ] = checks
    {
        let Some(conn) = mine.get(usize::from(*conn)) else {
            return false;
        };
        return conns.carry(*conn, *direction, *expected, tcp.as_ref(), bytes, now);
    }
    let hold = checks.iter().all(|check| match check {
        Check::Known {
            conn,
            direction,
            expected,
        } => mine
            .get(usize::from(*conn))
            .and_then(|conn| conns.update(*conn, *direction, tcp.as_ref(), now))
            .is_some_and(|(state, revision)| {
                state == expected.state && expected.revision.is_none_or(|r| r == revision)
            }),
        Check::Unknown { zone, tuple, state } => {
            let of_packet;
            let tuple = match tuple {
                Subject::Tuple(tuple) => tuple,
                Subject::Packet => {
                    of_packet = self::tuple(packet.head(), layout);
                    let Some(tuple) = &of_packet else {
                        return false;
                    };
                    tuple
                }
            };
            let tracked = conns.track(*zone, tuple, tcp.as_ref(), now);
            tracked.conn.is_none() && tracked.state == *state
        }
    });
    if hold {
        count(checks, mine, conns, bytes);
    }
    hold
}

/// Asks for what [`carry`] reads of connections.
#[inline]
pub(crate) fn prefetch(checks: &[Check], mine: &[ConnRef], conns: &ConnTable) {
    for check in checks {
        if let Check::Known {
            conn, direction, ..
        } = check
            && let Some(conn) = mine.get(usize::from(*conn))
        {
            conns.prefetch(*conn, *direction);
        }
    }
}

/// Counts a packet for its connections.
#[inline]
pub(crate) fn count(checks: &[Check], mine: &[ConnRef], conns: &ConnTable, bytes: u64) {
    for check in checks {
        if let Check::Known {
            conn, direction, ..
        } = check
            && let Some(conn) = mine.get(usize::from(*conn))
        {
            conns.count(*conn, *direction, 1, bytes);
        }
    }
}

/// The tuple of a packet, from its bytes: [`Tuple::of_packet`] of a packet with an exact key that can
/// be tracked.
pub(crate) fn tuple(head: &[u8], layout: &Layout) -> Option<Tuple> {
    if layout.malformed.is_some() || layout.fragment.is_some_and(|f| f.offset != 0) {
        return None;
    }
    let ip = head.get(usize::from(layout.l3)..)?;
    let (src, dst, proto) = match layout.network {
        Network::Ipv4 => (
            IpAddr::from(*ip.get(12..)?.first_chunk::<4>()?),
            IpAddr::from(*ip.get(16..)?.first_chunk::<4>()?),
            *ip.get(9)?,
        ),
        // No extension headers: such packets have no exact key.
        Network::Ipv6 => (
            IpAddr::from(*ip.get(8..)?.first_chunk::<16>()?),
            IpAddr::from(*ip.get(24..)?.first_chunk::<16>()?),
            *ip.get(6)?,
        ),
        _ => return None,
    };
    let l4 = head.get(usize::from(layout.l4)..)?;
    let [src_port, dst_port] = match proto {
        proto::ICMP | proto::ICMPV6 => [layout.icmp_id, u16::from_be_bytes(*l4.first_chunk()?)],
        proto::TCP | proto::UDP | proto::SCTP => {
            let [a, b, c, d] = *l4.first_chunk::<4>()?;
            [[a, b], [c, d]].map(u16::from_be_bytes)
        }
        _ => [0, 0],
    };
    Some(Tuple {
        src,
        dst,
        src_port,
        dst_port,
        proto,
    })
}
