//! What pods may send and get: bits and packets a second, alone and with the other pods of their
//! namespace here; and the queue and the code point of what they send.
//!
//! Each limit is a meter, and each has a table, since a flow passes one meter.

use cluster::{Kind, ObjectRef};
use net::{MeterId, PortNo};
use openflow::{Action, Field};

use crate::fields::{FROM, FROM_POD, OUT_PORT};
use crate::flow::{Flow, FlowSet, IPV4, IPV6, Meter};
use crate::origin::{Feature, Origin};
use crate::tables::{Miss, Table};
use crate::view::{PodView, View};

/// What a pod's port has meters for; the meter's number is four times the port's, and this.
#[derive(Clone, Copy)]
enum Of {
    BitsFrom,
    BitsTo,
    PacketsFrom,
    PacketsTo,
}

/// Meters of namespaces have numbers from here on, above those of ports (2^16 of them).
const FIRST_OF_NAMESPACE: u32 = 1 << 18;

/// Flows of the tables from [`Table::QosFromPod`] to [`Table::QosClass`] and from
/// [`Table::QosToPod`] to [`Table::NamespaceToPod`], and their meters.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for (pod, port) in view.local_pods() {
        let origin = Origin::object(Feature::Qos, &pod.object());
        let qos = &pod.pod.qos;
        let mut limit = |of: Of, meter: Option<Meter>| {
            if let Some(meter) = meter {
                let id = MeterId(port.0 * 4 + of as u32);
                set.meters.insert(id, meter);
                set.add(&origin, through(of, port).meter(id));
            }
        };
        let label = |name: &str| format!("{origin} {name}");
        let bits = |rate, name| Meter::drop_above(rate, label(name));
        let packets = |rate, name| Meter::drop_packets_above(rate, label(name));
        limit(Of::BitsFrom, qos.egress.map(|r| bits(r, "egress_rate")));
        limit(Of::BitsTo, qos.ingress.map(|r| bits(r, "ingress_rate")));
        let from = qos.egress_packets;
        limit(
            Of::PacketsFrom,
            from.map(|r| packets(r, "egress_packet_rate")),
        );
        let to = qos.ingress_packets;
        limit(Of::PacketsTo, to.map(|r| packets(r, "ingress_packet_rate")));
        class(pod, port, &origin, set);
        shared(view, pod, port, set);
    }
}

/// What the pod's namespace may send and get on this node; the meters are the namespace's.
fn shared(view: &View<'_>, pod: &PodView<'_>, port: PortNo, set: &mut FlowSet) {
    let namespace = &pod.pod.name.namespace;
    let Some(limits) = view.state.namespace_limits.get(namespace) else {
        return;
    };
    let origin = Origin::object(
        Feature::Qos,
        &ObjectRef::cluster(Kind::Namespace, namespace),
    );
    if let Some(rate) = limits.egress {
        let meter = Meter::drop_above(rate, format!("{origin} egress_rate"));
        let meter = set.add_meter(FIRST_OF_NAMESPACE, meter);
        let intent = "What the namespace's pods here send together is held to its egress rate.";
        let flow = sent_by(Table::NamespaceFromPod, port, intent);
        set.add(&origin, flow.meter(meter));
    }
    if let Some(rate) = limits.ingress {
        let meter = Meter::drop_above(rate, format!("{origin} ingress_rate"));
        let meter = set.add_meter(FIRST_OF_NAMESPACE, meter);
        let intent = "What the namespace's pods here get together is held to its ingress rate.";
        let flow = got_by(Table::NamespaceToPod, port, intent);
        set.add(&origin, flow.meter(meter));
    }
}

/// The flow that takes a port's packets through one of its meters.
fn through(of: Of, port: PortNo) -> Flow {
    match of {
        Of::BitsFrom => {
            let intent = "What the pod sends is held to its egress rate.";
            sent_by(Table::QosFromPod, port, intent)
        }
        Of::BitsTo => {
            let intent = "What the pod gets is held to its ingress rate.";
            got_by(Table::QosToPod, port, intent)
        }
        Of::PacketsFrom => {
            let intent = "What the pod sends is held to its packets a second.";
            sent_by(Table::PacketsFromPod, port, intent)
        }
        Of::PacketsTo => {
            let intent = "What the pod gets is held to its packets a second.";
            got_by(Table::PacketsToPod, port, intent)
        }
    }
}

/// The queue is chosen by number; a port without that queue sends as if nothing was said.
fn class(pod: &PodView<'_>, port: PortNo, origin: &Origin, set: &mut FlowSet) {
    let qos = &pod.pod.qos;
    let queued = |flow: Flow| match qos.priority.queue() {
        0 => flow,
        queue => flow.act(Action::SetQueue(queue)),
    };
    if qos.priority.queue() != 0 && qos.dscp.is_none() {
        let intent = "What the pod sends waits in the queue of its priority.";
        set.add(origin, queued(sent_by(Table::QosClass, port, intent)));
    }
    if let Some(dscp) = qos.dscp {
        for ethertype in [IPV4, IPV6] {
            let intent =
                "What the pod sends has its code point, and waits in the queue of its priority.";
            let flow = queued(sent_by(Table::QosClass, port, intent).ether(ethertype));
            set.add(origin, flow.set(Field::IpDscp, dscp));
        }
    }
}

fn sent_by(table: Table, port: PortNo, intent: &'static str) -> Flow {
    let flow = Flow::new(table, 100, intent).is(&FROM, FROM_POD);
    onwards(flow.when(Field::InPort, port.0), table)
}

fn got_by(table: Table, port: PortNo, intent: &'static str) -> Flow {
    onwards(Flow::new(table, 100, intent).is(&OUT_PORT, port.0), table)
}

/// A limit does not change where the packet goes: on, as one that has none.
fn onwards(flow: Flow, table: Table) -> Flow {
    match table.info().miss {
        Miss::Goto(next) => flow.goto(next),
        Miss::Drop(_) | Miss::Return(_) => flow,
    }
}
