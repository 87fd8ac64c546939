//! Where connections enter and leave the cluster: what is for the node itself, what comes back to a
//! translated source, where replies to clients outside go, and which source a connection gets.

use std::net::IpAddr;

use cluster::desired::DesiredState;
use cluster::{Family, Kind, ObjectRef};
use net::PortNo;
use net::key::ct_state::{EST, NEW, REL, RPL, TRK};
use openflow::action::{Nat, NatKind};
use openflow::{Action, Field, SubField};

use super::host::{NODE_PORTS, TRANSIT};
use super::pipeline::existing_nat;
use crate::fields::{
    CLIENT_NET, CROSS, CT_SERVICE, FROM, FROM_POD, FROM_UPLINK, LEAVES, MASQUERADE, NET,
    NEW_SOURCE, NODE_PORT, OUTER, ROUTE, TO_NODE, ZONE_CLIENTS, ZONE_SOURCES,
};
use crate::flow::{Flow, FlowSet, IPV4, IPV6, copy, ct};
use crate::network::HOST_VNI;
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

/// Ports of sources that are translated to a node's address: neither the kernel's own (32768 and
/// up, `ip_local_port_range`) nor node ports (30000 to 32767).
const SOURCE_PORTS: (u16, u16) = (1024, 29_999);

/// [`NEW_SOURCE`]: the node's address.
const NODE: u32 = 1;
/// [`NEW_SOURCE`]: the address that the node's kernel masquerades.
const VIA_KERNEL: u32 = 2;

/// Where the label of a connection of [`ZONE_CLIENTS`] has the client's Ethernet address.
const CLIENT_MAC: SubField = SubField::range(Field::CtLabel, 0, 47);
/// And where it has the network.
const CLIENT_NETWORK: SubField = SubField::range(Field::CtLabel, 64, 95);

/// What is this node's own.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    let Some(host) = view.host else { return };
    let node = ObjectRef::cluster(Kind::Node, &view.node.name);
    let origin = Origin::object(Feature::Edge, &node);
    let mut add = |flow: Flow| set.add(&origin, flow);
    for segment in view.segments.values().filter(|s| s.uplink.is_some()) {
        let intent = "A frame from a physical network to the node's Ethernet address.";
        add(Flow::new(Table::L3Classify, 150, intent)
            .is(&FROM, FROM_UPLINK)
            .is(&NET, segment.net)
            .when(Field::EthDst, host.mac.to_u64())
            .load(&TO_NODE, 1)
            .goto(Table::Edge));
    }
    for address in &host.addresses {
        let intent = "What is for the node may be an answer to a source that was translated.";
        add(Flow::new(Table::Edge, 200, intent)
            .ip_dst(*address)
            .load(&NODE_PORT, 1)
            .act(sources(Table::Returned)));
    }
    for (state, intent) in [
        (
            EST,
            "A client on a physical network is answered where it is.",
        ),
        (REL, "And told of errors there."),
    ] {
        add(Flow::new(Table::Leave, 100, intent)
            .ct_state(TRK | state, 0)
            .act(Action::Move {
                src: CLIENT_MAC,
                dst: SubField::whole(Field::EthDst),
            })
            .act(Action::Move {
                src: CLIENT_NETWORK,
                dst: NET.sub(),
            })
            .set(Field::EthSrc, host.mac.to_u64())
            .goto(Table::Gateway));
    }
    gateway(view, &host.addresses, &mut add);
    for (family, ethertype) in [(Family::V4, IPV4), (Family::V6, IPV6)] {
        let flow = |intent| {
            Flow::new(Table::NewSource, 100, intent)
                .ct_state(TRK | NEW, 0)
                .is(&NEW_SOURCE, NODE)
                .ether(ethertype)
        };
        add(match host.address(family) {
            Some(address) => flow("A new connection gets the node's address as its source.")
                .act(new_source(address, Some(SOURCE_PORTS))),
            None => flow("The node has no address of that family: dropped."),
        });
    }
}

