//! Which subnets are in force, and which one a pod is in.

mod common;

use std::collections::BTreeSet;

use cluster::desired::SubnetKind;
use cluster::view::{self, ClusterView, LabelSelector};
use cluster::{Effect, State};
use common::*;

/// The names of the subnets in force.
fn in_force(view: &ClusterView) -> Vec<String> {
    fresh(view).subnets.keys().cloned().collect()
}

fn vni(desired: &cluster::DesiredState, subnet: &str) -> u32 {
    match &desired.subnets[subnet].kind {
        SubnetKind::Overlay { vni } => vni.get(),
        other => panic!("{other:?}"),
    }
}

fn set_vni(view: &mut ClusterView, subnet: &str, vni: &str) {
    let meta = &mut view.subnets.get_mut(subnet).unwrap().meta;
    meta.annotations.insert("sluice.io/vni".into(), vni.into());
}

#[test]
fn the_gateway_is_the_first_address_unless_another_is_named() {
    let mut view = two_nodes();
    add_subnet(&mut view, "first", "10.1.0.0/24,fd00::/64");
    add_subnet(&mut view, "named", "10.2.0.0/24").gateway = "10.2.0.254".into();
    let desired = fresh(&view);
    let gateways = |subnet: &str| -> Vec<String> {
        let prefixes = desired.subnets[subnet].prefixes();
        prefixes.map(|(_, gateway)| gateway.to_string()).collect()
    };
    assert_eq!(gateways("first"), ["10.1.0.1", "fd00::1"]);
    assert_eq!(gateways("named"), ["10.2.0.254"]);
    assert_eq!(desired.problems, []);
}

#[test]
fn every_subnet_has_a_router_address_of_its_own_that_never_changes() {
    let mut view = two_nodes();
    for number in 0..20 {
        add_subnet(
            &mut view,
            &format!("s{number}"),
            &format!("10.{number}.0.0/24"),
        );
    }
    let desired = fresh(&view);
    let macs: BTreeSet<_> = desired.subnets.values().map(|s| s.router_mac).collect();
    assert_eq!(macs.len(), 20);
    assert_eq!(fresh(&view).subnets, desired.subnets);
}

#[test]
fn a_specification_that_makes_no_sense_is_refused_with_field_and_reason() {
    type Change = fn(&mut view::Subnet);
    let cases: &[(Change, &str, &str)] = &[
        (
            |s| s.cidr_block = "10.0.0.0/33".into(),
            "spec.cidrBlock",
            "is not a prefix",
        ),
        (
            |s| s.cidr_block = "".into(),
            "spec.cidrBlock",
            "is not a prefix",
        ),
        (
            |s| s.cidr_block = "10.0.0.0/24,10.1.0.0/24".into(),
            "spec.cidrBlock",
            "two IPv4 prefixes",
        ),
        (
            |s| s.cidr_block = "10.0.0.0/31".into(),
            "spec.cidrBlock",
            "no room for a gateway",
        ),
        (
            |s| s.cidr_block = "fd00::/127".into(),
            "spec.cidrBlock",
            "no room for a gateway",
        ),
        (
            |s| s.cidr_block = "127.0.0.0/8".into(),
            "spec.cidrBlock",
            "no pod can have",
        ),
        (
            |s| s.cidr_block = "224.0.0.0/8".into(),
            "spec.cidrBlock",
            "no pod can have",
        ),
        (
            |s| s.cidr_block = "0.0.0.0/0".into(),
            "spec.cidrBlock",
            "no pod can have",
        ),
        (
            |s| s.gateway = "10.0.1.1".into(),
            "spec.gateway",
            "10.0.1.1 is outside",
        ),
        (
            |s| s.gateway = "10.0.0.0".into(),
            "spec.gateway",
            "network or broadcast",
        ),
        (
            |s| s.gateway = "10.0.0.1,10.0.0.2".into(),
            "spec.gateway",
            "two IPv4 gateways",
        ),
        (
            |s| s.gateway = "router".into(),
            "spec.gateway",
            "is not an address",
        ),
        (
            |s| s.exclude_ips = vec!["10.0.0.9".into(), "x".into()],
            "spec.excludeIps[1]",
            "is not an address",
        ),
        (
            |s| s.vlan = "nowhere".into(),
            "spec.vlan",
            "no usable Vlan \"nowhere\"",
        ),
        (|s| s.mtu = Some(70_000), "spec.mtu", "70000 is outside"),
        (
            |s| (s.mtu, s.cidr_block) = (Some(1200), "fd00::/64".into()),
            "spec.mtu",
            "1200 is outside 1280",
        ),
    ];
    for (change, field, why) in cases {
        let mut view = two_nodes();
        add_subnet(&mut view, "good", "10.9.0.0/24").default = true;
        change(add_subnet(&mut view, "bad", "10.0.0.0/24"));
        add_pod(&mut view, "bank/a", &[]);
        let desired = fresh(&view);
        assert!(!desired.subnets.contains_key("bad"), "{why}");
        assert_eq!(ip(&desired, "bank/a"), "10.9.0.2", "{why}");
        assert_told_once(
            &desired,
            &["Subnet bad: ", field, why, "the subnet is not in force"],
        );
    }
}

