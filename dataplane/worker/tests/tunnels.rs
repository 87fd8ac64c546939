//! Tunnels: wrapping and unwrapping, next hops, what the endpoint answers itself.

mod common;

use std::net::IpAddr;

use common::*;
use net::options::GeneveOption;
use net::{FlowKey, MacAddr, PortNo};
use openflow::{Action, Field, Instructions, SubField};
use packet::{Csum, Gso};
use ports::{Caps, Mark, OuterSpec, TunnelKind};
use worker::{Counter, DropReason, NeighborState};

const UPLINK: u32 = 1;
const TUNNEL: u32 = 2;
const POD: u32 = 3;

/// A node: uplink 1, Geneve 2, pod 3; what the pod sends goes to `peer` as network 77, what comes
/// for network 77 goes to the pod.
fn node(vtep: &str, peer: &str, kind: TunnelKind) -> Rig {
    node_with(vtep, peer, kind, OuterSpec::default())
}

fn node_with(vtep: &str, peer: &str, kind: TunnelKind, outer: OuterSpec) -> Rig {
    let mut rig = Rig::new(0);
    rig.port(UPLINK, Caps::default());
    rig.port(POD, Caps::default());
    rig.tunnel_with(TUNNEL, kind, outer);
    rig.workers.set_vteps(vec![vtep.parse().unwrap()]);
    rig.poll();
    let to_peer = match peer.parse().unwrap() {
        IpAddr::V4(v4) => set(Field::TunDst, v4.to_bits()),
        IpAddr::V6(v6) => set(Field::TunIpv6Dst, v6.to_bits()),
    };
    let out = vec![set(Field::TunId, 77u64), to_peer, output(TUNNEL)];
    rig.flow(0, 1, in_port(POD), out);
    let arrives = in_port(TUNNEL).with(Field::TunId, 77u64);
    rig.flow(0, 1, arrives, vec![output(POD)]);
    rig
}

fn pair(a: &str, b: &str, kind: TunnelKind) -> (Rig, Rig) {
    let bare = |vtep: &str| vtep.split('/').next().unwrap().to_owned();
    (node(a, &bare(b), kind), node(b, &bare(a), kind))
}

/// The wire between two uplinks, until it is quiet. Returns the frames it carried.
fn exchange(a: &mut Rig, b: &mut Rig) -> Vec<Vec<u8>> {
    let mut carried = Vec::new();
    loop {
        let (from_a, from_b) = (a.out(UPLINK), b.out(UPLINK));
        if from_a.is_empty() && from_b.is_empty() {
            return carried;
        }
        for frame in &from_a {
            b.send(UPLINK, frame);
        }
        for frame in &from_b {
            a.send(UPLINK, frame);
        }
        // Those who waited for an answer look again in the next round.
        a.poll();
        b.poll();
        carried.extend(from_a);
        carried.extend(from_b);
    }
}

fn there_and_back(a: &str, b: &str, kind: TunnelKind) -> Vec<Vec<u8>> {
    let (mut a, mut b) = pair(a, b, kind);
    let mut carried = Vec::new();
    for round in 0..3u16 {
        let request = udp(1, 2, (1000, round), b"request");
        a.send(POD, &request);
        carried.extend(exchange(&mut a, &mut b));
        assert_eq!(b.only(POD), request, "{}{}", a.why(), b.why());
        let reply = udp(2, 1, (round, 1000), b"reply");
        b.send(POD, &reply);
        carried.extend(exchange(&mut a, &mut b));
        assert_eq!(a.only(POD), reply, "{}{}", a.why(), b.why());
    }
    assert_eq!(a.count(Counter::TunnelEncap), 3);
    assert_eq!(a.count(Counter::TunnelDecap), 3);
    carried
}

#[test]
fn geneve_over_ipv4_carries_packets_both_ways_after_asking_once_for_the_next_hop() {
    let carried = there_and_back(
        "172.30.0.1/24,port=p1",
        "172.30.0.2/24,port=p1",
        TunnelKind::Geneve,
    );
    assert_eq!(carried.len(), 2 + 6, "ARP request and reply, then data");
    let first = &carried[2];
    check_sums(first);
    let mut key = FlowKey::default();
    let layout = net::parse::extract(first, first.len(), &mut key).unwrap();
    assert_eq!(key.nw_src.get(), 0xac1e_0001);
    assert_eq!(key.tp_dst.get(), 6081);
    assert!(key.tp_src.get() >= 49152);
    let at = usize::from(layout.payload);
    assert_eq!(first[at..at + 8], [0, 0, 0x65, 0x58, 0, 0, 77, 0]);
    assert_eq!(first[at + 8..], udp(1, 2, (1000, 0), b"request"));
}

