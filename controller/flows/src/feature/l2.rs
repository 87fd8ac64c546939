//! Forwarding by MAC address inside a network.

use std::collections::BTreeMap;

use cluster::desired::DesiredState;
use cluster::{Kind, ObjectRef};
use net::PortNo;
use openflow::model::GroupType;
use openflow::{Action, Field};

use super::classify::TAGGED;
use super::pipeline::MULTICAST;
use super::policy;
use super::shared::{Place, object};
use crate::blocks::Space;
use crate::fields::{FROM, FROM_POD, FROM_TUNNEL, FROM_UPLINK, NET, NODE, OUT_PORT};
use crate::flow::{Flow, FlowSet, bucket, output, set_field};
use crate::network::Network;
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{PodView, Segment, View};

const KNOWN: u16 = 200;
const ELSEWHERE: u16 = 190;
const BLOCK: u16 = 180;
const GROUP: u16 = 150;
const VLAN: u16 = 100;
const UNKNOWN: u16 = 50;
const ARRIVED: u16 = 140;
const ASTRAY: u16 = 50;

/// Flows of [`Table::L2Forward`] for what is here, and the groups that flood a VLAN; flows of
/// [`Table::L3Classify`] that let in what is for pods here.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for (pod, port) in view.local_pods() {
        to_pod(view, pod, port, set);
        arrived(view, pod, set);
    }
    let judged = policy::receivers(view);
    for segment in view.segments.values() {
        to_vlan(segment, &judged, set);
    }
}

/// What an overlay does not carry, and what came to the wrong node.
pub fn everywhere(state: &DesiredState, network: &Network, set: &mut FlowSet) {
    for from in [FROM_UPLINK, FROM_TUNNEL] {
        // A VLAN floods what it has not learnt yet, and other nodes may not know yet that a pod has
        // moved. Such a packet must leave no connection: if the pod came here later, what it begins
        // would look like an answer, which policies do not judge.
        let intent = "From other nodes or a VLAN, for a MAC address that is not here: dropped \
                      before it leaves a connection.";
        set.add(
            &Origin::table(Feature::L2, Table::L3Classify),
            Flow::new(Table::L3Classify, ASTRAY, intent).is(&FROM, from),
        );
    }
    for subnet in state.subnets.values() {
        let Some(numbers) = network.subnets.get(&subnet.name) else {
            continue;
        };
        let object = ObjectRef::cluster(Kind::Subnet, &subnet.name);
        let origin = Origin::object(Feature::L2, &object);
        let in_overlay = |priority, intent| {
            Flow::new(Table::L2Forward, priority, intent).is(&NET, numbers.vni.get())
        };
        set.add(
            &origin,
            in_overlay(
                GROUP,
                "An overlay carries no broadcast or multicast: dropped.",
            )
            .when_masked(Field::EthDst, MULTICAST, MULTICAST),
        );
        set.add(
            &origin,
            in_overlay(
                UNKNOWN,
                "No pod of the subnet that can be reached has that MAC address: dropped.",
            ),
        );
    }
}

/// The node that has the pods of a block; pods that are here have flows above these.
pub fn block(place: &Place<'_>, set: &mut FlowSet) {
    if place.key.space != Space::Mac {
        return;
    }
    let vni = place.numbers.vni.get();
    let behind = |priority, intent, mac: u128, mask: u128, node: u64| {
        Flow::new(Table::L2Forward, priority, intent)
            .is(&NET, vni)
            .when_masked(Field::EthDst, mac, mask)
            .is(&FROM, FROM_POD)
            .load(&NODE, node as u32)
            .set(Field::TunId, vni)
            .goto(Table::TunnelOut)
    };
    if let Some(node) = place.block.common {
        let intent = "The MAC addresses of a block of pods are behind the tunnel to their node.";
        let flow = behind(BLOCK, intent, place.key.first, place.key.mask(48), node);
        set.add(&place.origin(Feature::L2), flow);
    }
    for (mac, node, pod) in &place.block.exceptions {
        let intent = "The pod's MAC address is behind the tunnel to its node.";
        let flow = behind(
            ELSEWHERE,
            intent,
            *mac,
            Field::EthDst.info().slot.ones(),
            *node,
        );
        set.add(&Origin::object(Feature::L2, &object(pod)), flow);
    }
}

