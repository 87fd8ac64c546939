//! The flow cache: exact keys to programs.
//!
//! Buckets of one cache line hold eight short signatures and the places of eight entries; a key may
//! be in one of two buckets. Entries that lead to the same program share it: flows that are treated
//! alike cost one program, which then stays in the nearest cache. All memory is allocated at the
//! start except for programs.

// Places in buckets and entries are kept in range by construction; see each use.
#![allow(clippy::indexing_slicing)]

mod programs;

use net::exact::ExactKey;
use packet::prefetch;
use tables::Pipeline;

use crate::program::{Binding, Program};
pub(crate) use programs::Cached;
use programs::ProgramId;
use programs::Programs;

const SLOTS: usize = 8;
/// Full buckets are kicked out of at random; out of so many inserts into full buckets one is done,
/// so that a flood of flows that never come again does not push out those that do.
const DAMPING: u32 = 4;

/// A flow's place. It may be reused once the flow is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowId(u32);

/// A key to be looked up, and what was found.
#[derive(Clone, Default)]
pub(crate) struct Lookup {
    pub key: ExactKey,
    pub hash: u64,
    /// False: the packet has no exact key.
    pub is_valid: bool,
    pub found: Option<FlowId>,
    /// Where it is likely to be.
    place: u32,
}

/// The cache of one worker.
pub(crate) struct FlowCache {
    buckets: Box<[Bucket]>,
    entries: Box<[Entry]>,
    free: Vec<u32>,
    programs: Programs,
    /// Advances whenever an entry comes or goes.
    changes: u64,
    /// State of the generator that picks victims (xorshift; no secret).
    random: u64,
    counts: CacheCounts,
}

/// What happened in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheCounts {
    pub inserts: u64,
    pub evictions: u64,
}

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    /// 0 is empty.
    signatures: [u16; SLOTS],
    places: [u32; SLOTS],
}

#[derive(Clone)]
#[repr(align(64))]
struct Entry {
    key: ExactKey,
    program: ProgramId,
    is_used: bool,
    binding: Binding,
}

impl FlowCache {
    /// A cache for so many flows; none: every packet walks.
    pub fn new(capacity: usize) -> Self {
        let capacity = match capacity {
            0 => 0,
            n => n.clamp(64, 1 << 26).next_power_of_two(),
        };
        // Three quarters full when all entries are in use.
        let buckets = (capacity / SLOTS * 4 / 3).next_power_of_two();
        let entry = Entry {
            key: ExactKey::default(),
            program: ProgramId(0),
            is_used: false,
            binding: Binding::default(),
        };
        FlowCache {
            buckets: vec![Bucket::default(); buckets].into_boxed_slice(),
            entries: vec![entry; capacity].into_boxed_slice(),
            free: (0..capacity as u32).rev().collect(),
            programs: Programs::default(),
            changes: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            counts: CacheCounts::default(),
        }
    }

