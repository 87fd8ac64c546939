//! TCP connections as they happen: each test is a short story of segments.

mod common;

use std::time::Duration;

use common::*;
use conntrack::{Config, ConnTable, CtError, NatRequest, TcpInfo, TcpState};
use net::key::ct_state::{EST, INV, NEW, RPL, TRK};
use net::tcp::flags::{ACK, FIN, RST, SYN};

#[test]
fn a_tcp_connection_from_handshake_to_time_wait() {
    use TcpState::{Established, FinWait, SynReceived, SynSent, TimeWait};
    for strict in [false, true] {
        let table = ConnTable::new(&Config {
            strict,
            ..Config::new(10, [1, 2])
        })
        .unwrap();
        tcp_story(
            &table,
            &[
                (true, segment(SYN, 100, 0, 0), NEW, SynSent),
                (
                    false,
                    segment(SYN | ACK, 500, 101, 0),
                    EST | RPL,
                    SynReceived,
                ),
                (true, segment(ACK, 101, 501, 0), EST, Established),
                (true, segment(ACK, 101, 501, 50), EST, Established),
                (false, segment(ACK, 501, 151, 900), EST | RPL, Established),
                (true, segment(FIN | ACK, 151, 1401, 0), EST, FinWait),
                // An acknowledgment from before the FIN does not acknowledge it.
                (false, segment(ACK, 1401, 151, 0), EST | RPL, FinWait),
                (false, segment(FIN | ACK, 1401, 152, 0), EST | RPL, FinWait),
                (true, segment(ACK, 152, 1402, 0), EST, TimeWait),
            ],
        );
        // The same ports again: a new connection.
        let there = tuple(TCP, CLIENT, 1000, SERVER, 80);
        let syn = segment(SYN, 9000, 0, 0);
        assert_eq!(table.track(1, &there, Some(&syn), 0).state, TRK | NEW);
        assert_eq!(table.len(), 0, "the old one is gone");
    }
}

#[test]
fn a_refused_connection_is_closed() {
    let table = table();
    tcp_story(
        &table,
        &[
            (true, segment(SYN, 100, 0, 0), NEW, TcpState::SynSent),
            (
                false,
                segment(RST | ACK, 0, 101, 0),
                EST | RPL,
                TcpState::Closed,
            ),
        ],
    );
    let there = tuple(TCP, CLIENT, 1000, SERVER, 80);
    let left = table.iter(0).next().unwrap().left;
    assert!(left >= Duration::from_secs(10) && left < Duration::from_secs(11));
    let again = segment(SYN, 900, 0, 0);
    assert_eq!(table.track(1, &there, Some(&again), 0).state, TRK | NEW);
}

#[test]
fn what_no_tcp_sends_is_invalid_and_begins_nothing() {
    let table = table();
    let there = tuple(TCP, CLIENT, 1000, SERVER, 80);
    for flags in [0, FIN, SYN | FIN, SYN | RST, SYN | ACK, RST, RST | ACK] {
        let info = segment(flags, 1, 1, 0);
        assert_eq!(
            table.track(1, &there, Some(&info), 0).state,
            TRK | INV,
            "{flags:#x}"
        );
        assert_eq!(
            table.commit(&commit(there, Some(&info), NatRequest::default()), 0),
            Err(CtError::Invalid)
        );
    }
    let syn = segment(SYN, 1, 0, 0);
    table
        .commit(&commit(there, Some(&syn), NatRequest::default()), 0)
        .unwrap();
    let data_first = segment(ACK, 77, 2, 10);
    assert_eq!(
        table.track(1, &there.reverse(), Some(&data_first), 0).state,
        TRK | INV
    );
}

