//! Packets in, packets out: tables, header changes, ports, groups, meters, the controller.

mod common;

use common::*;
use net::parse::Malformed;
use net::{GroupId, MeterId, PortNo, TableId};
use openflow::model::{GroupType, PORT_NO_FWD, PORT_NO_RECV};
use openflow::{Action, Field, Instructions, SubField};
use worker::{Counter, DropReason, Reply};

#[test]
fn a_packet_goes_where_the_flow_says_and_is_counted_there() {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, in_port(1), vec![output(2)]);
    let frame = udp(1, 2, (1000, 2000), b"hello");
    for _ in 0..3 {
        rig.send(1, &frame);
    }
    assert_eq!(rig.out(2), vec![frame.clone(); 3]);
    let bytes = 3 * frame.len() as u64;
    assert_eq!(rig.rule_counts(0, 1), (3, bytes));
    assert_eq!(rig.count(Counter::CacheMisses), 1);
    assert_eq!(rig.count(Counter::CacheHits), 2);
    assert_eq!(rig.count(Counter::TxPackets), 3);
}

#[test]
fn a_packet_that_no_flow_takes_is_a_table_miss_and_one_without_output_a_drop_by_rule() {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, in_port(1), vec![]);
    rig.send(1, &udp(1, 2, (1, 2), b""));
    rig.send(2, &udp(2, 1, (2, 1), b""));
    assert_eq!(rig.dropped(DropReason::Rule), 1);
    assert_eq!(rig.dropped(DropReason::TableMiss), 1);
    assert!(rig.all_out().is_empty());
}

#[test]
fn the_packet_after_a_change_sees_the_change() {
    let mut rig = Rig::new(3);
    rig.flow(0, 1, any(), vec![output(2)]);
    let frame = udp(1, 2, (1000, 2000), b"x");
    rig.send(1, &frame);
    rig.send(1, &frame);
    assert_eq!(rig.out(2).len(), 2);
    rig.flow(0, 2, in_port(1), vec![output(3)]);
    rig.send(1, &frame);
    assert_eq!((rig.out(2).len(), rig.out(3).len()), (0, 1));
    rig.delete(0, 2, in_port(1));
    rig.send(1, &frame);
    assert_eq!((rig.out(2).len(), rig.out(3).len()), (1, 0));
    // A change in a table that the flow does not visit leaves its program alone.
    rig.send(1, &frame);
    let stale = rig.count(Counter::CacheStale);
    rig.flow(9, 1, any(), vec![output(3)]);
    rig.send(1, &frame);
    assert_eq!(rig.count(Counter::CacheStale), stale);
    assert_eq!(rig.rule_counts(0, 1).0, 5);
}

#[test]
fn a_port_whose_packets_are_all_treated_alike_stops_being_so_with_the_next_rule() {
    let mut rig = Rig::new(4);
    rig.flow(0, 1, in_port(1), vec![output(2), output(3)]);
    let frames = [
        udp(1, 2, (1, 10), b"x"),
        udp(2, 1, (3, 4), b"y"),
        vec![7; 14],
    ];
    for frame in &frames {
        rig.send(1, frame);
    }
    assert_eq!((rig.out(2), rig.out(3)), (frames.to_vec(), frames.to_vec()));
    assert_eq!(
        rig.count(Counter::CacheHits),
        2,
        "flows nobody has seen before"
    );
    rig.send(1, &[7; 13]);
    assert_eq!(rig.dropped(DropReason::Malformed), 1);
    let one_host = any().with(Field::EthDst, net::MacAddr(mac(1)).to_u64());
    rig.flow(0, 2, one_host, vec![output(4)]);
    for frame in &frames {
        rig.send(1, frame);
    }
    assert_eq!(
        (rig.out(2).len(), rig.out(3).len(), rig.out(4).len()),
        (2, 2, 1)
    );
    assert_eq!(rig.rule_counts(0, 1).0, 5);
    let pipeline = rig.tables.published().load();
    let stats = pipeline.table_stats(TableId(0)).unwrap();
    assert_eq!((stats.lookups(), stats.matched()), (6, 6));
}

