//! One switch with the flows that it shall have, and what becomes of a packet there: an interpreter
//! of what this crate compiles, and of nothing else. An action that it does not know ends the trace
//! with [`End::Unclear`], never with a guess.

use std::collections::BTreeMap;

use cluster::query::{Choice, Step};
use net::key::VLAN_PRESENT;
use net::{FlowKey, PortNo, TableId};
use openflow::model::GroupType;
use openflow::{Action, Field, Instructions};

use super::track::{Known, Tracker};
use crate::flow::{FlowId, FlowSet, Installed};
use crate::tables::Table;
use crate::text;
use crate::view::Ports;

/// Most lookups for one packet, as the dataplane has it.
const MOST_STEPS: usize = 4096;
/// Most groups and tables inside each other.
const MOST_DEPTH: usize = 64;

/// A node's switch.
#[derive(Debug)]
pub struct Switch {
    /// The node.
    pub node: String,
    /// What it shall hold.
    pub set: FlowSet,
    /// Its ports.
    pub ports: Ports,
    /// Flows by table, the highest priority first.
    tables: BTreeMap<TableId, Vec<FlowId>>,
}

impl Switch {
    /// Of what was compiled.
    pub fn new(node: &str, set: FlowSet, ports: Ports) -> Self {
        let mut tables: BTreeMap<TableId, Vec<FlowId>> = BTreeMap::new();
        for id in set.flows.keys() {
            tables.entry(id.table).or_default().push(id.clone());
        }
        for flows in tables.values_mut() {
            flows.sort_by_key(|id| std::cmp::Reverse(id.priority));
        }
        Switch {
            node: node.into(),
            set,
            ports,
            tables,
        }
    }

    /// The name of a port.
    pub fn port_name(&self, number: PortNo) -> Option<&str> {
        let mut ports = self.ports.iter();
        let found = ports.find(|(_, port)| **port == number);
        found.map(|(name, _)| name.as_str())
    }

    fn lookup(&self, table: TableId, key: &FlowKey) -> Option<(&FlowId, &Installed)> {
        let flows = self.tables.get(&table)?;
        let id = flows.iter().find(|id| matches(id, key))?;
        Some((id, self.set.flows.get(id)?))
    }
}

fn matches(id: &FlowId, key: &FlowKey) -> bool {
    let mut fields = id.matching.iter();
    fields.all(|f| f.field.info().slot.get(key) & f.mask == f.value)
}

/// What is chosen by weight: the machine runs once for each way to choose.
#[derive(Debug, Default)]
pub struct Choices {
    script: Vec<usize>,
    made: Vec<(usize, usize)>,
}

impl Choices {
    fn choose(&mut self, options: usize) -> usize {
        let chosen = self.script.get(self.made.len()).copied().unwrap_or(0);
        self.made.push((chosen, options));
        chosen
    }

    /// The next way to choose; none: all have been.
    pub fn next(self) -> Option<Choices> {
        let last = self.made.iter().rposition(|(at, of)| at + 1 < *of)?;
        let mut script: Vec<usize> = self.made.iter().take(last).map(|(at, _)| *at).collect();
        script.push(self.made.get(last)?.0 + 1);
        Some(Choices {
            script,
            made: Vec::new(),
        })
    }
}

/// What a packet leaves behind on its way through one switch.
#[derive(Debug)]
pub struct Run<'a> {
    switch: &'a Switch,
    tracker: &'a mut Tracker,
    choices: &'a mut Choices,
    /// Flows that it met.
    pub steps: Vec<Step>,
    /// What was chosen.
    pub chosen: Vec<Choice>,
    /// What was sent, and by which port.
    pub sent: Vec<(PortNo, FlowKey)>,
    /// Why it is not known what becomes of it.
    pub unclear: Option<String>,
    depth: usize,
}

/// A packet on its way.
#[derive(Clone, Debug)]
struct Now {
    key: FlowKey,
    in_port: PortNo,
    known: Option<Known>,
}

/// What follows an action.
enum Then {
    Next,
    Stop,
}

