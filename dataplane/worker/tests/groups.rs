//! Groups, choices among links, queues and cut outputs.

mod common;

use std::collections::BTreeMap;

use common::{Rig, any, check_sums, in_port, mac, output, set, udp, watching};
use net::{GroupId, MacAddr, MeterId, PortNo};
use openflow::links::{Bundle, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm};
use openflow::model::{
    Band, BandKind, Bucket, GroupCommand, GroupMod, GroupType, METER_PKTPS, MeterCommand, MeterMod,
    Selection,
};
use openflow::{Action, Field, SubField};
use ports::Shaping;
use worker::{Counter, DropReason, PortOptions};

fn to_group(rig: &mut Rig, id: u32) {
    rig.flow(0, 1, in_port(1), vec![Action::Group(GroupId(id))]);
}

fn out(port: u32) -> Vec<Action> {
    vec![output(port)]
}

/// Frames out of each port.
fn split(rig: &mut Rig) -> BTreeMap<u32, usize> {
    let mut split = BTreeMap::new();
    for (port, _) in rig.all_out() {
        *split.entry(port).or_default() += 1;
    }
    split
}

/// A frame whose MAC addresses alone are made of a number.
fn with_macs(n: u64, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    frame[..6].copy_from_slice(&MacAddr::from_u64(spread & 0xfeff_ffff_ffff).0);
    frame[6..12].copy_from_slice(&MacAddr::from_u64((spread >> 8) & 0xfeff_ffff_ffff).0);
    frame
}

