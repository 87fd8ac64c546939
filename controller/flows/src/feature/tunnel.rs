//! Tunnels to other nodes: one flow each, the same everywhere, so that a node's new address changes
//! one flow. What is a node's own is the tunnel's port, and that it tunnels nothing to itself.

use std::net::IpAddr;

use cluster::desired::DesiredState;
use cluster::{Kind, ObjectRef};
use openflow::Field;

use crate::fields::{NODE, OUT_PORT, OUT_TUNNEL};
use crate::flow::{Flow, FlowSet, bits};
use crate::network::Network;
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

/// Flows of [`Table::TunnelOut`] and [`Table::Output`] that depend on this node.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    let origin = Origin::object(
        Feature::Tunnel,
        &ObjectRef::cluster(Kind::Node, &view.node.name),
    );
    if let Some(own) = view.network.nodes.get(&view.node.name) {
        set.add(
            &origin,
            Flow::new(
                Table::TunnelOut,
                200,
                "For a pod of this node whose port is not there: dropped.",
            )
            .is(&NODE, *own),
        );
    }
    if let Some(tunnel) = view.tunnel {
        set.add(
            &origin,
            Flow::new(
                Table::Output,
                150,
                "To another node, through the tunnel's port.",
            )
            .is(&OUT_PORT, OUT_TUNNEL)
            .output(tunnel),
        );
    }
}

/// Flows of [`Table::TunnelOut`] that every node has.
pub fn everywhere(state: &DesiredState, network: &Network, set: &mut FlowSet) {
    for (name, node) in &network.nodes {
        let Some(vtep) = state.nodes.get(name).and_then(|n| n.vtep) else {
            continue;
        };
        let destination = match vtep {
            IpAddr::V4(_) => Field::TunDst,
            IpAddr::V6(_) => Field::TunIpv6Dst,
        };
        set.add(
            &Origin::object(Feature::Tunnel, &ObjectRef::cluster(Kind::Node, name)),
            Flow::new(
                Table::TunnelOut,
                100,
                "The tunnel to a node goes to its tunnel address.",
            )
            .is(&NODE, *node)
            .set(destination, bits(vtep))
            .load(&OUT_PORT, OUT_TUNNEL)
            .goto(Table::Output),
        );
    }
}
