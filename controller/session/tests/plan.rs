//! The difference, as a property: carried out in order it makes one set out of any other, and at no
//! moment does anything refer to what is not there.

use std::collections::{BTreeMap, BTreeSet};

use flows::flow::{Flow, FlowId, bucket, output};
use flows::{Feature, FlowSet, Origin, Table};
use net::{GroupId, MeterId, PortNo};
use openflow::model::{FlowCommand, GroupCommand, GroupType, MeterCommand};
use openflow::msg::Message;
use openflow::{Action, Field, Instructions};
use proptest::prelude::*;
use session::{Inventory, plan};

/// A switch that refuses what a switch refuses.
#[derive(Default)]
struct Model {
    flows: BTreeMap<FlowId, (u64, Instructions)>,
    groups: BTreeMap<GroupId, Vec<openflow::model::Bucket>>,
    meters: BTreeMap<MeterId, Vec<openflow::model::Band>>,
}

impl Model {
    fn check(&self) {
        for (_, instructions) in self.flows.values() {
            let meter = instructions.meter;
            assert!(
                meter.is_none_or(|m| self.meters.contains_key(&m)),
                "no meter {meter:?}"
            );
            for action in &instructions.apply {
                if let Action::Group(id) = action {
                    assert!(self.groups.contains_key(id), "no group {id}");
                }
            }
        }
    }

    fn take(&mut self, message: &Message) {
        match message {
            Message::FlowMod(m) => {
                let id = FlowId {
                    table: m.table,
                    priority: m.priority,
                    matching: m.matching.clone(),
                };
                let value = (m.cookie, m.instructions.clone());
                match m.command {
                    FlowCommand::Add => drop(self.flows.insert(id, value)),
                    FlowCommand::ModifyStrict => {
                        let there = self.flows.get_mut(&id).expect("modifies nothing");
                        assert_eq!(there.0, m.cookie, "a modification cannot change a cookie");
                        there.1 = value.1;
                    }
                    _ => assert!(self.flows.remove(&id).is_some(), "deletes nothing"),
                }
            }
            Message::GroupMod(m) => match m.command {
                GroupCommand::Add => {
                    assert!(self.groups.insert(m.group, m.buckets.clone()).is_none());
                }
                GroupCommand::Modify => {
                    assert!(self.groups.insert(m.group, m.buckets.clone()).is_some());
                }
                _ => assert!(self.groups.remove(&m.group).is_some()),
            },
            Message::MeterMod(m) => match m.command {
                MeterCommand::Add => {
                    assert!(self.meters.insert(m.meter, m.bands.clone()).is_none());
                }
                MeterCommand::Modify => {
                    assert!(self.meters.insert(m.meter, m.bands.clone()).is_some());
                }
                MeterCommand::Delete => assert!(self.meters.remove(&m.meter).is_some()),
            },
            other => panic!("{other:?}"),
        }
        self.check();
    }
}

/// (in_port, what it does, group's bucket port, meter's rate): few values, so that sets overlap.
fn set(entries: &BTreeSet<(u32, u8, u32, u32)>) -> FlowSet {
    let mut set = FlowSet::default();
    for (port, kind, to, rate) in entries {
        let table = if kind & 1 == 0 {
            Table::Output
        } else {
            Table::Mirror
        };
        let origin = Origin::table(Feature::Output, table);
        let mut flow = Flow::new(Table::Output, 7, "test").when(Field::InPort, *port);
        if kind & 2 != 0 {
            let name = format!("Pod a/b {port}");
            let taken = set.groups.values().any(|g| g.label == name);
            if !taken {
                let buckets = vec![bucket(vec![output(PortNo(*to))])];
                let group = set.add_group(GroupType::All, name, buckets);
                flow = flow.act(Action::Group(group));
            }
        }
        if kind & 4 != 0 {
            let rate = cluster::desired::Rate {
                kbps: *rate,
                burst_kbit: 1,
            };
            let meter = flows::Meter::drop_above(rate, "Pod a/b rate".into());
            set.meters.insert(MeterId(*port), meter);
            flow = flow.meter(MeterId(*port));
        }
        set.add(&origin, flow);
    }
    set
}

fn entries() -> impl Strategy<Value = BTreeSet<(u32, u8, u32, u32)>> {
    proptest::collection::btree_set((1u32..6, 0u8..8, 1u32..3, 1u32..3), 0..8)
}

proptest! {
    #[test]
    fn any_set_becomes_any_other_and_nothing_dangles(a in entries(), b in entries()) {
        let (mut model, mut held) = (Model::default(), Inventory::default());
        for wanted in [set(&a), set(&b)] {
            let plan = plan(&held, &wanted, true);
            for step in plan.steps() {
                model.take(&step.message());
                held.follow(step);
            }
            prop_assert!(crate::plan(&held, &wanted, true).is_empty(), "a second plan has work");
            let flows: BTreeMap<_, _> = wanted.flows.iter()
                .map(|(id, f)| (id.clone(), (f.cookie, f.instructions.clone()))).collect();
            prop_assert_eq!(&model.flows, &flows);
            prop_assert!(model.groups.keys().eq(wanted.groups.keys()));
            prop_assert!(model.meters.keys().eq(wanted.meters.keys()));
        }
    }
}
