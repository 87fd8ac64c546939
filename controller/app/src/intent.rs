//! The desired state as what switches shall hold.

use std::sync::Arc;

use cluster::DesiredState;
use flows::{FlowSet, Ports};
use session::Intent;

/// The desired state, and whether all of the sources is in it.
#[derive(Debug)]
pub struct Desired {
    pub state: Arc<DesiredState>,
    pub complete: bool,
}

impl Intent for Desired {
    fn compile(&self, node: &str, ports: &Ports) -> Option<FlowSet> {
        let known = self.state.nodes.contains_key(node);
        known.then(|| flows::compile(&self.state, node, ports))
    }

    fn complete(&self) -> bool {
        self.complete
    }
}