    /// False if nothing can ever be found here.
    pub fn is_on(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The flow of a key.
    #[inline]
    pub fn find(&self, key: &ExactKey, hash: u64) -> Option<FlowId> {
        let signature = signature(hash);
        let first = self.first(hash);
        let entry = self
            .find_in(first, signature, key)
            .or_else(|| self.find_in(self.other(first, signature), signature, key))?;
        Some(FlowId(entry.2 as u32))
    }

    /// Finds the programs of a burst's keys. Every line is asked for before it is needed.
    #[inline]
    pub fn find_all(&self, lookups: &mut [Lookup]) {
        if !self.is_on() {
            return;
        }
        for lookup in lookups.iter() {
            prefetch(&self.buckets[self.first(lookup.hash)]);
        }
        for lookup in lookups.iter_mut() {
            let bucket = &self.buckets[self.first(lookup.hash)];
            let slot = bucket.matches(signature(lookup.hash)).next();
            lookup.place = bucket.places[slot.unwrap_or(0)];
            // Two lines: the second holds the end of longer keys and the program.
            if let Some(entry) = self.entries.get(lookup.place as usize) {
                prefetch(&entry.key);
                prefetch(&entry.program);
            }
        }
        for lookup in lookups {
            let likely = self.entries.get(lookup.place as usize);
            lookup.found = match likely {
                _ if !lookup.is_valid => None,
                // An entry that is free has lost its program, but not its key.
                Some(entry) if entry.is_used && entry.key == lookup.key => {
                    Some(FlowId(lookup.place))
                }
                _ => self.find(&lookup.key, lookup.hash),
            };
            if let Some(flow) = lookup.found {
                self.programs
                    .prefetch(self.entries[flow.0 as usize].program);
            }
        }
    }

    /// The program of a flow, and what the flow has of its own.
    #[inline]
    pub fn get(&mut self, flow: FlowId) -> Option<(&mut Cached, &Binding)> {
        let entry = self.entries.get(flow.0 as usize)?;
        Some((self.programs.get(entry.program)?, &entry.binding))
    }

    /// Remembers a program for a key, in place of the one that was there. It holds in this epoch.
    pub fn insert(
        &mut self,
        (key, hash): (&ExactKey, u64),
        program: Program,
        binding: Binding,
        (epoch, now): (u64, u64),
        pipeline: &Pipeline,
    ) {
        if !self.is_on() {
            return;
        }
        let signature = signature(hash);
        let first = self.first(hash);
        let second = self.other(first, signature);
        let known = self
            .find_in(first, signature, key)
            .or_else(|| self.find_in(second, signature, key));
        if let Some((_, _, place)) = known {
            self.changes += 1;
            let program = self.programs.take(program, epoch, now);
            let entry = &mut self.entries[place];
            let old = std::mem::replace(&mut entry.program, program);
            entry.binding = binding;
            return self.programs.release(old, pipeline);
        }
        let Some((bucket, slot)) = self.make_room(first, second, pipeline) else {
            return;
        };
        let Some(place) = self.free.pop() else { return };
        self.changes += 1;
        let program = self.programs.take(program, epoch, now);
        self.entries[place as usize] = Entry {
            key: *key,
            program,
            is_used: true,
            binding,
        };
        self.buckets[bucket].signatures[slot] = signature;
        self.buckets[bucket].places[slot] = place;
        self.counts.inserts += 1;
    }

    /// Forgets everything.
    pub fn clear(&mut self, pipeline: &Pipeline) {
        self.flush_counts(pipeline);
        self.buckets.fill(Bucket::default());
        for entry in &mut self.entries {
            entry.is_used = false;
        }
        self.free.clear();
        self.free.extend((0..self.entries.len() as u32).rev());
        self.programs.clear();
        self.changes += 1;
    }

    /// Adds what programs have counted to the rules, groups and tables.
    pub fn flush_counts(&mut self, pipeline: &Pipeline) {
        self.programs.flush_counts(pipeline);
    }

    /// Removes flows whose program does not hold any more; `look_at` entries are looked at, from
    /// `cursor` on. This returns memory of flows that never come again.
    pub fn sweep(
        &mut self,
        cursor: &mut usize,
        look_at: usize,
        pipeline: &Pipeline,
        mut expired: impl FnMut(&mut Cached) -> bool,
    ) {
        for _ in 0..look_at.min(self.buckets.len()) {
            *cursor = (*cursor + 1) % self.buckets.len();
            for slot in 0..SLOTS {
                let bucket = &self.buckets[*cursor];
                if bucket.signatures[slot] == 0 {
                    continue;
                }
                let id = self.entries[bucket.places[slot] as usize].program;
                if let Some(cached) = self.programs.get(id)
                    && expired(cached)
                {
                    self.remove(*cursor, slot, pipeline);
                }
            }
        }
    }

    /// Advances whenever an entry comes or goes: programs found before may be others by now.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Flows in the cache.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Different programs in the cache.
    pub fn programs(&self) -> usize {
        self.programs.len()
    }

    /// What happened since the last call.
    pub fn take_counts(&mut self) -> CacheCounts {
        std::mem::take(&mut self.counts)
    }

    #[inline]
    fn first(&self, hash: u64) -> usize {
        // At least one bucket, a power of two.
        hash as usize & (self.buckets.len() - 1)
    }

    /// The other bucket of a key; it is its own inverse.
    #[inline]
    fn other(&self, bucket: usize, signature: u16) -> usize {
        let step = usize::from(signature).wrapping_mul(0x5bd1_e995) | 1;
        (bucket ^ step) & (self.buckets.len() - 1)
    }

    /// Bucket, slot and place of a key's entry in one of its buckets.
    #[inline]
    fn find_in(&self, at: usize, signature: u16, key: &ExactKey) -> Option<(usize, usize, usize)> {
        let bucket = &self.buckets[at];
        for slot in bucket.matches(signature) {
            let place = bucket.places[slot] as usize;
            // Stored places are below the capacity. A slot too many may be one that was freed:
            // its entry still has the key, but no program.
            let entry = self.entries.get(place);
            if entry.is_some_and(|e| e.key == *key && e.is_used) {
                return Some((at, slot, place));
            }
        }
        None
    }

    /// A free slot in one of two buckets, by eviction if need be.
    fn make_room(
        &mut self,
        first: usize,
        second: usize,
        pipeline: &Pipeline,
    ) -> Option<(usize, usize)> {
        let free = |bucket: &Bucket| bucket.signatures.iter().filter(|s| **s == 0).count();
        let (a, b) = (free(&self.buckets[first]), free(&self.buckets[second]));
        let bucket = if b > a { second } else { first };
        if a.max(b) > 0 && !self.free.is_empty() {
            let slot = self.buckets[bucket]
                .signatures
                .iter()
                .position(|s| *s == 0)?;
            return Some((bucket, slot));
        }
        let random = self.next_random();
        if !random.is_multiple_of(DAMPING) {
            return None;
        }
        let bucket = if random & 0x1_0000 == 0 {
            first
        } else {
            second
        };
        let used = |bucket: &Bucket, slot: usize| bucket.signatures[slot] != 0;
        let start = (random >> 20) as usize % SLOTS;
        let slot = (0..SLOTS)
            .map(|i| (start + i) % SLOTS)
            .find(|slot| used(&self.buckets[bucket], *slot))?;
        self.remove(bucket, slot, pipeline);
        self.counts.evictions += 1;
        Some((bucket, slot))
    }

    fn remove(&mut self, bucket: usize, slot: usize, pipeline: &Pipeline) {
        let place = self.buckets[bucket].places[slot];
        self.buckets[bucket].signatures[slot] = 0;
        let entry = &mut self.entries[place as usize];
        entry.is_used = false;
        let program = entry.program;
        self.free.push(place);
        self.changes += 1;
        self.programs.release(program, pipeline);
    }

    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }
}

