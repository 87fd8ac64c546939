//! The table against a list of connections that does everything the obvious way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use conntrack::{
    Commit, Config, ConnTable, CtError, Direction, Filter, NatRange, NatRequest, Timeouts, Tuple,
};
use net::key::ct_state::{EST, INV, NEW, REL, RPL, TRK};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const CAPACITY: u32 = 12;
const HALF_OPEN: u32 = 7;
/// Half-open connections of one source.
const SHARE: u32 = 4;
const DEFAULT_LIMIT: u32 = 10;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ECHO: u16 = 0x0800;

/// What a connection is, in the plainest form.
#[derive(Clone, Debug)]
struct ModelConn {
    zone: u16,
    original: Tuple,
    reply: Tuple,
    answered: bool,
    last_packet: u64,
    mark: u32,
}

impl ModelConn {
    fn timeout(&self) -> u64 {
        match (self.original.proto, self.answered) {
            (UDP, true) => 60,
            (UDP, false) => 20,
            _ => 9,
        }
    }

    fn alive(&self, now: u64) -> bool {
        now <= self.last_packet + self.timeout()
    }
}

/// Times are in whole seconds.
#[derive(Default, Debug)]
struct Model {
    /// The oldest first.
    conns: Vec<ModelConn>,
    /// Of zones that have one of their own.
    limits: BTreeMap<u16, u32>,
    now: u64,
    evicted: u64,
}

impl Model {
    fn alive(&self) -> impl Iterator<Item = &ModelConn> {
        self.conns.iter().filter(|conn| conn.alive(self.now))
    }

    fn find(&mut self, zone: u16, tuple: &Tuple) -> Option<(&mut ModelConn, Direction)> {
        let now = self.now;
        self.conns
            .iter_mut()
            .filter(|conn| conn.zone == zone && conn.alive(now))
            .find_map(|conn| {
                if conn.original == *tuple {
                    Some((conn, Direction::Original))
                } else if conn.reply == *tuple {
                    Some((conn, Direction::Reply))
                } else {
                    None
                }
            })
    }

    fn track(&mut self, zone: u16, tuple: &Tuple) -> u32 {
        let now = self.now;
        let answer_without_question = tuple.proto == ICMP && tuple.dst_port != ECHO;
        match self.find(zone, tuple) {
            None if answer_without_question => TRK | INV,
            None => TRK | NEW,
            Some((conn, direction)) => {
                conn.last_packet = now;
                conn.answered |= direction == Direction::Reply;
                let state = if conn.answered { EST } else { NEW };
                let reply = if direction == Direction::Reply {
                    RPL
                } else {
                    0
                };
                TRK | state | reply
            }
        }
    }

    fn half_open(&self) -> impl Iterator<Item = &ModelConn> {
        self.alive().filter(|conn| !conn.answered)
    }

    /// What must go, or is in the way, for a new connection.
    fn make_room(&mut self, zone: u16, src: IpAddr) -> Result<(), CtError> {
        let now = self.now;
        self.conns.retain(|conn| conn.alive(now));
        let limit = self.limits.get(&zone).copied().unwrap_or(DEFAULT_LIMIT);
        let in_zone = self.conns.iter().filter(|conn| conn.zone == zone).count();
        if limit != 0 && in_zone >= limit as usize {
            return Err(CtError::ZoneLimit);
        }
        let of_source = |conn: &&ModelConn| conn.zone == zone && conn.original.src == src;
        if self.half_open().filter(of_source).count() >= SHARE as usize {
            return Err(CtError::SourceShare);
        }
        let is_full = self.conns.len() >= CAPACITY as usize;
        if is_full || self.half_open().count() >= HALF_OPEN as usize {
            let oldest = self.conns.iter().position(|conn| !conn.answered);
            self.conns.remove(oldest.ok_or(CtError::Full)?);
            self.evicted += 1;
        }
        Ok(())
    }

