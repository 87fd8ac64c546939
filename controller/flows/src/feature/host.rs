//! The node itself, by its port `sluice0` (ADR 29): what it sends, what is for it, and the network
//! between the nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cluster::desired::DesiredState;
use cluster::{Kind, ObjectRef, Problem};
use net::key::ct_state::{NEW, TRK};
use net::{MacAddr, PortNo};
use openflow::Field;

use super::announce::{arp_answer, nd_answer};
use super::conntrack::mark;
use crate::fields::{
    CROSS, CT_NODE, CT_ROUTED, FROM, FROM_POD, FROM_TUNNEL, HAIRPIN, LEAVES, NET, NODE, OUT_PORT,
    OUTER, ROUTE, ZONE_PODS,
};
use crate::flow::{ARP, Flow, FlowSet, IPV4, IPV6, ct};
use crate::network::{HOST_VNI, Network};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{HOST_PORT, View};

/// The router as the node sees it: where its kernel sends what is for pods and Services.
pub const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 83, 1);
/// The same, IPv6.
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa5c, 1);
/// The router's Ethernet address there.
pub const ROUTER_MAC: MacAddr = MacAddr([0x0a, 0x5c, 0, 0, 0, 1]);
/// What the node's kernel sees as the source of what it is to send on under its own address.
pub const TRANSIT: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 83, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd53, 0x4c43, 0, 0, 0, 0, 0, 2)),
];
/// Where the node's kernel sends what is for a node port.
pub const NODE_PORTS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 83, 3)),
    IpAddr::V6(Ipv6Addr::new(0xfd53, 0x4c43, 0, 0, 0, 0, 0, 3)),
];

const OWN: u16 = 250;
const OTHER: u16 = 245;
const NOBODY: u16 = 240;
const ROUTER: u16 = 230;
const AT_ITSELF: u16 = 210;
const KNOWN: u16 = 200;
const ELSEWHERE: u16 = 190;
const REST: u16 = 180;
const REMEMBER: u16 = 160;
const DEFAULT_ROUTE: u16 = 15;

/// What is this node's own.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    let Some(host) = view.host else { return };
    let node = ObjectRef::cluster(Kind::Node, &view.node.name);
    let Some(port) = view.host_port else {
        let exposed = !view.state.frontends.is_empty() || !view.state.nat_outgoing.is_empty();
        if exposed {
            set.problems.push(Problem::refused(
                node,
                "",
                format!(
                    "its dataplane has no port {HOST_PORT}, so the node itself reaches no pod and \
                     no Service, no node port is served there, and its pods do not leave the cluster"
                ),
                format!("start sluice-dataplane with --port {HOST_PORT},ofport=3,dev=tap"),
            ));
        }
        return;
    };
    let origin = Origin::object(Feature::Host, &node);
    let mut add = |flow: Flow| set.add(&origin, flow);
    from_kernel(view, port, &host.addresses, &mut add);
    for address in &host.addresses {
        let intent = "A routed packet for the node itself goes to its kernel.";
        add(to_kernel(
            Flow::new(Table::Routing, OWN, intent).ip_dst(*address),
            host.mac,
        )
        .goto(Table::Gateway));
    }
    let intent = "What no subnet has leaves the cluster: the node's kernel routes it.";
    let flow = Flow::new(Table::Routing, DEFAULT_ROUTE, intent).load(&LEAVES, 1);
    add(to_kernel(flow, host.mac).goto(Table::Gateway));
    let intent = "A client that came by way of the node's kernel is answered that way.";
    let flow = Flow::new(Table::Leave, 50, intent);
    add(to_kernel(flow, host.mac).goto(Table::Gateway));

    let nets = [Some(HOST_VNI), view.host_segment];
    for net in nets.into_iter().flatten() {
        let to_port = |priority, intent| {
            Flow::new(Table::L2Forward, priority, intent)
                .is(&NET, net)
                .when(Field::EthDst, host.mac.to_u64())
                .load(&OUT_PORT, port.0)
        };
        let intent = "The node's MAC address is at its port.";
        add(to_port(KNOWN, intent).goto(Table::QosToPod));
        let intent = "A node that reaches itself through a Service gets its packets back.";
        let back = to_port(AT_ITSELF, intent).when(Field::InPort, port.0);
        add(back.load(&HAIRPIN, 1).goto(Table::QosToPod));
    }
    add(Flow::new(Table::Output, 100, "To the node's kernel.")
        .is(&OUT_PORT, port.0)
        .output(port));
}

/// Into the network between nodes, from the router to a node.
fn to_kernel(flow: Flow, mac: MacAddr) -> Flow {
    flow.is(&ROUTE, 1)
        .set(Field::EthSrc, ROUTER_MAC.to_u64())
        .set(Field::EthDst, mac.to_u64())
        .load(&NET, HOST_VNI)
}

