//! The cache changes nothing: whatever the tables, a worker with a cache and one without give the
//! same packets, on the same ports, in the same order, and count the same. So do several workers with
//! caches, between which ports move.

mod common;
#[path = "fast_is_slow/plain.rs"]
mod plain;

use common::{Rig, SECOND, mac, output, set, watching};
use net::tunnel::{Encapsulation, Outer, Template};
use net::{GroupId, TableId};
use openflow::action::{Conjunction, Ct, CtZone, Nat, NatKind};
use openflow::encap::{Encap, packet_type};
use openflow::links::{Bundle, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm};
use openflow::model::GroupType;
use openflow::text::{self, Names};
use openflow::{Action, Field, Instructions, Match, SubField};
use plain::plain_rule;
use ports::mem::MemPort;
use ports::{Caps, Mark, OuterSpec, Port, Shaping};
use proptest::prelude::*;
use worker::{Config, DropReason, PortOptions, Reply};

const PORTS: u32 = 4;
/// The underlay, and the tunnel over it.
const UPLINK: u32 = 5;
const TUNNEL: u32 = 6;
const GROUPS: u32 = 5;
const MOST_WORKERS: usize = 3;

/// One event of a run.
#[derive(Clone, Debug)]
enum Event {
    /// Packets that arrive together.
    Packets(u32, Vec<Vec<u8>>),
    Rule(u8, u16, Match, Instructions),
    Remove(u8, u16, Match),
    Later(u64),
    DropFragments(bool),
    Link(u32, bool),
    /// Another worker polls a port, if there are several.
    Move(u32, usize),
    /// Packets in a tunnel whose outer headers have this TOS.
    Wrapped(u8, Vec<Vec<u8>>),
    /// All caches are emptied.
    Forget,
    /// The connections of a zone end.
    EndConnections(u16),
}

fn small<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    proptest::sample::select(values.to_vec())
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let hosts = || small(&[1u8, 2, 3]);
    let ports = (0..3u16, 0..3u16).prop_map(|(src, dst)| (1000 + src, 80 + dst));
    let ttl = small(&[1u8, 2, 64]);
    let plain = (hosts(), hosts(), ports, ttl, 0..6u8, 0..4u8)
        .prop_map(|(src, dst, ports, ttl, kind, extra)| frame(src, dst, ports, ttl, kind, extra));
    let plain =
        (plain, small(&[0u8, 0, 0, 2, 3, 0xb9])).prop_map(|(frame, tos)| marked(frame, tos));
    (plain, 0..8u8, small(&[1u8, 2, 64])).prop_map(|(frame, shim, ttl)| shimmed(frame, shim, ttl))
}

