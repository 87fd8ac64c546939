//! Flow-mods, group-mods and meter-mods as OpenFlow 1.3.5 words them.

use std::sync::Arc;

use net::{FlowKey, GroupId, MeterId, PortNo, TableId};
use openflow::model::*;
use openflow::{Action, Field, Instructions, Match};
use tables::{Change, FlowFilter, Refused, RemovedReason, Rule, Tables};

const SECOND: u64 = 1_000_000_000;
const T0: TableId = TableId(0);

fn output(port: u32) -> Instructions {
    Instructions::apply(vec![Action::Output {
        port: PortNo(port),
        max_len: 0,
    }])
}

fn to_group(group: u32) -> Instructions {
    Instructions::apply(vec![Action::Group(GroupId(group))])
}

fn from_port(port: u32) -> Match {
    Match::any().with(Field::InPort, port)
}

fn ip() -> Match {
    Match::any().with(Field::EthType, 0x0800u16)
}

fn with(command: FlowCommand, matching: Match) -> FlowMod {
    FlowMod {
        command,
        ..FlowMod::add(T0, 5, matching, Instructions::drop())
    }
}

fn group(command: GroupCommand, kind: GroupType, id: u32, buckets: &[(u16, Action)]) -> GroupMod {
    let bucket = |(id, (weight, action)): (usize, &(u16, Action))| Bucket {
        id: id as u32,
        weight: *weight,
        watch_port: PortNo::ANY,
        watch_group: GroupId::ANY,
        actions: vec![action.clone()],
        properties: Vec::new(),
    };
    GroupMod {
        command,
        kind,
        group: GroupId(id),
        command_bucket_id: 0,
        buckets: buckets.iter().enumerate().map(bucket).collect(),
        selection: None,
        properties: Vec::new(),
    }
}

fn meter(command: MeterCommand, id: u32) -> MeterMod {
    MeterMod {
        command,
        flags: METER_KBPS,
        meter: MeterId(id),
        bands: vec![Band {
            kind: BandKind::Drop,
            rate: 1000,
            burst: 0,
        }],
    }
}

fn flows(tables: &Tables) -> Vec<Arc<Rule>> {
    tables.flows(&FlowFilter::default())
}

fn removed(changes: &[Change]) -> Vec<(u64, RemovedReason)> {
    let cookie = |change: &Change| match change {
        Change::Removed(rule, reason) => Some((rule.cookie, *reason)),
        _ => None,
    };
    changes.iter().filter_map(cookie).collect()
}

/// Tables with flows of priority 5, each with a cookie, a match and an output.
fn with_flows(flows: &[(u64, Match, Instructions)]) -> Tables {
    let mut tables = Tables::new();
    for (cookie, matching, instructions) in flows {
        let request = FlowMod {
            cookie: *cookie,
            ..FlowMod::add(T0, 5, matching.clone(), instructions.clone())
        };
        tables.flow_mod(&request, 0).unwrap();
    }
    tables
}

#[test]
fn adding_the_same_match_and_priority_replaces_and_keeps_counters() {
    let mut tables = with_flows(&[(1, ip(), output(1))]);
    flows(&tables)[0].stats.add(3, 300, 7);
    let mut again = FlowMod {
        cookie: 2,
        ..FlowMod::add(T0, 5, ip(), output(2))
    };
    tables.flow_mod(&again, SECOND).unwrap();
    let now = flows(&tables);
    assert_eq!((now.len(), now[0].cookie, now[0].created), (1, 2, SECOND));
    assert_eq!(now[0].stats.counters().packets, 3);
    again.flags = FLOW_RESET_COUNTS;
    tables.flow_mod(&again, SECOND).unwrap();
    assert_eq!(flows(&tables)[0].stats.counters().packets, 0);
    again.priority = 6;
    tables.flow_mod(&again, SECOND).unwrap();
    assert_eq!(flows(&tables).len(), 2);
}