#[test]
fn programs_that_change_in_the_middle_of_a_burst_are_not_mistaken_for_one_another() {
    let mut rig = Rig::new(4);
    let to = |port: u16| {
        any()
            .with(Field::EthType, 0x0800u16)
            .with(Field::IpProto, 17u8)
            .with(Field::UdpDst, port)
    };
    let (x, y) = (udp(1, 2, (1, 10), b"x"), udp(1, 2, (1, 20), b"y"));
    rig.flow(0, 1, to(10), vec![output(2)]);
    rig.send(1, &x);
    rig.send(1, &x);
    assert_eq!(rig.out(2).len(), 2);
    rig.flow(0, 1, to(10), vec![output(3)]);
    rig.flow(0, 1, to(20), vec![output(4)]);
    // The first walks, and its old program goes; the second's new one takes that place.
    rig.send_burst(1, &[x.clone(), y.clone(), x.clone(), y.clone()]);
    assert!(rig.out(2).is_empty());
    assert_eq!(rig.out(3), [x.clone(), x]);
    assert_eq!(rig.out(4), [y.clone(), y]);
}

#[test]
fn a_barrier_answers_when_the_worker_has_taken_over_what_was_published() {
    let mut rig = Rig::new(3);
    rig.flow(0, 1, any(), vec![output(2)]);
    rig.send(1, &udp(1, 2, (1, 2), b""));
    rig.flow(0, 2, any(), vec![output(3)]);
    let (reply, answer) = Reply::channel();
    rig.workers.barrier(reply);
    assert!(answer.try_recv().is_err(), "no worker has looked yet");
    rig.poll();
    answer.try_recv().unwrap();
    rig.send(1, &udp(1, 2, (1, 2), b""));
    assert_eq!((rig.out(2).len(), rig.out(3).len()), (1, 1));
}

#[test]
fn routing_counts_the_time_to_live_down_and_rewrites_addresses_with_right_checksums() {
    let mut rig = Rig::new(2);
    let route = vec![
        Action::DecNwTtl,
        set(Field::EthSrc, 0x0200_0000_00aa_u64),
        set(Field::EthDst, 0x0200_0000_00bb_u64),
        output(2),
    ];
    rig.flow(0, 1, in_port(1), route);
    // The second packet runs the cached program although its time to live differs.
    for (ttl, hits) in [(64, 0), (9, 1), (2, 2)] {
        rig.send(1, &udp_ttl(1, 2, (1, 2), ttl, b"data"));
        let out = rig.only(2);
        check_sums(&out);
        let mut expected = udp_ttl(1, 2, (1, 2), ttl - 1, b"data");
        expected[..6].copy_from_slice(&mac(0xbb));
        expected[6..12].copy_from_slice(&mac(0xaa));
        assert_eq!(out, expected);
        assert_eq!(rig.count(Counter::CacheHits), hits);
    }
}

#[test]
fn a_time_to_live_that_runs_out_is_a_drop_even_when_the_flow_is_cached() {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, in_port(1), vec![Action::DecNwTtl, output(2)]);
    for ttl in [64, 1, 0, 5] {
        rig.send(1, &udp_ttl(1, 2, (1, 2), ttl, b""));
    }
    assert_eq!(rig.out(2).len(), 2);
    assert_eq!(rig.dropped(DropReason::TtlExpired), 2);
}

#[test]
fn a_match_on_a_field_outside_the_key_is_never_answered_from_the_cache() {
    let mut rig = Rig::new(3);
    let ip = any().with(Field::EthType, 0x0800_u16);
    rig.flow(0, 2, ip.with(Field::IpTtl, 9u8), vec![output(3)]);
    rig.flow(0, 1, any(), vec![output(2)]);
    for ttl in [64, 9, 64, 9] {
        rig.send(1, &udp_ttl(1, 2, (1, 2), ttl, b""));
    }
    assert_eq!((rig.out(2).len(), rig.out(3).len()), (2, 2));
    assert_eq!(rig.count(Counter::CacheHits), 0);
    assert!(rig.count(Counter::CacheBypass) >= 4);
}

