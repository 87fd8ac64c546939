//! What each Service is reached by besides its cluster IPs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::hosts::{Candidate, candidates, elect, has_uplink};
use super::pool::Pools;
use super::{Announced, Balanced, Frontends, LB_CLASS};
use crate::addr::{Family, bits, is_host};
use crate::annotations;
use crate::desired::{self, DesiredState, Protocol};
use crate::map::{Map, changes};
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::nodes::by_age;
use crate::problem::Problem;
use crate::view::{ClusterView, Service};

/// What has to be known to say whether a change concerns what Services are reached by.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Addresses that any Service names in `externalIPs`.
    external: BTreeSet<IpAddr>,
    /// Ranges of load balancers' addresses.
    pools: Vec<(Family, u128, u128)>,
    /// Nodes that may answer for addresses.
    candidates: Vec<Candidate>,
}

impl Index {
    /// True if more than elections may come out differently: a Service that is exposed differs in
    /// anything but its endpoints, or an address that one may have came or went.
    pub(crate) fn is_concerned(
        &self,
        before: &ClusterView,
        view: &ClusterView,
        then: &DesiredState,
        now: &DesiredState,
    ) -> bool {
        let mut read = changes(&before.services, &view.services);
        let mut planned = changes(&then.services, &now.services);
        let mut pods = changes(&then.pods, &now.pods);
        let shape = |service: &desired::Service| {
            let ports = service.ports.iter().map(|p| (p.protocol, p.port));
            (service.cluster_ips.clone(), ports.collect::<Vec<_>>())
        };
        read.any(|service| {
            service
                .before
                .into_iter()
                .chain(service.after)
                .any(is_exposed)
        }) || planned.any(|service| {
            let both = || service.before.into_iter().chain(service.after);
            let exposed = view.services.get(service.key).is_some_and(is_exposed);
            let mut ips = both().flat_map(|service| &service.cluster_ips);
            let concerns = exposed || ips.any(|ip| self.external.contains(ip));
            concerns && service.before.map(shape) != service.after.map(shape)
        }) || pods.any(|pod| {
            let both = pod.before.into_iter().chain(pod.after);
            let mut addresses = both.flat_map(|pod| pod.addresses());
            addresses.any(|address| self.may_have(address))
        })
    }

    /// True for an address that a Service has, or may be given.
    fn may_have(&self, address: IpAddr) -> bool {
        let (family, number) = (Family::of(address), bits(address));
        let mut pools = self.pools.iter();
        self.external.contains(&address)
            || pools.any(|(of, first, last)| *of == family && (*first..=*last).contains(&number))
    }

    /// What a Service is reached by, where only its endpoints differ; none if it is by nothing.
    pub(crate) fn elect_again(
        &self,
        desired: &DesiredState,
        name: &NamespacedName,
    ) -> Option<Frontends> {
        let mut frontends = desired.frontends.get(name)?.clone();
        let service = desired.services.get(name)?;
        elect_all(&self.candidates, desired, service, &mut frontends);
        Some(frontends)
    }
}

/// True for a Service that may be reached by more than its cluster IPs.
fn is_exposed(service: &Service) -> bool {
    let exposure = &service.exposure;
    exposure.load_balancer || !exposure.node_ports.is_empty() || !exposure.external_ips.is_empty()
}

