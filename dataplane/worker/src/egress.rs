//! The way out: packets wait here, per port, until a burst is full or the round is over.

mod shaped;

use std::collections::VecDeque;
use std::sync::Arc;

use net::headers::Ethernet;
use packet::{Gso, Packet, Pool};
use ports::{Burst, Port};

use crate::shared::{Handover, Kind, Shared};
use crate::telemetry::{Probe, Stage};
use crate::tunnel::neighbors::Resolved;
use crate::{Counter, DropReason, PortKind, PortMap, PortSlot};
use shaped::Backlog;
pub(crate) use shaped::Shaped;

/// Packets that may wait for one next hop, and for all.
const WAITING_EACH: usize = 16;
const WAITING: usize = 512;

/// Packets that may wait for a device that moves to this worker.
const KEPT: usize = 8192;

/// ICMP errors, and resets, that a worker sends at most.
const ERRORS_PER_SECOND: u32 = 1000;

/// All ports as this worker sends to them.
pub(crate) struct Egress {
    pub shared: Arc<Shared>,
    /// Which worker this is.
    pub index: usize,
    pub pool: Pool,
    /// Takes the time of some rounds.
    pub probe: Probe,
    outlets: Vec<Outlet>,
    /// Outlets with packets; each stands here at most once.
    touched: Vec<PortSlot>,
    /// Time of the round, nanoseconds.
    now: u64,
    backlog: Backlog,
    /// Wrapped packets whose next hop is being asked for.
    waiting: VecDeque<Waiting>,
    /// Second, and ICMP errors sent in it.
    errors: (u64, u32),
    tx_packets: u64,
    tx_bytes: u64,
    /// Workers that were handed packets in this round; each stands here at most once.
    to_wake: Vec<usize>,
    /// Identification of the outer header that was written last.
    tunnel_id: u16,
}

/// One port.
#[derive(Default)]
struct Outlet {
    staged: Burst,
    /// Stands in [`Egress::touched`].
    touched: bool,
    device: Option<Box<dyn Port>>,
    /// The worker that sends to the device, if it is another.
    elsewhere: Option<usize>,
    /// Packets go there although there is a device here too.
    is_diverted: bool,
    /// The device is on its way to this worker.
    is_expected: bool,
    /// What waits for the device, in order.
    kept: Vec<Packet>,
    /// Longest frame without tags.
    frame_max: usize,
    /// Queues that packets go through, if the port has a rate and its device is here.
    shaped: Option<Box<Shaped>>,
}

struct Waiting {
    neighbor: u32,
    uplink: PortSlot,
    packet: Packet,
}

impl Egress {
    pub fn new(shared: Arc<Shared>, index: usize, pool: Pool) -> Self {
        Egress {
            probe: Probe::new(index),
            now: 0,
            backlog: Backlog::new(&shared.config),
            shared,
            index,
            pool,
            outlets: Vec::new(),
            touched: Vec::with_capacity(256),
            waiting: VecDeque::with_capacity(WAITING),
            errors: (0, 0),
            tx_packets: 0,
            tx_bytes: 0,
            to_wake: Vec::new(),
            tunnel_id: 0,
        }
    }

    /// Takes over a new port map.
    pub fn adopt(&mut self, ports: &PortMap) {
        let needed = ports.iter().map(|p| usize::from(p.slot.0) + 1).max();
        let needed = needed.unwrap_or(0).max(self.outlets.len());
        self.outlets.resize_with(needed, Outlet::default);
        self.touched.reserve(needed);
        self.backlog.reserve(needed);
        for (at, outlet) in self.outlets.iter_mut().enumerate() {
            let port = u16::try_from(at).ok().and_then(|at| ports.at(PortSlot(at)));
            let owner = port.and_then(|port| match port.kind {
                PortKind::Device { worker } => Some(worker),
                PortKind::Tunnel(_) => None,
            });
            let tx_each = port.is_some_and(|port| port.placement.tx_each);
            // One worker has the queues of a port, and with them all that goes out by it.
            let is_shaped = port.is_some_and(|port| port.queues.shaping().is_shaped());
            let other = owner.filter(|owner| *owner != self.index);
            outlet.elsewhere = other.filter(|_| !tx_each || is_shaped);
            outlet.is_diverted = tx_each && outlet.elsewhere.is_some();
            outlet.is_expected = owner.is_some() && outlet.elsewhere.is_none();
            if !outlet.is_expected && !outlet.kept.is_empty() {
                let lost = std::mem::take(&mut outlet.kept).len() as u64;
                let counters = self.shared.counters(self.index);
                counters.drop(DropReason::NoPort, lost);
            }
            outlet.frame_max = port.map_or(0, |port| port.mtu as usize + Ethernet::LEN);
        }
        for slot in (0..needed).filter_map(|at| u16::try_from(at).ok().map(PortSlot)) {
            self.adopt_queues(slot, ports.at(slot).map(|port| &**port));
        }
    }

    /// Begins a round at `now` nanoseconds.
    pub fn begin(&mut self, now: u64) {
        self.now = now;
    }

