//! The way from switch to switch.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cluster::query::{End, Path, Step};
use net::{FlowKey, PortNo};

use super::ask::{Packet, ends_of};
use super::machine::{Choices, Run, Switch, vlan};
use super::track::Tracker;
use super::{Tracer, is_vlan};
use crate::tables::Table;
use crate::view::{HOST_PORT, TUNNEL_PREFIX};

/// Switches that one packet goes through at most: two, and more only where copies are flooded.
const MOST_SWITCHES: usize = 32;

/// Follows a packet with these choices.
pub fn follow(world: &Tracer<'_>, packet: &Packet, choices: &mut Choices) -> Path {
    let mut path = Path::default();
    let mut trackers: BTreeMap<String, Tracker> = BTreeMap::new();
    let mut coming: VecDeque<(String, String, FlowKey)> = VecDeque::new();
    coming.push_back((packet.node.clone(), packet.port.clone(), packet.key));
    let mut switches = 0;
    while let Some((node, port, key)) = coming.pop_front() {
        switches += 1;
        if switches > MOST_SWITCHES {
            let why = "it is copied to more switches than a trace follows".into();
            path.ends.push(End::Unclear { node, why });
            break;
        }
        let switch = world.switch(&node);
        let Some(in_port) = switch.ports.get(&port).copied() else {
            let why = format!("its dataplane has no port {port}");
            path.ends.push(End::Unclear { node, why });
            continue;
        };
        let tracker = trackers.entry(node.clone()).or_default();
        let run = Run::new(&switch, tracker, choices, in_port, key);
        decided(&run.steps, &mut path);
        if let Some(why) = run.unclear.clone() {
            path.ends.push(End::Unclear { node, why });
        } else if run.sent.is_empty() {
            path.ends.push(dropped(&node, &run));
        }
        for (port, key) in &run.sent {
            match arrives(world, &switch, in_port, *port, key) {
                Arrives::Here(end) => path.ends.push(end),
                Arrives::At(node, port, key) => coming.push_back((node, port, *key)),
            }
        }
        path.steps.extend(run.steps);
        path.chosen.extend(run.chosen);
    }
    path
}

/// Which rules of policies it met.
fn decided(steps: &[Step], path: &mut Path) {
    for step in steps {
        if step.table == Table::EgressRule.name() {
            path.egress_rule = Some(step.object.clone());
        } else if step.table == Table::IngressRule.name() {
            path.ingress_rule = Some(step.object.clone());
        }
    }
}

/// Whose doing it is: the flow it met last, but for what a policy's rule has decided before.
fn dropped(node: &str, run: &Run<'_>) -> End {
    let mut by = run.last();
    if by.is_some_and(|step| step.table == Table::PolicyCommit.name()) {
        let rules = [Table::EgressRule.name(), Table::IngressRule.name()];
        let mut steps = run.steps.iter().rev();
        by = steps
            .find(|step| rules.contains(&step.table.as_str()))
            .or(by);
    }
    let by = by.cloned().unwrap_or_default();
    End::Dropped {
        node: node.into(),
        table: by.table,
        object: by.object,
        why: by.intent,
    }
}

/// What becomes of a packet that leaves a switch.
enum Arrives {
    Here(End),
    At(String, String, Box<FlowKey>),
}

