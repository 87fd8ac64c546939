//! Flow-mods (OpenFlow 1.3.5, 6.4 and A.3.4.1).

use std::sync::Arc;

use net::{GroupId, MeterId, PortNo, TableId};
use openflow::model::{FLOW_CHECK_OVERLAP, FLOW_RESET_COUNTS, FlowCommand, FlowMod};
use openflow::{Action, Instructions};

use super::{Change, FlowFilter, RemovedReason, Tables};
use crate::group::groups_in;
use crate::{Refused, Rule, RuleStats};

impl Tables {
    /// Applies a flow-mod at `now` nanoseconds; all of it or, if refused, nothing.
    pub fn flow_mod(&mut self, request: &FlowMod, now: u64) -> Result<Vec<Change>, Refused> {
        match request.command {
            FlowCommand::Add => self.add(request, now),
            FlowCommand::Modify | FlowCommand::ModifyStrict => self.modify(request),
            FlowCommand::Delete | FlowCommand::DeleteStrict => self.delete(request),
        }
    }

    fn add(&mut self, request: &FlowMod, now: u64) -> Result<Vec<Change>, Refused> {
        let table = request.table;
        self.check(table, &request.instructions)?;
        let key = self.shared_key(&request.matching);
        let at = self.next.table(table).ok_or(Refused::NoSuchTable(table))?;
        if request.flags & FLOW_CHECK_OVERLAP != 0 && at.has_overlap(&key, request.priority) {
            return Err(Refused::Overlap(table));
        }
        let same = at.exact(&key, request.priority).cloned();
        let mut changes = Vec::with_capacity(1);
        if same.is_none() {
            self.make_room(table, &mut changes)?;
        }
        // The counters of the flow that is replaced go on, unless they are to start again.
        let stats = match &same {
            Some(old) if request.flags & FLOW_RESET_COUNTS == 0 => {
                old.stats.add(0, 0, now);
                RuleStats::of(old)
            }
            _ => RuleStats::new(now),
        };
        let rule = Arc::new(Rule {
            table,
            priority: request.priority,
            idle_timeout: request.idle_timeout,
            hard_timeout: request.hard_timeout,
            flags: request.flags,
            importance: request.importance,
            cookie: request.cookie,
            created: now,
            instructions: Arc::new(request.instructions.clone()),
            stats,
            key,
        });
        if let Some(old) = &same {
            self.forget_users(old);
        }
        self.put(rule.clone());
        changes.push(Change::Added(rule));
        Ok(changes)
    }

    /// Sees to it that a table has room for one more flow.
    fn make_room(&mut self, table: TableId, changes: &mut Vec<Change>) -> Result<(), Refused> {
        let most = self.limits(table).unwrap_or_default().max_entries as usize;
        while self.next.table(table).is_some_and(|t| t.len() >= most) {
            let victim = self.victim(table).ok_or(Refused::TableFull(table))?;
            self.take_out(&victim);
            changes.push(Change::Removed(victim, RemovedReason::Eviction));
        }
        Ok(())
    }

    /// Changes instructions; cookie, timeouts, flags and durations stay.
    fn modify(&mut self, request: &FlowMod) -> Result<Vec<Change>, Refused> {
        let selected = self.selected(request, PortNo::ANY, GroupId::ANY)?;
        // What would be refused for a flow that is there is refused for one that is not.
        if request.table != TableId::ALL {
            self.check(request.table, &request.instructions)?;
        }
        for rule in &selected {
            self.check(rule.table, &request.instructions)?;
        }
        let instructions = Arc::new(request.instructions.clone());
        let changed = selected.into_iter().map(|old| {
            let stats = match request.flags & FLOW_RESET_COUNTS {
                0 => RuleStats::of(&old),
                _ => RuleStats::new(old.stats.used()),
            };
            self.forget_users(&old);
            let rule = Arc::new(Rule {
                table: old.table,
                priority: old.priority,
                idle_timeout: old.idle_timeout,
                hard_timeout: old.hard_timeout,
                flags: old.flags,
                importance: old.importance,
                cookie: old.cookie,
                created: old.created,
                instructions: instructions.clone(),
                stats,
                key: old.key.clone(),
            });
            self.put(rule.clone());
            Change::Modified(rule)
        });
        Ok(changed.collect())
    }

    fn delete(&mut self, request: &FlowMod) -> Result<Vec<Change>, Refused> {
        let selected = self.selected(request, request.out_port, request.out_group)?;
        let removed = selected.into_iter().map(|rule| {
            self.take_out(&rule);
            Change::Removed(rule, RemovedReason::Delete)
        });
        Ok(removed.collect())
    }

