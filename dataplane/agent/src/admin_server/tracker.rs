//! Connection tracking: settings, totals, limits of zones.

use admin::{Reply, Tracker, ZoneLimit, ZoneLimits};
use conntrack::{Filter, LimitSpec};

use crate::Switch;

/// What it is set to and what it has done.
pub(super) fn show(switch: &Switch) -> Tracker {
    let table = switch.engine.tracker();
    let (config, totals) = (table.config(), table.totals());
    let timeouts = config.timeouts.named();
    Tracker {
        connections: table.len().into(),
        connections_max: config.capacity.into(),
        half_open: table.half_open().into(),
        half_open_max: config.half_open.into(),
        half_open_per_source: config.half_open_per_source.into(),
        memory: table.memory() as u64,
        strict: config.strict,
        pickup: config.loose,
        created: totals.created,
        expired: totals.expired,
        evicted: totals.evicted,
        removed: totals.removed,
        timeouts: timeouts
            .map(|(name, timeout)| (name.to_owned(), timeout.as_secs()))
            .to_vec(),
    }
}

/// Forgets connections; between parts of the table, others have their turn.
pub(super) async fn flush(switch: &Switch, filter: &Filter) -> u64 {
    let mut count = 0;
    for part in 0.. {
        let (flushed, more) = switch.engine.flush_connections(filter, part);
        count += flushed;
        if !more {
            break;
        }
        tokio::task::yield_now().await;
    }
    count
}

/// Limits of zones.
pub(super) fn limits(switch: &Switch) -> ZoneLimits {
    let table = switch.engine.tracker();
    let zones = table.limited_zones().map(|zone| ZoneLimit {
        zone: zone.zone,
        limit: zone.limit.unwrap_or_default(),
        count: zone.count,
    });
    ZoneLimits {
        default: table.default_zone_limit(),
        zones: zones.collect(),
    }
}

/// Sets them: all, or none if one cannot be read.
pub(super) fn set_limits(switch: &Switch, limits: &[String]) -> Result<Reply, String> {
    let limits: Result<Vec<LimitSpec>, String> = limits.iter().map(|text| text.parse()).collect();
    let table = switch.engine.tracker();
    for limit in limits? {
        table.set_limit(limit);
    }
    Ok(Reply::Done {})
}

/// Takes zones' own limits away.
pub(super) fn delete_limits(switch: &Switch, zones: &[u16]) -> Reply {
    let table = switch.engine.tracker();
    for zone in zones {
        table.set_zone_limit(*zone, None);
    }
    Reply::Done {}
}
