//! Change by change comes to the same as all at once.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::desired::{Balanced, DesiredState, Frontends, Limits, Node, Protocol, Rate};
use cluster::edge::Announced;
use cluster::policy::{Block, Peers, PodPolicy, PolicySet, Scope, SetRule, Tier};
use cluster::view::Action;
use cluster::{Kind, NamespacedName, ObjectRef};
use common::{bank, pod, ports, service};
use flows::flow::{FlowId, Group, Installed};
use flows::{Changes, Compiler, FlowSet, Nodes, compile};
use net::GroupId;
use proptest::prelude::*;

/// What every node has, as the changes say it.
#[derive(Default)]
struct Mirror {
    flows: BTreeMap<FlowId, Installed>,
    groups: BTreeMap<GroupId, Group>,
    labels: BTreeMap<u64, String>,
}

fn follow<K: Ord, V>(map: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(map.insert(key, value)),
            None => drop(map.remove(&key)),
        }
    }
}

impl Mirror {
    fn follow(&mut self, changes: Changes) {
        follow(&mut self.flows, changes.flows);
        follow(&mut self.groups, changes.groups);
        follow(&mut self.labels, changes.labels);
    }

    /// With a node's own, everything the node has.
    fn with(&self, mut own: FlowSet) -> FlowSet {
        own.flows.extend(self.flows.clone());
        own.groups.extend(self.groups.clone());
        own.labels.extend(self.labels.clone());
        own
    }
}

/// What policies say of a pod, and what a policy set says: one rule about one identity, a block, or
/// every pod.
fn policies_happen(state: &mut DesiredState, what: u8, which: u8, detail: u8) {
    let name = NamespacedName::new("bank", format!("p{which}"));
    let policies = &mut state.policies;
    match what {
        0..2 => {
            let identity = 100 + u32::from(detail % 3);
            let set = |bit: u8| (detail & bit != 0).then_some(1 + u32::from(which) % 2);
            let policy = PodPolicy {
                identity,
                ingress: set(2),
                egress: set(4).map(|number| number + 10),
            };
            if let Some(before) = policies.pods.get(&name) {
                policies.members.remove(&(before.identity, name.clone()));
            }
            policies.members.insert((identity, name.clone()), ());
            policies.pods.insert(name, policy);
        }
        2..4 => {
            let peers = Peers {
                identities: vec![100 + u32::from(detail % 3)],
                all_pods: detail == 7,
                blocks: vec![Block {
                    cidr: format!("10.{detail}.0.0/16").parse().unwrap(),
                    except: vec![],
                }],
                ..Peers::default()
            };
            let policy = ObjectRef::namespaced(Kind::NetworkPolicy, &name);
            let rule = SetRule {
                policy: policy.clone(),
                part: "ingress[0]".into(),
                tier: Tier::Namespace,
                action: Action::Allow,
                log: false,
                scopes: vec![Scope {
                    peers: Arc::new(peers),
                    ports: None,
                }],
            };
            let set = PolicySet {
                isolated_by: vec![policy],
                isolation_logged_by: vec![],
                rules: vec![rule],
            };
            let number = 1 + u32::from(which) % 2 + if what == 2 { 0 } else { 10 };
            policies.sets.insert(number, Arc::new(set));
        }
        4 => {
            let address = format!("192.168.100.{detail}").parse().unwrap();
            let addresses = (which < 3).then(|| vec![address]);
            policies.underlay_pods.set(name, addresses);
        }
        5 => {
            if let Some(before) = policies.pods.remove(&name) {
                policies.members.remove(&(before.1.identity, name));
            }
        }
        6 => policies.active = detail > 0,
        _ => {
            let own = vec![format!("192.0.2.{detail}").parse().unwrap()];
            policies.node_addresses.insert("node1".into(), own);
        }
    }
}

