//! Where a worker's packets come from: ports it polls, rx queues of ports, and other workers; and how
//! a port goes from one worker to another without a packet being lost or overtaken.
//!
//! A port moves in these steps ([`crate::Workers::move_port`]):
//! 1. the port map says that the new worker has it. Workers hand their packets for it to the new one
//!    from now on, which keeps them until it has the device;
//! 2. when every worker has taken over that map, nothing more can come into the old worker's inbox
//!    for the port. The old worker takes all that is there, sends what it has staged, everywhere, and
//!    lets the device go ([`Worker::let_go`]);
//! 3. the new worker takes all that is in its inbox, which is all that the old one had for its ports,
//!    gets the device, sends what it has kept, and begins to poll ([`Worker::attach`]).

use std::sync::Arc;

use ports::{Burst, Port};

use super::{Input, Worker};
use crate::command::Part;
use crate::port_map::Placement;
use crate::shared::{Handover, Kind};
use crate::telemetry::Stage;
use crate::{Device, DropReason, PortSlot};

/// Packets taken from other workers in a round, at least, if there are so many.
const HANDOVERS: usize = 256;

/// Where an input's packets come from.
pub(super) enum Source {
    /// The device through which the port is sent to.
    Port,
    /// One rx queue of a device.
    Queue(Box<dyn Port>),
    /// Another worker polls the port, and spreads its packets.
    Others,
}

/// An rx queue as its worker keeps account of it.
pub(super) struct Account {
    pub source: Source,
    /// Which rx queue of the port.
    pub queue: u16,
    pub placement: Arc<Placement>,
    /// What the round that is timed has spent on it.
    ticks: u64,
}

impl Account {
    pub fn new(source: Source, queue: u16) -> Self {
        Account {
            source,
            queue,
            placement: Arc::default(),
            ticks: 0,
        }
    }
}

/// What a worker needs to spread packets, and to keep account.
pub(super) struct Spread {
    /// Packets on their way to each worker.
    bursts: Vec<Burst>,
    /// The input that is being charged, and since when.
    charging: Option<(usize, u64)>,
}

impl Spread {
    pub fn new(workers: usize) -> Self {
        Spread {
            bursts: (0..workers).map(|_| Burst::new()).collect(),
            charging: None,
        }
    }
}

impl Worker {
    /// Takes a burst from an input; says how many packets that were. Those that are for other workers
    /// are on their way there, and not in the burst.
    #[inline]
    pub(super) fn take(&mut self, at: usize, burst: &mut Burst) -> usize {
        self.egress.probe.enter(Stage::Rx);
        if self.egress.probe.is_on() {
            self.charge(Some(at));
        }
        let Some(input) = self.inputs.get_mut(at) else {
            return 0;
        };
        match &mut input.account.source {
            Source::Port => self.egress.rx(input.slot, burst),
            Source::Queue(queue) => queue.rx(burst),
            Source::Others => {}
        }
        let taken = burst.len();
        if taken == 0 {
            return 0;
        }
        if self.egress.probe.is_on() {
            self.egress.probe.stamp(burst);
            self.shared.telemetry(self.index).burst(taken);
        }
        let (slot, account) = (input.slot, &input.account);
        if let Some(queue) = account.placement.rx.get(usize::from(account.queue)) {
            queue.count(taken);
        }
        if account.placement.spread && self.spread.bursts.len() > 1 {
            self.spread(slot, burst);
        }
        taken
    }

    /// Takes what other workers have for this one; says how many packets.
    pub(super) fn take_handovers(&mut self, now: u64) -> usize {
        let mut taken = 0;
        while taken < HANDOVERS {
            match self.take_handover(now) {
                0 => break,
                packets => taken += packets,
            }
        }
        taken
    }

    /// Takes one burst from another worker.
    fn take_handover(&mut self, now: u64) -> usize {
        if self.spread.bursts.len() < 2 {
            return 0; // there are no others
        }
        let inbox = self.shared.inboxes.get(self.index);
        let Some(mut handover) = inbox.and_then(|inbox| inbox.pop()) else {
            return 0;
        };
        let packets = handover.packets.len();
        for packet in &handover.packets {
            self.egress.probe.arrived(packet);
        }
        match handover.kind {
            // Its sender has counted it as sent.
            Kind::Out => self.egress.stage_all(handover.slot, &mut handover.packets),
            Kind::In => self.receive_from_other(handover.slot, &mut handover.packets, now),
        }
        packets
    }

    /// Gives the rounds' account to the rx queues, if this round is timed.
    #[inline]
    pub(super) fn close_accounts(&mut self, taken: usize) {
        if self.egress.probe.is_on() {
            self.charge(None);
            for input in &mut self.inputs {
                let ticks = std::mem::take(&mut input.account.ticks);
                let account = &input.account;
                let queue = account.placement.rx.get(usize::from(account.queue));
                // A round without packets is not one of those that count.
                if let Some(queue) = queue.filter(|_| taken != 0) {
                    queue.charge(ticks);
                }
            }
        }
    }

