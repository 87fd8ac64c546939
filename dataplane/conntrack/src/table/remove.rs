//! Ending connections: expiry, flushing, removal by name.

use std::sync::atomic::Ordering::Relaxed;

use super::ConnTable;
use crate::config::tick;
use crate::dump::Filter;
use crate::entry::{ConnRef, Direction, status};
use crate::index::Hit;

impl ConnTable {
    /// Removes what has expired among the next `places` of the table, wherever the last call
    /// stopped; returns how many. Looking at a place costs about a nanosecond.
    pub fn expire(&self, now: u64, places: u32) -> u32 {
        let tick = tick(now);
        let used = self.high_water.load(Relaxed);
        if used == 0 {
            return 0;
        }
        let places = places.min(used);
        let start = self.cursor.fetch_add(places, Relaxed) % used;
        let mut removed = 0;
        for index in (start..used).chain(0..start).take(places as usize) {
            let Some(hint) = self.hints.get(index as usize) else {
                continue;
            };
            let earliest = hint.load(Relaxed);
            if earliest == 0 || earliest > tick {
                continue;
            }
            let Some(conn) = self.at(index) else { continue };
            let Some(entry) = self.entry(conn) else {
                continue;
            };
            let deadline = entry.deadline.load(Relaxed);
            if deadline > tick {
                hint.store(deadline, Relaxed);
            } else if self.remove(conn) {
                removed += 1;
            }
        }
        removed
    }

    /// Removes the connections that a filter fits; returns how many.
    pub fn flush(&self, filter: &Filter) -> u32 {
        let used = self.high_water.load(Relaxed);
        let fits = |conn: &ConnRef| {
            let tuples = self.entry(*conn).and_then(|e| e.tuples(conn.generation));
            tuples.is_some_and(|(original, reply)| {
                let (mark, label) = self.mark_and_label(*conn);
                let both = [&original.unpack(), &reply.unpack()];
                filter.fits(original.zone(), both, mark, label)
            })
        };
        (0..used)
            .filter_map(|index| self.at(index))
            .filter(fits)
            .map(|conn| u32::from(self.remove(conn)))
            .sum()
    }

    /// Removes one connection; false if it was gone.
    pub fn remove(&self, conn: ConnRef) -> bool {
        let Some(entry) = self.entry(conn) else {
            return false;
        };
        let Some((original, reply)) = entry.tuples(conn.generation) else {
            return false;
        };
        let hashes = [self.hash_of(&original), self.hash_of(&reply)];
        let _locks = self.lock(hashes);
        let Some(word) = entry.retire(conn.generation) else {
            return false;
        };
        self.unlink(conn.index, hashes, original == reply);
        if word & status::OPEN == 0 {
            self.half_open.fetch_sub(1, Relaxed);
        }
        self.live.fetch_sub(1, Relaxed);
        self.give_back(conn.index);
        true
    }

    /// Takes a place out of the index.
    pub(super) fn unlink(&self, place: u32, [original, reply]: [u64; 2], one_tuple: bool) {
        let hit = |direction| Hit { place, direction };
        self.index.remove(original, hit(Direction::Original));
        if !one_tuple {
            self.index.remove(reply, hit(Direction::Reply));
        }
        if let Some(hint) = self.hints.get(place as usize) {
            hint.store(0, Relaxed);
        }
    }
}
