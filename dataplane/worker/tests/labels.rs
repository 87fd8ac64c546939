//! Packets in, packets out: labels and I-TAGs put on and taken off, and what later tables see then.

mod common;

use common::*;
use net::TableId;
use openflow::encap::{Encap, packet_type};
use openflow::model::GroupType;
use openflow::{Action, Field, Instructions, Match};
use worker::{Counter, DropReason};

const PUSH_MPLS: Action = Action::PushMpls { ethertype: 0x8847 };
const POP_MPLS: Action = Action::PopMpls { ethertype: 0x0800 };
const PUSH_PBB: Action = Action::PushPbb { ethertype: 0x88e7 };

fn mpls() -> Match {
    any().with(Field::EthType, 0x8847u16)
}

fn then(actions: Vec<Action>, table: u8) -> Instructions {
    Instructions::apply(actions).goto(TableId(table))
}

/// The frame with `shim` instead of its ethertype.
fn with_shim(frame: &[u8], shim: &[u8]) -> Vec<u8> {
    [&frame[..12], shim, &frame[14..]].concat()
}

fn itag(frame: &[u8], tag: [u8; 4]) -> Vec<u8> {
    [&frame[..12], &[0x88, 0xe7], &tag, frame].concat()
}

#[test]
fn a_pushed_label_has_the_time_to_live_of_each_packet_and_is_cached() {
    let mut rig = Rig::new(2);
    rig.flow(
        0,
        1,
        in_port(1),
        vec![PUSH_MPLS, set(Field::MplsLabel, 77u8), output(2)],
    );
    for ttl in [64, 9, 1] {
        let frame = udp_ttl(1, 2, (5, 6), ttl, b"label");
        rig.send(1, &frame);
        let label = [0x88, 0x47, 0, 4, 0xd1, ttl];
        assert_eq!(rig.only(2), with_shim(&frame, &label));
    }
    assert_eq!(rig.count(Counter::CacheHits), 2);
}

#[test]
fn a_second_label_copies_the_first_and_is_not_at_the_bottom() {
    let mut rig = Rig::new(2);
    let set_class = set(Field::MplsTc, 5u8);
    let actions = vec![
        PUSH_MPLS,
        Action::SetMplsTtl(33),
        set_class,
        PUSH_MPLS,
        output(2),
    ];
    rig.flow(0, 1, any(), actions);
    let frame = udp(1, 2, (5, 6), b"labels");
    rig.send(1, &frame);
    let labels = [0x88, 0x47, 0, 0, 0x0a, 33, 0, 0, 0x0b, 33];
    assert_eq!(rig.only(2), with_shim(&frame, &labels));
    // Neither IP nor a label: no time to live to copy.
    let arp = net::arp::request(net::MacAddr(mac(1)), [10, 0, 0, 1], [10, 0, 0, 2]);
    rig.flow(
        0,
        2,
        any().with(Field::EthType, 0x0806u16),
        vec![PUSH_MPLS, output(2)],
    );
    rig.send(1, &arp);
    assert_eq!(rig.only(2), with_shim(&arp, &[0x88, 0x47, 0, 0, 1, 0]));
}

#[test]
fn labels_stand_behind_tags() {
    let mut rig = Rig::new(2);
    let tag = Action::PushVlan { tpid: 0x8100 };
    let vid = set(Field::VlanVid, 0x1007u16);
    rig.flow(0, 1, any(), vec![tag, vid, PUSH_MPLS, output(2)]);
    let frame = udp(1, 2, (5, 6), b"behind");
    rig.send(1, &frame);
    let shim = [0x81, 0, 0, 7, 0x88, 0x47, 0, 0, 1, 64];
    let tagged = rig.only(2);
    assert_eq!(tagged, with_shim(&frame, &shim));
    rig.flow(0, 2, mpls(), vec![POP_MPLS, Action::PopVlan, output(2)]);
    rig.send(1, &tagged);
    assert_eq!(rig.only(2), frame);
}

#[test]
fn later_tables_see_what_was_behind_a_label() {
    let mut rig = Rig::new(2);
    rig.rule(0, 1, mpls(), then(vec![POP_MPLS], 1));
    let v4 = any()
        .with(Field::EthType, 0x0800u16)
        .with(Field::Ipv4Dst, 0x0a00_0002u32);
    let port = v4.with(Field::IpProto, 17u8).with(Field::UdpDst, 6u16);
    let actions = vec![Action::DecNwTtl, set(Field::UdpDst, 60u16), output(2)];
    rig.flow(1, 1, port, actions);
    let frame = udp(1, 2, (5, 6), b"what is behind a label");
    for ttl in [2, 3] {
        rig.send(1, &with_shim(&frame, &[0x88, 0x47, 0, 6, 0x41, ttl]));
        assert_eq!(
            rig.only(2),
            udp_ttl(1, 2, (5, 60), 63, b"what is behind a label")
        );
    }
    // With another label below, what is behind both stays hidden.
    rig.send(
        1,
        &with_shim(&frame, &[0x88, 0x47, 0, 6, 0x40, 9, 0, 6, 0x41, 9]),
    );
    assert!(rig.all_out().is_empty());
}

