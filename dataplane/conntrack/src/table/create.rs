//! Creating connections, and changing mark and label of those that are there.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use net::headers::proto;
use net::tcp::TcpInfo;

use super::{ConnTable, with_lifetime};
use crate::config::tick;
use crate::entry::{ConnRef, Direction, NewEntry, status};
use crate::index::Hit;
use crate::nat::NatRequest;
use crate::tcp::State;
use crate::tuple::Tuple;

/// Why a connection was not created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CtError {
    /// No free place.
    #[error("the connection table is full")]
    Full,
    /// Too many connections of which one direction only was seen.
    #[error("too many half-open connections")]
    HalfOpen,
    /// Every address and port of the range is taken; without translation, another connection is
    /// translated to the same tuple.
    #[error("no free address and port for the connection")]
    NatExhausted,
    /// The packet cannot begin a connection.
    #[error("the packet cannot begin a connection")]
    Invalid,
    /// There was not enough memory for the table.
    #[error("not enough memory for {capacity} connections")]
    Memory {
        /// Connections asked for.
        capacity: u32,
    },
}

/// A connection to be created, or changed if it is there.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Zone.
    pub zone: u16,
    /// Tuple of the packet, not yet translated.
    pub tuple: Tuple,
    /// Its TCP header, for TCP.
    pub tcp: Option<&'a TcpInfo>,
    /// Translation, for a new connection.
    pub nat: NatRequest,
    /// Mark: value, and ones where it is written.
    pub mark: (u32, u32),
    /// Label, likewise.
    pub label: (u128, u128),
    /// Make it a new connection if the packet is of the reply direction of an old one.
    pub force: bool,
}

impl ConnTable {
    /// Creates the connection of a packet, or changes mark and label of the one that is there.
    ///
    /// # Errors
    /// [`CtError`]; the packet is to be dropped then, since its connection could not be answered.
    pub fn commit(&self, commit: &Commit<'_>, now: u64) -> Result<ConnRef, CtError> {
        let tick = tick(now);
        let original = commit.tuple.pack(commit.zone);
        if let Some((conn, direction)) = self.find(&original) {
            let replace = commit.force && direction == Direction::Reply;
            if self.is_fresh(conn, tick) && !replace {
                return self.change(conn, commit).ok_or(CtError::Full);
            }
            self.remove(conn);
        }
        let (state, sequences) = self
            .begin(&commit.tuple, commit.tcp)
            .ok_or(CtError::Invalid)?;
        if !commit.tuple.may_begin() || !commit.nat.is_of_family(commit.tuple.src.is_ipv4()) {
            return Err(CtError::Invalid);
        }
        if self.half_open.load(Relaxed) >= self.half_open_limit {
            return Err(CtError::HalfOpen);
        }
        let protocol = commit.tuple.proto;
        let word = with_lifetime(state.map_or(0, |state| state.into_status(0)), protocol);
        let lifetime = self.lifetimes.of(word);
        let mut new = NewEntry {
            original,
            reply: original,
            status: word,
            mark: commit.mark.0 & commit.mark.1,
            label: commit.label.0 & commit.label.1,
            created: tick,
            deadline: tick.wrapping_add(lifetime).max(1),
            sequences,
        };
        let place = self.take_free().ok_or(CtError::Full)?;
        for translated in commit.nat.candidates(&commit.tuple, &self.hash, now) {
            new.reply = translated.reverse().pack(commit.zone);
            new.status = word | translation(&commit.tuple, &translated);
            match self.insert(place, &new, tick) {
                Inserted::Done(conn) => return Ok(conn),
                Inserted::Taken => {}
                Inserted::Raced(conn) => {
                    self.give_back(place);
                    return self.change(conn, commit).ok_or(CtError::Full);
                }
                Inserted::Full => {
                    self.give_back(place);
                    return Err(CtError::Full);
                }
            }
        }
        self.give_back(place);
        Err(CtError::NatExhausted)
    }

