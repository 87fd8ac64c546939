//! Lists, IPPools, StatefulSets, Vips and IP objects.

mod common;

use cluster::desired::{Usage, Waiting};
use cluster::view::{self, ClusterView, Owner};
use cluster::{DesiredState, State};
use common::*;

fn add_pool<'a>(
    view: &'a mut ClusterView,
    pool: &str,
    subnet: &str,
    ips: &[&str],
) -> &'a mut view::IpPool {
    let wanted = view::IpPool {
        subnet: subnet.into(),
        ips: ips.iter().map(|ip| ip.to_string()).collect(),
        ..Default::default()
    };
    view.ip_pools.insert(pool.into(), wanted);
    view.ip_pools.get_mut(pool).unwrap()
}

fn add_set(view: &mut ClusterView, set: &str, replicas: i64) {
    let wanted = view::StatefulSet {
        meta: view::Meta {
            uid: Some(format!("uid of {set}")),
            ..Default::default()
        },
        replicas,
        start: 0,
    };
    view.stateful_sets.insert(name(set), wanted);
}

/// A pod of a StatefulSet; each has a uid of its own.
fn add_of_set(view: &mut ClusterView, pod: &str, uid: &str, annotations: &[(&str, &str)]) {
    let owner = pod.rsplit_once('-').unwrap().0;
    let pod = add_pod(view, pod, annotations);
    pod.meta.uid = Some(uid.into());
    pod.meta.owners = vec![Owner {
        api_version: "apps/v1".into(),
        kind: "StatefulSet".into(),
        name: owner.rsplit_once('/').unwrap().1.into(),
        uid: format!("uid of {owner}"),
    }];
}

fn why(desired: &DesiredState, pod: &str) -> String {
    match desired.waiting.get(&name(pod)) {
        Some(Waiting::Refused(why)) => why.clone(),
        other => panic!("{pod} is not refused but {other:?}"),
    }
}

#[test]
fn pods_of_a_deployment_take_the_listed_addresses_and_one_too_many_waits() {
    let mut view = bank();
    let mut state = State::default();
    let list = &[("ip_pool", "10.16.0.20,10.16.0.21")];
    for pod in ["bank/a", "bank/b", "bank/c"] {
        add_pod(&mut view, pod, list);
    }
    add_pod(&mut view, "bank/other", &[]);
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.20");
    assert_eq!(ip(&desired, "bank/b"), "10.16.0.21");
    assert_eq!(ip(&desired, "bank/other"), "10.16.0.2");
    assert_told_once(
        &desired,
        &[
            "Pod bank/c: metadata.annotations[ovn.kubernetes.io/ip_pool]: none of the 2 addresses \
             is free",
            "add addresses to the list",
        ],
    );
    view.pods.remove(&name("bank/a"));
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/c"), "10.16.0.20");
    assert_eq!(ip(&desired, "bank/b"), "10.16.0.21", "who has one keeps it");
    assert_eq!(desired.problems, []);
}

#[test]
fn a_list_of_pairs_gives_both_addresses_of_one_pair() {
    let mut view = two_nodes();
    add_subnet(&mut view, "dual", "10.16.0.0/24,fd00::/64").default = true;
    let list = &[("ip_pool", "10.16.0.20,fd00::a;10.16.0.21,fd00::b")];
    add_pod(&mut view, "bank/a", list);
    add_pod(&mut view, "bank/b", list);
    add_pod(&mut view, "bank/x", &[("ip_address", "fd00::a")]);
    view.pods.get_mut(&name("bank/x")).unwrap().meta.created = Some(1);
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.21,fd00::b");
    assert!(why(&desired, "bank/b").contains("fd00::a is held by Pod bank/x"));
}

