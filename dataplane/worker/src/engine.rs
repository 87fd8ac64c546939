//! The worker's loop: take a burst, find each packet's program, run it, send.
//!
//! One round ([`Worker::poll`]):
//! 1. adopt new tables and ports, carry out commands;
//! 2. take a burst from each port;
//! 3. read each packet's exact key, taking it out of its tunnel first if it is in one ([`classify`]);
//! 4. find its program in the cache; walk the tables if there is none, or it no longer holds;
//! 5. run the program, which stages packets for ports; send what is staged.

mod classify;
mod control;
mod fragments;
mod placement;
mod slow;
mod whole_port;

use std::sync::Arc;

use arrayvec::ArrayVec;
use crossbeam_channel::Receiver;
use net::FlowKey;
use net::exact::{HashKey, KeyMask};
use net::parse::Layout;
use packet::{Packet, Pool};
use ports::{BURST, Burst};
use tables::Pipeline;

use crate::cache::{Cached, FlowCache, Lookup};
use crate::connections;
use crate::effects;
use crate::egress::Egress;
use crate::execute;
use crate::program::{ANY_LENGTH, Operands, Program};
use crate::shared::Shared;
use crate::telemetry;
use crate::tunnel::entropy::entropy;
use crate::{Command, Counter, DropReason, PortMap, PortSlot};
use classify::{Facts, Stage};
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
        if let Some(whole) = &mut input.whole {
            if input.endpoints.is_empty() && whole.holds(self.epoch, &self.pipeline, &self.ports) {
                self.egress.probe.enter(telemetry::Stage::Execute);
                let packets = whole.run(burst, &mut self.egress, now);
                counters.add(Counter::CacheHits, packets as u64);
                return;
            }
            whole.flush(&self.pipeline);
            input.whole = None;
        }
        let input = &*input;
        // Stages over arrays: what one of them needs next is on its way into the cache
        // while it works on what came before.
        let mut facts = std::mem::take(&mut self.facts);
        let mut lookups = std::mem::take(&mut self.lookups);
        self.egress.probe.enter(telemetry::Stage::Classify);
        let mut packets = Burst::new();
        let stage = Stage {
            input,
            ports: &self.ports,
            hash_key: &self.hash_key,
            mask: &self.mask,
            now,
        };
        for packet in burst.drain(..) {
            let at = packets.len();
            if let (Some(lookup), Some(facts)) = (lookups.get_mut(at), facts.get_mut(at)) {
                packets.extend(stage.classify(packet, lookup, facts, &mut self.egress));
                self.cache.prefetch(lookup.hash);
            }
        }
        self.egress.probe.enter(telemetry::Stage::Lookup);
        if let Some(lookups) = lookups.get_mut(..packets.len()) {
            self.cache.find_all(lookups);
            self.prefetch_connections(lookups);
        }
        self.egress.probe.enter(telemetry::Stage::Execute);
        let found_at = self.cache.changes();
        let mut hits = 0;
        for ((packet, facts), lookup) in packets.drain(..).zip(&facts).zip(&lookups) {
            hits += u64::from(self.handle(packet, facts, lookup, found_at, now));
        }
        (self.facts, self.lookups) = (facts, lookups);
        if hits != 0 {
            let counters = self.shared.counters(self.index);
            counters.add(Counter::CacheHits, hits);
        }
    }

    /// Asks for the connections of a burst.
    #[inline]
    fn prefetch_connections(&self, lookups: &[Lookup]) {
        let conns = &self.shared.conns;
        if !self.cache.has_connections() {
            return;
        }
        for flow in lookups.iter().filter_map(|lookup| lookup.found) {
            if let Some((program, bound)) = self.cache.peek(flow) {
                connections::prefetch(&program.checks, bound.conns(), conns);
            }
        }
    }

    /// One packet; true if it was handled by a cached program.
    #[inline]
    fn handle(
        &mut self,
        packet: Packet,
        facts: &Facts,
        lookup: &Lookup,
        found_at: u64,
        now: u64,
    ) -> bool {
        // Fast and slow path part here. If a packet of the same burst has changed the cache
        // since the lookup, what was found may be gone and its place another's.
        let program = match lookup.found {
            _ if !lookup.is_valid => None,
            found if self.cache.changes() == found_at => found,
            _ => self.cache.find(&lookup.key, lookup.hash),
        };
        let Some((cached, bound)) = program.and_then(|flow| self.cache.get(flow)) else {
            let counter = match lookup.is_valid {
                true => Counter::CacheMisses,
                false => Counter::CacheBypass,
            };
            self.shared.counters(self.index).add(counter, 1);
            self.slow(packet, facts, lookup, now);
            return false;
        };
        let holds = cached.epoch == self.epoch
            || is_current(cached, self.epoch, &self.pipeline, &self.ports);
        let program = &cached.program;
        if !holds
            || !suits(program, &packet, &facts.layout, &self.shared, now)
            || !connections::carry(
                &program.checks,
                bound.conns(),
                &self.shared.conns,
                &packet,
                &facts.layout,
                now,
            )
        {
            let counters = self.shared.counters(self.index);
            counters.add(Counter::CacheStale, 1);
            self.slow(packet, facts, lookup, now);
            return false;
        }
        let bytes = packet.len() as u64;
        cached.packets += 1;
        cached.bytes += bytes;
        cached.used = now;
        let program = &cached.program;
        if !program.effects.is_empty() {
            effects::run(
                &program.effects,
                &self.pipeline,
                (&self.shared, self.index),
                (packet.head(), &facts.layout),
                now,
            );
        }
        if program.inner_mtu != 0 {
            slow::report_too_big(
                program,
                &mut self.egress,
                &self.ports,
                &packet,
                &facts.layout,
            );
        }
        let hash = match program.encapsulates {
            true => entropy(&self.hash_key, packet.head(), &facts.layout),
            false => 0,
        };
        let operands = match program.translates {
            true => bound.operands(),
            false => Operands::default(),
        };
        execute::run(
            program,
            &operands,
            &mut self.egress,
            packet,
            &facts.layout,
            hash,
            now,
        );
        true
    }
}

/// True while what the program was made from is unchanged.
#[inline]
fn is_current(cached: &mut Cached, epoch: u64, pipeline: &Pipeline, ports: &PortMap) -> bool {
    if cached.epoch == epoch {
        return true;
    }
    let holds = cached.program.deps.hold(pipeline, ports);
    if holds {
        cached.epoch = epoch;
    }
    holds
}

/// True if the program is right for this packet too: what it takes for granted besides the exact
/// key holds. Nothing has been changed when this says no.
#[inline]
fn suits(program: &Program, packet: &Packet, layout: &Layout, shared: &Shared, now: u64) -> bool {
    let ttl_lasts = program.min_ttl == 0 || ttl(packet, layout) >= program.min_ttl;
    let (shortest, longest) = program.lengths;
    let of_length = program.lengths == ANY_LENGTH
        || (shortest..=longest).contains(&(execute::wire_len(packet) as u32));
    ttl_lasts && of_length && (program.macs.is_empty() || shared.fdb.hold(&program.macs, now))
}

fn ttl(packet: &Packet, layout: &Layout) -> u8 {
    use net::parse::Network;
    let offset = match layout.network {
        Network::Ipv4 => 8,
        Network::Ipv6 => 7,
        _ => return u8::MAX,
    };
    let at = usize::from(layout.l3) + offset;
    packet.head().get(at).copied().unwrap_or(0)
}