/// With this TOS if it is untagged IPv4.
fn marked(mut frame: Vec<u8>, tos: u8) -> Vec<u8> {
    if frame[12..14] == [8, 0] {
        frame[15] = tos;
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = net::csum::ipv4_header(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// In Geneve, for the rig's endpoint.
fn wrapped(inner: &[u8], tos: u8) -> Vec<u8> {
    let (port, _) = MemPort::new(&format!("p{UPLINK}"), Caps::default());
    let template = Template::new(&Outer {
        encapsulation: Encapsulation::Geneve,
        eth_dst: port.control().mac(),
        eth_src: net::MacAddr(mac(9)),
        vlan: None,
        src: [172, 30, 0, 2].into(),
        dst: [172, 30, 0, 1].into(),
        tos,
        ttl: 64,
        dont_fragment: true,
        vni: net::Vni::new(7).unwrap(),
        options: &[],
    });
    let template = template.unwrap();
    let mut frame = vec![0; template.len()];
    template.write(&mut frame, inner.len(), 50_000, 0);
    frame.extend_from_slice(inner);
    frame
}

/// Most frames as they are; some with a label, two labels or an I-TAG in front of the rest.
fn shimmed(frame: Vec<u8>, shim: u8, ttl: u8) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let label = |number: u8, bottom: u8| [0, number, bottom, ttl];
    match shim {
        5 => [addresses, &[0x88, 0x47], &label(1, 1), &rest[2..]].concat(),
        6 => [
            addresses,
            &[0x88, 0x47],
            &label(2, 0),
            &label(1, 1),
            &rest[2..],
        ]
        .concat(),
        7 => [addresses, &[0x88, 0xe7, 0, 0, 0, ttl], addresses, rest].concat(),
        _ => frame,
    }
}

fn frame(src: u8, dst: u8, ports: (u16, u16), ttl: u8, kind: u8, extra: u8) -> Vec<u8> {
    let start = etherparse::PacketBuilder::ethernet2(mac(src), mac(dst));
    let (ip_src, ip_dst) = ([10, 0, 0, src], [10, 0, 0, dst]);
    let mut frame = Vec::new();
    let payload = &[extra; 60][..if extra == 2 { 60 } else { 8 }];
    match kind {
        0 => start
            .ipv4(ip_src, ip_dst, ttl)
            .udp(ports.0, ports.1)
            .write(&mut frame, payload),
        1 => start
            .single_vlan((10 + u16::from(extra)).try_into().unwrap())
            .ipv4(ip_src, ip_dst, ttl)
            .udp(ports.0, ports.1)
            .write(&mut frame, payload),
        2 => {
            let builder = start
                .ipv4(ip_src, ip_dst, ttl)
                .tcp(ports.0, ports.1, 100, 1000);
            let builder = match extra {
                0 => builder.syn(),
                1 => builder.syn().ack(101),
                2 => builder.ack(101),
                _ => builder.rst(),
            };
            builder.write(&mut frame, &[])
        }
        3 => start
            .ipv4(ip_src, ip_dst, ttl)
            .icmpv4_echo_request(ports.0, ports.1)
            .write(&mut frame, payload),
        4 => start
            .ipv6([src; 16], [dst; 16], ttl)
            .udp(ports.0, ports.1)
            .write(&mut frame, payload),
        _ => {
            let request = net::arp::request(net::MacAddr(mac(src)), ip_src, ip_dst);
            frame.extend_from_slice(&request);
            Ok(())
        }
    }
    .unwrap();
    if extra >= 3 && kind == 0 {
        match extra {
            3 => frame[20] = 0x20, // a first fragment
            _ => frame[21] = 2,    // the last one, behind it
        }
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = net::csum::ipv4_header(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

fn matching() -> impl Strategy<Value = Match> {
    let v4 = || Match::any().with(Field::EthType, 0x0800u16);
    prop_oneof![
        Just(Match::any()),
        (1..=TUNNEL).prop_map(|port| Match::any().with(Field::InPort, port)),
        Just(Match::any().with(Field::TunId, 7u64)),
        small(&[
            (Field::MplsBos, 0u8),
            (Field::MplsBos, 1),
            (Field::MplsLabel, 0),
            (Field::MplsLabel, 16),
            (Field::MplsTtl, 64)
        ])
        .prop_map(|(field, value)| {
            Match::any()
                .with(Field::EthType, 0x8847u16)
                .with(field, value)
        }),
        small(&[0u8, 64]).prop_map(|isid| {
            Match::any()
                .with(Field::EthType, 0x88e7u16)
                .with(Field::PbbIsid, isid)
        }),
        (1..=3u8)
            .prop_map(|host| Match::any().with(Field::EthDst, net::MacAddr(mac(host)).to_u64())),
        (1..=3u32).prop_map(move |host| v4().with(Field::Ipv4Dst, 0x0a00_0000 + host)),
        Just(v4().with_masked(Field::Ipv4Src, 0x0a00_0002u32, 0xffff_fffeu32)),
        (80..83u16).prop_map(move |port| v4().with(Field::IpProto, 17u8).with(Field::UdpDst, port)),
        small(&[1u8, 64]).prop_map(move |ttl| v4().with(Field::IpTtl, ttl)),
        Just(
            v4().with(Field::IpProto, 6u8)
                .with_masked(Field::TcpFlags, 2u16, 2u16)
        ),
        (10..14u16).prop_map(|vid| Match::any().with(Field::VlanVid, 0x1000 | vid)),
        (0..3u32).prop_map(|reg| Match::any().with(Field::Reg0, reg)),
        (1..3u32).prop_map(|id| Match::any().with(Field::ConjId, id)),
        small(&[
            (33u128, 33u128),
            (34, 34),
            (32, 32),
            (40, 40),
            (48, 48),
            (96, 96)
        ])
        .prop_map(move |(value, mask)| v4().with_masked(Field::CtState, value, mask)),
        (0..2u32).prop_map(move |mark| v4().with(Field::CtMark, mark)),
        Just(
            Match::any()
                .with(Field::EthType, 0x0806u16)
                .with(Field::ArpOp, 1u8)
        ),
    ]
}

fn simple_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1..=PORTS).prop_map(output),
        1 => Just(output(TUNNEL)),
        1 => Just(output(net::PortNo::FLOOD.0)),
        1 => Just(output(net::PortNo::IN_PORT.0)),
        1 => (0..3u32).prop_map(|reg| set(Field::Reg0, reg)),
        1 => (1..=3u8).prop_map(|host| set(Field::EthDst, net::MacAddr(mac(host)).to_u64())),
        1 => (1..=3u32).prop_map(|host| set(Field::Ipv4Dst, 0x0a00_0000 + host)),
        1 => (80..83u16).prop_map(|port| set(Field::UdpDst, port)),
        1 => (0..3u8).prop_map(|dscp| set(Field::IpDscp, dscp)),
        1 => Just(Action::DecNwTtl),
        1 => small(&[5u8, 64]).prop_map(Action::SetNwTtl),
        1 => Just(Action::PushVlan { tpid: 0x8100 }),
        1 => Just(Action::PopVlan),
        1 => (10..14u16).prop_map(|vid| set(Field::VlanVid, 0x1000 | vid)),
        1 => Just(Action::Move {
            src: SubField::range(Field::Ipv4Src, 0, 1),
            dst: SubField::range(Field::Reg0, 0, 1),
        }),
        2 => (1..=GROUPS).prop_map(|group| Action::Group(GroupId(group))),
        3 => Just(output(net::PortNo::NORMAL.0)),
        2 => link(),
        1 => (1..=2u8).prop_map(|table| Action::Resubmit {
            port: None,
            table: Some(TableId(table)),
            ct: false,
        }),
        3 => shim(),
        3 => stateful(),
        1 => Just(Action::Exit),
        1 => Just(Action::Reject),
        3 => ct(),
    ]
}

/// Actions that keep state, look at more than the exact key, or change tables.
fn stateful() -> impl Strategy<Value = Action> {
    let reg = SubField::range(Field::Reg0, 0, 1);
    let host = SubField::range(Field::Ipv4Src, 0, 1);
    let resubmit = |port: Option<u32>, ct| {
        let port = port.map(net::PortNo);
        move |table| Action::Resubmit {
            port,
            table: Some(TableId(table)),
            ct,
        }
    };
    prop_oneof![
        2 => small(&[reg, host]).prop_map(Action::StackPush),
        2 => small(&[reg, host]).prop_map(Action::StackPop),
        2 => small(&[60u16, 90]).prop_map(move |len| Action::CheckPktLarger {
            len,
            dst: SubField::range(Field::Reg0, 0, 0),
        }),
        1 => (1..4u16).prop_map(|idle| Action::FinTimeout { idle, hard: 0 }),
        1 => (1..=2u8).prop_map(resubmit(None, true)),
        1 => (1..=2u8).prop_map(resubmit(Some(2), false)),
        1 => Just(Action::CtClear),
        1 => small(&[reg, host]).prop_map(|src| Action::OutputReg { src, max_len: 0 }),
        2 => small(LEARN).prop_map(|action| {
            let actions = text::parse_actions(action, &Match::any(), Names::NONE);
            actions.unwrap().remove(0)
        }),
    ]
}

const LEARN: &[&str] = &[
    "learn(table=2,priority=3,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
    "learn(table=1,priority=2,NXM_NX_REG0[0..1],load:NXM_OF_ETH_SRC[0..1]->NXM_NX_REG0[0..1],\
     output:NXM_OF_IN_PORT[])",
];

/// Actions that put headers on and take them off, or change what follows them.
fn shim() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::PushMpls { ethertype: 0x8847 }),
        2 => small(&[0x0800u16, 0x86dd, 0x8847]).prop_map(|ethertype| Action::PopMpls { ethertype }),
        1 => Just(Action::DecMplsTtl),
        1 => small(&[1u8, 64]).prop_map(Action::SetMplsTtl),
        1 => small(&[packet_type::MPLS, packet_type::ETHERNET]).prop_map(|packet_type| {
            Action::Encap(Box::new(Encap { packet_type, hdr_size: 0, properties: vec![] }))
        }),
        1 => small(&[None, Some(packet_type::ETHERNET)])
            .prop_map(|packet_type| Action::Decap { packet_type }),
        1 => Just(Action::CopyTtlOut),
        1 => Just(Action::CopyTtlIn),
        2 => Just(Action::PushPbb { ethertype: 0x88e7 }),
        2 => Just(Action::PopPbb),
        1 => small(&[0u8, 16]).prop_map(|label| set(Field::MplsLabel, label)),
        1 => (0..2u8).prop_map(|bottom| set(Field::MplsBos, bottom)),
        1 => small(&[0u8, 64]).prop_map(|isid| set(Field::PbbIsid, isid)),
        1 => small(&[0x0800u16, 0x8847, 0x88b5]).prop_map(|kind| set(Field::EthType, kind)),
        1 => small(&[6u8, 17, 132]).prop_map(|proto| set(Field::IpProto, proto)),
    ]
}

