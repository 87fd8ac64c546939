//! Flow-mods do to the tables what the specification's words do to a plain list of flows
//! (OpenFlow 1.3.5, 6.4 and 7.3.4.1), however they are read, and a bundle that fails does nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use net::{GroupId, PortNo, TableId};
use openflow::model::{
    FLOW_CHECK_OVERLAP, FLOW_RESET_COUNTS, FlowCommand, FlowMod, GroupCommand, GroupMod, GroupType,
    NO_BUFFER,
};
use openflow::wire::{self, FlowModReader};
use openflow::{Action, Field, Instructions, Match, Message, Version};
use proptest::prelude::*;
use tables::{Change, FlowFilter, MatchPlan, Refused, Rule, TableLimits, Tables};

const TABLES: u8 = 3;
/// Flows of table 2.
const SMALL: usize = 4;
const SECOND: u64 = 1_000_000_000;

/// A flow as the specification speaks of it.
#[derive(Clone, Debug, PartialEq)]
struct Flow {
    cookie: u64,
    idle_timeout: u16,
    hard_timeout: u16,
    flags: u16,
    importance: u16,
    instructions: Instructions,
    packets: u64,
    created: u64,
}

type Key = (u8, u16, Match);

/// The twin: a list, and loops over all of it.
#[derive(Clone, Default)]
struct Model(BTreeMap<Key, Flow>);

/// Which packets, as pairs of value and mask of every field.
fn bits(matching: &Match, field: Field) -> (u128, u128) {
    matching.get(field).map_or((0, 0), |f| (f.value, f.mask))
}

/// True if each packet of `narrow` is one of `wide`.
fn is_within(narrow: &Match, wide: &Match) -> bool {
    Field::ALL.iter().all(|field| {
        let ((value, mask), (wide, of)) = (bits(narrow, *field), bits(wide, *field));
        of & !mask == 0 && (value ^ wide) & of == 0
    })
}

/// True if some packet is of both.
fn overlap(a: &Match, b: &Match) -> bool {
    Field::ALL.iter().all(|field| {
        let ((a, of_a), (b, of_b)) = (bits(a, *field), bits(b, *field));
        (a ^ b) & of_a & of_b == 0
    })
}

fn outputs_to(flow: &Flow, port: PortNo) -> bool {
    let is_it = |a: &Action| matches!(a, Action::Output { port: p, .. } if *p == port);
    flow.instructions.apply.iter().any(is_it)
}

fn sends_to(flow: &Flow, group: GroupId) -> bool {
    flow.instructions.apply.contains(&Action::Group(group))
}

impl Model {
    fn in_table(&self, table: u8) -> impl Iterator<Item = (&Key, &Flow)> {
        self.0.iter().filter(move |((t, ..), _)| *t == table)
    }

