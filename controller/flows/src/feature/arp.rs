//! Address resolution, IPv4. In an overlay the switch answers for every pod and for the router, so
//! no question ever crosses the network. In an underlay a question for a pod here goes to that pod,
//! which answers for itself; the rest is the VLAN's business.

use std::net::Ipv4Addr;

use cluster::{Kind, ObjectRef};
use net::{MacAddr, PortNo};
use openflow::Field;

use crate::fields::{FROM, FROM_POD, FROM_UPLINK, NET, OUT_PORT};
use crate::flow::{ARP, Flow, FlowSet, copy};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{Place, SubnetView, View};

const OWN: u16 = 220;
const KNOWN: u16 = 200;
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
                subnet,
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
    for pod in &view.pods {
        let (subnet, Some(address)) = (view.subnet(pod), pod.pod.v4) else {
            continue;
        };
        let origin = Origin::object(Feature::Arp, &pod.object());
        if let Place::Local(port) = pod.place {
            set.add(&origin, own_address(subnet, address, port));
            if subnet.underlay {
                set.add(&origin, bring(subnet, address, port));
            }
        }
        if subnet.here && subnet.underlay && matches!(pod.place, Place::Remote(_)) {
            set.add(
                &origin,
                request(
                    subnet,
                    address,
                    KNOWN,
                    "What the VLAN asks for a pod of another node is that node's to answer.",
                )
                .is(&FROM, FROM_UPLINK),
            );
        }
        if subnet.here && !subnet.underlay {
            let intent = "The switch answers ARP for a pod of the subnet, wherever it runs.";
            set.add(&origin, answer(subnet, address, pod.pod.mac, intent));
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

fn request(
    subnet: &SubnetView<'_>,
    address: Ipv4Addr,
    priority: u16,
    intent: &'static str,
) -> Flow {
    Flow::new(Table::ArpNd, priority, intent)
        .is(&NET, subnet.net)
        .ether(ARP)
        .when(Field::ArpOp, REQUEST)
        .when(Field::ArpTpa, address.to_bits())
}

/// Turns the request into its reply and sends it back (RFC 826).
fn answer(subnet: &SubnetView<'_>, address: Ipv4Addr, mac: MacAddr, intent: &'static str) -> Flow {
    request(subnet, address, KNOWN, intent)
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
    let flow = request(subnet, address, OWN, intent).when(Field::InPort, port.0);
    if subnet.underlay {
        flow.goto(Table::L2Forward)
    } else {
        flow
    }
}

fn bring(subnet: &SubnetView<'_>, address: Ipv4Addr, port: PortNo) -> Flow {
    let intent = "ARP for a pod here goes to that pod only, which answers itself.";
    request(subnet, address, KNOWN, intent)
        .load(&OUT_PORT, port.0)
        .goto(Table::Output)
}
