//! Replays the fuzzer's corpus, whose seeds are made here:
//! `SLUICE_WRITE_CORPUS=1 cargo test -p sluice-net --test corpus`.

#[path = "../../../fuzz/checks/packet_parse.rs"]
mod check;
mod common;

use std::fs;
use std::path::PathBuf;

use common::{Frame, Ip, L4};
use net::tunnel::{Encapsulation, Outer, Template};
use net::{MacAddr, Vni, arp, nd};
use proptest::prelude::*;

fn corpus() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fuzz/corpus/packet_parse"
    ))
}

fn v4() -> Ip {
    Ip::V4 {
        src: [10, 16, 0, 2],
        dst: [10, 16, 0, 3],
        tos: 0,
        ttl: 64,
        id: 1,
        flags_offset: 0x4000,
        options: vec![],
    }
}

fn v6() -> Ip {
    Ip::V6 {
        src: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        dst: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        tos: 0,
        hop_limit: 64,
        label: 0x12345,
        options: 0,
    }
}

fn tcp() -> L4 {
    L4::Tcp {
        src: 40_000,
        dst: 443,
        seq: 1,
        ack: 2,
        flags: 0x18,
        window: 512,
        options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
    }
}

fn udp(dst: u16) -> L4 {
    L4::Udp {
        src: 50_000,
        dst,
        checksum: true,
    }
}

fn icmp(kind: u8) -> L4 {
    L4::Icmp {
        kind,
        code: 0,
        rest: [0, 7, 0, 1],
    }
}

fn frame(ip: Ip, l4: L4, payload: usize) -> Frame {
    Frame {
        eth_dst: [2, 0, 0, 0, 0, 1],
        eth_src: [2, 0, 0, 0, 0, 2],
        tags: vec![],
        ip,
        l4,
        payload: (0..payload).map(|i| i as u8).collect(),
        padding: 0,
    }
}

fn tunnel(encapsulation: Encapsulation, inner: &[u8]) -> Vec<u8> {
    let template = Template::new(&Outer {
        encapsulation,
        eth_dst: MacAddr([2, 0, 0, 0, 0, 1]),
        eth_src: MacAddr([2, 0, 0, 0, 0, 2]),
        vlan: None,
        src: [172, 30, 0, 1].into(),
        dst: [172, 30, 0, 2].into(),
        tos: 0,
        ttl: 64,
        dont_fragment: true,
        vni: Vni::new(100).unwrap(),
        options: &[],
    })
    .unwrap();
    let mut bytes = vec![0; template.len()];
    bytes.extend(inner);
    template.write(&mut bytes, inner.len(), 50_000, 1);
    bytes
}

