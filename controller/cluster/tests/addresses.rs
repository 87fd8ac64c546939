//! Who gets which address.

mod common;

use cluster::State;
use cluster::desired::Waiting;
use cluster::podapi::{Reply, Request, answer};
use common::*;

#[test]
fn a_pod_gets_the_next_free_address_after_the_gateway_and_a_mac_that_tells_it() {
    let mut view = bank();
    add_pod(&mut view, "bank/web-1", &[]);
    let desired = fresh(&view);
    let pod = &desired.pods[&name("bank/web-1")];
    assert_eq!(ip(&desired, "bank/web-1"), "10.16.0.2");
    assert_eq!(pod.mac.to_string(), "02:5c:0a:10:00:02");
    assert_eq!(
        (pod.node.as_str(), pod.subnet.as_str()),
        ("node1", "overlay")
    );
    assert_eq!(pod.port, cluster::port_name("bank", "web-1", "eth0"));
    assert_eq!(desired.problems, []);
}

#[test]
fn addresses_and_macs_asked_for_are_given_in_either_spelling() {
    let mut view = bank();
    add_pod(
        &mut view,
        "bank/a",
        &[
            ("ip_address", "10.16.0.50"),
            ("mac_address", "00:00:00:53:6B:B6"),
        ],
    );
    let b = add_pod(&mut view, "bank/b", &[]);
    let annotations = &mut b.meta.annotations;
    annotations.insert("kube-ovn.io/ip_address".into(), "10.16.0.51".into());
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.50");
    assert_eq!(
        desired.pods[&name("bank/a")].mac.to_string(),
        "00:00:00:53:6b:b6"
    );
    assert_eq!(ip(&desired, "bank/b"), "10.16.0.51");
    assert_eq!(desired.problems, []);
}

#[test]
fn in_a_dual_stack_subnet_a_pod_has_both_families_whichever_it_asks_for() {
    let mut view = two_nodes();
    add_subnet(&mut view, "dual", "fd00:10:16::/64,10.16.0.0/24").default = true;
    add_pod(
        &mut view,
        "bank/both",
        &[("ip_address", "10.16.0.9,fd00:10:16::9")],
    );
    add_pod(&mut view, "bank/six", &[("ip_address", "fd00:10:16::7")]);
    add_pod(&mut view, "bank/any", &[]);
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/both"), "10.16.0.9,fd00:10:16::9");
    assert_eq!(ip(&desired, "bank/six"), "10.16.0.2,fd00:10:16::7");
    assert_eq!(ip(&desired, "bank/any"), "10.16.0.3,fd00:10:16::3");
    assert_eq!(desired.problems, []);
}

#[test]
fn in_an_ipv6_subnet_macs_are_unicast_local_and_distinct() {
    let mut view = two_nodes();
    add_subnet(&mut view, "six", "fd00::/64").default = true;
    for pod in ["bank/a", "bank/b", "bank/c"] {
        add_pod(&mut view, pod, &[]);
    }
    let desired = fresh(&view);
    let macs: std::collections::BTreeSet<_> = desired.pods.values().map(|p| p.mac).collect();
    assert_eq!(macs.len(), 3);
    assert!(macs.iter().all(|mac| mac.is_unicast() && mac.0[0] & 2 == 2));
}

#[test]
fn a_fixed_address_is_not_given_to_a_pod_that_comes_first_by_name() {
    let mut view = bank();
    add_pod(&mut view, "bank/a", &[]);
    add_pod(&mut view, "bank/z", &[("ip_address", "10.16.0.2")]);
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.3");
    assert_eq!(ip(&desired, "bank/z"), "10.16.0.2");
}

