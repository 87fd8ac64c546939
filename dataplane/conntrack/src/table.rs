//! The table of connections that all workers share.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use net::exact::HashKey;
use net::headers::proto;
use net::key::ct_state;
use net::tcp::TcpInfo;
use zerocopy::FromZeros;

use crate::config::{Config, TickTimeouts, duration, tick};
use crate::dump::{Conn, Counters, Filter, TcpState};
use crate::entry::{ConnRef, Direction, Entry, NewEntry, status};
use crate::index::{Hit, Index};
use crate::nat::NatRequest;
use crate::tcp::{State, Verdict};
use crate::tuple::{Packed, Tuple};

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

/// What tracking a packet found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Bits of [`ct_state`], TRK always among them; not SNAT and DNAT, which say that a
    /// translation was carried out ([`ConnTable::nat_state`]).
    pub state: u32,
    /// The connection and the packet's direction in it; none for new and invalid packets.
    pub conn: Option<(ConnRef, Direction)>,
    /// Mark of the connection.
    pub mark: u32,
    /// Label of the connection.
    pub label: u128,
    /// Counts changes of mark and label, modulo 256.
    pub revision: u8,
}

impl Tracked {
    fn without_connection(state: u32) -> Self {
        Tracked {
            state: state | ct_state::TRK,
            conn: None,
            mark: 0,
            label: 0,
            revision: 0,
        }
    }
}

/// The connections of all zones.
pub struct ConnTable {
    entries: Box<[Entry]>,
    /// For each place a tick before which its connection does not expire; 0 if free. What the
    /// expiry scans, apart so that a scan touches little memory.
    hints: Box<[AtomicU32]>,
    index: Index,
    hash: HashKey,
    timeouts: TickTimeouts,
    strict: bool,
    loose: bool,
    half_open_limit: u32,
    shards: [CachePadded<Mutex<()>>; SHARDS],
    free: Mutex<Free>,
    live: CachePadded<AtomicU32>,
    half_open: CachePadded<AtomicU32>,
    /// Places below this one have been used.
    high_water: AtomicU32,
    cursor: CachePadded<AtomicU32>,
}

const SHARDS: usize = 64;

struct Free {
    fresh: u32,
    returned: VecDeque<u32>,
}

impl ConnTable {
    /// An empty table.
    ///
    /// # Errors
    /// [`CtError::Memory`].
    pub fn new(config: &Config) -> Result<Self, CtError> {
        let capacity = config.capacity.clamp(1, u32::MAX / 4);
        let memory = CtError::Memory { capacity };
        let entries =
            <[Entry]>::new_box_zeroed_with_elems(capacity as usize).map_err(|_| memory)?;
        let hints =
            <[AtomicU32]>::new_box_zeroed_with_elems(capacity as usize).map_err(|_| memory)?;
        let mut returned = VecDeque::new();
        returned
            .try_reserve_exact(capacity as usize)
            .map_err(|_| memory)?;
        Ok(ConnTable {
            entries,
            hints,
            index: Index::new(capacity).ok_or(memory)?,
            hash: HashKey::new(config.seed),
            timeouts: TickTimeouts::new(&config.timeouts),
            strict: config.strict,
            loose: config.loose,
            half_open_limit: config.half_open,
            shards: std::array::from_fn(|_| CachePadded::default()),
            free: Mutex::new(Free { fresh: 0, returned }),
            live: CachePadded::default(),
            half_open: CachePadded::default(),
            high_water: AtomicU32::new(0),
            cursor: CachePadded::default(),
        })
    }

