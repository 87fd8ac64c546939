//! Packets whose programs are known: asked one by one whether that holds for them, and done with in
//! groups ([ADR 33](../../../../docs/adr/0033-in-step.md)).

use net::parse::{Layout, Network};
use net::tcp::TcpInfo;
use packet::Packet;
use ports::Burst;

use super::{Worker, slow};
use crate::Counter;
use crate::cache::{Bound, CodeId, FlowId, Found, Lookup, ProgramId};
use crate::connections;
use crate::effects;
use crate::execute::{self, Together};
use crate::facts::Facts;
use crate::program::{ANY_LENGTH, Asks};
use crate::tunnel::entropy::entropy;

impl Worker {
    /// Runs what was found for a burst. Neighbours for which the same is to be done are a group.
    pub(super) fn handle_all(
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
    pub(super) fn prefetch_connections(&self, lookups: &[Lookup]) {
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
    let offset = match layout.network {
        Network::Ipv4 => 8,
        Network::Ipv6 => 7,
        _ => return u8::MAX,
    };
    let at = usize::from(layout.l3) + offset;
    packet.head().get(at).copied().unwrap_or(0)
}
