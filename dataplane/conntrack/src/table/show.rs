//! Connections as an operator sees them, read from the table.

use std::sync::atomic::Ordering::Relaxed;

use net::headers::proto;

use super::ConnTable;
use crate::config::{duration, tick};
use crate::dump::{Conn, Counters};
use crate::entry::{ConnRef, Direction, status};
use crate::tcp::State;

impl ConnTable {
    /// A connection as an operator sees it; none if it is gone or has expired.
    pub fn get(&self, conn: ConnRef, now: u64) -> Option<Conn> {
        let entry = self.entry(conn)?;
        let tick = tick(now);
        let word = entry.status(conn.generation)?;
        let deadline = entry.deadline.load(Relaxed);
        let created = entry.created.load(Relaxed);
        let (mark, label) = (entry.mark.load(Relaxed), entry.label());
        let [sent, received] = [Direction::Original, Direction::Reply].map(|direction| {
            let flow = entry.flow(direction);
            Counters {
                packets: flow.packets.load(Relaxed),
                bytes: flow.bytes.load(Relaxed),
            }
        });
        let (original, reply) = entry.tuples(conn.generation)?;
        if deadline <= tick {
            return None;
        }
        Some(Conn {
            conn,
            zone: original.zone(),
            original: original.unpack(),
            reply: reply.unpack(),
            established: word & status::SEEN_REPLY != 0,
            tcp: (original.proto() == proto::TCP).then(|| State::from_status(word).name()),
            mark,
            label,
            age: duration(tick.saturating_sub(created)),
            left: duration(deadline - tick),
            sent,
            received,
        })
    }

    /// Every connection, in no particular order. Workers go on meanwhile: one that is created or
    /// removed during the iteration may or may not be seen.
    pub fn iter(&self, now: u64) -> impl Iterator<Item = Conn> + '_ {
        (0..self.high_water.load(Relaxed))
            .filter_map(|index| self.at(index))
            .filter_map(move |conn| self.get(conn, now))
    }
}