/// Choices among links, cut outputs, queues.
fn link() -> impl Strategy<Value = Action> {
    let fields = || small(&HashFields::ALL.map(|(fields, _)| fields));
    prop_oneof![
        (1..=PORTS, 14..80u32).prop_map(|(port, max_len)| Action::OutputTrunc {
            port: net::PortNo(port),
            max_len,
        }),
        (0..3u32).prop_map(Action::SetQueue),
        Just(Action::PopQueue),
        fields().prop_map(|fields| Action::Multipath(Multipath {
            fields,
            basis: 1,
            algorithm: MultipathAlgorithm::Hrw,
            max_link: 2,
            arg: 0,
            dst: SubField::range(Field::Reg0, 0, 1),
        })),
        (fields(), small(&BundleAlgorithm::ALL.map(|(a, _)| a))).prop_map(|(fields, algorithm)| {
            Action::Bundle(Box::new(Bundle {
                fields,
                basis: 1,
                algorithm,
                dst: None,
                members: vec![net::PortNo(2), net::PortNo(3)],
            }))
        }),
    ]
}

fn ct() -> impl Strategy<Value = Action> {
    let actions = prop_oneof![
        2 => Just(vec![]),
        1 => (0..2u32).prop_map(|mark| vec![set(Field::CtMark, mark)]),
        1 => Just(vec![nat(NatKind::Existing, None)]),
        1 => (1..=3u8).prop_map(|host| vec![nat(NatKind::Dst, Some(host))]),
        1 => (1..=3u8).prop_map(|host| vec![nat(NatKind::Src, Some(host))]),
    ];
    let table = proptest::option::of((1..=2u8).prop_map(TableId));
    (proptest::bool::ANY, 0..2u16, table, actions).prop_map(|(commit, zone, table, actions)| {
        Action::Ct(Ct {
            commit,
            zone: CtZone::Number(zone),
            table,
            actions,
            ..Ct::default()
        })
    })
}

