//! What is set for tables: eviction, vacancy events (OpenFlow 1.4.1, 7.3.4.1), names and sizes
//! (table features; 1.3.5, A.3.5.5).

use net::TableId;
use openflow::Version;
use openflow::error::*;
use openflow::msg::{
    EVICT_IMPORTANCE, EVICT_LIFETIME, EVICT_OTHER, FeatureOxm, FeaturesCommand, TABLE_EVICTION,
    TABLE_VACANCY_EVENTS, TableDesc, TableFeatures, TableMod, Vacancy,
};
use tables::{EvictBy, MAX_FLOWS, TABLES, TableLimits, Tables};

use super::features;
use crate::Switch;

/// Bits of 1.3 that mean nothing any more (OFPTC_DEPRECATED_MASK).
const DEPRECATED: u32 = 3;

/// Carries out a table-mod: for all tables it names, or none.
pub(super) fn modify(switch: &Switch, version: Version, request: &TableMod) -> Result<(), OfError> {
    let mut tables = switch.tables.borrow_mut();
    let ids = match request.table {
        TableId::ALL => 0..TABLES,
        TableId(id) if id < TABLES => id..id + 1,
        _ => return Err(OFPTMFC_BAD_TABLE),
    };
    if version < Version::V1_4 {
        return match request.config & !DEPRECATED {
            0 => Ok(()),
            _ => Err(OFPTMFC_BAD_CONFIG),
        };
    }
    if request.config & !(TABLE_EVICTION | TABLE_VACANCY_EVENTS) != 0 {
        return Err(OFPTMFC_BAD_CONFIG);
    }
    let evict_by = request.eviction.map(evict_by).transpose()?;
    let vacancy = request.vacancy.map(vacancy).transpose()?;
    for table in ids.map(TableId) {
        let set = tables.limits(table).unwrap_or_default();
        let limits = TableLimits {
            evict: request.config & TABLE_EVICTION != 0,
            evict_by: evict_by.unwrap_or(set.evict_by),
            watch_vacancy: request.config & TABLE_VACANCY_EVENTS != 0,
            vacancy: vacancy.unwrap_or(set.vacancy),
            ..set
        };
        tables
            .set_limits(table, limits)
            .map_err(|_| OFPTMFC_BAD_TABLE)?;
    }
    Ok(())
}

/// No flag: the switch decides.
fn evict_by(flags: u32) -> Result<EvictBy, OfError> {
    match flags {
        0 => Ok(EvictBy::default()),
        _ if flags & !(EVICT_OTHER | EVICT_IMPORTANCE | EVICT_LIFETIME) != 0 => {
            Err(OFPBPC_BAD_VALUE)
        }
        _ => Ok(EvictBy {
            other: flags & EVICT_OTHER != 0,
            importance: flags & EVICT_IMPORTANCE != 0,
            lifetime: flags & EVICT_LIFETIME != 0,
        }),
    }
}

fn vacancy(given: Vacancy) -> Result<tables::Vacancy, OfError> {
    match given.down <= given.up && given.up <= 100 {
        true => Ok(tables::Vacancy {
            down: given.down,
            up: given.up,
        }),
        false => Err(OFPBPC_BAD_VALUE),
    }
}

/// A table as it is set.
pub(crate) fn describe(tables: &Tables, table: TableId) -> TableDesc {
    let set = tables.limits(table).unwrap_or_default();
    let bit = |set: bool, bit: u32| if set { bit } else { 0 };
    TableDesc {
        table,
        config: bit(set.evict, TABLE_EVICTION) | bit(set.watch_vacancy, TABLE_VACANCY_EVENTS),
        eviction: Some(
            bit(set.evict_by.other, EVICT_OTHER)
                | bit(set.evict_by.importance, EVICT_IMPORTANCE)
                | bit(set.evict_by.lifetime, EVICT_LIFETIME),
        ),
        vacancy: Some(Vacancy {
            down: set.vacancy.down,
            up: set.vacancy.up,
            current: tables.vacancy(table),
        }),
        properties: Vec::new(),
    }
}