#[test]
fn flows_that_look_at_the_port_alone_are_cached_behind_endpoints_and_tunnels_too() {
    let (mut a, mut b) = pair(
        "172.30.0.1/24,port=p1",
        "172.30.0.2/24,port=p1",
        TunnelKind::Geneve,
    );
    for (priority, port) in [(9, TUNNEL), (8, UPLINK)] {
        let to_pod = Instructions::apply(vec![output(POD)]);
        b.rule(0, priority, in_port(port), to_pod);
    }
    for _ in 0..4 {
        a.send(POD, &udp(1, 2, (1, 2), b"in the tunnel"));
        exchange(&mut a, &mut b);
        b.send(UPLINK, &udp(1, 2, (1, 2), b"beside it"));
    }
    assert_eq!(b.out(POD).len(), 8);
    assert_eq!(b.count(Counter::CacheHits), 6);
    let counted = (b.rule_counts(0, 9).0, b.rule_counts(0, 8).0);
    assert_eq!(counted, (4, 4));
}

#[test]
fn vxlan_over_ipv4_likewise() {
    let carried = there_and_back(
        "172.30.0.1/24,port=p1",
        "172.30.0.2/24,port=p1",
        TunnelKind::Vxlan,
    );
    assert_eq!(carried[2][36..38], 4789u16.to_be_bytes());
}

#[test]
fn geneve_over_ipv6_has_an_outer_checksum() {
    let carried = there_and_back(
        "fd00::1/64,port=p1",
        "fd00::2/64,port=p1",
        TunnelKind::Geneve,
    );
    let first = &carried[2];
    let checksum = &first[14 + 40 + 6..14 + 40 + 8];
    assert_ne!(checksum, [0, 0]);
    check_sums(first);
}

#[test]
fn an_underlay_vlan_is_on_every_frame_of_the_endpoint() {
    let carried = there_and_back(
        "172.30.0.1/24,port=p1,vlan=12",
        "172.30.0.2/24,port=p1,vlan=12",
        TunnelKind::Geneve,
    );
    for frame in carried {
        assert_eq!(frame[12..16], [0x81, 0, 0, 12]);
    }
}

#[test]
fn off_link_peers_are_reached_through_the_gateway() {
    let mut rig = node(
        "172.30.0.1/24,port=p1,gateway=172.30.0.254",
        "192.0.2.9",
        TunnelKind::Geneve,
    );
    rig.send(POD, &udp(1, 2, (1, 2), b""));
    let question = rig.only(UPLINK);
    assert_eq!(question[12..14], [8, 6]);
    assert_eq!(question[38..42], [172, 30, 0, 254]);
    let gateway = MacAddr([2, 2, 2, 2, 2, 2]);
    let answer = net::arp::reply(
        gateway,
        [172, 30, 0, 254],
        MacAddr(question[6..12].try_into().unwrap()),
        [172, 30, 0, 1],
    );
    rig.send(UPLINK, &answer);
    rig.poll();
    let wrapped = rig.only(UPLINK);
    assert_eq!(wrapped[..6], gateway.0);
    assert_eq!(wrapped[30..34], [192, 0, 2, 9]);
    let entry = rig.workers.neighbors()[0];
    assert_eq!((entry.mac, entry.port), (Some(gateway), PortNo(UPLINK)));
    assert_eq!(entry.state, NeighborState::Reachable);
}

#[test]
fn off_link_peers_without_a_gateway_are_dropped() {
    let mut rig = node("172.30.0.1/24,port=p1", "192.0.2.9", TunnelKind::Geneve);
    rig.send(POD, &udp(1, 2, (1, 2), b""));
    assert_eq!(rig.dropped(DropReason::TunnelNoRoute), 1);
}

#[test]
fn packets_wait_for_a_next_hop_and_are_dropped_when_it_never_answers() {
    let mut rig = node("172.30.0.1/24,port=p1", "172.30.0.2", TunnelKind::Geneve);
    for source in 0..20 {
        rig.send(POD, &udp(1, 2, (source, 2), b""));
    }
    assert_eq!(rig.dropped(DropReason::NeighborQueueFull), 4);
    for _ in 0..100 {
        rig.advance(100 * MILLISECOND);
    }
    let questions = rig.out(UPLINK);
    assert!(questions.len() >= 10, "{} questions", questions.len());
    assert!(questions.iter().all(|frame| frame[12..14] == [8, 6]));
    assert_eq!(rig.dropped(DropReason::NeighborFailed), 16);
    assert!(rig.all_out().is_empty());
}

