//! The table of connections that all workers share.

mod create;
mod remove;
mod show;

pub use create::{Commit, CtError};

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use net::exact::HashKey;
use net::key::ct_state;
use net::tcp::TcpInfo;
use os::Region;

use crate::config::{Config, Lifetimes, tick};
use crate::dump::TcpState;
use crate::entry::{ConnRef, Direction, Entry, status};
use crate::index::Index;
use crate::tcp::{self, State, Verdict};
use crate::tuple::{Packed, Tuple};

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

/// How a packet that others resemble is to find its connection ([`ConnTable::carry`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expected {
    /// State bits as in [`Tracked::state`].
    pub state: u32,
    /// Revision of mark and label, if they matter.
    pub revision: Option<u8>,
}

/// What a packet means for the connection that it was found to belong to.
enum Followed {
    /// It belongs to it; the status word now.
    Belongs(u32),
    /// It cannot be one of its packets; the status word.
    Invalid(u32),
    /// The connection is over, or is ended by the packet.
    Gone,
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
    entries: Region<Entry>,
    /// For each place a tick before which its connection does not expire; 0 if free. What the
    /// expiry scans, apart so that a scan touches little memory.
    hints: Region<AtomicU32>,
    index: Index,
    hash: HashKey,
    lifetimes: Lifetimes,
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
        let entries = Region::named("connections", capacity as usize).map_err(|_| memory)?;
        let hints = Region::named("connections", capacity as usize).map_err(|_| memory)?;
        let mut returned = VecDeque::new();
        returned
            .try_reserve_exact(capacity as usize)
            .map_err(|_| memory)?;
        Ok(ConnTable {
            entries,
            hints,
            index: Index::new(capacity).ok_or(memory)?,
            hash: HashKey::new(config.seed),
            lifetimes: Lifetimes::new(&config.timeouts),
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

    /// Asks for the cache lines that [`ConnTable::update`] and [`ConnTable::carry`] need for a
    /// packet of that direction; a hint.
    #[inline(always)]
    pub fn prefetch(&self, conn: ConnRef, direction: Direction) {
        let line = match direction {
            Direction::Original => 1,
            Direction::Reply => 2,
        };
        self.entries.prefetch(conn.index as usize, 0);
        self.entries.prefetch(conn.index as usize, line);
        if self.strict {
            self.entries.prefetch(conn.index as usize, 3 - line);
        }
    }

    /// [`ConnTable::update`] and [`ConnTable::count`] in one, for a packet that is expected to
    /// find its connection as others did. True if it is, and the packet is counted; false if not,
    /// and the packet is to be tracked anew.
    #[inline]
    pub fn carry(
        &self,
        conn: ConnRef,
        direction: Direction,
        expected: Expected,
        tcp: Option<&TcpInfo>,
        bytes: u64,
        now: u64,
    ) -> bool {
        let Some(entry) = self.entry(conn) else {
            return false;
        };
        let Followed::Belongs(word) = self.follow(conn, entry, direction, tcp, now) else {
            return false;
        };
        let is_expected = state_bits(word, direction) == expected.state
            && expected.revision.is_none_or(|r| r == revision(word));
        if is_expected {
            entry.flow(direction).count(1, bytes);
        }
        is_expected
    }

    /// Takes a packet of a known connection into account: state bits as in [`Tracked::state`],
    /// and the revision of mark and label. None if the connection is gone, or if the packet begins
    /// another one with the same tuple. Doing it twice for one packet does it once.
    #[inline]
    pub fn update(
        &self,
        conn: ConnRef,
        direction: Direction,
        tcp: Option<&TcpInfo>,
        now: u64,
    ) -> Option<(u32, u8)> {
        let entry = self.entry(conn)?;
        match self.follow(conn, entry, direction, tcp, now) {
            Followed::Belongs(word) => Some((state_bits(word, direction), revision(word))),
            Followed::Invalid(word) => Some((ct_state::TRK | ct_state::INV, revision(word))),
            Followed::Gone => None,
        }
    }

    /// Most packets change neither generation nor status: they are seen to here, by loads and
    /// plain stores.
    #[inline(always)]
    fn follow(
        &self,
        conn: ConnRef,
        entry: &Entry,
        direction: Direction,
        tcp: Option<&TcpInfo>,
        now: u64,
    ) -> Followed {
        let (generation, word) = entry.head();
        let tick = tick(now);
        let deadline = entry.deadline.load(Relaxed);
        if generation != conn.generation || deadline <= tick {
            return Followed::Gone;
        }
        let known = match direction {
            Direction::Original => true,
            Direction::Reply => word & status::OPEN != 0,
        };
        let unchanged = known
            && tcp.is_none_or(|info| {
                tcp::follow(word, info, direction, &entry.flows(direction), self.strict)
            });
        if !unchanged {
            return self.change_state(conn, entry, direction, tcp, tick);
        }
        let prolonged = tick.wrapping_add(self.lifetimes.of(word));
        if prolonged != deadline {
            entry.deadline.store(prolonged, Relaxed);
        }
        Followed::Belongs(word)
    }

    /// A packet that may change the state of its connection.
    #[cold]
    fn change_state(
        &self,
        conn: ConnRef,
        entry: &Entry,
        direction: Direction,
        tcp: Option<&TcpInfo>,
        tick: u32,
    ) -> Followed {
        let seen_reply = match direction {
            Direction::Original => 0,
            Direction::Reply => status::SEEN_REPLY,
        };
        let protocol = entry.protocol();
        let flows = entry.flows(direction);
        let verdict = Cell::new(Verdict::Belongs);
        let after = Cell::new(0);
        let before = entry.change_status(conn.generation, |word| {
            let mut new = word | seen_reply;
            if let Some(info) = tcp {
                let (result, next) =
                    State::from_status(word).next(info, direction, &flows, self.strict);
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
            new = with_lifetime(new, protocol);
            after.set(new);
            new
        });
        let Some(before) = before else {
            return Followed::Gone;
        };
        match verdict.get() {
            Verdict::Invalid => return Followed::Invalid(before),
            Verdict::Renews => {
                self.remove(conn);
                return Followed::Gone;
            }
            Verdict::Belongs => {}
        }
        let after = after.get();
        if before & status::OPEN == 0 && after & status::OPEN != 0 {
            self.half_open.fetch_sub(1, Relaxed);
        }
        if let Some(info) = tcp {
            State::from_status(before).advance(info, direction, &flows);
        }
        self.touch(conn, entry, tick, after);
        Followed::Belongs(after)
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
        entry.flow(direction).count(packets, bytes);
    }

    #[inline(always)]
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

    /// Puts the deadline off, or closer where the state says so.
    fn touch(&self, conn: ConnRef, entry: &Entry, tick: u32, word: u32) {
        let deadline = tick.wrapping_add(self.lifetimes.of(word));
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

/// A status word with the number of the timeout that goes with it.
fn with_lifetime(word: u32, protocol: u8) -> u32 {
    let tcp = State::from_status(word).name();
    let number = Lifetimes::number(protocol, tcp, word & status::SEEN_REPLY != 0);
    (word & !status::LIFETIME_MASK) | number << status::LIFETIME_SHIFT
}

/// What a packet of a connection is to the tables.
#[inline(always)]
fn state_bits(word: u32, direction: Direction) -> u32 {
    let seen = match word & status::SEEN_REPLY != 0 {
        true => ct_state::EST,
        false => ct_state::NEW,
    };
    let reply = match direction {
        Direction::Original => 0,
        Direction::Reply => ct_state::RPL,
    };
    ct_state::TRK | seen | reply
}

#[inline(always)]
fn revision(word: u32) -> u8 {
    (word >> status::REVISION_SHIFT) as u8
}
