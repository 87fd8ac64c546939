//! From a received packet to its exact key, on the way out of its tunnel if it is in one.

use net::exact::{self, HashKey, KeyMask, TunnelKey, Uncacheable};
use net::parse::HEADER_BYTES;
use net::{FlowKey, PortNo};
use packet::Packet;

use super::Input;
use crate::cache::Lookup;
use crate::egress::Egress;
use crate::facts::Facts;
use crate::tunnel::endpoint::{self, Arrival};
use crate::{Counter, DropReason, PortMap};

/// What the stage works with.
pub(super) struct Stage<'a> {
    pub input: &'a Input,
    pub ports: &'a PortMap,
    pub hash_key: &'a HashKey,
    /// What the tables look at.
    pub mask: &'a KeyMask,
    pub now: u64,
}

impl Stage<'_> {
    /// Reads a packet's key, where there may be tunnel packets for this node. None if its endpoint used
    /// the packet up, or it was dropped.
    #[inline]
    pub fn classify(
        &self,
        mut packet: Packet,
        lookup: &mut Lookup,
        facts: &mut Facts,
        egress: &mut Egress,
    ) -> Option<Packet> {
        let fault = self.key(&mut packet, lookup, facts);
        self.at_endpoint(packet, lookup, facts, fault, egress)
    }

    /// Reads the key of a packet as it came.
    #[inline(always)]
    pub fn key(
        &self,
        packet: &mut Packet,
        lookup: &mut Lookup,
        facts: &mut Facts,
    ) -> Option<Uncacheable> {
        if packet.segment_count() > 1 {
            let headers = packet.len().min(HEADER_BYTES);
            packet.pull_up(headers);
        }
        facts.in_port = self.input.number;
        facts.tunnel = None;
        self.read(packet, lookup, facts)
    }

    /// Reads the exact key at the packet's start.
    #[inline(always)]
    fn read(&self, packet: &Packet, lookup: &mut Lookup, facts: &mut Facts) -> Option<Uncacheable> {
        let (head, len) = (packet.head(), packet.len());
        let tunnel = facts.tunnel.as_ref();
        let (key, layout) = (&mut lookup.key, &mut facts.layout);
        match exact::read_into(head, len, facts.in_port, tunnel, self.mask, key, layout) {
            Ok(()) => {
                lookup.hash = self.hash_key.hash(&lookup.key);
                lookup.is_valid = true;
                None
            }
            Err(fault) => {
                lookup.is_valid = false;
                lookup.hash = 0;
                Some(fault)
            }
        }
    }

    /// A packet from an uplink: it may be for one of this node's tunnel endpoints.
    fn at_endpoint(
        &self,
        mut packet: Packet,
        lookup: &mut Lookup,
        facts: &mut Facts,
        fault: Option<Uncacheable>,
        egress: &mut Egress,
    ) -> Option<Packet> {
        let (input, ports) = (self.input, self.ports);
        for at in &input.endpoints {
            let Some(endpoint) = ports.endpoints().get(usize::from(*at)) else {
                continue;
            };
            let head = packet.head();
            let mut outer = facts.layout;
            let arrival = match fault {
                None => endpoint::ordinary(ports, endpoint, head, &outer),
                // The outer header of a tunnel may have extensions.
                Some(Uncacheable::Extension) => {
                    match net::parse::extract(head, packet.len(), &mut FlowKey::default()) {
                        Ok(layout) if layout.malformed.is_none() => {
                            outer = layout;
                            endpoint::ordinary(ports, endpoint, head, &outer)
                        }
                        _ => Arrival::Pass,
                    }
                }
                Some(Uncacheable::Ethertype | Uncacheable::NeighbourDiscovery) => {
                    let mut key = FlowKey::default();
                    let neighbors = &egress.shared.neighbors;
                    match net::parse::extract(head, packet.len(), &mut key) {
                        Ok(layout) => {
                            endpoint::resolution(neighbors, endpoint, head, &key, &layout, self.now)
                        }
                        Err(_) => Arrival::Pass,
                    }
                }
                Some(Uncacheable::Malformed | Uncacheable::Options) => Arrival::Pass,
            };
            let counters = egress.shared.counters(egress.index);
            match arrival {
                Arrival::Pass => continue,
                Arrival::Drop(reason) => {
                    egress.drop(reason, packet);
                    return None;
                }
                Arrival::Consumed => counters.add(Counter::EndpointPackets, 1),
                Arrival::Answer(frame) => {
                    counters.add(Counter::EndpointPackets, 1);
                    egress.send_bytes(input.slot, &frame);
                }
                Arrival::Echo => {
                    counters.add(Counter::EndpointPackets, 1);
                    match net::icmp::echo_reply(packet.head_mut(), &facts.layout) {
                        true => egress.send(input.slot, packet),
                        false => egress.drop(DropReason::Malformed, packet),
                    }
                }
                Arrival::Inner {
                    port,
                    key,
                    trim,
                    tos,
                } => {
                    if !endpoint::checksum_fits(&packet, &outer) {
                        egress.drop(DropReason::TunnelChecksum, packet);
                        return None;
                    }
                    counters.add(Counter::TunnelDecap, 1);
                    if !endpoint::unwrap(&mut packet, trim, outer.end) {
                        egress.drop(DropReason::TunnelMalformed, packet);
                        return None;
                    }
                    if packet.segment_count() > 1 {
                        let headers = packet.len().min(HEADER_BYTES);
                        packet.pull_up(headers);
                    }
                    if net::ecn::says_something(tos) && !endpoint::congestion(&mut packet, tos) {
                        egress.drop(DropReason::TunnelCongestion, packet);
                        return None;
                    }
                    return Some(self.inner(packet, lookup, facts, port, key));
                }
            }
            return None;
        }
        Some(packet)
    }

    /// A packet that came out of a tunnel.
    fn inner(
        &self,
        packet: Packet,
        lookup: &mut Lookup,
        facts: &mut Facts,
        port: PortNo,
        key: TunnelKey,
    ) -> Packet {
        facts.in_port = port.0;
        facts.tunnel = Some(key);
        self.read(&packet, lookup, facts);
        packet
    }
}
