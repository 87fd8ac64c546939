//! What single features promise, in sentences.

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;

use cluster::NamespacedName;
use cluster::desired::{DesiredState, Protocol};
use common::{bank, pod, ports, service};
use flows::flow::{FlowId, Installed};
use flows::{FlowSet, compile, text};
use openflow::action::{Ct, Nat};
use openflow::{Action, Field};
use proptest::prelude::*;

fn node1(state: &DesiredState) -> FlowSet {
    compile(state, "node1", &ports(state, "node1"))
}

fn name(pod: &str) -> NamespacedName {
    NamespacedName::new("bank", pod)
}

/// Addresses that the group of a Service leads to.
fn endpoints(set: &FlowSet, label: &str) -> Vec<IpAddr> {
    let group = set.groups.values().find(|group| group.label == label);
    let actions = group.into_iter().flat_map(|group| group.buckets.iter());
    let ct = actions
        .flat_map(|bucket| &bucket.actions)
        .filter_map(|action| match action {
            Action::Ct(Ct { actions, .. }) => Some(actions),
            _ => None,
        });
    let nat = ct.flatten().filter_map(|action| match action {
        Action::Nat(Nat { addresses, .. }) => *addresses,
        _ => None,
    });
    nat.map(|(first, _)| first).collect()
}

#[test]
fn only_ready_endpoints_serve_and_terminating_ones_if_there_is_no_other() {
    let mut state = bank();
    let label = "Service bank/web TCP 80 IPv4";
    let conditions = |state: &mut DesiredState, given: [(bool, bool, bool); 3]| {
        let web = state.services.get_mut(&name("web")).unwrap();
        for (endpoint, (ready, serving, terminating)) in
            web.ports[0].endpoints.iter_mut().zip(given)
        {
            (endpoint.ready, endpoint.serving, endpoint.terminating) =
                (ready, serving, terminating);
        }
        endpoints(&node1(state), label)
    };
    let (ready, draining, dead) = (
        (true, true, false),
        (false, true, true),
        (false, false, false),
    );
    let (one, two): (IpAddr, IpAddr) =
        ("10.16.0.11".parse().unwrap(), "10.16.0.12".parse().unwrap());
    assert_eq!(conditions(&mut state, [ready, ready, ready]), [one, two]);
    assert_eq!(conditions(&mut state, [draining, ready, ready]), [two]);
    assert_eq!(
        conditions(&mut state, [draining, draining, ready]),
        [one, two]
    );
    assert_eq!(conditions(&mut state, [dead, draining, ready]), [two]);
    assert_eq!(
        conditions(&mut state, [dead, dead, ready]),
        [] as [IpAddr; 0]
    );
    let set = node1(&state);
    let why = "There is no endpoint for it: refused.";
    let refused = set.flows.values().filter(|flow| flow.intent == why);
    let refuse = openflow::Instructions::drop().goto(flows::Table::Refuse.id());
    assert!(refused.clone().all(|flow| flow.instructions == refuse));
    assert_eq!(refused.count(), 2, "web over IPv4, and idle");
}

/// Flows that are in `after` and were not in `before`, as `object: intent`, and how many are gone.
fn difference(before: &FlowSet, after: &FlowSet) -> (BTreeSet<String>, usize) {
    let is_new = |(id, flow): &(&FlowId, &Installed)| before.flows.get(*id) != Some(*flow);
    let new = after.flows.iter().filter(is_new);
    let told = new.map(|(_, flow)| format!("{}: {}", after.labels[&flow.cookie], flow.intent));
    let gone = before
        .flows
        .keys()
        .filter(|id| !after.flows.contains_key(id));
    (told.collect(), gone.count())
}

