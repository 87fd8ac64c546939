//! Pools of places. Each has a lock, its free places, a wheel with its connections' deadlines, and
//! its half-open connections in the order of their creation. Workers take places from different
//! pools, so that they seldom wait for one another.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

use crate::entry::Entry;
use crate::links::{Link, Linked, List};
use crate::sync;
use crate::wheel::Wheel;

/// Places that a pool takes at once from those never used.
const CHUNK: u32 = 64;

/// All pools of a table.
pub(crate) struct Pools(Box<[CachePadded<Mutex<Pool>>]>);

/// What a lock guards.
pub(crate) struct Pool {
    fresh: Range<u32>,
    free: List,
    pub(crate) wheel: Wheel,
    half_open: List,
    pub(crate) counts: Counts,
}

/// What has happened to a pool's connections so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) created: u64,
    /// By the reason in [`End`]'s order.
    pub(crate) ended: [u64; 3],
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its time is over.
    Expired = 0,
    /// Half open, and its place is needed.
    Evicted = 1,
    /// On request, or replaced.
    Removed = 2,
}

impl Counts {
    pub(crate) fn end(&mut self, why: End) {
        if let Some(count) = self.ended.get_mut(why as usize) {
            *count += 1;
        }
    }
}

impl Pools {
    pub(crate) fn new(capacity: u32) -> Self {
        // A small table has one, so that it is full when it is full.
        let count = (capacity / 8192).clamp(1, 16);
        let pool = || Pool {
            fresh: 0..0,
            free: List::default(),
            wheel: Wheel::new(),
            half_open: List::default(),
            counts: Counts::default(),
        };
        Pools(
            (0..count)
                .map(|_| CachePadded::new(Mutex::new(pool())))
                .collect(),
        )
    }

    pub(crate) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    /// Every pool, that of the calling thread first.
    pub(crate) fn mine_first(&self) -> impl Iterator<Item = u32> {
        let count = self.len();
        let mine = thread_number() % count;
        (mine..count).chain(0..mine)
    }

    pub(crate) fn lock(&self, pool: u32) -> Option<MutexGuard<'_, Pool>> {
        let pool = self.0.get(pool as usize)?;
        Some(pool.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Unless another has it.
    pub(crate) fn try_lock(&self, pool: u32) -> Option<MutexGuard<'_, Pool>> {
        use std::sync::TryLockError;
        match self.0.get(pool as usize)?.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Sums over all pools.
    pub(crate) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for pool in 0..self.len() {
            let Some(pool) = self.lock(pool) else {
                continue;
            };
            sum.created += pool.counts.created;
            for (sum, ended) in sum.ended.iter_mut().zip(pool.counts.ended) {
                *sum += ended;
            }
        }
        sum
    }
}

impl Pool {
    /// Takes a free place; fresh ones come from below `capacity`, by way of `high_water`.
    pub(crate) fn take(
        &mut self,
        links: &[Link],
        high_water: &AtomicU32,
        capacity: u32,
    ) -> Option<u32> {
        // Places that were used lately are in the processor's cache.
        if let Some(place) = self.free.pop_front(links) {
            return Some(place);
        }
        if self.fresh.is_empty() {
            let claim =
                |used: u32| (used < capacity).then(|| used.saturating_add(CHUNK).min(capacity));
            let start = high_water.fetch_update(Relaxed, Relaxed, claim).ok()?;
            self.fresh = start..start.saturating_add(CHUNK).min(capacity);
        }
        self.fresh.next()
    }

    /// A place that is used no longer.
    pub(crate) fn give_back(&mut self, links: &[Link], place: u32) {
        self.free.push_front(links, place);
    }

    /// A new connection of which one direction was seen.
    pub(crate) fn add_half_open(&mut self, entries: &[Entry], place: u32) {
        if let Some(entry) = entries.get(place as usize) {
            self.half_open.push_back(entries, place);
            entry.is_waiting.store(1, Relaxed);
        }
    }

    /// It is half open no longer; false if it was not.
    pub(crate) fn remove_half_open(&mut self, entries: &[Entry], place: u32) -> bool {
        let entry = entries.get(place as usize);
        let was = entry.is_some_and(|entry| entry.is_waiting.swap(0, Relaxed) != 0);
        if was {
            self.half_open.remove(entries, place);
        }
        was
    }

    /// The half-open connection that was created first.
    pub(crate) fn oldest_half_open(&self) -> Option<u32> {
        self.half_open.first()
    }
}

impl Linked for [Entry] {
    fn links(&self, place: u32) -> Option<[&sync::AtomicU32; 2]> {
        let [next, previous] = &self.get(place as usize)?.waiting;
        Some([next, previous])
    }
}

/// Threads are numbered as they come.
fn thread_number() -> u32 {
    static THREADS: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static NUMBER: Cell<u32> = const { Cell::new(u32::MAX) };
    }
    NUMBER.with(|number| {
        if number.get() == u32::MAX {
            number.set(THREADS.fetch_add(1, Relaxed) & (u32::MAX >> 1));
        }
        number.get()
    })
}
