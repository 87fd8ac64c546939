//! Kube-OVN's kinds to the view.

use cluster::view::{self, Ip, IpPool, ProviderNetwork, Subnet, Vip, Vlan};
use cluster::{ObjectRef, Problem};
use serde_json::Value;

use super::core::{meta_of, selector};
use super::crd::{
    IpPoolSpec, IpSpec, ProviderNetworkSpec, Resource, SubnetSpec, VipSpec, VlanSpec,
};
use super::{FieldError, typed};

/// Fields of Subnets that manifests commonly carry with the value that is how it is here anyway.
const AS_IT_IS: [(&str, &[&str]); 2] = [
    // Nothing waits for a gateway to answer before a pod is served.
    ("spec.disableGatewayCheck", &["true"]),
    ("spec.gatewayType", &["distributed"]),
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
    if spec.enable_lb == Some(false) {
        problems.push(Problem::ignored(
            id.clone(),
            "spec.enableLb",
            "pods of every Subnet reach Services; false has no effect",
            "remove it, or deny Services by a NetworkPolicy",
        ));
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
        provider: unless_empty(spec.provider, "ovn"),
        vpc: unless_empty(spec.vpc, "ovn-cluster"),
        mtu: spec.mtu,
        nat_outgoing: spec.nat_outgoing,
        protocol: spec.protocol,
        private: spec.private,
        allow_subnets: spec.allow_subnets,
        acls: spec
            .acls
            .into_iter()
            .map(|acl| view::Acl {
                direction: acl.direction,
                priority: acl.priority,
                expression: acl.expression,
                action: acl.action,
            })
            .collect(),
        allow_ew_traffic: spec.allow_ew_traffic,
        logical_gateway: spec.logical_gateway,
        u2o_interconnection: spec.u2o_interconnection,
        u2o_interconnection_ip: spec.u2o_interconnection_ip,
        in_force: subnet.status.get("inForce").cloned(),
        tunnel_key: subnet
            .status
            .get("tunnelKey")
            .and_then(|key| key.as_u64()?.try_into().ok()),
    })
}

/// What the definition's default makes of it, where there is a server.
fn unless_empty(text: String, default: &str) -> String {
    match text.as_str() {
        "" => default.into(),
        _ => text,
    }
}

pub(super) fn ip_pool(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<IpPool, FieldError> {
    let pool: Resource<IpPoolSpec> = typed::read(value, id, |_, _| false, problems)?;
    Ok(IpPool {
        meta: meta_of(pool.metadata),
        subnet: pool.spec.subnet,
        ips: pool.spec.ips,
        namespaces: pool.spec.namespaces.into_iter().collect(),
    })
}

/// Of further interfaces, which Kube-OVN's own objects name with empty lists, and what tells one
/// container of a pod from its successor.
fn is_of_the_writer(field: &str, _: &Value) -> bool {
    field == "spec.containerID"
}

pub(super) fn ip(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<Ip, FieldError> {
    let ip: Resource<IpSpec> = typed::read(value, id, is_of_the_writer, problems)?;
    let spec = ip.spec;
    Ok(Ip {
        meta: meta_of(ip.metadata),
        subnet: spec.subnet,
        namespace: spec.namespace,
        pod: spec.pod_name,
        pod_type: spec.pod_type,
        node: spec.node_name,
        v4: spec.v4_ip_address,
        v6: spec.v6_ip_address,
        mac: spec.mac_address,
    })
}

pub(super) fn vip(
    value: &Value,
    id: &ObjectRef,
    problems: &mut Vec<Problem>,
) -> Result<Vip, FieldError> {
    let vip: Resource<VipSpec> = typed::read(value, id, |_, _| false, problems)?;
    let (spec, status) = (vip.spec, vip.status);
    let given = |field: &str| {
        let text = status.get(field).and_then(Value::as_str);
        text.unwrap_or_default().to_string()
    };
    Ok(Vip {
        meta: meta_of(vip.metadata),
        subnet: spec.subnet,
        namespace: spec.namespace,
        kind: spec.kind,
        selector: spec.selector,
        v4: spec.v4ip,
        v6: spec.v6ip,
        mac: spec.mac_address,
        given_v4: given("v4ip"),
        given_v6: given("v6ip"),
        given_mac: given("mac"),
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