#[test]
fn a_next_hop_set_by_the_operator_is_used_without_asking() {
    let mut rig = node("172.30.0.1/24,port=p1", "172.30.0.2", TunnelKind::Geneve);
    let mac = MacAddr([2, 9, 9, 9, 9, 9]);
    assert!(rig.workers.set_neighbor("172.30.0.2".parse().unwrap(), mac));
    rig.send(POD, &udp(1, 2, (1, 2), b""));
    assert_eq!(rig.only(UPLINK)[..6], mac.0);
}

#[test]
fn the_endpoint_answers_arp_and_echo_for_its_address_and_lets_others_pass() {
    let mut rig = node("172.30.0.1/24,port=p1", "172.30.0.2", TunnelKind::Geneve);
    rig.flow(0, 1, in_port(UPLINK), vec![output(POD)]);
    let (asker, us) = (MacAddr([2, 0, 0, 0, 0, 7]), [172, 30, 0, 1]);
    rig.send(UPLINK, &net::arp::request(asker, [172, 30, 0, 7], us));
    let answer = rig.only(UPLINK);
    let ours = MacAddr(answer[6..12].try_into().unwrap());
    assert_eq!(answer, net::arp::reply(ours, us, asker, [172, 30, 0, 7]));
    let mut echo = Vec::new();
    etherparse::PacketBuilder::ethernet2(asker.0, ours.0)
        .ipv4([172, 30, 0, 7], us, 9)
        .icmpv4_echo_request(5, 6)
        .write(&mut echo, b"ping")
        .unwrap();
    rig.send(UPLINK, &echo);
    let answer = rig.only(UPLINK);
    check_sums(&answer);
    assert_eq!(answer[..12], [asker.0, ours.0].concat());
    assert_eq!((answer[34], &answer[38..]), (0, &echo[38..]));
    assert!(rig.out(POD).is_empty());
    // For other addresses, and other traffic to ours, the tables decide.
    let other = net::arp::request(asker, [172, 30, 0, 7], [172, 30, 0, 9]);
    rig.send(UPLINK, &other);
    assert_eq!(rig.only(POD), other);
    let mut ssh = Vec::new();
    etherparse::PacketBuilder::ethernet2(asker.0, ours.0)
        .ipv4([172, 30, 0, 7], us, 9)
        .tcp(999, 22, 0, 0)
        .write(&mut ssh, &[])
        .unwrap();
    rig.send(UPLINK, &ssh);
    assert_eq!(rig.only(POD), ssh);
    assert_eq!(rig.count(Counter::EndpointPackets), 2);
}

#[test]
fn the_endpoint_answers_neighbour_solicitations() {
    let mut rig = node("fd00::1/64,port=p1", "fd00::2", TunnelKind::Geneve);
    let asker = MacAddr([2, 0, 0, 0, 0, 7]);
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let question = net::nd::solicitation(asker, address("fd00::7"), address("fd00::1"));
    rig.send(UPLINK, &question);
    let answer = rig.only(UPLINK);
    let ours = MacAddr(answer[6..12].try_into().unwrap());
    let expected =
        net::nd::advertisement(ours, address("fd00::1"), asker, address("fd00::7"), false);
    assert_eq!(answer, expected);
}

#[test]
fn a_tunnel_packet_that_nobody_takes_or_that_is_broken_is_dropped_with_a_reason() {
    let (mut a, mut b) = pair(
        "172.30.0.1/24,port=p1",
        "172.30.0.2/24,port=p1",
        TunnelKind::Geneve,
    );
    a.send(POD, &udp(1, 2, (1, 2), b""));
    let carried = exchange(&mut a, &mut b);
    let good = carried.last().unwrap().clone();
    b.out(POD);
    let mut critical = good.clone();
    critical[43] |= 0x40;
    b.send(UPLINK, &critical);
    assert_eq!(b.dropped(DropReason::TunnelCriticalOption), 1);
    let mut version = good.clone();
    version[42] |= 0x40;
    b.send(UPLINK, &version);
    let mut protocol = good.clone();
    protocol[45] = 0x59;
    b.send(UPLINK, &protocol);
    b.send(UPLINK, &shortened(&good, 42 + 8 + 13));
    b.send(UPLINK, &shortened(&good, 42 + 7));
    assert_eq!(b.dropped(DropReason::TunnelMalformed), 4);
    let mut fragment = good.clone();
    fragment[20] = 0x20;
    set_ipv4_checksum(&mut fragment);
    b.send(UPLINK, &fragment);
    assert_eq!(b.dropped(DropReason::TunnelFragment), 1);
    let (reply, _answer) = worker::Reply::channel();
    b.workers.delete_port(PortNo(TUNNEL), reply).unwrap();
    b.send(UPLINK, &good);
    assert_eq!(b.dropped(DropReason::TunnelNoPort), 1);
    assert!(b.out(POD).is_empty());
}