#[test]
fn a_connection_under_way_is_picked_up_if_that_is_allowed() {
    let there = tuple(TCP, CLIENT, 1000, SERVER, 80);
    let data = segment(ACK, 5000, 6000, 100);
    let table = table();
    assert_eq!(table.track(1, &there, Some(&data), 0).state, TRK | NEW);
    table
        .commit(&commit(there, Some(&data), NatRequest::default()), 0)
        .unwrap();
    let answer = segment(ACK, 6000, 5100, 1);
    assert_eq!(
        table.track(1, &there.reverse(), Some(&answer), 0).state,
        TRK | EST | RPL
    );
    let table = ConnTable::new(&Config {
        loose: false,
        ..Config::new(10, [1, 2])
    })
    .unwrap();
    assert_eq!(table.track(1, &there, Some(&data), 0).state, TRK | INV);
}

#[test]
fn strict_tracking_refuses_what_is_outside_the_window_and_liberal_does_not() {
    for strict in [true, false] {
        let table = ConnTable::new(&Config {
            strict,
            ..Config::new(10, [1, 2])
        })
        .unwrap();
        let scaled = |mut info: TcpInfo, scale| {
            info.scale = Some(scale);
            info
        };
        tcp_story(
            &table,
            &[
                (
                    true,
                    scaled(segment(SYN, 100, 0, 0), 2),
                    NEW,
                    TcpState::SynSent,
                ),
                (
                    false,
                    scaled(segment(SYN | ACK, 500, 101, 0), 3),
                    EST | RPL,
                    TcpState::SynReceived,
                ),
                (true, segment(ACK, 101, 501, 0), EST, TcpState::Established),
            ],
        );
        let there = tuple(TCP, CLIENT, 1000, SERVER, 80);
        let invalid = if strict { INV } else { EST };
        // The server may send 501 + 1000 * 4: the client's window, scaled by the client's shift.
        let cases = [
            (false, segment(ACK, 501, 101, 1000), EST | RPL),
            (false, segment(ACK, 4501, 101, 0), EST | RPL),
            (
                false,
                segment(ACK, 4502, 101, 10),
                if strict { INV } else { EST | RPL },
            ),
            (true, segment(ACK, 101, 400_000, 0), invalid),
            (true, segment(RST, 900_000, 0, 0), invalid),
        ];
        for (from_client, info, state) in cases {
            let tuple = if from_client { there } else { there.reverse() };
            assert_eq!(
                table.track(1, &tuple, Some(&info), 0).state,
                TRK | state,
                "{info:?} strict {strict}"
            );
        }
        // A reset with any number ends nothing.
        let state = table.iter(0).next().unwrap().tcp;
        assert_eq!(state, Some(TcpState::Established));
    }
}

/// A strict or liberal table with an open connection: the client is at 101, the server at 501.
fn open(strict: bool) -> ConnTable {
    let config = Config {
        strict,
        ..Config::new(10, [1, 2])
    };
    let table = ConnTable::new(&config).unwrap();
    tcp_story(
        &table,
        &[
            (true, segment(SYN, 100, 0, 0), NEW, TcpState::SynSent),
            (
                false,
                segment(SYN | ACK, 500, 101, 0),
                EST | RPL,
                TcpState::SynReceived,
            ),
            (true, segment(ACK, 101, 501, 0), EST, TcpState::Established),
        ],
    );
    table
}

/// Sends a segment on the open connection; state bits without TRK, and the state afterwards.
fn send(table: &ConnTable, from_client: bool, info: &TcpInfo, now: u64) -> (u32, Option<TcpState>) {
    let there = tuple(TCP, CLIENT, 1000, SERVER, 80);
    let tuple = if from_client { there } else { there.reverse() };
    let state = table.track(1, &tuple, Some(info), now).state;
    (
        state & !TRK,
        table.iter(now).next().and_then(|conn| conn.tcp),
    )
}

#[test]
fn only_a_reset_with_the_expected_number_ends_a_connection() {
    for strict in [true, false] {
        let table = open(strict);
        let beyond = if strict { INV } else { EST };
        // In the window, but not the next number: the receiver asks back (RFC 5961 3.2).
        let story = [
            (segment(RST, 300, 0, 0), EST, TcpState::Established),
            (segment(RST, 900_000, 0, 0), beyond, TcpState::Established),
            (segment(ACK, 101, 501, 10), EST, TcpState::Established),
            (segment(RST, 101, 0, 0), EST, TcpState::Established),
            (segment(RST, 111, 0, 0), EST, TcpState::Closed),
        ];
        for (info, state, after) in story {
            let seen = send(&table, true, &info, 0);
            assert_eq!(seen, (state, Some(after)), "{info:?} strict {strict}");
        }
    }
}