/// Every Service that is reached by more than its cluster IPs. What load balancers have been given is
/// kept in `given`, so that they keep it though no status is written, and in whatever order they come.
pub(crate) fn frontends(
    view: &ClusterView,
    desired: &DesiredState,
    given: &mut Map<NamespacedName, Vec<IpAddr>>,
    problems: &mut Vec<Problem>,
) -> (Index, Map<NamespacedName, Frontends>) {
    let mut index = Round::new(view, desired, problems);
    let by_age: Vec<_> = by_age(&view.services, |s| s.meta.created)
        .into_iter()
        .filter_map(|(name, service)| Some((name, service, desired.services.get(name)?)))
        .collect();
    // Who asks for an address, or has one, keeps it before anybody is given another.
    let mut held: BTreeMap<&NamespacedName, Vec<Balanced>> = BTreeMap::new();
    for (name, service, _) in by_age.iter().filter(|(_, s, _)| s.exposure.load_balancer) {
        let given = given.get(*name).map_or(&[][..], Vec::as_slice);
        held.insert(name, index.held(name, service, given, problems));
    }
    let mut all = Map::new();
    for (name, service, planned) in by_age {
        let mut frontends = Frontends {
            node_ports: index.node_ports(name, service, problems),
            external: index.external(name, service, planned, problems),
            ..Frontends::default()
        };
        if let Some(held) = held.remove(name) {
            frontends.balanced = index.balanced(name, service, planned, held, problems);
            frontends.sources = sources(name, service, problems);
        }
        let is_exposed = !frontends.node_ports.is_empty()
            || !frontends.external.is_empty()
            || !frontends.balanced.is_empty();
        if is_exposed {
            frontends.local = service.exposure.external_local;
            let health = service.exposure.health_check_node_port;
            frontends.health_check =
                health.filter(|_| frontends.local && service.exposure.load_balancer);
            elect_all(&index.candidates, desired, planned, &mut frontends);
            all.insert(name.clone(), frontends);
        }
    }
    given.retain(|name, _| all.contains_key(name));
    for (name, frontends) in &all {
        let ours = frontends.balanced.iter().filter(|b| b.announced.is_some());
        let ours: Vec<_> = ours.map(|balanced| balanced.address).collect();
        if ours.is_empty() {
            given.remove(name);
        } else if given.get(name) != Some(&ours) {
            given.insert(name.clone(), ours);
        }
    }
    let named = view
        .services
        .values()
        .flat_map(|s| &s.exposure.external_ips);
    let kept = Index {
        external: named.filter_map(|text| text.parse().ok()).collect(),
        pools: index.pools.all().collect(),
        candidates: index.candidates,
    };
    (kept, all)
}

struct Round<'a> {
    desired: &'a DesiredState,
    pools: Pools<'a>,
    cluster_ips: BTreeMap<IpAddr, &'a NamespacedName>,
    pods: BTreeSet<IpAddr>,
    candidates: Vec<Candidate>,
    node_ports: BTreeMap<(Protocol, u16), NamespacedName>,
    /// Address, protocol and port; several Services may share an address by different ports.
    external: BTreeMap<(IpAddr, Protocol, u16), NamespacedName>,
}

impl<'a> Round<'a> {
    fn new(view: &'a ClusterView, desired: &'a DesiredState, problems: &mut Vec<Problem>) -> Self {
        let services = desired.services.values();
        let cluster_ips = services.flat_map(|s| s.cluster_ips.iter().map(move |ip| (*ip, &s.name)));
        let any_external = view
            .services
            .values()
            .any(|s| !s.exposure.external_ips.is_empty());
        let pods = desired.pods.values().filter(|_| any_external);
        Round {
            desired,
            pools: Pools::new(view, desired, problems),
            cluster_ips: cluster_ips.collect(),
            candidates: candidates(view),
            pods: pods.flat_map(|pod| pod.addresses()).collect(),
            node_ports: BTreeMap::new(),
            external: BTreeMap::new(),
        }
    }

