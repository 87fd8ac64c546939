//! Services to virtual addresses and the places they lead to.

mod canary;
mod endpoints;
mod index;
mod routing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::addr::{Family, is_host};
use crate::annotations;
use crate::desired::{self, DesiredState};
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::problem::Problem;
use crate::view::{self, ClusterView, Service};

use endpoints::Endpoints;
pub(crate) use index::Index;

/// What becomes of these Services: each with what is wrong with it, and with nothing if it has no
/// virtual address. Who asks for the address of one of them has to be among them.
pub(crate) fn compute<'a>(
    view: &ClusterView,
    desired: &DesiredState,
    index: &Index,
    names: &'a BTreeSet<NamespacedName>,
) -> Vec<(NamespacedName, Option<desired::Service>, Vec<Problem>)> {
    let endpoints = Endpoints {
        view,
        desired,
        index,
    };
    let mut taken: BTreeMap<IpAddr, NamespacedName> = BTreeMap::new();
    let mut by_age: Vec<(i64, &'a NamespacedName)> = names
        .iter()
        .map(|name| {
            let created = view.services.get(name).and_then(|s| s.meta.created);
            (created.unwrap_or(i64::MAX), name)
        })
        .collect();
    by_age.sort();
    let computed = by_age.into_iter().map(|(_, name)| {
        let mut problems = Vec::new();
        let service = view.services.get(name);
        let service = service.and_then(|s| one(name, s, &endpoints, &mut taken, &mut problems));
        (name.clone(), service, problems)
    });
    computed.collect()
}

fn one(
    name: &NamespacedName,
    service: &Service,
    endpoints: &Endpoints<'_>,
    taken: &mut BTreeMap<IpAddr, NamespacedName>,
    problems: &mut Vec<Problem>,
) -> Option<desired::Service> {
    let object = ObjectRef::namespaced(Kind::Service, name);
    annotations::report_unread(&object, &service.meta, problems);
    if service.external_name || is_headless(service) {
        return None;
    }
    let cluster_ips = cluster_ips(&object, service, endpoints.desired, taken, name, problems);
    if cluster_ips.is_empty() {
        return None;
    }
    let mut routing = routing::read(&object, service, problems);
    let canary = canary::read(&object, name, service, endpoints.view, problems);
    routing.canary = canary.as_ref().map(|canary| canary.share);
    let mut ports = Vec::with_capacity(service.ports.len());
    for (field, port) in usable_ports(&object, service, problems) {
        let mut list = endpoints.of(&object, name, service, port, &field, problems);
        if let Some(canary) = &canary {
            canary.add(endpoints, port, &mut list, problems);
        }
        ports.push(desired::ServicePort {
            name: port.name.clone(),
            protocol: port.protocol,
            port: port.port,
            endpoints: list,
        });
    }
    Some(desired::Service {
        name: name.clone(),
        cluster_ips,
        ports,
        routing,
    })
}

fn is_headless(service: &Service) -> bool {
    service.cluster_ips.iter().any(|ip| ip == "None")
}

/// The virtual addresses that can be used, of those the manifest names.
fn cluster_ips(
    object: &ObjectRef,
    service: &Service,
    desired: &DesiredState,
    taken: &mut BTreeMap<IpAddr, NamespacedName>,
    name: &NamespacedName,
    problems: &mut Vec<Problem>,
) -> Vec<IpAddr> {
    let mut refuse = |index: usize, message: String, remedy: &str| {
        let field = format!("spec.clusterIPs[{index}]");
        problems.push(Problem::refused(object.clone(), field, message, remedy));
    };
    if service.cluster_ips.is_empty() {
        refuse(
            0,
            "the Service has no address, and here is no API server to give it one".into(),
            "write spec.clusterIP",
        );
    }
    let mut ips: Vec<IpAddr> = Vec::new();
    for (index, text) in service.cluster_ips.iter().enumerate() {
        let ip = match text.parse::<IpAddr>() {
            Ok(ip) if is_host(ip) => ip,
            _ => {
                let message = format!("{text:?} is not an address that a Service can have");
                refuse(index, message, "write it like 10.96.0.10");
                continue;
            }
        };
        if ips.iter().any(|other| Family::of(*other) == Family::of(ip)) {
            let message = format!("{ip} is the second {} address", Family::of(ip));
            refuse(index, message, "give one of each family");
        } else if let Some(other) = taken.get(&ip) {
            let message = format!("{ip} is Service {other}'s already");
            refuse(index, message, "choose another address");
        } else if let Some(subnet) = desired.subnets.values().find(|s| s.contains(ip)) {
            let message = format!("{ip} is inside Subnet {}, where pods are", subnet.name);
            refuse(index, message, "choose an address outside every Subnet");
        } else {
            taken.insert(ip, name.clone());
            ips.push(ip);
        }
    }
    ips
}

/// The ports that can be, each with its path in the manifest.
fn usable_ports<'a>(
    object: &ObjectRef,
    service: &'a Service,
    problems: &mut Vec<Problem>,
) -> Vec<(String, &'a view::ServicePort)> {
    let mut seen = BTreeSet::new();
    let mut ports = Vec::with_capacity(service.ports.len());
    for (index, port) in service.ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        if port.port == 0 {
            problems.push(Problem::refused(
                object.clone(),
                format!("{field}.port"),
                "0 is not a port",
                "use 1 to 65535",
            ));
            continue;
        }
        if !seen.insert((port.protocol, port.port)) {
            problems.push(Problem::refused(
                object.clone(),
                format!("{field}.port"),
                format!(
                    "{} {} is there twice; the first holds",
                    port.protocol, port.port
                ),
                "remove one of the two",
            ));
            continue;
        }
        ports.push((field, port));
    }
    ports
}
