//! Rules: flows as the tables hold them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use net::{FlowKey, TableId};
use openflow::{Field, Instructions, Match};

use crate::Mask;

/// A flow in a table. Immutable but for its counters; a modification makes a new one.
#[derive(Debug)]
pub struct Rule {
    /// Table it is in.
    pub table: TableId,
    /// Higher wins.
    pub priority: u16,
    /// Seconds without a packet after which it goes; 0: never.
    pub idle_timeout: u16,
    /// Seconds after which it goes; 0: never.
    pub hard_timeout: u16,
    /// `openflow::model::FLOW_*`.
    pub flags: u16,
    /// Who may be evicted first (1.4).
    pub importance: u16,
    /// Its owner's name for it.
    pub cookie: u64,
    /// When it was added, nanoseconds of the writer's clock.
    pub created: u64,
    /// What happens to its packets.
    pub instructions: Instructions,
    /// Its counters, which a modification keeps.
    pub stats: Arc<RuleStats>,
    pub(crate) key: MaskedKey,
}

/// A match in the form in which it is looked up: rules of one form share their masks.
#[derive(Clone, Debug)]
pub(crate) struct MaskedKey {
    pub fields: Arc<[(Field, u128)]>,
    pub mask: Arc<Mask>,
    pub value: Box<[u64]>,
}

impl Rule {
    /// Which packets.
    pub fn matching(&self) -> Match {
        let value = self.key.mask.unpack(&self.key.value);
        let mut matching = Match::any();
        for (field, mask) in self.key.fields.iter() {
            matching.set(*field, field.info().slot.get(&value), *mask);
        }
        matching
    }

    /// True where a packet's key agrees with the match.
    pub fn matches(&self, key: &FlowKey) -> bool {
        self.key.mask.agrees(key.words(), &self.key.value)
    }

    /// The mask of the match.
    pub fn mask(&self) -> &Mask {
        &self.key.mask
    }
}

impl MaskedKey {
    /// Every packet of this key is one of `wider`.
    pub fn is_within(&self, wider: &MaskedKey) -> bool {
        self.mask.covers(&wider.mask) && {
            let value = self.mask.unpack(&self.value);
            wider.mask.agrees(value.words(), &wider.value)
        }
    }

    /// Some packet is of both keys.
    pub fn overlaps(&self, other: &MaskedKey) -> bool {
        let mut mine = self.mask.words().iter().zip(&self.value).peekable();
        for (theirs, their_value) in other.mask.words().iter().zip(&other.value) {
            while mine.next_if(|(w, _)| w.at < theirs.at).is_some() {}
            if let Some((w, value)) = mine.next_if(|(w, _)| w.at == theirs.at)
                && (value ^ their_value) & w.bits & theirs.bits != 0
            {
                return false;
            }
        }
        true
    }
}

/// Counters of a rule. Workers add what they counted for themselves, when asked.
#[derive(Debug, Default)]
pub struct RuleStats {
    packets: AtomicU64,
    bytes: AtomicU64,
    used: AtomicU64,
}

/// A reading of packet and byte counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, of frames without their check sequence.
    pub bytes: u64,
}

impl RuleStats {
    /// For a rule added at `now` nanoseconds.
    pub fn new(now: u64) -> Self {
        RuleStats {
            used: AtomicU64::new(now),
            ..RuleStats::default()
        }
    }

    /// Counts packets, the last of them at `used` nanoseconds.
    pub fn add(&self, packets: u64, bytes: u64, used: u64) {
        self.packets.fetch_add(packets, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.used.fetch_max(used, Relaxed);
    }

    /// Packets and bytes so far.
    pub fn counters(&self) -> Counters {
        Counters {
            packets: self.packets.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    /// When the last packet came, or the rule.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}
