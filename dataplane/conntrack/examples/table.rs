//! What the connection table costs on one core: nanoseconds for each step of a connection's life.
//!
//! Each step is timed in portions of some hundred connections; what is shown is the tenth
//! percentile of the portions, so that a machine that has other things to do does not show.
//!
//!     cargo run --release -p sluice-conntrack --example table [CONNECTIONS] [STEP]
//!
//! With a step's name only that one is run, for a profiler.
#![allow(clippy::print_stdout)] // it is for reading

use std::hint::black_box;
use std::time::Instant;

use conntrack::{
    Commit, Config, ConnRef, ConnTable, Direction, Expected, NatRange, NatRequest, TcpInfo, Tuple,
};
use net::tcp::flags::{ACK, SYN};

const ROUNDS: usize = 5;
const PORTION: usize = 500;
const ZONE: u16 = 1;

type Step = fn(&Bench) -> Vec<f64>;

fn main() {
    let mut args = std::env::args().skip(1);
    let count: u32 = args.next().map_or(100_000, |count| {
        count.parse().expect("a number of connections")
    });
    let only = args.next();
    let steps: [(&str, Step); 8] = [
        ("commit, UDP", |bench| bench.commit(NatRequest::default())),
        ("commit, UDP, NAT", |bench| bench.commit(nat())),
        ("lookup", Bench::lookup),
        ("lookup of an answer", Bench::lookup_answer),
        ("carry, UDP, prefetched", Bench::carry),
        ("carry, TCP, one connection", Bench::carry_tcp),
        ("handshake and removal, TCP, NAT", Bench::life),
        ("expiry", Bench::expire),
    ];
    println!("{count} connections; nanoseconds each");
    for (name, step) in steps {
        if only.as_deref().is_none_or(|only| only == name) {
            let bench = Bench::new(count);
            let mut times: Vec<f64> = (0..ROUNDS).flat_map(|_| step(&bench)).collect();
            times.sort_by(f64::total_cmp);
            println!("{:8.1}  {name}", times[times.len() / 10]);
        }
    }
    let table = ConnTable::new(&Config::new(count, [1, 2])).expect("memory");
    let memory = table.memory() as f64 / f64::from(count);
    println!("{memory:8.1}  bytes of memory");
}

struct Bench {
    table: ConnTable,
    tuples: Vec<Tuple>,
    /// An order in which the processor cannot guess what comes next.
    order: Vec<u32>,
}

impl Bench {
    fn new(count: u32) -> Self {
        let config = Config {
            half_open: count,
            half_open_per_source: 0,
            ..Config::new(count, [1, 2])
        };
        let step = 0x9e37_79b1u64;
        Bench {
            table: ConnTable::new(&config).expect("memory for the table"),
            tuples: (0..count).map(tuple).collect(),
            order: (0..u64::from(count))
                .map(|i| ((i * step % (1 << 32) * u64::from(count)) >> 32) as u32)
                .collect(),
        }
    }

    /// Times portions of the connections.
    fn each(&self, mut act: impl FnMut(usize)) -> Vec<f64> {
        self.portions(|portion| {
            for at in portion {
                act(*at as usize);
            }
        })
    }

    fn portions(&self, mut act: impl FnMut(&[u32])) -> Vec<f64> {
        let portion = |portion: &[u32]| {
            let start = Instant::now();
            act(portion);
            start.elapsed().as_nanos() as f64 / portion.len() as f64
        };
        self.order.chunks(PORTION).map(portion).collect()
    }

    fn fill(&self, nat: NatRequest) -> Vec<ConnRef> {
        let commit = |tuple: &Tuple| self.table.commit(&commit(*tuple, None, nat), 0);
        let conns: Result<_, _> = self.tuples.iter().map(commit).collect();
        conns.expect("room for all")
    }

    fn clear(&self) {
        self.table.flush(&Default::default());
    }

    fn commit(&self, nat: NatRequest) -> Vec<f64> {
        let time = self.each(|at| {
            let request = commit(self.tuples[at], None, nat);
            let _ = black_box(self.table.commit(&request, 0));
        });
        self.clear();
        time
    }

    fn lookup(&self) -> Vec<f64> {
        self.fill(NatRequest::default());
        let time = self.each(|at| {
            assert!(self.table.lookup(ZONE, &self.tuples[at], 0).is_some());
        });
        self.clear();
        time
    }