    /// Connections in the table, expired ones that were not yet removed included.
    pub fn len(&self) -> u32 {
        self.live.load(Relaxed)
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Connections of which one direction only was seen.
    pub fn half_open(&self) -> u32 {
        self.half_open.load(Relaxed)
    }

    /// Most connections.
    pub fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Bytes of memory when full.
    pub fn memory(&self) -> usize {
        size_of_val::<[Entry]>(&self.entries)
            + size_of_val::<[AtomicU32]>(&self.hints)
            + self.index.bytes()
            + self.entries.len() * size_of::<u32>()
    }

    /// Finds the connection of a packet. `now` is in nanoseconds, of any clock that only grows.
    pub fn lookup(&self, zone: u16, tuple: &Tuple, now: u64) -> Option<(ConnRef, Direction)> {
        let (conn, direction) = self.find(&tuple.pack(zone))?;
        self.is_fresh(conn, tick(now)).then_some((conn, direction))
    }

    /// Finds the connection of a packet and takes the packet into account. The same packet may be
    /// tracked again; it counts once ([`ConnTable::count`] is apart).
    pub fn track(&self, zone: u16, tuple: &Tuple, tcp: Option<&TcpInfo>, now: u64) -> Tracked {
        if let Some((conn, direction)) = self.lookup(zone, tuple, now)
            && let Some((state, revision)) = self.update(conn, direction, tcp, now)
        {
            if state & ct_state::INV != 0 {
                return Tracked::without_connection(state);
            }
            let (mark, label) = self.mark_and_label(conn);
            return Tracked {
                state,
                conn: Some((conn, direction)),
                mark,
                label,
                revision,
            };
        }
        let begins = tuple.may_begin() && self.begin(tuple, tcp).is_some();
        Tracked::without_connection(if begins { ct_state::NEW } else { ct_state::INV })
    }

    /// Finds the connection to which an ICMP error belongs, by the packet that it carries
    /// ([`Tuple::of_embedded`]). The direction is that of the error itself, so that its addresses
    /// are to become those of [`ConnTable::translated_tuple`], and the packet inside the reverse
    /// of that tuple.
    pub fn track_related(&self, zone: u16, inner: &Tuple, now: u64) -> Tracked {
        let Some((conn, direction)) = self.lookup(zone, &inner.reverse(), now) else {
            return Tracked::without_connection(ct_state::INV);
        };
        let mut state = ct_state::TRK | ct_state::REL;
        if direction == Direction::Reply {
            state |= ct_state::RPL;
        }
        let (mark, label) = self.mark_and_label(conn);
        let revision = self.entry(conn).map_or(0, |entry| revision(entry.head().1));
        Tracked {
            state,
            conn: Some((conn, direction)),
            mark,
            label,
            revision,
        }
    }

    /// Takes a packet of a known connection into account: state bits as in [`Tracked::state`],
    /// and the revision of mark and label. None if the connection is gone, or if the packet begins
    /// another one with the same tuple. Doing it twice for one packet does it once.
    pub fn update(
        &self,
        conn: ConnRef,
        direction: Direction,
        tcp: Option<&TcpInfo>,
        now: u64,
    ) -> Option<(u32, u8)> {
        let entry = self.entry(conn)?;
        let tick = tick(now);
        if !self.is_fresh(conn, tick) {
            return None;
        }
        let seen_reply = match direction {
            Direction::Original => 0,
            Direction::Reply => status::SEEN_REPLY,
        };
        let verdict = Cell::new(Verdict::Belongs);
        let after = Cell::new(0);
        let before = entry.change_status(conn.generation, |word| {
            let mut new = word | seen_reply;
            if let Some(info) = tcp {
                let (result, next) =
                    State::from_status(word).next(info, direction, &entry.peers, self.strict);
                verdict.set(result);
                if result != Verdict::Belongs {
                    return word;
                }
                new = next.into_status(new);
            }
            let handshake_done =
                tcp.is_none() || State::from_status(new).name() >= TcpState::Established;
            if new & status::SEEN_REPLY != 0 && handshake_done {
                new |= status::OPEN;
            }
            after.set(new);
            new
        })?;
        match verdict.get() {
            Verdict::Invalid => {
                return Some((ct_state::TRK | ct_state::INV, revision(before)));
            }
            Verdict::Renews => {
                self.remove(conn);
                return None;
            }
            Verdict::Belongs => {}
        }
        let after = after.get();
        if before & status::OPEN == 0 && after & status::OPEN != 0 {
            self.half_open.fetch_sub(1, Relaxed);
        }
        let state = State::from_status(after);
        if let Some(info) = tcp {
            state.advance(info, direction, &entry.peers);
        }
        self.touch(conn, entry, tick, after);
        let mut bits = ct_state::TRK;
        bits |= if after & status::SEEN_REPLY != 0 {
            ct_state::EST
        } else {
            ct_state::NEW
        };
        if direction == Direction::Reply {
            bits |= ct_state::RPL;
        }
        Some((bits, revision(after)))
    }

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
        let (state, peers) = self
            .begin(&commit.tuple, commit.tcp)
            .ok_or(CtError::Invalid)?;
        if !commit.tuple.may_begin() || !commit.nat.is_of_family(commit.tuple.src.is_ipv4()) {
            return Err(CtError::Invalid);
        }
        if self.half_open.load(Relaxed) >= self.half_open_limit {
            return Err(CtError::HalfOpen);
        }
        let protocol = commit.tuple.proto;
        let word = state.map_or(0, |state| state.into_status(0));
        let lifetime = self
            .timeouts
            .of(protocol, State::from_status(word).name(), false);
        let mut new = NewEntry {
            original,
            reply: original,
            status: word,
            mark: commit.mark.0 & commit.mark.1,
            label: commit.label.0 & commit.label.1,
            created: tick,
            deadline: tick.wrapping_add(lifetime).max(1),
            peers,
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

    /// What a packet of that direction looks like after translation; its own tuple if the
    /// connection translates nothing. None if the connection is gone.
    pub fn translated_tuple(&self, conn: ConnRef, direction: Direction) -> Option<Tuple> {
        let (original, reply) = self.entry(conn)?.tuples(conn.generation)?;
        let answers = match direction {
            Direction::Original => reply,
            Direction::Reply => original,
        };
        Some(answers.unpack().reverse())
    }

    /// SNAT and DNAT bits of [`ct_state`] for a packet of that direction that was translated.
    pub fn nat_state(&self, conn: ConnRef, direction: Direction) -> u32 {
        let word = self
            .entry(conn)
            .and_then(|entry| entry.status(conn.generation))
            .unwrap_or(0);
        let (src, dst) = match direction {
            Direction::Original => (status::SNAT, status::DNAT),
            Direction::Reply => (status::DNAT, status::SNAT),
        };
        let bit = |from: u32, to: u32| if word & from != 0 { to } else { 0 };
        bit(src, ct_state::SNAT) | bit(dst, ct_state::DNAT)
    }

    /// Adds to a connection's counters. Not exact if two workers carry one direction at once.
    pub fn count(&self, conn: ConnRef, direction: Direction, packets: u64, bytes: u64) {
        let Some(entry) = self.entry(conn) else {
            return;
        };
        if entry.status(conn.generation).is_none() {
            return;
        }
        let [sent_packets, sent_bytes, received_packets, received_bytes] = &entry.counters;
        let (packet_counter, byte_counter) = match direction {
            Direction::Original => (sent_packets, sent_bytes),
            Direction::Reply => (received_packets, received_bytes),
        };
        packet_counter.store(packet_counter.load(Relaxed) + packets, Relaxed);
        byte_counter.store(byte_counter.load(Relaxed) + bytes, Relaxed);
    }

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
            self.entry(*conn)
                .and_then(|entry| entry.tuples(conn.generation))
                .is_some_and(|(original, _)| filter.fits(original.zone(), &original.unpack()))
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

    /// A connection as an operator sees it; none if it is gone or has expired.
    pub fn get(&self, conn: ConnRef, now: u64) -> Option<Conn> {
        let entry = self.entry(conn)?;
        let tick = tick(now);
        let word = entry.status(conn.generation)?;
        let deadline = entry.deadline.load(Relaxed);
        let created = entry.created.load(Relaxed);
        let (mark, label) = (entry.mark.load(Relaxed), entry.label());
        let [a, b, c, d] = entry
            .counters
            .each_ref()
            .map(|counter| counter.load(Relaxed));
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
            sent: Counters {
                packets: a,
                bytes: b,
            },
            received: Counters {
                packets: c,
                bytes: d,
            },
        })
    }

