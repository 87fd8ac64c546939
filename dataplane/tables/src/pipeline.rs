//! What workers read: all tables, groups and meters of one generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use net::{FlowKey, GroupId, MeterId, TableId};

use crate::trie::Trie;
use crate::{Group, Meter, Rule, Table};

/// Tables, groups and meters as of one generation; immutable once published.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(crate) generation: u64,
    pub(crate) tables: Vec<Arc<Table>>,
    pub(crate) groups: Trie<Arc<Group>>,
    pub(crate) meters: Trie<Arc<Meter>>,
    pub(crate) stats: Arc<[TableStats]>,
    pub(crate) looks: Arc<FlowKey>,
}

/// Look-ups of a table, over all generations.
#[derive(Debug, Default)]
pub struct TableStats {
    lookups: AtomicU64,
    matched: AtomicU64,
}

impl TableStats {
    /// Counts packets that were looked up, and how many of them a rule matched.
    pub fn add(&self, lookups: u64, matched: u64) {
        self.lookups.fetch_add(lookups, Ordering::Relaxed);
        self.matched.fetch_add(matched, Ordering::Relaxed);
    }

    /// Packets looked up.
    pub fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    /// Packets that a rule matched.
    pub fn matched(&self) -> u64 {
        self.matched.load(Ordering::Relaxed)
    }
}

impl Pipeline {
    /// More is looked at.
    pub(crate) fn look_at(&mut self, more: impl FnOnce(&mut FlowKey)) {
        let mut looks = *self.looks;
        more(&mut looks);
        if looks != *self.looks {
            self.looks = Arc::new(looks);
        }
    }

    /// Begins anew, without rules and groups.
    pub(crate) fn look_at_nothing(&mut self) {
        if *self.looks == FlowKey::default() {
            return;
        }
        self.looks = Arc::default();
        // What tables remember of keys must be among what is looked at.
        for table in self.tables.iter_mut().filter(|table| table.has_used_bits()) {
            Arc::make_mut(table).clear();
        }
    }

    pub(crate) fn new(tables: u8) -> Self {
        Pipeline {
            generation: 0,
            tables: vec![Arc::default(); usize::from(tables)],
            groups: Trie::default(),
            meters: Trie::default(),
            stats: (0..tables).map(|_| TableStats::default()).collect(),
            looks: Arc::default(),
        }
    }

    /// Counts publications.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Ones in the fields, or bits of them, on which it can depend what these tables and groups do
    /// with a packet. Ports, ethertype, protocol, tags, fragmentation and tunnel fields, which are
    /// not told apart, count as looked at in any case. Grows; what is no longer looked at may still
    /// be among it. The same allocation means the same fields.
    pub fn looks_at(&self) -> &Arc<FlowKey> {
        &self.looks
    }

    /// The rule of the highest priority that matches; see [`Table::lookup`].
    #[inline]
    pub fn lookup(
        &self,
        table: TableId,
        key: &FlowKey,
        consulted: &mut FlowKey,
    ) -> Option<&Arc<Rule>> {
        self.table(table)?.lookup(key, consulted)
    }

    /// A table.
    #[inline]
    pub fn table(&self, table: TableId) -> Option<&Table> {
        self.tables.get(usize::from(table.0)).map(|table| &**table)
    }

    /// The tables, from 0 on.
    pub fn tables(&self) -> impl ExactSizeIterator<Item = (TableId, &Table)> {
        let tables = self.tables.iter().enumerate();
        tables.map(|(at, table)| (TableId(at as u8), &**table))
    }

    /// The generation in which a table changed last; 0 for one that never did.
    #[inline]
    pub fn table_generation(&self, table: TableId) -> u64 {
        self.table(table).map_or(0, Table::generation)
    }

    /// A table's counters.
    pub fn table_stats(&self, table: TableId) -> Option<&TableStats> {
        self.stats.get(usize::from(table.0))
    }

    /// A group; it carries the generation in which it changed last.
    #[inline]
    pub fn group(&self, id: GroupId) -> Option<&Arc<Group>> {
        self.groups.find(id_hash(id.0), |group| group.id == id)
    }

    /// Every group, in no order that means anything.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.iter()
    }

    /// A meter; it carries the generation in which it changed last.
    #[inline]
    pub fn meter(&self, id: MeterId) -> Option<&Arc<Meter>> {
        self.meters.find(id_hash(id.0), |meter| meter.id == id)
    }

    /// Every meter, in no order that means anything.
    pub fn meters(&self) -> impl Iterator<Item = &Arc<Meter>> {
        self.meters.iter()
    }

    /// Number of rules in all tables.
    pub fn rules(&self) -> usize {
        self.tables.iter().map(|table| table.len()).sum()
    }
}

/// Spreads small numbers over the trie's slots.
pub(crate) fn id_hash(id: u32) -> u64 {
    u64::from(id)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_right(32)
}

/// The place where the newest pipeline is found.
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Pipeline>,
    generation: AtomicU64,
    workers: AtomicUsize,
}

impl Published {
    pub(crate) fn new(pipeline: Arc<Pipeline>) -> Self {
        Published {
            generation: AtomicU64::new(pipeline.generation),
            current: ArcSwap::new(pipeline),
            workers: AtomicUsize::new(1),
        }
    }

    /// Says how many workers will charge meters, before there is one: each of them writes its own
    /// part of a meter.
    pub fn set_workers(&self, workers: usize) {
        self.workers.store(workers.max(1), Ordering::Relaxed);
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// The generation of the newest pipeline; one load. Whoever sees it gets a pipeline at least as
    /// new from [`Published::load`].
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The newest pipeline.
    pub fn load(&self) -> Arc<Pipeline> {
        self.current.load_full()
    }

    pub(crate) fn store(&self, pipeline: Arc<Pipeline>) {
        let generation = pipeline.generation;
        self.current.store(pipeline);
        self.generation.store(generation, Ordering::Release);
    }
}
