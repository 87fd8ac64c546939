//! Who holds what of one range, and which part of it each node has.
//!
//! Addresses given unasked come from aligned blocks, each of which belongs to the node that most
//! of its holders are on: so a node's pods lie together, and other nodes reach them by a prefix.
//! Nothing of that is written down: it follows from who holds what.

use std::collections::{BTreeMap, BTreeSet};

use super::owner::Owner;
use super::ranges::RangeSet;
use super::runs::Runs;
use crate::map::Map;

#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// Addresses in a block, as a power of two; 0: no blocks.
    bits: u8,
    holders: Map<u128, Owner>,
    /// The addresses of `holders`.
    held: Runs,
    blocks: Map<u128, Block>,
    /// Blocks in which a node has at least one address.
    nodes: Map<String, BTreeSet<u128>>,
}

#[derive(Clone, Debug, Default)]
struct Block {
    /// How many addresses holders on each node have.
    by_node: BTreeMap<String, u32>,
    /// The last one given unasked, where the search goes on.
    last: Option<u128>,
}

impl Block {
    /// The node that has most of it, the first by name of those that have as much.
    fn node(&self) -> Option<&str> {
        let mut best: Option<(&str, u32)> = None;
        for (node, count) in &self.by_node {
            if best.is_none_or(|(_, most)| *count > most) {
                best = Some((node, *count));
            }
        }
        best.map(|(node, _)| node)
    }
}

impl Book {
    pub(crate) fn new(bits: u8) -> Self {
        Book {
            bits,
            ..Book::default()
        }
    }

    pub(crate) fn holder(&self, address: u128) -> Option<&Owner> {
        self.holders.get(&address)
    }

    /// How many addresses are held.
    pub(crate) fn len(&self) -> usize {
        self.holders.len()
    }

    /// How many of these addresses are held.
    pub(crate) fn held_of(&self, ranges: &RangeSet) -> u128 {
        self.held.count_of(ranges)
    }

    /// Which addresses are held.
    pub(crate) fn held(&self) -> &Runs {
        &self.held
    }

    pub(crate) fn take(&mut self, address: u128, owner: Owner, node: Option<&str>) {
        self.holders.insert(address, owner);
        self.held.insert(address);
        if let (Some(node), true) = (node, self.bits > 0) {
            let number = address >> self.bits;
            let block = self.blocks.or_default(number);
            *block.by_node.entry(node.to_string()).or_default() += 1;
            self.nodes.or_default(node.to_string()).insert(number);
        }
    }

    /// `node` is what [`Book::take`] was told.
    pub(crate) fn give_back(&mut self, address: u128, node: Option<&str>) {
        self.holders.remove(&address);
        self.held.remove(address);
        let Some(node) = node else { return };
        let number = address >> self.bits;
        let Some(block) = self.blocks.get_mut(&number) else {
            return;
        };
        let Some(count) = block.by_node.get_mut(node) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        block.by_node.remove(node);
        if block.by_node.is_empty() {
            self.blocks.remove(&number);
        }
        if let Some(blocks) = self.nodes.get_mut(node) {
            blocks.remove(&number);
            if blocks.is_empty() {
                self.nodes.remove(node);
            }
        }
    }

    /// True if giving this address begins a block, or if there are none: the search for the next
    /// goes on there.
    pub(crate) fn moves_cursor(&self, address: u128) -> bool {
        self.bits == 0 || !self.blocks.contains_key(&(address >> self.bits))
    }

    /// Remembers that an address was given unasked.
    pub(crate) fn note(&mut self, address: u128) {
        if let Some(block) = self.blocks.get_mut(&(address >> self.bits)) {
            block.last = Some(address);
        }
    }

    /// A free address of `given` for somebody on `node`: of a block that the node has, or else of
    /// one that nobody has, or else any. `avoid` says of an address that it shall not be given.
    ///
    /// Going on from the last address given, rather than from the lowest free one, leaves a freed
    /// address alone for as long as possible: peers may still have it in their neighbour tables and
    /// connection tables. `cursor` is where that is for new blocks ([`Book::moves_cursor`]).
    pub(crate) fn find(
        &self,
        given: &RangeSet,
        node: Option<&str>,
        cursor: Option<u128>,
        avoid: &dyn Fn(u128) -> bool,
    ) -> Option<u128> {
        let cursor = cursor.unwrap_or(0);
        if let (Some(node), true) = (node, self.bits > 0) {
            let found = self
                .in_own_blocks(given, node, avoid)
                .or_else(|| self.in_new_block(given, cursor >> self.bits, avoid))
                .or_else(|| self.in_shared_blocks(given, node, avoid));
            if found.is_some() {
                return found;
            }
        }
        let after = cursor.saturating_add(1);
        self.free(given, after, u128::MAX, avoid)
            .or_else(|| self.free(given, 0, cursor, avoid))
    }

    fn in_own_blocks(
        &self,
        given: &RangeSet,
        node: &str,
        avoid: &dyn Fn(u128) -> bool,
    ) -> Option<u128> {
        self.nodes.get(node)?.iter().find_map(|number| {
            let block = self.blocks.get(number)?;
            (block.node() == Some(node)).then_some(())?;
            let (first, last) = self.span(*number);
            let after = block
                .last
                .map_or(first, |given| given.saturating_add(1).max(first));
            let found = (after <= last).then(|| self.free(given, after, last, avoid));
            found
                .flatten()
                .or_else(|| self.free(given, first, after.checked_sub(1)?, avoid))
        })
    }

