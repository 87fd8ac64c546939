//! Rx queues are moved by load: rarely, and only if it is worth it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use net::PortNo;

use super::Workers;
use crate::balance::{Load, Move, plan};
use crate::{Counter, PortError, PortSlot, Reply};

/// What was read last time.
#[derive(Default)]
pub(super) struct Balancer(Mutex<Reading>);

#[derive(Default)]
struct Reading {
    at: u64,
    /// By worker: nanoseconds at work, and ticks of rounds that were timed.
    workers: Vec<(u64, u64)>,
    /// By rx queue: ticks, and the worker that polled it.
    queues: HashMap<(PortNo, PortSlot, u16), (u64, usize)>,
    /// Moves that are still to be made, the next one last.
    plan: Vec<Move>,
}

/// An rx queue that was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The port's name.
    pub port: String,
    /// Number of the queue.
    pub queue: u16,
    /// The worker that polls it from now on.
    pub to: usize,
}

impl Workers {
    /// Moves rx queues between workers, if the time for it has come and it is worth it, as the
    /// configuration says; gives what was moved. To be called about once a second.
    pub fn balance(&self) -> Vec<Moved> {
        let shared = &self.link.shared;
        let Some(settings) = shared.config.balance else {
            return Vec::new();
        };
        let mut last = self
            .balancer
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = shared.now();
        if now.saturating_sub(last.at) >= settings.interval {
            let new = self.read(now);
            let old = std::mem::replace(&mut *last, new);
            let (queues, busy) = loads(&old, &last);
            last.plan = plan(&queues, &busy, &settings);
            last.plan.reverse();
        }
        let ports = shared.ports();
        let mut moved = Vec::new();
        while let Some(step) = last.plan.pop() {
            let Some(port) = ports.at(step.slot) else {
                continue;
            };
            match self.move_port(port.number, step.queue, step.to, Reply::ignore()) {
                Ok(()) => moved.push(Moved {
                    port: port.name.clone(),
                    queue: step.queue,
                    to: step.to,
                }),
                // One at a time; the rest when this is called again.
                Err(PortError::Moving(_)) => {
                    last.plan.push(step);
                    break;
                }
                // It is gone meanwhile.
                Err(_) => {}
            }
        }
        moved
    }

    fn read(&self, now: u64) -> Reading {
        let shared = &self.link.shared;
        let worker = |index: usize| {
            let ticks = shared.telemetry(index).stage_ticks();
            (shared.counters(index).get(Counter::BusyNanos), ticks)
        };
        let mut queues = HashMap::new();
        for port in shared.ports().iter() {
            for (at, queue) in (0..).zip(&port.placement.rx) {
                let key = (port.number, port.slot, at);
                queues.insert(key, (queue.ticks(), queue.worker()));
            }
        }
        Reading {
            at: now,
            workers: (0..shared.workers()).map(worker).collect(),
            queues,
            plan: Vec::new(),
        }
    }
}

/// What each rx queue and each worker did between two readings, as shares of a processor's time. What
/// was moved meanwhile counts for nothing: nobody knows what it costs where it is.
fn loads(old: &Reading, new: &Reading) -> (Vec<Load>, Vec<f64>) {
    let elapsed = new.at.saturating_sub(old.at).max(1) as f64;
    let mut busy = Vec::new();
    let mut ticks = Vec::new();
    for (at, (nanos, total)) in new.workers.iter().enumerate() {
        let (before, total_before) = old.workers.get(at).copied().unwrap_or_default();
        busy.push((nanos.saturating_sub(before) as f64 / elapsed).min(1.0));
        ticks.push(total.saturating_sub(total_before));
    }
    let mut queues = Vec::new();
    for ((number, slot, queue), (now, worker)) in &new.queues {
        let Some((before, _)) = old
            .queues
            .get(&(*number, *slot, *queue))
            .filter(|(_, was)| was == worker)
        else {
            continue;
        };
        let (Some(busy), Some(all)) = (busy.get(*worker), ticks.get(*worker)) else {
            continue;
        };
        let part = now.saturating_sub(*before) as f64 / (*all).max(1) as f64;
        queues.push(Load {
            slot: *slot,
            queue: *queue,
            worker: *worker,
            share: busy * part.min(1.0),
        });
    }
    // In an order that does not depend on the map's.
    queues.sort_unstable_by_key(|load| (load.slot.0, load.queue));
    (queues, busy)
}