fn to_pod(view: &View<'_>, pod: &PodView<'_>, port: PortNo, set: &mut FlowSet) {
    let subnet = view.subnet(pod);
    let origin = Origin::object(Feature::L2, &pod.object());
    let here = |net| {
        let intent = "The pod's MAC address is at its port.";
        Flow::new(Table::L2Forward, KNOWN, intent)
            .is(&NET, net)
            .when(Field::EthDst, pod.pod.mac.to_u64())
            .load(&OUT_PORT, port.0)
            .goto(Table::QosToPod)
    };
    set.add(&origin, here(subnet.vni.get()));
    if subnet.underlay {
        set.add(&origin, here(subnet.net));
    }
}

/// What comes by the uplink or a tunnel for the pod; [`everywhere`] drops what nothing lets in.
fn arrived(view: &View<'_>, pod: &PodView<'_>, set: &mut FlowSet) {
    let subnet = view.subnet(pod);
    let mut let_in = |from, net| {
        let intent = "What came for a pod here goes on; only such packets leave connections.";
        set.add(
            &Origin::object(Feature::L2, &pod.object()),
            Flow::new(Table::L3Classify, ARRIVED, intent)
                .is(&FROM, from)
                .is(&NET, net)
                .when(Field::EthDst, pod.pod.mac.to_u64())
                .goto(Table::Edge),
        );
    };
    if view.tunnel.is_some() {
        let_in(FROM_TUNNEL, subnet.vni.get());
    }
    if subnet.underlay {
        let_in(FROM_UPLINK, subnet.net);
    }
}

fn to_vlan(segment: &Segment<'_>, judged: &BTreeMap<PortNo, u32>, set: &mut FlowSet) {
    let provider = ObjectRef::cluster(Kind::ProviderNetwork, segment.provider);
    let origin = Origin::object(Feature::L2, &provider);
    let in_segment =
        |priority, intent| Flow::new(Table::L2Forward, priority, intent).is(&NET, segment.net);
    let copies = segment.pods.iter().map(|port| match judged.get(port) {
        Some(policy_set) => bucket(policy::copy_for(*port, *policy_set)),
        None => bucket(vec![output(*port)]),
    });
    let mut buckets: Vec<_> = copies.collect();
    let out = send_tagged(segment);
    if let Some(out) = &out {
        buckets.push(bucket(out.clone()));
    }
    let vlan = segment
        .vlan
        .map_or("untagged".into(), |id| format!("VLAN {id}"));
    let flood = set.add_group(GroupType::All, format!("{origin} {vlan} flood"), buckets);
    set.add(
        &origin,
        in_segment(
            GROUP,
            "Broadcast and multicast reach every pod of the VLAN here, and the uplink.",
        )
        .when_masked(Field::EthDst, MULTICAST, MULTICAST)
        .act(Action::Group(flood)),
    );
    if let Some(out) = out {
        let to_uplink = in_segment(VLAN, "Any other MAC address is out on the VLAN.");
        let flow = out
            .into_iter()
            .fold(to_uplink.is(&FROM, FROM_POD), Flow::act);
        set.add(&origin, flow);
    }
    set.add(
        &origin,
        in_segment(
            UNKNOWN,
            "From the VLAN, for a MAC address that is not here: dropped.",
        ),
    );
}

/// Pushes the segment's tag and sends to its uplink; the copy that came from there is not sent back
/// (OpenFlow 1.3.5, 5.12: no output to the ingress port but by OFPP_IN_PORT).
fn send_tagged(segment: &Segment<'_>) -> Option<Vec<Action>> {
    let uplink = segment.uplink?;
    let mut actions = Vec::new();
    if let Some(id) = segment.vlan {
        actions.push(Action::PushVlan { tpid: 0x8100 });
        actions.push(set_field(Field::VlanVid, TAGGED | id.get()));
    }
    actions.push(output(uplink));
    Some(actions)
}
