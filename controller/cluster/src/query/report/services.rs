//! Services and their endpoints.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Report, Wanted, owners};
use crate::addr::Family;
use crate::backends::{self, Client, Scope, Verdict, choose};
use crate::desired::{self, DesiredState, Endpoint};
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::query::{Backend, Selection, Service, ServicePort};

impl Report<'_> {
    /// Services. With a node, endpoints as clients of that node's own cell get them.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn services(&self, which: &Selection) -> Result<Vec<Service>, String> {
        self.check_node(which)?;
        let wanted = Wanted::new(which)?;
        let problems = self.problems(Kind::Service);
        let owners = owners(self.desired);
        let place = which
            .node
            .as_deref()
            .map(|node| Client::on(self.desired, node));
        let mut services = Vec::new();
        for (name, service) in wanted.of(&self.desired.services) {
            let object = ObjectRef::namespaced(Kind::Service, name);
            let frontends = self.desired.frontends.get(name);
            let port = |port: &desired::ServicePort| {
                let node_port =
                    frontends.and_then(|f| f.node_ports.get(&(port.protocol, port.port)));
                ServicePort {
                    name: port.name.clone(),
                    protocol: port.protocol.to_string(),
                    port: port.port,
                    node_port: node_port.copied(),
                    backends: of_port(&owners, service, port, place),
                }
            };
            services.push(Service {
                namespace: name.namespace.clone(),
                name: name.name.clone(),
                cluster_ips: service.cluster_ips.clone(),
                external_ips: frontends.map_or(Vec::new(), |f| f.addresses().collect()),
                ports: service.ports.iter().map(port).collect(),
                affinity_seconds: service.routing.affinity,
                in_force: self.in_force(&object, which.node.as_deref()),
                problems: problems.get(&object).cloned().unwrap_or_default(),
            });
        }
        let known = self.desired.services.keys().map(ToString::to_string);
        wanted.found(services, "service", known)
    }

    /// Endpoints of a port, and what is decided of each for a client.
    pub fn backends(
        state: &DesiredState,
        service: &desired::Service,
        port: &desired::ServicePort,
        client: Option<(Family, Scope, Client<'_>)>,
    ) -> Vec<Backend> {
        let owners = owners(state);
        match client {
            Some((family, scope, client)) => {
                let choice = choose(service, port, family, scope, &client);
                let verdicts = choice.verdicts.into_iter();
                let verdicts = verdicts.filter(|(_, verdict)| *verdict != Verdict::OtherFamily);
                verdicts
                    .map(|(e, verdict)| backend(&owners, e, Some(verdict)))
                    .collect()
            }
            None => of_port(&owners, service, port, None),
        }
    }
}

type Owners<'a> = HashMap<IpAddr, &'a NamespacedName>;

/// Endpoints of both families; without a place, for clients anywhere, if it is all the same where.
fn of_port(
    owners: &Owners<'_>,
    service: &desired::Service,
    port: &desired::ServicePort,
    place: Option<Client<'_>>,
) -> Vec<Backend> {
    let anywhere = Client {
        node: "",
        zone: None,
        cell: None,
    };
    let client = match place {
        Some(client) => Some(client),
        None => (!backends::depends_on_place(service)).then_some(anywhere),
    };
    let Some(client) = client else {
        let all = port.endpoints.iter();
        return all
            .map(|endpoint| backend(owners, endpoint, None))
            .collect();
    };
    let mut list = Vec::new();
    for family in [Family::V4, Family::V6] {
        let choice = choose(service, port, family, Scope::Internal, &client);
        let of_family = choice.verdicts.into_iter();
        let of_family = of_family.filter(|(_, verdict)| *verdict != Verdict::OtherFamily);
        list.extend(of_family.map(|(e, verdict)| backend(owners, e, Some(verdict))));
    }
    list
}

fn backend(owners: &Owners<'_>, endpoint: &Endpoint, verdict: Option<Verdict>) -> Backend {
    let condition = match endpoint {
        e if e.ready => "ready",
        e if backends::is_draining(e) => "draining",
        _ => "not ready",
    };
    let weight = match verdict {
        Some(Verdict::Used { weight }) => Some(weight),
        _ => None,
    };
    Backend {
        address: endpoint.ip,
        port: endpoint.port,
        pod: owners.get(&endpoint.ip).map(ToString::to_string),
        node: endpoint.node.clone(),
        zone: endpoint.zone.clone(),
        condition: condition.into(),
        weight,
        verdict: match verdict {
            Some(verdict) => verdict.to_string(),
            None => "depends on where the client is: ask with --node".into(),
        },
    }
}