fn nat(kind: NatKind, host: Option<u8>) -> Action {
    let address = host.map(|host| std::net::IpAddr::from([10, 0, 0, host]));
    Action::Nat(Nat {
        kind,
        addresses: address.map(|a| (a, a)),
        ports: None,
        persistent: false,
        hash: false,
        random: false,
    })
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let one = prop_oneof![
        8 => simple_action(),
        1 => proptest::collection::vec(simple_action(), 1..4).prop_map(Action::Clone),
    ];
    proptest::collection::vec(one, 0..5)
}

/// Clauses of conjunctive matches.
fn clauses() -> impl Strategy<Value = Instructions> {
    let clause = (1..3u32, 0..2u8).prop_map(|(id, clause)| {
        Action::Conjunction(Conjunction {
            id,
            clause,
            n_clauses: 2,
        })
    });
    proptest::collection::vec(clause, 1..3).prop_map(Instructions::apply)
}

fn rule() -> impl Strategy<Value = (u8, u16, Match, Instructions)> {
    prop_oneof![
        4 => whole_rule(),
        1 => (0..3u8, 0..4u16, matching(), clauses()),
    ]
}

fn whole_rule() -> impl Strategy<Value = (u8, u16, Match, Instructions)> {
    let table = 0..3u8;
    let next = proptest::option::of(1..3u8);
    let write = proptest::option::of(proptest::collection::vec(simple_action(), 1..3));
    (table, 0..4u16, matching(), actions(), next, write).prop_map(
        |(table, priority, matching, actions, next, write)| {
            let mut instructions = Instructions::apply(actions);
            instructions.write = write;
            // Tables go forward only (OpenFlow 1.3.5, 5.1).
            instructions.goto_table = next.filter(|next| *next > table).map(TableId);
            (table, priority, matching, instructions)
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (1..=PORTS, proptest::collection::vec(packet(), 1..8)).prop_map(|(port, frames)| Event::Packets(port, frames)),
        2 => (small(&[0u8, 0, 1, 2, 3, 0xbb]), proptest::collection::vec(packet(), 1..8))
            .prop_map(|(tos, frames)| Event::Wrapped(tos, frames)),
        1 => rule().prop_map(|(t, p, m, i)| Event::Rule(t, p, m, i)),
        1 => (0..3u8, 0..4u16, matching()).prop_map(|(t, p, m)| Event::Remove(t, p, m)),
        1 => small(&[1u64, 31, 200]).prop_map(Event::Later),
        1 => proptest::bool::ANY.prop_map(Event::DropFragments),
        1 => (2..=PORTS, proptest::bool::ANY).prop_map(|(port, up)| Event::Link(port, up)),
        1 => (1..=UPLINK, 0..MOST_WORKERS).prop_map(|(port, to)| Event::Move(port, to)),
    ]
}

/// What the tables hold besides rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Around {
    Groups,
    /// No groups: one that selects looks at nearly everything.
    Nothing,
}