#[test]
fn a_flow_without_tunnel_destination_is_dropped() {
    let mut rig = node("172.30.0.1/24,port=p1", "172.30.0.2", TunnelKind::Geneve);
    rig.flow(0, 9, in_port(POD), vec![output(TUNNEL)]);
    rig.send(POD, &udp(1, 2, (1, 2), b""));
    assert_eq!(rig.dropped(DropReason::TunnelNoDestination), 1);
    rig.workers.set_vteps(vec![]);
    rig.delete(0, 9, in_port(POD));
    rig.send(POD, &udp(1, 2, (1, 2), b""));
    assert_eq!(rig.dropped(DropReason::TunnelNoEndpoint), 1);
}

#[test]
fn a_sender_learns_the_mtu_of_the_tunnel() {
    let mut rig = node("172.30.0.1/24,port=p1", "172.30.0.2", TunnelKind::Geneve);
    rig.flow(
        0,
        2,
        in_port(POD),
        vec![
            set(Field::TunId, 77u64),
            set(Field::TunDst, 0xac1e_0002_u32),
            set(Field::Ipv4Dst, 0x0a00_0063_u32),
            output(TUNNEL),
        ],
    );
    // 1451 bytes of IP; 1450 fit.
    let big = dont_fragment(udp(1, 2, (1, 2), &[0; 1423]), true);
    for round in 1..=2 {
        rig.send(POD, &big);
        assert_eq!(rig.dropped(DropReason::TooBig), round);
        let error = rig.only(POD);
        check_sums(&error);
        assert_eq!(error[..12], [mac(1), mac(2)].concat());
        assert_eq!(error[26..34], [10, 0, 0, 2, 10, 0, 0, 1]);
        assert_eq!((error[34], error[35]), (3, 4));
        assert_eq!(u16::from_be_bytes([error[40], error[41]]), 1450);
        // The quoted packet is the one that was sent, not what the flow made of it.
        assert_eq!(error[42..70], big[14..42]);
    }
    // One byte less goes through.
    let fits = udp(1, 2, (1, 2), &[0; 1422]);
    rig.workers
        .set_neighbor("172.30.0.2".parse().unwrap(), MacAddr([2; 6]));
    rig.out(UPLINK);
    rig.send(POD, &fits);
    assert_eq!(rig.only(UPLINK).len(), fits.len() + 50);
    // Without the don't-fragment bit nobody is told.
    let big = dont_fragment(udp(1, 2, (1, 2), &[0; 1423]), false);
    rig.send(POD, &big);
    assert_eq!(rig.dropped(DropReason::TooBig), 3);
    assert!(rig.out(POD).is_empty());
}

fn dont_fragment(mut frame: Vec<u8>, bit: bool) -> Vec<u8> {
    frame[20] = if bit { 0x40 } else { 0 };
    set_ipv4_checksum(&mut frame);
    frame
}

