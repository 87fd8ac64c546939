//! Connections as they happen: each test is a short story of packets.

use std::net::IpAddr;
use std::time::Duration;

mod common;

use common::*;
use conntrack::{
    Choice, Commit, Config, ConnTable, CtError, Direction, Filter, NatRange, NatRequest, TcpState,
    Tuple, TupleFilter,
};
use net::key::ct_state::{DNAT, EST, INV, NEW, REL, RPL, SNAT, TRK};
use net::tcp::flags::{ACK, RST, SYN};

#[test]
fn udp_is_new_until_it_is_answered_and_then_established_in_both_directions() {
    let table = table();
    let there = tuple(UDP, CLIENT, 1000, SERVER, 53);
    let back = there.reverse();
    assert_eq!(table.track(1, &there, None, 0).state, TRK | NEW);
    assert_eq!(table.track(1, &there, None, 0).conn, None);
    let conn = table
        .commit(&commit(there, None, NatRequest::default()), 0)
        .unwrap();
    let tracked = table.track(1, &there, None, 0);
    assert_eq!(tracked.state, TRK | NEW);
    assert_eq!(tracked.conn, Some((conn, Direction::Original)));
    assert_eq!(table.half_open(), 1);
    let answer = table.track(1, &back, None, 0);
    assert_eq!(answer.state, TRK | EST | RPL);
    assert_eq!(answer.conn, Some((conn, Direction::Reply)));
    assert_eq!(table.track(1, &there, None, 0).state, TRK | EST);
    assert_eq!((table.len(), table.half_open()), (1, 0));
    // Another zone knows nothing of it.
    assert_eq!(table.track(2, &there, None, 0).state, TRK | NEW);
}

#[test]
fn a_service_connection_is_translated_there_and_back() {
    let table = table();
    let there = tuple(TCP, CLIENT, 1000, VIP, 80);
    let syn = segment(SYN, 100, 0, 0);
    let conn = table
        .commit(&commit(there, Some(&syn), dnat(SERVER, 8080)), 0)
        .unwrap();
    let translated = tuple(TCP, CLIENT, 1000, SERVER, 8080);
    assert_eq!(
        table.translated_tuple(conn, Direction::Original),
        Some(translated)
    );
    assert_eq!(table.nat_state(conn, Direction::Original), DNAT);
    // The answer is found by the tuple that the server uses, and looks as if from the VIP.
    let syn_ack = segment(SYN | ACK, 500, 101, 0);
    let answer = table.track(1, &translated.reverse(), Some(&syn_ack), 0);
    assert_eq!(answer.state, TRK | EST | RPL);
    assert_eq!(answer.conn, Some((conn, Direction::Reply)));
    assert_eq!(
        table.translated_tuple(conn, Direction::Reply),
        Some(there.reverse())
    );
    assert_eq!(table.nat_state(conn, Direction::Reply), SNAT);
}

#[test]
fn a_pod_that_reaches_itself_through_its_service_is_translated_on_both_sides() {
    let table = table();
    let there = tuple(UDP, CLIENT, 1000, VIP, 53);
    let gateway = [10, 0, 0, 254];
    let nat = NatRequest {
        src: Some(to(gateway, None)),
        dst: Some(to(CLIENT, Some((5353, 5353)))),
    };
    let conn = table.commit(&commit(there, None, nat), 0).unwrap();
    assert_eq!(
        table.translated_tuple(conn, Direction::Original),
        Some(tuple(UDP, gateway, 1000, CLIENT, 5353))
    );
    let answer = table.track(1, &tuple(UDP, CLIENT, 5353, gateway, 1000), None, 0);
    assert_eq!(answer.state, TRK | EST | RPL);
    assert_eq!(
        table.translated_tuple(conn, Direction::Reply),
        Some(tuple(UDP, VIP, 53, CLIENT, 1000))
    );
    assert_eq!(table.nat_state(conn, Direction::Original), SNAT | DNAT);
}

