//! Joins two ports with nothing in between: what the ports themselves cost.
//!
//!     cargo run --release -p sluice-ports --example cable --features dpdk -- \
//!         SECONDS a,dev=net_pcap0,rx_pcap=in.pcap,infinite_rx=1 b,dev=net_null0,no-rx=1
#![allow(clippy::print_stdout)] // a tool

use ports::{Burst, Pools, Port, PortSpec};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seconds, a, b] = arguments.as_slice() else {
        return Err("usage: cable SECONDS SPEC SPEC".into());
    };
    let specs: [PortSpec; 2] = [a.parse()?, b.parse()?];
    let pools = pools(&specs)?;
    let [mut a, mut b] = [
        ports::open(&specs[0], &pools)?,
        ports::open(&specs[1], &pools)?,
    ];
    println!("joined");
    let until = Instant::now() + Duration::from_secs_f64(seconds.parse()?);
    let (started, mut rounds) = (Instant::now(), 0_u64);
    while rounds % 1024 != 0 || Instant::now() < until {
        pass(&mut *a, &mut *b);
        pass(&mut *b, &mut *a);
        rounds += 1;
    }
    let took = started.elapsed().as_secs_f64();
    for port in [&a, &b] {
        let (name, stats) = (port.control().name().to_owned(), port.control().stats());
        let rate = stats.rx_packets as f64 / took / 1e6;
        println!("{name}: rx {rate:.3} Mpps, {stats:?}");
    }
    Ok(())
}

fn pass(from: &mut dyn Port, to: &mut dyn Port) {
    let mut burst = Burst::new();
    from.rx(&mut burst);
    if !burst.is_empty() {
        to.tx(&mut burst);
    }
}

#[cfg(feature = "dpdk")]
fn pools(specs: &[PortSpec]) -> Result<Pools, Box<dyn std::error::Error>> {
    use ports::dpdk::{Eal, EalConfig, RegisteredThread};
    if !specs
        .iter()
        .any(|spec| matches!(spec.kind, ports::PortKind::Dpdk { .. }))
    {
        return Ok(Pools::heap());
    }
    let config = EalConfig {
        memory: Some(512),
        no_huge: true,
        file_prefix: format!("cable{}", std::process::id()),
        extra: Vec::new(),
    };
    let eal = Eal::start(&config)?;
    std::mem::forget(RegisteredThread::register(eal)); // for as long as the process lives
    Ok(Pools::dpdk(eal, 512)?)
}

#[cfg(not(feature = "dpdk"))]
fn pools(_: &[PortSpec]) -> Result<Pools, Box<dyn std::error::Error>> {
    Ok(Pools::heap())
}