#[test]
fn a_doubtful_reset_shortens_the_life_of_a_connection_that_is_silent_afterwards() {
    let table = open(false);
    let hours = 3600 * SECOND;
    send(&table, true, &segment(ACK, 101, 501, 0), hours);
    send(&table, true, &segment(RST, 300, 0, 0), hours);
    assert_eq!(table.iter(hours + 110 * SECOND).count(), 1);
    assert_eq!(table.iter(hours + 130 * SECOND).count(), 0);
    let table = open(false);
    send(&table, true, &segment(RST, 300, 0, 0), hours);
    // The receiver asks back; so the connection lives.
    send(&table, false, &segment(ACK, 501, 101, 0), hours);
    assert_eq!(table.iter(2 * hours).count(), 1);
}

#[test]
fn a_syn_on_an_open_connection_passes_and_changes_nothing_until_it_is_reset() {
    for strict in [true, false] {
        let table = open(strict);
        let established = Some(TcpState::Established);
        // The client was restarted (RFC 9293 3.5.1, figure 9).
        let syn = segment(SYN, 7_000_000, 0, 0);
        assert_eq!(send(&table, true, &syn, 0), (EST, established));
        let challenge = segment(ACK, 501, 101, 0);
        assert_eq!(send(&table, false, &challenge, 0), (EST | RPL, established));
        let reset = segment(RST, 101, 0, 0);
        assert_eq!(send(&table, true, &reset, 0), (EST, Some(TcpState::Closed)));
        // The same tuple begins anew.
        assert_eq!(send(&table, true, &syn, 0), (NEW, None));
    }
}

#[test]
fn both_sides_may_begin_at_once() {
    for strict in [true, false] {
        let config = Config {
            strict,
            ..Config::new(10, [1, 2])
        };
        let table = ConnTable::new(&config).unwrap();
        tcp_story(
            &table,
            &[
                (true, segment(SYN, 100, 0, 0), NEW, TcpState::SynSent),
                (
                    false,
                    segment(SYN, 500, 0, 0),
                    EST | RPL,
                    TcpState::SynReceived,
                ),
                (
                    true,
                    segment(SYN | ACK, 100, 501, 0),
                    EST,
                    TcpState::SynReceived,
                ),
                (
                    false,
                    segment(SYN | ACK, 500, 101, 0),
                    EST | RPL,
                    TcpState::Established,
                ),
                (true, segment(ACK, 101, 501, 10), EST, TcpState::Established),
            ],
        );
        assert_eq!(table.half_open(), 0);
    }
}

#[test]
fn a_syn_that_nobody_answered_may_be_repeated_with_another_number() {
    let config = Config {
        strict: true,
        ..Config::new(10, [1, 2])
    };
    let table = ConnTable::new(&config).unwrap();
    tcp_story(
        &table,
        &[
            (true, segment(SYN, 100, 0, 0), NEW, TcpState::SynSent),
            (true, segment(SYN, 100, 0, 0), NEW, TcpState::SynSent),
            (true, segment(SYN, 9_000_000, 0, 0), NEW, TcpState::SynSent),
            (
                false,
                segment(SYN | ACK, 500, 9_000_001, 0),
                EST | RPL,
                TcpState::SynReceived,
            ),
            // Its repetition after the acknowledgment was lost.
            (
                false,
                segment(SYN | ACK, 500, 9_000_001, 0),
                EST | RPL,
                TcpState::SynReceived,
            ),
            (
                true,
                segment(ACK, 9_000_001, 501, 0),
                EST,
                TcpState::Established,
            ),
        ],
    );
    // An answer to the first number comes late.
    let late = segment(SYN | ACK, 500, 101, 0);
    assert_eq!(send(&table, false, &late, 0).0, INV);
}

