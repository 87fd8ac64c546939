//! Which Services depend on what: so that a change leads to those that it concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::endpoints::{host_addresses, report_bad_addresses};
use super::{canary, is_headless};
use crate::addr::is_host;
use crate::annotations;
use crate::desired;
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::problem::Problem;
use crate::view::{ClusterView, EndpointSlice, Pod, Service, has_all};

/// A namespace with a label and its value.
type Label = (String, String, String);

type Names = BTreeSet<NamespacedName>;

/// Kept up to date object by object.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Slices that are in force, by Service.
    pub(super) slices: BTreeMap<NamespacedName, Names>,
    /// Pods by each of their labels.
    pub(super) labelled: BTreeMap<Label, Names>,
    /// Pods that have a port, by address; the last has it, where subnets do not overlap the only.
    pub(super) pods: BTreeMap<IpAddr, Names>,
    /// Slices in force by the addresses in them.
    listing: BTreeMap<IpAddr, Names>,
    /// Services by one of the labels that they select.
    selecting: BTreeMap<Label, Names>,
    /// Services by the Service that is their canary.
    led_to: BTreeMap<NamespacedName, Names>,
    /// Services by the cluster IPs that they ask for.
    claiming: BTreeMap<IpAddr, Names>,
    /// Services to look at.
    due: Names,
}

impl Index {
    /// A slice came, went or changed.
    pub(crate) fn slice(
        &mut self,
        before: &ClusterView,
        view: &ClusterView,
        name: &NamespacedName,
        problems: &mut Vec<Problem>,
    ) {
        if let Some(slice) = before.endpoint_slices.get(name)
            && let Some(service) = service_of(name, slice)
        {
            take(&mut self.slices, &service, name);
            for address in slice.endpoints.iter().flat_map(host_addresses) {
                take(&mut self.listing, &address, name);
            }
            self.due.insert(service);
        }
        let Some(slice) = view.endpoint_slices.get(name) else {
            return;
        };
        report(name, slice, problems);
        if let Some(service) = service_of(name, slice) {
            put(&mut self.slices, service.clone(), name);
            for address in slice.endpoints.iter().flat_map(host_addresses) {
                put(&mut self.listing, address, name);
            }
            self.due.insert(service);
        }
    }

    /// A Service came, went or changed.
    pub(crate) fn service(
        &mut self,
        before: &ClusterView,
        view: &ClusterView,
        name: &NamespacedName,
    ) {
        // Of those that ask for what it asked for, another may have it now.
        if let Some(service) = before.services.get(name) {
            for address in claims(service) {
                take(&mut self.claiming, &address, name);
                self.due
                    .extend(self.claiming.get(&address).into_iter().flatten().cloned());
            }
            if let Some(label) = selected(name, service) {
                take(&mut self.selecting, &label, name);
            }
            if let Some(other) = canary::other(name, service) {
                take(&mut self.led_to, &other, name);
            }
        }
        if let Some(service) = view.services.get(name) {
            for address in claims(service) {
                put(&mut self.claiming, address, name);
            }
            if let Some(label) = selected(name, service) {
                put(&mut self.selecting, label, name);
            }
            if let Some(other) = canary::other(name, service) {
                put(&mut self.led_to, other, name);
            }
        }
        self.due.insert(name.clone());
    }

    /// A pod of the view came, went or changed.
    pub(crate) fn labels(
        &mut self,
        name: &NamespacedName,
        before: Option<&Pod>,
        now: Option<&Pod>,
    ) {
        for pod in before.into_iter().chain(now) {
            self.selected_by(name, pod);
        }
        for label in before.into_iter().flat_map(|pod| labels(name, pod)) {
            take(&mut self.labelled, &label, name);
        }
        for label in now.into_iter().flat_map(|pod| labels(name, pod)) {
            put(&mut self.labelled, label, name);
        }
    }

    /// The port of a pod came, went or changed.
    pub(crate) fn addresses(
        &mut self,
        view: &ClusterView,
        name: &NamespacedName,
        before: Option<&desired::Pod>,
        now: Option<&desired::Pod>,
    ) {
        if let Some(pod) = view.pods.get(name) {
            self.selected_by(name, pod);
        }
        for address in before.into_iter().flat_map(|pod| pod.addresses()) {
            take(&mut self.pods, &address, name);
            self.listed(view, address);
        }
        for address in now.into_iter().flat_map(|pod| pod.addresses()) {
            put(&mut self.pods, address, name);
            self.listed(view, address);
        }
    }

