//! How busy workers were lately.

use crate::WorkerView;
use worker::Counter;

/// Shares of time at work, between the last two readings.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    read_at: u64,
    nanos: Vec<u64>,
    percent: Vec<f64>,
}

impl Busy {
    /// Takes a reading at `now` nanoseconds.
    pub fn read(&mut self, now: u64, workers: &[WorkerView]) {
        let elapsed = now.saturating_sub(self.read_at).max(1);
        let nanos: Vec<u64> = workers
            .iter()
            .map(|worker| worker.counters.get(Counter::BusyNanos))
            .collect();
        self.percent = nanos
            .iter()
            .enumerate()
            .map(|(at, now)| {
                let before = self.nanos.get(at).copied().unwrap_or_default();
                let share = now.saturating_sub(before) as f64 / elapsed as f64;
                (share * 1000.0).round().min(1000.0) / 10.0
            })
            .collect();
        self.nanos = nanos;
        self.read_at = now;
    }

    /// Percent of the time for a worker; 0 before two readings.
    pub fn percent(&self, worker: usize) -> f64 {
        self.percent.get(worker).copied().unwrap_or_default()
    }
}
