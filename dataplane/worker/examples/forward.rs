//! How fast one worker forwards: a port in memory that gives the same packets again and again and
//! takes them back, one core, best of several rounds.
//!
//!     cargo run --release -p sluice-worker --example forward [CASE [FLOWS [CACHE [ROUNDS]]]]
//!
//! CACHE is the number of cached flows; with 0 every packet walks the tables. ROUNDS of 50,000
//! packets are timed; the difference between two runs under a profiler is what rounds cost.
//! Prints packets per second and nanoseconds per packet. The first line is the port alone: what
//! the others show above it is the worker's.
#![allow(clippy::print_stdout)] // a program for people

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use conntrack::ConnTable;
use net::key::ct_state::{EST, NEW, TRK};
use net::{GroupId, MacAddr, MeterId, PortNo, TableId};
use openflow::action::{Ct, CtZone, Nat, NatKind};
use openflow::model::{
    Band, BandKind, Bucket, FlowMod, GroupCommand, GroupMod, GroupType, METER_BURST, METER_KBPS,
    MeterCommand, MeterMod,
};
use openflow::{Action, Field, Instructions, Match};
use packet::{Packet, Pool};
use ports::mem::MemPort;
use ports::{Burst, Caps, Port, PortControl};
use tables::Tables;
use worker::{Config, Counter, Shared, TunnelPort, Worker, Workers};

/// Packets in the loop at least: more than a burst.
const PACKETS: usize = 256;

/// A port that gives packets out of a queue, and takes them back into it as they were.
struct LoopPort {
    ready: VecDeque<Packet>,
    frames: Vec<Vec<u8>>,
    control: Arc<dyn PortControl>,
}

impl LoopPort {
    fn new(frames: Vec<Vec<u8>>, pool: &Pool) -> Self {
        let (port, _) = MemPort::new("loop", Caps::default());
        let packets = frames.len().max(PACKETS);
        let packet = |at: usize| {
            let at = at % frames.len();
            let mut packet = Packet::from_slice(pool, &frames[at]).unwrap();
            packet.meta_mut().rss = at as u32;
            packet
        };
        LoopPort {
            ready: (0..packets).map(packet).collect(),
            frames,
            control: port.control().clone(),
        }
    }
}

impl Port for LoopPort {
    fn rx(&mut self, burst: &mut Burst) {
        while !burst.is_full() {
            let Some(packet) = self.ready.pop_front() else {
                break;
            };
            burst.push(packet);
        }
    }

    fn tx(&mut self, burst: &mut Burst) -> usize {
        for mut packet in burst.drain(..) {
            let frame = &self.frames[packet.meta().rss as usize];
            let now = packet.len();
            if now > frame.len() {
                packet.trim_front(now - frame.len());
            }
            packet.head_mut()[..frame.len()].copy_from_slice(frame);
            self.ready.push_back(packet);
        }
        0
    }

    fn control(&self) -> &Arc<dyn PortControl> {
        &self.control
    }
}

struct Bench {
    tables: Tables,
    workers: Workers,
    worker: Worker,
    pool: Pool,
    shared: Arc<Shared>,
}

impl Bench {
    fn new(frames: Vec<Vec<u8>>, cache_entries: usize) -> Self {
        let tables = Tables::new();
        let conns = ConnTable::new(&conntrack::Config::new(1 << 21, [3, 4])).unwrap();
        let config = Config {
            cache_entries,
            ..Config::default()
        };
        let shared = Shared::new(config, tables.published(), Arc::new(conns));
        let pool = Pool::heap(256);
        let (workers, mut engines) = Workers::without_threads(shared.clone(), &pool, [5, 6]);
        let port = LoopPort::new(frames, &pool);
        workers
            .add_port(PortNo(1), "loop", 0, Box::new(port))
            .unwrap();
        Bench {
            tables,
            workers,
            worker: engines.remove(0),
            pool,
            shared,
        }
    }

    fn flow(&mut self, table: u8, priority: u16, matching: Match, does: Instructions) {
        let add = FlowMod::add(TableId(table), priority, matching, does);
        self.tables.flow_mod(&add, 0).unwrap();
    }

    fn actions(&mut self, table: u8, priority: u16, matching: Match, actions: Vec<Action>) {
        self.flow(table, priority, matching, Instructions::apply(actions));
    }