#[test]
fn what_one_pod_asks_for_is_not_given_unasked_to_another_that_asks_for_something_else() {
    let mut view = two_nodes();
    add_subnet(&mut view, "dual", "10.16.0.0/24,fd00::/64").default = true;
    add_pod(&mut view, "bank/a", &[("ip_address", "fd00::9")]);
    add_pod(&mut view, "bank/b", &[("ip_address", "10.16.0.2")]);
    add_pod(&mut view, "bank/c", &[("mac_address", "02:5c:0a:10:00:03")]);
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.3,fd00::9");
    assert_eq!(ip(&desired, "bank/b"), "10.16.0.2,fd00::2");
    assert_ne!(
        desired.pods[&name("bank/a")].mac,
        desired.pods[&name("bank/c")].mac
    );
    assert_eq!(desired.problems, []);
}

#[test]
fn the_second_claim_to_an_address_is_refused_and_told_and_harms_nobody() {
    let mut view = bank();
    let mut state = State::default();
    add_pod(&mut view, "bank/z-first", &[("ip_address", "10.16.0.50")]);
    run(&view, &mut state);
    add_pod(&mut view, "bank/a-second", &[("ip_address", "10.16.0.50")]);
    add_pod(&mut view, "bank/other", &[]);
    let desired = run(&view, &mut state);
    assert_eq!(
        ip(&desired, "bank/z-first"),
        "10.16.0.50",
        "who came first keeps it"
    );
    assert_eq!(ip(&desired, "bank/a-second"), "");
    assert_eq!(ip(&desired, "bank/other"), "10.16.0.2");
    assert_told_once(
        &desired,
        &[
            "Pod bank/a-second: metadata.annotations[ovn.kubernetes.io/ip_address]: ",
            "10.16.0.50 is held by Pod bank/z-first",
            "the pod waits; choose another address",
        ],
    );
    let request = Request {
        namespace: "bank".into(),
        pod: "a-second".into(),
        interface: "eth0".into(),
    };
    let Reply::Refused(why) = answer(&desired, &request) else {
        panic!("the CNI plugin must be told too");
    };
    assert!(why.contains("held by Pod bank/z-first"));

    view.pods.remove(&name("bank/z-first"));
    let desired = run(&view, &mut state);
    assert_eq!(
        ip(&desired, "bank/a-second"),
        "10.16.0.50",
        "freed, it is granted"
    );
    assert_eq!(desired.problems, []);
}

#[test]
fn of_two_new_claims_the_older_pod_wins() {
    let mut view = bank();
    add_pod(&mut view, "bank/a", &[("ip_address", "10.16.0.50")])
        .meta
        .created = Some(200);
    add_pod(&mut view, "bank/b", &[("ip_address", "10.16.0.50")])
        .meta
        .created = Some(100);
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/b"), "10.16.0.50");
    assert_told_once(&desired, &["Pod bank/a", "held by Pod bank/b"]);
}

#[test]
fn a_mac_claimed_twice_on_one_segment_is_refused_and_on_another_it_is_not() {
    let mut view = bank();
    add_subnet(&mut view, "elsewhere", "10.17.0.0/24").namespaces = ["shop".to_string()].into();
    let mac = [("mac_address", "02:00:00:00:00:01")];
    add_pod(&mut view, "bank/a", &mac);
    add_pod(&mut view, "bank/b", &mac);
    add_pod(&mut view, "shop/c", &mac);
    let desired = fresh(&view);
    assert_eq!(desired.pods.len(), 2);
    assert_told_once(
        &desired,
        &["Pod bank/b", "mac_address", "held by Pod bank/a"],
    );
}

#[test]
fn a_mac_given_unasked_steps_aside_for_one_that_was_claimed() {
    let mut view = bank();
    add_pod(&mut view, "bank/a", &[]);
    add_pod(
        &mut view,
        "bank/b",
        &[
            ("mac_address", "02:5c:0a:10:00:02"),
            ("ip_address", "10.16.0.9"),
        ],
    );
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.2");
    assert_ne!(
        desired.pods[&name("bank/a")].mac,
        desired.pods[&name("bank/b")].mac
    );
    assert_eq!(desired.problems, []);
}

