//! What a table says still holds does hold: for the key that was looked up, and for every key that
//! agrees with it in what is known.

use std::sync::Arc;

use net::{FlowKey, TableId};
use openflow::model::{FlowCommand, FlowMod};
use openflow::{Field, Instructions, Match};
use proptest::prelude::*;
use tables::{KeyBits, Rule, Table, Tables};

const TABLE: TableId = TableId(0);
const FIELDS: [Field; 6] = [
    Field::InPort,
    Field::EthType,
    Field::Ipv4Dst,
    Field::TcpDst,
    Field::Reg0,
    Field::IpTtl,
];

fn any_match() -> impl Strategy<Value = Match> {
    let field = (prop::sample::select(FIELDS.to_vec()), 0u128..8, 1u128..8);
    prop::collection::vec(field, 0..4).prop_map(|fields| {
        let with = |m: Match, (field, value, mask)| m.with_masked(field, value, mask);
        fields.into_iter().fold(Match::any(), with)
    })
}

fn any_flow_mod() -> impl Strategy<Value = FlowMod> {
    let commands = prop::sample::select(vec![
        FlowCommand::Add,
        FlowCommand::Add,
        FlowCommand::DeleteStrict,
        FlowCommand::ModifyStrict,
    ]);
    (commands, any_match(), 0u16..5).prop_map(|(command, matching, priority)| FlowMod {
        command,
        ..FlowMod::add(TABLE, priority, matching, Instructions::drop())
    })
}

fn any_key() -> impl Strategy<Value = FlowKey> {
    prop::collection::vec(0u128..8, FIELDS.len()).prop_map(|values| {
        let mut key = FlowKey::default();
        for (field, value) in FIELDS.iter().zip(values) {
            field.info().slot.set(&mut key, value, u128::MAX);
        }
        key
    })
}

/// Ones in some of the fields.
fn any_known() -> impl Strategy<Value = FlowKey> {
    prop::collection::vec(prop::bool::weighted(0.8), FIELDS.len()).prop_map(|known| {
        let mut key = FlowKey::default();
        for (field, _) in FIELDS.iter().zip(known).filter(|(_, known)| *known) {
            field.info().slot.set(&mut key, u128::MAX, u128::MAX);
        }
        key
    })
}

/// True if another rule of the same priority matches the key.
fn others_match(table: &Table, rule: &Arc<Rule>, key: &FlowKey) -> bool {
    let mut others = table.rules().filter(|other| !Arc::ptr_eq(other, rule));
    others.any(|other| {
        let matching = other.matching();
        let mut fields = matching.iter();
        other.priority == rule.priority
            && fields.all(|f| f.field.info().slot.get(key) & f.mask == f.value)
    })
}

/// A key that differs from another in what is not known.
fn like(key: &FlowKey, known: &FlowKey, other: &FlowKey) -> FlowKey {
    let mut mixed = *other;
    let bits = key.words().iter().zip(known.words());
    for (mixed, (key, known)) in mixed.words_mut().iter_mut().zip(bits) {
        *mixed = (key & known) | (*mixed & !known);
    }
    mixed
}

proptest! {
    #[test]
    fn what_still_decides_finds_the_same(
        before in prop::collection::vec(any_flow_mod(), 0..20),
        keys in prop::collection::vec(any_key(), 2..4),
        known in any_known(),
        others in prop::collection::vec(any_key(), 4),
        batches in prop::collection::vec(prop::collection::vec(any_flow_mod(), 0..4), 1..6),
    ) {
        let mut tables = Tables::new();
        let mut apply = |mods: &[FlowMod]| {
            for request in mods {
                tables.flow_mod(request, 0).unwrap();
            }
            tables.publish();
            tables.published().load()
        };
        let old = apply(&before);
        // What several flows have in common.
        let mut bits: Vec<KeyBits> = Vec::new();
        let old_table = old.table(TABLE).unwrap();
        old_table.remember(&keys[0], &known, &mut bits);
        for key in &keys[1..] {
            let mut theirs = Vec::new();
            old_table.remember(key, &known, &mut theirs);
            bits.iter_mut().for_each(|bits| bits.narrow_to_all(&theirs));
        }
        let since = old_table.generation();
        for batch in &batches {
            let new = apply(batch);
            let new_table = new.table(TABLE).unwrap();
            if !new_table.still_decides(&bits, since) {
                break;
            }
            let all = keys.iter().flat_map(|key| others.iter().map(|o| like(key, &known, o)));
            for key in all.chain(keys.iter().copied()) {
                let [then, now] = [old_table, new_table]
                    .map(|table| table.lookup(&key, &mut FlowKey::default()));
                // Which of two rules of one priority decides, OpenFlow does not say (1.3.5, 5.3).
                let rank = |rule: Option<&Arc<Rule>>| rule.map(|rule| rule.priority);
                prop_assert_eq!(rank(then), rank(now));
                let overlap = then.is_some_and(|rule| others_match(old_table, rule, &key));
                prop_assert!(overlap || then.map(Arc::as_ptr) == now.map(Arc::as_ptr));
            }
        }
    }
}

#[test]
fn a_change_elsewhere_is_told_from_one_here_until_too_many_are() {
    let add = |tables: &mut Tables, dst: u32| {
        let matching = Match::any().with(Field::Ipv4Dst, dst);
        let add = FlowMod::add(TABLE, 1, matching, Instructions::drop());
        tables.flow_mod(&add, 0).unwrap();
        tables.publish();
    };
    let mut tables = Tables::new();
    add(&mut tables, 1);
    let known = {
        let mut known = FlowKey::default();
        known.words_mut().fill(u64::MAX);
        known
    };
    let key = FlowKey {
        nw_dst: 1.into(),
        ..FlowKey::default()
    };
    let mut bits = Vec::new();
    let old = tables.published().load();
    let since = old.table(TABLE).unwrap().generation();
    old.table(TABLE).unwrap().remember(&key, &known, &mut bits);
    let holds = |tables: &Tables| {
        let pipeline = tables.published().load();
        pipeline.table(TABLE).unwrap().still_decides(&bits, since)
    };
    for dst in 2..400 {
        add(&mut tables, dst);
        assert!(holds(&tables), "after {dst}");
    }
    add(&mut tables, 1);
    assert!(!holds(&tables));
    for dst in 400..3000 {
        add(&mut tables, dst);
    }
    assert!(!holds(&tables));
}
