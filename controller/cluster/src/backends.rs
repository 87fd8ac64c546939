//! Which endpoints a new connection to a Service port may get, and with what weight: a pure function
//! of the Service and of where the client is ([`choose`]).
//!
//! The rules are those of Kubernetes' own proxies: ready endpoints, those that still serve while they
//! terminate only where nothing else does (KEP-1669); traffic policies (KEP-2086); zone and node hints
//! only if all endpoints have them and one is for us (KEP-2433, KEP-4444). Ours come on top: cells
//! before anything else, then the strict option, weights of zones, and the canary's share.
//!
//! Every endpoint gets a [`Verdict`], so that one can ask why it is not used. Clients for which
//! everything that counts is alike get equal choices of equal [`Choice::variant`], whatever node they are on.

mod weights;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::addr::Family;
use crate::desired::{
    CellRules, CellStep, DesiredState, Distribution, Endpoint, Service, ServicePort,
};

/// Where a connection comes from, as traffic policies tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// From a pod or a node, to a cluster IP (`internalTrafficPolicy`).
    Internal,
    /// From outside, to a node port, external IP or load balancer's address
    /// (`externalTrafficPolicy`).
    External,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// The node that the packet is on.
    pub node: &'a str,
    /// The node's zone.
    pub zone: Option<&'a str>,
    /// The cell of the pod, or else of the node.
    pub cell: Option<&'a str>,
}

impl<'a> Client<'a> {
    /// A client on a node, of the node's own cell.
    pub fn on(state: &'a DesiredState, node: &'a str) -> Self {
        let known = state.nodes.get(node);
        Client {
            node,
            zone: known.and_then(|node| node.zone.as_deref()),
            cell: known.and_then(|node| node.cell.as_deref()),
        }
    }
}

/// What is decided of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gets new connections, in proportion to the weights of all.
    Used {
        /// Its weight.
        weight: u16,
    },
    /// Its address is of the other family.
    OtherFamily,
    /// It is neither ready, nor does it serve while it terminates.
    NotReady,
    /// It terminates, and others do not: established connections stay, new ones go elsewhere.
    Draining,
    /// The traffic policy is `Local`, and it is on another node.
    NotOnThisNode,
    /// Cell-wise routing sends this client elsewhere.
    OtherCell,
    /// Endpoints for this node are preferred, and there are some.
    OtherNode,
    /// Endpoints for this zone are preferred, and there are some, or the preference is strict.
    OtherZone,
    /// Its zone has no share (`sluice.io/zone-weights`), and others have.
    ZoneWithoutShare,
    /// Its side of the canary has no share.
    CanaryWithoutShare,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Used { weight } => return write!(f, "used, weight {weight}"),
            Verdict::OtherFamily => "its address is of the other family",
            Verdict::NotReady => "not ready",
            Verdict::Draining => "draining: established connections only",
            Verdict::NotOnThisNode => "not on this node, and the traffic policy is Local",
            Verdict::OtherCell => "in another cell",
            Verdict::OtherNode => "for another node, and this node has endpoints of its own",
            Verdict::OtherZone => "for another zone",
            Verdict::ZoneWithoutShare => "its zone has no share of sluice.io/zone-weights",
            Verdict::CanaryWithoutShare => "its side of sluice.io/canary has no share",
        })
    }
}

/// What a connection that finds no endpoint gets (kube-proxy's two cases).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// None that the client may have, on whatever node: the connection is refused.
    Anywhere,
    /// The traffic policy is `Local`, and there are some on other nodes: the packet is dropped.
    Here,
}

/// The decision for one port, family, scope and client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// Every endpoint of the port, in its order, and what is decided of it.
    pub verdicts: Vec<(&'a Endpoint, Verdict)>,
    /// What made it: two choices of one port and family with the same text are the same choice.
    /// Empty where all clients of the cluster get it.
    pub variant: String,
}

impl<'a> Choice<'a> {
    /// The endpoints that get connections, with their weights; at least one connection in
    /// 65,535 goes to each.
    pub fn backends(&self) -> impl Iterator<Item = (&'a Endpoint, u16)> {
        self.verdicts
            .iter()
            .filter_map(|(endpoint, verdict)| match verdict {
                Verdict::Used { weight } => Some((*endpoint, *weight)),
                _ => None,
            })
    }

    /// What becomes of a connection if there is no endpoint for it.
    pub fn nobody(&self) -> Option<Nobody> {
        if self.backends().next().is_some() {
            return None;
        }
        let mut verdicts = self.verdicts.iter();
        let elsewhere = verdicts.any(|(_, verdict)| *verdict == Verdict::NotOnThisNode);
        Some(if elsewhere {
            Nobody::Here
        } else {
            Nobody::Anywhere
        })
    }
}