impl<'a> Run<'a> {
    /// A packet comes in.
    pub fn new(
        switch: &'a Switch,
        tracker: &'a mut Tracker,
        choices: &'a mut Choices,
        in_port: PortNo,
        mut key: FlowKey,
    ) -> Self {
        let mut run = Run {
            switch,
            tracker,
            choices,
            steps: Vec::new(),
            chosen: Vec::new(),
            sent: Vec::new(),
            unclear: None,
            depth: 0,
        };
        key.in_port = in_port.0.into();
        let mut now = Now {
            key,
            in_port,
            known: None,
        };
        run.table(&mut now, TableId(0));
        run
    }

    /// The flow that it met last: whose doing it is that nothing was sent.
    pub fn last(&self) -> Option<&Step> {
        self.steps.last()
    }

    fn table(&mut self, now: &mut Now, first: TableId) {
        let mut next = Some(first);
        while let Some(table) = next {
            if self.steps.len() >= MOST_STEPS || self.unclear.is_some() {
                self.unclear
                    .get_or_insert("it goes round in circles".into());
                return;
            }
            let switch = self.switch;
            let Some((id, flow)) = switch.lookup(table, &now.key) else {
                self.note(table, None);
                return;
            };
            self.note(table, Some((id, flow)));
            next = match self.instructions(now, &flow.instructions) {
                Then::Next => flow.instructions.goto_table,
                Then::Stop => None,
            };
        }
    }

    fn note(&mut self, table: TableId, met: Option<(&FlowId, &Installed)>) {
        let set = &self.switch.set;
        let name = Table::from_id(table).map_or_else(|| table.0.to_string(), |t| t.name().into());
        let mut step = Step {
            node: self.switch.node.clone(),
            table: name,
            intent: "No flow matches, and the table has none for what misses: dropped.".into(),
            ..Step::default()
        };
        if let Some((id, flow)) = met {
            let label = set.labels.get(&flow.cookie);
            step.priority = id.priority;
            step.object = label.cloned().unwrap_or_default();
            step.intent = flow.intent.into();
            step.matching = text::matching(&id.matching);
            step.does = text::instructions(&flow.instructions, set);
        }
        self.steps.push(step);
    }

    fn instructions(&mut self, now: &mut Now, instructions: &Instructions) -> Then {
        let unknown = instructions.write.as_deref().is_some_and(|w| !w.is_empty())
            || instructions.metadata.is_some();
        if unknown {
            self.unclear = Some("a flow writes an action set or metadata".into());
            return Then::Stop;
        }
        self.actions(now, &instructions.apply)
    }

    fn actions(&mut self, now: &mut Now, actions: &[Action]) -> Then {
        for action in actions {
            if let Then::Stop = self.action(now, action) {
                return Then::Stop;
            }
            if self.unclear.is_some() {
                return Then::Stop;
            }
        }
        Then::Next
    }

    /// Actions on a copy: where they stop, the original goes on.
    fn copied(&mut self, copy: &mut Now, actions: &[Action]) {
        match self.actions(copy, actions) {
            Then::Next | Then::Stop => {}
        }
    }

    fn action(&mut self, now: &mut Now, action: &Action) -> Then {
        if write(action, &mut now.key) {
            return Then::Next;
        }
        match action {
            Action::Output { port, .. } => self.output(now, *port),
            // A copy for the controller, a queue, a rate: they do not change where it goes.
            Action::Controller(_) | Action::SetQueue(_) | Action::PopQueue | Action::Note(_) => {}
            Action::Meter(_) => {}
            // What is learnt is for later connections; an answer that refuses is none.
            Action::Learn(_) | Action::Reject => {}
            Action::Group(id) => {
                let switch = self.switch;
                let Some(group) = switch.set.groups.get(id) else {
                    self.unclear = Some(format!("group {} is not there", id.0));
                    return Then::Stop;
                };
                return self.group(now, group);
            }
            Action::DecNwTtl if now.key.nw_ttl <= 1 => {
                self.unclear = Some("its time to live runs out".into());
                return Then::Stop;
            }
            Action::DecNwTtl => now.key.nw_ttl -= 1,
            Action::Resubmit {
                port: None,
                table: Some(table),
                ct: false,
            } => self.deeper(|run| run.table(now, *table)),
            Action::Ct(ct) => {
                // Tables behind it see a copy; what follows the action sees the packet as it was.
                let mut copy = now.clone();
                self.tracker.track(ct, &mut copy.key, &mut copy.known);
                now.known = copy.known;
                if let Some(table) = ct.table {
                    self.deeper(|run| run.table(&mut copy, table));
                }
            }
            Action::Clone(actions) => {
                let mut copy = now.clone();
                self.deeper(|run| run.copied(&mut copy, actions));
            }
            Action::CtClear => {
                now.known = None;
                let clear = FlowKey::default();
                now.key.ct_state = clear.ct_state;
                now.key.ct_zone = clear.ct_zone;
                now.key.ct_mark = clear.ct_mark;
                now.key.ct_label = clear.ct_label;
            }
            Action::Exit => return Then::Stop,
            other => {
                self.unclear = Some(format!("a flow does what a trace cannot follow: {other:?}"));
                return Then::Stop;
            }
        }
        Then::Next
    }

