//! The flow cache: exact keys to programs.
//!
//! Buckets of one cache line hold eight short signatures and the places of eight flows; a key may
//! be in one of two buckets. A flow is a line too ([`flows`]); flows that are treated alike share a
//! program ([`programs`]), which then stays in the nearest cache. The arrays are reserved at the
//! start, in huge pages, and take up memory as they are used.
//!
//! A full cache keeps the flows whose packets come again: a new flow takes the place of one that has
//! had none since it came, and only one in so many new flows gets it ([`DAMPING`]).

// Places in buckets and flows are kept in range by construction; see each use.
#![allow(clippy::indexing_slicing)]

mod bucket;
mod flows;
mod programs;

use net::exact::ExactKey;
use os::Region;
use tables::Pipeline;

use crate::PortMap;
use crate::program::{Asks, Binding, Code, Program};
use bucket::{Bucket, SLOTS};
pub(crate) use flows::Bound;
use flows::{Age, Flows};
pub(crate) use programs::{Active, CodeId, ProgramId, Programs};

/// Out of so many new flows whose buckets are full, one is let in, so that a flood of flows that
/// never come again costs little. It takes the place of one of which no packet came since it was
/// last looked at, if there is one.
const DAMPING: u32 = 4;
/// Out of so many of these, one is let in if packets came of all others in its bucket.
const STRONG_DAMPING: u32 = 64;
/// Fewest flows of a cache that is on.
const LEAST: usize = 64;
/// Most flows of a cache.
pub const MAX_CACHE_ENTRIES: usize = 1 << 26;

/// A flow's place. It may be reused once the flow is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowId(u32);

impl FlowId {
    /// No flow has it: there are at most [`MAX_CACHE_ENTRIES`].
    const NONE: Self = FlowId(u32::MAX);
}

/// A flow and its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub flow: FlowId,
    pub program: ProgramId,
}

/// A key to be looked up, and what was found.
#[derive(Clone)]
pub(crate) struct Lookup {
    /// Of what the tables look at.
    pub key: ExactKey,
    pub hash: u64,
    /// False: the packet has no exact key.
    pub is_valid: bool,
    /// What was found. In two words, each written and read by itself: an option of both would be
    /// written in pieces and read as a whole, and the processor waits for that.
    flow: FlowId,
    program: ProgramId,
    /// Where it is likely to be.
    place: u32,
}

impl Default for Lookup {
    fn default() -> Self {
        Lookup {
            key: ExactKey::default(),
            hash: 0,
            is_valid: false,
            flow: FlowId::NONE,
            program: ProgramId(0),
            place: 0,
        }
    }
}

impl Lookup {
    /// What was found.
    #[inline(always)]
    pub fn found(&self) -> Option<Found> {
        let (flow, program) = (self.flow, self.program);
        (flow != FlowId::NONE).then_some(Found { flow, program })
    }
}

/// The cache of one worker.
pub(crate) struct FlowCache {
    buckets: Region<Bucket>,
    flows: Flows,
    programs: Programs,
    /// Advances whenever a flow comes or goes.
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

impl FlowCache {
    /// A cache for so many flows, or for fewer if the machine lacks memory; none: every packet
    /// walks.
    pub fn new(capacity: usize) -> Self {
        let mut capacity = match capacity {
            0 => 0,
            n => n.clamp(LEAST, MAX_CACHE_ENTRIES).next_power_of_two(),
        };
        loop {
            // At most three quarters full when all flows are in use.
            let buckets = (capacity / SLOTS * 4 / 3).next_power_of_two();
            let memory = Region::named("buckets of the flow cache", buckets)
                .and_then(|buckets| Ok((buckets, Flows::new(capacity)?)));
            if let Ok((buckets, flows)) = memory {
                return FlowCache {
                    buckets,
                    flows,
                    programs: Programs::default(),
                    changes: 0,
                    random: 0x9e37_79b9_7f4a_7c15,
                    counts: CacheCounts::default(),
                };
            }
            assert!(capacity != 0, "a page of memory is to be had");
            capacity = match capacity / 2 {
                n if n < LEAST => 0,
                n => n,
            };
        }
    }