/// True if the choice may be another for a client elsewhere; if not, [`choose`] never looks at the
/// client.
pub fn depends_on_place(service: &Service) -> bool {
    let routing = &service.routing;
    let hinted = |e: &Endpoint| !e.for_zones.is_empty() || !e.for_nodes.is_empty();
    let endpoints = || service.ports.iter().flat_map(|port| &port.endpoints);
    routing.internal_local
        || routing.external_local
        || routing.strict
        || routing.distribution != Distribution::Any
        || endpoints().any(hinted)
        || match &routing.cells {
            CellRules::Ignored => false,
            rules => *rules != CellRules::default() || endpoints().any(|e| e.cell.is_some()),
        }
}

/// True if one of the addresses is an endpoint of the Service, in whatever condition.
pub fn lists(service: &Service, addresses: &[IpAddr]) -> bool {
    let mut endpoints = service.ports.iter().flat_map(|port| &port.endpoints);
    endpoints.any(|e| addresses.contains(&e.ip))
}

/// True if a client somewhere may get a connection to one of the addresses by this Service. Clients
/// that would be told apart are thought of, whether there are any or not.
pub fn may_get_connections(service: &Service, addresses: &[IpAddr]) -> bool {
    let own = |e: &&Endpoint| addresses.contains(&e.ip) && (e.ready || is_draining(e));
    service.ports.iter().any(|port| {
        port.endpoints
            .iter()
            .filter(own)
            .any(|endpoint| endpoint.ready || clients_get(service, port, endpoint))
    })
}

/// True if a draining endpoint is chosen for a client somewhere.
fn clients_get(service: &Service, port: &ServicePort, endpoint: &Endpoint) -> bool {
    let mut zones: BTreeSet<Option<&str>> = BTreeSet::from([None]);
    let mut cells: BTreeSet<Option<&str>> = BTreeSet::from([None, Some("")]);
    if depends_on_place(service) {
        for e in &port.endpoints {
            zones.extend(e.for_zones.iter().map(|zone| Some(zone.as_str())));
            zones.insert(e.zone.as_deref());
            cells.insert(e.cell.as_deref());
        }
        if let CellRules::Then { by_cell, .. } = &service.routing.cells {
            cells.extend(by_cell.keys().map(|cell| Some(cell.as_str())));
        }
    }
    let hinted = endpoint.for_nodes.iter().map(String::as_str);
    let nodes: BTreeSet<&str> = endpoint
        .node
        .as_deref()
        .into_iter()
        .chain(hinted)
        .chain([""])
        .collect();
    let family = Family::of(endpoint.ip);
    let gets = |client: &Client<'_>| {
        [Scope::Internal, Scope::External].into_iter().any(|scope| {
            let choice = choose(service, port, family, scope, client);
            choice
                .backends()
                .any(|(used, _)| std::ptr::eq(used, endpoint))
        })
    };
    nodes.iter().any(|node| {
        zones.iter().any(|zone| {
            cells.iter().any(|cell| {
                gets(&Client {
                    node,
                    zone: *zone,
                    cell: *cell,
                })
            })
        })
    })
}

/// True if the endpoint still answers while it goes away.
pub fn is_draining(endpoint: &Endpoint) -> bool {
    !endpoint.ready && endpoint.serving && endpoint.terminating
}

/// The endpoints that connections may stay with which only their client keeps alive (UDP): ready
/// ones, chosen for new connections or not, and those that serve because nothing else does.
pub fn in_use<'a>(
    service: &Service,
    port: &'a ServicePort,
    client: &Client<'_>,
) -> Vec<&'a Endpoint> {
    let mut in_use: Vec<_> = port.endpoints.iter().filter(|e| e.ready).collect();
    if port.endpoints.iter().any(is_draining) {
        for family in [Family::V4, Family::V6] {
            for scope in [Scope::Internal, Scope::External] {
                let choice = choose(service, port, family, scope, client);
                in_use.extend(choice.backends().map(|(e, _)| e).filter(|e| !e.ready));
            }
        }
        in_use.sort();
        in_use.dedup();
    }
    in_use
}

/// Decides on every endpoint of a port.
pub fn choose<'a>(
    service: &Service,
    port: &'a ServicePort,
    family: Family,
    scope: Scope,
    client: &Client<'_>,
) -> Choice<'a> {
    let routing = &service.routing;
    let mut narrowing = Narrowing {
        verdicts: port.endpoints.iter().map(|e| (e, None)).collect(),
        variant: Vec::new(),
    };
    narrowing.leave_out(Verdict::OtherFamily, |e| Family::of(e.ip) != family);
    narrowing.leave_out(Verdict::NotReady, |e| !e.ready && !is_draining(e));
    let local = match scope {
        Scope::Internal => routing.internal_local,
        Scope::External => routing.external_local,
    };
    if local {
        narrowing.leave_out(Verdict::NotOnThisNode, |e| {
            e.node.as_deref() != Some(client.node)
        });
        narrowing.variant.push(format!("on node {}", client.node));
    }
    narrowing.by_cell(&routing.cells, client);
    let ready = narrowing.left().any(|e| e.ready);
    if ready {
        narrowing.leave_out(Verdict::Draining, |e| !e.ready);
    }
    if !local && (ready || routing.strict) {
        narrowing.by_topology(service, client);
    }
    weights::share(narrowing, routing)
}

