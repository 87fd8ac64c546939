//! What Services are reached by from outside, and who answers for it, in sentences.

mod common;

use std::net::IpAddr;

use cluster::desired::{Frontends, Protocol};
use cluster::{DesiredState, NamespacedName, Settings, State, resolve, view};
use view::ClusterView;

use common::{add_subnet, add_vlan100, bank};

/// Two nodes on VLAN 100, whose Subnet `vlan100` keeps .240 to .242 for load balancers.
fn cluster() -> ClusterView {
    let mut view = bank();
    add_vlan100(&mut view);
    let subnet = add_subnet(&mut view, "vlan100", "192.168.100.0/24");
    subnet.vlan = "vlan100".into();
    subnet.exclude_ips = vec!["192.168.100.240..192.168.100.242".into()];
    let pool = "192.168.100.240..192.168.100.242";
    annotate(&mut subnet.meta, "sluice.io/lb-pool", pool);
    view
}

fn annotate(meta: &mut view::Meta, key: &str, value: &str) {
    meta.annotations.insert(key.into(), value.into());
}

fn name(service: &str) -> NamespacedName {
    NamespacedName::new("bank", service)
}

/// A Service of type LoadBalancer on port 80.
fn balanced<'v>(view: &'v mut ClusterView, service: &str, vip: &str) -> &'v mut view::Service {
    let made = view::Service {
        cluster_ips: vec![vip.into()],
        ports: vec![view::ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            target: None,
        }],
        exposure: view::Exposure {
            load_balancer: true,
            node_ports: [((Protocol::Tcp, 80), 30_080)].into(),
            ..view::Exposure::default()
        },
        ..view::Service::default()
    };
    view.services.insert(name(service), made);
    view.services.get_mut(&name(service)).unwrap()
}

fn desired(view: &ClusterView) -> DesiredState {
    resolve(view, &Settings::default(), &mut State::default())
}

fn addresses(state: &DesiredState, service: &str) -> Vec<IpAddr> {
    let frontends = state.frontends.get(&name(service));
    frontends.map_or(vec![], |f| f.balanced.iter().map(|b| b.address).collect())
}

fn announcer(frontends: &Frontends) -> Option<String> {
    frontends.balanced[0].announced.as_ref()?.node.clone()
}

#[track_caller]
fn told(state: &DesiredState, field: &str) {
    assert!(
        state.problems.iter().any(|p| p.field == field),
        "{field} is not among {:?}",
        state.problems
    );
}

#[test]
fn services_get_addresses_of_the_pool_and_keep_them_while_others_come_and_go() {
    let mut view = cluster();
    balanced(&mut view, "a", "10.96.0.1");
    let alone = addresses(&desired(&view), "a");
    assert_eq!(alone.len(), 1);
    for (service, vip) in [("b", "10.96.0.2"), ("c", "10.96.0.3")] {
        let service = balanced(&mut view, service, vip);
        service.exposure.node_ports.clear();
    }
    // What stands in the status is as good as asked for.
    view.services.get_mut(&name("a")).unwrap().exposure.ingress = vec![alone[0].to_string()];
    let state = desired(&view);
    assert_eq!(addresses(&state, "a"), alone);
    let all: std::collections::BTreeSet<_> = ["a", "b", "c"]
        .iter()
        .flat_map(|s| addresses(&state, s))
        .collect();
    assert_eq!(all.len(), 3, "each has one of its own");
    // One more than there are.
    balanced(&mut view, "d", "10.96.0.4")
        .exposure
        .node_ports
        .clear();
    let state = desired(&view);
    told(&state, "spec.type");
    assert_eq!(addresses(&state, "a"), alone);
}

#[test]
fn a_load_balancer_keeps_its_address_without_a_status_whoever_comes_and_over_a_restart() {
    let mut view = cluster();
    let mut state = State::default();
    let resolved =
        |view: &ClusterView, state: &mut State| resolve(view, &Settings::default(), state);
    balanced(&mut view, "z", "10.96.0.9");
    let first = addresses(&resolved(&view, &mut state), "z");
    assert_eq!(first.len(), 1);
    // These come before it by name; one of them would begin to look where it is.
    for (number, service) in ["a", "b", "c", "d", "e", "f"].iter().enumerate() {
        let service = balanced(&mut view, service, &format!("10.96.0.{}", number + 1));
        service.exposure.node_ports.clear();
    }
    let all = resolved(&view, &mut state);
    assert_eq!(addresses(&all, "z"), first);
    let by_chance = desired(&view);
    assert_ne!(
        addresses(&by_chance, "z"),
        first,
        "names alone would do, so this shows nothing"
    );
    let mut again = State::from_json(&state.to_json()).unwrap();
    let restarted = resolved(&view, &mut again);
    assert_eq!(restarted.frontends, all.frontends);
    assert_eq!(again, state);
    // Who goes gives it back.
    view.services.remove(&name("z"));
    resolved(&view, &mut again);
    let others = ["a", "b", "c", "d", "e", "f"].map(|s| addresses(&resolved(&view, &mut again), s));
    assert!(others.contains(&first), "{others:?}");
}

