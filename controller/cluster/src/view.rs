//! What the cluster says, as read: one consistent picture of every object that we use, reduced to
//! the fields that we use, not yet judged.
//!
//! Texts stay texts here (addresses, prefixes): whether they make sense is decided, and reported
//! on the object, where the desired state is computed.

mod policy;

use std::collections::{BTreeMap, BTreeSet};

pub use policy::{
    Action, ClusterPolicy, ClusterTier, NetworkPolicy, Peer, PolicyPort, PolicyRule, Subject,
};

use serde::{Deserialize, Serialize};

use crate::desired::Protocol;
use crate::map::Map;
use crate::name::{NamespacedName, ObjectRef};
use crate::problem::Problem;

/// Every object of the cluster that concerns the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// `v1` Node
    pub nodes: Map<String, Node>,
    /// `v1` Namespace
    pub namespaces: Map<String, Namespace>,
    /// `v1` Pod
    pub pods: Map<NamespacedName, Pod>,
    /// `v1` Service
    pub services: Map<NamespacedName, Service>,
    /// `discovery.k8s.io/v1` EndpointSlice
    pub endpoint_slices: Map<NamespacedName, EndpointSlice>,
    /// `kubeovn.io/v1` Subnet
    pub subnets: Map<String, Subnet>,
    /// `kubeovn.io/v1` Vlan
    pub vlans: Map<String, Vlan>,
    /// `kubeovn.io/v1` ProviderNetwork
    pub provider_networks: Map<String, ProviderNetwork>,
    /// `kubeovn.io/v1` IPPool
    pub ip_pools: Map<String, IpPool>,
    /// `kubeovn.io/v1` IP
    pub ips: Map<String, Ip>,
    /// `kubeovn.io/v1` Vip
    pub vips: Map<String, Vip>,
    /// `apps/v1` StatefulSet
    pub stateful_sets: Map<NamespacedName, StatefulSet>,
    /// `networking.k8s.io/v1` NetworkPolicy
    pub network_policies: Map<NamespacedName, NetworkPolicy>,
    /// `policy.networking.k8s.io/v1alpha1` AdminNetworkPolicy
    pub admin_network_policies: Map<String, ClusterPolicy>,
    /// `policy.networking.k8s.io/v1alpha1` BaselineAdminNetworkPolicy
    pub baseline_admin_network_policies: Map<String, ClusterPolicy>,
    /// `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy
    pub cluster_network_policies: Map<String, ClusterPolicy>,
    /// What reading found, by object: fields of our own kinds that nobody knows, for instance.
    pub problems: Map<ObjectRef, Vec<Problem>>,
    /// False while something could not be read and has no earlier version to stand for it. What
    /// is absent from an incomplete view may still exist, so nothing is freed on its word.
    pub complete: bool,
}