    /// Services that select a pod and have no slices.
    fn selected_by(&mut self, name: &NamespacedName, pod: &Pod) {
        for label in labels(name, pod) {
            let selecting = self.selecting.get(&label).into_iter().flatten();
            let by_selector = selecting.filter(|service| !self.slices.contains_key(*service));
            self.due.extend(by_selector.cloned());
        }
    }

    /// Services that have slices with an address.
    fn listed(&mut self, view: &ClusterView, address: IpAddr) {
        for name in self.listing.get(&address).into_iter().flatten() {
            let slice = view.endpoint_slices.get(name);
            let service = slice.and_then(|slice| service_of(name, slice));
            self.due.extend(service);
        }
    }

    /// Services to look at, each with those that depend on it: whose canary it is, and who asks for
    /// the same address.
    pub(crate) fn due(&mut self, view: &ClusterView) -> Names {
        let mut due = std::mem::take(&mut self.due);
        let led = due
            .iter()
            .filter_map(|name| self.led_to.get(name))
            .flatten();
        let led: Vec<NamespacedName> = led.cloned().collect();
        due.extend(led);
        let mut rest: Vec<NamespacedName> = due.iter().cloned().collect();
        while let Some(name) = rest.pop() {
            let claimed = view.services.get(&name).map(claims);
            for address in claimed.into_iter().flatten() {
                for other in self.claiming.get(&address).into_iter().flatten() {
                    if due.insert(other.clone()) {
                        rest.push(other.clone());
                    }
                }
            }
        }
        due
    }
}

/// The Service of a slice that is in force.
fn service_of(name: &NamespacedName, slice: &EndpointSlice) -> Option<NamespacedName> {
    let service = slice.service.as_ref().filter(|_| !slice.fqdn)?;
    Some(NamespacedName::new(&name.namespace, service))
}

fn report(name: &NamespacedName, slice: &EndpointSlice, problems: &mut Vec<Problem>) {
    let object = ObjectRef::namespaced(Kind::EndpointSlice, name);
    annotations::report_unread(&object, &slice.meta, problems);
    if slice.service.is_none() {
        problems.push(Problem::ignored(
            object,
            "metadata.labels[kubernetes.io/service-name]",
            "the slice belongs to no Service",
            "set the label to the Service's name",
        ));
    } else if slice.fqdn {
        problems.push(Problem::ignored(
            object,
            "addressType",
            "endpoints by DNS name are not supported and have no effect",
            "use IPv4 or IPv6",
        ));
    } else {
        report_bad_addresses(&object, slice, problems);
    }
}

/// Cluster IPs that a Service asks for.
fn claims(service: &Service) -> Vec<IpAddr> {
    if service.external_name || is_headless(service) {
        return Vec::new();
    }
    let addresses = service
        .cluster_ips
        .iter()
        .filter_map(|text| text.parse().ok());
    addresses.filter(|ip| is_host(*ip)).collect()
}

/// One of the labels that a Service selects: whoever it selects has it.
fn selected(name: &NamespacedName, service: &Service) -> Option<Label> {
    // The longest value: rather a name than "true" or a tier.
    let label = service
        .selector
        .iter()
        .max_by_key(|(key, value)| (value.len(), *key));
    label.map(|(key, value)| (name.namespace.clone(), key.clone(), value.clone()))
}

fn labels<'a>(name: &'a NamespacedName, pod: &'a Pod) -> impl Iterator<Item = Label> + 'a {
    let labels = pod.meta.labels.iter();
    labels.map(|(key, value)| (name.namespace.clone(), key.clone(), value.clone()))
}

fn put<K: Ord>(map: &mut BTreeMap<K, Names>, key: K, name: &NamespacedName) {
    map.entry(key).or_default().insert(name.clone());
}

fn take<K: Ord>(map: &mut BTreeMap<K, Names>, key: &K, name: &NamespacedName) {
    if let Some(names) = map.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            map.remove(key);
        }
    }
}

impl Index {
    /// The pods that a selector selects, found by its rarest label.
    pub(super) fn selected<'a>(
        &'a self,
        view: &'a ClusterView,
        namespace: &str,
        selector: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a Pod)> {
        let labelled = selector.iter().map(|(key, value)| {
            let label = (namespace.to_string(), key.clone(), value.clone());
            self.labelled.get(&label)
        });
        let rarest = labelled.min_by_key(|pods| pods.map_or(0, BTreeSet::len));
        let rarest = rarest.flatten().into_iter().flatten();
        rarest
            .filter_map(|name| view.pods.get_key_value(name))
            .filter(|(_, pod)| has_all(&pod.meta.labels, selector))
    }
}
