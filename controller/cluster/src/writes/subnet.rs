//! The status of Subnets, Vlans and ProviderNetworks, as Kube-OVN names its fields.

use serde_json::{Map, Value, json};

use super::{Picture, Wanted};
use crate::desired::SubnetKind;

pub(super) fn wanted(picture: &Picture<'_>, name: &str) -> Wanted {
    let mut status = Map::new();
    if let Some(usage) = picture.desired.usage.get(name) {
        // A family that the Subnet does not have is written too: no addresses.
        for (family, of) in [("v4", "ipv4"), ("v6", "ipv6")] {
            let usage = usage.iter().find(|usage| usage.family == of);
            let (used, used_ranges) = usage.map_or((0, ""), |u| (u.used, &u.used_ranges));
            let (free, free_ranges) = usage.map_or((0, ""), |u| (u.available, &u.available_ranges));
            status.insert(format!("{family}usingIPs"), number(used));
            status.insert(format!("{family}usingIPrange"), json!(used_ranges));
            status.insert(format!("{family}availableIPs"), number(free));
            status.insert(format!("{family}availableIPrange"), json!(free_ranges));
        }
        // Every node is a gateway; Kube-OVN names the one of a centralized Subnet here.
        status.insert("activateGateway".into(), json!(""));
    }
    if let Some(subnet) = picture.view.subnets.get(name) {
        let address = &subnet.u2o_interconnection_ip;
        status.insert("u2oInterconnectionIP".into(), json!(address));
    }
    if let Some(subnet) = picture.desired.subnets.get(name)
        && let SubnetKind::Overlay { vni } = subnet.kind
    {
        status.insert("tunnelKey".into(), json!(vni.get()));
    }
    if let Some(in_force) = picture.state.subnet_in_force(name) {
        status.insert("inForce".into(), in_force);
    }
    with(status)
}

/// Which Subnets are on a Vlan, and whether another Vlan is the same on the wire.
pub(super) fn vlan(picture: &Picture<'_>, name: &str) -> Wanted {
    let Some(vlan) = picture.view.vlans.get(name) else {
        return Wanted::default();
    };
    let subnets = picture.view.subnets.iter();
    let subnets = subnets.filter(|(subnet, spec)| {
        spec.vlan == name && picture.desired.subnets.contains_key(*subnet)
    });
    let subnets: Vec<&String> = subnets.map(|(name, _)| name).collect();
    let conflict = picture.view.vlans.iter().any(|(other, spec)| {
        other != name && (spec.id, &spec.provider) == (vlan.id, &vlan.provider)
    });
    let mut status = Map::new();
    status.insert("subnets".into(), json!(subnets));
    status.insert("conflict".into(), json!(conflict));
    with(status)
}

/// Which Vlans are on a ProviderNetwork. Whether it is ready its condition says.
pub(super) fn provider_network(picture: &Picture<'_>, name: &str) -> Wanted {
    let vlans = picture.view.vlans.iter();
    let vlans = vlans.filter(|(_, vlan)| vlan.provider == name);
    let vlans: Vec<&String> = vlans.map(|(name, _)| name).collect();
    with([("vlans".to_string(), json!(vlans))].into_iter().collect())
}

fn with(status: Map<String, Value>) -> Wanted {
    Wanted {
        status,
        ..Wanted::default()
    }
}

/// An API server keeps integers of 64 bits and other numbers as floating point.
pub(super) fn number(count: u128) -> Value {
    match i64::try_from(count) {
        Ok(count) => json!(count),
        Err(_) => json!(count as f64),
    }
}
