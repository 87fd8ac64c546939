//! Creating connections, and changing mark and label of those that are there.

use std::sync::atomic::Ordering::Relaxed;

use net::headers::proto;
use net::tcp::TcpInfo;

use super::ConnTable;
use super::follow::with_lifetime;
use super::room::Room;
use crate::config::tick;
use crate::dump::TcpState;
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
    /// The zone has as many connections as it may.
    #[error("the zone has as many connections as it may")]
    ZoneLimit,
    /// The source has as many connections of which one direction only was seen as it may.
    #[error("the source has as many half-open connections as it may")]
    SourceShare,
    /// No half-open connections are allowed, or none could be ended for this one.
    #[error("too many half-open connections")]
    HalfOpen,
    /// Every address and port of the range is taken; without translation, another connection is
    /// translated to the same tuple.
    #[error("no free address and port for the connection")]
    NatExhausted,
    /// The packet cannot begin a connection.
    #[error("the packet cannot begin a connection")]
    Invalid,
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
        let hash = self.arena.hash_of(&original);
        if let Some((conn, direction)) = self.arena.find(&original, hash) {
            let replace = commit.force && direction == Direction::Reply;
            if self.arena.is_fresh(conn, tick) && !replace {
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
        let begins = state.is_none_or(|state| state.name() == TcpState::SynSent);
        let room = self.make_room(commit.zone, &commit.tuple, begins, tick)?;
        for translated in commit.nat.candidates(&commit.tuple, &self.arena.hash, now) {
            new.reply = translated.reverse().pack(commit.zone);
            new.status = word | translation(&commit.tuple, &translated);
            match self.insert(&room, &new, hash, tick) {
                Inserted::Done(conn) => return Ok(conn),
                Inserted::Taken => {}
                Inserted::Raced(conn) => {
                    self.leave_room(&room);
                    return self.change(conn, commit).ok_or(CtError::Full);
                }
                Inserted::Full => {
                    self.leave_room(&room);
                    return Err(CtError::Full);
                }
            }
        }
        self.leave_room(&room);
        // Who has the tuple may be the same connection, created by another worker meanwhile.
        if let Some((conn, _)) = self.arena.find(&original, hash) {
            return self.change(conn, commit).ok_or(CtError::Full);
        }
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
            let (state, sequences) = State::begin(tcp?, self.config.loose)?;
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
        let hash = self.arena.hash_of(&original);
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

    fn insert(&self, room: &Room, new: &NewEntry, hash: u64, tick: u32) -> Inserted {
        let arena = &self.arena;
        // A connection to itself has one tuple for both directions.
        let one_tuple = new.original == new.reply;
        let hashes = [hash, arena.hash_of(&new.reply)];
        let [_, reply_hash] = hashes;
        if let Some((conn, _)) = arena.find(&new.reply, reply_hash) {
            if arena.is_fresh(conn, tick) {
                return Inserted::Taken;
            }
            self.remove(conn);
        }
        let _locks = self.lock(hashes);
        if let Some((conn, _)) = arena.find(&new.original, hash) {
            return Inserted::Raced(conn);
        }
        if arena.find(&new.reply, reply_hash).is_some() {
            return Inserted::Taken;
        }
        let Some(entry) = arena.entries.get(room.place as usize) else {
            return Inserted::Full;
        };
        let generation = entry.publish(new);
        let hit = |direction| Hit {
            place: room.place,
            direction,
        };
        let linked = arena.index.insert(hash, hit(Direction::Original))
            && (one_tuple || arena.index.insert(reply_hash, hit(Direction::Reply)));
        if !linked {
            entry.retire(generation, |_| true);
            self.unlink(room.place, hashes, one_tuple);
            return Inserted::Full;
        }
        let conn = ConnRef {
            index: room.place,
            generation,
        };
        self.settle(conn, room);
        Inserted::Done(conn)
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
