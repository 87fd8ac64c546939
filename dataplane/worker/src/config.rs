//! What the operator can set for the workers.

use std::time::Duration;

/// How a worker waits for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Spin all the time: lowest latency, one whole core.
    Busy,
    /// Sleep when nothing comes, longer and longer up to this cap; the first packet ends it.
    Adaptive {
        /// Longest sleep.
        cap: Duration,
    },
}

impl Default for Poll {
    fn default() -> Self {
        Poll::Adaptive {
            cap: Duration::from_micros(500),
        }
    }
}

/// Settings of all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Cores, one worker each; empty: one worker, not pinned.
    pub cpus: Vec<usize>,
    /// How workers wait.
    pub poll: Poll,
    /// Flows in each worker's cache, rounded up to a power of two; 0 turns the cache off.
    pub cache_entries: usize,
    /// Packet buffers that may wait in queues of ports, of each worker: ordinary ones, and large ones
    /// (more than [`Config::FRAME`] bytes in a buffer).
    pub queue_buffers: (usize, usize),
    /// Packets that may wait for the controller.
    pub packet_in_queue: usize,
    /// Seed of the select groups' hash. The same on every node, so that all nodes choose the same
    /// bucket for the same connection.
    pub select_seed: u64,
    /// Most MAC addresses that OFPP_NORMAL remembers.
    pub fdb_entries: usize,
    /// Nanoseconds without a packet after which it forgets one.
    pub fdb_idle: u64,
    /// Seed of the table's hash; none: a secret one, so that nobody can choose addresses that
    /// collide.
    pub fdb_seed: Option<[u64; 2]>,
    /// How much is kept of fragments that are tracked.
    pub fragments: FragmentLimits,
    /// When rx queues are moved to other workers; none: never.
    pub balance: Option<Balance>,
}

/// When rx queues are moved to other workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Nanoseconds between two looks.
    pub interval: u64,
    /// Some worker must have been at work for more than so many percent of that time.
    pub load: u8,
    /// The variance of the workers' loads must fall by so many percent.
    pub improvement: u8,
}

impl Default for Balance {
    fn default() -> Self {
        // As Open vSwitch has them.
        Balance {
            interval: 60_000_000_000,
            load: 95,
            improvement: 25,
        }
    }
}

/// How much is kept of fragments on their way through the connection tracker, in all workers
/// together. One sender gets at most a thirty-second part. What comes beyond that makes room by
/// what is oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Datagrams of which some fragments have come; about 600 bytes each.
    pub datagrams: usize,
    /// Fragments that wait for the first one of their datagram. They keep their packet buffers.
    pub packets: usize,
    /// Bytes of these.
    pub bytes: usize,
    /// Nanoseconds from the first fragment that comes, until what has not come is given up.
    pub timeout: u64,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        FragmentLimits {
            datagrams: 8192,
            packets: 2048,
            bytes: 4 << 20,
            // The least that RFC 791 3.2 asks for, and what Open vSwitch takes.
            timeout: 15_000_000_000,
        }
    }
}

impl Config {
    /// Bytes of a packet that an ordinary buffer holds.
    pub const FRAME: usize = ports::Pools::FRAME_ROOM;
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cpus: Vec::new(),
            poll: Poll::default(),
            cache_entries: 1 << 20,
            queue_buffers: (1 << 14, 1 << 8),
            packet_in_queue: 1024,
            select_seed: 0x536c_7569_6365_4c42,
            // As Open vSwitch has them.
            fdb_entries: 8192,
            fdb_idle: 300_000_000_000,
            fdb_seed: None,
            fragments: FragmentLimits::default(),
            balance: None,
        }
    }
}
