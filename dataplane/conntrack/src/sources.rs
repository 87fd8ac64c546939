//! How many half-open connections each source address has, so that none takes the places of all.
//!
//! Addresses are not kept: each is counted in two rows of counters, at a place that a keyed hash
//! says, and the lower of its two counts is taken (count-min sketch, Cormode and Muthukrishnan,
//! J. Algorithms 2005). So a source's count is never too low; it is too high only for one that
//! shares both counters with others, which nobody outside can arrange.

use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use net::exact::HashKey;
use os::Part;

use crate::tuple::Tuple;

/// Both rows.
pub(crate) struct Sources {
    counters: Part<AtomicU32>,
    hash: HashKey,
}

/// Where a source is counted.
#[derive(Clone, Copy)]
pub(crate) struct Source([u32; 2]);

impl Sources {
    /// Counters for a table of that capacity.
    pub(crate) fn counters(capacity: u32) -> usize {
        2 * capacity.next_power_of_two().clamp(1 << 10, 1 << 16) as usize
    }

    pub(crate) fn over(counters: Part<AtomicU32>, hash: HashKey) -> Self {
        Sources { counters, hash }
    }

    /// The source of a connection with that original tuple: its address in the zone; of IPv6 the
    /// first 64 bits, since hosts choose the others themselves (RFC 4291 2.5.1).
    pub(crate) fn of(&self, zone: u16, original: &Tuple) -> Source {
        let (family, bits) = match original.src {
            IpAddr::V4(address) => (4, u64::from(address.to_bits())),
            IpAddr::V6(address) => (6, (address.to_bits() >> 64) as u64),
        };
        let hash = self
            .hash
            .hash_words(&[family << 32 | u64::from(zone), bits, 0]);
        let row = (self.counters.len() / 2).max(1) as u32;
        Source([hash as u32 % row, row + (hash >> 32) as u32 % row])
    }

    /// Counts one more; false, and nothing counted, if there are `share` already. 0: no limit.
    pub(crate) fn enter(&self, source: Source, share: u32) -> bool {
        let before = self.each(source, |counter| counter.fetch_add(1, Relaxed));
        let fits = share == 0 || before < share;
        if !fits {
            self.leave(source);
        }
        fits
    }

    /// Counts one less.
    pub(crate) fn leave(&self, source: Source) {
        self.each(source, |counter| counter.fetch_sub(1, Relaxed));
    }

    /// The lowest of what `act` returns.
    fn each(&self, source: Source, act: impl Fn(&AtomicU32) -> u32) -> u32 {
        let counters = source
            .0
            .iter()
            .filter_map(|at| self.counters.get(*at as usize));
        counters.map(act).min().unwrap_or(0)
    }
}
