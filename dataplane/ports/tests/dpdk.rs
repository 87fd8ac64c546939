//! DPDK ports: EAL without hugepages, real packets over `net_af_packet` and veth pairs, also from and to
//! a tap. One process, one test: EAL starts once.
#![cfg(feature = "dpdk")]

mod common;

use common::{Pair, Seen, join, may_run, run};
use os::in_netns;
use ports::dpdk::{Eal, EalConfig};
use ports::{Burst, Pools, Port, PortSpec};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

fn open(spec: &str, pools: &Pools) -> Box<dyn Port> {
    ports::open(&spec.parse::<PortSpec>().unwrap(), pools).unwrap()
}

/// A veth whose far end is in the namespace `end` and sends what a wire would carry.
fn af_packet(pair: &mut Pair, end: usize, name: &str, pools: &Pools) -> Box<dyn Port> {
    let id = std::process::id() % 100_000;
    let (near, far) = (format!("sld{id}{name}"), format!("slf{id}{name}"));
    pair.links.push(near.clone());
    run(&format!("ip link add {near} type veth peer name {far}"));
    run(&format!("ip link set {near} up"));
    let port = open(
        &format!("{name},dev=net_af_packet{name},iface={near}"),
        pools,
    );
    pair.attach(end, &far);
    in_netns(&pair.path(end), || os::disable_offloads("eth0"))
        .unwrap()
        .unwrap();
    port
}

#[test]
fn dpdk_devices_carry_real_traffic() {
    if !may_run() {
        return;
    }
    let config = EalConfig {
        memory: Some(192),
        no_huge: true,
        file_prefix: format!("sluiceports{}", std::process::id()),
        extra: Vec::new(),
    };
    let early = ports::open(&"p,dev=net_null0".parse().unwrap(), &Pools::heap())
        .err()
        .unwrap();
    let said = early.to_string();
    assert_eq!(
        said,
        "port p: cannot open dev=net_null0: DPDK is not running"
    );
    let eal = Eal::start(&config).unwrap();
    let pools = Pools::dpdk(eal, 192).unwrap();
    assert!(pools.frames.data_room() == Pools::FRAME_ROOM);
    errors_name_the_port_and_what_eal_said(&pools);
    two_veths(&pools);
    a_tap_and_a_veth(&pools);
    a_device_with_offloads_is_asked_for_them(&pools);
    devices_are_split_into_queues(&pools);
    a_flow_stays_on_its_queue(&pools);
    assert_eq!(
        (pools.frames.in_use(), pools.big.in_use()),
        (0, 0),
        "buffers leaked"
    );
    let left = std::path::Path::new("/run/dpdk").join(&config.file_prefix);
    assert!(!left.exists(), "EAL left {left:?}");
}

fn errors_name_the_port_and_what_eal_said(pools: &Pools) {
    let spec: PortSpec = "up1,ofport=1,dev=net_af_packet0,iface=slnowhere"
        .parse()
        .unwrap();
    let said = ports::open(&spec, pools).err().unwrap().to_string();
    let device = "port up1: cannot open dev=net_af_packet0,iface=slnowhere: attach: ";
    assert!(
        said.starts_with(device) && said.contains("No such device"),
        "{said}"
    );
    let said = ports::open(&"n,mtu=9000,dev=net_null7,size=x".parse().unwrap(), pools).err();
    assert!(said.is_some());
}

fn two_veths(pools: &Pools) {
    let mut pair = Pair::new("afp");
    let a = af_packet(&mut pair, 0, "a", pools);
    let b = af_packet(&mut pair, 1, "b", pools);
    let controls = [Arc::clone(a.control()), Arc::clone(b.control())];
    assert!(controls[0].link_up());
    let seen = Arc::new(Seen::default());
    let pump = join(a, b, &seen);
    pair.ping("10.9.0.2");
    pair.tagged_frame();
    assert!(
        seen.tagged.load(Relaxed) > 0,
        "the pipeline sees the tag in the frame"
    );
    pair.stream("10.9.0.2", 5_000_000);
    controls[1].set_up(false).unwrap();
    assert!(!controls[1].link_up());
    controls[1].set_up(true).unwrap();
    pair.ping("fd09::2");
    seen.stop.store(true, Relaxed);
    pump.join().unwrap();
    let [a, b] = controls.map(|c| c.stats());
    assert_eq!(
        (a.tx_errors, a.rx_errors, b.tx_errors, b.rx_errors),
        (0, 0, 0, 0)
    );
    assert!(a.rx_bytes > 5_000_000 && b.tx_bytes > 5_000_000);
}

/// What leaves the tap large and with open checksums reaches the wire cut and summed up.
fn a_tap_and_a_veth(pools: &Pools) {
    let mut pair = Pair::new("mix");
    let name = format!("slm{}", std::process::id() % 100_000);
    let tap = open(&format!("{name},closed=true,dev=tap"), pools);
    pair.attach(0, &name);
    let wire = af_packet(&mut pair, 1, "c", pools);
    let control = Arc::clone(wire.control());
    let seen = Arc::new(Seen::default());
    let pump = join(tap, wire, &seen);
    pair.ping("10.9.0.2");
    pair.stream("10.9.0.2", 10_000_000);
    pair.stream("fd09::2", 10_000_000);
    seen.stop.store(true, Relaxed);
    pump.join().unwrap();
    assert!(seen.large.load(Relaxed) > 100, "large frames came in");
    let stats = control.stats();
    assert_eq!(stats.tx_errors, 0);
    let frames = stats.tx_bytes / stats.tx_packets;
    assert!(frames <= 1518, "{frames} bytes per frame on the wire");
}

