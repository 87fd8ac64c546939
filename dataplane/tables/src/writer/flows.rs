//! Flow-mods (OpenFlow 1.3.5, 6.4 and A.3.4.1).

use std::sync::Arc;

use net::{GroupId, MeterId, PortNo, TableId};
use openflow::action::Controller;
use openflow::model::{FLOW_CHECK_OVERLAP, FLOW_RESET_COUNTS, FlowCommand, FlowHead, FlowMod};
use openflow::wire::Read;
use openflow::{Action, Instructions};
use smallvec::SmallVec;

use super::select::Filter;
use super::users::Used;
use super::{Change, MatchPlan, RemovedReason, TABLES, Tables};
use crate::rule::{MaskedKey, RuleClock};
use crate::{Refused, Rule, RuleStats, looks};

/// Flows that a request is about: mostly one.
type Selected = SmallVec<[Arc<Rule>; 1]>;

impl Tables {
    /// Applies a flow-mod at `now` nanoseconds; all of it or, if refused, nothing.
    pub fn flow_mod(&mut self, request: &FlowMod, now: u64) -> Result<Vec<Change>, Refused> {
        let key = match request.command {
            FlowCommand::Add => self.shared_key(&request.matching),
            _ => self.peek_key(&request.matching),
        };
        let instructions = Arc::new(request.instructions.clone());
        let mut changes = Vec::new();
        self.apply(&request.head(), key, instructions, now, &mut changes)?;
        Ok(changes)
    }

