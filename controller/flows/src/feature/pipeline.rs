//! What the pipeline does whatever the cluster holds: the way through the tables.

use net::PortNo;
use openflow::Field;

use crate::fields::{FROM, FROM_POD, HAIRPIN, ZONE_PODS};
use crate::flow::{ARP, Flow, FlowSet, IPV4, IPV6, copy, ct};
use crate::origin::{Feature, Origin};
use crate::tables::{Miss, TABLES, Table};

/// The way through the tables.
pub fn flows(set: &mut FlowSet) {
    for info in TABLES {
        let flow = match info.miss {
            Miss::Goto(next) => {
                Flow::new(info.table, 0, "What this table has no say in goes on.").goto(next)
            }
            // Explicit, so that the flow's counter tells where packets end.
            Miss::Drop(why) | Miss::Return(why) => Flow::new(info.table, 0, why),
        };
        set.add(&Origin::table(Feature::Pipeline, info.table), flow);
    }
    let mut add = |flow: Flow| set.add(&Origin::table(Feature::Pipeline, flow.table), flow);
    for ethertype in [IPV4, IPV6] {
        add(
            Flow::new(Table::ArpNd, 50, "IP packets are no address resolution.")
                .ether(ethertype)
                .goto(Table::PodSends),
        );
        add(Flow::new(
            Table::Conntrack,
            100,
            "Every IP packet is looked up among the connections; what they translate is translated.",
        )
        .ether(ethertype)
        .act(ct(
            ZONE_PODS,
            false,
            vec![existing_nat()],
            Table::SubnetSends,
        )));
    }
    for ethertype in [ARP, IPV4, IPV6] {
        add(Flow::new(
            Table::ArpNd,
            60,
            "Broadcast and multicast are forwarded by MAC address.",
        )
        .ether(ethertype)
        .when_masked(Field::EthDst, MULTICAST, MULTICAST)
        .goto(Table::L2Forward));
    }
    add(Flow::new(
        Table::NdReply,
        100,
        "The advertisement names the MAC address it comes from.",
    )
    .is(&FROM, FROM_POD)
    .ether(IPV6)
    .when(Field::IpProto, 58u8)
    .when(Field::Icmpv6Type, 136u8)
    .act(copy(Field::EthSrc, Field::NdTll))
    .output(PortNo::IN_PORT));
    add(Flow::new(
        Table::Output,
        200,
        "A pod that reaches itself gets its packets back.",
    )
    .is(&HAIRPIN, 1)
    .output(PortNo::IN_PORT));
}

/// The bit of an Ethernet address that tells groups from stations (IEEE 802-2014, 8.2.2).
pub const MULTICAST: u64 = 0x0100_0000_0000;

/// Applies the translation that a connection already has.
pub fn existing_nat() -> openflow::Action {
    openflow::Action::Nat(openflow::action::Nat {
        kind: openflow::action::NatKind::Existing,
        addresses: None,
        ports: None,
        persistent: false,
        hash: false,
        random: false,
    })
}
