//! Output to pods' ports.

use crate::fields::OUT_PORT;
use crate::flow::{Flow, FlowSet};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

/// Flows of [`Table::Output`].
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for (pod, port) in view.local_pods() {
        set.add(
            &Origin::object(Feature::Output, &pod.object()),
            Flow::new(Table::Output, 100, "To the pod.")
                .is(&OUT_PORT, port.0)
                .output(port),
        );
    }
}
