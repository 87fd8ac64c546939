//! Fragments on their way through the connection tracker: virtual reassembly.
//!
//! Only the first fragment of a datagram has ports. Here it leaves them for the others, so that
//! all of them belong to one connection; those that come earlier wait. Nothing is put together:
//! each fragment goes on by itself as soon as the first one is known
//! ([ADR 20](../../../docs/adr/0020-virtual-reassembly.md)).
//!
//! One table for all workers, because two fragments of a datagram may come to two of them. Only
//! fragments that are tracked take its locks. All datagrams of one sender stand in one shard, so
//! that a sender can fill no more than that, and of that no more than half.

mod ranges;
mod shard;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_utils::CachePadded;
use net::exact::TunnelKey;
use net::fragment::Piece;
use net::tcp::TcpInfo;
use packet::Packet;

use crate::config::FragmentLimits;
use crate::{Counters, DropReason};
use shard::Shard;

/// Parts of the table, each with its own lock and its share of the limits.
const SHARDS: usize = 16;

/// What the fragments of a datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Datagram {
    sender: Sender,
    dst: IpAddr,
    id: u32,
    proto: u8,
}

/// Who may use a share of the table. Equal addresses of two tenants are told apart by the zone in
/// which they are tracked, and by the tunnel that they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Sender {
    address: IpAddr,
    zone: u16,
    tunnel: u64,
}

impl Datagram {
    /// The datagram of a fragment that is tracked in a zone.
    pub fn of(piece: &Piece, zone: u16, tunnel: u64) -> Self {
        Datagram {
            sender: Sender {
                address: piece.src,
                zone,
                tunnel,
            },
            dst: piece.dst,
            id: piece.id,
            proto: piece.proto,
        }
    }
}

/// What the first fragment says for all of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    /// Protocol, below all extension headers.
    pub proto: u8,
    /// Ports as in a tuple; none if the packet cannot be tracked.
    pub ports: Option<(u16, u16)>,
    /// Its TCP header, and the bytes in front of the segment's first byte.
    pub tcp: Option<(TcpInfo, u32)>,
}

/// What becomes of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It goes on, with what the first one said.
    Follows(First),
    /// The first one has not come yet.
    Waits,
    /// It goes nowhere.
    Lost(DropReason),
}

/// What is to be done besides running its program, when a fragment was tracked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Next {
    /// The program is of no use: the fragment waits.
    Hold(Datagram, Piece),
    /// The fragments that wait for this one go on after it.
    Release(Datagram),
}

/// A packet that waits, with what is known of it beside its bytes.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub packet: Packet,
    pub in_port: u32,
    pub tunnel: Option<TunnelKey>,
    /// Hash of its exact key.
    pub hash: u64,
}

/// All datagrams of which fragments have been tracked, but not yet all.
#[derive(Debug)]
pub(crate) struct Fragments {
    shards: [CachePadded<Mutex<Shard>>; SHARDS],
    hash: RandomState,
    /// Datagrams in all shards; a level, for those who only look.
    datagrams: AtomicU64,
    /// Fragments that wait, likewise.
    waiting: AtomicU64,
}

impl Fragments {
    pub fn new(limits: &FragmentLimits) -> Self {
        Fragments {
            shards: std::array::from_fn(|_| Mutex::new(Shard::new(limits, SHARDS)).into()),
            hash: RandomState::new(),
            datagrams: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }
    }

    /// A fragment is to be tracked at `now` nanoseconds. `first` is what it says if it is the first
    /// one; none if it is, and its headers are not all in it. What else must go is counted.
    pub fn arrive(
        &self,
        datagram: &Datagram,
        piece: &Piece,
        first: Option<First>,
        now: u64,
        counters: &Counters,
    ) -> Arrival {
        self.with(datagram, |shard| {
            shard.arrive(datagram, piece, first, now, counters)
        })
    }

    /// Keeps a fragment until its datagram's first one has come; gives it back if that has happened
    /// since it arrived.
    pub fn hold(
        &self,
        datagram: &Datagram,
        piece: &Piece,
        parcel: Parcel,
        now: u64,
        counters: &Counters,
    ) -> Option<Parcel> {
        self.with(datagram, |shard| {
            shard.hold(datagram, piece, parcel, now, counters)
        })
    }

    /// Fragments that waited for this datagram's first one, in the order in which they came.
    pub fn take(&self, datagram: &Datagram) -> Vec<Parcel> {
        self.with(datagram, |shard| shard.take(datagram))
    }

    /// Forgets datagrams whose time is over.
    pub fn expire(&self, now: u64, counters: &Counters) {
        if self.datagrams() == 0 {
            return;
        }
        for shard in &self.shards {
            self.locked(shard, |shard| shard.expire(now, counters));
        }
    }

    /// Datagrams of which some fragments have come.
    pub fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }

    /// Fragments that wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    #[allow(clippy::indexing_slicing)] // modulo the array's length
    fn with<T>(&self, datagram: &Datagram, run: impl FnOnce(&mut Shard) -> T) -> T {
        let at = self.hash.hash_one(datagram.sender) as usize % SHARDS;
        self.locked(&self.shards[at], run)
    }

    fn locked<T>(&self, shard: &Mutex<Shard>, run: impl FnOnce(&mut Shard) -> T) -> T {
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shard.levels();
        let result = run(&mut shard);
        let after = shard.levels();
        drop(shard);
        // Differences, so that shards need not know of each other; sums of them never go below 0.
        for (level, (before, after)) in [
            (&self.datagrams, (before.0, after.0)),
            (&self.waiting, (before.1, after.1)),
        ] {
            if before != after {
                level.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
            }
        }
        result
    }
}
