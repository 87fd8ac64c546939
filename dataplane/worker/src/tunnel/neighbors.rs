//! Next hops on the underlay and their link-layer addresses.
//!
//! Programs name a next hop by its place, which never changes; finding its address there is one
//! load. Everything else (asking, ageing, the operator's commands) is rare and behind a lock. The
//! worker that owns an uplink asks for the next hops behind it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use net::{MacAddr, PortNo};

use crate::{Endpoint, NeighborEntry, NeighborState, PortMap};

/// Next hops a node can have.
const PLACES: usize = 4096;
/// Between questions while nothing is known (RFC 4861 10 has a second, but packets wait for this).
const RETRY: u64 = 250 * MILLISECOND;
/// Questions without an answer after which packets are dropped.
const TRIES: u32 = 12;
/// Between questions after that, and only if packets come.
const FAILED_RETRY: u64 = SECOND;
/// How long an answer is believed without asking again (RFC 4861 10, REACHABLE_TIME).
const REACHABLE: u64 = 30 * SECOND;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

const MAC_MASK: u64 = (1 << 48) - 1;
/// The address is good.
const RESOLVED: u64 = 1 << 48;
/// Packets need not wait.
const FAILED: u64 = 1 << 49;
/// A packet went there since the last tick.
const USED: u64 = 1 << 50;

/// What a place says of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// Send there.
    To(MacAddr),
    /// Wait.
    Unknown,
    /// Do not wait.
    Failed,
}

/// A question to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The endpoint's place in the port map.
    pub endpoint: usize,
    /// Who is asked for.
    pub address: IpAddr,
}

/// All next hops.
pub(crate) struct Neighbors {
    words: Box<[AtomicU64]>,
    /// A new next hop waits to be asked for.
    due: AtomicBool,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_address: HashMap<(IpAddr, IpAddr), u32>,
    hops: Vec<Hop>,
}

struct Hop {
    /// Our endpoint's address.
    ours: IpAddr,
    address: IpAddr,
    state: NeighborState,
    mac: Option<MacAddr>,
    /// When it was confirmed last, or first asked for.
    since: u64,
    asked: u64,
    tries: u32,
}

impl Neighbors {
    pub fn new() -> Self {
        Neighbors {
            words: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            due: AtomicBool::new(false),
            table: Mutex::default(),
        }
    }

    /// The place of a next hop behind an endpoint; asked for if it is new. None if there are too
    /// many.
    pub fn place(&self, endpoint: &Endpoint, address: IpAddr, now: u64) -> Option<u32> {
        let ours = endpoint.vtep.address;
        let mut table = self.lock();
        if let Some(place) = table.by_address.get(&(ours, address)) {
            return Some(*place);
        }
        let place = table.add(ours, address, now)?;
        self.due.store(true, Ordering::Release);
        Some(place)
    }

    /// The link-layer address of the next hop in a place.
    #[inline]
    pub fn resolve(&self, place: u32) -> Resolved {
        let Some(word) = self.words.get(place as usize) else {
            return Resolved::Failed;
        };
        let value = word.load(Ordering::Relaxed);
        if value & USED == 0 {
            word.fetch_or(USED, Ordering::Relaxed);
        }
        match value {
            v if v & RESOLVED != 0 => Resolved::To(MacAddr::from_u64(v & MAC_MASK)),
            v if v & FAILED != 0 => Resolved::Failed,
            _ => Resolved::Unknown,
        }
    }

    /// A next hop says where it is. One that nobody asked for is remembered only if `create`.
    pub fn learn(&self, ours: IpAddr, address: IpAddr, mac: MacAddr, now: u64, create: bool) {
        let mut table = self.lock();
        let place = match table.by_address.get(&(ours, address)) {
            Some(place) => Some(*place),
            // Strangers may fill half of the table; the rest is for those we send to.
            None if create && table.hops.len() < PLACES / 2 => table.add(ours, address, now),
            None => None,
        };
        let Some(place) = place else { return };
        let Some(hop) = table.hops.get_mut(place as usize) else {
            return;
        };
        if hop.state == NeighborState::Permanent {
            return;
        }
        hop.state = NeighborState::Reachable;
        hop.mac = Some(mac);
        hop.since = now;
        hop.tries = 0;
        self.publish(place, hop);
    }

    /// True if [`Neighbors::tick`] should be called before its time.
    pub fn is_due(&self) -> bool {
        self.due.load(Ordering::Acquire)
    }