#[test]
fn a_family_can_be_asked_for_if_the_subnet_has_it() {
    let mut view = two_nodes();
    add_subnet(&mut view, "dual", "10.16.0.0/24,fd00::/64").default = true;
    add_subnet(&mut view, "four", "10.17.0.0/24");
    add_pod(&mut view, "bank/a", &[("ip_family", "ipv6")]);
    add_pod(&mut view, "bank/b", &[("ip_family", "IPv4")]);
    let of_four = &[("ip_family", "ipv6"), ("logical_switch", "four")];
    add_pod(&mut view, "bank/c", of_four);
    let mut state = State::default();
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/a"), "fd00::2");
    assert_eq!(ip(&desired, "bank/b"), "10.16.0.2");
    assert_told_once(
        &desired,
        &["Pod bank/c", "ip_family", "has no address of that family"],
    );
    let again = run(&view, &mut restarted(&state));
    assert_eq!(again.pods, desired.pods);
}

#[test]
fn an_ip_pool_serves_its_namespaces_and_those_who_name_it_and_nobody_else() {
    let mut view = bank();
    let pool = add_pool(
        &mut view,
        "blue",
        "overlay",
        &["10.16.0.2..10.16.0.3", "10.16.0.16/30", "192.168.0.0/24"],
    );
    pool.namespaces = ["blue".to_string()].into();
    for pod in ["bank/a", "blue/a", "blue/b"] {
        add_pod(&mut view, pod, &[]);
    }
    add_pod(&mut view, "bank/named", &[("ip_pool", "blue")]);
    add_pod(&mut view, "blue/fixed", &[("ip_address", "10.16.0.40")]);
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.4", "not of the pool");
    assert_eq!(ip(&desired, "bank/named"), "10.16.0.16");
    assert_eq!(ip(&desired, "blue/a"), "10.16.0.17");
    assert_eq!(ip(&desired, "blue/b"), "10.16.0.18");
    assert_eq!(ip(&desired, "blue/fixed"), "10.16.0.40");
    assert_eq!(desired.problems, []);
    let usage = Usage {
        family: "ipv4",
        used: 3,
        available: 3,
        used_ranges: "10.16.0.16-10.16.0.18".into(),
        available_ranges: "10.16.0.2-10.16.0.3,10.16.0.19".into(),
    };
    assert_eq!(desired.ip_pools["blue"], [usage]);
}

#[test]
fn a_pool_that_runs_dry_or_is_not_there_lets_its_pods_wait_only() {
    let mut view = bank();
    add_pool(&mut view, "one", "overlay", &["10.16.0.7"]);
    for pod in ["bank/a", "bank/b"] {
        add_pod(&mut view, pod, &[("ip_pool", "one")]);
    }
    add_pod(&mut view, "bank/c", &[("ip_pool", "two")]);
    add_pod(&mut view, "bank/d", &[]);
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/a"), "10.16.0.7");
    assert_eq!(ip(&desired, "bank/d"), "10.16.0.8");
    assert!(why(&desired, "bank/b").contains("IPPool one has no free IPv4 address left"));
    assert!(why(&desired, "bank/c").contains("there is no IPPool \"two\" in force"));
}

