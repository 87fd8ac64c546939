//! Several workers on one table at once.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use conntrack::{
    Commit, Config, ConnTable, CtError, Direction, Filter, NatRange, NatRequest, Tuple, TupleFilter,
};

const WORKERS: u64 = 4;
const SECOND: u64 = 1_000_000_000;

fn tuple(client: u8, src_port: u16, server: u8) -> Tuple {
    Tuple {
        src: [10, 0, 0, client].into(),
        dst: [10, 1, 0, server].into(),
        src_port,
        dst_port: 53,
        proto: 17,
    }
}

fn commit(tuple: Tuple, nat: NatRequest) -> Commit<'static> {
    Commit {
        zone: 1,
        tuple,
        tcp: None,
        nat,
        mark: (0, 0),
        label: (0, 0),
        force: false,
    }
}

fn masquerade(ports: (u16, u16)) -> NatRequest {
    NatRequest {
        src: Some(NatRange {
            addresses: Some(([192, 0, 2, 1].into(), [192, 0, 2, 1].into())),
            ports: Some(ports),
            ..NatRange::default()
        }),
        dst: None,
    }
}

/// A plain generator, so that a failure can be repeated as far as threads allow.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Everything that must hold when nobody works on the table.
fn check(table: &ConnTable, now: u64) {
    let conns: Vec<_> = table.iter(now).collect();
    assert_eq!(conns.len(), table.len() as usize);
    let half_open = conns.iter().filter(|conn| !conn.established).count();
    assert_eq!(half_open, table.half_open() as usize);
    let mut tuples = BTreeMap::new();
    for conn in &conns {
        let found = table.lookup(conn.zone, &conn.original, now);
        assert_eq!(found, Some((conn.conn, Direction::Original)));
        let found = table.lookup(conn.zone, &conn.reply, now);
        assert_eq!(found, Some((conn.conn, Direction::Reply)));
        for tuple in [conn.original, conn.reply] {
            let before = tuples.insert(format!("{tuple:?}"), conn.conn);
            assert_eq!(before, None, "{tuple:?} belongs to two connections");
        }
    }
}

#[test]
fn whatever_workers_do_at_once_no_tuple_is_given_out_twice_and_no_place_is_lost() {
    let table = ConnTable::new(&Config {
        half_open: 1000,
        half_open_per_source: 0,
        ..Config::new(200, [11, 12])
    })
    .unwrap();
    let clock = AtomicU64::new(SECOND);
    for round in 0..20 {
        let start = Barrier::new(WORKERS as usize);
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (table, start, clock) = (&table, &start, &clock);
                scope.spawn(move || {
                    let mut numbers = Numbers(1 + worker + round * WORKERS);
                    start.wait();
                    for _ in 0..3000 {
                        let now = clock.load(Relaxed);
                        let tuple = tuple(
                            numbers.below(8) as u8,
                            1000 + numbers.below(8) as u16,
                            numbers.below(3) as u8,
                        );
                        match numbers.below(100) {
                            0..40 => {
                                let nat = match numbers.below(3) {
                                    0 => NatRequest::default(),
                                    _ => masquerade((2000, 2040)),
                                };
                                match table.commit(&commit(tuple, nat), now) {
                                    Ok(conn) => answer(table, conn, &tuple, now),
                                    Err(CtError::Full | CtError::NatExhausted) => {}
                                    Err(other) => panic!("{other}"),
                                }
                            }
                            40..90 => {
                                table.track(1, &tuple, None, now);
                            }
                            90..95 => {
                                if let Some((conn, _)) = table.lookup(1, &tuple, now) {
                                    table.remove(conn);
                                }
                            }
                            95..97 => {
                                table.flush(&Filter {
                                    original: TupleFilter {
                                        src_port: Some(tuple.src_port),
                                        ..TupleFilter::default()
                                    },
                                    ..Filter::default()
                                });
                            }
                            97 => {
                                clock.fetch_add(SECOND * numbers.below(10), Relaxed);
                            }
                            _ => {
                                table.expire(now, 100);
                            }
                        }
                    }
                });
            }
        });
        let now = clock.load(Relaxed);
        for _ in 0..4 {
            table.expire(now, 200);
        }
        check(&table, now);
    }
    // No place was lost: the table can still be filled to the last one.
    table.flush(&Filter::default());
    assert_eq!((table.len(), table.half_open()), (0, 0));
    for port in 0..200 {
        let tuple = tuple(1, port, 1);
        table
            .commit(&commit(tuple, NatRequest::default()), 0)
            .unwrap();
        table.track(1, &tuple.reverse(), None, 0);
    }
    let one_more = commit(tuple(1, 200, 1), NatRequest::default());
    assert_eq!(table.commit(&one_more, 0), Err(CtError::Full));
}

