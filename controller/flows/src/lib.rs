//! From what the network shall be ([`cluster::DesiredState`]) to the flows of one node: a pure
//! function, [`compile`].
//!
//! Tables ([`tables`]) and registers ([`fields`]) are data with fixed numbers; [`feature`] has one
//! file per feature, and every flow carries a sentence of intent and the object it comes from.

pub mod blocks;
mod compiler;
pub mod doc;
pub mod feature;
pub mod fields;
pub mod flow;
mod ids;
pub mod network;
pub mod origin;
pub mod tables;
pub mod text;
pub mod trace;
pub mod view;

use cluster::DesiredState;

pub use cluster::Problem;
pub use compiler::{Changes, Compiler, Nodes};
pub use feature::shared;
pub use flow::{Flow, FlowSet, Group, Meter};
pub use network::Network;
pub use origin::{Feature, Origin};
pub use tables::Table;
pub use view::Ports;

/// The flows, groups and meters of one node.
///
/// `ports` are the ports its switch has. A pod without a port yet has no flows; a node that the
/// state does not know gets the empty pipeline, which forwards nothing.
pub fn compile(state: &DesiredState, node: &str, ports: &Ports) -> FlowSet {
    let network = Network::new(state);
    let mut set = FlowSet::default();
    if state.nodes.contains_key(node) {
        for piece in shared::pieces(state, &network) {
            shared::compile(state, &network, &piece, &mut set);
        }
        own(state, &network, node, ports, &mut set);
    } else {
        feature::pipeline::flows(&mut set);
    }
    set
}

/// What of it is the node's own: of its ports and pods. The rest is the same on every node
/// ([`feature::shared`]).
pub fn own(state: &DesiredState, network: &Network, node: &str, ports: &Ports, set: &mut FlowSet) {
    if let Some(view) = view::View::new(state, network, node, ports, set) {
        set.own = true;
        for feature in feature::ALL {
            feature(&view, set);
        }
        set.own = false;
    }
}
