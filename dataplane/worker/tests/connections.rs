//! Connections: tracking, translation in both directions, errors, and the cache above them.

mod common;

use std::net::{IpAddr, Ipv4Addr};

use common::*;
use net::key::ct_state::{EST, INV, NEW, REL, RPL, TRK};
use net::{GroupId, TableId};
use openflow::action::{Ct, CtZone, Nat, NatKind};
use openflow::model::GroupType;
use openflow::{Action, Field, Instructions, Match};
use worker::{Config, Counter, DropReason};

const ZONE: u16 = 7;
const VIP: [u8; 4] = [10, 0, 0, 200];

fn ct(table: Option<u8>, actions: Vec<Action>) -> Ct {
    Ct {
        zone: CtZone::Number(ZONE),
        table: table.map(TableId),
        actions,
        ..Ct::default()
    }
}

fn commit(table: Option<u8>, actions: Vec<Action>) -> Action {
    Action::Ct(Ct {
        commit: true,
        ..ct(table, actions)
    })
}

fn nat(kind: NatKind, to: Option<([u8; 4], u16)>) -> Action {
    Action::Nat(Nat {
        kind,
        addresses: to.map(|(address, _)| {
            let address = IpAddr::from(address);
            (address, address)
        }),
        ports: to.map(|(_, port)| (port, port)).filter(|p| p.0 != 0),
        persistent: false,
        hash: false,
        random: false,
    })
}

fn ip() -> Match {
    any().with(Field::EthType, 0x0800_u16)
}

fn state(on: u32, off: u32) -> Match {
    ip().with_masked(Field::CtState, on, on | off)
}

/// Sends to port N what is for 10.0.0.N.
fn forward(rig: &mut Rig, table: u8) {
    for host in 1..=4u8 {
        let to = ip().with(Field::Ipv4Dst, 0x0a00_0000_u32 | u32::from(host));
        rig.flow(table, 1, to, vec![output(host.into())]);
    }
}

/// A Service: 10.0.0.200:80 in front of hosts 2 and 3, port 8080.
fn service(rig: &mut Rig) {
    let track = Action::Ct(ct(Some(1), vec![nat(NatKind::Existing, None)]));
    rig.flow(0, 1, ip(), vec![track]);
    let backend = |host| {
        let to = nat(NatKind::Dst, Some(([10, 0, 0, host], 8080)));
        (1, vec![commit(Some(2), vec![to])])
    };
    rig.group(1, GroupType::Select, vec![backend(2), backend(3)]);
    let to_vip = state(TRK | NEW, 0).with(Field::Ipv4Dst, u32::from_be_bytes(VIP));
    rig.flow(1, 2, to_vip, vec![Action::Group(GroupId(1))]);
    let goto = Instructions::default().goto(TableId(2));
    rig.rule(1, 1, state(TRK | EST, 0), goto.clone());
    // A client's that nobody answered yet is on its way to its backend.
    let unanswered = state(TRK | NEW, 0).with(Field::InPort, 1u32);
    rig.rule(1, 1, unanswered, goto);
    forward(rig, 2);
}

fn to_vip(source_port: u16) -> Vec<u8> {
    let mut frame = udp(1, 200, (source_port, 80), b"request");
    frame[..6].copy_from_slice(&mac(99));
    frame
}

fn address(frame: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3])
}

fn port(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn answer(request: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(2), mac(1))
        .ipv4(
            address(request, 30).octets(),
            address(request, 26).octets(),
            64,
        )
        .udp(port(request, 36), port(request, 34))
        .write(&mut frame, payload)
        .unwrap();
    frame
}

