//! From a match on the wire straight to the form in which it is looked up.

use std::sync::Arc;

use openflow::Match;
use openflow::wire::Piece;

use super::{Tables, masked_key};
use crate::rule::{Form, MaskedKey, Words};

/// How matches of one shape are packed; see [`openflow::wire::FlowModReader`].
#[derive(Debug)]
pub struct MatchPlan {
    form: Arc<Form>,
    /// The words, without what differs from match to match.
    base: Words,
    /// What does, and which word it is a part of.
    pieces: Box<[(usize, Piece)]>,
}

impl Tables {
    /// Prepares for matches that differ from an example only in these pieces.
    pub fn plan(&mut self, example: &Match, pieces: &[Piece]) -> MatchPlan {
        let (value, mask) = example.to_keys();
        let form = self.forms.intern(example, &mask);
        let mut base = masked_key(form.clone(), &value).value;
        let words = form.mask.words();
        let packed = pieces.iter().filter_map(|piece| {
            let at = words.iter().position(|word| word.at == piece.word)?;
            Some((at, *piece))
        });
        let pieces: Box<[_]> = packed.collect();
        for (at, piece) in &pieces {
            if let Some(word) = base.get_mut(*at) {
                *word &= !piece.bits;
            }
        }
        MatchPlan { form, base, pieces }
    }
}

impl MatchPlan {
    /// The key of a match of the shape.
    pub(super) fn key(&self, matching: &[u8]) -> MaskedKey {
        let mut value = Words::from_slice(&self.base);
        for (at, piece) in &self.pieces {
            if let Some(word) = value.get_mut(*at) {
                *word |= piece.read(matching);
            }
        }
        MaskedKey {
            form: self.form.clone(),
            value,
        }
    }
}
