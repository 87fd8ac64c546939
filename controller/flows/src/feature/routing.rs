//! The router between subnets, the same on every node: it knows each pod's network and MAC address,
//! so one hop leads from any pod to any other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cluster::desired::{DesiredState, Subnet};
use cluster::{Kind, ObjectRef};
use ipnet::IpNet;
use net::PortNo;
use openflow::{Action, Field, SubField};

use super::shared::{Place, object};
use crate::fields::{CROSS, FROM, FROM_POD, NET, ROUTE};
use crate::flow::{Flow, FlowSet, bits, copy, copy_low, family};
use crate::network::{Network, SubnetNumbers};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{SubnetView, View};

const GATEWAY: u16 = 230;
const GATEWAY_REST: u16 = 220;
const SAME_VLAN: u16 = 210;
const POD: u16 = 200;
const SAME_VLAN_BLOCK: u16 = 160;
const BLOCK: u16 = 150;
const NOT_CONNECTED: u16 = 110;
const UNKNOWN: u16 = 100;
const NOWHERE: u16 = 52;
const VLAN_GATEWAY: u16 = 50;
const NO_ROUTE: u16 = 10;

/// Flows of [`Table::L3Classify`] that find the router's packets, and of [`Table::Routing`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for subnet in view.overlays_here() {
        to_router(subnet, set);
        gateway(subnet, set);
    }
    for subnet in view.switched_gateways_here() {
        to_router(subnet, set);
        gateway(subnet, set);
        nowhere(subnet, set);
    }
    for subnet in view.underlays_here().filter(|s| s.subnet.interconnected) {
        to_overlays(view, subnet, set);
    }
    for segment in view.segments.values() {
        let provider = ObjectRef::cluster(Kind::ProviderNetwork, segment.provider);
        set.add(
            &Origin::object(Feature::Routing, &provider),
            routed(
                VLAN_GATEWAY,
                "What a Service leads out of the cluster goes to the VLAN's own gateway.",
            )
            .is(&NET, segment.net)
            .goto(Table::Gateway),
        );
    }
}

/// What no pod has.
pub fn everywhere(state: &DesiredState, network: &Network, set: &mut FlowSet) {
    for subnet in state.subnets.values() {
        if let Some(numbers) = network.subnets.get(&subnet.name) {
            unknown_destination(subnet, *numbers, set);
        }
    }
    set.add(
        &Origin::table(Feature::Routing, Table::Routing),
        routed(
            NO_ROUTE,
            "No subnet of the cluster has that destination: no route, dropped.",
        ),
    );
}

/// A routed packet for a pod of the block enters the network of the pods.
pub fn block(place: &Place<'_>, set: &mut FlowSet) {
    let Some(prefix) = place.key.prefix() else {
        return;
    };
    if let Some(base) = place.block.common {
        let (_, _, destination) = family(prefix.addr());
        let mac = |flow: Flow| {
            let flow = flow.ip_dst_in(prefix).set(Field::EthDst, base);
            match place.key.bits {
                0 => flow,
                bits => flow.act(copy_low(
                    SubField::range(destination, 0, bits - 1),
                    Field::EthDst,
                )),
            }
        };
        let intents = (
            "A Service's packet for a block of pods of the same VLAN goes there directly.",
            "A routed packet for a block of pods, whose MACs end like their addresses.",
        );
        let priorities = (SAME_VLAN_BLOCK, BLOCK);
        enter(
            place,
            &place.origin(Feature::Routing),
            priorities,
            intents,
            mac,
            set,
        );
    }
    for (address, mac, pod) in &place.block.exceptions {
        let address = match prefix {
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(*address as u32)),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(*address)),
        };
        let to = |flow: Flow| flow.ip_dst(address).set(Field::EthDst, *mac);
        let intents = (
            "A Service's packet for a pod of the same VLAN goes there directly.",
            "A routed packet for this pod enters the pod's network.",
        );
        let origin = Origin::object(Feature::Routing, &object(pod));
        enter(place, &origin, (SAME_VLAN, POD), intents, to, set);
    }
}

/// `to` adds the destination and its MAC address.
fn enter(
    place: &Place<'_>,
    origin: &Origin,
    (same_vlan, other): (u16, u16),
    intents: (&'static str, &'static str),
    to: impl Fn(Flow) -> Flow,
    set: &mut FlowSet,
) {
    let mut flow = routed(other, intents.1);
    if place.numbers.underlay {
        if !is_connected(place.subnet) {
            flow = flow.is(&CROSS, 1);
        }
        // The source stays: on a physical VLAN only the pod itself may use a MAC address.
        let direct = routed(same_vlan, intents.0).is(&NET, place.numbers.net);
        set.add(origin, to(direct).goto(Table::Gateway));
    }
    set.add(
        origin,
        to(flow)
            .set(Field::EthSrc, place.subnet.router_mac.to_u64())
            .act(Action::DecNwTtl)
            .load(&NET, place.numbers.vni.get())
            .goto(Table::Gateway),
    );
}