#[test]
fn tags_are_pushed_changed_and_popped_one_over_another() {
    let mut rig = Rig::new(3);
    let push = vec![
        Action::PushVlan { tpid: 0x8100 },
        set(Field::VlanVid, 0x1064_u16),
        output(2),
        Action::PushVlan { tpid: 0x88a8 },
        set(Field::VlanVid, 0x1065_u16),
        set(Field::VlanPcp, 5u8),
        output(3),
    ];
    rig.flow(0, 1, in_port(1), push);
    let pop = vec![Action::PopVlan, output(3), Action::PopVlan, output(1)];
    rig.flow(0, 1, in_port(2), pop);
    let frame = udp(1, 2, (1, 2), b"payload");
    for _ in 0..2 {
        rig.send(1, &frame);
        let tagged = rig.only(2);
        assert_eq!(tagged[12..16], [0x81, 0, 0, 100]);
        assert_eq!(tagged[16..], frame[12..]);
        let double = rig.only(3);
        assert_eq!(double[12..20], [0x88, 0xa8, 0xa0, 101, 0x81, 0, 0, 100]);
        assert_eq!(double[20..], frame[12..]);
        rig.send(2, &double);
        assert_eq!(rig.only(3), tagged);
        assert_eq!(rig.only(1), frame);
    }
    assert_eq!(rig.count(Counter::CacheHits), 2);
}

#[test]
fn what_a_clone_changes_is_undone_after_it() {
    let mut rig = Rig::new(3);
    let clone = Action::Clone(vec![
        set(Field::Ipv4Dst, 0x0a00_0009_u32),
        Action::DecNwTtl,
        Action::PushVlan { tpid: 0x8100 },
        output(2),
    ]);
    rig.flow(0, 1, in_port(1), vec![clone, output(3)]);
    let frame = udp(1, 2, (1, 2), b"payload");
    for _ in 0..2 {
        rig.send(1, &frame);
        let changed = rig.only(2);
        assert_eq!(changed[12..14], [0x81, 0]);
        assert_eq!(changed[34..38], [10, 0, 0, 9]);
        assert_eq!(changed[26], 63);
        check_sums(&changed);
        assert_eq!(rig.only(3), frame);
    }
    assert_eq!(rig.count(Counter::CacheHits), 1);
}

#[test]
fn every_header_field_can_be_written() {
    let mut rig = Rig::new(2);
    let writes = vec![
        set(Field::Ipv4Src, 0x0a00_0063_u32),
        set(Field::Ipv4Dst, 0x0a00_0064_u32),
        set(Field::IpDscp, 46u8),
        set(Field::IpEcn, 1u8),
        set(Field::IpTtl, 7u8),
        set(Field::UdpSrc, 555u16),
        set(Field::UdpDst, 666u16),
        output(2),
    ];
    rig.flow(0, 1, in_port(1), writes);
    rig.send(1, &udp(1, 2, (1, 2), b"payload"));
    let out = rig.only(2);
    check_sums(&out);
    let mut expected = udp_ttl(0x63, 0x64, (555, 666), 7, b"payload");
    expected[..12].copy_from_slice(&udp(1, 2, (1, 2), b"")[..12]);
    expected[15] = 46 << 2 | 1;
    assert_eq!(out[15], expected[15]);
    assert_eq!(out[26..], expected[26..]);
}

#[test]
fn registers_carry_values_from_table_to_table() {
    let mut rig = Rig::new(3);
    let low = SubField::range(Field::Reg3, 0, 15);
    let first = vec![
        Action::Move {
            src: SubField::whole(Field::UdpDst),
            dst: low,
        },
        Action::Load {
            dst: SubField::range(Field::Reg3, 16, 31),
            value: 3,
        },
    ];
    let goto = Instructions::apply(first).goto(TableId(5));
    rig.rule(0, 1, any(), goto);
    let wanted = any().with(Field::Reg3, 0x0003_0050_u32);
    let out = Action::OutputReg {
        src: SubField::range(Field::Reg3, 16, 31),
        max_len: 0,
    };
    rig.flow(5, 1, wanted, vec![out]);
    rig.flow(5, 0, any(), vec![output(2)]);
    rig.send(1, &udp(1, 2, (9, 80), b""));
    rig.send(1, &udp(1, 2, (9, 81), b""));
    assert_eq!((rig.out(2).len(), rig.out(3).len()), (1, 1));
}

