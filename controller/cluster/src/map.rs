//! An ordered map whose versions share what did not change: a clone costs nothing, and two versions
//! are compared at the cost of what differs between them (docs/adr/0034-per-object.md).

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An ordered map, used as [`std::collections::BTreeMap`] is.
///
/// It is a weight-balanced tree (Hirai and Yamamoto, "Balancing weight-balanced trees", 2011, with
/// their parameters 3 and 2). A change copies the nodes on the way to it, as far as another version
/// has them too; keys and values are never copied but by [`Map::get_mut`].
pub struct Map<K, V> {
    root: Link<K, V>,
}

type Link<K, V> = Option<Arc<Node<K, V>>>;

struct Node<K, V> {
    entry: Arc<(K, V)>,
    left: Link<K, V>,
    right: Link<K, V>,
    size: usize,
}

/// Keys that are in one of two versions only, or have different values, in order.
pub fn different<'a, K: Ord, V: PartialEq>(
    before: &'a Map<K, V>,
    after: &'a Map<K, V>,
) -> impl Iterator<Item = &'a K> {
    changes(before, after).map(|change| change.key)
}

/// What differs between two versions, in order of the keys.
pub fn changes<'a, K: Ord, V: PartialEq>(
    before: &'a Map<K, V>,
    after: &'a Map<K, V>,
) -> impl Iterator<Item = Change<'a, K, V>> {
    Comparison {
        before: Rest::of(&before.root),
        after: Rest::of(&after.root),
    }
}

/// One key whose values differ.
#[derive(Debug)]
pub struct Change<'a, K, V> {
    /// The key.
    pub key: &'a K,
    /// Its value before; none: it was not there.
    pub before: Option<&'a V>,
    /// Its value after; none: it is gone.
    pub after: Option<&'a V>,
}

impl<K, V> Map<K, V> {
    /// An empty one.
    pub const fn new() -> Self {
        Map { root: None }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        size(&self.root)
    }

    /// True if there is no key.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.root = None;
    }

    /// Keys and values, in order of the keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter {
            path: Vec::new(),
            left: self.len(),
        };
        iter.descend(&self.root);
        iter
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in order of their keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// True if both are the very same version: nothing was changed in either since one was cloned.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.root, &other.root) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }
}

impl<K: Ord, V> Map<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// A key as it stands in the map, and its value.
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let mut link = &self.root;
        while let Some(node) = link {
            link = match key.cmp(node.key().borrow()) {
                Ordering::Less => &node.left,
                Ordering::Greater => &node.right,
                Ordering::Equal => return Some((&node.entry.0, &node.entry.1)),
            };
        }
        None
    }

    /// True if the key is there.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).is_some()
    }

    /// Keys from this one on, in order, with their values.
    pub fn starting_at<Q: Ord + ?Sized>(&self, first: &Q) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let mut iter = Iter {
            path: Vec::new(),
            left: self.len(),
        };
        let mut link = &self.root;
        while let Some(node) = link {
            link = match first.cmp(node.key().borrow()) {
                Ordering::Greater => &node.right,
                Ordering::Less => {
                    iter.path.push(node);
                    &node.left
                }
                Ordering::Equal => {
                    iter.path.push(node);
                    break;
                }
            };
        }
        iter
    }

    /// How many keys are less than this one, which need not be there.
    pub fn rank<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let (mut link, mut before) = (&self.root, 0);
        while let Some(node) = link {
            link = match key.cmp(node.key().borrow()) {
                Ordering::Less => &node.left,
                Ordering::Equal => return before + size(&node.left),
                Ordering::Greater => {
                    before += 1 + size(&node.left);
                    &node.right
                }
            };
        }
        before
    }

    /// Gives a key a value; the entry that it had, if it had one.
    pub fn insert(&mut self, key: K, value: V) -> Option<Arc<(K, V)>> {
        insert(&mut self.root, Arc::new((key, value)))
    }

    /// Takes a key out; the entry that it had.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<Arc<(K, V)>>
    where
        K: Borrow<Q>,
    {
        // Nothing on the way is copied for a key that is not there.
        self.contains_key(key)
            .then(|| remove(&mut self.root, key))
            .flatten()
    }

    /// Keeps what it says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let kept: Vec<_> = Entries::of(&self.root)
            .filter(|entry| keep(&entry.0, &entry.1))
            .cloned()
            .collect();
        if kept.len() < self.len() {
            self.root = balanced(kept.len(), &mut kept.into_iter());
        }
    }
}

