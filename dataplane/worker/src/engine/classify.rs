//! From a received packet to its exact key, on the way out of its tunnel if it is in one.

use net::exact::{self, ExactKey, HashKey, TunnelKey, Uncacheable};
use net::parse::{HEADER_BYTES, Layout};
use net::{FlowKey, PortNo};
use packet::Packet;

use super::Input;
use crate::egress::Egress;
use crate::tunnel::endpoint::{self, Arrival};
use crate::{Counter, DropReason, PortMap};

/// A packet with what is known of it.
pub(super) struct Classified {
    pub packet: Packet,
    /// Where its headers are; meaningful if there is a key.
    pub layout: Layout,
    /// None: it needs the complete parser.
    pub key: Option<ExactKey>,
    pub hash: u64,
    pub in_port: u32,
    pub tunnel: Option<TunnelKey>,
}

/// Reads a packet's key. None if this node's tunnel endpoint used the packet up, or it was dropped.
#[inline]
pub(super) fn classify(
    mut packet: Packet,
    input: &Input,
    ports: &PortMap,
    hash_key: &HashKey,
    egress: &mut Egress,
    now: u64,
) -> Option<Classified> {
    if packet.segment_count() > 1 {
        let headers = packet.len().min(HEADER_BYTES);
        packet.pull_up(headers);
    }
    packet.meta_mut().in_port = input.number;
    let mut one = Classified {
        packet,
        layout: Layout::default(),
        key: None,
        hash: 0,
        in_port: input.number,
        tunnel: None,
    };
    let fault = read(&mut one, hash_key);
    if input.endpoints.is_empty() {
        return Some(one);
    }
    at_endpoint(one, fault, input, ports, hash_key, egress, now)
}

/// Reads the exact key at the packet's start.
#[inline]
fn read(one: &mut Classified, hash_key: &HashKey) -> Option<Uncacheable> {
    let mut key = ExactKey::default();
    let (head, len) = (one.packet.head(), one.packet.len());
    match exact::read(head, len, one.in_port, one.tunnel.as_ref(), &mut key) {
        Ok(layout) => {
            one.layout = layout;
            one.hash = hash_key.hash(&key);
            one.key = Some(key);
            None
        }
        Err(fault) => {
            one.key = None;
            one.hash = 0;
            Some(fault)
        }
    }
}

/// A packet from an uplink: it may be for one of this node's tunnel endpoints.
fn at_endpoint(
    mut one: Classified,
    fault: Option<Uncacheable>,
    input: &Input,
    ports: &PortMap,
    hash_key: &HashKey,
    egress: &mut Egress,
    now: u64,
) -> Option<Classified> {
    for at in &input.endpoints {
        let Some(endpoint) = ports.endpoints().get(usize::from(*at)) else {
            continue;
        };
        let head = one.packet.head();
        let arrival = match fault {
            None => endpoint::ordinary(ports, endpoint, head, &one.layout),
            Some(Uncacheable::Ethertype | Uncacheable::NeighbourDiscovery) => {
                let mut key = FlowKey::default();
                let neighbors = &egress.shared.neighbors;
                match net::parse::extract(head, one.packet.len(), &mut key) {
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
                egress.drop(reason, one.packet);
                return None;
            }
            Arrival::Consumed => counters.add(Counter::EndpointPackets, 1),
            Arrival::Answer(frame) => {
                counters.add(Counter::EndpointPackets, 1);
                egress.send_bytes(input.slot, &frame);
            }
            Arrival::Echo => {
                counters.add(Counter::EndpointPackets, 1);
                match net::icmp::echo_reply(one.packet.head_mut(), &one.layout) {
                    true => egress.send(input.slot, one.packet),
                    false => egress.drop(DropReason::Malformed, one.packet),
                }
            }
            Arrival::Inner { port, key, trim } => {
                counters.add(Counter::TunnelDecap, 1);
                return unwrap(one, port, key, trim, hash_key, egress);
            }
        }
        return None;
    }
    Some(one)
}

fn unwrap(
    mut one: Classified,
    port: PortNo,
    key: TunnelKey,
    trim: usize,
    hash_key: &HashKey,
    egress: &mut Egress,
) -> Option<Classified> {
    if !endpoint::unwrap(&mut one.packet, trim) {
        egress.drop(DropReason::TunnelMalformed, one.packet);
        return None;
    }
    if one.packet.segment_count() > 1 {
        let headers = one.packet.len().min(HEADER_BYTES);
        one.packet.pull_up(headers);
    }
    one.packet.meta_mut().in_port = port.0;
    one.in_port = port.0;
    one.tunnel = Some(key);
    read(&mut one, hash_key);
    Some(one)
}
