//! Which worker polls which rx queue of a port, and what that costs it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

/// The rx queues of a port, and who may send.
#[derive(Debug, Default)]
pub struct Placement {
    /// By number; a port without a device has none.
    pub rx: Vec<CachePadded<RxQueue>>,
    /// The device is one part: whoever polls it sends to it too.
    pub is_whole: bool,
    /// Every worker has a tx queue of its own.
    pub tx_each: bool,
    /// Whoever polls it spreads its packets over all workers, by flow.
    pub spread: bool,
}

/// An rx queue of a port.
#[derive(Debug, Default)]
pub struct RxQueue {
    worker: AtomicUsize,
    packets: AtomicU64,
    ticks: AtomicU64,
}

impl Placement {
    /// So many rx queues on these workers.
    pub(crate) fn new(workers: impl IntoIterator<Item = usize>) -> Self {
        let queue = |worker: usize| {
            CachePadded::new(RxQueue {
                worker: AtomicUsize::new(worker),
                ..RxQueue::default()
            })
        };
        Placement {
            rx: workers.into_iter().map(queue).collect(),
            ..Placement::default()
        }
    }
}

impl RxQueue {
    /// The worker that polls it, or is about to.
    pub fn worker(&self) -> usize {
        self.worker.load(Relaxed)
    }

    /// Packets that came in by it.
    pub fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }

    /// Ticks that its packets took, as long as they were with the worker that polls it, in the rounds
    /// that were timed; see [`crate::telemetry`].
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    pub(crate) fn set_worker(&self, worker: usize) {
        self.worker.store(worker, Relaxed);
    }

    /// Counts packets; only the worker that polls it calls this.
    #[inline]
    pub(crate) fn count(&self, packets: usize) {
        add(&self.packets, packets as u64);
    }

    /// Counts ticks, likewise.
    pub(crate) fn charge(&self, ticks: u64) {
        add(&self.ticks, ticks);
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}
