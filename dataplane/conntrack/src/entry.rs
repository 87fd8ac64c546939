//! A connection in the arena: fixed, index-addressed, free of pointers, made of atomics only, so
//! that any worker may read it without a lock and another process can map it.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::sync::{AtomicU32, AtomicU64, fence, shared};
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
/// generation no longer fits, and the table says so. The zero one names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, zerocopy::FromZeros)]
#[repr(C)]
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
    /// Which of the timeouts applies, see `crate::config::Lifetimes`: bits 4..8.
    pub const LIFETIME_SHIFT: u32 = 4;
    pub const LIFETIME_MASK: u32 = 15 << LIFETIME_SHIFT;
    /// TCP, see `crate::tcp::State`: bits 8..24.
    pub const TCP_SHIFT: u32 = 8;
    pub const TCP_MASK: u32 = 0xffff << TCP_SHIFT;
    /// Counts changes of mark and label: bits 24..32.
    pub const REVISION_SHIFT: u32 = 24;

    /// Numbers of timeouts: those of `crate::dump::TcpState`.
    pub const TIME_WAIT: u32 = 4;
    pub const CLOSED: u32 = 5;

    /// Of TCP, and both sides have closed, or one has reset it. It does not count in its zone any
    /// more; a packet that would open it again begins another one.
    pub fn is_closed(word: u32) -> bool {
        let lifetime = (word & LIFETIME_MASK) >> LIFETIME_SHIFT;
        lifetime == TIME_WAIT || lifetime == CLOSED
    }
}

shared! {
    /// One connection: 192 bytes, three cache lines.
    ///
    /// Line 0 changes with the state of the connection, and once in a tick; lines 1 and 2 with
    /// every packet of the original and of the reply direction. So a packet touches two lines, and
    /// two workers that carry a direction each have a line each to write to. Only a TCP segment
    /// whose window is checked reads the other direction's line besides.
    #[repr(align(64))]
    pub(crate) struct Entry {
        /// Generation (high half; odd while the connection lives) and status bits (low half), in
        /// one word so that no change of status can hit the entry's next user.
        head: AtomicU64,
        original: [AtomicU64; 5],
        /// When it expires unless a packet comes, in ticks.
        pub(crate) deadline: AtomicU32,
        /// Mark of the connection.
        pub(crate) mark: AtomicU32,
        spare: AtomicU64,

        /// Label, high and low half.
        label: [AtomicU64; 2],
        /// When it was created, in ticks.
        pub(crate) created: AtomicU32,
        /// Next and previous half-open connection of the pool, and whether it is one itself.
        pub(crate) waiting: [AtomicU32; 2],
        pub(crate) is_waiting: AtomicU32,
        sent: Flow,

        /// Addresses of the reply tuple. Its ports are in `received`, the rest is as in the
        /// original.
        reply: [AtomicU64; 4],
        received: Flow,
    }
}

shared! {
    /// What packets of one direction change.
    pub(crate) struct Flow {
        pub(crate) packets: AtomicU64,
        pub(crate) bytes: AtomicU64,
        /// TCP: highest sequence number sent, plus one.
        pub(crate) end: AtomicU32,
        /// TCP: largest window that was offered, scaled.
        pub(crate) window: AtomicU32,
        /// TCP: highest sequence number that the other side may send, by what was acknowledged and
        /// offered.
        pub(crate) grant: AtomicU32,
        /// Ports of the reply tuple; not used in the original direction.
        ports: AtomicU32,
    }
}

impl Flow {
    /// Counts packets. One worker carries a direction at a time; if two do, some may be lost.
    #[inline(always)]
    pub(crate) fn count(&self, packets: u64, bytes: u64) {
        self.packets
            .store(self.packets.load(Relaxed) + packets, Relaxed);
        self.bytes.store(self.bytes.load(Relaxed) + bytes, Relaxed);
    }
}