#[test]
fn an_address_that_cannot_be_had_is_refused_with_the_reason() {
    for (asked, why) in [
        (
            "10.17.0.1",
            "10.17.0.1 is outside Subnet overlay (10.16.0.0/24)",
        ),
        (
            "fd00::1",
            "fd00::1 is outside Subnet overlay (10.16.0.0/24)",
        ),
        ("10.16.0.1", "10.16.0.1 is the gateway of Subnet overlay"),
        ("10.16.0.0", "is reserved"),
        ("10.16.0.255", "is reserved"),
        ("ten", "\"ten\" is not an address"),
    ] {
        let mut view = bank();
        add_pod(&mut view, "bank/a", &[("ip_address", asked)]);
        add_pod(&mut view, "bank/b", &[]);
        let desired = fresh(&view);
        assert_eq!(ip(&desired, "bank/a"), "", "{asked}");
        assert_eq!(ip(&desired, "bank/b"), "10.16.0.2", "{asked}");
        assert_told_once(
            &desired,
            &["Pod bank/a", "ip_address", why, "the pod waits"],
        );
    }
}

#[test]
fn an_exhausted_subnet_is_told_to_who_gets_nothing_and_the_next_freed_address_is_given() {
    let mut view = two_nodes();
    add_subnet(&mut view, "tiny", "10.16.0.0/29").default = true;
    for number in 1..=6 {
        add_pod(&mut view, &format!("bank/p{number}"), &[]);
    }
    let mut state = State::default();
    let desired = run(&view, &mut state);
    assert_eq!(desired.pods.len(), 5);
    assert_told_once(
        &desired,
        &[
            "Pod bank/p6",
            "Subnet tiny has no free IPv4 address left in 10.16.0.0/29",
        ],
    );
    view.pods.remove(&name("bank/p3"));
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/p6"), "10.16.0.4");
    assert_eq!(desired.problems, []);
}

#[test]
fn excluded_addresses_are_not_given_but_can_be_claimed() {
    let mut view = two_nodes();
    let subnet = add_subnet(&mut view, "overlay", "10.16.0.0/24");
    subnet.default = true;
    subnet.exclude_ips = vec!["10.16.0.2..10.16.0.9".into(), "10.16.0.11".into()];
    add_pod(&mut view, "bank/a", &[]);
    add_pod(&mut view, "bank/b", &[]);
    add_pod(&mut view, "bank/c", &[("ip_address", "10.16.0.5")]);
    let desired = fresh(&view);
    let given = ["a", "b", "c"].map(|pod| ip(&desired, &format!("bank/{pod}")));
    assert_eq!(given, ["10.16.0.10", "10.16.0.12", "10.16.0.5"]);
}

#[test]
fn a_restarted_controller_gives_every_pod_what_it_had() {
    let mut view = bank();
    let mut state = State::default();
    for pod in ["bank/c", "bank/a", "bank/b"] {
        add_pod(&mut view, pod, &[]);
        run(&view, &mut state);
    }
    let before = run(&view, &mut state);
    assert_eq!(
        ip(&before, "bank/c"),
        "10.16.0.2",
        "in the order of arrival"
    );
    let after = run(&view, &mut restarted(&state));
    assert_eq!(after, before);
}

#[test]
fn a_pod_that_comes_back_gets_what_it_had_if_nobody_took_it() {
    let mut view = bank();
    let mut state = State::default();
    for pod in ["bank/a", "bank/b", "bank/c"] {
        add_pod(&mut view, pod, &[]);
    }
    let before = run(&view, &mut state);
    let gone = view.pods.remove(&name("bank/b")).unwrap().1.clone();
    run(&view, &mut state);
    add_pod(&mut view, "bank/d", &[]);
    let between = run(&view, &mut state);
    assert_eq!(ip(&between, "bank/d"), "10.16.0.5", "a freed address rests");
    view.pods.insert(name("bank/b"), gone.clone());
    let after = run(&view, &mut state);
    assert_eq!(ip(&after, "bank/b"), ip(&before, "bank/b"));

    view.pods.remove(&name("bank/b"));
    run(&view, &mut state);
    add_pod(&mut view, "bank/e", &[("ip_address", "10.16.0.3")]);
    run(&view, &mut state);
    view.pods.insert(name("bank/b"), gone);
    let after = run(&view, &mut state);
    assert_eq!(ip(&after, "bank/e"), "10.16.0.3");
    assert_eq!(ip(&after, "bank/b"), "10.16.0.6");
    assert_eq!(after.problems, []);
}