#[test]
fn the_action_set_runs_at_the_end_in_its_own_order() {
    let mut rig = Rig::new(3);
    // The output was written first, and the tag is pushed before it all the same.
    let mut first = Instructions::default().goto(TableId(1));
    first.write = Some(vec![output(3), Action::PushVlan { tpid: 0x8100 }]);
    rig.rule(0, 1, any(), first);
    let mut second = Instructions::apply(vec![output(1)]);
    second.write = Some(vec![output(2), set(Field::VlanVid, 0x1007_u16)]);
    rig.rule(1, 1, any(), second);
    let frame = udp(1, 2, (1, 2), b"");
    rig.send(3, &frame);
    assert_eq!(rig.only(1), frame, "apply_actions see the untagged packet");
    assert_eq!(
        rig.only(2)[12..16],
        [0x81, 0, 0, 7],
        "the later output replaced the first"
    );
    assert!(rig.out(3).is_empty());
    // clear_actions forgets it.
    let clear = Instructions {
        clear: true,
        ..Instructions::default()
    };
    rig.rule(1, 2, any(), clear);
    rig.send(3, &frame);
    assert!(rig.all_out().is_empty());
    assert_eq!(rig.dropped(DropReason::Rule), 1);
}

#[test]
fn resubmit_comes_back_and_endless_resubmits_end_as_too_deep() {
    let mut rig = Rig::new(3);
    let resubmit = |table| Action::Resubmit {
        port: None,
        table: Some(TableId(table)),
        ct: false,
    };
    rig.flow(0, 1, in_port(1), vec![resubmit(1), output(3)]);
    rig.flow(1, 1, any(), vec![output(2)]);
    rig.flow(0, 1, in_port(2), vec![resubmit(0)]);
    rig.send(1, &udp(1, 2, (1, 2), b""));
    assert_eq!((rig.out(2).len(), rig.out(3).len()), (1, 1));
    rig.send(2, &udp(1, 2, (1, 2), b""));
    assert_eq!(rig.dropped(DropReason::TooDeep), 1);
    assert!(rig.all_out().is_empty());
}

#[test]
fn flooding_reaches_every_port_but_the_one_it_came_from() {
    let mut rig = Rig::new(4);
    rig.flow(0, 1, any(), vec![output(PortNo::FLOOD.0)]);
    let frame = udp(1, 0xff, (1, 2), b"to all");
    for _ in 0..2 {
        rig.send(2, &frame);
        let ports: Vec<u32> = rig.all_out().iter().map(|(port, _)| *port).collect();
        assert_eq!(ports, [1, 3, 4]);
    }
    // A new port takes part at once.
    rig.port(5, Default::default());
    rig.send(2, &frame);
    assert_eq!(rig.all_out().len(), 4);
}

#[test]
fn back_to_the_port_it_came_from_only_by_name() {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, in_port(1), vec![output(1)]);
    rig.flow(
        0,
        1,
        in_port(2),
        vec![output(PortNo::IN_PORT.0), output(77)],
    );
    rig.send(1, &udp(1, 2, (1, 2), b""));
    rig.send(2, &udp(1, 2, (1, 2), b""));
    assert_eq!((rig.out(1).len(), rig.out(2).len()), (0, 1));
    assert_eq!(rig.dropped(DropReason::SamePort), 1);
    assert_eq!(rig.dropped(DropReason::NoPort), 1);
}

#[test]
fn a_closed_port_neither_takes_nor_gives_until_it_is_opened() {
    let mut rig = Rig::new(2);
    let closed = PORT_NO_RECV | PORT_NO_FWD;
    rig.flow(0, 1, in_port(1), vec![output(2)]);
    rig.flow(0, 1, in_port(2), vec![output(1)]);
    let set = |rig: &mut Rig, config| {
        let update = |port: &mut worker::PortEntry| port.config = config;
        assert!(rig.workers.update_port(PortNo(2), update).unwrap());
    };
    let both = |rig: &mut Rig| {
        rig.send(1, &udp(1, 2, (1, 2), b""));
        rig.send(2, &udp(2, 1, (2, 1), b""));
        (rig.out(1).len(), rig.out(2).len())
    };
    assert_eq!(both(&mut rig), (1, 1));
    set(&mut rig, closed);
    assert_eq!(both(&mut rig), (0, 0));
    assert_eq!(rig.dropped(DropReason::PortNoFwd), 1);
    assert_eq!(rig.dropped(DropReason::PortNoRecv), 1);
    set(&mut rig, 0);
    assert_eq!(both(&mut rig), (1, 1));
}

#[test]
fn a_deleted_port_gives_its_device_back_and_takes_no_packets() {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, in_port(1), vec![output(2)]);
    rig.send(1, &udp(1, 2, (1, 2), b""));
    let (reply, answer) = Reply::channel();
    rig.workers.delete_port(PortNo(2), reply).unwrap();
    rig.send(1, &udp(1, 2, (1, 2), b""));
    let device = answer.try_recv().unwrap().unwrap();
    assert_eq!(device.0.control().name(), "p2");
    assert_eq!(rig.out(2).len(), 1);
    assert_eq!(rig.dropped(DropReason::NoPort), 1);
}