#[test]
fn what_came_from_a_wire_can_go_to_one() {
    let mut rig = Rig::new(2);
    let to_controller = output(net::PortNo::CONTROLLER.0);
    rig.flow(0, 1, mpls(), vec![POP_MPLS, to_controller, output(2)]);
    let frame = udp(1, 2, (5, 6), b"14 more bytes.");
    let padded = [&frame[..], &[0; 4]].concat();
    rig.send(1, &with_shim(&frame, &[0x88, 0x47, 0, 6, 0x41, 9]));
    assert_eq!((frame.len(), rig.only(2)), (56, padded.clone()));
    let seen = rig.packet_in().unwrap();
    assert_eq!((seen.total_len, seen.data), (60, padded));
    // From a port without a shortest frame, short frames go on as they are.
    let short = udp(1, 2, (5, 6), b"");
    rig.send(1, &with_shim(&short, &[0x88, 0x47, 0, 6, 0x41, 9]));
    assert_eq!(rig.only(2), short);
}

#[test]
fn times_to_live_are_copied_between_labels_and_ip() {
    let mut rig = Rig::new(3);
    rig.flow(0, 1, in_port(1), vec![Action::CopyTtlOut, output(3)]);
    rig.flow(0, 1, in_port(2), vec![Action::CopyTtlIn, output(3)]);
    let frame = udp_ttl(1, 2, (5, 6), 32, b"ttl");
    let one = |ttl| [0x88, 0x47, 0, 6, 0x41, ttl];
    rig.send(1, &with_shim(&frame, &one(64)));
    assert_eq!(rig.only(3), with_shim(&frame, &one(32)));
    rig.send(2, &with_shim(&frame, &one(64)));
    let inwards = udp_ttl(1, 2, (5, 6), 64, b"ttl");
    assert_eq!(rig.only(3), with_shim(&inwards, &one(64)));
    let two = |outer, inner| [0x88, 0x47, 0, 6, 0x40, outer, 0, 7, 0x41, inner];
    rig.send(1, &with_shim(&frame, &two(1, 2)));
    assert_eq!(rig.only(3), with_shim(&frame, &two(2, 2)));
    rig.send(2, &with_shim(&frame, &two(1, 2)));
    assert_eq!(rig.only(3), with_shim(&frame, &two(1, 1)));
    // Nothing to copy from or to: the packet stays as it is.
    rig.send(1, &frame);
    assert_eq!(rig.only(3), frame);
}

#[test]
fn a_label_runs_out_of_time_to_live() {
    let mut rig = Rig::new(2);
    rig.flow(0, 1, mpls(), vec![Action::DecMplsTtl, output(2)]);
    let frame = udp(1, 2, (5, 6), b"ttl");
    for (ttl, expected) in [(64u8, Some(63u8)), (2, Some(1)), (1, None), (0, None)] {
        rig.send(1, &with_shim(&frame, &[0x88, 0x47, 0, 6, 0x41, ttl]));
        let left = expected.map(|ttl| with_shim(&frame, &[0x88, 0x47, 0, 6, 0x41, ttl]));
        assert_eq!(rig.out(2), Vec::from_iter(left), "from {ttl}");
    }
    assert_eq!(rig.dropped(DropReason::TtlExpired), 2);
}

#[test]
fn an_i_tag_copies_addresses_and_priority_and_comes_off_again() {
    let mut rig = Rig::new(2);
    let vid = set(Field::VlanVid, 0x1007u16);
    let priority = set(Field::VlanPcp, 5u8);
    let tag = Action::PushVlan { tpid: 0x8100 };
    let isid = set(Field::PbbIsid, 0x0a_0b0cu32);
    rig.flow(
        0,
        1,
        in_port(1),
        vec![tag, vid, priority, PUSH_PBB, isid, output(2)],
    );
    let frame = udp(1, 2, (5, 6), b"the customer of a backbone");
    rig.send(1, &frame);
    let inner = with_shim(&frame, &[0x81, 0, 0xa0, 7, 8, 0]);
    let outer = itag(&inner, [0xa0, 0x0a, 0x0b, 0x0c]);
    assert_eq!(rig.only(2), outer);
    // A tag in front of the I-TAG stays; a second I-TAG has the same service.
    let pbb = any()
        .with(Field::EthType, 0x88e7u16)
        .with(Field::PbbIsid, 0x0a_0b0cu32);
    rig.rule(0, 2, pbb.clone(), then(vec![PUSH_PBB], 1));
    rig.rule(1, 1, pbb, then(vec![Action::PopPbb, Action::PopPbb], 2));
    let tagged = any()
        .with(Field::VlanVid, 0x1007u16)
        .with(Field::VlanPcp, 5u8);
    rig.flow(2, 1, tagged, vec![Action::PopVlan, output(2)]);
    rig.send(1, &outer);
    assert_eq!(rig.only(2), frame);
}

