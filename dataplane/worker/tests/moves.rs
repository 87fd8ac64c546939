//! Ports go from worker to worker under load, are spread over workers, and have several rx queues: no
//! packet is lost, and those of a flow stay in order.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::udp;
use conntrack::ConnTable;
use net::PortNo;
use openflow::model::FlowCommand;
use openflow::text::Names;
use packet::{Packet, Pool};
use ports::mem::{MemPort, MemWire};
use ports::{Caps, Impairment, Port, Shaping};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use tables::Tables;
use worker::{Config, DropReason, Poll, PortError, PortKind, PortOptions, Reply, Shared, Workers};

const WORKERS: usize = 3;
const PORTS: u16 = 5;
/// Packets under way at a time, fewer than any queue holds: what is lost is not lost for want of room.
const WINDOW: usize = 400;

/// Ports 1 to 5; the fourth is spread over the workers, the fifth has two rx queues and a tx queue for
/// each worker.
struct Node {
    workers: Workers,
    wires: Vec<Vec<MemWire>>,
    pool: Pool,
    _tables: Tables,
}

impl Node {
    fn new(flows: &[String], poll: Poll) -> Node {
        let mut tables = Tables::new();
        for flow in flows {
            let add = openflow::text::parse_flow(flow, FlowCommand::Add, Names::NONE);
            let add = add.unwrap_or_else(|error| panic!("{flow}: {error}"));
            tables.flow_mod(&add, 0).unwrap();
        }
        tables.publish();
        let conns = ConnTable::new(&conntrack::Config::new(10_000, [1, 2])).unwrap();
        let config = Config {
            cpus: (0..WORKERS).collect(),
            poll,
            ..Config::default()
        };
        let shared = Shared::new(config, tables.published(), Arc::new(conns));
        let pool = Pool::heap(2048);
        let workers = Workers::start(shared, &pool, [1, 2], |_| {}).unwrap();
        let mut node = Node {
            workers,
            wires: Vec::new(),
            pool,
            _tables: tables,
        };
        for number in 1..PORTS {
            let (port, wire) = MemPort::new(&format!("p{number}"), Caps::default());
            node.add(number, number == 4, Box::new(port), vec![wire]);
        }
        let (port, wires) = MemPort::with_queues("p5", Caps::default(), 2, WORKERS);
        node.add(PORTS, false, Box::new(port), wires);
        node
    }

    fn add(&mut self, number: u16, spread: bool, port: Box<dyn Port>, wires: Vec<MemWire>) {
        let options = PortOptions {
            spread,
            ..PortOptions::default()
        };
        let name = format!("p{number}");
        self.workers
            .add_port_with(PortNo(number.into()), &name, 0, &options, port)
            .unwrap();
        self.wires.push(wires);
    }

    fn send(&self, port: u16, queue: usize, frame: &[u8]) {
        let packet = Packet::from_slice(&self.pool, frame).unwrap();
        self.wires[usize::from(port) - 1][queue]
            .inject(packet)
            .unwrap();
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        let shared = self.workers.shared();
        let count = |reason: DropReason| {
            (0..WORKERS)
                .map(|w| shared.counters(w).dropped(reason))
                .sum()
        };
        let all = DropReason::ALL.iter().map(|r| (r.name(), count(*r)));
        all.filter(|(_, n)| *n != 0).collect()
    }

    fn barrier(&self) {
        let (reply, answer) = Reply::channel();
        self.workers.barrier(reply);
        answer.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}

/// A flow: from a port to a port, told apart by its UDP source port.
#[derive(Clone, Copy, Debug)]
struct Flow {
    id: u16,
    from: u16,
    to: u16,
}

impl Flow {
    fn frame(self, sequence: u32) -> Vec<u8> {
        udp(1, 2, (self.id, self.to), &sequence.to_be_bytes())
    }

