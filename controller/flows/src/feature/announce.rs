//! Answers to questions for addresses that no pod has: the router's towards the node, and those of
//! load balancers towards their networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cluster::desired::{Frontends, Service};
use cluster::{Kind, ObjectRef};
use net::{MacAddr, PortNo};
use openflow::{Action, Field};

use super::classify::TAGGED;
use super::host::ROUTER_MAC;
use crate::fields::{FROM, FROM_POD, FROM_UPLINK, NET};
use crate::flow::{ARP, Announcement, Flow, FlowSet, IPV6, copy};
use crate::network::Network;
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{Segment, View};

const KNOWN: u16 = 210;
const REST: u16 = 205;

/// This node answers for the load balancers' addresses that it was chosen for.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    let Some(host) = view.host else { return };
    let own = view.network.balanced.of.get(&view.node.name);
    for (address, subnet, service) in own.into_iter().flatten() {
        let subnet = view.subnets.get(subnet.as_str());
        let segment = subnet.and_then(|subnet| view.segments.get(&subnet.net));
        let Some(segment) = segment else { continue };
        let object = ObjectRef::namespaced(Kind::Service, service);
        let intent = "This node answers for a load balancer's address.";
        let answer = answer(segment.net, *address, host.mac, intent).is(&FROM, FROM_UPLINK);
        let answer = match address {
            IpAddr::V4(_) => back(answer, segment),
            IpAddr::V6(_) => answer,
        };
        set.add(&Origin::object(Feature::Announce, &object), answer);
        if let Some(uplink) = segment.uplink {
            let announcement = Announcement {
                object,
                uplink,
                vlan: segment.vlan,
                mac: host.mac,
                addresses: vec![*address],
            };
            set.taken.insert(*address, announcement);
        }
    }
    for segment in view.segments.values().filter(|s| s.uplink.is_some()) {
        let provider = ObjectRef::cluster(Kind::ProviderNetwork, segment.provider);
        let intent = "An advertisement to a physical network names the node's MAC address.";
        let flow = Flow::new(Table::NdReply, 110, intent)
            .is(&FROM, FROM_UPLINK)
            .is(&NET, segment.net)
            .ether(IPV6)
            .when(Field::IpProto, 58u8)
            .when(Field::Icmpv6Type, 136u8)
            .act(copy(Field::EthSrc, Field::NdTll));
        let origin = Origin::object(Feature::Announce, &provider);
        set.add(&origin, back(flow, segment));
    }
}

/// Sends back to the network that the question came from, with its tag.
fn back(mut flow: Flow, segment: &Segment<'_>) -> Flow {
    if let Some(id) = segment.vlan {
        flow = flow.act(Action::PushVlan { tpid: 0x8100 });
        flow = flow.set(Field::VlanVid, TAGGED | id.get());
    }
    flow.output(PortNo::IN_PORT)
}

/// Pods and the node itself are answered where they are: their connections are taken there.
pub fn everywhere(service: &Service, frontends: &Frontends, network: &Network, set: &mut FlowSet) {
    let object = ObjectRef::namespaced(Kind::Service, &service.name);
    let origin = Origin::object(Feature::Announce, &object);
    for balanced in &frontends.balanced {
        let announced = balanced.announced.as_ref();
        let subnet = announced.and_then(|a| network.subnets.get(&a.subnet));
        if let Some(numbers) = subnet {
            let intent = "A pod that asks for a load balancer's address is served on its own node.";
            let answer = answer(numbers.net, balanced.address, ROUTER_MAC, intent);
            let answer = answer.is(&FROM, FROM_POD);
            let answer = match balanced.address {
                IpAddr::V4(_) => answer.output(PortNo::IN_PORT),
                IpAddr::V6(_) => answer,
            };
            set.add(&origin, answer);
            let intent =
                "What a network asks for a load balancer's address is one node's to answer.";
            let question = question(numbers.net, balanced.address, REST, intent);
            set.add(&origin, question.is(&FROM, FROM_UPLINK));
        }
    }
}

fn answer(net: u32, address: IpAddr, mac: MacAddr, intent: &'static str) -> Flow {
    match address {
        IpAddr::V4(address) => arp_answer(net, address, mac, KNOWN, intent),
        IpAddr::V6(address) => nd_answer(net, address, mac, KNOWN, intent),
    }
}

/// ARP requests (RFC 826) or solicitations (RFC 4861, 4.3) for an address.
fn question(net: u32, address: IpAddr, priority: u16, intent: &'static str) -> Flow {
    let flow = Flow::new(Table::ArpNd, priority, intent).is(&NET, net);
    match address {
        IpAddr::V4(address) => flow
            .ether(ARP)
            .when(Field::ArpOp, 1u8)
            .when(Field::ArpTpa, address.to_bits()),
        IpAddr::V6(address) => flow
            .ether(IPV6)
            .when(Field::IpProto, 58u8)
            .when(Field::Icmpv6Type, 135u8)
            .when(Field::NdTarget, address.to_bits()),
    }
}

/// Turns a request into its reply (RFC 826), to be sent back.
pub(super) fn arp_answer(
    net: u32,
    address: Ipv4Addr,
    mac: MacAddr,
    priority: u16,
    intent: &'static str,
) -> Flow {
    question(net, address.into(), priority, intent)
        .act(copy(Field::EthSrc, Field::EthDst))
        .set(Field::EthSrc, mac.to_u64())
        .set(Field::ArpOp, 2u8)
        .act(copy(Field::ArpSha, Field::ArpTha))
        .set(Field::ArpSha, mac.to_u64())
        .act(copy(Field::ArpSpa, Field::ArpTpa))
        .set(Field::ArpSpa, address.to_bits())
}

/// Turns a solicitation into an advertisement; [`Table::NdReply`] completes it.
pub(super) fn nd_answer(
    net: u32,
    address: Ipv6Addr,
    mac: MacAddr,
    priority: u16,
    intent: &'static str,
) -> Flow {
    question(net, address.into(), priority, intent)
        .act(copy(Field::EthSrc, Field::EthDst))
        .set(Field::EthSrc, mac.to_u64())
        .act(copy(Field::Ipv6Src, Field::Ipv6Dst))
        .set(Field::Ipv6Src, address.to_bits())
        .set(Field::Icmpv6Type, 136u8)
        .goto(Table::NdReply)
}
