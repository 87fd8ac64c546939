//! Connections that a program depends on.

use conntrack::{ConnRef, ConnTable, Direction, Tuple};
use net::parse::Layout;
use net::tcp::TcpInfo;

/// What a walk learnt of a connection, to be asked again before the program is run for another
/// packet. Asking takes the packet into account: the connection lives on, its state follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Check {
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
        tuple: Box<Tuple>,
        /// Bits of `ct_state`.
        state: u32,
    },
}

/// True while every connection is as it was, for this packet.
#[inline]
pub(crate) fn hold(
    checks: &[Check],
    conns: &ConnTable,
    head: &[u8],
    layout: &Layout,
    now: u64,
) -> bool {
    if checks.is_empty() {
        return true;
    }
    let tcp = TcpInfo::read(head, layout);
    checks.iter().all(|check| match check {
        Check::Known {
            conn,
            direction,
            state,
            revision,
        } => conns
            .update(*conn, *direction, tcp.as_ref(), now)
            .is_some_and(|(is, seen)| is == *state && revision.is_none_or(|r| r == seen)),
        Check::Unknown { zone, tuple, state } => {
            let tracked = conns.track(*zone, tuple, tcp.as_ref(), now);
            tracked.conn.is_none() && tracked.state == *state
        }
    })
}

/// Counts a packet for its connections.
#[inline]
pub(crate) fn count(checks: &[Check], conns: &ConnTable, bytes: u64) {
    for check in checks {
        if let Check::Known {
            conn, direction, ..
        } = check
        {
            conns.count(*conn, *direction, 1, bytes);
        }
    }
}