#[test]
fn bits_beyond_the_prefix_and_exclusions_beyond_the_range_are_told_and_do_no_harm() {
    let mut view = two_nodes();
    let subnet = add_subnet(&mut view, "s", "10.0.0.7/24");
    subnet.exclude_ips = vec!["10.0.1.1..10.0.1.9".into()];
    let desired = fresh(&view);
    assert_eq!(
        desired.subnets["s"].v4.unwrap().cidr.to_string(),
        "10.0.0.0/24"
    );
    let fields: Vec<_> = desired.problems.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(fields, ["spec.cidrBlock", "spec.excludeIps[0]"]);
    assert!(desired.problems.iter().all(|p| p.effect == Effect::Ignored));
}

#[test]
fn of_two_subnets_that_overlap_the_later_one_is_refused() {
    let mut view = two_nodes();
    add_subnet(&mut view, "a-new", "10.0.0.128/25").meta.created = Some(200);
    add_subnet(&mut view, "b-old", "10.0.0.0/24").meta.created = Some(100);
    add_subnet(&mut view, "c", "10.0.1.0/24");
    let desired = fresh(&view);
    let names: Vec<_> = desired.subnets.keys().collect();
    assert_eq!(names, ["b-old", "c"]);
    assert_told_once(
        &desired,
        &[
            "Subnet a-new: spec.cidrBlock",
            "10.0.0.128/25 overlaps 10.0.0.0/24 of Subnet b-old",
        ],
    );
}

#[test]
fn a_newcomer_cannot_push_out_a_subnet_in_force_whatever_its_name() {
    let mut view = bank();
    let mut state = State::default();
    add_pod(&mut view, "bank/a", &[]);
    run(&view, &mut state);
    add_subnet(&mut view, "aaa", "10.16.0.0/16");
    let desired = run(&view, &mut restarted(&state));
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.2");
    assert_told_once(&desired, &["Subnet aaa", "overlaps", "Subnet overlay"]);
}

#[test]
fn a_change_that_cannot_be_done_leaves_the_previous_version_in_force() {
    type Change = fn(&mut view::Subnet);
    let cases: &[(Change, &str)] = &[
        (|s| s.cidr_block = "10.16.0.0/240".into(), "is not a prefix"),
        (|s| s.cidr_block = "10.20.0.0/24".into(), "overlaps"),
        (|s| s.gateway = "10.99.0.1".into(), "outside"),
        (|s| s.exclude_ips = vec!["oops".into()], "is not an address"),
        (|s| s.vlan = "nowhere".into(), "no usable Vlan"),
    ];
    for (change, why) in cases {
        let mut view = bank();
        // After the one that changes, by name: it must not be pushed out either.
        add_subnet(&mut view, "z-other", "10.20.0.0/24");
        add_pod(&mut view, "bank/a", &[]);
        let mut state = State::default();
        let before = run(&view, &mut state);
        change(view.subnets.get_mut("overlay").unwrap());
        let mut state = restarted(&state);
        for _ in 0..2 {
            let after = run(&view, &mut state);
            assert_eq!(after.subnets, before.subnets, "{why}");
            assert_eq!(after.pods, before.pods, "{why}");
            assert_told_once(
                &after,
                &["Subnet overlay", why, "the previous version stays in force"],
            );
        }
    }
}

