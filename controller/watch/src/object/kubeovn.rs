//! Kube-OVN's kinds to the view.

use cluster::view::{self, ProviderNetwork, Subnet, Vlan};
use cluster::{ObjectRef, Problem};
use serde_json::Value;

use super::core::{meta_of, selector};
use super::crd::{ProviderNetworkSpec, Resource, SubnetSpec, VlanSpec};
use super::{FieldError, typed};

/// Fields of Subnets that manifests commonly carry with the value that is how it is here anyway.
const AS_IT_IS: [(&str, &[&str]); 5] = [
    // The families are those of cidrBlock; Kube-OVN's controller writes this field by itself.
    ("spec.protocol", &["IPv4", "IPv6", "Dual"]),
    ("spec.provider", &["ovn"]),
    ("spec.vpc", &["ovn-cluster"]),
    ("spec.gatewayType", &["distributed"]),
    ("spec.enableLb", &["true"]),
];

fn is_as_it_is(field: &str, value: &Value) -> bool {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    AS_IT_IS
        .iter()
        .any(|(name, values)| *name == field && values.contains(&text.as_str()))
}

pub(super) fn subnet(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<Subnet, FieldError> {
    let subnet: Resource<SubnetSpec> = typed::read(value, id, is_as_it_is, problems)?;
    let spec = subnet.spec;
    let mut namespace_selectors = Vec::new();
    for (index, given) in spec.namespace_selectors.into_iter().enumerate() {
        let field = format!("spec.namespaceSelectors[{index}]");
        namespace_selectors.push(selector(given, &field)?);
    }
    Ok(Subnet {
        meta: meta_of(subnet.metadata),
        default: spec.default,
        cidr_block: spec.cidr_block,
        gateway: spec.gateway,
        exclude_ips: spec.exclude_ips,
        namespaces: spec.namespaces.into_iter().collect(),
        namespace_selectors,
        vlan: spec.vlan,
        mtu: spec.mtu,
    })
}

pub(super) fn vlan(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<Vlan, FieldError> {
    let vlan: Resource<VlanSpec> = typed::read(value, id, |_, _| false, problems)?;
    Ok(Vlan {
        meta: meta_of(vlan.metadata),
        id: vlan.spec.id,
        provider: vlan.spec.provider,
    })
}

pub(super) fn provider_network(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<ProviderNetwork, FieldError> {
    let network: Resource<ProviderNetworkSpec> = typed::read(value, id, |_, _| false, problems)?;
    let spec = network.spec;
    let node_selector = spec
        .node_selector
        .map(|given| selector(given, "spec.nodeSelector"))
        .transpose()?;
    Ok(ProviderNetwork {
        meta: meta_of(network.metadata),
        default_interface: spec.default_interface,
        custom_interfaces: spec
            .custom_interfaces
            .into_iter()
            .map(|custom| view::CustomInterface {
                interface: custom.interface,
                nodes: custom.nodes.into_iter().collect(),
            })
            .collect(),
        exclude_nodes: spec.exclude_nodes.into_iter().collect(),
        node_selector,
    })
}
