//! A Service's status: the addresses of its load balancer, if they are ours.

use serde_json::{Map, Value, json};

use super::{Picture, Wanted};
use crate::name::NamespacedName;

pub(super) fn wanted(picture: &Picture<'_>, name: &NamespacedName) -> Wanted {
    let frontends = picture.desired.frontends.get(name);
    let balanced = frontends.into_iter().flat_map(|f| &f.balanced);
    // What another load balancer has written is its own.
    let ours = balanced.filter(|balanced| balanced.announced.is_some());
    let ingress: Vec<Value> = ours
        .map(|balanced| json!({"ip": balanced.address, "ipMode": "VIP"}))
        .collect();
    let mut status = Map::new();
    if !ingress.is_empty() {
        status.insert("loadBalancer".into(), json!({"ingress": ingress}));
    }
    Wanted {
        status,
        ..Wanted::default()
    }
}
