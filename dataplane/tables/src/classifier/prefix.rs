//! Rules that differ in the prefix of one address: found by one descent.
//!
//! A family is the rules whose masks are alike but for the length of a prefix of one field, where
//! a longer prefix never has a lower priority than a shorter one; all their other bits form a
//! group, found by hash. A group is a tree bitmap (Eatherton, Varghese, Dittia, CCR 2004) with
//! paths compressed: each node decides six bits, and holds the rules whose prefix ends there.

// Counts of bits below a bit that is set are below the number of bits set.
#![allow(clippy::indexing_slicing)]

use std::sync::Arc;

use net::{FlowKey, KEY_WORDS};
use openflow::Field;

use crate::Mask;
use crate::mask::late_bits;
use crate::rule::{MaskedKey, Rule};
use crate::trie::Trie;

/// Bits that a node decides.
const STRIDE: u8 = 6;

/// Fields with prefixes worth a family; those that share a place in the key stand once.
const FIELDS: &[Field] = &[
    Field::Ipv4Dst,
    Field::Ipv4Src,
    Field::Ipv6Dst,
    Field::Ipv6Src,
    Field::Metadata,
    Field::Reg0,
    Field::Reg1,
    Field::Reg2,
    Field::Reg3,
    Field::Reg4,
    Field::Reg5,
    Field::Reg6,
    Field::Reg7,
    Field::Xxreg0,
    Field::Xxreg1,
    Field::TunSrc,
    Field::TunDst,
];

/// What the masks of a family have in common: a field, and the mask but for that field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    field: Field,
    rest: Mask,
}

impl Kind {
    /// The kinds that a mask fits, with the length of its prefix.
    pub fn of(mask: &Mask) -> impl Iterator<Item = (Kind, u8)> {
        FIELDS.iter().filter_map(|field| {
            let len = prefix_len(mask, *field)?;
            let rest = without(mask, *field);
            (len > 0 && has_no_late(&rest)).then_some((
                Kind {
                    field: *field,
                    rest,
                },
                len,
            ))
        })
    }

    /// The length of a mask's prefix, if it is of this kind.
    pub fn len(&self, mask: &Mask) -> Option<u8> {
        let len = prefix_len(mask, self.field)?;
        (without(mask, self.field) == self.rest).then_some(len)
    }
}

fn has_no_late(mask: &Mask) -> bool {
    mask.words().iter().all(|w| w.bits & late_bits(w.at) == 0)
}

fn prefix_len(mask: &Mask, field: Field) -> Option<u8> {
    let slot = field.info().slot;
    let bits = slot.get(&mask.to_key()) << (128 - u32::from(slot.bits));
    (bits.leading_ones() == bits.count_ones()).then_some(bits.leading_ones() as u8)
}

fn without(mask: &Mask, field: Field) -> Mask {
    let mut key = mask.to_key();
    field.info().slot.set(&mut key, 0, u128::MAX);
    Mask::new(&key)
}

/// Rules of one kind.
#[derive(Clone, Debug)]
pub(super) struct Family {
    kind: Kind,
    /// All bits of the field.
    field: Mask,
    /// Lowest and highest priority by the length of the prefix; rules that had them may be gone.
    priorities: Vec<(u16, u16)>,
    groups: Trie<Group>,
    max_priority: u16,
}

#[derive(Clone, Debug)]
struct Group {
    rest: Box<[u64]>,
    root: Arc<Node>,
}

/// A node of a tree bitmap.
#[derive(Clone, Debug, Default)]
struct Node {
    /// The path to it, from the highest bit on.
    path: u128,
    /// Bits of the path, a multiple of [`STRIDE`].
    depth: u8,
    /// Prefixes that end here: the one with `v` in its last `n` bits, `n` < 6, is bit 2^n - 1 + v.
    ends: u64,
    /// Children by the next six bits.
    next: u64,
    rules: Vec<Arc<Rule>>,
    children: Vec<Arc<Node>>,
}