#[test]
fn a_pool_that_makes_no_sense_is_refused_with_the_field_and_harms_no_other() {
    let mut view = bank();
    add_pool(&mut view, "a", "overlay", &["10.16.0.16/28"]);
    add_pool(&mut view, "b", "overlay", &["10.16.0.20"]);
    add_pool(&mut view, "c", "nowhere", &["10.16.0.40"]);
    add_pool(&mut view, "d", "overlay", &["10.16.0.40", "10.16.0.x"]);
    add_pool(&mut view, "e", "overlay", &["10.99.0.0/16"]);
    add_pool(&mut view, "f", "overlay", &["10.16.0.50"]);
    let desired = fresh(&view);
    let told = told(&desired);
    let expected = [
        "IPPool b: spec.ips: 10.16.0.20 is in IPPool a already",
        "IPPool c: spec.subnet: there is no Subnet \"nowhere\" in force",
        "IPPool d: spec.ips[1]: \"10.16.0.x\" is not an address",
        "IPPool e: spec.ips: none of it is inside Subnet overlay",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
    let in_force: Vec<_> = desired.ip_pools.keys().collect();
    assert_eq!(in_force, ["a", "f"]);
}

#[test]
fn pods_of_a_stateful_set_have_the_addresses_of_their_numbers() {
    let mut view = bank();
    add_set(&mut view, "bank/web", 3);
    let list = &[("ip_pool", "10.16.0.20,10.16.0.21")];
    for number in (0..3).rev() {
        add_of_set(
            &mut view,
            &format!("bank/web-{number}"),
            &number.to_string(),
            list,
        );
    }
    let desired = fresh(&view);
    assert_eq!(ip(&desired, "bank/web-0"), "10.16.0.20");
    assert_eq!(ip(&desired, "bank/web-1"), "10.16.0.21");
    assert_told_once(
        &desired,
        &["Pod bank/web-2", "there are 2 addresses", "number 2"],
    );
}

#[test]
fn a_pod_of_a_stateful_set_comes_back_to_its_address_on_another_node_and_after_a_restart() {
    let mut view = bank();
    let mut state = State::default();
    add_set(&mut view, "bank/web", 2);
    for number in 0..2 {
        add_of_set(
            &mut view,
            &format!("bank/web-{number}"),
            &number.to_string(),
            &[],
        );
    }
    let before = run(&view, &mut state);
    let (address, mac) = (
        ip(&before, "bank/web-1"),
        before.pods[&name("bank/web-1")].mac,
    );
    view.pods.remove(&name("bank/web-1"));
    run(&view, &mut state);
    state = restarted(&state);
    // Nobody else is given it, nor may claim it, however short addresses are.
    let claim: &[(&str, &str)] = &[("ip_address", address.as_str())];
    add_pod(&mut view, "bank/thief", claim);
    for number in 0..252 {
        add_pod(&mut view, &format!("bank/filler-{number:03}"), &[]);
    }
    let desired = run(&view, &mut state);
    assert!(why(&desired, "bank/thief").contains("is held by Pod bank/web-1"));
    assert_eq!(
        desired.kept[&name("bank/web-1")].v4.unwrap().to_string(),
        address
    );
    add_of_set(&mut view, "bank/web-1", "another", &[]);
    view.pods.get_mut(&name("bank/web-1")).unwrap().node = Some("node2".into());
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/web-1"), address);
    assert_eq!(desired.pods[&name("bank/web-1")].mac, mac);
    assert_eq!(desired.pods[&name("bank/web-1")].node, "node2");
    assert!(desired.kept.is_empty());
}

#[test]
fn what_a_stateful_set_keeps_is_free_when_it_goes_is_made_anew_or_scales_down() {
    type Change = fn(&mut ClusterView);
    let changes: [(&str, Change); 4] = [
        ("it goes", |view| view.stateful_sets.clear()),
        ("it is going", |view| {
            view.stateful_sets
                .for_each_mut(|_, set| set.meta.deleting = true);
        }),
        ("it is another", |view| {
            view.stateful_sets
                .for_each_mut(|_, set| set.meta.uid = Some("new".into()));
        }),
        ("it scales down", |view| {
            view.stateful_sets.for_each_mut(|_, set| set.replicas = 1);
        }),
    ];
    for (what, change) in changes {
        let mut view = bank();
        let mut state = State::default();
        add_set(&mut view, "bank/web", 2);
        for number in 0..2 {
            add_of_set(
                &mut view,
                &format!("bank/web-{number}"),
                &number.to_string(),
                &[],
            );
        }
        run(&view, &mut state);
        view.pods.remove(&name("bank/web-1"));
        assert_eq!(run(&view, &mut state).kept.len(), 1, "before {what}");
        change(&mut view);
        let desired = run(&view, &mut state);
        assert!(desired.kept.is_empty(), "{what}");
        assert_eq!(desired.usage["overlay"][0].used, 1, "{what}");
    }
}

#[test]
fn a_list_changed_under_a_stateful_set_is_told_and_asked_again_after_scaling_to_none() {
    let mut view = bank();
    let mut state = State::default();
    add_set(&mut view, "bank/web", 1);
    add_of_set(&mut view, "bank/web-0", "1", &[("ip_pool", "10.16.0.20")]);
    run(&view, &mut state);
    view.pods.clear();
    run(&view, &mut state);
    add_of_set(&mut view, "bank/web-0", "2", &[("ip_pool", "10.16.0.30")]);
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/web-0"), "10.16.0.20");
    assert_told_once(
        &desired,
        &["Pod bank/web-0", "scale the StatefulSet down to 0"],
    );
    view.pods.clear();
    add_set(&mut view, "bank/web", 0);
    run(&view, &mut state);
    add_set(&mut view, "bank/web", 1);
    add_of_set(&mut view, "bank/web-0", "3", &[("ip_pool", "10.16.0.30")]);
    assert_eq!(ip(&run(&view, &mut state), "bank/web-0"), "10.16.0.30");
}

fn add_vip<'a>(view: &'a mut ClusterView, vip: &str, v4: &str) -> &'a mut view::Vip {
    let wanted = view::Vip {
        subnet: "overlay".into(),
        namespace: "bank".into(),
        v4: v4.into(),
        ..Default::default()
    };
    view.vips.insert(vip.into(), wanted);
    view.vips.get_mut(vip).unwrap()
}

