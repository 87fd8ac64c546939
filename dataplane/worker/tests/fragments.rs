//! Fragments on their way through the connection tracker: they follow their first fragment,
//! whatever order they come in, and what never gets complete is bounded.

mod common;

use std::net::IpAddr;

use common::{MILLISECOND, Rig, SECOND, any, check_sums, in_port, mac, output};
use etherparse::PacketBuilder;
use net::TableId;
use net::key::ct_state::{EST, INV, NEW, TRK};
use openflow::action::{Ct, CtZone, Nat, NatKind};
use openflow::{Action, Field, Instructions, Match};
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert_eq, prop_oneof, proptest};
use worker::{Config, Counter, DropReason, FragmentLimits};

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const VIP: [u8; 4] = [10, 0, 0, 200];
const BACKEND: [u8; 4] = [10, 0, 0, 2];

/// A whole UDP datagram over Ethernet, checksum included.
fn datagram(src: IpAddr, dst: IpAddr, ports: (u16, u16), len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len).map(|at| (at * 7 + at / 251) as u8).collect();
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(mac(1), mac(2));
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => builder
            .ipv4(src.octets(), dst.octets(), 64)
            .udp(ports.0, ports.1)
            .write(&mut frame, &payload),
        (IpAddr::V6(src), IpAddr::V6(dst)) => builder
            .ipv6(src.octets(), dst.octets(), 64)
            .udp(ports.0, ports.1)
            .write(&mut frame, &payload),
        _ => unreachable!(),
    }
    .unwrap();
    frame
}