#[test]
fn modify_changes_instructions_and_nothing_else() {
    let mut tables = with_flows(&[
        (1, from_port(1), output(1)),
        (2, from_port(1).with(Field::EthType, 0x0800u16), output(1)),
        (3, from_port(2), output(1)),
    ]);
    flows(&tables)[0].stats.add(3, 300, 7);
    let request = FlowMod {
        cookie: 9,
        instructions: output(4),
        ..with(FlowCommand::Modify, from_port(1))
    };
    assert_eq!(tables.flow_mod(&request, SECOND).unwrap().len(), 2);
    let now = flows(&tables);
    let outputs: Vec<bool> = now.iter().map(|r| *r.instructions == output(4)).collect();
    assert_eq!(outputs, [true, true, false]);
    assert_eq!((now[0].cookie, now[0].created), (1, 0));
    assert_eq!(now[0].stats.counters().packets, 3);

    let strict = FlowMod {
        instructions: output(5),
        ..with(FlowCommand::ModifyStrict, from_port(1))
    };
    assert_eq!(tables.flow_mod(&strict, 0).unwrap().len(), 1);
    let other_priority = FlowMod {
        priority: 6,
        ..strict
    };
    assert_eq!(tables.flow_mod(&other_priority, 0).unwrap().len(), 0);
    assert_eq!(flows(&tables).len(), 3, "modify never adds");
}

#[test]
fn delete_takes_what_is_more_specific_and_strict_takes_one() {
    let three = || {
        with_flows(&[
            (1, ip(), output(1)),
            (2, ip().with(Field::Ipv4Dst, 0x0a00_0001u32), output(2)),
            (3, from_port(1), output(3)),
        ])
    };
    let mut tables = three();
    let gone = tables
        .flow_mod(&with(FlowCommand::Delete, ip()), 0)
        .unwrap();
    let mut gone = removed(&gone);
    gone.sort_by_key(|(cookie, _)| *cookie);
    assert_eq!(
        gone,
        [(1, RemovedReason::Delete), (2, RemovedReason::Delete)]
    );

    let mut tables = three();
    let gone = tables
        .flow_mod(&with(FlowCommand::DeleteStrict, ip()), 0)
        .unwrap();
    assert_eq!(removed(&gone), [(1, RemovedReason::Delete)]);

    let mut tables = three();
    let by_port = FlowMod {
        out_port: PortNo(2),
        ..with(FlowCommand::Delete, Match::any())
    };
    assert_eq!(
        removed(&tables.flow_mod(&by_port, 0).unwrap()),
        [(2, RemovedReason::Delete)]
    );
    let by_cookie = FlowMod {
        cookie: 0xf3,
        cookie_mask: 0x0f,
        table: TableId::ALL,
        ..with(FlowCommand::Delete, Match::any())
    };
    assert_eq!(
        removed(&tables.flow_mod(&by_cookie, 0).unwrap()),
        [(3, RemovedReason::Delete)]
    );
    assert_eq!(flows(&tables)[0].cookie, 1);
}

#[test]
fn overlap_is_refused_where_asked() {
    let mut tables = with_flows(&[(1, ip(), output(1))]);
    let check = |matching, priority| FlowMod {
        flags: FLOW_CHECK_OVERLAP,
        ..FlowMod::add(T0, priority, matching, output(1))
    };
    assert_eq!(
        tables.flow_mod(&check(from_port(1), 5), 0).unwrap_err(),
        Refused::Overlap(T0)
    );
    let arp = Match::any().with(Field::EthType, 0x0806u16);
    assert!(tables.flow_mod(&check(arp, 5), 0).is_ok());
    assert!(tables.flow_mod(&check(from_port(1), 6), 0).is_ok());
}

