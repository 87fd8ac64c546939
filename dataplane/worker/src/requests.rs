//! What workers ask of the one who writes the tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use crossbeam_queue::ArrayQueue;
use tables::{Learned, Rule};

/// Requests that may wait.
const CAPACITY: usize = 4096;

/// A wish of a packet's that only the writer of the tables can fulfil.
#[derive(Clone, Debug)]
pub enum Request {
    /// Add this flow (`learn`).
    Learn(Arc<Learned>),
    /// A connection ends: make its flow's timeouts no longer than this (`fin_timeout`).
    Shorten {
        /// The flow.
        rule: Arc<Rule>,
        /// Seconds; 0: leave alone.
        idle: u16,
        /// Seconds; 0: leave alone.
        hard: u16,
    },
}

/// Bounded queue from all workers to the writer. Who finds it full asks again with a later packet.
pub struct RequestQueue {
    queue: ArrayQueue<Request>,
    dropped: AtomicU64,
    waker: ArcSwapOption<Box<dyn Fn() + Send + Sync>>,
}

impl Default for RequestQueue {
    fn default() -> Self {
        RequestQueue {
            queue: ArrayQueue::new(CAPACITY),
            dropped: AtomicU64::new(0),
            waker: ArcSwapOption::empty(),
        }
    }
}

impl RequestQueue {
    /// What to call after a request was queued; must neither block nor take long.
    pub fn on_push(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.waker.store(Some(Arc::new(Box::new(wake))));
    }

    /// The oldest request.
    pub fn pop(&self) -> Option<Request> {
        self.queue.pop()
    }

    /// Requests that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Queues a request; false (and counted) if the queue is full.
    pub fn push(&self, request: Request) -> bool {
        let queued = self.queue.push(request).is_ok();
        if !queued {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(wake) = &*self.waker.load() {
            wake();
        }
        queued
    }
}

impl std::fmt::Debug for RequestQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestQueue")
            .field("len", &self.queue.len())
            .field("dropped", &self.dropped())
            .finish()
    }
}