#[test]
fn an_all_group_gives_every_bucket_its_own_copy() {
    let mut rig = Rig::new(4);
    let buckets = vec![
        (0, vec![output(2), set(Field::UdpDst, 7u16)]),
        (0, vec![output(3)]),
    ];
    rig.group(1, GroupType::All, buckets);
    rig.flow(0, 1, in_port(1), vec![Action::Group(GroupId(1)), output(4)]);
    let frame = udp(1, 2, (1, 2), b"abc");
    for _ in 0..2 {
        rig.send(1, &frame);
        let changed = rig.only(2);
        check_sums(&changed);
        assert_eq!(changed[36..38], [0, 7]);
        assert_eq!(rig.only(3), frame);
        assert_eq!(rig.only(4), frame);
    }
    rig.settle();
    let pipeline = rig.tables.published().load();
    let group = pipeline.group(GroupId(1)).unwrap();
    assert_eq!(group.stats.counters().packets, 2);
    assert_eq!(group.buckets[1].stats.counters().packets, 2);
}

#[test]
fn a_select_group_spreads_flows_by_weight_and_keeps_each_on_its_bucket() {
    let mut rig = Rig::new(4);
    let to = |port| vec![output(port)];
    rig.group(
        1,
        GroupType::Select,
        vec![(1, to(2)), (1, to(3)), (2, to(4))],
    );
    rig.flow(0, 1, in_port(1), vec![Action::Group(GroupId(1))]);
    let flows = 4000u16;
    for source in 0..flows {
        rig.send(1, &udp(1, 2, (source, 80), b""));
    }
    let share = [2, 3, 4].map(|port| rig.out(port).len() as f64 / f64::from(flows));
    for (share, expected) in share.iter().zip([0.25, 0.25, 0.5]) {
        assert!((share - expected).abs() < 0.03, "{share} for {expected}");
    }
    // Another node with the same group chooses alike.
    let mut other = Rig::with(4, Default::default());
    other.group(
        1,
        GroupType::Select,
        vec![(1, to(2)), (1, to(3)), (2, to(4))],
    );
    other.flow(0, 1, in_port(1), vec![Action::Group(GroupId(1))]);
    for source in 0..100 {
        let frame = udp(1, 2, (source, 80), b"");
        rig.send(1, &frame);
        other.send(1, &frame);
        assert_eq!(rig.all_out(), other.all_out());
    }
}

#[test]
fn a_group_that_is_missing_or_empty_has_its_own_reason() {
    let mut rig = Rig::new(2);
    rig.group(1, GroupType::Select, vec![]);
    rig.flow(0, 1, in_port(1), vec![Action::Group(GroupId(1))]);
    rig.send(1, &udp(1, 2, (1, 2), b""));
    assert_eq!(rig.dropped(DropReason::NoBucket), 1);
}

#[test]
fn a_meter_holds_its_rate_and_counts_what_it_drops() {
    let mut rig = Rig::new(2);
    rig.meter(1, 1000, 10); // 1 Mbit/s, 10 kbit at once
    let mut metered = Instructions::apply(vec![output(2)]);
    metered.meter = Some(MeterId(1));
    rig.rule(0, 1, in_port(1), metered);
    let frame = udp(1, 2, (1, 2), &[0; 958]); // 1000 bytes
    for _ in 0..1000 {
        rig.advance(4 * MILLISECOND); // 2 Mbit/s for 4 s
        rig.send(1, &frame);
    }
    let passed = rig.out(2).len();
    assert!((498..=505).contains(&passed), "{passed} of 1000");
    assert_eq!(rig.dropped(DropReason::Meter), 1000 - passed as u64);
    assert_eq!(rig.rule_counts(0, 1).0, 1000);
}

#[test]
fn a_meter_in_a_bucket_drops_that_copy_only() {
    let mut rig = Rig::new(3);
    rig.meter(1, 1, 1);
    let limited = vec![
        set(Field::UdpDst, 9u16),
        Action::Meter(MeterId(1)),
        output(2),
    ];
    rig.flow(0, 1, in_port(1), vec![Action::Clone(limited), output(3)]);
    let frame = udp(1, 2, (1, 2), &[0; 500]);
    for _ in 0..4 {
        rig.send(1, &frame);
    }
    assert_eq!(rig.out(2).len(), 1);
    assert_eq!(
        rig.out(3),
        vec![frame; 4],
        "unchanged, whatever the meter said"
    );
    assert_eq!(rig.dropped(DropReason::Meter), 3);
}