impl Family {
    pub fn new(kind: Kind) -> Self {
        let (mut field, slot) = (FlowKey::default(), kind.field.info().slot);
        slot.set(&mut field, u128::MAX, u128::MAX);
        Family {
            field: Mask::new(&field),
            kind,
            priorities: vec![(u16::MAX, 0); 129],
            groups: Trie::default(),
            max_priority: 0,
        }
    }

    /// The length of a mask's prefix, if it is of this family.
    pub fn len(&self, mask: &Mask) -> Option<u8> {
        self.kind.len(mask)
    }

    /// No rule has a higher priority.
    pub fn max_priority(&self) -> u16 {
        self.max_priority
    }

    /// Accepts rules of these priorities and this prefix length; false if the longest prefix would
    /// not always be the best then.
    pub fn admit(&mut self, len: u8, (min, max): (u16, u16)) -> bool {
        let at = usize::from(len);
        let fits = |(at_len, (low, high)): (usize, &(u16, u16))| match at_len.cmp(&at) {
            std::cmp::Ordering::Less => *high <= min,
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Greater => *low >= max,
        };
        let fits = self.priorities.iter().enumerate().all(fits);
        let (low, high) = &mut self.priorities[at];
        (*low, *high) = ((*low).min(min), (*high).max(max));
        self.max_priority = self.max_priority.max(max);
        fits
    }

    /// The rule of the longest prefix that matches.
    #[inline]
    pub fn lookup(&self, key: &FlowKey, seen: &mut [u64; KEY_WORDS]) -> Option<&Arc<Rule>> {
        let words = key.words();
        let hash = self.kind.rest.hash_seen(words, seen);
        let is_it = |group: &Group| self.kind.rest.agrees(words, &group.rest);
        let group = self.groups.find(hash, is_it)?;
        for w in self.field.words() {
            seen[usize::from(w.at)] |= w.bits;
        }
        let slot = self.kind.field.info().slot;
        let bits = slot.get(key) << (128 - u32::from(slot.bits));
        group.root.longest(bits)
    }

    /// Says which rule a key has from now on: of those with exactly this match, the best.
    pub fn set(&mut self, key: &MaskedKey, rule: Option<Arc<Rule>>) {
        let Some(len) = self.len(key.mask()) else {
            return;
        };
        let value = key.mask().unpack(&key.value);
        let slot = self.kind.field.info().slot;
        let bits = slot.get(&value) << (128 - u32::from(slot.bits));
        let rest = self.kind.rest.pack(&value);
        let hash = self.kind.rest.hash(value.words());
        let is_it = |group: &Group| *group.rest == *rest;
        if let Some(group) = self.groups.find_mut(hash, is_it) {
            set(&mut group.root, bits, len, rule);
            if group.root.is_empty() {
                self.groups.remove(hash, is_it);
            }
        } else if rule.is_some() {
            let mut root = Arc::default();
            set(&mut root, bits, len, rule);
            let rest = rest.to_vec().into();
            self.groups.insert(hash, Group { rest, root }, |_| true);
        }
    }

    /// Bytes, without those of the rules.
    pub fn memory(&self) -> usize {
        let roots = self
            .groups
            .iter()
            .map(|group| size_of_val(&*group.rest) + group.root.memory());
        size_of::<Self>()
            + self.priorities.capacity() * size_of::<(u16, u16)>()
            + self.kind.rest.memory()
            + self.groups.memory()
            + roots.sum::<usize>()
    }
}

impl Node {
    fn at(path: u128, depth: u8) -> Self {
        Node {
            path: path & first_bits(depth),
            depth,
            ..Node::default()
        }
    }