/// Endpoints that are still in, and why the others are not.
struct Narrowing<'a> {
    verdicts: Vec<(&'a Endpoint, Option<Verdict>)>,
    variant: Vec<String>,
}

impl<'a> Narrowing<'a> {
    fn left(&self) -> impl Iterator<Item = &'a Endpoint> {
        let left = self
            .verdicts
            .iter()
            .filter(|(_, verdict)| verdict.is_none());
        left.map(|(endpoint, _)| *endpoint)
    }

    fn leave_out(&mut self, why: Verdict, out: impl Fn(&Endpoint) -> bool) {
        for (endpoint, verdict) in &mut self.verdicts {
            if verdict.is_none() && out(endpoint) {
                *verdict = Some(why);
            }
        }
    }

    /// The client's own cell, or the first place of the fall-back that has ready endpoints; then the
    /// first that has draining ones.
    fn by_cell(&mut self, rules: &CellRules, client: &Client<'_>) {
        let CellRules::Then { by_cell, others } = rules else {
            return;
        };
        let Some(own) = client.cell else { return };
        if self.left().all(|e| e.cell.is_none()) && by_cell.is_empty() && *others == [CellStep::Any]
        {
            return; // a Service that has no part in cells
        }
        let first = CellStep::Cell(own.to_string());
        let steps = || std::iter::once(&first).chain(by_cell.get(own).unwrap_or(others));
        let is_in = |step: &CellStep, e: &Endpoint| match step {
            CellStep::Cell(cell) => e.cell.as_ref() == Some(cell),
            CellStep::Any => true,
        };
        let has =
            |step: &&CellStep, ready: bool| self.left().any(|e| e.ready == ready && is_in(step, e));
        let found = steps().find(|step| has(step, true));
        let found = found.or_else(|| steps().find(|step| has(step, false)));
        match found {
            Some(CellStep::Any) => {}
            Some(CellStep::Cell(cell)) => {
                let cell = cell.clone();
                self.leave_out(Verdict::OtherCell, |e| e.cell.as_ref() != Some(&cell));
                self.variant.push(format!("in cell {cell}"));
            }
            None => {
                self.leave_out(Verdict::OtherCell, |_| true);
                self.variant.push(format!("for cell {own}"));
            }
        }
    }

    fn by_topology(&mut self, service: &Service, client: &Client<'_>) {
        let distribution = service.routing.distribution;
        let all_for_nodes = self.left().all(|e| has_node_hint(e, distribution));
        let for_node = |e: &Endpoint| is_for_node(e, distribution, client.node);
        if all_for_nodes && self.left().any(for_node)
            || service.routing.strict && distribution == Distribution::SameNode
        {
            self.leave_out(Verdict::OtherNode, |e| !for_node(e));
            return self.variant.push(format!("for node {}", client.node));
        }
        let all_for_zones = self.left().all(|e| has_zone_hint(e, distribution));
        let Some(zone) = client.zone else {
            if service.routing.strict {
                self.leave_out(Verdict::OtherZone, |_| true);
                self.variant.push("for no zone".into());
            }
            return;
        };
        let for_zone = |e: &Endpoint| is_for_zone(e, distribution, zone);
        if all_for_zones && self.left().any(for_zone) || service.routing.strict {
            self.leave_out(Verdict::OtherZone, |e| !for_zone(e));
            self.variant.push(format!("for zone {zone}"));
        }
    }
}

// What the API server's controller would write as hints stands for those that it has not written.

fn has_node_hint(e: &Endpoint, distribution: Distribution) -> bool {
    !e.for_nodes.is_empty() || distribution == Distribution::SameNode && e.node.is_some()
}

fn is_for_node(e: &Endpoint, distribution: Distribution, node: &str) -> bool {
    match e.for_nodes.is_empty() {
        false => e.for_nodes.iter().any(|n| n == node),
        true => distribution == Distribution::SameNode && e.node.as_deref() == Some(node),
    }
}

fn has_zone_hint(e: &Endpoint, distribution: Distribution) -> bool {
    !e.for_zones.is_empty() || distribution != Distribution::Any && e.zone.is_some()
}

fn is_for_zone(e: &Endpoint, distribution: Distribution, zone: &str) -> bool {
    match e.for_zones.is_empty() {
        false => e.for_zones.iter().any(|z| z == zone),
        true => distribution != Distribution::Any && e.zone.as_deref() == Some(zone),
    }
}
