//! How much policies cost: flows of a node, and what is different when one pod comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use cluster::desired::{DesiredState, Protocol};
use cluster::view::{
    Action, ClusterView, ContainerPort, LabelSelector, Meta, Namespace, NetworkPolicy, Node, Peer,
    Pod, PolicyPort, PolicyRule, Subject, Subnet,
};
use cluster::{NamespacedName, Settings, State, resolve};
use flows::{Compiler, FlowSet, Nodes, Ports, Table};
use net::PortNo;

/// Nodes, namespaces with ten applications of ten pods, policies of each namespace.
struct Size {
    nodes: usize,
    namespaces: usize,
    policies: usize,
}

fn labels(pairs: &[(&str, String)]) -> BTreeMap<String, String> {
    let pair = |(key, value): &(&str, String)| (key.to_string(), value.clone());
    pairs.iter().map(pair).collect()
}

fn app(name: String) -> LabelSelector {
    LabelSelector {
        match_labels: labels(&[("app", name)]),
        ..LabelSelector::default()
    }
}

fn team(name: usize) -> LabelSelector {
    LabelSelector {
        match_labels: labels(&[("team", format!("t{name}"))]),
        ..LabelSelector::default()
    }
}

fn rule(peers: Vec<Peer>, ports: Vec<PolicyPort>) -> PolicyRule {
    PolicyRule {
        name: String::new(),
        action: Action::Allow,
        peers: Some(peers),
        ports: Some(ports),
    }
}

fn pod(view: &mut ClusterView, namespace: usize, number: usize, nodes: usize) {
    let name = NamespacedName::new(format!("ns{namespace}"), format!("p{number}"));
    let meta = Meta {
        labels: labels(&[
            ("app", format!("a{}", number % 10)),
            ("pod-template-hash", format!("{number}")),
        ]),
        ..Meta::default()
    };
    let web = ContainerPort {
        name: Some("web".into()),
        protocol: Protocol::Tcp,
        port: 8000 + (number % 10) as u16,
    };
    let pod = Pod {
        meta,
        node: Some(format!("node{}", (namespace + number / 10 % 10) % nodes)),
        ports: vec![web],
        ..Pod::default()
    };
    view.pods.insert(name, pod);
}

/// Selectors overlap: each policy lets in two applications of its own namespace, those of a team of
/// namespaces, everybody's for one port, and a block with an exception.
fn cluster(size: &Size) -> ClusterView {
    let mut view = ClusterView {
        complete: true,
        ..ClusterView::default()
    };
    let everything = Subnet {
        default: true,
        cidr_block: "10.0.0.0/12".into(),
        ..Subnet::default()
    };
    view.subnets.insert("all".into(), everything);
    for number in 0..size.nodes {
        let ip = format!("172.30.{}.{}", number / 250, number % 250 + 1);
        let node = Node {
            internal_ips: vec![ip],
            ..Node::default()
        };
        view.nodes.insert(format!("node{number}"), node);
    }
    for namespace in 0..size.namespaces {
        let meta = Meta {
            labels: labels(&[("team", format!("t{}", namespace / 5))]),
            ..Meta::default()
        };
        view.namespaces
            .insert(format!("ns{namespace}"), Namespace { meta });
        for number in 0..100 {
            pod(&mut view, namespace, number, size.nodes);
        }
        for number in 0..size.policies {
            let tcp = |port| PolicyPort::Range(Protocol::Tcp, port, port);
            let web = PolicyPort::Named(Some(Protocol::Tcp), "web".into());
            let own = |n: usize| Peer::OwnNamespace(app(format!("a{}", n % 10)));
            let block = Peer::Block {
                cidr: "10.0.0.0/8".into(),
                except: vec![format!("10.{number}.0.0/16")],
            };
            let of_team = Peer::Pods(Subject {
                namespaces: team((namespace + number) / 5 % size.namespaces.div_ceil(5)),
                pods: app("a0".into()),
            });
            let everybody = Peer::Pods(Subject::default());
            let policy = NetworkPolicy {
                pods: app(format!("a{}", number % 10)),
                ingress: Some(vec![
                    rule(vec![own(number + 1), own(number + 2)], vec![web.clone()]),
                    rule(vec![of_team], vec![tcp(9090)]),
                    rule(vec![everybody], vec![tcp(443)]),
                ]),
                egress: Some(vec![
                    rule(vec![own(number + 3)], vec![web]),
                    rule(vec![block], vec![tcp(5432), tcp(6432)]),
                ]),
                ..NetworkPolicy::default()
            };
            let name = NamespacedName::new(format!("ns{namespace}"), format!("np{number}"));
            view.network_policies.insert(name, policy);
        }
    }
    view
}