impl<K: Ord, V: PartialEq> Map<K, V> {
    /// Gives a key a value, or takes it out; true if that is something else than before. What is
    /// the same is left as it is, so that no comparison looks at it.
    pub fn set(&mut self, key: K, value: Option<V>) -> bool {
        if self.get(&key) == value.as_ref() {
            return false;
        }
        match value {
            Some(value) => drop(self.insert(key, value)),
            None => drop(self.remove(&key)),
        }
        true
    }
}

impl<K: Ord + Clone, V: Clone> Map<K, V> {
    /// The value of a key, to be changed in place; it is copied if another version has it too.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None;
        }
        let mut link = &mut self.root;
        while let Some(node) = link {
            let node = Arc::make_mut(node);
            link = match key.cmp(node.entry.0.borrow()) {
                Ordering::Less => &mut node.left,
                Ordering::Greater => &mut node.right,
                Ordering::Equal => return Some(&mut Arc::make_mut(&mut node.entry).1),
            };
        }
        None
    }

    /// Changes every value in place.
    pub fn for_each_mut(&mut self, mut change: impl FnMut(&K, &mut V)) {
        fn each<K: Clone, V: Clone>(link: &mut Link<K, V>, change: &mut impl FnMut(&K, &mut V)) {
            let Some(node) = link else { return };
            let node = Arc::make_mut(node);
            each(&mut node.left, change);
            let (key, value) = Arc::make_mut(&mut node.entry);
            change(key, value);
            each(&mut node.right, change);
        }
        each(&mut self.root, &mut change);
    }

    /// The value of a key, which is given the default one first if it has none.
    pub fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        if !self.contains_key(&key) {
            self.insert(key.clone(), V::default());
        }
        match self.get_mut(&key) {
            Some(value) => value,
            None => unreachable!("it has just been put there"),
        }
    }
}

impl<K, V> Node<K, V> {
    fn key(&self) -> &K {
        &self.entry.0
    }

    fn count(&mut self) {
        self.size = 1 + size(&self.left) + size(&self.right);
    }
}

impl<K, V> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        Node {
            entry: self.entry.clone(),
            left: self.left.clone(),
            right: self.right.clone(),
            size: self.size,
        }
    }
}

fn size<K, V>(link: &Link<K, V>) -> usize {
    link.as_ref().map_or(0, |node| node.size)
}

fn insert<K: Ord, V>(link: &mut Link<K, V>, entry: Arc<(K, V)>) -> Option<Arc<(K, V)>> {
    let Some(node) = link else {
        *link = Some(Arc::new(Node {
            entry,
            left: None,
            right: None,
            size: 1,
        }));
        return None;
    };
    let node = Arc::make_mut(node);
    let before = match entry.0.cmp(&node.entry.0) {
        Ordering::Less => insert(&mut node.left, entry),
        Ordering::Greater => insert(&mut node.right, entry),
        Ordering::Equal => return Some(std::mem::replace(&mut node.entry, entry)),
    };
    if before.is_none() {
        balance(link);
    }
    before
}

fn remove<K: Ord + Borrow<Q>, V, Q: Ord + ?Sized>(
    link: &mut Link<K, V>,
    key: &Q,
) -> Option<Arc<(K, V)>> {
    let node = Arc::make_mut(link.as_mut()?);
    let removed = match key.cmp(node.entry.0.borrow()) {
        Ordering::Less => remove(&mut node.left, key),
        Ordering::Greater => remove(&mut node.right, key),
        Ordering::Equal => {
            let removed = node.entry.clone();
            match (node.left.take(), node.right.take()) {
                (only, None) | (None, only) => {
                    *link = only;
                    return Some(removed);
                }
                (left, mut right) => {
                    if let Some(entry) = remove_first(&mut right) {
                        node.entry = entry;
                    }
                    node.left = left;
                    node.right = right;
                }
            }
            Some(removed)
        }
    };
    balance(link);
    removed
}