    /// Puts a device in a place; it must be in the map that was adopted last. What waited for it is
    /// sent.
    pub fn attach(&mut self, slot: PortSlot, device: Box<dyn Port>) {
        let at = usize::from(slot.0);
        if at >= self.outlets.len() {
            self.outlets.resize_with(at + 1, Outlet::default);
        }
        // What is staged came after what was kept.
        self.flush_one(slot);
        let Some(outlet) = self.outlets.get_mut(at) else {
            return;
        };
        outlet.device = Some(device);
        let kept = std::mem::take(&mut outlet.kept);
        self.unpark(slot);
        for packet in kept {
            self.stage(slot, packet);
        }
        self.flush();
    }

    /// Takes a device out; what was staged for it is sent first.
    pub fn detach(&mut self, slot: PortSlot) -> Option<Box<dyn Port>> {
        self.flush_one(slot);
        self.park(slot);
        self.outlets.get_mut(usize::from(slot.0))?.device.take()
    }

    /// Receives from a port.
    #[inline]
    pub fn rx(&mut self, slot: PortSlot, burst: &mut Burst) {
        if let Some(device) = self.device(slot) {
            device.rx(burst);
        }
    }

    /// An identification for an outer header, another one than that of the packet before.
    pub fn tunnel_id(&mut self) -> u16 {
        self.tunnel_id = self.tunnel_id.wrapping_add(1);
        self.tunnel_id
    }

    /// Stages a packet for a port.
    #[inline]
    pub fn send(&mut self, slot: PortSlot, packet: Packet) {
        self.tx_packets += 1;
        self.tx_bytes += packet.len() as u64;
        self.stage(slot, packet);
    }

