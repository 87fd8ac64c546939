//! Real packets of real tools through taps and veths: two network namespaces joined by a loop that
//! passes on whatever it receives.

mod common;

use common::{Pair, Seen, join, may_run, run};
use ports::{Pools, Port, PortSpec};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

fn open(spec: &str, pools: &Pools) -> Box<dyn Port> {
    ports::open(&spec.parse::<PortSpec>().unwrap(), pools).unwrap()
}

/// The traffic that both kinds of interface must carry.
fn exercise(pair: &Pair, seen: &Seen) {
    pair.ping("10.9.0.2");
    pair.ping("fd09::2");
    assert_eq!(seen.tagged.load(Relaxed), 0);
    pair.tagged_frame();
    assert!(
        seen.tagged.load(Relaxed) > 0,
        "the pipeline sees the tag in the frame"
    );
    pair.stream("10.9.0.2", 60_000_000);
    pair.stream("fd09::2", 20_000_000);
    let large = seen.large.load(Relaxed);
    assert!(
        large > 1000,
        "only {large} large frames: they are not carried whole"
    );
    assert!(seen.open_checksums.load(Relaxed) > large);
}

#[test]
fn two_namespaces_talk_through_taps_with_large_frames_whole() {
    if !may_run() {
        return;
    }
    let pair = Pair::new("tap");
    let pools = Pools::heap();
    quiet_ports_hold_no_buffers(&pools);
    let id = std::process::id() % 100_000;
    let specs = [
        format!("slt{id}a,dev=tap"),
        format!("slt{id}b,closed=true,mtu=1500,dev=tap"),
    ];
    let ports = [open(&specs[0], &pools), open(&specs[1], &pools)];
    let controls = [0, 1].map(|i| Arc::clone(ports[i].control()));
    assert!(controls[0].link_up(), "an open port is brought up");
    assert!(!controls[1].link_up(), "a closed one is left to its user");
    let again = ports::open(&specs[0].parse().unwrap(), &pools)
        .err()
        .unwrap()
        .to_string();
    assert!(
        again.starts_with(&format!("port slt{id}a: cannot open dev=tap")),
        "{again}"
    );
    assert!(again.contains("another process holds it"), "{again}");
    pair.attach(0, &format!("slt{id}a"));
    pair.attach(1, &format!("slt{id}b"));
    assert!(controls[1].link_up(), "known in whatever namespace it is");
    let mac = run(&format!(
        "ip netns exec {} cat /sys/class/net/eth0/address",
        pair.names[1]
    ));
    assert_eq!(controls[1].mac().to_string(), mac.trim());

    let seen = Arc::new(Seen::default());
    let [a, b] = ports;
    let pump = join(a, b, &seen);
    exercise(&pair, &seen);
    controls[1].set_up(false).unwrap();
    assert!(!controls[1].link_up());
    controls[1].set_up(true).unwrap();
    pair.ping("10.9.0.2");
    seen.stop.store(true, Relaxed);
    pump.join().unwrap();
    let [a, b] = controls.map(|c| c.stats());
    assert_eq!(
        (a.tx_errors, a.rx_errors, b.tx_errors, b.rx_errors),
        (0, 0, 0, 0)
    );
    assert!(a.rx_bytes > 80_000_000 && b.tx_bytes > 80_000_000);
    assert_eq!(
        pools.frames.in_use() + pools.big.in_use(),
        0,
        "segments leaked"
    );
}

#[test]
fn two_namespaces_talk_through_veths_with_large_frames_whole() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::new("veth");
    let pools = Pools::heap();
    let id = std::process::id() % 100_000;
    let [a, b] = ["a", "b"].map(|end| {
        pair.links.push(format!("slv{id}{end}"));
        run(&format!(
            "ip link add slv{id}{end} type veth peer name slp{id}{end}"
        ));
        open(&format!("port{end},dev=veth,iface=slv{id}{end}"), &pools)
    });
    let controls = [Arc::clone(a.control()), Arc::clone(b.control())];
    pair.attach(0, &format!("slp{id}a"));
    pair.attach(1, &format!("slp{id}b"));
    let seen = Arc::new(Seen::default());
    let pump = join(a, b, &seen);
    exercise(&pair, &seen);
    assert!(controls[0].link_up());
    seen.stop.store(true, Relaxed);
    pump.join().unwrap();
    let [a, b] = controls.map(|c| c.stats());
    assert_eq!(
        (a.tx_errors, a.rx_errors, b.tx_errors, b.rx_errors),
        (0, 0, 0, 0)
    );
    assert_eq!(
        pools.frames.in_use() + pools.big.in_use(),
        0,
        "segments leaked"
    );
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let spec: PortSpec = "p1,dev=veth,iface=slnowhere".parse().unwrap();
    let said = ports::open(&spec, &Pools::heap())
        .err()
        .unwrap()
        .to_string();
    assert!(
        said.starts_with("port p1: cannot open dev=veth,iface=slnowhere: "),
        "{said}"
    );
    assert!(said.contains("is there such an interface"), "{said}");
}

fn quiet_ports_hold_no_buffers(pools: &Pools) {
    let name = format!("slw{}", std::process::id() % 100_000);
    let mut port = open(&format!("{name},closed=true,dev=tap"), pools);
    let mut burst = ports::Burst::new();
    port.rx(&mut burst);
    assert_eq!(
        (pools.frames.in_use(), pools.big.in_use()),
        (1, 1),
        "kept for the next poll"
    );
    (0..100).for_each(|_| port.rx(&mut burst));
    assert_eq!((pools.frames.in_use(), pools.big.in_use()), (0, 0));
}