fn from_kernel(view: &View<'_>, port: PortNo, own: &[IpAddr], add: &mut impl FnMut(Flow)) {
    let net = view.host_segment.unwrap_or(HOST_VNI);
    let from = |priority, intent| {
        Flow::new(Table::Classify, priority, intent)
            .when(Field::InPort, port.0)
            .when(Field::VlanVid, 0u16)
    };
    let on = |flow: Flow| {
        flow.load(&FROM, FROM_POD)
            .load(&NET, net)
            .goto(Table::ArpNd)
    };
    for address in own {
        add(on(
            from(KNOWN, "What the node itself sends.").ip_src(*address)
        ));
    }
    for ethertype in [IPV4, IPV6] {
        let intent = "What the node's kernel sends on for others comes from outside.";
        add(on(from(ELSEWHERE, intent).ether(ethertype).load(&OUTER, 1)));
    }
    add(on(from(REST, "The node resolves addresses.")));
    add(Flow::new(
        Table::Classify,
        100,
        "The node's port has no VLANs: dropped.",
    )
    .when(Field::InPort, port.0));

    let asks = |flow: Flow| flow.when(Field::InPort, port.0);
    let intent = "The router answers the node's kernel.";
    let answer = arp_answer(net, ROUTER_V4, ROUTER_MAC, ROUTER, intent);
    add(asks(answer).output(PortNo::IN_PORT));
    add(asks(nd_answer(net, ROUTER_V6, ROUTER_MAC, ROUTER, intent)));
    if view.host_segment.is_none() {
        let intent = "Between node and router there is nobody else: dropped.";
        add(Flow::new(Table::ArpNd, 100, intent)
            .is(&NET, net)
            .ether(ARP));
    }
    add(Flow::new(
        Table::L3Classify,
        KNOWN,
        "What the node sends to the router is routed.",
    )
    .when(Field::InPort, port.0)
    .when(Field::EthDst, ROUTER_MAC.to_u64())
    .load(&ROUTE, 1)
    .load(&CROSS, 1)
    .load(&NET, HOST_VNI)
    .goto(Table::Edge));
    for subnet in view.subnets.values().filter(|subnet| subnet.underlay) {
        for (range, _) in subnet.subnet.prefixes() {
            let intent = "What the node begins with a pod on a VLAN is remembered for its replies.";
            add(Flow::new(Table::Gateway, REMEMBER, intent)
                .when(Field::InPort, port.0)
                .ct_state(TRK | NEW, 0)
                .is(&CT_ROUTED, 0)
                .is(&ROUTE, 1)
                .ip_dst_in(range)
                .act(ct(
                    ZONE_PODS,
                    true,
                    vec![mark(&[&CT_ROUTED])],
                    Table::PolicyIngress,
                )));
        }
    }
}

/// What every node has: the network between nodes, and who is in it.
pub fn everywhere(state: &DesiredState, network: &Network, set: &mut FlowSet) {
    let origin = Origin::table(Feature::Host, Table::L3Classify);
    set.add(
        &origin,
        Flow::new(
            Table::Classify,
            KNOWN,
            "What comes through a tunnel in the nodes' own network is for this node.",
        )
        .when(Field::TunId, HOST_VNI)
        .load(&FROM, FROM_TUNNEL)
        .load(&NET, HOST_VNI)
        .goto(Table::ArpNd),
    );
    let intent = "What another node sends to this one is routed.";
    set.add(
        &origin,
        Flow::new(Table::L3Classify, 100, intent)
            .is(&FROM, FROM_TUNNEL)
            .is(&NET, HOST_VNI)
            .load(&ROUTE, 1)
            .load(&CROSS, 1)
            .goto(Table::Edge),
    );
    let origin = Origin::table(Feature::Host, Table::Routing);
    for address in TRANSIT.into_iter().chain(NODE_PORTS) {
        let intent = "Nothing knows this connection: dropped.";
        let flow = Flow::new(Table::Routing, NOBODY, intent).is(&ROUTE, 1);
        set.add(&origin, flow.ip_dst(address));
    }
    let origin = Origin::table(Feature::Host, Table::L2Forward);
    let intent = "No node has that MAC address: dropped.";
    let flow = Flow::new(Table::L2Forward, 50, intent);
    set.add(&origin, flow.is(&NET, HOST_VNI));
    for (name, host) in &state.hosts {
        let origin = Origin::object(Feature::Host, &ObjectRef::cluster(Kind::Node, name));
        for address in &host.addresses {
            let intent = "What came from another node's own address goes back there.";
            let flow = Flow::new(Table::Routing, OTHER, intent).is(&CT_NODE, 1);
            let flow = to_kernel(flow.ip_dst(*address), host.mac);
            set.add(&origin, flow.goto(Table::Gateway));
            let intent =
                "A connection from another node's own address is remembered for its replies.";
            set.add(
                &origin,
                Flow::new(Table::ConntrackState, REMEMBER, intent)
                    .is(&FROM, FROM_TUNNEL)
                    .ct_state(TRK | NEW, 0)
                    .ip_src(*address)
                    .act(ct(
                        ZONE_PODS,
                        true,
                        vec![mark(&[&CT_ROUTED, &CT_NODE])],
                        Table::PolicyEgress,
                    )),
            );
        }
        if let Some(number) = network.nodes.get(name) {
            let intent = "Another node is behind the tunnel to it.";
            set.add(
                &origin,
                Flow::new(Table::L2Forward, ELSEWHERE, intent)
                    .is(&NET, HOST_VNI)
                    .when(Field::EthDst, host.mac.to_u64())
                    .is(&FROM, FROM_POD)
                    .load(&NODE, *number)
                    .set(Field::TunId, HOST_VNI)
                    .goto(Table::TunnelOut),
            );
        }
    }
}
