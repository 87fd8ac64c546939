//! Ports with a rate: packets go through the port's queues, and leave when it is their turn.
//!
//! The worker that has the device has the queues; what other workers send there comes to it first, in
//! order. A port whose queues are empty costs nothing, and none of this is looked at before a time
//! that is known.

use std::sync::Arc;

use packet::Packet;
use ports::Burst;

use super::Egress;
use crate::execute::on_wire;
use crate::shaper::{Line, Lost, Next, Shaper, Size};
use crate::{Config, DropReason, PortEntry, PortKind, PortSlot, Queues};

/// Ports in whose queues something waits.
pub(super) struct Backlog {
    ports: Vec<PortSlot>,
    /// When the first of them has something to send, nanoseconds; `u64::MAX` if nothing waits.
    pub due: u64,
    /// Buffers of what waits, in all queues of all ports here, and how many they may be.
    used: Buffers,
    limit: Buffers,
}

/// Queues of a port.
pub(crate) struct Shaped {
    shaper: Shaper<Packet>,
    /// What becomes of packets behind the queues, if the port is impaired.
    line: Option<Line<Packet>>,
    /// Of what waits in queues and on the line.
    used: Buffers,
    /// Nanoseconds; `u64::MAX` if nothing waits.
    due: u64,
    /// Stands in [`Backlog::ports`].
    listed: bool,
}

/// Packet buffers.
#[derive(Clone, Copy, Default)]
struct Buffers {
    ordinary: usize,
    large: usize,
}

impl Backlog {
    pub fn new(config: &Config) -> Self {
        let (ordinary, large) = config.queue_buffers;
        Backlog {
            ports: Vec::new(),
            due: u64::MAX,
            used: Buffers::default(),
            limit: Buffers { ordinary, large },
        }
    }

    /// Makes room for so many ports.
    pub fn reserve(&mut self, ports: usize) {
        self.ports.reserve(ports.saturating_sub(self.ports.len()));
    }

    /// Puts a packet, with when it came, into the queue of a place; gives it back, with its place, if
    /// there is no room.
    fn push(
        &mut self,
        shaped: &mut Shaped,
        place: u8,
        packet: Packet,
        (size, since): (Size, u64),
    ) -> Result<(), (Packet, u8)> {
        let buffers = Buffers::of(&packet);
        if !self.used.fit(buffers, self.limit) {
            return Err((packet, shaped.shaper.place(place)));
        }
        shaped.shaper.push(place, packet, size, since)?;
        self.used.add(buffers);
        shaped.used.add(buffers);
        Ok(())
    }

    fn took(&mut self, shaped: &mut Shaped, packet: &Packet) {
        let buffers = Buffers::of(packet);
        self.used.remove(buffers);
        shaped.used.remove(buffers);
    }

    fn due_at(&mut self, time: u64) {
        self.due = self.due.min(time);
    }
}

impl Shaped {
    fn new(queues: Arc<Queues>, seed: u64) -> Box<Self> {
        let line = queues.shaping().impairment;
        Box::new(Shaped {
            line: line.map(|impairment| Line::new(impairment, seed)),
            shaper: Shaper::new(queues),
            used: Buffers::default(),
            due: u64::MAX,
            listed: false,
        })
    }
}

impl Buffers {
    fn of(packet: &Packet) -> Self {
        let segments = packet.segment_count();
        Buffers {
            ordinary: segments,
            large: usize::from(packet.len() > segments * Config::FRAME),
        }
    }

    /// True if there are so many more under a limit.
    fn fit(self, more: Buffers, limit: Buffers) -> bool {
        self.ordinary + more.ordinary <= limit.ordinary && self.large + more.large <= limit.large
    }

    fn add(&mut self, more: Buffers) {
        self.ordinary += more.ordinary;
        self.large += more.large;
    }

    fn remove(&mut self, less: Buffers) {
        self.ordinary = self.ordinary.saturating_sub(less.ordinary);
        self.large = self.large.saturating_sub(less.large);
    }
}

impl Egress {
    /// When something that waits in a queue may be sent, nanoseconds; none if nothing waits.
    pub fn due(&self) -> Option<u64> {
        (self.backlog.due != u64::MAX).then_some(self.backlog.due)
    }

