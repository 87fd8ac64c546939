//! Configuration of tables: eviction and vacancy (OpenFlow 1.5.1, 7.3.4.1, 7.3.5.17, 7.4.4).

use net::TableId;

use super::RawProperty;

/// Flows may be evicted (OFPTC_EVICTION).
pub const TABLE_EVICTION: u32 = 4;
/// Messages about vacancy are sent (OFPTC_VACANCY_EVENTS).
pub const TABLE_VACANCY_EVENTS: u32 = 8;

/// Other factors decide (OFPTMPEF_OTHER).
pub const EVICT_OTHER: u32 = 1;
/// Importance decides (OFPTMPEF_IMPORTANCE).
pub const EVICT_IMPORTANCE: u32 = 2;
/// What is left of a flow's life decides (OFPTMPEF_LIFETIME).
pub const EVICT_LIFETIME: u32 = 4;

/// When to tell about free room (OFPTMPT_VACANCY). Percent of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Vacancy {
    /// Tell when there is less than this.
    pub down: u8,
    /// Tell when there is more than this again.
    pub up: u8,
    /// Free now; only in descriptions.
    pub current: u8,
}

/// OFPT_TABLE_MOD.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TableMod {
    /// Which; [`TableId::ALL`]: every one.
    pub table: TableId,
    /// TABLE_*; on 1.3 nothing but bits 0..1, which mean nothing any more.
    pub config: u32,
    /// EVICT_* (1.4).
    pub eviction: Option<u32>,
    /// Vacancy (1.4).
    pub vacancy: Option<Vacancy>,
    /// Other properties.
    pub properties: Vec<RawProperty>,
}

/// OFPMP_TABLE_DESC (1.4).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TableDesc {
    /// Which table.
    pub table: TableId,
    /// TABLE_*.
    pub config: u32,
    /// EVICT_* that the table goes by; the switch says it even where eviction is off.
    pub eviction: Option<u32>,
    /// Vacancy.
    pub vacancy: Option<Vacancy>,
    /// Other properties.
    pub properties: Vec<RawProperty>,
}

/// Why a table status is sent (OFPTR_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the specification's own names
pub enum TableReason {
    VacancyDown = 3,
    VacancyUp = 4,
}

/// OFPT_TABLE_STATUS (1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStatus {
    /// Why.
    pub reason: TableReason,
    /// The table as it is now.
    pub desc: TableDesc,
}
