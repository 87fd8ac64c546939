//! Programs that cached flows lead to, each kept once however many flows it has.
//!
//! A program has three parts. What every packet touches is one line ([`Active`]). What is done with
//! packets ([`Code`]) is shared with other programs: rules of a thousand Services lead to a thousand
//! programs, which all do the same. The rest, which is for checks and for counters of rules, lies
//! elsewhere.

// Places in the lists come from the lists themselves.
#![allow(clippy::indexing_slicing)]

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use packet::prefetch;
use tables::Pipeline;

use crate::PortMap;
use crate::program::{Asks, Code, Deps, Hits, Program};

/// A program's place. It may be reused once the program is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProgramId(pub(super) u32);

/// The place of a program's code, likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeId(u32);

/// What is touched of a program with each packet.
#[repr(align(64))]
pub(crate) struct Active {
    /// The worker's epoch in which it was last found valid.
    pub epoch: u64,
    /// Counted since the last flush.
    packets: u64,
    bytes: u64,
    /// When the last packet came, in nanoseconds.
    pub(super) used: u64,
    pub code: CodeId,
    /// As the code says: the packet's time to live must be at least this.
    pub min_ttl: u8,
    /// As the code says: something else is to be asked for each packet.
    pub asks: Asks,
}

impl Active {
    /// Counts a packet.
    #[inline]
    pub fn count(&mut self, bytes: usize, now: u64) {
        self.packets += 1;
        self.bytes += bytes as u64;
        self.used = now;
    }
}

/// What holds for a program, and for whom it counts.
struct Passive {
    deps: Box<Deps>,
    hits: Box<Hits>,
    flows: u32,
    hash: u64,
    /// Bytes of all of it but the code, when it was made.
    memory: usize,
}

struct Shared {
    code: Code,
    programs: u32,
    hash: u64,
}

/// All programs of a cache.
#[derive(Default)]
pub(crate) struct Programs {
    active: Vec<Active>,
    /// None: the place is free.
    passive: Vec<Option<Passive>>,
    codes: Vec<Option<Box<Shared>>>,
    free: Vec<u32>,
    free_codes: Vec<u32>,
    /// Places by what the programs do, and on what account.
    by_content: HashTable<u32>,
    codes_by_content: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Of the programs.
    bytes: usize,
    /// Programs that depend on connections.
    tracking: usize,
}

impl Programs {
    #[inline]
    pub fn get(&mut self, id: ProgramId) -> Option<&mut Active> {
        self.active.get_mut(id.0 as usize)
    }

    #[inline]
    pub fn asks(&self, id: ProgramId) -> Option<Asks> {
        Some(self.active.get(id.0 as usize)?.asks)
    }

    pub fn code_of(&self, id: ProgramId) -> Option<&Code> {
        self.code(self.active.get(id.0 as usize)?.code)
    }

    #[inline]
    pub fn code(&self, id: CodeId) -> Option<&Code> {
        Some(&self.codes.get(id.0 as usize)?.as_ref()?.code)
    }

    /// True while what a program was made from is unchanged.
    pub fn holds(
        &mut self,
        id: ProgramId,
        epoch: u64,
        pipeline: &Pipeline,
        ports: &PortMap,
    ) -> bool {
        if self.get(id).is_some_and(|active| active.epoch == epoch) {
            return true;
        }
        let passive = self.passive.get_mut(id.0 as usize);
        let holds = passive
            .and_then(Option::as_mut)
            .is_some_and(|passive| passive.deps.hold(pipeline, ports));
        if holds && let Some(active) = self.active.get_mut(id.0 as usize) {
            active.epoch = epoch;
        }
        holds
    }

    /// True if they are to be asked for before they are used. A few programs are in the nearest
    /// cache anyway.
    #[inline]
    pub fn are_far(&self) -> bool {
        const NEAR: usize = 64;
        self.active.len() > NEAR
    }

    /// Asks for what is touched of a program with each packet.
    #[inline]
    pub fn prefetch(&self, id: ProgramId) {
        if let Some(active) = self.active.get(id.0 as usize) {
            prefetch(active);
        }
    }

    /// Number of programs.
    pub fn len(&self) -> usize {
        self.active.len() - self.free.len()
    }

    /// True if some of them depend on connections.
    #[inline]
    pub fn have_connections(&self) -> bool {
        self.tracking != 0
    }

    /// Bytes of all programs.
    pub fn memory(&self) -> usize {
        self.bytes
            + self.active.capacity() * size_of::<Active>()
            + self.passive.capacity() * size_of::<Option<Passive>>()
    }