#[test]
fn a_service_and_its_backend_reached_from_one_port_get_different_ports() {
    let table = table();
    let direct = tuple(UDP, CLIENT, 1000, SERVER, 53);
    table
        .commit(&commit(direct, None, NatRequest::default()), 0)
        .unwrap();
    let service = tuple(UDP, CLIENT, 1000, VIP, 53);
    let conn = table
        .commit(&commit(service, None, dnat(SERVER, 53)), 0)
        .unwrap();
    let translated = table.translated_tuple(conn, Direction::Original).unwrap();
    assert_eq!((translated.dst, translated.dst_port), (SERVER.into(), 53));
    assert_eq!(translated.src, IpAddr::from(CLIENT));
    assert_ne!(translated.src_port, 1000);
    assert_eq!(table.nat_state(conn, Direction::Original), SNAT | DNAT);
    assert_eq!(
        table.translated_tuple(conn, Direction::Reply),
        Some(service.reverse())
    );
}

#[test]
fn many_clients_share_one_address_until_its_ports_are_used_up() {
    let table = table();
    let public = [192, 0, 2, 1];
    let nat = NatRequest {
        src: Some(to(public, Some((2000, 2099)))),
        dst: None,
    };
    let mut ports = std::collections::BTreeSet::new();
    for i in 0..100 {
        let there = tuple(UDP, [10, 0, 1, i], 1000, SERVER, 53);
        let conn = table.commit(&commit(there, None, nat), 0).unwrap();
        let translated = table.translated_tuple(conn, Direction::Original).unwrap();
        assert_eq!(translated.src, IpAddr::from(public));
        assert!((2000..2100).contains(&translated.src_port));
        assert!(ports.insert(translated.src_port), "port given out twice");
    }
    let one_more = tuple(UDP, [10, 0, 1, 200], 1000, SERVER, 53);
    assert_eq!(
        table.commit(&commit(one_more, None, nat), 0),
        Err(CtError::NatExhausted)
    );
    assert_eq!(table.len(), 100);
    // To another server the same ports are free again.
    let elsewhere = tuple(UDP, [10, 0, 1, 200], 1000, OTHER, 53);
    table.commit(&commit(elsewhere, None, nat), 0).unwrap();
}

#[test]
fn when_one_address_has_no_port_left_another_of_the_range_is_taken() {
    let table = table();
    let range = NatRange {
        addresses: Some(([192, 0, 2, 1].into(), [192, 0, 2, 3].into())),
        ports: Some((5000, 5009)),
        ..NatRange::default()
    };
    let request = NatRequest {
        src: Some(range),
        dst: None,
    };
    let mut seen = std::collections::BTreeSet::new();
    for port in 0..30 {
        let there = tuple(UDP, CLIENT, port, SERVER, 53);
        let conn = table.commit(&commit(there, None, request), 0).unwrap();
        let out = table.translated_tuple(conn, Direction::Original).unwrap();
        assert!(seen.insert((out.src, out.src_port)));
    }
    let one_more = tuple(UDP, CLIENT, 30, SERVER, 53);
    let refused = table.commit(&commit(one_more, None, request), 0);
    assert_eq!(refused, Err(CtError::NatExhausted));
    // Towards another server the same ports are free.
    let elsewhere = tuple(UDP, CLIENT, 30, OTHER, 53);
    table.commit(&commit(elsewhere, None, request), 0).unwrap();
}

#[test]
fn translation_is_the_same_again_or_by_client_or_random_as_it_was_asked_for() {
    let outs = |choice, now: u64| -> Vec<(IpAddr, u16)> {
        let table = table();
        let range = NatRange {
            addresses: Some(([192, 0, 2, 0].into(), [192, 0, 2, 255].into())),
            ports: Some((1024, 65_535)),
            choice,
        };
        let request = NatRequest {
            src: Some(range),
            dst: None,
        };
        let out = |port| {
            let there = tuple(UDP, CLIENT, port, SERVER, 53);
            let conn = table.commit(&commit(there, None, request), now).unwrap();
            let out = table.translated_tuple(conn, Direction::Original).unwrap();
            (out.src, out.src_port)
        };
        (0..20).map(out).collect()
    };
    let addresses = |outs: &[(IpAddr, u16)]| {
        let addresses: std::collections::BTreeSet<_> = outs.iter().map(|out| out.0).collect();
        addresses.len()
    };
    let hash = outs(Choice::Hash, 0);
    assert_eq!(hash, outs(Choice::Hash, SECOND));
    assert!(addresses(&hash) > 10);
    let persistent = outs(Choice::Persistent, 0);
    assert_eq!(persistent, outs(Choice::Persistent, SECOND));
    assert_eq!(addresses(&persistent), 1);
    let random = outs(Choice::Random, 0);
    assert_ne!(random, outs(Choice::Random, SECOND));
    assert!(addresses(&random) > 10);
}

