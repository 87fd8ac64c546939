//! Flows made by `learn` actions, from the request to their end.

use std::sync::Arc;

use net::{FlowKey, TableId};
use openflow::model::FlowCommand;
use openflow::text::{self, Names};
use openflow::{Action, Field, Match};
use tables::{Change, FlowFilter, Learned, Refused, RemovedReason, Rule, Tables};

const SECOND: u64 = 1_000_000_000;

/// A MAC learning table as in Open vSwitch's tutorial.
const LEARN_MAC: &str = "learn(table=10,hard_timeout=60,priority=7,cookie=0x9,\
    NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_OF_IN_PORT[]->NXM_NX_REG0[0..15])";

fn learned(action: &str, key: &FlowKey) -> Learned {
    let actions = text::parse_actions(action, &Match::any(), Names::NONE).expect("parses");
    let [Action::Learn(learn)] = &*actions else {
        panic!("one learn action")
    };
    Learned::new(learn, |src| src.get(key))
}

fn packet(mac: u128, port: u32) -> FlowKey {
    let mut key = FlowKey {
        in_port: port.into(),
        ..FlowKey::default()
    };
    let slot = Field::EthSrc.info().slot;
    slot.set(&mut key, mac, u128::MAX);
    Field::VlanVid.info().slot.set(&mut key, 0x1014, u128::MAX);
    key
}

fn add(tables: &mut Tables, flow: &str) {
    let request = text::parse_flow(flow, FlowCommand::Add, Names::NONE).expect("parses");
    tables.flow_mod(&request, 0).expect("is taken");
}

fn in_table(tables: &Tables, table: u8) -> Vec<Arc<Rule>> {
    tables.flows(&FlowFilter {
        table: TableId(table),
        ..FlowFilter::default()
    })
}

/// Match and actions of the flows of a table.
fn texts(tables: &Tables, table: u8) -> Vec<String> {
    let text = |rule: &Arc<Rule>| format!("{} {}", rule.matching(), rule.instructions);
    in_table(tables, table).iter().map(text).collect()
}

#[test]
fn a_flow_is_made_of_the_packets_fields_and_constants() {
    let mut tables = Tables::new();
    let wanted = learned(LEARN_MAC, &packet(0x50_0000_0001, 3));
    assert!(tables.pipeline().learned(&wanted).is_none());
    tables.learn(&wanted, 0).unwrap();
    assert_eq!(
        texts(&tables, 10),
        ["vlan_tci=0x0014/0x0fff,dl_dst=00:50:00:00:00:01 load:0x3->NXM_NX_REG0[0..15]"]
    );
    let rule = &in_table(&tables, 10)[0];
    assert_eq!((rule.priority, rule.cookie, rule.hard_timeout), (7, 9, 60));
    assert!(tables.pipeline().learned(&wanted).is_some());
    let more = "learn(table=10,dl_type=0x800,nw_proto=6,NXM_OF_TCP_DST[]=5,fin_idle_timeout=3,\
        load:0xffffffffffffffffffff->NXM_NX_XXREG0[0..79],output:NXM_OF_IN_PORT[])";
    tables.learn(&learned(more, &packet(1, 0xfffe)), 0).unwrap();
    assert!(
        texts(&tables, 10).contains(
            &"tcp,tp_dst=5 fin_timeout(idle_timeout=3),\
          load:0xffffffffffffffff->NXM_NX_XXREG0[0..63],load:0xffff->NXM_NX_XXREG0[64..79],LOCAL"
                .to_owned()
        )
    );
}

#[test]
fn learning_again_begins_the_hard_timeout_again_and_changes_nothing_else() {
    let mut tables = Tables::new();
    let wanted = learned(LEARN_MAC, &packet(1, 3));
    tables.learn(&wanted, 0).unwrap();
    let first = in_table(&tables, 10).remove(0);
    assert!(tables.learn(&wanted, 50 * SECOND).unwrap().is_empty());
    assert!(Arc::ptr_eq(&first, &in_table(&tables, 10)[0]));
    assert!(tables.expire(109 * SECOND).is_empty());
    // A worker that sees the flow does it without asking.
    first.begin_again(100 * SECOND);
    assert!(tables.expire(159 * SECOND).is_empty());
    let gone = tables.expire(160 * SECOND);
    assert!(matches!(
        &*gone,
        [Change::Removed(_, RemovedReason::HardTimeout)]
    ));
}