fn remove_first<K, V>(link: &mut Link<K, V>) -> Option<Arc<(K, V)>> {
    let node = Arc::make_mut(link.as_mut()?);
    if node.left.is_some() {
        let first = remove_first(&mut node.left);
        balance(link);
        return first;
    }
    let first = node.entry.clone();
    *link = node.right.take();
    Some(first)
}

/// Counts a node anew, and turns it if one side has become too heavy.
fn balance<K, V>(link: &mut Link<K, V>) {
    let Some(node) = link else { return };
    let node = Arc::make_mut(node);
    node.count();
    let (left, right) = (size(&node.left), size(&node.right));
    if left + right <= 1 {
        return;
    }
    if right > 3 * left {
        let turned = node.right.as_ref();
        if turned.is_some_and(|r| size(&r.left) >= 2 * size(&r.right)) {
            turn_right(&mut node.right);
        }
        turn_left(link);
    } else if left > 3 * right {
        let turned = node.left.as_ref();
        if turned.is_some_and(|l| size(&l.right) >= 2 * size(&l.left)) {
            turn_left(&mut node.left);
        }
        turn_right(link);
    }
}

/// The right child becomes the root.
fn turn_left<K, V>(link: &mut Link<K, V>) {
    let Some(mut root) = link.take() else { return };
    let node = Arc::make_mut(&mut root);
    let Some(mut child) = node.right.take() else {
        *link = Some(root);
        return;
    };
    let up = Arc::make_mut(&mut child);
    node.right = up.left.take();
    node.count();
    up.left = Some(root);
    up.count();
    *link = Some(child);
}

/// The left child becomes the root.
fn turn_right<K, V>(link: &mut Link<K, V>) {
    let Some(mut root) = link.take() else { return };
    let node = Arc::make_mut(&mut root);
    let Some(mut child) = node.left.take() else {
        *link = Some(root);
        return;
    };
    let up = Arc::make_mut(&mut child);
    node.left = up.right.take();
    node.count();
    up.right = Some(root);
    up.count();
    *link = Some(child);
}

/// A tree of the next entries, which are in order.
fn balanced<K, V>(
    count: usize,
    entries: &mut impl Iterator<Item = Arc<(K, V)>>,
) -> Option<Arc<Node<K, V>>> {
    if count == 0 {
        return None;
    }
    let before = count / 2;
    let left = balanced(before, entries);
    let entry = entries.next()?;
    let right = balanced(count - before - 1, entries);
    Some(Arc::new(Node {
        entry,
        left,
        right,
        size: count,
    }))
}

/// What of one version has not been compared yet, the first on top.
struct Rest<'a, K, V>(Vec<Part<'a, K, V>>);

enum Part<'a, K, V> {
    Tree(&'a Arc<Node<K, V>>),
    Entry(&'a Arc<(K, V)>),
}

impl<'a, K, V> Rest<'a, K, V> {
    fn of(root: &'a Link<K, V>) -> Self {
        Rest(root.iter().map(Part::Tree).collect())
    }

    /// The tree on top, if there is one: nothing and single entries are no trees.
    fn tree(&self) -> Option<&'a Arc<Node<K, V>>> {
        match self.0.last() {
            Some(Part::Tree(node)) => Some(node),
            _ => None,
        }
    }

    fn entry(&self) -> Option<&'a Arc<(K, V)>> {
        match self.0.last() {
            Some(Part::Entry(entry)) => Some(entry),
            _ => None,
        }
    }

    /// Puts the parts of the tree on top in its place.
    fn open(&mut self) {
        if let Some(Part::Tree(node)) = self.0.pop() {
            self.0.extend(node.right.iter().map(Part::Tree));
            self.0.push(Part::Entry(&node.entry));
            self.0.extend(node.left.iter().map(Part::Tree));
        }
    }
}

/// Goes through two versions side by side and past every tree that both have. The larger of two
/// trees is opened first: so a tree that is deeper in one version than in the other is met too.
struct Comparison<'a, K, V> {
    before: Rest<'a, K, V>,
    after: Rest<'a, K, V>,
}