    /// One flow more for a program, which is just made and so holds in this epoch.
    pub fn take(&mut self, program: Program, epoch: u64, now: u64) -> ProgramId {
        let hash = self.hasher.hash_one(&program);
        let same = |id: &u32| {
            let known = self.passive.get(*id as usize).and_then(Option::as_ref);
            known.is_some_and(|known| {
                known.hash == hash
                    && known.deps == program.deps
                    && known.hits == program.hits
                    && self.code_of(ProgramId(*id)) == Some(&program.code)
            })
        };
        if let Some(id) = self.by_content.find(hash, same).copied() {
            if let Some(Some(known)) = self.passive.get_mut(id as usize) {
                known.flows += 1;
                known.deps.tables.narrow_to(&program.deps.tables);
            }
            if let Some(active) = self.active.get_mut(id as usize) {
                (active.epoch, active.used) = (epoch, now);
            }
            return ProgramId(id);
        }
        let Program {
            code, deps, hits, ..
        } = program;
        self.tracking += usize::from(!code.checks.is_empty());
        let active = Active {
            epoch,
            packets: 0,
            bytes: 0,
            used: now,
            min_ttl: code.min_ttl,
            asks: code.asks(),
            code: self.take_code(code),
        };
        let memory = size_of_val(&*deps) + size_of_val(&*hits);
        self.bytes += memory;
        let passive = Some(Passive {
            deps,
            hits,
            flows: 1,
            hash,
            memory,
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.active[id as usize] = active;
                self.passive[id as usize] = passive;
                id
            }
            None => {
                self.active.push(active);
                self.passive.push(passive);
                self.active.len() as u32 - 1
            }
        };
        let list = &self.passive;
        let rehash = |id: &u32| list[*id as usize].as_ref().map_or(0, |known| known.hash);
        self.by_content.insert_unique(hash, id, rehash);
        ProgramId(id)
    }

    fn take_code(&mut self, code: Code) -> CodeId {
        let hash = self.hasher.hash_one(&code);
        let list = &self.codes;
        let same = |id: &u32| {
            let known = list.get(*id as usize).and_then(Option::as_ref);
            known.is_some_and(|known| known.code == code)
        };
        if let Some(id) = self.codes_by_content.find(hash, same).copied() {
            if let Some(Some(known)) = self.codes.get_mut(id as usize) {
                known.programs += 1;
            }
            return CodeId(id);
        }
        self.bytes += size_of::<Shared>() + code.memory();
        let shared = Some(Box::new(Shared {
            code,
            programs: 1,
            hash,
        }));
        let id = match self.free_codes.pop() {
            Some(id) => {
                self.codes[id as usize] = shared;
                id
            }
            None => {
                self.codes.push(shared);
                self.codes.len() as u32 - 1
            }
        };
        let list = &self.codes;
        let rehash = |id: &u32| list[*id as usize].as_ref().map_or(0, |known| known.hash);
        self.codes_by_content.insert_unique(hash, id, rehash);
        CodeId(id)
    }

    /// One flow less; without flows a program goes, and what it counted is flushed.
    pub fn release(&mut self, id: ProgramId, pipeline: &Pipeline) {
        let Some(Some(passive)) = self.passive.get_mut(id.0 as usize) else {
            return;
        };
        passive.flows -= 1;
        if passive.flows > 0 {
            return;
        }
        let active = &mut self.active[id.0 as usize]; // as many as passive ones
        active.flush(&passive.hits, pipeline);
        let (code, hash) = (active.code, passive.hash);
        self.bytes -= passive.memory;
        if let Ok(entry) = self.by_content.find_entry(hash, |known| *known == id.0) {
            entry.remove();
        }
        self.passive[id.0 as usize] = None; // it was there
        self.free.push(id.0);
        self.release_code(code);
    }

    fn release_code(&mut self, id: CodeId) {
        let Some(Some(shared)) = self.codes.get_mut(id.0 as usize) else {
            return;
        };
        self.tracking -= usize::from(!shared.code.checks.is_empty());
        shared.programs -= 1;
        if shared.programs > 0 {
            return;
        }
        self.bytes -= size_of::<Shared>() + shared.code.memory();
        let hash = shared.hash;
        let entry = self
            .codes_by_content
            .find_entry(hash, |known| *known == id.0);
        if let Ok(entry) = entry {
            entry.remove();
        }
        self.codes[id.0 as usize] = None; // it was there
        self.free_codes.push(id.0);
    }

    /// Adds what programs have counted to the rules, groups and tables.
    pub fn flush_counts(&mut self, pipeline: &Pipeline) {
        for (active, passive) in self.active.iter_mut().zip(&self.passive) {
            if let Some(passive) = passive {
                active.flush(&passive.hits, pipeline);
            }
        }
    }

    pub fn clear(&mut self) {
        *self = Programs {
            hasher: std::mem::take(&mut self.hasher),
            ..Programs::default()
        };
    }
}

impl Active {
    fn flush(&mut self, hits: &Hits, pipeline: &Pipeline) {
        if self.packets != 0 {
            hits.count(pipeline, self.packets, self.bytes, self.used);
            (self.packets, self.bytes) = (0, 0);
        }
    }
}
