//! Kube-OVN's kinds, `kubeovn.io/v1`, with the fields that are read; `deploy/crds/` says the same
//! to an API server.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Any of them: they differ in the spec.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource<Spec> {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Spec,
    /// Written by controllers; asks for nothing.
    #[serde(default)]
    pub(super) status: Value,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SubnetSpec {
    #[serde(default)]
    pub(super) default: bool,
    pub(super) cidr_block: String,
    #[serde(default)]
    pub(super) gateway: String,
    #[serde(default)]
    pub(super) exclude_ips: Vec<String>,
    #[serde(default)]
    pub(super) namespaces: Vec<String>,
    #[serde(default)]
    pub(super) namespace_selectors: Vec<LabelSelector>,
    #[serde(default)]
    pub(super) vlan: String,
    #[serde(default)]
    pub(super) mtu: Option<u32>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VlanSpec {
    pub(super) id: i64,
    pub(super) provider: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProviderNetworkSpec {
    #[serde(default)]
    pub(super) default_interface: String,
    #[serde(default)]
    pub(super) custom_interfaces: Vec<CustomInterface>,
    #[serde(default)]
    pub(super) exclude_nodes: Vec<String>,
    #[serde(default)]
    pub(super) node_selector: Option<LabelSelector>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct CustomInterface {
    pub(super) interface: String,
    #[serde(default)]
    pub(super) nodes: Vec<String>,
}
