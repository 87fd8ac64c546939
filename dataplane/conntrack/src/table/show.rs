//! The table as an operator sees it.

use super::ConnTable;
use crate::config::tick;
use crate::dump::Conn;
use crate::entry::ConnRef;
use crate::limit::LimitSpec;

/// What has become of connections since the table was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Created.
    pub created: u64,
    /// Removed because no packet came for as long as their timeout says.
    pub expired: u64,
    /// Removed half open, because their place was needed.
    pub evicted: u64,
    /// Removed on request, or replaced by new ones.
    pub removed: u64,
}

/// Connections of a zone, and how many it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneLimit {
    /// The zone.
    pub zone: u16,
    /// Its own limit; none: the default holds. 0: no limit.
    pub limit: Option<u32>,
    /// Connections now, without those of TCP that are closed.
    pub count: u32,
}

impl ConnTable {
    /// A connection as an operator sees it; none if it is gone or has expired.
    pub fn get(&self, conn: ConnRef, now: u64) -> Option<Conn> {
        self.arena.get(conn, tick(now))
    }

    /// Every connection, in no particular order. Workers go on meanwhile: one that is created or
    /// removed during the iteration may or may not be seen.
    pub fn iter(&self, now: u64) -> impl Iterator<Item = Conn> + '_ {
        self.arena
            .live()
            .filter_map(move |conn| self.get(conn, now))
    }

    /// What has become of connections so far.
    pub fn totals(&self) -> Totals {
        let counts = self.pools.counts();
        let [expired, evicted, removed] = counts.ended;
        Totals {
            created: counts.created,
            expired,
            evicted,
            removed,
        }
    }

    /// Sets a limit, of a zone or of all that have none of their own.
    pub fn set_limit(&self, limit: LimitSpec) {
        match limit {
            LimitSpec::Default(limit) => self.set_default_zone_limit(limit),
            LimitSpec::Zone(zone, limit) => self.set_zone_limit(zone, Some(limit)),
        }
    }

    /// The limit of zones that have none of their own; 0: no limit.
    pub fn default_zone_limit(&self) -> u32 {
        self.arena.zones.default_limit()
    }

    /// Sets it. Zones that have more connections keep them.
    pub fn set_default_zone_limit(&self, limit: u32) {
        self.arena.zones.set_default_limit(limit);
    }

    /// Connections and limit of a zone.
    pub fn zone_limit(&self, zone: u16) -> ZoneLimit {
        ZoneLimit {
            zone,
            limit: self.arena.zones.limit(zone),
            count: self.arena.zones.count(zone),
        }
    }

    /// Gives a zone a limit of its own (0: none), or takes it away. If it has more connections it
    /// keeps them.
    pub fn set_zone_limit(&self, zone: u16, limit: Option<u32>) {
        self.arena.zones.set_limit(zone, limit, false);
    }

    /// Likewise, with a limit that may begin to hold while there are connections: TCP connections
    /// whose beginning was not seen are counted, and taken in whatever the limit is.
    pub fn set_zone_limit_for_new(&self, zone: u16, limit: Option<u32>) {
        self.arena.zones.set_limit(zone, limit, true);
    }

    /// Every zone that has a limit of its own.
    pub fn limited_zones(&self) -> impl Iterator<Item = ZoneLimit> + '_ {
        self.arena.zones.limited().map(|zone| self.zone_limit(zone))
    }
}