    /// False if nothing can ever be found here.
    pub fn is_on(&self) -> bool {
        self.flows.capacity() != 0
    }

    /// Most flows.
    pub fn capacity(&self) -> usize {
        self.flows.capacity()
    }

    /// Bytes in use: of flows as many as there ever were at once.
    pub fn memory(&self) -> usize {
        self.buckets.bytes() + self.flows.memory() + self.programs.memory()
    }

    /// The flow of a key, of which a packet came.
    #[inline(never)]
    pub fn find(&mut self, key: &ExactKey, hash: u64) -> Option<Found> {
        let found = self.peek(key, hash)?;
        self.flows.touch(found.flow.0)?;
        Some(found)
    }

    /// The flow of a key.
    pub fn peek(&self, key: &ExactKey, hash: u64) -> Option<Found> {
        if !self.is_on() {
            return None;
        }
        let signature = signature(hash);
        let first = self.first(hash);
        let (.., place) = self
            .find_in(first, signature, key)
            .or_else(|| self.find_in(self.other(first, signature), signature, key))?;
        let program = self.flows.program(place)?;
        let flow = FlowId(place);
        Some(Found { flow, program })
    }

    /// Asks for what [`FlowCache::find_all`] reads first of a hash.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.buckets.prefetch(self.first(hash), 0);
    }

    /// Finds the flows of a burst's keys, whose buckets were asked for. Every line is asked for
    /// before it is needed.
    #[inline]
    pub fn find_all(&mut self, lookups: &mut [Lookup]) {
        if !self.is_on() {
            return;
        }
        // Packets of a flow often come one behind the other.
        let (mut last, mut are_long) = (None, false);
        for lookup in lookups.iter_mut() {
            are_long |= lookup.key.is_long();
            if let Some((hash, place)) = last
                && hash == lookup.hash
            {
                lookup.place = place;
                continue;
            }
            let bucket = &self.buckets[self.first(lookup.hash)];
            let slot = bucket.matches(signature(lookup.hash)).next();
            lookup.place = bucket.places[slot.unwrap_or(0)];
            self.flows.prefetch(lookup.place);
            last = Some((lookup.hash, lookup.place));
        }
        if are_long {
            for lookup in lookups.iter().filter(|lookup| lookup.key.is_long()) {
                self.flows.prefetch_tail(lookup.place);
            }
        }
        let far = self.programs.are_far();
        for lookup in lookups {
            lookup.flow = FlowId::NONE;
            if !lookup.is_valid {
                continue;
            }
            if let Some(program) = self.flows.seek(lookup.place, &lookup.key) {
                (lookup.flow, lookup.program) = (FlowId(lookup.place), program);
            } else if let Some(found) = self.find(&lookup.key, lookup.hash) {
                (lookup.flow, lookup.program) = (found.flow, found.program);
            } else {
                continue;
            }
            if far {
                self.programs.prefetch(lookup.program);
            }
        }
    }