fn rig(
    workers: usize,
    cache_entries: usize,
    around: Around,
    rules: &[(u8, u16, Match, Instructions)],
) -> Rig {
    let config = Config {
        cpus: (0..workers).collect(),
        cache_entries,
        // Learnt addresses are to be found old in the same round.
        fdb_seed: Some([3, 4]),
        ..Config::default()
    };
    let mut rig = Rig::with(PORTS - 2, config);
    let shaping = Shaping::counting(&[0, 2]);
    rig.port_with(
        3,
        &PortOptions {
            shaping,
            ..PortOptions::default()
        },
    );
    let vlan = net::VlanId::new(10).ok();
    let shaping = Shaping::default();
    rig.port_with(
        4,
        &PortOptions {
            vlan,
            shaping,
            ..PortOptions::default()
        },
    );
    rig.port(UPLINK, Caps::default());
    let outer = OuterSpec {
        tos: Mark::Inherit,
        ttl: Mark::Inherit,
        ..OuterSpec::default()
    };
    let peer = [172, 30, 0, 2].into();
    rig.tunnel_to(TUNNEL, peer, outer);
    let vtep = format!("172.30.0.1/24,port=p{UPLINK}");
    rig.workers.set_vteps(vec![vtep.parse().unwrap()]);
    rig.poll();
    assert!(rig.workers.set_neighbor(peer, net::MacAddr(mac(9))));
    if around == Around::Groups {
        add_groups(&mut rig);
    }
    for (table, priority, matching, instructions) in rules {
        rig.rule(*table, *priority, matching.clone(), instructions.clone());
    }
    rig
}