/// What every object has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// `metadata.uid`, which manifests in a folder do not have.
    pub uid: Option<String>,
    /// `metadata.creationTimestamp`, seconds since 1970.
    pub created: Option<i64>,
    /// True from `metadata.deletionTimestamp` on.
    pub deleting: bool,
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`
    pub annotations: BTreeMap<String, String>,
    /// `metadata.ownerReferences`
    pub owners: Vec<Owner>,
}

/// An entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// `apiVersion`
    pub api_version: String,
    /// `kind`
    pub kind: String,
    /// `name`, in the namespace of what it owns
    pub name: String,
    /// `uid`
    pub uid: String,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Labels and annotations.
    pub meta: Meta,
    /// `status.addresses` of type `InternalIP`, in order.
    pub internal_ips: Vec<String>,
    /// `status.conditions[type=Ready]`; `None` where the manifest has none.
    pub ready: Option<bool>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Labels and annotations.
    pub meta: Meta,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.nodeName`; `None` until it is scheduled.
    pub node: Option<String>,
    /// `spec.hostNetwork`
    pub host_network: bool,
    /// `status.phase` is `Succeeded` or `Failed`: its address is free again.
    pub finished: bool,
    /// `status.conditions[type=Ready]`; `None` where the manifest has no status.
    pub ready: Option<bool>,
    /// `spec.readinessGates` names `sluice.io/drained`.
    pub drain_gate: bool,
    /// `spec.containers[*].ports[*]`
    pub ports: Vec<ContainerPort>,
}

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// Its name, for `targetPort` to refer to.
    pub name: Option<String>,
    /// `TCP` unless said otherwise.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.clusterIPs`, or `spec.clusterIP` alone; `["None"]` is headless.
    pub cluster_ips: Vec<String>,
    /// `spec.selector`; `None` and empty: endpoints come from elsewhere.
    pub selector: BTreeMap<String, String>,
    /// `spec.ports`
    pub ports: Vec<ServicePort>,
    /// `spec.type` is `ExternalName`: a DNS alias, nothing to do.
    pub external_name: bool,
    /// `spec.publishNotReadyAddresses`
    pub publish_not_ready: bool,
    /// `spec.sessionAffinity` is `ClientIP`: `sessionAffinityConfig.clientIP.timeoutSeconds`, or
    /// 10800 where that is absent.
    pub affinity: Option<i64>,
    /// `spec.internalTrafficPolicy` is `Local`.
    pub internal_local: bool,
    /// `spec.trafficDistribution`
    pub traffic_distribution: Option<String>,
    /// How it is reached besides its cluster IPs.
    pub exposure: Exposure,
}

/// How a Service is reached besides its cluster IPs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// `spec.type` is `LoadBalancer`.
    pub load_balancer: bool,
    /// `spec.ports[].nodePort`, by protocol and port at the virtual address.
    pub node_ports: BTreeMap<(Protocol, u16), u16>,
    /// `spec.externalIPs`
    pub external_ips: Vec<String>,
    /// `spec.externalTrafficPolicy` is `Local`.
    pub external_local: bool,
    /// `spec.healthCheckNodePort`
    pub health_check_node_port: Option<u16>,
    /// `spec.loadBalancerClass`
    pub load_balancer_class: Option<String>,
    /// `spec.loadBalancerIP`
    pub load_balancer_ip: Option<String>,
    /// `spec.loadBalancerSourceRanges`
    pub source_ranges: Vec<String>,
    /// `status.loadBalancer.ingress[].ip`
    pub ingress: Vec<String>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty where there is one port only.
    pub name: String,
    /// `TCP` unless said otherwise.
    pub protocol: Protocol,
    /// The port at the virtual address.
    pub port: u16,
    /// The port at the pod; `None` is the same number.
    pub target: Option<TargetPort>,
}

/// `spec.ports[].targetPort`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// The same number on every pod.
    Number(u16),
    /// What the pod's containers call so.
    Name(String),
}

/// A part of a Service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Labels and annotations.
    pub meta: Meta,
    /// Label `kubernetes.io/service-name`.
    pub service: Option<String>,
    /// `addressType` is `FQDN`: not for us.
    pub fqdn: bool,
    /// `endpoints`
    pub endpoints: Vec<SliceEndpoint>,
    /// `ports`
    pub ports: Vec<SlicePort>,
}

/// An entry of `endpoints` of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// `addresses`; consumers use all of them alike.
    pub addresses: Vec<String>,
    /// `nodeName`
    pub node: Option<String>,
    /// `conditions.ready`; unknown counts as true.
    pub ready: Option<bool>,
    /// `conditions.serving`; unknown counts as `ready`.
    pub serving: Option<bool>,
    /// `conditions.terminating`; unknown counts as false.
    pub terminating: Option<bool>,
    /// `zone`
    pub zone: Option<String>,
    /// `hints.forZones[].name`
    pub for_zones: Vec<String>,
    /// `hints.forNodes[].name`
    pub for_nodes: Vec<String>,
}

/// An entry of `ports` of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The Service port it belongs to, by name.
    pub name: String,
    /// `TCP` unless said otherwise.
    pub protocol: Protocol,
    /// The number; `None` is "all ports", which is not for us.
    pub port: Option<u16>,
}