    /// What a flow has of its own.
    #[inline]
    pub fn bound(&self, flow: FlowId) -> Option<Bound<'_>> {
        self.flows.get(flow.0).map(|(_, bound)| bound)
    }

    /// What is touched of a program with each packet.
    #[inline]
    pub fn active(&mut self, program: ProgramId) -> Option<&mut Active> {
        self.programs.get(program)
    }

    /// What is to be asked for each packet of a program.
    #[inline]
    pub fn asks(&self, program: ProgramId) -> Option<Asks> {
        self.programs.asks(program)
    }

    /// What is done with the packets of a program.
    #[inline]
    pub fn code_of(&self, program: ProgramId) -> Option<&Code> {
        self.programs.code_of(program)
    }

    /// What is done with packets.
    #[inline]
    pub fn code(&self, code: CodeId) -> Option<&Code> {
        self.programs.code(code)
    }

    /// True while what a program was made from is unchanged, for one that was not found so in this
    /// epoch.
    pub fn holds(
        &mut self,
        program: ProgramId,
        epoch: u64,
        pipeline: &Pipeline,
        ports: &PortMap,
    ) -> bool {
        self.programs.holds(program, epoch, pipeline, ports)
    }

    /// Remembers a program for a key, in place of the one that was there. It holds in this epoch.
    pub fn insert(
        &mut self,
        (key, hash): (&ExactKey, u64),
        program: Program,
        binding: &Binding,
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
        if let Some((bucket, slot, place)) = known {
            self.changes += 1;
            let program = self.programs.take(program, epoch, now);
            let Some(old) = self.flows.program(place) else {
                return;
            };
            if self.flows.replace(place, key, program, binding) {
                return self.programs.release(old, pipeline);
            }
            self.programs.release(program, pipeline);
            return self.remove(bucket, slot, pipeline);
        }
        let Some((bucket, slot)) = self.make_room(first, second, pipeline) else {
            return;
        };
        let program = self.programs.take(program, epoch, now);
        let Some(place) = self.flows.add(key, program, binding) else {
            return self.programs.release(program, pipeline);
        };
        self.changes += 1;
        self.buckets[bucket].signatures[slot] = signature;
        self.buckets[bucket].places[slot] = place;
        self.counts.inserts += 1;
    }

    /// Forgets everything.
    pub fn clear(&mut self, pipeline: &Pipeline) {
        self.flush_counts(pipeline);
        self.buckets.fill(Bucket::default());
        self.flows.clear();
        self.programs.clear();
        self.changes += 1;
    }

    /// Adds what programs have counted to the rules, groups and tables.
    pub fn flush_counts(&mut self, pipeline: &Pipeline) {
        self.programs.flush_counts(pipeline);
    }

    /// Removes flows that had no packet since the last look but one, and those whose program has
    /// `expired`; `buckets` of them are looked at, from `cursor` on. This returns memory of flows
    /// that never come again.
    pub fn sweep(
        &mut self,
        cursor: &mut usize,
        buckets: usize,
        pipeline: &Pipeline,
        mut expired: impl FnMut(&mut Programs, ProgramId) -> bool,
    ) {
        for _ in 0..buckets.min(self.buckets.len()) {
            *cursor = (*cursor + 1) % self.buckets.len();
            for slot in 0..SLOTS {
                let bucket = &self.buckets[*cursor];
                if bucket.signatures[slot] == 0 {
                    continue;
                }
                let place = bucket.places[slot];
                let program = self.flows.program(place);
                let is_over = program.is_none_or(|id| expired(&mut self.programs, id));
                if self.flows.look(place) == Age::Idle || is_over {
                    self.remove(*cursor, slot, pipeline);
                }
            }
        }
    }

    /// Number of buckets, for [`FlowCache::sweep`].
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// True if a flow may depend on a connection.
    #[inline]
    pub fn has_connections(&self) -> bool {
        self.programs.have_connections()
    }

    /// Advances whenever a flow comes or goes: what was found before may be another by now.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Flows in the cache.
    pub fn len(&self) -> usize {
        self.flows.len()
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

    /// Bucket, slot and place of a key's flow in one of its buckets.
    #[inline]
    fn find_in(&self, at: usize, signature: u16, key: &ExactKey) -> Option<(usize, usize, u32)> {
        let bucket = &self.buckets[at];
        // A slot too many may be one that was freed: its flow still has the key, but no program.
        let mut slots = bucket.matches(signature);
        let slot = slots.find(|slot| self.flows.is(bucket.places[*slot], key))?;
        Some((at, slot, bucket.places[slot]))
    }

    /// A free slot in one of two buckets, by eviction if need be.
    fn make_room(
        &mut self,
        first: usize,
        second: usize,
        pipeline: &Pipeline,
    ) -> Option<(usize, usize)> {
        let (a, b) = (self.buckets[first].room(), self.buckets[second].room());
        // The second one is not asked for in time: it is for what the first has no room for. One
        // place is left in the first as long as there are more in the second, so that both fill up.
        let bucket = if a > 1 || a >= b { first } else { second };
        if a.max(b) > 0 && self.flows.len() < self.flows.capacity() {
            let slot = self.buckets[bucket].free()?;
            return Some((bucket, slot));
        }
        let random = self.next_random();
        if !random.is_multiple_of(DAMPING) {
            return None;
        }
        let start = (random >> 20) as usize % SLOTS;
        let slots = [first, second].into_iter().flat_map(|bucket| {
            let order = (0..SLOTS).map(move |i| (bucket, (start + i) % SLOTS));
            order.filter(|(bucket, slot)| self.buckets[*bucket].signatures[*slot] != 0)
        });
        let place = |(bucket, slot): &(usize, usize)| self.buckets[*bucket].places[*slot];
        let unused = slots.clone().find(|at| !self.flows.is_seen(place(at)));
        let strong = (random >> 4).is_multiple_of(STRONG_DAMPING / DAMPING);
        let victim = match unused {
            None if strong => slots.clone().next(),
            unused => unused,
        };
        let (bucket, slot) = victim?;
        self.remove(bucket, slot, pipeline);
        self.counts.evictions += 1;
        Some((bucket, slot))
    }

    fn remove(&mut self, bucket: usize, slot: usize, pipeline: &Pipeline) {
        let place = self.buckets[bucket].places[slot];
        self.buckets[bucket].signatures[slot] = 0;
        self.changes += 1;
        if let Some(program) = self.flows.remove(place) {
            self.programs.release(program, pipeline);
        }
    }

    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
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
    use crate::program::{Deps, Hits, Op, Reach};

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
            code: Code {
                ops: Box::new([Op::Output(PortSlot(port))]),
                checks: Box::new([]),
                macs: Box::new([]),
                min_ttl: 0,
                effects: Box::new([]),
                lengths: crate::program::ANY_LENGTH,
                inner_mtu: 0,
                encapsulates: false,
                translates: false,
                takes: 0,
                in_step: true,
            },
            deps: Box::new(Deps::default()),
            hits: Box::new(Hits::default()),
            cacheable: true,
            reach: Reach::Alike,
            fragment: None,
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
                .insert((&key, hash), program(port), &binding, now, &self.pipeline);
        }

        fn insert(&mut self, key: &ExactKey, port: u16, binding: &Binding) {
            let key = (key, self.hash.hash(key));
            let now = (1, 1);
            self.cache
                .insert(key, program(port), binding, now, &self.pipeline);
        }

        /// True if a packet of a flow finds it.
        fn packet(&mut self, n: u32) -> bool {
            let key = key(n);
            self.cache.find(&key, self.hash.hash(&key)).is_some()
        }

        fn sweep(&mut self, buckets: usize, expired: impl FnMut(&mut Programs, ProgramId) -> bool) {
            self.cache.sweep(&mut 0, buckets, &self.pipeline, expired);
        }

        fn port(&mut self, n: u32) -> Option<u16> {
            let key = key(n);
            let found = self.cache.peek(&key, self.hash.hash(&key))?;
            match *self.cache.code_of(found.program)?.ops {
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
    fn a_sweep_forgets_what_is_not_used_or_does_not_hold_and_its_programs() {
        let mut filled = Filled::new(256);
        for n in 0..100 {
            filled.put(n, n as u16);
        }
        let all = filled.cache.buckets();
        filled.sweep(all, |_, _| false);
        assert_eq!(filled.cache.len(), 100, "all of them are new");
        for n in 60..100 {
            filled.packet(n);
        }
        filled.sweep(all, |_, _| false);
        assert_eq!((filled.cache.len(), filled.cache.programs()), (40, 40));
        assert_eq!((filled.port(59), filled.port(60)), (None, Some(60)));
        filled.sweep(all, |programs, id| programs.get(id).unwrap().used == 60);
        assert_eq!((filled.cache.len(), filled.port(60)), (39, None));
        filled.cache.clear(&filled.pipeline);
        assert_eq!((filled.cache.len(), filled.port(61)), (0, None));
        assert_eq!(filled.cache.programs.memory(), 0);
    }

    /// The flows that come again stay, however many others come once.
    #[test]
    fn a_flood_does_not_push_out_the_flows_that_come_again() {
        let mut filled = Filled::new(1024);
        for n in 0..200 {
            filled.put(n, 1);
            filled.packet(n);
        }
        let mut lost = 0;
        for round in 0..20 {
            for n in 0..2000 {
                filled.put(1000 + round * 2000 + n, 2);
            }
            for n in 0..200 {
                lost += u32::from(!filled.packet(n));
            }
        }
        assert!(lost <= 40, "{lost} of 4000 packets found nothing");
        assert!(filled.cache.take_counts().evictions > 1000);
    }

    #[test]
    fn long_keys_connections_and_translations_are_kept_with_their_flows() {
        let mut filled = Filled::new(64);
        let conns = |n: usize| (0..n).map(|_| Default::default()).collect();
        let v6 = |n: u8| {
            let mut frame = vec![0u8; 60];
            frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
            frame[20] = 59 + 100; // a protocol that nothing is read of
            frame[14 + 39] = n;
            let mut key = ExactKey::default();
            net::exact::read(&frame, 60, 1, None, &mut key).unwrap();
            key
        };
        let mut operands = crate::program::Operands::default();
        operands.v6[1] = [7; 16];
        let wide = Binding {
            conns: conns(4),
            operands,
        };
        for n in 0..32 {
            filled.insert(&v6(n), n.into(), &wide);
        }
        assert_eq!(filled.cache.len(), 32);
        // There is room for half as many of these as of others.
        filled.insert(&v6(32), 32, &wide);
        assert_eq!(filled.cache.len(), 32);
        let found = |filled: &Filled, n: u8| {
            let found = filled.cache.peek(&v6(n), filled.hash.hash(&v6(n)))?;
            let code = filled.cache.code_of(found.program)?;
            let bound = filled.cache.bound(found.flow)?;
            let Op::Output(PortSlot(port)) = code.ops[0] else {
                return None;
            };
            Some((port, bound.conns().len(), bound.operands().v6))
        };
        for n in 0..32 {
            assert_eq!(found(&filled, n), Some((n.into(), 4, operands.v6)));
        }
        let mut narrow = Binding::default();
        narrow.operands.given.src = [1, 2, 3, 4];
        narrow.operands.given.dst = [5, 6, 7, 8];
        narrow.operands.given.dst_port = [0, 10];
        filled.insert(&v6(3), 77, &narrow);
        let flow = filled.cache.find(&v6(3), filled.hash.hash(&v6(3)));
        let bound = filled.cache.bound(flow.unwrap().flow).unwrap();
        assert_eq!(bound.operands().given, narrow.operands.given);
        assert_eq!(found(&filled, 3).map(|found| found.0), Some(77));
        filled.insert(&key(1), 5, &narrow);
        let flow = filled.cache.find(&key(1), filled.hash.hash(&key(1)));
        let bound = filled.cache.bound(flow.unwrap().flow).unwrap();
        assert_eq!(bound.operands(), narrow.operands);
        assert_eq!(bound.conns().len(), 1);
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
                &Binding::default(),
                (1, n.into()),
                &filled.pipeline,
            );
        }
        for gone in [3, 4] {
            filled.sweep(64, |programs, id| programs.get(id).unwrap().used == gone);
            for n in 1..=4 {
                filled.cache.find(&key(n), HASH);
            }
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