#[test]
fn a_ping_through_translation_keeps_its_answers_apart_by_identifier() {
    let table = table();
    let nat = NatRequest {
        src: Some(to([192, 0, 2, 1], None)),
        dst: None,
    };
    let ping = |client: [u8; 4], id: u16| tuple(1, client, id, SERVER, 0x0800);
    let first = table
        .commit(&commit(ping(CLIENT, 7), None, nat), 0)
        .unwrap();
    let second = table.commit(&commit(ping(OTHER, 7), None, nat), 0).unwrap();
    let [a, b] = [first, second].map(|c| table.translated_tuple(c, Direction::Original).unwrap());
    assert_eq!(a.src_port, 7);
    assert_ne!(b.src_port, 7);
    let answer = table.track(1, &b.reverse(), None, 0);
    assert_eq!(answer.conn, Some((second, Direction::Reply)));
    let back = table.translated_tuple(second, Direction::Reply).unwrap();
    assert_eq!((back.dst, back.src_port), (OTHER.into(), 7));
    assert_eq!(back.dst_port, 0, "an echo reply");
    // An answer nobody asked for begins nothing.
    let stray = tuple(1, SERVER, 9, CLIENT, 0);
    assert_eq!(table.track(1, &stray, None, 0).state, TRK | INV);
    assert_eq!(
        table.commit(&commit(stray, None, NatRequest::default()), 0),
        Err(CtError::Invalid)
    );
}

#[test]
fn an_icmp_error_is_related_and_translated_inside_and_out() {
    let table = table();
    let there = tuple(UDP, CLIENT, 1000, VIP, 53);
    let conn = table
        .commit(&commit(there, None, dnat(SERVER, 5353)), 0)
        .unwrap();
    // The server's host refuses: it sends back the packet as it arrived there.
    let inner = tuple(UDP, CLIENT, 1000, SERVER, 5353);
    let tracked = table.track_related(1, &inner, 0);
    assert_eq!(tracked.state, TRK | REL | RPL);
    assert_eq!(tracked.conn, Some((conn, Direction::Reply)));
    // From the VIP to the client, and inside what the client has sent.
    let translated = table.translated_tuple(conn, Direction::Reply).unwrap();
    assert_eq!(translated, there.reverse());
    // The client refuses an answer: it saw it come from the VIP.
    let tracked = table.track_related(1, &there.reverse(), 0);
    assert_eq!(tracked.state, TRK | REL);
    let translated = table.translated_tuple(conn, Direction::Original).unwrap();
    assert_eq!(translated, inner);
    // The error is no answer.
    assert_eq!(table.track(1, &there, None, 0).state, TRK | NEW);
    let unknown = tuple(UDP, CLIENT, 1, SERVER, 1);
    assert_eq!(table.track_related(1, &unknown, 0).state, TRK | INV);
}

/// Walks a connection through segments given as (from the originator?, segment).
#[test]
fn a_connection_lives_as_long_as_its_timeout_says_after_its_last_packet() {
    let table = table();
    let there = tuple(UDP, CLIENT, 1000, SERVER, 53);
    let start = 5 * SECOND;
    let conn = table
        .commit(&commit(there, None, NatRequest::default()), start)
        .unwrap();
    let alive = |now| table.lookup(1, &there, now).is_some();
    assert!(alive(start + 30 * SECOND));
    assert!(!alive(start + 31 * SECOND));
    table.track(1, &there, None, start + 20 * SECOND);
    assert!(alive(start + 50 * SECOND) && !alive(start + 51 * SECOND));
    table.track(1, &there.reverse(), None, start + 40 * SECOND);
    assert!(alive(start + 160 * SECOND) && !alive(start + 161 * SECOND));

    let sweep = |now| (0..10).map(|_| table.expire(now, 300)).sum::<u32>();
    assert_eq!(sweep(start + 160 * SECOND), 0);
    assert_eq!(sweep(start + 161 * SECOND), 1);
    assert_eq!(table.len(), 0);
    assert_eq!(
        table.update(conn, Direction::Original, None, start),
        None,
        "an old name names nothing"
    );
    assert_eq!(table.translated_tuple(conn, Direction::Original), None);
}