fn service_both_ways(mut rig: Rig) -> Rig {
    service(&mut rig);
    let mut used = [0; 4];
    for client in 1000..1200 {
        for round in 0..3 {
            rig.send(1, &to_vip(client));
            let out = rig.all_out();
            assert_eq!(out.len(), 1, "round {round}: {}", rig.why());
            let (backend, request) = &out[0];
            check_sums(request);
            assert!([2, 3].contains(backend));
            let host = *backend as u8;
            assert_eq!(address(request, 30), Ipv4Addr::new(10, 0, 0, host));
            assert_eq!((port(request, 34), port(request, 36)), (client, 8080));
            used[usize::from(host)] += 1;
            rig.send(*backend, &answer(request, b"reply"));
            let reply = rig.only(1);
            check_sums(&reply);
            assert_eq!(address(&reply, 26), Ipv4Addr::from(VIP));
            assert_eq!((port(&reply, 34), port(&reply, 36)), (80, client));
        }
    }
    assert!(used[2] > 150 && used[3] > 150, "{used:?}");
    assert_eq!(rig.workers.shared().conns.len(), 200);
    rig
}

#[test]
fn a_service_translates_both_directions_and_keeps_its_choice() {
    let rig = service_both_ways(Rig::new(4));
    // Per client: first request new, second established; first reply. The rest is cached.
    assert_eq!(rig.count(Counter::CacheHits), 200 * 3);
}

#[test]
fn a_service_works_alike_without_a_cache() {
    let rig = service_both_ways(Rig::slow(4));
    assert_eq!(rig.count(Counter::CacheHits), 0);
}

#[test]
fn packets_of_one_direction_only_stay_new_and_are_cached() {
    let mut rig = Rig::new(4);
    service(&mut rig);
    for _ in 0..4 {
        rig.send(1, &to_vip(1));
    }
    assert_eq!(rig.all_out().len(), 4);
    // The second finds a translation where the first found none, so it walks once more.
    assert_eq!(rig.count(Counter::CacheHits), 2);
    let conns = &rig.workers.shared().conns;
    let conn: Vec<_> = conns.iter(rig.now).collect();
    assert_eq!(conn.len(), 1);
    assert_eq!(conn[0].sent.packets, 4);
}

#[test]
fn a_packet_is_translated_where_the_one_before_had_no_connection_yet() {
    for mut rig in [Rig::new(4), Rig::slow(4)] {
        let look = Action::Ct(ct(None, vec![nat(NatKind::Existing, None)]));
        let to = nat(NatKind::Dst, Some(([10, 0, 0, 2], 0)));
        let actions = vec![look, output(3), commit(None, vec![to])];
        rig.flow(0, 1, in_port(1), actions);
        for expected in [VIP, [10, 0, 0, 2], [10, 0, 0, 2]] {
            rig.send(1, &to_vip(1));
            assert_eq!(address(&rig.only(3), 30), Ipv4Addr::from(expected));
        }
    }
}

#[test]
fn a_connection_that_was_flushed_begins_anew() {
    let mut rig = Rig::new(4);
    service(&mut rig);
    rig.send(1, &to_vip(1));
    let (backend, request) = rig.all_out().remove(0);
    rig.send(backend, &answer(&request, b""));
    assert_eq!(rig.only(1)[30..34], [10, 0, 0, 1]);
    rig.workers.shared().conns.flush(&Default::default());
    // The answer belongs to nothing any more; the request makes a new connection.
    rig.send(backend, &answer(&request, b""));
    assert!(rig.all_out().is_empty());
    rig.send(1, &to_vip(1));
    assert_eq!(rig.all_out(), [(backend, request)]);
}

#[test]
fn a_firewall_lets_answers_back_and_nothing_else() {
    for mut rig in [Rig::new(3), Rig::slow(3)] {
        let track = Action::Ct(ct(Some(1), vec![]));
        rig.flow(0, 1, ip(), vec![track]);
        let open = vec![commit(None, vec![]), output(2)];
        rig.flow(1, 2, state(TRK | NEW, 0).with(Field::InPort, 1u32), open);
        rig.flow(1, 1, state(TRK | EST, INV), vec![output(1)]);
        let request = udp(1, 2, (1000, 53), b"?");
        let unasked = udp(2, 1, (53, 1001), b"!");
        for _ in 0..2 {
            rig.send(2, &unasked);
            assert!(rig.all_out().is_empty());
        }
        rig.send(1, &request);
        assert_eq!(rig.only(2), request);
        let reply = udp(2, 1, (53, 1000), b"!");
        rig.send(2, &reply);
        assert_eq!(rig.only(1), reply);
        rig.send(2, &unasked);
        assert!(rig.all_out().is_empty());
        assert_eq!(rig.dropped(DropReason::TableMiss), 3);
        // What was refused before is let through once it is an answer.
        rig.send(1, &udp(1, 2, (1001, 53), b"?"));
        assert_eq!(rig.out(2).len(), 1);
        rig.send(2, &unasked);
        assert_eq!(rig.only(1), unasked);
    }
}

