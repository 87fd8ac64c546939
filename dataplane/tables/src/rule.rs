//! Rules: flows as the tables hold them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

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
    pub(crate) clock: RuleClock,
    pub(crate) key: MaskedKey,
}

/// What moves a rule's timeouts.
#[derive(Debug, Default)]
pub(crate) struct RuleClock {
    /// When the hard timeout began, in nanoseconds: the rule was added then, or learned again.
    began: AtomicU64,
    /// Timeouts after FIN or RST: idle in the upper half, hard in the lower one; 0: leave alone.
    after_fin: AtomicU32,
}

impl RuleClock {
    /// For a rule added at `now` nanoseconds.
    pub fn new(now: u64) -> Self {
        RuleClock {
            began: AtomicU64::new(now),
            after_fin: AtomicU32::new(0),
        }
    }

    /// For a rule in the place of another.
    pub fn of(earlier: &Rule) -> Self {
        RuleClock {
            began: AtomicU64::new(earlier.clock.began.load(Relaxed)),
            after_fin: AtomicU32::new(earlier.clock.after_fin.load(Relaxed)),
        }
    }
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

    /// Idle and hard timeout as they are now: `fin_timeout` may have shortened them.
    pub fn timeouts(&self) -> (u16, u16) {
        let after_fin = self.clock.after_fin.load(Relaxed);
        let shorter = |timeout: u16, limit: u16| match (timeout, limit) {
            (timeout, 0) => timeout,
            (0, limit) => limit,
            (timeout, limit) => timeout.min(limit),
        };
        (
            shorter(self.idle_timeout, (after_fin >> 16) as u16),
            shorter(self.hard_timeout, after_fin as u16),
        )
    }

    /// Makes timeouts no longer than this; 0 leaves one alone. False if that changed nothing.
    pub(crate) fn shorten(&self, idle: u16, hard: u16) -> bool {
        if !self.would_shorten(idle, hard) {
            return false;
        }
        let (idle_now, hard_now) = self.timeouts();
        let limit = |wanted: u16, now: u16| match (wanted, now) {
            (0, now) => now,
            (wanted, 0) => wanted,
            (wanted, now) => wanted.min(now),
        };
        let both = u32::from(limit(idle, idle_now)) << 16 | u32::from(limit(hard, hard_now));
        self.clock.after_fin.store(both, Relaxed);
        true
    }

    /// True if one of these timeouts is shorter than what the rule has.
    pub fn would_shorten(&self, idle: u16, hard: u16) -> bool {
        let (idle_now, hard_now) = self.timeouts();
        let shorter = |limit: u16, now: u16| limit != 0 && (now == 0 || limit < now);
        shorter(idle, idle_now) || shorter(hard, hard_now)
    }

    /// When the hard timeout began, in nanoseconds.
    pub fn began(&self) -> u64 {
        self.clock.began.load(Relaxed)
    }

    /// Begins the hard timeout again: the rule was learned once more.
    pub fn begin_again(&self, now: u64) {
        self.clock.began.fetch_max(now, Relaxed);
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

    /// The same packets.
    pub fn is_same(&self, other: &MaskedKey) -> bool {
        self.value == other.value && self.mask() == other.mask()
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
