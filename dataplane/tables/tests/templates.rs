//! Every template finds what its linear twin finds, for sets of rules of the shapes that templates
//! are made for, while they grow and shrink; and tables take the template that is meant for them.

use std::sync::Arc;

use net::{FlowKey, TableId};
use openflow::model::{FlowCommand, FlowMod};
use openflow::{Field, Instructions, Match};
use proptest::prelude::*;
use tables::{Table, Tables, Template, reference};

const TABLE: TableId = TableId(0);

/// Shapes of rules.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// One mask and a catch-all.
    Exact,
    /// Prefixes of an IPv4 address, longer ones first, in two groups; a default route.
    Ipv4,
    /// Prefixes of an IPv6 address.
    Ipv6,
    /// Prefixes whose priorities have nothing to do with their lengths.
    Disordered,
    /// Two prefixes, protocol and port.
    Acl,
    /// Any bits of a register.
    Bits,
    /// Fields that the flow cache does not have, with others.
    Late,
}

const SHAPES: [Shape; 7] = [
    Shape::Exact,
    Shape::Ipv4,
    Shape::Ipv6,
    Shape::Disordered,
    Shape::Acl,
    Shape::Bits,
    Shape::Late,
];

fn ip() -> Match {
    Match::any().with(Field::EthType, 0x0800u16)
}

fn prefix(matching: Match, field: Field, value: u128, len: u32) -> Match {
    let bits = u32::from(field.info().slot.bits);
    let mask =
        (u128::MAX >> (128 - bits)) & !(u128::MAX >> (128 - bits)).checked_shr(len).unwrap_or(0);
    match len {
        0 => matching,
        _ => matching.with_masked(field, value & mask, mask),
    }
}

/// A rule of a shape, out of four random numbers.
fn rule(shape: Shape, [a, b, c, d]: [u32; 4]) -> (u16, Match) {
    let lens = [
        0, 8, 9, 10, 12, 14, 16, 17, 18, 20, 22, 24, 24, 29, 30, 31, 32,
    ];
    let len = |n: u32| lens[n as usize % lens.len()];
    // Few bits differ, so that prefixes lie within each other.
    let address = |n: u32| u128::from(0x0a00_0000 | (n & 0x3) << 20 | (n & 0x4) << 10 | (n & 0xf));
    let priority = (d % 6) as u16;
    match shape {
        Shape::Exact if a % 50 == 0 => (0, Match::any()),
        Shape::Exact => (
            priority,
            ip().with(Field::Ipv4Dst, address(b))
                .with(Field::TcpDst, c % 4),
        ),
        Shape::Ipv4 if a % 40 == 0 => (0, Match::any()),
        Shape::Ipv4 => {
            let base = ip().with(Field::Metadata, u64::from(c % 2));
            (
                10 + len(a) as u16,
                prefix(base, Field::Ipv4Dst, address(b), len(a)),
            )
        }
        Shape::Ipv6 => {
            let lens = [
                0, 32, 33, 40, 44, 47, 48, 52, 56, 60, 64, 65, 120, 126, 127, 128,
            ];
            let len = lens[a as usize % lens.len()];
            let address = 0x2001_0db8_u128 << 96
                | u128::from(b & 1) << 81
                | u128::from(b & 6) << 60
                | u128::from(c & 7);
            let base = Match::any().with(Field::EthType, 0x86ddu16);
            (len as u16, prefix(base, Field::Ipv6Dst, address, len))
        }
        Shape::Disordered => (priority, prefix(ip(), Field::Ipv4Dst, address(b), len(a))),
        Shape::Acl => {
            let matching = prefix(ip(), Field::Ipv4Src, address(a), len(b));
            let matching = prefix(matching, Field::Ipv4Dst, address(c), len(d));
            let matching = match a % 3 {
                0 => matching,
                1 => matching.with(Field::IpProto, 6u8),
                _ => {
                    matching
                        .with(Field::IpProto, 6u8)
                        .with_masked(Field::TcpDst, (b % 8) & 6, 6u32)
                }
            };
            (priority, matching)
        }
        Shape::Bits => (
            priority,
            match a % 0x1000 {
                0 => Match::any(),
                mask => Match::any().with_masked(Field::Reg3, b & mask, mask),
            },
        ),
        Shape::Late => {
            let matching = prefix(ip(), Field::Ipv4Dst, address(b), len(c % 3));
            (
                priority,
                match a % 4 {
                    0 => matching,
                    1 => matching.with(Field::IpTtl, c % 3),
                    2 => matching.with_masked(Field::TcpFlags, c % 4, 3u32),
                    _ => matching.with(Field::IpTtl, c % 40).with_masked(
                        Field::TcpFlags,
                        d % 4,
                        3u32,
                    ),
                },
            )
        }
    }
}