/// Follows a new connection's answer, as far as the connection is still there.
fn answer(table: &ConnTable, conn: conntrack::ConnRef, original: &Tuple, now: u64) {
    let Some(translated) = table.translated_tuple(conn, Direction::Original) else {
        return;
    };
    let tracked = table.track(1, &translated.reverse(), None, now);
    if let Some((found, direction)) = tracked.conn
        && found == conn
    {
        assert_eq!(direction, Direction::Reply);
        // The name still names this connection, so it translates to its own client.
        if let Some(back) = table.translated_tuple(conn, Direction::Reply) {
            assert_eq!(back, original.reverse());
        }
    }
}

#[test]
fn one_port_goes_to_one_of_the_workers_that_want_it_at_once() {
    let table = ConnTable::new(&Config::new(100, [3, 4])).unwrap();
    let start = Barrier::new(WORKERS as usize);
    let won = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (table, start, won) = (&table, &start, &won);
            scope.spawn(move || {
                for round in 1..=10_000u64 {
                    let request = commit(tuple(worker as u8, 1000, 1), masquerade((2000, 2000)));
                    start.wait();
                    let result = table.commit(&request, 0);
                    won.fetch_add(u64::from(result.is_ok()), Relaxed);
                    start.wait();
                    assert_eq!(won.load(Relaxed), round, "winners up to this round");
                    start.wait();
                    if let Ok(conn) = result {
                        table.remove(conn);
                    }
                }
            });
        }
    });
}

#[test]
fn readers_never_see_a_mixture_of_two_connections() {
    // One place, used over and over by connections whose label and tuples belong together.
    let table = ConnTable::new(&Config::new(1, [1, 2])).unwrap();
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..60_000u32 {
                let tuple = tuple(1, i as u16, 1);
                let label = u128::from(tuple.src_port);
                let request = Commit {
                    mark: (label as u32, u32::MAX),
                    label: (label, u128::MAX),
                    ..commit(tuple, NatRequest::default())
                };
                let conn = table.commit(&request, 0).unwrap();
                table.remove(conn);
            }
            done.store(1, Relaxed);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0u64;
                while done.load(Relaxed) == 0 {
                    for conn in table.iter(0) {
                        seen += 1;
                        assert_eq!(conn.original, conn.reply.reverse());
                        assert_eq!(conn.mark, u32::from(conn.original.src_port));
                        assert_eq!(conn.label, u128::from(conn.original.src_port));
                    }
                }
                seen
            });
        }
    });
    assert!(table.is_empty());
}

#[test]
fn a_flood_from_two_workers_ends_no_open_connection_and_every_count_is_right_afterwards() {
    const GOOD: u16 = 300;
    // Several pools, and far fewer places than the flood wants.
    let table = ConnTable::new(&Config {
        half_open: 10_000,
        half_open_per_source: 0,
        zone_limit: 15_000,
        ..Config::new(20_000, [5, 6])
    })
    .unwrap();
    for port in 0..GOOD {
        let good = tuple(200, port, 1);
        table
            .commit(&commit(good, masquerade((1, 65_535))), 0)
            .unwrap();
    }
    let answers: Vec<Tuple> = table.iter(0).map(|conn| conn.reply).collect();
    for answer in &answers {
        table.track(1, answer, None, 0);
    }
    let open = table.len() - table.half_open();
    assert_eq!(open, u32::from(GOOD));
    std::thread::scope(|scope| {
        for worker in 0..2u8 {
            let table = &table;
            scope.spawn(move || {
                let mut numbers = Numbers(7 + u64::from(worker));
                for i in 0..40_000u64 {
                    let flood = tuple(
                        numbers.below(100) as u8,
                        numbers.below(60_000) as u16,
                        worker,
                    );
                    let made = table.commit(&commit(flood, NatRequest::default()), 0);
                    assert!(made.is_ok(), "{made:?}");
                    if i % 64 == 0 {
                        table.expire(0, 64);
                    }
                }
            });
        }
        // The good ones go on, both ways.
        let (table, answers) = (&table, &answers);
        scope.spawn(move || {
            for round in 0..50 {
                for port in 0..GOOD {
                    let seen = table.track(1, &tuple(200, port, 1), None, 0);
                    assert!(seen.conn.is_some(), "round {round}, port {port}");
                }
                for answer in answers {
                    assert!(table.track(1, answer, None, 0).conn.is_some());
                }
            }
        });
    });
    check(&table, 0);
    assert!(table.half_open() <= 10_000);
    let totals = table.totals();
    let live = totals.created - totals.expired - totals.evicted - totals.removed;
    assert_eq!(live, u64::from(table.len()));
    assert_eq!(table.zone_limit(1).count, table.len());
    assert_eq!(table.len() - table.half_open(), u32::from(GOOD));
    // All counts come back to nothing.
    table.flush(&Filter::default());
    assert_eq!(
        (table.len(), table.half_open(), table.zone_limit(1).count),
        (0, 0, 0)
    );
}
