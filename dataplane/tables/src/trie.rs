//! A hash trie whose versions share what they have in common.
//!
//! Cloning is one reference count. Changing a clone copies the nodes on the path to the change, at
//! most once between two publications, because a node that nobody else holds is changed in place.

// A branch has FAN children and `slot` yields numbers below FAN.
#![allow(clippy::indexing_slicing)]

use std::sync::Arc;

const FAN_BITS: u32 = 4;
const FAN: usize = 1 << FAN_BITS;
/// A leaf above this splits, unless the hash is used up.
const LEAF_MAX: usize = 32;
/// Siblings that hold no more than this together become one leaf again.
const LEAF_MERGE: usize = 8;

/// Values under 64-bit hashes; several values may share a hash.
#[derive(Clone, Debug)]
pub(crate) struct Trie<T> {
    root: Arc<Node<T>>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<T> {
    /// Sorted by hash; values of one hash in the order that [`Trie::insert`] gave them.
    Leaf(Vec<(u64, T)>),
    Branch([Arc<Node<T>>; FAN]),
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Trie {
            root: Arc::new(Node::Leaf(Vec::new())),
            len: 0,
        }
    }
}

/// Where the entries of a hash begin, or would: they lie evenly, so it is near its share.
#[inline]
fn first_of<T>(entries: &[(u64, T)], hash: u64) -> usize {
    let share = u128::from(hash) * entries.len() as u128;
    let mut at = (share >> 64) as usize;
    while at > 0 && entries[at - 1].0 >= hash {
        at -= 1;
    }
    while at < entries.len() && entries[at].0 < hash {
        at += 1;
    }
    at
}

fn slot(hash: u64, depth: u32) -> usize {
    ((hash >> (depth * FAN_BITS)) as usize) % FAN
}

impl<T> Trie<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first value under `hash` that `wanted` accepts.
    #[inline]
    pub fn find(&self, hash: u64, mut wanted: impl FnMut(&T) -> bool) -> Option<&T> {
        self.all(hash).find(|value| wanted(value))
    }

    /// The values under `hash`, in their order.
    #[inline]
    pub fn all(&self, hash: u64) -> OfHash<'_, T> {
        let leaf = self.leaf(hash);
        OfHash {
            hash,
            leaf: leaf[first_of(leaf, hash)..].iter(),
        }
    }

    #[inline]
    fn leaf(&self, hash: u64) -> &[(u64, T)] {
        let mut node = &self.root;
        let mut rest = hash;
        loop {
            match &**node {
                Node::Branch(children) => {
                    node = &children[(rest as usize) % FAN];
                    rest >>= FAN_BITS;
                }
                Node::Leaf(entries) => return entries,
            }
        }
    }

    /// Every value, in no order that means anything.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            stack: vec![&self.root],
            leaf: [].iter(),
        }
    }

    /// Begins to go through every value bit by bit, as it is now.
    pub fn walk(&self) -> Walk<T> {
        Walk {
            stack: vec![self.root.clone()],
            at: 0,
        }
    }

    /// Every value's hash.
    pub fn hashes(&self) -> impl Iterator<Item = u64> {
        self.leaves().flatten().map(|(hash, _)| *hash)
    }

    fn leaves(&self) -> impl Iterator<Item = &[(u64, T)]> {
        let mut stack = vec![&self.root];
        std::iter::from_fn(move || {
            loop {
                match &**stack.pop()? {
                    Node::Leaf(entries) => return Some(entries.as_slice()),
                    Node::Branch(children) => stack.extend(children.iter()),
                }
            }
        })
    }

    /// Bytes of its nodes; what values point to is not counted.
    pub fn memory(&self) -> usize {
        const NODE: usize = 2 * size_of::<usize>(); // the counts of an Arc
        let mut stack = vec![&self.root];
        let mut bytes = 0;
        while let Some(node) = stack.pop() {
            bytes += NODE + size_of::<Node<T>>();
            match &**node {
                Node::Leaf(entries) => bytes += entries.capacity() * size_of::<(u64, T)>(),
                Node::Branch(children) => stack.extend(children.iter()),
            }
        }
        bytes
    }
}