impl<'a, K: Ord, V: PartialEq> Iterator for Comparison<'a, K, V> {
    type Item = Change<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match (self.before.tree(), self.after.tree()) {
                (Some(a), Some(b)) if Arc::ptr_eq(a, b) => {
                    self.before.0.pop();
                    self.after.0.pop();
                    continue;
                }
                (Some(a), Some(b)) => {
                    if a.size >= b.size {
                        self.before.open();
                    }
                    if b.size >= a.size {
                        self.after.open();
                    }
                    continue;
                }
                (Some(_), None) => {
                    self.before.open();
                    continue;
                }
                (None, Some(_)) => {
                    self.after.open();
                    continue;
                }
                (None, None) => {}
            }
            let (before, after) = (self.before.entry(), self.after.entry());
            let order = match (before, after) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) if Arc::ptr_eq(a, b) => Ordering::Equal,
                (Some(a), Some(b)) => a.0.cmp(&b.0),
            };
            let before = before.filter(|_| order != Ordering::Greater);
            let after = after.filter(|_| order != Ordering::Less);
            if before.is_some() {
                self.before.0.pop();
            }
            if after.is_some() {
                self.after.0.pop();
            }
            let is_same = match (before, after) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a.1 == b.1,
                _ => false,
            };
            if let (Some(any), false) = (before.or(after), is_same) {
                return Some(Change {
                    key: &any.0,
                    before: before.map(|entry| &entry.1),
                    after: after.map(|entry| &entry.1),
                });
            }
        }
    }
}

/// Keys and values in order of the keys.
pub struct Iter<'a, K, V> {
    /// Nodes whose own entry and right side are still to come.
    path: Vec<&'a Node<K, V>>,
    left: usize,
}

impl<'a, K, V> Iter<'a, K, V> {
    fn descend(&mut self, mut link: &'a Link<K, V>) {
        while let Some(node) = link {
            self.path.push(node);
            link = &node.left;
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.path.pop()?;
        self.left = self.left.saturating_sub(1);
        self.descend(&node.right);
        Some((&node.entry.0, &node.entry.1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Iter {
            path: self.path.clone(),
            left: self.left,
        }
    }
}

/// Whole entries in order.
struct Entries<'a, K, V>(Rest<'a, K, V>);

impl<'a, K, V> Entries<'a, K, V> {
    fn of(root: &'a Link<K, V>) -> Self {
        Entries(Rest::of(root))
    }
}

impl<'a, K, V> Iterator for Entries<'a, K, V> {
    type Item = &'a Arc<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.0.tree().is_some() {
            self.0.open();
        }
        match self.0.0.pop()? {
            Part::Entry(entry) => Some(entry),
            Part::Tree(_) => None,
        }
    }
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Map {
            root: self.root.clone(),
        }
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Map::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && changes(self, other).next().is_none()
    }
}

impl<K: Ord, V: Eq> Eq for Map<K, V> {}

impl<K: Ord + Borrow<Q>, V, Q: Ord + ?Sized> Index<&Q> for Map<K, V> {
    type Output = V;

