//! Multicast and broadcast frames of physical networks.
//!
//! NetworkPolicy does not speak of them; who isolates a pod means that nothing reaches it, so they
//! are judged as if they were connections that nobody answers: first by the sender's policies, whose
//! destination is the group's address, then, for each pod of this node that would get a copy, by its
//! own. What keeps the networks going is not judged: ARP, neighbour discovery, and what says who
//! listens to which group.

use std::collections::BTreeMap;

use net::PortNo;
use openflow::{Action, Field};

use crate::feature::pipeline::MULTICAST;
use crate::fields::{BLOCK, COPY, OUT_PORT, PASSED_ADMIN, PASSED_BASELINE, PEER, POLICY_SET, SELF};
use crate::flow::{ARP, Flow, FlowSet, IPV4, IPV6, load};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

const KEEPS_GOING: u16 = 62;
const JUDGED: u16 = 61;
const PASSED: u16 = 400;
const COPIED: u16 = 280;

/// ICMPv6 messages of neighbour discovery (RFC 4861, 4) and multicast listener discovery (RFC 2710,
/// 3; RFC 3810, 5.2; RFC 4286, 5).
const ICMPV6: [u8; 12] = [130, 131, 132, 133, 134, 135, 136, 137, 143, 151, 152, 153];
/// IGMP (RFC 3376, 4).
const IGMP: u8 = 2;

/// Flows that bring such frames to the policies, and on from there.
pub(super) fn flows(view: &View<'_>, set: &mut FlowSet) {
    let mut add = |flow: Flow| {
        let origin = Origin::table(Feature::Policy, flow.table);
        set.add(
            &origin,
            flow.when_masked(Field::EthDst, MULTICAST, MULTICAST),
        );
    };
    for ethertype in [IPV4, IPV6] {
        let intent = "Multicast and broadcast are judged by policies first.";
        add(Flow::new(Table::ArpNd, JUDGED, intent)
            .ether(ethertype)
            .goto(Table::PolicyEgress));
    }
    // What is sent, past the sender's policies; what is copied, past the receiver's.
    let intent = "Who listens, and who has an address, everybody may ask and say.";
    let sent = || Flow::new(Table::ArpNd, KEEPS_GOING, intent).goto(Table::L2Forward);
    let copied = || {
        let flow = Flow::new(Table::IngressPeer, PASSED, intent);
        flow.is(&COPY, 1).goto(Table::Output)
    };
    for flow in [&sent as &dyn Fn() -> Flow, &copied] {
        for kind in ICMPV6 {
            add(flow()
                .ether(IPV6)
                .when(Field::IpProto, 58u8)
                .when(Field::Icmpv6Type, kind));
        }
        add(flow().ether(IPV4).when(Field::IpProto, IGMP));
    }
    add(copied().ether(ARP));
    let intent = "The sender may; each pod that gets a copy is asked in its turn.";
    add(Flow::new(Table::IngressSet, PASSED, intent).goto(Table::L2Forward));
    if let Some(port) = view.host_port {
        let intent = "What a pod's own node sends it always passes, to groups too.";
        add(Flow::new(Table::IngressPeer, PASSED, intent)
            .when(Field::InPort, port.0)
            .is(&COPY, 1)
            .goto(Table::PolicyCommit));
    }
    let intent = "The receiver may have its copy.";
    add(Flow::new(Table::PolicyCommit, COPIED, intent)
        .is(&COPY, 1)
        .goto(Table::Output));
}

/// The policy sets that judge what pods here get, by their ports; a port that is not there gets
/// everything.
pub fn receivers(view: &View<'_>) -> BTreeMap<PortNo, u32> {
    let sets = view.local_pods().filter_map(|(pod, port)| {
        let own = view.state.policies.pods.get(&pod.pod.name)?;
        Some((port, own.ingress?))
    });
    sets.collect()
}

/// What is done with the copy of a multicast or broadcast frame for the pod at a port.
pub fn copy_for(port: PortNo, policy_set: u32) -> Vec<Action> {
    vec![
        load(&COPY, 1),
        load(&OUT_PORT, port.0),
        load(&POLICY_SET, policy_set),
        load(&PEER, 0),
        load(&BLOCK, 0),
        load(&PASSED_ADMIN, 0),
        load(&PASSED_BASELINE, 0),
        load(&SELF, 0),
        Action::Resubmit {
            port: None,
            table: Some(Table::IngressPeer.id()),
            ct: false,
        },
    ]
}
