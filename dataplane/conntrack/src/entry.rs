//! The arena of connections: fixed, index-addressed, free of pointers, made of atomics only, so
//! that any worker may read it without a lock and a later process could map it.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use zerocopy::{FromZeros, KnownLayout};

use crate::tuple::Packed;

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// As the packet that created it.
    Original,
    /// The answers.
    Reply,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }
}

/// Names a connection. It may be kept as long as one likes: when the connection is gone, the
/// generation no longer fits, and the table says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnRef {
    /// Place in the arena.
    pub(crate) index: u32,
    /// Odd.
    pub(crate) generation: u32,
}

/// Bits of the status half of [`Entry::head`].
pub(crate) mod status {
    /// A packet of the reply direction was seen.
    pub const SEEN_REPLY: u32 = 1;
    /// The source is translated in the original direction.
    pub const SNAT: u32 = 2;
    /// The destination is.
    pub const DNAT: u32 = 4;
    /// It is no longer half open: both directions were seen, for TCP all of the handshake.
    pub const OPEN: u32 = 8;
    /// TCP, see `crate::tcp::State`: bits 8..24.
    pub const TCP_SHIFT: u32 = 8;
    pub const TCP_MASK: u32 = 0xffff << TCP_SHIFT;
    /// Counts changes of mark and label: bits 24..32.
    pub const REVISION_SHIFT: u32 = 24;
}

/// One connection: 192 bytes, three cache lines. Line 1 is what a lookup in the original direction
/// reads, line 2 what one in the reply direction reads besides, line 3 what packets change.
#[derive(FromZeros, KnownLayout)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    /// Generation (high half; odd while the connection lives) and status bits (low half), in one
    /// word so that no change of status can hit the entry's next user.
    head: AtomicU64,
    original: [AtomicU64; 5],
    /// Mark of the connection.
    pub(crate) mark: AtomicU32,
    /// When it was created, in ticks.
    pub(crate) created: AtomicU32,
    spare: [u8; 8],

    reply: [AtomicU64; 5],
    /// Label, high and low half.
    label: [AtomicU64; 2],
    more_spare: [u8; 8],

    /// When it expires unless a packet comes, in ticks.
    pub(crate) deadline: AtomicU32,
    pad: [u8; 4],
    /// TCP sequence spaces of the originator and the responder.
    pub(crate) peers: [Peer; 2],
    /// Packets and bytes of the original direction, then of the reply direction.
    pub(crate) counters: [AtomicU64; 4],
}

const _: () = assert!(size_of::<Entry>() == 192);

/// How far one side of a TCP connection has sent (see `crate::tcp`).
#[derive(FromZeros, KnownLayout)]
#[repr(C)]
pub(crate) struct Peer {
    /// Highest sequence number sent, plus one.
    pub(crate) end: AtomicU32,
    /// Highest one it may send.
    pub(crate) limit: AtomicU32,
    /// Largest window it has offered, scaled.
    pub(crate) window: AtomicU32,
}

/// What a new connection starts with.
pub(crate) struct NewEntry {
    pub(crate) original: Packed,
    pub(crate) reply: Packed,
    pub(crate) status: u32,
    pub(crate) mark: u32,
    pub(crate) label: u128,
    pub(crate) created: u32,
    pub(crate) deadline: u32,
    /// `end`, `limit` and `window` of originator and responder.
    pub(crate) peers: [[u32; 3]; 2],
}

impl Entry {
    /// Generation and status.
    pub(crate) fn head(&self) -> (u32, u32) {
        let head = self.head.load(Acquire);
        ((head >> 32) as u32, head as u32)
    }

    /// The status, if the generation is still this one.
    pub(crate) fn status(&self, generation: u32) -> Option<u32> {
        let (current, status) = self.head();
        (current == generation).then_some(status)
    }

