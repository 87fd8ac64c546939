//! Flows made from packets (ovs-actions(7), `learn`): what one will be, and whether it is there.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use net::{PortNo, TableId};
use openflow::action::{LEARN_SEND_REMOVED, Learn, LearnSource, LearnTarget};
use openflow::model::{FLOW_SEND_REMOVED, FlowMod};
use openflow::{Action, Instructions, Match, SubField};

use crate::rule::{Form, MaskedKey};
use crate::{Mask, Pipeline, Rule};

/// A flow that a packet asks for.
#[derive(Debug)]
pub struct Learned {
    /// To be added, or changed as a strict modification would.
    pub(crate) flow: FlowMod,
    /// Most flows with its cookie in its table; 0: any number.
    pub(crate) limit: u32,
    key: MaskedKey,
}

impl PartialEq for Learned {
    fn eq(&self, other: &Self) -> bool {
        self.flow == other.flow && self.limit == other.limit
    }
}

impl Eq for Learned {}

impl Hash for Learned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.flow.table, self.flow.cookie, &self.flow.matching).hash(state);
        self.flow.instructions.hash(state);
    }
}

impl Learned {
    /// What `learn` makes of a packet, whose fields are read with `read`.
    pub fn new(learn: &Learn, mut read: impl FnMut(SubField) -> u128) -> Self {
        let mut matching = Match::any();
        let mut actions = Vec::new();
        if learn.fin_idle_timeout != 0 || learn.fin_hard_timeout != 0 {
            actions.push(Action::FinTimeout {
                idle: learn.fin_idle_timeout,
                hard: learn.fin_hard_timeout,
            });
        }
        for spec in &learn.specs {
            let value = match spec.src {
                LearnSource::Field(src) => read(src),
                LearnSource::Value { value, .. } => value,
            };
            match spec.dst {
                LearnTarget::Match(dst) => {
                    let shift = dst.shift;
                    matching.add_bits(dst.field, value << shift, dst.ones() << shift);
                }
                LearnTarget::Load(dst) => load(dst, value, &mut actions),
                LearnTarget::Output => {
                    actions.extend(port(value).map(|port| Action::Output { port, max_len: 0 }))
                }
            }
        }
        let (value, mask) = matching.to_keys();
        let mask = Arc::new(Mask::new(&mask));
        let form = Form {
            fields: matching.iter().map(|f| (f.field, f.mask)).collect(),
            mask: mask.clone(),
        };
        let mut flow = FlowMod::add(
            learn.table,
            learn.priority,
            matching,
            Instructions::apply(actions),
        );
        flow.cookie = learn.cookie;
        (flow.idle_timeout, flow.hard_timeout) = (learn.idle_timeout, learn.hard_timeout);
        if learn.flags & LEARN_SEND_REMOVED != 0 {
            flow.flags |= FLOW_SEND_REMOVED;
        }
        Learned {
            flow,
            limit: learn.limit,
            key: MaskedKey {
                form: Arc::new(form),
                value: mask.pack(&value),
            },
        }
    }

    /// The table that it goes to.
    pub fn table(&self) -> TableId {
        self.flow.table
    }

    /// True for a flow that says the same as this one would.
    pub(crate) fn says_the_same(&self, rule: &Rule) -> bool {
        rule.cookie == self.flow.cookie && *rule.instructions == self.flow.instructions
    }
}

impl Pipeline {
    /// The flow, if it is there as wanted.
    pub fn learned(&self, wanted: &Learned) -> Option<&Arc<Rule>> {
        self.of_its_match(wanted)
            .filter(|rule| wanted.says_the_same(rule))
    }

    /// True unless the flow would be one too many.
    pub fn may_learn(&self, wanted: &Learned) -> bool {
        let limit = wanted.limit as usize;
        if limit == 0 || self.of_its_match(wanted).is_some() {
            return true;
        }
        let rules = self.table(wanted.flow.table).into_iter();
        let same = |rule: &&Arc<Rule>| rule.cookie == wanted.flow.cookie;
        rules
            .flat_map(|t| t.rules())
            .filter(same)
            .take(limit)
            .count()
            < limit
    }

    /// The flow of the same match and priority.
    pub(crate) fn of_its_match(&self, wanted: &Learned) -> Option<&Arc<Rule>> {
        let table = self.table(wanted.flow.table)?;
        table.exact(&wanted.key, wanted.flow.priority)
    }
}

/// A load of more than 64 bits is several, lowest first.
fn load(dst: SubField, value: u128, actions: &mut Vec<Action>) {
    let mut done = 0;
    while done < dst.bits {
        let piece = SubField {
            field: dst.field,
            shift: dst.shift + done,
            bits: (dst.bits - done).min(64),
        };
        actions.push(Action::Load {
            dst: piece,
            value: ((value >> done) & piece.ones()) as u64,
        });
        done += piece.bits;
    }
}

/// A port to send to; the reserved ones also by their numbers of 16 bits.
fn port(value: u128) -> Option<PortNo> {
    let number = match u32::try_from(value).ok()? {
        number @ 0xff00..=0xffff => number | 0xffff_0000,
        number => number,
    };
    let port = PortNo(number);
    let reserved = [PortNo::IN_PORT, PortNo::FLOOD, PortNo::ALL, PortNo::LOCAL];
    (port.is_ordinary() || reserved.contains(&port)).then_some(port)
}
