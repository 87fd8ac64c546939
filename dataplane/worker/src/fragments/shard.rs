//! A part of the table of fragments: the datagrams of some senders.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use net::fragment::Piece;

use super::ranges::{Fit, Ranges};
use super::{Arrival, Datagram, First, Parcel, Sender};
use crate::config::FragmentLimits;
use crate::{Counters, DropReason};

/// Datagrams that are forgotten in one go at most.
const EXPIRE_AT_ONCE: usize = 64;

/// The datagrams of some senders, oldest first.
#[derive(Debug)]
pub(super) struct Shard {
    /// Of all senders, and of each of them.
    limits: [Load; 2],
    timeout: u64,
    records: HashMap<Datagram, Record>,
    /// Number of the next datagram.
    next: u64,
    /// Numbers in use; the order of age, and so of expiry, since all have the same time.
    ages: BTreeMap<u64, Datagram>,
    senders: HashMap<Sender, Share>,
    load: Load,
}

/// What is there of a kind that is limited.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    datagrams: usize,
    packets: usize,
    bytes: usize,
}

impl Load {
    fn exceeds(&self, limit: &Load) -> bool {
        self.datagrams > limit.datagrams || self.packets > limit.packets || self.bytes > limit.bytes
    }

    fn plus(self, datagrams: usize, packets: usize, bytes: usize) -> Load {
        Load {
            datagrams: self.datagrams + datagrams,
            packets: self.packets + packets,
            bytes: self.bytes + bytes,
        }
    }

