//! How many connections each zone has, and may have.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use os::Part;

/// Zones are 16 bits.
pub(crate) const ZONES: usize = 1 << 16;

os::shared! {
    /// One zone.
    pub(crate) struct Zone {
        connections: AtomicU32,
        /// 0: the default; otherwise the limit plus one, and perhaps [`ADOPTS`].
        limit: AtomicU32,
    }
}

/// A limit that does not hold for TCP connections whose beginning was not seen.
const ADOPTS: u32 = 1 << 31;

/// All zones.
pub(crate) struct Zones {
    zones: Part<Zone>,
    default: AtomicU32,
}

impl Zones {
    pub(crate) fn over(zones: Part<Zone>) -> Self {
        Zones {
            zones,
            default: AtomicU32::new(0),
        }
    }

    /// Counts a new connection; false if the zone has as many as it may. `begins` is false of one
    /// that has been there before it was seen.
    pub(crate) fn enter(&self, zone: u16, begins: bool) -> bool {
        let Some(slot) = self.zones.get(usize::from(zone)) else {
            return false;
        };
        let word = slot.limit.load(Relaxed);
        let limit = match word & !ADOPTS {
            0 => self.default.load(Relaxed),
            limit => limit - 1,
        };
        let before = slot.connections.fetch_add(1, Relaxed);
        let adopted = !begins && word & ADOPTS != 0;
        let fits = limit == 0 || before < limit || adopted;
        if !fits {
            slot.connections.fetch_sub(1, Relaxed);
        }
        fits
    }

    /// Counts one that was closed and is open again.
    pub(crate) fn enter_again(&self, zone: u16) {
        if let Some(slot) = self.zones.get(usize::from(zone)) {
            slot.connections.fetch_add(1, Relaxed);
        }
    }

    /// Counts one that has gone, or is closed.
    pub(crate) fn leave(&self, zone: u16) {
        if let Some(slot) = self.zones.get(usize::from(zone)) {
            slot.connections.fetch_sub(1, Relaxed);
        }
    }

    pub(crate) fn count(&self, zone: u16) -> u32 {
        let slot = self.zones.get(usize::from(zone));
        slot.map_or(0, |slot| slot.connections.load(Relaxed))
    }

    /// The zone's own limit, if it has one; 0 is none.
    pub(crate) fn limit(&self, zone: u16) -> Option<u32> {
        let slot = self.zones.get(usize::from(zone))?;
        (slot.limit.load(Relaxed) & !ADOPTS).checked_sub(1)
    }

    pub(crate) fn set_limit(&self, zone: u16, limit: Option<u32>, adopts: bool) {
        if let Some(slot) = self.zones.get(usize::from(zone)) {
            let word = limit.map_or(0, |limit| limit.min(ADOPTS - 2) + 1);
            let word = word | if adopts && word != 0 { ADOPTS } else { 0 };
            slot.limit.store(word, Relaxed);
        }
    }

    pub(crate) fn default_limit(&self) -> u32 {
        self.default.load(Relaxed)
    }

    pub(crate) fn set_default_limit(&self, limit: u32) {
        self.default.store(limit, Relaxed);
    }

    /// Zones with a limit of their own.
    pub(crate) fn limited(&self) -> impl Iterator<Item = u16> + '_ {
        (0..=u16::MAX).filter(|zone| self.limit(*zone).is_some())
    }
}