#[test]
fn a_pod_elsewhere_whose_block_is_known_changes_nothing_here() {
    let mut state = bank();
    pod(&mut state, "web-8", "node2", "apps", "10.16.0.80", None);
    let before = node1(&state);
    for (number, name) in [(81, "web-9"), (127, "web-10")] {
        let v4 = format!("10.16.0.{number}");
        pod(&mut state, name, "node2", "apps", &v4, None);
    }
    assert_eq!(before, node1(&state));
}

#[test]
fn a_pod_that_differs_from_its_block_has_flows_of_its_own_everywhere() {
    let mut state = bank();
    for (number, name) in [(80, "web-8"), (81, "web-9"), (82, "web-10")] {
        let v4 = format!("10.16.0.{number}");
        pod(&mut state, name, "node2", "apps", &v4, None);
    }
    let before = node1(&state);
    let elsewhere = state.pods.get_mut(&name("web-9")).unwrap();
    elsewhere.mac = net::MacAddr([2, 0, 0, 0, 0, 7]);
    let own_mac = node1(&state);
    let of_its_own = [
        "Pod bank/web-9: A routed packet for this pod enters the pod's network.",
        "Pod bank/web-9: The switch answers ARP for a pod of the subnet, wherever it runs.",
        "Subnet apps: The MAC addresses of a block of pods are behind the tunnel to their node.",
    ];
    let of_its_own = of_its_own.map(str::to_string);
    assert_eq!(difference(&before, &own_mac), (of_its_own.into(), 0));

    // It runs elsewhere than the rest of its block: seen from a third node, which has neither.
    let mut state = bank();
    let third = cluster::desired::Node {
        name: "node3".into(),
        vtep: Some("172.30.0.3".parse().unwrap()),
        zone: None,
        cell: None,
        addresses: Vec::new(),
    };
    state.nodes.insert("node3".into(), third);
    for (number, name) in [(80, "web-8"), (81, "web-9")] {
        let v4 = format!("10.16.0.{number}");
        pod(&mut state, name, "node2", "apps", &v4, None);
    }
    let node3 = |state: &DesiredState| compile(state, "node3", &ports(state, "node3"));
    let before = node3(&state);
    pod(&mut state, "web-10", "node1", "apps", "10.16.0.82", None);
    let of_its_own = "Pod bank/web-10: The pod's MAC address is behind the tunnel to its node.";
    let of_its_own = BTreeSet::from([of_its_own.to_string()]);
    assert_eq!(difference(&before, &node3(&state)), (of_its_own, 0));
}

#[test]
fn a_pod_without_its_port_has_no_flow_here_and_may_not_open() {
    let state = bank();
    let mut some = ports(&state, "node1");
    some.remove(&state.pods[&name("db-1")].port);
    let set = compile(&state, "node1", &some);
    let own = |feature: &str| {
        let label = "Pod bank/db-1";
        let flows = set
            .flows
            .values()
            .filter(|flow| set.labels[&flow.cookie] == label);
        flows.filter(|flow| flow.intent.contains(feature)).count()
    };
    assert_eq!(own("MAC address is at its port"), 0);
    assert_eq!(own("sends IPv4 from its own address"), 0);
    assert!(
        !set.pod_ports
            .values()
            .any(|pod| pod.label == "Pod bank/db-1")
    );
    assert_eq!(set.problems, [], "it is only a matter of time");
}

#[test]
fn what_a_node_lacks_is_told_with_a_remedy() {
    let state = bank();
    let mut some = ports(&state, "node1");
    some.remove("uplink0");
    some.remove("geneve0");
    let said: Vec<_> = compile(&state, "node1", &some).problems;
    let said: Vec<String> = said.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "Node node1: its dataplane has no tunnel port, so pods of Subnet apps here reach none on \
             other nodes; start sluice-dataplane with --port geneve0,ofport=2,tunnel=geneve",
            "ProviderNetwork physical: spec.defaultInterface: the dataplane of Node node1 has no port \
             uplink0; pods of trading there reach nothing beyond the node; give it --port \
             uplink0,ofport=1,dev=..., or name the port it has in spec.customInterfaces",
        ]
    );
}