#[test]
fn a_vip_keeps_an_address_out_of_the_pool_until_it_goes() {
    let mut view = bank();
    let mut state = State::default();
    add_vip(&mut view, "fixed", "10.16.0.2");
    add_vip(&mut view, "any", "");
    add_pod(&mut view, "bank/a", &[]);
    add_pod(&mut view, "bank/b", &[("ip_address", "10.16.0.2")]);
    let desired = run(&view, &mut state);
    assert!(why(&desired, "bank/b").contains("10.16.0.2 is held by Vip fixed"));
    let any = desired.vips["any"].v4.unwrap().to_string();
    assert_ne!(ip(&desired, "bank/a"), any);
    view.vips.clear();
    let desired = run(&view, &mut restarted(&state));
    assert_eq!(ip(&desired, "bank/b"), "10.16.0.2");
    assert_eq!(desired.usage["overlay"][0].used, 2);
}

#[test]
fn pods_may_use_a_vip_of_their_namespace_and_subnet_whose_selector_they_meet() {
    let mut view = bank();
    add_subnet(&mut view, "other", "10.17.0.0/24");
    add_vip(&mut view, "vip1", "10.16.0.100").selector = vec!["app: lb".into()];
    let names = "vip1, none";
    add_pod(&mut view, "bank/good", &[("aaps", names)])
        .meta
        .labels
        .insert("app".into(), "lb".into());
    add_pod(&mut view, "bank/plain", &[("aaps", "vip1")]);
    let elsewhere = &[("aaps", "vip1"), ("logical_switch", "other")];
    add_pod(&mut view, "bank/elsewhere", elsewhere);
    add_pod(&mut view, "shop/foreign", &[("aaps", "vip1")]);
    let desired = fresh(&view);
    let allowed = |pod: &str| desired.pods[&name(pod)].allowed.clone();
    assert_eq!(
        allowed("bank/good"),
        ["10.16.0.100".parse::<std::net::IpAddr>().unwrap()]
    );
    for pod in ["bank/plain", "bank/elsewhere", "shop/foreign"] {
        assert!(allowed(pod).is_empty(), "{pod}");
    }
    let told = told(&desired);
    for (told, words) in told.iter().zip([
        "Vip vip1 is in Subnet overlay",
        "in an overlay nobody follows",
        "there is no Vip \"none\"",
        "for pods with the label app: lb",
        "is for pods of Namespace \"bank\"",
    ]) {
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(told.len(), 5);
}

fn add_ip<'a>(view: &'a mut ClusterView, pod: &str, v4: &str) -> &'a mut view::Ip {
    let pod = name(pod);
    let object = format!("{}.{}", pod.name, pod.namespace);
    let wanted = view::Ip {
        subnet: "overlay".into(),
        namespace: pod.namespace,
        pod: pod.name,
        v4: v4.into(),
        mac: "02:00:00:00:00:77".into(),
        ..Default::default()
    };
    view.ips.insert(object.clone(), wanted);
    view.ips.get_mut(&object).unwrap()
}

