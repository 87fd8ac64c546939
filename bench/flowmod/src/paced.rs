//! Flow-mods at a given rate: tables that change while packets go through others.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use openflow::{Message, Version, wire};

use crate::Options;
use crate::connection::Connection;
use crate::flows::Flows;

/// How often a part is sent.
const STEP: Duration = Duration::from_millis(5);
/// Steps between barriers, of which the next waits for the reply.
const BARRIER_EVERY: u32 = 20;

/// Adds all flows, deletes all, and so on. Prints one line of JSON.
pub(crate) fn run(
    options: &Options,
    rate: u32,
    flows: &Flows,
    connection: &mut Connection,
) -> Result<()> {
    // One round of additions and deletions, cut into the parts that are sent at once.
    let part = (u128::from(rate) * STEP.as_millis() / 1000) as usize;
    ensure!(part > 0, "a rate is 200 flow-mods per second or more");
    let numbers = options.from..options.from + options.count;
    let adds = numbers.clone().map(|n| flows.add(n));
    let requests: Vec<_> = adds.chain(numbers.map(|n| flows.delete(n))).collect();
    let mut parts = Vec::new();
    for requests in requests.chunks(part) {
        let mut bytes = Vec::new();
        for request in requests {
            wire::encode(
                Version::V1_3,
                1,
                &Message::FlowMod(request.clone()),
                &mut bytes,
            )?;
        }
        parts.push((requests.len(), bytes));
    }
    let (begin, mut sent, mut refused, mut slowest) = (Instant::now(), 0, 0, Duration::ZERO);
    let last = Duration::from_secs(u64::from(options.seconds));
    for (step, (n, bytes)) in (0u32..).zip(parts.iter().cycle()) {
        let due = STEP * step;
        if due >= last {
            break;
        }
        thread::sleep(due.saturating_sub(begin.elapsed()));
        connection.write(bytes)?;
        sent += n;
        if step % BARRIER_EVERY == BARRIER_EVERY - 1 {
            let asked = Instant::now();
            refused += connection.barrier()?.len();
            slowest = slowest.max(asked.elapsed());
        }
    }
    refused += connection.barrier()?.len();
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(refused == 0, "{refused} messages were refused");
    println!(
        "{{\"sent\": {sent}, \"seconds\": {seconds:.3}, \"per_second\": {:.0}, \"slowest_barrier_ms\": {:.3}}}",
        sent as f64 / seconds,
        slowest.as_secs_f64() * 1e3
    );
    Ok(())
}