    #[inline]
    fn longest(&self, bits: u128) -> Option<&Arc<Rule>> {
        let (mut node, mut best) = (self, None);
        loop {
            if (bits ^ node.path) & first_bits(node.depth) != 0 {
                break;
            }
            let next = six(bits, node.depth);
            let ends = node.ends & ENDS_ABOVE[next];
            if ends != 0 {
                best = Some((node, 63 - ends.leading_zeros()));
            }
            if node.next >> next & 1 == 0 {
                break;
            }
            node = &node.children[below(node.next, next as u32)];
        }
        best.map(|(node, end)| &node.rules[below(node.ends, end)])
    }

    fn is_empty(&self) -> bool {
        self.ends == 0 && self.next == 0
    }

    fn memory(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>(); // of an Arc
        let children = self.children.iter().map(|child| child.memory());
        COUNTS
            + size_of::<Self>()
            + self.rules.capacity() * size_of::<Arc<Rule>>()
            + self.children.capacity() * size_of::<Arc<Node>>()
            + children.sum::<usize>()
    }
}

/// Changes the rule of a prefix. Nodes are copied where an earlier version holds them too.
fn set(node: &mut Arc<Node>, bits: u128, len: u8, rule: Option<Arc<Rule>>) {
    let depth = len / STRIDE * STRIDE;
    let here = Arc::make_mut(node);
    if here.depth == depth {
        let n = len - depth;
        let end = (1u32 << n) - 1 + (six(bits, depth) as u32 >> (STRIDE - n));
        let at = below(here.ends, end);
        match (here.ends >> end & 1 != 0, rule) {
            (true, Some(rule)) => here.rules[at] = rule,
            (true, None) => drop(here.rules.remove(at)),
            (false, Some(rule)) => insert_exact(&mut here.rules, at, rule),
            (false, None) => return,
        }
        match here.rules.len() as u32 {
            count if count > here.ends.count_ones() => here.ends |= 1 << end,
            count if count < here.ends.count_ones() => here.ends &= !(1 << end),
            _ => {}
        }
        return;
    }
    let next = six(bits, here.depth);
    let at = below(here.next, next as u32);
    if here.next >> next & 1 == 0 {
        if rule.is_some() {
            let mut child = Arc::new(Node::at(bits, depth));
            set(&mut child, bits, len, rule);
            insert_exact(&mut here.children, at, child);
            here.next |= 1 << next;
        }
        return;
    }
    let child = &mut here.children[at];
    let common = (bits ^ child.path).leading_zeros().min(128) as u8;
    let common = common.min(child.depth).min(depth);
    if common < child.depth {
        // The ways part above the child: a node where they do.
        if rule.is_none() {
            return;
        }
        let mut fork = Node::at(bits, common / STRIDE * STRIDE);
        fork.next = 1 << six(child.path, fork.depth);
        insert_exact(&mut fork.children, 0, child.clone());
        *child = Arc::new(fork);
    }
    set(child, bits, len, rule);
    if child.is_empty() {
        here.children.remove(at);
        here.next &= !(1 << next);
    }
}

/// Most nodes have one rule or child, and never get another.
fn insert_exact<T>(list: &mut Vec<T>, at: usize, value: T) {
    list.reserve_exact(1);
    list.insert(at, value);
}

/// The six bits behind the first `depth`; beyond the end they are zero.
#[inline]
fn six(bits: u128, depth: u8) -> usize {
    ((bits << depth) >> (128 - STRIDE)) as usize
}

/// Number of bits set below a bit.
#[inline]
fn below(bits: u64, bit: u32) -> usize {
    (bits & ((1 << bit) - 1)).count_ones() as usize
}

#[inline]
fn first_bits(depth: u8) -> u128 {
    !(u128::MAX.checked_shr(depth.into()).unwrap_or(0))
}

/// For each six bits, the ends of prefixes that begin them.
static ENDS_ABOVE: [u64; 64] = {
    let mut all = [0u64; 64];
    let mut six = 0;
    while six < 64 {
        let mut n = 0;
        while n < STRIDE {
            all[six] |= 1 << ((1usize << n) - 1 + (six >> (STRIDE - n)));
            n += 1;
        }
        six += 1;
    }
    all
};