fn routed(priority: u16, intent: &'static str) -> Flow {
    Flow::new(Table::Routing, priority, intent).is(&ROUTE, 1)
}

fn to_router(subnet: &SubnetView<'_>, set: &mut FlowSet) {
    let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
    set.add(
        &Origin::object(Feature::Routing, &object),
        Flow::new(
            Table::L3Classify,
            100,
            "What a pod sends to the router's MAC address is routed.",
        )
        .is(&FROM, FROM_POD)
        .is(&NET, subnet.net)
        .when(Field::EthDst, subnet.subnet.router_mac.to_u64())
        .load(&ROUTE, 1)
        .goto(Table::Edge),
    );
}

/// True for an underlay that other subnets reach, without a Service too.
fn is_connected(subnet: &Subnet) -> bool {
    subnet.logical_gateway || subnet.interconnected
}

/// A pod of the VLAN sends what is for an overlay to the gateway, which knows no overlay: it never
/// gets it.
fn to_overlays(view: &View<'_>, subnet: &SubnetView<'_>, set: &mut FlowSet) {
    let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
    let origin = Origin::object(Feature::Routing, &object);
    let overlays = view.subnets.values().filter(|other| !other.underlay);
    for (range, _) in overlays.flat_map(|other| other.subnet.prefixes()) {
        let intent = "What a pod of a connected underlay sends to an overlay is routed here.";
        set.add(
            &origin,
            Flow::new(Table::L3Classify, 90, intent)
                .is(&FROM, FROM_POD)
                .is(&NET, subnet.net)
                .ip_dst_in(range)
                .load(&ROUTE, 1)
                .goto(Table::Conntrack),
        );
    }
}

/// The VLAN has no gateway that could know more.
fn nowhere(subnet: &SubnetView<'_>, set: &mut FlowSet) {
    let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
    for (range, _) in subnet.subnet.prefixes() {
        let intent = "No subnet has that destination, and the VLAN has no gateway: dropped.";
        set.add(
            &Origin::object(Feature::Routing, &object),
            routed(NOWHERE, intent)
                .is(&CROSS, 0)
                .is(&NET, subnet.net)
                .ip_src_in(range),
        );
    }
}

/// The router answers echo requests to the gateway's address, and nothing else.
fn gateway(subnet: &SubnetView<'_>, set: &mut FlowSet) {
    let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
    let origin = Origin::object(Feature::Routing, &object);
    for (_, address) in subnet.subnet.prefixes() {
        // Protocol, type field, request and reply (RFC 792, RFC 4443 4).
        let (protocol, kind, request, reply) = match address {
            IpAddr::V4(_) => (1u8, Field::IcmpType, 8u8, 0u8),
            IpAddr::V6(_) => (58, Field::Icmpv6Type, 128, 129),
        };
        let (_, source, destination) = family(address);
        set.add(
            &origin,
            routed(GATEWAY, "The router answers when it is pinged.")
                .is(&FROM, FROM_POD)
                .ip_dst(address)
                .when(Field::IpProto, protocol)
                .when(kind, request)
                .act(copy(Field::EthSrc, Field::EthDst))
                .set(Field::EthSrc, subnet.subnet.router_mac.to_u64())
                .act(copy(source, destination))
                .set(source, bits(address))
                .set(kind, reply)
                .act(Action::SetNwTtl(64))
                .output(PortNo::IN_PORT),
        );
        set.add(
            &origin,
            routed(GATEWAY_REST, "The router has nothing else to say: dropped.").ip_dst(address),
        );
    }
}

fn unknown_destination(subnet: &Subnet, numbers: SubnetNumbers, set: &mut FlowSet) {
    let object = ObjectRef::cluster(Kind::Subnet, &subnet.name);
    let origin = Origin::object(Feature::Routing, &object);
    for (range, _) in subnet.prefixes() {
        if numbers.underlay {
            let intent = match is_connected(subnet) {
                true => "No pod has that address of the underlay: dropped.",
                false => "An overlay and an underlay are not connected, but by Services: dropped.",
            };
            let flow = routed(NOT_CONNECTED, intent);
            set.add(&origin, flow.is(&CROSS, 0).ip_dst_in(range));
        } else {
            let intent = "No pod has that address of the subnet: dropped.";
            set.add(&origin, routed(UNKNOWN, intent).ip_dst_in(range));
        }
    }
}
