//! What workers did lately: in the last second, and in the last minute.

use std::collections::{BTreeMap, VecDeque};

use worker::{Counter, TelemetrySnapshot};

use crate::WorkerView;

/// Readings kept, one a second: a minute.
const READINGS: usize = 61;
/// Readings between two of which everything is kept.
const FULL: u64 = 10;

/// Readings of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    seconds: VecDeque<Second>,
    /// Larger ones, fewer of them.
    full: VecDeque<Full>,
    taken: u64,
}

#[derive(Debug)]
struct Second {
    at: u64,
    /// By worker: nanoseconds at work, packets received.
    workers: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Full {
    workers: Vec<TelemetrySnapshot>,
    /// Ticks by worker, port and rx queue.
    queues: BTreeMap<(usize, String, u16), u64>,
}

/// How much a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    /// Part of the time at work.
    pub busy_percent: f64,
    /// Packets received.
    pub packets_per_second: f64,
}

impl Busy {
    /// Takes a reading at `now` nanoseconds; once a second.
    pub fn read(&mut self, now: u64, workers: &[WorkerView]) {
        let second = |worker: &WorkerView| {
            let counters = &worker.counters;
            (
                counters.get(Counter::BusyNanos),
                counters.get(Counter::RxPackets),
            )
        };
        self.seconds.push_back(Second {
            at: now,
            workers: workers.iter().map(second).collect(),
        });
        if self.seconds.len() > READINGS {
            self.seconds.pop_front();
        }
        if self.taken.is_multiple_of(FULL) {
            let mut queues = BTreeMap::new();
            for (at, worker) in workers.iter().enumerate() {
                for queue in &worker.queues {
                    queues.insert((at, queue.port.clone(), queue.queue), queue.ticks);
                }
            }
            self.full.push_back(Full {
                workers: workers.iter().map(|w| w.telemetry.clone()).collect(),
                queues,
            });
            if self.full.len() > READINGS / FULL as usize {
                self.full.pop_front();
            }
        }
        self.taken += 1;
    }

    /// What a worker did in the last second; nothing before two readings.
    pub fn second(&self, worker: usize) -> Rate {
        let before = self.seconds.len().checked_sub(2);
        self.since(before.and_then(|at| self.seconds.get(at)), worker)
    }

    /// What a worker did in the last minute, or since the start.
    pub fn minute(&self, worker: usize) -> Rate {
        self.since(self.seconds.front(), worker)
    }

    /// What a worker measured in the last minute, or since the start.
    pub fn lately(&self, at: usize, worker: &WorkerView) -> TelemetrySnapshot {
        let before = self.full.front().and_then(|full| full.workers.get(at));
        match before {
            Some(before) => worker.telemetry.since(before),
            None => worker.telemetry.clone(),
        }
    }

    /// Part of a worker's time that an rx queue took in the last minute, percent. None if it came
    /// later.
    pub fn share(&self, at: usize, worker: &WorkerView, queue: &crate::RxQueueView) -> Option<f64> {
        let key = (at, queue.port.clone(), queue.queue);
        let before = self.full.front()?.queues.get(&key)?;
        let all: u64 = self.lately(at, worker).stages.iter().sum();
        let ticks = queue.ticks.saturating_sub(*before);
        (all != 0).then(|| (ticks as f64 / all as f64 * 100.0).min(100.0))
    }

    fn since(&self, before: Option<&Second>, worker: usize) -> Rate {
        let (Some(before), Some(now)) = (before, self.seconds.back()) else {
            return Rate::default();
        };
        let elapsed = now.at.saturating_sub(before.at) as f64;
        let of = |second: &Second| second.workers.get(worker).copied().unwrap_or_default();
        let ((busy_before, packets_before), (busy, packets)) = (of(before), of(now));
        if elapsed == 0.0 {
            return Rate::default();
        }
        let percent = busy.saturating_sub(busy_before) as f64 / elapsed * 100.0;
        let packets = packets.saturating_sub(packets_before) as f64;
        Rate {
            busy_percent: tenths(percent.min(100.0)),
            packets_per_second: tenths(packets / elapsed * 1e9),
        }
    }
}

/// To one decimal.
pub(crate) fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
