//! The router between subnets, the same on every node: it knows each pod's network and MAC address,
//! so one hop leads from any pod to any other.

use std::net::IpAddr;

use cluster::{Kind, ObjectRef};
use net::PortNo;
use openflow::{Action, Field};

use crate::fields::{CROSS, FROM, FROM_POD, NET, ROUTE};
use crate::flow::{Flow, FlowSet, bits, copy, family};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{PodView, SubnetView, View};

const GATEWAY: u16 = 230;
const GATEWAY_REST: u16 = 220;
const SAME_VLAN: u16 = 210;
const POD: u16 = 200;
const NOT_CONNECTED: u16 = 110;
const UNKNOWN: u16 = 100;
const VLAN_GATEWAY: u16 = 50;
const NO_ROUTE: u16 = 10;

/// Flows of [`Table::L3Classify`] that find the router's packets, and of [`Table::Routing`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    if view.local_pods().next().is_none() {
        return;
    }
    for subnet in view.overlays_here() {
        to_router(subnet, set);
        gateway(subnet, set);
    }
    for pod in &view.pods {
        to_pod(view, pod, set);
    }
    for subnet in view.subnets.values() {
        unknown_destination(subnet, set);
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
    set.add(
        &Origin::table(Feature::Routing, Table::Routing),
        routed(
            NO_ROUTE,
            "No subnet of the cluster has that destination: no route, dropped.",
        ),
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
        .goto(Table::Conntrack),
    );
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

fn to_pod(view: &View<'_>, pod: &PodView<'_>, set: &mut FlowSet) {
    let subnet = view.subnet(pod);
    let origin = Origin::object(Feature::Routing, &pod.object());
    let mac = pod.pod.mac.to_u64();
    for address in pod.pod.addresses() {
        let mut flow = routed(
            POD,
            "A routed packet for this pod enters the pod's network.",
        );
        if subnet.underlay {
            flow = flow.is(&CROSS, 1);
            set.add(
                &origin,
                // The source stays: on a physical VLAN only the pod itself may use a MAC address.
                routed(
                    SAME_VLAN,
                    "A Service's packet for a pod of the same VLAN goes there directly.",
                )
                .is(&NET, subnet.net)
                .ip_dst(address)
                .set(Field::EthDst, mac)
                .goto(Table::Gateway),
            );
        }
        set.add(
            &origin,
            flow.ip_dst(address)
                .set(Field::EthSrc, subnet.subnet.router_mac.to_u64())
                .set(Field::EthDst, mac)
                .act(Action::DecNwTtl)
                .load(&NET, subnet.vni.get())
                .goto(Table::Gateway),
        );
    }
}

fn unknown_destination(subnet: &SubnetView<'_>, set: &mut FlowSet) {
    let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
    let origin = Origin::object(Feature::Routing, &object);
    for (range, _) in subnet.subnet.prefixes() {
        if subnet.underlay {
            let intent = "An overlay and an underlay are not connected, but by Services: dropped.";
            let flow = routed(NOT_CONNECTED, intent);
            set.add(&origin, flow.is(&CROSS, 0).ip_dst_in(range));
        } else {
            let intent = "No pod has that address of the subnet: dropped.";
            set.add(&origin, routed(UNKNOWN, intent).ip_dst_in(range));
        }
    }
}
