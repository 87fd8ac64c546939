//! What a switch has against what it shall have, in words. What counts as different is what a
//! session would send a modification for.

use std::collections::HashMap;

use flows::flow::{FlowId, Group, Installed, Meter};
use flows::{FlowSet, Table, text};
use openflow::msg::{FlowStats, Impairment, ZoneLimit};

use crate::entry::{Entry, Key, entries, object_of};
use crate::inspect::Reading;

/// In which way something is otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Differs {
    /// The switch lacks it.
    Missing,
    /// The switch has it as something else.
    Different,
    /// Nobody asked for it.
    Extra,
}

/// Something that is otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// In which way.
    pub how: Differs,
    /// `flow`, `group`, `meter`, `zone` or `impairment`.
    pub what: &'static str,
    /// The object it comes from; empty: not known.
    pub object: String,
    /// What it is for; empty: not known.
    pub intent: String,
    /// As it shall be; empty: not at all.
    pub desired: String,
    /// As it is; empty: not at all.
    pub held: String,
}

/// Compares; also gives how many flows, groups and meters are as they shall be.
pub fn diff(reading: &Reading, desired: &FlowSet) -> (usize, Vec<Difference>) {
    let mut left = reading.inventory().entries;
    let words = Words::new(reading, desired);
    let mut same = 0;
    let mut found = Vec::new();
    for entry in entries(desired).0 {
        let how = match left.remove(&entry.key) {
            Some(there) if there.digest == entry.digest && !there.is_unlike() => {
                same += 1;
                continue;
            }
            Some(_) => Differs::Different,
            None => Differs::Missing,
        };
        found.push(words.difference(how, entry.key));
    }
    let extra = left
        .keys()
        .map(|key| words.difference(Differs::Extra, *key));
    found.extend(extra);
    found.sort();
    (same, found)
}

struct Words<'a> {
    set: &'a FlowSet,
    labels: &'a std::collections::BTreeMap<u64, String>,
    desired: HashMap<Key, (&'a FlowId, &'a Installed)>,
    held: HashMap<Key, &'a FlowStats>,
    groups: HashMap<u32, Group>,
    meters: HashMap<u32, Meter>,
    zones: &'a [ZoneLimit],
    impairments: &'a [Impairment],
}

impl<'a> Words<'a> {
    fn new(reading: &'a Reading, set: &'a FlowSet) -> Self {
        let desired = set.flows.iter();
        let held = reading.flows.iter().map(|flow| {
            let id = FlowId {
                table: flow.table,
                priority: flow.priority,
                matching: flow.matching.clone(),
            };
            (Entry::key_of(&id), flow)
        });
        let groups = reading.groups.iter().map(|group| {
            let shown = Group {
                kind: group.kind,
                buckets: group.buckets.clone(),
                label: format!("group {}", group.group),
            };
            (group.group.0, shown)
        });
        let meters = reading.meters.iter().map(|meter| {
            let shown = Meter {
                flags: meter.flags,
                bands: meter.bands.clone(),
                label: format!("meter {}", meter.meter),
            };
            (meter.meter.0, shown)
        });
        Words {
            set,
            labels: &reading.labels,
            desired: desired
                .map(|(id, flow)| (Entry::key_of(id), (id, flow)))
                .collect(),
            held: held.collect(),
            groups: groups.collect(),
            meters: meters.collect(),
            zones: &reading.zones,
            impairments: &reading.impairments,
        }
    }

    fn difference(&self, how: Differs, key: Key) -> Difference {
        let mut told = Difference {
            how,
            what: "flow",
            object: String::new(),
            intent: String::new(),
            desired: String::new(),
            held: String::new(),
        };
        match key {
            Key::Flow(_) => self.flow(key, &mut told),
            Key::Group(number) => {
                told.what = "group";
                if let Some(group) = self.set.groups.get(&net::GroupId(number)) {
                    told.object = object_of(&group.label).into();
                    told.intent = group.label.clone();
                    told.desired = text::group(group, self.set);
                }
                if let Some(group) = self.groups.get(&number) {
                    told.held = text::group(group, self.set);
                }
            }
            Key::Meter(number) => {
                told.what = "meter";
                if let Some(meter) = self.set.meters.get(&net::MeterId(number)) {
                    told.object = object_of(&meter.label).into();
                    told.intent = meter.label.clone();
                    told.desired = text::meter(meter);
                }
                if let Some(meter) = self.meters.get(&number) {
                    told.held = text::meter(meter);
                }
            }
            Key::Zone(number) => {
                told.what = "zone";
                if let Some(limit) = self.set.zone_limits.get(&number) {
                    told.object = object_of(&limit.label).into();
                    told.intent = limit.label.clone();
                    let (most, owner) = (limit.limit, limit.owner);
                    told.desired = format!("zone {number}: {most} connections, owner {owner:#x}");
                }
                if let Some(limit) = self.zones.iter().find(|limit| limit.zone == number) {
                    let (most, owner) = (limit.limit.unwrap_or(0), limit.owner);
                    told.held = format!("zone {number}: {most} connections, owner {owner:#x}");
                }
            }
            Key::Impairment(number) => {
                told.what = "impairment";
                let port = net::PortNo(number);
                if let Some(impaired) = self.set.impairments.get(&port) {
                    told.object = object_of(&impaired.label).into();
                    told.intent = impaired.label.clone();
                    told.desired = text::impairment(&impaired.impairment);
                }
                if let Some(held) = self.impairments.iter().find(|held| held.port == port) {
                    told.held = text::impairment(held);
                }
            }
        }
        told
    }

    fn flow(&self, key: Key, told: &mut Difference) {
        if let Some(flow) = self.held.get(&key) {
            let label = self
                .set
                .labels
                .get(&flow.cookie)
                .or(self.labels.get(&flow.cookie));
            told.object = label.cloned().unwrap_or_default();
            let table = table(flow.table);
            let matching = text::matching(&flow.matching);
            let does = text::instructions(&flow.instructions, self.set);
            told.held = format!(
                "{table} {} {matching} -> {does}, cookie {:#x}",
                flow.priority, flow.cookie
            );
            let limits = [
                ("idle", flow.idle_timeout),
                ("hard", flow.hard_timeout),
                ("flags", flow.flags),
            ];
            for (name, value) in limits.into_iter().filter(|(_, value)| *value != 0) {
                told.held += &format!(", {name} {value}");
            }
        }
        if let Some((id, flow)) = self.desired.get(&key) {
            told.object = self
                .set
                .labels
                .get(&flow.cookie)
                .cloned()
                .unwrap_or_default();
            told.intent = flow.intent.into();
            let table = table(id.table);
            let matching = text::matching(&id.matching);
            let does = text::instructions(&flow.instructions, self.set);
            told.desired = format!(
                "{table} {} {matching} -> {does}, cookie {:#x}",
                id.priority, flow.cookie
            );
        }
    }
}

fn table(id: net::TableId) -> String {
    Table::from_id(id).map_or_else(|| format!("table {}", id.0), |table| table.name().into())
}
