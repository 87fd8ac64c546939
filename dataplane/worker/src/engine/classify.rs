//! From a received packet to its exact key, on the way out of its tunnel if it is in one.

use net::exact::{self, ExactKey, HashKey, TunnelKey, Uncacheable};
use net::parse::{HEADER_BYTES, Layout};
use net::{FlowKey, PortNo};
use packet::Packet;

use super::Input;
use crate::egress::Egress;
use crate::tunnel::endpoint::{self, Arrival};
use crate::{Counter, DropReason, PortMap};

/// What is known of a packet.
#[derive(Clone, Default)]
pub(super) struct Facts {
    pub key: ExactKey,
    /// False: it needs the complete parser, and `key`, `hash` and `layout` mean nothing.
    pub has_key: bool,
    pub hash: u64,
    /// Where its headers are.
    pub layout: Layout,
    pub in_port: u32,
    pub tunnel: Option<TunnelKey>,
}

/// Reads a packet's key. None if this node's tunnel endpoint used the packet up, or it was dropped.
#[inline]
pub(super) fn classify(
    mut packet: Packet,
    facts: &mut Facts,
    input: &Input,
    ports: &PortMap,
    hash_key: &HashKey,
    egress: &mut Egress,
    now: u64,
) -> Option<Packet> {
    if packet.segment_count() > 1 {
        let headers = packet.len().min(HEADER_BYTES);
        packet.pull_up(headers);
    }
    packet.meta_mut().in_port = input.number;
    facts.in_port = input.number;
    facts.tunnel = None;
    let fault = read(&packet, facts, hash_key);
    if input.endpoints.is_empty() {
        return Some(packet);
    }
    at_endpoint(packet, facts, fault, input, ports, hash_key, egress, now)
}

/// Reads the exact key at the packet's start.
#[inline]
fn read(packet: &Packet, facts: &mut Facts, hash_key: &HashKey) -> Option<Uncacheable> {
    let (head, len) = (packet.head(), packet.len());
    let tunnel = facts.tunnel.as_ref();
    match exact::read(head, len, facts.in_port, tunnel, &mut facts.key) {
        Ok(layout) => {
            facts.layout = layout;
            facts.hash = hash_key.hash(&facts.key);
            facts.has_key = true;
            None
        }
        Err(fault) => {
            facts.has_key = false;
            facts.hash = 0;
            Some(fault)
        }
    }
}

/// A packet from an uplink: it may be for one of this node's tunnel endpoints.
#[allow(clippy::too_many_arguments)] // the stage's own, and what it hands on
fn at_endpoint(
    mut packet: Packet,
    facts: &mut Facts,
    fault: Option<Uncacheable>,
    input: &Input,
    ports: &PortMap,
    hash_key: &HashKey,
    egress: &mut Egress,
    now: u64,
) -> Option<Packet> {
    for at in &input.endpoints {
        let Some(endpoint) = ports.endpoints().get(usize::from(*at)) else {
            continue;
        };
        let head = packet.head();
        let arrival = match fault {
            None => endpoint::ordinary(ports, endpoint, head, &facts.layout),
            Some(Uncacheable::Ethertype | Uncacheable::NeighbourDiscovery) => {
                let mut key = FlowKey::default();
                let neighbors = &egress.shared.neighbors;
                match net::parse::extract(head, packet.len(), &mut key) {
                    Ok(layout) => {
                        endpoint::resolution(neighbors, endpoint, head, &key, &layout, now)
                    }
                    Err(_) => Arrival::Pass,
                }
            }
            Some(Uncacheable::Malformed | Uncacheable::Extension) => Arrival::Pass,
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
            Arrival::Inner { port, key, trim } => {
                counters.add(Counter::TunnelDecap, 1);
                return unwrap(packet, facts, (port, key, trim), hash_key, egress);
            }
        }
        return None;
    }
    Some(packet)
}

fn unwrap(
    mut packet: Packet,
    facts: &mut Facts,
    (port, key, trim): (PortNo, TunnelKey, usize),
    hash_key: &HashKey,
    egress: &mut Egress,
) -> Option<Packet> {
    if !endpoint::unwrap(&mut packet, trim) {
        egress.drop(DropReason::TunnelMalformed, packet);
        return None;
    }
    if packet.segment_count() > 1 {
        let headers = packet.len().min(HEADER_BYTES);
        packet.pull_up(headers);
    }
    packet.meta_mut().in_port = port.0;
    facts.in_port = port.0;
    facts.tunnel = Some(key);
    read(&packet, facts, hash_key);
    Some(packet)
}
