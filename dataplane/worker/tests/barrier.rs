//! A barrier covers the flow caches: the packet after it goes the new way, thousands of times over
//! and whatever was changed, on several workers that hold programs made under the old tables.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{in_port, output, udp};
use conntrack::ConnTable;
use net::{GroupId, MeterId, PortNo, TableId};
use openflow::model::{
    Band, BandKind, Bucket, FlowMod, GroupCommand, GroupMod, GroupType, METER_BURST, METER_PKTPS,
    MeterCommand, MeterMod, PORT_NO_FWD,
};
use openflow::{Action, Field, Instructions, Match};
use packet::{Packet, Pool};
use ports::Caps;
use ports::mem::{MemPort, MemWire};
use tables::Tables;
use worker::{Config, Counter, Poll, Reply, Shared, Workers};

/// Ports 1 and 2 are received from, by a worker each; 3..=6 are sent to.
const PORTS: u32 = 6;
const ROUNDS: u16 = 2_000;

struct Node {
    tables: Tables,
    workers: Workers,
    wires: Vec<MemWire>,
    pool: Pool,
}

impl Node {
    fn new() -> Self {
        let tables = Tables::new();
        let conns = ConnTable::new(&conntrack::Config::new(1000, [1, 2])).unwrap();
        let config = Config {
            cpus: vec![0, 1],
            poll: Poll::default(),
            ..Config::default()
        };
        let shared = Shared::new(config, tables.published(), Arc::new(conns));
        let pool = Pool::heap(2048);
        let workers = Workers::start(shared, &pool, [1, 2], |_| {}).unwrap();
        let wires = (1..=PORTS).map(|number| {
            let name = format!("p{number}");
            let (port, wire) = MemPort::new(&name, Caps::default());
            workers
                .add_port(PortNo(number), &name, 0, Box::new(port))
                .unwrap();
            wire
        });
        let wires = wires.collect();
        Node {
            tables,
            workers,
            wires,
            pool,
        }
    }

    /// A flow of a cacheable kind for both inputs: it looks at the destination.
    fn flow(&mut self, table: u8, priority: u16, does: Instructions) {
        let add = FlowMod::add(TableId(table), priority, to_host_2(), does);
        self.tables.flow_mod(&add, 0).unwrap();
    }

