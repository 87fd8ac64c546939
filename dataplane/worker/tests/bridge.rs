//! OFPP_NORMAL: a bridge that learns.

mod common;

use common::{Rig, SECOND, any, mac, output, set, udp};
use net::{MacAddr, PortNo, VlanId};
use openflow::{Action, Field};
use ports::Shaping;
use worker::{Config, Counter, DropReason, PortOptions};

fn normal() -> Action {
    output(PortNo::NORMAL.0)
}

/// A bridge of `ports` ports.
fn bridge(ports: u32, config: Config) -> Rig {
    let mut rig = Rig::with(ports, config);
    rig.flow(0, 1, any(), vec![normal()]);
    rig
}

fn bridge_of(ports: u32) -> Rig {
    bridge(ports, Config::default())
}

/// From one address to another, which are numbers.
fn between(src: u64, dst: u64) -> Vec<u8> {
    let mut frame = udp(1, 2, (5, 6), b"bridged");
    frame[..6].copy_from_slice(&MacAddr::from_u64(dst).0);
    frame[6..12].copy_from_slice(&MacAddr::from_u64(src).0);
    frame
}

const BROADCAST: u64 = 0xffff_ffff_ffff;

/// Hosts whose addresses end in this.
fn host(n: u64) -> u64 {
    0x0200_0000_0000 + n
}

fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    tagged.extend([0x81, 0]);
    tagged.extend(tci.to_be_bytes());
    tagged.extend(&frame[12..]);
    tagged
}

/// Runs so long, in small steps, that what is old is found.
fn wait(rig: &mut Rig, seconds: u64) {
    rig.advance(seconds.saturating_sub(2) * SECOND);
    for _ in 0..200 {
        rig.advance(SECOND / 100);
    }
}

#[test]
fn an_unknown_address_goes_everywhere_and_a_learnt_one_to_its_port_alone() {
    let mut rig = bridge_of(4);
    let there = between(host(1), host(2));
    rig.send(1, &there);
    assert_eq!(rig.everywhere(&there), [2, 3, 4]);
    let back = between(host(2), host(1));
    rig.send(2, &back);
    assert_eq!(rig.everywhere(&back), [1]);
    // The program that flooded does not hold any more.
    rig.send(1, &there);
    assert_eq!(rig.everywhere(&there), [2]);
    let learnt: Vec<_> = rig.workers.shared().fdb.list(rig.now);
    let learnt: Vec<_> = learnt
        .iter()
        .map(|e| (e.vlan, e.mac.to_u64(), e.port.0))
        .collect();
    assert_eq!(learnt, [(0, host(1), 1), (0, host(2), 2)]);
}

#[test]
fn cached_packets_of_known_hosts_take_no_walk() {
    let mut rig = bridge_of(3);
    for _ in 0..2 {
        rig.send(1, &between(host(1), host(2)));
        rig.send(2, &between(host(2), host(1)));
    }
    let (misses, stale) = (
        rig.count(Counter::CacheMisses),
        rig.count(Counter::CacheStale),
    );
    for _ in 0..50 {
        rig.send(1, &between(host(1), host(2)));
        rig.send(2, &between(host(2), host(1)));
    }
    assert_eq!(rig.count(Counter::CacheMisses), misses);
    assert_eq!(rig.count(Counter::CacheStale), stale);
}

#[test]
fn groups_and_broadcasts_go_to_all_but_the_port_they_came_from() {
    let mut rig = bridge_of(3);
    for dst in [BROADCAST, 0x0100_5e00_0001, 0x3333_0000_0001] {
        let frame = between(host(1), dst);
        rig.send(2, &frame);
        assert_eq!(rig.everywhere(&frame), [1, 3]);
    }
    // A group address is nobody's source.
    rig.send(3, &between(0x0100_5e00_0009, host(9)));
    assert_eq!(rig.workers.shared().fdb.counts().entries, 1);
}

#[test]
fn the_link_local_groups_of_802_1q_are_not_forwarded() {
    let mut rig = bridge_of(3);
    for last in 0..16 {
        rig.send(1, &between(host(1), 0x0180_c200_0000 + last));
    }
    assert!(rig.all_out().is_empty());
    assert_eq!(rig.dropped(DropReason::ReservedMulticast), 16);
    let next = between(host(1), 0x0180_c200_0010);
    rig.send(1, &next);
    assert_eq!(rig.everywhere(&next), [2, 3]);
}