#[test]
fn an_expired_connection_makes_room_for_a_new_one_before_it_is_swept() {
    let table = table();
    let there = tuple(UDP, CLIENT, 1000, VIP, 53);
    let old = table
        .commit(&commit(there, None, dnat(SERVER, 53)), 0)
        .unwrap();
    let later = 100 * SECOND;
    let new = table
        .commit(&commit(there, None, dnat(OTHER, 53)), later)
        .unwrap();
    assert_ne!(old, new);
    assert_eq!(table.len(), 1);
    let translated = table.translated_tuple(new, Direction::Original).unwrap();
    assert_eq!(translated.dst, IpAddr::from(OTHER));
    // And its port, for somebody else.
    let other = tuple(UDP, OTHER, 1000, SERVER, 53);
    let nat = NatRequest {
        src: Some(to(CLIENT, Some((1000, 1000)))),
        dst: None,
    };
    table.commit(&commit(other, None, nat), later).unwrap();
}

#[test]
fn a_closing_connection_is_swept_early_though_it_was_to_stay_a_day() {
    let table = table();
    tcp_story(
        &table,
        &[
            (true, segment(SYN, 1, 0, 0), NEW, TcpState::SynSent),
            (
                false,
                segment(SYN | ACK, 1, 2, 0),
                EST | RPL,
                TcpState::SynReceived,
            ),
            (true, segment(ACK, 2, 2, 0), EST, TcpState::Established),
        ],
    );
    // The sweep learns that it stays for a day.
    assert_eq!(table.expire(60 * SECOND, 10), 0);
    let there = tuple(TCP, CLIENT, 1000, SERVER, 80);
    let reset = segment(RST, 2, 0, 0);
    table.track(1, &there, Some(&reset), 60 * SECOND);
    assert_eq!(table.expire(69 * SECOND, 10), 0);
    assert_eq!(table.expire(71 * SECOND, 10), 1);
}

#[test]
fn a_table_full_of_open_connections_refuses_new_ones_and_keeps_the_old() {
    let table = ConnTable::new(&Config {
        half_open: 100,
        ..Config::new(20, [3, 4])
    })
    .unwrap();
    let there = |i: u16| tuple(UDP, CLIENT, i, SERVER, 53);
    for i in 0..20 {
        table
            .commit(&commit(there(i), None, NatRequest::default()), 0)
            .unwrap();
        table.track(1, &there(i).reverse(), None, 0);
    }
    assert_eq!(
        table.commit(&commit(there(20), None, NatRequest::default()), 0),
        Err(CtError::Full)
    );
    assert_eq!(table.iter(0).count(), 20);
    assert!((0..20).all(|i| table.lookup(1, &there(i), 0).is_some()));
    assert_eq!(table.flush(&Filter::default()), 20);
    assert_eq!((table.len(), table.half_open()), (0, 0));
    table
        .commit(&commit(there(20), None, NatRequest::default()), 0)
        .unwrap();
    let totals = table.totals();
    assert_eq!(
        (totals.created, totals.removed, totals.evicted),
        (21, 20, 0)
    );
}

#[test]
fn in_a_flood_of_first_packets_the_oldest_half_open_connection_gives_way_and_no_open_one() {
    let table = ConnTable::new(&Config {
        half_open: 5,
        half_open_per_source: 0,
        ..Config::new(20, [3, 4])
    })
    .unwrap();
    let there = |i: u16| tuple(TCP, CLIENT, i, SERVER, 80);
    let syn = segment(SYN, 1, 0, 0);
    let start = |i| table.commit(&commit(there(i), Some(&syn), NatRequest::default()), 0);
    for i in 0..5 {
        start(i).unwrap();
        // An answered SYN is still half a handshake.
        let syn_ack = segment(SYN | ACK, 1, 2, 0);
        table.track(1, &there(i).reverse(), Some(&syn_ack), 0);
    }
    let ack = segment(ACK, 2, 2, 0);
    table.track(1, &there(1), Some(&ack), 0);
    assert_eq!(table.half_open(), 4);
    for i in 5..1000 {
        start(i).unwrap();
        assert!(table.half_open() <= 5);
    }
    let is_there = |i: u16| table.lookup(1, &there(i), 0).is_some();
    let left: Vec<u16> = (0..1000).filter(|i| is_there(*i)).collect();
    assert_eq!(left, [1, 995, 996, 997, 998, 999]);
    assert_eq!(table.totals().evicted, 994);
}