/// A packet that some rule may match.
fn key(shape: Shape, numbers: [u32; 4], noise: u32) -> FlowKey {
    let mut key = FlowKey::default();
    for (field, value) in [
        (Field::EthType, 0x0800),
        (Field::IpProto, 6),
        (Field::Ipv4Src, u128::from(0x0a00_0000 | noise & 0xf)),
        (Field::Ipv4Dst, u128::from(0x0a00_0000 | noise >> 4 & 0xf)),
        (Field::TcpDst, u128::from(noise & 7)),
        (Field::Reg3, u128::from(noise)),
        (Field::IpTtl, u128::from(noise & 3)),
        (Field::TcpFlags, u128::from(noise & 3)),
    ] {
        field.info().slot.set(&mut key, value, u128::MAX);
    }
    for f in rule(shape, numbers).1.iter() {
        f.field.info().slot.set(&mut key, f.value, f.mask);
    }
    key
}

fn agree(table: &Table, keys: &[FlowKey]) -> Result<(), TestCaseError> {
    prop_assert_eq!(table.rules().count(), table.len());
    for key in keys {
        let mut consulted = FlowKey::default();
        let found = table.lookup(key, &mut consulted);
        let right = reference::lookup(table.rules(), key);
        match found {
            None => prop_assert!(right.is_empty(), "missed {:?}", right),
            Some(rule) => prop_assert!(
                right.iter().any(|r| Arc::ptr_eq(r, rule)),
                "{:?} for {:?}",
                rule,
                right
            ),
        }
        let mut other = FlowKey::default();
        for (at, word) in other.words_mut().iter_mut().enumerate() {
            let (key, seen) = (key.words()[at], consulted.words()[at]);
            *word = (key & seen) | !seen;
        }
        let again = table.lookup(&other, &mut FlowKey::default());
        prop_assert_eq!(
            found.map(Arc::as_ptr),
            again.map(Arc::as_ptr),
            "unseen bits matter"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_template_finds_what_its_linear_twin_finds(
        template in prop::sample::select([vec![None; 3], Template::ALL.map(Some).to_vec()].concat()),
        shape in prop::sample::select(SHAPES.to_vec()),
        steps in prop::collection::vec((any::<[u32; 4]>(), 0u8..10), 1..400),
        keys in prop::collection::vec((any::<[u32; 4]>(), any::<u32>()), 4..12),
        shrinks in any::<bool>(),
    ) {
        let mut tables = Tables::new();
        tables.force_template(TABLE, template);
        let random: Vec<FlowKey> = keys.iter().map(|(n, noise)| key(shape, *n, *noise)).collect();
        let mut numbers: Vec<[u32; 4]> = Vec::new();
        for (at, (step, kind)) in steps.iter().enumerate() {
            let (command, of) = match kind {
                0..7 => (FlowCommand::Add, *step),
                7 => (FlowCommand::ModifyStrict, numbers[step[0] as usize % numbers.len().max(1)..].first().copied().unwrap_or(*step)),
                _ => (FlowCommand::DeleteStrict, numbers[step[0] as usize % numbers.len().max(1)..].first().copied().unwrap_or(*step)),
            };
            if command == FlowCommand::Add {
                numbers.push(of);
            }
            let (priority, matching) = rule(shape, of);
            let request = FlowMod {
                command,
                ..FlowMod::add(TABLE, priority, matching, Instructions::drop())
            };
            tables.flow_mod(&request, 0).unwrap();
            if at % 5 == 0 {
                tables.publish();
            }
            if at % 29 == 0 || at + 1 == steps.len() {
                let mut keys = random.clone();
                keys.extend(numbers.iter().rev().take(4).map(|n| key(shape, *n, at as u32)));
                agree(tables.pipeline().table(TABLE).unwrap(), &keys)?;
            }
        }
        if shrinks {
            let all = numbers.clone();
            for (at, of) in all.iter().enumerate() {
                let (priority, matching) = rule(shape, *of);
                let request = FlowMod::delete_strict(TABLE, priority, matching);
                tables.flow_mod(&request, 0).unwrap();
                if at % 37 == 0 {
                    agree(tables.pipeline().table(TABLE).unwrap(), &random)?;
                }
            }
            prop_assert!(tables.pipeline().table(TABLE).unwrap().is_empty());
        }
    }
}

/// Random numbers that are the same in every run.
fn numbers(count: u32) -> impl Iterator<Item = [u32; 4]> {
    let mix = |n: u32, m: u32| {
        (n.wrapping_mul(0x9e37_79b9) ^ m)
            .wrapping_mul(0x85eb_ca6b)
            .rotate_left(13)
    };
    (0..count).map(move |n| [mix(n, 1), mix(n, 2), mix(n, 3), mix(n, 4)])
}

fn filled(shape: Shape, count: u32) -> Tables {
    let mut tables = Tables::new();
    for n in numbers(count) {
        let (priority, matching) = rule(shape, n);
        let add = FlowMod::add(TABLE, priority, matching, Instructions::drop());
        tables.flow_mod(&add, 0).unwrap();
    }
    tables
}

fn template(tables: &Tables) -> Template {
    tables.pipeline().table(TABLE).unwrap().template()
}

#[test]
fn tables_take_the_template_that_fits() {
    assert_eq!(template(&filled(Shape::Bits, 3)), Template::Direct);
    assert_eq!(template(&filled(Shape::Exact, 500)), Template::Exact);
    assert_eq!(template(&filled(Shape::Ipv4, 500)), Template::Prefix);
    assert_eq!(template(&filled(Shape::Ipv6, 500)), Template::Prefix);
    assert_eq!(template(&filled(Shape::Disordered, 500)), Template::Tuples);
    assert_eq!(template(&filled(Shape::Acl, 1000)), Template::Merged);
    assert_eq!(template(&filled(Shape::Bits, 1000)), Template::Merged);
}

#[test]
fn a_thousand_masks_cost_far_fewer_probes() {
    let tables = filled(Shape::Bits, 1000);
    let shape = tables.pipeline().table(TABLE).unwrap().shape();
    assert!(shape.masks > 500, "{shape:?}");
    assert!(shape.probes * 8 < shape.masks, "{shape:?}");
}

#[test]
fn a_table_takes_another_template_as_its_rules_change() {
    let mut tables = filled(Shape::Ipv4, 300);
    assert_eq!(template(&tables), Template::Prefix);
    // A wide prefix above all longer ones.
    let wide = prefix(
        ip().with(Field::Metadata, 0u64),
        Field::Ipv4Dst,
        0x0a00_0000,
        8,
    );
    let add = FlowMod::add(TABLE, 500, wide.clone(), Instructions::drop());
    tables.flow_mod(&add, 0).unwrap();
    assert_ne!(template(&tables), Template::Prefix);
    let delete = FlowMod::delete_strict(TABLE, 500, wide);
    tables.flow_mod(&delete, 0).unwrap();
    for dst in 0..2_000u32 {
        let host = ip()
            .with(Field::Metadata, 0u64)
            .with(Field::Ipv4Dst, 0x0b00_0000 + dst);
        tables
            .flow_mod(&FlowMod::add(TABLE, 42, host, Instructions::drop()), 0)
            .unwrap();
    }
    assert_eq!(
        template(&tables),
        Template::Prefix,
        "after some changes it looks again"
    );
    let everything = FlowMod {
        command: FlowCommand::Delete,
        ..FlowMod::add(TABLE, 0, Match::any(), Instructions::drop())
    };
    tables.flow_mod(&everything, 0).unwrap();
    assert_eq!(template(&tables), Template::Exact);
}

#[test]
fn a_time_to_live_is_looked_at_only_where_all_else_agrees() {
    let mut tables = Tables::new();
    for dst in 0..100u32 {
        let matching = ip().with(Field::Ipv4Dst, dst).with(Field::IpTtl, 1u8);
        let add = FlowMod::add(TABLE, 1, matching, Instructions::drop());
        tables.flow_mod(&add, 0).unwrap();
    }
    for template in [
        None,
        Some(Template::Tuples),
        Some(Template::Merged),
        Some(Template::Direct),
    ] {
        tables.force_template(TABLE, template);
        let seen = |dst: u32| {
            let (mut key, mut consulted) = (FlowKey::default(), FlowKey::default());
            key.eth_type = 0x0800.into();
            key.nw_dst = dst.into();
            tables.pipeline().lookup(TABLE, &key, &mut consulted);
            consulted.nw_ttl != 0
        };
        assert!(seen(7) && !seen(1000), "{template:?}");
    }
}
