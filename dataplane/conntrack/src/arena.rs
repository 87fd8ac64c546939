//! Where connections lie: one piece of shared memory, without pointers, that another process can
//! map and read.
//!
//! A header says what the memory is; then come the connections, their links, the index, the zones
//! and the half-open counts of sources, each at an offset that follows from the capacity. Whoever
//! changes the meaning of a byte raises [`VERSION`].

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use net::exact::HashKey;
use os::{MemoryFile, OsError, Part};

use crate::entry::{ConnRef, Direction, Entry};
use crate::index::{Bucket, Index};
use crate::links::Link;
use crate::sources::Sources;
use crate::tuple::Packed;
use crate::zones::{ZONES, Zone, Zones};

/// `SLUICECT` in ASCII.
const MAGIC: u64 = u64::from_be_bytes(*b"SLUICECT");
/// Of the layout of everything in the memory.
const VERSION: u32 = 1;
/// Each section begins at a multiple of this, bytes.
const PAGE: usize = 4096;

os::shared! {
    /// What the memory is.
    #[repr(align(64))]
    pub(crate) struct Header {
        /// Written last, when the rest is true.
        magic: AtomicU64,
        version: AtomicU32,
        /// Bytes of a connection.
        entry_size: AtomicU32,
        /// Most connections.
        capacity: AtomicU32,
        /// Nanoseconds in a tick.
        tick: AtomicU32,
        /// Secret of the hash functions.
        seed: [AtomicU64; 2],
        spare: [AtomicU64; 2],
        /// Places from here on were never used. On a line of its own.
        pub(crate) high_water: AtomicU32,
        spare_of_places: [AtomicU32; 15],
        /// Connections of which one direction only was seen. On a line of its own.
        pub(crate) half_open: AtomicU32,
        spare_of_half_open: [AtomicU32; 15],
    }
}

/// Why a connection table could not be made, or another's not be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The system does not give the memory.
    #[error(transparent)]
    Memory(#[from] OsError),
    /// The memory does not hold a connection table.
    #[error("this memory holds no connection table")]
    Foreign,
    /// It holds one that this program cannot read.
    #[error("the connection table has layout {found}, and this program knows {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
}

/// The memory, and its parts.
pub(crate) struct Arena {
    header: Part<Header>,
    pub(crate) entries: Part<Entry>,
    pub(crate) links: Part<Link>,
    pub(crate) index: Index<Part<Bucket>>,
    pub(crate) zones: Zones,
    pub(crate) sources: Sources,
    pub(crate) hash: HashKey,
}

impl Arena {
    /// A new, empty one.
    pub(crate) fn create(capacity: u32, tick: u32, seed: [u64; 2]) -> Result<Self, TableError> {
        let file = MemoryFile::create("connections", Sections::of(capacity).end)?;
        let arena = Self::over(&file, capacity, seed).ok_or(TableError::Foreign)?;
        let header = arena.header();
        header.version.store(VERSION, Relaxed);
        header.entry_size.store(size_of::<Entry>() as u32, Relaxed);
        header.capacity.store(capacity, Relaxed);
        header.tick.store(tick, Relaxed);
        for (word, value) in header.seed.iter().zip(seed) {
            word.store(value, Relaxed);
        }
        header.magic.store(MAGIC, Release);
        Ok(arena)
    }

    /// That of another table, whose ticks must be as long.
    pub(crate) fn open(file: &Arc<MemoryFile>, tick: u32) -> Result<Self, TableError> {
        let header = file.part::<Header>(0, 1).ok_or(TableError::Foreign)?;
        let header = header.first().ok_or(TableError::Foreign)?;
        if header.magic.load(Acquire) != MAGIC {
            return Err(TableError::Foreign);
        }
        let found = header.version.load(Relaxed);
        let same_size = header.entry_size.load(Relaxed) as usize == size_of::<Entry>();
        if found != VERSION || !same_size || header.tick.load(Relaxed) != tick {
            return Err(TableError::Version { found });
        }
        let seed = header.seed.each_ref().map(|word| word.load(Relaxed));
        Self::over(file, header.capacity.load(Relaxed), seed).ok_or(TableError::Foreign)
    }

    /// The parts of a file that is long enough.
    fn over(file: &Arc<MemoryFile>, capacity: u32, seed: [u64; 2]) -> Option<Self> {
        let sections = Sections::of(capacity);
        let places = capacity as usize;
        let hash = HashKey::new(seed);
        Some(Arena {
            header: file.part(0, 1)?,
            entries: file.part(sections.entries, places)?,
            links: file.part(sections.links, places)?,
            index: Index::over(file.part(sections.buckets, Index::<()>::buckets(capacity))?),
            zones: Zones::over(file.part(sections.zones, ZONES)?),
            sources: Sources::over(
                file.part(sections.sources, Sources::counters(capacity))?,
                hash.clone(),
            ),
            hash,
        })
    }

