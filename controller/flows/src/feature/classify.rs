//! Where a packet comes from, and which network it is in.

use cluster::{Kind, ObjectRef};
use openflow::{Action, Field};

use crate::fields::{FROM, FROM_POD, FROM_TUNNEL, FROM_UPLINK, NET, POLICY_SET};
use crate::flow::{Flow, FlowSet};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{Segment, View};

const KNOWN: u16 = 200;
const REST: u16 = 100;

/// `vlan_vid` of a tagged frame has this bit (OFPVID_PRESENT; OpenFlow 1.3.5, 7.2.3.8).
pub const TAGGED: u16 = 0x1000;

/// Flows of [`Table::Classify`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for (pod, port) in view.local_pods() {
        let origin = Origin::object(Feature::Classify, &pod.object());
        let mut flow = Flow::new(
            Table::Classify,
            KNOWN,
            "What a pod sends is in the network of its subnet, and under the pod's policies.",
        )
        .when(Field::InPort, port.0)
        .when(Field::VlanVid, 0u16)
        .load(&FROM, FROM_POD)
        .load(&NET, view.subnet(pod).net);
        let policies = view.state.policies.pods.get(&pod.pod.name);
        if let Some(egress) = policies.and_then(|policies| policies.egress) {
            flow = flow.load(&POLICY_SET, egress);
        }
        set.add(&origin, flow.goto(Table::SpoofGuard));
        set.add(
            &origin,
            Flow::new(
                Table::Classify,
                REST,
                "A pod does not choose a VLAN: tagged frames are dropped.",
            )
            .when(Field::InPort, port.0),
        );
    }
    for segment in view.segments.values() {
        from_uplink(segment, set);
    }
    from_tunnel(view, set);
}

fn from_uplink(segment: &Segment<'_>, set: &mut FlowSet) {
    let Some(uplink) = segment.uplink else { return };
    let provider = ObjectRef::cluster(Kind::ProviderNetwork, segment.provider);
    let origin = Origin::object(Feature::Classify, &provider);
    let tag = segment.vlan.map_or(0, |id| TAGGED | id.get());
    let mut flow = Flow::new(
        Table::Classify,
        KNOWN,
        "A frame from the uplink is in the network of its VLAN; the tag ends here.",
    )
    .when(Field::InPort, uplink.0)
    .when(Field::VlanVid, tag);
    if segment.vlan.is_some() {
        flow = flow.act(Action::PopVlan);
    }
    set.add(
        &origin,
        flow.load(&FROM, FROM_UPLINK)
            .load(&NET, segment.net)
            .goto(Table::ArpNd),
    );
    set.add(
        &origin,
        Flow::new(
            Table::Classify,
            REST,
            "A VLAN that no pod here is in is dropped.",
        )
        .when(Field::InPort, uplink.0),
    );
}

fn from_tunnel(view: &View<'_>, set: &mut FlowSet) {
    let Some(tunnel) = view.tunnel else { return };
    for subnet in view.subnets.values().filter(|s| s.here) {
        let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
        set.add(
            &Origin::object(Feature::Classify, &object),
            Flow::new(
                Table::Classify,
                KNOWN,
                "What comes through a tunnel is in the network that the tunnel header names.",
            )
            .when(Field::InPort, tunnel.0)
            .when(Field::TunId, subnet.vni.get())
            .load(&FROM, FROM_TUNNEL)
            .load(&NET, subnet.vni.get())
            .goto(Table::ArpNd),
        );
    }
    let node = ObjectRef::cluster(Kind::Node, &view.node.name);
    set.add(
        &Origin::object(Feature::Classify, &node),
        Flow::new(
            Table::Classify,
            REST,
            "A tunnelled network that no pod here is in is dropped.",
        )
        .when(Field::InPort, tunnel.0),
    );
}
