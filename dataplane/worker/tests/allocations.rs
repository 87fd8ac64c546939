//! Packets of known flows cost no allocation.

mod common;

use common::*;
use net::{MacAddr, MeterId, TableId};
use openflow::action::{Ct, CtZone};
use openflow::{Action, Field, Instructions};
use ports::{Shaping, TunnelKind};
use worker::Counter;

/// Allocations while `rounds` packets are handled whose programs are known.
fn allocations(rig: &mut Rig, frame: &[u8], rounds: u64) -> u64 {
    for _ in 0..3 {
        rig.send(1, frame);
        rig.all_out();
    }
    let packets: Vec<_> = (0..rounds)
        .map(|_| packet::Packet::from_slice(&rig.pool, frame).unwrap())
        .collect();
    for packet in packets {
        rig.wire(1).inject(packet).unwrap();
    }
    let hits = rig.count(Counter::CacheHits);
    let (worker, now) = (&mut rig.worker, rig.now);
    let counted = allocation_counter::measure(|| while worker.poll(now) > 0 {});
    assert_eq!(rig.count(Counter::CacheHits) - hits, rounds);
    assert!(!rig.all_out().is_empty());
    counted.count_total
}

#[test]
fn the_measure_sees_an_allocation() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1u8; 100])));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn forwarding_rewriting_and_metering_allocate_nothing() {
    let mut rig = Rig::new(2);
    rig.meter(1, 1_000_000, 1_000_000);
    let mut does = Instructions::apply(vec![
        Action::DecNwTtl,
        set(Field::EthDst, 0x0200_0000_0009_u64),
        Action::PushVlan { tpid: 0x8100 },
        output(2),
    ]);
    does.meter = Some(MeterId(1));
    rig.rule(0, 1, in_port(1), does);
    let frame = udp(1, 2, (1, 2), b"data");
    assert_eq!(allocations(&mut rig, &frame, 100), 0);
}

/// Copies are left out: those of a test's pool are allocations.
#[test]
fn bridges_queues_and_groups_that_watch_allocate_nothing() {
    let mut rig = Rig::new(2);
    let shaping = Shaping::counting(&[0, 1]);
    rig.port_with(
        3,
        &worker::PortOptions {
            shaping,
            ..worker::PortOptions::default()
        },
    );
    let bridge = vec![Action::SetQueue(1), output(net::PortNo::NORMAL.0)];
    rig.flow(0, 1, any(), bridge);
    rig.send(3, &udp(2, 1, (1, 2), b"here"));
    let frame = udp(1, 2, (1, 2), b"data");
    assert_eq!(allocations(&mut rig, &frame, 100), 0);
    let buckets = vec![watching(Some(2), 0, vec![output(2)])];
    rig.group_of(1, openflow::model::GroupType::FastFailover, buckets);
    rig.flow(0, 9, any(), vec![Action::Group(net::GroupId(1))]);
    assert_eq!(allocations(&mut rig, &frame, 100), 0);
}

#[test]
fn established_connections_allocate_nothing() {
    let mut rig = Rig::new(2);
    let ct = |commit| {
        Action::Ct(Ct {
            commit,
            zone: CtZone::Number(3),
            table: (!commit).then_some(TableId(1)),
            ..Ct::default()
        })
    };
    rig.flow(0, 1, any(), vec![ct(false)]);
    rig.flow(1, 1, any(), vec![ct(true), output(2)]);
    let frame = udp(1, 2, (1, 2), b"data");
    assert_eq!(allocations(&mut rig, &frame, 100), 0);
}

#[test]
fn tunnels_allocate_nothing() {
    let mut rig = Rig::new(2);
    rig.tunnel(9, TunnelKind::Geneve);
    let vtep = "172.30.0.1/24,port=p2".parse().unwrap();
    rig.workers.set_vteps(vec![vtep]);
    let peer = "172.30.0.2".parse().unwrap();
    rig.workers.set_neighbor(peer, MacAddr([2; 6]));
    let actions = vec![set(Field::TunDst, 0xac1e_0002_u32), output(9)];
    rig.flow(0, 1, in_port(1), actions);
    let frame = udp(1, 2, (1, 2), b"data");
    assert_eq!(allocations(&mut rig, &frame, 100), 0);
}

#[test]
fn labels_and_i_tags_allocate_nothing() {
    let mut rig = Rig::new(2);
    rig.add(
        "ip,actions=dec_ttl,push_mpls:0x8847,set_field:77->mpls_label,encap(mpls),\
         encap(ethernet),set_mpls_ttl(9),output:2",
    );
    let pbb = Action::PushPbb { ethertype: 0x88e7 };
    let frame = udp(1, 2, (1, 2), b"data");
    assert_eq!(allocations(&mut rig, &frame, 100), 0);
    rig.flow(0, u16::MAX, any(), vec![pbb, output(2)]);
    assert_eq!(allocations(&mut rig, &frame, 100), 0);
}

#[test]
fn packets_that_teach_what_is_known_allocate_nothing() {
    let mut rig = Rig::new(2);
    rig.add(
        "tcp,actions=learn(table=1,hard_timeout=10,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],\
         output:NXM_OF_IN_PORT[]),fin_timeout(idle_timeout=5),\
         check_pkt_larger(1000)->NXM_NX_REG0[0],output:2",
    );
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(1), mac(2))
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, b"data")
        .unwrap();
    rig.send(1, &frame);
    rig.answer_requests();
    assert_eq!(rig.flows(1).len(), 1);
    assert_eq!(allocations(&mut rig, &frame, 100), 0);
    // Nor when they find that their flow is due to be refreshed.
    rig.advance(SECOND);
    assert_eq!(allocations(&mut rig, &frame, 100), 0);
    let rule = rig.tables.flows(&Default::default()).remove(1);
    assert_eq!(rule.began(), rig.now);
}
