//! What a Service is reached by besides its cluster IPs: node ports, external addresses, load
//! balancers. From pods and the node itself as from inside, from elsewhere as from outside.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cluster::backends::Scope;
use cluster::desired::{Frontends, Protocol, Service, ServicePort};
use cluster::{Family, Kind, ObjectRef};
use net::key::ct_state::{INV, TRK};
use openflow::action::{Nat, NatKind};
use openflow::{Action, Field};

use super::backends::{self, At, Target};
use super::conntrack::mark;
use super::edge::enters;
use super::service::port_fields;
use crate::fields::{
    CROSS, CT_ROUTED, CT_SERVICE, FROM, FROM_POD, FROM_UPLINK, MASQUERADE, NODE_PORT, OUTER, ROUTE,
    TO_NODE, ZONE_PODS,
};
use crate::flow::{Flow, FlowSet, HealthAnswer, IPV4, IPV6, ct, family};
use crate::network::Network;
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

const PORT: u16 = 200;
const ADDRESS: u16 = 100;
const ERRORS: u16 = 90;

/// The flows of one Service, where they are the same on every node.
pub fn everywhere(service: &Service, frontends: &Frontends, network: &Network, set: &mut FlowSet) {
    if !network.by_place.contains(&service.name) {
        of_service(At::Everywhere, service, frontends, set);
    }
}

/// The flows of Services whose endpoints depend on the node.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for name in &view.network.by_place {
        let frontends = view.state.frontends.get(name);
        if let Some((service, frontends)) = view.state.services.get(name).zip(frontends) {
            of_service(At::Node(view), service, frontends, set);
            health(view, service, frontends, set);
        }
    }
}

/// Says how many endpoints the node has (as kube-proxy's server does), and lets those ask who come by
/// way of the node's kernel, which takes every node port for a Service's.
fn health(view: &View<'_>, service: &Service, frontends: &Frontends, set: &mut FlowSet) {
    let Some(port) = frontends.health_check else {
        return;
    };
    let endpoints = service.ports.iter().flat_map(|port| &port.endpoints);
    let here = endpoints.filter(|e| e.ready && e.node.as_deref() == Some(&view.node.name));
    let here: BTreeSet<_> = here.map(|e| e.ip).collect();
    // A pod with both families is one endpoint.
    let v4 = here.iter().filter(|ip| ip.is_ipv4()).count();
    let count = v4.max(here.len() - v4);
    let body = format!(
        "{{\"service\":{{\"namespace\":\"{}\",\"name\":\"{}\"}},\"localEndpoints\":{count},\
         \"serviceProxyHealthy\":true}}",
        service.name.namespace, service.name.name
    );
    let status = if count > 0 { 200 } else { 503 };
    set.answers.insert(port, HealthAnswer { status, body });
    let object = ObjectRef::namespaced(Kind::Service, &service.name);
    let origin = Origin::object(Feature::Frontend, &object);
    let of_family = |family| view.host.and_then(|host| host.address(family));
    for address in [Family::V4, Family::V6].into_iter().filter_map(of_family) {
        let (ethertype, _, _) = family(address);
        let nat = Action::Nat(Nat {
            kind: NatKind::Dst,
            addresses: Some((address, address)),
            ports: Some((port, port)),
            persistent: false,
            hash: false,
            random: false,
        });
        let known = mark(&[&CT_SERVICE, &CT_ROUTED]);
        let intent = "Who asks for the node's health gets it from the node itself.";
        set.add(
            &origin,
            Flow::new(Table::Service, PORT, intent)
                .is(&FROM, FROM_POD)
                .is(&NODE_PORT, 1)
                .ether(ethertype)
                .when(Field::IpProto, Protocol::Tcp.number())
                .when(Field::TcpDst, port)
                .load(&MASQUERADE, 1)
                .load(&ROUTE, 1)
                .load(&CROSS, 1)
                .act(ct(ZONE_PODS, true, vec![nat, known], Table::PolicyEgress)),
        );
    }
}

