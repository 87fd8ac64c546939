//! Workers as threads: hand-over between them, barriers, the end.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{in_port, mac, output, udp};
use conntrack::ConnTable;
use net::{PortNo, TableId};
use openflow::Instructions;
use openflow::model::FlowMod;
use packet::{Packet, Pool};
use ports::Caps;
use ports::mem::{MemPort, MemWire};
use tables::Tables;
use worker::{Config, Counter, FragmentLimits, Poll, PortKind, Reply, Shared, Workers};

struct Node {
    tables: Tables,
    workers: Workers,
    wires: Vec<MemWire>,
    pool: Pool,
}

/// Two workers with two ports each.
fn node(poll: Poll) -> Node {
    let tables = Tables::new();
    let conns = ConnTable::new(&conntrack::Config::new(1000, [1, 2])).unwrap();
    let config = Config {
        cpus: vec![0, 1],
        poll,
        // One worker may be far ahead of the other.
        fragments: FragmentLimits {
            datagrams: 1 << 16,
            packets: 1 << 16,
            bytes: 1 << 26,
            ..FragmentLimits::default()
        },
        ..Config::default()
    };
    let shared = Shared::new(config, tables.published(), Arc::new(conns));
    let pool = Pool::heap(2048);
    let workers = Workers::start(shared, &pool, [1, 2], |_| {}).unwrap();
    let mut wires = Vec::new();
    for number in 1..=4 {
        let name = format!("p{number}");
        let (port, wire) = MemPort::new(&name, Caps::default());
        workers
            .add_port(PortNo(number), &name, 0, Box::new(port))
            .unwrap();
        wires.push(wire);
    }
    Node {
        tables,
        workers,
        wires,
        pool,
    }
}

impl Node {
    fn flow(&mut self, from: u32, to: u32) {
        let add = FlowMod::add(
            TableId(0),
            1,
            in_port(from),
            Instructions::apply(vec![output(to)]),
        );
        self.tables.flow_mod(&add, 0).unwrap();
        self.tables.publish();
    }

    fn wait(&self, ask: impl FnOnce(&Workers, Reply<()>)) {
        let (reply, answer) = Reply::channel();
        ask(&self.workers, reply);
        answer.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    fn send(&self, port: usize, frame: &[u8]) {
        let packet = Packet::from_slice(&self.pool, frame).unwrap();
        self.wires[port - 1].inject(packet).unwrap();
    }

    /// Packets that came out of a port, once there are so many.
    fn receive(&self, port: usize, count: usize) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut received = Vec::new();
        while received.len() < count && Instant::now() < deadline {
            received.extend(self.wires[port - 1].collect_all());
            std::thread::sleep(Duration::from_micros(100));
        }
        received.iter().map(Packet::to_vec).collect()
    }
}

fn carried_between_workers(poll: Poll) {
    let mut node = node(poll);
    let ports = node.workers.shared().ports();
    let owner = |number| match ports.get(PortNo(number)).unwrap().kind {
        PortKind::Device { worker } => worker,
        PortKind::Tunnel(_) => unreachable!(),
    };
    assert_ne!(owner(1), owner(2), "ports are spread over the workers");
    node.flow(1, 2);
    node.flow(2, 1);
    node.wait(|workers, reply| workers.barrier(reply));
    let frames: Vec<_> = (0..500).map(|n| udp(1, 2, (n, 9), b"to")).collect();
    for frame in &frames {
        node.send(1, frame);
    }
    assert_eq!(node.receive(2, 500), frames, "all of them, in order");
    node.send(2, &udp(2, 1, (9, 1), b"back"));
    assert_eq!(node.receive(1, 1).len(), 1);
    node.wait(|workers, reply| workers.settle(reply));
    let pipeline = node.tables.published().load();
    let packets: u64 = pipeline
        .table(TableId(0))
        .unwrap()
        .rules()
        .map(|rule| rule.stats.counters().packets)
        .sum();
    assert_eq!(packets, 501);
    let shared = node.workers.shared().clone();
    let sent: u64 = (0..2)
        .map(|w| shared.counters(w).get(Counter::TxPackets))
        .sum();
    assert_eq!(sent, 501);
    node.workers.stop();
}

#[test]
fn packets_cross_from_worker_to_worker_in_order() {
    carried_between_workers(Poll::default());
}

#[test]
fn likewise_when_workers_spin() {
    carried_between_workers(Poll::Busy);
}

#[test]
fn the_packet_after_a_barrier_sees_the_new_flows() {
    let mut node = node(Poll::default());
    node.flow(1, 3);
    node.wait(|workers, reply| workers.barrier(reply));
    for round in 0..200u16 {
        // Old: to 3. New: to 4. Then back.
        let to = if round % 2 == 0 { 4 } else { 3 };
        node.flow(1, to);
        node.wait(|workers, reply| workers.barrier(reply));
        node.send(1, &udp(1, 2, (7, 7), &round.to_be_bytes()));
        let out = node.receive(to as usize, 1);
        assert_eq!(out.len(), 1, "round {round}");
        assert!(node.wires[6 - to as usize].collect().is_none());
    }
}