/// Both directions of a connection as a segment from one of them sees them.
pub(crate) struct Flows<'a> {
    /// Of the segment's sender.
    pub(crate) from: &'a Flow,
    /// Of its receiver.
    pub(crate) to: &'a Flow,
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
    /// `end`, `window` and `grant` of originator and responder.
    pub(crate) sequences: [[u32; 3]; 2],
}

/// Half of the first word of a packed tuple that both directions have in common.
const COMMON: u64 = !0 << 32;

impl Entry {
    /// Generation and status.
    #[inline(always)]
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
    #[inline]
    pub(crate) fn is(&self, generation: u32, direction: Direction, key: &Packed) -> bool {
        let same = match direction {
            Direction::Original => {
                let words = self.original.iter().zip(&key.0);
                words.fold(0, |differ, (word, key)| differ | (word.load(Relaxed) ^ key)) == 0
            }
            Direction::Reply => {
                let [common, ..] = &self.original;
                let [first, addresses @ ..] = key.0;
                let ports = u64::from(self.received.ports.load(Relaxed));
                let differ = ((common.load(Relaxed) & COMMON) | ports) ^ first;
                let words = self.reply.iter().zip(addresses);
                words.fold(differ, |differ, (word, key)| {
                    differ | (word.load(Relaxed) ^ key)
                }) == 0
            }
        };
        same && self.still(generation)
    }

    /// Both tuples, read as one.
    pub(crate) fn tuples(&self, generation: u32) -> Option<(Packed, Packed)> {
        let original = self.original.each_ref().map(|word| word.load(Relaxed));
        let [a, b, c, d] = self.reply.each_ref().map(|word| word.load(Relaxed));
        let [first, ..] = original;
        let ports = u64::from(self.received.ports.load(Relaxed));
        let reply = [(first & COMMON) | ports, a, b, c, d];
        self.still(generation)
            .then_some((Packed(original), Packed(reply)))
    }

    /// What packets of one direction change.
    #[inline(always)]
    pub(crate) fn flow(&self, direction: Direction) -> &Flow {
        match direction {
            Direction::Original => &self.sent,
            Direction::Reply => &self.received,
        }
    }

    /// Both directions, for a segment of one of them.
    #[inline(always)]
    pub(crate) fn flows(&self, direction: Direction) -> Flows<'_> {
        Flows {
            from: self.flow(direction),
            to: self.flow(direction.opposite()),
        }
    }

    /// The protocol of the connection, read without a check of the generation.
    pub(crate) fn protocol(&self) -> u8 {
        let [first, ..] = &self.original;
        (first.load(Relaxed) >> 48) as u8
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
        for (word, value) in self.original.iter().zip(new.original.0) {
            word.store(value, Relaxed);
        }
        let [reply_first, reply_addresses @ ..] = new.reply.0;
        for (word, value) in self.reply.iter().zip(reply_addresses) {
            word.store(value, Relaxed);
        }
        self.received.ports.store(reply_first as u32, Relaxed);
        self.mark.store(new.mark, Relaxed);
        self.set_label(new.label);
        self.created.store(new.created, Relaxed);
        self.deadline.store(new.deadline, Relaxed);
        for (flow, [end, window, grant]) in [&self.sent, &self.received].iter().zip(new.sequences) {
            flow.packets.store(0, Relaxed);
            flow.bytes.store(0, Relaxed);
            flow.end.store(end, Relaxed);
            flow.window.store(window, Relaxed);
            flow.grant.store(grant, Relaxed);
        }
        self.head
            .store(u64::from(generation) << 32 | u64::from(new.status), Release);
        generation
    }

    /// Ends a connection if its status, the last of it, allows. Only with the locks of both its
    /// tuples held.
    pub(crate) fn retire(&self, generation: u32, allows: impl Fn(u32) -> bool) -> bool {
        let next = u64::from(generation.wrapping_add(1)) << 32;
        let mut head = self.head.load(Acquire);
        while (head >> 32) as u32 == generation && allows(head as u32) {
            match self
                .head
                .compare_exchange_weak(head, next, Release, Acquire)
            {
                Ok(_) => return true,
                Err(other) => head = other,
            }
        }
        false
    }
}