fn of_service(at: At<'_>, service: &Service, frontends: &Frontends, set: &mut FlowSet) {
    let object = ObjectRef::namespaced(Kind::Service, &service.name);
    let origin = Origin::object(Feature::Frontend, &object);
    for address in frontends.addresses() {
        let intent = "A client's packets, or errors, for a Service's address are routed.";
        let flow = Flow::new(Table::Edge, ERRORS, intent)
            .is(&FROM, FROM_UPLINK)
            .is(&TO_NODE, 1)
            .ip_dst(address);
        let flow = flow.load(&FROM, FROM_POD).load(&ROUTE, 1);
        set.add(&origin, flow.goto(Table::Conntrack));
        let intent = "The Service has no such port, or the packet begins no connection.";
        let flow = Flow::new(Table::Service, ADDRESS, intent);
        let flow = flow.is(&FROM, FROM_POD).ip_dst(address);
        set.add(&origin, flow.goto(Table::Refuse));
    }
    for port in &service.ports {
        let (_, to_port) = port_fields(port.protocol);
        for address in frontends.addresses() {
            let to = |flow: Flow| {
                flow.ip_dst(address)
                    .when(Field::IpProto, port.protocol.number())
                    .when(to_port, port.port)
            };
            let intent =
                "From a physical network to a Service's address: its client is remembered.";
            let flow = Flow::new(Table::Edge, PORT, intent);
            let flow = to(flow.is(&FROM, FROM_UPLINK).is(&TO_NODE, 1));
            set.add(&origin, enters(flow));
            connections(at, service, port, Family::of(address), &origin, set, &to);
        }
        for balanced in &frontends.balanced {
            who_may(frontends, balanced.address, port, &origin, set);
        }
        if let Some(number) = frontends.node_ports.get(&(port.protocol, port.port)) {
            for (family, ethertype) in [(Family::V4, IPV4), (Family::V6, IPV6)] {
                if !service
                    .cluster_ips
                    .iter()
                    .any(|ip| Family::of(*ip) == family)
                {
                    continue;
                }
                node_port(
                    at,
                    service,
                    port,
                    (*number, family, ethertype),
                    &origin,
                    set,
                );
            }
        }
    }
}

fn node_port(
    at: At<'_>,
    service: &Service,
    port: &ServicePort,
    (number, family, ethertype): (u16, Family, u16),
    origin: &Origin,
    set: &mut FlowSet,
) {
    let (_, to_port) = port_fields(port.protocol);
    let to = |flow: Flow| {
        flow.is(&NODE_PORT, 1)
            .ether(ethertype)
            .when(Field::IpProto, port.protocol.number())
            .when(to_port, number)
    };
    let intent = "From a physical network to a node port: its client is remembered.";
    let flow = Flow::new(Table::Returned, 100, intent).is(&FROM, FROM_UPLINK);
    set.add(origin, enters(to(flow)));
    connections(at, service, port, family, origin, set, &to);
}

/// New connections, from inside and from outside.
fn connections(
    at: At<'_>,
    service: &Service,
    port: &ServicePort,
    family: Family,
    origin: &Origin,
    set: &mut FlowSet,
    to: &dyn Fn(Flow) -> Flow,
) {
    for outer in [0, 1] {
        let flow = |intent| {
            to(Flow::new(Table::Service, PORT, intent)
                .is(&FROM, FROM_POD)
                .is(&OUTER, outer))
        };
        let scope = match outer {
            0 => Scope::Internal,
            _ => Scope::External,
        };
        let actions = match backends::target(at, set, service, port, family, scope) {
            Target::Send(actions) => actions,
            Target::Nobody(nobody) => {
                set.add(origin, backends::nobody(nobody, flow));
                continue;
            }
        };
        let mut flow = flow(match outer {
            0 => "A pod, or the node itself, is given an endpoint.",
            _ => "A client outside is given an endpoint.",
        })
        .ct_state(TRK, INV);
        if outer == 1 && !service.routing.external_local {
            flow = flow.load(&MASQUERADE, 1);
        }
        set.add(origin, actions.into_iter().fold(flow, Flow::act));
    }
}

/// `loadBalancerSourceRanges`: who may use an address of the load balancer.
fn who_may(
    frontends: &Frontends,
    address: IpAddr,
    port: &ServicePort,
    origin: &Origin,
    set: &mut FlowSet,
) {
    if frontends.sources.is_empty() {
        return;
    }
    let flow = |priority, intent| {
        let protocol: Protocol = port.protocol;
        Flow::new(Table::Sources, priority, intent)
            .ip_dst(address)
            .when(Field::IpProto, protocol.number())
            .when(port_fields(protocol).1, port.port)
    };
    for range in &frontends.sources {
        if range.addr().is_ipv4() == address.is_ipv4() {
            let intent = "From here the load balancer may be used.";
            set.add(
                origin,
                flow(PORT, intent).ip_src_in(*range).goto(Table::Service),
            );
        }
    }
    set.add(
        origin,
        flow(ADDRESS, "From anywhere else it may not: dropped."),
    );
}
