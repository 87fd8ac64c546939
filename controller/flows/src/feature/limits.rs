//! How many connections a pod may have, and what becomes of packets on their way to it.
//!
//! The connections of a pod that has a limit are tracked in two zones of its own, as the pod sees
//! them: those that others have with it, and those that it has begun. Both are looked at next to
//! its port, where nothing is translated any more or yet, so what comes back finds the connection
//! of what went out. The zones' limits are the switch's; a packet that begins one too many is
//! dropped there.

use cluster::Problem;
use cluster::desired::Connections;
use net::PortNo;
use net::key::ct_state::{INV, NEW, REL, RPL, TRK};
use openflow::Field;
use openflow::action::{Ct, CtZone};
use openflow::msg::Impairment;

use crate::fields::{FIRST_LIMIT_ZONE, FROM, FROM_POD, OUT_PORT};
use crate::flow::{Flow, FlowSet, IPV4, IPV6, Impaired, ZoneLimit};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{PodView, View};

/// Ports up to this have zones: two each, above those with names.
const LAST_PORT: u32 = (u16::MAX - FIRST_LIMIT_ZONE) as u32 / 2;

/// Flows of [`Table::PodSends`], [`Table::PodBegins`], [`Table::PodGets`] and
/// [`Table::PodIsAsked`], limits of zones, and impairments of ports.
pub fn flows(view: &View<'_>, set: &mut FlowSet) {
    for (pod, port) in view.local_pods() {
        if let Some(limits) = &pod.pod.qos.connections {
            connections(pod, port, limits, set);
        }
        if let Some(wanted) = pod.pod.qos.impairment {
            let impairment = Impairment {
                port,
                delay_us: wanted.latency_ms.saturating_mul(1000),
                jitter_us: wanted.jitter_ms.saturating_mul(1000),
                loss_ppm: wanted.loss_ppm,
                limit: wanted.limit,
            };
            let label = format!("{} impairment", pod.object());
            set.impairments.insert(port, Impaired { impairment, label });
        }
    }
}

fn connections(pod: &PodView<'_>, port: PortNo, limits: &Connections, set: &mut FlowSet) {
    let object = pod.object();
    if port.0 > LAST_PORT {
        set.problems.push(Problem::refused(
            object,
            "metadata.annotations[sluice.io/ingress_connections]",
            format!("its port has number {port}; connections are counted up to {LAST_PORT}"),
            "give the port a smaller number (ofport=)",
        ));
        return;
    }
    let with_it = FIRST_LIMIT_ZONE + port.0 as u16 * 2;
    let begun = with_it + 1;
    for (zone, limit, name) in [
        (with_it, limits.ingress, "ingress_connections"),
        (begun, limits.egress, "egress_connections"),
    ] {
        let limit = ZoneLimit {
            limit,
            owner: limits.owner,
            label: format!("{object} {name}"),
        };
        set.zone_limits.insert(zone, limit);
    }
    let origin = Origin::object(Feature::Limits, &object);
    for ethertype in [IPV4, IPV6] {
        let sends = |table, intent| {
            let flow = Flow::new(table, 100, intent).is(&FROM, FROM_POD);
            flow.when(Field::InPort, port.0).ether(ethertype)
        };
        let gets = |table, intent| {
            let flow = Flow::new(table, 100, intent).is(&OUT_PORT, port.0);
            flow.ether(ethertype)
        };
        let intent = "What the pod sends may belong to a connection that others have with it.";
        let flow = sends(Table::PodSends, intent);
        set.add(&origin, flow.act(track(with_it, false, Table::PodBegins)));
        let intent = "If not, the pod has begun it: one too many is dropped.";
        let flow = begins(sends(Table::PodBegins, intent));
        set.add(&origin, flow.act(track(begun, true, Table::L3Classify)));
        let intent = "What begins none may end one that the pod has begun.";
        let flow = begins_none(sends(Table::PodBegins, intent));
        set.add(&origin, flow.act(track(begun, false, Table::L3Classify)));
        let intent = "What the pod gets may belong to a connection that it has begun.";
        let flow = gets(Table::PodGets, intent);
        set.add(&origin, flow.act(track(begun, false, Table::PodIsAsked)));
        let intent = "If not, others have begun it: one too many is dropped.";
        let flow = begins(gets(Table::PodIsAsked, intent));
        set.add(&origin, flow.act(track(with_it, true, Table::Output)));
        let intent = "What begins none may end one that others have with it.";
        let flow = begins_none(gets(Table::PodIsAsked, intent));
        set.add(&origin, flow.act(track(with_it, false, Table::Output)));
    }
}

/// Only what belongs to no connection of the zone.
fn begins(flow: Flow) -> Flow {
    flow.ct_state(TRK | NEW, REL | RPL | INV)
}

/// Only what neither belongs to a connection of the zone nor could begin one: a reset of TCP, for
/// instance.
fn begins_none(flow: Flow) -> Flow {
    flow.ct_state(TRK | INV, 0)
}

fn track(zone: u16, commit: bool, table: Table) -> openflow::Action {
    openflow::Action::Ct(Ct {
        commit,
        force: false,
        zone: CtZone::Number(zone),
        table: Some(table.id()),
        alg: 0,
        actions: Vec::new(),
    })
}