#[test]
fn the_controller_gets_the_packet_as_it_is_then_with_what_the_walk_knew() {
    let mut rig = Rig::new(2);
    let to_controller = Action::Output {
        port: PortNo::CONTROLLER,
        max_len: 40,
    };
    let actions = vec![
        set(Field::Reg1, 0x55u32),
        set(Field::UdpDst, 99u16),
        to_controller.clone(),
        output(2),
    ];
    rig.rule(0, 7, in_port(1), Instructions::apply(actions));
    rig.flow(0, 0, any(), vec![to_controller]);
    let frame = udp(1, 2, (1, 2), &[1; 100]);
    rig.send(1, &frame);
    let packet_in = rig.packet_in().unwrap();
    assert_eq!(packet_in.total_len, frame.len());
    assert_eq!(packet_in.data, rig.only(2)[..40]);
    assert_eq!((packet_in.reason, packet_in.table), (1, TableId(0)));
    assert_eq!(packet_in.in_port(), PortNo(1));
    assert_eq!(packet_in.key.regs[1].get(), 0x55);
    rig.send(2, &frame);
    assert_eq!(
        rig.packet_in().unwrap().reason,
        0,
        "from the table-miss flow"
    );
}

#[test]
fn a_flood_of_packet_ins_is_cut_and_counted_and_leaves_room_for_other_ports() {
    let config = worker::Config {
        packet_in_queue: 20,
        ..Default::default()
    };
    let mut rig = Rig::with(2, config);
    rig.flow(0, 1, any(), vec![output(PortNo::CONTROLLER.0)]);
    for port in 0..25 {
        rig.send(1, &udp(1, 2, (port, 2), b""));
    }
    assert_eq!(rig.count(Counter::PacketIns), 10);
    assert_eq!(rig.dropped(DropReason::PacketInFull), 15);
    rig.send(2, &udp(1, 2, (1, 2), b""));
    assert_eq!(rig.count(Counter::PacketIns), 11);
    assert_eq!(rig.dropped(DropReason::PacketInFull), 15);
}

#[test]
fn a_packet_out_goes_to_its_ports_or_through_the_tables() {
    let mut rig = Rig::new(3);
    rig.flow(0, 1, in_port(1), vec![output(3)]);
    let frame = udp(1, 2, (1, 2), b"out");
    rig.packet_out(PortNo::CONTROLLER, vec![output(2)], &frame);
    assert_eq!(rig.only(2), frame);
    let through = vec![output(PortNo::TABLE.0)];
    rig.packet_out(PortNo(1), through.clone(), &frame);
    assert_eq!(rig.only(3), frame);
    rig.packet_out(PortNo::CONTROLLER, through, &frame);
    assert_eq!(rig.dropped(DropReason::TableMiss), 1);
    assert_eq!(rig.count(Counter::PacketOuts), 3);
}

#[test]
fn a_packet_out_begins_with_the_fields_it_brings() {
    let mut rig = Rig::new(3);
    rig.flow(0, 1, any().with(Field::Metadata, 7u64), vec![output(3)]);
    let frame = udp(1, 2, (1, 2), b"out");
    let fields = any().with(Field::Metadata, 7u64).with(Field::Reg3, 2u32);
    let through = vec![output(PortNo::TABLE.0)];
    rig.packet_out_with(PortNo(1), fields.clone(), through, &frame);
    assert_eq!(rig.only(3), frame);
    let by_register = vec![Action::OutputReg {
        src: openflow::SubField::whole(Field::Reg3),
        max_len: 0,
    }];
    rig.packet_out_with(PortNo(1), fields, by_register, &frame);
    assert_eq!(rig.only(2), frame);
}