#[test]
fn a_range_that_is_changed_gives_its_pods_addresses_in_the_new_one() {
    let mut view = bank();
    let mut state = State::default();
    add_pod(&mut view, "bank/a", &[]);
    run(&view, &mut state);
    view.subnets.get_mut("overlay").unwrap().cidr_block = "10.16.0.0/16".into();
    let wider = run(&view, &mut state);
    assert_eq!(ip(&wider, "bank/a"), "10.16.0.2", "what still fits stays");
    view.subnets.get_mut("overlay").unwrap().cidr_block = "10.17.0.0/16".into();
    let moved = run(&view, &mut state);
    assert_eq!(ip(&moved, "bank/a"), "10.17.0.2");
    assert_eq!(moved.problems, []);
}

#[test]
fn network_identifiers_are_chosen_by_name_kept_and_told_apart() {
    let mut view = two_nodes();
    let mut state = State::default();
    for number in 0..50 {
        add_subnet(
            &mut view,
            &format!("s{number}"),
            &format!("10.{number}.0.0/24"),
        );
    }
    let desired = run(&view, &mut state);
    let vnis: BTreeSet<_> = desired.subnets.keys().map(|s| vni(&desired, s)).collect();
    assert_eq!(vnis.len(), 50);
    assert!(vnis.iter().all(|vni| (0x10_0000..=0xff_ffff).contains(vni)));
    let mut alone = two_nodes();
    add_subnet(&mut alone, "s7", "10.7.0.0/24");
    assert_eq!(
        vni(&fresh(&alone), "s7"),
        vni(&desired, "s7"),
        "no state is needed for it"
    );
    assert_eq!(run(&view, &mut restarted(&state)), desired);
}

#[test]
fn a_network_identifier_that_is_asked_for_is_given_once() {
    let mut view = two_nodes();
    let mut state = State::default();
    add_subnet(&mut view, "b", "10.1.0.0/24");
    set_vni(&mut view, "b", "1016");
    assert_eq!(vni(&run(&view, &mut state), "b"), 1016);
    add_subnet(&mut view, "a", "10.2.0.0/24");
    set_vni(&mut view, "a", "1016");
    let desired = run(&view, &mut state);
    assert_eq!(vni(&desired, "b"), 1016);
    assert!(!desired.subnets.contains_key("a"));
    assert_told_once(
        &desired,
        &[
            "Subnet a",
            "sluice.io/vni",
            "VNI 1016 is Subnet b's already",
        ],
    );
    for bad in ["0", "16777216", "x", "-1"] {
        set_vni(&mut view, "a", bad);
        assert_told_once(&run(&view, &mut state), &["Subnet a", "is not a VNI", bad]);
        // The one in force keeps its number however the annotation is spoilt.
        set_vni(&mut view, "b", bad);
        assert_eq!(vni(&run(&view, &mut state), "b"), 1016);
        set_vni(&mut view, "b", "1016");
    }
}

#[test]
fn a_vlan_subnet_is_on_its_provider_network_with_the_tag_or_without() {
    let mut view = two_nodes();
    add_vlan100(&mut view);
    view.vlans.insert(
        "untagged".into(),
        view::Vlan {
            id: 0,
            provider: "physnet".into(),
            ..Default::default()
        },
    );
    add_subnet(&mut view, "tagged", "10.100.0.0/24").vlan = "vlan100".into();
    add_subnet(&mut view, "plain", "10.101.0.0/24").vlan = "untagged".into();
    let desired = fresh(&view);
    let kind = |subnet: &str| match &desired.subnets[subnet].kind {
        SubnetKind::Underlay { provider, vlan } => (provider.clone(), vlan.map(|id| id.get())),
        other => panic!("{other:?}"),
    };
    assert_eq!(kind("tagged"), ("physnet".into(), Some(100)));
    assert_eq!(kind("plain"), ("physnet".into(), None));
    assert_eq!(desired.subnets["tagged"].mtu, 1500);
    assert_eq!(desired.problems, []);
}

#[test]
fn a_vlan_that_makes_no_sense_is_refused_and_so_is_the_subnet_on_it() {
    type Change = fn(&mut view::Vlan);
    let cases: &[(Change, &str)] = &[
        (|v| v.id = 4095, "VLAN 4095 is outside 0..=4094"),
        (|v| v.id = -1, "VLAN -1 is outside"),
        (
            |v| v.provider = "nobody".into(),
            "there is no ProviderNetwork \"nobody\"",
        ),
    ];
    for (change, why) in cases {
        let mut view = two_nodes();
        add_vlan100(&mut view);
        change(view.vlans.get_mut("vlan100").unwrap());
        add_subnet(&mut view, "s", "10.100.0.0/24").vlan = "vlan100".into();
        let desired = fresh(&view);
        assert!(desired.subnets.is_empty());
        let told = told(&desired);
        assert!(
            told.iter()
                .any(|t| t.starts_with("Vlan vlan100") && t.contains(why)),
            "{told:?}"
        );
        assert!(
            told.iter().any(|t| t.starts_with("Subnet s: spec.vlan")),
            "{told:?}"
        );
    }
}

