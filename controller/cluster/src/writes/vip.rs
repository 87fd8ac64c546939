//! The status of Vips and IPPools, as Kube-OVN names its fields.

use serde_json::{Map, json};

use super::subnet::number;
use super::{Picture, Wanted};

/// What a Vip was given.
pub(super) fn vip(picture: &Picture<'_>, name: &str) -> Wanted {
    let mut status = Map::new();
    if let Some(given) = picture.desired.vips.get(name) {
        let text = |address: Option<String>| address.unwrap_or_default();
        status.insert("v4ip".into(), json!(text(given.v4.map(|a| a.to_string()))));
        status.insert("v6ip".into(), json!(text(given.v6.map(|a| a.to_string()))));
        status.insert("mac".into(), json!(given.mac.to_string()));
    }
    Wanted {
        status,
        ..Wanted::default()
    }
}

/// How full an IPPool is.
pub(super) fn pool(picture: &Picture<'_>, name: &str) -> Wanted {
    let mut status = Map::new();
    for usage in picture.desired.ip_pools.get(name).into_iter().flatten() {
        let family = if usage.family == "ipv4" { "v4" } else { "v6" };
        status.insert(format!("{family}UsingIPs"), number(usage.used));
        status.insert(format!("{family}AvailableIPs"), number(usage.available));
        let ranges = [
            ("Using", &usage.used_ranges),
            ("Available", &usage.available_ranges),
        ];
        for (what, text) in ranges {
            status.insert(format!("{family}{what}IPRange"), json!(text));
        }
    }
    Wanted {
        status,
        ..Wanted::default()
    }
}
