//! What workers do: their time, their ports, their caches.

use std::fmt::Write;

use admin::{Cache, Core, Residence};

use super::or_none;
use crate::columns::{Columns, percent, span};

/// Workers: how busy they are, where their time goes, what they poll.
pub fn cores(cores: &[Core]) -> String {
    let mut text = or_none(&summary(cores), "no workers");
    for core in cores {
        // Writing to a string does not fail.
        let _ = write!(text, "\ncore {}\n{}", core.cpu, details(core));
    }
    text
}

fn summary(cores: &[Core]) -> Columns {
    let mut table = Columns::new(&[
        ">CORE",
        ">BUSY 1s",
        ">BUSY 1m",
        ">PACKETS/s",
        ">OVER 1m",
        ">PACKETS",
        ">PER BURST",
        ">CYCLES/PACKET",
        ">IDLE POLLS",
        ">ASLEEP",
    ]);
    for core in cores {
        let cycles: f64 = core.stages.iter().map(|stage| stage.cycles).sum();
        table.row([
            core.cpu.to_string(),
            format!("{:.1} %", core.busy_percent),
            format!("{:.1} %", core.busy_percent_minute),
            format!("{:.0}", core.packets_per_second),
            format!("{:.0}", core.packets_per_second_minute),
            core.packets.to_string(),
            some(core.batch, 1),
            some(cycles, 0),
            core.idle_polls.to_string(),
            span(core.asleep_ns / 1_000_000),
        ]);
    }
    table
}

fn details(core: &Core) -> String {
    let mut text = String::new();
    let mut line = |what: &str, said: String| {
        if !said.is_empty() {
            let _ = writeln!(text, "  {what:<10}{said}");
        }
    };
    let queue = |q: &admin::RxQueue| {
        let spread = if q.spread { ", spread" } else { "" };
        format!(
            "{} rxq {} ({:.1} %, {} packets{spread})",
            q.port, q.queue, q.share_percent, q.packets
        )
    };
    let queues: Vec<String> = core.queues.iter().map(queue).collect();
    line("polls", queues.join(", "));
    let stage = |s: &admin::StageTime| format!("{} {:.1} ({:.1} ns)", s.stage, s.cycles, s.ns);
    let stages: Vec<String> = core.stages.iter().map(stage).collect();
    line("cycles", stages.join(", "));
    line("batches", batches(core));
    line("residence", residence(&core.residence));
    text
}

/// `1: 5.0 %, 2: 1.0 %, 3-4: 94.0 %`.
fn batches(core: &Core) -> String {
    let all: u64 = core.batches.iter().map(|b| b.count).sum();
    if all == 0 {
        return String::new();
    }
    let mut below = 0;
    let mut parts = Vec::new();
    for batch in &core.batches {
        let size = match batch.up_to {
            up_to if up_to == below + 1 => up_to.to_string(),
            up_to => format!("{}-{up_to}", below + 1),
        };
        parts.push(format!("{size}: {}", percent(batch.count, all)));
        below = batch.up_to;
    }
    parts.join(", ")
}

fn residence(times: &Residence) -> String {
    if times.count == 0 {
        return String::new();
    }
    format!(
        "p50 {}, p99 {}, p99.9 {}, max {} ({} packets timed)",
        micros(times.p50_ns),
        micros(times.p99_ns),
        micros(times.p999_ns),
        micros(times.max_ns),
        times.count
    )
}

fn micros(nanos: u64) -> String {
    format!("{}.{:02} us", nanos / 1000, nanos % 1000 / 10)
}

/// A number with so many decimals; empty for zero, which means that nothing was measured.
fn some(number: f64, decimals: usize) -> String {
    match number {
        0.0 => String::new(),
        number => format!("{number:.decimals$}"),
    }
}

/// Flow caches.
pub fn caches(caches: &[Cache]) -> String {
    let mut table = Columns::new(&[
        ">CORE",
        ">FLOWS",
        ">CAPACITY",
        ">PROGRAMS",
        ">MEMORY",
        ">HITS",
        ">MISSES",
        ">STALE",
        ">UNCACHEABLE",
        ">HIT RATE",
        ">INSERTED",
        ">EVICTED",
    ]);
    for cache in caches {
        let all = cache.hits + cache.misses + cache.stale + cache.uncacheable;
        table.row([
            cache.cpu.to_string(),
            cache.entries.to_string(),
            cache.capacity.to_string(),
            cache.programs.to_string(),
            memory(cache.bytes),
            cache.hits.to_string(),
            cache.misses.to_string(),
            cache.stale.to_string(),
            cache.uncacheable.to_string(),
            percent(cache.hits, all),
            cache.inserts.to_string(),
            cache.evictions.to_string(),
        ]);
    }
    or_none(&table, "no workers")
}

fn memory(bytes: u64) -> String {
    match bytes {
        0..=0xf_ffff => format!("{} KiB", bytes >> 10),
        _ => format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admin::{Batches, RxQueue, StageTime};

    #[test]
    fn a_core_tells_where_its_time_goes() {
        let core = Core {
            cpu: 3,
            packets: 1000,
            busy_percent: 40.0,
            batch: 12.5,
            batches: vec![
                Batches { up_to: 1, count: 1 },
                Batches { up_to: 2, count: 0 },
                Batches { up_to: 4, count: 3 },
            ],
            stages: vec![StageTime {
                stage: "lookup".into(),
                cycles: 20.5,
                ns: 7.9,
            }],
            residence: Residence {
                count: 9,
                p50_ns: 1_234,
                p99_ns: 20_000,
                p999_ns: 20_000,
                max_ns: 2_000_009,
            },
            queues: vec![RxQueue {
                port: "uplink0".into(),
                queue: 1,
                packets: 7,
                share_percent: 60.0,
                spread: false,
            }],
            ..Core::default()
        };
        let text = cores(&[core]);
        for part in [
            "polls     uplink0 rxq 1 (60.0 %, 7 packets)\n",
            "cycles    lookup 20.5 (7.9 ns)\n",
            "batches   1: 25.0 %, 2: 0.0 %, 3-4: 75.0 %\n",
            "residence p50 1.23 us, p99 20.00 us, p99.9 20.00 us, max 2000.00 us (9 packets timed)\n",
            "40.0 %",
            "12.5",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        // Nothing was measured yet.
        let text = cores(&[Core::default()]);
        assert!(
            !text.contains("residence") && text.contains("core 0"),
            "{text}"
        );
    }

    #[test]
    fn a_cache_tells_its_memory_and_its_hit_rate() {
        let cache = Cache {
            hits: 999,
            misses: 1,
            bytes: 5 << 19,
            ..Cache::default()
        };
        let text = caches(&[cache]);
        assert!(
            text.contains("2.5 MiB") && text.contains("99.9 %"),
            "{text}"
        );
    }
}