#[test]
fn tcp_states_follow_the_segments_although_programs_are_cached() {
    let mut rig = Rig::new(3);
    let track = Action::Ct(ct(Some(1), vec![]));
    rig.flow(0, 1, ip(), vec![track]);
    let new = vec![commit(None, vec![]), output(3)];
    rig.flow(1, 4, state(TRK | NEW, 0), new);
    rig.flow(1, 3, state(TRK | EST | RPL, 0), vec![output(1)]);
    rig.flow(1, 2, state(TRK | EST, RPL), vec![output(2)]);
    let segment = |from: u8, to: u8, seq, ack: Option<u32>, syn: bool| {
        let ports = if from == 1 { (5000, 80) } else { (80, 5000) };
        let mut builder = etherparse::PacketBuilder::ethernet2(mac(from), mac(to))
            .ipv4([10, 0, 0, from], [10, 0, 0, to], 64)
            .tcp(ports.0, ports.1, seq, 1000);
        if syn {
            builder = builder.syn();
        }
        if let Some(ack) = ack {
            builder = builder.ack(ack);
        }
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).unwrap();
        frame
    };
    rig.send(1, &segment(1, 2, 100, None, true));
    assert_eq!(rig.out(3).len(), 1, "SYN is new");
    rig.send(2, &segment(2, 1, 500, Some(101), true));
    assert_eq!(rig.out(1).len(), 1, "SYN, ACK is established, a reply");
    for _ in 0..3 {
        rig.send(1, &segment(1, 2, 101, Some(501), false));
        assert_eq!(rig.out(2).len(), 1, "ACK is established; {}", rig.why());
        rig.send(2, &segment(2, 1, 501, Some(101), false));
        assert_eq!(rig.out(1).len(), 1);
    }
    assert!(rig.count(Counter::CacheHits) >= 4);
}

#[test]
fn an_icmp_error_finds_its_connection_and_is_translated_back_inside_and_out() {
    let mut rig = Rig::new(4);
    service(&mut rig);
    rig.flow(
        1,
        3,
        state(TRK | REL, 0),
        vec![Action::Resubmit {
            port: None,
            table: Some(TableId(2)),
            ct: false,
        }],
    );
    rig.send(1, &to_vip(1234));
    let (backend, request) = rig.all_out().remove(0);
    let host = backend as u8;
    let mut error = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(host), mac(1))
        .ipv4([10, 0, 0, host], [10, 0, 0, 1], 64)
        .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(
            etherparse::icmpv4::DestUnreachableHeader::Port,
        ))
        .write(&mut error, &request[14..])
        .unwrap();
    rig.send(backend, &error);
    let out = rig.only(1);
    check_sums(&out);
    assert_eq!(address(&out, 26), Ipv4Addr::from(VIP), "outer source");
    let inner = &out[14 + 20 + 8..];
    assert_eq!(address(inner, 16), Ipv4Addr::from(VIP), "inner destination");
    assert_eq!((port(inner, 20), port(inner, 22)), (1234, 80));
    assert_eq!(net::csum::ipv4_header(&inner[..20]), 0);
}

