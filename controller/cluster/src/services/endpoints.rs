//! Where a Service port leads: to what its EndpointSlices say, or else to the pods it selects.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::index::Index;
use crate::addr::is_host;
use crate::desired::{self, DesiredState, Endpoint, Protocol};
use crate::name::{NamespacedName, ObjectRef};
use crate::problem::Problem;
use crate::view::{
    self, ClusterView, EndpointSlice, Service, ServicePort, SliceEndpoint, TargetPort,
};

pub(super) struct Endpoints<'a> {
    pub(super) view: &'a ClusterView,
    pub(super) desired: &'a DesiredState,
    pub(super) index: &'a Index,
}

impl Endpoints<'_> {
    /// The endpoints of one port, ordered, each once.
    pub(super) fn of(
        &self,
        object: &ObjectRef,
        name: &NamespacedName,
        service: &Service,
        port: &ServicePort,
        field: &str,
        problems: &mut Vec<Problem>,
    ) -> Vec<Endpoint> {
        let mut endpoints = match self.index.slices.get(name) {
            Some(slices) => self.in_slices(slices, port),
            None => self.by_selector(object, name, service, port, field, problems),
        };
        // Of several entries of one endpoint the best condition holds.
        endpoints.sort_by_key(|e: &Endpoint| (e.ip, e.port, !e.ready, !e.serving));
        endpoints.dedup_by_key(|endpoint| (endpoint.ip, endpoint.port));
        endpoints
    }

    fn in_slices(&self, slices: &BTreeSet<NamespacedName>, port: &ServicePort) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        let slices = slices.iter();
        for slice in slices.filter_map(|name| self.view.endpoint_slices.get(name)) {
            let numbers = slice
                .ports
                .iter()
                .filter(|p| p.name == port.name && p.protocol == port.protocol)
                .filter_map(|p| p.port.filter(|number| *number != 0));
            for number in numbers {
                for entry in &slice.endpoints {
                    endpoints
                        .extend(host_addresses(entry).map(|ip| self.endpoint(ip, number, entry)));
                }
            }
        }
        endpoints
    }

    /// Conditions that are not given mean what EndpointSlice's documentation says of `nil`.
    fn endpoint(&self, ip: IpAddr, port: u16, entry: &SliceEndpoint) -> Endpoint {
        let terminating = entry.terminating.unwrap_or(false);
        let ready = entry.ready.unwrap_or(true);
        let pods = self.index.pods.get(&ip);
        let pod = pods.and_then(|pods| self.desired.pods.get(pods.last()?));
        let node = entry.node.as_ref().or(pod.map(|pod| &pod.node));
        let known = node.and_then(|node| self.desired.nodes.get(node));
        Endpoint {
            node: node.cloned(),
            ready,
            serving: entry.serving.unwrap_or(ready),
            terminating,
            zone: entry.zone.clone().or_else(|| known?.zone.clone()),
            cell: pod
                .and_then(|pod| pod.cell.clone())
                .or_else(|| known?.cell.clone()),
            for_zones: entry.for_zones.clone(),
            for_nodes: entry.for_nodes.clone(),
            ..Endpoint::ready(ip, port)
        }
    }

    /// What the API server's endpoint controller would write, from the pods as they shall be.
    fn by_selector(
        &self,
        object: &ObjectRef,
        name: &NamespacedName,
        service: &Service,
        port: &ServicePort,
        field: &str,
        problems: &mut Vec<Problem>,
    ) -> Vec<Endpoint> {
        if service.selector.is_empty() {
            return Vec::new();
        }
        let mut endpoints = Vec::new();
        let (mut selected, mut named) = (0, 0);
        let found = self
            .index
            .selected(self.view, &name.namespace, &service.selector);
        for (pod_name, pod) in found {
            if pod.finished {
                continue;
            }
            if pod.host_network {
                problems.push(Problem::ignored(
                    object.clone(),
                    "spec.selector",
                    format!("Pod {pod_name} is on its node's own network and gets no connections"),
                    "write an EndpointSlice, or take the pod off the host network",
                ));
                continue;
            }
            selected += 1;
            let Some(number) = target(pod, port) else {
                continue;
            };
            named += 1;
            let Some(placed) = self.desired.pods.get(pod_name) else {
                continue;
            };
            let node = self.desired.nodes.get(&placed.node);
            endpoints.extend(computed(
                placed,
                node,
                pod,
                number,
                service.publish_not_ready,
            ));
        }
        if let (Some(TargetPort::Name(target)), true, 0) = (&port.target, selected > 0, named) {
            problems.push(Problem::ignored(
                object.clone(),
                format!("{field}.targetPort"),
                format!(
                    "no selected pod has a {} port called {target:?}",
                    port.protocol
                ),
                "name it in the containers' ports, or use a number",
            ));
        }
        endpoints
    }
}

/// The port of a pod that a Service port leads to; `None` if the pod has none of that name.
fn target(pod: &view::Pod, port: &ServicePort) -> Option<u16> {
    match &port.target {
        None => Some(port.port),
        Some(TargetPort::Number(number)) => Some(*number),
        Some(TargetPort::Name(name)) => pod
            .ports
            .iter()
            .find(|p| p.protocol == port.protocol && p.name.as_ref() == Some(name))
            .map(|p| p.port),
    }
}

/// Where the manifest has no status, a pod that has its addresses counts as ready.
fn computed(
    placed: &desired::Pod,
    node: Option<&desired::Node>,
    pod: &view::Pod,
    port: u16,
    publish_not_ready: bool,
) -> impl Iterator<Item = Endpoint> {
    let serving = pod.ready.unwrap_or(true);
    let terminating = pod.meta.deleting;
    placed.addresses().map(move |ip| Endpoint {
        node: Some(placed.node.clone()),
        ready: publish_not_ready || serving && !terminating,
        serving,
        terminating,
        zone: node.and_then(|node| node.zone.clone()),
        cell: placed.cell.clone().or_else(|| node?.cell.clone()),
        ..Endpoint::ready(ip, port)
    })
}

pub(super) fn host_addresses(entry: &SliceEndpoint) -> impl Iterator<Item = IpAddr> {
    let parsed = entry.addresses.iter().filter_map(|text| text.parse().ok());
    parsed.filter(|ip| is_host(*ip))
}

pub(super) fn report_bad_addresses(
    object: &ObjectRef,
    slice: &EndpointSlice,
    problems: &mut Vec<Problem>,
) {
    for (at, entry) in slice.endpoints.iter().enumerate() {
        for (index, text) in entry.addresses.iter().enumerate() {
            if !text.parse().is_ok_and(is_host) {
                problems.push(Problem::refused(
                    object.clone(),
                    format!("endpoints[{at}].addresses[{index}]"),
                    format!("{text:?} is not an address that an endpoint can have"),
                    "correct it, or remove the entry",
                ));
            }
        }
    }
    for (index, port) in slice.ports.iter().enumerate() {
        if port.port.is_none_or(|number| number == 0) {
            let protocol: Protocol = port.protocol;
            problems.push(Problem::refused(
                object.clone(),
                format!("ports[{index}].port"),
                format!("a {protocol} port without a number leads nowhere"),
                "write the number",
            ));
        }
    }
}