/// A place in a version of a trie, which it keeps alive as far as it has not seen it.
#[derive(Debug)]
pub(crate) struct Walk<T> {
    stack: Vec<Arc<Node<T>>>,
    /// Place in the leaf on top.
    at: usize,
}

impl<T> Default for Walk<T> {
    /// At the end.
    fn default() -> Self {
        Walk {
            stack: Vec::new(),
            at: 0,
        }
    }
}

impl<T> Walk<T> {
    /// Gives `visit` at most so many further values; says how many, 0 at the end.
    pub fn step(&mut self, most: usize, visit: &mut dyn FnMut(&T)) -> usize {
        let mut seen = 0;
        while seen < most
            && let Some(node) = self.stack.pop()
        {
            match &*node {
                Node::Branch(children) => self.stack.extend(children.iter().cloned()),
                Node::Leaf(entries) => {
                    let rest = &entries[self.at..];
                    let now = rest.len().min(most - seen);
                    rest[..now].iter().for_each(|(_, value)| visit(value));
                    seen += now;
                    self.at += now;
                    match self.at == entries.len() {
                        true => self.at = 0,
                        false => self.stack.push(node),
                    }
                }
            }
        }
        seen
    }
}

impl<T: Clone> Trie<T> {
    /// Adds a value under `hash`, behind those of the same hash that `stays_before` names.
    pub fn insert(&mut self, hash: u64, value: T, stays_before: impl Fn(&T) -> bool) {
        let mut node = &mut self.root;
        let mut depth = 0;
        loop {
            let here = Arc::make_mut(node);
            if let Node::Leaf(entries) = here
                && entries.len() >= LEAF_MAX
                && depth * FAN_BITS < u64::BITS
                && (entries.first().map(|e| e.0) != entries.last().map(|e| e.0)
                    || entries.first().map(|e| e.0) != Some(hash))
            {
                *here = split(std::mem::take(entries), depth);
            }
            match here {
                Node::Branch(children) => {
                    node = &mut children[slot(hash, depth)];
                    depth += 1;
                }
                Node::Leaf(entries) => {
                    let at = entries
                        .partition_point(|(h, v)| *h < hash || (*h == hash && stays_before(v)));
                    entries.insert(at, (hash, value));
                    self.len += 1;
                    return;
                }
            }
        }
    }

    /// The value that [`Trie::find`] would give, to be changed.
    pub fn find_mut(&mut self, hash: u64, wanted: impl Fn(&T) -> bool) -> Option<&mut T> {
        self.find(hash, &wanted)?;
        let mut node = &mut self.root;
        let mut depth = 0;
        loop {
            match Arc::make_mut(node) {
                Node::Branch(children) => {
                    node = &mut children[slot(hash, depth)];
                    depth += 1;
                }
                Node::Leaf(entries) => {
                    return entries
                        .iter_mut()
                        .find(|(h, value)| *h == hash && wanted(value))
                        .map(|(_, value)| value);
                }
            }
        }
    }

    /// Takes out the value that [`Trie::find`] would give.
    pub fn remove(&mut self, hash: u64, wanted: impl Fn(&T) -> bool) -> Option<T> {
        self.find(hash, &wanted)?;
        let taken = take(&mut self.root, hash, 0, &wanted)?;
        self.len -= 1;
        Some(taken)
    }
}

fn split<T: Clone>(entries: Vec<(u64, T)>, depth: u32) -> Node<T> {
    let mut parts: [Vec<(u64, T)>; FAN] = Default::default();
    for entry in entries {
        parts[slot(entry.0, depth)].push(entry);
    }
    Node::Branch(parts.map(|part| Arc::new(Node::Leaf(part))))
}