#[test]
fn an_icmpv6_error_is_translated_back_inside_and_out_too() {
    let [client, vip, backend] = [1u16, 0x60, 2].map(|last| {
        let segments = [0xfd00, 0, 0, 0, 0, 0, 0, last];
        std::net::Ipv6Addr::from(segments)
    });
    let mut rig = Rig::new(2);
    let to_backend = Action::Nat(Nat {
        kind: NatKind::Dst,
        addresses: Some((backend.into(), backend.into())),
        ports: Some((8080, 8080)),
        persistent: false,
        hash: false,
        random: false,
    });
    rig.flow(0, 1, in_port(1), vec![commit(Some(2), vec![to_backend])]);
    rig.flow(2, 1, any(), vec![output(2)]);
    let back = Action::Ct(ct(Some(1), vec![nat(NatKind::Existing, None)]));
    rig.flow(0, 1, in_port(2), vec![back]);
    let related =
        any()
            .with(Field::EthType, 0x86dd_u16)
            .with_masked(Field::CtState, TRK | REL, TRK | REL);
    rig.flow(1, 1, related, vec![output(1)]);

    let mut request = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(1), mac(99))
        .ipv6(client.octets(), vip.octets(), 64)
        .udp(1234, 80)
        .write(&mut request, b"request")
        .unwrap();
    rig.send(1, &request);
    let forwarded = rig.only(2);
    check_sums(&forwarded);
    assert_eq!(forwarded[38..54], backend.octets());
    let mut error = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(2), mac(1))
        .ipv6(backend.octets(), client.octets(), 64)
        .icmpv6(etherparse::Icmpv6Type::DestinationUnreachable(
            etherparse::icmpv6::DestUnreachableCode::Port,
        ))
        .write(&mut error, &forwarded[14..])
        .unwrap();
    rig.send(2, &error);
    let out = rig.only(1);
    assert_eq!(out[22..38], vip.octets(), "outer source");
    let inner = &out[14 + 40 + 8..];
    assert_eq!(inner[24..40], vip.octets(), "inner destination");
    assert_eq!((port(inner, 40), port(inner, 42)), (1234, 80));
    let sliced = etherparse::SlicedPacket::from_ethernet(&out).unwrap();
    let Some(etherparse::TransportSlice::Icmpv6(icmp)) = sliced.transport else {
        panic!("no ICMPv6: {sliced:?}");
    };
    assert!(icmp.is_checksum_valid(vip.octets(), client.octets()));
}

#[test]
fn marks_are_written_by_exec_and_matched_in_the_tables_behind() {
    for mut rig in [Rig::new(3), Rig::slow(3)] {
        rig.flow(0, 1, ip(), vec![Action::Ct(ct(Some(1), vec![]))]);
        let mark = set(Field::CtMark, 0x42u32);
        rig.flow(1, 2, state(TRK | NEW, 0), vec![commit(Some(2), vec![mark])]);
        let goto = Instructions::default().goto(TableId(2));
        rig.rule(1, 1, state(TRK | EST, 0), goto);
        let marked = ip().with(Field::CtMark, 0x42u32);
        rig.flow(
            2,
            2,
            marked.clone().with(Field::InPort, 1u32),
            vec![output(2)],
        );
        rig.flow(2, 2, marked.with(Field::InPort, 2u32), vec![output(1)]);
        for _ in 0..3 {
            rig.send(1, &udp(1, 2, (1, 2), b""));
            assert_eq!(rig.out(2).len(), 1, "{}", rig.why());
            rig.send(2, &udp(2, 1, (2, 1), b""));
            assert_eq!(rig.out(1).len(), 1);
        }
    }
}

#[test]
fn what_follows_a_ct_with_a_table_sees_the_packet_untracked_and_untranslated() {
    let mut rig = Rig::new(4);
    let to = nat(NatKind::Dst, Some(([10, 0, 0, 2], 0)));
    rig.flow(0, 1, in_port(1), vec![commit(Some(1), vec![to]), output(3)]);
    rig.flow(1, 1, any(), vec![output(4)]);
    let frame = to_vip(1);
    for _ in 0..2 {
        rig.send(1, &frame);
        let translated = rig.only(4);
        assert_eq!(address(&translated, 30), Ipv4Addr::new(10, 0, 0, 2));
        check_sums(&translated);
        assert_eq!(rig.only(3), frame);
    }
}