    /// The time up to now is that of the input charged last; from now on it is another's.
    #[cold]
    fn charge(&mut self, next: Option<usize>) {
        let now = self.egress.probe.since();
        let charging = std::mem::replace(&mut self.spread.charging, next.map(|at| (at, now)));
        if let Some((at, since)) = charging
            && let Some(input) = self.inputs.get_mut(at)
        {
            input.account.ticks += now.wrapping_sub(since);
        }
    }

    /// Hands packets of other workers' flows over to them, and leaves our own in the burst.
    fn spread(&mut self, slot: PortSlot, burst: &mut Burst) {
        let (key, workers) = (self.shared.spread_key, self.spread.bursts.len());
        let own = self.index;
        for packet in burst.take() {
            // What has no addresses is always with whoever polls the port.
            let hash = net::spread::hash(&key, packet.head());
            let worker = hash.map_or(own, |hash| (hash as usize * workers) >> 32);
            match self.spread.bursts.get_mut(worker) {
                Some(theirs) if worker != own => theirs.push(packet),
                _ => burst.push(packet),
            }
        }
        for (worker, packets) in self.spread.bursts.iter_mut().enumerate() {
            if !packets.is_empty() {
                let packets = packets.take();
                let handover = Handover {
                    kind: Kind::In,
                    slot,
                    packets,
                };
                self.egress.hand_over(worker, handover);
            }
        }
    }

    fn receive_from_other(&mut self, slot: PortSlot, burst: &mut Burst, now: u64) {
        let find = |worker: &Self| worker.inputs.iter().position(|input| input.slot == slot);
        let mut at = find(self);
        if at.is_none() {
            // The port is newer than what this worker has taken over.
            self.adopt();
            at = find(self);
        }
        match at {
            Some(at) => self.receive(at, burst, now),
            None => {
                let counters = self.shared.counters(self.index);
                counters.drop(DropReason::NoPort, burst.len() as u64);
                burst.clear();
            }
        }
    }

    /// Makes inputs for the ports whose packets other workers spread, and forgets those of ports that
    /// are gone.
    pub(super) fn listen(&mut self) {
        let (ports, pipeline) = (&self.ports, &self.pipeline);
        self.inputs.retain_mut(|input| {
            let polled = !matches!(input.account.source, Source::Others);
            let stays = polled || ports.at(input.slot).is_some_and(|p| p.placement.spread);
            if let Some(whole) = input.whole.as_mut().filter(|_| !stays) {
                whole.flush(pipeline);
            }
            stays
        });
        for port in ports.iter().filter(|port| port.placement.spread) {
            if !self.inputs.iter().any(|input| input.slot == port.slot) {
                let account = Account::new(Source::Others, 0);
                self.inputs.push(Input::new(port.slot, account));
            }
        }
    }

    /// Takes over a port, or a part of it.
    pub(super) fn attach(&mut self, slot: PortSlot, part: Part, device: Device, now: u64) {
        // What was handed over before comes before what is received from now on.
        while self.take_handover(now) != 0 {}
        let (source, queue) = match part {
            Part::Whole => {
                self.egress.attach(slot, device.0);
                (Source::Port, 0)
            }
            Part::Rx(queue) => (Source::Queue(device.0), queue),
            Part::Tx => return self.egress.attach(slot, device.0),
        };
        let account = Account::new(source, queue);
        let waits = |input: &&mut Input| {
            input.slot == slot && matches!(input.account.source, Source::Others)
        };
        match self.inputs.iter_mut().find(waits) {
            Some(input) => input.account = account,
            None => self.inputs.push(Input::new(slot, account)),
        }
        self.refresh_inputs();
    }

    /// Lets go of an rx queue of a port, or of all of a port that is one part. All packets that came
    /// in by it so far are where they are to go, or in the inbox of the worker that sends them there.
    pub(super) fn let_go(&mut self, slot: PortSlot, queue: u16, now: u64) -> Option<Device> {
        while self.take_handover(now) != 0 {}
        self.flush_ports();
        self.egress.flush();
        let polled = |input: &Input| {
            let account = &input.account;
            let own = !matches!(account.source, Source::Others);
            input.slot == slot && account.queue == queue && own
        };
        let at = self.inputs.iter().position(polled)?;
        let input = self.inputs.remove(at);
        let device = match input.account.source {
            Source::Port => self.egress.detach(slot),
            Source::Queue(queue) => Some(queue),
            Source::Others => None,
        };
        // Those of the others' flows that are ours go on coming, if the port is spread.
        self.refresh_inputs();
        device.map(Device)
    }

    /// Gives back everything of a port that is gone.
    pub(super) fn detach(&mut self, slot: PortSlot) -> Vec<Device> {
        self.flush_ports();
        let mut devices = Vec::new();
        for at in (0..self.inputs.len()).rev() {
            if self.inputs.get(at).is_some_and(|input| input.slot == slot)
                && let Source::Queue(queue) = self.inputs.remove(at).account.source
            {
                devices.push(Device(queue));
            }
        }
        devices.extend(self.egress.detach(slot).map(Device));
        devices
    }
}
