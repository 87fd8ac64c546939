//! What all workers and the control plane share.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use arc_swap::ArcSwap;
use conntrack::ConnTable;
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use ports::Burst;
use tables::Published;

use crate::egress::Shaped;
use crate::fragments::Fragments;
use crate::tunnel::neighbors::Neighbors;
use crate::{Config, Counters, Fdb, PacketInQueue, PortMap, PortSlot, RequestQueue, Telemetry};

/// Bursts that may wait for a worker; each is handed over in one step.
const INBOX: usize = 512;

/// What all workers and the control plane share.
pub struct Shared {
    /// Settings.
    pub config: Config,
    /// Tables, groups and meters.
    pub tables: Arc<Published>,
    /// Connections.
    pub conns: Arc<ConnTable>,
    /// Packets for the controller.
    pub packet_ins: Arc<PacketInQueue>,
    /// What workers ask of the writer of the tables.
    pub requests: Arc<RequestQueue>,
    /// Send packets whose time to live runs out to the controller, instead of dropping them.
    pub invalid_ttl_to_controller: AtomicBool,
    /// What OFPP_NORMAL has learnt.
    pub fdb: Fdb,
    pub(crate) neighbors: Neighbors,
    /// What is tracked in fragments.
    pub(crate) fragments: Fragments,
    pub(crate) inboxes: Vec<ArrayQueue<Handover>>,
    /// By which packets are spread over workers.
    pub(crate) spread_key: [u64; 2],
    parked: Mutex<Vec<(PortSlot, Box<Shaped>)>>,
    ports: ArcSwap<PortMap>,
    ports_generation: AtomicU64,
    counters: Vec<CachePadded<Counters>>,
    telemetry: Vec<CachePadded<Telemetry>>,
    threads: Vec<OnceLock<Thread>>,
    asleep: Vec<CachePadded<AtomicBool>>,
    start: Instant,
}

/// Packets for another worker.
pub(crate) struct Handover {
    pub kind: Kind,
    pub slot: PortSlot,
    pub packets: Burst,
}

/// What another worker is to do with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Send them out of a port.
    Out,
    /// Treat them as received from a port.
    In,
}

impl Shared {
    /// For as many workers as the configuration names cores, at least one.
    pub fn new(config: Config, tables: Arc<Published>, conns: Arc<ConnTable>) -> Arc<Self> {
        let workers = config.cpus.len().max(1);
        tables.set_workers(workers);
        Arc::new(Shared {
            packet_ins: Arc::new(PacketInQueue::new(config.packet_in_queue)),
            fdb: Fdb::new(
                config.fdb_entries,
                config.fdb_idle,
                config.fdb_seed.unwrap_or_else(|| [secret(), secret()]),
            ),
            requests: Arc::default(),
            fragments: Fragments::new(&config.fragments),
            config,
            tables,
            conns,
            invalid_ttl_to_controller: AtomicBool::new(false),
            neighbors: Neighbors::new(),
            spread_key: [secret(), secret()],
            inboxes: (0..workers).map(|_| ArrayQueue::new(INBOX)).collect(),
            parked: Mutex::default(),
            ports: ArcSwap::default(),
            ports_generation: AtomicU64::new(0),
            counters: (0..workers).map(|_| CachePadded::default()).collect(),
            telemetry: (0..workers).map(|_| CachePadded::default()).collect(),
            threads: (0..workers).map(|_| OnceLock::new()).collect(),
            asleep: (0..workers).map(|_| CachePadded::default()).collect(),
            start: Instant::now(),
        })
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.counters.len()
    }

    /// The clock of workers, connections and meters: nanoseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The counters of a worker; of the first one if there are not so many.
    #[allow(clippy::indexing_slicing)] // there is at least one
    pub fn counters(&self, worker: usize) -> &Counters {
        self.counters.get(worker).unwrap_or(&self.counters[0])
    }

    /// What a worker measures; the first one if there are not so many.
    #[allow(clippy::indexing_slicing)] // there is at least one
    pub fn telemetry(&self, worker: usize) -> &Telemetry {
        self.telemetry.get(worker).unwrap_or(&self.telemetry[0])
    }

    /// The ports.
    pub fn ports(&self) -> Arc<PortMap> {
        self.ports.load_full()
    }

    /// Generation of the newest port map; one load.
    #[inline]
    pub(crate) fn ports_generation(&self) -> u64 {
        self.ports_generation.load(Ordering::Acquire)
    }

    pub(crate) fn publish_ports(&self, ports: PortMap) {
        let generation = ports.generation();
        self.ports.store(Arc::new(ports));
        self.ports_generation.store(generation, Ordering::Release);
    }

    /// Keeps the queues of a port while it is on its way from worker to worker.
    pub(crate) fn park(&self, slot: PortSlot, queues: Box<Shaped>) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.push((slot, queues));
    }

    /// Gives them to the worker that has the port now.
    pub(crate) fn unpark(&self, slot: PortSlot) -> Option<Box<Shaped>> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let at = parked.iter().position(|(of, _)| *of == slot)?;
        Some(parked.swap_remove(at).1)
    }

    /// Registers the calling thread as a worker's.
    pub(crate) fn register(&self, worker: usize) {
        if let Some(place) = self.threads.get(worker) {
            // A worker registers once; a second one would have the same index by mistake.
            let _ = place.set(std::thread::current());
        }
    }

    /// A worker says that it is about to sleep, or has woken and takes over what was published
    /// before anything else.
    pub(crate) fn set_asleep(&self, worker: usize, asleep: bool) {
        if let Some(place) = self.asleep.get(worker) {
            place.store(asleep, Ordering::SeqCst);
        }
        // Before the loads of generations that follow; pairs with the fence in `is_asleep`.
        fence(Ordering::SeqCst);
    }

    /// True if a worker will take over all that was published so far before its next packet.
    pub(crate) fn is_asleep(&self, worker: usize) -> bool {
        // Behind the stores of generations that went before.
        fence(Ordering::SeqCst);
        let place = self.asleep.get(worker);
        place.is_some_and(|place| place.load(Ordering::SeqCst))
    }

    /// True if a worker that is about to sleep has been given packets meanwhile. Whoever gives it some
    /// later sees that it sleeps: both sides write before they read.
    pub(crate) fn has_handovers(&self, worker: usize) -> bool {
        let inbox = self.inboxes.get(worker);
        inbox.is_some_and(|inbox| !inbox.is_empty())
    }

    /// Ends a worker's sleep.
    pub(crate) fn wake(&self, worker: usize) {
        if let Some(thread) = self.threads.get(worker).and_then(OnceLock::get) {
            thread.unpark();
        }
    }
}

/// A number that nobody outside of this process knows: the standard library's hash maps have such
/// keys.
fn secret() -> u64 {
    RandomState::new().hash_one(0u8)
}
