//! Bytes of others: whatever comes in, the worker goes on, and every packet is accounted for.

mod common;

#[path = "../../../fuzz/checks/worker_packets.rs"]
mod check;

use check::{Meta, POD, UPLINK, feed, node, still_works, wrapped};
use common::udp;
use proptest::prelude::*;

/// Frames that are almost right.
fn seed() -> Vec<Vec<u8>> {
    let start = || etherparse::PacketBuilder::ethernet2([2, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2]);
    let mut frames = vec![udp(1, 2, (5, 6), &[7; 40])];
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        frames.push(frame);
    };
    add(&|f| {
        let tcp = start().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 3);
        tcp.tcp(1, 2, 3, 4).syn().write(f, b"data").unwrap();
    });
    add(&|f| {
        let tcp = start().ipv6([1; 16], [2; 16], 3);
        tcp.tcp(1, 2, 3, 4).write(f, b"data").unwrap();
    });
    add(&|f| {
        let icmp = start().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 3);
        let header = etherparse::icmpv4::DestUnreachableHeader::Port;
        let inner = udp(2, 1, (6, 5), b"inner");
        icmp.icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(header))
            .write(f, &inner[14..])
            .unwrap();
    });
    add(&|f| {
        let icmp = start().ipv6([1; 16], [2; 16], 255);
        icmp.icmpv6_echo_request(1, 2).write(f, b"x").unwrap();
    });
    add(&|f| {
        let target = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let mac = net::MacAddr([2, 1, 1, 1, 1, 1]);
        f.extend_from_slice(&net::nd::solicitation(mac, [3; 16], target));
    });
    add(&|f| {
        let mac = net::MacAddr([2, 1, 1, 1, 1, 1]);
        let request = net::arp::request(mac, [172, 30, 0, 2], [172, 30, 0, 1]);
        f.extend_from_slice(&request);
    });
    frames
}

#[derive(Clone, Debug)]
struct Damage {
    seed: usize,
    in_tunnel: bool,
    port: u32,
    cut: usize,
    bytes: Vec<(usize, u8)>,
    meta: Option<Meta>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = (0..160usize, proptest::num::u8::ANY);
    let number = || proptest::num::u16::ANY;
    let near = || prop_oneof![0..120u16, number()];
    let meta = (0..8u8, [near(), near(), near(), near()])
        .prop_map(|(kinds, numbers)| Meta { kinds, numbers });
    (
        0..7usize,
        proptest::bool::ANY,
        proptest::sample::select(vec![UPLINK, POD]),
        prop_oneof![3 => Just(usize::MAX), 1 => 0..120usize],
        proptest::collection::vec(byte, 0..6),
        proptest::option::weighted(0.2, meta),
    )
        .prop_map(|(seed, in_tunnel, port, cut, bytes, meta)| Damage {
            seed,
            in_tunnel,
            port,
            cut,
            bytes,
            meta,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_packet_stops_the_worker(damages in proptest::collection::vec(damage(), 1..40)) {
        let mut rig = node();
        let seeds = seed();
        for damage in &damages {
            let mut frame = seeds[damage.seed].clone();
            if damage.in_tunnel {
                frame = wrapped(&rig, &frame);
            }
            for (at, value) in &damage.bytes {
                if let Some(byte) = frame.get_mut(*at) {
                    *byte = *value;
                }
            }
            frame.truncate(damage.cut.max(1));
            feed(&mut rig, damage.port, &frame, damage.meta);
        }
        still_works(&mut rig);
    }
}

#[test]
fn what_the_fuzzer_found_worth_keeping_stops_nothing_either() {
    let corpus = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fuzz/corpus/worker_packets"
    );
    let mut seen = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        check::check(&std::fs::read(entry.unwrap().path()).unwrap());
        seen += 1;
    }
    assert!(seen >= 5, "the corpus is there");
}