    #[inline]
    fn stage(&mut self, slot: PortSlot, packet: Packet) {
        let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) else {
            return self.drop(DropReason::NoPort, packet);
        };
        if packet.len() > outlet.frame_max && !fits(&packet, outlet.frame_max) {
            return self.drop(DropReason::TooBig, packet);
        }
        if !outlet.touched {
            outlet.touched = true;
            self.touched.push(slot);
        }
        outlet.staged.push(packet);
        if outlet.staged.is_full() {
            self.flush_one(slot);
        }
    }

    /// Stages all packets of a burst for a port, in order.
    #[inline]
    pub fn send_all(&mut self, slot: PortSlot, packets: &mut Burst) {
        let (mut bytes, mut longest) = (0, 0);
        for packet in packets.iter() {
            bytes += packet.len() as u64;
            longest = longest.max(packet.len());
        }
        self.tx_packets += packets.len() as u64;
        self.tx_bytes += bytes;
        let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) else {
            return self.stage_all(slot, packets);
        };
        if longest > outlet.frame_max || packets.len() > outlet.staged.remaining_capacity() {
            return self.stage_all(slot, packets);
        }
        if !outlet.touched {
            outlet.touched = true;
            self.touched.push(slot);
        }
        match outlet.staged.is_empty() {
            true => std::mem::swap(&mut outlet.staged, packets),
            false => outlet.staged.extend(packets.drain(..)),
        }
        if outlet.staged.is_full() {
            self.flush_one(slot);
        }
    }

    /// Sends a frame of our own.
    pub fn send_bytes(&mut self, slot: PortSlot, frame: &[u8]) {
        match Packet::from_slice(&self.pool, frame) {
            Some(packet) => self.send(slot, packet),
            None => self.count_drop(DropReason::NoMemory),
        }
    }

    /// Sends wrapped packets to a next hop, or keeps them until that is found.
    #[inline]
    pub fn send_all_to_neighbor(&mut self, neighbor: u32, uplink: PortSlot, packets: &mut Burst) {
        if let Resolved::To(mac) = self.shared.neighbors.resolve(neighbor) {
            for packet in packets.iter_mut() {
                if let Some(place) = packet.head_mut().first_chunk_mut::<6>() {
                    *place = mac.0;
                }
            }
            return self.send_all(uplink, packets);
        }
        for packet in packets.drain(..) {
            self.send_to_neighbor(neighbor, uplink, packet);
        }
    }

    /// Sends a wrapped packet to a next hop, or keeps it until that is found.
    #[inline]
    pub fn send_to_neighbor(&mut self, neighbor: u32, uplink: PortSlot, mut packet: Packet) {
        match self.shared.neighbors.resolve(neighbor) {
            Resolved::To(mac) => {
                if let Some(place) = packet.head_mut().first_chunk_mut::<6>() {
                    *place = mac.0;
                }
                self.send(uplink, packet);
            }
            Resolved::Failed => self.drop(DropReason::NeighborFailed, packet),
            Resolved::Unknown => {
                let same = self.waiting.iter().filter(|w| w.neighbor == neighbor);
                if self.waiting.len() >= WAITING || same.count() >= WAITING_EACH {
                    return self.drop(DropReason::NeighborQueueFull, packet);
                }
                self.waiting.push_back(Waiting {
                    neighbor,
                    uplink,
                    packet,
                });
            }
        }
    }

    /// True if an error or a reset may be sent now: at most [`ERRORS_PER_SECOND`] (RFC 4443 2.4 (f)).
    pub fn may_send_error(&mut self) -> bool {
        let second = self.now / 1_000_000_000;
        if self.errors.0 != second {
            self.errors = (second, 0);
        }
        self.errors.1 += 1;
        self.errors.1 <= ERRORS_PER_SECOND
    }

    /// True if packets wait for a next hop.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what no longer needs to wait.
    pub fn retry_waiting(&mut self) {
        for _ in 0..self.waiting.len() {
            if let Some(w) = self.waiting.pop_front() {
                self.send_to_neighbor(w.neighbor, w.uplink, w.packet);
            }
        }
    }

    /// Stages what another worker has for a port of this one.
    pub fn stage_all(&mut self, slot: PortSlot, packets: &mut Burst) {
        for packet in packets.drain(..) {
            self.stage(slot, packet);
        }
    }

    /// Sends everything that is staged.
    #[inline]
    pub fn flush(&mut self) {
        while let Some(slot) = self.touched.pop() {
            if let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) {
                outlet.touched = false;
            }
            self.flush_one(slot);
        }
        if self.backlog.due <= self.now {
            self.serve();
        }
        if self.tx_packets != 0 {
            let counters = self.shared.counters(self.index);
            counters.add(Counter::TxPackets, self.tx_packets);
            counters.add(Counter::TxBytes, self.tx_bytes);
            (self.tx_packets, self.tx_bytes) = (0, 0);
        }
        while let Some(worker) = self.to_wake.pop() {
            if self.shared.is_asleep(worker) {
                self.shared.wake(worker);
            }
        }
    }

    fn flush_one(&mut self, slot: PortSlot) {
        let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) else {
            return;
        };
        if outlet.staged.is_empty() {
            return;
        }
        let stage = self.probe.enter(Stage::Tx);
        if outlet.shaped.is_some() && outlet.device.is_some() {
            self.enqueue(slot);
            self.probe.enter(stage);
            return;
        }
        if let Some(device) = outlet.device.as_mut().filter(|_| !outlet.is_diverted) {
            let telemetry = self.shared.telemetry(self.index);
            self.probe.leaving(&mut outlet.staged, telemetry);
            let lost = device.tx(&mut outlet.staged);
            self.probe.enter(stage);
            if lost != 0 {
                self.shared
                    .counters(self.index)
                    .drop(DropReason::PortFull, lost as u64);
            }
            return;
        }
        match outlet.elsewhere {
            Some(worker) => {
                let handover = Handover {
                    kind: Kind::Out,
                    slot,
                    packets: outlet.staged.take(),
                };
                self.hand_over(worker, handover);
            }
            None => self.keep(slot),
        }
        self.probe.enter(stage);
    }

    /// Gives packets to another worker, in one step and without a lock. It is woken once, when the
    /// round is over.
    pub fn hand_over(&mut self, worker: usize, handover: Handover) {
        let packets = handover.packets.len() as u64;
        let refused = match self.shared.inboxes.get(worker) {
            Some(inbox) => inbox.push(handover).is_err(),
            None => true,
        };
        if refused {
            let counters = self.shared.counters(self.index);
            counters.drop(DropReason::HandoverFull, packets);
        }
        if !self.to_wake.contains(&worker) {
            self.to_wake.push(worker);
        }
    }

    /// Packets for a device that is not here: it is on its way, or there is none.
    #[cold]
    fn keep(&mut self, slot: PortSlot) {
        let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) else {
            return;
        };
        let room = match outlet.is_expected {
            true => KEPT.saturating_sub(outlet.kept.len()),
            false => 0,
        };
        let room = room.min(outlet.staged.len());
        outlet.kept.extend(outlet.staged.drain(..room));
        let lost = outlet.staged.len() as u64;
        let reason = match outlet.is_expected {
            true => DropReason::HandoverFull,
            false => DropReason::NoPort,
        };
        outlet.staged.clear();
        if lost != 0 {
            self.shared.counters(self.index).drop(reason, lost);
        }
    }

    /// Drops a packet.
    #[inline]
    pub fn drop(&mut self, reason: DropReason, packet: Packet) {
        drop(packet);
        self.count_drop(reason);
    }

    /// Counts a packet that went nowhere.
    #[inline]
    pub fn count_drop(&mut self, reason: DropReason) {
        self.shared.counters(self.index).drop(reason, 1);
    }

    fn device(&mut self, slot: PortSlot) -> Option<&mut Box<dyn Port>> {
        self.outlets.get_mut(usize::from(slot.0))?.device.as_mut()
    }
}

/// True if a frame that is longer than `max` may go out all the same: tags do not count, and of a
/// frame that is to be split the pieces do.
#[cold]
fn fits(packet: &Packet, max: usize) -> bool {
    let head = packet.head();
    let tags = head
        .get(12..)
        .unwrap_or_default()
        .chunks_exact(4)
        .take(2)
        .take_while(|tag| matches!(tag, [0x81, 0x00, ..] | [0x88, 0xa8, ..]))
        .count();
    let meta = packet.meta();
    let longest = match meta.gso {
        Gso::None => packet.len(),
        _ => usize::from(meta.hdr_len) + usize::from(meta.gso_size),
    };
    longest <= max + tags * 4
}