    /// Every connection, in no particular order. Workers go on meanwhile: one that is created or
    /// removed during the iteration may or may not be seen.
    pub fn iter(&self, now: u64) -> impl Iterator<Item = Conn> + '_ {
        (0..self.high_water.load(Relaxed))
            .filter_map(|index| self.at(index))
            .filter_map(move |conn| self.get(conn, now))
    }

    fn entry(&self, conn: ConnRef) -> Option<&Entry> {
        self.entries.get(conn.index as usize)
    }

    /// The live connection at a place.
    fn at(&self, index: u32) -> Option<ConnRef> {
        let (generation, _) = self.entries.get(index as usize)?.head();
        (generation & 1 == 1).then_some(ConnRef { index, generation })
    }

    fn hash_of(&self, key: &Packed) -> u64 {
        self.hash.hash_words(key.words())
    }

    fn find(&self, key: &Packed) -> Option<(ConnRef, Direction)> {
        self.index.find(self.hash_of(key), |hit| {
            let conn = self.at(hit.place)?;
            self.entry(conn)?
                .is(conn.generation, hit.direction, key)
                .then_some((conn, hit.direction))
        })
    }

    fn is_fresh(&self, conn: ConnRef, tick: u32) -> bool {
        self.entry(conn)
            .is_some_and(|entry| entry.deadline.load(Relaxed) > tick)
    }

    fn mark_and_label(&self, conn: ConnRef) -> (u32, u128) {
        self.entry(conn)
            .map_or((0, 0), |entry| (entry.mark.load(Relaxed), entry.label()))
    }

    /// State and sequence spaces for a connection that begins with this packet; none if it cannot.
    #[allow(clippy::type_complexity)]
    fn begin(
        &self,
        tuple: &Tuple,
        tcp: Option<&TcpInfo>,
    ) -> Option<(Option<State>, [[u32; 3]; 2])> {
        if tuple.proto == proto::TCP {
            let (state, peers) = State::begin(tcp?, self.loose)?;
            Some((Some(state), peers))
        } else {
            Some((None, [[0; 3]; 2]))
        }
    }

    /// Puts the deadline off, or closer where the state says so.
    fn touch(&self, conn: ConnRef, entry: &Entry, tick: u32, word: u32) {
        let tcp = State::from_status(word).name();
        let [first, ..] = entry.original_words();
        let protocol = (first >> 48) as u8;
        let lifetime = self
            .timeouts
            .of(protocol, tcp, word & status::SEEN_REPLY != 0);
        let deadline = tick.wrapping_add(lifetime);
        let before = entry.deadline.load(Relaxed);
        if deadline == before {
            return;
        }
        entry.deadline.store(deadline, Relaxed);
        if deadline < before
            && let Some(hint) = self.hints.get(conn.index as usize)
        {
            hint.fetch_min(deadline, Relaxed);
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

    /// Takes a place out of the index.
    fn unlink(&self, place: u32, [original, reply]: [u64; 2], one_tuple: bool) {
        let hit = |direction| Hit { place, direction };
        self.index.remove(original, hit(Direction::Original));
        if !one_tuple {
            self.index.remove(reply, hit(Direction::Reply));
        }
        if let Some(hint) = self.hints.get(place as usize) {
            hint.store(0, Relaxed);
        }
    }

    /// Locks the shards of two tuples, always in the same order.
    fn lock(&self, [a, b]: [u64; 2]) -> [Option<MutexGuard<'_, ()>>; 2] {
        let shard = |hash: u64| (hash >> 58) as usize;
        let (first, second) = (shard(a).min(shard(b)), shard(a).max(shard(b)));
        let lock = |shard: usize| {
            let mutex = self.shards.get(shard)?;
            Some(mutex.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let guard = lock(first);
        let other = if second == first { None } else { lock(second) };
        [guard, other]
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

    fn give_back(&self, place: u32) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.push_back(place);
    }
}

impl fmt::Debug for ConnTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnTable")
            .field("len", &self.len())
            .field("half_open", &self.half_open())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
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

fn revision(word: u32) -> u8 {
    (word >> status::REVISION_SHIFT) as u8
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