#[test]
fn an_address_that_moves_is_learned_in_place() {
    let mut tables = Tables::new();
    tables.learn(&learned(LEARN_MAC, &packet(1, 3)), 0).unwrap();
    in_table(&tables, 10)[0].stats.add(5, 500, 1);
    let moved = learned(LEARN_MAC, &packet(1, 4));
    assert!(tables.pipeline().learned(&moved).is_none());
    let changes = tables.learn(&moved, 50 * SECOND).unwrap();
    assert!(matches!(&*changes, [Change::Modified(_)]));
    let rules = in_table(&tables, 10);
    assert_eq!((rules.len(), rules[0].stats.counters().packets), (1, 5));
    assert!(texts(&tables, 10)[0].contains("load:0x4->NXM_NX_REG0[0..15]"));
    assert!(tables.expire(70 * SECOND).is_empty());
}

#[test]
fn no_more_flows_of_a_cookie_than_the_limit() {
    let mut tables = Tables::new();
    let action = "learn(table=4,limit=2,cookie=5,NXM_OF_ETH_SRC[])";
    add(&mut tables, "table=4,cookie=6,actions=drop");
    for mac in [1, 2] {
        let wanted = learned(action, &packet(mac, 1));
        assert!(tables.pipeline().may_learn(&wanted));
        tables.learn(&wanted, 0).unwrap();
    }
    let third = learned(action, &packet(3, 1));
    assert!(!tables.pipeline().may_learn(&third));
    assert_eq!(tables.learn(&third, 0).unwrap_err(), Refused::LearnLimit(5));
    let known = learned(action, &packet(2, 1));
    assert!(tables.pipeline().may_learn(&known));
    assert!(tables.learn(&known, 0).unwrap().is_empty());
}

#[test]
fn learned_flows_go_with_the_last_flow_that_learns_them() {
    let mut tables = Tables::new();
    let action = "learn(table=4,cookie=5,delete_learned,NXM_OF_ETH_SRC[])";
    add(&mut tables, &format!("priority=1,actions={action}"));
    add(&mut tables, &format!("priority=2,actions=clone({action})"));
    tables.learn(&learned(action, &packet(1, 1)), 0).unwrap();
    add(&mut tables, "table=4,priority=9,cookie=6,actions=drop");
    let delete = |tables: &mut Tables, flow: &str| {
        let request = text::parse_flow(flow, FlowCommand::DeleteStrict, Names::NONE).unwrap();
        tables.flow_mod(&request, 0).unwrap().len()
    };
    assert_eq!(delete(&mut tables, "priority=1"), 1);
    assert_eq!(in_table(&tables, 4).len(), 2);
    // A flow in the place of the last is as good.
    add(&mut tables, &format!("priority=2,actions={action},note:00"));
    assert_eq!(in_table(&tables, 4).len(), 2);
    // A bundle that is taken back leaves everything as it was.
    let saved = tables.save();
    assert_eq!(delete(&mut tables, "priority=2"), 2);
    tables.restore(saved);
    assert_eq!(in_table(&tables, 4).len(), 2);
    assert_eq!(delete(&mut tables, "priority=2"), 2);
    let left: Vec<u64> = in_table(&tables, 4).iter().map(|r| r.cookie).collect();
    assert_eq!(left, [6]);
}

#[test]
fn a_connection_that_ends_shortens_the_timeouts_of_its_flow() {
    let mut tables = Tables::new();
    add(
        &mut tables,
        "tcp,idle_timeout=60,actions=fin_timeout(idle_timeout=2,hard_timeout=10)",
    );
    let rule = in_table(&tables, 0).remove(0);
    assert!(rule.would_shorten(2, 10));
    tables.shorten(&rule, 2, 10);
    assert_eq!(rule.timeouts(), (2, 10));
    assert!(!rule.would_shorten(5, 10) && !rule.would_shorten(0, 0));
    assert!(tables.expire(SECOND).is_empty());
    rule.stats.add(1, 60, SECOND);
    assert!(tables.expire(2 * SECOND).is_empty());
    let gone = tables.expire(3 * SECOND);
    assert!(matches!(
        &*gone,
        [Change::Removed(_, RemovedReason::IdleTimeout)]
    ));
    // One that is gone stays gone.
    tables.shorten(&rule, 1, 1);
    assert!(tables.expire(99 * SECOND).is_empty());
}

#[test]
fn without_timeouts_a_flow_gets_them_from_fin() {
    let mut tables = Tables::new();
    add(&mut tables, "tcp,actions=fin_timeout(hard_timeout=10)");
    let rule = in_table(&tables, 0).remove(0);
    assert_eq!(tables.next_expiry(), None);
    tables.shorten(&rule, 0, 10);
    assert_eq!(tables.next_expiry(), Some(10 * SECOND));
    assert_eq!(rule.timeouts(), (0, 10));
}