#[test]
fn one_source_has_a_share_of_the_half_open_connections_and_gets_it_back() {
    let table = ConnTable::new(&Config {
        half_open_per_source: 3,
        ..Config::new(100, [3, 4])
    })
    .unwrap();
    let start = |source: IpAddr, port: u16| {
        let tuple = Tuple {
            src: source,
            ..tuple(UDP, CLIENT, port, SERVER, 53)
        };
        table.commit(&commit(tuple, None, NatRequest::default()), 0)
    };
    let attacker: IpAddr = [10, 0, 0, 66].into();
    for port in 0..3 {
        start(attacker, port).unwrap();
    }
    assert_eq!(start(attacker, 3), Err(CtError::SourceShare));
    start(CLIENT.into(), 3).unwrap();
    // An answer makes room for another question.
    let answered = Tuple {
        src: attacker,
        ..tuple(UDP, CLIENT, 1, SERVER, 53)
    };
    table.track(1, &answered.reverse(), None, 0);
    start(attacker, 3).unwrap();
    assert_eq!(start(attacker, 4), Err(CtError::SourceShare));
    // So does time.
    table.expire(31 * SECOND, 100);
    start(attacker, 4).unwrap();
}

#[test]
fn ipv6_sources_are_counted_by_their_network() {
    let table = ConnTable::new(&Config {
        half_open_per_source: 2,
        ..Config::new(100, [3, 4])
    })
    .unwrap();
    let start = |source: &str| {
        let tuple = Tuple {
            src: source.parse().unwrap(),
            dst: "2001:db8:1::1".parse().unwrap(),
            ..tuple(UDP, CLIENT, 1, SERVER, 53)
        };
        table.commit(&commit(tuple, None, NatRequest::default()), 0)
    };
    start("2001:db8::1").unwrap();
    start("2001:db8::2").unwrap();
    assert_eq!(start("2001:db8::3"), Err(CtError::SourceShare));
    start("2001:db8:0:1::3").unwrap();
}

#[test]
fn a_zone_takes_as_many_connections_as_it_may_and_zero_is_no_limit() {
    let table = ConnTable::new(&Config {
        zone_limit: 2,
        ..Config::new(1000, [3, 4])
    })
    .unwrap();
    let start = |zone, port| {
        let commit = Commit {
            zone,
            ..commit(
                tuple(UDP, CLIENT, port, SERVER, 53),
                None,
                NatRequest::default(),
            )
        };
        table.commit(&commit, 0)
    };
    let fill = |zone| (0..60).filter(|port| start(zone, *port).is_ok()).count();
    table.set_zone_limit(7, Some(5));
    table.set_zone_limit(65535, Some(0));
    assert_eq!((fill(1), fill(7), fill(65535)), (2, 5, 60));
    let limited: Vec<u16> = table.limited_zones().map(|limit| limit.zone).collect();
    assert_eq!(limited, [7, 65535]);
    assert_eq!(start(7, 100), Err(CtError::ZoneLimit));
    table.set_zone_limit(7, None);
    table.flush(&Filter {
        zone: Some(7),
        ..Filter::default()
    });
    assert_eq!(fill(7), 2);
    assert_eq!(
        (table.zone_limit(7).count, table.zone_limit(7).limit),
        (2, None)
    );
    table.set_default_zone_limit(0);
    assert_eq!(fill(1), 60);
}

#[test]
fn a_tcp_connection_that_is_closed_or_reset_makes_room_in_its_zone_at_once() {
    use net::tcp::flags::{ACK, FIN, RST, SYN};
    let table = table();
    table.set_zone_limit(1, Some(1));
    let there = |port| tuple(TCP, CLIENT, port, SERVER, 80);
    let take = |port, from_client, info: &conntrack::TcpInfo| {
        let there = there(port);
        let tuple = if from_client { there } else { there.reverse() };
        table.track(1, &tuple, Some(info), 0);
    };
    let begin = |port| {
        let syn = segment(SYN, 100, 0, 0);
        take(port, true, &syn);
        let begun = table.commit(&commit(there(port), Some(&syn), NatRequest::default()), 0);
        begun.map(|_| {
            take(port, false, &segment(SYN | ACK, 500, 101, 0));
            take(port, true, &segment(ACK, 101, 501, 0));
        })
    };
    begin(1).unwrap();
    assert_eq!(begin(2), Err(CtError::ZoneLimit));
    take(1, true, &segment(FIN | ACK, 101, 501, 0));
    take(1, false, &segment(FIN | ACK, 501, 102, 0));
    assert_eq!(table.zone_limit(1).count, 1, "one FIN is not acknowledged");
    take(1, true, &segment(ACK, 102, 502, 0));
    take(1, true, &segment(ACK, 102, 502, 0));
    assert_eq!((table.zone_limit(1).count, table.len()), (0, 1));
    begin(2).unwrap();
    take(2, true, &segment(RST, 101, 0, 0));
    assert_eq!((table.zone_limit(1).count, table.len()), (0, 2));
    begin(3).unwrap();
    // The closed ones do not count when they go, either, nor when their ports are used again.
    begin(1).unwrap_err();
    take(3, true, &segment(RST, 101, 0, 0));
    begin(1).unwrap();
    assert_eq!(table.zone_limit(1).count, 1);
    table.expire(1_000_000 * SECOND, 10);
    assert_eq!((table.zone_limit(1).count, table.len()), (0, 0));
}

