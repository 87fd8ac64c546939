//! Many flows: limits that refuse and leave what is there, and work that is done in parts.

use net::{GroupId, MeterId, TableId};
use openflow::model::{
    Band, BandKind, FlowMod, GroupCommand, GroupMod, GroupType, METER_KBPS, MeterCommand, MeterMod,
};
use openflow::{Field, Instructions, Match};
use tables::{Change, FlowFilter, Refused, Tables};

const SECOND: u64 = 1_000_000_000;

fn flow(table: u8, n: u32) -> FlowMod {
    let matching = Match::any().with(Field::InPort, n);
    FlowMod::add(TableId(table), 5, matching, Instructions::drop())
}

#[test]
fn all_tables_together_hold_no_more_than_they_may() {
    let mut tables = Tables::new();
    tables.set_most_flows(10);
    for n in 0..10 {
        tables.flow_mod(&flow(n as u8 % 3, n), 0).unwrap();
    }
    let refused = tables.flow_mod(&flow(7, 99), 0).unwrap_err();
    assert_eq!(refused, Refused::TableFull(TableId(7)));
    // One that takes another's place needs no room, and one that goes makes some.
    tables.flow_mod(&flow(0, 0), 0).unwrap();
    let delete = FlowMod::delete_strict(TableId(0), 5, Match::any().with(Field::InPort, 0u32));
    assert_eq!(tables.flow_mod(&delete, 0).unwrap().len(), 1);
    tables.flow_mod(&flow(7, 99), 0).unwrap();
    assert_eq!(tables.flows(&FlowFilter::default()).len(), 10);

    // What a bundle that fails took out is there again, and counts.
    let saved = tables.save();
    let everything = FlowMod {
        command: openflow::model::FlowCommand::Delete,
        table: TableId::ALL,
        ..FlowMod::add(TableId(0), 0, Match::any(), Instructions::drop())
    };
    assert_eq!(tables.flow_mod(&everything, 0).unwrap().len(), 10);
    assert!(tables.flows(&FlowFilter::default()).is_empty());
    tables.restore(saved);
    assert!(tables.flow_mod(&flow(8, 1), 0).is_err());
    assert_eq!(tables.flows(&FlowFilter::default()).len(), 10);
}

#[test]
fn flows_time_out_in_parts() {
    let mut tables = Tables::new();
    for n in 0..25_000 {
        let timed = FlowMod {
            hard_timeout: 1,
            ..flow(0, n)
        };
        tables.flow_mod(&timed, 0).unwrap();
    }
    let mut parts = Vec::new();
    while tables.next_expiry().is_some_and(|at| at <= SECOND) {
        let gone = tables.expire(SECOND);
        assert!(gone.iter().all(|c| matches!(c, Change::Removed(..))));
        parts.push(gone.len());
    }
    assert_eq!(parts, [10_000, 10_000, 5_000]);
    assert_eq!(tables.pipeline().rules(), 0);
}

#[test]
fn a_refused_group_or_meter_leaves_what_is_there() {
    let mut tables = Tables::new();
    let group = |id| GroupMod {
        command: GroupCommand::Add,
        kind: GroupType::All,
        group: GroupId(id),
        command_bucket_id: u32::MAX,
        buckets: Vec::new(),
        selection: None,
        properties: Vec::new(),
    };
    let band = Band {
        kind: BandKind::Drop,
        rate: 1,
        burst: 0,
    };
    let meter = |id| MeterMod {
        command: MeterCommand::Add,
        flags: METER_KBPS,
        meter: MeterId(id),
        bands: vec![band],
    };
    tables.set_most_groups(2);
    tables.set_most_meters(2);
    for id in 1..=2 {
        tables.group_mod(&group(id), 0).unwrap();
        tables.meter_mod(&meter(id), 0).unwrap();
    }
    assert_eq!(
        tables.group_mod(&group(3), 0).unwrap_err(),
        Refused::OutOfGroups
    );
    assert_eq!(
        tables.meter_mod(&meter(3), 0).unwrap_err(),
        Refused::OutOfMeters
    );
    assert_eq!(tables.pipeline().groups().count(), 2);
    assert_eq!(tables.pipeline().meters().count(), 2);
    // Changing one needs no room.
    let modify = GroupMod {
        command: GroupCommand::Modify,
        ..group(2)
    };
    tables.group_mod(&modify, 0).unwrap();
}
