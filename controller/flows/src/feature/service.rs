//! Services: a new connection to a virtual address gets one of the endpoints, and keeps it.

use std::net::IpAddr;

use cluster::desired::{Endpoint, Protocol, Service, ServicePort};
use cluster::{Kind, ObjectRef};
use net::key::ct_state::{NEW, TRK};
use openflow::action::{Nat, NatKind};
use openflow::model::{Bucket, GroupType};
use openflow::{Action, Field};

use super::conntrack::mark;
use crate::fields::{CROSS, CT_ROUTED, CT_SERVICE, FROM, FROM_POD, ROUTE, ZONE_PODS};
use crate::flow::{Flow, FlowSet, bucket, ct, load};
use crate::origin::{Feature, Origin};
use crate::tables::Table;

const PORT: u16 = 200;
const ADDRESS: u16 = 100;

/// Flows of [`Table::Service`] and their groups, of one Service: the same on every node.
pub fn everywhere(service: &Service, set: &mut FlowSet) {
    let object = ObjectRef::namespaced(Kind::Service, &service.name);
    let origin = Origin::object(Feature::Service, &object);
    for vip in &service.cluster_ips {
        for port in &service.ports {
            port_flow(service, *vip, port, &origin, set);
        }
        set.add(
            &origin,
            Flow::new(
                Table::Service,
                ADDRESS,
                "The Service has no such port, or the packet begins no connection: dropped.",
            )
            .is(&FROM, FROM_POD)
            .ip_dst(*vip),
        );
    }
}

fn port_flow(
    service: &Service,
    vip: IpAddr,
    port: &ServicePort,
    origin: &Origin,
    set: &mut FlowSet,
) {
    let (_, to_port) = port_fields(port.protocol);
    let flow = |intent| {
        Flow::new(Table::Service, PORT, intent)
            .is(&FROM, FROM_POD)
            .ip_dst(vip)
            .when(Field::IpProto, port.protocol.number())
            .when(to_port, port.port)
    };
    let endpoints = usable(port, vip);
    if endpoints.is_empty() {
        set.add(origin, flow("The Service has no ready endpoint: dropped."));
        return;
    }
    let label = format!("{origin} {} {vip}:{}", port.protocol, port.port);
    let buckets = endpoints.into_iter().map(to_endpoint).collect();
    let group = set.add_group(GroupType::Select, label, buckets);
    let intent = "A new connection to the Service gets one of its endpoints.";
    set.add(
        origin,
        flow(intent)
            .ct_state(TRK | NEW, 0)
            .act(Action::Group(group)),
    );
    debug_assert!(service.cluster_ips.contains(&vip));
}

/// Ready endpoints of the address's family; where there is none, those that still serve while they
/// terminate (as Kubernetes' proxies do since 1.26, KEP-1669).
fn usable(port: &ServicePort, vip: IpAddr) -> Vec<&Endpoint> {
    let family = |e: &&Endpoint| e.ip.is_ipv4() == vip.is_ipv4();
    let of_family = port.endpoints.iter().filter(family);
    let ready: Vec<_> = of_family.clone().filter(|e| e.ready).collect();
    if !ready.is_empty() {
        return ready;
    }
    of_family.filter(|e| e.serving && e.terminating).collect()
}

/// Commits the connection with the endpoint as its destination; what follows routes it.
fn to_endpoint(endpoint: &Endpoint) -> Bucket {
    let nat = Action::Nat(Nat {
        kind: NatKind::Dst,
        addresses: Some((endpoint.ip, endpoint.ip)),
        ports: Some((endpoint.port, endpoint.port)),
        persistent: false,
        hash: false,
        random: false,
    });
    let remember = mark(&[&CT_SERVICE, &CT_ROUTED]);
    bucket(vec![
        load(&ROUTE, 1),
        load(&CROSS, 1),
        ct(ZONE_PODS, true, vec![nat, remember], Table::PolicyEgress),
    ])
}

/// Source and destination port fields of a protocol.
fn port_fields(protocol: Protocol) -> (Field, Field) {
    match protocol {
        Protocol::Tcp => (Field::TcpSrc, Field::TcpDst),
        Protocol::Udp => (Field::UdpSrc, Field::UdpDst),
        Protocol::Sctp => (Field::SctpSrc, Field::SctpDst),
    }
}