    /// Nanoseconds per packet, best round.
    fn run(&mut self, flows: usize, rounds: usize) -> f64 {
        self.tables.publish();
        let mut now = 0;
        let mut warm = 0;
        while warm < flows * 3 + 100_000 {
            now += 1000;
            warm += self.worker.poll(now);
        }
        let mut best = f64::MAX;
        // Short rounds: some of them are not interrupted by whatever else the machine does.
        for _ in 0..rounds {
            let start = Instant::now();
            let mut packets = 0;
            while packets < 50_000.max(flows) {
                now += 1000;
                packets += self.worker.poll(now);
            }
            best = best.min(start.elapsed().as_nanos() as f64 / packets as f64);
        }
        best
    }
}

fn frame(flow: u32) -> Vec<u8> {
    let [_, b, c, d] = flow.to_be_bytes();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, b, c, d], [10, 200, 0, 200], 64)
        .udp(1000 + (flow % 50_000) as u16, 80)
        .write(&mut frame, &[0; 18])
        .unwrap();
    frame
}

fn set(field: Field, value: impl Into<u128>) -> Action {
    Action::SetField {
        field,
        value: value.into(),
        mask: field.info().slot.ones(),
    }
}

fn back() -> Action {
    Action::Output {
        port: PortNo::IN_PORT,
        max_len: 0,
    }
}

fn route() -> Vec<Action> {
    vec![
        Action::DecNwTtl,
        set(Field::EthSrc, 0x0200_0000_00aa_u64),
        set(Field::EthDst, 0x0200_0000_00bb_u64),
        back(),
    ]
}

fn ip() -> Match {
    Match::any().with(Field::EthType, 0x0800u16)
}

fn ct(commit: bool, table: u8, actions: Vec<Action>) -> Action {
    Action::Ct(Ct {
        commit,
        zone: CtZone::Number(1),
        table: Some(TableId(table)),
        actions,
        ..Ct::default()
    })
}

fn nat(kind: NatKind, host: Option<u8>) -> Action {
    let address = host.map(|host| std::net::IpAddr::from([10, 100, 0, host]));
    Action::Nat(Nat {
        kind,
        addresses: address.map(|a| (a, a)),
        ports: host.map(|_| (8080, 8080)),
        persistent: false,
        hash: false,
        random: false,
    })
}

fn state(bits: u32) -> Match {
    ip().with_masked(Field::CtState, bits, bits)
}

