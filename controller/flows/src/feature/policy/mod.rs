//! Network policies (docs/adr/0031-policies-by-identity.md).
//!
//! A packet that begins or goes on with a connection is judged twice: by what its sender's policies
//! say of the destination, then by what its receiver's policies say of the source. Each time the
//! pod says which policy set holds, the other end's address says who it is, and one lookup by set,
//! who, protocol and port decides. Answers pass on the strength of the connection.

mod blocks;
mod concern;
mod gate;
mod log;
mod multicast;
mod peers;
mod rules;

use cluster::ObjectRef;
pub(crate) use concern::Concern;
pub use log::METER;
pub use multicast::{copy_for, receivers};

use crate::flow::FlowSet;
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

/// Flows of the tables from [`Table::PolicyEgress`] to [`Table::PolicyCommit`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    if !view.state.policies.active || view.local_pods().next().is_none() {
        return;
    }
    gate::flows(view, set);
    for direction in [&EGRESS, &INGRESS] {
        let sets = peers::flows(view, direction, set);
        for (number, policies) in sets {
            rules::flows(view, direction, number, policies, set);
        }
    }
    log::flows(view, set);
}

/// A direction, and the tables that judge it.
struct Direction {
    ingress: bool,
    peer: Table,
    block: Table,
    rule: Table,
    /// Where the packet goes on when this direction lets it pass.
    next: Table,
}

const EGRESS: Direction = Direction {
    ingress: false,
    peer: Table::EgressPeer,
    block: Table::EgressBlock,
    rule: Table::EgressRule,
    next: Table::IngressSet,
};

const INGRESS: Direction = Direction {
    ingress: true,
    peer: Table::IngressPeer,
    block: Table::IngressBlock,
    rule: Table::IngressRule,
    next: Table::PolicyCommit,
};

/// A part of a policy: a rule, or its isolating pods.
fn origin(policy: &ObjectRef, part: &str) -> Origin {
    Origin::part(Feature::Policy, policy, part)
}
