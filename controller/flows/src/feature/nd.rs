//! Address resolution, IPv6: as [`super::arp`], in the words of RFC 4861.

use std::net::Ipv6Addr;

use cluster::{Kind, ObjectRef};
use net::{MacAddr, PortNo};
use openflow::{Field, SubField};

use super::shared::{Place, object};
use crate::blocks::Space;
use crate::fields::{FROM, FROM_POD, NET, OUT_PORT};
use crate::flow::{Flow, FlowSet, IPV6, copy, copy_low};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{self, SubnetView, View};

const OWN: u16 = 220;
const KNOWN: u16 = 200;
const BLOCK: u16 = 190;
const REST: u16 = 100;

const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Neighbour discovery flows of [`Table::ArpNd`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for subnet in view.overlays_here() {
        let Some(prefix) = subnet.subnet.v6 else {
            continue;
        };
        let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
        let origin = Origin::object(Feature::Nd, &object);
        let intent = "The router advertises the gateway's address.";
        set.add(
            &origin,
            answer(subnet.net, prefix.gateway, subnet.subnet.router_mac, intent),
        );
        let intent = "Any other solicitation in an overlay is dropped: nobody has that address.";
        set.add(&origin, solicitation(subnet.net, REST, intent));
    }
    for subnet in view.switched_gateways_here() {
        let Some(prefix) = subnet.subnet.v6 else {
            continue;
        };
        let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
        let intent = "No machine of the VLAN is the gateway: the switch advertises its address.";
        let mac = subnet.subnet.router_mac;
        set.add(
            &Origin::object(Feature::Nd, &object),
            answer(subnet.net, prefix.gateway, mac, intent),
        );
    }
    for pod in &view.pods {
        let (subnet, Some(address)) = (view.subnet(pod), pod.pod.v6) else {
            continue;
        };
        let origin = Origin::object(Feature::Nd, &pod.object());
        if let view::Place::Local(port) = pod.place {
            set.add(&origin, own_address(subnet, address, port));
            if subnet.underlay {
                set.add(&origin, bring(subnet, address, port));
            }
        }
    }
}

/// The switch advertises the pods of an overlay's block, wherever they run.
pub fn block(place: &Place<'_>, set: &mut FlowSet) {
    if place.numbers.underlay || place.key.space != Space::V6 {
        return;
    }
    let net = place.numbers.net;
    if let Some(base) = place.block.common {
        let intent = "The switch advertises a block of pods, whose MACs end like their addresses.";
        let mut flow = solicitation(net, BLOCK, intent)
            .is(&FROM, FROM_POD)
            .when_masked(Field::NdTarget, place.key.first, place.key.mask(128))
            .act(copy(Field::EthSrc, Field::EthDst))
            .set(Field::EthSrc, base);
        if place.key.bits > 0 {
            let low = SubField::range(Field::NdTarget, 0, place.key.bits - 1);
            flow = flow.act(copy_low(low, Field::EthSrc));
        }
        flow = flow
            .act(copy(Field::Ipv6Src, Field::Ipv6Dst))
            .act(copy(Field::NdTarget, Field::Ipv6Src))
            .set(Field::Icmpv6Type, ADVERTISEMENT)
            .goto(Table::NdReply);
        set.add(&place.origin(Feature::Nd), flow);
    }
    for (address, mac, pod) in &place.block.exceptions {
        let intent = "The switch advertises a pod of the subnet, wherever it runs.";
        let address = Ipv6Addr::from_bits(*address);
        let flow = answer(net, address, MacAddr::from_u64(*mac), intent);
        set.add(&Origin::object(Feature::Nd, &object(pod)), flow);
    }
}

fn solicitation(net: u32, priority: u16, intent: &'static str) -> Flow {
    Flow::new(Table::ArpNd, priority, intent)
        .is(&NET, net)
        .ether(IPV6)
        .when(Field::IpProto, ICMPV6)
        .when(Field::Icmpv6Type, SOLICITATION)
}

/// Turns the solicitation into an advertisement; its link-layer option is written in
/// [`Table::NdReply`], where the packet is an advertisement already and may have one.
fn answer(net: u32, address: Ipv6Addr, mac: MacAddr, intent: &'static str) -> Flow {
    solicitation(net, KNOWN, intent)
        .is(&FROM, FROM_POD)
        .when(Field::NdTarget, address.to_bits())
        .act(copy(Field::EthSrc, Field::EthDst))
        .set(Field::EthSrc, mac.to_u64())
        .act(copy(Field::Ipv6Src, Field::Ipv6Dst))
        .set(Field::Ipv6Src, address.to_bits())
        .set(Field::Icmpv6Type, ADVERTISEMENT)
        .goto(Table::NdReply)
}

fn own_address(subnet: &SubnetView<'_>, address: Ipv6Addr, port: PortNo) -> Flow {
    let intent = "A pod that asks for its own address gets no answer; a VLAN hears it.";
    let flow = solicitation(subnet.net, OWN, intent)
        .when(Field::NdTarget, address.to_bits())
        .when(Field::InPort, port.0);
    if subnet.underlay {
        flow.goto(Table::L2Forward)
    } else {
        flow
    }
}

fn bring(subnet: &SubnetView<'_>, address: Ipv6Addr, port: PortNo) -> Flow {
    let intent = "A solicitation for a pod here goes to that pod only, which answers itself.";
    solicitation(subnet.net, KNOWN, intent)
        .when(Field::NdTarget, address.to_bits())
        .load(&OUT_PORT, port.0)
        .goto(Table::Output)
}
