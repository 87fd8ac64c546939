//! Actions that change tables, or depend on how long the packet is.

use openflow::SubField;
use openflow::action::Learn;
use tables::Learned;

use super::Walk;
use crate::effects::{self, Effect};
use crate::program::ByAddress;

impl Walk<'_> {
    /// Makes a flow of the packet (ovs-actions(7), `learn`).
    pub(super) fn learn(&mut self, learn: &Learn) {
        let wanted = Learned::new(learn, |src| self.read(src));
        let mut may = true;
        if learn.limit != 0 {
            // Any flow that comes or goes in that table may change the answer.
            self.cacheable = false;
            may = self.world.pipeline.may_learn(&wanted);
        }
        if let Some(result) = learn.result {
            self.write_range(result, may.into());
        }
        if may {
            let learn = effects::Learn::new(wanted);
            self.effects.push(Effect::Learn(learn));
        }
    }

    /// Shortens the timeouts of the flow that says so, when a connection ends.
    pub(super) fn fin_timeout(&mut self, idle: u16, hard: u16) {
        let Some(rule) = self.rule else { return };
        self.effects.push(Effect::FinTimeout {
            rule: ByAddress(rule.clone()),
            idle,
            hard,
        });
    }

    /// Writes whether the frame is longer than `limit`, as it would be if it were sent now. The
    /// exact key does not know, so the program says for which lengths it was made.
    pub(super) fn check_length(&mut self, limit: u16, dst: SubField) {
        let arrived = i64::try_from(self.arrived.wire_len).unwrap_or(i64::MAX);
        let grown = self.len_as_sent() as i64 - self.arrived.len as i64;
        // In lengths as they were on arrival.
        let limit = i64::from(limit).saturating_sub(grown).clamp(-1, 1 << 30);
        let larger = arrived > limit;
        let (shortest, longest) = &mut self.lengths;
        match larger {
            true => *shortest = (*shortest).max((limit + 1) as u32),
            false => *longest = (*longest).min(limit as u32),
        }
        self.write_range(dst, larger.into());
    }
}
