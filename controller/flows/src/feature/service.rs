//! Services: a new connection to a virtual address gets one of the endpoints, and keeps it.

use std::net::IpAddr;

use cluster::backends::Scope;
use cluster::desired::{Protocol, Service, ServicePort};
use cluster::{Family, Kind, ObjectRef};
use net::key::ct_state::{INV, TRK};
use openflow::Field;

use super::backends::{self, At, Target};
use crate::fields::{FROM, FROM_POD};
use crate::flow::{Flow, FlowSet};
use crate::network::Network;
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

const PORT: u16 = 200;
const ADDRESS: u16 = 100;

/// Flows of [`Table::Service`] and their groups, of one Service: the same on every node.
pub fn everywhere(service: &Service, network: &Network, set: &mut FlowSet) {
    if !network.by_place.contains(&service.name) {
        of_service(At::Everywhere, service, set);
    }
}

/// The same of Services whose endpoints depend on where the client is.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    let by_place = view.network.by_place.iter();
    for service in by_place.filter_map(|name| view.state.services.get(name)) {
        of_service(At::Node(view), service, set);
    }
}

fn of_service(at: At<'_>, service: &Service, set: &mut FlowSet) {
    let object = ObjectRef::namespaced(Kind::Service, &service.name);
    let origin = Origin::object(Feature::Service, &object);
    for vip in &service.cluster_ips {
        for port in &service.ports {
            port_flow(at, service, *vip, port, &origin, set);
        }
        set.add(
            &origin,
            Flow::new(
                Table::Service,
                ADDRESS,
                "The Service has no such port, or the packet begins no connection.",
            )
            .is(&FROM, FROM_POD)
            .ip_dst(*vip)
            .goto(Table::Refuse),
        );
    }
    backends::of_service(at, service, set);
}

fn port_flow(
    at: At<'_>,
    service: &Service,
    vip: IpAddr,
    port: &ServicePort,
    origin: &Origin,
    set: &mut FlowSet,
) {
    let (_, to_port) = port_fields(port.protocol);
    // What is looked for anew is in whatever state its connection was, so it is not asked for.
    let flow = |intent| {
        Flow::new(Table::Service, PORT, intent)
            .is(&FROM, FROM_POD)
            .ip_dst(vip)
            .when(Field::IpProto, port.protocol.number())
            .when(to_port, port.port)
    };
    let family = Family::of(vip);
    match backends::target(at, set, service, port, family, Scope::Internal) {
        Target::Nobody(nobody) => set.add(origin, backends::nobody(nobody, flow)),
        Target::Send(actions) => {
            let intent = "A new connection to the Service gets one of its endpoints.";
            let flow = flow(intent).ct_state(TRK, INV);
            set.add(origin, actions.into_iter().fold(flow, Flow::act));
        }
    }
}

/// Source and destination port fields of a protocol.
pub fn port_fields(protocol: Protocol) -> (Field, Field) {
    match protocol {
        Protocol::Tcp => (Field::TcpSrc, Field::TcpDst),
        Protocol::Udp => (Field::UdpSrc, Field::UdpDst),
        Protocol::Sctp => (Field::SctpSrc, Field::SctpDst),
    }
}
