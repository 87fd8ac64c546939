//! Bandwidth of pods, both ways: a meter each, numbered by the pod's port.

use net::{MeterId, PortNo};
use openflow::Field;

use crate::fields::{FROM, FROM_POD, OUT_PORT};
use crate::flow::{Flow, FlowSet, Meter};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

/// Flows of [`Table::QosFromPod`] and [`Table::QosToPod`] and their meters.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for (pod, port) in view.local_pods() {
        let origin = Origin::object(Feature::Qos, &pod.object());
        if let Some(rate) = pod.pod.qos.egress {
            let meter = meter_from_pod(port);
            let label = format!("{origin} egress_rate");
            set.meters.insert(meter, Meter::drop_above(rate, label));
            set.add(
                &origin,
                Flow::new(
                    Table::QosFromPod,
                    100,
                    "What the pod sends is held to its egress rate.",
                )
                .is(&FROM, FROM_POD)
                .when(Field::InPort, port.0)
                .meter(meter)
                .goto(Table::Mirror),
            );
        }
        if let Some(rate) = pod.pod.qos.ingress {
            let meter = meter_to_pod(port);
            let label = format!("{origin} ingress_rate");
            set.meters.insert(meter, Meter::drop_above(rate, label));
            set.add(
                &origin,
                Flow::new(
                    Table::QosToPod,
                    100,
                    "What the pod gets is held to its ingress rate.",
                )
                .is(&OUT_PORT, port.0)
                .meter(meter)
                .goto(Table::Output),
            );
        }
    }
}

/// The meter of what a pod sends.
pub fn meter_from_pod(port: PortNo) -> MeterId {
    MeterId(port.0 * 2)
}

/// The meter of what a pod gets.
pub fn meter_to_pod(port: PortNo) -> MeterId {
    MeterId(port.0 * 2 + 1)
}
