//! What a worker does besides packets: new tables and ports, commands, timers.

use std::sync::Arc;

use net::exact::KeyMask;
use net::parse::extract;
use openflow::msg::Continuation;
use packet::Packet;

use super::Worker;
use crate::facts::Facts;
use crate::tunnel::endpoint;
use crate::tunnel::entropy::entropy;
use crate::walk::{self, Frame};
use crate::{Command, Counter, DropReason, PacketOut, PortKind, PortSlot};

/// Between looks at next hops.
const NEIGHBOR_TICK: u64 = 50_000_000;
/// Between looks at a part of the cache.
const SWEEP_TICK: u64 = 10_000_000;
/// Between looks at a part of the connections.
const EXPIRE_TICK: u64 = 100_000;
/// Expired connections removed then: some microseconds' work, 640,000 a second.
const EXPIRE_CONNECTIONS: u32 = 64;
/// The cache is looked through in so many of these: each flow every twenty seconds. One without
/// packets is forgotten when it is looked at for the second time.
const SWEEP_PARTS: usize = 2000;
/// The forwarding database is looked through in so many ticks.
const FDB_PARTS: usize = 64;

/// When what was done last.
#[derive(Default)]
pub(super) struct Housekeeping {
    neighbors: u64,
    sweep: u64,
    expire: u64,
    sweep_cursor: usize,
    fdb_part: usize,
}

impl Worker {
    /// Everything but packets, once per round.
    #[inline]
    pub(super) fn control(&mut self, now: u64) {
        self.adopt();
        if !self.commands.is_empty() {
            self.obey(now);
        }
        let due = self.shared.neighbors.is_due();
        if due || now.saturating_sub(self.housekeeping.neighbors) >= NEIGHBOR_TICK {
            self.housekeeping.neighbors = now;
            self.tick_neighbors(now);
        }
        if self.egress.has_waiting() {
            self.egress.retry_waiting();
        }
        if now.saturating_sub(self.housekeeping.expire) >= EXPIRE_TICK {
            self.housekeeping.expire = now;
            self.shared.conns.expire(now, EXPIRE_CONNECTIONS);
        }
        if now.saturating_sub(self.housekeeping.sweep) >= SWEEP_TICK {
            self.housekeeping.sweep = now;
            if self.index == 0 {
                let part = &mut self.housekeeping.fdb_part;
                *part = (*part + 1) % FDB_PARTS;
                self.shared.fdb.expire(*part, FDB_PARTS, now);
                self.expire_fragments(now);
            }
            self.sweep();
        }
    }

    /// Takes over new tables and ports, if there are any.
    #[inline]
    pub(super) fn adopt(&mut self) {
        if self.shared.tables.generation() != self.pipeline.generation() {
            let pipeline = self.shared.tables.load();
            if !Arc::ptr_eq(pipeline.looks_at(), self.pipeline.looks_at()) {
                // Flows that are cached under the old mask need not be forgotten. A program holds
                // for every packet that agrees with its key in all that was looked at when it was
                // made; what rules look at since then is asked when it is checked.
                self.mask = KeyMask::new(pipeline.looks_at());
            }
            self.pipeline = pipeline;
            self.epoch += 1;
        }
        if self.shared.ports_generation() != self.ports.generation() {
            self.ports = self.shared.ports();
            self.epoch += 1;
            self.egress.adopt(&self.ports);
            self.refresh_inputs();
        }
    }

    pub(super) fn refresh_inputs(&mut self) {
        self.listen();
        let ports = &self.ports;
        for input in &mut self.inputs {
            let Some(port) = ports.at(input.slot) else {
                input.closed = Some(DropReason::PortDown);
                continue;
            };
            if input.number != port.number.0
                && let Some(mut old) = input.whole.take()
            {
                old.flush(&self.pipeline);
            }
            input.number = port.number.0;
            input.account.placement = port.placement.clone();
            input.closed = port.refuses_rx();
            let endpoints = ports.endpoints().iter().enumerate();
            input.endpoints = endpoints
                .filter(|(_, endpoint)| endpoint.uplink == input.slot)
                .map(|(at, _)| at as u16)
                .take(input.endpoints.capacity())
                .collect();
        }
    }

