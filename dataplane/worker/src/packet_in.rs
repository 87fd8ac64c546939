//! Packets on their way to the controller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use crossbeam_queue::ArrayQueue;
use net::{FlowKey, PortNo, TableId};
use openflow::msg::Continuation;

/// Why the controller gets the packet (OFPR_*; OpenFlow 1.3.5, A.4.1, and 1.5's finer ones).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // the specification's own names
pub enum PacketInReason {
    NoMatch = 0,
    Action = 1,
    InvalidTtl = 2,
    ActionSet = 3,
    Group = 4,
    PacketOut = 5,
}

/// A packet for the controller.
#[derive(Clone, Debug)]
pub struct PacketIn {
    /// OFPR_*; a number, because the controller action may name its own.
    pub reason: u8,
    /// Table of the flow that sent it.
    pub table: TableId,
    /// Cookie of that flow, all ones without one.
    pub cookie: u64,
    /// Length of the whole frame, in bytes.
    pub total_len: usize,
    /// The frame, at most as many bytes as the action asked for; checksums complete.
    pub data: Vec<u8>,
    /// Port, metadata, registers, tunnel and connection fields at that moment; the header
    /// fields are those of the frame.
    pub key: FlowKey,
    /// The controller connection it is for; 0: every one.
    pub controller_id: u16,
    /// Data of the flow's owner, handed back.
    pub userdata: Arc<[u8]>,
    /// What is left to be done with it, if it waits to be resumed.
    pub rest: Option<Arc<Continuation>>,
}

impl PacketIn {
    /// Port it came in on.
    pub fn in_port(&self) -> PortNo {
        PortNo(self.key.in_port.get())
    }
}

/// Ports are told apart by this many of their numbers' last values.
const LANES: usize = 64;

/// Bounded queue from all workers to the agent. A full queue drops and counts.
///
/// The first half is for whoever comes; the second is kept from ports of which a quarter of the
/// queue waits already, so that one port's flood leaves room for the others' packets.
pub struct PacketInQueue {
    queue: ArrayQueue<PacketIn>,
    waiting: [AtomicU32; LANES],
    dropped: AtomicU64,
    waker: ArcSwapOption<Box<dyn Fn() + Send + Sync>>,
}

impl PacketInQueue {
    /// A queue for so many packets.
    pub fn new(capacity: usize) -> Self {
        PacketInQueue {
            queue: ArrayQueue::new(capacity.max(1)),
            waiting: [const { AtomicU32::new(0) }; LANES],
            dropped: AtomicU64::new(0),
            waker: ArcSwapOption::empty(),
        }
    }

    /// What to call after a packet was queued; must neither block nor take long.
    pub fn on_push(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.waker.store(Some(Arc::new(Box::new(wake))));
    }

    /// The oldest packet.
    pub fn pop(&self) -> Option<PacketIn> {
        let packet = self.queue.pop()?;
        if let Some(waiting) = self.waiting_of(packet.in_port()) {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
        Some(packet)
    }

    fn waiting_of(&self, port: PortNo) -> Option<&AtomicU32> {
        self.waiting.get(port.0 as usize % LANES)
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Packets that were dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// True if one more of a port would find room at this moment; spares the copy when it would
    /// not.
    pub fn has_room(&self, port: PortNo) -> bool {
        let (held, capacity) = (self.queue.len(), self.queue.capacity());
        let of_port = || {
            let waiting = self.waiting_of(port);
            waiting.map_or(0, |waiting| waiting.load(Ordering::Relaxed))
        };
        held < capacity / 2 || (held < capacity && (of_port() as usize) < capacity / 4)
    }

    /// Queues a packet; false (and counted) if there is no room for it.
    pub fn push(&self, packet: PacketIn) -> bool {
        let port = packet.in_port();
        // Counted first: whoever takes it out at once must find it counted.
        let waiting = self.waiting_of(port).filter(|_| self.has_room(port));
        let queued = waiting.is_some_and(|waiting| {
            waiting.fetch_add(1, Ordering::Relaxed);
            let queued = self.queue.push(packet).is_ok();
            if !queued {
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
            queued
        });
        if !queued {
            self.count_drop();
        }
        if let Some(wake) = &*self.waker.load() {
            wake();
        }
        queued
    }

    /// Counts a packet that was not even offered.
    pub fn count_drop(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for PacketInQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketInQueue")
            .field("len", &self.len())
            .field("dropped", &self.dropped())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(port: u32) -> PacketIn {
        PacketIn {
            reason: 1,
            table: TableId(0),
            cookie: 0,
            total_len: 0,
            data: Vec::new(),
            key: FlowKey {
                in_port: port.into(),
                ..FlowKey::default()
            },
            controller_id: 0,
            userdata: Arc::from([]),
            rest: None,
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_still_wakes() {
        let woken = Arc::new(AtomicU64::new(0));
        let queue = PacketInQueue::new(8);
        let seen = woken.clone();
        queue.on_push(move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        for port in 1..=8 {
            assert!(queue.push(packet(port)));
        }
        assert!(!queue.has_room(PortNo(9)) && !queue.push(packet(9)));
        assert_eq!((queue.len(), queue.dropped()), (8, 1));
        assert_eq!(woken.load(Ordering::Relaxed), 9);
        assert!(queue.pop().is_some() && queue.has_room(PortNo(9)));
    }

    #[test]
    fn a_ports_flood_leaves_room_for_the_packets_of_others() {
        let queue = PacketInQueue::new(100);
        let flood = (0..1000).filter(|_| queue.push(packet(1))).count();
        assert_eq!(flood, 50, "half of it");
        assert!((0..25).all(|_| queue.push(packet(2))));
        assert!(!queue.push(packet(2)), "a quarter");
        while queue.pop().is_some() {}
        assert_eq!((0..1000).filter(|_| queue.push(packet(1))).count(), 50);
    }
}
