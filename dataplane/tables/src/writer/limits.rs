//! How much a table may hold, and what happens at that limit (OpenFlow 1.5.1, 6.1.2 and 7.3.4.1).

use net::TableId;

use super::{MAX_FLOWS, MAX_GROUPS, MAX_METERS, Tables};
use crate::Refused;

/// What was set for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableLimits {
    /// Most flows.
    pub max_entries: u32,
    /// Flows make room for new ones when it is full (OFPTC_EVICTION).
    pub evict: bool,
    /// Which of them go first; kept while `evict` is off.
    pub evict_by: EvictBy,
    /// Controllers are told how full it is (OFPTC_VACANCY_EVENTS).
    pub watch_vacancy: bool,
    /// From where on; kept while `watch_vacancy` is off.
    pub vacancy: Vacancy,
}

/// What decides which flow is evicted (OFPTMPEF_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictBy {
    /// The least important first.
    pub importance: bool,
    /// The one that would time out next first; alone, flows without a timeout stay.
    pub lifetime: bool,
    /// What the switch thinks best: here, the oldest first.
    pub other: bool,
}

/// Thresholds of free space, in percent of a table's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Vacancy {
    /// Less free space than this is told,
    pub down: u8,
    /// and then more than this.
    pub up: u8,
}

/// A table's free space passed a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VacancyEvent {
    /// It fell below the lower one (OFPTR_VACANCY_DOWN).
    Down,
    /// It rose above the upper one (OFPTR_VACANCY_UP).
    Up,
}

impl Default for TableLimits {
    fn default() -> Self {
        TableLimits {
            max_entries: MAX_FLOWS as u32,
            evict: false,
            evict_by: EvictBy::default(),
            watch_vacancy: false,
            vacancy: Vacancy::default(),
        }
    }
}

impl Default for EvictBy {
    fn default() -> Self {
        EvictBy {
            importance: true,
            lifetime: true,
            other: true,
        }
    }
}

/// The writer's notes on a table.
#[derive(Debug, Default)]
pub(super) struct Limited {
    pub(super) limits: TableLimits,
    pub(super) victims: super::eviction::Victims,
    /// Which event comes next.
    next_event: Option<VacancyEvent>,
}

impl Tables {
    /// What is set for a table.
    pub fn limits(&self, table: TableId) -> Option<TableLimits> {
        Some(self.limited(table)?.limits)
    }

    /// Sets a table's limits. Flows beyond a smaller size stay until they go for another reason.
    ///
    /// # Errors
    /// There is no such table.
    pub fn set_limits(&mut self, table: TableId, limits: TableLimits) -> Result<(), Refused> {
        let vacancy = self.vacancy_at(table, limits.max_entries);
        let limited = self
            .limited
            .get_mut(usize::from(table.0))
            .ok_or(Refused::NoSuchTable(table))?;
        if limits.evict_by != limited.limits.evict_by || !limits.evict {
            limited.victims.forget();
        }
        limited.limits = limits;
        // Below the upper threshold, rising above it is the news.
        let news = match vacancy < limits.vacancy.up {
            true => VacancyEvent::Up,
            false => VacancyEvent::Down,
        };
        limited.next_event = limits.watch_vacancy.then_some(news);
        self.watches_vacancy = self.limited.iter().any(|l| l.next_event.is_some());
        Ok(())
    }

    /// Sets the size of every table.
    pub fn set_table_size(&mut self, max_entries: u32) {
        for limited in &mut self.limited {
            limited.limits.max_entries = max_entries.min(MAX_FLOWS as u32);
        }
    }

    /// Sets how many flows all tables may hold together. Flows beyond that stay until they go for
    /// another reason.
    pub fn set_most_flows(&mut self, most: usize) {
        self.most_flows = most;
    }

    /// Sets how many groups there may be.
    pub fn set_most_groups(&mut self, most: usize) {
        self.most_groups = most.min(MAX_GROUPS);
    }

    /// How many groups there may be.
    pub fn most_groups(&self) -> usize {
        self.most_groups
    }

    /// Sets how many meters there may be.
    pub fn set_most_meters(&mut self, most: usize) {
        self.most_meters = most.min(MAX_METERS);
    }

    /// How many meters there may be.
    pub fn most_meters(&self) -> usize {
        self.most_meters
    }

    /// Free space of a table, in percent of its size.
    pub fn vacancy(&self, table: TableId) -> u8 {
        let limits = self.limits(table).unwrap_or_default();
        self.vacancy_at(table, limits.max_entries)
    }

    fn vacancy_at(&self, table: TableId, max_entries: u32) -> u8 {
        let held = self.next.table(table).map_or(0, |t| t.len()) as u64;
        let max = u64::from(max_entries);
        (max.saturating_sub(held) * 100)
            .checked_div(max)
            .unwrap_or(0) as u8
    }

    /// Thresholds of free space that were passed since this was last asked.
    pub fn vacancy_events(&mut self) -> Vec<(TableId, VacancyEvent)> {
        if !self.watches_vacancy {
            return Vec::new();
        }
        let mut events = Vec::new();
        for at in 0..self.limited.len() {
            let table = TableId(at as u8);
            let vacancy = self.vacancy(table);
            let Some(limited) = self.limited.get_mut(at) else {
                continue;
            };
            let wanted = limited.limits.vacancy;
            let (passed, then) = match limited.next_event {
                Some(VacancyEvent::Down) => (vacancy < wanted.down, VacancyEvent::Up),
                Some(VacancyEvent::Up) => (vacancy > wanted.up, VacancyEvent::Down),
                None => continue,
            };
            if passed && let Some(event) = limited.next_event.replace(then) {
                events.push((table, event));
            }
        }
        events
    }

    pub(super) fn limited(&self, table: TableId) -> Option<&Limited> {
        self.limited.get(usize::from(table.0))
    }
}