fn arrives(
    world: &Tracer<'_>,
    switch: &Switch,
    in_port: PortNo,
    port: PortNo,
    key: &FlowKey,
) -> Arrives {
    let node = switch.node.clone();
    let state = world.state;
    let packet = ends_of(key);
    let Some(name) = switch.port_name(port) else {
        let why = format!("it leaves by port {port}, which is not there");
        return Arrives::Here(End::Unclear { node, why });
    };
    if name.starts_with(TUNNEL_PREFIX) {
        return through_tunnel(world, switch, name, key);
    }
    let pod = state
        .pods
        .values()
        .find(|p| p.node == node && p.port == name);
    if let Some(pod) = pod {
        let own = port == in_port && pod.addresses().all(|a| Some(a) != destination(key));
        let pod = pod.name.to_string();
        return Arrives::Here(match own {
            true => End::Answered { node, packet },
            false => End::Pod { pod, node, packet },
        });
    }
    if name == HOST_PORT {
        return Arrives::Here(End::Node { node, packet });
    }
    let tag = vlan(key);
    let providers = state.provider_networks.iter();
    let mut providers = providers.filter(|(_, p)| p.uplinks.get(&node).is_some_and(|u| u == name));
    if let Some((provider, network)) = providers.next() {
        let on_it = |subnet: &str| {
            let subnet = state.subnets.get(subnet);
            subnet.is_some_and(|s| is_vlan(&s.kind, provider, tag))
        };
        let mut pods = state.pods.values();
        let pod = pods.find(|p| p.mac == key.eth_dst && p.node != node && on_it(&p.subnet));
        let mut hosts = state.hosts.iter();
        let host = hosts.find(|(name, host)| host.mac == key.eth_dst && **name != node);
        let there = pod.map(|pod| &pod.node).or(host.map(|(name, _)| name));
        if let Some((there, uplink)) = there.and_then(|n| Some((n, network.uplinks.get(n)?))) {
            let key = Box::new(on_the_wire(key));
            return Arrives::At(there.clone(), uplink.clone(), key);
        }
    }
    Arrives::Here(End::Outside {
        node,
        port: name.into(),
        vlan: tag,
        packet,
    })
}

fn through_tunnel(world: &Tracer<'_>, switch: &Switch, port: &str, key: &FlowKey) -> Arrives {
    let node = switch.node.clone();
    let to: IpAddr = match key.tun_dst.get() {
        0 => Ipv6Addr::from(key.tun_ipv6_dst).into(),
        v4 => Ipv4Addr::from_bits(v4).into(),
    };
    let mut nodes = world.state.nodes.values();
    let Some(there) = nodes.find(|node| node.vtep == Some(to)) else {
        let why = format!("it goes by {port} to {to}, which is no node's");
        return Arrives::Here(End::Unclear { node, why });
    };
    let ports = world.switch(&there.name);
    let tunnel = ports
        .ports
        .keys()
        .find(|name| name.starts_with(TUNNEL_PREFIX));
    let Some(tunnel) = tunnel else {
        let node = there.name.clone();
        let why = "its dataplane has no tunnel port".into();
        return Arrives::Here(End::Unclear { node, why });
    };
    let mut next = on_the_wire(key);
    next.tun_id = key.tun_id;
    match world.state.nodes.get(&node).and_then(|node| node.vtep) {
        Some(IpAddr::V4(v4)) => next.tun_src = v4.to_bits().into(),
        Some(IpAddr::V6(v6)) => next.tun_ipv6_src = v6.octets(),
        None => {}
    }
    match to {
        IpAddr::V4(v4) => next.tun_dst = v4.to_bits().into(),
        IpAddr::V6(v6) => next.tun_ipv6_dst = v6.octets(),
    }
    Arrives::At(there.name.clone(), tunnel.clone(), Box::new(next))
}

fn destination(key: &FlowKey) -> Option<IpAddr> {
    super::track::Tuple::of(key).map(|tuple| tuple.to.0)
}

/// What the next switch sees of it: the headers, and nothing that this one noted.
fn on_the_wire(key: &FlowKey) -> FlowKey {
    FlowKey {
        eth_dst: key.eth_dst,
        eth_src: key.eth_src,
        eth_type: key.eth_type,
        vlan_tci: key.vlan_tci,
        vlan_tpid: key.vlan_tpid,
        nw_src: key.nw_src,
        nw_dst: key.nw_dst,
        ipv6_src: key.ipv6_src,
        ipv6_dst: key.ipv6_dst,
        ipv6_label: key.ipv6_label,
        nw_proto: key.nw_proto,
        nw_tos: key.nw_tos,
        nw_ttl: key.nw_ttl,
        tp_src: key.tp_src,
        tp_dst: key.tp_dst,
        tcp_flags: key.tcp_flags,
        ..FlowKey::default()
    }
}
