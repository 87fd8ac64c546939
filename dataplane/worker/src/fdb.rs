//! The forwarding database: which port leads to a MAC address, as OFPP_NORMAL has learnt it.
//!
//! Shared by all workers. Walks look addresses up without a lock; those that learn something new
//! take one, and never wait for it. Packets of cached flows do neither: their program
//! remembers the version of the buckets that it looked at ([`Seen`]), and tells the source's entry
//! once a second that it is alive. Every change to a bucket advances its version, so that an
//! address that moves, comes or goes ends the programs that were made before.

mod book;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError, TryLockError};

use net::exact::HashKey;
use net::{MacAddr, PortNo};

use book::Book;

/// Entries of a bucket.
const WAYS: usize = 8;
/// An entry in use is told so at most this often, in nanoseconds.
const REFRESH: u64 = 1_000_000_000;
/// Bit of an entry's key that says that it is in use.
const USED: u64 = 1 << 63;

/// The table.
pub struct Fdb {
    buckets: Box<[Bucket]>,
    /// When each entry was last the source of a packet, nanoseconds; by place.
    used: Box<[AtomicU64]>,
    hash_key: HashKey,
    /// Nanoseconds without a packet after which an entry goes.
    idle: u64,
    /// Most entries.
    capacity: usize,
    book: Mutex<Book>,
    counts: Counts,
}

#[derive(Default)]
#[repr(align(64))]
struct Bucket {
    /// Odd while it is being written.
    version: AtomicU32,
    /// [`USED`], VLAN 12 bits, MAC 48 bits; 0 is free.
    keys: [AtomicU64; WAYS],
    ports: [AtomicU32; WAYS],
}

/// A bucket as a walk saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    bucket: u32,
    version: u32,
    /// Place of the entry that each packet keeps alive; [`NOBODY`] if none.
    refresh: u32,
}

/// No entry.
const NOBODY: u32 = u32::MAX;

/// A learnt address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FdbEntry {
    /// VLAN; 0 is untagged.
    pub vlan: u16,
    /// The address.
    pub mac: MacAddr,
    /// Port that leads there.
    pub port: PortNo,
    /// Seconds since a packet came from it.
    pub age: u64,
}

#[derive(Default)]
struct Counts {
    learned: AtomicU64,
    moved: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbCounts {
    /// Entries now.
    pub entries: usize,
    /// Most entries.
    pub capacity: usize,
    /// New addresses.
    pub learned: u64,
    /// Addresses that came from another port than before.
    pub moved: u64,
    /// Entries that went for want of packets.
    pub expired: u64,
    /// Entries that went to make room for others.
    pub evicted: u64,
}

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The port and the entry's place, if the address is known.
    pub port: Option<PortNo>,
    place: u32,
    /// To be asked again; none if the table was being changed, and nothing may be remembered.
    pub seen: Option<Seen>,
}