#[test]
fn fragments_are_dropped_from_the_moment_that_this_is_asked_for() {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, in_port(1), vec![output(2)]);
    let whole = udp(1, 2, (1, 2), b"whole");
    let mut first = whole.clone();
    first[20] = 0x20;
    let sum = {
        first[24..26].copy_from_slice(&[0, 0]);
        net::csum::ipv4_header(&first[14..34])
    };
    first[24..26].copy_from_slice(&sum.to_be_bytes());
    let sends = |rig: &mut Rig| {
        rig.send(1, &first);
        rig.send(1, &whole);
        rig.out(2)
    };
    // All packets of the port are alike, so that no header is read at all.
    assert_eq!(sends(&mut rig), [first.clone(), whole.clone()]);
    rig.workers.drop_fragments(true);
    assert_eq!(sends(&mut rig), std::slice::from_ref(&whole));
    assert_eq!(sends(&mut rig), std::slice::from_ref(&whole));
    assert_eq!(rig.dropped(DropReason::Fragment), 2);
    rig.workers.drop_fragments(false);
    assert_eq!(sends(&mut rig), [first.clone(), whole.clone()]);
}

#[test]
fn a_frame_without_ethernet_header_is_malformed_and_a_broken_ip_header_forwards_by_layer_2() {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, any(), vec![output(2)]);
    rig.send(1, &[1, 2, 3]);
    assert_eq!(rig.dropped(DropReason::Malformed), 1);
    let mut broken = udp(1, 2, (1, 2), b"");
    broken[14] = 0x41;
    rig.send(1, &broken);
    assert_eq!(rig.only(2), broken);
    let counters = rig.workers.shared().counters(0).snapshot();
    assert_eq!(counters.malformed(Malformed::Ethernet), 1);
    assert_eq!(counters.malformed(Malformed::Ipv4Header), 1);
    assert_eq!(counters.get(Counter::ParseErrors), 2);
}

#[test]
fn a_frame_longer_than_the_port_takes_is_too_big() {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, any(), vec![output(2)]);
    rig.send(1, &udp(1, 2, (1, 2), &[0; 1472]));
    assert_eq!(rig.out(2).len(), 1);
    rig.send(1, &udp(1, 2, (1, 2), &[0; 1473]));
    assert_eq!(rig.dropped(DropReason::TooBig), 1);
}

#[test]
fn an_arp_responder_made_of_flows_answers() {
    let mut rig = Rig::new(1);
    let move_field = |src, dst| Action::Move {
        src: SubField::whole(src),
        dst: SubField::whole(dst),
    };
    let (ours, us) = (net::MacAddr([2, 0, 0, 0, 0, 0xaa]), [10, 0, 0, 1]);
    let answer = vec![
        move_field(Field::EthSrc, Field::EthDst),
        set(Field::EthSrc, ours.to_u64()),
        set(Field::ArpOp, 2u8),
        move_field(Field::ArpSha, Field::ArpTha),
        set(Field::ArpSha, ours.to_u64()),
        move_field(Field::ArpSpa, Field::ArpTpa),
        set(Field::ArpSpa, u32::from_be_bytes(us)),
        output(PortNo::IN_PORT.0),
    ];
    let request = any()
        .with(Field::EthType, 0x0806u16)
        .with(Field::ArpOp, 1u8)
        .with(Field::ArpTpa, u32::from_be_bytes(us));
    rig.flow(0, 1, request, answer);
    for host in 7..9 {
        let (asker, them) = (net::MacAddr(mac(host)), [10, 0, 0, host]);
        rig.send(1, &net::arp::request(asker, them, us));
        assert_eq!(rig.only(1), net::arp::reply(ours, us, asker, them));
    }
}

#[test]
fn ipv6_is_routed_and_rewritten_with_right_checksums() {
    let mut rig = Rig::new(2);
    let actions = vec![
        Action::DecNwTtl,
        set(Field::Ipv6Dst, 0xfd00_u128 << 112 | 9),
        set(Field::Ipv6Label, 0x12345u32),
        set(Field::TcpDst, 8080u16),
        output(2),
    ];
    let v6 = any().with(Field::EthType, 0x86ddu16);
    rig.flow(0, 1, v6, actions);
    for _ in 0..2 {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2(mac(1), mac(2))
            .ipv6([0xfd; 16], [0xfe; 16], 64)
            .tcp(1, 2, 3, 4)
            .write(&mut frame, b"data")
            .unwrap();
        rig.send(1, &frame);
        let out = rig.only(2);
        check_sums(&out);
        assert_eq!((out[21], out[53]), (63, 9));
        assert_eq!(out[14..18], [0x60, 1, 0x23, 0x45]);
        assert_eq!(out[56..58], 8080u16.to_be_bytes());
    }
    assert_eq!(rig.count(Counter::CacheHits), 1);
}