    fn is_taken(&self, zone: u16, tuple: &Tuple) -> bool {
        self.alive()
            .any(|conn| conn.zone == zone && (conn.original == *tuple || conn.reply == *tuple))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Packet {
        zone: u16,
        tuple: Tuple,
    },
    Answer {
        which: prop::sample::Index,
    },
    Error {
        which: prop::sample::Index,
        answers: bool,
    },
    Commit {
        zone: u16,
        tuple: Tuple,
        nat: NatRequest,
        mark: u32,
        force: bool,
    },
    Limit {
        zone: u16,
        limit: Option<u32>,
    },
    Wait {
        seconds: u64,
    },
    Sweep,
    Flush {
        zone: u16,
    },
}

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn tuples() -> impl Strategy<Value = Tuple> {
    (1u8..4, 1u8..4, 1u16..3, 1u16..3, any::<bool>()).prop_map(|(src, dst, a, b, udp)| Tuple {
        src: address(src),
        dst: address(dst),
        src_port: a,
        dst_port: if udp {
            b
        } else {
            [ECHO, 0][usize::from(b) - 1]
        },
        proto: if udp { UDP } else { ICMP },
    })
}

fn nats() -> impl Strategy<Value = NatRequest> {
    let range = || {
        (1u8..4, 0u8..2, prop::option::of(1u16..3)).prop_map(|(low, more, ports)| NatRange {
            addresses: Some((address(low), address(low + more))),
            ports: ports.map(|low| (low, low + 1)),
            ..NatRange::default()
        })
    };
    prop_oneof![
        3 => Just(NatRequest::default()),
        3 => range().prop_map(|dst| NatRequest { dst: Some(dst), src: None }),
        3 => range().prop_map(|src| NatRequest { src: Some(src), dst: None }),
        1 => (range(), range()).prop_map(|(src, dst)| NatRequest { src: Some(src), dst: Some(dst) }),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u16..3, tuples()).prop_map(|(zone, tuple)| Step::Packet { zone, tuple }),
        4 => any::<prop::sample::Index>().prop_map(|which| Step::Answer { which }),
        1 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, answers)| Step::Error { which, answers }),
        8 => (1u16..3, tuples(), nats(), any::<u32>(), prop::bool::weighted(0.1)).prop_map(
            |(zone, tuple, nat, mark, force)| Step::Commit { zone, tuple, nat, mark, force }),
        1 => (1u16..3, prop::option::of(0u32..8))
            .prop_map(|(zone, limit)| Step::Limit { zone, limit }),
        2 => prop_oneof![0u64..4, 8u64..25, Just(61)].prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Sweep),
        1 => (1u16..3).prop_map(|zone| Step::Flush { zone }),
    ]
}

fn in_range(range: Option<(IpAddr, IpAddr)>, kept: IpAddr, is: IpAddr) -> bool {
    range.map_or(kept == is, |(low, high)| (low..=high).contains(&is))
}

/// Checks a translation that the table chose, by what the request allows.
fn allowed(
    model: &Model,
    zone: u16,
    tuple: &Tuple,
    nat: &NatRequest,
    chosen: &Tuple,
) -> Result<(), TestCaseError> {
    let src = nat.src.unwrap_or_default();
    let dst = nat.dst.unwrap_or_default();
    prop_assert!(in_range(src.addresses, tuple.src, chosen.src));
    prop_assert!(in_range(dst.addresses, tuple.dst, chosen.dst));
    let dst_ports = dst.ports.filter(|_| tuple.proto == UDP);
    match dst_ports {
        Some((low, high)) => prop_assert!((low..=high).contains(&chosen.dst_port)),
        None => prop_assert_eq!(chosen.dst_port, tuple.dst_port),
    }
    match src.ports {
        Some((low, high)) => prop_assert!((low..=high).contains(&chosen.src_port)),
        None if chosen.src_port != tuple.src_port => {
            // Only because the packet's own port was taken, with every destination allowed.
            let (low, high) = dst_ports.unwrap_or((tuple.dst_port, tuple.dst_port));
            for dst_port in low..=high {
                let kept = Tuple {
                    src_port: tuple.src_port,
                    dst_port,
                    ..*chosen
                };
                prop_assert!(model.is_taken(zone, &kept.reverse()), "{:?}", kept);
            }
            prop_assert!(chosen.src_port >= 1024);
        }
        None => {}
    }
    prop_assert!(!model.is_taken(zone, &chosen.reverse()), "given out twice");
    Ok(())
}