    /// Advances the states and says what to ask, for the endpoints whose uplink the caller owns.
    pub fn tick(
        &self,
        ports: &PortMap,
        now: u64,
        owns: impl Fn(&Endpoint) -> bool,
        mut ask: impl FnMut(Question),
    ) {
        self.due.store(false, Ordering::Release);
        let mut table = self.lock();
        for (place, hop) in table.hops.iter_mut().enumerate() {
            let find = |(_, e): &(usize, &Endpoint)| e.vtep.address == hop.ours && owns(e);
            let Some((endpoint, _)) = ports.endpoints().iter().enumerate().find(find) else {
                continue;
            };
            let Some(word) = self.words.get(place) else {
                continue;
            };
            let used = word.fetch_and(!USED, Ordering::Relaxed) & USED != 0;
            if hop.advance(used, now) {
                let address = hop.address;
                ask(Question { endpoint, address });
            }
            self.publish(place as u32, hop);
        }
    }

    /// All next hops, for the operator.
    pub fn list(&self, ports: &PortMap, now: u64) -> Vec<NeighborEntry> {
        let table = self.lock();
        let entries = table.hops.iter().map(|hop| {
            let endpoint = ports
                .endpoints()
                .iter()
                .find(|e| e.vtep.address == hop.ours);
            let uplink = endpoint.and_then(|e| ports.at(e.uplink));
            NeighborEntry {
                address: hop.address,
                mac: hop.mac,
                port: uplink.map_or(PortNo::ANY, |port| port.number),
                state: hop.state,
                age_ms: now.saturating_sub(hop.since) / MILLISECOND,
            }
        });
        entries.collect()
    }

    /// The operator says where a next hop is; false if no endpoint could use it.
    pub fn set(&self, ports: &PortMap, address: IpAddr, mac: MacAddr, now: u64) -> bool {
        let Some(endpoint) = ports.endpoint_for(address) else {
            return false;
        };
        let Some(place) = self.place(endpoint, address, now) else {
            return false;
        };
        let mut table = self.lock();
        let Some(hop) = table.hops.get_mut(place as usize) else {
            return false;
        };
        hop.state = NeighborState::Permanent;
        hop.mac = Some(mac);
        hop.since = now;
        self.publish(place, hop);
        true
    }

    /// Forgets what is known of a next hop; false if nothing was.
    pub fn forget(&self, address: IpAddr, now: u64) -> bool {
        let mut table = self.lock();
        let mut found = false;
        for (place, hop) in table.hops.iter_mut().enumerate() {
            if hop.address == address {
                found = true;
                hop.state = NeighborState::Failed;
                hop.mac = None;
                hop.since = now;
                hop.asked = 0;
                self.publish(place as u32, hop);
            }
        }
        found
    }

    fn publish(&self, place: u32, hop: &Hop) {
        let Some(word) = self.words.get(place as usize) else {
            return;
        };
        let mac = hop.mac.map_or(0, MacAddr::to_u64);
        let flags = match hop.state {
            NeighborState::Incomplete => 0,
            NeighborState::Failed => FAILED,
            _ => RESOLVED,
        };
        let used = word.load(Ordering::Relaxed) & USED;
        word.store(mac | flags | used, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // What a panicking thread left behind is still a table of addresses.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, ours: IpAddr, address: IpAddr, now: u64) -> Option<u32> {
        if self.hops.len() >= PLACES {
            return None;
        }
        let place = self.hops.len() as u32;
        self.by_address.insert((ours, address), place);
        self.hops.push(Hop {
            ours,
            address,
            state: NeighborState::Incomplete,
            mac: None,
            since: now,
            asked: 0,
            tries: 0,
        });
        Some(place)
    }
}

impl Hop {
    /// Lets time pass; true if it is to be asked for now.
    fn advance(&mut self, used: bool, now: u64) -> bool {
        let quiet = now.saturating_sub(self.asked);
        let never = self.asked == 0;
        match self.state {
            NeighborState::Permanent => return false,
            NeighborState::Reachable if now.saturating_sub(self.since) >= REACHABLE => {
                self.state = NeighborState::Stale;
                self.tries = 0;
            }
            NeighborState::Reachable => return false,
            NeighborState::Stale | NeighborState::Incomplete if self.tries >= TRIES => {
                self.state = NeighborState::Failed;
                self.mac = None;
            }
            _ => {}
        }
        let ask = match self.state {
            NeighborState::Incomplete => never || quiet >= RETRY,
            NeighborState::Stale => (used || self.tries > 0) && quiet >= RETRY,
            NeighborState::Failed if used && (never || quiet >= FAILED_RETRY) => {
                self.state = NeighborState::Incomplete;
                self.tries = 0;
                true
            }
            _ => false,
        };
        if ask {
            self.asked = now.max(1);
            self.tries += 1;
        }
        ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PortEntry, PortKind, PortSlot};