#[test]
fn a_limit_for_what_begins_lets_connections_go_on_that_were_there_before_it() {
    use net::tcp::flags::{ACK, SYN};
    let table = table();
    table.set_zone_limit_for_new(1, Some(1));
    assert_eq!(table.zone_limit(1).limit, Some(1));
    let start = |port, flags| {
        let info = segment(flags, 100, 7, 0);
        let there = tuple(TCP, CLIENT, port, SERVER, 80);
        table.commit(&commit(there, Some(&info), NatRequest::default()), 0)
    };
    assert!((1..=3).all(|port| start(port, ACK).is_ok()));
    assert_eq!(table.zone_limit(1).count, 3, "they are counted");
    assert_eq!(start(4, SYN), Err(CtError::ZoneLimit));
    table.set_zone_limit_for_new(1, Some(4));
    start(4, SYN).unwrap();
    table.set_zone_limit(1, Some(4));
    assert_eq!(start(5, ACK), Err(CtError::ZoneLimit));
    table.set_zone_limit_for_new(1, None);
    start(5, SYN).unwrap();
}

#[test]
fn mark_and_label_are_written_under_their_masks_and_every_change_shows() {
    let table = table();
    let there = tuple(UDP, CLIENT, 1000, SERVER, 53);
    let with = |mark, label| Commit {
        mark,
        label,
        ..commit(there, None, NatRequest::default())
    };
    table
        .commit(&with((0xabcd, 0xff00), (1 << 100, u128::MAX)), 0)
        .unwrap();
    let first = table.track(1, &there, None, 0);
    assert_eq!((first.mark, first.label), (0xab00, 1 << 100));
    table.commit(&with((0x12, 0xff), (0, 0)), 0).unwrap();
    let second = table.track(1, &there, None, 0);
    assert_eq!((second.mark, second.label), (0xab12, 1 << 100));
    assert_ne!(first.revision, second.revision);
    table.commit(&with((0x12, 0xff), (0, 0)), 0).unwrap();
    let third = table.track(1, &there, None, 0);
    assert_eq!(second.revision, third.revision);
    assert_eq!(table.len(), 1);
}

#[test]
fn force_turns_a_connection_round() {
    let table = table();
    let there = tuple(UDP, CLIENT, 1000, SERVER, 53);
    let old = table
        .commit(&commit(there, None, NatRequest::default()), 0)
        .unwrap();
    let back = there.reverse();
    let gentle = commit(back, None, NatRequest::default());
    assert_eq!(table.commit(&gentle, 0), Ok(old));
    let new = table
        .commit(
            &Commit {
                force: true,
                ..gentle
            },
            0,
        )
        .unwrap();
    assert_ne!(old, new);
    assert_eq!(table.lookup(1, &back, 0), Some((new, Direction::Original)));
    assert_eq!(table.len(), 1);
}