/// Checks that nothing of what a request allows was free.
fn exhausted(
    model: &Model,
    zone: u16,
    tuple: &Tuple,
    nat: &NatRequest,
) -> Result<(), TestCaseError> {
    let src = nat.src.unwrap_or_default();
    let dst = nat.dst.unwrap_or_default();
    // Where the source port is free to choose, no range of this test is ever exhausted.
    prop_assert!(nat.is_none() || src.ports.is_some());
    let all = |range: Option<(IpAddr, IpAddr)>, kept: IpAddr| -> Vec<IpAddr> {
        (0..10)
            .map(address)
            .filter(|is| in_range(range, kept, *is))
            .collect()
    };
    let dst_ports = dst.ports.filter(|_| tuple.proto == UDP);
    let dst_ports = dst_ports.unwrap_or((tuple.dst_port, tuple.dst_port));
    let src_ports = src.ports.unwrap_or((tuple.src_port, tuple.src_port));
    for src in all(src.addresses, tuple.src) {
        for dst in all(dst.addresses, tuple.dst) {
            for src_port in src_ports.0..=src_ports.1 {
                for dst_port in dst_ports.0..=dst_ports.1 {
                    let free = Tuple {
                        src,
                        dst,
                        src_port,
                        dst_port,
                        proto: tuple.proto,
                    };
                    prop_assert!(model.is_taken(zone, &free.reverse()), "{:?}", free);
                }
            }
        }
    }
    Ok(())
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let table = ConnTable::new(&Config {
        half_open: HALF_OPEN,
        half_open_per_source: SHARE,
        zone_limit: DEFAULT_LIMIT,
        timeouts: Timeouts {
            udp_single: Duration::from_secs(20),
            udp_stream: Duration::from_secs(60),
            icmp: Duration::from_secs(9),
            ..Timeouts::default()
        },
        ..Config::new(CAPACITY, [7, 8])
    })
    .unwrap();
    let mut model = Model::default();
    for step in steps {
        let now = model.now * SECOND;
        match step {
            Step::Packet { zone, tuple } => {
                let tracked = table.track(zone, &tuple, None, now);
                prop_assert_eq!(tracked.state, model.track(zone, &tuple));
                let mark = model.find(zone, &tuple).map_or(0, |(conn, _)| conn.mark);
                prop_assert_eq!(tracked.mark, mark);
            }
            Step::Answer { which } => {
                let alive: Vec<_> = model.alive().cloned().collect();
                if alive.is_empty() {
                    continue;
                }
                let conn = which.get(&alive);
                let tracked = table.track(conn.zone, &conn.reply, None, now);
                prop_assert_eq!(tracked.state, model.track(conn.zone, &conn.reply));
                let (conn_ref, direction) = tracked.conn.unwrap();
                let itself = conn.original == conn.reply;
                prop_assert_eq!(direction == Direction::Reply, !itself);
                prop_assert_eq!(
                    table.translated_tuple(conn_ref, Direction::Reply),
                    Some(conn.original.reverse())
                );
            }
            Step::Error { which, answers } => {
                let alive: Vec<_> = model.alive().cloned().collect();
                if alive.is_empty() {
                    continue;
                }
                let conn = which.get(&alive);
                // About a packet as it looks once translated: an answer, or a question.
                let about = if answers { conn.original } else { conn.reply }.reverse();
                let tracked = table.track_related(conn.zone, &about, now);
                let goes_back = !answers && conn.original != conn.reply;
                let state = TRK | REL | if goes_back { RPL } else { 0 };
                prop_assert_eq!(tracked.state, state);
            }
            Step::Commit {
                zone,
                tuple,
                nat,
                mark,
                force,
            } => {
                let request = Commit {
                    zone,
                    tuple,
                    nat,
                    tcp: None,
                    mark: (mark, 0xff),
                    label: (0, 0),
                    force,
                };
                let result = table.commit(&request, now);
                if let Some((conn, direction)) = model.find(zone, &tuple) {
                    if !force || direction == Direction::Original {
                        prop_assert!(result.is_ok());
                        conn.mark = (conn.mark & !0xff) | (mark & 0xff);
                        continue;
                    }
                    let turned = conn.original;
                    model
                        .conns
                        .retain(|conn| conn.zone != zone || conn.original != turned);
                }
                let question = tuple.proto == UDP || tuple.dst_port == ECHO;
                if !question {
                    prop_assert_eq!(result, Err(CtError::Invalid));
                    continue;
                }
                if let Err(error) = model.make_room(zone, tuple.src) {
                    prop_assert_eq!(result, Err(error));
                    continue;
                }
                match result {
                    Ok(conn) => {
                        let chosen = table.translated_tuple(conn, Direction::Original).unwrap();
                        allowed(&model, zone, &tuple, &nat, &chosen)?;
                        model.conns.push(ModelConn {
                            zone,
                            original: tuple,
                            reply: chosen.reverse(),
                            answered: false,
                            last_packet: model.now,
                            mark: mark & 0xff,
                        });
                    }
                    Err(error) => {
                        prop_assert_eq!(error, CtError::NatExhausted);
                        exhausted(&model, zone, &tuple, &nat)?;
                    }
                }
            }
            Step::Limit { zone, limit } => {
                table.set_zone_limit(zone, limit);
                match limit {
                    Some(limit) => model.limits.insert(zone, limit),
                    None => model.limits.remove(&zone),
                };
                prop_assert_eq!(table.zone_limit(zone).limit, limit);
            }
            Step::Wait { seconds } => model.now += seconds,
            Step::Sweep => {
                // A quarter of a second of slack is allowed; whole seconds are not near it.
                table.expire(now, CAPACITY);
                let now = model.now;
                model.conns.retain(|conn| conn.alive(now));
                prop_assert_eq!(table.len() as usize, model.conns.len());
                let half = model.conns.iter().filter(|conn| !conn.answered).count();
                prop_assert_eq!(table.half_open() as usize, half);
                for zone in 1..3 {
                    let count = model.conns.iter().filter(|conn| conn.zone == zone).count();
                    prop_assert_eq!(table.zone_limit(zone).count as usize, count);
                }
                prop_assert_eq!(table.totals().evicted, model.evicted);
            }
            Step::Flush { zone } => {
                table.flush(&Filter {
                    zone: Some(zone),
                    ..Filter::default()
                });
                model.conns.retain(|conn| conn.zone != zone);
            }
        }
        let now = model.now * SECOND;
        let mut shown: Vec<String> = table
            .iter(now)
            .map(|c| {
                format!(
                    "{} {:?} {:?} {} {}",
                    c.zone, c.original, c.reply, c.established, c.mark
                )
            })
            .collect();
        let mut expected: Vec<String> = model
            .alive()
            .map(|c| {
                format!(
                    "{} {:?} {:?} {} {}",
                    c.zone, c.original, c.reply, c.answered, c.mark
                )
            })
            .collect();
        shown.sort();
        expected.sort();
        prop_assert_eq!(shown, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_table_does_what_a_plain_list_does(steps in prop::collection::vec(steps(), 1..60)) {
        run(steps)?;
    }
}
