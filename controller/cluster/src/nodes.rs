//! Nodes with their tunnel endpoints, and the uplinks of physical networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::addr::is_host;
use crate::annotations;
use crate::desired;
use crate::map::Map;
use crate::name::{Kind, ObjectRef};
use crate::problem::Problem;
use crate::view::{ClusterView, Meta, Node, ProviderNetwork};

/// The well-known label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Every node; one without a usable tunnel endpoint is there without it, and told.
pub(crate) fn nodes(view: &ClusterView, problems: &mut Vec<Problem>) -> Map<String, desired::Node> {
    let mut taken: BTreeMap<IpAddr, &str> = BTreeMap::new();
    let mut nodes = Map::new();
    for (name, node) in by_age(&view.nodes, |node| node.meta.created) {
        let object = ObjectRef::cluster(Kind::Node, name);
        annotations::report_unread(&object, &node.meta, problems);
        let vtep = match vtep(node) {
            Ok((address, field)) => match taken.get(&address) {
                Some(other) => {
                    problems.push(Problem::refused(
                        object,
                        field,
                        format!("tunnel endpoint {address} is Node {other}'s; this node takes no part in overlays"),
                        "give it an address of its own",
                    ));
                    None
                }
                None => {
                    taken.insert(address, name);
                    Some(address)
                }
            },
            Err((field, message)) => {
                problems.push(Problem::refused(
                    object,
                    field,
                    format!("{message}; this node takes no part in overlays"),
                    "set the annotation sluice.io/vtep to the address of its --vtep",
                ));
                None
            }
        };
        let addresses = node.internal_ips.iter().filter_map(|ip| ip.parse().ok());
        let wanted = desired::Node {
            name: name.to_string(),
            vtep,
            addresses: addresses.collect(),
            zone: label(&node.meta, ZONE),
            cell: label(&node.meta, annotations::CELL),
        };
        nodes.insert(name.to_string(), wanted);
    }
    nodes
}

/// A label's value, if it has one; an empty value is none.
pub(crate) fn label(meta: &Meta, key: &str) -> Option<String> {
    let value = meta.labels.get(key)?;
    (!value.is_empty()).then(|| value.clone())
}

/// The annotation, or else the first internal address; with the field it is from.
fn vtep(node: &Node) -> Result<(IpAddr, String), (String, String)> {
    if let Some(annotation) = annotations::ours(&node.meta, "vtep") {
        return match annotation.value.parse() {
            Ok(address) if is_host(address) => Ok((address, annotation.field())),
            _ => Err((
                annotation.field(),
                format!("{:?} is not a node's address", annotation.value),
            )),
        };
    }
    let field = "status.addresses[InternalIP]";
    let address = node.internal_ips.iter().find_map(|text| {
        let address: IpAddr = text.parse().ok()?;
        is_host(address).then_some(address)
    });
    address.map(|a| (a, field.to_string())).ok_or_else(|| {
        (
            field.to_string(),
            "there is no internal address to serve as tunnel endpoint".to_string(),
        )
    })
}

/// Every physical network with its uplink on each node that has one.
pub(crate) fn provider_networks(
    view: &ClusterView,
    problems: &mut Vec<Problem>,
) -> Map<String, desired::ProviderNetwork> {
    let mut networks = Map::new();
    for (name, network) in &view.provider_networks {
        let object = ObjectRef::cluster(Kind::ProviderNetwork, name);
        annotations::report_unread(&object, &network.meta, problems);
        if network.default_interface.is_empty() && network.custom_interfaces.is_empty() {
            problems.push(Problem::refused(
                object.clone(),
                "spec.defaultInterface",
                "neither this nor spec.customInterfaces names an uplink",
                "name the port that leads to the physical network",
            ));
        }
        report_double_interfaces(&object, network, problems);
        let uplinks = view.nodes.keys().filter_map(|node| {
            let uplink = uplink(network, node, view)?;
            Some((node.clone(), uplink.to_string()))
        });
        let uplinks = uplinks.collect();
        let name = name.clone();
        networks.insert(name.clone(), desired::ProviderNetwork { name, uplinks });
    }
    networks
}

/// The uplink to a physical network on one node, if the node has part in it.
pub(crate) fn uplink<'a>(
    network: &'a ProviderNetwork,
    node: &str,
    view: &ClusterView,
) -> Option<&'a str> {
    let labels = &view.nodes.get(node)?.meta.labels;
    let selected = match &network.node_selector {
        Some(selector) => selector.matches(labels),
        None => true,
    };
    if !selected || network.exclude_nodes.contains(node) {
        return None;
    }
    let uplink = network
        .custom_interfaces
        .iter()
        .find(|custom| custom.nodes.contains(node))
        .map_or(&network.default_interface, |custom| &custom.interface);
    (!uplink.is_empty()).then_some(uplink)
}

fn report_double_interfaces(
    object: &ObjectRef,
    network: &ProviderNetwork,
    problems: &mut Vec<Problem>,
) {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, custom) in network.custom_interfaces.iter().enumerate() {
        for node in &custom.nodes {
            let uplink = first.entry(node).or_insert(&custom.interface);
            if *uplink != custom.interface {
                problems.push(Problem::ignored(
                    object.clone(),
                    format!("spec.customInterfaces[{index}].nodes"),
                    format!("Node {node} has the uplink {uplink} already, which stays"),
                    "name each node once",
                ));
            }
        }
    }
}