#[test]
fn an_address_that_is_asked_for_is_given_or_refused_but_never_replaced() {
    let mut view = cluster();
    let service = balanced(&mut view, "a", "10.96.0.1");
    service.exposure.load_balancer_ip = Some("192.168.100.241".into());
    assert_eq!(
        addresses(&desired(&view), "a"),
        ["192.168.100.241".parse::<IpAddr>().unwrap()]
    );
    let service = view.services.get_mut(&name("a")).unwrap();
    annotate(&mut service.meta, "sluice.io/lb-ip", "192.168.100.9");
    let state = desired(&view);
    assert_eq!(addresses(&state, "a"), [] as [IpAddr; 0]);
    told(&state, "metadata.annotations[sluice.io/lb-ip]");
    assert_eq!(
        state.frontends[&name("a")].node_ports.len(),
        1,
        "the node port serves as ever"
    );
}

#[test]
fn what_is_of_another_class_is_served_but_neither_given_an_address_nor_announced() {
    let mut view = cluster();
    let service = balanced(&mut view, "a", "10.96.0.1");
    service.exposure.load_balancer_class = Some("example.com/other".into());
    assert_eq!(addresses(&desired(&view), "a"), [] as [IpAddr; 0]);
    let service = view.services.get_mut(&name("a")).unwrap();
    service.exposure.ingress = vec!["203.0.113.7".into()];
    let state = desired(&view);
    assert_eq!(
        addresses(&state, "a"),
        ["203.0.113.7".parse::<IpAddr>().unwrap()]
    );
    assert_eq!(state.frontends[&name("a")].balanced[0].announced, None);
}

#[test]
fn one_ready_node_that_is_on_the_network_answers_and_only_its_addresses_move_when_it_goes() {
    let mut view = cluster();
    for number in 3..=9 {
        let node = view.nodes["node1"].clone();
        view.nodes.insert(format!("node{number}"), node);
    }
    for (number, service) in ["a", "b", "c"].into_iter().enumerate() {
        let vip = format!("10.96.0.{}", number + 1);
        balanced(&mut view, service, &vip)
            .exposure
            .node_ports
            .clear();
    }
    let elected = |view: &ClusterView| {
        let state = desired(view);
        ["a", "b", "c"].map(|s| announcer(&state.frontends[&name(s)]).unwrap())
    };
    let before = elected(&view);
    let gone = before[0].clone();
    view.nodes.get_mut(&gone).unwrap().ready = Some(false);
    let after = elected(&view);
    for (was, is) in before.iter().zip(&after) {
        assert_eq!(was == is, *was != gone, "{before:?} {after:?}");
    }
    // Nodes that are not on the network, and those that are excluded, are not asked.
    let network = view.provider_networks.get_mut("physnet").unwrap();
    network.exclude_nodes = view
        .nodes
        .keys()
        .filter(|n| *n != "node2")
        .cloned()
        .collect();
    assert_eq!(elected(&view), ["node2", "node2", "node2"]);
    let labels = &mut view.nodes.get_mut("node2").unwrap().meta.labels;
    let excluded = "node.kubernetes.io/exclude-from-external-load-balancers";
    labels.insert(excluded.into(), String::new());
    let state = desired(&view);
    assert_eq!(announcer(&state.frontends[&name("a")]), None);
}

#[test]
fn mistakes_are_told_and_harm_nobody_else() {
    let mut view = cluster();
    let subnet = view.subnets.get_mut("vlan100").unwrap();
    let pools = "192.168.100.240..192.168.100.241,192.168.100.10..192.168.100.11,10.0.0.1";
    annotate(&mut subnet.meta, "sluice.io/lb-pool", pools);
    balanced(&mut view, "a", "10.96.0.1");
    let second = balanced(&mut view, "b", "10.96.0.2");
    second.exposure.external_ips = vec![
        "10.96.0.1".into(),
        "10.16.0.9".into(),
        "x".into(),
        "203.0.113.1".into(),
    ];
    second.exposure.source_ranges = vec!["everybody".into()];
    let state = desired(&view);
    told(&state, "metadata.annotations[sluice.io/lb-pool]");
    told(&state, "spec.ports[].nodePort");
    for at in 0..3 {
        told(&state, &format!("spec.externalIPs[{at}]"));
    }
    told(&state, "spec.loadBalancerSourceRanges[0]");
    let b = &state.frontends[&name("b")];
    assert_eq!(b.external, ["203.0.113.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        b.sources.len(),
        1,
        "ranges that cannot be read are not everybody"
    );
    assert_eq!(addresses(&state, "a").len(), 1);
}