/// Something that happens to the cluster.
fn happen(state: &mut DesiredState, what: u8, which: u8, detail: u8) {
    let name = |text: String| NamespacedName::new("bank", text);
    match what {
        // A pod comes, or moves: to a node, by address in one of two blocks.
        0..4 => {
            let node = format!("node{}", 1 + detail % 2);
            let v4 = format!("10.16.0.{}", 30 + u32::from(which) * 9);
            let v6 = format!("fd00:10:16::{:x}", 30 + u32::from(which) * 9);
            pod(
                state,
                &format!("p{which}"),
                &node,
                "apps",
                &v4,
                (detail & 4 != 0).then_some(&v6),
            );
        }
        4 => {
            if let Some(pod) = state.pods.get_mut(&name(format!("p{which}"))) {
                pod.mac = net::MacAddr([2, 0, 0, 0, which, detail]);
            }
        }
        5 => drop(state.pods.remove(&name(format!("p{which}")))),
        6..9 => {
            let vip = format!("10.96.1.{which}");
            let endpoint = format!("10.16.0.{detail}");
            let endpoints = [(endpoint.as_str(), 80, "node1"), ("10.16.0.3", 81, "node2")];
            let endpoints = &endpoints[..usize::from(detail % 3)];
            service(
                state,
                &format!("s{which}"),
                &[&vip],
                Protocol::Tcp,
                80,
                endpoints,
            );
        }
        9 => drop(state.services.remove(&name(format!("s{which}")))),
        10 => {
            let node = Node {
                name: "node3".into(),
                vtep: Some([10, 0, 0, detail].into()),
                zone: None,
                cell: None,
                addresses: Vec::new(),
            };
            state.nodes.insert("node3".into(), node);
        }
        11 => drop(state.nodes.remove("node3")),
        12 => {
            let announced = Announced {
                subnet: ["trading", "apps"][usize::from(detail & 1)].into(),
                node: (detail & 2 != 0).then(|| format!("node{}", 1 + which % 2)),
            };
            let frontends = Frontends {
                balanced: vec![Balanced {
                    address: format!("192.168.100.24{which}").parse().unwrap(),
                    announced: Some(announced),
                }],
                ..Frontends::default()
            };
            let service = name(format!("s{which}"));
            let there = detail & 4 != 0 && state.services.contains_key(&service);
            state.frontends.set(service, there.then_some(frontends));
        }
        13 => {
            let limits = Limits {
                ingress: Some(Rate {
                    kbps: 1000 + u32::from(detail),
                    burst_kbit: 100,
                }),
                egress: None,
            };
            let limits = (which > 0).then_some(limits);
            state.namespace_limits.set("bank".into(), limits);
        }
        _ => policies_happen(state, what - 14, which, detail),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn change_by_change_is_the_same_as_all_at_once(
        steps in proptest::collection::vec(
            proptest::collection::vec((0u8..22, 0u8..6, 0u8..8), 1..4), 1..12),
    ) {
        let mut state = bank();
        state.policies.active = true;
        let mut compiler = Compiler::default();
        let mut mirror = Mirror::default();
        let mut own = BTreeMap::new();
        mirror.follow(compiler.update(Arc::new(state.clone())));
        for step in steps {
            for (what, which, detail) in step {
                happen(&mut state, what, which, detail);
            }
            let changes = compiler.update(Arc::new(state.clone()));
            let nodes = changes.nodes.clone();
            mirror.follow(changes);
            for node in ["node1", "node2"] {
                let ports = ports(&state, node);
                let now = compiler.own(node, &ports).unwrap();
                let said = match &nodes {
                    Nodes::All => true,
                    Nodes::Some(nodes) => nodes.contains(node),
                };
                let before = own.insert(node, (ports.clone(), now.clone()));
                if let (false, Some(before)) = (said, before) {
                    prop_assert_eq!(before, (ports.clone(), now.clone()), "nobody said so");
                }
                let fresh = compile(&state, node, &ports);
                prop_assert_eq!(&fresh.conflicts, &[""; 0]);
                prop_assert_eq!(mirror.with(now), fresh);
            }
        }
    }
}

#[test]
fn one_endpoint_more_changes_one_group_and_one_pod_more_in_its_nodes_block_nothing_elsewhere() {
    let mut state = bank();
    pod(&mut state, "web-8", "node2", "apps", "10.16.0.80", None);
    let mut compiler = Compiler::default();
    compiler.update(Arc::new(state.clone()));
    pod(&mut state, "web-9", "node2", "apps", "10.16.0.81", None);
    let changes = compiler.update(Arc::new(state.clone()));
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(changes.nodes, Nodes::Some(["node2".to_string()].into()));

    let web = state
        .services
        .get_mut(&NamespacedName::new("bank", "web"))
        .unwrap();
    let mut more = web.ports[0].endpoints[0].clone();
    more.ip = "10.16.0.81".parse().unwrap();
    web.ports[0].endpoints.push(more);
    let changes = compiler.update(Arc::new(state));
    assert_eq!(
        (
            changes.flows.len(),
            changes.groups.len(),
            changes.labels.len()
        ),
        (0, 1, 0)
    );
    assert_eq!(changes.nodes, Nodes::default());
}