fn setup(case: &str, bench: &mut Bench) {
    let any = Match::any;
    match case {
        "output" => bench.actions(0, 1, any(), vec![back()]),
        "vlan" => {
            let push = Action::PushVlan { tpid: 0x8100 };
            let actions = vec![push, set(Field::VlanVid, 0x1064u16), back()];
            bench.actions(0, 1, any(), actions);
        }
        "route" => {
            let goto = |table| Instructions::default().goto(TableId(table));
            bench.flow(0, 1, any().with(Field::InPort, 1u32), goto(1));
            bench.flow(
                1,
                1,
                any().with(Field::EthDst, 0x0200_0000_0002_u64),
                goto(2),
            );
            let net = ip().with_masked(Field::Ipv4Dst, 0x0ac8_0000u32, 0xffff_0000u32);
            bench.actions(2, 1, net, route());
        }
        "meter" => {
            // As "route", below a rate that is never reached.
            let band = Band {
                kind: BandKind::Drop,
                rate: u32::MAX,
                burst: u32::MAX,
            };
            let request = MeterMod {
                command: MeterCommand::Add,
                flags: METER_KBPS | METER_BURST,
                meter: MeterId(1),
                bands: vec![band],
            };
            bench.tables.meter_mod(&request, 0).unwrap();
            let mut actions = route();
            actions.insert(0, Action::Meter(MeterId(1)));
            let net = ip().with_masked(Field::Ipv4Dst, 0x0ac8_0000u32, 0xffff_0000u32);
            bench.actions(0, 1, net, actions);
        }
        "ct" => {
            bench.actions(0, 1, ip(), vec![ct(false, 1, vec![])]);
            bench.actions(1, 1, state(NEW | TRK), vec![ct(true, 2, vec![])]);
            let goto = Instructions::default().goto(TableId(2));
            bench.flow(1, 1, state(EST | TRK), goto);
            bench.actions(2, 1, any(), route());
        }
        "service" => {
            let existing = nat(NatKind::Existing, None);
            bench.actions(0, 1, ip(), vec![ct(false, 1, vec![existing])]);
            let request = GroupMod {
                command: GroupCommand::Add,
                kind: GroupType::Select,
                group: GroupId(1),
                command_bucket_id: 0,
                buckets: (0..16u8)
                    .map(|host| Bucket {
                        id: host.into(),
                        weight: 1,
                        watch_port: PortNo::ANY,
                        watch_group: GroupId::ANY,
                        actions: vec![ct(true, 2, vec![nat(NatKind::Dst, Some(host + 1))])],
                        properties: Vec::new(),
                    })
                    .collect(),
                selection: None,
                properties: Vec::new(),
            };
            bench.tables.group_mod(&request, 0).unwrap();
            let group = vec![Action::Group(GroupId(1))];
            bench.actions(1, 1, state(NEW | TRK), group);
            bench.actions(2, 1, any(), route());
        }
        "geneve" => {
            let tunnel = TunnelPort {
                number: PortNo(2),
                name: "geneve0".to_owned(),
                spec: ports::TunnelSpec {
                    kind: ports::TunnelKind::Geneve,
                    remote: None,
                    key: None,
                    outer: Default::default(),
                },
            };
            bench.workers.add_tunnel(&tunnel, 0).unwrap();
            let vtep = "172.30.0.1/24,port=loop".parse().unwrap();
            bench.workers.set_vteps(vec![vtep]);
            let peer = "172.30.0.2".parse().unwrap();
            bench.workers.set_neighbor(peer, MacAddr([2; 6]));
            let out = Action::Output {
                port: PortNo(2),
                max_len: 0,
            };
            let actions = vec![
                set(Field::TunId, 7u64),
                set(Field::TunDst, 0xac1e_0002u32),
                out,
            ];
            bench.actions(0, 1, any(), actions);
        }
        other => {
            panic!("no case {other}; there are output, vlan, route, meter, ct, service, geneve")
        }
    }
}

/// The port alone.
fn bare(frames: Vec<Vec<u8>>) -> f64 {
    let pool = Pool::heap(256);
    let mut port = LoopPort::new(frames, &pool);
    let mut best = f64::MAX;
    for _ in 0..15 {
        let start = Instant::now();
        let mut packets = 0;
        while packets < 400_000 {
            let mut burst = Burst::new();
            port.rx(&mut burst);
            packets += burst.len();
            port.tx(&mut burst);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / packets as f64);
    }
    best
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let case = arguments.next();
    let flows: Option<u32> = arguments.next().map(|n| n.parse().unwrap());
    let cache = arguments.next().map_or(1 << 20, |n| n.parse().unwrap());
    let rounds = arguments.next().map_or(60, |n| n.parse().unwrap());
    let counts = flows.map_or(vec![1, 1_000, 10_000, 100_000], |n| vec![n]);
    let all = [
        "output", "vlan", "route", "meter", "ct", "service", "geneve",
    ];
    let cases: Vec<&str> = match &case {
        Some(case) => vec![case],
        None => all.to_vec(),
    };
    println!(
        "{:<10} {:>8} {:>8} {:>8}  hit rate, programs",
        "case", "flows", "ns", "Mpps"
    );
    for &flows in &counts {
        let ns = bare((0..flows).map(frame).collect());
        println!("{:<10} {flows:>8} {ns:>8.1} {:>8.2}", "port", 1000.0 / ns);
    }
    for case in cases {
        for &flows in &counts {
            let mut bench = Bench::new((0..flows).map(frame).collect(), cache);
            setup(case, &mut bench);
            let ns = bench.run(flows as usize, rounds);
            let counters = bench.shared.counters(0);
            let hits = counters.get(Counter::CacheHits) as f64;
            let rate = hits / counters.get(Counter::RxPackets) as f64 * 100.0;
            println!(
                "{case:<10} {flows:>8} {ns:>8.1} {:>8.2}  {rate:.1} % {}",
                1000.0 / ns,
                counters.get(Counter::CachePrograms)
            );
            drop(bench.pool);
        }
    }
}
