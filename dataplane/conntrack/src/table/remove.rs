//! Ending connections: expiry, flushing, removal by name.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use super::ConnTable;
use crate::config::tick;
use crate::dump::Filter;
use crate::entry::{ConnRef, Direction, Entry};
use crate::index::Hit;
use crate::pool::End;
use crate::wheel::Due;

/// Connections that are taken from a wheel at a time, so that no pool is locked for long.
const BATCH: u32 = 32;

/// What came of looking at a batch of connections.
enum Batch {
    /// Nothing is due in the pool.
    Idle,
    /// Another worker has locked it.
    Busy,
    /// So many were looked at.
    Looked(u32),
}

impl ConnTable {
    /// Removes what has expired; looks at no more than `connections`, of those that are due.
    /// Returns how many it removed. When nothing is due it costs some nanoseconds.
    ///
    /// A connection is gone for lookups in the very tick in which it expires; its place is free
    /// once this has come by.
    pub fn expire(&self, now: u64, connections: u32) -> u32 {
        self.sweep(tick(now), connections)
    }

    pub(super) fn sweep(&self, tick: u32, connections: u32) -> u32 {
        if self.swept.load(Relaxed) >= tick {
            return 0;
        }
        let mut left = connections;
        let mut removed = 0;
        let mut is_done = true;
        for pool in self.pools.mine_first() {
            while left > 0 {
                match self.sweep_batch(pool, tick, left.min(BATCH), &mut removed) {
                    Batch::Idle => break,
                    Batch::Busy => {
                        is_done = false;
                        break;
                    }
                    Batch::Looked(looked) => left -= looked,
                }
            }
        }
        if is_done && left > 0 {
            // Whatever is queued from now on is due later.
            self.swept.fetch_max(tick, Relaxed);
        }
        removed
    }

    /// Looks at what is due in one pool.
    fn sweep_batch(&self, number: u32, tick: u32, most: u32, removed: &mut u32) -> Batch {
        let mut due = [None; BATCH as usize];
        // If another worker has it, it sees to it.
        let Some(mut pool) = self.pools.try_lock(number) else {
            return Batch::Busy;
        };
        if pool.wheel.is_idle(tick) {
            return Batch::Idle;
        }
        let mut free = due.iter_mut();
        let looked = pool.wheel.turn(&self.arena.links, tick, most, |place| {
            let Some(conn) = self.arena.at(place) else {
                return Due::Over;
            };
            let deadline = self
                .entry(conn)
                .map_or(0, |entry| entry.deadline.load(Relaxed));
            if deadline > tick {
                return Due::Later(deadline);
            }
            if let Some(free) = free.next() {
                *free = Some(conn);
            }
            Due::Over
        });
        drop(pool);
        for conn in due.into_iter().flatten() {
            let is_over = |entry: &Entry, _| entry.deadline.load(Relaxed) <= tick;
            if self.end(conn, End::Expired, is_over) {
                *removed += 1;
            } else {
                self.queue_again(conn);
            }
        }
        Batch::Looked(looked)
    }

    /// Removes the connections that a filter fits; returns how many.
    pub fn flush(&self, filter: &Filter) -> u32 {
        self.flush_places(filter, 0..self.places())
    }

    /// Places that connections are at or were at, for [`ConnTable::flush_places`].
    pub fn places(&self) -> u32 {
        self.arena.high_water()
    }

    /// As [`ConnTable::flush`], at these places only, so that whoever has other things to do can
    /// flush a large table in parts.
    pub fn flush_places(&self, filter: &Filter, places: Range<u32>) -> u32 {
        let fits = |conn: &ConnRef| {
            let tuples = self.entry(*conn).and_then(|e| e.tuples(conn.generation));
            tuples.is_some_and(|(original, reply)| {
                // Most often a zone is asked for.
                if filter.zone.is_some_and(|zone| zone != original.zone()) {
                    return false;
                }
                let (mark, label) = self.mark_and_label(*conn);
                let both = [&original.unpack(), &reply.unpack()];
                filter.fits(original.zone(), both, mark, label)
            })
        };
        places
            .filter_map(|index| self.arena.at(index))
            .filter(fits)
            .map(|conn| u32::from(self.remove(conn)))
            .sum()
    }

    /// Removes one connection; false if it was gone.
    pub fn remove(&self, conn: ConnRef) -> bool {
        self.end(conn, End::Removed, |_, _| true)
    }

    /// Removes a connection of which, and of whose status, that is true.
    pub(super) fn end(
        &self,
        conn: ConnRef,
        why: End,
        allows: impl Fn(&Entry, u32) -> bool,
    ) -> bool {
        let Some(entry) = self.entry(conn) else {
            return false;
        };
        let Some((original, reply)) = entry.tuples(conn.generation) else {
            return false;
        };
        let hashes = [self.arena.hash_of(&original), self.arena.hash_of(&reply)];
        let locks = self.lock(hashes);
        let last = Cell::new(0);
        let allows = |word| {
            last.set(word);
            allows(entry, word)
        };
        if !entry.retire(conn.generation, allows) {
            return false;
        }
        self.unlink(conn.index, hashes, original == reply);
        drop(locks);
        // Until it is given back, the place is nobody else's.
        self.vacate(conn, &original, last.get(), why);
        true
    }

    /// Takes a place out of the index.
    pub(super) fn unlink(&self, place: u32, [original, reply]: [u64; 2], one_tuple: bool) {
        let hit = |direction| Hit { place, direction };
        self.arena.index.remove(original, hit(Direction::Original));
        if !one_tuple {
            self.arena.index.remove(reply, hit(Direction::Reply));
        }
    }
}
