//! What the state of a connection means for policies, before they are asked and after.

use net::key::ct_state::{EST, INV, REL, RPL, TRK};
use openflow::{Action, Field, SubField};

use crate::fields::{
    CT_ALLOWED, CT_STOPPED, DENIED, L4_PORT, L4_PROTOCOL, OUTER, POLICY_SET, ZONE_PODS, l4_protocol,
};
use crate::flow::{Flow, FlowSet, IPV4, IPV6, commit, ct};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

use super::multicast;
use cluster::desired::Protocol;

const ANSWER: u16 = 400;
const STOPPED: u16 = 390;
const NEIGHBOUR: u16 = 350;
const OWN_NODE: u16 = 300;
const PORTS: u16 = 100;
const REST: u16 = 50;

/// Messages of neighbour discovery (RFC 4861, 4), which keep the network itself going.
const DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

/// Flows of [`Table::PolicyEgress`] and [`Table::PolicyCommit`].
pub(super) fn flows(view: &View<'_>, set: &mut FlowSet) {
    before(&mut |flow| set.add(&Origin::table(Feature::Policy, Table::PolicyEgress), flow));
    after(&mut |flow| set.add(&Origin::table(Feature::Policy, Table::PolicyCommit), flow));
    multicast::flows(view, set);
    if let Some(port) = view.host_port {
        let intent =
            "What a pod's own node sends it always passes (NetworkPolicy; probes, for instance).";
        set.add(
            &Origin::table(Feature::Policy, Table::IngressSet),
            Flow::new(Table::IngressSet, OWN_NODE, intent)
                .when(Field::InPort, port.0)
                .is(&OUTER, 0)
                .goto(Table::PolicyCommit),
        );
    }
}

fn before(add: &mut impl FnMut(Flow)) {
    let flow = |priority, intent| Flow::new(Table::PolicyEgress, priority, intent);
    for state in [EST | RPL, REL] {
        add(flow(
            ANSWER,
            "What answers a connection that policies let through, or is about it, passes.",
        )
        .ct_state(TRK | state, 0)
        .is(&CT_ALLOWED, 1)
        .is(&CT_STOPPED, 0)
        .goto(Table::Routing));
        add(flow(
            STOPPED,
            "Answers to a connection that policies no longer let through: dropped.",
        )
        .ct_state(TRK | state, 0)
        .is(&CT_STOPPED, 1));
    }
    for kind in DISCOVERY {
        add(flow(NEIGHBOUR, "Neighbour discovery is no connection.")
            .ether(IPV6)
            .when(Field::IpProto, 58u8)
            .when(Field::Icmpv6Type, kind)
            .goto(Table::Routing));
    }
    // A pod without egress policies needs none of the three tables that judge them.
    let start = |flow: Flow, isolated: bool| match isolated {
        true => flow.goto(Table::EgressPeer),
        false => Flow {
            priority: flow.priority + 1,
            ..flow.is(&POLICY_SET, 0).goto(Table::IngressSet)
        },
    };
    for isolated in [true, false] {
        for ethertype in [IPV4, IPV6] {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                let port = match protocol {
                    Protocol::Tcp => Field::TcpDst,
                    Protocol::Udp => Field::UdpDst,
                    Protocol::Sctp => Field::SctpDst,
                };
                let read = flow(PORTS, "Policies speak of protocol and destination port.")
                    .ether(ethertype)
                    .when(Field::IpProto, protocol.number())
                    .load(&L4_PROTOCOL, l4_protocol(protocol))
                    .act(Action::Move {
                        src: SubField::whole(port),
                        dst: L4_PORT.sub(),
                    });
                add(start(read, isolated));
            }
        }
        let rest = flow(REST, "Other protocols have no ports.");
        add(start(rest, isolated));
    }
}

fn after(add: &mut impl FnMut(Flow)) {
    let flow = |priority, intent| Flow::new(Table::PolicyCommit, priority, intent);
    for ethertype in [IPV4, IPV6] {
        let intent = "A connection that was let through once and is not any more: dropped, and its answers too.";
        add(commit_stopped(
            flow(300, intent)
                .ether(ethertype)
                .is(&DENIED, 1)
                .ct_state(TRK | EST, INV)
                .is(&CT_ALLOWED, 1)
                .is(&CT_STOPPED, 0),
        ));
    }
    add(flow(290, "A policy denies it: dropped.").is(&DENIED, 1));
    add(flow(
        200,
        "The connection is known as one that policies let through.",
    )
    .ct_state(TRK, INV)
    .is(&CT_ALLOWED, 1)
    .is(&CT_STOPPED, 0)
    .goto(Table::SubnetEgress));
    for ethertype in [IPV4, IPV6] {
        let intent = "Policies let the connection through; that is remembered for its answers.";
        let flow = flow(100, intent).ether(ethertype).ct_state(TRK, INV);
        add(commit_allowed(flow));
    }
}

/// Remembers that the connection is let through, and goes on.
pub(super) fn commit_allowed(flow: Flow) -> Flow {
    flow.act(ct(ZONE_PODS, true, vec![remember(0)], Table::SubnetEgress))
}

/// Remembers that the connection is not let through any more, and drops the packet.
pub(super) fn commit_stopped(flow: Flow) -> Flow {
    flow.act(commit(ZONE_PODS, remember(1)))
}

/// Writes down what policies say of the connection; inside a `ct` action only.
fn remember(stopped: u32) -> Action {
    Action::SetField {
        field: Field::CtMark,
        value: CT_ALLOWED.place(1) | CT_STOPPED.place(stopped),
        mask: CT_ALLOWED.mask() | CT_STOPPED.mask(),
    }
}