#[test]
fn a_host_behind_the_port_it_is_sent_from_gets_no_second_copy() {
    let mut rig = bridge_of(3);
    rig.send(1, &between(host(1), BROADCAST));
    rig.all_out();
    rig.send(1, &between(host(5), host(1)));
    assert!(rig.all_out().is_empty());
    assert_eq!(rig.dropped(DropReason::SamePort), 1);
}

#[test]
fn a_host_that_moves_is_found_at_once_by_flows_that_are_cached() {
    let mut rig = bridge_of(4);
    let to_it = between(host(1), host(2));
    rig.send(2, &between(host(2), BROADCAST));
    rig.all_out();
    for _ in 0..3 {
        rig.send(1, &to_it);
        assert_eq!(rig.everywhere(&to_it), [2]);
    }
    // Its gratuitous ARP from another port.
    let mut arp = net::arp::request(MacAddr(mac(2)), [10, 0, 0, 2], [10, 0, 0, 2]).to_vec();
    arp[6..12].copy_from_slice(&MacAddr::from_u64(host(2)).0);
    rig.send(4, &arp);
    rig.all_out();
    rig.send(1, &to_it);
    assert_eq!(rig.everywhere(&to_it), [4]);
    assert_eq!(rig.workers.shared().fdb.counts().moved, 1);
}

#[test]
fn an_address_is_forgotten_after_its_time_unless_packets_come_from_it() {
    let mut rig = bridge_of(3);
    let to_it = between(host(1), host(2));
    rig.send(2, &between(host(2), BROADCAST));
    rig.all_out();
    // Packets to an address do not keep it; packets from it do, also those of cached flows.
    for _ in 0..3 {
        wait(&mut rig, 150);
        rig.send(2, &between(host(2), BROADCAST));
        rig.all_out();
        rig.send(1, &to_it);
        assert_eq!(rig.everywhere(&to_it), [2]);
    }
    for _ in 0..3 {
        wait(&mut rig, 102);
        rig.send(1, &to_it);
    }
    rig.all_out();
    rig.send(1, &to_it);
    assert_eq!(rig.everywhere(&to_it), [2, 3]);
    assert_eq!(rig.workers.shared().fdb.counts().expired, 1);
}

#[test]
fn a_flood_of_addresses_pushes_out_its_own_ports_only() {
    let config = Config {
        fdb_entries: 256,
        ..Config::default()
    };
    let mut rig = bridge(4, config);
    for n in 0..60 {
        rig.send(1, &between(host(n), BROADCAST));
        rig.send(2, &between(host(1000 + n), BROADCAST));
    }
    for n in 0..20_000 {
        rig.send(3, &between(host(100_000 + n), BROADCAST));
    }
    rig.all_out();
    let counts = rig.workers.shared().fdb.counts();
    assert_eq!(counts.entries, 256);
    assert_eq!(counts.evicted, 20_000 + 120 - 256);
    let on = |rig: &Rig, port| {
        let all = rig.workers.shared().fdb.list(rig.now);
        all.iter().filter(|e| e.port.0 == port).count()
    };
    assert_eq!((on(&rig, 1), on(&rig, 2), on(&rig, 3)), (60, 60, 136));
}

#[test]
fn vlans_are_bridges_of_their_own() {
    let mut rig = bridge_of(3);
    rig.send(1, &tagged(&between(host(1), BROADCAST), 10));
    rig.send(2, &tagged(&between(host(1), BROADCAST), 20));
    rig.all_out();
    for (vlan, port) in [(10, 1), (20, 2)] {
        let frame = tagged(&between(host(3), host(1)), vlan);
        rig.send(3, &frame);
        assert_eq!(rig.everywhere(&frame), [port]);
    }
    let frame = tagged(&between(host(3), host(1)), 30);
    rig.send(3, &frame);
    assert_eq!(rig.everywhere(&frame), [1, 2]);
}