    /// State and sequence spaces for a connection that begins with this packet; none if it cannot.
    #[allow(clippy::type_complexity)]
    pub(super) fn begin(
        &self,
        tuple: &Tuple,
        tcp: Option<&TcpInfo>,
    ) -> Option<(Option<State>, [[u32; 3]; 2])> {
        if tuple.proto == proto::TCP {
            let (state, sequences) = State::begin(tcp?, self.loose)?;
            Some((Some(state), sequences))
        } else {
            Some((None, [[0; 3]; 2]))
        }
    }

    /// Writes mark and label of an existing connection.
    fn change(&self, conn: ConnRef, commit: &Commit<'_>) -> Option<ConnRef> {
        let entry = self.entry(conn)?;
        let ((mark, mark_mask), (label, label_mask)) = (commit.mark, commit.label);
        let (original, _) = entry.tuples(conn.generation)?;
        let hash = self.hash_of(&original);
        // Two commits of one connection must not undo each other.
        let _locks = self.lock([hash, hash]);
        entry.status(conn.generation)?;
        let (old_mark, old_label) = (entry.mark.load(Relaxed), entry.label());
        let new_mark = (old_mark & !mark_mask) | (mark & mark_mask);
        let new_label = (old_label & !label_mask) | (label & label_mask);
        if (new_mark, new_label) != (old_mark, old_label) {
            entry.mark.store(new_mark, Relaxed);
            entry.set_label(new_label);
            entry.change_status(conn.generation, |word| {
                word.wrapping_add(1 << status::REVISION_SHIFT)
            })?;
        }
        Some(conn)
    }

    fn insert(&self, place: u32, new: &NewEntry, tick: u32) -> Inserted {
        if let Some((conn, _)) = self.find(&new.reply) {
            if self.is_fresh(conn, tick) {
                return Inserted::Taken;
            }
            self.remove(conn);
        }
        let hashes = [self.hash_of(&new.original), self.hash_of(&new.reply)];
        let _locks = self.lock(hashes);
        if let Some((conn, _)) = self.find(&new.original) {
            return Inserted::Raced(conn);
        }
        if self.find(&new.reply).is_some() {
            return Inserted::Taken;
        }
        let (Some(entry), Some(hint)) = (
            self.entries.get(place as usize),
            self.hints.get(place as usize),
        ) else {
            return Inserted::Full;
        };
        let generation = entry.publish(new);
        hint.store(new.deadline, Relaxed);
        let [original, reply] = hashes;
        let hit = |direction| Hit { place, direction };
        // A connection to itself has one tuple for both directions.
        let one_tuple = new.original == new.reply;
        let linked = self.index.insert(original, hit(Direction::Original))
            && (one_tuple || self.index.insert(reply, hit(Direction::Reply)));
        if !linked {
            entry.retire(generation);
            self.unlink(place, hashes, one_tuple);
            return Inserted::Full;
        }
        self.live.fetch_add(1, Relaxed);
        self.half_open.fetch_add(1, Relaxed);
        Inserted::Done(ConnRef {
            index: place,
            generation,
        })
    }

    fn take_free(&self) -> Option<u32> {
        /// Places rest for a while before they are used again.
        const RESTING: usize = 64;
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let exhausted = free.fresh as usize == self.entries.len();
        if exhausted || free.returned.len() > RESTING {
            return free.returned.pop_front();
        }
        let place = free.fresh;
        free.fresh += 1;
        self.high_water.store(free.fresh, Relaxed);
        Some(place)
    }
}

enum Inserted {
    Done(ConnRef),
    /// The reply tuple belongs to another connection.
    Taken,
    /// Another worker has created this connection meanwhile.
    Raced(ConnRef),
    Full,
}

/// Status bits for what a translation changes.
fn translation(original: &Tuple, translated: &Tuple) -> u32 {
    let mut bits = 0;
    if (original.src, original.src_port) != (translated.src, translated.src_port) {
        bits |= status::SNAT;
    }
    if (original.dst, original.dst_port) != (translated.dst, translated.dst_port) {
        bits |= status::DNAT;
    }
    bits
}