impl Bucket {
    /// The slots with this signature, as a [`Hits`]. Now and then one too many, which the key
    /// then tells.
    #[inline]
    fn matches(&self, signature: u16) -> Hits {
        const ONES: u64 = 0x0001_0001_0001_0001;
        const HIGH: u64 = 0x8000_8000_8000_8000;
        let wanted = u64::from(signature) * ONES;
        // Zero where they agree; then the high bit of each zero (and of some above one).
        let zeroes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        let [low, high] = self.words();
        Hits {
            low: zeroes(low ^ wanted),
            high: zeroes(high ^ wanted),
        }
    }

    /// Four signatures in each word, the first in the low bits.
    #[inline]
    fn words(&self) -> [u64; 2] {
        let [a, b, c, d, e, f, g, h] = self.signatures.map(u64::from);
        let word = |a: u64, b: u64, c: u64, d: u64| a | (b << 16) | (c << 32) | (d << 48);
        [word(a, b, c, d), word(e, f, g, h)]
    }
}

/// Slots of a bucket: each has the high bit of its 16.
#[derive(Clone, Copy)]
struct Hits {
    low: u64,
    high: u64,
}

impl Iterator for Hits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.low != 0 {
            let slot = self.low.trailing_zeros() / 16;
            self.low &= self.low - 1;
            return Some(slot as usize);
        }
        if self.high != 0 {
            let slot = self.high.trailing_zeros() / 16 + 4;
            self.high &= self.high - 1;
            return Some(slot as usize);
        }
        None
    }
}