/// Of an untagged frame.
fn set_ipv4_checksum(frame: &mut [u8]) {
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = net::csum::ipv4_header(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// The first bytes of an untagged IPv4 UDP frame, with lengths to match.
fn shortened(frame: &[u8], len: usize) -> Vec<u8> {
    let mut frame = frame[..len].to_vec();
    frame[16..18].copy_from_slice(&(len as u16 - 14).to_be_bytes());
    frame[38..40].copy_from_slice(&(len as u16 - 34).to_be_bytes());
    set_ipv4_checksum(&mut frame);
    frame
}

fn large_frame_through_tunnel(a: &str, b: &str) {
    let (mut a, mut b) = pair(a, b, TunnelKind::Geneve);
    a.send(POD, &udp(1, 2, (1, 2), b""));
    exchange(&mut a, &mut b);
    b.out(POD);
    let payload: Vec<u8> = (0..30_000u32).map(|n| (n * 7) as u8).collect();
    for _ in 0..2 {
        let large = large_frame(&a, &payload, 1380);
        a.send_packet(POD, large);
        let segments = a.out(UPLINK);
        assert_eq!(segments.len(), 30_000usize.div_ceil(1380), "{}", a.why());
        let mut received = Vec::new();
        for segment in &segments {
            check_sums(segment);
            b.send(UPLINK, segment);
            let inner = b.only(POD);
            check_sums(&inner);
            received.extend_from_slice(&inner[54..]);
        }
        assert_eq!(received, payload);
    }
}

#[test]
fn a_large_tcp_frame_is_cut_behind_the_tunnel_when_the_uplink_cannot() {
    large_frame_through_tunnel("172.30.0.1/24,port=p1", "172.30.0.2/24,port=p1");
}

#[test]
fn a_large_tcp_frame_is_cut_in_a_tunnel_over_ipv6_with_outer_checksums() {
    large_frame_through_tunnel("fd00::1/64,port=p1", "fd00::2/64,port=p1");
}

#[test]
fn a_large_frame_goes_whole_to_a_port_that_takes_it() {
    let mut rig = Rig::new(1);
    let caps = Caps {
        csum: true,
        tso: true,
        uso: true,
    };
    rig.port(2, caps);
    let rewrite = vec![
        set(Field::Ipv4Dst, 0x0a00_0009_u32),
        set(Field::TcpDst, 80u16),
        Action::DecNwTtl,
        output(2),
    ];
    rig.flow(0, 1, in_port(1), rewrite);
    let payload = vec![5; 20_000];
    let large = large_frame(&rig, &payload, 1400);
    rig.send_packet(1, large);
    let out = rig.out_packets(2);
    assert_eq!(out.len(), 1, "{}", rig.why());
    assert_eq!(out[0].meta().gso, Gso::Tcp4);
    assert_eq!(out[0].meta().csum, Csum::Partial);
    // Finished by whoever takes it, the checksum is right for the new addresses and ports.
    let mut bytes = out[0].to_vec();
    let sum = net::csum::complete([&bytes[34..]]);
    bytes[50..52].copy_from_slice(&sum.to_be_bytes());
    check_sums(&bytes);
    assert_eq!(bytes[30..34], [10, 0, 0, 9]);
}

#[test]
fn options_are_fields_on_both_ends_of_a_tunnel() {
    let ovn = GeneveOption {
        class: 0x0102,
        kind: 0x80,
        len: 4,
    };
    let wide = GeneveOption {
        class: 7,
        kind: 1,
        len: 8,
    };
    let map = [Some(ovn), None, Some(wide), None, None, None, None, None];
    let (mut a, mut b) = pair(
        "10.0.0.1/24,port=p1",
        "10.0.0.2/24,port=p1",
        TunnelKind::Geneve,
    );
    for rig in [&mut a, &mut b] {
        rig.workers.set_tunnel_options(map);
        rig.poll();
    }
    // The logical ports travel in one option, where the packet came from in the other.
    let to_b = vec![
        set(Field::TunId, 77u64),
        set(Field::TunDst, 0x0a00_0002u32),
        set(Field::TunMetadata0, 0x0003_8004u32),
        Action::Move {
            src: SubField::whole(Field::EthSrc),
            dst: SubField::range(Field::TunMetadata2, 0, 47),
        },
        output(TUNNEL),
    ];
    a.flow(0, 2, in_port(POD), to_b);
    let port = |port: u16| in_port(TUNNEL).with_masked(Field::TunMetadata0, port, 0xffffu16);
    let show = vec![
        Action::Move {
            src: SubField::range(Field::TunMetadata2, 0, 47),
            dst: SubField::whole(Field::EthDst),
        },
        output(POD),
    ];
    b.flow(0, 3, port(0x8004), show);
    b.flow(0, 2, port(0x8005), vec![]);
    for number in 0..4u16 {
        let request = udp(1, 2, (1000, 7), &number.to_be_bytes());
        a.send(POD, &request);
        exchange(&mut a, &mut b);
        let shown = [&request[6..12], &request[6..]].concat();
        assert_eq!(b.only(POD), shown, "{}{}", a.why(), b.why());
    }
    assert_eq!(
        b.count(Counter::CacheHits),
        3,
        "tunnel options are in the cache's key"
    );
    // Without the option, and where it is another, the flow does not match.
    a.flow(
        0,
        2,
        in_port(POD),
        vec![set(Field::TunDst, 0x0a00_0002u32), output(TUNNEL)],
    );
    a.send(POD, &udp(1, 2, (1000, 7), b"none"));
    exchange(&mut a, &mut b);
    assert_eq!((b.out(POD).len(), b.dropped(DropReason::TableMiss)), (0, 1));
    // One that the other end does not know is critical.
    b.workers.set_tunnel_options([None; 8]);
    b.poll();
    let critical = vec![
        set(Field::TunDst, 0x0a00_0002u32),
        set(Field::TunMetadata0, 1u8),
        output(TUNNEL),
    ];
    a.flow(0, 2, in_port(POD), critical);
    a.send(POD, &udp(1, 2, (1000, 7), b"critical"));
    exchange(&mut a, &mut b);
    assert_eq!(b.dropped(DropReason::TunnelCriticalOption), 1);
}

/// The underlays: IPv4 and IPv6.
const UNDERLAYS: [(&str, &str); 2] = [
    ("172.30.0.1/24,port=p1", "172.30.0.2/24,port=p1"),
    ("fd00::1/64,port=p1", "fd00::2/64,port=p1"),
];

/// UDP in IPv4 or IPv6 with this TOS and time to live.
fn marked(ipv6: bool, tos: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let ethernet = etherparse::PacketBuilder::ethernet2(mac(1), mac(2));
    match ipv6 {
        true => ethernet
            .ipv6([1; 16], [2; 16], ttl)
            .udp(7, 8)
            .write(&mut frame, payload)
            .unwrap(),
        false => ethernet
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], ttl)
            .udp(7, 8)
            .write(&mut frame, payload)
            .unwrap(),
    }
    set_tos(&mut frame, tos);
    frame
}

