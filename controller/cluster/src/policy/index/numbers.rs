//! Numbers that are hashes of texts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::hash;

/// Texts with their numbers, from 1: a text's hash, or the next free one where two hash alike, and
/// then the text that comes first in order has it. So the same texts always get the same numbers.
#[derive(Debug)]
pub(in crate::policy) struct Numbers {
    numbers: HashMap<Arc<str>, u32>,
    texts: BTreeMap<u32, Arc<str>>,
    /// The bits of the hash that count; all of them but in tests.
    mask: u32,
}

/// Two texts hash alike, so that a third one's number may be another one now: all have to be
/// numbered anew. It happens to one in 40,000 texts that come to 100,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Crowded;

impl Numbers {
    pub fn new(mask: u32) -> Self {
        Numbers {
            numbers: HashMap::new(),
            texts: BTreeMap::new(),
            mask,
        }
    }

    pub fn mask(&self) -> u32 {
        self.mask
    }

    pub fn get(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    fn home(&self, text: &str) -> u32 {
        (u32::from_be_bytes(hash::bytes(&[text])) & self.mask).max(1)
    }

    /// Gives texts numbers that have none.
    pub fn enter(&mut self, texts: BTreeSet<String>) -> Result<(), Crowded> {
        let is_empty = self.numbers.is_empty();
        for text in texts {
            let mut number = self.home(&text);
            while self.texts.contains_key(&number) {
                if !is_empty {
                    return Err(Crowded);
                }
                number = after(number);
            }
            let text: Arc<str> = text.into();
            self.texts.insert(number, text.clone());
            self.numbers.insert(text, number);
        }
        Ok(())
    }

    /// Takes a number back.
    pub fn leave(&mut self, number: u32) -> Result<(), Crowded> {
        if let Some(text) = self.texts.remove(&number) {
            self.numbers.remove(&text);
        }
        // Who stands behind it may stand there because it was taken.
        let mut next = after(number);
        while let Some(text) = self.texts.get(&next) {
            if self.home(text) != next {
                return Err(Crowded);
            }
            next = after(next);
        }
        Ok(())
    }
}

/// The number after another, round the end.
fn after(number: u32) -> u32 {
    number.wrapping_add(1).max(1)
}