    fn node_ports(
        &mut self,
        name: &NamespacedName,
        service: &Service,
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<(Protocol, u16), u16> {
        let mut ports = BTreeMap::new();
        for (&(protocol, port), &node_port) in &service.exposure.node_ports {
            match self.node_ports.get(&(protocol, node_port)) {
                Some(other) => problems.push(Problem::refused(
                    ObjectRef::namespaced(Kind::Service, name),
                    "spec.ports[].nodePort",
                    format!("{protocol} {node_port} is Service {other}'s already"),
                    "choose another",
                )),
                None => {
                    self.node_ports.insert((protocol, node_port), name.clone());
                    ports.insert((protocol, port), node_port);
                }
            }
        }
        ports
    }

    fn external(
        &mut self,
        name: &NamespacedName,
        service: &Service,
        planned: &desired::Service,
        problems: &mut Vec<Problem>,
    ) -> Vec<IpAddr> {
        let mut addresses = BTreeSet::new();
        for (at, text) in service.exposure.external_ips.iter().enumerate() {
            let mut refuse = |message: String, remedy: &str| {
                let object = ObjectRef::namespaced(Kind::Service, name);
                let field = format!("spec.externalIPs[{at}]");
                problems.push(Problem::refused(object, field, message, remedy));
            };
            let address = match text.parse() {
                Ok(address) if is_host(address) => address,
                _ => {
                    let message = format!("{text:?} is not an address that a Service can have");
                    refuse(message, "write it like 203.0.113.10");
                    continue;
                }
            };
            let overlays = self.desired.subnets.values();
            let mut overlays =
                overlays.filter(|s| matches!(s.kind, desired::SubnetKind::Overlay { .. }));
            let claims = planned.ports.iter().map(|p| (address, p.protocol, p.port));
            let other = claims.clone().find_map(|claim| self.external.get(&claim));
            if let Some(other) = self.cluster_ips.get(&address) {
                refuse(
                    format!("{address} is the cluster IP of Service {other}"),
                    "choose another",
                );
            } else if self.pods.contains(&address) {
                refuse(format!("{address} is a pod's"), "choose another");
            } else if let Some(subnet) = overlays.find(|s| s.contains(address)) {
                let message = format!("{address} is inside Subnet {}, where pods are", subnet.name);
                refuse(message, "choose an address outside the overlays");
            } else if let Some(other) = other {
                let message = format!("a port of {address} is Service {other}'s already");
                refuse(message, "choose another address or other ports");
            } else {
                self.external
                    .extend(claims.map(|claim| (claim, name.clone())));
                addresses.insert(address);
            }
        }
        addresses.into_iter().collect()
    }

    /// Addresses that a Service asks for, has by its status, or was given before.
    fn held(
        &mut self,
        name: &NamespacedName,
        service: &Service,
        given: &[IpAddr],
        problems: &mut Vec<Problem>,
    ) -> Vec<Balanced> {
        let ingress = service
            .exposure
            .ingress
            .iter()
            .filter_map(|t| t.parse().ok());
        let ingress: Vec<IpAddr> = ingress.filter(|ip| is_host(*ip)).collect();
        if !self.is_ours(service) {
            // Whoever gave it, the nodes serve it (as kube-proxy does).
            return ingress
                .into_iter()
                .map(|address| Balanced {
                    address,
                    announced: None,
                })
                .collect();
        }
        let only = self.pool_asked(name, service, problems);
        let asked = annotations::ours(&service.meta, "lb-ip");
        let asked = asked.map(|a| (a.field(), a.value)).or_else(|| {
            let ip = service.exposure.load_balancer_ip.as_deref()?;
            Some(("spec.loadBalancerIP".into(), ip))
        });
        let mut held: Vec<Balanced> = Vec::new();
        let mut hold = |pools: &mut Pools<'_>, address: IpAddr| {
            if held
                .iter()
                .any(|h| Family::of(h.address) == Family::of(address))
            {
                return true;
            }
            let subnet = pools.take(address, only.as_deref());
            held.extend(subnet.map(|subnet| Balanced {
                address,
                announced: Some(Announced {
                    subnet: subnet.to_string(),
                    node: None,
                }),
            }));
            subnet.is_some()
        };
        if let Some((field, text)) = asked {
            for text in text.split(',').map(str::trim) {
                let is_held = text
                    .parse()
                    .is_ok_and(|address| hold(&mut self.pools, address));
                if !is_held {
                    problems.push(Problem::refused(
                        ObjectRef::namespaced(Kind::Service, name),
                        &field,
                        format!("{text:?} is in no pool that it may use, or not free"),
                        "choose a free address of a Subnet with the annotation sluice.io/lb-pool",
                    ));
                    // Not another one in its place, of that family.
                }
            }
        }
        for address in ingress.into_iter().chain(given.iter().copied()) {
            hold(&mut self.pools, address);
        }
        held
    }