#[test]
fn one_side_may_go_on_sending_after_the_other_has_closed() {
    for strict in [true, false] {
        let table = open(strict);
        let steps = [
            (true, segment(FIN | ACK, 101, 501, 0), TcpState::FinWait),
            (false, segment(ACK, 501, 102, 900), TcpState::FinWait),
            (true, segment(ACK, 102, 1401, 0), TcpState::FinWait),
            (false, segment(ACK, 1401, 102, 900), TcpState::FinWait),
            (true, segment(ACK, 102, 2301, 0), TcpState::FinWait),
            (false, segment(FIN | ACK, 2301, 102, 0), TcpState::FinWait),
            (true, segment(ACK, 102, 2302, 0), TcpState::TimeWait),
        ];
        for (from_client, info, after) in steps {
            let (state, tcp) = send(&table, from_client, &info, 0);
            assert_eq!((state & INV, tcp), (0, Some(after)), "{info:?}");
        }
        // A repeated FIN is answered once more, by someone who knows the connection.
        let again = segment(FIN | ACK, 2301, 102, 0);
        let (state, tcp) = send(&table, false, &again, 0);
        assert_eq!((state & INV, tcp), (0, Some(TcpState::TimeWait)));
        // And the tuple may be used again before its time is over (RFC 6191).
        let syn = segment(SYN, 5_000_000, 0, 0);
        assert_eq!(send(&table, true, &syn, SECOND), (NEW, None));
    }
}

#[test]
fn a_window_is_scaled_only_if_both_sides_said_so() {
    for both in [true, false] {
        let config = Config {
            strict: true,
            ..Config::new(10, [1, 2])
        };
        let table = ConnTable::new(&config).unwrap();
        let scaled = |mut info: TcpInfo, scale| {
            info.scale = scale;
            info
        };
        tcp_story(
            &table,
            &[
                (
                    true,
                    scaled(segment(SYN, 100, 0, 0), Some(4)),
                    NEW,
                    TcpState::SynSent,
                ),
                (
                    false,
                    scaled(segment(SYN | ACK, 500, 101, 0), both.then_some(2)),
                    EST | RPL,
                    TcpState::SynReceived,
                ),
                (true, segment(ACK, 101, 501, 0), EST, TcpState::Established),
            ],
        );
        // 1000, or 1000 * 16.
        for (seq, fits) in [(1501, true), (1502, both), (16_501, both), (16_502, false)] {
            let (state, _) = send(&table, false, &segment(ACK, seq, 101, 1), 0);
            assert_eq!(state & INV == 0, fits, "{seq}, both {both}");
        }
    }
}

#[test]
fn timeouts_are_those_of_the_state_and_of_the_configuration() {
    let mut config = Config::new(10, [1, 2]);
    for (name, seconds) in [
        ("tcp-syn-sent", 10),
        ("tcp-syn-received", 20),
        ("tcp-established", 500),
        ("tcp-fin-wait", 40),
        ("tcp-time-wait", 5),
    ] {
        config
            .timeouts
            .set(name, Duration::from_secs(seconds))
            .unwrap();
    }
    let table = ConnTable::new(&config).unwrap();
    let there = tuple(TCP, CLIENT, 1000, SERVER, 80);
    let syn = segment(SYN, 100, 0, 0);
    table
        .commit(&commit(there, Some(&syn), NatRequest::default()), 0)
        .unwrap();
    let left = |table: &ConnTable| table.iter(0).next().unwrap().left.as_secs();
    assert_eq!(left(&table), 10);
    let steps = [
        (false, segment(SYN | ACK, 500, 101, 0), 20),
        (true, segment(ACK, 101, 501, 0), 500),
        (true, segment(FIN | ACK, 101, 501, 0), 40),
        (false, segment(FIN | ACK, 501, 102, 0), 40),
        (true, segment(ACK, 102, 502, 0), 5),
    ];
    for (from_client, info, seconds) in steps {
        send(&table, from_client, &info, 0);
        assert_eq!(left(&table), seconds, "{info:?}");
    }
}
