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
    pub(super) provider: String,
    #[serde(default)]
    pub(super) vpc: String,
    #[serde(default)]
    pub(super) mtu: Option<u32>,
    #[serde(default)]
    pub(super) nat_outgoing: bool,
    #[serde(default)]
    pub(super) protocol: String,
    #[serde(default)]
    pub(super) private: bool,
    #[serde(default)]
    pub(super) allow_subnets: Vec<String>,
    #[serde(default)]
    pub(super) acls: Vec<Acl>,
    #[serde(default, rename = "allowEWTraffic")]
    pub(super) allow_ew_traffic: bool,
    #[serde(default)]
    pub(super) logical_gateway: bool,
    #[serde(default, rename = "u2oInterconnection")]
    pub(super) u2o_interconnection: bool,
    #[serde(default, rename = "u2oInterconnectionIP")]
    pub(super) u2o_interconnection_ip: String,
    #[serde(default)]
    pub(super) enable_lb: Option<bool>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Acl {
    #[serde(default)]
    pub(super) direction: String,
    #[serde(default)]
    pub(super) priority: i64,
    #[serde(default, rename = "match")]
    pub(super) expression: String,
    #[serde(default)]
    pub(super) action: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct IpPoolSpec {
    pub(super) subnet: String,
    pub(super) ips: Vec<String>,
    #[serde(default)]
    pub(super) namespaces: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IpSpec {
    pub(super) subnet: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) pod_name: String,
    #[serde(default)]
    pub(super) pod_type: String,
    #[serde(default)]
    pub(super) node_name: String,
    /// Both families in one text; what counts are the two fields that follow.
    #[serde(default)]
    pub(super) ip_address: String,
    #[serde(default)]
    pub(super) v4_ip_address: String,
    #[serde(default)]
    pub(super) v6_ip_address: String,
    #[serde(default)]
    pub(super) mac_address: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VipSpec {
    pub(super) subnet: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) selector: Vec<String>,
    #[serde(default)]
    pub(super) v4ip: String,
    #[serde(default)]
    pub(super) v6ip: String,
    #[serde(default)]
    pub(super) mac_address: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VlanSpec {
    #[serde(default)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    /// The paths of every field in a value.
    fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let path = format!("{path}.{key}");
                    // The keys of label maps are the user's.
                    if key != "matchLabels" {
                        fields(value, &path, found);
                    }
                    found.insert(path);
                }
            }
            Value::Array(list) => list.iter().for_each(|item| fields(item, path, found)),
            _ => {}
        }
    }

    /// The paths of every field that a schema declares.
    fn declared(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        if let Some(items) = schema.get("items") {
            declared(items, path, found);
        }
        for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            declared(schema, &path, found);
            found.insert(path);
        }
    }

    #[track_caller]
    fn assert_schema_is_what_is_read<Spec>(file: &str, spec: Value)
    where
        Spec: serde::de::DeserializeOwned + Serialize,
    {
        let typed: Spec = serde_json::from_value(spec.clone()).unwrap();
        let read = serde_json::to_value(typed).unwrap();
        assert_eq!(read, spec, "the sample has to name every field");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds/");
        let text = std::fs::read_to_string(format!("{folder}{file}")).unwrap();
        let crd: Value = serde_saphyr::from_str(&text).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let (mut in_code, mut in_crd) = (BTreeSet::new(), BTreeSet::new());
        fields(&read, "spec", &mut in_code);
        let spec = &schema["properties"]["spec"];
        declared(spec, "spec", &mut in_crd);
        let missing: Vec<_> = in_code.difference(&in_crd).collect();
        assert!(missing.is_empty(), "{file} does not declare {missing:?}");
        // What is declared and not read is Kube-OVN's, and `kubectl explain` says so.
        for (name, field) in spec["properties"].as_object().unwrap() {
            let says = field["description"].as_str().unwrap_or_default();
            let not_read = says.starts_with("Kube-OVN's") || says.starts_with("Always so here");
            let read = in_code.contains(&format!("spec.{name}"));
            assert!(read || not_read, "{file}: spec.{name}: {says:?}");
            assert!(
                !(read && says.contains("Not done here")),
                "{file}: spec.{name}"
            );
        }
    }

    #[test]
    fn the_custom_resource_definitions_declare_the_fields_that_are_read() {
        let selector = json!({
            "matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
        });
        assert_schema_is_what_is_read::<SubnetSpec>(
            "subnets.yaml",
            json!({
                "default": true, "cidrBlock": "10.0.0.0/24", "gateway": "10.0.0.1",
                "excludeIps": ["10.0.0.2"], "namespaces": ["a"], "namespaceSelectors": [selector],
                "vlan": "v", "provider": "ovn", "vpc": "ovn-cluster", "mtu": 1400, "natOutgoing": true, "protocol": "Dual", "private": true,
                "allowSubnets": ["10.1.0.0/16"], "allowEWTraffic": true,
                "acls": [{"direction": "to-lport", "priority": 1, "match": "ip", "action": "drop"}],
                "logicalGateway": true, "u2oInterconnection": true,
                "u2oInterconnectionIP": "10.0.0.9", "enableLb": true,
            }),
        );
        assert_schema_is_what_is_read::<IpPoolSpec>(
            "ip-pools.yaml",
            json!({"subnet": "s", "ips": ["10.0.0.1"], "namespaces": ["a"]}),
        );
        assert_schema_is_what_is_read::<IpSpec>(
            "ips.yaml",
            json!({
                "subnet": "s", "namespace": "a", "podName": "p", "podType": "StatefulSet",
                "nodeName": "n", "ipAddress": "10.0.0.1", "v4IpAddress": "10.0.0.1",
                "v6IpAddress": "fd00::1", "macAddress": "02:00:00:00:00:01",
            }),
        );
        assert_schema_is_what_is_read::<VipSpec>(
            "vips.yaml",
            json!({
                "subnet": "s", "namespace": "a", "type": "t", "selector": ["app: a"],
                "v4ip": "10.0.0.1", "v6ip": "fd00::1", "macAddress": "02:00:00:00:00:01",
            }),
        );
        assert_schema_is_what_is_read::<VlanSpec>("vlans.yaml", json!({"id": 1, "provider": "p"}));
        assert_schema_is_what_is_read::<ProviderNetworkSpec>(
            "provider-networks.yaml",
            json!({
                "defaultInterface": "a", "customInterfaces": [{"interface": "b", "nodes": ["n"]}],
                "excludeNodes": ["m"], "nodeSelector": selector,
            }),
        );
    }
}