#[test]
fn two_pods_can_swap_their_fixed_addresses_in_one_change() {
    let mut view = bank();
    let mut state = State::default();
    add_pod(&mut view, "bank/a", &[("ip_address", "10.16.0.50")]);
    add_pod(&mut view, "bank/b", &[("ip_address", "10.16.0.51")]);
    run(&view, &mut state);
    annotate(&mut view, "bank/a", "ip_address", "10.16.0.51");
    annotate(&mut view, "bank/b", "ip_address", "10.16.0.50");
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.51");
    assert_eq!(ip(&desired, "bank/b"), "10.16.0.50");
    assert_eq!(desired.problems, []);
}

#[test]
fn a_changed_claim_that_cannot_be_honoured_leaves_the_pod_with_what_it_had() {
    for bad in ["10.99.0.1", "10.16.0.60", "nonsense"] {
        let mut view = bank();
        let mut state = State::default();
        add_pod(&mut view, "bank/a", &[("ip_address", "10.16.0.50")]);
        add_pod(&mut view, "bank/b", &[("ip_address", "10.16.0.60")]);
        run(&view, &mut state);
        annotate(&mut view, "bank/a", "ip_address", bad);
        let desired = run(&view, &mut state);
        assert_eq!(ip(&desired, "bank/a"), "10.16.0.50", "{bad}");
        assert_told_once(&desired, &["Pod bank/a", "the pod stays with what it has"]);
    }
}

#[test]
fn a_running_pod_keeps_its_address_when_its_annotation_changes_until_it_is_re_created() {
    let mut view = bank();
    let mut state = State::default();
    add_pod(&mut view, "bank/a", &[("ip_address", "10.16.0.50")])
        .meta
        .uid = Some("u1".into());
    run(&view, &mut state);
    annotate(&mut view, "bank/a", "ip_address", "10.16.0.51");
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.50");
    assert_told_once(&desired, &["Pod bank/a", "re-create the pod"]);
    view.pods.get_mut(&name("bank/a")).unwrap().meta.uid = Some("u2".into());
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.51");
    assert_eq!(desired.problems, []);
}

#[test]
fn what_an_incomplete_view_does_not_show_keeps_its_address_unless_it_was_seen_to_go() {
    let mut view = bank();
    let mut state = State::default();
    add_pod(&mut view, "bank/a", &[]);
    add_pod(&mut view, "bank/b", &[]);
    run(&view, &mut state);

    let mut state = restarted(&state);
    let a = view.pods.remove(&name("bank/a")).unwrap().1.clone();
    view.complete = false;
    run(&view, &mut state);
    assert_eq!(
        state.allocations().count(),
        2,
        "a's file may just be unreadable"
    );
    view.pods.remove(&name("bank/b"));
    run(&view, &mut state);
    assert_eq!(state.allocations().count(), 1, "b was there and is gone");
    view.pods.insert(name("bank/a"), a);
    assert_eq!(ip(&run(&view, &mut state), "bank/a"), "10.16.0.2");
    view.pods.clear();
    view.complete = true;
    run(&view, &mut state);
    assert_eq!(state.allocations().count(), 0);
}

#[test]
fn finished_pods_and_pods_on_the_host_network_hold_nothing() {
    let mut view = bank();
    let mut state = State::default();
    add_pod(&mut view, "bank/job", &[]);
    add_pod(&mut view, "bank/host", &[]).host_network = true;
    run(&view, &mut state);
    assert_eq!(state.allocations().count(), 1);
    view.pods.get_mut(&name("bank/job")).unwrap().finished = true;
    let desired = run(&view, &mut state);
    assert_eq!(state.allocations().count(), 0);
    assert!(desired.pods.is_empty() && desired.waiting.is_empty());
}