    /// The flows that a modification or deletion is about.
    fn selected(
        &self,
        request: &FlowMod,
        out_port: PortNo,
        out_group: GroupId,
    ) -> Result<Vec<Arc<Rule>>, Refused> {
        if request.table != TableId::ALL && self.next.table(request.table).is_none() {
            return Err(Refused::NoSuchTable(request.table));
        }
        let filter = FlowFilter {
            table: request.table,
            matching: request.matching.clone(),
            cookie: request.cookie,
            cookie_mask: request.cookie_mask,
            out_port,
            out_group,
        };
        let strict = matches!(
            request.command,
            FlowCommand::ModifyStrict | FlowCommand::DeleteStrict
        );
        if !strict {
            return Ok(self.flows(&filter));
        }
        let key = self.peek_key(&request.matching);
        Ok(self
            .tables_of(request.table)
            .filter_map(|(_, table)| table.exact(&key, request.priority))
            .filter(|rule| filter.selects(rule))
            .cloned()
            .collect())
    }

    /// Adds or replaces.
    fn put(&mut self, rule: Arc<Rule>) {
        for group in groups_of(&rule.instructions) {
            self.group_users.add(group.0);
        }
        for meter in meters_of(&rule.instructions) {
            self.meter_users.add(meter.0);
        }
        self.expiry.watch(&rule);
        self.watch_victim(&rule);
        if let Some(table) = self.table_mut(rule.table) {
            table.insert(rule);
        }
        self.tidy_expiry();
    }

    pub(super) fn forget_users(&mut self, rule: &Rule) {
        for group in groups_of(&rule.instructions) {
            self.group_users.sub(group.0);
        }
        for meter in meters_of(&rule.instructions) {
            self.meter_users.sub(meter.0);
        }
    }

    /// Flows that were replaced wait in the queue for a time that may be hours away; when they are
    /// more than those in the tables, they go.
    fn tidy_expiry(&mut self) {
        if self.expiry.len() > 1024 && self.expiry.len() > 2 * self.next.rules() + 1024 {
            let next = &self.next;
            self.expiry.retain(|rule| super::is_installed(next, rule));
        }
    }

    /// Refuses instructions that point to what is not there.
    fn check(&self, table: TableId, instructions: &Instructions) -> Result<(), Refused> {
        if self.next.table(table).is_none() {
            return Err(Refused::NoSuchTable(table));
        }
        if let Some(to) = instructions.goto_table
            && (to <= table || self.next.table(to).is_none())
        {
            return Err(Refused::BadGoto { from: table, to });
        }
        if let Some(meter) = instructions.meter {
            self.check_meter(meter)?;
        }
        let written = instructions.write.iter().flatten();
        instructions
            .apply
            .iter()
            .chain(written)
            .try_for_each(|action| self.check_action(action))
    }

    fn check_meter(&self, meter: MeterId) -> Result<(), Refused> {
        match self.next.meter(meter) {
            Some(_) => Ok(()),
            None => Err(Refused::NoSuchMeterInFlow(meter)),
        }
    }

    /// Refuses actions that point to what is not there, as in a packet-out.
    ///
    /// # Errors
    /// Which one, and why.
    pub fn check_actions(&self, actions: &[Action]) -> Result<(), Refused> {
        actions
            .iter()
            .try_for_each(|action| self.check_action(action))
    }

    pub(super) fn check_action(&self, action: &Action) -> Result<(), Refused> {
        match action {
            Action::Output { port, .. } => match *port {
                PortNo::IN_PORT
                | PortNo::TABLE
                | PortNo::NORMAL
                | PortNo::FLOOD
                | PortNo::ALL
                | PortNo::CONTROLLER
                | PortNo::LOCAL => Ok(()),
                port if port.is_ordinary() => Ok(()),
                port => Err(Refused::BadOutPort(port)),
            },
            Action::Group(group) if self.next.group(*group).is_none() => {
                Err(Refused::NoSuchGroupInAction(*group))
            }
            Action::Meter(meter) => self.check_meter(*meter),
            Action::Resubmit {
                table: Some(table), ..
            } if self.next.table(*table).is_none() => Err(Refused::NoSuchTable(*table)),
            Action::Clone(inner) => inner.iter().try_for_each(|a| self.check_action(a)),
            _ => Ok(()),
        }
    }
}

/// Groups that instructions use.
pub(super) fn groups_of(instructions: &Instructions) -> Vec<GroupId> {
    let mut groups = groups_in(&instructions.apply);
    groups.extend(instructions.write.iter().flat_map(|w| groups_in(w)));
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Meters that instructions use.
pub(super) fn meters_of(instructions: &Instructions) -> Vec<MeterId> {
    let written = instructions.write.iter().flatten();
    let mut meters: Vec<MeterId> = instructions.meter.into_iter().collect();
    collect_meters(instructions.apply.iter().chain(written), &mut meters);
    meters.sort_unstable();
    meters.dedup();
    meters
}

fn collect_meters<'a>(actions: impl Iterator<Item = &'a Action>, into: &mut Vec<MeterId>) {
    for action in actions {
        match action {
            Action::Meter(meter) => into.push(*meter),
            Action::Clone(inner) => collect_meters(inner.iter(), into),
            _ => {}
        }
    }
}