#[test]
fn a_whole_frame_goes_behind_a_label_and_comes_out_again() {
    let mut rig = Rig::new(3);
    let encap = |packet_type| {
        Action::Encap(Box::new(Encap {
            packet_type,
            hdr_size: 0,
            properties: vec![],
        }))
    };
    let decap = |packet_type| Action::Decap { packet_type };
    let far_end = net::MacAddr([2, 9, 9, 9, 9, 9]);
    let label = vec![
        encap(packet_type::MPLS),
        set(Field::MplsLabel, 16u8),
        encap(packet_type::MPLS),
        set(Field::MplsLabel, 17u8),
        encap(packet_type::ETHERNET),
        set(Field::EthDst, far_end.to_u64()),
        output(2),
    ];
    rig.flow(0, 1, in_port(1), label);
    rig.rule(0, 2, in_port(2), then(vec![decap(None), decap(None)], 1));
    let bottom = mpls().with(Field::PacketType, packet_type::MPLS);
    let bottom = bottom.with(Field::MplsLabel, 16u8);
    rig.rule(
        1,
        1,
        bottom,
        then(vec![decap(Some(packet_type::ETHERNET))], 2),
    );
    let inner = any().with(Field::EthType, 0x0800u16);
    let inner = inner.with(Field::Ipv4Dst, 0x0a00_0002u32);
    rig.flow(2, 1, inner, vec![output(3)]);
    for ttl in [64, 7] {
        let frame = udp_ttl(1, 2, (5, 6), ttl, b"a frame in a pseudo-wire");
        rig.send(1, &frame);
        let labels = [0x88, 0x47, 0, 1, 0x10, ttl, 0, 1, 1, ttl];
        let wrapped = [&far_end.0[..], &[0; 6], &labels, &frame].concat();
        assert_eq!(rig.only(2), wrapped);
        rig.send(2, &wrapped);
        assert_eq!(rig.only(3), frame);
    }
    assert_eq!(rig.count(Counter::CacheHits), 1, "the way in is cached");
    // What is no Ethernet frame cannot be sent as one.
    rig.flow(0, 3, in_port(1), vec![decap(None), output(2)]);
    rig.send(1, &udp(1, 2, (5, 6), b"bare"));
    assert!(rig.out(2).is_empty());
    assert_eq!(rig.dropped(DropReason::Unsupported), 1);
}

#[test]
fn a_label_in_one_bucket_is_not_in_the_next() {
    let mut rig = Rig::new(4);
    let labelled = vec![PUSH_MPLS, output(2)];
    let backbone = vec![PUSH_PBB, output(3)];
    let buckets = vec![(1, labelled), (1, backbone), (1, vec![output(4)])];
    rig.group(1, GroupType::All, buckets);
    rig.flow(0, 1, any(), vec![Action::Group(net::GroupId(1))]);
    let frame = udp(1, 2, (5, 6), b"bucket");
    for _ in 0..2 {
        rig.send(1, &frame);
        assert_eq!(rig.only(2), with_shim(&frame, &[0x88, 0x47, 0, 0, 1, 64]));
        assert_eq!(rig.only(3), itag(&frame, [0; 4]));
        assert_eq!(rig.only(4), frame);
    }
}

#[test]
fn a_tag_below_two_others_comes_to_light() {
    let mut rig = Rig::new(2);
    let pops = vec![Action::PopVlan, Action::PopVlan];
    rig.rule(0, 1, any(), then(pops, 1));
    rig.flow(
        1,
        1,
        any().with(Field::VlanVid, 0x1003u16),
        vec![Action::PopVlan, output(2)],
    );
    let frame = udp(1, 2, (5, 6), b"a frame with three tags");
    let tags = [0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 8, 0];
    rig.send(1, &with_shim(&frame, &tags));
    assert_eq!(rig.only(2), frame);
}

#[test]
fn a_changed_protocol_is_in_the_checksum_of_the_header_that_is_there() {
    let mut rig = Rig::new(2);
    let udp_only = any()
        .with(Field::EthType, 0x0800u16)
        .with(Field::IpProto, 17u8);
    rig.rule(0, 1, udp_only, then(vec![set(Field::IpProto, 6u8)], 1));
    // What is there now is read as TCP: the first bytes are its ports.
    let tcp = any()
        .with(Field::EthType, 0x0800u16)
        .with(Field::IpProto, 6u8);
    rig.flow(1, 1, tcp.with(Field::TcpSrc, 5u16), vec![output(2)]);
    let mut payload = [0; 24];
    payload[4] = 0x50; // a TCP header's length
    let frame = udp(1, 2, (5, 6), &payload);
    rig.send(1, &frame);
    let out = rig.only(2);
    assert_eq!((out[23], out[24..26] == frame[24..26]), (6, false));
    assert_eq!(net::csum::ipv4_header(&out[14..34]), 0);
    let pseudo = net::csum::pseudo_ipv4([10, 0, 0, 1], [10, 0, 0, 2], 6, 32);
    assert_eq!(pseudo.bytes(&out[34..]).checksum(), 0);
}