    /// Held addresses, and one of the pool for each family that has none.
    fn balanced(
        &mut self,
        name: &NamespacedName,
        service: &Service,
        planned: &desired::Service,
        mut held: Vec<Balanced>,
        problems: &mut Vec<Problem>,
    ) -> Vec<Balanced> {
        let object = || ObjectRef::namespaced(Kind::Service, name);
        if !self.is_ours(service) {
            if held.is_empty() && service.exposure.load_balancer_class.is_none() {
                problems.push(Problem::ignored(
                    object(),
                    "spec.type",
                    "no Subnet has addresses for load balancers; node ports serve as ever",
                    "annotate an underlay Subnet with sluice.io/lb-pool: FIRST..LAST",
                ));
            }
            return held;
        }
        let asks = annotations::ours(&service.meta, "lb-ip").is_some()
            || service.exposure.load_balancer_ip.is_some();
        let families: BTreeSet<Family> = planned
            .cluster_ips
            .iter()
            .map(|ip| Family::of(*ip))
            .collect();
        held.retain(|held| families.contains(&Family::of(held.address)));
        if !asks {
            let only = annotations::ours(&service.meta, "lb-pool").map(|a| a.value);
            for family in &families {
                if held.iter().any(|held| Family::of(held.address) == *family) {
                    continue;
                }
                let given = self.pools.give(&name.to_string(), *family, only);
                held.extend(given.map(|(address, subnet)| Balanced {
                    address,
                    announced: Some(Announced {
                        subnet: subnet.to_string(),
                        node: None,
                    }),
                }));
            }
            if held.is_empty() {
                problems.push(Problem::refused(
                    object(),
                    "spec.type",
                    "no address is free for its load balancer; node ports serve as ever",
                    "enlarge a pool (sluice.io/lb-pool on a Subnet), or remove Services",
                ));
            }
        }
        held.sort_by_key(|held| (Family::of(held.address), held.address));
        held
    }

    /// Ours are those that name our class, and those that name none where there are pools.
    fn is_ours(&self, service: &Service) -> bool {
        match service.exposure.load_balancer_class.as_deref() {
            Some(class) => class == LB_CLASS,
            None => !self.pools.is_empty(),
        }
    }

    fn pool_asked(
        &self,
        name: &NamespacedName,
        service: &Service,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let annotation = annotations::ours(&service.meta, "lb-pool")?;
        if !self.pools.has(annotation.value) {
            problems.push(Problem::refused(
                ObjectRef::namespaced(Kind::Service, name),
                annotation.field(),
                format!(
                    "Subnet {:?} has no addresses for load balancers",
                    annotation.value
                ),
                "name a Subnet that has the annotation sluice.io/lb-pool",
            ));
        }
        Some(annotation.value.to_string())
    }
}

/// One node for each address: it is ready, on the network, and where only its own endpoints count
/// it has some.
fn elect_all(
    candidates: &[Candidate],
    desired: &DesiredState,
    service: &desired::Service,
    frontends: &mut Frontends,
) {
    let local = frontends.local.then(|| with_endpoints(service));
    for balanced in &mut frontends.balanced {
        let (address, Some(announced)) = (balanced.address, &mut balanced.announced) else {
            continue;
        };
        let usable = candidates.iter().filter(|node| {
            has_uplink(desired, &announced.subnet, &node.name)
                && local
                    .as_ref()
                    .is_none_or(|local| local.contains(node.name.as_str()))
        });
        let node = elect(address, usable);
        announced.node = node.map(str::to_string);
    }
}

/// Nodes with endpoints that take connections.
fn with_endpoints(service: &desired::Service) -> BTreeSet<&str> {
    let endpoints = service.ports.iter().flat_map(|port| &port.endpoints);
    let usable = endpoints.filter(|e| e.ready || (e.serving && e.terminating));
    usable.filter_map(|e| e.node.as_deref()).collect()
}

fn sources(name: &NamespacedName, service: &Service, problems: &mut Vec<Problem>) -> Vec<IpNet> {
    let mut sources = Vec::new();
    let ranges = &service.exposure.source_ranges;
    for (at, text) in ranges.iter().enumerate() {
        match text.trim().parse::<IpNet>() {
            Ok(range) => sources.push(range.trunc()),
            Err(_) => problems.push(Problem::refused(
                ObjectRef::namespaced(Kind::Service, name),
                format!("spec.loadBalancerSourceRanges[{at}]"),
                format!("{text:?} is not a prefix; nobody is let in by it"),
                "write it like 203.0.113.0/24",
            )),
        }
    }
    if sources.is_empty() && !ranges.is_empty() {
        // None of them can be read: that is not "everybody".
        sources.push(IpNet::new_assert(
            IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            32,
        ));
    }
    sources.sort_unstable();
    sources.dedup();
    sources
}
