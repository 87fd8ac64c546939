//! Packets that the cache does not know: they walk the tables, and what comes out is remembered.

use net::parse::Layout;
use packet::Packet;

use super::Worker;
use super::whole_port::WholePort;
use crate::cache::Lookup;
use crate::connections;
use crate::effects;
use crate::egress::Egress;
use crate::execute;
use crate::facts::Facts;
use crate::program::{Binding, Code, Program, Reach};
use crate::telemetry;
use crate::tunnel::{entropy::entropy, too_big};
use crate::walk::{self, Frame, World};
use crate::{Counter, DropReason, PortMap};

impl Worker {
    /// Walks the tables with a packet, runs the program and remembers it.
    #[cold]
    pub(super) fn slow(&mut self, packet: Packet, facts: &Facts, lookup: &Lookup, now: u64) {
        let stage = self.egress.probe.enter(telemetry::Stage::Walk);
        self.walk(packet, facts, lookup, now);
        self.egress.probe.enter(stage);
    }

    fn walk(&mut self, mut packet: Packet, facts: &Facts, lookup: &Lookup, now: u64) {
        packet.meta_mut().in_port = facts.in_port;
        let mut flow_key = self.scratch;
        let head = packet.head();
        let layout = match net::parse::extract(head, packet.len(), &mut flow_key) {
            Ok(layout) => layout,
            Err(fault) => {
                self.shared.counters(self.index).malformed(fault);
                return self.egress.drop(DropReason::Malformed, packet);
            }
        };
        if let Some(fault) = layout.malformed {
            self.shared.counters(self.index).malformed(fault);
        }
        flow_key.in_port = facts.in_port.into();
        flow_key.in_phy_port = flow_key.in_port;
        if let Some(tunnel) = &facts.tunnel {
            tunnel.apply(&mut flow_key);
            if let Some(uplink) = self.ports.uplink_of(tunnel.dst) {
                flow_key.in_phy_port = uplink.0.into();
            }
        }
        let frame = Frame {
            head,
            layout: &layout,
            len: packet.len(),
            wire_len: execute::wire_len(&packet),
        };
        let hash = entropy(&self.hash_key, head, &layout);
        let (program, binding) = walk::walk(self.world(now), frame, &flow_key);
        if program.fragment.is_some() {
            let verdict = (&program, &binding);
            return self.fragment(verdict, packet, &layout, (facts, hash), now);
        }
        self.egress.probe.enter(telemetry::Stage::Execute);
        self.run_once(&program, &binding, packet, &layout, hash, now);
        self.egress.probe.enter(telemetry::Stage::Walk);
        let Some(program) = self.learn_port(facts, program) else {
            return;
        };
        if !lookup.is_valid {
            return;
        }
        match program.cacheable {
            true => {
                let (epoch, pipeline) = (self.epoch, &self.pipeline);
                let key = (&lookup.key, lookup.hash);
                self.cache
                    .insert(key, program, &binding, (epoch, now), pipeline);
            }
            false => self
                .shared
                .counters(self.index)
                .add(Counter::CacheBypass, 1),
        }
    }

    /// Remembers what is done with packets of a port, whatever they are; gives the program back if
    /// it does not hold for all of them.
    fn learn_port(&mut self, facts: &Facts, program: Program) -> Option<Program> {
        let reach = program.reach;
        if reach == Reach::Alike || !self.cache.is_on() || facts.tunnel.is_some() {
            return Some(program);
        }
        let mut inputs = self.inputs.iter_mut();
        let from = inputs.find(|i| i.number == facts.in_port && i.endpoints.is_empty());
        let Some(input) = from else {
            return Some(program);
        };
        let for_others = program.clone();
        let whole = WholePort::new(program, self.epoch);
        let holds_for_all = whole.holds_for_all();
        if let Some(mut old) = input.whole.replace(whole) {
            old.flush(&self.pipeline);
        }
        (!holds_for_all).then_some(for_others)
    }

    /// Runs a program for one packet and counts it.
    pub(super) fn run_once(
        &mut self,
        program: &Program,
        binding: &Binding,
        packet: Packet,
        layout: &Layout,
        hash: u64,
        now: u64,
    ) {
        let bytes = packet.len() as u64;
        program.hits.count(&self.pipeline, 1, bytes, now);
        let code = &program.code;
        connections::count(&code.checks, &binding.conns, &self.shared.conns, bytes);
        let shared = (&*self.shared, self.index);
        let frame = (packet.head(), layout);
        effects::run(&code.effects, &self.pipeline, shared, frame, now);
        let from = packet.meta().in_port;
        report_too_big(code, &mut self.egress, &self.ports, (&packet, from), layout);
        let operands = &binding.operands;
        execute::run(code, operands, &mut self.egress, packet, layout, hash, now);
    }

    pub(super) fn world(&self, now: u64) -> World<'_> {
        World {
            pipeline: &self.pipeline,
            conns: &self.shared.conns,
            ports: &self.ports,
            neighbors: &self.shared.neighbors,
            fdb: &self.shared.fdb,
            fragments: &self.shared.fragments,
            counters: self.shared.counters(self.index),
            select_seed: self.shared.config.select_seed,
            invalid_ttl_to_controller: self
                .shared
                .invalid_ttl_to_controller
                .load(std::sync::atomic::Ordering::Relaxed),
            now,
        }
    }
}

/// Tells the sender of a packet that is too big for the tunnel it is about to go into. This is
/// done before the packet is changed, because the sender must recognise it.
pub(super) fn report_too_big(
    code: &Code,
    egress: &mut Egress,
    ports: &PortMap,
    (packet, from): (&Packet, u32),
    layout: &Layout,
) {
    let mtu = code.inner_mtu;
    if mtu == 0 || !execute::exceeds(packet, layout, mtu) || !egress.may_send_error() {
        return;
    }
    let back = ports.get(net::PortNo(from));
    let Some(back) = back.filter(|port| port.is_device() && port.refuses_tx().is_none()) else {
        return;
    };
    if let Some(frame) = too_big::error(packet.head(), layout, mtu) {
        egress.send_bytes(back.slot, &frame);
    }
}