    #[cold]
    fn obey(&mut self, now: u64) {
        // What was published before a command was sent must be in force when it is obeyed.
        while let Ok(command) = self.commands.try_recv() {
            self.adopt();
            match command {
                Command::Attach {
                    slot,
                    part,
                    device,
                    reply,
                } => {
                    self.attach(slot, part, device, now);
                    reply.send(());
                }
                Command::Release { slot, queue, reply } => {
                    reply.send(self.let_go(slot, queue, now));
                }
                Command::Detach { slot, reply } => reply.send(self.detach(slot)),
                Command::PacketOut(packet) => self.packet_out(&packet, None, now),
                Command::Resume(packet, rest) => self.packet_out(&packet, Some(&rest), now),
                Command::Barrier(reply) => reply.send(()),
                Command::Sync(reply) => {
                    self.cache.flush_counts(&self.pipeline);
                    self.flush_ports();
                    self.egress.flush();
                    self.report_cache();
                    reply.send(());
                }
                Command::FlushCache(reply) => {
                    self.cache.clear(&self.pipeline);
                    self.flush_ports();
                    for input in &mut self.inputs {
                        input.whole = None;
                    }
                    self.report_cache();
                    reply.send(());
                }
                Command::Stop => self.stopped = true,
            }
        }
    }

    pub(super) fn flush_ports(&mut self) {
        for whole in self.inputs.iter_mut().filter_map(|i| i.whole.as_mut()) {
            whole.flush(&self.pipeline);
        }
    }

    fn packet_out(&mut self, out: &PacketOut, rest: Option<&Continuation>, now: u64) {
        self.shared.counters(self.index).add(Counter::PacketOuts, 1);
        let Some(mut packet) = Packet::from_slice(&self.egress.pool, &out.data) else {
            return self.egress.count_drop(DropReason::NoMemory);
        };
        let headers = packet.len().min(net::parse::HEADER_BYTES);
        packet.pull_up(headers);
        packet.meta_mut().in_port = out.in_port.0;
        let mut key = self.scratch;
        let layout = match extract(packet.head(), packet.len(), &mut key) {
            Ok(layout) => layout,
            Err(_) => return self.egress.drop(DropReason::Malformed, packet),
        };
        key.in_port = out.in_port.0.into();
        key.in_phy_port = key.in_port;
        for given in out.fields.iter() {
            let slot = given.field.info().slot;
            slot.set(&mut key, given.value, given.mask);
        }
        let frame = Frame {
            head: packet.head(),
            layout: &layout,
            len: packet.len(),
            wire_len: packet.len(),
        };
        let world = self.world(now);
        let (program, binding) = match rest {
            Some(rest) => walk::resume(world, frame, &key, rest),
            None => walk::packet_out(world, frame, &key, &out.actions),
        };
        match &program.fragment {
            Some(_) => {
                let (verdict, facts) = ((&program, &binding), Facts::default());
                self.fragment(verdict, packet, &layout, (&facts, now), now);
            }
            None => {
                let hash = entropy(&self.hash_key, packet.head(), &layout);
                self.run_once(&program, &binding, packet, &layout, hash, now);
            }
        }
        self.egress.flush();
    }

    fn tick_neighbors(&mut self, now: u64) {
        let shared = self.shared.clone();
        let (ports, index) = (self.ports.clone(), self.index);
        let owner = |slot: PortSlot| match ports.at(slot).map(|port| &port.kind) {
            Some(PortKind::Device { worker }) => Some(*worker),
            _ => None,
        };
        let egress = &mut self.egress;
        shared.neighbors.tick(
            &ports,
            now,
            |endpoint| owner(endpoint.uplink) == Some(index),
            |question| {
                let Some(endpoint) = ports.endpoints().get(question.endpoint) else {
                    return;
                };
                if let Some(frame) = endpoint::question(endpoint, question) {
                    egress.send_bytes(endpoint.uplink, &frame);
                }
            },
        );
    }

    fn sweep(&mut self) {
        let (pipeline, ports, epoch) = (self.pipeline.clone(), self.ports.clone(), self.epoch);
        let cursor = &mut self.housekeeping.sweep_cursor;
        let part = self.cache.buckets().div_ceil(SWEEP_PARTS);
        self.cache
            .sweep(cursor, part, &pipeline, |programs, program| {
                !programs.holds(program, epoch, &pipeline, &ports)
            });
        self.report_cache();
    }

    fn report_cache(&mut self) {
        let counters = self.shared.counters(self.index);
        let counts = self.cache.take_counts();
        counters.add(Counter::CacheInserts, counts.inserts);
        counters.add(Counter::CacheEvictions, counts.evictions);
        counters.set(Counter::CacheEntries, self.cache.len() as u64);
        counters.set(Counter::CachePrograms, self.cache.programs() as u64);
        counters.set(Counter::CacheCapacity, self.cache.capacity() as u64);
        counters.set(Counter::CacheBytes, self.cache.memory() as u64);
    }
}
