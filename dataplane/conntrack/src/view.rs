//! Reading connections, in this process's table or in another's.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;

use net::headers::proto;
use os::MemoryFile;

use crate::arena::{Arena, TableError};
use crate::config::{TICK, duration, tick};
use crate::dump::{Conn, Counters};
use crate::entry::{ConnRef, Direction, status};
use crate::tcp::State;
use crate::tuple::Tuple;

/// The connections of a table that is another process's, or was: its memory, mapped once more.
/// Only for reading; who owns the table goes on meanwhile.
pub struct ConnView {
    arena: Arena,
}

impl ConnView {
    /// From the descriptor of a table's memory
    /// ([`ConnTable::as_fd`](std::os::fd::AsFd::as_fd)).
    ///
    /// # Errors
    /// If it cannot be mapped, or holds no table that this program understands.
    pub fn open(memory: OwnedFd) -> Result<Self, TableError> {
        let file = MemoryFile::open("connections", memory)?;
        let arena = Arena::open(&file, TICK as u32)?;
        Ok(ConnView { arena })
    }

    /// Most connections.
    pub fn capacity(&self) -> u32 {
        self.arena.entries.len() as u32
    }

    /// Finds the connection of a packet. `now` is in nanoseconds of the table's own clock.
    pub fn lookup(&self, zone: u16, tuple: &Tuple, now: u64) -> Option<(ConnRef, Direction)> {
        self.arena.lookup(zone, tuple, tick(now))
    }

    /// A connection as an operator sees it; none if it is gone or has expired.
    pub fn get(&self, conn: ConnRef, now: u64) -> Option<Conn> {
        self.arena.get(conn, tick(now))
    }

    /// Every connection, in no particular order.
    pub fn iter(&self, now: u64) -> impl Iterator<Item = Conn> + '_ {
        self.arena
            .live()
            .filter_map(move |conn| self.get(conn, now))
    }
}

impl std::fmt::Debug for ConnView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnView of at most {} connections", self.capacity())
    }
}

impl Arena {
    pub(crate) fn lookup(
        &self,
        zone: u16,
        tuple: &Tuple,
        tick: u32,
    ) -> Option<(ConnRef, Direction)> {
        let key = tuple.pack(zone);
        let (conn, direction) = self.find(&key, self.hash_of(&key))?;
        self.is_fresh(conn, tick).then_some((conn, direction))
    }

    pub(crate) fn get(&self, conn: ConnRef, tick: u32) -> Option<Conn> {
        let entry = self.entry(conn)?;
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
}