fn take<T: Clone>(
    node: &mut Arc<Node<T>>,
    hash: u64,
    depth: u32,
    wanted: &impl Fn(&T) -> bool,
) -> Option<T> {
    let here = Arc::make_mut(node);
    match here {
        Node::Leaf(entries) => {
            let at = entries
                .iter()
                .position(|(h, value)| *h == hash && wanted(value))?;
            Some(entries.remove(at).1)
        }
        Node::Branch(children) => {
            let taken = take(&mut children[slot(hash, depth)], hash, depth + 1, wanted)?;
            if let Some(merged) = merge(children) {
                *here = merged;
            }
            Some(taken)
        }
    }
}

fn merge<T: Clone>(children: &[Arc<Node<T>>; FAN]) -> Option<Node<T>> {
    let mut total = 0;
    for child in children {
        match &**child {
            Node::Leaf(entries) => total += entries.len(),
            Node::Branch(_) => return None,
        }
        if total > LEAF_MERGE {
            return None;
        }
    }
    let mut all = Vec::with_capacity(total);
    for child in children {
        if let Node::Leaf(entries) = &**child {
            all.extend(entries.iter().cloned());
        }
    }
    // Equal hashes were in one leaf, so a stable sort keeps their order.
    all.sort_by_key(|(hash, _)| *hash);
    Some(Node::Leaf(all))
}

/// Iterator of [`Trie::all`].
pub(crate) struct OfHash<'a, T> {
    hash: u64,
    leaf: std::slice::Iter<'a, (u64, T)>,
}

impl<'a, T> Iterator for OfHash<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        let (hash, value) = self.leaf.next()?;
        (*hash == self.hash).then_some(value)
    }
}

/// Iterator of [`Trie::iter`].
pub(crate) struct Iter<'a, T> {
    stack: Vec<&'a Arc<Node<T>>>,
    leaf: std::slice::Iter<'a, (u64, T)>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some((_, value)) = self.leaf.next() {
                return Some(value);
            }
            match &**self.stack.pop()? {
                Node::Leaf(entries) => self.leaf = entries.iter(),
                Node::Branch(children) => self.stack.extend(children.iter()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_trie_is_a_sorted_multimap_and_old_versions_stay_as_they_were(
            steps in prop::collection::vec((any::<bool>(), 0u64..64, any::<u8>()), 1..400),
            spread in prop::sample::select(vec![1u64, 0x0101_0101_0101_0101, 1 << 60]),
        ) {
            let mut trie = Trie::default();
            let mut twin: Vec<(u64, u8)> = Vec::new();
            let mut versions = Vec::new();
            for (add, hash, value) in steps {
                let hash = hash.wrapping_mul(spread);
                if add {
                    trie.insert(hash, value, |old| *old >= value);
                    twin.push((hash, value));
                } else {
                    let gone = trie.remove(hash, |v| v % 2 == value % 2);
                    let best = twin.iter().enumerate()
                        .filter(|(_, (h, v))| *h == hash && v % 2 == value % 2)
                        .max_by_key(|(_, (_, v))| *v).map(|(at, _)| at);
                    prop_assert_eq!(gone, best.map(|at| twin.remove(at).1));
                }
                versions.push((trie.clone(), twin.clone()));
            }
            for (trie, twin) in versions {
                prop_assert_eq!(trie.len(), twin.len());
                let mut seen: Vec<u8> = trie.iter().copied().collect();
                let mut expected: Vec<u8> = twin.iter().map(|(_, v)| *v).collect();
                seen.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(seen, expected);
                for (hash, _) in &twin {
                    let best = twin.iter().filter(|(h, _)| h == hash).map(|(_, v)| *v).max();
                    prop_assert_eq!(trie.find(*hash, |_| true).copied(), best);
                }
            }
        }
    }

    #[test]
    fn equal_hashes_beyond_a_leaf_are_kept() {
        let mut trie = Trie::default();
        for value in 0..200u16 {
            trie.insert(7, value, |old| *old > value);
        }
        assert_eq!(trie.find(7, |_| true), Some(&199));
        for value in 0..200u16 {
            assert_eq!(trie.remove(7, |v| *v == value), Some(value));
        }
        assert_eq!(trie.len(), 0);
    }
}
