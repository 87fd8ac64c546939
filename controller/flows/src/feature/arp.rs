//! Address resolution, IPv4. In an overlay the switch answers for every pod and for the router, so
//! no question ever crosses the network. In an underlay a question for a pod here goes to that pod,
//! which answers for itself; the rest is the VLAN's business.

use std::net::Ipv4Addr;

use cluster::{Kind, ObjectRef};
use net::{MacAddr, PortNo};
use openflow::{Field, SubField};

use super::shared::{Place, object};
use crate::blocks::Space;
use crate::fields::{ASKED, FROM, FROM_POD, NET, OUT_PORT};
use crate::flow::{ARP, Flow, FlowSet, copy, copy_low};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{self, SubnetView, View};

const OWN: u16 = 220;
const KNOWN: u16 = 200;
const BLOCK: u16 = 190;
const REST: u16 = 100;

const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// ARP flows of [`Table::ArpNd`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for subnet in view.overlays_here() {
        let Some(prefix) = subnet.subnet.v4 else {
            continue;
        };
        let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
        let origin = Origin::object(Feature::Arp, &object);
        set.add(
            &origin,
            answer(
                subnet.net,
                prefix.gateway,
                subnet.subnet.router_mac,
                "The router answers for the gateway's address.",
            ),
        );
        set.add(
            &origin,
            Flow::new(
                Table::ArpNd,
                REST,
                "Any other ARP in an overlay is dropped: nobody has that address.",
            )
            .is(&NET, subnet.net)
            .ether(ARP),
        );
    }
    for subnet in view.switched_gateways_here() {
        let Some(prefix) = subnet.subnet.v4 else {
            continue;
        };
        let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
        let intent = "No machine of the VLAN is the gateway: the switch answers for its address.";
        let mac = subnet.subnet.router_mac;
        set.add(
            &Origin::object(Feature::Arp, &object),
            answer(subnet.net, prefix.gateway, mac, intent),
        );
    }
    for pod in &view.pods {
        let (subnet, Some(address)) = (view.subnet(pod), pod.pod.v4) else {
            continue;
        };
        let origin = Origin::object(Feature::Arp, &pod.object());
        if let view::Place::Local(port) = pod.place {
            set.add(&origin, own_address(subnet, address, port));
            if subnet.underlay {
                set.add(&origin, bring(subnet, address, port));
            }
        }
    }
    for segment in view.segments.values() {
        let provider = ObjectRef::cluster(Kind::ProviderNetwork, segment.provider);
        set.add(
            &Origin::object(Feature::Arp, &provider),
            Flow::new(Table::ArpNd, REST, "Any other ARP travels in its VLAN.")
                .is(&NET, segment.net)
                .ether(ARP)
                .goto(Table::L2Forward),
        );
    }
}

/// The switch answers for the pods of an overlay's block, wherever they run.
pub fn block(place: &Place<'_>, set: &mut FlowSet) {
    if place.numbers.underlay || place.key.space != Space::V4 {
        return;
    }
    let net = place.numbers.net;
    if let Some(base) = place.block.common {
        let (first, mask) = (place.key.first, place.key.mask(32));
        let low = SubField::range(Field::ArpTpa, 0, place.key.bits.max(1) - 1);
        let intent =
            "The switch answers ARP for a block of pods, whose MACs end like their addresses.";
        let mut flow = Flow::new(Table::ArpNd, BLOCK, intent)
            .is(&NET, net)
            .ether(ARP)
            .when(Field::ArpOp, REQUEST)
            .when_masked(Field::ArpTpa, first, mask)
            .is(&FROM, FROM_POD)
            .act(copy(Field::EthSrc, Field::EthDst))
            .set(Field::EthSrc, base)
            .set(Field::ArpOp, REPLY)
            .act(copy(Field::ArpSha, Field::ArpTha))
            .set(Field::ArpSha, base);
        if place.key.bits > 0 {
            flow = flow.act(copy_low(low, Field::EthSrc));
            flow = flow.act(copy_low(low, Field::ArpSha));
        }
        flow = flow
            .act(copy(Field::ArpTpa, ASKED.field))
            .act(copy(Field::ArpSpa, Field::ArpTpa))
            .act(copy(ASKED.field, Field::ArpSpa))
            .output(PortNo::IN_PORT);
        set.add(&place.origin(Feature::Arp), flow);
    }
    for (address, mac, pod) in &place.block.exceptions {
        let intent = "The switch answers ARP for a pod of the subnet, wherever it runs.";
        let address = Ipv4Addr::from_bits(*address as u32);
        let flow = answer(net, address, MacAddr::from_u64(*mac), intent);
        set.add(&Origin::object(Feature::Arp, &object(pod)), flow);
    }
}

fn request(net: u32, address: Ipv4Addr, priority: u16, intent: &'static str) -> Flow {
    Flow::new(Table::ArpNd, priority, intent)
        .is(&NET, net)
        .ether(ARP)
        .when(Field::ArpOp, REQUEST)
        .when(Field::ArpTpa, address.to_bits())
}

/// Turns the request into its reply and sends it back (RFC 826).
fn answer(net: u32, address: Ipv4Addr, mac: MacAddr, intent: &'static str) -> Flow {
    request(net, address, KNOWN, intent)
        .is(&FROM, FROM_POD)
        .act(copy(Field::EthSrc, Field::EthDst))
        .set(Field::EthSrc, mac.to_u64())
        .set(Field::ArpOp, REPLY)
        .act(copy(Field::ArpSha, Field::ArpTha))
        .set(Field::ArpSha, mac.to_u64())
        .act(copy(Field::ArpSpa, Field::ArpTpa))
        .set(Field::ArpSpa, address.to_bits())
        .output(PortNo::IN_PORT)
}

/// A question for one's own address looks for duplicates, or announces (RFC 5227): an answer would
/// say that somebody else has it.
fn own_address(subnet: &SubnetView<'_>, address: Ipv4Addr, port: PortNo) -> Flow {
    let intent = "A pod that asks for its own address gets no answer; a VLAN hears it.";
    let flow = request(subnet.net, address, OWN, intent).when(Field::InPort, port.0);
    if subnet.underlay {
        flow.goto(Table::L2Forward)
    } else {
        flow
    }
}

fn bring(subnet: &SubnetView<'_>, address: Ipv4Addr, port: PortNo) -> Flow {
    let intent = "ARP for a pod here goes to that pod only, which answers itself.";
    request(subnet.net, address, KNOWN, intent)
        .load(&OUT_PORT, port.0)
        .goto(Table::Output)
}
