//! Queues of ports: statistics and configuration. Queues count; shaping them comes in a later
//! version, so none has a rate.

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
            queue: view.id,
            tx_bytes: view.bytes,
            tx_packets: view.packets,
            tx_errors: 0,
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
        queue: view.id,
        port,
        min_rate: None,
        max_rate: None,
        properties: Vec::new(),
    };
    Ok(select(switch, port, queue)?
        .into_iter()
        .map(config)
        .collect())
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
        .filter(|(_, view)| queue == ALL || view.id == queue)
        .collect();
    match found.is_empty() && queue != ALL {
        true => Err(OFPQOFC_BAD_QUEUE),
        false => Ok(found),
    }
}
