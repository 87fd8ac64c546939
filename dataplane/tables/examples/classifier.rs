//! What a lookup costs: nanoseconds, for each template and number of rules, and by the number of
//! masks. `bench/run.sh classifier` runs it and writes its output into docs/classifier.md.
//!
//!     cargo run --release -p sluice-tables --example classifier [-- CASE...]
//!
//! Each case is a set of rules and a stream of packets, both drawn at random from a fixed seed;
//! half of the packets are made to match some rule and half are drawn freely, in random order.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use net::{FlowKey, TableId};
use openflow::model::FlowMod;
use openflow::{Field, Instructions, Match};
use tables::{Tables, Template};

/// Packets per stream; more than fit the nearest cache.
const PACKETS: usize = 4096;
/// Packets timed together: few, so that most samples are not interrupted.
const CHUNK: usize = 128;
/// Times that the stream is looked up; the median of all samples counts.
const ROUNDS: usize = 41;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    println!(
        "| rules | masks | template | probes | ns | tuple space only, ns | memory, bytes per rule | processor ns per flow-mod |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for case in cases() {
        if wanted.is_empty() || wanted.iter().any(|w| case.name.contains(w.as_str())) {
            case.run();
        }
    }
}

/// Draws a rule: its priority and match.
type Draw = fn(&mut Random, usize) -> (u16, Match);

/// A set of rules to be drawn.
struct Case {
    name: &'static str,
    rules: usize,
    draw: Draw,
    masks: usize,
}

fn cases() -> Vec<Case> {
    let sizes = [10usize, 1_000, 100_000];
    let mut cases = Vec::new();
    let kinds: [(&'static str, Draw); 4] = [
        ("exact", |r, _| (10, five_tuple(r))),
        ("IPv4 prefixes", |r, _| ipv4_prefix(r)),
        ("IPv6 prefixes", |r, _| ipv6_prefix(r)),
        ("ACL", |r, _| acl(r)),
    ];
    for rules in [1, 2, 4, 8, 16] {
        let draw = |r: &mut Random, n| (n as u16, mac_or_port(r, n));
        cases.push(Case {
            name: "a few",
            rules,
            draw,
            masks: 0,
        });
    }
    for (name, draw) in kinds {
        for rules in sizes {
            cases.push(Case {
                name,
                rules,
                draw,
                masks: 0,
            });
        }
    }
    for masks in [1, 10, 100, 1000] {
        for rules in [1_000, 100_000] {
            let draw = |r: &mut Random, masks| register_bits(r, masks);
            cases.push(Case {
                name: "masks",
                rules,
                draw,
                masks,
            });
        }
    }
    cases
}

impl Case {
    fn run(&self) {
        let mut rng = Random(0x9e37_79b9_7f4a_7c15);
        let argument = |n: usize| if self.masks == 0 { n } else { self.masks };
        let rules: Vec<(u16, Match)> = (0..self.rules)
            .map(|n| (self.draw)(&mut rng, argument(n)))
            .collect();
        let packets: Vec<FlowKey> = (0..PACKETS)
            .map(|_| {
                let (_, matching) = match rng.below(2) {
                    0 => rules[rng.below(rules.len())].clone(),
                    _ => (self.draw)(&mut rng, argument(self.rules)),
                };
                packet(&mut rng, &matching)
            })
            .collect();
        let own = measure(&rules, &packets, None);
        let plain = measure(&rules, &packets, Some(Template::Tuples));
        println!(
            "| {} {}{} | {} | {} | {} | {:.0} | {:.0} | {} | {} |",
            self.rules,
            self.name,
            if self.masks == 0 {
                String::new()
            } else {
                format!(" {}", self.masks)
            },
            own.shape.masks,
            own.shape.template,
            own.shape.probes,
            own.nanos,
            plain.nanos,
            own.shape.memory / own.shape.entries,
            match self.rules {
                // The processor's time is counted in steps of milliseconds.
                0..10_000 => "-".to_string(),
                _ => format!("{:.0}", own.per_mod),
            },
        );
    }
}

struct Measured {
    shape: tables::Shape,
    nanos: f64,
    per_mod: f64,
}

fn measure(rules: &[(u16, Match)], packets: &[FlowKey], template: Option<Template>) -> Measured {
    let table = TableId(0);
    let mut tables = Tables::new();
    tables.force_template(table, template);
    let start = processor_nanos();
    for (priority, matching) in rules {
        let add = FlowMod::add(table, *priority, matching.clone(), Instructions::drop());
        tables.flow_mod(&add, 0).expect("a rule");
    }
    let per_mod = (processor_nanos() - start) as f64 / rules.len() as f64;
    tables.publish();
    let pipeline = tables.published().load();
    let mut samples: Vec<f64> = Vec::new();
    for _ in 0..ROUNDS {
        for packets in packets.chunks(CHUNK) {
            let start = Instant::now();
            let mut consulted = FlowKey::default();
            for packet in packets {
                black_box(pipeline.lookup(table, black_box(packet), &mut consulted));
            }
            black_box(&consulted);
            samples.push(start.elapsed().as_nanos() as f64 / packets.len() as f64);
        }
    }
    samples.sort_by(f64::total_cmp);
    Measured {
        shape: pipeline.table(table).expect("table 0").shape(),
        nanos: samples[samples.len() / 2],
        per_mod,
    }
}

/// What this thread has used of the processor; the machine may have other things to do.
fn processor_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let used = stat.split_whitespace().next();
    used.and_then(|n| n.parse().ok()).expect("nanoseconds")
}

