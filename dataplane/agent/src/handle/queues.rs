//! Queues of ports: statistics and configuration.

use net::PortNo;
use openflow::error::{OFPQOFC_BAD_PORT, OFPQOFC_BAD_QUEUE, OfError};
use openflow::msg::{PacketQueue, QueueStats};

use crate::{QueueView, Switch};

const NANOS: u64 = 1_000_000_000;
/// Every queue (OFPQ_ALL; OpenFlow 1.3.5, A.3.5.7).
const ALL: u32 = u32::MAX;

/// OFPMP_QUEUE.
pub(super) fn stats(switch: &Switch, port: PortNo, queue: u32) -> Result<Vec<QueueStats>, OfError> {
    let now = switch.engine.now();
    let stats = |(port, view): (PortNo, QueueView)| {
        let age = now.saturating_sub(view.created);
        QueueStats {
            port,
            queue: view.spec.id,
            tx_bytes: view.bytes,
            tx_packets: view.packets,
            // Overruns (struct ofp_queue_stats).
            tx_errors: view.dropped,
            properties: Vec::new(),
            duration_sec: u32::try_from(age / NANOS).unwrap_or(u32::MAX),
            duration_nsec: (age % NANOS) as u32,
        }
    };
    Ok(select(switch, port, queue)?
        .into_iter()
        .map(stats)
        .collect())
}

/// OFPT_QUEUE_GET_CONFIG_REQUEST and, from 1.4 on, OFPMP_QUEUE_DESC.
pub(super) fn config(
    switch: &Switch,
    port: PortNo,
    queue: u32,
) -> Result<Vec<PacketQueue>, OfError> {
    let config = |(port, view): (PortNo, QueueView)| PacketQueue {
        queue: view.spec.id,
        port,
        min_rate: tenths(view.spec.min, speed(switch, port)),
        max_rate: tenths(view.spec.max, speed(switch, port)),
        properties: Vec::new(),
    };
    Ok(select(switch, port, queue)?
        .into_iter()
        .map(config)
        .collect())
}

/// What rates of a port's queues are parts of, bit/s: the speed that OFPMP_PORT_DESC tells or, of a port
/// that has none, such as a tap, its own rate.
fn speed(switch: &Switch, port: PortNo) -> Option<u64> {
    let ports = switch.ports.borrow();
    let record = ports.get(port)?;
    let device = record.control.as_ref().map_or(0, |control| control.speed());
    match u64::from(device) * 1_000_000 {
        0 => record.spec.shaping.rate,
        speed => Some(speed),
    }
}

/// A rate in tenths of a percent, rounded, 1 at least (OpenFlow 1.3.5, 7.2.2). None if there is no
/// rate, or nothing to compare it with.
fn tenths(rate: Option<u64>, speed: Option<u64>) -> Option<u16> {
    let (rate, speed) = (u128::from(rate?), u128::from(speed?));
    let tenths = (rate * 1000 + speed / 2) / speed.max(1);
    u16::try_from(tenths.clamp(1, 1000)).ok()
}

/// The queues that are meant.
fn select(switch: &Switch, port: PortNo, queue: u32) -> Result<Vec<(PortNo, QueueView)>, OfError> {
    let ports: Vec<PortNo> = switch.ports.borrow().iter().map(|p| p.number).collect();
    if port != PortNo::ANY && !ports.contains(&port) {
        return Err(OFPQOFC_BAD_PORT);
    }
    let meant = ports
        .into_iter()
        .filter(|number| port == PortNo::ANY || *number == port);
    let queues = meant.flat_map(|number| {
        let queues = switch.engine.queues(number).into_iter();
        queues.map(move |view| (number, view))
    });
    let found: Vec<_> = queues
        .filter(|(_, view)| queue == ALL || view.spec.id == queue)
        .collect();
    match found.is_empty() && queue != ALL {
        true => Err(OFPQOFC_BAD_QUEUE),
        false => Ok(found),
    }
}
