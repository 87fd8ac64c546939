//! The difference between what a switch holds and what it shall hold: a pure function.

use flows::FlowSet;
use flows::flow::FlowId;
use net::{GroupId, MeterId};
use openflow::model::{
    FlowCommand, FlowMod, GroupCommand, GroupMod, GroupType, MeterCommand, MeterMod,
};
use openflow::msg::Message;

use crate::canonical;
use crate::inventory::{HeldFlow, HeldGroup, HeldMeter, Inventory};

/// One modification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is sent.
    pub message: Message,
    /// The object it comes from, as `Kind namespace/name`.
    pub object: String,
    /// What it means for the inventory once the switch has taken it.
    pub(crate) effect: Effect,
}

impl Step {
    /// Follows it in what is known of the switch, once the switch has taken it.
    pub fn follow(&self, held: &mut Inventory) {
        self.effect.clone().apply(held);
    }
}

/// A change of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Flow(FlowId, Option<HeldFlow>),
    Group(GroupId, Option<HeldGroup>),
    Meter(MeterId, Option<HeldMeter>),
}

impl Effect {
    pub fn apply(self, held: &mut Inventory) {
        match self {
            Effect::Flow(id, Some(flow)) => drop(held.flows.insert(id, flow)),
            Effect::Flow(id, None) => drop(held.flows.remove(&id)),
            Effect::Group(id, Some(group)) => drop(held.groups.insert(id, group)),
            Effect::Group(id, None) => drop(held.groups.remove(&id)),
            Effect::Meter(id, Some(meter)) => drop(held.meters.insert(id, meter)),
            Effect::Meter(id, None) => drop(held.meters.remove(&id)),
        }
    }
}

/// The modifications that make one out of the other, in an order that leaves no gap: what is
/// referred to comes before what refers to it, and goes after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Meters added and changed. Bundles do not carry meters (Open vSwitch refuses them).
    pub meters: Vec<Step>,
    /// Groups added and changed, flows added and changed, flows deleted, groups deleted: one bundle.
    pub bundle: Vec<Step>,
    /// Meters deleted.
    pub deleted_meters: Vec<Step>,
    /// Flows added or changed.
    pub flows_set: usize,
    /// Flows deleted.
    pub flows_deleted: usize,
}

impl Plan {
    /// True where nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every step, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let steps = self.meters.iter().chain(&self.bundle);
        steps.chain(&self.deleted_meters)
    }

    /// Modifications in it.
    pub fn len(&self) -> usize {
        self.meters.len() + self.bundle.len() + self.deleted_meters.len()
    }
}

/// Compares. With `complete` false nothing is deleted: what the intent does not name may only not
/// have been read yet.
pub fn plan(held: &Inventory, desired: &FlowSet, complete: bool) -> Plan {
    plan_after(None, held, desired, complete)
}

/// Compares, knowing what was desired before: what was and is no more is deleted even while the
/// intent is incomplete, since it had been read.
pub fn plan_after(
    before: Option<&FlowSet>,
    held: &Inventory,
    desired: &FlowSet,
    complete: bool,
) -> Plan {
    let mut plan = Plan::default();
    for (id, meter) in &desired.meters {
        let wanted = HeldMeter {
            flags: meter.flags,
            bands: meter.bands.clone(),
        };
        let command = match held.meters.get(id) {
            Some(there) if *there == wanted => continue,
            Some(_) => MeterCommand::Modify,
            None => MeterCommand::Add,
        };
        plan.meters
            .push(meter_step(command, *id, wanted, object_of(&meter.label)));
    }
    for (id, group) in &desired.groups {
        let wanted = HeldGroup {
            kind: group.kind,
            buckets: canonical::buckets(group.kind, &group.buckets),
        };
        let command = match held.groups.get(id) {
            Some(there) if *there == wanted => continue,
            Some(_) => GroupCommand::Modify,
            None => GroupCommand::Add,
        };
        plan.bundle
            .push(group_step(command, *id, wanted, object_of(&group.label)));
    }
    set_flows(held, desired, &mut plan);
    let unwanted = held
        .flows
        .iter()
        .filter(|(id, _)| !desired.flows.contains_key(id));
    if complete {
        delete_flows(unwanted, desired, &mut plan);
        delete_groups_and_meters(held, desired, &mut plan);
    } else if let Some(before) = before {
        // Groups and meters stay: flows that are not known yet may refer to them.
        let known = unwanted.filter(|(id, _)| before.flows.contains_key(id));
        delete_flows(known, desired, &mut plan);
    }
    plan
}

