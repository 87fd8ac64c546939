//! Which rules of a table changed lately, so that what was decided before can be kept where none
//! of them has to do with it.

use std::sync::Arc;

use net::{FlowKey, KEY_WORDS};

use crate::rule::Rule;

/// Changes in one piece of the log; a piece is copied once between two publications.
const PIECE: usize = 16;
/// Pieces in each half of the log.
const PIECES: usize = 32;

/// Bits of a key as it was looked up, in one of its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBits {
    /// Which word of [`FlowKey::words`].
    at: u16,
    /// The bits that are known.
    bits: u64,
    /// Their values; zero elsewhere.
    value: u64,
}

impl KeyBits {
    /// The bits of `known` in a key's word; in memory order, as [`FlowKey::words`].
    pub(crate) fn of(at: u16, bits: u64, key: &FlowKey, known: &FlowKey) -> Option<Self> {
        let word = |key: &FlowKey| key.words().get(usize::from(at)).copied();
        let bits = bits & word(known)?;
        let value = word(key)? & bits;
        Some(KeyBits { at, bits, value })
    }

    /// Gives up the bits in which a key differs.
    pub fn narrow_to(&mut self, words: &[u64; KEY_WORDS]) {
        let word = words.get(usize::from(self.at)).copied().unwrap_or(0);
        self.keep(!(word ^ self.value));
    }

    /// Gives up the bits in which other keys differ, or which are not known of them.
    pub fn narrow_to_all(&mut self, others: &[KeyBits]) {
        let same = others.iter().find(|other| other.at == self.at);
        self.keep(same.map_or(0, |o| o.bits & !(o.value ^ self.value)));
    }

    /// Gives up the bits that are not in a mask.
    pub fn mask(&mut self, mask: &FlowKey) {
        let word = mask.words().get(usize::from(self.at)).copied();
        self.keep(word.unwrap_or(0));
    }

    fn keep(&mut self, bits: u64) {
        self.bits &= bits;
        self.value &= bits;
    }
}

/// Changed rules, newest first, each with the generation of its change.
///
/// Bounded: half of it is forgotten when it is full, and whoever asks for more must decide anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangeLog {
    /// Complete for changes after this generation; none: nothing is known.
    complete_after: Option<u64>,
    newer: Half,
    older: Half,
}

#[derive(Clone, Debug, Default)]
struct Half {
    newest: Option<Arc<Piece>>,
    pieces: usize,
    /// Of its newest change.
    generation: u64,
}

#[derive(Clone, Debug)]
struct Piece {
    changes: Vec<(u64, Arc<Rule>)>,
    before: Option<Arc<Piece>>,
}

impl ChangeLog {
    /// A rule has come, gone or changed.
    pub fn add(&mut self, generation: u64, rule: Arc<Rule>) {
        self.complete_after.get_or_insert(generation);
        if self.newer.pieces > PIECES {
            let full = std::mem::take(&mut self.newer);
            let forgotten = std::mem::replace(&mut self.older, full);
            if forgotten.newest.is_some() {
                self.complete_after = Some(forgotten.generation);
            }
        }
        self.newer.add(generation, rule);
    }

    /// True if no rule that changed after a generation matches a key of which these bits are
    /// known; false too if that cannot be said any more.
    pub fn spares(&self, key: &[KeyBits], since: u64) -> bool {
        if self.complete_after.is_none_or(|after| since < after) {
            return false;
        }
        let halves = [&self.newer, &self.older].into_iter();
        halves
            .flat_map(Half::changes)
            .take_while(|(generation, _)| *generation > since)
            .all(|(_, rule)| is_apart(rule, key))
    }
}

impl Half {
    fn add(&mut self, generation: u64, rule: Arc<Rule>) {
        self.generation = generation;
        match &mut self.newest {
            Some(newest) if newest.changes.len() < PIECE => {
                Arc::make_mut(newest).changes.push((generation, rule));
            }
            newest => {
                let mut changes = Vec::with_capacity(PIECE);
                changes.push((generation, rule));
                let before = newest.take();
                *newest = Some(Arc::new(Piece { changes, before }));
                self.pieces += 1;
            }
        }
    }

    /// Newest first.
    fn changes(&self) -> impl Iterator<Item = &(u64, Arc<Rule>)> {
        let pieces = std::iter::successors(self.newest.as_deref(), |p| p.before.as_deref());
        pieces.flat_map(|piece| piece.changes.iter().rev())
    }
}

/// True if the known bits of a key keep it from a rule's match.
fn is_apart(rule: &Rule, key: &[KeyBits]) -> bool {
    let mut rule = rule.key.mask().words().iter().zip(rule.key.value.iter());
    rule.any(|(w, value)| {
        let known = key.iter().find(|known| known.at == w.at);
        known.is_some_and(|known| (value ^ known.value) & w.bits & known.bits != 0)
    })
}