#[test]
fn one_tag_of_one_network_is_one_vlan() {
    let mut view = two_nodes();
    add_vlan100(&mut view);
    let twin = view.vlans["vlan100"].clone();
    view.vlans.insert("z-twin".into(), twin);
    assert_told_once(
        &fresh(&view),
        &[
            "Vlan z-twin: spec.id",
            "VLAN 100 of ProviderNetwork physnet is Vlan vlan100 already",
        ],
    );
}

#[test]
fn subnets_on_one_vlan_share_the_segment_and_with_it_the_macs() {
    let mut view = two_nodes();
    add_vlan100(&mut view);
    for (name, cidr) in [("one", "10.100.0.0/24"), ("two", "10.101.0.0/24")] {
        let subnet = add_subnet(&mut view, name, cidr);
        subnet.vlan = "vlan100".into();
        subnet.namespaces = [name.to_string()].into();
    }
    add_pod(&mut view, "one/a", &[("mac_address", "02:00:00:00:00:01")]);
    add_pod(&mut view, "two/b", &[("mac_address", "02:00:00:00:00:01")]);
    let desired = fresh(&view);
    assert_told_once(&desired, &["Pod two/b", "mac_address", "held by Pod one/a"]);
}

#[test]
fn a_pod_on_a_node_without_an_uplink_waits_and_is_told() {
    let mut view = two_nodes();
    add_vlan100(&mut view);
    let network = view.provider_networks.get_mut("physnet").unwrap();
    network.exclude_nodes = ["node2".to_string()].into();
    let subnet = add_subnet(&mut view, "s", "10.100.0.0/24");
    subnet.vlan = "vlan100".into();
    subnet.default = true;
    add_pod(&mut view, "bank/a", &[]);
    add_pod(&mut view, "bank/b", &[]).node = Some("node2".into());
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/a"), "10.100.0.2");
    assert_told_once(
        &desired,
        &["Pod bank/b", "Node node2 has no uplink", "Subnet s"],
    );
}

#[test]
fn a_pod_is_in_the_subnet_its_annotation_names_or_its_namespace_or_the_default_one() {
    let mut view = bank();
    add_subnet(&mut view, "by-list", "10.1.0.0/24").namespaces = ["listed".to_string()].into();
    add_subnet(&mut view, "by-label", "10.2.0.0/24").namespace_selectors = vec![LabelSelector {
        match_labels: [("team".to_string(), "core".to_string())].into(),
        match_expressions: vec![],
    }];
    add_subnet(&mut view, "by-annotation", "10.3.0.0/24");
    let mut namespace = |name: &str, labels: &[(&str, &str)], annotations: &[(&str, &str)]| {
        let map = |pairs: &[(&str, &str)]| {
            let owned = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
            owned.collect()
        };
        let meta = view::Meta {
            labels: map(labels),
            annotations: map(annotations),
            ..Default::default()
        };
        view.namespaces
            .insert(name.into(), view::Namespace { meta });
    };
    namespace("labelled", &[("team", "core")], &[]);
    namespace(
        "annotated",
        &[("team", "core")],
        &[("ovn.kubernetes.io/logical_switch", "by-annotation")],
    );
    for namespace in ["listed", "labelled", "annotated", "unknown"] {
        add_pod(&mut view, &format!("{namespace}/a"), &[]);
        add_pod(
            &mut view,
            &format!("{namespace}/b"),
            &[("logical_switch", "by-annotation")],
        );
    }
    let desired = fresh(&view);
    let subnet = |pod: &str| desired.pods[&name(pod)].subnet.clone();
    assert_eq!(subnet("listed/a"), "by-list");
    assert_eq!(subnet("labelled/a"), "by-label");
    assert_eq!(subnet("annotated/a"), "by-annotation");
    assert_eq!(subnet("unknown/a"), "overlay");
    for namespace in ["listed", "labelled", "annotated", "unknown"] {
        assert_eq!(subnet(&format!("{namespace}/b")), "by-annotation");
    }
    assert_eq!(desired.problems, []);
}

