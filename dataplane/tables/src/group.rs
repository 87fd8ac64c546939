//! Groups (OpenFlow 1.3.5, 5.6).

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use net::GroupId;
use openflow::Action;
use openflow::model::{Bucket, GroupMod, GroupType, Selection};

use crate::Counters;
use crate::rendezvous::{Member, Slots};

/// A group. Immutable but for its counters; a modification makes a new one.
#[derive(Debug)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    /// All, select, indirect or fast failover.
    pub kind: GroupType,
    /// Its buckets, in the order given.
    pub buckets: Vec<GroupBucket>,
    /// How a select group chooses, where the controller said so.
    pub selection: Option<Selection>,
    /// Its counters.
    pub stats: Arc<GroupStats>,
    /// When it was added, nanoseconds of the writer's clock.
    pub created: u64,
    pub(crate) generation: u64,
    slots: Slots,
}

/// A bucket with its counters.
#[derive(Debug)]
pub struct GroupBucket {
    /// What it does.
    pub bucket: Bucket,
    /// Packets it took.
    pub stats: Arc<GroupStats>,
}

/// Counters of a group or a bucket.
#[derive(Debug, Default)]
pub struct GroupStats {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl GroupStats {
    /// Counts packets.
    pub fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Packets and bytes so far.
    pub fn counters(&self) -> Counters {
        Counters {
            packets: self.packets.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}

impl Group {
    pub(crate) fn new(request: &GroupMod, now: u64) -> Self {
        let members: Vec<Member> = match request.kind {
            GroupType::Select => request.buckets.iter().map(member).collect(),
            _ => Vec::new(),
        };
        let buckets = request.buckets.iter().map(|bucket| GroupBucket {
            bucket: bucket.clone(),
            stats: Arc::default(),
        });
        Group {
            id: request.group,
            kind: request.kind,
            buckets: buckets.collect(),
            selection: request.selection.clone(),
            stats: Arc::default(),
            created: now,
            generation: 0,
            slots: Slots::of(&members),
        }
    }

    /// The generation in which it changed last.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Select groups: the bucket for a hash of the packet's flow; none if no bucket has a weight.
    #[inline]
    pub fn select(&self, hash: u64) -> Option<usize> {
        self.slots.get(hash)
    }

    /// Select groups: bytes of the table by which it chooses.
    pub fn slot_bytes(&self) -> usize {
        self.slots.bytes()
    }

    /// As [`Group::select`], among buckets that are live: a flow whose bucket is not goes where its
    /// hash leads when it is mixed again, so that the others keep theirs and take up the rest by
    /// weight.
    /// Only those that it comes by are asked whether they live.
    pub fn select_among(&self, hash: u64, mut is_live: impl FnMut(usize) -> bool) -> Option<usize> {
        const TRIES: u64 = 64;
        let mut hash = hash;
        for _ in 0..TRIES {
            let chosen = self.select(hash)?;
            if is_live(chosen) {
                return Some(chosen);
            }
            hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash ^= hash >> 32;
        }
        // Hardly anything is live: the first one.
        let mut buckets = self.buckets.iter().enumerate();
        buckets
            .find(|(at, bucket)| bucket.bucket.weight > 0 && is_live(*at))
            .map(|(at, _)| at)
    }

    /// Groups that its buckets send to.
    pub(crate) fn next_groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.buckets
            .iter()
            .flat_map(|b| groups_in(&b.bucket.actions))
    }
}

/// Groups that a list of actions sends to.
pub(crate) fn groups_in(actions: &[Action]) -> Vec<GroupId> {
    let mut found = Vec::new();
    for action in actions {
        match action {
            Action::Group(group) => found.push(*group),
            Action::Clone(inner) => found.extend(groups_in(inner)),
            _ => {}
        }
    }
    found
}

/// A bucket is known by what it does, so that it keeps its share of the hashes wherever it stands.
fn member(bucket: &Bucket) -> Member {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    bucket.actions.hash(&mut hasher);
    Member {
        identity: hasher.finish(),
        weight: bucket.weight,
    }
}

/// FNV-1a with a final mix: the same on every node and in every run, unlike the standard hasher.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut h = self.0;
        h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ (h >> 33)
    }
}