    #[allow(clippy::indexing_slicing)] // `over` has one
    pub(crate) fn header(&self) -> &Header {
        &self.header[0]
    }

    pub(crate) fn file(&self) -> &Arc<MemoryFile> {
        self.header.file()
    }

    #[inline(always)]
    pub(crate) fn entry(&self, conn: ConnRef) -> Option<&Entry> {
        self.entries.get(conn.index as usize)
    }

    /// The live connection at a place.
    #[inline(always)]
    pub(crate) fn at(&self, index: u32) -> Option<ConnRef> {
        let (generation, _) = self.entries.get(index as usize)?.head();
        (generation & 1 == 1).then_some(ConnRef { index, generation })
    }

    /// Every live connection, in no particular order.
    pub(crate) fn live(&self) -> impl Iterator<Item = ConnRef> + '_ {
        (0..self.high_water()).filter_map(|index| self.at(index))
    }

    /// Places below this one have been used.
    pub(crate) fn high_water(&self) -> u32 {
        let used = self.header().high_water.load(Relaxed);
        used.min(self.entries.len() as u32)
    }

    #[inline]
    pub(crate) fn hash_of(&self, key: &Packed) -> u64 {
        self.hash.hash_words(key.words())
    }

    /// Asks for a place that is about to be filled.
    pub(crate) fn prefetch_place(&self, place: u32) {
        for line in 0..3 {
            self.entries.prefetch(place as usize, line);
        }
    }

    /// The connection that has this tuple, in one of its directions.
    #[inline]
    pub(crate) fn find(&self, key: &Packed, hash: u64) -> Option<(ConnRef, Direction)> {
        self.index.find(hash, |hit| {
            let conn = self.at(hit.place)?;
            self.entry(conn)?
                .is(conn.generation, hit.direction, key)
                .then_some((conn, hit.direction))
        })
    }

    #[inline(always)]
    pub(crate) fn is_fresh(&self, conn: ConnRef, tick: u32) -> bool {
        self.entry(conn)
            .is_some_and(|entry| entry.deadline.load(Relaxed) > tick)
    }
}

/// Where each section begins, bytes.
struct Sections {
    entries: usize,
    links: usize,
    buckets: usize,
    zones: usize,
    sources: usize,
    end: usize,
}

impl Sections {
    fn of(capacity: u32) -> Self {
        let places = capacity as usize;
        let after = |start: usize, bytes: usize| (start + bytes).next_multiple_of(PAGE);
        let entries = after(0, size_of::<Header>());
        let links = after(entries, places * size_of::<Entry>());
        let buckets = after(links, places * size_of::<Link>());
        let zones = after(
            buckets,
            Index::<()>::buckets(capacity) * size_of::<Bucket>(),
        );
        let sources = after(zones, ZONES * size_of::<Zone>());
        let end = after(
            sources,
            Sources::counters(capacity) * size_of::<AtomicU32>(),
        );
        Sections {
            entries,
            links,
            buckets,
            zones,
            sources,
            end,
        }
    }
}

const _: () = assert!(size_of::<Entry>() == 192);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Hit;

    #[test]
    fn a_full_index_of_any_size_holds_all_its_connections() {
        let key = HashKey::new([5, 6]);
        for capacity in [1u32, 2, 3, 7, 100, 5000, 60_000] {
            let bucket = |_| Bucket {
                slots: std::array::from_fn(|_| AtomicU64::new(0)),
            };
            let buckets: Vec<Bucket> = (0..Index::buckets(capacity)).map(bucket).collect();
            let index = Index::over(buckets);
            let hits = |i: u32| {
                [
                    (key.hash_words(&[i.into(), 0]), Direction::Original),
                    (key.hash_words(&[i.into(), 1]), Direction::Reply),
                ]
                .map(|(hash, direction)| {
                    (
                        hash,
                        Hit {
                            place: i,
                            direction,
                        },
                    )
                })
            };
            for (hash, hit) in (0..capacity).flat_map(hits) {
                assert!(index.insert(hash, hit), "{hit:?} of {capacity}");
            }
            for (hash, hit) in (0..capacity).flat_map(hits) {
                let found = || index.find(hash, |found| (found == hit).then_some(()));
                assert!(found().is_some());
                index.remove(hash, hit);
                assert!(found().is_none());
            }
            assert!(
                index
                    .buckets
                    .iter()
                    .flat_map(|bucket| &bucket.slots)
                    .all(|slot| slot.load(Relaxed) == 0)
            );
        }
    }
}