/// Bytes `start..end` of the IP payload of a whole packet, as a fragment.
fn piece(whole: &[u8], id: u32, start: usize, end: usize) -> Vec<u8> {
    let v4 = whole[12] == 8;
    let l4 = if v4 { 34 } else { 54 };
    let last = l4 + end >= whole.len();
    let data = &whole[l4 + start..whole.len().min(l4 + end)];
    let mut frame = whole[..l4].to_vec();
    let offset = start as u16 / 8;
    if v4 {
        frame[16..18].copy_from_slice(&(20 + data.len() as u16).to_be_bytes());
        frame[18..20].copy_from_slice(&(id as u16).to_be_bytes());
        let more = if last { 0 } else { 0x2000 };
        frame[20..22].copy_from_slice(&(more | offset).to_be_bytes());
        fix_header(&mut frame);
    } else {
        frame[18..20].copy_from_slice(&(8 + data.len() as u16).to_be_bytes());
        let protocol = std::mem::replace(&mut frame[20], 44);
        frame.extend([protocol, 0]);
        frame.extend((offset << 3 | u16::from(!last)).to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend_from_slice(data);
    frame
}

fn fix_header(frame: &mut [u8]) {
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = net::csum::ipv4_header(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// A whole packet in fragments of `size` bytes of payload.
fn fragments(whole: &[u8], id: u32, size: usize) -> Vec<Vec<u8>> {
    let l4 = if whole[12] == 8 { 34 } else { 54 };
    (0..whole.len() - l4)
        .step_by(size)
        .map(|start| piece(whole, id, start, start + size))
        .collect()
}

/// What a receiver puts together; panics unless it is all there, once, and the checksums hold.
fn together(mut frames: Vec<Vec<u8>>) -> Vec<u8> {
    let v4 = frames[0][12] == 8;
    let place = |frame: &[u8]| {
        let at = if v4 { 20 } else { 56 };
        let word = u16::from_be_bytes([frame[at], frame[at + 1]]);
        match v4 {
            true => (usize::from(word & 0x1fff) * 8, word & 0x2000 != 0),
            false => (usize::from(word & 0xfff8), word & 1 != 0),
        }
    };
    frames.sort_by_key(|frame| place(frame).0);
    let mut whole = frames[0][..if v4 { 34 } else { 54 }].to_vec();
    let mut expected = 0;
    let count = frames.len();
    for (at, frame) in frames.iter().enumerate() {
        let (start, more) = place(frame);
        assert_eq!(start, expected, "a gap or an overlap");
        assert_eq!(more, at + 1 < count);
        if v4 {
            assert_eq!(net::csum::ipv4_header(&frame[14..34]), 0);
        }
        let data = &frame[if v4 { 34 } else { 62 }..];
        expected += data.len();
        whole.extend_from_slice(data);
    }
    if v4 {
        whole[16..18].copy_from_slice(&(20 + expected as u16).to_be_bytes());
        // As the whole one had it.
        whole[18..22].copy_from_slice(&[0, 0, 0x40, 0]);
        fix_header(&mut whole);
    } else {
        whole[18..20].copy_from_slice(&(expected as u16).to_be_bytes());
        whole[20] = 17;
    }
    check_sums(&whole);
    whole
}

fn ct(table: Option<u8>, commit: bool, actions: Vec<Action>) -> Action {
    Action::Ct(Ct {
        zone: CtZone::Number(7),
        table: table.map(TableId),
        commit,
        actions,
        ..Ct::default()
    })
}

fn nat(kind: NatKind, to: Option<(IpAddr, u16)>) -> Action {
    Action::Nat(Nat {
        kind,
        addresses: to.map(|(address, _)| (address, address)),
        ports: to.map(|(_, port)| (port, port)),
        persistent: false,
        hash: false,
        random: false,
    })
}

fn ethertype(v4: bool) -> Match {
    any().with(Field::EthType, if v4 { 0x0800_u16 } else { 0x86dd })
}

fn state(v4: bool, on: u32) -> Match {
    ethertype(v4).with_masked(Field::CtState, on, on)
}

/// Port 1 is a client, behind port 2 stands the backend of a service at port 53.
fn service(rig: &mut Rig, vip: IpAddr, backend: IpAddr) {
    let v4 = vip.is_ipv4();
    let track = ct(Some(1), false, vec![nat(NatKind::Existing, None)]);
    rig.flow(0, 1, ethertype(v4), vec![track]);
    let to_backend = nat(NatKind::Dst, Some((backend, 5353)));
    let new = state(v4, TRK | NEW);
    let to_vip = new
        .clone()
        .with(Field::UdpDst, 53u16)
        .with(Field::IpProto, 17u8);
    rig.flow(1, 3, to_vip, vec![ct(Some(2), true, vec![to_backend])]);
    // What belongs to a translated connection goes on, and so does everything else known.
    rig.rule(
        1,
        2,
        new.with(Field::InPort, 1u32),
        Instructions::default().goto(TableId(2)),
    );
    rig.rule(
        1,
        1,
        state(v4, TRK | EST),
        Instructions::default().goto(TableId(2)),
    );
    rig.flow(2, 1, in_port(1), vec![output(2)]);
    rig.flow(2, 1, in_port(2), vec![output(1)]);
}

fn both_families() -> [(IpAddr, IpAddr, IpAddr); 2] {
    let v6 = |last: u8| IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    [
        (CLIENT.into(), VIP.into(), BACKEND.into()),
        (v6(1), v6(200), v6(2)),
    ]
}

/// Both directions of a large datagram through a service, its fragments in an order.
fn through_a_service(order: impl Fn(&mut Vec<Vec<u8>>)) {
    for (client, vip, backend) in both_families() {
        let mut rig = Rig::new(2);
        service(&mut rig, vip, backend);
        for round in 0..3u32 {
            let whole = datagram(client, vip, (4000, 53), 8000);
            let mut sent = fragments(&whole, 100 + round, 1448);
            order(&mut sent);
            for frame in &sent {
                rig.send(1, frame);
            }
            let got = rig.out(2);
            assert_eq!(got.len(), sent.len(), "{}", rig.why());
            let arrived = together(got);
            assert_eq!(arrived, datagram(client, backend, (4000, 5353), 8000));

            let answer = datagram(backend, client, (5353, 4000), 5000);
            let mut sent = fragments(&answer, 100 + round, 1448);
            order(&mut sent);
            rig.send_burst(2, &sent);
            let arrived = together(rig.out(1));
            assert_eq!(arrived, datagram(vip, client, (53, 4000), 5000));
        }
        assert_eq!(rig.workers.shared().conns.len(), 1);
        rig.advance(SECOND);
        assert_eq!(rig.count(Counter::FragmentsWaiting), 0);
        assert_eq!(rig.count(Counter::FragmentedDatagrams), 0, "all complete");
        assert_eq!(rig.why(), "");
    }
}

#[test]
fn fragments_follow_their_first_one_through_translation_both_ways() {
    through_a_service(|_| {});
}

#[test]
fn fragments_that_come_before_their_first_one_wait_for_it() {
    through_a_service(|frames| frames.reverse());
    through_a_service(|frames| {
        let middle = frames.len() / 2;
        frames.rotate_left(middle);
    });
}

fn small() -> Config {
    Config {
        fragments: FragmentLimits {
            datagrams: 16 * 8,
            packets: 16 * 8,
            bytes: 16 * 8 * 1500,
            timeout: 15 * SECOND,
        },
        ..Config::default()
    }
}

/// Everything is tracked and let through, what is invalid to port 3.
fn tracked(rig: &mut Rig) {
    for v4 in [true, false] {
        rig.flow(0, 1, ethertype(v4), vec![ct(Some(1), true, Vec::new())]);
        rig.flow(1, 2, state(v4, TRK | INV), vec![output(3)]);
        rig.flow(1, 1, ethertype(v4), vec![output(2)]);
    }
}

fn big(src: u8) -> Vec<u8> {
    datagram([10, 0, 0, src].into(), BACKEND.into(), (1000, 2000), 3000)
}

#[test]
fn matches_see_no_ports_in_later_fragments_but_the_connections_ports() {
    let mut rig = Rig::new(4);
    tracked(&mut rig);
    let udp = ethertype(true).with(Field::IpProto, 17u8);
    let with_port = udp.clone().with(Field::UdpDst, 2000u16);
    rig.flow(1, 9, with_port, vec![output(3)]);
    let of_connection = udp
        .with(Field::CtTpDst, 2000u16)
        .with_masked(Field::CtState, TRK, TRK);
    rig.flow(1, 8, of_connection, vec![output(4)]);
    for frame in fragments(&big(1), 1, 1000).iter().rev() {
        rig.send(1, frame);
    }
    assert_eq!(
        (rig.out(3).len(), rig.out(4).len()),
        (1, 3),
        "{}",
        rig.why()
    );
}

#[test]
fn without_a_ct_action_nothing_waits_and_fragments_are_cached() {
    let mut rig = Rig::new(2);
    rig.flow(
        0,
        1,
        ethertype(true).with(Field::Ipv4Src, 0x0a00_0001u32),
        vec![output(2)],
    );
    let mut sent = fragments(&big(1), 1, 1000);
    sent.reverse();
    for _ in 0..2 {
        for frame in &sent {
            rig.send(1, frame);
            assert_eq!(rig.only(2), *frame);
        }
    }
    assert_eq!(rig.count(Counter::FragmentsHeld), 0);
    assert!(rig.count(Counter::CacheHits) >= 6);
}

#[test]
fn datagrams_with_the_same_addresses_are_told_apart_by_their_identification() {
    // Two connections that have nothing but the ports in which they differ.
    let mut rig = Rig::new(3);
    rig.add("ip,actions=ct(table=1,zone=1)");
    rig.add("table=1,ct_state=+trk+new,udp,tp_dst=1000,actions=ct(commit,zone=1,exec(load:1->NXM_NX_CT_MARK[])),output:2");
    rig.add("table=1,ct_state=+trk+new,udp,tp_dst=2000,actions=ct(commit,zone=1,exec(load:2->NXM_NX_CT_MARK[])),output:3");
    rig.add("table=1,priority=1,ct_mark=1,ip,actions=output:2");
    rig.add("table=1,priority=1,ct_mark=2,ip,actions=output:3");
    let a = datagram(CLIENT.into(), BACKEND.into(), (1, 1000), 4000);
    let b = datagram(CLIENT.into(), BACKEND.into(), (1, 2000), 4000);
    for round in 0..3 {
        let (a_sent, b_sent) = (
            fragments(&a, round * 2, 1000),
            fragments(&b, round * 2 + 1, 1000),
        );
        // One after the other, each of the second first its end and then its beginning.
        for (a, b) in a_sent.iter().zip(b_sent.iter().rev()) {
            rig.send(1, a);
            rig.send(1, b);
        }
        assert_eq!(together(rig.out(2)), a, "{}", rig.why());
        assert_eq!(together(rig.out(3)), b, "{}", rig.why());
    }
}

#[test]
fn zones_keep_equal_datagrams_of_two_tenants_apart() {
    let mut rig = Rig::new(4);
    rig.add("in_port=1,ip,actions=ct(commit,table=1,zone=1)");
    rig.add("in_port=2,ip,actions=ct(commit,table=1,zone=2)");
    rig.add("table=1,ct_zone=1,ct_state=-inv,ip,actions=output:3");
    rig.add("table=1,ct_zone=2,ct_state=-inv,ip,actions=output:4");
    let (a, b) = (
        datagram(CLIENT.into(), BACKEND.into(), (1, 1000), 2000),
        datagram(CLIENT.into(), BACKEND.into(), (1, 2000), 3000),
    );
    let (a_sent, b_sent) = (fragments(&a, 5, 1000), fragments(&b, 5, 1000));
    rig.send(1, &a_sent[0]);
    rig.send(2, &b_sent[3]);
    rig.send(2, &b_sent[2]);
    rig.send(1, &a_sent[1]);
    rig.send(1, &a_sent[2]);
    rig.send(2, &b_sent[1]);
    rig.send(2, &b_sent[0]);
    assert_eq!(together(rig.out(3)), a);
    assert_eq!(together(rig.out(4)), b);
}

#[test]
fn an_overlap_ends_the_datagram_and_a_duplicate_only_itself() {
    for (client, _, backend) in both_families() {
        let mut rig = Rig::new(3);
        tracked(&mut rig);
        let whole = datagram(client, backend, (1, 2), 4000);
        let sent = fragments(&whole, 1, 800);
        rig.send(1, &sent[0]);
        rig.send(1, &sent[1]);
        rig.send(1, &sent[1]);
        rig.send(1, &piece(&whole, 1, 808, 1000));
        assert_eq!(rig.out(2).len(), 2);
        assert_eq!(rig.dropped(DropReason::FragmentDuplicate), 2);
        rig.send(1, &piece(&whole, 1, 1400, 2000));
        assert_eq!(rig.dropped(DropReason::FragmentOverlap), 1);
        for frame in &sent[2..] {
            rig.send(1, frame);
        }
        assert_eq!(rig.out(2), Vec::<Vec<u8>>::new());
        assert_eq!(rig.dropped(DropReason::FragmentOverlap), 5);

        // Among those that wait.
        rig.send(1, &piece(&whole, 2, 800, 1600));
        rig.send(1, &piece(&whole, 2, 1600, 2400));
        rig.send(1, &piece(&whole, 2, 1600, 2400));
        rig.send(1, &piece(&whole, 2, 1200, 1608));
        rig.send(1, &sent[0].clone());
        assert_eq!(rig.dropped(DropReason::FragmentDuplicate), 3);
        assert_eq!(rig.dropped(DropReason::FragmentOverlap), 5 + 3 + 1);
        assert_eq!(rig.all_out(), Vec::new());

        // The time of both over, the numbers may be used again.
        rig.advance(15 * SECOND);
        for frame in &sent {
            rig.send(1, frame);
        }
        assert_eq!(together(rig.out(2)), whole);
    }
}

#[test]
fn two_ends_of_one_datagram_contradict_each_other() {
    let mut rig = Rig::new(3);
    tracked(&mut rig);
    let (long, short) = (
        big(1),
        datagram(CLIENT.into(), BACKEND.into(), (1000, 2000), 1500),
    );
    rig.send(1, &piece(&long, 1, 0, 800));
    rig.send(1, &piece(&short, 1, 1200, 1600)); // ends at 1508
    assert_eq!(rig.out(2).len(), 2);
    rig.send(1, &piece(&long, 1, 2400, 3200)); // ends at 3008
    rig.send(1, &piece(&long, 1, 800, 1200));
    assert_eq!(rig.out(2).len(), 0);
    assert_eq!(rig.dropped(DropReason::FragmentOverlap), 2);
}

#[test]
fn impossible_fragments_go_nowhere() {
    let mut rig = Rig::new(3);
    tracked(&mut rig);
    let whole = big(1);
    // Not a multiple of eight bytes, though more follow.
    rig.send(1, &piece(&whole, 1, 800, 1001));
    // Beyond the longest datagram.
    let mut beyond = piece(&whole, 2, 2400, 3200);
    beyond[20..22].copy_from_slice(&0x1fff_u16.to_be_bytes());
    fix_header(&mut beyond);
    rig.send(1, &beyond);
    assert_eq!(rig.dropped(DropReason::FragmentMalformed), 2);
    // Half a UDP header: nobody knows what the others belong to.
    let mut tiny = piece(&whole, 3, 0, 8);
    tiny.truncate(38);
    tiny[16..18].copy_from_slice(&24u16.to_be_bytes());
    fix_header(&mut tiny);
    rig.send(1, &piece(&whole, 4, 8, 800));
    let tcp_in_two = {
        // The flags of TCP in the second fragment (RFC 3128).
        let mut tcp = piece(&whole, 4, 0, 8);
        tcp[23] = 6;
        fix_header(&mut tcp);
        tcp
    };
    rig.send(1, &tiny);
    rig.send(1, &tcp_in_two);
    assert_eq!(rig.dropped(DropReason::FragmentMalformed), 4);
    assert_eq!(rig.all_out(), Vec::new());
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let mut rig = Rig::new(3);
    tracked(&mut rig);
    let [_, (client, _, backend)] = both_families();
    let whole = datagram(client, backend, (1, 2), 500);
    let atomic = piece(&whole, 1, 0, 1000);
    for _ in 0..2 {
        rig.send(1, &atomic);
        assert_eq!(rig.only(2), atomic);
    }
    assert_eq!(rig.dropped(DropReason::FragmentDuplicate), 0);
}

#[test]
fn what_never_gets_complete_is_given_up_after_its_time() {
    let mut rig = Rig::new(3);
    tracked(&mut rig);
    let sent = fragments(&big(1), 1, 1000);
    rig.send(1, &sent[1]);
    rig.send(1, &sent[2]);
    rig.advance(15 * SECOND - 1);
    assert_eq!(rig.count(Counter::FragmentsWaiting), 2);
    assert_eq!(rig.dropped(DropReason::FragmentTimeout), 0);
    rig.advance(20 * MILLISECOND);
    rig.advance(20 * MILLISECOND);
    assert_eq!(rig.dropped(DropReason::FragmentTimeout), 2);
    assert_eq!(rig.count(Counter::FragmentsWaiting), 0);
    assert_eq!(rig.count(Counter::FragmentedDatagrams), 0);
    // The first one alone is let through, the last one that follows too late is not.
    rig.send(1, &sent[0]);
    assert_eq!(rig.out(2).len(), 1);
    rig.now += 15 * SECOND;
    rig.send(1, &sent[3]);
    assert_eq!(rig.out(2).len(), 0);
}

#[test]
fn a_flood_of_one_sender_ends_at_its_share_and_leaves_others_alone() {
    let mut rig = Rig::with(3, small());
    tracked(&mut rig);
    // A good one in the middle of a datagram.
    let good = fragments(&big(1), 1, 1000);
    rig.send(1, &good[3]);
    let flood = big(66);
    for id in 0..5000 {
        rig.send(1, &piece(&flood, id, 800, 1600));
    }
    rig.advance(20 * MILLISECOND);
    // Four of the eight of its shard.
    assert_eq!(rig.count(Counter::FragmentsWaiting), 4 + 1);
    assert_eq!(rig.dropped(DropReason::FragmentLimit), 5000 - 4);
    for frame in &good[..3] {
        rig.send(1, frame);
    }
    assert_eq!(together(rig.out(2)), big(1));
    // And so do first fragments without the rest.
    for id in 0..5000 {
        rig.send(1, &piece(&flood, id, 0, 800));
    }
    rig.advance(20 * MILLISECOND);
    assert!(rig.count(Counter::FragmentedDatagrams) <= 4);
}

#[test]
fn a_flood_of_many_senders_ends_at_the_limits_and_what_comes_quickly_gets_through() {
    let mut rig = Rig::with(3, small());
    tracked(&mut rig);
    let mut flooding = 0u32;
    let mut flood = |rig: &mut Rig, packets: u32| {
        for _ in 0..packets {
            flooding += 1;
            let [_, b, c, d] = flooding.to_be_bytes();
            let frame = datagram([11, b, c, d].into(), BACKEND.into(), (1, 2), 2000);
            rig.send(1, &piece(&frame, flooding, 800, 1600));
        }
    };
    for id in 0..50 {
        let good = fragments(&big(1), id, 1000);
        for frame in good.iter().rev() {
            flood(&mut rig, 3);
            rig.send(1, frame);
        }
    }
    rig.advance(20 * MILLISECOND);
    assert!(rig.count(Counter::FragmentsWaiting) <= 16 * 8);
    let delivered = rig.out(2).len();
    assert!(delivered >= 150, "{delivered} of 200; {}", rig.why());
}

#[test]
fn a_datagram_in_too_many_parts_is_given_up() {
    let mut rig = Rig::new(3);
    tracked(&mut rig);
    let whole = datagram(CLIENT.into(), BACKEND.into(), (1, 2), 4000);
    rig.send(1, &piece(&whole, 1, 0, 8));
    for at in 1..100 {
        rig.send(1, &piece(&whole, 1, at * 16, at * 16 + 8));
    }
    assert_eq!(rig.out(2).len(), 32);
    assert_eq!(rig.dropped(DropReason::FragmentLimit), 100 - 32);
}

#[test]
fn a_large_ping_is_answered_through_translation() {
    let mut rig = Rig::new(2);
    rig.add("in_port=1,ip,actions=ct(commit,zone=3,nat(src=10.0.0.9),table=1)");
    rig.add("in_port=2,ip,actions=ct(zone=3,nat,table=1)");
    rig.add("table=1,ct_state=+trk-inv,in_port=1,ip,actions=output:2");
    rig.add("table=1,ct_state=+trk+est+rpl,in_port=2,ip,actions=output:1");
    let ping = |src: [u8; 4], dst: [u8; 4], reply: bool| {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(mac(1), mac(2)).ipv4(src, dst, 64);
        match reply {
            false => builder.icmpv4_echo_request(77, 1),
            true => builder.icmpv4_echo_reply(77, 1),
        }
        .write(&mut frame, &[5; 4000])
        .unwrap();
        frame
    };
    for id in 0..3 {
        let mut sent = fragments(&ping(CLIENT, BACKEND, false), id, 1480);
        sent.swap(0, 2);
        rig.send_burst(1, &sent);
        assert_eq!(together(rig.out(2)), ping([10, 0, 0, 9], BACKEND, false));
        let mut back = fragments(&ping(BACKEND, [10, 0, 0, 9], true), id, 1480);
        back.reverse();
        rig.send_burst(2, &back);
        assert_eq!(together(rig.out(1)), ping(BACKEND, CLIENT, true));
    }
}

#[test]
fn fragments_of_tcp_move_the_window_by_the_whole_segment() {
    let mut conns = conntrack::Config::new(100, [1, 2]);
    conns.strict = true;
    let mut rig = Rig::with_conns(3, Config::default(), conns);
    tracked(&mut rig);
    let segment = |ports: (u16, u16), seq: u32, ack: Option<u32>, syn: bool, len: usize| {
        let mut frame = Vec::new();
        let (src, dst) = match ports.0 {
            1000 => (CLIENT, BACKEND),
            _ => (BACKEND, CLIENT),
        };
        let mut builder = PacketBuilder::ethernet2(mac(1), mac(2))
            .ipv4(src, dst, 64)
            .tcp(ports.0, ports.1, seq, 10_000);
        if syn {
            builder = builder.syn();
        }
        if let Some(ack) = ack {
            builder = builder.ack(ack);
        }
        builder.write(&mut frame, &vec![9; len]).unwrap();
        frame
    };
    rig.send(1, &segment((1000, 80), 99, None, true, 0));
    rig.send(1, &segment((80, 1000), 499, Some(100), true, 0));
    rig.send(1, &segment((1000, 80), 100, Some(500), false, 0));
    let data = segment((1000, 80), 100, Some(500), false, 4000);
    for frame in fragments(&data, 1, 1000).iter().rev() {
        rig.send(1, frame);
    }
    // Acknowledges all 4000 bytes; more than what was sent would be invalid.
    rig.send(1, &segment((80, 1000), 500, Some(4100), false, 0));
    assert_eq!(rig.out(3).len(), 0, "none is invalid");
    assert_eq!(rig.out(2).len(), 3 + 5 + 1);
    rig.send(1, &segment((80, 1000), 500, Some(4100 + 100_000), false, 0));
    assert_eq!(rig.out(3).len(), 1, "strict indeed");
}

#[test]
fn a_packet_out_does_not_wait() {
    let mut rig = Rig::new(3);
    tracked(&mut rig);
    let sent = fragments(&big(1), 1, 1000);
    let through_tables = vec![output(net::PortNo::TABLE.0)];
    rig.packet_out(net::PortNo(1), through_tables.clone(), &sent[1]);
    assert_eq!(rig.out(2).len() + rig.out(3).len(), 1);
    rig.send(1, &sent[2]);
    // A first fragment ends the wait of others, whoever sent it.
    rig.packet_out(net::PortNo(1), through_tables, &sent[0]);
    assert_eq!(rig.out(2).len(), 2, "{}", rig.why());
}

#[test]
fn fragments_out_of_a_tunnel_follow_their_first_one_and_keep_tenants_apart() {
    let mut rig = Rig::new(0);
    rig.port(1, ports::Caps::default());
    rig.port(3, ports::Caps::default());
    rig.port(4, ports::Caps::default());
    rig.tunnel(2, ports::TunnelKind::Geneve);
    rig.workers
        .set_vteps(vec!["172.30.0.1/24,port=p1".parse().unwrap()]);
    rig.poll();
    // Two networks with the same addresses, even in one zone.
    rig.add("in_port=2,ip,actions=ct(commit,zone=1,table=1,nat(dst=10.0.0.77))");
    rig.add("table=1,tun_id=77,ct_state=-inv,ip,actions=output:3");
    rig.add("table=1,tun_id=78,ct_state=-inv,ip,actions=output:4");
    let wrapped = |vni: u32, inner: &[u8]| {
        let mut geneve = vec![0, 0, 0x65, 0x58];
        geneve.extend(&vni.to_be_bytes()[1..]);
        geneve.push(0);
        geneve.extend_from_slice(inner);
        let uplink = rig_mac(&rig);
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(mac(9), uplink)
            .ipv4([172, 30, 0, 2], [172, 30, 0, 1], 64)
            .udp(50_000, 6081)
            .write(&mut frame, &geneve)
            .unwrap();
        frame
    };
    let whole = [1000, 2000].map(|port| datagram(CLIENT.into(), BACKEND.into(), (port, 53), 3000));
    let [a, b] = [&whole[0], &whole[1]].map(|whole| fragments(whole, 5, 1000));
    let order = [
        (77, &a[1]),
        (78, &b[3]),
        (78, &b[0]),
        (77, &a[3]),
        (78, &b[2]),
        (77, &a[0]),
        (78, &b[1]),
        (77, &a[2]),
    ];
    let frames: Vec<Vec<u8>> = order
        .iter()
        .map(|(vni, inner)| wrapped(*vni, inner))
        .collect();
    rig.send_burst(1, &frames);
    let to = IpAddr::from([10, 0, 0, 77]);
    for (port, source) in [(3, 1000), (4, 2000)] {
        let out = rig.out(port);
        assert_eq!(out.len(), 4, "{}", rig.why());
        assert_eq!(
            together(out),
            datagram(CLIENT.into(), to, (source, 53), 3000)
        );
    }
}

/// The MAC address of the tunnel endpoint.
fn rig_mac(rig: &Rig) -> [u8; 6] {
    let ports = rig.workers.shared().ports();
    let endpoint = ports.endpoints().first().expect("there is one");
    endpoint.mac.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the order, with copies and several datagrams at once, each arrives whole, once.
    #[test]
    fn every_order_gives_the_same(
        order in Just((0..24usize).collect::<Vec<_>>()).prop_shuffle(),
        again in proptest::collection::vec(0..24usize, 0..6),
        size in prop_oneof![Just(1000usize), Just(1400)],
    ) {
        let mut rig = Rig::new(3);
        tracked(&mut rig);
        let wholes: Vec<Vec<u8>> = (1..=6u8).map(big).collect();
        let mut sent: Vec<Vec<u8>> =
            wholes.iter().flat_map(|whole| fragments(whole, 9, size)).collect();
        let order: Vec<usize> = order.into_iter().filter(|at| *at < sent.len()).collect();
        let shuffled: Vec<Vec<u8>> = order.iter().map(|at| sent[*at].clone()).collect();
        sent.clone_from(&shuffled);
        for at in again {
            if let Some(frame) = shuffled.get(at) {
                // Right behind its original: later it could belong to the next datagram.
                let at = sent.iter().position(|f| f == frame).unwrap();
                sent.insert(at + 1, frame.clone());
            }
        }
        for frame in &sent {
            rig.send(1, frame);
        }
        let out = rig.out(2);
        for (src, whole) in (1..=6u8).zip(&wholes) {
            let of_sender = |frame: &&Vec<u8>| frame[29] == src;
            let mut mine: Vec<Vec<u8>> = out.iter().filter(of_sender).cloned().collect();
            mine.sort();
            mine.dedup();
            prop_assert_eq!(&together(mine), whole);
        }
    }
}
