//! Group-mods (OpenFlow 1.3.5, 6.5 and A.3.4.2).

use std::collections::HashSet;
use std::sync::Arc;

use net::{GroupId, PortNo};
use openflow::model::{GroupCommand, GroupMod, GroupType};

use super::buckets::check_ids;
use super::users::Used;
use super::{Change, RemovedReason, Tables};
use crate::group::groups_in;
use crate::pipeline::id_hash;
use crate::{Group, Refused, Rule, looks};

/// Most buckets in a group.
const MAX_BUCKETS: usize = 4096;

impl Tables {
    /// Applies a group-mod at `now` nanoseconds; all of it or, if refused, nothing. Deleting a
    /// group deletes the flows that use it.
    pub fn group_mod(&mut self, request: &GroupMod, now: u64) -> Result<Vec<Change>, Refused> {
        let id = request.group;
        // Open vSwitch's own command is one of the specification's two.
        let command = match request.command {
            GroupCommand::AddOrModify if self.next.group(id).is_some() => GroupCommand::Modify,
            GroupCommand::AddOrModify => GroupCommand::Add,
            command => command,
        };
        match command {
            GroupCommand::Add | GroupCommand::AddOrModify => {
                self.check_group(request)?;
                if self.next.group(id).is_some() {
                    return Err(Refused::GroupExists(id));
                }
                if self.next.groups.len() >= self.most_groups {
                    return Err(Refused::OutOfGroups);
                }
                self.put_group(Group::new(request, now));
                Ok(Vec::new())
            }
            GroupCommand::Modify => {
                self.check_group(request)?;
                let old = self.next.group(id).ok_or(Refused::UnknownGroup(id))?;
                // The group's counters go on, its buckets' begin again.
                let mut group = Group::new(request, old.created);
                group.stats = old.stats.clone();
                self.put_group(group);
                Ok(Vec::new())
            }
            GroupCommand::Delete => self.delete_group(id),
            GroupCommand::InsertBucket | GroupCommand::RemoveBucket => self.change_buckets(request),
        }
    }

    pub(super) fn put_group(&mut self, mut group: Group) {
        group.generation = self.next.generation;
        self.changed = true;
        let (id, hash) = (group.id, id_hash(group.id.0));
        self.next
            .look_at(|looked_at| looks::group(&group, looked_at));
        let group = Arc::new(group);
        for next in group.next_groups() {
            self.chain_users.add(next.0);
        }
        let replaced = match self.next.groups.find_mut(hash, |old| old.id == id) {
            Some(old) => Some(std::mem::replace(old, group)),
            None => {
                self.next.groups.insert(hash, group, |_| true);
                None
            }
        };
        if let Some(replaced) = replaced {
            self.forget_chain(&replaced);
        }
    }

    fn forget_chain(&mut self, group: &Group) {
        for next in group.next_groups() {
            self.chain_users.sub(next.0);
        }
    }

    fn delete_group(&mut self, id: GroupId) -> Result<Vec<Change>, Refused> {
        let doomed: Vec<GroupId> = match id {
            GroupId::ALL => self.next.groups().map(|group| group.id).collect(),
            id if id.0 > GroupId::MAX.0 => return Err(Refused::InvalidGroup(id)),
            // Deleting what is not there is no error (6.5).
            id => self
                .next
                .group(id)
                .map(|group| group.id)
                .into_iter()
                .collect(),
        };
        if id != GroupId::ALL && self.chain_users.count(id.0) > 0 {
            return Err(Refused::ChainedGroup(id));
        }
        let mut used = HashSet::new();
        for id in doomed {
            self.changed = true;
            let hash = id_hash(id.0);
            if let Some(group) = self.next.groups.remove(hash, |group| group.id == id) {
                self.forget_chain(&group);
            }
            if self.group_users.take(id.0) {
                used.insert(id);
            }
        }
        Ok(
            self.remove_where(!used.is_empty(), RemovedReason::GroupDelete, |rule| {
                Used::by(&rule.instructions)
                    .groups
                    .iter()
                    .any(|id| used.contains(id))
            }),
        )
    }

    /// Removes flows of all tables, if there is reason to look for any.
    pub(super) fn remove_where(
        &mut self,
        look: bool,
        reason: RemovedReason,
        doomed: impl Fn(&Rule) -> bool,
    ) -> Vec<Change> {
        if !look {
            return Vec::new();
        }
        let tables = self.next.tables();
        let rules: Vec<Arc<Rule>> = tables
            .flat_map(|(_, table)| table.rules())
            .filter(|rule| doomed(rule))
            .cloned()
            .collect();
        let removed = rules.into_iter().map(|rule| {
            self.take_out(&rule);
            Change::Removed(rule, reason)
        });
        let mut removed = removed.collect();
        self.drop_learned(&mut removed);
        removed
    }

    pub(super) fn check_group(&self, request: &GroupMod) -> Result<(), Refused> {
        let id = request.group;
        let buckets = &request.buckets;
        if id.0 > GroupId::MAX.0 || (request.kind == GroupType::Indirect && buckets.len() != 1) {
            return Err(Refused::InvalidGroup(id));
        }
        if buckets.len() > MAX_BUCKETS {
            return Err(Refused::OutOfBuckets(id));
        }
        // "includes fields such as weight that are undefined for the specified group type"
        // (OpenFlow 1.3.5, 6.5); and a select group without any weight could never select.
        let weighted = buckets.iter().any(|bucket| bucket.weight != 0);
        let select = request.kind == GroupType::Select;
        if weighted != select && !buckets.is_empty() {
            return Err(Refused::InvalidGroup(id));
        }
        check_ids(request)?;
        for bucket in buckets {
            if request.kind == GroupType::FastFailover
                && bucket.watch_port == PortNo::ANY
                && bucket.watch_group == GroupId::ANY
            {
                return Err(Refused::BadWatch(id));
            }
            if groups_in(&bucket.actions).contains(&id) {
                return Err(Refused::GroupLoop(id));
            }
            bucket
                .actions
                .iter()
                .try_for_each(|action| self.check_action(action))?;
        }
        let first: Vec<GroupId> = buckets.iter().flat_map(|b| groups_in(&b.actions)).collect();
        if self.reaches(first, id) {
            return Err(Refused::GroupLoop(id));
        }
        Ok(())
    }

    /// True if one of the groups `from` leads to `to`.
    fn reaches(&self, from: Vec<GroupId>, to: GroupId) -> bool {
        let mut seen = HashSet::new();
        let mut open = from;
        while let Some(id) = open.pop() {
            if id == to {
                return true;
            }
            if seen.insert(id)
                && let Some(group) = self.next.group(id)
            {
                open.extend(group.next_groups());
            }
        }
        false
    }
}
