//! The table of connections that all workers share.

mod create;
mod follow;
mod remove;
mod room;
mod show;

pub use create::{Commit, CtError};
pub use follow::Expected;
pub use show::{Totals, ZoneLimit};

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use net::key::ct_state;
use net::tcp::TcpInfo;

use crate::arena::{Arena, TableError};
use crate::config::{Config, Lifetimes, TICK, tick};
use crate::entry::{ConnRef, Direction, Entry, status};
use crate::pool::Pools;
use crate::tuple::Tuple;
use follow::revision;

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
    arena: Arena,
    pools: Pools,
    shards: [CachePadded<Mutex<()>>; SHARDS],
    /// What expired up to this tick has been removed.
    swept: CachePadded<AtomicU32>,
    lifetimes: Lifetimes,
    config: Config,
}

/// Locks over the index. A tuple's shard says who may create or remove connections with it.
const SHARDS: usize = 64;

impl ConnTable {
    /// An empty table.
    ///
    /// # Errors
    /// If the machine has less memory than the table needs when it is full.
    pub fn new(config: &Config) -> Result<Self, TableError> {
        let capacity = config.capacity.clamp(1, u32::MAX / 4);
        let arena = Arena::create(capacity, TICK as u32, config.seed)?;
        arena.zones.set_default_limit(config.zone_limit);
        Ok(ConnTable {
            arena,
            pools: Pools::new(capacity),
            shards: std::array::from_fn(|_| CachePadded::default()),
            swept: CachePadded::default(),
            lifetimes: Lifetimes::new(&config.timeouts),
            config: Config {
                capacity,
                ..config.clone()
            },
        })
    }

    /// What it was created with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Connections in the table, expired ones that were not yet removed included.
    pub fn len(&self) -> u32 {
        let counts = self.pools.counts();
        let ended: u64 = counts.ended.iter().sum();
        counts.created.saturating_sub(ended) as u32
    }

    /// True if there ever was one. Costs a load, where counting takes every pool's lock.
    #[inline]
    pub fn was_used(&self) -> bool {
        self.arena.high_water() != 0
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Connections of which one direction only was seen.
    pub fn half_open(&self) -> u32 {
        self.arena.header().half_open.load(Relaxed)
    }

    /// Most connections.
    pub fn capacity(&self) -> u32 {
        self.config.capacity
    }

    /// Bytes of memory when full.
    pub fn memory(&self) -> usize {
        self.arena.file().bytes()
    }

    /// Finds the connection of a packet. `now` is in nanoseconds, of any clock that only grows.
    pub fn lookup(&self, zone: u16, tuple: &Tuple, now: u64) -> Option<(ConnRef, Direction)> {
        self.arena.lookup(zone, tuple, tick(now))
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

    #[inline(always)]
    fn entry(&self, conn: ConnRef) -> Option<&Entry> {
        self.arena.entry(conn)
    }

    fn mark_and_label(&self, conn: ConnRef) -> (u32, u128) {
        self.entry(conn)
            .map_or((0, 0), |entry| (entry.mark.load(Relaxed), entry.label()))
    }

    /// Locks the shards of two tuples, always in the same order. Pools are locked after shards.
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
}

/// The memory that the connections lie in, for [`ConnView::open`](crate::ConnView::open).
impl AsFd for ConnTable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arena.file().as_fd()
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