    /// Puts what is staged for a port into its queues, and sends what may go at once.
    pub(super) fn enqueue(&mut self, slot: PortSlot) {
        let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) else {
            return;
        };
        let mut staged = outlet.staged.take();
        let telemetry = self.shared.telemetry(self.index);
        self.probe.leaving(&mut staged, telemetry);
        let mut full = 0;
        for packet in staged.drain(..) {
            let (place, size) = (packet.meta().queue, size(&packet));
            let Err((packet, _)) = self.enqueue_one(slot, place, packet, size) else {
                continue;
            };
            // What may go at once makes room.
            self.dequeue(slot);
            let Err((_, place)) = self.enqueue_one(slot, place, packet, size) else {
                continue;
            };
            full += 1;
            let outlet = self.outlets.get(usize::from(slot.0));
            let shaped = outlet.and_then(|outlet| outlet.shaped.as_ref());
            let queues = shaped.map(|shaped| shaped.shaper.queues().places());
            if let Some(queue) = queues.and_then(|queues| queues.get(usize::from(place))) {
                queue.count_drop(self.index, size.packets.into());
            }
        }
        if full != 0 {
            let counters = self.shared.counters(self.index);
            counters.drop(DropReason::QueueFull, full);
        }
        self.dequeue(slot);
    }

    #[inline]
    fn enqueue_one(
        &mut self,
        slot: PortSlot,
        place: u8,
        packet: Packet,
        size: Size,
    ) -> Result<(), (Packet, u8)> {
        let outlet = self.outlets.get_mut(usize::from(slot.0));
        match outlet.and_then(|outlet| outlet.shaped.as_mut()) {
            Some(shaped) => self.backlog.push(shaped, place, packet, (size, self.now)),
            None => Err((packet, place)),
        }
    }

    /// Sends from all queues what may go now.
    #[cold]
    pub(super) fn serve(&mut self) {
        self.backlog.due = u64::MAX;
        let mut at = 0;
        while let Some(&slot) = self.backlog.ports.get(at) {
            let due = |egress: &Self| {
                let outlet = egress.outlets.get(usize::from(slot.0));
                let shaped = outlet.and_then(|outlet| outlet.shaped.as_ref());
                shaped.map_or(u64::MAX, |shaped| shaped.due)
            };
            if due(self) <= self.now {
                self.dequeue(slot);
            }
            match due(self) {
                u64::MAX => {
                    self.backlog.ports.swap_remove(at);
                    let outlet = self.outlets.get_mut(usize::from(slot.0));
                    if let Some(shaped) = outlet.and_then(|outlet| outlet.shaped.as_mut()) {
                        shaped.listed = false;
                    }
                }
                due => {
                    self.backlog.due_at(due);
                    at += 1;
                }
            }
        }
    }

    /// Sends from a port's queues what may go now.
    fn dequeue(&mut self, slot: PortSlot) {
        let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) else {
            return;
        };
        let (Some(shaped), Some(device)) = (&mut outlet.shaped, &mut outlet.device) else {
            return;
        };
        let mut burst = Burst::new();
        let (mut lost, mut expired, mut chance, mut full) = (0, 0, 0, 0);
        shaped.due = loop {
            match shaped.shaper.next(self.now) {
                Next::Send((mut packet, size), place) => {
                    packet.meta_mut().queue = 0;
                    let queues = shaped.shaper.queues().places();
                    if let Some(queue) = queues.get(usize::from(place)) {
                        queue.count(self.index, size.packets.into(), size.bytes.into());
                    }
                    if let Some(line) = &mut shaped.line {
                        if let Err((packet, why)) = line.push(packet, self.now) {
                            self.backlog.took(shaped, &packet);
                            match why {
                                Lost::Chance => chance += 1,
                                Lost::Full => full += 1,
                            }
                        }
                        continue;
                    }
                    self.backlog.took(shaped, &packet);
                    burst.push(packet);
                    if burst.is_full() {
                        lost += device.tx(&mut burst);
                    }
                }
                Next::Expired((packet, size), place) => {
                    self.backlog.took(shaped, &packet);
                    expired += 1;
                    let queues = shaped.shaper.queues().places();
                    if let Some(queue) = queues.get(usize::from(place)) {
                        queue.count_drop(self.index, size.packets.into());
                    }
                }
                Next::Wait(until) => break until,
                Next::Idle => break u64::MAX,
            }
        };
        while let Some(packet) = shaped.line.as_mut().and_then(|line| line.pop(self.now)) {
            self.backlog.took(shaped, &packet);
            burst.push(packet);
            if burst.is_full() {
                lost += device.tx(&mut burst);
            }
        }
        if let Some(line) = &shaped.line {
            shaped.due = shaped.due.min(line.due());
        }
        if !burst.is_empty() {
            lost += device.tx(&mut burst);
        }
        if shaped.due != u64::MAX && !shaped.listed {
            shaped.listed = true;
            self.backlog.ports.push(slot);
        }
        self.backlog.due_at(shaped.due);
        let counters = self.shared.counters(self.index);
        for (reason, packets) in [
            (DropReason::PortFull, lost as u64),
            (DropReason::QueueExpired, expired),
            (DropReason::ImpairmentLoss, chance),
            (DropReason::ImpairmentFull, full),
        ] {
            if packets != 0 {
                counters.drop(reason, packets);
            }
        }
    }

    /// Takes over what a new port map says of a port.
    pub(super) fn adopt_queues(&mut self, slot: PortSlot, port: Option<&PortEntry>) {
        let queues = port.map(|port| &port.queues);
        let shaped = queues.filter(|queues| queues.shaping().is_shaped());
        let owner = port.and_then(|port| match port.kind {
            PortKind::Device { worker } => Some(worker),
            PortKind::Tunnel(_) => None,
        });
        let outlet = self.outlets.get(usize::from(slot.0));
        match owner {
            Some(owner) if owner == self.index => self.shape(slot, shaped),
            // It is about to let the device go, and the queues with it.
            Some(_) if outlet.is_some_and(|o| o.device.is_some() && !o.is_diverted) => {}
            // When the device of a port that is gone goes, so do the queues.
            None if outlet.is_some_and(|outlet| outlet.device.is_some()) => {}
            _ => self.shape(slot, None),
        }
    }

    /// Gives a port these queues (none: it sends as fast as it can). What waits goes on waiting in the queue
    /// of the same number, or is sent to wherever the port is now.
    pub(super) fn shape(&mut self, slot: PortSlot, wanted: Option<&Arc<Queues>>) {
        let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) else {
            return;
        };
        let same = match (&outlet.shaped, wanted) {
            (None, None) => true,
            (Some(shaped), Some(queues)) => Arc::ptr_eq(shaped.shaper.queues(), queues),
            _ => false,
        };
        if same {
            return;
        }
        let old = outlet.shaped.take();
        let seed = self.now ^ u64::from(slot.0) << 48;
        outlet.shaped = wanted.cloned().map(|queues| Shaped::new(queues, seed));
        if let Some(old) = old {
            self.forget(slot, &old);
            self.move_in(slot, *old);
        }
    }

    /// The device of a port is about to go. Its queues go too: to the worker that gets the device, or, if
    /// the port is gone, nowhere.
    pub(super) fn park(&mut self, slot: PortSlot) {
        let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) else {
            return;
        };
        let is_gone = outlet.elsewhere.is_none();
        let Some(mut shaped) = outlet.shaped.take() else {
            return;
        };
        self.forget(slot, &shaped);
        if is_gone {
            let late = shaped.line.as_ref().map_or(0, Line::len);
            let lost = (shaped.shaper.drain().count() + late) as u64;
            let counters = self.shared.counters(self.index);
            return counters.drop(DropReason::NoPort, lost);
        }
        shaped.listed = false;
        self.shared.park(slot, shaped);
    }

    /// A device has come, and with it the queues that it had where it was.
    pub(super) fn unpark(&mut self, slot: PortSlot) {
        let Some(parked) = self.shared.unpark(slot) else {
            return;
        };
        let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) else {
            return;
        };
        let is_same = |new: &Shaped| Arc::ptr_eq(new.shaper.queues(), parked.shaper.queues());
        if !outlet.shaped.as_deref().is_some_and(is_same) {
            return self.move_in(slot, *parked);
        }
        self.backlog.used.add(parked.used);
        outlet.shaped = Some(parked);
        self.look_at(slot);
    }

    /// What waited in the old queues of a port goes into its new ones, or out.
    fn move_in(&mut self, slot: PortSlot, mut old: Shaped) {
        if let Some(line) = old.line.take() {
            self.move_line(slot, line);
        }
        for (queue, packet, size, since) in old.shaper.drain() {
            self.requeue(slot, queue, packet, (size, since));
        }
        self.look_at(slot);
    }

    /// What was late goes on being late, or arrives at once if nothing is to be late any more.
    fn move_line(&mut self, slot: PortSlot, old: Line<Packet>) {
        let outlet = self.outlets.get_mut(usize::from(slot.0));
        let shaped = outlet.and_then(|outlet| outlet.shaped.as_mut());
        if let Some(shaped) = shaped
            && let Some(line) = &mut shaped.line
        {
            let mut buffers = Buffers::default();
            old.items()
                .for_each(|packet| buffers.add(Buffers::of(packet)));
            self.backlog.used.add(buffers);
            shaped.used.add(buffers);
            return line.inherit(old);
        }
        for packet in old.into_items() {
            self.stage(slot, packet);
        }
    }

    /// Something may wait for a port.
    fn look_at(&mut self, slot: PortSlot) {
        let outlet = self.outlets.get_mut(usize::from(slot.0));
        if let Some(shaped) = outlet.and_then(|outlet| outlet.shaped.as_mut()) {
            shaped.due = 0;
            self.backlog.due = 0;
            if !std::mem::replace(&mut shaped.listed, true) {
                self.backlog.ports.push(slot);
            }
        }
    }

    fn forget(&mut self, slot: PortSlot, shaped: &Shaped) {
        self.backlog.used.remove(shaped.used);
        self.backlog.ports.retain(|other| *other != slot);
        if self.backlog.ports.is_empty() {
            self.backlog.due = u64::MAX;
        }
    }

    fn requeue(&mut self, slot: PortSlot, queue: u32, mut packet: Packet, as_was: (Size, u64)) {
        let Some(outlet) = self.outlets.get_mut(usize::from(slot.0)) else {
            return;
        };
        let Some(shaped) = &mut outlet.shaped else {
            packet.meta_mut().queue = 0;
            return self.stage(slot, packet);
        };
        let chosen = shaped.shaper.queues().choose(queue);
        let place = chosen.map_or(0, |queue| queue.place);
        if let Err((packet, _)) = self.backlog.push(shaped, place, packet, as_was) {
            self.drop(DropReason::QueueFull, packet);
        }
    }
}

/// What a packet counts as.
#[inline]
fn size(packet: &Packet) -> Size {
    let (packets, bytes) = on_wire(packet);
    Size {
        packets: u32::try_from(packets).unwrap_or(u32::MAX),
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
    }
}