    /// # Panics
    /// The key is not there.
    fn index(&self, key: &Q) -> &V {
        match self.get(key) {
            Some(value) => value,
            None => panic!("no entry found for key"),
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().map(Arc::new).collect();
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            // Of several entries of a key the last one holds; the sort is stable.
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.reverse();
            entries.dedup_by(|a, b| a.0 == b.0);
            entries.reverse();
        }
        Map {
            root: balanced(entries.len(), &mut entries.into_iter()),
        }
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Map<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Ord, V> Extend<(K, V)> for Map<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<'a, K, V> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Serialize, V: Serialize> Serialize for Map<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Map<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = std::collections::BTreeMap::<K, V>::deserialize(deserializer)?;
        Ok(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    thread_local! {
        static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    /// A key that counts how often it is looked at.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Key(u32);

    impl PartialOrd for Key {
        fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl Ord for Key {
        fn cmp(&self, other: &Key) -> Ordering {
            LOOKED_AT.set(LOOKED_AT.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    /// A value that counts how often it is looked at.
    #[derive(Clone, Debug)]
    struct Value(u32);

    impl PartialEq for Value {
        fn eq(&self, other: &Value) -> bool {
            LOOKED_AT.set(LOOKED_AT.get() + 1);
            self.0 == other.0
        }
    }

    fn check<K, V>(link: &Link<K, V>) -> usize {
        let Some(node) = link else { return 0 };
        let (left, right) = (check(&node.left), check(&node.right));
        assert_eq!(node.size, 1 + left + right);
        assert!(left + right <= 1 || (left <= 3 * right && right <= 3 * left));
        node.size
    }

    #[test]
    fn comparing_two_versions_looks_at_what_changed_between_them_and_little_else() {
        let large: Map<Key, Value> = (0..100_000).map(|n| (Key(2 * n), Value(n))).collect();
        for changed in [1usize, 10, 100] {
            let mut next = large.clone();
            for n in 0..changed as u32 {
                let spread = n.wrapping_mul(2_654_435_761) % 100_000;
                next.insert(Key(2 * spread + 1), Value(0));
                next.remove(&Key(2 * (spread / 2)));
            }
            LOOKED_AT.set(0);
            let differ = different(&large, &next).count();
            let looked_at = LOOKED_AT.get();
            assert!(differ > changed && differ <= 2 * changed, "{differ}");
            // 17 levels, two ways into the tree.
            assert!(looked_at <= 200 * changed, "{changed}: {looked_at}");
        }
        LOOKED_AT.set(0);
        let same = large.clone();
        assert!(large == same && large.is_same(&same));
        assert_eq!(LOOKED_AT.get(), 0);
    }

    proptest! {
        /// Whatever is done to it: it is what a plain map is, no other version changes with it,
        /// and what differs between two versions is what differs between the plain ones.
        #[test]
        fn it_is_an_ordered_map_and_its_versions_are_apart(
            steps in proptest::collection::vec((0u8..6, 0u16..60, 0u8..3), 0..150),
        ) {
            let (mut map, mut plain) = (Map::new(), BTreeMap::new());
            let mut versions = vec![(map.clone(), plain.clone())];
            for (what, key, value) in steps {
                match what {
                    0 | 1 => {
                        let was = map.insert(key, value).map(|entry| entry.1);
                        prop_assert_eq!(was, plain.insert(key, value));
                    }
                    2 => {
                        let was = map.remove(&key).map(|entry| entry.1);
                        prop_assert_eq!(was, plain.remove(&key));
                    }
                    3 => {
                        if let Some(there) = map.get_mut(&key) {
                            *there = value;
                        }
                        plain.entry(key).and_modify(|there| *there = value);
                    }
                    4 if value == 0 => {
                        map.retain(|k, _| k % 7 != key % 7);
                        plain.retain(|k, _| k % 7 != key % 7);
                    }
                    _ => versions.push((map.clone(), plain.clone())),
                }
                check(&map.root);
                prop_assert_eq!(map.get(&key), plain.get(&key));
                let from: Vec<_> = map.starting_at(&key).collect();
                prop_assert_eq!(from, plain.range(key..).collect::<Vec<_>>());
                prop_assert_eq!(map.rank(&key), plain.range(..key).count());
            }
            for (then, then_plain) in &versions {
                prop_assert!(then.iter().eq(then_plain.iter()));
                let differ: Vec<u16> = different(then, &map).copied().collect();
                let keys: std::collections::BTreeSet<u16> =
                    then_plain.keys().chain(plain.keys()).copied().collect();
                let expected: Vec<u16> = keys
                    .into_iter()
                    .filter(|key| then_plain.get(key) != plain.get(key))
                    .collect();
                prop_assert_eq!(&differ, &expected);
                prop_assert_eq!(*then == map, expected.is_empty());
            }
            let rebuilt: Map<u16, u8> = plain.iter().rev().map(|(k, v)| (*k, *v)).collect();
            check(&rebuilt.root);
            prop_assert!(rebuilt == map);
            prop_assert_eq!(map.len(), plain.len());
        }
    }
}
