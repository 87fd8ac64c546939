//! The tables that a walk looked at, and with what keys.

use std::hash::{Hash, Hasher};
use std::ops::Range;

use net::{FlowKey, TableId};
use smallvec::SmallVec;
use tables::{KeyBits, Pipeline};

/// Tables with their generations, and of the keys that were looked up there the bits that rules of
/// the table look at: a rule that changes later makes no difference if it differs in one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableDeps {
    tables: SmallVec<[TableDep; 8]>,
    /// Bits of the keys, table by table.
    keys: Vec<KeyBits>,
}

#[derive(Clone, Copy, Debug)]
struct TableDep {
    table: TableId,
    /// The table's generation for which the program is known to hold.
    generation: u64,
    /// Where the bits of its keys end.
    keys_end: u32,
}

impl PartialEq for TableDeps {
    /// Programs of different generations are different: one of them may not hold any more. They
    /// are not told apart by the keys of the flows that lead to them.
    fn eq(&self, other: &Self) -> bool {
        let seen = |dep: &TableDep| (dep.table, dep.generation);
        let (mine, theirs) = (self.tables.iter(), other.tables.iter());
        mine.map(seen).eq(theirs.map(seen))
    }
}

impl Eq for TableDeps {}

impl Hash for TableDeps {
    /// Of what does not change while the program holds.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for dep in &self.tables {
            dep.table.hash(state);
        }
    }
}

impl TableDeps {
    /// A lookup in a table, with a key of which `known` bits are the same for all packets of the
    /// flow.
    pub fn add(&mut self, pipeline: &Pipeline, table: TableId, key: &FlowKey, known: &FlowKey) {
        if let Some(at) = self.tables.iter().position(|dep| dep.table == table) {
            // Once more, with another key: what is remembered must be true of both.
            let keys = self.keys_of(at);
            for bits in self.keys.get_mut(keys).into_iter().flatten() {
                bits.narrow_to(key.words());
            }
            return;
        }
        if let Some(table) = pipeline.table(table) {
            table.remember(key, known, &mut self.keys);
        }
        self.tables.push(TableDep {
            table,
            generation: pipeline.table_generation(table),
            keys_end: self.keys.len() as u32,
        });
    }

    /// One more flow leads to the same program, with other keys: what is remembered of them must
    /// be true of all.
    pub fn narrow_to(&mut self, other: &TableDeps) {
        for at in 0..self.tables.len() {
            let theirs = other.keys.get(other.keys_of(at)).unwrap_or_default();
            let keys = self.keys_of(at);
            for bits in self.keys.get_mut(keys).into_iter().flatten() {
                bits.narrow_to_all(theirs);
            }
        }
    }

    /// Forgets of the keys what is not in a mask.
    pub fn forget_all_but(&mut self, mask: &FlowKey) {
        for bits in &mut self.keys {
            bits.mask(mask);
        }
    }

    /// True while no rule has changed that could make a difference. Remembers that it was so.
    pub fn hold(&mut self, pipeline: &Pipeline) -> bool {
        let mut start = 0;
        for dep in &mut self.tables {
            let keys = start..dep.keys_end as usize;
            start = keys.end;
            let Some(table) = pipeline.table(dep.table) else {
                continue; // there never was such a table
            };
            if table.generation() == dep.generation {
                continue;
            }
            let keys = self.keys.get(keys).unwrap_or_default();
            if !table.still_decides(keys, dep.generation) {
                return false;
            }
            dep.generation = table.generation();
        }
        true
    }

    fn keys_of(&self, table: usize) -> Range<usize> {
        let end = |dep: &TableDep| dep.keys_end as usize;
        let before = table.checked_sub(1).and_then(|at| self.tables.get(at));
        before.map_or(0, end)..self.tables.get(table).map_or(0, end)
    }
}
