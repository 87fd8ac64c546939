//! Packets that wait for a controller's word (ovs-actions(7), `controller(pause)`), and how they go on.
//!
//! When an action pauses a packet, the lists of actions around it end one after the other, and each
//! leaves behind what it had still to do. All of it travels with the packet to the controller, and
//! comes back with it.

use net::TableId;
use openflow::action::Controller;
use openflow::msg::{Continuation, Frame};
use openflow::{Action, Field};
use tables::Rule;

use super::{Walk, groups};
use crate::program::{Op, Rest};

/// A packet that is being put aside.
pub(super) struct Pausing {
    /// The step that sends it to the controller.
    step: usize,
    /// What is left to do, innermost first.
    frames: Vec<Frame>,
}

impl<'a> Walk<'a> {
    /// Sends the packet, all of it, to the controller; nothing more happens to it until it is back.
    pub(super) fn pause(&mut self, to: &Controller) {
        if let Some(meter) = to.meter_id {
            self.meter(meter);
        }
        self.tell_controller(to.reason, u16::MAX, to.controller_id, &to.userdata);
        self.pausing = Some(Pausing {
            step: self.ops.len() - 1,
            frames: Vec::new(),
        });
        self.stop = true;
    }

    /// The rest of a list of actions will be run later.
    pub(super) fn put_off<'b>(&mut self, rest: impl IntoIterator<Item = &'b Action>) {
        let (table, cookie) = self.here();
        let actions: Vec<Action> = rest.into_iter().cloned().collect();
        if let Some(pausing) = &mut self.pausing
            && !actions.is_empty()
        {
            pausing.frames.push(Frame {
                table,
                cookie,
                actions,
            });
        }
    }

    /// So will the instructions behind apply_actions, in the words of actions. Those about the
    /// action set are carried out at once: nobody sees the action set before the packet is back.
    pub(super) fn put_off_instructions(&mut self, rule: &'a Rule) {
        let instructions = &rule.instructions;
        if instructions.clear {
            self.set.clear();
        }
        for action in instructions.write.iter().flatten() {
            groups::write_action(&mut self.set, action);
        }
        let metadata = instructions.metadata.map(|(value, mask)| Action::SetField {
            field: Field::Metadata,
            value: value.into(),
            mask: mask.into(),
        });
        let goto = instructions.goto_table.map(|table| Action::Resubmit {
            port: None,
            table: Some(table),
            ct: false,
        });
        let rest: Vec<Action> = metadata.into_iter().chain(goto).collect();
        self.put_off(&rest);
    }

    /// Gives the packet what it needs to go on.
    pub(super) fn end_pause(&mut self) {
        let Some(pausing) = self.pausing.take() else {
            return;
        };
        // Top first, without leading zeros.
        let entry = |value: &u128| {
            let bytes = value.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes.into_iter().skip(zeros.min(15)).collect()
        };
        let rest = Continuation {
            stack: self.stack.iter().rev().map(entry).collect(),
            conntracked: self.now.key.ct_state.get() != 0,
            frames: pausing.frames,
            action_set: self.set.iter().copied().cloned().collect(),
            ..Continuation::default()
        };
        if let Some(Op::Controller(to)) = self.ops.get_mut(pausing.step) {
            to.rest = Rest(Some(rest.into()));
        }
    }

    /// Goes on with a packet that is back.
    pub(super) fn go_on(&mut self, rest: &'a Continuation) {
        self.stack = rest.stack.iter().rev().map(|entry| number(entry)).collect();
        self.set = rest.action_set.iter().collect();
        self.now.key.actset_output = groups::output_of(&self.set).0.into();
        let mut frames = rest.frames.iter();
        for frame in frames.by_ref() {
            self.resumed = Some((frame.table, frame.cookie));
            self.actions(&frame.actions);
            if self.stop {
                break;
            }
        }
        // Paused again: those outside have still not had their turn.
        for frame in frames {
            self.resumed = Some((frame.table, frame.cookie));
            self.put_off(&frame.actions);
        }
    }

    /// Table and cookie of the flow whose actions are being run.
    pub(super) fn here(&self) -> (TableId, u64) {
        match (self.rule, self.resumed) {
            (Some(rule), _) => (rule.table, rule.cookie),
            (None, Some(resumed)) => resumed,
            (None, None) => (TableId(0), u64::MAX),
        }
    }
}

/// Of an entry of the stack, as it is on the wire.
fn number(entry: &[u8]) -> u128 {
    entry
        .iter()
        .fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}