#[test]
fn of_several_subnets_of_a_namespace_the_one_with_the_fixed_address_or_with_room_is_used() {
    let mut view = two_nodes();
    for (name, cidr) in [("a", "10.1.0.0/30"), ("b", "10.2.0.0/24")] {
        add_subnet(&mut view, name, cidr).namespaces = ["bank".to_string()].into();
    }
    add_pod(&mut view, "bank/fixed", &[("ip_address", "10.2.0.77")]);
    add_pod(&mut view, "bank/p1", &[]);
    add_pod(&mut view, "bank/p2", &[]);
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/fixed"), "10.2.0.77");
    assert_eq!(ip(&desired, "bank/p1"), "10.1.0.2");
    assert_eq!(ip(&desired, "bank/p2"), "10.2.0.64", "a is full");
    assert_eq!(desired.problems, []);
}

#[test]
fn a_pod_without_a_subnet_waits_and_is_told_what_to_do() {
    let mut view = two_nodes();
    add_subnet(&mut view, "other", "10.1.0.0/24").namespaces = ["shop".to_string()].into();
    add_pod(&mut view, "bank/none", &[]);
    assert_told_once(
        &fresh(&view),
        &[
            "Pod bank/none",
            "Namespace bank has no subnet",
            "spec.default",
        ],
    );

    let mut view = two_nodes();
    add_pod(&mut view, "bank/wrong", &[("logical_switch", "nowhere")]);
    assert_told_once(
        &fresh(&view),
        &[
            "Pod bank/wrong",
            "logical_switch",
            "there is no Subnet \"nowhere\"",
        ],
    );

    // Not the default one: that would be another network than the one asked for.
    let mut view = bank();
    let refused = add_subnet(&mut view, "refused", "nonsense");
    refused.namespaces = ["bank".to_string()].into();
    add_pod(&mut view, "bank/a", &[]);
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/a"), "");
    assert!(told(&desired)[0].contains("Subnet refused is not in force; the pod waits"));
}

#[test]
fn there_is_one_default_subnet_and_who_wants_to_be_the_second_is_told() {
    let mut view = two_nodes();
    add_subnet(&mut view, "a", "10.1.0.0/24").default = true;
    add_subnet(&mut view, "b", "10.2.0.0/24").default = true;
    add_pod(&mut view, "bank/p", &[]);
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/p"), "10.1.0.2");
    assert_told_once(
        &desired,
        &["Subnet b: spec.default", "Subnet a is the default already"],
    );
}

#[test]
fn a_subnet_that_is_deleted_is_forgotten_and_its_pods_move() {
    let mut view = bank();
    let mut state = State::default();
    add_subnet(&mut view, "bound", "10.1.0.0/24").namespaces = ["bank".to_string()].into();
    add_pod(&mut view, "bank/p", &[]);
    assert_eq!(ip(&run(&view, &mut state), "bank/p"), "10.1.0.2");
    view.subnets.remove("bound");
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/p"), "10.16.0.2");
    assert!(!state.to_json().contains("10.1.0.0/24"));
    add_subnet(&mut view, "again", "10.1.0.0/16");
    assert_eq!(run(&view, &mut state).problems, []);
    assert_eq!(in_force(&view), ["again", "overlay"]);
}

#[test]
fn what_is_of_another_network_is_refused_and_takes_no_range_from_ours() {
    let mut view = two_nodes();
    add_subnet(&mut view, "attached", "10.1.0.0/24").provider = "attachnet.default.ovn".into();
    add_subnet(&mut view, "elsewhere", "10.1.0.0/24").vpc = "test-vpc-1".into();
    let ours = add_subnet(&mut view, "ours", "10.1.0.0/24");
    (ours.provider, ours.vpc) = ("ovn".into(), "ovn-cluster".into());
    assert_eq!(in_force(&view), ["ours"]);
    let fields: Vec<_> = fresh(&view)
        .problems
        .iter()
        .map(|problem| (problem.object.name.clone(), problem.field.clone()))
        .collect();
    let field = |name: &str, field: &str| (name.to_string(), field.to_string());
    assert_eq!(
        fields,
        [
            field("attached", "spec.provider"),
            field("elsewhere", "spec.vpc")
        ]
    );
}