    fn apply(&mut self, m: &FlowMod, now: u64) -> Result<(), Refused> {
        let all = m.table == TableId::ALL;
        if !all && m.table.0 >= 254 {
            return Err(Refused::NoSuchTable(m.table));
        }
        let strict = matches!(
            m.command,
            FlowCommand::ModifyStrict | FlowCommand::DeleteStrict
        );
        let is_delete = matches!(m.command, FlowCommand::Delete | FlowCommand::DeleteStrict);
        let selected: Vec<Key> = self
            .0
            .iter()
            .filter(|((table, priority, matching), flow)| {
                (all || *table == m.table.0)
                    && match strict {
                        true => *priority == m.priority && *matching == m.matching,
                        false => is_within(matching, &m.matching),
                    }
                    && (flow.cookie ^ m.cookie) & m.cookie_mask == 0
                    && (!is_delete || m.out_port == PortNo::ANY || outputs_to(flow, m.out_port))
                    && (!is_delete || m.out_group == GroupId::ANY || sends_to(flow, m.out_group))
            })
            .map(|(key, _)| key.clone())
            .collect();
        match m.command {
            FlowCommand::Add => self.add(m, now),
            FlowCommand::Modify | FlowCommand::ModifyStrict => {
                self.check(&m.instructions)?;
                for key in selected {
                    let flow = self.0.get_mut(&key).unwrap();
                    flow.instructions = m.instructions.clone();
                    if m.flags & FLOW_RESET_COUNTS != 0 {
                        flow.packets = 0;
                    }
                }
                Ok(())
            }
            FlowCommand::Delete | FlowCommand::DeleteStrict => {
                for key in selected {
                    self.0.remove(&key);
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, m: &FlowMod, now: u64) -> Result<(), Refused> {
        self.check(&m.instructions)?;
        let key = (m.table.0, m.priority, m.matching.clone());
        let overlaps = self
            .in_table(m.table.0)
            .any(|((_, priority, matching), _)| {
                *priority == m.priority && overlap(matching, &m.matching)
            });
        if m.flags & FLOW_CHECK_OVERLAP != 0 && overlaps {
            return Err(Refused::Overlap(m.table));
        }
        let old = self.0.get(&key);
        if old.is_none() && m.table.0 == 2 && self.in_table(2).count() >= SMALL {
            return Err(Refused::TableFull(m.table));
        }
        let keep = |old: &Flow| match m.flags & FLOW_RESET_COUNTS {
            0 => old.packets,
            _ => 0,
        };
        let flow = Flow {
            cookie: m.cookie,
            idle_timeout: m.idle_timeout,
            hard_timeout: m.hard_timeout,
            flags: m.flags,
            importance: m.importance,
            instructions: m.instructions.clone(),
            packets: old.map_or(0, keep),
            created: now,
        };
        self.0.insert(key, flow);
        Ok(())
    }

    /// Groups 1 and 2 exist.
    fn check(&self, instructions: &Instructions) -> Result<(), Refused> {
        match instructions.apply.iter().find_map(|a| match a {
            Action::Group(group) if group.0 > 2 => Some(*group),
            _ => None,
        }) {
            Some(group) => Err(Refused::NoSuchGroupInAction(group)),
            None => Ok(()),
        }
    }
}

/// The tables under test, with what reads flow-mods for them.
struct Twin {
    tables: Tables,
    reader: FlowModReader<MatchPlan>,
    reads: bool,
}

impl Twin {
    fn new(reads: bool) -> Self {
        let mut tables = Tables::new();
        for id in 1..3 {
            let group = GroupMod {
                command: GroupCommand::Add,
                kind: GroupType::All,
                group: GroupId(id),
                command_bucket_id: u32::MAX,
                buckets: Vec::new(),
                selection: None,
                properties: Vec::new(),
            };
            tables.group_mod(&group, 0).unwrap();
        }
        let limits = TableLimits {
            max_entries: SMALL as u32,
            ..TableLimits::default()
        };
        tables.set_limits(TableId(2), limits).unwrap();
        Twin {
            tables,
            reader: FlowModReader::default(),
            reads,
        }
    }

    fn apply(&mut self, m: &FlowMod, now: u64) -> Result<Vec<Change>, Refused> {
        if !self.reads {
            return self.tables.flow_mod(m, now);
        }
        let version = Version::V1_3;
        let mut frame = Vec::new();
        wire::encode(version, 1, &Message::FlowMod(m.clone()), &mut frame).unwrap();
        let Some(read) = self.reader.read(version, &frame, |_, _| true) else {
            let tables = &mut self.tables;
            self.reader
                .learn(version, &frame, &m.matching, |m, p| tables.plan(m, p));
            return self.tables.flow_mod(m, now);
        };
        let mut changes = Vec::new();
        self.tables.flow_mod_read(read, now, &mut changes)?;
        Ok(changes)
    }

    fn flows(&self) -> BTreeMap<Key, Flow> {
        let flows = self.tables.flows(&FlowFilter::default());
        let count = flows.len();
        let flows: BTreeMap<Key, Flow> = flows.iter().map(|r| (key_of(r), flow_of(r))).collect();
        assert_eq!(flows.len(), count, "a flow is there twice");
        flows
    }
}

fn key_of(rule: &Rule) -> Key {
    (rule.table.0, rule.priority, rule.matching())
}

fn flow_of(rule: &Arc<Rule>) -> Flow {
    Flow {
        cookie: rule.cookie,
        idle_timeout: rule.idle_timeout,
        hard_timeout: rule.hard_timeout,
        flags: rule.flags,
        importance: rule.importance,
        instructions: (*rule.instructions).clone(),
        packets: rule.stats.counters().packets,
        created: rule.created,
    }
}

/// What `before` becomes by these changes; they must tell all of it.
fn told(before: &BTreeMap<Key, Flow>, changes: &[Change]) -> BTreeMap<Key, Flow> {
    let mut flows = before.clone();
    for change in changes {
        match change {
            Change::Added(rule) | Change::Modified(rule) => {
                flows.insert(key_of(rule), flow_of(rule));
            }
            Change::Removed(rule, _) => {
                assert!(
                    flows.remove(&key_of(rule)).is_some(),
                    "gone before: {rule:?}"
                );
            }
        }
    }
    flows
}

/// Few values, so that flows meet.
fn matching() -> impl Strategy<Value = Match> {
    let address = (0u32..4, prop::sample::select(vec![0u32, 1, 2, 3, u32::MAX]));
    let port = prop::option::of(1u32..3);
    let kind = prop::sample::select(vec![0u16, 0x0800, 0x86dd]);
    (kind, port, address, 0u8..3).prop_map(|(kind, port, (address, mask), extra)| {
        let mut matching = Match::any();
        if let Some(port) = port {
            matching.set(Field::InPort, port.into(), u32::MAX.into());
        }
        if kind != 0 {
            matching = matching.with(Field::EthType, kind);
        }
        match (kind, extra) {
            (0x0800, 0) => matching.with_masked(Field::Ipv4Dst, address, mask),
            (0x0800, 1) => matching
                .with(Field::IpProto, 17u8)
                .with(Field::UdpDst, address),
            (0x86dd, 0) => {
                let ends = u128::from(mask) << 96 | u128::from(mask);
                matching.with_masked(Field::Ipv6Src, u128::from(address) << 96, ends)
            }
            (_, 2) => matching.with(Field::VlanVid, 0x1000 | address),
            _ => matching,
        }
    })
}

fn instructions() -> impl Strategy<Value = Instructions> {
    let action = prop_oneof![
        (1u32..4).prop_map(|port| Action::Output {
            port: PortNo(port),
            max_len: 0
        }),
        (1u32..3).prop_map(|id| Action::Group(GroupId(id))),
        // One that does not exist.
        Just(Action::Group(GroupId(9))),
    ];
    let actions = prop_oneof![
        12 => prop::collection::vec(action.clone(), 0..1),
        4 => prop::collection::vec(action, 0..3),
    ];
    actions.prop_map(Instructions::apply)
}

fn flow_mod() -> impl Strategy<Value = FlowMod> {
    use FlowCommand as C;
    let commands = vec![
        C::Add,
        C::Add,
        C::Add,
        C::Add,
        C::Modify,
        C::ModifyStrict,
        C::Delete,
        C::DeleteStrict,
    ];
    let command = prop::sample::select(commands);
    let flags = prop::sample::select(vec![0, 0, 0, FLOW_CHECK_OVERLAP, FLOW_RESET_COUNTS]);
    let cookie = (
        0u64..4,
        prop::sample::select(vec![0u64, 0, 0, 1, 3, u64::MAX]),
    );
    let table = prop_oneof![8 => 0u8..TABLES, 1 => Just(TableId::ALL.0)];
    let outputs = (prop::option::of(1u32..4), prop::option::of(1u32..3));
    let rest = (prop::sample::select(vec![0u16, 0, 30]), 0u16..2, 1u16..4);
    (
        command,
        flags,
        cookie,
        table,
        outputs,
        rest,
        matching(),
        instructions(),
    )
        .prop_map(
            |(
                command,
                flags,
                (cookie, cookie_mask),
                table,
                outputs,
                rest,
                matching,
                instructions,
            )| {
                let (idle_timeout, hard, priority) = rest;
                let adds = command == C::Add;
                let (port, group) = outputs;
                FlowMod {
                    command,
                    // There is nothing to add to all tables, and modifications check one table.
                    table: match command {
                        C::Delete | C::DeleteStrict => TableId(table),
                        _ => TableId(table % TABLES),
                    },
                    cookie,
                    cookie_mask: if adds { 0 } else { cookie_mask },
                    idle_timeout,
                    hard_timeout: hard * 60,
                    priority,
                    buffer_id: NO_BUFFER,
                    out_port: port.filter(|p| *p == 3).map_or(PortNo::ANY, PortNo),
                    out_group: group.filter(|g| *g == 2).map_or(GroupId::ANY, GroupId),
                    flags,
                    importance: 0,
                    matching,
                    instructions,
                }
            },
        )
}

#[derive(Clone, Debug)]
enum Step {
    Mod(FlowMod),
    /// Packets for a flow, by its place.
    Packets(prop::sample::Index),
    Publish,
    /// Flow-mods that are taken back.
    Undone(Vec<FlowMod>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => flow_mod().prop_map(Step::Mod),
        4 => any::<prop::sample::Index>().prop_map(Step::Packets),
        2 => Just(Step::Publish),
        1 => prop::collection::vec(flow_mod(), 1..6).prop_map(Step::Undone),
    ]
}

/// Plays the steps on the model and on the tables.
fn play(steps: &[Step], reads: bool) {
    let (mut twin, mut model) = (Twin::new(reads), Model::default());
    for (n, step) in steps.iter().enumerate() {
        let now = n as u64 * SECOND;
        match step {
            Step::Mod(m) => {
                let before = twin.flows();
                let done = twin.apply(m, now);
                assert_eq!(
                    done.as_ref().map(drop).map_err(|e| *e),
                    model.apply(m, now),
                    "{m:?}"
                );
                let changes = done.unwrap_or_default();
                assert_eq!(told(&before, &changes), twin.flows(), "told of {m:?}");
            }
            Step::Packets(which) => {
                let flows = twin.tables.flows(&FlowFilter::default());
                if !flows.is_empty() {
                    let rule = which.get(&flows);
                    rule.stats.add(3, 300, now);
                    model.0.get_mut(&key_of(rule)).unwrap().packets += 3;
                }
            }
            Step::Publish => drop(twin.tables.publish()),
            Step::Undone(mods) => {
                let saved = twin.tables.save();
                for m in mods {
                    drop(twin.apply(m, now));
                }
                twin.tables.restore(saved);
            }
        }
        assert_eq!(twin.flows(), model.0, "after step {n}: {step:?}");
        let users = |id| {
            model
                .0
                .values()
                .filter(|f| sends_to(f, GroupId(id)))
                .count()
        };
        for id in 1..3 {
            assert_eq!(
                twin.tables.group_references(GroupId(id)),
                users(id),
                "group {id}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flow_mods_do_what_they_do_to_a_list(steps in prop::collection::vec(step(), 1..60)) {
        play(&steps, false);
        play(&steps, true);
    }
}