#[test]
fn what_points_nowhere_is_refused_and_changes_nothing() {
    let mut tables = Tables::new();
    let refused = |tables: &mut Tables, table: u8, instructions: Instructions| {
        let request = FlowMod::add(TableId(table), 1, Match::any(), instructions);
        tables.flow_mod(&request, 0).unwrap_err()
    };
    let goto = |to| Instructions::drop().goto(TableId(to));
    assert_eq!(
        refused(&mut tables, 254, output(1)),
        Refused::NoSuchTable(TableId(254))
    );
    let bad = Refused::BadGoto {
        from: TableId(3),
        to: TableId(3),
    };
    assert_eq!(refused(&mut tables, 3, goto(3)), bad);
    assert_eq!(
        refused(&mut tables, 0, output(0)),
        Refused::BadOutPort(PortNo(0))
    );
    let missing = Refused::NoSuchGroupInAction(GroupId(7));
    assert_eq!(refused(&mut tables, 0, to_group(7)), missing);
    let metered = Instructions {
        meter: Some(MeterId(7)),
        ..output(1)
    };
    assert_eq!(
        refused(&mut tables, 0, metered),
        Refused::NoSuchMeterInFlow(MeterId(7))
    );
    assert!(flows(&tables).is_empty() && !tables.is_changed());
}

#[test]
fn timeouts_run_and_say_which_it_was() {
    let mut tables = Tables::new();
    let timed = |cookie, idle_timeout, hard_timeout| FlowMod {
        cookie,
        idle_timeout,
        hard_timeout,
        ..FlowMod::add(T0, 5, from_port(cookie as u32), output(1))
    };
    for request in [
        timed(1, 10, 0),
        timed(2, 0, 15),
        timed(3, 10, 15),
        timed(4, 0, 0),
    ] {
        tables.flow_mod(&request, 0).unwrap();
    }
    assert_eq!(tables.next_expiry(), Some(10 * SECOND));
    assert!(tables.expire(9 * SECOND).is_empty());
    let used = flows(&tables).into_iter().find(|r| r.cookie == 3).unwrap();
    used.stats.add(1, 60, 8 * SECOND);
    assert_eq!(
        removed(&tables.expire(10 * SECOND)),
        [(1, RemovedReason::IdleTimeout)]
    );
    let mut last = removed(&tables.expire(15 * SECOND));
    last.sort_by_key(|(cookie, _)| *cookie);
    assert_eq!(
        last,
        [
            (2, RemovedReason::HardTimeout),
            (3, RemovedReason::HardTimeout)
        ]
    );
    assert_eq!(flows(&tables).len(), 1);
    assert_eq!(tables.next_expiry(), None);
}

#[test]
fn a_replaced_flow_does_not_expire_in_the_name_of_the_new_one() {
    let mut tables = Tables::new();
    let timed = FlowMod {
        hard_timeout: 5,
        ..FlowMod::add(T0, 5, ip(), output(1))
    };
    tables.flow_mod(&timed, 0).unwrap();
    tables
        .flow_mod(&FlowMod::add(T0, 5, ip(), output(2)), SECOND)
        .unwrap();
    assert!(tables.expire(100 * SECOND).is_empty());
    assert_eq!(flows(&tables).len(), 1);
}

#[test]
fn groups_are_added_changed_and_deleted_with_their_flows() {
    use GroupCommand::{Add, Delete, Modify};
    let mut tables = Tables::new();
    let out = |port| Action::Output {
        port: PortNo(port),
        max_len: 0,
    };
    let all = |command, id, port| group(command, GroupType::All, id, &[(0, out(port))]);
    assert_eq!(
        tables.group_mod(&all(Modify, 1, 1), 0).unwrap_err(),
        Refused::UnknownGroup(GroupId(1))
    );
    tables.group_mod(&all(Add, 1, 1), 0).unwrap();
    assert_eq!(
        tables.group_mod(&all(Add, 1, 1), 0).unwrap_err(),
        Refused::GroupExists(GroupId(1))
    );
    tables.group_mod(&all(Modify, 1, 2), 0).unwrap();
    let bucket = &tables.pipeline().group(GroupId(1)).unwrap().buckets[0];
    assert_eq!(bucket.bucket.actions, [out(2)]);

    tables
        .flow_mod(&FlowMod::add(T0, 5, ip(), to_group(1)), 0)
        .unwrap();
    tables
        .flow_mod(&FlowMod::add(T0, 5, from_port(1), output(1)), 0)
        .unwrap();
    let in_group = FlowFilter {
        out_group: GroupId(1),
        ..FlowFilter::default()
    };
    assert_eq!(tables.flows(&in_group).len(), 1);
    let gone = tables.group_mod(&all(Delete, 1, 1), 0).unwrap();
    assert_eq!(removed(&gone), [(0, RemovedReason::GroupDelete)]);
    assert_eq!(flows(&tables).len(), 1);
    assert!(tables.group_mod(&all(Delete, 1, 1), 0).unwrap().is_empty());
}

