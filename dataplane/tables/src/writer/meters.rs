//! Meter-mods (OpenFlow 1.3.5, 6.7 and A.3.4.4).

use std::collections::HashSet;
use std::sync::Arc;

use net::MeterId;
use openflow::model::{METER_KBPS, METER_PKTPS, MeterCommand, MeterMod};

use super::users::Used;
use super::{Change, RemovedReason, Tables};
use crate::pipeline::id_hash;
use crate::{Meter, Refused};

/// Most bands in a meter.
pub const MAX_BANDS: usize = 16;

impl Tables {
    /// Applies a meter-mod at `now` nanoseconds; all of it or, if refused, nothing. Deleting a
    /// meter deletes the flows that use it.
    pub fn meter_mod(&mut self, request: &MeterMod, now: u64) -> Result<Vec<Change>, Refused> {
        let id = request.meter;
        match request.command {
            MeterCommand::Add => {
                check_meter(request)?;
                if self.next.meter(id).is_some() {
                    return Err(Refused::MeterExists(id));
                }
                if self.next.meters.len() >= self.most_meters {
                    return Err(Refused::OutOfMeters);
                }
                let workers = self.published.workers();
                self.put_meter(Meter::new(request, now, workers));
                Ok(Vec::new())
            }
            MeterCommand::Modify => {
                check_meter(request)?;
                let old = self.next.meter(id).ok_or(Refused::UnknownMeter(id))?;
                let meter = Meter::replacing(old, request);
                self.put_meter(meter);
                Ok(Vec::new())
            }
            MeterCommand::Delete => Ok(self.delete_meter(id)),
        }
    }

    fn put_meter(&mut self, mut meter: Meter) {
        meter.generation = self.next.generation;
        self.changed = true;
        let (id, hash) = (meter.id, id_hash(meter.id.0));
        let meter = Arc::new(meter);
        match self.next.meters.find_mut(hash, |old| old.id == id) {
            Some(old) => *old = meter,
            None => self.next.meters.insert(hash, meter, |_| true),
        }
    }

    /// Deleting what is not there is no error (6.7).
    fn delete_meter(&mut self, id: MeterId) -> Vec<Change> {
        let doomed: Vec<MeterId> = match id {
            MeterId::ALL => self.next.meters().map(|meter| meter.id).collect(),
            id => self
                .next
                .meter(id)
                .map(|meter| meter.id)
                .into_iter()
                .collect(),
        };
        let mut used = HashSet::new();
        for id in doomed {
            self.changed = true;
            self.next
                .meters
                .remove(id_hash(id.0), |meter| meter.id == id);
            if self.meter_users.take(id.0) {
                used.insert(id);
            }
        }
        self.remove_where(!used.is_empty(), RemovedReason::MeterDelete, |rule| {
            Used::by(&rule.instructions)
                .meters
                .iter()
                .any(|id| used.contains(id))
        })
    }
}

fn check_meter(request: &MeterMod) -> Result<(), Refused> {
    let id = request.meter;
    // Of the virtual meters there is the controllers'; there is no slow path.
    if id != MeterId::CONTROLLER && (id.0 == 0 || id.0 > MeterId::MAX.0) {
        return Err(Refused::InvalidMeter(id));
    }
    if request.flags & METER_KBPS != 0 && request.flags & METER_PKTPS != 0 {
        return Err(Refused::BadMeterFlags);
    }
    if request.bands.len() > MAX_BANDS {
        return Err(Refused::OutOfBands(id));
    }
    if request.bands.iter().any(|band| band.rate == 0) {
        return Err(Refused::BadRate(id));
    }
    Ok(())
}
