//! Long answers: flows bit by bit, as they were when the answer began.

use std::collections::BTreeSet;
use std::sync::Arc;

use net::{PortNo, TableId};
use openflow::model::{FlowCommand, FlowMod};
use openflow::{Action, Field, Instructions, Match};
use tables::{FlowFilter, Rule, Tables};

const TABLES: [TableId; 2] = [TableId(0), TableId(7)];
/// Flows of the second; too many to be sorted.
const LARGE: u32 = 3000;

fn to(port: u32) -> Instructions {
    Instructions::apply(vec![Action::Output {
        port: PortNo(port),
        max_len: 0,
    }])
}

fn add(tables: &mut Tables, table: TableId, priority: u16, n: u32) {
    let matching = Match::any()
        .with(Field::EthType, 0x0800u16)
        .with(Field::Ipv4Dst, n);
    let request = FlowMod {
        cookie: u64::from(n),
        ..FlowMod::add(table, priority, matching, to(1 + n % 3))
    };
    tables.flow_mod(&request, u64::from(n)).unwrap();
}

/// A small table 0 and a large table 7.
fn filled() -> Tables {
    let mut tables = Tables::new();
    for n in 0..50 {
        add(&mut tables, TABLES[0], (n % 7) as u16, n);
    }
    for n in 0..LARGE {
        add(&mut tables, TABLES[1], 5, n);
    }
    tables
}

fn names(rules: &[Arc<Rule>]) -> BTreeSet<(TableId, u64)> {
    rules.iter().map(|rule| (rule.table, rule.cookie)).collect()
}

#[test]
fn a_scan_finds_what_there_was_when_it_began_whatever_changes_meanwhile() {
    let mut tables = filled();
    for filter in [
        FlowFilter::default(),
        FlowFilter {
            table: TABLES[1],
            ..FlowFilter::default()
        },
        FlowFilter {
            out_port: PortNo(2),
            ..FlowFilter::default()
        },
        FlowFilter {
            matching: Match::any()
                .with(Field::EthType, 0x0800u16)
                .with(Field::Ipv4Dst, 4u32),
            ..FlowFilter::default()
        },
    ] {
        let wanted = tables.flows(&filter);
        let mut scan = tables.scan(&filter);
        let (mut found, mut steps) = (Vec::new(), 0u32);
        while scan.step(100, &mut found) {
            steps += 1;
            add(&mut tables, TABLES[1], 5, 20_000 + steps);
            if steps % 8 != 0 {
                continue;
            }
            let gone = FlowMod {
                command: FlowCommand::Delete,
                cookie: u64::from(steps * 97),
                cookie_mask: u64::MAX,
                table: TableId::ALL,
                ..FlowMod::add(TABLES[0], 0, Match::any(), Instructions::default())
            };
            tables.flow_mod(&gone, 0).unwrap();
            assert!(steps < 1000, "it does not end");
        }
        assert_eq!(names(&found), names(&wanted));
        assert_eq!(found.len(), wanted.len(), "none comes twice");
    }
}

#[test]
fn a_step_is_short_even_where_little_is_found() {
    let tables = filled();
    let rare = FlowFilter {
        table: TABLES[1],
        cookie: u64::from(LARGE - 1),
        cookie_mask: u64::MAX,
        ..FlowFilter::default()
    };
    let (mut scan, mut found, mut steps) = (tables.scan(&rare), Vec::new(), 1);
    while scan.step(100, &mut found) {
        steps += 1;
    }
    assert_eq!(found.len(), 1);
    assert!(steps >= LARGE / 100, "{steps} steps over {LARGE} flows");
}

#[test]
fn a_small_table_comes_in_order_and_a_flow_is_found_by_its_match() {
    let tables = filled();
    let small = FlowFilter {
        table: TABLES[0],
        ..FlowFilter::default()
    };
    let mut found = Vec::new();
    assert!(!tables.scan(&small).step(100, &mut found));
    let same = tables.flows(&small);
    assert!(found.iter().zip(&same).all(|(a, b)| Arc::ptr_eq(a, b)));
    let first = &same[0];
    let by_match = tables.find(TABLES[0], &first.matching(), first.priority);
    assert!(Arc::ptr_eq(first, &by_match.unwrap()));
    assert!(tables.find(TABLES[0], &Match::any(), 5).is_none());
}