    const PEER: &str = "10.0.0.2";

    fn ports() -> PortMap {
        let mut map = PortMap::default();
        map.set_vteps(vec!["10.0.0.1/24,port=up".parse().unwrap()]);
        map.add(PortEntry {
            number: PortNo(1),
            name: "up".to_owned(),
            slot: PortSlot(0),
            config: 0,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            link_up: true,
            vlan: None,
            queues: Default::default(),
            kind: PortKind::Device { worker: 0 },
            placement: Default::default(),
            changed: 0,
        })
        .unwrap();
        map
    }

    fn asked(neighbors: &Neighbors, ports: &PortMap, now: u64) -> usize {
        let mut count = 0;
        neighbors.tick(ports, now, |_| true, |_| count += 1);
        count
    }

    #[test]
    fn a_new_next_hop_is_asked_for_until_it_answers_or_fails() {
        let (neighbors, ports) = (Neighbors::new(), ports());
        let peer: IpAddr = PEER.parse().unwrap();
        let endpoint = &ports.endpoints()[0];
        let place = neighbors.place(endpoint, peer, 1).unwrap();
        assert_eq!(neighbors.place(endpoint, peer, 2), Some(place));
        assert!(neighbors.is_due());
        assert_eq!(asked(&neighbors, &ports, 1), 1);
        assert_eq!(asked(&neighbors, &ports, 2), 0, "not before the retry time");
        let mut now = 1;
        for _ in 1..TRIES {
            now += RETRY;
            assert_eq!(asked(&neighbors, &ports, now), 1);
            assert_eq!(neighbors.resolve(place), Resolved::Unknown);
        }
        now += RETRY;
        neighbors.tick(&ports, now, |_| true, |_| {});
        // The packet above has shown that it is wanted, so it is tried once more right away.
        let entry = neighbors.list(&ports, now)[0];
        assert!(matches!(
            entry.state,
            NeighborState::Failed | NeighborState::Incomplete
        ));
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        neighbors.learn("10.0.0.1".parse().unwrap(), peer, mac, now, false);
        assert_eq!(neighbors.resolve(place), Resolved::To(mac));
    }

    #[test]
    fn an_old_answer_is_used_and_asked_again_only_if_packets_go_there() {
        let (neighbors, ports) = (Neighbors::new(), ports());
        let (ours, peer): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), PEER.parse().unwrap());
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        neighbors.learn(ours, peer, mac, 0, true);
        let later = REACHABLE + 1;
        assert_eq!(asked(&neighbors, &ports, later), 0, "nobody uses it");
        assert_eq!(neighbors.resolve(0), Resolved::To(mac));
        assert_eq!(asked(&neighbors, &ports, later + RETRY), 1);
        assert_eq!(neighbors.list(&ports, later)[0].state, NeighborState::Stale);
    }

    #[test]
    fn strangers_leave_room_for_those_we_send_to() {
        let (neighbors, ports) = (Neighbors::new(), ports());
        let ours: IpAddr = "10.0.0.1".parse().unwrap();
        for n in 0..2 * PLACES as u32 {
            let stranger = std::net::Ipv4Addr::from_bits(0x0b00_0000 + n).into();
            neighbors.learn(ours, stranger, MacAddr([2; 6]), 1, true);
        }
        let peer: IpAddr = PEER.parse().unwrap();
        assert!(neighbors.place(&ports.endpoints()[0], peer, 2).is_some());
        assert_eq!(neighbors.list(&ports, 2).len(), PLACES / 2 + 1);
    }

    #[test]
    fn what_the_operator_set_stays() {
        let (neighbors, ports) = (Neighbors::new(), ports());
        let (ours, peer): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), PEER.parse().unwrap());
        let (mine, theirs) = (MacAddr([2, 0, 0, 0, 0, 8]), MacAddr([2, 0, 0, 0, 0, 9]));
        assert!(neighbors.set(&ports, peer, mine, 1));
        neighbors.learn(ours, peer, theirs, 2, true);
        assert_eq!(asked(&neighbors, &ports, 100 * REACHABLE), 0);
        assert_eq!(neighbors.resolve(0), Resolved::To(mine));
        assert!(neighbors.forget(peer, 3));
        assert_eq!(neighbors.resolve(0), Resolved::Failed);
        assert!(!neighbors.forget("10.0.0.77".parse().unwrap(), 3));
    }
}
