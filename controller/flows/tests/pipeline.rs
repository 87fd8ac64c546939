//! The pipeline's shape: numbers that never change, and documents and goldens that are current.

mod common;

use std::path::Path;

use cluster::NamespacedName;
use cluster::desired::{Connections, DesiredState, Impairment};
use flows::tables::TABLES;
use flows::{compile, doc, text};

/// Every table number that was ever used. A line may be added; none may change or go, since a
/// switch keeps its flows while we are upgraded.
const EVER: &[(u8, &str)] = &[
    (0, "Classify"),
    (10, "SpoofGuard"),
    (20, "ArpNd"),
    (21, "PodSends"),
    (22, "NdReply"),
    (23, "PodBegins"),
    (25, "L3Classify"),
    (26, "Edge"),
    (27, "Returned"),
    (28, "Clients"),
    (30, "Conntrack"),
    (33, "SubnetSends"),
    (35, "ConntrackState"),
    (36, "Sources"),
    (39, "StillServing"),
    (40, "Service"),
    (41, "Affinity"),
    (42, "ClientCell"),
    (43, "Backend"),
    (44, "Refuse"),
    (50, "PolicyEgress"),
    (51, "EgressPeer"),
    (52, "EgressBlock"),
    (53, "EgressRule"),
    (54, "IngressSet"),
    (55, "IngressPeer"),
    (56, "IngressBlock"),
    (57, "IngressRule"),
    (58, "PolicyCommit"),
    (59, "SubnetEgress"),
    (60, "Routing"),
    (61, "Leave"),
    (70, "Gateway"),
    (71, "NewSource"),
    (80, "PolicyIngress"),
    (89, "SubnetIngress"),
    (90, "QosFromPod"),
    (92, "PacketsFromPod"),
    (94, "NamespaceFromPod"),
    (98, "QosClass"),
    (100, "Mirror"),
    (110, "L2Forward"),
    (120, "TunnelOut"),
    (125, "QosToPod"),
    (126, "PacketsToPod"),
    (127, "NamespaceToPod"),
    (128, "PodGets"),
    (129, "PodIsAsked"),
    (130, "Output"),
    (140, "PolicyLog"),
];

#[test]
fn no_table_is_renumbered_and_no_number_is_used_twice() {
    for info in TABLES {
        let number = info.table as u8;
        let ever: Vec<_> = EVER
            .iter()
            .filter(|(n, name)| *n == number || *name == info.name)
            .collect();
        assert_eq!(
            ever,
            [&(number, info.name)],
            "add it to EVER; never change a line there"
        );
    }
}

/// The example cluster with what only our own switch can do.
fn bank() -> DesiredState {
    let mut state = common::bank();
    let name = NamespacedName::new("bank", "db-1");
    let qos = &mut state.pods.get_mut(&name).unwrap().qos;
    qos.connections = Some(Connections {
        ingress: 1000,
        egress: 0,
        owner: 1,
    });
    qos.impairment = Some(Impairment {
        latency_ms: 20,
        jitter_ms: 5,
        loss_ppm: 10_000,
        limit: 1000,
    });
    state
}

#[test]
fn the_document_is_current() {
    let state = bank();
    let sets = ["node1", "node2"].map(|n| compile(&state, n, &common::ports(&state, n)));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pipeline.md");
    common::golden(&path, &doc::pipeline(&sets));
}

#[test]
fn the_flows_of_the_example_cluster_are_as_agreed() {
    let state = bank();
    let set = compile(&state, "node1", &common::ports(&state, "node1"));
    assert_eq!(set.conflicts, [""; 0]);
    assert_eq!(set.problems, []);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bank-node1.txt");
    common::golden(&path, &text::render(&set));
}

#[test]
fn the_flows_at_the_edge_are_as_agreed() {
    for (on_vlan, file) in [(false, "edge-by-kernel.txt"), (true, "edge-on-vlan.txt")] {
        let mut state = common::bank();
        let before = compile(&state, "node1", &common::ports(&state, "node1"));
        common::edge(&mut state, on_vlan);
        let mut set = compile(&state, "node1", &common::ports(&state, "node1"));
        assert_eq!(set.conflicts, [""; 0]);
        assert_eq!(set.problems, []);
        // What the edge adds.
        set.flows
            .retain(|id, flow| before.flows.get(id) != Some(flow));
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(file);
        common::golden(&path, &text::render(&set));
    }
}
