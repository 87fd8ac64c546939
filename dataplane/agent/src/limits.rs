//! What a controller says of zones of connections and of ports, beside the tables: it holds while
//! the controller is away, and is told when it is asked for.

use std::collections::BTreeMap;

use conntrack::Filter;
use net::PortNo;
use openflow::error::{OFPBRC_EPERM, OfError};
use openflow::msg::{Impairment, ZoneLimit};

use crate::Switch;
use crate::handle::ct;

/// Most ports of which something is said: as many as there can be.
const MOST: usize = 1 << 16;

/// Limits that controllers have set.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    zones: BTreeMap<u16, ZoneLimit>,
    impairments: BTreeMap<PortNo, Impairment>,
}

impl Limits {
    /// Zones with an owner.
    pub fn zones(&self) -> Vec<ZoneLimit> {
        self.zones.values().copied().collect()
    }

    /// Ports with an impairment.
    pub fn impairments(&self) -> Vec<Impairment> {
        self.impairments.values().copied().collect()
    }

    /// What the port of a number does to what it sends.
    pub fn impairment(&self, port: PortNo) -> Option<::ports::Impairment> {
        let told = self.impairments.get(&port)?;
        Some(::ports::Impairment {
            delay: u64::from(told.delay_us) * 1000,
            jitter: u64::from(told.jitter_us) * 1000,
            loss_ppm: told.loss_ppm,
            limit: match told.limit {
                0 => Impairment::LIMIT,
                limit => limit,
            },
        })
    }
}

/// Sets limits of zones. Connections of a zone that changes hands are forgotten: those of a pod that
/// is gone do not count for its successor.
pub(crate) fn set_zones(switch: &Switch, zones: &[ZoneLimit]) {
    let tracker = switch.engine.tracker();
    for zone in zones {
        let before = {
            let known = &mut switch.limits.borrow_mut().zones;
            match zone.limit {
                Some(_) => known.insert(zone.zone, *zone),
                None => known.remove(&zone.zone),
            }
        };
        tracker.set_zone_limit_for_new(zone.zone, zone.limit);
        let changes_hands =
            before.is_some_and(|before| zone.limit.is_none() || before.owner != zone.owner);
        if changes_hands && tracker.zone_limit(zone.zone).count > 0 {
            let zone = Some(zone.zone);
            ct::flush(
                switch,
                &Filter {
                    zone,
                    ..Filter::default()
                },
            );
        }
    }
}

/// Sets impairments of ports, of those that are there and of those that will be.
///
/// # Errors
/// One of them is impossible; then none is set.
pub(crate) fn set_impairments(switch: &Switch, wanted: &[Impairment]) -> Result<(), OfError> {
    if !wanted.iter().all(Impairment::is_possible) {
        return Err(OFPBRC_EPERM);
    }
    for impairment in wanted {
        {
            let known = &mut switch.limits.borrow_mut().impairments;
            if impairment.is_none() {
                known.remove(&impairment.port);
            } else if known.len() < MOST || known.contains_key(&impairment.port) {
                known.insert(impairment.port, *impairment);
            } else {
                return Err(OFPBRC_EPERM);
            }
        }
        switch.impair_port(impairment.port);
    }
    Ok(())
}