fn set_flows(held: &Inventory, desired: &FlowSet, plan: &mut Plan) {
    for (id, flow) in &desired.flows {
        let wanted = HeldFlow {
            cookie: flow.cookie,
            instructions: canonical::instructions(&flow.instructions),
            plain: true,
        };
        let command = match held.flows.get(id) {
            Some(there) if *there == wanted => continue,
            // Modification keeps counters and age, but cannot change the cookie (6.4).
            Some(there) if there.cookie == wanted.cookie && there.plain => {
                FlowCommand::ModifyStrict
            }
            Some(_) | None => FlowCommand::Add,
        };
        let (table, priority, matching) = (id.table, id.priority, id.matching.clone());
        let message = FlowMod {
            command,
            cookie: wanted.cookie,
            ..FlowMod::add(table, priority, matching, wanted.instructions.clone())
        };
        let label = desired.labels.get(&flow.cookie).cloned();
        plan.bundle.push(Step {
            message: Message::FlowMod(message),
            object: label.unwrap_or_default(),
            effect: Effect::Flow(id.clone(), Some(wanted)),
        });
        plan.flows_set += 1;
    }
}

fn delete_flows<'a>(
    flows: impl Iterator<Item = (&'a FlowId, &'a HeldFlow)>,
    desired: &FlowSet,
    plan: &mut Plan,
) {
    let mut unknown: Vec<_> = flows.collect();
    unknown.sort_by(|a, b| a.0.cmp(b.0));
    for (id, flow) in unknown {
        let label = desired.labels.get(&flow.cookie).cloned();
        let delete = FlowMod::delete_strict(id.table, id.priority, id.matching.clone());
        plan.bundle.push(Step {
            message: Message::FlowMod(delete),
            object: label.unwrap_or_else(|| format!("cookie {:#x}", flow.cookie)),
            effect: Effect::Flow(id.clone(), None),
        });
        plan.flows_deleted += 1;
    }
}

fn delete_groups_and_meters(held: &Inventory, desired: &FlowSet, plan: &mut Plan) {
    let unknown = held
        .groups
        .keys()
        .filter(|id| !desired.groups.contains_key(id));
    let mut unknown: Vec<_> = unknown.copied().collect();
    unknown.sort();
    for id in unknown {
        let nothing = HeldGroup {
            kind: GroupType::All,
            buckets: Vec::new(),
        };
        let mut step = group_step(GroupCommand::Delete, id, nothing, format!("group {id}"));
        step.effect = Effect::Group(id, None);
        plan.bundle.push(step);
    }
    let unknown = held
        .meters
        .keys()
        .filter(|id| !desired.meters.contains_key(id));
    let mut unknown: Vec<_> = unknown.copied().collect();
    unknown.sort();
    for id in unknown {
        let nothing = HeldMeter {
            flags: 0,
            bands: Vec::new(),
        };
        let mut step = meter_step(MeterCommand::Delete, id, nothing, format!("meter {id}"));
        step.effect = Effect::Meter(id, None);
        plan.deleted_meters.push(step);
    }
}

fn meter_step(command: MeterCommand, meter: MeterId, wanted: HeldMeter, object: String) -> Step {
    let message = MeterMod {
        command,
        flags: wanted.flags,
        meter,
        bands: wanted.bands.clone(),
    };
    Step {
        message: Message::MeterMod(message),
        object,
        effect: Effect::Meter(meter, Some(wanted)),
    }
}

fn group_step(command: GroupCommand, group: GroupId, wanted: HeldGroup, object: String) -> Step {
    let message = GroupMod {
        command,
        kind: wanted.kind,
        group,
        command_bucket_id: 0,
        buckets: wanted.buckets.clone(),
        selection: None,
        properties: Vec::new(),
    };
    Step {
        message: Message::GroupMod(message),
        object,
        effect: Effect::Group(group, Some(wanted)),
    }
}

/// The object at the front of a group's or meter's label, `Kind namespace/name for what`.
fn object_of(label: &str) -> String {
    let mut words = label.split(' ');
    let kind_and_name: Vec<_> = words.by_ref().take(2).collect();
    kind_and_name.join(" ")
}