#[test]
fn an_ip_object_keeps_an_address_for_a_pod_that_is_to_come() {
    let mut view = bank();
    let mut state = State::default();
    add_ip(&mut view, "bank/later", "10.16.0.2");
    add_pod(&mut view, "bank/a", &[]);
    assert_eq!(ip(&run(&view, &mut state), "bank/a"), "10.16.0.3");
    add_pod(&mut view, "bank/later", &[]);
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/later"), "10.16.0.2");
    assert_eq!(
        desired.pods[&name("bank/later")].mac.to_string(),
        "02:00:00:00:00:77"
    );
    view.pods.remove(&name("bank/later"));
    let desired = run(&view, &mut state);
    assert!(
        desired.kept.contains_key(&name("bank/later")),
        "kept when it goes"
    );
    view.ips.clear();
    let desired = run(&view, &mut state);
    assert!(desired.kept.is_empty());
    assert_eq!(desired.usage["overlay"][0].used, 1);
    add_ip(&mut view, "bank/x", "10.16.0.9");
    let first = view.ips.keys().next().unwrap().clone();
    let wrong = view.ips.remove(&first).unwrap().1.clone();
    view.ips.insert("wrong".into(), wrong);
    assert_told_once(&run(&view, &mut state), &["IP wrong: metadata.name"]);
}

/// What a controller writes, as far as addresses go.
fn write(view: &mut ClusterView, desired: &DesiredState) {
    for (pod, given) in &desired.pods {
        let addresses: Vec<_> = given.addresses().map(|a| a.to_string()).collect();
        annotate(view, &pod.to_string(), "allocated", "true");
        annotate(view, &pod.to_string(), "ip_address", &addresses.join(","));
        annotate(
            view,
            &pod.to_string(),
            "mac_address",
            &given.mac.to_string(),
        );
        annotate(view, &pod.to_string(), "logical_switch", &given.subnet);
    }
    for (pod, kept) in &desired.kept {
        let ip = add_ip(view, &pod.to_string(), &kept.v4.unwrap().to_string());
        ip.mac = kept.mac.to_string();
        ip.pod_type = "StatefulSet".into();
        let written = [(
            "ovn.kubernetes.io/ip_reserved".to_string(),
            "false".to_string(),
        )];
        ip.meta.labels = written.into();
    }
    for (vip, kept) in &desired.vips {
        let vip = view.vips.get_mut(vip).unwrap();
        vip.given_v4 = kept.v4.unwrap().to_string();
        vip.given_mac = kept.mac.to_string();
    }
}

#[test]
fn what_was_written_on_objects_is_all_that_a_new_controller_needs() {
    let mut view = bank();
    let mut state = State::default();
    add_set(&mut view, "bank/web", 2);
    for number in 0..2 {
        add_of_set(
            &mut view,
            &format!("bank/web-{number}"),
            &number.to_string(),
            &[],
        );
    }
    add_vip(&mut view, "vip1", "");
    add_pod(&mut view, "bank/a", &[]).node = Some("node2".into());
    add_pod(&mut view, "bank/b", &[("ip_pool", "10.16.0.50,10.16.0.51")]);
    run(&view, &mut state);
    view.pods.remove(&name("bank/web-0"));
    let before = run(&view, &mut state);
    assert_eq!(before.kept.len(), 1);
    write(&mut view, &before);
    let mut anew = State::from_objects(&view);
    let after = run(&view, &mut anew);
    assert_eq!(
        (&after.pods, &after.kept, &after.vips),
        (&before.pods, &before.kept, &before.vips)
    );
    assert_eq!(after.problems, []);
    assert_eq!(after.usage, before.usage);
}

#[test]
fn what_a_stateful_set_lists_for_pods_to_come_is_given_to_nobody_unasked() {
    let mut view = bank();
    let mut state = State::default();
    let list = &[("ip_pool", "10.16.0.2,10.16.0.3")];
    add_set(&mut view, "bank/db", 2);
    // The second pod is made when the first one is ready; others come between.
    add_of_set(&mut view, "bank/db-0", "u0", list);
    for pod in ["bank/a", "bank/b"] {
        add_pod(&mut view, pod, &[]);
    }
    run(&view, &mut state);
    add_of_set(&mut view, "bank/db-1", "u1", list);
    let desired = run(&view, &mut state);
    assert_eq!(ip(&desired, "bank/db-0"), "10.16.0.2");
    assert_eq!(ip(&desired, "bank/db-1"), "10.16.0.3");
    assert_eq!(desired.problems, []);
}
