//! A Pod's annotations: what it was given, as Kube-OVN writes it, and back again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use net::MacAddr;

use super::{Picture, Wanted};
use crate::annotations::{KUBE_OVN, OURS};
use crate::desired::{Subnet, SubnetKind};
use crate::name::NamespacedName;
use crate::podapi::Interface;
use crate::portname::{DEFAULT_INTERFACE, port_name};
use crate::state::Allocation;

/// What Kube-OVN calls an interface of an ordinary pod.
const NIC_TYPE: &str = "veth-pair";

/// What shall stand on a Pod; a pod that has nothing to do with us is left as it is.
pub(super) fn wanted(picture: &Picture<'_>, name: &NamespacedName) -> Option<Wanted> {
    let pod = picture.view.pods.get(name)?;
    // A gate that nobody opens would hold even a pod back that is not ours.
    if pod.finished || pod.host_network && !pod.drain_gate {
        return None;
    }
    let annotations = match picture.state.allocation(name) {
        Some(held) if !pod.host_network => annotations(
            held,
            picture.desired.subnets.get(&held.subnet),
            // Its way is known; its port opens when its flows stand.
            pod.node
                .as_ref()
                .is_some_and(|node| picture.desired.nodes.contains_key(node)),
        ),
        _ => BTreeMap::new(),
    };
    Some(Wanted {
        annotations,
        basis: Some(super::basis(
            pod.meta.annotations.iter().map(|(k, v)| (k, v.as_str())),
        )),
        ..Wanted::default()
    })
}

fn annotations(
    held: &Allocation,
    subnet: Option<&Subnet>,
    routed: bool,
) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        annotations.insert(format!("{}{name}", KUBE_OVN[0]), value);
    };
    set("allocated", "true".into());
    set("ip_address", join(held.addresses()));
    set("mac_address", held.mac.to_string());
    set("logical_switch", held.subnet.clone());
    set("pod_nic_type", NIC_TYPE.into());
    // A subnet that is not in force leaves what the pod holds alone.
    if let Some(subnet) = subnet {
        if routed {
            set("routed", "true".into());
        }
        set("cidr", join(subnet.prefixes().map(|(cidr, _)| cidr)));
        set(
            "gateway",
            join(subnet.prefixes().map(|(_, gateway)| gateway)),
        );
        if let SubnetKind::Underlay { provider, vlan } = &subnet.kind {
            set("provider_network", provider.clone());
            set("vlan_id", vlan.map_or(0, |vlan| vlan.get()).to_string());
        }
        annotations.insert(format!("{OURS}mtu"), subnet.mtu.to_string());
    }
    annotations
}

fn join<T: ToString>(parts: impl Iterator<Item = T>) -> String {
    let parts: Vec<String> = parts.map(|part| part.to_string()).collect();
    parts.join(",")
}

/// The interface of a pod, from what was written on it; `None` while nothing is.
///
/// # Errors
/// The annotation that cannot be read.
pub fn interface(
    name: &NamespacedName,
    node: &str,
    annotations: &BTreeMap<String, String>,
) -> Result<Option<Interface>, String> {
    let get = |key: &str| annotations.get(key).map(String::as_str);
    let ovn = |name: &str| get(&format!("{}{name}", KUBE_OVN[0])).unwrap_or_default();
    if ovn("allocated") != "true" || ovn("routed") != "true" {
        return Ok(None);
    }
    let cidrs: Vec<IpNet> = list("cidr", ovn("cidr"))?;
    let addresses: Vec<IpAddr> = list("ip_address", ovn("ip_address"))?;
    let gateways: Vec<IpAddr> = list("gateway", ovn("gateway"))?;
    let with_length = |address: &IpAddr| {
        let cidr = cidrs.iter().find(|cidr| cidr.contains(address));
        let length = cidr.map(IpNet::prefix_len);
        length
            .and_then(|length| IpNet::new(*address, length).ok())
            .ok_or_else(|| format!("cidr: {address} is not in {:?}", ovn("cidr")))
    };
    let mtu = get(&format!("{OURS}mtu")).unwrap_or_default();
    let same_family = |gateway: &IpAddr| addresses.iter().any(|a| a.is_ipv4() == gateway.is_ipv4());
    let mac: MacAddr = one("mac_address", ovn("mac_address"))?;
    Ok(Some(Interface {
        mac,
        mtu: one("mtu", mtu)?,
        gateways: gateways.into_iter().filter(same_family).collect(),
        routes: Vec::new(),
        node: node.to_string(),
        port: port_name(&name.namespace, &name.name, DEFAULT_INTERFACE),
        subnet: ovn("logical_switch").to_string(),
        addresses: addresses
            .iter()
            .map(with_length)
            .collect::<Result<_, _>>()?,
    }))
}

fn one<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("annotation {name} cannot be read: {text:?}"))
}

fn list<T: std::str::FromStr>(name: &str, text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(|part| one(name, part.trim())).collect()
}