/// `kubeovn.io/v1` Subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subnet {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.default`: for namespaces that no other subnet names.
    pub default: bool,
    /// `spec.cidrBlock`: one prefix, or `v4,v6`.
    pub cidr_block: String,
    /// `spec.gateway`: one address for each prefix, comma between; empty: the first address.
    pub gateway: String,
    /// `spec.excludeIps`: addresses and ranges `first..last`.
    pub exclude_ips: Vec<String>,
    /// `spec.namespaces`
    pub namespaces: BTreeSet<String>,
    /// `spec.namespaceSelectors`
    pub namespace_selectors: Vec<LabelSelector>,
    /// `spec.vlan`: the Vlan that makes it an underlay subnet; empty: an overlay.
    pub vlan: String,
    /// `spec.provider`: `ovn` or empty for the pods' own interface, anything else for further ones.
    pub provider: String,
    /// `spec.vpc`: `ovn-cluster` or empty for the one network there is.
    pub vpc: String,
    /// `spec.mtu`
    pub mtu: Option<u32>,
    /// `spec.natOutgoing`
    pub nat_outgoing: bool,
    /// `spec.protocol`: `IPv4`, `IPv6` or `Dual`; empty: whatever the prefixes are.
    pub protocol: String,
    /// `spec.private`: closed to others.
    pub private: bool,
    /// `spec.allowSubnets`: prefixes that a private subnet is open to.
    pub allow_subnets: Vec<String>,
    /// `spec.acls`
    pub acls: Vec<Acl>,
    /// `spec.allowEWTraffic`: inside the subnet the rules of `acls` below priority 1900 do not hold.
    pub allow_ew_traffic: bool,
    /// `spec.logicalGateway`: no machine of the VLAN is the gateway, the switch is.
    pub logical_gateway: bool,
    /// `spec.u2oInterconnection`: an underlay whose pods and those of overlays reach each other.
    pub u2o_interconnection: bool,
    /// `spec.u2oInterconnectionIP`
    pub u2o_interconnection_ip: String,
    /// `status.inForce`: the version that was in force, as we wrote it.
    pub in_force: Option<serde_json::Value>,
    /// `status.tunnelKey`: the network identifier that it was given.
    pub tunnel_key: Option<u32>,
}

/// An entry of `spec.acls` of a Subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// `direction`: `from-lport` or `to-lport`.
    pub direction: String,
    /// `priority`: 0 to 32767, higher wins.
    pub priority: i64,
    /// `match`: an expression of OVN's language.
    pub expression: String,
    /// `action`: `allow`, `allow-related`, `allow-stateless`, `drop` or `reject`.
    pub action: String,
}

/// `kubeovn.io/v1` IPPool: a part of a subnet that is given to some only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpPool {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.subnet`
    pub subnet: String,
    /// `spec.ips`: addresses, prefixes and ranges `first..last`.
    pub ips: Vec<String>,
    /// `spec.namespaces`: their pods have their addresses from here only.
    pub namespaces: BTreeSet<String>,
}

/// `kubeovn.io/v1` IP: who has which address. Written by the controller, and by hand to keep an
/// address for a pod that is to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ip {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.subnet`
    pub subnet: String,
    /// `spec.namespace`
    pub namespace: String,
    /// `spec.podName`
    pub pod: String,
    /// `spec.podType`: `StatefulSet`, or empty.
    pub pod_type: String,
    /// `spec.nodeName`
    pub node: String,
    /// `spec.v4IpAddress`
    pub v4: String,
    /// `spec.v6IpAddress`
    pub v6: String,
    /// `spec.macAddress`
    pub mac: String,
}

