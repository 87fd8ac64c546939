//! The classifier and its linear twin agree, also between updates, and a published pipeline never
//! changes.

use std::sync::Arc;

use net::{FlowKey, TableId};
use openflow::action::Conjunction;
use openflow::model::{FlowCommand, FlowMod};
use openflow::{Action, Field, Instructions, Match};
use proptest::prelude::*;
use tables::{Pipeline, Tables, Template, reference};

/// Few values and masks, so that rules overlap and packets hit.
fn field() -> impl Strategy<Value = (Field, u128, u128)> {
    let masks = prop::sample::select(vec![u128::MAX, 0x3, 0x2, 0x1]);
    let fields = prop::sample::select(vec![
        Field::InPort,
        Field::EthType,
        Field::Ipv4Dst,
        Field::Ipv6Dst,
        Field::TcpDst,
        Field::IpTtl,
        Field::TcpFlags,
        Field::Reg0,
        Field::Xreg0,
        Field::CtLabel,
        Field::ConjId,
    ]);
    (fields, 0u128..4, masks)
}

fn any_match() -> impl Strategy<Value = Match> {
    prop::collection::vec(field(), 0..4).prop_map(|fields| {
        fields
            .into_iter()
            .fold(Match::any(), |m, (field, value, mask)| {
                m.with_masked(field, value, mask)
            })
    })
}

fn any_key() -> impl Strategy<Value = FlowKey> {
    prop::collection::vec(field(), 0..8).prop_map(|fields| {
        let mut key = FlowKey::default();
        for (field, value, _) in fields {
            field.info().slot.set(&mut key, value, u128::MAX);
        }
        key
    })
}

/// Mostly nothing; sometimes clauses of a few conjunctions.
fn any_instructions() -> impl Strategy<Value = Instructions> {
    let clause = (1u32..4, 0u8..3, 2u8..4).prop_map(|(id, clause, n_clauses)| {
        Action::Conjunction(Conjunction {
            id,
            clause: clause % n_clauses,
            n_clauses,
        })
    });
    prop_oneof![
        2 => Just(Instructions::drop()),
        1 => prop::collection::vec(clause, 1..4).prop_map(Instructions::apply),
    ]
}

fn any_flow_mod() -> impl Strategy<Value = FlowMod> {
    let commands = prop::sample::select(vec![
        FlowCommand::Add,
        FlowCommand::Add,
        FlowCommand::Add,
        FlowCommand::Add,
        FlowCommand::DeleteStrict,
        FlowCommand::Delete,
        FlowCommand::ModifyStrict,
    ]);
    let rest = (any_match(), 0u16..5, 0u64..3, any_instructions());
    (commands, rest).prop_map(|(command, (matching, priority, cookie, instructions))| {
        FlowMod {
            command,
            cookie,
            // A wildcard deletion would empty the table too often.
            cookie_mask: if command == FlowCommand::Delete { 3 } else { 0 },
            ..FlowMod::add(TableId(0), priority, matching, instructions)
        }
    })
}

fn any_template() -> impl Strategy<Value = Option<Template>> {
    let forced = Template::ALL.map(Some).to_vec();
    prop::sample::select([vec![None], forced].concat())
}

