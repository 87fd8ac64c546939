//! Forwarding by MAC address inside a network.

use cluster::{Kind, ObjectRef};
use openflow::model::GroupType;
use openflow::{Action, Field};

use super::classify::TAGGED;
use super::pipeline::MULTICAST;
use crate::fields::{FROM, FROM_POD, NET, NODE, OUT_PORT};
use crate::flow::{Flow, FlowSet, bucket, output, set_field};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{Place, PodView, Segment, View};

const KNOWN: u16 = 200;
const GROUP: u16 = 150;
const VLAN: u16 = 100;
const UNKNOWN: u16 = 50;

/// Flows of [`Table::L2Forward`] and the groups that flood a VLAN.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    if view.local_pods().next().is_none() {
        return;
    }
    for pod in &view.pods {
        to_pod(view, pod, set);
    }
    for segment in view.segments.values() {
        to_vlan(segment, set);
    }
    for subnet in view.subnets.values() {
        let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
        let origin = Origin::object(Feature::L2, &object);
        let in_overlay = |priority, intent| {
            Flow::new(Table::L2Forward, priority, intent).is(&NET, subnet.vni.get())
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

fn to_pod(view: &View<'_>, pod: &PodView<'_>, set: &mut FlowSet) {
    let subnet = view.subnet(pod);
    let origin = Origin::object(Feature::L2, &pod.object());
    let in_net = |net, intent| {
        Flow::new(Table::L2Forward, KNOWN, intent)
            .is(&NET, net)
            .when(Field::EthDst, pod.pod.mac.to_u64())
    };
    match pod.place {
        Place::Local(port) => {
            let here = |net| {
                in_net(net, "The pod's MAC address is at its port.")
                    .load(&OUT_PORT, port.0)
                    .goto(Table::QosToPod)
            };
            set.add(&origin, here(subnet.vni.get()));
            if subnet.underlay {
                set.add(&origin, here(subnet.net));
            }
        }
        Place::Remote(node) => set.add(
            &origin,
            in_net(
                subnet.vni.get(),
                "The pod's MAC address is behind the tunnel to its node.",
            )
            .is(&FROM, FROM_POD)
            .load(&NODE, node)
            .set(Field::TunId, subnet.vni.get())
            .goto(Table::TunnelOut),
        ),
        Place::Awaited => {}
    }
}

fn to_vlan(segment: &Segment<'_>, set: &mut FlowSet) {
    let provider = ObjectRef::cluster(Kind::ProviderNetwork, segment.provider);
    let origin = Origin::object(Feature::L2, &provider);
    let in_segment =
        |priority, intent| Flow::new(Table::L2Forward, priority, intent).is(&NET, segment.net);
    let mut buckets: Vec<_> = segment
        .pods
        .iter()
        .map(|p| bucket(vec![output(*p)]))
        .collect();
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
