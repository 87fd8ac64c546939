//! How many packets a controller gets: a token bucket, and fair queues of ports behind it.
//!
//! What comes faster than the rate waits, in a queue per port; the queues take turns, and when too
//! much waits, the longest queue loses its oldest packet. So one port's flood costs itself, and a
//! packet of another port still gets through.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use worker::PacketIn;

use crate::options::PacketInLimit;

const NANOS: u64 = 1_000_000_000;

/// A packet-in that waits or is sent.
pub(crate) type Packet = Rc<PacketIn>;

/// The limit of one controller.
#[derive(Debug)]
pub(crate) struct Pacer {
    limit: PacketInLimit,
    /// Earned packets, in nanoseconds of the rate: a packet costs `NANOS / rate`.
    credit: u64,
    at: u64,
    queues: BTreeMap<u32, VecDeque<Packet>>,
    queued: usize,
    last_port: u32,
    dropped: u64,
}

impl Pacer {
    /// One that has not sent anything yet.
    pub fn new(limit: PacketInLimit) -> Self {
        Pacer {
            limit,
            credit: u64::from(limit.burst) * cost(limit),
            at: 0,
            queues: BTreeMap::new(),
            queued: 0,
            last_port: 0,
            dropped: 0,
        }
    }

    /// True if the packet may go at once; otherwise it waits, or another one, or it, is dropped.
    pub fn admit(&mut self, packet: &Packet, now: u64) -> bool {
        if self.limit.rate == 0 {
            return true;
        }
        self.earn(now);
        if self.queued == 0 && self.spend() {
            return true;
        }
        let queue = self.queues.entry(packet.in_port().0).or_default();
        queue.push_back(packet.clone());
        self.queued += 1;
        if self.queued > self.limit.burst as usize {
            self.drop_from_the_longest();
        }
        false
    }

    /// Packets whose turn has come.
    pub fn due(&mut self, now: u64) -> Vec<Packet> {
        let mut due = Vec::new();
        self.earn(now);
        while self.queued > 0 && self.spend() {
            due.extend(self.pop());
        }
        due
    }

    /// Packets that wait.
    pub fn waiting(&self) -> usize {
        self.queued
    }

    /// Packets dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn earn(&mut self, now: u64) {
        let most = u64::from(self.limit.burst) * cost(self.limit);
        let earned = now.saturating_sub(self.at);
        self.credit = self.credit.saturating_add(earned).min(most);
        self.at = now;
    }

    fn spend(&mut self) -> bool {
        let left = self.credit.checked_sub(cost(self.limit));
        self.credit = left.unwrap_or(self.credit);
        left.is_some()
    }

    /// The oldest packet of the port behind the one whose turn was last.
    fn pop(&mut self) -> Option<Packet> {
        let after = (
            std::ops::Bound::Excluded(self.last_port),
            std::ops::Bound::Unbounded,
        );
        let next = self
            .queues
            .range(after)
            .next()
            .or(self.queues.iter().next());
        let port = next.map(|(port, _)| *port)?;
        self.last_port = port;
        self.take_from(port)
    }

    fn drop_from_the_longest(&mut self) {
        let longest = self.queues.iter().max_by_key(|(_, queue)| queue.len());
        if let Some(port) = longest.map(|(port, _)| *port) {
            drop(self.take_from(port));
            self.dropped += 1;
        }
    }

    fn take_from(&mut self, port: u32) -> Option<Packet> {
        let queue = self.queues.get_mut(&port)?;
        let packet = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&port);
        }
        self.queued -= usize::from(packet.is_some());
        packet
    }
}

/// Nanoseconds in which a packet is earned.
fn cost(limit: PacketInLimit) -> u64 {
    NANOS / u64::from(limit.rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(port: u32) -> Packet {
        let key = net::FlowKey {
            in_port: port.into(),
            ..net::FlowKey::default()
        };
        Rc::new(PacketIn {
            reason: 1,
            table: net::TableId(0),
            cookie: 0,
            total_len: 0,
            data: Vec::new(),
            key,
            controller_id: 0,
            userdata: std::sync::Arc::from([]),
            rest: None,
        })
    }

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_holds() {
        let mut pacer = Pacer::new(PacketInLimit {
            rate: 100,
            burst: 10,
        });
        let sent = (0..50).filter(|_| pacer.admit(&packet(1), 0)).count();
        assert_eq!((sent, pacer.waiting(), pacer.dropped()), (10, 10, 30));
        // 100 a second: one in 10 ms.
        assert_eq!(pacer.due(9_999_999).len(), 0);
        assert_eq!(pacer.due(10_000_000).len(), 1);
        assert_eq!(pacer.due(60_000_000).len(), 5);
        assert_eq!(pacer.due(10 * NANOS).len(), 4, "no more than waited");
        let sent = (0..50)
            .filter(|_| pacer.admit(&packet(1), 20 * NANOS))
            .count();
        assert_eq!(sent, 10, "credit is not hoarded");
    }

    #[test]
    fn a_port_that_floods_drops_its_own_packets_and_not_anothers() {
        let mut pacer = Pacer::new(PacketInLimit {
            rate: 100,
            burst: 10,
        });
        for _ in 0..1000 {
            pacer.admit(&packet(1), 0);
        }
        for _ in 0..3 {
            assert!(!pacer.admit(&packet(2), 0));
        }
        let due = pacer.due(60_000_000);
        let ports: Vec<u32> = due.iter().map(|packet| packet.in_port().0).collect();
        assert_eq!(ports, [1, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let mut pacer = Pacer::new(PacketInLimit { rate: 0, burst: 0 });
        assert!((0..10_000).all(|_| pacer.admit(&packet(1), 0)));
    }
}
