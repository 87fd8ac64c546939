//! What workers do with their time.

use serde::{Deserialize, Serialize};

/// A worker. What is of the last minute is of the time since the start while that is shorter.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Core {
    /// Processor.
    pub cpu: u32,
    /// Ports it serves.
    pub ports: Vec<String>,
    /// Packets received.
    pub packets: u64,
    /// Rounds with packets.
    pub bursts: u64,
    /// Polls without packets.
    pub idle_polls: u64,
    /// Nanoseconds asleep because nothing came.
    pub asleep_ns: u64,
    /// Share of the last second at work, percent.
    pub busy_percent: f64,
    /// Share of the last minute at work, percent.
    #[serde(default)]
    pub busy_percent_minute: f64,
    /// Packets received in the last second.
    #[serde(default)]
    pub packets_per_second: f64,
    /// Packets per second over the last minute.
    #[serde(default)]
    pub packets_per_second_minute: f64,
    /// Packets in a burst, on average over the last minute.
    #[serde(default)]
    pub batch: f64,
    /// Bursts by size, of the rounds that were timed in the last minute.
    #[serde(default)]
    pub batches: Vec<Batches>,
    /// Cycles of the time stamp counter in a second.
    #[serde(default)]
    pub cycles_per_second: u64,
    /// Packets whose round was timed in the last minute: about one round in 128 is.
    #[serde(default)]
    pub sampled_packets: u64,
    /// Where the time of these rounds went.
    #[serde(default)]
    pub stages: Vec<StageTime>,
    /// From the port's reception to the call that sends, of sampled packets of the last minute.
    #[serde(default)]
    pub residence: Residence,
    /// The rx queues that it polls.
    #[serde(default)]
    pub queues: Vec<RxQueue>,
}

/// Bursts of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Batches {
    /// Most packets in one; the fewest are one more than the size before.
    pub up_to: u32,
    /// How many there were.
    pub count: u64,
}

/// A stage's part of a packet's time.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct StageTime {
    /// `rx`, `classify`, `lookup`, `walk`, `execute`, `tx` or `control`.
    pub stage: String,
    /// Cycles of the time stamp counter per packet, of all packets, whether they were in it or not.
    pub cycles: f64,
    /// The same in nanoseconds.
    pub ns: f64,
}

/// How long packets were in the dataplane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Residence {
    /// Packets that were timed; without any, the rest is zero.
    pub count: u64,
    /// Half of them were not longer, nanoseconds.
    pub p50_ns: u64,
    /// 99 of 100 were not.
    pub p99_ns: u64,
    /// 999 of 1,000 were not.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// An rx queue of a port.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct RxQueue {
    /// The port.
    pub port: String,
    /// Number of the queue, from 0.
    pub queue: u16,
    /// Packets that came in by it.
    pub packets: u64,
    /// Its part of the worker's busy time over the last minute, percent.
    pub share_percent: f64,
    /// The worker spreads its packets over all workers.
    pub spread: bool,
}

/// A worker's flow cache.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cache {
    /// Processor of the worker.
    pub cpu: u32,
    /// Entries in use.
    pub entries: u64,
    /// Entries at most.
    pub capacity: u64,
    /// Packets that found a valid entry.
    pub hits: u64,
    /// Packets that found none.
    pub misses: u64,
    /// Packets that found one made under older tables.
    pub stale: u64,
    /// Packets whose key cannot be cached.
    pub uncacheable: u64,
    /// Different programs that the entries share.
    #[serde(default)]
    pub programs: u64,
    /// Bytes it takes.
    #[serde(default)]
    pub bytes: u64,
    /// Flows put in; of those that would push out others, only one in several is.
    #[serde(default)]
    pub inserts: u64,
    /// Flows that made room for others.
    #[serde(default)]
    pub evictions: u64,
}