/// Sets names and sizes of tables, all or none. Tables that a request does not name stay as they
/// are, as in Open vSwitch: clients set one table after the other.
pub(super) fn set_features(
    switch: &Switch,
    version: Version,
    wanted: &[TableFeatures],
) -> Result<(), OfError> {
    for table in wanted {
        check_features(version, table)?;
    }
    let mut tables = switch.tables.borrow_mut();
    let mut names = switch.table_names.borrow_mut();
    for table in wanted {
        let set = tables.limits(table.table).unwrap_or_default();
        let limits = TableLimits {
            max_entries: table.max_entries,
            ..set
        };
        tables
            .set_limits(table.table, limits)
            .map_err(|_| OFPTFFC_BAD_TABLE)?;
        match table.name.is_empty() {
            true => names.remove(&table.table),
            false => names.insert(table.table, table.name.clone()),
        };
    }
    Ok(())
}

fn check_features(version: Version, wanted: &TableFeatures) -> Result<(), OfError> {
    if wanted.table.0 >= TABLES {
        return Err(OFPTFFC_BAD_TABLE);
    }
    let later = version >= Version::V1_5;
    if matches!(
        wanted.command,
        FeaturesCommand::Enable | FeaturesCommand::Disable
    ) {
        // All tables are there, always.
        return Err(OFPTFFC_EPERM);
    }
    let can = features::table_features(version, wanted.table);
    if wanted.features & !can.features != 0 {
        return Err(OFPTFFC_BAD_FEATURES);
    }
    let config = match version {
        Version::V1_3 => DEPRECATED,
        _ => can.config,
    };
    if wanted.config & !config != 0 {
        return Err(if later {
            OFPTFFC_BAD_CAPA
        } else {
            OFPTFFC_BAD_ARGUMENT
        });
    }
    if wanted.max_entries > MAX_FLOWS as u32 {
        return Err(if later {
            OFPTFFC_BAD_MAX_ENT
        } else {
            OFPTFFC_BAD_ARGUMENT
        });
    }
    let argument = |good: bool| match good {
        true => Ok(()),
        false => Err(OFPTFFC_BAD_ARGUMENT),
    };
    argument(wanted.sync_from.as_ref().is_none_or(Vec::is_empty))?;
    argument(within(&wanted.instructions, &can.instructions))?;
    argument(within(&wanted.instructions_miss, &can.instructions))?;
    argument(within(&wanted.next_tables, &can.next_tables))?;
    argument(within(&wanted.next_tables_miss, &can.next_tables))?;
    argument(within(&wanted.write_actions, &can.write_actions))?;
    argument(within(&wanted.write_actions_miss, &can.write_actions))?;
    argument(within(&wanted.apply_actions, &can.apply_actions))?;
    argument(within(&wanted.apply_actions_miss, &can.apply_actions))?;
    argument(fields_within(&wanted.matching, &can.matching))?;
    // What may be left out may be masked, and some controllers say so here too.
    argument(fields_within(&wanted.wildcards, &can.matching))?;
    argument(fields_within(&wanted.write_setfield, &can.write_setfield))?;
    argument(fields_within(
        &wanted.write_setfield_miss,
        &can.write_setfield,
    ))?;
    argument(fields_within(&wanted.apply_setfield, &can.apply_setfield))?;
    argument(fields_within(
        &wanted.apply_setfield_miss,
        &can.apply_setfield,
    ))?;
    argument(fields_within(&wanted.write_copyfield, &can.write_copyfield))?;
    argument(fields_within(
        &wanted.write_copyfield_miss,
        &can.write_copyfield,
    ))?;
    argument(fields_within(&wanted.apply_copyfield, &can.apply_copyfield))?;
    argument(fields_within(
        &wanted.apply_copyfield_miss,
        &can.apply_copyfield,
    ))
}

/// True where everything wanted can be done.
fn within<T: PartialEq>(wanted: &Option<Vec<T>>, can: &Option<Vec<T>>) -> bool {
    let can = can.as_deref().unwrap_or_default();
    let mut wanted = wanted.iter().flatten();
    wanted.all(|one| can.contains(one))
}

/// Likewise; a field that can be masked need not be.
fn fields_within(wanted: &Option<Vec<FeatureOxm>>, can: &Option<Vec<FeatureOxm>>) -> bool {
    let can = can.as_deref().unwrap_or_default();
    let covered = |wanted: &FeatureOxm| {
        can.iter().any(|can| match (wanted, can) {
            (
                FeatureOxm::Field { field, masked },
                FeatureOxm::Field {
                    field: same,
                    masked: maskable,
                },
            ) => field == same && (*maskable || !masked),
            _ => wanted == can,
        })
    };
    wanted.iter().flatten().all(covered)
}
