//! Who has how many entries: kept under the lock, and asked only when something is learnt or goes.

use std::collections::{BTreeSet, HashMap};

use net::PortNo;

/// Entries of the heaviest port that are looked at for one to evict.
const SAMPLE: usize = 16;

/// The places in use, by port.
#[derive(Default)]
pub(super) struct Book {
    ports: HashMap<PortNo, Vec<u32>>,
    /// Where each place stands: its port, and its index in the port's list.
    places: HashMap<u32, (PortNo, usize)>,
    /// Ports by number of entries.
    heaviest: BTreeSet<(usize, PortNo)>,
    /// Where the next sample starts.
    hand: usize,
}

impl Book {
    /// Places in use.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Places of one port.
    pub fn places_of(&self, port: PortNo) -> Vec<u32> {
        self.ports.get(&port).cloned().unwrap_or_default()
    }

    /// Every place in use.
    pub fn all_places(&self) -> Vec<u32> {
        self.places.keys().copied().collect()
    }

    /// Entries of the port that a place belongs to.
    pub fn load_at(&self, place: u32) -> usize {
        let port = self.places.get(&place).map(|(port, _)| port);
        port.and_then(|port| self.ports.get(port))
            .map_or(0, Vec::len)
    }

    /// Takes a place for a port.
    pub fn add(&mut self, place: u32, port: PortNo) {
        let list = self.ports.entry(port).or_default();
        self.heaviest.remove(&(list.len(), port));
        self.places.insert(place, (port, list.len()));
        list.push(place);
        self.heaviest.insert((list.len(), port));
    }

    /// Frees a place; false if it was free.
    pub fn remove(&mut self, place: u32) -> bool {
        let Some((port, index)) = self.places.remove(&place) else {
            return false;
        };
        let Some(list) = self.ports.get_mut(&port) else {
            return false;
        };
        self.heaviest.remove(&(list.len(), port));
        list.swap_remove(index);
        if let Some((_, moved)) = list.get(index).and_then(|other| self.places.get_mut(other)) {
            *moved = index;
        }
        if list.is_empty() {
            self.ports.remove(&port);
        } else {
            self.heaviest.insert((list.len(), port));
        }
        true
    }

    /// The entry to give up when the table is full: one of the port that has the most, so that a
    /// port that floods with addresses pushes out its own. Of a sample the one that was silent
    /// longest.
    pub fn victim(&mut self, used_at: impl Fn(u32) -> u64) -> Option<u32> {
        let (_, port) = self.heaviest.last()?;
        let list = self.ports.get(port)?;
        self.hand = self.hand.wrapping_add(SAMPLE);
        let start = self.hand % list.len().max(1);
        let sample = list.iter().cycle().skip(start);
        sample
            .take(SAMPLE.min(list.len()))
            .copied()
            .min_by_key(|place| used_at(*place))
    }
}
