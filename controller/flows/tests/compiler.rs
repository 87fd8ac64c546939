//! Change by change comes to the same as all at once.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::NamespacedName;
use cluster::desired::{DesiredState, Node, Protocol};
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
        _ => drop(state.nodes.remove("node3")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn change_by_change_is_the_same_as_all_at_once(
        steps in proptest::collection::vec(
            proptest::collection::vec((0u8..12, 0u8..6, 0u8..8), 1..4), 1..12),
    ) {
        let mut state = bank();
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
