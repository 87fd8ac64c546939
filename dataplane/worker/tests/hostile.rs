//! Bytes of others: whatever comes in, the worker goes on, and every packet is accounted for.

mod common;

use common::{Rig, in_port, output, set, udp};
use net::{MeterId, TableId};
use openflow::action::{Ct, CtZone, Nat, NatKind};
use openflow::{Action, Field, Instructions, Match};
use packet::{Csum, Gso, Packet};
use ports::{Caps, TunnelKind};
use proptest::prelude::*;
use worker::{Counter, DropReason};

const UPLINK: u32 = 1;
const TUNNEL: u32 = 2;
const POD: u32 = 3;

/// A node that does everything to every packet.
fn node() -> Rig {
    let mut rig = Rig::new(0);
    rig.port(UPLINK, Caps::default());
    rig.port(POD, Caps::default());
    rig.tunnel(TUNNEL, TunnelKind::Geneve);
    for vtep in ["172.30.0.1/24,port=p1", "fd00::1/64,port=p1"] {
        rig.workers.set_vteps(vec![vtep.parse().unwrap()]);
    }
    let both = ["172.30.0.1/24,port=p1", "fd00::1/64,port=p1"];
    let vteps = both.iter().map(|vtep| vtep.parse().unwrap()).collect();
    rig.workers.set_vteps(vteps);
    rig.poll();
    rig.meter(1, 1000, 1000);
    let translate = Action::Nat(Nat {
        kind: NatKind::Src,
        addresses: Some(([10, 9, 9, 9].into(), [10, 9, 9, 10].into())),
        ports: None,
        persistent: false,
        hash: false,
        random: false,
    });
    let ct = Action::Ct(Ct {
        commit: true,
        zone: CtZone::Number(1),
        table: Some(TableId(1)),
        actions: vec![translate],
        ..Ct::default()
    });
    let mut first = Instructions::apply(vec![ct]);
    first.meter = Some(MeterId(1));
    rig.rule(0, 1, Match::any(), first);
    let everything = vec![
        set(Field::EthSrc, 1u64),
        set(Field::Ipv4Dst, 7u32),
        set(Field::Ipv6Src, 9u128),
        set(Field::IpDscp, 46u8),
        set(Field::IpEcn, 2u8),
        set(Field::TcpDst, 99u16),
        set(Field::UdpSrc, 98u16),
        set(Field::SctpDst, 97u16),
        set(Field::IcmpCode, 5u8),
        set(Field::Icmpv6Type, 6u8),
        set(Field::ArpSpa, 8u32),
        set(Field::ArpTha, 4u64),
        set(Field::NdTarget, 5u128),
        set(Field::NdSll, 3u64),
        set(Field::NdTll, 2u64),
        set(Field::Ipv6Label, 2u32),
        Action::PushVlan { tpid: 0x88a8 },
        set(Field::VlanVid, 0x1abc_u16),
        output(POD),
        Action::PopVlan,
        Action::PopVlan,
        Action::DecNwTtl,
        set(Field::TunId, 5u64),
        set(Field::TunDst, 0xac1e_0002_u32),
        output(TUNNEL),
        output(net::PortNo::FLOOD.0),
        output(net::PortNo::CONTROLLER.0),
    ];
    rig.flow(1, 1, in_port(UPLINK), everything.clone());
    rig.flow(1, 1, in_port(TUNNEL), everything.clone());
    rig.flow(1, 1, in_port(POD), everything);
    rig
}

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

/// The same, as they come out of a peer's tunnel. The endpoint's address is the uplink's.
fn wrapped(rig: &Rig, inner: &[u8]) -> Vec<u8> {
    let ports = rig.workers.shared().ports();
    let uplink = ports.named("p1").unwrap().mac;
    let mut payload = vec![0, 0, 0x65, 0x58, 0, 0, 5, 0];
    payload.extend_from_slice(inner);
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 2, 2, 2, 2, 2], uplink.0)
        .ipv4([172, 30, 0, 2], [172, 30, 0, 1], 64)
        .udp(50_000, 6081)
        .write(&mut frame, &payload)
        .unwrap();
    frame
}

#[derive(Clone, Debug)]
struct Damage {
    seed: usize,
    in_tunnel: bool,
    port: u32,
    cut: usize,
    bytes: Vec<(usize, u8)>,
    meta: Option<(u8, u16, u16, u16, u16)>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = (0..160usize, proptest::num::u8::ANY);
    let number = || proptest::num::u16::ANY;
    let near = || prop_oneof![0..120u16, number()];
    let meta = (0..8u8, near(), near(), near(), near());
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
            let mut packet = Packet::from_slice(&rig.pool, &frame).unwrap();
            if let Some((kinds, start, offset, size, header)) = damage.meta {
                let meta = packet.meta_mut();
                meta.csum = if kinds & 1 == 0 { Csum::Partial } else { Csum::Valid };
                meta.gso = [Gso::None, Gso::Tcp4, Gso::Tcp6, Gso::Udp][usize::from(kinds >> 1)];
                meta.csum_start = start;
                meta.csum_offset = offset;
                meta.gso_size = size;
                meta.hdr_len = header;
            }
            rig.send_packet(damage.port, packet);
            rig.advance(common::MILLISECOND);
            while rig.packet_in().is_some() {}
            rig.all_out();
        }
        // It still forwards, and takes packets out of their tunnel.
        let (before, taken_out) = (rig.count(Counter::TxPackets), rig.count(Counter::TunnelDecap));
        let good = wrapped(&rig, &udp(1, 2, (77, 78), b"good"));
        rig.advance(common::SECOND);
        rig.send(UPLINK, &good);
        prop_assert_eq!(rig.count(Counter::TunnelDecap), taken_out + 1);
        prop_assert!(rig.count(Counter::TxPackets) > before);
        let lost = rig.dropped(DropReason::NoMemory);
        prop_assert_eq!(lost, 0);
    }
}
