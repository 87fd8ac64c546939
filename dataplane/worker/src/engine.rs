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
use net::tcp::TcpInfo;
use packet::{Packet, Pool};
use ports::{BURST, Burst};
use tables::Pipeline;

use crate::cache::{Bound, CodeId, FlowCache, FlowId, Found, Lookup, ProgramId};
use crate::connections;
use crate::effects;
use crate::egress::Egress;
use crate::execute::{self, Together};
use crate::facts::Facts;
use crate::program::{ANY_LENGTH, Asks};
use crate::shared::Shared;
use crate::telemetry;
use crate::tunnel::entropy::entropy;
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

    /// Runs what was found for a burst. Neighbours for which the same is to be done are a group.
    fn handle_all(
        &mut self,
        packets: &mut Burst,
        facts: &mut [Facts],
        lookups: &[Lookup],
        now: u64,
    ) {
        let found_at = self.cache.changes();
        let (mut hits, mut group) = (0, Group::default());
        for (at, (packet, lookup)) in packets.drain(..).zip(lookups).enumerate() {
            let Some(fact) = facts.get_mut(at) else { break };
            let code = self.admit(&packet, fact, lookup, found_at, now);
            if code.is_none() || code != group.code {
                hits += self.run_group(&mut group, facts, lookups, found_at, now);
                (group.code, group.start) = (code, at);
            }
            match (code, facts.get(at)) {
                (Some(_), _) => group.packets.push(packet),
                (None, Some(facts)) => self.slow(packet, facts, lookup, now),
                (None, None) => {}
            }
        }
        hits += self.run_group(&mut group, facts, lookups, found_at, now);
        if hits != 0 {
            let counters = self.shared.counters(self.index);
            counters.add(Counter::CacheHits, hits as u64);
        }
    }

    /// Asks for the connections of a burst.
    #[inline]
    fn prefetch_connections(&self, lookups: &[Lookup]) {
        let conns = &self.shared.conns;
        if !self.cache.has_connections() {
            return;
        }
        for found in lookups.iter().filter_map(Lookup::found) {
            let Some(bound) = self.cache.bound(found.flow) else {
                continue;
            };
            match self.cache.asks(found.program) {
                Some(Asks::Connection(direction, _)) => conns.prefetch(bound.conn(), direction),
                Some(Asks::Various) => {
                    if let Some(code) = self.cache.code_of(found.program) {
                        connections::prefetch(&code.checks, bound.conns(), conns);
                    }
                }
                _ => {}
            }
        }
    }

    /// What is to be done with a packet, which is counted if that is known. None if it has to walk.
    #[inline(always)]
    fn admit(
        &mut self,
        packet: &Packet,
        facts: &mut Facts,
        lookup: &Lookup,
        found_at: u64,
        now: u64,
    ) -> Option<CodeId> {
        // Fast and slow path part here.
        let Some(found) = self.flow_of(lookup, found_at) else {
            let counter = match lookup.is_valid {
                true => Counter::CacheMisses,
                false => Counter::CacheBypass,
            };
            self.shared.counters(self.index).add(counter, 1);
            return None;
        };
        let epoch = self.epoch;
        let active = self.cache.active(found.program)?;
        let (code, asks) = (active.code, active.asks);
        let lasts = active.min_ttl == 0 || ttl(packet, &facts.layout) >= active.min_ttl;
        let holds = active.epoch == epoch || self.ask(found.program);
        let suits = match asks {
            Asks::Nothing => true,
            // Not without the rest: a connection must not be told of a packet that walks.
            _ if !lasts || !holds => false,
            Asks::Connection(direction, expected) => {
                let conns = &self.shared.conns;
                self.cache.bound(found.flow).is_some_and(|bound| {
                    facts.given = bound.given();
                    let tcp = TcpInfo::read(packet.head(), &facts.layout);
                    let (tcp, bytes) = (tcp.as_ref(), packet.len() as u64);
                    conns.carry(bound.conn(), direction, expected, tcp, bytes, now)
                })
            }
            Asks::Various => self.suits(code, found.flow, packet, facts, now),
        };
        if !lasts || !holds || !suits {
            let counters = self.shared.counters(self.index);
            counters.add(Counter::CacheStale, 1);
            return None;
        }
        self.cache.active(found.program)?.count(packet.len(), now);
        Some(code)
    }

    /// True if a program holds in this epoch too.
    #[cold]
    fn ask(&mut self, program: ProgramId) -> bool {
        let (epoch, pipeline, ports) = (self.epoch, &self.pipeline, &self.ports);
        self.cache.holds(program, epoch, pipeline, ports)
    }

    /// True if what is done is right for this packet too: what that takes for granted besides the
    /// exact key holds. Nothing but connections has been changed when this says no.
    #[inline(always)]
    fn suits(
        &self,
        code: CodeId,
        flow: FlowId,
        packet: &Packet,
        facts: &mut Facts,
        now: u64,
    ) -> bool {
        let Some(code) = self.cache.code(code) else {
            return false;
        };
        let (shared, layout) = (&*self.shared, &facts.layout);
        if code.lengths != ANY_LENGTH {
            let (shortest, longest) = code.lengths;
            if !(shortest..=longest).contains(&(execute::wire_len(packet) as u32)) {
                return false;
            }
        }
        if !code.macs.is_empty() && !shared.fdb.hold(&code.macs, now) {
            return false;
        }
        if !code.checks.is_empty() || code.translates {
            let Some(bound) = self.cache.bound(flow) else {
                return false;
            };
            let (conns, checks) = (&shared.conns, &code.checks);
            if !connections::carry(checks, bound.conns(), conns, packet, layout, now) {
                return false;
            }
            facts.given = bound.given();
        }
        if code.encapsulates {
            facts.entropy = entropy(&self.hash_key, packet.head(), &facts.layout);
        }
        true
    }

    /// Does what is to be done with a group, and empties it; says how many packets it had.
    #[inline]
    fn run_group(
        &mut self,
        group: &mut Group,
        facts: &mut [Facts],
        lookups: &[Lookup],
        found_at: u64,
        now: u64,
    ) -> usize {
        let count = group.packets.len();
        let range = group.start..group.start + count;
        let (Some(id), Some(facts)) = (group.code.take(), facts.get_mut(range.clone())) else {
            return 0;
        };
        let Some(code) = self.cache.code(id) else {
            return 0;
        };
        let (mtu, packets) = (code.inner_mtu, &mut group.packets);
        let may_exceed = |packet: &Packet| execute::may_exceed(packet, mtu);
        if code.in_step && code.effects.is_empty() && (mtu == 0 || !packets.iter().any(may_exceed))
        {
            let egress = &mut self.egress;
            execute::run_together(code, Together::Parsed, packets, facts, egress, now);
            return count;
        }
        let lookups = lookups.get(range).unwrap_or_default();
        for ((packet, facts), lookup) in packets.drain(..).zip(facts).zip(lookups) {
            let flow = match self.cache.changes() == found_at {
                true => lookup.found(),
                false => self.cache.peek(&lookup.key, lookup.hash),
            };
            let operands = match flow {
                Some(found) if code.translates => self.cache.bound(found.flow).map(Bound::operands),
                _ => None,
            };
            let layout = &facts.layout;
            if !code.effects.is_empty() {
                let (shared, frame) = ((&*self.shared, self.index), (packet.head(), layout));
                effects::run(&code.effects, &self.pipeline, shared, frame, now);
            }
            let from = facts.in_port;
            slow::report_too_big(code, &mut self.egress, &self.ports, (&packet, from), layout);
            let (operands, hash) = (operands.unwrap_or_default(), facts.entropy);
            let egress = &mut self.egress;
            execute::run(code, &operands, egress, packet, layout, hash, now);
        }
        count
    }

    /// The flow that was found. If a packet of the same burst has changed the cache since then, what
    /// was found may be gone and its place another's.
    #[inline(always)]
    fn flow_of(&mut self, lookup: &Lookup, found_at: u64) -> Option<Found> {
        if self.cache.changes() == found_at {
            return lookup.found();
        }
        match lookup.is_valid {
            true => self.cache.find(&lookup.key, lookup.hash),
            false => None,
        }
    }
}

/// Packets that came one behind the other and for which the same is to be done.
#[derive(Default)]
struct Group {
    /// None: there are none.
    code: Option<CodeId>,
    /// Where the first one is in the burst.
    start: usize,
    packets: Burst,
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