/// TOS of an untagged frame.
fn tos(frame: &[u8]) -> u8 {
    match frame[12..14] {
        [8, 0] => frame[15],
        _ => frame[14] << 4 | frame[15] >> 4,
    }
}

fn set_tos(frame: &mut [u8], tos: u8) {
    if frame[12..14] == [8, 0] {
        frame[15] = tos;
        set_ipv4_checksum(frame);
    } else {
        frame[14] = 0x60 | tos >> 4;
        frame[15] = tos << 4;
    }
}

fn ttl(frame: &[u8]) -> u8 {
    frame[if frame[12..14] == [8, 0] { 22 } else { 21 }]
}

/// Outer headers and options of Geneve without options.
fn overhead(frame: &[u8]) -> usize {
    if frame[12..14] == [8, 0] { 50 } else { 70 }
}

/// A pair whose ends know each other.
fn acquainted(underlay: (&str, &str), outer: OuterSpec) -> (Rig, Rig) {
    let bare = |vtep: &str| vtep.split('/').next().unwrap().to_owned();
    let (a, b) = underlay;
    let mut pair = (
        node_with(a, &bare(b), TunnelKind::Geneve, outer),
        node_with(b, &bare(a), TunnelKind::Geneve, outer),
    );
    pair.0.send(POD, &udp(9, 2, (9, 9), b"who is there"));
    exchange(&mut pair.0, &mut pair.1);
    pair.1.out(POD);
    pair
}

#[test]
fn the_outer_header_carries_the_congestion_mark_of_the_packet_and_nothing_else_of_it() {
    for underlay in UNDERLAYS {
        let (mut a, mut b) = acquainted(underlay, OuterSpec::default());
        for ipv6 in [false, true] {
            // The four codepoints share a cached program where nothing looks at the TOS.
            for ecn in [0, 1, 2, 3, 0] {
                let inner = marked(ipv6, 0xb8 | ecn, 9, b"");
                a.send(POD, &inner);
                let wrapped = a.only(UPLINK);
                check_sums(&wrapped);
                assert_eq!((tos(&wrapped), ttl(&wrapped)), (ecn, 64), "{underlay:?}");
                b.send(UPLINK, &wrapped);
                assert_eq!(b.only(POD), inner);
            }
        }
        // What is not IP has none.
        let arp = net::arp::request(MacAddr(mac(1)), [10, 0, 0, 1], [10, 0, 0, 2]);
        a.send(POD, &arp);
        assert_eq!(tos(&a.only(UPLINK)), 0);
    }
}