/// DPDK's own tap computes checksums if it is asked in the way a NIC is.
fn a_device_with_offloads_is_asked_for_them(pools: &Pools) {
    let pair = Pair::new("off");
    let id = std::process::id() % 100_000;
    let (ours, theirs) = (format!("slo{id}"), format!("slq{id}"));
    let tap = open(&format!("{ours},closed=true,dev=tap"), pools);
    let device = open(&format!("nic,dev=net_tap0,iface={theirs}"), pools);
    assert!(
        device.control().caps().csum,
        "checksums are left to the device"
    );
    pair.attach(0, &ours);
    pair.attach(1, &theirs);
    let control = Arc::clone(device.control());
    let seen = Arc::new(Seen::default());
    let pump = join(tap, device, &seen);
    pair.ping("10.9.0.2");
    pair.stream("10.9.0.2", 10_000_000);
    pair.stream("fd09::2", 10_000_000);
    seen.stop.store(true, Relaxed);
    pump.join().unwrap();
    assert!(seen.large.load(Relaxed) > 100, "large frames came in");
    let stats = control.stats();
    assert_eq!((stats.tx_errors, stats.tx_dropped), (0, 0));
    let frames = stats.tx_bytes / stats.tx_packets;
    assert!(frames <= 1518, "{frames} bytes per frame");
}

fn devices_are_split_into_queues(pools: &Pools) {
    let open_for = |spec: &str, workers| {
        let spec: PortSpec = spec.parse().unwrap();
        ports::open_for(&spec, pools, workers).map_err(|error| error.to_string())
    };
    let parts = |spec: &str, workers| {
        let mut port = open_for(spec, workers).unwrap();
        let queues = port.split();
        assert!(port.split().is_none(), "once");
        queues.map(|queues| (queues.rx.len(), queues.tx.len()))
    };
    assert_eq!(parts("n,dev=net_null1", 1), None);
    assert_eq!(parts("n,dev=net_null2", 4), Some((1, 4)));
    assert_eq!(parts("n,rxq=3,dev=net_null3", 2), Some((3, 2)));
    assert_eq!(parts("n,rxq=3,dev=net_null4", 1), Some((3, 1)));
    // What is sent to a ring's queue comes back by the same, so there are no more than are read.
    assert_eq!(parts("n,dev=net_ring1", 2), None);
    let said = open_for("n,rxq=64,dev=net_ring2", 2).err().unwrap();
    assert!(said.contains("rxq=64: net_ring has "), "{said}");
    let mut port = open_for("n,rxq=2,dev=net_null5", 2).unwrap();
    let control = Arc::clone(port.control());
    let mut queues = port.split().unwrap();
    drop(port);
    let mut burst = Burst::new();
    for part in &mut queues.rx {
        part.rx(&mut burst);
        assert_eq!(burst.len(), ports::BURST, "net_null always has packets");
        assert_eq!(queues.tx[0].tx(&mut burst), 0);
    }
    queues.tx[1].rx(&mut burst);
    assert!(burst.is_empty());
    let stats = control.stats();
    let twice = 2 * ports::BURST as u64;
    assert_eq!((stats.rx_packets, stats.tx_packets), (twice, twice));
}

/// The kernel spreads what comes in over the sockets of a device, by flow.
fn a_flow_stays_on_its_queue(pools: &Pools) {
    let mut pair = Pair::new("rxq");
    let id = std::process::id() % 100_000;
    let (ours, theirs) = (format!("slu{id}"), format!("slv{id}"));
    run(&format!("ip link add {ours} type veth peer name {theirs}"));
    pair.links.push(ours.clone());
    run(&format!("ip link set {ours} up"));
    pair.attach(0, &theirs);
    let ns = &pair.names[0];
    run(&format!(
        "ip -n {ns} neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev eth0"
    ));
    let spec = format!("up,rxq=2,dev=net_af_packet8,iface={ours},qpairs=2");
    let wrong = format!("up,dev=net_af_packet9,iface={ours},qpairs=2")
        .parse()
        .unwrap();
    let said = ports::open(&wrong, pools).err().unwrap().to_string();
    assert!(said.contains("give rxq=2"), "{said}");
    let mut queues = open(&spec, pools).split().unwrap();
    assert_eq!((queues.rx.len(), queues.tx.len()), (2, 2));
    let sender = os::in_netns(&pair.path(0), || {
        (0..64)
            .map(|_| std::net::UdpSocket::bind("10.9.0.1:0").unwrap())
            .collect::<Vec<_>>()
    });
    let sender = sender.unwrap();
    for _ in 0..3 {
        for socket in &sender {
            socket.send_to(&[0; 18], "10.9.0.2:7").unwrap();
        }
    }
    let mut flows: [BTreeMap<u16, usize>; 2] = Default::default();
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut seen = 0;
    while seen < 3 * sender.len() && Instant::now() < deadline {
        for (part, flows) in queues.rx.iter_mut().zip(&mut flows) {
            let mut burst = Burst::new();
            part.rx(&mut burst);
            for packet in burst.iter().filter(|p| p.head().get(23) == Some(&17)) {
                let port = u16::from_be_bytes(packet.head()[34..36].try_into().unwrap());
                *flows.entry(port).or_default() += 1;
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 3 * sender.len(), "{flows:?}");
    let [first, second] = &flows;
    assert!(!first.is_empty() && !second.is_empty(), "{flows:?}");
    assert!(
        first.values().chain(second.values()).all(|n| *n == 3),
        "{flows:?}"
    );
}
