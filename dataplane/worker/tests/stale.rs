//! Programs of the cache outlive changes of their tables that have nothing to do with them, and no
//! others.

mod common;

use common::{Rig, output, set, udp};
use net::TableId;
use openflow::{Field, Instructions, Match};
use worker::Counter;

fn to(host: u32) -> Match {
    Match::any()
        .with(Field::EthType, 0x0800u16)
        .with(Field::Ipv4Dst, 0x0a00_0000 + host)
}

/// How often the cache had to walk again while packets of host 2 came after each change.
fn stale_after(rig: &mut Rig, changes: u32, mut change: impl FnMut(&mut Rig, u32)) -> u64 {
    rig.send(1, &udp(1, 2, (7, 7), b"first"));
    rig.out(2);
    let before = rig.count(Counter::CacheStale) + rig.count(Counter::CacheMisses);
    for n in 0..changes {
        change(rig, n);
        rig.send(1, &udp(1, 2, (7, 7), b"again"));
        rig.only(2);
    }
    rig.count(Counter::CacheStale) + rig.count(Counter::CacheMisses) - before
}

#[test]
fn flows_to_others_come_and_go_beside_a_cached_one() {
    let mut rig = Rig::new(2);
    rig.flow(0, 5, to(2), vec![output(2)]);
    let stale = stale_after(&mut rig, 500, |rig, n| {
        rig.flow(0, 5, to(100 + n), vec![output(2)]);
        if n > 10 {
            rig.delete(0, 5, to(90 + n));
        }
    });
    assert_eq!(stale, 0);
}

#[test]
fn a_burst_of_more_changes_than_are_remembered_costs_one_walk() {
    let mut rig = Rig::new(2);
    rig.flow(0, 5, to(2), vec![output(2)]);
    let stale = stale_after(&mut rig, 3, |rig, n| {
        for host in 0..2_000 {
            rig.flow(0, 5, to(100 + n * 2_000 + host), vec![output(2)]);
        }
    });
    assert_eq!(stale, 3);
}

#[test]
fn registers_set_on_the_way_tell_changes_apart() {
    let mut rig = Rig::new(2);
    let next = |reg: u32| Instructions {
        goto_table: Some(TableId(1)),
        ..Instructions::apply(vec![set(Field::Reg1, reg)])
    };
    rig.rule(0, 5, to(2), next(7));
    let with = |reg: u32| Match::any().with(Field::Reg1, reg);
    rig.flow(1, 5, with(7), vec![output(2)]);
    let elsewhere = stale_after(&mut rig, 100, |rig, n| {
        rig.flow(1, 9, with(8 + n), vec![]);
    });
    assert_eq!(elsewhere, 0);
    let here = stale_after(&mut rig, 1, |rig, _| {
        rig.flow(1, 9, with(7), vec![output(2)]);
    });
    assert_eq!(here, 1);
}

#[test]
fn flows_that_share_a_program_are_told_of_changes_to_any_of_them() {
    let mut rig = Rig::new(3);
    let network = Match::any().with(Field::EthType, 0x0800u16).with_masked(
        Field::Ipv4Dst,
        0x0a00_0000u32,
        0xffff_ff00u32,
    );
    rig.flow(0, 5, network, vec![output(2)]);
    for host in 2..10 {
        rig.send(1, &udp(1, host, (7, 7), b"first"));
    }
    assert_eq!(rig.out(2).len(), 8);
    assert_eq!(rig.count(Counter::CachePrograms).max(1), 1);
    // Host 5's packets have a flow of their own from now on; the others' program is theirs still.
    rig.flow(0, 9, to(5), vec![output(3)]);
    for host in 2..10 {
        rig.send(1, &udp(1, host, (7, 7), b"again"));
    }
    assert_eq!((rig.out(2).len(), rig.out(3).len()), (7, 1));
}
