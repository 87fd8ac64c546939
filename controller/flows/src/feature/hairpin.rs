//! A pod that reaches itself through a Service. Its own address as the source would be refused by
//! its own network stack, so it sees a link-local one instead, whose packets come back here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::key::ct_state::{NEW, TRK};
use openflow::action::{Nat, NatKind};
use openflow::{Action, Field};

use super::pipeline::existing_nat;
use crate::fields::{CROSS, FROM, FROM_POD, HAIRPIN, ROUTE, ZONE_HAIRPIN};
use crate::flow::{Flow, FlowSet, ct};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

/// What a pod sees as the source of what it sent itself, IPv4: link-local (RFC 3927), never on a wire.
pub const HAIRPIN_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 83, 76);
/// The same, IPv6: a unique local address (RFC 4193) of our own.
pub const HAIRPIN_V6: Ipv6Addr = Ipv6Addr::new(0xfd53, 0x4c43, 0, 0, 0, 0, 0, 1);

/// Flows of [`Table::Gateway`]. Every pod has them, endpoint or not: then they do not depend on
/// Services.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for (pod, _) in view.local_pods() {
        let origin = Origin::object(Feature::Hairpin, &pod.object());
        let router = view.subnet(pod).subnet.router_mac;
        for own in pod.pod.addresses() {
            let to_itself = |priority, intent| {
                Flow::new(Table::Gateway, priority, intent)
                    .is(&FROM, FROM_POD)
                    .is(&ROUTE, 1)
                    .ip_src(own)
                    .ip_dst(own)
                    .set(Field::EthSrc, router.to_u64())
                    .load(&HAIRPIN, 1)
            };
            set.add(
                &origin,
                to_itself(200, "A pod that reaches itself sees a link-local source.")
                    .ct_state(TRK | NEW, 0)
                    .act(ct(
                        ZONE_HAIRPIN,
                        true,
                        vec![new_source(own)],
                        Table::PolicyIngress,
                    )),
            );
            set.add(
                &origin,
                to_itself(100, "And goes on seeing it.").act(ct(
                    ZONE_HAIRPIN,
                    false,
                    vec![existing_nat()],
                    Table::PolicyIngress,
                )),
            );
        }
    }
}

/// Flows of [`Table::L3Classify`].
pub fn everywhere(set: &mut FlowSet) {
    for hairpin in [IpAddr::V4(HAIRPIN_V4), IpAddr::V6(HAIRPIN_V6)] {
        set.add(
            &Origin::table(Feature::Hairpin, Table::L3Classify),
            Flow::new(
                Table::L3Classify,
                200,
                "A reply to the link-local source goes back to the pod it comes from.",
            )
            .is(&FROM, FROM_POD)
            .ip_dst(hairpin)
            .load(&ROUTE, 1)
            .load(&CROSS, 1)
            .load(&HAIRPIN, 1)
            .act(ct(
                ZONE_HAIRPIN,
                false,
                vec![existing_nat()],
                Table::Conntrack,
            )),
        );
    }
}

fn new_source(own: IpAddr) -> Action {
    let source = match own {
        IpAddr::V4(_) => IpAddr::V4(HAIRPIN_V4),
        IpAddr::V6(_) => IpAddr::V6(HAIRPIN_V6),
    };
    Action::Nat(Nat {
        kind: NatKind::Src,
        addresses: Some((source, source)),
        ports: None,
        persistent: false,
        hash: false,
        random: false,
    })
}