#[test]
fn congestion_that_the_tunnel_met_is_told_to_the_packet_as_rfc_6040_has_it() {
    // Inner and outer codepoints, and what comes out.
    let cases = [
        (2, 3, Some(3)),
        (1, 3, Some(3)),
        (3, 3, Some(3)),
        (2, 1, Some(1)),
        (1, 2, Some(1)),
        (3, 0, Some(3)),
        (0, 2, Some(0)),
        (0, 1, Some(0)),
        (0, 3, None),
    ];
    for underlay in UNDERLAYS {
        let (mut a, mut b) = acquainted(underlay, OuterSpec::default());
        for (inner, outer, expected) in cases {
            for (ipv6, tagged) in [(false, false), (true, false), (false, true), (true, true)] {
                let tag = |frame: Vec<u8>| match tagged {
                    true => [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat(),
                    false => frame,
                };
                a.send(POD, &tag(marked(ipv6, 0x28 | inner, 9, b"data")));
                let mut wrapped = a.only(UPLINK);
                set_tos(&mut wrapped, outer);
                let dropped = b.dropped(DropReason::TunnelCongestion);
                b.send(UPLINK, &wrapped);
                match expected {
                    Some(ecn) => {
                        assert_eq!(b.only(POD), tag(marked(ipv6, 0x28 | ecn, 9, b"data")))
                    }
                    None => assert_eq!(b.dropped(DropReason::TunnelCongestion), dropped + 1),
                }
            }
        }
        assert!(b.out(POD).is_empty());
    }
}

#[test]
fn dscp_and_time_to_live_are_inherited_or_fixed_as_the_port_says() {
    let fixed = OuterSpec {
        tos: Mark::Fixed(0xb8),
        ttl: Mark::Fixed(3),
        ..OuterSpec::default()
    };
    let inherited = OuterSpec {
        tos: Mark::Inherit,
        ttl: Mark::Inherit,
        ..OuterSpec::default()
    };
    for underlay in UNDERLAYS {
        for ipv6 in [false, true] {
            for (outer, expected) in [(fixed, (0xb9, 3)), (inherited, (0x29, 17))] {
                let (mut a, _) = acquainted(underlay, outer);
                a.send(POD, &marked(ipv6, 0x29, 17, b""));
                let wrapped = a.only(UPLINK);
                check_sums(&wrapped);
                assert_eq!((tos(&wrapped), ttl(&wrapped)), expected);
                // Another packet of the flow, another mark.
                a.send(POD, &marked(ipv6, 0x48, 18, b""));
                let again = a.only(UPLINK);
                check_sums(&again);
                let same = outer == fixed;
                let expected = if same { (0xb8, 3) } else { (0x48, 18) };
                assert_eq!((tos(&again), ttl(&again)), expected);
            }
            // Not IP: the default.
            let (mut a, _) = acquainted(underlay, inherited);
            let arp = net::arp::request(MacAddr(mac(1)), [10, 0, 0, 1], [10, 0, 0, 2]);
            a.send(POD, &arp);
            let wrapped = a.only(UPLINK);
            assert_eq!((tos(&wrapped), ttl(&wrapped)), (0, 64));
        }
    }
}

#[test]
fn fragmentation_is_forbidden_unless_the_port_allows_it_and_then_packets_have_identifications() {
    let (mut a, _) = acquainted(UNDERLAYS[0], OuterSpec::default());
    a.send(POD, &udp(1, 2, (1, 2), b""));
    assert_eq!(a.only(UPLINK)[18..22], [0, 0, 0x40, 0]);
    let allowed = OuterSpec {
        dont_fragment: false,
        ..OuterSpec::default()
    };
    let (mut a, _) = acquainted(UNDERLAYS[0], allowed);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        a.send(POD, &udp(1, 2, (1, 2), b""));
        let wrapped = a.only(UPLINK);
        check_sums(&wrapped);
        assert_eq!(wrapped[20..22], [0, 0]);
        seen.insert(wrapped[18..20].to_vec());
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn an_outer_checksum_is_written_as_the_port_says_and_checked_on_arrival() {
    for (underlay, csum, expected) in [
        (UNDERLAYS[0], None, false),
        (UNDERLAYS[0], Some(true), true),
        (UNDERLAYS[1], None, true),
        (UNDERLAYS[1], Some(false), false),
    ] {
        let outer = OuterSpec {
            checksum: csum,
            ..OuterSpec::default()
        };
        let (mut a, mut b) = acquainted(underlay, outer);
        let inner = udp(1, 2, (1, 2), b"payload of odd length");
        a.send(POD, &inner);
        let wrapped = a.only(UPLINK);
        if expected {
            check_sums(&wrapped);
        }
        let at = overhead(&wrapped) - 10;
        assert_eq!(
            wrapped[at..at + 2] != [0, 0],
            expected,
            "{underlay:?} {csum:?}"
        );
        b.send(UPLINK, &wrapped);
        assert_eq!(b.only(POD), inner);
        let mut broken = wrapped.clone();
        *broken.last_mut().unwrap() ^= 1;
        b.send(UPLINK, &broken);
        assert_eq!(b.dropped(DropReason::TunnelChecksum), u64::from(expected));
        assert_eq!(b.out(POD).len(), usize::from(!expected));
        // A frame is padded to 60 bytes by some; that is not covered.
        b.send(UPLINK, &[&wrapped[..], &[7; 9]].concat());
        assert_eq!(b.only(POD), inner);
    }
}

#[test]
fn large_frames_have_outer_checksums_over_ipv4_too_if_the_port_wants_them() {
    let outer = OuterSpec {
        checksum: Some(true),
        ..OuterSpec::default()
    };
    let (mut a, mut b) = acquainted(UNDERLAYS[0], outer);
    let payload: Vec<u8> = (0..20_000u32).map(|n| (n * 7) as u8).collect();
    let large = large_frame(&a, &payload, 1380);
    a.send_packet(POD, large);
    let segments = a.out(UPLINK);
    assert_eq!(segments.len(), 20_000usize.div_ceil(1380));
    for segment in segments {
        check_sums(&segment);
        assert_ne!(segment[40..42], [0, 0]);
        b.send(UPLINK, &segment);
        check_sums(&b.only(POD));
    }
}

#[test]
fn extension_headers_of_the_outer_packet_are_stepped_over() {
    let (mut a, mut b) = acquainted(UNDERLAYS[1], OuterSpec::default());
    let inner = udp(1, 2, (1, 2), b"x");
    a.send(POD, &inner);
    let wrapped = a.only(UPLINK);
    // Destination options: padding of six bytes (RFC 8200 4.6).
    let options = [17, 0, 1, 4, 0, 0, 0, 0];
    let mut longer = [&wrapped[..54], &options, &wrapped[54..]].concat();
    longer[20] = 60;
    let len = u16::from_be_bytes([longer[18], longer[19]]) + 8;
    longer[18..20].copy_from_slice(&len.to_be_bytes());
    b.send(UPLINK, &longer);
    assert_eq!(b.only(POD), inner, "{}", b.why());
}

#[test]
fn senders_of_both_families_learn_the_mtu_of_tunnels_over_both_with_and_without_a_tag() {
    for underlay in UNDERLAYS {
        for (ipv6, tagged) in [(false, false), (true, false), (false, true), (true, true)] {
            let (mut a, mut b) = acquainted(underlay, OuterSpec::default());
            let tag = |frame: Vec<u8>| match tagged {
                true => [&frame[..12], &[0x81, 0, 0x20, 5], &frame[12..]].concat(),
                false => frame,
            };
            let outer = if underlay == UNDERLAYS[0] { 50 } else { 70 };
            // The tag is payload of the tunnel.
            let mtu = 1500 - outer - if tagged { 4 } else { 0 };
            let headers = if ipv6 { 48 } else { 28 };
            let packet = |len: usize| {
                let frame = marked(ipv6, 0, 64, &vec![7; len - headers]);
                tag(if ipv6 {
                    frame
                } else {
                    dont_fragment(frame, true)
                })
            };
            // From either side.
            for from_b in [false, true] {
                let (near, far) = match from_b {
                    true => (&mut b, &mut a),
                    false => (&mut a, &mut b),
                };
                near.send(POD, &packet(mtu + 1));
                let error = near.only(POD);
                assert_eq!(near.dropped(DropReason::TooBig), 1);
                let l3 = if tagged { 18 } else { 14 };
                if tagged {
                    assert_eq!(error[12..16], [0x81, 0, 0x20, 5]);
                }
                let untagged = [&error[..12], &error[l3 - 2..]].concat();
                check_sums(&untagged);
                if ipv6 {
                    assert_eq!(untagged[54..56], [2, 0], "packet too big (RFC 4443 3.2)");
                    let told = u32::from_be_bytes(untagged[58..62].try_into().unwrap());
                    assert_eq!(told as usize, mtu);
                } else {
                    assert_eq!(untagged[34..36], [3, 4], "fragmentation needed (RFC 1191)");
                    let told = u16::from_be_bytes([untagged[40], untagged[41]]);
                    assert_eq!(usize::from(told), mtu);
                }
                let fits = packet(mtu);
                near.send(POD, &fits);
                let wrapped = near.only(UPLINK);
                assert_eq!(wrapped.len(), 14 + 1500);
                far.send(UPLINK, &wrapped);
                assert_eq!(far.only(POD), fits);
            }
        }
    }
}