#[test]
fn flushing_takes_what_fits_and_leaves_the_rest() {
    let table = table();
    for zone in 1..4 {
        for port in 0..10 {
            let tuple = tuple(UDP, CLIENT, port, SERVER, 53);
            table
                .commit(
                    &Commit {
                        zone,
                        ..commit(tuple, None, NatRequest::default())
                    },
                    0,
                )
                .unwrap();
        }
    }
    let zone_2 = Filter {
        zone: Some(2),
        ..Filter::default()
    };
    assert_eq!(table.flush(&zone_2), 10);
    let port_3 = TupleFilter {
        src_port: Some(3),
        ..TupleFilter::default()
    };
    let of = |proto| Filter {
        original: port_3,
        proto: Some(proto),
        ..Filter::default()
    };
    assert_eq!(table.flush(&of(TCP)), 0);
    assert_eq!(table.flush(&of(UDP)), 2);
    assert_eq!(table.iter(0).filter(|conn| conn.zone == 2).count(), 0);
    assert_eq!(table.len(), 18);
    // The reply's source is the server; marks count where their mask has ones.
    let answers = |src_port, mark| Filter {
        reply: TupleFilter {
            src: Some(SERVER.into()),
            src_port: Some(53),
            dst_port: Some(src_port),
            ..TupleFilter::default()
        },
        mark: Some(mark),
        ..Filter::default()
    };
    assert_eq!(table.flush(&answers(4, (1, 1))), 0);
    assert_eq!(table.flush(&answers(4, (0, 1))), 2);
    // An echo request is no connection to a port, and a port no type of ICMP.
    let echo = tuple(ICMP, CLIENT, 77, SERVER, 8 << 8);
    let nothing = NatRequest::default();
    table.commit(&commit(echo, None, nothing), 0).unwrap();
    let only = |original| Filter {
        original,
        ..Filter::default()
    };
    let to_port = TupleFilter {
        dst_port: Some(53),
        ..TupleFilter::default()
    };
    let requests = TupleFilter {
        icmp_type: Some(8),
        ..TupleFilter::default()
    };
    assert_eq!(table.flush(&only(requests)), 1);
    table.commit(&commit(echo, None, nothing), 0).unwrap();
    assert_eq!(table.flush(&only(to_port)), 16);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_dump_tells_age_time_left_and_traffic() {
    let table = table();
    let there = tuple(UDP, CLIENT, 1000, VIP, 53);
    let conn = table
        .commit(&commit(there, None, dnat(SERVER, 53)), SECOND)
        .unwrap();
    table.count(conn, Direction::Original, 1, 100);
    table.count(conn, Direction::Original, 1, 50);
    table.count(conn, Direction::Reply, 1, 70);
    let shown = table.get(conn, 11 * SECOND).unwrap();
    assert_eq!(shown.original, there);
    assert_eq!(shown.reply, tuple(UDP, SERVER, 53, CLIENT, 1000));
    assert_eq!(shown.age, Duration::from_secs(10));
    assert!((20..=21).contains(&shown.left.as_secs()));
    assert_eq!((shown.sent.packets, shown.sent.bytes), (2, 150));
    assert_eq!((shown.received.packets, shown.received.bytes), (1, 70));
    assert_eq!((shown.tcp, shown.established), (None, false));
}

#[test]
fn a_connection_to_itself_has_one_tuple_for_both_directions() {
    let table = table();
    let there = tuple(UDP, CLIENT, 1000, CLIENT, 1000);
    let conn = table
        .commit(&commit(there, None, NatRequest::default()), 0)
        .unwrap();
    assert_eq!(
        table.lookup(1, &there, 0),
        Some((conn, Direction::Original))
    );
    assert!(table.remove(conn));
    assert_eq!(table.lookup(1, &there, 0), None);
    assert!(!table.remove(conn));
}

#[test]
fn ipv6_addresses_are_tracked_whole_and_mixed_families_refused() {
    let table = table();
    let v6 = |last: u16| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]);
    let there = Tuple {
        src: v6(1),
        dst: v6(2),
        src_port: 1,
        dst_port: 2,
        proto: UDP,
    };
    assert_eq!(
        table.commit(&commit(there, None, dnat(SERVER, 53)), 0),
        Err(CtError::Invalid)
    );
    let nat = NatRequest {
        dst: Some(NatRange {
            addresses: Some((v6(9), v6(9))),
            ..NatRange::default()
        }),
        src: None,
    };
    let conn = table.commit(&commit(there, None, nat), 0).unwrap();
    let translated = table.translated_tuple(conn, Direction::Original).unwrap();
    assert_eq!((translated.dst, translated.dst_port), (v6(9), 2));
    assert_eq!(
        table.lookup(1, &translated.reverse(), 0),
        Some((conn, Direction::Reply))
    );
    let other = Tuple {
        dst: v6(3),
        ..there
    };
    assert_eq!(table.lookup(1, &other, 0), None);
}

#[test]
fn a_million_connections_cost_less_than_256_bytes_each() {
    let table = ConnTable::new(&Config::new(1_000_000, [1, 2])).unwrap();
    assert!(table.memory() < 256_000_000, "{}", table.memory());
}