    fn take(&mut self, datagrams: usize, packets: usize, bytes: usize) {
        self.datagrams = self.datagrams.saturating_sub(datagrams);
        self.packets = self.packets.saturating_sub(packets);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What one sender has.
#[derive(Debug, Default)]
struct Share {
    load: Load,
    ages: BTreeSet<u64>,
}

/// A datagram.
#[derive(Debug)]
struct Record {
    age: u64,
    expires: u64,
    /// What has gone on.
    passed: Ranges,
    first: Option<First>,
    /// Its length, once the last fragment has come.
    total: Option<u32>,
    held: Vec<(Piece, Parcel)>,
    /// Why nothing of it is let through any more.
    spoilt: Option<DropReason>,
}

impl Record {
    fn fit(&self, piece: &Piece) -> Fit {
        let (start, end) = (piece.start, piece.end);
        let contradicts = match (self.total, piece.last) {
            (Some(total), true) => total != end,
            (Some(total), false) => end >= total,
            (None, true) => self.end() > end,
            (None, false) => false,
        };
        match self.passed.fit(start, end) {
            Fit::New => {}
            fit => return fit,
        }
        let met = self
            .held
            .iter()
            .find(|(p, _)| p.start < end && start < p.end);
        match met {
            Some((p, _)) if p.start <= start && end <= p.end => Fit::Known,
            Some(_) => Fit::Overlaps,
            None if contradicts => Fit::Overlaps,
            None => Fit::New,
        }
    }

    fn end(&self) -> u32 {
        let held = self.held.iter().map(|(piece, _)| piece.end).max();
        self.passed.end().max(held.unwrap_or(0))
    }

    fn bytes(&self) -> usize {
        self.held
            .iter()
            .map(|(_, parcel)| parcel.packet.len())
            .sum()
    }
}

impl Shard {
    /// One of so many shards that share the limits.
    pub fn new(limits: &FragmentLimits, shards: usize) -> Self {
        let all = Load {
            datagrams: (limits.datagrams / shards).max(2),
            packets: limits.packets / shards,
            bytes: limits.bytes / shards,
        };
        let each = Load {
            datagrams: all.datagrams / 2,
            packets: all.packets / 2,
            bytes: all.bytes / 2,
        };
        Shard {
            limits: [all, each],
            timeout: limits.timeout,
            records: HashMap::new(),
            next: 0,
            ages: BTreeMap::new(),
            senders: HashMap::new(),
            load: Load::default(),
        }
    }

    /// Datagrams, and fragments that wait.
    pub fn levels(&self) -> (u64, u64) {
        (self.load.datagrams as u64, self.load.packets as u64)
    }

    pub fn arrive(
        &mut self,
        datagram: &Datagram,
        piece: &Piece,
        first: Option<First>,
        now: u64,
        counters: &Counters,
    ) -> Arrival {
        if piece.is_impossible() {
            return Arrival::Lost(DropReason::FragmentMalformed);
        }
        if let Some(reason) = self.refuses(datagram, piece, now, counters) {
            return Arrival::Lost(reason);
        }
        let Some(record) = self.records.get_mut(datagram) else {
            return Arrival::Lost(DropReason::FragmentLimit);
        };
        if piece.start == 0 {
            record.first = first;
            if first.is_none() {
                // Who is to tell what the others belong to (RFC 3128, RFC 7112)?
                return self.spoil(datagram, DropReason::FragmentMalformed, counters);
            }
        }
        let Some(first) = record.first else {
            return Arrival::Waits;
        };
        if piece.last {
            record.total = Some(piece.end);
        }
        if !record.passed.add(piece.start, piece.end) {
            return self.spoil(datagram, DropReason::FragmentLimit, counters);
        }
        if record
            .total
            .is_some_and(|total| record.passed.is_whole(total))
        {
            self.remove(datagram);
        }
        Arrival::Follows(first)
    }

    pub fn hold(
        &mut self,
        datagram: &Datagram,
        piece: &Piece,
        parcel: Parcel,
        now: u64,
        counters: &Counters,
    ) -> Option<Parcel> {
        if let Some(reason) = self.refuses(datagram, piece, now, counters) {
            counters.drop(reason, 1);
            return None;
        }
        if self
            .records
            .get(datagram)
            .is_some_and(|r| r.first.is_some())
        {
            return Some(parcel);
        }
        let bytes = parcel.packet.len();
        let [_, each] = &self.limits;
        if Load::default().plus(1, 1, bytes).exceeds(each) {
            counters.drop(DropReason::FragmentLimit, 1);
            return None;
        }
        self.make_room(datagram, (0, 1, bytes), counters);
        let Some(record) = self.records.get_mut(datagram) else {
            // It was the oldest itself.
            counters.drop(DropReason::FragmentLimit, 1);
            return None;
        };
        if piece.last {
            record.total = Some(piece.end);
        }
        record.held.push((*piece, parcel));
        self.load = self.load.plus(0, 1, bytes);
        if let Some(share) = self.senders.get_mut(&datagram.sender) {
            share.load = share.load.plus(0, 1, bytes);
        }
        None
    }

    pub fn take(&mut self, datagram: &Datagram) -> Vec<Parcel> {
        let Some(record) = self.records.get_mut(datagram) else {
            return Vec::new();
        };
        let bytes = record.bytes();
        let held = std::mem::take(&mut record.held);
        // They arrive once more, and say then how long the datagram is.
        record.total = record
            .total
            .filter(|_| held.iter().all(|(piece, _)| !piece.last));
        self.load.take(0, held.len(), bytes);
        if let Some(share) = self.senders.get_mut(&datagram.sender) {
            share.load.take(0, held.len(), bytes);
        }
        held.into_iter().map(|(_, parcel)| parcel).collect()
    }

    pub fn expire(&mut self, now: u64, counters: &Counters) {
        for _ in 0..EXPIRE_AT_ONCE {
            let Some(oldest) = self.ages.first_key_value().map(|(_, datagram)| *datagram) else {
                return;
            };
            if self.records.get(&oldest).is_some_and(|r| r.expires > now) {
                return;
            }
            self.lose(&oldest, DropReason::FragmentTimeout, counters);
        }
    }

    /// Why a fragment cannot be one of its datagram. If it can, the datagram is there afterwards.
    fn refuses(
        &mut self,
        datagram: &Datagram,
        piece: &Piece,
        now: u64,
        counters: &Counters,
    ) -> Option<DropReason> {
        if self.records.get(datagram).is_some_and(|r| r.expires <= now) {
            self.lose(datagram, DropReason::FragmentTimeout, counters);
        }
        let Some(record) = self.records.get(datagram) else {
            self.begin(datagram, now, counters);
            return None;
        };
        if record.spoilt.is_some() {
            return record.spoilt;
        }
        match record.fit(piece) {
            Fit::New => None,
            Fit::Known => Some(DropReason::FragmentDuplicate),
            Fit::Overlaps => {
                // All of it, and what is still to come (RFC 5722 4).
                self.spoil(datagram, DropReason::FragmentOverlap, counters);
                Some(DropReason::FragmentOverlap)
            }
        }
    }

    fn begin(&mut self, datagram: &Datagram, now: u64, counters: &Counters) {
        self.make_room(datagram, (1, 0, 0), counters);
        let age = self.next;
        self.next += 1;
        let record = Record {
            age,
            expires: now.saturating_add(self.timeout),
            passed: Ranges::default(),
            first: None,
            total: None,
            held: Vec::new(),
            spoilt: None,
        };
        self.records.insert(*datagram, record);
        self.ages.insert(age, *datagram);
        self.load = self.load.plus(1, 0, 0);
        let share = self.senders.entry(datagram.sender).or_default();
        share.load = share.load.plus(1, 0, 0);
        share.ages.insert(age);
    }

    /// Forgets the oldest datagrams of a sender that has too many, and then the oldest of all.
    fn make_room(
        &mut self,
        datagram: &Datagram,
        (datagrams, packets, bytes): (usize, usize, usize),
        counters: &Counters,
    ) {
        let [all, each] = self.limits;
        loop {
            let share = self.senders.get(&datagram.sender);
            let over =
                |load: Load, limit: &Load| load.plus(datagrams, packets, bytes).exceeds(limit);
            let oldest = if share.is_some_and(|share| over(share.load, &each)) {
                let age = share.and_then(|share| share.ages.first());
                age.and_then(|age| self.ages.get(age))
            } else if over(self.load, &all) {
                self.ages.first_key_value().map(|(_, datagram)| datagram)
            } else {
                return;
            };
            let Some(oldest) = oldest.copied() else {
                return;
            };
            self.lose(&oldest, DropReason::FragmentLimit, counters);
        }
    }

    /// Lets nothing more of a datagram through.
    fn spoil(&mut self, datagram: &Datagram, reason: DropReason, counters: &Counters) -> Arrival {
        let lost = self.take(datagram);
        counters.drop(reason, lost.len() as u64);
        if let Some(record) = self.records.get_mut(datagram) {
            record.spoilt = Some(reason);
        }
        Arrival::Lost(reason)
    }

    fn lose(&mut self, datagram: &Datagram, reason: DropReason, counters: &Counters) {
        let lost = self.take(datagram);
        counters.drop(reason, lost.len() as u64);
        self.remove(datagram);
    }

    /// Forgets a datagram of which nothing waits.
    fn remove(&mut self, datagram: &Datagram) {
        let Some(record) = self.records.remove(datagram) else {
            return;
        };
        self.ages.remove(&record.age);
        self.load.take(1, 0, 0);
        let sender = &datagram.sender;
        if let Some(share) = self.senders.get_mut(sender) {
            share.load.take(1, 0, 0);
            share.ages.remove(&record.age);
            if share.ages.is_empty() {
                self.senders.remove(sender);
            }
        }
    }
}
