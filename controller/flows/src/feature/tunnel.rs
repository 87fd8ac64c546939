//! Tunnels to other nodes: one flow each, so that a node's new address changes one flow.

use std::net::IpAddr;

use cluster::{Kind, ObjectRef};
use openflow::Field;

use crate::fields::NODE;
use crate::flow::{Flow, FlowSet, bits};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

/// Flows of [`Table::TunnelOut`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    let Some(tunnel) = view.tunnel else { return };
    for (name, node) in &view.remotes {
        let Some(vtep) = view.state.nodes.get(*name).and_then(|n| n.vtep) else {
            continue;
        };
        let destination = match vtep {
            IpAddr::V4(_) => Field::TunDst,
            IpAddr::V6(_) => Field::TunIpv6Dst,
        };
        set.add(
            &Origin::object(Feature::Tunnel, &ObjectRef::cluster(Kind::Node, *name)),
            Flow::new(
                Table::TunnelOut,
                100,
                "The tunnel to a node goes to its tunnel address.",
            )
            .is(&NODE, *node)
            .set(destination, bits(vtep))
            .output(tunnel),
        );
    }
}
