//! A Subnet's status, as Kube-OVN names its fields.

use serde_json::{Map, Value, json};

use super::{Picture, Wanted};
use crate::desired::SubnetKind;

pub(super) fn wanted(picture: &Picture<'_>, name: &str) -> Wanted {
    let mut status = Map::new();
    for usage in picture.desired.usage.get(name).into_iter().flatten() {
        let family = if usage.family == "ipv4" { "v4" } else { "v6" };
        status.insert(format!("{family}usingIPs"), number(usage.used));
        status.insert(format!("{family}availableIPs"), number(usage.available));
    }
    if let Some(subnet) = picture.desired.subnets.get(name)
        && let SubnetKind::Overlay { vni } = subnet.kind
    {
        status.insert("tunnelKey".into(), json!(vni.get()));
    }
    if let Some(in_force) = picture.state.subnet_in_force(name) {
        status.insert("inForce".into(), in_force);
    }
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
