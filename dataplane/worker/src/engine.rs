//! The worker's loop: take a burst, find each packet's program, run it, send.
//!
//! One round ([`Worker::poll`]):
//! 1. adopt new tables and ports, carry out commands;
//! 2. take a burst from each port;
//! 3. read each packet's exact key, taking it out of its tunnel first if it is in one ([`classify`]);
//! 4. find its program in the cache; walk the tables if there is none, or it no longer holds;
//! 5. run the program, for neighbours together ([`known`]), which stages packets for ports; send what is
//!    staged.

mod classify;
mod control;
mod fragments;
mod known;
mod placement;
mod slow;
mod whole_port;

use std::sync::Arc;

use arrayvec::ArrayVec;
use crossbeam_channel::Receiver;
use net::FlowKey;
use net::exact::{HashKey, KeyMask};
use packet::{Packet, Pool};
use ports::{BURST, Burst};
use tables::Pipeline;

use crate::cache::{FlowCache, Lookup};
use crate::egress::Egress;
use crate::facts::Facts;
use crate::shared::Shared;
use crate::telemetry;
use crate::{Command, Counter, DropReason, PortMap, PortSlot};
use classify::Stage;
use whole_port::WholePort;

/// One worker with everything it owns.
pub struct Worker {
    shared: Arc<Shared>,
    index: usize,
    commands: Receiver<Command>,
    pipeline: Arc<Pipeline>,
    ports: Arc<PortMap>,
    /// Advances when tables or ports do; a program found valid in this epoch is valid.
    epoch: u64,
    egress: Egress,
    cache: FlowCache,
    hash_key: HashKey,
    /// What of them the tables look at.
    mask: KeyMask,
    /// Ports that this worker receives from.
    inputs: Vec<Input>,
    spread: placement::Spread,
    /// What is known of the packets of a burst; kept here to be written in place.
    facts: Vec<Facts>,
    lookups: Vec<Lookup>,
    /// Zero but for what `extract` leaves alone.
    scratch: FlowKey,
    housekeeping: control::Housekeeping,
    stopped: bool,
}

/// A port that is received from.
struct Input {
    slot: PortSlot,
    number: u32,
    /// Why nothing is taken from it now.
    closed: Option<DropReason>,
    /// Endpoints behind it, by their places in the port map.
    endpoints: ArrayVec<u16, 8>,
    /// What is done with every packet of the port, if its tables look at none.
    whole: Option<WholePort>,
    account: placement::Account,
}

impl Input {
    fn new(slot: PortSlot, account: placement::Account) -> Self {
        Input {
            slot,
            number: 0,
            closed: Some(DropReason::PortDown),
            endpoints: ArrayVec::new(),
            whole: None,
            account,
        }
    }
}

impl Worker {
    /// The worker of an index; it does nothing until it is polled.
    pub fn new(
        shared: Arc<Shared>,
        index: usize,
        pool: Pool,
        commands: Receiver<Command>,
        hash_seed: [u64; 2],
    ) -> Self {
        let pipeline = shared.tables.load();
        let ports = shared.ports();
        let mut egress = Egress::new(shared.clone(), index, pool);
        egress.adopt(&ports);
        Worker {
            cache: FlowCache::new(shared.config.cache_entries),
            hash_key: HashKey::new(hash_seed),
            mask: KeyMask::new(pipeline.looks_at()),
            index,
            commands,
            pipeline,
            ports,
            epoch: 1,
            egress,
            inputs: Vec::new(),
            spread: placement::Spread::new(shared.workers()),
            facts: vec![Facts::default(); BURST],
            lookups: vec![Lookup::default(); BURST],
            scratch: FlowKey::default(),
            housekeeping: control::Housekeeping::default(),
            stopped: false,
            shared,
        }
    }

    /// One round at `now` nanoseconds; says how many packets it took.
    pub fn poll(&mut self, now: u64) -> usize {
        self.egress.probe.begin();
        self.egress.begin(now);
        self.control(now);
        let mut taken = 0;
        for at in 0..self.inputs.len() {
            let mut burst = Burst::new();
            taken += self.take(at, &mut burst);
            if !burst.is_empty() {
                self.receive(at, &mut burst, now);
            }
        }
        self.egress.probe.enter(telemetry::Stage::Rx);
        self.close_accounts(taken);
        taken += self.take_handovers(now);
        self.egress.probe.enter(telemetry::Stage::Tx);
        self.egress.flush();
        let telemetry = self.shared.telemetry(self.index);
        self.egress.probe.end(taken, telemetry);
        taken
    }

    /// When it must be polled though nothing comes, because packets wait for their turn: nanoseconds, or none.
    pub fn due(&self) -> Option<u64> {
        self.egress.due()
    }

    /// True once it was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// One burst from one port.
    fn receive(&mut self, at: usize, burst: &mut Burst, now: u64) {
        let Some(input) = self.inputs.get_mut(at) else {
            return;
        };
        let counters = self.shared.counters(self.index);
        let bytes: usize = burst.iter().map(Packet::len).sum();
        counters.add(Counter::RxPackets, burst.len() as u64);
        counters.add(Counter::RxBytes, bytes as u64);
        if let Some(reason) = input.closed {
            counters.drop(reason, burst.len() as u64);
            burst.clear();
            return;
        }
        // Stages over arrays: what one of them needs next is on its way into the cache
        // while it works on what came before.
        let mut facts = std::mem::take(&mut self.facts);
        if let Some(whole) = &mut input.whole {
            if input.endpoints.is_empty() && whole.holds(self.epoch, &self.pipeline, &self.ports) {
                self.egress.probe.enter(telemetry::Stage::Execute);
                let (key, egress) = (&self.hash_key, &mut self.egress);
                if let Some(packets) = whole.run(burst, &mut facts, egress, key, now) {
                    counters.add(Counter::CacheHits, packets as u64);
                    self.facts = facts;
                    return;
                }
            } else {
                whole.flush(&self.pipeline);
                input.whole = None;
            }
        }
        let input = &*input;
        let mut lookups = std::mem::take(&mut self.lookups);
        self.egress.probe.enter(telemetry::Stage::Classify);
        let stage = Stage {
            input,
            ports: &self.ports,
            hash_key: &self.hash_key,
            mask: &self.mask,
            now,
        };
        if input.endpoints.is_empty() {
            let all = burst.iter_mut().zip(&mut lookups).zip(&mut facts);
            for ((packet, lookup), facts) in all {
                stage.key(packet, lookup, facts);
                self.cache.prefetch(lookup.hash);
            }
        } else {
            for packet in burst.take() {
                let at = burst.len();
                if let (Some(lookup), Some(facts)) = (lookups.get_mut(at), facts.get_mut(at)) {
                    burst.extend(stage.classify(packet, lookup, facts, &mut self.egress));
                    self.cache.prefetch(lookup.hash);
                }
            }
        }
        self.egress.probe.enter(telemetry::Stage::Lookup);
        if let Some(lookups) = lookups.get_mut(..burst.len()) {
            self.cache.find_all(lookups);
            self.prefetch_connections(lookups);
        }
        self.egress.probe.enter(telemetry::Stage::Execute);
        self.handle_all(burst, &mut facts, &lookups, now);
        (self.facts, self.lookups) = (facts, lookups);
    }
}
