//! Rules: flows as the tables hold them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use net::{FlowKey, TableId};
use openflow::{Field, Instructions, Match};
use smallvec::SmallVec;

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
    /// What happens to its packets; shared by flows that say it in the same words.
    pub instructions: Arc<Instructions>,
    /// Its counters, which a modification keeps.
    pub stats: RuleStats,
    pub(crate) key: MaskedKey,
}

/// A match in the form in which it is looked up.
#[derive(Clone, Debug)]
pub(crate) struct MaskedKey {
    /// What rules with the same masks share.
    pub form: Arc<Form>,
    /// The words under the mask.
    pub value: Words,
}

/// Words of a key under a mask; those of most matches fit in place.
pub(crate) type Words = SmallVec<[u64; 4]>;

/// Fields and masks of a match. The writer keeps each form once, and each mask once.
#[derive(Debug)]
pub(crate) struct Form {
    pub fields: Box<[(Field, u128)]>,
    pub mask: Arc<Mask>,
}

impl Rule {
    /// Which packets.
    pub fn matching(&self) -> Match {
        let form = &self.key.form;
        let value = form.mask.unpack(&self.key.value);
        let mut matching = Match::any();
        for (field, mask) in form.fields.iter() {
            matching.set(*field, field.info().slot.get(&value), *mask);
        }
        matching
    }

    /// True where a packet's key agrees with the match.
    pub fn matches(&self, key: &FlowKey) -> bool {
        self.key.mask().agrees(key.words(), &self.key.value)
    }

    /// The mask of the match.
    pub fn mask(&self) -> &Mask {
        self.key.mask()
    }
}

impl MaskedKey {
    /// Its mask.
    pub fn mask(&self) -> &Arc<Mask> {
        &self.form.mask
    }

    /// Every packet of this key is one of `wider`.
    pub fn is_within(&self, wider: &MaskedKey) -> bool {
        self.mask().covers(wider.mask()) && {
            let value = self.mask().unpack(&self.value);
            wider.mask().agrees(value.words(), &wider.value)
        }
    }

    /// Some packet is of both keys.
    pub fn overlaps(&self, other: &MaskedKey) -> bool {
        let mut mine = self.mask().words().iter().zip(&self.value).peekable();
        for (theirs, their_value) in other.mask().words().iter().zip(&other.value) {
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
    /// The rule whose counters go on; itself one that has its own.
    earlier: Option<Arc<Rule>>,
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

    /// For a rule that comes in the place of another and goes on with its counters.
    pub(crate) fn of(earlier: &Arc<Rule>) -> Self {
        let first = earlier.stats.earlier.as_ref().unwrap_or(earlier);
        RuleStats {
            earlier: Some(first.clone()),
            ..RuleStats::default()
        }
    }

    /// Where it is counted.
    fn place(&self) -> &RuleStats {
        match &self.earlier {
            Some(earlier) => &earlier.stats,
            None => self,
        }
    }

    /// Counts packets, the last of them at `used` nanoseconds.
    pub fn add(&self, packets: u64, bytes: u64, used: u64) {
        let place = self.place();
        place.packets.fetch_add(packets, Relaxed);
        place.bytes.fetch_add(bytes, Relaxed);
        place.used.fetch_max(used, Relaxed);
    }

    /// Packets and bytes so far.
    pub fn counters(&self) -> Counters {
        let place = self.place();
        Counters {
            packets: place.packets.load(Relaxed),
            bytes: place.bytes.load(Relaxed),
        }
    }

    /// When the last packet came, or the rule.
    pub fn used(&self) -> u64 {
        self.place().used.load(Relaxed)
    }
}
