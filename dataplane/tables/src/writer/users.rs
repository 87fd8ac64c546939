//! How many flows or groups use each group or meter.

use net::{GroupId, MeterId};
use openflow::action::Controller;
use openflow::{Action, Instructions};
use smallvec::SmallVec;

use crate::pipeline::id_hash;
use crate::trie::Trie;

/// Counts by number. A copy costs one reference count, so that a bundle can be taken back.
#[derive(Clone, Debug, Default)]
pub(super) struct Users(Trie<(u32, u32)>);

impl Users {
    /// How many use it.
    pub(super) fn count(&self, id: u32) -> usize {
        let found = self.0.find(id_hash(id), |(of, _)| *of == id);
        found.map_or(0, |(_, count)| *count as usize)
    }

    /// One more.
    pub(super) fn add(&mut self, id: u32) {
        match self.0.find_mut(id_hash(id), |(of, _)| *of == id) {
            Some((_, count)) => *count += 1,
            None => self.0.insert(id_hash(id), (id, 1), |_| true),
        }
    }

    /// One less.
    pub(super) fn sub(&mut self, id: u32) {
        match self.0.find_mut(id_hash(id), |(of, _)| *of == id) {
            Some((_, count)) if *count > 1 => *count -= 1,
            _ => drop(self.take(id)),
        }
    }

    /// Forgets it; true if somebody used it.
    pub(super) fn take(&mut self, id: u32) -> bool {
        let taken = self.0.remove(id_hash(id), |(of, _)| *of == id);
        taken.is_some()
    }
}

/// Groups and meters that instructions use, each once.
#[derive(Debug, Default)]
pub(super) struct Used {
    pub(super) groups: SmallVec<[GroupId; 4]>,
    pub(super) meters: SmallVec<[MeterId; 4]>,
}

impl Used {
    /// Goes through the instructions.
    pub(super) fn by(instructions: &Instructions) -> Self {
        let mut used = Used {
            meters: instructions.meter.into_iter().collect(),
            ..Used::default()
        };
        used.gather(&instructions.apply);
        if let Some(written) = &instructions.write {
            used.gather(written);
        }
        used
    }

    fn gather(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Group(id) if !self.groups.contains(id) => self.groups.push(*id),
                Action::Meter(id) if !self.meters.contains(id) => self.meters.push(*id),
                Action::Controller(Controller {
                    meter_id: Some(id), ..
                }) if !self.meters.contains(id) => self.meters.push(*id),
                Action::Clone(inner) => self.gather(inner),
                _ => {}
            }
        }
    }
}