#[inline]
fn signature(hash: u64) -> u16 {
    ((hash >> 48) as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortSlot;
    use crate::program::{Deps, Hits, Op};

    fn key(n: u32) -> ExactKey {
        let mut frame = [0u8; 60];
        frame[..4].copy_from_slice(&n.to_be_bytes());
        frame[12] = 0x12; // a type that nothing else is read of
        let mut key = ExactKey::default();
        net::exact::read(&frame, 60, 1, None, &mut key).unwrap();
        key
    }

    fn program(port: u16) -> Program {
        Program {
            ops: Box::new([Op::Output(PortSlot(port))]),
            checks: Box::new([]),
            macs: Box::new([]),
            deps: Box::new(Deps::default()),
            hits: Box::new(Hits::default()),
            min_ttl: 0,
            effects: Box::new([]),
            lengths: crate::program::ANY_LENGTH,
            inner_mtu: 0,
            cacheable: true,
            any_packet: false,
            fragment: None,
            takes: 0,
        }
    }

    struct Filled {
        cache: FlowCache,
        pipeline: std::sync::Arc<Pipeline>,
        hash: net::exact::HashKey,
    }

    impl Filled {
        fn new(capacity: usize) -> Self {
            Filled {
                cache: FlowCache::new(capacity),
                pipeline: tables::Tables::new().published().load(),
                hash: net::exact::HashKey::new([1, 2]),
            }
        }

        fn put(&mut self, n: u32, port: u16) {
            let key = key(n);
            let hash = self.hash.hash(&key);
            let now = (1, u64::from(n));
            let binding = Binding::default();
            self.cache
                .insert((&key, hash), program(port), binding, now, &self.pipeline);
        }

        fn port(&mut self, n: u32) -> Option<u16> {
            let key = key(n);
            let id = self.cache.find(&key, self.hash.hash(&key))?;
            match *self.cache.get(id)?.0.program.ops {
                [Op::Output(PortSlot(port))] => Some(port),
                _ => None,
            }
        }
    }

    #[test]
    fn flows_find_their_program_and_share_equal_ones() {
        let mut filled = Filled::new(1000);
        for n in 0..500 {
            filled.put(n, (n % 3) as u16);
        }
        assert_eq!((filled.cache.len(), filled.cache.programs()), (500, 3));
        for n in 0..500 {
            assert_eq!(filled.port(n), Some((n % 3) as u16));
        }
        assert_eq!(filled.port(500), None);
        // Another program for the same flow takes the place of the first.
        for n in 0..500 {
            filled.put(n, 7);
        }
        assert_eq!((filled.cache.len(), filled.cache.programs()), (500, 1));
        assert_eq!(filled.port(3), Some(7));
    }

    #[test]
    fn a_full_cache_holds_its_capacity_and_makes_room_for_some_of_the_new() {
        let mut filled = Filled::new(64);
        for n in 0..10_000 {
            filled.put(n, (n % 100) as u16);
        }
        let counts = filled.cache.take_counts();
        assert!(filled.cache.len() <= 64);
        assert!(counts.evictions > 0 && counts.inserts < 5000, "{counts:?}");
        let live = (0..10_000).filter(|n| match filled.port(*n) {
            Some(port) => {
                assert_eq!(u32::from(port), n % 100);
                true
            }
            None => false,
        });
        let live = live.count();
        assert_eq!(live, filled.cache.len());
        assert!(filled.cache.programs() <= live);
    }

    #[test]
    fn a_sweep_forgets_what_is_not_used_and_its_programs() {
        let mut filled = Filled::new(256);
        for n in 0..100 {
            filled.put(n, n as u16);
        }
        let pipeline = filled.pipeline.clone();
        let mut cursor = 0;
        for _ in 0..100 {
            filled
                .cache
                .sweep(&mut cursor, 8, &pipeline, |cached| cached.used < 60);
        }
        assert_eq!((filled.cache.len(), filled.cache.programs()), (40, 40));
        assert_eq!((filled.port(59), filled.port(60)), (None, Some(60)));
        filled.cache.clear(&pipeline);
        assert_eq!((filled.cache.len(), filled.port(60)), (0, None));
    }

    /// Signature 1 is the one that a free slot above a hit is taken for.
    #[test]
    fn a_flow_that_was_removed_is_not_found_in_the_slot_it_had() {
        const HASH: u64 = 1 << 48;
        let mut filled = Filled::new(64);
        for n in 1..=4 {
            let program = program(n as u16);
            filled.cache.insert(
                (&key(n), HASH),
                program,
                Binding::default(),
                (1, n.into()),
                &filled.pipeline,
            );
        }
        let pipeline = filled.pipeline.clone();
        for gone in [3, 4] {
            let expired = |cached: &mut Cached| cached.used == gone;
            filled.cache.sweep(&mut 0, 64, &pipeline, expired);
        }
        let found = (1..=4).map(|n| filled.cache.find(&key(n), HASH).is_some());
        assert_eq!(found.collect::<Vec<_>>(), [true, true, false, false]);
    }

    #[test]
    fn changes_tell_that_what_was_found_may_be_another_program() {
        let mut filled = Filled::new(256);
        filled.put(1, 1);
        let before = filled.cache.changes();
        assert_eq!(filled.port(1), Some(1));
        assert_eq!(filled.cache.changes(), before, "looking changes nothing");
        filled.put(1, 2);
        assert_ne!(filled.cache.changes(), before);
    }
}