    /// A flow of a device with several rx queues is always on the same.
    fn queue(self) -> usize {
        match self.from {
            PORTS => usize::from(self.id) % 2,
            _ => 0,
        }
    }
}

/// Sends `count` packets of each flow while ports move as told, and checks that each flow comes out as
/// it went in. A move is: before which packet, which port, which queue, to which worker.
fn carried(node: &Node, flows: &[Flow], count: u32, moves: &[(u32, u16, u16, usize)]) {
    let mut received = vec![Vec::new(); flows.len()];
    let (mut sent, mut done) = (0, 0);
    let total = flows.len() * count as usize;
    let mut deadline = Instant::now() + Duration::from_secs(20);
    let mut moves = moves.iter().peekable();
    while done < total {
        while sent < total && sent - done < WINDOW {
            let (flow, sequence) = (flows[sent % flows.len()], (sent / flows.len()) as u32);
            while let Some((_, port, queue, to)) = moves.next_if(|m| m.0 as usize <= sent) {
                let number = PortNo((*port).into());
                match node.workers.move_port(number, *queue, *to, Reply::ignore()) {
                    Ok(()) | Err(PortError::Moving(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            node.send(flow.from, flow.queue(), &flow.frame(sequence));
            sent += 1;
        }
        for wire in node.wires.iter().flatten() {
            for packet in wire.collect_all() {
                let frame = packet.to_vec();
                let id = u16::from_be_bytes(frame[34..36].try_into().unwrap());
                let sequence = u32::from_be_bytes(frame[42..46].try_into().unwrap());
                received[usize::from(id)].push(sequence);
                done += 1;
                deadline = Instant::now() + Duration::from_secs(20);
            }
        }
        assert!(
            Instant::now() < deadline,
            "{done} of {total}; {:?}",
            node.drops()
        );
    }
    assert_eq!(node.drops(), []);
    for (flow, mut received) in flows.iter().zip(received) {
        if flow.to == PORTS {
            // The test reads the tx queues of that port one after the other.
            received.sort_unstable();
        }
        let wrong = (0..count).zip(&received).find(|(due, came)| due != *came);
        assert_eq!(wrong, None, "{flow:?}");
        assert_eq!(received.len(), count as usize, "{flow:?}");
    }
}

/// By destination port to the OpenFlow port of that number.
fn by_destination() -> Vec<String> {
    let to = |port: u16| format!("udp,tp_dst={port},actions=output:{port}");
    (1..=PORTS).map(to).collect()
}

fn flows() -> impl Strategy<Value = Vec<Flow>> {
    prop::collection::vec((1..=PORTS, 1..PORTS), 8..40).prop_map(|pairs| {
        let flow = |(id, (from, hop)): (usize, (u16, u16))| Flow {
            id: id as u16,
            from,
            to: (from - 1 + hop) % PORTS + 1,
        };
        pairs.into_iter().enumerate().map(flow).collect()
    })
}

fn moves() -> impl Strategy<Value = Vec<(u32, u16, u16, usize)>> {
    let one = (0..6_000_u32, 1..=PORTS, 0..2_u16, 0..WORKERS);
    prop::collection::vec(one, 0..150).prop_map(|mut moves| {
        for (_, port, queue, _) in &mut moves {
            *queue %= if *port == PORTS { 2 } else { 1 };
        }
        moves.sort_unstable();
        moves
    })
}

/// As many cases as `PROPTEST_CASES` says.
fn run(poll: Poll, cases: u32) {
    let mut runs = Runs::with_cases(cases);
    if let Some(cases) = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
    {
        runs.cases = cases;
    }
    let mut runner = TestRunner::new(runs);
    let tried = runner.run(&(flows(), moves()), |(flows, moves)| {
        let node = Node::new(&by_destination(), poll);
        node.barrier();
        carried(&node, &flows, 150, &moves);
        Ok(())
    });
    tried.unwrap();
}

#[test]
fn ports_that_move_lose_no_packet_and_keep_flows_in_order() {
    run(Poll::default(), 6);
}

#[test]
fn likewise_where_workers_spin() {
    run(Poll::Busy, 2);
}

/// What waits in the queues of a port, or is late on it, goes along, whoever sends there meanwhile.
#[test]
fn ports_with_rates_and_late_packets_move_with_what_waits() {
    let node = Node::new(&by_destination(), Poll::default());
    let late = Impairment {
        delay: 2_000_000,
        jitter: 0,
        loss_ppm: 0,
        limit: 1000,
    };
    for (number, shaping, impairment) in [
        (1, "rate=20m,queues=0:wait=9000", None),
        (2, "queues=0:max=20m/wait=9000", None),
        (3, "none", Some(late)),
        (4, "rate=50m,queues=0:wait=9000", Some(late)),
    ] {
        let shaping = Shaping {
            impairment,
            ..shaping.parse().unwrap()
        };
        node.workers.shape_port(PortNo(number), &shaping).unwrap();
    }
    node.barrier();
    let pairs = (1..=PORTS).flat_map(|from| (1..PORTS).map(move |to| (from, to)));
    let pairs = pairs.filter(|(from, to)| from != to);
    let flows: Vec<Flow> = (0..)
        .zip(pairs)
        .map(|(id, (from, to))| Flow { id, from, to })
        .collect();
    let moves: Vec<_> = (1..40u32)
        .map(|n| (n * 97, 1 + (n % 4) as u16, 0, (n / 3) as usize % WORKERS))
        .collect();
    carried(&node, &flows, 200, &moves);
}

#[test]
fn a_port_is_polled_where_it_was_moved_to() {
    let node = Node::new(&by_destination(), Poll::default());
    node.barrier();
    let shared = node.workers.shared().clone();
    let moved = |number: u32, queue: u16, to: usize| {
        let (reply, answer) = Reply::channel();
        node.workers
            .move_port(PortNo(number), queue, to, reply)
            .unwrap();
        answer.recv_timeout(Duration::from_secs(10)).unwrap();
    };
    for to in [2, 0, 1, 1] {
        moved(1, 0, to);
        let ports = shared.ports();
        let port = ports.get(PortNo(1)).unwrap();
        assert_eq!(port.placement.rx[0].worker(), to);
        assert!(matches!(port.kind, PortKind::Device { worker } if worker == to));
        let before = shared.counters(to).get(worker::Counter::RxPackets);
        let flow = Flow {
            id: 0,
            from: 1,
            to: 2,
        };
        carried(&node, &[flow], 10, &[]);
        let after = shared.counters(to).get(worker::Counter::RxPackets);
        assert_eq!(after - before, 10, "worker {to}");
        assert!(port.placement.rx[0].packets() >= 10);
    }
    moved(5, 1, 2);
    let ports = shared.ports();
    assert_eq!(ports.get(PortNo(5)).unwrap().placement.rx[1].worker(), 2);
    for (number, queue, to) in [(9, 0, 0), (1, 1, 0), (5, 2, 0), (1, 0, WORKERS)] {
        let refused = node
            .workers
            .move_port(PortNo(number), queue, to, Reply::ignore());
        assert!(refused.is_err(), "{number} {queue} {to}");
    }
}

#[test]
fn a_port_that_moves_can_be_deleted() {
    let node = Node::new(&by_destination(), Poll::default());
    for (number, moves) in [(1, 1), (2, 5), (5, 3)] {
        for to in 0..moves {
            // One that moves already is left alone.
            drop(
                node.workers
                    .move_port(PortNo(number), 0, to % WORKERS, Reply::ignore()),
            );
        }
        let (reply, answer) = Reply::channel();
        node.workers.delete_port(PortNo(number), reply).unwrap();
        let device = answer.recv_timeout(Duration::from_secs(10)).unwrap();
        let name = format!("p{number}");
        assert_eq!(device.unwrap().0.control().name(), name);
    }
}

#[test]
fn a_spread_port_uses_all_workers_and_a_flow_one_of_them() {
    let node = Node::new(&by_destination(), Poll::default());
    node.barrier();
    let shared = node.workers.shared().clone();
    let flows: Vec<Flow> = (0..60).map(|id| Flow { id, from: 4, to: 1 }).collect();
    let rx = |w: usize| shared.counters(w).get(worker::Counter::RxPackets);
    carried(&node, &flows, 50, &[]);
    let shares: Vec<u64> = (0..WORKERS).map(rx).collect();
    assert_eq!(shares.iter().sum::<u64>(), 3000);
    assert!(
        shares.iter().all(|n| *n > 0 && n.is_multiple_of(50)),
        "{shares:?}"
    );
}
