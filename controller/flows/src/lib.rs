//! From what the network shall be ([`cluster::DesiredState`]) to the flows of one node: a pure
//! function, [`compile`].
//!
//! Tables ([`tables`]) and registers ([`fields`]) are data with fixed numbers; [`feature`] has one
//! file per feature, and every flow carries a sentence of intent and the object it comes from.

pub mod doc;
pub mod feature;
pub mod fields;
pub mod flow;
mod ids;
pub mod origin;
pub mod tables;
pub mod text;
pub mod view;

use cluster::DesiredState;

pub use cluster::Problem;
pub use flow::{Flow, FlowSet, Group, Meter};
pub use origin::{Feature, Origin};
pub use tables::Table;
pub use view::Ports;

/// The flows, groups and meters of one node.
///
/// `ports` are the ports its switch has. A pod without a port yet has no flows; a node that the
/// state does not know gets the empty pipeline, which forwards nothing.
pub fn compile(state: &DesiredState, node: &str, ports: &Ports) -> FlowSet {
    let mut set = FlowSet::default();
    feature::pipeline::flows(&mut set);
    if let Some(view) = view::View::new(state, node, ports, &mut set) {
        for feature in feature::ALL {
            feature(&view, &mut set);
        }
    }
    set
}
