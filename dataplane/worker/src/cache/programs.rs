//! Programs that cached flows lead to, each kept once however many flows it has.

// Places in the list come from the list itself.
#![allow(clippy::indexing_slicing)]

use std::hash::BuildHasher;

use hashbrown::HashTable;
use packet::prefetch;
use tables::Pipeline;

use crate::program::Program;

/// A program's place. It may be reused once the program is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProgramId(pub(super) u32);

/// A cached program with its counts.
pub(crate) struct Cached {
    pub program: Program,
    /// The worker's epoch in which it was last found valid.
    pub epoch: u64,
    /// Counted since the last flush.
    pub packets: u64,
    pub bytes: u64,
    /// When the last packet came, in nanoseconds.
    pub used: u64,
    flows: u32,
    hash: u64,
    /// Bytes of all of it, when it was made.
    memory: usize,
}

/// All programs of a cache.
#[derive(Default)]
pub(super) struct Programs {
    list: Vec<Option<Box<Cached>>>,
    free: Vec<u32>,
    /// Places by what the programs do.
    by_content: HashTable<u32>,
    hasher: hashbrown::DefaultHashBuilder,
    /// Of the programs.
    bytes: usize,
    /// Programs that depend on connections.
    tracking: usize,
}

impl Programs {
    #[inline]
    pub fn get(&mut self, id: ProgramId) -> Option<&mut Cached> {
        self.list.get_mut(id.0 as usize)?.as_deref_mut()
    }

    #[inline]
    pub fn peek(&self, id: ProgramId) -> Option<&Cached> {
        self.list.get(id.0 as usize)?.as_deref()
    }

    /// True if they are to be asked for before they are used. A few programs are in the nearest
    /// cache anyway.
    #[inline]
    pub fn are_far(&self) -> bool {
        const NEAR: usize = 32;
        self.list.len() > NEAR
    }

    /// Asks for a program's lines.
    #[inline]
    pub fn prefetch(&self, id: ProgramId) {
        if let Some(Some(cached)) = self.list.get(id.0 as usize) {
            prefetch(&cached.program);
            prefetch(&cached.used);
        }
    }

    /// Number of programs.
    pub fn len(&self) -> usize {
        self.list.len() - self.free.len()
    }

    /// True if some of them depend on connections.
    #[inline]
    pub fn have_connections(&self) -> bool {
        self.tracking != 0
    }

    /// Bytes of all programs.
    pub fn memory(&self) -> usize {
        self.bytes + self.list.capacity() * size_of::<Option<Box<Cached>>>()
    }

    /// One flow more for a program, which is just made and so holds in this epoch.
    pub fn take(&mut self, program: Program, epoch: u64, now: u64) -> ProgramId {
        let hash = self.hasher.hash_one(&program);
        let list = &self.list;
        let same = |id: &u32| {
            let known = list.get(*id as usize).and_then(Option::as_ref);
            known.is_some_and(|known| known.program == program)
        };
        if let Some(id) = self.by_content.find(hash, same).copied() {
            let id = ProgramId(id);
            if let Some(cached) = self.get(id) {
                cached.flows += 1;
                cached.program.deps.tables.narrow_to(&program.deps.tables);
                cached.epoch = epoch;
                cached.used = now;
            }
            return id;
        }
        let memory = size_of::<Cached>() + program.memory();
        self.bytes += memory;
        self.tracking += usize::from(!program.checks.is_empty());
        let cached = Some(Box::new(Cached {
            program,
            epoch,
            packets: 0,
            bytes: 0,
            used: now,
            flows: 1,
            hash,
            memory,
        }));
        let id = match self.free.pop() {
            Some(id) => {
                self.list[id as usize] = cached;
                id
            }
            None => {
                self.list.push(cached);
                self.list.len() as u32 - 1
            }
        };
        let list = &self.list;
        let rehash = |id: &u32| list[*id as usize].as_ref().map_or(0, |c| c.hash);
        self.by_content.insert_unique(hash, id, rehash);
        ProgramId(id)
    }

    /// One flow less; without flows a program goes, and what it counted is flushed.
    pub fn release(&mut self, id: ProgramId, pipeline: &Pipeline) {
        let Some(cached) = self.get(id) else { return };
        cached.flows -= 1;
        if cached.flows > 0 {
            return;
        }
        cached.flush(pipeline);
        let (hash, memory) = (cached.hash, cached.memory);
        let tracks = !cached.program.checks.is_empty();
        self.bytes -= memory;
        self.tracking -= usize::from(tracks);
        if let Ok(entry) = self.by_content.find_entry(hash, |known| *known == id.0) {
            entry.remove();
        }
        self.list[id.0 as usize] = None; // it was there
        self.free.push(id.0);
    }

    /// Adds what programs have counted to the rules, groups and tables.
    pub fn flush_counts(&mut self, pipeline: &Pipeline) {
        for cached in self.list.iter_mut().flatten() {
            cached.flush(pipeline);
        }
    }

    pub fn clear(&mut self) {
        self.list = Vec::new();
        self.free.clear();
        self.by_content.clear();
        (self.bytes, self.tracking) = (0, 0);
    }
}

impl Cached {
    fn flush(&mut self, pipeline: &Pipeline) {
        if self.packets != 0 {
            let hits = &self.program.hits;
            hits.count(pipeline, self.packets, self.bytes, self.used);
            (self.packets, self.bytes) = (0, 0);
        }
    }
}