    /// Likewise a flow-mod that was read without being decoded; adds to `changes`.
    pub fn flow_mod_read(
        &mut self,
        request: Read<'_, MatchPlan>,
        now: u64,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refused> {
        let key = request.plan.key(request.matching);
        self.apply(&request.head, key, request.instructions, now, changes)
    }

    fn apply(
        &mut self,
        head: &FlowHead,
        key: MaskedKey,
        instructions: Arc<Instructions>,
        now: u64,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refused> {
        match head.command {
            FlowCommand::Add => self.add(head, key, instructions, now, changes),
            FlowCommand::Modify | FlowCommand::ModifyStrict => {
                self.modify(head, &key, &instructions, changes)
            }
            FlowCommand::Delete | FlowCommand::DeleteStrict => self.delete(head, &key, changes),
        }?;
        self.drop_learned(changes);
        Ok(())
    }

    fn add(
        &mut self,
        head: &FlowHead,
        key: MaskedKey,
        instructions: Arc<Instructions>,
        now: u64,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refused> {
        let table = head.table;
        self.check_instructions(table, &instructions)?;
        let at = self.next.table(table).ok_or(Refused::NoSuchTable(table))?;
        if head.flags & FLOW_CHECK_OVERLAP != 0 && at.has_overlap(&key, head.priority) {
            return Err(Refused::Overlap(table));
        }
        let same = at.exact(&key, head.priority).cloned();
        if same.is_none() {
            self.make_room(table, changes)?;
        }
        // The counters of the flow that is replaced go on, unless they are to start again.
        let stats = match &same {
            Some(old) if head.flags & FLOW_RESET_COUNTS == 0 => {
                old.stats.add(0, 0, now);
                RuleStats::of(old)
            }
            _ => RuleStats::new(now),
        };
        let rule = Arc::new(Rule {
            table,
            priority: head.priority,
            idle_timeout: head.idle_timeout,
            hard_timeout: head.hard_timeout,
            flags: head.flags,
            importance: head.importance,
            cookie: head.cookie,
            created: now,
            instructions,
            stats,
            clock: RuleClock::new(now),
            key,
        });
        match &same {
            Some(old) => {
                self.forget_users(old);
                self.put(rule.clone());
            }
            None => self.put_new(rule.clone()),
        }
        changes.push(Change::Added(rule));
        Ok(())
    }

    /// Sees to it that a table has room for one more flow.
    fn make_room(&mut self, table: TableId, changes: &mut Vec<Change>) -> Result<(), Refused> {
        let most = self.limits(table).unwrap_or_default().max_entries as usize;
        let held = self.next.table(table).map_or(0, |t| t.len());
        let over = (held + 1).saturating_sub(most);
        let over_all = (self.flows + 1).saturating_sub(self.most_flows);
        let victims = self.victims(table, over.max(over_all));
        for victim in victims.ok_or(Refused::TableFull(table))? {
            self.take_out(&victim);
            changes.push(Change::Removed(victim, RemovedReason::Eviction));
        }
        Ok(())
    }

    /// Changes instructions; cookie, timeouts, flags and durations stay.
    fn modify(
        &mut self,
        head: &FlowHead,
        key: &MaskedKey,
        instructions: &Arc<Instructions>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refused> {
        let selected = self.selected(head, key, PortNo::ANY, GroupId::ANY)?;
        // What would be refused for a flow that is there is refused for one that is not.
        if head.table != TableId::ALL {
            self.check_instructions(head.table, instructions)?;
        } else {
            for rule in &selected {
                self.check_instructions(rule.table, instructions)?;
            }
        }
        for old in selected {
            let stats = match head.flags & FLOW_RESET_COUNTS {
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
                clock: RuleClock::of(&old),
                key: old.key.clone(),
            });
            self.put(rule.clone());
            changes.push(Change::Modified(rule));
        }
        Ok(())
    }

    fn delete(
        &mut self,
        head: &FlowHead,
        key: &MaskedKey,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refused> {
        let is_everything = head.command == FlowCommand::Delete
            && key.mask().words().is_empty()
            && head.cookie_mask == 0
            && head.out_port == PortNo::ANY
            && head.out_group == GroupId::ANY;
        if is_everything && head.table == TableId::ALL {
            for table in 0..TABLES {
                self.empty(TableId(table), RemovedReason::Delete, changes);
            }
            return Ok(());
        }
        if is_everything && self.next.table(head.table).is_some() {
            self.empty(head.table, RemovedReason::Delete, changes);
            return Ok(());
        }
        for rule in self.selected(head, key, head.out_port, head.out_group)? {
            self.take_out(&rule);
            changes.push(Change::Removed(rule, RemovedReason::Delete));
        }
        Ok(())
    }

    /// The flows that a modification or deletion is about.
    fn selected(
        &self,
        head: &FlowHead,
        key: &MaskedKey,
        out_port: PortNo,
        out_group: GroupId,
    ) -> Result<Selected, Refused> {
        if head.table != TableId::ALL && self.next.table(head.table).is_none() {
            return Err(Refused::NoSuchTable(head.table));
        }
        let filter = Filter {
            cookie: head.cookie,
            cookie_mask: head.cookie_mask,
            out_port,
            out_group,
        };
        let strict = matches!(
            head.command,
            FlowCommand::ModifyStrict | FlowCommand::DeleteStrict
        );
        if !strict {
            return Ok(self.within(head.table, key, &filter).cloned().collect());
        }
        Ok(self
            .tables_of(head.table)
            .filter_map(|table| table.exact(key, head.priority))
            .filter(|rule| filter.selects(rule))
            .cloned()
            .collect())
    }

    /// Adds or replaces.
    pub(super) fn put(&mut self, rule: Arc<Rule>) {
        self.watch(&rule);
        if let Some(table) = self.table_mut(rule.table)
            && table.insert(rule).is_none()
        {
            self.flows += 1;
        }
        self.tidy_expiry();
    }

    /// Adds one of which there is none of the same match and priority.
    fn put_new(&mut self, rule: Arc<Rule>) {
        self.watch(&rule);
        if let Some(table) = self.table_mut(rule.table) {
            table.insert_new(rule);
            self.flows += 1;
        }
        self.tidy_expiry();
    }

    /// Notes what a new flow uses, and when it may have to go.
    fn watch(&mut self, rule: &Arc<Rule>) {
        self.next.look_at(|looked_at| looks::rule(rule, looked_at));
        self.learners.add(&rule.instructions);
        let used = Used::by(&rule.instructions);
        for group in &used.groups {
            self.group_users.add(group.0);
        }
        for meter in &used.meters {
            self.meter_users.add(meter.0);
        }
        self.expiry.watch(rule);
        self.watch_victim(rule);
    }

    pub(super) fn forget_users(&mut self, rule: &Rule) {
        self.learners.sub(&rule.instructions);
        let used = Used::by(&rule.instructions);
        for group in &used.groups {
            self.group_users.sub(group.0);
        }
        for meter in &used.meters {
            self.meter_users.sub(meter.0);
        }
    }

    /// Flows that were replaced wait in the queue for a time that may be hours away; when they are
    /// more than those in the tables, they go.
    fn tidy_expiry(&mut self) {
        if self.expiry.len() > 2 * self.flows + 1024 {
            let next = &self.next;
            self.expiry.retain(|rule| super::is_installed(next, rule));
        }
    }

    /// Refuses instructions that point to what is not there.
    pub(super) fn check_instructions(
        &self,
        table: TableId,
        instructions: &Instructions,
    ) -> Result<(), Refused> {
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
            Action::Meter(meter)
            | Action::Controller(Controller {
                meter_id: Some(meter),
                ..
            }) => self.check_meter(*meter),
            Action::Resubmit {
                table: Some(table), ..
            } if self.next.table(*table).is_none() => Err(Refused::NoSuchTable(*table)),
            Action::Learn(learn) if self.next.table(learn.table).is_none() => {
                Err(Refused::NoSuchTable(learn.table))
            }
            Action::Clone(inner) => inner.iter().try_for_each(|a| self.check_action(a)),
            _ => Ok(()),
        }
    }
}
