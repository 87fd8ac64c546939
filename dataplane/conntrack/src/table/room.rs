//! Room for new connections: limits of zones and sources, the half-open pool, places; and the
//! lists that connections are in while they live.
//!
//! A flood of first packets finds these in its way, in this order: its zone's limit, its source's
//! share of the half-open pool, then the pool's size, where the oldest half-open connection gives
//! way. Connections that both sides have opened are never ended for another's sake.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering::Relaxed;

use super::{ConnTable, CtError};
use crate::entry::{ConnRef, status};
use crate::pool::{End, Pool};
use crate::sources::Source;
use crate::tuple::{Packed, Tuple};

/// Expired connections that are looked for where there is no room.
const SWEEP: u32 = 64;
/// Half-open connections that may turn out to be just open, until one is found to end.
const ATTEMPTS: u32 = 4;

/// A place and counts for a connection to be.
pub(super) struct Room {
    pub(super) place: u32,
    zone: u16,
    source: Source,
}

impl ConnTable {
    /// Room for a connection with this original tuple. It is to be used or given back.
    /// `begins` is false if the connection's beginning was not seen.
    pub(super) fn make_room(
        &self,
        zone: u16,
        tuple: &Tuple,
        begins: bool,
        tick: u32,
    ) -> Result<Room, CtError> {
        let (zones, sources) = (&self.arena.zones, &self.arena.sources);
        // What has expired does not count, but may not have been swept yet.
        let or_after_sweep =
            |enter: &dyn Fn() -> bool| enter() || (self.sweep(tick, SWEEP) > 0 && enter());
        if !or_after_sweep(&|| zones.enter(zone, begins)) {
            return Err(CtError::ZoneLimit);
        }
        let source = sources.of(zone, tuple);
        let share = self.config.half_open_per_source;
        if !or_after_sweep(&|| sources.enter(source, share)) {
            zones.leave(zone);
            return Err(CtError::SourceShare);
        }
        self.arena.header().half_open.fetch_add(1, Relaxed);
        let room = |place| Room {
            place,
            zone,
            source,
        };
        let found = match self.is_half_open_full(tick) && !self.evict() {
            true => Err(CtError::HalfOpen),
            false => self.take_or_free(tick).ok_or(CtError::Full),
        };
        if found.is_err() {
            self.uncount_half_open(source);
            zones.leave(zone);
        }
        found.map(room)
    }

    /// Gives back room that was not used.
    pub(super) fn leave_room(&self, room: &Room) {
        self.uncount_half_open(room.source);
        self.arena.zones.leave(room.zone);
        if let Some(mut pool) = self.pool_of(room.place) {
            pool.give_back(&self.arena.links, room.place);
        }
    }

    /// Queues a connection that was just published in its room.
    pub(super) fn settle(&self, conn: ConnRef, room: &Room) {
        let (Some(entry), Some(mut pool)) = (self.entry(conn), self.pool_of(conn.index)) else {
            return;
        };
        pool.counts.created += 1;
        let deadline = entry.deadline.load(Relaxed);
        pool.wheel.add(&self.arena.links, conn.index, deadline);
        // Another worker may have seen the answer already.
        let (_, word) = entry.head();
        if word & status::OPEN == 0 {
            pool.add_half_open(&self.arena.entries, conn.index);
        } else {
            self.uncount_half_open(room.source);
        }
    }

    /// Both sides have opened a connection.
    pub(super) fn leave_half_open(&self, conn: ConnRef) {
        let (Some(entry), Some(mut pool)) = (self.entry(conn), self.pool_of(conn.index)) else {
            return;
        };
        let Some((original, _)) = entry.tuples(conn.generation) else {
            return;
        };
        if pool.remove_half_open(&self.arena.entries, conn.index) {
            self.uncount_half_open(self.source_of(&original));
        }
    }