#[test]
fn an_unknown_node_gets_a_pipeline_that_forwards_nothing() {
    let state = bank();
    let set = compile(&state, "node9", &ports(&state, "node1"));
    let first = &text::render(&set);
    let classify = first.split("table SpoofGuard").next().unwrap();
    assert!(
        classify.contains("0 any -> drop") && !classify.contains("SpoofGuard"),
        "{classify}"
    );
    assert!(set.pod_ports.is_empty() && set.groups.is_empty() && set.meters.is_empty());
}

/// Whatever the cluster: nothing contradicts, nothing dangles, packets only go forward.
fn check(set: &FlowSet) {
    assert_eq!(set.conflicts, [""; 0]);
    for (id, flow) in &set.flows {
        let instructions = &flow.instructions;
        assert!(set.labels.contains_key(&flow.cookie), "{}", flow.intent);
        assert_eq!(flow.cookie >> 56, 0x5c, "{}", flow.intent);
        assert!(
            instructions.goto_table.is_none_or(|next| next > id.table),
            "{}",
            flow.intent
        );
        assert!(
            instructions
                .meter
                .is_none_or(|m| set.meters.contains_key(&m)),
            "{}",
            flow.intent
        );
        for action in &instructions.apply {
            match action {
                Action::Group(group) => assert!(set.groups.contains_key(group), "{}", flow.intent),
                Action::Ct(ct) => assert!(ct.table.is_none_or(|next| next > id.table)),
                _ => {}
            }
        }
        // What comes through a tunnel is never sent into one again.
        if let Some(from) = id.matching.get(Field::Reg0)
            && from.value & 7 == u128::from(flows::fields::FROM_TUNNEL)
        {
            assert_ne!(instructions.goto_table, Some(flows::Table::TunnelOut.id()));
        }
    }
    for info in flows::tables::TABLES {
        let miss = |id: &flows::flow::FlowId| {
            id.table == info.table.id() && id.priority == 0 && id.matching.is_empty()
        };
        assert!(
            set.flows.keys().any(miss),
            "{} has no flow for the rest",
            info.name
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_cluster_nothing_contradicts_and_nothing_dangles(
        pods in proptest::collection::vec((0u8..3, 1u8..=3, any::<bool>()), 0..20),
        services in proptest::collection::vec(proptest::collection::vec(0u8..30, 0..6), 0..6),
        missing in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut state = bank();
        for (number, (subnet, node, v6)) in (100u8..).zip(&pods) {
            let node = format!("node{node}"); // node3 does not exist
            let node = if state.nodes.contains_key(&node) { node } else { "node2".into() };
            let (subnet, net) = [("apps", "10.16.0"), ("data", "10.17.0"), ("trading", "192.168.100")]
                [usize::from(*subnet)];
            let v6 = (*v6 && subnet == "apps").then(|| format!("fd00:10:16::{number:x}"));
            let v4 = format!("{net}.{number}");
            pod(&mut state, &format!("p{number}"), &node, subnet, &v4, v6.as_deref());
        }
        for (number, targets) in (1u8..).zip(&services) {
            let targets: Vec<String> = targets.iter().map(|t| format!("10.16.0.{}", t + 95)).collect();
            let targets: Vec<_> = targets.iter().map(|ip| (ip.as_str(), 80, "node1")).collect();
            let vip = format!("10.96.1.{number}");
            service(&mut state, &format!("s{number}"), &[&vip], Protocol::Udp, 53, &targets);
        }
        for node in ["node1", "node2"] {
            let mut some = ports(&state, node);
            for index in &missing {
                let names: Vec<_> = some.keys().cloned().collect();
                if !names.is_empty() {
                    some.remove(index.get(&names));
                }
            }
            let set = compile(&state, node, &some);
            check(&set);
            prop_assert_eq!(&set, &compile(&state, node, &some));
        }
    }
}