    /// Changes the status from what it was to what it becomes. The old status, or none if the
    /// connection is gone.
    pub(crate) fn change_status(
        &self,
        generation: u32,
        change: impl Fn(u32) -> u32,
    ) -> Option<u32> {
        let mut head = self.head.load(Acquire);
        loop {
            let (current, status) = ((head >> 32) as u32, head as u32);
            if current != generation {
                return None;
            }
            let new = change(status);
            if new == status {
                return Some(status);
            }
            let new = u64::from(generation) << 32 | u64::from(new);
            match self.head.compare_exchange_weak(head, new, Release, Acquire) {
                Ok(_) => return Some(status),
                Err(other) => head = other,
            }
        }
    }

    /// True if this is the live connection `generation` and its tuple in that direction is `key`.
    pub(crate) fn is(&self, generation: u32, direction: Direction, key: &Packed) -> bool {
        let words = match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        };
        let same = words
            .iter()
            .zip(&key.0)
            .all(|(word, key)| word.load(Relaxed) == *key);
        same && self.still(generation)
    }

    /// Both tuples, read as one.
    pub(crate) fn tuples(&self, generation: u32) -> Option<(Packed, Packed)> {
        let read = |words: &[AtomicU64; 5]| Packed(words.each_ref().map(|word| word.load(Relaxed)));
        let (original, reply) = (read(&self.original), read(&self.reply));
        self.still(generation).then_some((original, reply))
    }

    /// Words of the original tuple, as they are.
    pub(crate) fn original_words(&self) -> [u64; 5] {
        self.original.each_ref().map(|word| word.load(Relaxed))
    }

    /// The label. Its halves are written one after the other; a change that happens meanwhile
    /// shows in the revision.
    pub(crate) fn label(&self) -> u128 {
        let [high, low] = self.label.each_ref().map(|half| half.load(Relaxed));
        u128::from(high) << 64 | u128::from(low)
    }

    pub(crate) fn set_label(&self, label: u128) {
        let [high, low] = &self.label;
        high.store((label >> 64) as u64, Relaxed);
        low.store(label as u64, Relaxed);
    }

    /// After reading fields: true if they all belong to the connection of that generation.
    pub(crate) fn still(&self, generation: u32) -> bool {
        fence(Acquire);
        (self.head.load(Relaxed) >> 32) as u32 == generation
    }

    /// Makes a free entry a connection; returns its generation. Only for the one who took the
    /// entry from the free list.
    pub(crate) fn publish(&self, new: &NewEntry) -> u32 {
        let generation = ((self.head.load(Relaxed) >> 32) as u32) | 1;
        // A reader of the former user that sees any of the stores below also sees, after its own
        // fence, the generation that `retire` left.
        fence(Release);
        let store = |words: &[AtomicU64; 5], key: &Packed| {
            for (word, value) in words.iter().zip(key.0) {
                word.store(value, Relaxed);
            }
        };
        store(&self.original, &new.original);
        store(&self.reply, &new.reply);
        self.mark.store(new.mark, Relaxed);
        self.set_label(new.label);
        self.created.store(new.created, Relaxed);
        self.deadline.store(new.deadline, Relaxed);
        for (peer, [end, limit, window]) in self.peers.iter().zip(new.peers) {
            peer.end.store(end, Relaxed);
            peer.limit.store(limit, Relaxed);
            peer.window.store(window, Relaxed);
        }
        for counter in &self.counters {
            counter.store(0, Relaxed);
        }
        self.head
            .store(u64::from(generation) << 32 | u64::from(new.status), Release);
        generation
    }

    /// Ends a connection; its last status. Only with the locks of both its tuples held.
    pub(crate) fn retire(&self, generation: u32) -> Option<u32> {
        let next = u64::from(generation.wrapping_add(1)) << 32;
        let mut head = self.head.load(Acquire);
        while (head >> 32) as u32 == generation {
            match self
                .head
                .compare_exchange_weak(head, next, Release, Acquire)
            {
                Ok(_) => return Some(head as u32),
                Err(other) => head = other,
            }
        }
        None
    }
}