/// An error about a frame, as a router sends it.
fn error(about: &Frame, outer: Ip) -> Frame {
    let bytes = about.build();
    let kind = if matches!(outer, Ip::V4 { .. }) { 3 } else { 1 };
    let mut error = frame(outer, icmp(kind), 0);
    error.payload = bytes[about.l3()..].to_vec();
    error
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let tagged = |mut frame: Frame, tags: &[(u16, u16)]| {
        frame.tags = tags.to_vec();
        frame.build()
    };
    let fragment = |flags_offset| {
        let mut ip = v4();
        if let Ip::V4 {
            flags_offset: field,
            ..
        } = &mut ip
        {
            *field = flags_offset;
        }
        frame(ip, udp(53), 64).build()
    };
    let with_options = |mut ip: Ip| {
        match &mut ip {
            Ip::V4 { options, .. } => options.extend([0x94, 4, 0, 0]),
            Ip::V6 { options, .. } => *options = 2,
        }
        frame(ip, tcp(), 10).build()
    };
    let mut fragment6 = frame(v6(), udp(53), 16).build();
    fragment6.splice(54..54, [17, 0, 0, 1, 0, 0, 0, 9]);
    fragment6[20] = 44;
    fragment6[19] += 8;
    let mut mpls = frame(v4(), udp(53), 4).build();
    mpls[12..14].copy_from_slice(&[0x88, 0x47]);
    let mut length_frame = frame(v4(), udp(53), 4).build();
    length_frame[12..14].copy_from_slice(&[0, 46]);
    let shim = |shim: &[u8], inner: &[u8]| [&inner[..12], shim, &inner[14..]].concat();
    let inner = frame(v6(), udp(53), 20).build();
    let mut labels4 = shim(&[0x88, 0x48, 0, 1, 0, 9, 0, 2, 0, 8, 0, 3, 1, 7], &inner);
    labels4.extend([0; 4]);
    let itag = [&inner[..12], &[0x88, 0xe7, 0xa8, 0, 0, 7], &inner].concat();
    let twice = [&inner[..12], &[0x88, 0xe7, 0, 0, 0, 9], &itag].concat();
    let mut extensions = frame(v6(), tcp(), 8).build();
    let chain = [
        43, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 51, 0, 0, 0, 0, 0, 0, 1,
    ];
    extensions.splice(54..54, [&chain[..], &[6, 0, 0, 0, 0, 0, 0, 0]].concat());
    extensions[20] = 0;
    extensions[19] += 32;
    let mut options = vec![0x01, 0x02, 0x80, 1, 0, 1, 0, 2];
    options.resize(14, 0xff);
    let sctp = L4::Sctp {
        src: 1,
        dst: 2,
        tag: 3,
    };
    vec![
        (
            "mpls_ipv4",
            shim(&[0x88, 0x47, 0, 1, 1, 64], &frame(v4(), tcp(), 9).build()),
        ),
        ("mpls_three_ipv6", labels4),
        ("pbb", itag),
        ("pbb_twice", twice),
        ("ipv6_extensions", extensions),
        ("geneve_option", options),
        (
            "arp_request",
            arp::request(MacAddr([2; 6]), [10, 0, 0, 1], [10, 0, 0, 2]).to_vec(),
        ),
        (
            "arp_reply",
            arp::reply(
                MacAddr([2; 6]),
                [10, 0, 0, 1],
                MacAddr([4; 6]),
                [10, 0, 0, 2],
            )
            .to_vec(),
        ),
        (
            "nd_solicitation",
            nd::solicitation(MacAddr([2; 6]), [0xfd; 16], [0xfe; 16]).to_vec(),
        ),
        (
            "nd_advertisement",
            nd::advertisement(
                MacAddr([2; 6]),
                [0xfd; 16],
                MacAddr([4; 6]),
                [0xfe; 16],
                true,
            )
            .to_vec(),
        ),
        ("tcp4", frame(v4(), tcp(), 40).build()),
        ("tcp6", frame(v6(), tcp(), 40).build()),
        ("tcp4_large", frame(v4(), tcp(), 700).build_partial()),
        ("udp4", frame(v4(), udp(53), 30).build()),
        ("udp6", frame(v6(), udp(53), 31).build()),
        ("udp4_large", frame(v4(), udp(53), 600).build_partial()),
        ("sctp4", frame(v4(), sctp.clone(), 33).build()),
        ("sctp6", frame(v6(), sctp, 32).build()),
        ("icmp_echo", frame(v4(), icmp(8), 56).build()),
        ("icmpv6_echo", frame(v6(), icmp(128), 56).build()),
        (
            "icmp_unreachable",
            error(&frame(v4(), udp(53), 30), v4()).build(),
        ),
        (
            "icmp_unreachable_tcp",
            error(&frame(v4(), tcp(), 30), v4()).build(),
        ),
        (
            "icmpv6_unreachable",
            error(&frame(v6(), udp(53), 30), v6()).build(),
        ),
        (
            "icmpv6_unreachable_echo",
            error(&frame(v6(), icmp(128), 8), v6()).build(),
        ),
        ("vlan", tagged(frame(v4(), tcp(), 4), &[(0x8100, 100)])),
        (
            "qinq",
            tagged(frame(v6(), udp(1), 4), &[(0x88a8, 100), (0x8100, 200)]),
        ),
        (
            "three_tags",
            tagged(
                frame(v4(), udp(1), 4),
                &[(0x88a8, 1), (0x8100, 2), (0x8100, 3)],
            ),
        ),
        ("fragment_first", fragment(0x2000)),
        ("fragment_later", fragment(0x0010)),
        ("fragment6_first", fragment6),
        ("options4", with_options(v4())),
        ("options6", with_options(v6())),
        ("mpls", mpls),
        ("llc", length_frame),
        (
            "geneve_tcp4",
            tunnel(
                Encapsulation::Geneve,
                &frame(v4(), tcp(), 300).build_partial(),
            ),
        ),
        (
            "geneve_udp6",
            tunnel(Encapsulation::Geneve, &frame(v6(), udp(53), 30).build()),
        ),
        (
            "vxlan_icmp",
            tunnel(Encapsulation::Vxlan, &frame(v4(), icmp(8), 30).build()),
        ),
        ("gre", frame(v4(), L4::Other(47), 30).build()),
    ]
    .into_iter()
    .map(|(name, bytes)| {
        // Choices: a full checksum field, segments of 100 bytes.
        let mut input = vec![1, 0, 100, 77];
        input.extend(bytes);
        (name, input)
    })
    .collect()
}

#[test]
fn the_corpus_holds_every_seed() {
    for (name, bytes) in seeds() {
        let path = corpus().join(name);
        if std::env::var_os("SLUICE_WRITE_CORPUS").is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        let stored = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(stored == bytes, "{name} differs; see the top of this file");
    }
}

#[test]
fn everything_in_the_corpus_holds() {
    let mut count = 0;
    for file in fs::read_dir(corpus()).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let held = std::panic::catch_unwind(|| check::check(&bytes));
        assert!(held.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count >= seeds().len());
}

proptest! {
    #![proptest_config(common::config(2000))]

    #[test]
    fn generated_packets_hold_too(choices in any::<[u8; 4]>(), packet in common::bytes()) {
        let mut input = choices.to_vec();
        input.extend(packet);
        check::check(&input);
    }
}