#[test]
fn chains_of_groups_never_close() {
    use GroupCommand::{Add, Delete, Modify};
    let mut tables = Tables::new();
    let to = |command, id, next| {
        let action = match next {
            0 => Action::Output {
                port: PortNo(1),
                max_len: 0,
            },
            next => Action::Group(GroupId(next)),
        };
        group(command, GroupType::Indirect, id, &[(0, action)])
    };
    tables.group_mod(&to(Add, 1, 0), 0).unwrap();
    tables.group_mod(&to(Add, 2, 1), 0).unwrap();
    tables.group_mod(&to(Add, 3, 2), 0).unwrap();
    for request in [to(Modify, 1, 3), to(Modify, 1, 1), to(Add, 4, 4)] {
        let error = tables.group_mod(&request, 0).unwrap_err();
        assert_eq!(error, Refused::GroupLoop(request.group));
    }
    let chained = tables.group_mod(&to(Delete, 2, 0), 0).unwrap_err();
    assert_eq!(chained, Refused::ChainedGroup(GroupId(2)));
    let everything = GroupMod {
        group: GroupId::ALL,
        ..to(Delete, 1, 0)
    };
    tables.group_mod(&everything, 0).unwrap();
    assert_eq!(tables.pipeline().groups().count(), 0);
}

#[test]
fn weights_are_for_select_groups_and_one_of_them_must_count() {
    let mut tables = Tables::new();
    let output = |port| Action::Output {
        port: PortNo(port),
        max_len: 0,
    };
    let mut add = |kind, weights: &[u16]| {
        let buckets: Vec<_> = weights.iter().map(|w| (*w, output(1))).collect();
        tables
            .group_mod(&group(GroupCommand::Add, kind, 9, &buckets), 0)
            .map(|_| ())
    };
    let refused = Err(Refused::InvalidGroup(GroupId(9)));
    assert_eq!(add(GroupType::All, &[0, 1]), refused);
    assert_eq!(add(GroupType::Indirect, &[1]), refused);
    assert_eq!(add(GroupType::Select, &[0, 0]), refused);
    assert_eq!(add(GroupType::Select, &[0, 3]), Ok(()));
}