fn add_groups(rig: &mut Rig) {
    let bucket = |port| (1, vec![set(Field::UdpDst, 82u16), output(port)]);
    rig.group(1, GroupType::All, vec![bucket(2), bucket(3)]);
    rig.group(2, GroupType::Select, vec![bucket(1), bucket(2), bucket(4)]);
    let out = |port| vec![output(port)];
    let failover = vec![watching(Some(2), 0, out(2)), watching(Some(3), 0, out(3))];
    rig.group_of(3, GroupType::FastFailover, failover);
    let chained = vec![set(Field::IpDscp, 1u8), Action::Group(GroupId(3))];
    rig.group(4, GroupType::Indirect, vec![(0, chained)]);
    let shares = vec![
        watching(Some(2), 3, out(2)),
        watching(None, 0, out(1)),
        watching(Some(4), 1, vec![Action::SetQueue(2), output(3)]),
    ];
    rig.group_of(GROUPS, GroupType::Select, shares);
}

fn play(rig: &mut Rig, event: &Event) -> Vec<(u32, Vec<u8>)> {
    match event {
        Event::Packets(port, frames) => rig.send_burst(*port, frames),
        Event::Rule(table, priority, matching, instructions) => {
            rig.rule(*table, *priority, matching.clone(), instructions.clone());
        }
        Event::Remove(table, priority, matching) => {
            rig.delete(*table, *priority, matching.clone());
        }
        Event::Later(seconds) => rig.advance(seconds * SECOND),
        Event::Link(port, up) => rig.link(*port, *up),
        Event::Move(port, to) => {
            if *to <= rig.others.len() {
                let (reply, moved) = Reply::channel();
                rig.workers
                    .move_port(net::PortNo(*port), 0, *to, reply)
                    .unwrap();
                // Every worker has its word, one after the other.
                assert!((0..4).any(|_| {
                    rig.poll();
                    moved.try_recv().is_ok()
                }));
            }
        }
        Event::DropFragments(drop) => rig.workers.drop_fragments(*drop),
        Event::Wrapped(tos, frames) => {
            let frames: Vec<_> = frames.iter().map(|frame| wrapped(frame, *tos)).collect();
            rig.send_burst(UPLINK, &frames);
        }
        Event::Forget => {
            let (reply, answer) = worker::Reply::channel();
            rig.workers.flush_caches(reply);
            rig.poll();
            answer.try_recv().unwrap();
        }
        Event::EndConnections(zone) => {
            let of_zone = conntrack::Filter {
                zone: Some(*zone),
                ..Default::default()
            };
            rig.workers.shared().conns.flush(&of_zone);
        }
    }
    rig.answer_requests();
    rig.all_out()
}

