//! Groups and action sets (OpenFlow 1.3.5, 5.6 and 5.10).

use net::{GroupId, PortNo};
use openflow::model::GroupType;
use openflow::{Action, Field};
use smallvec::SmallVec;
use tables::{Group, GroupBucket};

use super::{MAX_DEPTH, Walk, select};
use crate::DropReason;
use crate::program::{ByAddress, Reach};

impl<'a> Walk<'a> {
    pub(super) fn group(&mut self, id: GroupId) {
        let group = self.world.pipeline.group(id);
        self.deps.group(id, group.map(|g| g.generation()));
        let Some(group) = group else {
            return self.lose(DropReason::NoGroup);
        };
        self.hits.groups.push((ByAddress(group.clone()), None));
        if group.kind == GroupType::All {
            for bucket in 0..group.buckets.len() {
                self.bucket(group, bucket);
            }
            if group.buckets.is_empty() {
                self.lose(DropReason::NoBucket);
            }
            return;
        }
        let chosen = match group.kind {
            GroupType::Select => {
                self.reach = Reach::Alike;
                // A group inside a group has to choose by another hash: with the same one, it would
                // see only those flows that the outer group has chosen it for.
                let outer = self
                    .hits
                    .groups
                    .iter()
                    .filter(|(_, bucket)| bucket.is_some());
                let seed = self.world.select_seed.wrapping_add(outer.count() as u64);
                let hash = select::hash(group, &self.now.key, seed, &mut self.wanted);
                group.select_among(hash, |at| {
                    let bucket = group.buckets.get(at);
                    bucket.is_some_and(|bucket| self.is_live(bucket, 0))
                })
            }
            GroupType::FastFailover => {
                let mut buckets = group.buckets.iter();
                buckets.position(|b| self.is_live(b, 0))
            }
            GroupType::Indirect | GroupType::All => (!group.buckets.is_empty()).then_some(0),
        };
        match chosen {
            Some(bucket) => self.bucket(group, bucket),
            None => self.lose(DropReason::NoBucket),
        }
    }

    /// True if a bucket watches nothing, or one of what it watches is live (OpenFlow 1.3.5, 5.6.1;
    /// either of the two is enough, as in Open vSwitch).
    fn is_live(&mut self, bucket: &GroupBucket, depth: u32) -> bool {
        let (port, group) = (bucket.bucket.watch_port, bucket.bucket.watch_group);
        let watches = port != PortNo::ANY || group != GroupId::ANY;
        !watches
            || (port != PortNo::ANY && self.port_is_live(port))
            || (group != GroupId::ANY && self.group_is_live(group, depth))
    }

    /// A group is live if one of its buckets is.
    fn group_is_live(&mut self, id: GroupId, depth: u32) -> bool {
        let group = self.world.pipeline.group(id);
        self.deps.group(id, group.map(|g| g.generation()));
        match group {
            Some(group) if depth < MAX_DEPTH => group
                .buckets
                .iter()
                .any(|bucket| self.is_live(bucket, depth + 1)),
            _ => false,
        }
    }

    /// Runs a bucket as an action set, on a copy.
    fn bucket(&mut self, group: &'a std::sync::Arc<Group>, at: usize) {
        let Some(bucket) = group.buckets.get(at) else {
            return;
        };
        self.hits
            .groups
            .push((ByAddress(group.clone()), Some(at as u16)));
        let set: SmallVec<[&'a Action; 8]> = bucket.bucket.actions.iter().collect();
        self.on_copy(|walk| walk.action_set(&set));
    }

    /// Runs actions in the order of an action set; those of one kind in the order in which they
    /// stand. An output next to a group is not run.
    pub(super) fn action_set(&mut self, set: &[&'a Action]) {
        let mut ordered: SmallVec<[&'a Action; 8]> = SmallVec::from_slice(set);
        let grouped = ordered.iter().any(|a| matches!(a, Action::Group(_)));
        ordered.retain(|a| {
            !(grouped && matches!(a, Action::Output { .. } | Action::OutputReg { .. }))
        });
        ordered.sort_by_key(|action| rank(action));
        for (at, action) in ordered.iter().enumerate() {
            if self.stop {
                return;
            }
            self.action(action);
            if self.pausing.is_some() {
                return self.put_off(ordered.iter().skip(at + 1).copied());
            }
        }
    }
}

/// Adds an action to an action set; it replaces one of its kind.
pub(super) fn write_action<'a>(set: &mut SmallVec<[&'a Action; 8]>, action: &'a Action) {
    match set.iter_mut().find(|old| same_kind(old, action)) {
        Some(old) => *old = action,
        None => set.push(action),
    }
}

/// Where an action set sends to; [`PortNo::UNSET`] if it does not, or to a group (OpenFlow 1.5.1, 7.2.3.8).
pub(super) fn output_of(set: &[&Action]) -> PortNo {
    let grouped = set.iter().any(|action| matches!(action, Action::Group(_)));
    let output = set.iter().find_map(|action| match action {
        Action::Output { port, .. } => Some(*port),
        _ => None,
    });
    output.filter(|_| !grouped).unwrap_or(PortNo::UNSET)
}

/// Place in the order of an action set.
fn rank(action: &Action) -> u8 {
    match action {
        Action::CopyTtlIn => 0,
        Action::PopVlan | Action::PopMpls { .. } | Action::PopPbb | Action::Decap { .. } => 1,
        Action::Encap(_) | Action::PushMpls { .. } => 2,
        Action::PushPbb { .. } => 3,
        Action::PushVlan { .. } => 4,
        Action::CopyTtlOut => 5,
        Action::DecNshTtl | Action::DecNwTtl | Action::DecNwTtlIds(_) | Action::DecMplsTtl => 6,
        Action::SetField { .. }
        | Action::Load { .. }
        | Action::Move { .. }
        | Action::SetNwTtl(_)
        | Action::SetMplsTtl(_)
        | Action::StackPush(_)
        | Action::StackPop(_)
        | Action::CheckPktLarger { .. }
        | Action::DeleteField(_)
        | Action::Sample(_)
        | Action::Multipath(_)
        | Action::CtClear
        | Action::Learn(_)
        | Action::FinTimeout { .. }
        | Action::Conjunction(_)
        | Action::Note(_) => 7,
        Action::SetQueue(_) | Action::PopQueue | Action::Meter(_) => 8,
        Action::Ct(_)
        | Action::Nat(_)
        | Action::Clone(_)
        | Action::Controller(_)
        | Action::Resubmit { .. }
        | Action::Group(_)
        | Action::Output { .. }
        | Action::OutputReg { .. }
        | Action::OutputTrunc { .. }
        | Action::Bundle(_)
        | Action::Reject => 9,
        Action::Exit => 10,
    }
}

fn same_kind(a: &Action, b: &Action) -> bool {
    let field = |action: &Action| -> Option<Field> {
        match action {
            Action::SetField { field, .. } => Some(*field),
            _ => None,
        }
    };
    match (field(a), field(b)) {
        (Some(a), Some(b)) => a == b,
        _ => {
            let repeats = matches!(a, Action::Load { .. } | Action::Move { .. });
            !repeats && std::mem::discriminant(a) == std::mem::discriminant(b)
        }
    }
}
