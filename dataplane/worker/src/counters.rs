//! Counters of one worker: written by that worker alone, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

use net::parse::Malformed;

use crate::DropReason;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal,)*) => {
        /// What a worker counts besides drops.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Counter { $($(#[doc = $doc])+ $variant),* }

        impl Counter {
            /// Every counter.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant),*];

            /// Name in the CLI and, with the usual ending, in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name),* }
            }

            /// One sentence on what it counts.
            pub const fn explain(self) -> &'static str {
                match self { $(Counter::$variant => concat!($($doc),+)),* }
            }
        }
    };
}

counters! {
    /// Packets taken from ports.
    RxPackets "rx_packets",
    /// Bytes taken from ports.
    RxBytes "rx_bytes",
    /// Packets given to ports.
    TxPackets "tx_packets",
    /// Bytes given to ports.
    TxBytes "tx_bytes",
    /// Packets whose program came from the flow cache.
    CacheHits "cache_hits",
    /// Packets that walked the tables because the cache did not know them.
    CacheMisses "cache_misses",
    /// Packets that walked the tables because their program did not hold: a table, a connection's
    /// state or an address's port had changed, or their length or time to live was another.
    CacheStale "cache_stale",
    /// Packets that walked the tables because their headers do not fit the cache's key, or the
    /// tables asked for a field outside it.
    CacheBypass "cache_bypass",
    /// Programs put into the cache.
    CacheInserts "cache_inserts",
    /// Cached programs that made room for others.
    CacheEvictions "cache_evictions",
    /// Flows in the cache now.
    CacheEntries "cache_entries",
    /// Different programs in the cache now.
    CachePrograms "cache_programs",
    /// Most flows that the cache can hold.
    CacheCapacity "cache_capacity",
    /// Bytes that the cache takes up now.
    CacheBytes "cache_bytes",
    /// Packets whose headers could not all be parsed (they may still be forwarded by what could).
    ParseErrors "parse_errors",
    /// Packets sent to the controller.
    PacketIns "packet_ins",
    /// Packets the controller sent.
    PacketOuts "packet_outs",
    /// Flows that packets asked for (`learn`).
    LearnRequests "learn_requests",
    /// Packets that found too many such requests waiting; the next one asks again.
    LearnOverflows "learn_overflows",
    /// Packets that a `sample` action saw; no collector gets them.
    Sampled "sampled",
    /// Packets that this node's tunnel endpoint answered or consumed itself.
    EndpointPackets "endpoint_packets",
    /// Packets unwrapped from a tunnel.
    TunnelDecap "tunnel_decap",
    /// Packets wrapped into a tunnel.
    TunnelEncap "tunnel_encap",
    /// Later fragments that were tracked like the first one of their datagram.
    FragmentsTracked "fragments_tracked",
    /// Fragments that waited for the first one of their datagram.
    FragmentsHeld "fragments_held",
    /// Fragments that wait now.
    FragmentsWaiting "fragments_waiting",
    /// Datagrams of which some fragments have been tracked and others are still to come.
    FragmentedDatagrams "fragmented_datagrams",
    /// Rounds in which a port had packets.
    BusyPolls "busy_polls",
    /// Rounds in which no port had packets.
    IdlePolls "idle_polls",
    /// Nanoseconds spent in rounds that had packets.
    BusyNanos "busy_nanos",
    /// Nanoseconds asleep.
    SleepNanos "sleep_nanos",
}

impl Counter {
    /// Number of counters.
    pub const COUNT: usize = Self::ALL.len();
}

/// The counters of one worker. Reads are never torn, but different counters may be moments apart.
#[derive(Debug)]
pub struct Counters {
    values: [AtomicU64; Counter::COUNT],
    drops: [AtomicU64; DropReason::COUNT],
    malformed: [AtomicU64; Malformed::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            values: [const { AtomicU64::new(0) }; Counter::COUNT],
            drops: [const { AtomicU64::new(0) }; DropReason::COUNT],
            malformed: [const { AtomicU64::new(0) }; Malformed::ALL.len()],
        }
    }
}

/// All counters at a moment; adds up over workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountersSnapshot {
    values: [u64; Counter::COUNT],
    drops: [u64; DropReason::COUNT],
    malformed: [u64; Malformed::ALL.len()],
}

// Enum discriminants index arrays of exactly that enum's length.
#[allow(clippy::indexing_slicing)]
impl Counters {
    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::Relaxed)
    }

    /// Packets dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }

    /// Every counter at this moment.
    pub fn snapshot(&self) -> CountersSnapshot {
        CountersSnapshot {
            values: std::array::from_fn(|at| self.values[at].load(Ordering::Relaxed)),
            drops: std::array::from_fn(|at| self.drops[at].load(Ordering::Relaxed)),
            malformed: std::array::from_fn(|at| self.malformed[at].load(Ordering::Relaxed)),
        }
    }

    /// Adds to a counter. Only the owning worker calls this: a load and a store, no locked cycle.
    pub fn add(&self, counter: Counter, n: u64) {
        add(&self.values[counter as usize], n);
    }

    /// Sets a counter that is a level.
    pub fn set(&self, counter: Counter, n: u64) {
        self.values[counter as usize].store(n, Ordering::Relaxed);
    }

    /// Counts a packet whose headers could not all be parsed.
    pub fn malformed(&self, reason: Malformed) {
        add(&self.values[Counter::ParseErrors as usize], 1);
        add(&self.malformed[reason as usize], 1);
    }

    /// Counts dropped packets.
    pub fn drop(&self, reason: DropReason, n: u64) {
        add(&self.drops[reason as usize], n);
    }
}

#[allow(clippy::indexing_slicing)] // as above
impl CountersSnapshot {
    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// Packets dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Packets with this fault in their headers.
    pub fn malformed(&self, reason: Malformed) -> u64 {
        self.malformed[reason as usize]
    }

    /// Packets dropped for any reason.
    pub fn all_dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &CountersSnapshot) {
        for (sum, n) in self.values.iter_mut().zip(&other.values) {
            *sum += n;
        }
        for (sum, n) in self.drops.iter_mut().zip(&other.drops) {
            *sum += n;
        }
        for (sum, n) in self.malformed.iter_mut().zip(&other.malformed) {
            *sum += n;
        }
    }
}

impl Default for CountersSnapshot {
    fn default() -> Self {
        CountersSnapshot {
            values: [0; Counter::COUNT],
            drops: [0; DropReason::COUNT],
            malformed: [0; Malformed::ALL.len()],
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_of_two_workers_add_up() {
        let (a, b) = (Counters::default(), Counters::default());
        a.add(Counter::RxPackets, 2);
        b.add(Counter::RxPackets, 3);
        b.drop(DropReason::Meter, 1);
        for (at, reason) in Malformed::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            a.malformed(reason);
        }
        let mut sum = a.snapshot();
        sum.merge(&b.snapshot());
        assert_eq!(sum.get(Counter::RxPackets), 5);
        assert_eq!(sum.dropped(DropReason::Meter), 1);
        assert_eq!(sum.all_dropped(), 1);
        assert_eq!(sum.malformed(Malformed::Tcp), 1);
        let faults = Malformed::ALL.len() as u64;
        assert_eq!(sum.get(Counter::ParseErrors), faults);
    }
}