    /// Looks at a connection earlier, if it is queued for later than its deadline.
    pub(super) fn queue_earlier(&self, conn: ConnRef, deadline: u32) {
        let Some(link) = self.arena.links.get(conn.index as usize) else {
            return;
        };
        let is_late = || link.at.load(Relaxed) > deadline;
        if !is_late() {
            return;
        }
        if let Some(mut pool) = self.pool_of(conn.index)
            && self.arena.at(conn.index) == Some(conn)
            && is_late()
        {
            pool.wheel.remove(&self.arena.links, conn.index);
            pool.wheel.add(&self.arena.links, conn.index, deadline);
        }
    }

    /// Queues a connection that was due and then was not over.
    pub(super) fn queue_again(&self, conn: ConnRef) {
        let (Some(entry), Some(link)) =
            (self.entry(conn), self.arena.links.get(conn.index as usize))
        else {
            return;
        };
        if let Some(mut pool) = self.pool_of(conn.index)
            && self.arena.at(conn.index) == Some(conn)
            && link.at.load(Relaxed) == 0
        {
            let deadline = entry.deadline.load(Relaxed);
            pool.wheel.add(&self.arena.links, conn.index, deadline);
        }
    }

    /// Gives back the place of a connection that was just retired.
    /// `word` is the last of its status.
    pub(super) fn vacate(&self, conn: ConnRef, original: &Packed, word: u32, why: End) {
        let Some(mut pool) = self.pool_of(conn.index) else {
            return;
        };
        pool.wheel.remove(&self.arena.links, conn.index);
        if pool.remove_half_open(&self.arena.entries, conn.index) {
            self.uncount_half_open(self.source_of(original));
        }
        if !status::is_closed(word) {
            self.arena.zones.leave(original.zone());
        }
        pool.counts.end(why);
        pool.give_back(&self.arena.links, conn.index);
    }

    /// True if there are more half-open connections than there may be, the coming one counted.
    fn is_half_open_full(&self, tick: u32) -> bool {
        let is_full = || self.half_open() > self.config.half_open;
        is_full() && {
            self.sweep(tick, SWEEP);
            is_full()
        }
    }

    /// A place, if need be one that has expired, or the oldest half-open connection's.
    fn take_or_free(&self, tick: u32) -> Option<u32> {
        self.take().or_else(|| {
            let is_freed = self.sweep(tick, SWEEP) > 0 || self.evict();
            is_freed.then(|| self.take()).flatten()
        })
    }

    fn take(&self) -> Option<u32> {
        let Self { arena, pools, .. } = self;
        let high_water = &arena.header().high_water;
        pools.mine_first().find_map(|number| {
            let mut pool = pools.lock(number)?;
            let place = pool.take(&arena.links, high_water, self.capacity())?;
            arena.prefetch_place(place);
            if let Some(link) = arena.links.get(place as usize) {
                link.pool.store(number, Relaxed);
            }
            Some(place)
        })
    }

    /// Ends the oldest half-open connection of this thread's pool, or of another one; false if
    /// there is none.
    fn evict(&self) -> bool {
        self.pools.mine_first().any(|number| {
            (0..ATTEMPTS).any(|_| {
                let oldest = self
                    .pools
                    .lock(number)
                    .and_then(|pool| pool.oldest_half_open());
                oldest
                    .and_then(|place| self.arena.at(place))
                    .is_some_and(|conn| {
                        self.end(conn, End::Evicted, |_, word| word & status::OPEN == 0)
                    })
            })
        })
    }

    fn pool_of(&self, place: u32) -> Option<MutexGuard<'_, Pool>> {
        let link = self.arena.links.get(place as usize)?;
        self.pools.lock(link.pool.load(Relaxed))
    }

    fn source_of(&self, original: &Packed) -> Source {
        self.arena.sources.of(original.zone(), &original.unpack())
    }

    fn uncount_half_open(&self, source: Source) {
        self.arena.sources.leave(source);
        self.arena.header().half_open.fetch_sub(1, Relaxed);
    }
}