#[test]
fn a_barrier_that_lets_a_worker_sleep_holds_all_the_same() {
    // Such long naps that a worker is nearly always asleep when it is asked.
    let cap = Duration::from_millis(5);
    let mut node = node(Poll::Adaptive { cap });
    node.flow(1, 3);
    let mut slowest = Duration::ZERO;
    for round in 0..60u16 {
        std::thread::sleep(Duration::from_millis(u64::from(round % 5) * 5));
        let to = if round % 2 == 0 { 4 } else { 3 };
        node.flow(1, to);
        let start = Instant::now();
        node.wait(|workers, reply| workers.barrier(reply));
        slowest = slowest.max(start.elapsed());
        node.send(1, &udp(1, 2, (7, 7), &round.to_be_bytes()));
        assert_eq!(node.receive(to as usize, 1).len(), 1, "round {round}");
        assert!(node.wires[6 - to as usize].collect().is_none());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[test]
fn idle_workers_sleep_and_wake_for_packets() {
    let mut node = node(Poll::default());
    node.flow(1, 2);
    let shared = node.workers.shared().clone();
    let slept = || shared.counters(0).get(Counter::SleepNanos);
    let deadline = Instant::now() + Duration::from_secs(10);
    while slept() < 50_000_000 {
        assert!(Instant::now() < deadline, "slept {} ns in 10 s", slept());
        std::thread::sleep(Duration::from_millis(10));
    }
    let start = Instant::now();
    node.send(1, &udp(1, 2, (7, 7), &mac(1)));
    assert_eq!(node.receive(2, 1).len(), 1);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_deleted_port_comes_back_from_its_worker() {
    let node = node(Poll::default());
    let (reply, answer) = Reply::channel();
    node.workers.delete_port(PortNo(3), reply).unwrap();
    let device = answer.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(device.unwrap().0.control().name(), "p3");
    let (reply, _answer) = Reply::channel();
    assert!(node.workers.delete_port(PortNo(3), reply).is_err());
}

#[test]
fn fragments_of_a_datagram_that_come_to_two_workers_all_follow_the_first_one() {
    let mut node = node(Poll::Busy);
    let owner = |port: u32| {
        let ports = node.workers.shared().ports();
        match ports.get(PortNo(port)).unwrap().kind {
            PortKind::Device { worker } => worker,
            PortKind::Tunnel(_) => unreachable!(),
        }
    };
    assert_ne!(owner(1), owner(2));
    let add = |node: &mut Node, flow: &str| {
        use openflow::model::FlowCommand;
        use openflow::text::{Names, parse_flow};
        let request = parse_flow(flow, FlowCommand::Add, Names::NONE).unwrap();
        node.tables.flow_mod(&request, 0).unwrap();
        node.tables.publish();
    };
    add(&mut node, "ip,actions=ct(commit,zone=1,table=1)");
    add(&mut node, "table=1,ct_state=+trk-inv,ip,actions=output:3");
    node.wait(|workers, reply| workers.barrier(reply));
    const DATAGRAMS: u16 = 200;
    for id in 0..DATAGRAMS {
        let whole = udp(1, 2, (1000, 2000), &[7; 40]);
        let piece = |start: usize, last: bool| {
            let mut frame = whole[..34].to_vec();
            frame[16..18].copy_from_slice(&36u16.to_be_bytes());
            frame[18..20].copy_from_slice(&id.to_be_bytes());
            let more = if last { 0 } else { 0x2000 };
            let place = more | (start / 8) as u16;
            frame[20..22].copy_from_slice(&place.to_be_bytes());
            frame.extend_from_slice(&whole[34 + start..34 + start + 16]);
            frame
        };
        // The first one comes to the second worker, the others to the first, at the same time.
        node.send(1, &piece(16, false));
        node.send(2, &piece(0, false));
        node.send(1, &piece(32, true));
    }
    let count = usize::from(DATAGRAMS) * 3;
    let out = node.receive(3, count);
    let counters = |worker| node.workers.shared().counters(worker);
    let lost: Vec<_> = worker::DropReason::ALL
        .iter()
        .map(|reason| {
            (
                *reason,
                counters(0).dropped(*reason) + counters(1).dropped(*reason),
            )
        })
        .filter(|(_, dropped)| *dropped > 0)
        .collect();
    assert_eq!(out.len(), count, "{lost:?}");
    let tracked = (0..2).map(|w| {
        node.workers
            .shared()
            .counters(w)
            .get(Counter::FragmentsTracked)
    });
    assert_eq!(tracked.sum::<u64>(), u64::from(DATAGRAMS) * 2);
}