    fn group(&mut self, now: &mut Now, group: &crate::Group) -> Then {
        let switch = self.switch;
        match group.kind {
            GroupType::All => {
                for bucket in &group.buckets {
                    let mut copy = now.clone();
                    self.deeper(|run| run.copied(&mut copy, &bucket.actions));
                }
            }
            GroupType::Select | GroupType::Indirect | GroupType::FastFailover => {
                let live: Vec<_> = match group.kind {
                    GroupType::Select => group.buckets.iter().filter(|b| b.weight > 0).collect(),
                    _ => group.buckets.iter().take(1).collect(),
                };
                let chosen = match live.len() {
                    0 | 1 => 0,
                    several => self.choices.choose(several),
                };
                let Some(bucket) = live.get(chosen) else {
                    return Then::Next; // a group without buckets drops
                };
                let does = bucket.actions.iter().map(|a| text::action(a, &switch.set));
                let does: Vec<_> = does.collect();
                self.chosen.push(Choice {
                    group: group.label.clone(),
                    does: does.join(", "),
                    weight: bucket.weight.into(),
                    of: live.iter().map(|bucket| u32::from(bucket.weight)).sum(),
                });
                // A group works on a copy, as ct does.
                let mut copy = now.clone();
                self.deeper(|run| run.copied(&mut copy, &bucket.actions));
            }
        }
        Then::Next
    }

    fn deeper(&mut self, inside: impl FnOnce(&mut Self)) {
        if self.depth >= MOST_DEPTH {
            self.unclear = Some("tables and groups are too deep inside each other".into());
            return;
        }
        self.depth += 1;
        inside(self);
        self.depth -= 1;
    }

    fn output(&mut self, now: &Now, port: PortNo) {
        let port = match port {
            PortNo::CONTROLLER => return,
            PortNo::IN_PORT => now.in_port,
            // It goes back by IN_PORT only (OpenFlow 1.3.5, 5.12).
            port if port == now.in_port => return,
            port => port,
        };
        self.sent.push((port, now.key));
    }
}

/// Runs an action that only writes fields; false for another.
pub fn write(action: &Action, key: &mut FlowKey) -> bool {
    match action {
        Action::SetField { field, value, mask } => field.info().slot.set(key, *value, *mask),
        Action::Load { dst, value } => dst.set(key, u128::from(*value)),
        Action::Move { src, dst } => dst.set(key, src.get(key)),
        Action::SetNwTtl(ttl) => key.nw_ttl = *ttl,
        Action::PushVlan { tpid } => {
            key.vlan_tci = VLAN_PRESENT.into();
            key.vlan_tpid = (*tpid).into();
        }
        Action::PopVlan => {
            let none = FlowKey::default();
            key.vlan_tci = none.vlan_tci;
            key.vlan_tpid = none.vlan_tpid;
        }
        _ => return false,
    }
    true
}

/// The 802.1Q tag of a packet.
pub fn vlan(key: &FlowKey) -> Option<u16> {
    let vid = Field::VlanVid.info().slot.get(key) as u16;
    (vid & VLAN_PRESENT != 0).then_some(vid & 0xfff)
}