/// Entries from the oldest to the newest, then by name: the order in which claims are honoured.
/// Objects that do not say when they were created come last.
pub(crate) fn by_age<K: Ord, V>(
    map: &Map<K, V>,
    created: impl Fn(&V) -> Option<i64>,
) -> Vec<(&K, &V)> {
    let mut entries: Vec<_> = map.iter().collect();
    // The sort is stable and the map is sorted by name.
    entries.sort_by_key(|(_, value)| created(value).unwrap_or(i64::MAX));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{CustomInterface, LabelSelector, Meta};

    fn node(ips: &[&str], annotations: &[(&str, &str)]) -> Node {
        Node {
            meta: Meta {
                annotations: annotations
                    .iter()
                    .map(|(k, v)| (k.to_string(), v.to_string()))
                    .collect(),
                ..Meta::default()
            },
            internal_ips: ips.iter().map(|ip| ip.to_string()).collect(),
            ready: None,
        }
    }

    #[test]
    fn the_tunnel_endpoint_is_the_annotation_or_else_the_first_internal_address() {
        let mut view = ClusterView::default();
        view.nodes
            .insert("a".into(), node(&["172.30.0.1", "fd00::1"], &[]));
        view.nodes.insert(
            "b".into(),
            node(&["172.30.0.2"], &[("sluice.io/vtep", "192.168.7.2")]),
        );
        let mut problems = Vec::new();
        let nodes = nodes(&view, &mut problems);
        assert_eq!(nodes["a"].vtep, Some("172.30.0.1".parse().unwrap()));
        assert_eq!(nodes["b"].vtep, Some("192.168.7.2".parse().unwrap()));
        assert_eq!(problems, []);
    }

    #[test]
    fn a_node_without_a_usable_endpoint_is_told_and_the_others_keep_theirs() {
        let mut view = ClusterView::default();
        view.nodes.insert("a".into(), node(&["172.30.0.1"], &[]));
        view.nodes.insert("b".into(), node(&["172.30.0.1"], &[]));
        view.nodes.insert("c".into(), node(&[], &[]));
        view.nodes.insert(
            "d".into(),
            node(&["172.30.0.4"], &[("sluice.io/vtep", "172.30.0.4/24")]),
        );
        let mut problems = Vec::new();
        let nodes = nodes(&view, &mut problems);
        let vteps: Vec<_> = nodes.values().map(|n| n.vtep.is_some()).collect();
        assert_eq!(vteps, [true, false, false, false]);
        let told: Vec<_> = problems.iter().map(|p| p.object.name.as_str()).collect();
        assert_eq!(told, ["b", "c", "d"]);
        assert!(problems[0].message.contains("Node a's"), "{}", problems[0]);
        assert_eq!(problems[2].field, "metadata.annotations[sluice.io/vtep]");
    }

    #[test]
    fn an_uplink_is_the_custom_interface_or_else_the_default_on_nodes_that_take_part() {
        let mut view = ClusterView::default();
        for name in ["a", "b", "c", "d"] {
            view.nodes.insert(name.into(), node(&["172.30.0.1"], &[]));
        }
        for name in ["a", "b", "c"] {
            let labels = &mut view.nodes.get_mut(name).unwrap().meta.labels;
            labels.insert("rack".into(), "1".into());
        }
        view.provider_networks.insert(
            "physnet".into(),
            ProviderNetwork {
                default_interface: "uplink0".into(),
                custom_interfaces: vec![CustomInterface {
                    interface: "bond0".into(),
                    nodes: ["b".to_string()].into(),
                }],
                exclude_nodes: ["c".to_string()].into(),
                node_selector: Some(LabelSelector {
                    match_labels: [("rack".to_string(), "1".to_string())].into(),
                    match_expressions: vec![],
                }),
                ..Default::default()
            },
        );
        let networks = provider_networks(&view, &mut Vec::new());
        let uplinks: Vec<_> = networks["physnet"].uplinks.iter().collect();
        assert_eq!(
            uplinks,
            [
                (&"a".to_string(), &"uplink0".to_string()),
                (&"b".to_string(), &"bond0".to_string())
            ]
        );
    }

    #[test]
    fn a_network_without_an_uplink_and_a_node_named_twice_are_reported() {
        let mut view = ClusterView::default();
        view.provider_networks
            .insert("empty".into(), ProviderNetwork::default());
        let custom = |interface: &str| CustomInterface {
            interface: interface.into(),
            nodes: ["a".to_string()].into(),
        };
        view.provider_networks.insert(
            "twice".into(),
            ProviderNetwork {
                custom_interfaces: vec![custom("eth1"), custom("eth2")],
                ..Default::default()
            },
        );
        let mut problems = Vec::new();
        provider_networks(&view, &mut problems);
        let fields: Vec<_> = problems.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(
            fields,
            ["spec.defaultInterface", "spec.customInterfaces[1].nodes"]
        );
    }
}