/// Which connections get which source. Packets of known ones find theirs the same way.
fn gateway(view: &View<'_>, own: &[IpAddr], add: &mut impl FnMut(Flow)) {
    let leaves_as = match view.host_segment {
        Some(_) => NODE,
        None => VIA_KERNEL,
    };
    let becomes = |flow: Flow, source| {
        flow.is(&ROUTE, 1)
            .load(&NEW_SOURCE, source)
            .act(sources(Table::NewSource))
    };
    for address in own {
        let intent = "From outside to the node itself: not from its own address.";
        let flow = Flow::new(Table::Gateway, 330, intent).is(&MASQUERADE, 1);
        add(becomes(flow.ip_dst(*address), VIA_KERNEL));
        for destination in own {
            let intent = "A node that reaches itself through a Service is not its own client.";
            let flow = Flow::new(Table::Gateway, 300, intent).ip_src(*address);
            let same_family = address.is_ipv4() == destination.is_ipv4();
            if same_family {
                add(becomes(flow.ip_dst(*destination), VIA_KERNEL));
            }
        }
        let flow = |intent| {
            Flow::new(Table::Gateway, 290, intent)
                .is(&LEAVES, 1)
                .ip_src(*address)
        };
        add(match view.host_segment {
            Some(_) => {
                flow("What the node sends itself has the right address.").goto(Table::PolicyIngress)
            }
            None => becomes(
                flow("What comes back to the node's kernel does not come from its own address."),
                VIA_KERNEL,
            ),
        });
    }
    for ethertype in [IPV4, IPV6] {
        let masked = |priority, intent| {
            Flow::new(Table::Gateway, priority, intent)
                .is(&MASQUERADE, 1)
                .ether(ethertype)
        };
        let intent = "From outside to outside, by way of the node.";
        add(becomes(masked(320, intent).is(&LEAVES, 1), leaves_as));
        let intent = "An endpoint sees the node in place of a client outside, and answers it.";
        add(becomes(masked(310, intent), NODE));
    }
    for subnet in view.subnets.values() {
        if view.state.nat_outgoing.contains(&subnet.subnet.name) {
            for (range, _) in subnet.subnet.prefixes() {
                let intent =
                    "What the subnet's pods send out of the cluster has the node's address.";
                let flow = Flow::new(Table::Gateway, 280, intent).is(&LEAVES, 1);
                add(becomes(flow.ip_src_in(range), leaves_as));
            }
        }
    }
    let uplinks = view.segments.values().filter_map(|segment| segment.uplink);
    let mut ports: Vec<PortNo> = uplinks.chain(view.host_port).collect();
    ports.sort_unstable();
    ports.dedup();
    for port in ports {
        for ethertype in [IPV4, IPV6] {
            let intent = "A known connection from outside keeps its source.";
            let flow = Flow::new(Table::Gateway, 270, intent)
                .when(Field::InPort, port.0)
                .ether(ethertype)
                .ct_state(TRK, RPL)
                .is(&CT_SERVICE, 1);
            add(becomes(flow, 0));
        }
    }
}

/// What every node has.
pub fn everywhere(state: &DesiredState, set: &mut FlowSet) {
    if state.hosts.is_empty() {
        return;
    }
    let mut add = |flow: Flow| {
        let origin = Origin::table(Feature::Edge, flow.table);
        set.add(&origin, flow);
    };
    for address in TRANSIT {
        let intent = "An answer to what the node's kernel sent on.";
        add(Flow::new(Table::Edge, 200, intent)
            .ip_dst(address)
            .act(sources(Table::Returned)));
        let intent = "A new connection gets a source that the node's kernel sends on.";
        let (ethertype, _, _) = crate::flow::family(address);
        add(Flow::new(Table::NewSource, 100, intent)
            .ct_state(TRK | NEW, 0)
            .is(&NEW_SOURCE, VIA_KERNEL)
            .ether(ethertype)
            .act(new_source(address, None)));
    }
    for address in NODE_PORTS {
        let intent = "The node's kernel brings what is for a node port.";
        add(Flow::new(Table::Edge, 200, intent)
            .ip_dst(address)
            .load(&NODE_PORT, 1)
            .goto(Table::Conntrack));
    }
    let intent = "What answers a translated source is routed to whom it belongs.";
    add(Flow::new(Table::Returned, 200, intent)
        .ct_state(TRK | RPL, 0)
        .load(&NODE_PORT, 0)
        .load(&FROM, FROM_POD)
        .load(&ROUTE, 1)
        .load(&CROSS, 1)
        .goto(Table::Conntrack));
    for (ethertype, protocol) in [(IPV4, 1u8), (IPV6, 58)] {
        let intent = "An error from outside may be for a connection of a Service.";
        add(Flow::new(Table::Returned, 90, intent)
            .is(&FROM, FROM_UPLINK)
            .ether(ethertype)
            .when(Field::IpProto, protocol)
            .load(&FROM, FROM_POD)
            .goto(Table::Conntrack));
    }
    let client = vec![
        Action::Move {
            src: SubField::whole(Field::EthSrc),
            dst: CLIENT_MAC,
        },
        Action::Move {
            src: CLIENT_NET.sub(),
            dst: CLIENT_NETWORK,
        },
    ];
    for ethertype in [IPV4, IPV6] {
        let intent = "A client on a physical network is remembered, for the replies.";
        add(Flow::new(Table::Clients, 100, intent)
            .ct_state(TRK | NEW, 0)
            .ether(ethertype)
            .act(ct(ZONE_CLIENTS, true, client.clone(), Table::Conntrack)));
    }
    for ethertype in [IPV4, IPV6] {
        let intent = "An answer that leaves the cluster goes the way the question came.";
        add(Flow::new(Table::Routing, 55, intent)
            .is(&ROUTE, 1)
            .ct_state(TRK | RPL, 0)
            .ether(ethertype)
            .act(ct(ZONE_CLIENTS, false, Vec::new(), Table::Leave)));
    }
}

/// From an uplink to a Service: from here on it comes from this node, for the Service's connection.
pub(super) fn enters(flow: Flow) -> Flow {
    flow.act(copy(NET.field, CLIENT_NET.field))
        .load(&NET, HOST_VNI)
        .load(&OUTER, 1)
        .load(&FROM, FROM_POD)
        .load(&ROUTE, 1)
        .load(&CROSS, 1)
        .act(ct(ZONE_CLIENTS, false, Vec::new(), Table::Clients))
}

fn sources(table: Table) -> Action {
    ct(ZONE_SOURCES, false, vec![existing_nat()], table)
}

fn new_source(address: IpAddr, ports: Option<(u16, u16)>) -> Action {
    let nat = Action::Nat(Nat {
        kind: NatKind::Src,
        addresses: Some((address, address)),
        ports,
        persistent: false,
        hash: false,
        random: false,
    });
    ct(ZONE_SOURCES, true, vec![nat], Table::PolicyIngress)
}