fn ports_of(state: &DesiredState, node: &str) -> Ports {
    let here = state.pods.values().filter(|pod| pod.node == node);
    let numbered = (3u32..).zip(here);
    let pods = numbered.map(|(number, pod)| (pod.port.clone(), PortNo(number)));
    pods.chain([("geneve0".into(), PortNo(2))]).collect()
}

fn of_policies(set: &FlowSet) -> usize {
    let tables = Table::PolicyEgress.id()..=Table::PolicyCommit.id();
    set.flows
        .keys()
        .filter(|id| tables.contains(&id.table))
        .count()
}

/// The flows of policies on one node, and the nodes concerned by one pod more.
#[allow(clippy::print_stdout)] // for the one who measures
fn measure(size: &Size) -> (usize, usize) {
    let mut view = cluster(size);
    let mut kept = State::default();
    let started = Instant::now();
    let state = resolve(&view, &Settings::default(), &mut kept);
    let resolved = started.elapsed();
    assert_eq!(state.pods.len(), size.namespaces * 100);
    let started = Instant::now();
    let mut compiler = Compiler::default();
    compiler.update(Arc::new(state.clone()));
    let shared = started.elapsed();
    let ports = ports_of(&state, "node1");
    let started = Instant::now();
    let set = compiler.own("node1", &ports).unwrap();
    let own = started.elapsed();
    assert_eq!(set.conflicts, [""; 0]);
    assert_eq!(set.problems, []);

    pod(&mut view, 1, 100, size.nodes);
    let started = Instant::now();
    let next = resolve(&view, &Settings::default(), &mut kept);
    let again = started.elapsed();
    let started = Instant::now();
    let changes = compiler.update(Arc::new(next));
    let updated = started.elapsed();
    let nodes = match changes.nodes {
        Nodes::All => size.nodes,
        Nodes::Some(nodes) => nodes.len(),
    };
    println!(
        "{} nodes, {} pods, {} policies, {} sets: resolved in {resolved:?} (again {again:?}), shared \
         {shared:?}, one node {own:?} with {} flows, {} of policies; one pod more: {updated:?}, {nodes} \
         nodes",
        size.nodes,
        size.namespaces * 100,
        size.namespaces * size.policies,
        state.policies.sets.len(),
        set.flows.len(),
        of_policies(&set),
    );
    (of_policies(&set), nodes)
}

#[test]
fn a_nodes_flows_grow_with_what_its_pods_policies_name_not_with_the_cluster() {
    let size = |namespaces| Size {
        nodes: namespaces, // so that each has a hundred pods
        namespaces,
        policies: 5,
    };
    let (small, _) = measure(&size(10));
    let (large, nodes) = measure(&size(40));
    assert!(large < small * 3 / 2, "{small} flows grew to {large}");
    assert!(nodes <= 40, "{nodes}");
}

#[test]
#[ignore = "measures; run it with --release --ignored --nocapture"]
fn five_thousand_policies_over_a_hundred_thousand_pods() {
    let (flows, _) = measure(&Size {
        nodes: 1000,
        namespaces: 1000,
        policies: 5,
    });
    assert!(flows < 100_000, "{flows}");
}

#[test]
fn a_policy_of_five_thousand_rules_is_as_many_flows() {
    let mut view = cluster(&Size {
        nodes: 2,
        namespaces: 1,
        policies: 0,
    });
    let rules = (0..5000u32).map(|n| {
        let block = Peer::Block {
            cidr: format!("10.{}.{}.0/24", n / 250, n % 250),
            except: vec![],
        };
        let port = 1000 + n as u16;
        rule(
            vec![block],
            vec![PolicyPort::Range(Protocol::Udp, port, port)],
        )
    });
    let policy = NetworkPolicy {
        ingress: Some(rules.collect()),
        ..NetworkPolicy::default()
    };
    view.network_policies
        .insert(NamespacedName::new("ns0", "long"), policy);
    let state = resolve(&view, &Settings::default(), &mut State::default());
    let set = flows::compile(&state, "node1", &ports_of(&state, "node1"));
    assert_eq!(set.problems, []);
    let own = of_policies(&set);
    // One prefix and one rule each; pods share the set.
    assert!((10_000..11_000).contains(&own), "{own}");
}