    fn barrier(&mut self) {
        self.tables.publish();
        let (reply, answer) = Reply::channel();
        self.workers.barrier(reply);
        answer.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    /// Sends a packet into each input.
    fn send(&self, round: u16) {
        for input in [0, 1] {
            let frame = udp(1, 2, (7, 7), &round.to_be_bytes());
            let packet = Packet::from_slice(&self.pool, &frame).unwrap();
            self.wires[input].inject(packet).unwrap();
        }
    }

    /// Waits until the workers took so many packets.
    fn wait_for(&self, packets: u64) {
        let taken = || -> u64 {
            let counters = (0..2).map(|w| self.workers.shared().counters(w));
            counters.map(|c| c.get(Counter::RxPackets)).sum()
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while taken() < packets && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(taken(), packets);
    }

    /// Sends a packet into each input; says out of which ports they came.
    fn ways(&self, round: u16, expected: usize) -> Vec<u32> {
        self.send(round);
        self.wait_for((u64::from(round) + 1) * 2);
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut ways = Vec::new();
        loop {
            for (at, wire) in self.wires.iter().enumerate() {
                ways.extend(wire.collect_all().iter().map(|_| at as u32 + 1));
            }
            if ways.len() >= expected || Instant::now() > deadline {
                return ways;
            }
            std::thread::yield_now();
        }
    }

    /// Each round changes something, asks for a barrier, and then sends a packet into each input:
    /// they must go where `change` says, both out of one port or none.
    fn always_new(mut self, mut change: impl FnMut(&mut Node, u16) -> Option<u32>) {
        for round in 0..ROUNDS {
            let way = change(&mut self, round);
            self.barrier();
            let expected = way.map_or(0, |_| 2);
            let ways = self.ways(round, expected);
            assert_eq!(ways, vec![way.unwrap_or(0); expected], "round {round}");
        }
        let hits: u64 = (0..2)
            .map(|w| self.workers.shared().counters(w))
            .map(|c| c.get(Counter::CacheStale) + c.get(Counter::CacheHits))
            .sum();
        assert!(hits > u64::from(ROUNDS), "{hits} lookups found a program");
        self.workers.stop();
    }
}

fn to_host_2() -> Match {
    Match::any()
        .with(Field::EthType, 0x0800u16)
        .with(Field::Ipv4Dst, 0x0a00_0002u32)
}

fn out(port: u32) -> Instructions {
    Instructions::apply(vec![output(port)])
}

fn goto(table: u8) -> Instructions {
    Instructions {
        goto_table: Some(TableId(table)),
        ..Instructions::default()
    }
}

#[test]
fn after_a_flow_mod() {
    Node::new().always_new(|node, round| {
        let port = 3 + u32::from(round % 4);
        node.flow(0, 1, out(port));
        Some(port)
    });
}

#[test]
fn after_a_flow_comes_or_goes_above_another() {
    Node::new().always_new(|node, round| {
        if round == 0 {
            node.flow(0, 1, out(3));
        }
        match round % 2 {
            0 => node.flow(0, 2, out(4)),
            _ => {
                let delete = FlowMod::delete_strict(TableId(0), 2, to_host_2());
                node.tables.flow_mod(&delete, 0).unwrap();
            }
        }
        Some(4 - u32::from(round % 2))
    });
}

#[test]
fn after_several_changes_at_once_in_several_tables() {
    // As a bundle: in between, packets would loop or go nowhere.
    Node::new().always_new(|node, round| {
        let saved = node.tables.save();
        node.flow(0, 1, Instructions::drop());
        node.tables.restore(saved);
        let (table, port) = (1 + (round % 3) as u8, 3 + u32::from(round % 4));
        node.flow(0, 1, goto(table));
        node.flow(table, 1, out(port));
        Some(port)
    });
}

#[test]
fn after_many_changes_that_do_not_matter_and_one_that_does() {
    Node::new().always_new(|node, round| {
        for n in 0..20u32 {
            let elsewhere = Match::any()
                .with(Field::EthType, 0x0800u16)
                .with(Field::Ipv4Dst, 0x0b00_0000 + u32::from(round) * 7 + n);
            let add = FlowMod::add(TableId(0), 9, elsewhere, Instructions::drop());
            node.tables.flow_mod(&add, 0).unwrap();
            if n == u32::from(round % 20) {
                node.flow(0, 1, out(3 + u32::from(round % 4)));
            }
        }
        Some(3 + u32::from(round % 4))
    });
}

#[test]
fn after_a_group_mod() {
    Node::new().always_new(|node, round| {
        let port = 3 + u32::from(round % 4);
        let request = GroupMod {
            command: match round {
                0 => GroupCommand::Add,
                _ => GroupCommand::Modify,
            },
            kind: GroupType::Indirect,
            group: GroupId(1),
            command_bucket_id: 0,
            buckets: vec![Bucket {
                id: 0,
                weight: 0,
                watch_port: PortNo::ANY,
                watch_group: GroupId::ANY,
                actions: vec![output(port)],
                properties: Vec::new(),
            }],
            selection: None,
            properties: Vec::new(),
        };
        node.tables.group_mod(&request, 0).unwrap();
        if round == 0 {
            node.flow(0, 1, Instructions::apply(vec![Action::Group(GroupId(1))]));
        }
        Some(port)
    });
}

#[test]
fn after_a_meter_mod() {
    // By turns a meter that passes one packet in a second, and one that passes all.
    let mut node = Node::new();
    let mut sent = 0;
    for round in 0..ROUNDS {
        let (rate, burst) = [(1, 1), (1_000_000, 1_000_000)][usize::from(round % 2)];
        let request = MeterMod {
            command: match round {
                0 => MeterCommand::Add,
                _ => MeterCommand::Modify,
            },
            flags: METER_PKTPS | METER_BURST,
            meter: MeterId(1),
            bands: vec![Band {
                kind: BandKind::Drop,
                rate,
                burst,
            }],
        };
        node.tables.meter_mod(&request, 0).unwrap();
        if round == 0 {
            let metered = Instructions {
                meter: Some(MeterId(1)),
                ..out(3)
            };
            node.flow(0, 1, metered);
        }
        node.barrier();
        for _ in 0..5 {
            node.send(round);
            sent += 2;
        }
        node.wait_for(sent);
        // Packets of one worker wait for the other, whose port they leave by: each is seen, or counted.
        let dropped = |node: &Node| -> u64 {
            let meter = node.tables.pipeline().meter(MeterId(1)).unwrap();
            meter.bands().map(|(_, dropped)| dropped.packets).sum()
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut passed = 0;
        while passed + dropped(&node) < 10 && Instant::now() < deadline {
            passed += node.wires[2].collect_all().len() as u64;
            std::thread::yield_now();
        }
        assert_eq!(passed + dropped(&node), 10, "round {round}");
        match round % 2 {
            0 => assert!(passed < 10, "round {round}: all passed"),
            _ => assert_eq!(passed, 10, "round {round}"),
        }
    }
    node.workers.stop();
}

#[test]
fn after_a_port_mod() {
    Node::new().always_new(|node, round| {
        if round == 0 {
            node.flow(0, 1, out(3));
        }
        let config = if round % 2 == 0 { PORT_NO_FWD } else { 0 };
        let workers = &node.workers;
        workers
            .update_port(PortNo(3), |port| port.config = config)
            .unwrap();
        (round % 2 == 1).then_some(3)
    });
}

#[test]
fn other_inputs_do_not_matter() {
    // A packet of the other port goes its old way, cached, while one port's way changes.
    let mut node = Node::new();
    let fixed = FlowMod::add(TableId(0), 5, in_port(2), out(6));
    node.tables.flow_mod(&fixed, 0).unwrap();
    for round in 0..ROUNDS {
        let port = 3 + u32::from(round % 3);
        node.flow(0, 1, out(port));
        node.barrier();
        let mut ways = node.ways(round, 2);
        ways.sort_unstable();
        assert_eq!(ways, [port, 6], "round {round}");
    }
    node.workers.stop();
}
