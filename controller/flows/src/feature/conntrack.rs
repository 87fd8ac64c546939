//! What the state of a connection decides.

use cluster::{Kind, ObjectRef};
use net::key::ct_state::{EST, NEW, REL, TRK};
use openflow::{Action, Field};

use crate::fields::{CROSS, CT_ROUTED, FROM, FROM_POD, FROM_TUNNEL, NET, Named, ROUTE, ZONE_PODS};
use crate::flow::{Flow, FlowSet, IPV4, IPV6, ct};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

const ROUTED: u16 = 200;
const REMEMBER: u16 = 150;
const KNOWN: u16 = 100;

/// Flows of [`Table::ConntrackState`] that every node has.
pub fn everywhere(set: &mut FlowSet) {
    let origin = Origin::table(Feature::Conntrack, Table::ConntrackState);
    // New ones too: the next packets of a connection that was not answered yet find its translation.
    for state in [EST, REL, NEW] {
        set.add(
            &origin,
            Flow::new(
                Table::ConntrackState,
                ROUTED,
                "A Service's connection is routed, whatever MAC address the pod sends it to.",
            )
            .is(&FROM, FROM_POD)
            .ct_state(TRK | state, 0)
            .is(&CT_ROUTED, 1)
            .load(&ROUTE, 1)
            .load(&CROSS, 1)
            .goto(Table::PolicyEgress),
        );
    }
    for state in [EST, REL] {
        set.add(
            &origin,
            Flow::new(
                Table::ConntrackState,
                KNOWN,
                "What belongs to a known connection needs no Service.",
            )
            .ct_state(TRK | state, 0)
            .goto(Table::PolicyEgress),
        );
    }
}

/// Flows of [`Table::ConntrackState`] for the subnets that are here.
///
/// A Service brings overlay pods to underlay endpoints and back. The node of the endpoint has to
/// remember such connections, since the replies are addressed to the physical gateway, or come from
/// an overlay that may not send to that underlay on its own account.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    let remember = |flow: Flow| {
        flow.is(&FROM, FROM_TUNNEL).ct_state(TRK | NEW, 0).act(ct(
            ZONE_PODS,
            true,
            vec![mark(&[&CT_ROUTED])],
            Table::PolicyEgress,
        ))
    };
    for subnet in view.underlays_here() {
        let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
        for ethertype in [IPV4, IPV6] {
            let flow = Flow::new(
                Table::ConntrackState,
                REMEMBER,
                "A connection that a Service brings to an underlay pod is remembered for its replies.",
            );
            set.add(
                &Origin::object(Feature::Conntrack, &object),
                remember(flow.is(&NET, subnet.vni.get()).ether(ethertype)),
            );
        }
    }
    if view.overlays_here().next().is_none() {
        return;
    }
    for subnet in view.subnets.values().filter(|s| s.underlay) {
        let object = ObjectRef::cluster(Kind::Subnet, &subnet.subnet.name);
        for (range, _) in subnet.subnet.prefixes() {
            let flow = Flow::new(
                Table::ConntrackState,
                REMEMBER,
                "A connection that a Service brings from an underlay pod is remembered for its replies.",
            );
            set.add(
                &Origin::object(Feature::Conntrack, &object),
                remember(flow.ip_src_in(range)),
            );
        }
    }
}

/// Sets bits of the connection's mark; inside a `ct` action only.
pub fn mark(bits: &[&Named]) -> Action {
    let bits = bits.iter().fold(0, |all, bit| all | bit.mask());
    Action::SetField {
        field: Field::CtMark,
        value: bits,
        mask: bits,
    }
}