#[test]
fn access_ports_are_untagged_members_of_one_vlan() {
    let mut rig = bridge_of(1);
    for (number, vlan) in [(2, 10), (3, 10), (4, 20)] {
        let vlan = VlanId::new(vlan).ok();
        let shaping = Shaping::default();
        rig.port_with(
            number,
            &PortOptions {
                vlan,
                shaping,
                ..PortOptions::default()
            },
        );
    }
    let plain = between(host(1), BROADCAST);
    rig.send(2, &plain);
    let expected = vec![(1, tagged(&plain, 10)), (3, plain.clone())];
    assert_eq!(rig.all_out(), expected);
    // From the trunk, with a priority that is lost with the tag.
    let answer = between(host(7), host(1));
    rig.send(1, &tagged(&answer, 0x600a));
    assert_eq!(rig.all_out(), [(2, answer.clone())]);
    rig.send(1, &tagged(&answer, 20));
    assert_eq!(rig.all_out(), [(4, answer)]);
    // An access port takes no tags.
    rig.send(2, &tagged(&plain, 20));
    assert!(rig.all_out().is_empty());
    assert_eq!(rig.dropped(DropReason::WrongVlan), 1);
}

#[test]
fn addresses_behind_a_port_go_with_it() {
    let mut rig = bridge_of(3);
    rig.send(2, &between(host(2), BROADCAST));
    let to_it = between(host(1), host(2));
    rig.send(1, &to_it);
    rig.all_out();
    rig.delete_port(2);
    rig.send(1, &to_it);
    assert_eq!(rig.everywhere(&to_it), [3]);
    assert_eq!(rig.workers.shared().fdb.counts().entries, 1);
    assert_eq!(rig.workers.shared().fdb.flush(None), 1);
}

#[test]
fn a_packet_out_of_the_controller_is_bridged_and_teaches_nothing() {
    let mut rig = bridge_of(3);
    let frame = between(host(1), host(2));
    rig.packet_out(PortNo::CONTROLLER, vec![normal()], &frame);
    assert_eq!(rig.everywhere(&frame), [1, 2, 3]);
    assert_eq!(rig.workers.shared().fdb.counts().entries, 0);
    // One in a port's name does.
    rig.packet_out(PortNo(2), vec![normal()], &frame);
    assert_eq!(rig.everywhere(&frame), [1, 3]);
    assert_eq!(rig.workers.shared().fdb.counts().entries, 1);
}

#[test]
fn flood_and_all_leave_out_the_port_it_came_from_and_local_takes_part() {
    let mut rig = bridge_of(2);
    let frame = between(host(1), host(2));
    rig.flow(0, 9, common::in_port(1), vec![output(PortNo::LOCAL.0)]);
    rig.send(1, &frame);
    assert!(rig.all_out().is_empty());
    assert_eq!(rig.dropped(DropReason::NoLocalPort), 1);
    rig.port_with(PortNo::LOCAL.0, &PortOptions::default());
    rig.send(1, &frame);
    assert_eq!(rig.everywhere(&frame), [PortNo::LOCAL.0]);
    for everyone in [PortNo::FLOOD, PortNo::ALL] {
        rig.flow(0, 9, common::in_port(1), vec![output(everyone.0)]);
        rig.send(1, &frame);
        assert_eq!(rig.everywhere(&frame), [2, PortNo::LOCAL.0]);
    }
    // And it is a port to match like any other.
    let from_local = any().with(Field::InPort, PortNo::LOCAL.0);
    rig.flow(0, 9, from_local, vec![output(PortNo::IN_PORT.0)]);
    rig.send(PortNo::LOCAL.0, &frame);
    assert_eq!(rig.everywhere(&frame), [PortNo::LOCAL.0]);
}

#[test]
fn what_actions_wrote_before_is_what_is_bridged() {
    let mut rig = bridge_of(3);
    rig.send(3, &between(host(3), BROADCAST));
    rig.all_out();
    let rewrite = set(Field::EthDst, u128::from(host(3)));
    rig.flow(0, 9, common::in_port(1), vec![rewrite, normal()]);
    rig.send(1, &between(host(1), host(2)));
    assert_eq!(rig.all_out(), [(3, between(host(1), host(3)))]);
}
