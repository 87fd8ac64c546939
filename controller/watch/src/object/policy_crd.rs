//! The kinds of `policy.networking.k8s.io` as they are written: ClusterNetworkPolicy (v1alpha2) and
//! the two of v1alpha1 that it replaces. Their definitions come with that API, not with us.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterPolicySpec {
    #[serde(default)]
    pub(super) tier: Option<String>,
    #[serde(default)]
    pub(super) priority: Option<i64>,
    pub(super) subject: PodsOf,
    #[serde(default)]
    pub(super) ingress: Vec<Rule>,
    #[serde(default)]
    pub(super) egress: Vec<Rule>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodsOf {
    #[serde(default)]
    pub(super) namespaces: Option<LabelSelector>,
    #[serde(default)]
    pub(super) pods: Option<NamespacedPods>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamespacedPods {
    #[serde(default)]
    pub(super) namespace_selector: Option<LabelSelector>,
    #[serde(default)]
    pub(super) pod_selector: Option<LabelSelector>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    #[serde(default)]
    pub(super) name: String,
    pub(super) action: String,
    #[serde(default)]
    pub(super) from: Option<Vec<Peer>>,
    #[serde(default)]
    pub(super) to: Option<Vec<Peer>>,
    #[serde(default)]
    pub(super) ports: Option<Vec<AdminPort>>,
    #[serde(default)]
    pub(super) protocols: Option<Vec<ClusterProtocol>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Peer {
    #[serde(default)]
    pub(super) namespaces: Option<LabelSelector>,
    #[serde(default)]
    pub(super) pods: Option<NamespacedPods>,
    #[serde(default)]
    pub(super) nodes: Option<LabelSelector>,
    #[serde(default)]
    pub(super) networks: Option<Vec<String>>,
    #[serde(default)]
    pub(super) domain_names: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AdminPort {
    #[serde(default)]
    pub(super) port_number: Option<PortNumber>,
    #[serde(default)]
    pub(super) named_port: Option<String>,
    #[serde(default)]
    pub(super) port_range: Option<PortRange>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct PortNumber {
    #[serde(default)]
    pub(super) protocol: Option<String>,
    pub(super) port: i32,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct PortRange {
    #[serde(default)]
    pub(super) protocol: Option<String>,
    pub(super) start: i32,
    pub(super) end: i32,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterProtocol {
    #[serde(default)]
    pub(super) tcp: Option<ClusterPorts>,
    #[serde(default)]
    pub(super) udp: Option<ClusterPorts>,
    #[serde(default)]
    pub(super) sctp: Option<ClusterPorts>,
    #[serde(default)]
    pub(super) destination_named_port: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterPorts {
    #[serde(default)]
    pub(super) destination_port: Option<ClusterPort>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterPort {
    #[serde(default)]
    pub(super) number: Option<i32>,
    #[serde(default)]
    pub(super) range: Option<PortRange>,
}