#[test]
fn source_translation_gives_each_client_its_own_port() {
    let mut rig = Rig::new(3);
    let hide = nat(NatKind::Src, Some(([10, 0, 0, 3], 0)));
    rig.flow(0, 1, in_port(1), vec![commit(Some(1), vec![hide])]);
    rig.flow(1, 1, any(), vec![output(2)]);
    let back = Action::Ct(ct(Some(2), vec![nat(NatKind::Existing, None)]));
    rig.flow(0, 1, in_port(2), vec![back]);
    rig.flow(2, 1, any(), vec![output(1)]);
    let mut seen = std::collections::BTreeSet::new();
    for host in 10..20u8 {
        // All use the same source port.
        rig.send(1, &udp(host, 2, (7777, 53), b"?"));
        let out = rig.only(2);
        check_sums(&out);
        assert_eq!(address(&out, 26), Ipv4Addr::new(10, 0, 0, 3));
        assert!(seen.insert(port(&out, 34)), "port used twice");
        rig.send(2, &answer(&out, b"!"));
        let reply = rig.only(1);
        assert_eq!(address(&reply, 30), Ipv4Addr::new(10, 0, 0, host));
        assert_eq!(port(&reply, 36), 7777);
    }
}

#[test]
fn a_full_table_refuses_new_connections_with_a_reason_and_keeps_the_old() {
    let mut config = conntrack::Config::new(4, [1, 2]);
    config.half_open = 4;
    let mut rig = Rig::with_conns(2, Config::default(), config);
    rig.flow(0, 1, in_port(1), vec![commit(None, vec![]), output(2)]);
    rig.flow(
        0,
        1,
        in_port(2),
        vec![Action::Ct(ct(None, vec![])), output(1)],
    );
    for source in 0..10 {
        rig.send(1, &udp(1, 2, (source, 2), b""));
        rig.send(2, &udp(2, 1, (2, source), b""));
    }
    assert_eq!(rig.out(2).len(), 4);
    assert_eq!(rig.dropped(DropReason::ConntrackFull), 6);
    rig.send(1, &udp(1, 2, (0, 2), b""));
    assert_eq!(rig.out(2).len(), 1);
}

#[test]
fn what_a_limit_refuses_is_dropped_for_a_reason_of_its_own() {
    let limits = [
        ((3, 0, 9), DropReason::ConntrackZoneLimit, 2),
        ((0, 2, 9), DropReason::ConntrackSourceShare, 3),
        ((0, 0, 0), DropReason::ConntrackHalfOpen, 5),
    ];
    for ((zone_limit, half_open_per_source, half_open), reason, dropped) in limits {
        let config = conntrack::Config {
            zone_limit,
            half_open_per_source,
            half_open,
            ..conntrack::Config::new(100, [1, 2])
        };
        let mut rig = Rig::with_conns(2, Config::default(), config);
        rig.flow(0, 1, in_port(1), vec![commit(None, vec![]), output(2)]);
        for source in 0..5 {
            rig.send(1, &udp(1, 2, (source, 2), b""));
        }
        assert_eq!(rig.dropped(reason), dropped, "{reason}");
        assert_eq!(rig.out(2).len() as u64, 5 - dropped, "{reason}");
    }
}

#[test]
fn an_idle_connection_expires_and_the_next_packet_is_new() {
    let mut rig = Rig::new(3);
    rig.flow(0, 1, ip(), vec![Action::Ct(ct(Some(1), vec![]))]);
    let new = vec![commit(None, vec![]), output(2)];
    rig.flow(1, 1, state(TRK | NEW, 0), new);
    rig.flow(1, 1, state(TRK | EST, 0), vec![output(3)]);
    let both = |rig: &mut Rig| {
        rig.send(1, &udp(1, 2, (1, 2), b""));
        rig.send(2, &udp(2, 1, (2, 1), b""));
        rig.send(1, &udp(1, 2, (1, 2), b""));
        (rig.out(2).len(), rig.out(3).len())
    };
    assert_eq!(both(&mut rig), (1, 2));
    rig.advance(200 * SECOND);
    assert_eq!(both(&mut rig), (1, 2));
}