    fn in_new_block(
        &self,
        given: &RangeSet,
        from: u128,
        avoid: &dyn Fn(u128) -> bool,
    ) -> Option<u128> {
        let start = from << self.bits;
        let later = given.within(start, u128::MAX);
        let earlier = start.checked_sub(1).map(|end| given.within(0, end));
        for (first, last) in later.chain(earlier.into_iter().flatten()) {
            let mut number = first >> self.bits;
            while number <= last >> self.bits {
                if !self.blocks.contains_key(&number) {
                    let (from, to) = self.span(number);
                    let found = self.free(given, from.max(first), to.min(last), avoid);
                    if found.is_some() {
                        return found;
                    }
                }
                number += 1;
            }
        }
        None
    }

    fn in_shared_blocks(
        &self,
        given: &RangeSet,
        node: &str,
        avoid: &dyn Fn(u128) -> bool,
    ) -> Option<u128> {
        self.nodes.get(node)?.iter().find_map(|number| {
            let (first, last) = self.span(*number);
            self.free(given, first, last, avoid)
        })
    }

    fn span(&self, block: u128) -> (u128, u128) {
        let first = block << self.bits;
        (first, first | ((1 << self.bits) - 1))
    }

    fn free(
        &self,
        given: &RangeSet,
        first: u128,
        last: u128,
        avoid: &dyn Fn(u128) -> bool,
    ) -> Option<u128> {
        given.within(first, last).find_map(|(first, last)| {
            let mut held = self.holders.starting_at(&first).map(|(a, _)| *a).peekable();
            let mut candidate = first;
            loop {
                if held.next_if_eq(&candidate).is_none() && !avoid(candidate) {
                    return Some(candidate);
                }
                if candidate == last {
                    return None;
                }
                candidate += 1;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NamespacedName;
    use proptest::prelude::*;

    fn owner() -> Owner {
        Owner::Pod(NamespacedName::new("a", "b"))
    }

    /// Gives one to a node and books it.
    fn give(book: &mut Book, given: &RangeSet, node: &str, cursor: &mut Option<u128>) -> u128 {
        let found = book.find(given, Some(node), *cursor, &|_| false).unwrap();
        if book.moves_cursor(found) {
            *cursor = Some(found);
        }
        book.take(found, owner(), Some(node));
        book.note(found);
        found
    }

    #[test]
    fn each_node_has_blocks_of_its_own_and_takes_another_when_they_are_full() {
        let given = RangeSet::new(vec![(1, 62)]);
        let mut book = Book::new(3);
        let mut cursor = None;
        let mut blocks: BTreeMap<&str, Vec<u128>> = BTreeMap::new();
        for turn in 0..12 {
            for node in ["n1", "n2"] {
                let address = give(&mut book, &given, node, &mut cursor);
                blocks.entry(node).or_default().push(address >> 3);
                assert!(turn < 12);
            }
        }
        for (node, other) in [("n1", "n2"), ("n2", "n1")] {
            let own: BTreeSet<_> = blocks[node].iter().collect();
            let others: BTreeSet<_> = blocks[other].iter().collect();
            assert!(own.is_disjoint(&others), "{blocks:?}");
            assert_eq!(own.len(), 2, "{blocks:?}");
        }
    }

    #[test]
    fn a_freed_address_rests_as_long_as_its_block_has_others() {
        let given = RangeSet::new(vec![(8, 15)]);
        let mut book = Book::new(3);
        let mut cursor = None;
        for expected in [8, 9] {
            assert_eq!(give(&mut book, &given, "n", &mut cursor), expected);
        }
        book.give_back(8, Some("n"));
        assert_eq!(give(&mut book, &given, "n", &mut cursor), 10);
    }

    proptest! {
        /// Whatever comes and goes: nothing is refused while something is free, nothing is given
        /// twice or from outside, and the counts are those of a plain recount.
        #[test]
        fn blocks_refuse_nothing_and_count_right(
            steps in proptest::collection::vec((0usize..4, any::<bool>(), 0usize..40), 1..200),
            bits in 0u8..4,
        ) {
            let given = RangeSet::new(vec![(1, 9), (12, 30)]);
            let mut book = Book::new(bits);
            let mut held: Vec<(u128, String)> = Vec::new();
            let mut cursor = None;
            for (node, add, which) in steps {
                if add || held.is_empty() {
                    let node = format!("n{node}");
                    match book.find(&given, Some(&node), cursor, &|a| a == 20) {
                        Some(found) => {
                            prop_assert!(given.contains(found) && found != 20);
                            prop_assert!(held.iter().all(|(a, _)| *a != found));
                            book.take(found, owner(), Some(&node));
                            book.note(found);
                            cursor = Some(found);
                            held.push((found, node));
                        }
                        None => prop_assert_eq!(held.len() as u128, given.len() - 1),
                    }
                } else {
                    let (address, node) = held.swap_remove(which % held.len());
                    book.give_back(address, Some(&node));
                }
                prop_assert_eq!(book.len(), held.len());
                if bits > 0 {
                    let mut fresh = Book::new(bits);
                    for (address, node) in &held {
                        fresh.take(*address, owner(), Some(node));
                    }
                    let counts = |book: &Book| -> Vec<_> {
                        book.blocks.iter().map(|(n, b)| (*n, b.by_node.clone())).collect()
                    };
                    prop_assert_eq!(counts(&book), counts(&fresh));
                    prop_assert_eq!(&book.nodes, &fresh.nodes);
                }
            }
        }
    }
}