/// Values for a packet: what the match says, and noise under the wildcards.
fn packet(rng: &mut Random, matching: &Match) -> FlowKey {
    let mut key = FlowKey::default();
    let mut set = |field: Field, value: u128| {
        let slot = field.info().slot;
        slot.set(&mut key, value, slot.ones());
    };
    for field in [
        Field::InPort,
        Field::EthSrc,
        Field::EthDst,
        Field::Ipv4Src,
        Field::Ipv4Dst,
        Field::TcpSrc,
        Field::TcpDst,
        Field::IpTtl,
    ] {
        set(field, rng.wide());
    }
    set(Field::EthType, 0x0800);
    set(Field::IpProto, if rng.below(2) == 0 { 6 } else { 17 });
    for f in matching.iter() {
        f.field.info().slot.set(&mut key, f.value, f.mask);
    }
    key
}

fn ip() -> Match {
    Match::any().with(Field::EthType, 0x0800u16)
}

/// A port's or host's rule, as first tables have them.
fn mac_or_port(rng: &mut Random, n: usize) -> Match {
    match n % 2 {
        0 => Match::any().with(Field::InPort, n as u32 + 1),
        _ => ip().with(Field::EthDst, rng.next() >> 16),
    }
}

fn five_tuple(rng: &mut Random) -> Match {
    ip().with(Field::IpProto, 6u8)
        .with(Field::Ipv4Src, rng.next() as u32)
        .with(Field::Ipv4Dst, rng.next() as u32)
        .with(Field::TcpSrc, rng.next() as u16)
        .with(Field::TcpDst, rng.next() as u16)
}

/// Lengths about as in the global routing table.
fn prefix_len(rng: &mut Random) -> u32 {
    match rng.below(100) {
        0..2 => 8 + rng.below(8) as u32,
        2..10 => 16,
        10..40 => 17 + rng.below(7) as u32,
        40..90 => 24,
        _ => 25 + rng.below(8) as u32,
    }
}

fn prefix(address: u32, len: u32) -> (u32, u32) {
    let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
    (address & mask, mask)
}

fn ipv4_prefix(rng: &mut Random) -> (u16, Match) {
    let len = prefix_len(rng);
    let (value, mask) = prefix(rng.next() as u32, len);
    (len as u16, ip().with_masked(Field::Ipv4Dst, value, mask))
}

fn ipv6_prefix(rng: &mut Random) -> (u16, Match) {
    let len = [32, 36, 40, 44, 48, 48, 48, 56, 64, 64, 128][rng.below(11)];
    let mask = u128::MAX << (128 - len);
    let address = (0x2001_0db8_u128 << 96) | (rng.wide() >> 20);
    let matching = Match::any().with(Field::EthType, 0x86ddu16).with_masked(
        Field::Ipv6Dst,
        address & mask,
        mask,
    );
    (len as u16, matching)
}

/// A firewall's rule: pairs of networks, some of them wide, a protocol, a service or a range.
fn acl(rng: &mut Random) -> (u16, Match) {
    let network = |rng: &mut Random| match rng.below(10) {
        0 => (0, 0),
        1 => (0x0a00_0000 | (rng.below(64) as u32) << 16, 16),
        2..5 => (0x0a00_0000 | (rng.below(1 << 14) as u32) << 8, 24),
        5..7 => (0x0a00_0000 | (rng.below(1 << 18) as u32) << 4, 28),
        _ => (0x0a00_0000 | rng.below(1 << 22) as u32, 32),
    };
    let mut matching = ip();
    for field in [Field::Ipv4Src, Field::Ipv4Dst] {
        let (address, len) = network(rng);
        if len != 0 {
            let (value, mask) = prefix(address, len);
            matching = matching.with_masked(field, value, mask);
        }
    }
    let priority = 1 + rng.below(60_000) as u16;
    let (proto, port) = match rng.below(8) {
        0 => return (priority, matching),
        1 => return (priority, matching.with(Field::IpProto, 1u8)),
        2..4 => (17u8, Field::UdpDst),
        _ => (6u8, Field::TcpDst),
    };
    matching = matching.with(Field::IpProto, proto);
    let services = [22u16, 53, 80, 123, 443, 3306, 5432, 6443, 8080, 8443];
    let matching = match rng.below(6) {
        0 => matching,
        1 => matching.with_masked(port, 0x8000u16, 0x8000u16),
        2 => matching.with_masked(port, 0x0400u16, 0xfc00u16),
        _ => matching.with(port, services[rng.below(services.len())]),
    };
    (priority, matching)
}

/// One of so many masks, each of some 16 random bits of a register, and a random value.
fn register_bits(rng: &mut Random, masks: usize) -> (u16, Match) {
    let n = rng.below(masks) as u64;
    let mut of_mask = Random(0xd1b5_4a32_d192_ed03 ^ (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mask = (of_mask.next() >> 16) as u32 | 1;
    let value = rng.next() as u32 & mask;
    let priority = 1 + rng.below(60_000) as u16;
    (priority, ip().with_masked(Field::Reg3, value, mask))
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}
