//! Workers and their caches, as the admin socket shows them.

use admin::{Batches, Cache, Core, Residence, RxQueue, StageTime};
use worker::telemetry::BURST_SIZES;
use worker::{Counter, HistogramSnapshot, Stage, TelemetrySnapshot};

use super::show::cpu;
use crate::busy::tenths;
use crate::{Switch, WorkerView};

pub(super) fn cores(switch: &Switch) -> Vec<Core> {
    let workers = switch.engine.workers();
    let rate = switch.engine.ticks_per_second();
    let busy = switch.busy.borrow();
    let core = |(at, worker): (usize, &WorkerView)| {
        let counters = &worker.counters;
        let (second, minute) = (busy.second(at), busy.minute(at));
        let lately = busy.lately(at, worker);
        let queue = |queue: &crate::RxQueueView| RxQueue {
            port: queue.port.clone(),
            queue: queue.queue,
            packets: queue.packets,
            share_percent: tenths(busy.share(at, worker, queue).unwrap_or_default()),
            spread: queue.spread,
        };
        Core {
            cpu: cpu(worker).unwrap_or_default(),
            ports: worker.ports.clone(),
            packets: counters.get(Counter::RxPackets),
            bursts: counters.get(Counter::BusyPolls),
            idle_polls: counters.get(Counter::IdlePolls),
            asleep_ns: counters.get(Counter::SleepNanos),
            busy_percent: second.busy_percent,
            busy_percent_minute: minute.busy_percent,
            packets_per_second: second.packets_per_second,
            packets_per_second_minute: minute.packets_per_second,
            batch: tenths(mean_burst(&lately)),
            batches: batches(&lately),
            cycles_per_second: rate,
            sampled_packets: lately.sampled_packets,
            stages: stages(&lately, rate),
            residence: residence(&lately.residence),
            queues: worker.queues.iter().map(queue).collect(),
        }
    };
    workers.iter().enumerate().map(core).collect()
}

pub(super) fn caches(switch: &Switch) -> Vec<Cache> {
    let workers = switch.engine.workers();
    let cache = |worker: &WorkerView| {
        let counters = &worker.counters;
        Cache {
            cpu: cpu(worker).unwrap_or_default(),
            entries: counters.get(Counter::CacheEntries),
            capacity: counters.get(Counter::CacheCapacity),
            hits: counters.get(Counter::CacheHits),
            misses: counters.get(Counter::CacheMisses),
            stale: counters.get(Counter::CacheStale),
            uncacheable: counters.get(Counter::CacheBypass),
            programs: counters.get(Counter::CachePrograms),
            bytes: counters.get(Counter::CacheBytes),
            inserts: counters.get(Counter::CacheInserts),
            evictions: counters.get(Counter::CacheEvictions),
        }
    };
    workers.iter().map(cache).collect()
}

fn mean_burst(lately: &TelemetrySnapshot) -> f64 {
    match lately.bursts.iter().sum::<u64>() {
        0 => 0.0,
        bursts => lately.burst_packets as f64 / bursts as f64,
    }
}

fn batches(lately: &TelemetrySnapshot) -> Vec<Batches> {
    let sizes = BURST_SIZES.iter().zip(&lately.bursts);
    sizes
        .map(|(up_to, count)| Batches {
            up_to: *up_to,
            count: *count,
        })
        .collect()
}

fn stages(lately: &TelemetrySnapshot, rate: u64) -> Vec<StageTime> {
    let time = |stage: &Stage| {
        let cycles = lately.ticks_per_packet(*stage)?;
        Some(StageTime {
            stage: stage.name().to_owned(),
            cycles: tenths(cycles),
            ns: tenths(cycles * 1e9 / rate.max(1) as f64),
        })
    };
    Stage::ALL.iter().filter_map(time).collect()
}

fn residence(times: &HistogramSnapshot) -> Residence {
    let at = |share| times.quantile(share).unwrap_or_default();
    Residence {
        count: times.count(),
        p50_ns: at(0.5),
        p99_ns: at(0.99),
        p999_ns: at(0.999),
        max_ns: times.max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_the_bursts_that_were_counted() {
        let mut lately = TelemetrySnapshot::default();
        assert_eq!(mean_burst(&lately), 0.0);
        lately.bursts = [10, 0, 0, 0, 0, 10];
        lately.burst_packets = 250;
        assert_eq!(mean_burst(&lately), 12.5);
    }

    #[test]
    fn stages_are_told_per_packet_and_in_both_units() {
        let mut lately = TelemetrySnapshot::default();
        assert_eq!(stages(&lately, 2_000_000_000), []);
        lately.sampled_packets = 100;
        lately.stages[Stage::Lookup as usize] = 5000;
        let times = stages(&lately, 2_000_000_000);
        let lookup = times.iter().find(|time| time.stage == "lookup").unwrap();
        assert_eq!((lookup.cycles, lookup.ns), (50.0, 25.0));
        assert_eq!(times.len(), Stage::COUNT);
    }
}