#[test]
fn a_select_group_splits_by_weight_whatever_varies() {
    let mut rig = Rig::new(3);
    rig.group(1, GroupType::Select, vec![(1, out(2)), (2, out(3))]);
    to_group(&mut rig, 1);
    let v6 = |n: u64| {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2(mac(1), mac(2))
            .ipv6([1; 16], [2; 16], 64)
            .udp(n as u16, (n >> 16) as u16)
            .write(&mut frame, &[])
            .unwrap();
        frame
    };
    let arp = |n: u64| {
        let n = (n as u32).to_be_bytes();
        net::arp::request(MacAddr(mac(1)), [10, n[1], n[2], n[3]], [10, 0, 0, 1]).to_vec()
    };
    type Make<'a> = &'a dyn Fn(u64) -> Vec<u8>;
    let kinds: [(&str, Make<'_>); 6] = [
        ("MACs under IPv4", &|n| {
            with_macs(n, &udp(1, 2, (1, 2), &[]))
        }),
        ("MACs under IPv6", &|n| with_macs(n, &v6(1))),
        ("MACs under ARP", &|n| with_macs(n, &arp(1))),
        ("ports of IPv4", &|n| {
            udp(1, 2, (n as u16, (n >> 16) as u16), &[])
        }),
        ("ports of IPv6", &v6),
        ("addresses of ARP", &arp),
    ];
    for (what, frame) in kinds {
        for n in 0..3000 {
            rig.send(1, &frame(n));
        }
        let split = split(&mut rig);
        let share = split[&2] as f64 / 3000.0;
        assert!((share - 1.0 / 3.0).abs() < 0.033, "{what}: {share}");
    }
}

#[test]
fn packets_of_one_connection_keep_their_bucket() {
    let mut rig = Rig::new(3);
    rig.group(1, GroupType::Select, vec![(1, out(2)), (1, out(3))]);
    to_group(&mut rig, 1);
    for n in 0..50 {
        for ttl in [64, 9, 64] {
            rig.send(1, &common::udp_ttl(1, 2, (n, 80), ttl, &[ttl; 9]));
        }
        assert_eq!(split(&mut rig).len(), 1);
    }
}

#[test]
fn a_selection_of_fields_decides_alone() {
    let mut rig = Rig::new(3);
    let buckets = [2, 3].map(|port| Bucket {
        id: port,
        ..watching(None, 1, out(port))
    });
    let request = GroupMod {
        command: GroupCommand::Add,
        kind: GroupType::Select,
        group: GroupId(1),
        command_bucket_id: 0,
        buckets: buckets.to_vec(),
        selection: Some(Selection {
            method: "hash".into(),
            param: 7,
            fields: any().with(Field::Ipv4Src, u32::MAX),
        }),
        properties: Vec::new(),
    };
    rig.tables.group_mod(&request, rig.now).unwrap();
    rig.tables.publish();
    to_group(&mut rig, 1);
    let mut seen = std::collections::BTreeSet::new();
    for src in 1..40 {
        for n in 0..20 {
            rig.send(1, &with_macs(n, &udp(src, n as u8, (n as u16, 80), &[])));
        }
        let split = split(&mut rig);
        assert_eq!(split.len(), 1, "host {src}: {split:?}");
        seen.extend(split.into_keys());
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn fast_failover_follows_links_and_ports_for_cached_flows() {
    let mut rig = Rig::new(4);
    let buckets = vec![watching(Some(2), 0, out(2)), watching(Some(3), 0, out(3))];
    rig.group_of(1, GroupType::FastFailover, buckets);
    to_group(&mut rig, 1);
    let frame = udp(1, 2, (1, 2), &[]);
    let goes = |rig: &mut Rig| {
        rig.send(1, &frame);
        rig.everywhere(&frame)
    };
    assert_eq!(goes(&mut rig), [2]);
    assert_eq!(goes(&mut rig), [2]);
    rig.link(2, false);
    assert_eq!(goes(&mut rig), [3]);
    rig.link(2, true);
    assert_eq!(goes(&mut rig), [2]);
    // Administratively down is not live either.
    let down = |port: &mut worker::PortEntry| port.config = openflow::model::PORT_DOWN;
    rig.workers.update_port(PortNo(2), down).unwrap();
    assert_eq!(goes(&mut rig), [3]);
    rig.delete_port(3);
    assert!(goes(&mut rig).is_empty());
    assert_eq!(rig.dropped(DropReason::NoBucket), 1);
    let up = |port: &mut worker::PortEntry| port.config = 0;
    rig.workers.update_port(PortNo(2), up).unwrap();
    assert_eq!(goes(&mut rig), [2]);
}

#[test]
fn a_watched_group_is_live_if_one_of_its_buckets_is() {
    let mut rig = Rig::new(4);
    let inner = vec![watching(Some(2), 0, out(2)), watching(Some(3), 0, out(3))];
    rig.group_of(2, GroupType::FastFailover, inner);
    let watching_group = Bucket {
        watch_group: GroupId(2),
        ..watching(None, 0, vec![Action::Group(GroupId(2))])
    };
    let outer = vec![watching_group, watching(Some(4), 0, out(4))];
    rig.group_of(1, GroupType::FastFailover, outer);
    to_group(&mut rig, 1);
    let frame = udp(1, 2, (1, 2), &[]);
    for (down, goes) in [(&[][..], 2), (&[2], 3), (&[2, 3], 4), (&[3], 2)] {
        for port in 2..=4 {
            rig.link(port, !down.contains(&port));
        }
        rig.send(1, &frame);
        assert_eq!(rig.everywhere(&frame), [goes], "down: {down:?}");
    }
}

#[test]
fn select_skips_buckets_that_are_down_and_leaves_the_others_flows_alone() {
    let mut rig = Rig::new(4);
    let buckets = (2..=4).map(|port| watching(Some(port), 1, out(port)));
    rig.group_of(1, GroupType::Select, buckets.collect());
    to_group(&mut rig, 1);
    let frames: Vec<Vec<u8>> = (0..300).map(|n| udp(1, 2, (n, 80), &[])).collect();
    let where_to = |rig: &mut Rig| -> Vec<u32> {
        let port = |frame: &Vec<u8>| {
            rig.send(1, frame);
            rig.everywhere(frame)[0]
        };
        frames.iter().map(port).collect()
    };
    let before = where_to(&mut rig);
    rig.link(3, false);
    let after = where_to(&mut rig);
    let pairs = || before.iter().zip(&after);
    assert!(pairs().all(|(b, a)| b == a || *b == 3));
    let moved_to = |port| pairs().filter(|(b, a)| **b == 3 && **a == port).count();
    assert!(moved_to(2) > 25 && moved_to(4) > 25 && moved_to(3) == 0);
    rig.link(3, true);
    assert_eq!(where_to(&mut rig), before);
    for port in 2..=4 {
        rig.link(port, false);
    }
    rig.send(1, &frames[0]);
    assert!(rig.all_out().is_empty());
    assert_eq!(rig.dropped(DropReason::NoBucket), 1);
}

#[test]
fn groups_without_buckets_and_buckets_without_weight_get_nothing() {
    let mut rig = Rig::new(3);
    let frame = udp(1, 2, (1, 2), &[]);
    let kinds = [GroupType::All, GroupType::Select, GroupType::FastFailover];
    for (id, kind) in (1..).zip(kinds) {
        rig.group(id, kind, vec![]);
        to_group(&mut rig, id);
        rig.send(1, &frame);
        assert!(rig.all_out().is_empty());
    }
    assert_eq!(rig.dropped(DropReason::NoBucket), 3);
    rig.group(10, GroupType::Select, vec![(0, out(2)), (1, out(3))]);
    to_group(&mut rig, 10);
    for n in 0..20 {
        rig.send(1, &udp(1, 2, (n, 2), &[]));
    }
    assert_eq!(split(&mut rig), BTreeMap::from([(3, 20)]));
}

#[test]
fn groups_count_themselves_and_the_buckets_that_were_taken() {
    let mut rig = Rig::new(3);
    rig.group(1, GroupType::All, vec![(0, out(2)), (0, out(3))]);
    let chain = vec![Action::Group(GroupId(1))];
    rig.group(2, GroupType::Indirect, vec![(0, chain)]);
    to_group(&mut rig, 2);
    let frame = udp(1, 2, (1, 2), &[7; 40]);
    for _ in 0..5 {
        rig.send(1, &frame);
    }
    rig.settle();
    let pipeline = rig.tables.published().load();
    for id in [1, 2] {
        let group = pipeline.group(GroupId(id)).unwrap();
        let expected = tables::Counters {
            packets: 5,
            bytes: 5 * frame.len() as u64,
        };
        assert_eq!(group.stats.counters(), expected);
        for bucket in &group.buckets {
            assert_eq!(bucket.stats.counters(), expected);
        }
    }
}

#[test]
fn a_bundle_sends_to_the_first_member_that_is_up_or_to_one_by_hash() {
    let mut rig = Rig::new(4);
    let bundle = |algorithm, dst| {
        Action::Bundle(Box::new(Bundle {
            fields: HashFields::SymmetricL3L4Udp,
            basis: 3,
            algorithm,
            dst,
            members: vec![PortNo::ANY, PortNo(2), PortNo(3), PortNo(4)],
        }))
    };
    let backup = bundle(BundleAlgorithm::ActiveBackup, None);
    rig.flow(0, 1, in_port(1), vec![backup]);
    let frame = udp(1, 2, (1, 2), &[]);
    for (down, goes) in [(None, 2), (Some(2), 3), (Some(3), 4)] {
        if let Some(port) = down {
            rig.link(port, false);
        }
        rig.send(1, &frame);
        assert_eq!(rig.everywhere(&frame), [goes]);
    }
    // bundle_load writes the port's number, and all ones when nobody is up.
    let reg = SubField::range(Field::Reg3, 0, 15);
    let load = bundle(BundleAlgorithm::ActiveBackup, Some(reg));
    let send = Action::OutputReg {
        src: reg,
        max_len: 0,
    };
    rig.flow(0, 1, in_port(1), vec![load, send]);
    rig.send(1, &frame);
    assert_eq!(rig.everywhere(&frame), [4]);
    rig.link(4, false);
    rig.send(1, &frame);
    assert!(rig.all_out().is_empty());
    for port in 2..=4 {
        rig.link(port, true);
    }
    let hrw = bundle(BundleAlgorithm::Hrw, None);
    rig.flow(0, 1, in_port(1), vec![hrw]);
    for n in 0..900 {
        rig.send(1, &udp(1, 2, (n, 2), &[]));
    }
    let split = split(&mut rig);
    assert!(
        (2..=4).all(|port| (240..=360).contains(&split[&port])),
        "{split:?}"
    );
}

#[test]
fn multipath_writes_the_number_of_a_link() {
    let mut rig = Rig::new(4);
    let link = SubField::range(Field::Reg0, 0, 7);
    let multipath = Action::Multipath(Multipath {
        fields: HashFields::SymmetricL3L4Udp,
        basis: 0,
        algorithm: MultipathAlgorithm::HashThreshold,
        max_link: 2,
        arg: 0,
        dst: link,
    });
    let resubmit = Action::Resubmit {
        port: None,
        table: Some(net::TableId(1)),
        ct: false,
    };
    rig.flow(0, 1, in_port(1), vec![multipath, resubmit]);
    for link in 0..3u32 {
        let chosen = any().with(Field::Reg0, link);
        rig.flow(1, 1, chosen, out(link + 2));
    }
    for n in 0..900 {
        rig.send(1, &udp(1, 2, (n, 2), &[]));
    }
    let split = split(&mut rig);
    assert!(
        (2..=4).all(|port| (240..=360).contains(&split[&port])),
        "{split:?}"
    );
}

#[test]
fn a_cut_output_sends_the_beginning_and_what_follows_sends_all() {
    let mut rig = Rig::new(4);
    let cut = |port, max_len| Action::OutputTrunc {
        port: PortNo(port),
        max_len,
    };
    let rewrite = set(Field::Ipv4Dst, 0x0a00_0009u32);
    let actions = vec![cut(2, 60), rewrite, cut(3, 9000), output(4)];
    rig.flow(0, 1, in_port(1), actions);
    let frame = udp(1, 2, (1, 2), &[5; 400]);
    for _ in 0..2 {
        rig.send(1, &frame);
        assert_eq!(rig.only(2), &frame[..60]);
        let (short, long) = (rig.only(3), rig.only(4));
        assert_eq!(short, long);
        assert_eq!(long.len(), frame.len());
        assert_eq!(&long[30..34], &[10, 0, 0, 9]);
        check_sums(&long);
    }
}

#[test]
fn queues_count_what_is_sent_through_them() {
    let mut rig = Rig::new(1);
    let shaping = Shaping::counting(&[0, 1, 5]);
    rig.port_with(
        2,
        &PortOptions {
            shaping,
            ..PortOptions::default()
        },
    );
    let actions = vec![
        output(2),
        Action::SetQueue(5),
        output(2),
        Action::SetQueue(9),
        output(2),
        Action::SetQueue(1),
        output(2),
        Action::PopQueue,
        output(2),
    ];
    rig.flow(0, 1, in_port(1), actions);
    let frame = udp(1, 2, (1, 2), &[5; 40]);
    for _ in 0..3 {
        rig.send(1, &frame);
    }
    assert_eq!(rig.out(2).len(), 15);
    let ports = rig.workers.shared().ports();
    let queues = &ports.get(PortNo(2)).unwrap().queues;
    let sent: Vec<_> = queues
        .iter()
        .map(|queue| (queue.spec.id, queue.sent().0))
        .collect();
    // A queue that the port does not have is its default.
    assert_eq!(sent, [(0, 9), (1, 3), (5, 3)]);
    let one = queues.iter().nth(1).unwrap();
    assert_eq!(one.sent().1, 3 * frame.len() as u64);
}

#[test]
fn a_remark_band_raises_the_drop_precedence_and_leaves_the_rest_alone() {
    let mut rig = Rig::new(2);
    let request = MeterMod {
        command: MeterCommand::Add,
        flags: METER_PKTPS,
        meter: MeterId(1),
        bands: vec![Band {
            kind: BandKind::DscpRemark { prec_level: 1 },
            rate: 1,
            burst: 0,
        }],
    };
    rig.tables.meter_mod(&request, rig.now).unwrap();
    rig.tables.publish();
    let mut does = openflow::Instructions::apply(out(2));
    does.meter = Some(MeterId(1));
    rig.rule(0, 1, in_port(1), does);
    let with_dscp = |dscp: u8| {
        let mut frame = udp(1, 2, (1, 2), &[]);
        frame[15] = dscp << 2 | 1;
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = net::csum::ipv4_header(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    // The burst.
    rig.send(1, &with_dscp(18));
    assert_eq!(rig.only(2), with_dscp(18));
    // AF21 becomes AF22 becomes AF23; expedited and default forwarding have no precedence.
    for (before, after) in [(18, 20), (20, 22), (22, 22), (46, 46), (0, 0), (10, 12)] {
        rig.send(1, &with_dscp(before));
        assert_eq!(rig.only(2), with_dscp(after), "{before}");
        check_sums(&with_dscp(after));
    }
    let arp = net::arp::request(MacAddr(mac(1)), [10, 0, 0, 1], [10, 0, 0, 2]);
    rig.send(1, &arp);
    assert_eq!(rig.only(2), arp);
    let pipeline = rig.tables.published().load();
    let meter = pipeline.meter(MeterId(1)).unwrap();
    assert_eq!(meter.input().packets, 8);
    assert_eq!(meter.bands().next().unwrap().1.packets, 7);
    assert_eq!(rig.count(Counter::RxPackets), 8);
}
