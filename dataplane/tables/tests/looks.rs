//! What a pipeline says it looks at.

use net::{GroupId, PortNo, TableId};
use openflow::model::{Bucket, FlowCommand, FlowMod, GroupCommand, GroupMod, GroupType};
use openflow::{Action, Field, Instructions, Match};
use tables::Tables;

fn out() -> Action {
    Action::Output {
        port: PortNo(2),
        max_len: 0,
    }
}

fn route(net: u32, len: u32) -> FlowMod {
    let mask = u32::MAX << (32 - len);
    let to =
        Match::any()
            .with(Field::EthType, 0x0800u16)
            .with_masked(Field::Ipv4Dst, net & mask, mask);
    FlowMod::add(TableId(3), 1, to, Instructions::apply(vec![out()]))
}

fn group(command: GroupCommand, kind: GroupType) -> GroupMod {
    let bucket = Bucket {
        id: 1,
        weight: u16::from(kind == GroupType::Select),
        watch_port: PortNo::ANY,
        watch_group: GroupId::ANY,
        actions: vec![out()],
        properties: Vec::new(),
    };
    GroupMod {
        command,
        kind,
        group: GroupId(1),
        command_bucket_id: 0,
        buckets: vec![bucket],
        selection: None,
        properties: Vec::new(),
    }
}

#[test]
fn rules_are_looked_at_together_and_more_of_them_of_one_kind_change_nothing() {
    let mut tables = Tables::new();
    tables.flow_mod(&route(0x0a00_0000, 8), 0).unwrap();
    tables.flow_mod(&route(0x0a01_0000, 16), 0).unwrap();
    tables.publish();
    let before = tables.published().load();
    let looks = before.looks_at();
    assert_eq!(looks.nw_dst.get(), 0xffff_0000);
    assert_eq!((looks.nw_src.get(), looks.tp_dst.get()), (0, 0));
    for net in 0..100 {
        tables
            .flow_mod(&route(0x0b00_0000 + (net << 16), 16), 0)
            .unwrap();
    }
    tables.publish();
    let after = tables.published().load();
    assert!(std::sync::Arc::ptr_eq(before.looks_at(), after.looks_at()));
}

#[test]
fn a_changed_flow_and_a_select_group_look_at_more() {
    let mut tables = Tables::new();
    let route = route(0x0a00_0000, 8);
    tables.flow_mod(&route, 0).unwrap();
    let mut change = route.clone();
    change.command = FlowCommand::Modify;
    change.instructions = Instructions::apply(vec![Action::SetField {
        field: Field::EthSrc,
        value: 1,
        mask: u128::from(u64::MAX >> 16),
    }]);
    tables.flow_mod(&change, 0).unwrap();
    let looks = *tables.pipeline().looks_at().clone();
    assert_eq!(
        (looks.eth_src.to_u64(), looks.tp_src.get()),
        (0xffff_ffff_ffff, 0)
    );
    let select = group(GroupCommand::Add, GroupType::Select);
    tables.group_mod(&select, 0).unwrap();
    assert_eq!(tables.pipeline().looks_at().tp_src.get(), u16::MAX);
}

#[test]
fn without_flows_and_groups_nothing_is_looked_at_any_more() {
    let mut tables = Tables::new();
    let all = group(GroupCommand::Add, GroupType::All);
    tables.group_mod(&all, 0).unwrap();
    tables.flow_mod(&route(0x0a00_0000, 8), 0).unwrap();
    tables.publish();
    let mut delete = route(0x0a00_0000, 8);
    delete.command = FlowCommand::DeleteStrict;
    tables.flow_mod(&delete, 0).unwrap();
    tables.publish();
    assert_ne!(
        tables.pipeline().looks_at().nw_dst.get(),
        0,
        "the group is there"
    );
    tables
        .group_mod(&group(GroupCommand::Delete, GroupType::All), 0)
        .unwrap();
    tables.publish();
    assert_eq!(
        **tables.published().load().looks_at(),
        net::FlowKey::default()
    );
}