impl Fdb {
    /// For so many addresses (at least 8), forgotten after so many nanoseconds without a packet.
    pub fn new(capacity: usize, idle: u64, seed: [u64; 2]) -> Self {
        let capacity = capacity.clamp(8, 1 << 20);
        // A quarter full when all entries are in use, so that buckets hardly ever overflow.
        let buckets = (capacity / 2).next_power_of_two();
        Fdb {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            used: (0..buckets * WAYS).map(|_| AtomicU64::new(0)).collect(),
            hash_key: HashKey::new(seed),
            idle,
            capacity,
            book: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// Where an address is.
    pub(crate) fn find(&self, vlan: u16, mac: MacAddr) -> Found {
        let key = key(vlan, mac);
        let at = self.bucket_of(key);
        let unstable = Found {
            port: None,
            place: NOBODY,
            seen: None,
        };
        let Some(bucket) = self.buckets.get(at) else {
            return unstable;
        };
        // Writers are done in nanoseconds, unless their thread was stopped in the middle.
        for _ in 0..64 {
            let version = bucket.version.load(Ordering::Acquire);
            let way = bucket.way(key);
            let port = way.and_then(|way| bucket.ports.get(way));
            let port = port.map(|port| PortNo(port.load(Ordering::Relaxed)));
            // The loads above must not move behind the second look at the version.
            fence(Ordering::Acquire);
            if version % 2 == 0 && bucket.version.load(Ordering::Relaxed) == version {
                return Found {
                    port,
                    place: way.map_or(NOBODY, |way| (at * WAYS + way) as u32),
                    seen: Some(Seen {
                        bucket: at as u32,
                        version,
                        refresh: NOBODY,
                    }),
                };
            }
            std::hint::spin_loop();
        }
        unstable
    }

    /// Learns that an address is behind a port. None: another thread is at it, and the next packet
    /// is to try again.
    pub(crate) fn learn(&self, vlan: u16, mac: MacAddr, port: PortNo, now: u64) -> Option<Seen> {
        let found = self.find(vlan, mac);
        if found.port != Some(port) {
            let mut book = match self.book.try_lock() {
                Ok(book) => book,
                Err(TryLockError::Poisoned(book)) => book.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            };
            self.put(&mut book, key(vlan, mac), port, now);
            drop(book);
            let found = self.find(vlan, mac);
            return found.seen.map(|seen| Seen {
                refresh: found.place,
                ..seen
            });
        }
        self.refresh(found.place, now);
        found.seen.map(|seen| Seen {
            refresh: found.place,
            ..seen
        })
    }

    /// True while all buckets are as they were; the sources' entries are told that they are alive.
    #[inline]
    pub(crate) fn hold(&self, seen: &[Seen], now: u64) -> bool {
        seen.iter().all(|seen| {
            let same = self
                .buckets
                .get(seen.bucket as usize)
                .is_some_and(|bucket| bucket.version.load(Ordering::Relaxed) == seen.version);
            if same && seen.refresh != NOBODY {
                self.refresh(seen.refresh, now);
            }
            same
        })
    }

    /// Forgets addresses that were no packet's source for too long, in a part of the table: the
    /// `part`th of `parts`.
    pub(crate) fn expire(&self, part: usize, parts: usize, now: u64) {
        let each = self.buckets.len().div_ceil(parts.max(1));
        let range = part * each..((part + 1) * each).min(self.buckets.len());
        for at in range {
            let Some(bucket) = self.buckets.get(at) else {
                return;
            };
            for (way, key) in bucket.keys.iter().enumerate() {
                let place = (at * WAYS + way) as u32;
                let is_silent = || {
                    key.load(Ordering::Relaxed) != 0
                        && now.saturating_sub(self.used_at(place)) > self.idle
                };
                if !is_silent() {
                    continue;
                }
                let Ok(mut book) = self.book.try_lock() else {
                    return;
                };
                // Before the lock was had the place may have become another's.
                if is_silent() {
                    self.take(&mut book, place);
                    count(&self.counts.expired);
                }
            }
        }
    }

    /// Forgets all addresses, or those behind one port; says how many.
    pub fn flush(&self, port: Option<PortNo>) -> usize {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let places = match port {
            Some(port) => book.places_of(port),
            None => book.all_places(),
        };
        for place in &places {
            self.take(&mut book, *place);
        }
        places.len()
    }

    /// All addresses, by VLAN and address.
    pub fn list(&self, now: u64) -> Vec<FdbEntry> {
        // The lock keeps entries where they are.
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = |place: u32| {
            let (bucket, way) = self.at(place)?;
            let key = bucket.keys.get(way)?.load(Ordering::Relaxed);
            Some(FdbEntry {
                vlan: (key >> 48) as u16 & 0xfff,
                mac: MacAddr::from_u64(key & 0xffff_ffff_ffff),
                port: PortNo(bucket.ports.get(way)?.load(Ordering::Relaxed)),
                age: now.saturating_sub(self.used_at(place)) / 1_000_000_000,
            })
        };
        let mut all: Vec<FdbEntry> = book.all_places().into_iter().filter_map(entry).collect();
        drop(book);
        all.sort();
        all
    }

    /// What happened since the start.
    pub fn counts(&self) -> FdbCounts {
        let entries = self
            .book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FdbCounts {
            entries,
            capacity: self.capacity,
            learned: get(&self.counts.learned),
            moved: get(&self.counts.moved),
            expired: get(&self.counts.expired),
            evicted: get(&self.counts.evicted),
        }
    }

    /// Puts an address behind a port.
    fn put(&self, book: &mut Book, key: u64, port: PortNo, now: u64) {
        let at = self.bucket_of(key);
        let Some(bucket) = self.buckets.get(at) else {
            return;
        };
        if let Some(way) = bucket.way(key) {
            let place = (at * WAYS + way) as u32;
            book.remove(place);
            book.add(place, port);
            bucket.write(|| {
                if let Some(old) = bucket.ports.get(way) {
                    old.store(port.0, Ordering::Relaxed);
                }
            });
            self.touch(place, now);
            return count(&self.counts.moved);
        }
        if book.len() >= self.capacity
            && let Some(place) = book.victim(|place| self.used_at(place))
        {
            self.take(book, place);
            count(&self.counts.evicted);
        }
        let way = match bucket.way(0) {
            Some(way) => way,
            None => {
                let Some(way) = self.oldest_of_heaviest(book, at) else {
                    return;
                };
                self.take(book, (at * WAYS + way) as u32);
                count(&self.counts.evicted);
                way
            }
        };
        let place = (at * WAYS + way) as u32;
        self.touch(place, now);
        book.add(place, port);
        bucket.write(|| {
            if let (Some(k), Some(p)) = (bucket.keys.get(way), bucket.ports.get(way)) {
                p.store(port.0, Ordering::Relaxed);
                k.store(key, Ordering::Relaxed);
            }
        });
        count(&self.counts.learned);
    }

    /// Of a full bucket: of the port with the most addresses the one that was silent longest.
    fn oldest_of_heaviest(&self, book: &Book, at: usize) -> Option<usize> {
        (0..WAYS).max_by_key(|way| {
            let place = (at * WAYS + way) as u32;
            (book.load_at(place), u64::MAX - self.used_at(place))
        })
    }

    /// Frees a place.
    fn take(&self, book: &mut Book, place: u32) {
        if book.remove(place)
            && let Some((bucket, way)) = self.at(place)
        {
            bucket.write(|| {
                if let Some(key) = bucket.keys.get(way) {
                    key.store(0, Ordering::Relaxed);
                }
            });
        }
    }

    /// Says that an entry is in use, unless it knows.
    #[inline]
    fn refresh(&self, place: u32, now: u64) {
        if let Some(used) = self.used.get(place as usize)
            && now.saturating_sub(used.load(Ordering::Relaxed)) >= REFRESH
        {
            used.store(now, Ordering::Relaxed);
        }
    }

    fn touch(&self, place: u32, now: u64) {
        if let Some(used) = self.used.get(place as usize) {
            used.store(now, Ordering::Relaxed);
        }
    }

    fn used_at(&self, place: u32) -> u64 {
        self.used
            .get(place as usize)
            .map_or(0, |used| used.load(Ordering::Relaxed))
    }

    fn at(&self, place: u32) -> Option<(&Bucket, usize)> {
        let bucket = self.buckets.get(place as usize / WAYS)?;
        Some((bucket, place as usize % WAYS))
    }

    fn bucket_of(&self, key: u64) -> usize {
        // A power of two.
        self.hash_key.hash_words(&[key]) as usize & (self.buckets.len() - 1)
    }
}

impl Bucket {
    /// The way that holds a key; a free one for 0.
    fn way(&self, key: u64) -> Option<usize> {
        let mut keys = self.keys.iter();
        keys.position(|k| k.load(Ordering::Relaxed) == key)
    }

    /// Runs a change; only the holder of the book does.
    fn write(&self, change: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        // Whoever sees a part of the change sees the odd version too.
        fence(Ordering::Release);
        change();
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }
}

fn key(vlan: u16, mac: MacAddr) -> u64 {
    USED | u64::from(vlan & 0xfff) << 48 | mac.to_u64()
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const IDLE: u64 = 300_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    #[derive(Clone, Debug)]
    enum Step {
        Learn(u16, u64, u32),
        Find(u16, u64),
        Later(u64),
        Expire,
        Flush(Option<u32>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (vlan, mac, port) = (0..2u16, 0..40u64, 1..4u32);
        prop_oneof![
            8 => (vlan.clone(), mac.clone(), port.clone()).prop_map(|(v, m, p)| Step::Learn(v, m, p)),
            8 => (vlan, mac).prop_map(|(v, m)| Step::Find(v, m)),
            2 => (1..200u64).prop_map(Step::Later),
            2 => Just(Step::Expire),
            1 => proptest::option::of(port).prop_map(Step::Flush),
        ]
    }

    proptest! {
        /// The twin is a map with a time for each address.
        #[test]
        fn it_is_a_map_whose_entries_grow_old(steps in proptest::collection::vec(step(), 1..300)) {
            let fdb = Fdb::new(1000, IDLE, [1, 2]);
            let mut twin: BTreeMap<(u16, u64), (u32, u64)> = BTreeMap::new();
            let mut seen: BTreeMap<(u16, u64), Seen> = BTreeMap::new();
            let mut now = SECOND;
            for step in steps {
                match step {
                    Step::Learn(vlan, mac, port) => {
                        let before = twin.get(&(vlan, mac)).map(|(port, _)| *port);
                        let found = fdb.learn(vlan, MacAddr::from_u64(mac), PortNo(port), now);
                        // Whoever had looked it up before is told if it moved.
                        if let Some(old) = seen.insert((vlan, mac), found.unwrap())
                            && before != Some(port)
                        {
                            prop_assert!(!fdb.hold(&[old], now));
                        }
                        twin.insert((vlan, mac), (port, now));
                    }
                    Step::Find(vlan, mac) => {
                        let found = fdb.find(vlan, MacAddr::from_u64(mac)).port;
                        let expected = twin.get(&(vlan, mac)).map(|(port, _)| PortNo(*port));
                        prop_assert_eq!(found, expected);
                    }
                    Step::Later(seconds) => now += seconds * SECOND,
                    Step::Expire => {
                        (0..8).for_each(|part| fdb.expire(part, 8, now));
                        twin.retain(|_, (_, used)| now - *used <= IDLE);
                    }
                    Step::Flush(port) => {
                        let of = |(p, _): &(u32, u64)| port.is_none_or(|port| port == *p);
                        let gone = twin.values().filter(|entry| of(entry)).count();
                        prop_assert_eq!(fdb.flush(port.map(PortNo)), gone);
                        twin.retain(|_, entry| !of(entry));
                    }
                }
                let listed: Vec<_> = fdb.list(now).iter().map(|e| (e.vlan, e.mac.to_u64(), e.port.0)).collect();
                let expected: Vec<_> = twin.iter().map(|((v, m), (p, _))| (*v, *m, *p)).collect();
                prop_assert_eq!(listed, expected);
                prop_assert_eq!(fdb.counts().entries, twin.len());
            }
        }

        /// However many addresses come, there are never more than fit, and who has the most pays.
        #[test]
        fn a_full_table_takes_from_those_who_have_the_most(
            quiet in 1..30usize,
            floods in proptest::collection::vec((2..5u32, 0..5000u64), 200..600),
        ) {
            let fdb = Fdb::new(128, IDLE, [1, 2]);
            for n in 0..quiet as u64 {
                fdb.learn(0, MacAddr::from_u64(n), PortNo(1), SECOND).unwrap();
            }
            for (port, n) in floods {
                let mac = 1_000_000 * u64::from(port) + n;
                fdb.learn(0, MacAddr::from_u64(mac), PortNo(port), SECOND).unwrap();
                prop_assert!(fdb.counts().entries <= 128);
            }
            let all = fdb.list(SECOND);
            prop_assert_eq!(all.iter().filter(|e| e.port == PortNo(1)).count(), quiet);
        }
    }

    #[test]
    fn readers_never_see_an_address_behind_a_port_it_was_not_behind() {
        let fdb = Fdb::new(64, IDLE, [1, 2]);
        // Address n is only ever behind ports n * 10 and n * 10 + 1.
        std::thread::scope(|scope| {
            for thread in 0..2u64 {
                let fdb = &fdb;
                scope.spawn(move || {
                    for n in 0..20_000u64 {
                        let mac = (n * 7 + thread) % 100;
                        let port = PortNo((mac * 10 + n % 2) as u32);
                        fdb.learn(0, MacAddr::from_u64(mac), port, SECOND + n);
                        let other = n % 100;
                        if let Some(port) = fdb.find(0, MacAddr::from_u64(other)).port {
                            assert_eq!(u64::from(port.0) / 10, other);
                        }
                    }
                });
            }
        });
        assert!(fdb.counts().entries <= 64);
        let counts = fdb.counts();
        assert_eq!(counts.learned - counts.evicted, counts.entries as u64);
    }
}