fn agree(pipeline: &Pipeline, keys: &[FlowKey]) -> Result<(), TestCaseError> {
    let table = pipeline.table(TableId(0)).unwrap();
    prop_assert_eq!(table.rules().count(), table.len());
    for key in keys {
        let mut consulted = FlowKey::default();
        let found = pipeline.lookup(TableId(0), key, &mut consulted);
        let right = reference::lookup(table.rules(), key);
        match found {
            None => prop_assert!(right.is_empty()),
            Some(rule) => prop_assert!(right.iter().any(|r| Arc::ptr_eq(r, rule))),
        }
        // A key that differs only in bits that were not consulted gets the same answer.
        let mut other = FlowKey::default();
        for ((o, k), c) in other
            .words_mut()
            .iter_mut()
            .zip(key.words())
            .zip(consulted.words())
        {
            *o = (k & c) | !c;
        }
        let again = pipeline.lookup(TableId(0), &other, &mut FlowKey::default());
        prop_assert_eq!(found.map(Arc::as_ptr), again.map(Arc::as_ptr));
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_classifier_is_its_linear_twin_between_updates(
        template in any_template(),
        mods in prop::collection::vec(any_flow_mod(), 1..120),
        keys in prop::collection::vec(any_key(), 1..12),
    ) {
        let mut tables = Tables::new();
        tables.force_template(TableId(0), template);
        for (now, request) in mods.iter().enumerate() {
            tables.flow_mod(request, now as u64).unwrap();
            if now % 3 == 0 {
                tables.publish();
            }
            agree(tables.pipeline(), &keys)?;
        }
    }

    #[test]
    fn a_published_pipeline_stays_as_it_was(
        template in any_template(),
        mods in prop::collection::vec(any_flow_mod(), 1..120),
        keys in prop::collection::vec(any_key(), 1..12),
    ) {
        let mut tables = Tables::new();
        tables.force_template(TableId(0), template);
        let mut kept = Vec::new();
        for request in &mods {
            tables.flow_mod(request, 0).unwrap();
            tables.publish();
            let pipeline = tables.published().load();
            let answers = answers(&pipeline, &keys);
            kept.push((pipeline, answers));
        }
        for (pipeline, before) in kept {
            prop_assert_eq!(answers(&pipeline, &keys), before);
            agree(&pipeline, &keys)?;
        }
    }

    #[test]
    fn a_rule_tells_the_match_it_was_given(matching in any_match()) {
        let mut tables = Tables::new();
        let request = FlowMod::add(TableId(0), 1, matching.clone(), Instructions::drop());
        tables.flow_mod(&request, 0).unwrap();
        let rule = tables.flows(&Default::default()).remove(0);
        // Overlapping registers written with different values have no rule of their own.
        if matching.get(Field::Reg0).is_none() || matching.get(Field::Xreg0).is_none() {
            prop_assert_eq!(rule.matching(), matching);
        }
    }
}

fn answers(pipeline: &Pipeline, keys: &[FlowKey]) -> Vec<Option<u16>> {
    let lookup = |key| pipeline.lookup(TableId(0), key, &mut FlowKey::default());
    keys.iter()
        .map(|key| lookup(key).map(|r| r.priority))
        .collect()
}

#[test]
fn a_wrong_ethertype_does_not_make_a_packet_depend_on_its_ttl() {
    let mut tables = Tables::new();
    let matching = Match::any()
        .with(Field::EthType, 0x0800u16)
        .with(Field::IpTtl, 1u8);
    let request = FlowMod::add(TableId(0), 1, matching, Instructions::drop());
    tables.flow_mod(&request, 0).unwrap();
    let ttl_seen = |ethertype: u128| {
        let (mut key, mut consulted) = (FlowKey::default(), FlowKey::default());
        Field::EthType
            .info()
            .slot
            .set(&mut key, ethertype, u128::MAX);
        tables.pipeline().lookup(TableId(0), &key, &mut consulted);
        consulted.nw_ttl != 0
    };
    assert!(!ttl_seen(0x0806));
    assert!(ttl_seen(0x0800));
}

#[test]
fn a_hundred_thousand_rules_of_one_mask_and_a_thousand_masks() {
    let mut tables = Tables::new();
    for n in 0..100_000u32 {
        let matching = Match::any()
            .with(Field::EthType, 0x0800u16)
            .with(Field::Ipv4Dst, n);
        let request = FlowMod::add(
            TableId(3),
            (n % 7) as u16 + 1,
            matching,
            Instructions::drop(),
        );
        tables.flow_mod(&request, 0).unwrap();
        if n % 10_000 == 0 {
            tables.publish();
        }
    }
    let mut key = FlowKey::default();
    Field::EthType.info().slot.set(&mut key, 0x0800, u128::MAX);
    for n in (0..100_000u32).step_by(97) {
        Field::Ipv4Dst
            .info()
            .slot
            .set(&mut key, n.into(), u128::MAX);
        let found = tables
            .pipeline()
            .lookup(TableId(3), &key, &mut FlowKey::default());
        assert_eq!(found.map(|r| r.priority), Some((n % 7) as u16 + 1));
    }
    for bits in 1..=1000u32 {
        let matching = Match::any().with_masked(Field::Reg3, 0u32, bits);
        let request = FlowMod::add(TableId(3), 100, matching, Instructions::drop());
        tables.flow_mod(&request, 0).unwrap();
    }
    assert_eq!(tables.pipeline().table(TableId(3)).unwrap().masks(), 1001);
    let everything = FlowMod {
        command: FlowCommand::Delete,
        ..FlowMod::add(TableId::ALL, 0, Match::any(), Instructions::drop())
    };
    assert_eq!(tables.flow_mod(&everything, 0).unwrap().len(), 101_000);
    assert_eq!(tables.pipeline().rules(), 0);
}