/// Counters of every rule.
fn counts(rig: &mut Rig) -> Vec<String> {
    rig.settle();
    let pipeline = rig.tables.published().load();
    let mut counts: Vec<String> = pipeline
        .tables()
        .flat_map(|(_, table)| table.rules())
        .map(|rule| {
            let stats = rule.stats.counters();
            format!(
                "{} {} {:?} {} {} {:?} {}",
                rule.table,
                rule.priority,
                rule.matching(),
                stats.packets,
                stats.bytes,
                rule.timeouts(),
                rule.began(),
            )
        })
        .collect();
    counts.sort();
    for port in rig.workers.shared().ports().iter() {
        let queues = port.queues.iter();
        counts.extend(queues.map(|q| format!("{} queue {} {:?}", port.name, q.spec.id, q.sent())));
    }
    let groups = pipeline.groups();
    let mut groups: Vec<String> = groups
        .map(|group| {
            let buckets = group.buckets.iter().map(|b| b.stats.counters());
            let buckets: Vec<_> = buckets.collect();
            format!("{} {:?} {buckets:?}", group.id, group.stats.counters())
        })
        .collect();
    groups.sort();
    counts.extend(groups);
    counts
}

/// A pipeline that tracks everything and treats each state in its own way.
fn tracked(nat_to: Option<u8>) -> Vec<(u8, u16, Match, Instructions)> {
    let v4 = Match::any().with(Field::EthType, 0x0800u16);
    let ct = |commit, actions| {
        Action::Ct(Ct {
            commit,
            zone: CtZone::Number(1),
            table: Some(TableId(1 + u8::from(commit))),
            actions,
            ..Ct::default()
        })
    };
    let state = |bits: u128| v4.clone().with_masked(Field::CtState, bits, bits);
    let apply = Instructions::apply;
    let reg = |value: u32| set(Field::Reg0, value);
    let out = |port| vec![reg(1), output(port)];
    let translate = nat_to.map_or(vec![], |host| vec![nat(NatKind::Dst, Some(host))]);
    let existing = vec![nat(NatKind::Existing, None)];
    vec![
        (0, 9, v4.clone(), apply(vec![ct(false, existing)])),
        (1, 9, state(1 | 32), apply(vec![ct(true, translate)])),
        (1, 8, state(2 | 8 | 32), apply(out(2))),
        (1, 7, state(2 | 32), apply(out(3))),
        (1, 6, state(16 | 32), apply(out(4))),
        (2, 9, state(32), apply(out(1))),
    ]
}

/// Packets of two hosts with few ports, so that many belong to one connection.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let kind = small(&[0u8, 0, 2, 2, 2, 3]);
    (proptest::bool::ANY, kind, 0..2u16, 0..5u8).prop_map(|(back, kind, port, extra)| {
        let (src, dst) = if back { (2, 1) } else { (1, 2) };
        let ports = if back {
            (80, 1000 + port)
        } else {
            (1000 + port, 80)
        };
        frame(src, dst, ports, 64, kind, extra)
    })
}

fn same(
    workers: usize,
    around: Around,
    rules: &[(u8, u16, Match, Instructions)],
    events: &[Event],
) -> Result<(), TestCaseError> {
    let mut fast = rig(workers, 1 << 10, around, rules);
    let mut slow = rig(1, 0, around, rules);
    for event in events {
        let (a, b) = (play(&mut fast, event), play(&mut slow, event));
        prop_assert_eq!(a, b, "after {:?}", event);
        for reason in DropReason::ALL {
            prop_assert_eq!(fast.dropped(*reason), slow.dropped(*reason), "{}", reason);
        }
    }
    prop_assert_eq!(counts(&mut fast), counts(&mut slow));
    Ok(())
}

/// Flows come and go much more often than in [`event`], caches are flushed, connections end.
fn churn(
    rules: impl Strategy<Value = (u8, u16, Match, Instructions)> + Clone,
    packets: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (1..=PORTS, proptest::collection::vec(packets, 1..12))
            .prop_map(|(port, frames)| Event::Packets(port, frames)),
        2 => rules.clone().prop_map(|(t, p, m, i)| Event::Rule(t, p, m, i)),
        2 => rules.prop_map(|(t, p, m, _)| Event::Remove(t, p, m)),
        1 => small(&[1u64, 31, 200]).prop_map(Event::Later),
        1 => Just(Event::Forget),
        1 => (0..2u16).prop_map(Event::EndConnections),
        1 => (2..=PORTS, proptest::bool::ANY).prop_map(|(port, up)| Event::Link(port, up)),
    ]
}