/// `kubeovn.io/v1` Vip: an address kept out of the pools, which pods may use beside their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vip {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.subnet`
    pub subnet: String,
    /// `spec.namespace`: where the pods are that may use it.
    pub namespace: String,
    /// `spec.type`
    pub kind: String,
    /// `spec.selector`: labels of the pods that may use it, each `key: value`.
    pub selector: Vec<String>,
    /// `spec.v4ip`; empty: any.
    pub v4: String,
    /// `spec.v6ip`
    pub v6: String,
    /// `spec.macAddress`
    pub mac: String,
    /// `status.v4ip`: what it was given.
    pub given_v4: String,
    /// `status.v6ip`
    pub given_v6: String,
    /// `status.mac`
    pub given_mac: String,
}

/// `apps/v1` StatefulSet: whose pods keep their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatefulSet {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.replicas`, 1 if it is not there.
    pub replicas: i64,
    /// `spec.ordinals.start`
    pub start: i64,
}

/// `kubeovn.io/v1` Vlan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vlan {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.id`; 0 is untagged.
    pub id: i64,
    /// `spec.provider`: the ProviderNetwork.
    pub provider: String,
}

/// `kubeovn.io/v1` ProviderNetwork.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderNetwork {
    /// Labels and annotations.
    pub meta: Meta,
    /// `spec.defaultInterface`: the uplink on nodes that `custom_interfaces` does not name.
    pub default_interface: String,
    /// `spec.customInterfaces`
    pub custom_interfaces: Vec<CustomInterface>,
    /// `spec.excludeNodes`
    pub exclude_nodes: BTreeSet<String>,
    /// `spec.nodeSelector`; `None`: every node.
    pub node_selector: Option<LabelSelector>,
}

/// An entry of `spec.customInterfaces`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomInterface {
    /// The uplink.
    pub interface: String,
    /// On these nodes.
    pub nodes: BTreeSet<String>,
}

/// A label selector (`metav1.LabelSelector`): every part must match, and an empty one matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelSelector {
    /// `matchLabels`
    pub match_labels: BTreeMap<String, String>,
    /// `matchExpressions`
    pub match_expressions: Vec<Requirement>,
}

/// An entry of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What must hold of it.
    pub operator: Operator,
}

/// What must hold of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// Its value is one of these.
    In(BTreeSet<String>),
    /// It is absent, or its value is none of these.
    NotIn(BTreeSet<String>),
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

impl LabelSelector {
    /// True if every part of the selector holds of the labels.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        has_all(labels, &self.match_labels)
            && self.match_expressions.iter().all(|requirement| {
                let value = labels.get(&requirement.key);
                match &requirement.operator {
                    Operator::In(values) => value.is_some_and(|v| values.contains(v)),
                    Operator::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
                    Operator::Exists => value.is_some(),
                    Operator::DoesNotExist => value.is_none(),
                }
            })
    }
}

/// True if `labels` has every pair of `wanted`.
pub fn has_all(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn a_selector_matches_when_every_part_of_it_holds() {
        let requirement = |key: &str, operator| Requirement {
            key: key.into(),
            operator,
        };
        let values = |list: &[&str]| list.iter().map(|v| v.to_string()).collect();
        let selector = LabelSelector {
            match_labels: labels(&[("app", "web")]),
            match_expressions: vec![
                requirement("tier", Operator::In(values(&["front", "edge"]))),
                requirement("zone", Operator::NotIn(values(&["b"]))),
                requirement("owner", Operator::Exists),
                requirement("retired", Operator::DoesNotExist),
            ],
        };
        let good = labels(&[("app", "web"), ("tier", "edge"), ("owner", "x")]);
        assert!(selector.matches(&good));
        for (key, value) in [
            ("app", "db"),
            ("tier", "back"),
            ("zone", "b"),
            ("retired", ""),
        ] {
            let mut bad = good.clone();
            bad.insert(key.into(), value.into());
            assert!(!selector.matches(&bad), "{key}={value}");
        }
        let mut without_owner = good.clone();
        without_owner.remove("owner");
        assert!(!selector.matches(&without_owner));
        assert!(LabelSelector::default().matches(&labels(&[])));
    }
}