#[test]
fn a_pod_that_is_not_scheduled_waits_and_holds_only_what_it_asks_for() {
    let mut view = bank();
    let mut state = State::default();
    add_pod(&mut view, "bank/a", &[]).node = None;
    add_pod(&mut view, "bank/b", &[]).node = Some("node9".into());
    add_pod(&mut view, "bank/c", &[("ip_address", "10.16.0.9")]).node = None;
    let desired = run(&view, &mut state);
    assert!(desired.pods.is_empty());
    let waits = |pod: &str| match &desired.waiting[&name(pod)] {
        Waiting::For(what) => what.clone(),
        refused => panic!("{refused:?}"),
    };
    assert!(waits("bank/a").contains("to be scheduled"));
    assert!(waits("bank/b").contains("Node node9"));
    assert!(waits("bank/c").contains("to be scheduled"));
    let held: Vec<_> = state
        .allocations()
        .map(|(pod, _)| pod.name.clone())
        .collect();
    assert_eq!(held, ["b", "c"]);
    view.pods.get_mut(&name("bank/a")).unwrap().node = Some("node2".into());
    assert_eq!(ip(&run(&view, &mut state), "bank/a"), "10.16.0.64");
}

#[test]
fn a_state_file_in_which_two_pods_hold_one_address_is_mended() {
    let mut view = bank();
    let mut state = State::default();
    add_pod(&mut view, "bank/a", &[]);
    add_pod(&mut view, "bank/b", &[]);
    run(&view, &mut state);
    let edited = state.to_json().replace("10.16.0.3", "10.16.0.2");
    let desired = run(&view, &mut State::from_json(&edited).unwrap());
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.2");
    assert!(!["", "10.16.0.2"].contains(&ip(&desired, "bank/b").as_str()));
}

#[test]
fn the_local_socket_answers_with_prefix_gateway_and_mtu() {
    let mut view = two_nodes();
    let subnet = add_subnet(&mut view, "dual", "10.16.0.0/20,fd00::/64");
    subnet.default = true;
    subnet.mtu = Some(1300);
    add_pod(&mut view, "bank/a", &[]);
    let desired = fresh(&view);
    let mut request = Request {
        namespace: "bank".into(),
        pod: "a".into(),
        interface: "eth0".into(),
    };
    let Reply::Ready(interface) = answer(&desired, &request) else {
        panic!("it has everything");
    };
    let addresses: Vec<_> = interface.addresses.iter().map(|a| a.to_string()).collect();
    assert_eq!(addresses, ["10.16.0.2/20", "fd00::2/64"]);
    let gateways: Vec<_> = interface.gateways.iter().map(|g| g.to_string()).collect();
    assert_eq!(gateways, ["10.16.0.1", "fd00::1"]);
    assert_eq!(interface.mtu, 1300);
    request.interface = "net1".into();
    assert!(matches!(answer(&desired, &request), Reply::Refused(why) if why.contains("net1")));
    request.interface = "eth0".into();
    request.pod = "unknown".into();
    assert!(
        matches!(answer(&desired, &request), Reply::Waiting(what) if what.contains("bank/unknown"))
    );
}

#[test]
fn usage_counts_what_pods_hold_and_what_is_left_to_give() {
    let mut view = two_nodes();
    let subnet = add_subnet(&mut view, "small", "10.16.0.0/28");
    subnet.default = true;
    subnet.exclude_ips = vec!["10.16.0.3..10.16.0.4".into(), "10.0.0.1..10.0.0.9".into()];
    let empty = fresh(&view).usage["small"][0].clone();
    // 14 hosts less the gateway and the two excluded ones.
    assert_eq!((empty.family, empty.used, empty.available), ("ipv4", 0, 11));
    add_pod(&mut view, "bank/a", &[]);
    add_pod(&mut view, "bank/b", &[("ip_address", "10.16.0.3")]);
    let two = fresh(&view).usage["small"][0].clone();
    assert_eq!((two.used, two.available), (2, 10));
}
