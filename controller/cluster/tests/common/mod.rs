//! A cluster in a few words.
#![allow(dead_code, reason = "each test file uses its part")]

use cluster::view::{self, ClusterView, Meta};
use cluster::{DesiredState, NamespacedName, Settings, State, resolve};

pub fn name(text: &str) -> NamespacedName {
    text.parse().expect("namespace/name")
}

/// Two nodes and, if asked, the subnet `overlay`, 10.16.0.0/24, the default.
pub fn two_nodes() -> ClusterView {
    let mut view = ClusterView {
        complete: true,
        ..ClusterView::default()
    };
    for number in 1..=2 {
        view.nodes.insert(
            format!("node{number}"),
            view::Node {
                meta: Meta::default(),
                internal_ips: vec![format!("172.30.0.{number}")],
                ready: None,
            },
        );
    }
    view
}

pub fn bank() -> ClusterView {
    let mut view = two_nodes();
    add_subnet(&mut view, "overlay", "10.16.0.0/24").default = true;
    view
}

pub fn add_subnet<'a>(view: &'a mut ClusterView, name: &str, cidr: &str) -> &'a mut view::Subnet {
    view.subnets.insert(
        name.into(),
        view::Subnet {
            cidr_block: cidr.into(),
            ..view::Subnet::default()
        },
    );
    view.subnets.get_mut(name).expect("just added")
}

/// The physical network `physnet` by `uplink0`, and VLAN 100 on it as `vlan100`.
pub fn add_vlan100(view: &mut ClusterView) {
    view.provider_networks.insert(
        "physnet".into(),
        view::ProviderNetwork {
            default_interface: "uplink0".into(),
            ..Default::default()
        },
    );
    view.vlans.insert(
        "vlan100".into(),
        view::Vlan {
            id: 100,
            provider: "physnet".into(),
            ..Default::default()
        },
    );
}

/// A pod on node1 with annotations of Kube-OVN's prefix.
pub fn add_pod<'a>(
    view: &'a mut ClusterView,
    pod: &str,
    annotations: &[(&str, &str)],
) -> &'a mut view::Pod {
    view.pods.insert(
        name(pod),
        view::Pod {
            meta: Meta {
                annotations: annotations
                    .iter()
                    .map(|(k, v)| (format!("ovn.kubernetes.io/{k}"), v.to_string()))
                    .collect(),
                ..Meta::default()
            },
            node: Some("node1".into()),
            ..view::Pod::default()
        },
    );
    view.pods.get_mut(&name(pod)).expect("just added")
}

pub fn annotate(view: &mut ClusterView, pod: &str, key: &str, value: &str) {
    let pod = view.pods.get_mut(&name(pod)).expect("a pod of this name");
    let key = format!("ovn.kubernetes.io/{key}");
    pod.meta.annotations.insert(key, value.into());
}

pub fn run(view: &ClusterView, state: &mut State) -> DesiredState {
    resolve(view, &Settings::default(), state)
}

/// From an empty state.
pub fn fresh(view: &ClusterView) -> DesiredState {
    run(view, &mut State::default())
}

/// A controller that went down and came up again.
pub fn restarted(state: &State) -> State {
    State::from_json(&state.to_json()).expect("its own state")
}

/// The pod's addresses, comma between, or "" if it has no port.
pub fn ip(desired: &DesiredState, pod: &str) -> String {
    let Some(pod) = desired.pods.get(&name(pod)) else {
        return String::new();
    };
    let addresses: Vec<_> = pod.addresses().map(|a| a.to_string()).collect();
    addresses.join(",")
}

/// Every problem as the line that is logged.
pub fn told(desired: &DesiredState) -> Vec<String> {
    desired.problems.iter().map(|p| p.to_string()).collect()
}

/// Asserts that exactly one problem is told, of this object, with these words in it.
#[track_caller]
pub fn assert_told_once(desired: &DesiredState, words: &[&str]) {
    let told = told(desired);
    assert_eq!(told.len(), 1, "{told:#?}");
    for word in words {
        assert!(told[0].contains(word), "{word:?} is not in {:?}", told[0]);
    }
}