#[test]
fn a_source_of_zeros_keeps_its_address_and_changes_a_port_that_is_taken() {
    let mut rig = Rig::new(4);
    let zeros = Action::Nat(Nat {
        kind: NatKind::Src,
        addresses: Some((Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into())),
        ports: None,
        persistent: false,
        hash: false,
        random: false,
    });
    rig.flow(0, 1, ip(), vec![commit(Some(2), vec![zeros])]);
    let vip = ip().with(Field::Ipv4Dst, u32::from_be_bytes(VIP));
    let backend = nat(NatKind::Dst, Some(([10, 0, 0, 2], 80)));
    rig.flow(0, 2, vip, vec![commit(Some(2), vec![backend])]);
    forward(&mut rig, 2);
    let source = |frame: &[u8]| {
        (
            frame[26..30].to_vec(),
            u16::from_be_bytes([frame[34], frame[35]]),
        )
    };
    rig.send(1, &udp(1, 2, (4000, 80), b"free"));
    assert_eq!(source(&rig.only(2)), (vec![10, 0, 0, 1], 4000));
    rig.send(1, &to_vip(5000));
    assert_eq!(source(&rig.only(2)), (vec![10, 0, 0, 1], 5000));
    rig.send(1, &udp(1, 2, (5000, 80), b"taken"));
    let frame = rig.only(2);
    let (address, port) = source(&frame);
    assert_eq!(address, [10, 0, 0, 1]);
    assert_ne!(port, 5000);
    check_sums(&frame);
}

/// A client with a fixed port whose backend was taken out of service: a flow gives its packets their
/// destination back, and a forced commit chooses anew.
#[test]
fn a_forced_commit_to_another_destination_begins_another_connection() {
    for mut rig in [Rig::new(4), Rig::slow(4)] {
        service(&mut rig);
        let forced = |host| {
            let to = nat(NatKind::Dst, Some(([10, 0, 0, host], 8080)));
            let mark = Action::SetField {
                field: Field::CtMark,
                value: 1,
                mask: 1,
            };
            vec![Action::Ct(Ct {
                commit: true,
                force: true,
                ..ct(Some(2), vec![to, mark])
            })]
        };
        rig.send(1, &to_vip(5));
        let (first, request) = rig.all_out().remove(0);
        rig.send(first, &answer(&request, b"reply"));
        rig.only(1);
        let other: u8 = if first == 2 { 3 } else { 2 };
        // Towards the backend that it has, a forced commit changes nothing.
        let from_client = state(TRK | EST, 0).with(Field::InPort, 1u32);
        let counters = |rig: &Rig| {
            let conns: Vec<_> = rig.workers.shared().conns.iter(rig.now).collect();
            assert_eq!(conns.len(), 1);
            (conns[0].sent.packets, conns[0].mark)
        };
        rig.flow(1, 9, from_client.clone(), forced(first as u8));
        rig.send(1, &to_vip(5));
        assert_eq!(rig.all_out().remove(0).0, first);
        assert_eq!(counters(&rig), (2, 1), "marked, and still the same");
        // Towards another: its packets go there, new ones, and so do all that follow.
        rig.flow(1, 9, from_client, forced(other));
        for _ in 0..3 {
            rig.send(1, &to_vip(5));
            let (port_no, request) = rig.all_out().remove(0);
            assert_eq!(port_no, u32::from(other), "{}", rig.why());
            check_sums(&request);
            assert_eq!(address(&request, 30), Ipv4Addr::new(10, 0, 0, other));
            assert_eq!((port(&request, 34), port(&request, 36)), (5, 8080));
        }
        assert_eq!(counters(&rig), (3, 1));
        // The old backend's answers belong to nothing any more, the new one's to the client.
        let mut late = Vec::new();
        etherparse::PacketBuilder::ethernet2(mac(other), mac(1))
            .ipv4([10, 0, 0, other], [10, 0, 0, 1], 64)
            .udp(8080, 5)
            .write(&mut late, b"reply")
            .unwrap();
        rig.send(other.into(), &late);
        let reply = rig.only(1);
        check_sums(&reply);
        assert_eq!(address(&reply, 26), Ipv4Addr::from(VIP));
    }
}