    fn lookup_answer(&self) -> Vec<f64> {
        let conns = self.fill(nat());
        let reply = |conn| self.table.translated_tuple(conn, Direction::Original);
        let answers: Option<Vec<Tuple>> = conns.into_iter().map(reply).collect();
        let answers: Vec<Tuple> = answers.expect("live").iter().map(Tuple::reverse).collect();
        let time = self.each(|at| {
            assert!(self.table.lookup(ZONE, &answers[at], 0).is_some());
        });
        self.clear();
        time
    }

    fn carry(&self) -> Vec<f64> {
        let conns = self.fill(NatRequest::default());
        let (state, revision) = self
            .table
            .update(conns[0], Direction::Original, None, 0)
            .unwrap();
        let expected = Expected {
            state,
            revision: Some(revision),
        };
        let time = self.portions(|portion| {
            for burst in portion.chunks(32) {
                for at in burst {
                    let conn = conns[*at as usize];
                    self.table.prefetch(conn, Direction::Original);
                }
                for at in burst {
                    let conn = conns[*at as usize];
                    let direction = Direction::Original;
                    let table = &self.table;
                    assert!(table.carry(conn, direction, expected, None, 60, 1000));
                }
            }
        });
        self.clear();
        time
    }

    fn carry_tcp(&self) -> Vec<f64> {
        let conn = self.open(&tuple(0), NatRequest::default());
        let mut segment = segment(ACK, 101, 501);
        segment.payload = 10;
        let (state, _) = self
            .table
            .update(conn, Direction::Original, Some(&segment), 0)
            .unwrap();
        let expected = Expected {
            state,
            revision: None,
        };
        let time = self.each(|_| {
            let tcp = Some(&segment);
            assert!(
                self.table
                    .carry(conn, Direction::Original, expected, tcp, 60, 1000)
            );
            segment.seq = segment.seq.wrapping_add(10);
        });
        self.clear();
        time
    }

    /// From the SYN to the third step of the handshake.
    fn open(&self, tuple: &Tuple, nat: NatRequest) -> ConnRef {
        let syn = segment(SYN, 100, 0);
        let conn = self
            .table
            .commit(&commit(*tuple, Some(&syn), nat), 0)
            .unwrap();
        let answer = segment(SYN | ACK, 500, 101);
        self.table.update(conn, Direction::Reply, Some(&answer), 0);
        let ack = segment(ACK, 101, 501);
        self.table.update(conn, Direction::Original, Some(&ack), 0);
        conn
    }

    fn life(&self) -> Vec<f64> {
        self.each(|at| {
            let conn = self.open(&self.tuples[at], nat());
            assert!(self.table.remove(conn));
        })
    }

    fn expire(&self) -> Vec<f64> {
        self.fill(NatRequest::default());
        // The clock must not go back for the next round.
        static NOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let hour = 3_600_000_000_000;
        let now = NOW.fetch_add(hour, std::sync::atomic::Ordering::Relaxed) + hour;
        let mut times = Vec::new();
        while !self.table.is_empty() {
            let start = Instant::now();
            let removed = self.table.expire(now, PORTION as u32);
            times.push(start.elapsed().as_nanos() as f64 / f64::from(removed.max(1)));
        }
        times
    }
}

fn tuple(i: u32) -> Tuple {
    Tuple {
        src: (0x0a00_0000 | (i >> 12)).to_be_bytes().into(),
        dst: [10, 96, 0, 1].into(),
        src_port: 1024 + (i & 0xfff) as u16,
        dst_port: 53,
        proto: 17,
    }
}

/// To one of 16 backends.
fn nat() -> NatRequest {
    let first = [10, 1, 0, 16].into();
    let last = [10, 1, 0, 31].into();
    NatRequest {
        src: None,
        dst: Some(NatRange {
            addresses: Some((first, last)),
            ports: Some((8080, 8080)),
            ..NatRange::default()
        }),
    }
}

fn commit(tuple: Tuple, tcp: Option<&TcpInfo>, nat: NatRequest) -> Commit<'_> {
    Commit {
        zone: ZONE,
        tuple: Tuple {
            proto: if tcp.is_some() { 6 } else { 17 },
            ..tuple
        },
        tcp,
        nat,
        mark: (0, 0),
        label: (0, 0),
        force: false,
    }
}

fn segment(flags: u16, seq: u32, ack: u32) -> TcpInfo {
    TcpInfo {
        seq,
        ack,
        window: 65_000,
        flags,
        payload: 0,
        scale: None,
    }
}