/// [`tracked`], where each connection is translated in its own way: one to each of two hosts, others
/// from an address and a range of ports of the switch's own.
fn translated() -> Vec<(u8, u16, Match, Instructions)> {
    let mut rules = tracked(None);
    let v4 = Match::any().with(Field::EthType, 0x0800u16);
    let new = v4.with_masked(Field::CtState, 33u128, 33u128);
    let udp_from = |port: u16| {
        let udp = new.clone().with(Field::IpProto, 17u8);
        udp.with(Field::UdpSrc, port)
    };
    let commit = |actions| {
        let commit = Action::Ct(Ct {
            commit: true,
            zone: CtZone::Number(1),
            table: Some(TableId(2)),
            actions,
            ..Ct::default()
        });
        Instructions::apply(vec![commit])
    };
    let masquerade = Action::Nat(Nat {
        kind: NatKind::Src,
        addresses: Some(([10, 0, 0, 3].into(), [10, 0, 0, 3].into())),
        ports: Some((1000, 1003)),
        persistent: false,
        hash: false,
        random: false,
    });
    let tcp = new.clone().with(Field::IpProto, 6u8);
    rules.extend([
        (
            1,
            20,
            udp_from(1000),
            commit(vec![nat(NatKind::Dst, Some(2))]),
        ),
        (
            1,
            20,
            udp_from(1001),
            commit(vec![nat(NatKind::Dst, Some(3))]),
        ),
        (1, 20, tcp, commit(vec![masquerade])),
    ]);
    rules
}

/// Packets of three hosts, to and from the ports of [`conversation`].
fn crowd() -> impl Strategy<Value = Vec<u8>> {
    let kind = small(&[0u8, 0, 0, 2, 2, 3, 4]);
    let hosts = (1..=3u8, 1..=3u8);
    let ports = (1000..1004u16, proptest::bool::ANY);
    (hosts, kind, ports, 0..4u8).prop_map(|((src, dst), kind, (port, back), extra)| {
        let ports = if back { (80, port) } else { (port, 80) };
        frame(src, dst, ports, 64, kind, extra)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_and_without_a_cache_the_same_comes_out(
        workers in 1..=MOST_WORKERS,
        rules in proptest::collection::vec(rule(), 1..12),
        events in proptest::collection::vec(event(), 1..60),
    ) {
        same(workers, Around::Groups, &rules, &events)?;
    }

    #[test]
    fn connections_are_followed_alike_with_and_without_a_cache(
        workers in 1..=MOST_WORKERS,
        nat_to in proptest::option::of(2..4u8),
        events in proptest::collection::vec(
            prop_oneof![
                20 => (1..=PORTS, proptest::collection::vec(conversation(), 1..8)).prop_map(|(port, frames)| Event::Packets(port, frames)),
                1 => small(&[1u64, 31, 200]).prop_map(Event::Later),
                1 => (1..=PORTS, 0..MOST_WORKERS).prop_map(|(port, to)| Event::Move(port, to)),
            ],
            1..60,
        ),
    ) {
        same(workers, Around::Groups, &tracked(nat_to), &events)?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_nothing_looks_at_makes_no_difference_while_rules_come_and_go(
        rules in proptest::collection::vec(plain_rule(), 1..6),
        events in proptest::collection::vec(churn(plain_rule().boxed(), packet()), 1..60),
    ) {
        same(2, Around::Nothing, &rules, &events)?;
    }

    #[test]
    fn connections_that_share_a_program_are_translated_each_in_its_own_way(
        events in proptest::collection::vec(churn(plain_rule().boxed(), crowd()), 1..60),
    ) {
        same(2, Around::Nothing, &translated(), &events)?;
    }
}