#[test]
fn a_select_group_splits_by_weight() {
    let mut tables = Tables::new();
    let out = |port| Action::Output {
        port: PortNo(port),
        max_len: 0,
    };
    let buckets = [(1, out(1)), (2, out(2)), (0, out(3))];
    let request = group(GroupCommand::Add, GroupType::Select, 1, &buckets);
    tables.group_mod(&request, 0).unwrap();
    let group = tables.pipeline().group(GroupId(1)).unwrap();
    let mut counts = [0u32; 3];
    for n in 0..30_000u64 {
        counts[group.select(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap()] += 1;
    }
    assert!(
        counts[0].abs_diff(10_000) < 500 && counts[2] == 0,
        "{counts:?}"
    );
}

#[test]
fn meters_are_added_changed_and_deleted_with_their_flows() {
    use MeterCommand::{Add, Delete, Modify};
    let mut tables = Tables::new();
    let error = |tables: &mut Tables, request| tables.meter_mod(&request, 0).unwrap_err();
    assert_eq!(
        error(&mut tables, meter(Modify, 1)),
        Refused::UnknownMeter(MeterId(1))
    );
    assert_eq!(
        error(&mut tables, meter(Add, 0)),
        Refused::InvalidMeter(MeterId(0))
    );
    tables.meter_mod(&meter(Add, 1), 0).unwrap();
    assert_eq!(
        error(&mut tables, meter(Add, 1)),
        Refused::MeterExists(MeterId(1))
    );
    let both = MeterMod {
        flags: METER_KBPS | METER_PKTPS,
        ..meter(Modify, 1)
    };
    assert_eq!(error(&mut tables, both), Refused::BadMeterFlags);
    let metered = Instructions {
        meter: Some(MeterId(1)),
        ..output(1)
    };
    tables
        .flow_mod(&FlowMod::add(T0, 5, ip(), metered), 0)
        .unwrap();
    let gone = tables.meter_mod(&meter(Delete, u32::MAX), 0).unwrap();
    assert_eq!(removed(&gone), [(0, RemovedReason::MeterDelete)]);
    assert_eq!(tables.pipeline().meters().count(), 0);
}

#[test]
fn generations_move_only_for_what_changed_and_only_when_published() {
    let mut tables = Tables::new();
    let published = tables.published();
    let before = published.generation();
    tables
        .flow_mod(&FlowMod::add(TableId(1), 5, ip(), output(1)), 0)
        .unwrap();
    assert_eq!(published.generation(), before);
    assert_eq!(published.load().rules(), 0);
    let generation = tables.publish();
    assert_eq!(
        (generation, published.generation()),
        (before + 1, before + 1)
    );
    let pipeline = published.load();
    assert_eq!(pipeline.table_generation(TableId(1)), generation);
    assert_eq!(pipeline.table_generation(TableId(0)), 0);
    assert!(
        pipeline
            .lookup(TableId(1), &ip().to_keys().0, &mut FlowKey::default())
            .is_some()
    );
    assert_eq!(tables.publish(), generation, "nothing changed");
    drop(pipeline);
    assert_eq!(tables.reclaim(), 0);
}

#[test]
fn a_bundle_that_fails_leaves_everything_as_it_was() {
    let mut tables = with_flows(&[(1, ip(), output(1))]);
    let out = (
        0,
        Action::Output {
            port: PortNo(1),
            max_len: 0,
        },
    );
    let request = group(GroupCommand::Add, GroupType::All, 1, &[out]);
    tables.group_mod(&request, 0).unwrap();
    tables
        .flow_mod(&FlowMod::add(T0, 7, from_port(1), to_group(1)), 0)
        .unwrap();
    tables.publish();
    let saved = tables.save();
    tables
        .flow_mod(&with(FlowCommand::Delete, Match::any()), 0)
        .unwrap();
    tables
        .group_mod(
            &GroupMod {
                command: GroupCommand::Delete,
                ..request.clone()
            },
            0,
        )
        .unwrap();
    assert!(flows(&tables).is_empty());
    tables.restore(saved);
    assert_eq!(flows(&tables).len(), 2);
    assert!(!tables.is_changed());
    let gone = tables
        .group_mod(
            &GroupMod {
                command: GroupCommand::Delete,
                ..request
            },
            0,
        )
        .unwrap();
    assert_eq!(gone.len(), 1, "users of the group are known again");
}

#[test]
fn flows_that_a_failed_bundle_gives_back_still_expire() {
    let mut tables = Tables::new();
    for n in 0..2000 {
        let timed = FlowMod {
            hard_timeout: 9,
            ..FlowMod::add(T0, 5, from_port(n), output(1))
        };
        tables.flow_mod(&timed, 0).unwrap();
    }
    let saved = tables.save();
    let everything = with(FlowCommand::Delete, Match::any());
    tables.flow_mod(&everything, 0).unwrap();
    for n in 0..4 {
        // With few flows in the tables, the queue of those that are gone is cleaned up.
        let request = FlowMod::add(T0, 5, from_port(n), output(1));
        tables.flow_mod(&request, 0).unwrap();
    }
    tables.restore(saved);
    assert_eq!(flows(&tables).len(), 2000);
    assert_eq!(tables.expire(9 * SECOND).len(), 2000);
}
