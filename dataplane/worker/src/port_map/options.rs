//! What a port may have besides its device: a VLAN for OFPP_NORMAL, and queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use net::VlanId;

/// Settings of a port that its device knows nothing of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortOptions {
    /// VLAN that OFPP_NORMAL puts untagged packets of the port into, and leaves untagged on the way
    /// out (an access port); none: the port carries all VLANs, tagged.
    pub vlan: Option<VlanId>,
    /// Numbers of its queues, each at most once.
    pub queues: Vec<u32>,
    /// The worker that polls the port spreads its packets over all workers, by flow.
    pub spread: bool,
}

/// A queue of a port. It counts what is sent through it; shaping is not done yet.
#[derive(Debug)]
pub struct Queue {
    /// Number, unique on the port.
    pub id: u32,
    /// When the port got it, nanoseconds of the workers' clock.
    pub created: u64,
    /// By worker, so that they do not share lines.
    sent: Box<[CachePadded<Sent>]>,
}

#[derive(Debug, Default)]
struct Sent {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Queue {
    /// A queue that so many workers send to.
    pub(crate) fn new(id: u32, workers: usize, created: u64) -> Arc<Self> {
        Arc::new(Queue {
            id,
            created,
            sent: (0..workers).map(|_| CachePadded::default()).collect(),
        })
    }

    /// Counts a packet that a worker sends; only that worker calls this.
    #[inline]
    pub(crate) fn count(&self, worker: usize, bytes: u64) {
        let Some(sent) = self.sent.get(worker) else {
            return;
        };
        for (counter, n) in [(&sent.packets, 1), (&sent.bytes, bytes)] {
            let sum = counter.load(Ordering::Relaxed).wrapping_add(n);
            counter.store(sum, Ordering::Relaxed);
        }
    }

    /// Packets and bytes sent so far.
    pub fn sent(&self) -> (u64, u64) {
        let sum = |of: fn(&Sent) -> &AtomicU64| {
            let counters = self.sent.iter().map(|sent| of(sent));
            counters.map(|c| c.load(Ordering::Relaxed)).sum()
        };
        (sum(|s| &s.packets), sum(|s| &s.bytes))
    }
}
