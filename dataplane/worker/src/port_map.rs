//! The ports as all workers see them: an immutable map, published like the tables.

mod options;
mod placement;

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use net::options::OptionMap;
use net::{MacAddr, PortNo, VlanId};
use openflow::model::{PORT_DOWN, PORT_NO_FWD, PORT_NO_RECV};
use ports::{TunnelKind, TunnelSpec};

use crate::DropReason;
use crate::tunnel::config::Vtep;
pub use options::{PortOptions, Queue, Queues};
pub use placement::{Placement, RxQueue};

/// Place of a port in every worker's port list; stable while the port lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortSlot(pub u16);

/// A port as the walk and the agent see it.
#[derive(Clone, Debug)]
pub struct PortEntry {
    /// OpenFlow number.
    pub number: PortNo,
    /// Name.
    pub name: String,
    /// Place.
    pub slot: PortSlot,
    /// `openflow::model::PORT_*` configuration bits.
    pub config: u32,
    /// Link-layer address.
    pub mac: MacAddr,
    /// Largest packet without its Ethernet header, in bytes.
    pub mtu: u32,
    /// The link is up.
    pub link_up: bool,
    /// VLAN of an access port, for OFPP_NORMAL; none: a trunk.
    pub vlan: Option<VlanId>,
    /// Its rate and its queues.
    pub queues: Arc<Queues>,
    /// What is behind it.
    pub kind: PortKind,
    /// Its rx queues and their workers.
    pub placement: Arc<Placement>,
    /// The map's generation in which this entry changed last.
    pub changed: u64,
}

/// What is behind a port.
#[derive(Clone, Debug)]
pub enum PortKind {
    /// A device.
    Device {
        /// The worker that sends to it, for all workers that cannot themselves.
        worker: usize,
    },
    /// A tunnel.
    Tunnel(TunnelSpec),
}

impl PortEntry {
    /// Why nothing can be sent there now.
    pub fn refuses_tx(&self) -> Option<DropReason> {
        match self.config {
            c if c & PORT_DOWN != 0 => Some(DropReason::PortDown),
            c if c & PORT_NO_FWD != 0 => Some(DropReason::PortNoFwd),
            _ => None,
        }
    }

    /// Why nothing is taken from it now.
    pub fn refuses_rx(&self) -> Option<DropReason> {
        match self.config {
            c if c & PORT_DOWN != 0 => Some(DropReason::PortDown),
            c if c & PORT_NO_RECV != 0 => Some(DropReason::PortNoRecv),
            _ => None,
        }
    }

    /// Has a device of its own.
    pub fn is_device(&self) -> bool {
        matches!(self.kind, PortKind::Device { .. })
    }

    /// Up, as fast failover wants it.
    pub fn is_live(&self) -> bool {
        self.link_up && self.config & PORT_DOWN == 0
    }
}

/// One of this node's tunnel endpoints, with its uplink found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// As configured.
    pub vtep: Vtep,
    /// Its link-layer address.
    pub mac: MacAddr,
    /// Its uplink.
    pub uplink: PortSlot,
    /// The uplink's MTU.
    pub mtu: u32,
}

/// All ports.
#[derive(Clone, Debug, Default)]
pub struct PortMap {
    generation: u64,
    slots: Vec<Option<Arc<PortEntry>>>,
    by_number: HashMap<PortNo, PortSlot>,
    vteps: Vec<Vtep>,
    endpoints: Vec<Endpoint>,
    endpoints_changed: u64,
    drops_fragments: bool,
    tunnel_options: OptionMap,
}

/// Why a port could not be added or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The number is taken.
    #[error("port {name}: number {number} is taken by port {by}; choose another ofport")]
    NumberTaken {
        /// The new port.
        name: String,
        /// The number.
        number: PortNo,
        /// Who has it.
        by: String,
    },
    /// The name is taken.
    #[error("port {name}: there is a port of that name already; choose another or delete it first")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The number is reserved.
    #[error("port {name}: number {number} is reserved; use 1 to 4294967039, or LOCAL")]
    BadNumber {
        /// The new port.
        name: String,
        /// The number.
        number: PortNo,
    },
    /// No more room.
    #[error("port {name}: there are 65535 ports already; delete one first")]
    Full {
        /// The new port.
        name: String,
    },
    /// There is none.
    #[error("no port {0}; `sluicectl port list` shows what there is")]
    Unknown(String),
    /// It is a tunnel.
    #[error("port {0}: a tunnel is not polled; its uplink is")]
    NotPolled(String),
    /// It has fewer rx queues.
    #[error("port {port}: has no rx queue {queue}; it has {queues}, counted from 0")]
    NoRxQueue {
        /// The port.
        port: String,
        /// The queue asked for.
        queue: u16,
        /// How many there are.
        queues: usize,
    },
    /// There is no such worker.
    #[error("port {0}: no worker has that core; `sluicectl cores` shows those that have one")]
    NoWorker(String),
    /// It is being moved, or another one is.
    #[error("port {0}: a port is being moved just now, one at a time; try again")]
    Moving(String),
    /// The workers have ended.
    #[error("port {0}: the workers have stopped")]
    Stopped(String),
}

impl PortMap {
    /// Changes whenever anything in the map does.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The port in a place.
    pub fn at(&self, slot: PortSlot) -> Option<&Arc<PortEntry>> {
        self.slots.get(usize::from(slot.0))?.as_ref()
    }

    /// The port with a number.
    pub fn get(&self, number: PortNo) -> Option<&Arc<PortEntry>> {
        self.at(*self.by_number.get(&number)?)
    }

    /// The port of a name.
    pub fn named(&self, name: &str) -> Option<&Arc<PortEntry>> {
        self.iter().find(|port| port.name == name)
    }

    /// All ports, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PortEntry>> {
        self.slots.iter().flatten()
    }

    /// This node's tunnel endpoints.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Which tunnel options are fields.
    pub fn tunnel_options(&self) -> &OptionMap {
        &self.tunnel_options
    }

    /// The generation in which the endpoints, or the tunnel options, changed last.
    pub fn endpoints_changed(&self) -> u64 {
        self.endpoints_changed
    }

    /// IP fragments are dropped before the tables see them (OFPC_FRAG_DROP).
    pub fn drops_fragments(&self) -> bool {
        self.drops_fragments
    }

    /// The endpoint that reaches an address: the one on whose link it is, else the first with
    /// a gateway, else any of the family.
    pub fn endpoint_for(&self, remote: IpAddr) -> Option<&Endpoint> {
        let is_v4 = remote.is_ipv4();
        let family = || {
            let all = self.endpoints.iter();
            all.filter(move |e| e.vtep.address.is_ipv4() == is_v4)
        };
        family()
            .find(|e| e.vtep.on_link(remote))
            .or_else(|| family().find(|e| e.vtep.gateway.is_some()))
            .or_else(|| family().next())
    }

    /// The port that packets to an endpoint's address come in on.
    pub fn uplink_of(&self, address: IpAddr) -> Option<PortNo> {
        let mut endpoints = self.endpoints.iter();
        let endpoint = endpoints.find(|endpoint| endpoint.vtep.address == address)?;
        self.at(endpoint.uplink).map(|port| port.number)
    }

    /// The tunnel port that takes a packet: the most specific of remote and key.
    pub fn tunnel_for(&self, kind: TunnelKind, remote: IpAddr, vni: u32) -> Option<&PortEntry> {
        let specific = |tunnel: &TunnelSpec| {
            let fits = tunnel.kind == kind
                && tunnel.remote.is_none_or(|address| address == remote)
                && tunnel.key.is_none_or(|key| key.get() == vni);
            fits.then_some((tunnel.remote.is_some(), tunnel.key.is_some()))
        };
        self.iter()
            .filter_map(|port| match &port.kind {
                PortKind::Tunnel(tunnel) => specific(tunnel).map(|rank| (rank, &**port)),
                PortKind::Device { .. } => None,
            })
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, port)| port)
    }

    /// Adds a port in the first free place and says which.
    pub(crate) fn add(&mut self, mut entry: PortEntry) -> Result<PortSlot, PortError> {
        let name = entry.name.clone();
        let number = entry.number;
        if !number.is_ordinary() && number != PortNo::LOCAL {
            return Err(PortError::BadNumber { name, number });
        }
        if let Some(other) = self.get(number) {
            let by = other.name.clone();
            return Err(PortError::NumberTaken { name, number, by });
        }
        if self.named(&name).is_some() {
            return Err(PortError::NameTaken { name });
        }
        let free = self.slots.iter().position(Option::is_none);
        let at = free.unwrap_or(self.slots.len());
        let slot = match u16::try_from(at) {
            Ok(at) if at < u16::MAX => PortSlot(at),
            _ => return Err(PortError::Full { name }),
        };
        entry.slot = slot;
        entry.changed = self.generation + 1;
        self.by_number.insert(number, slot);
        let entry = Some(Arc::new(entry));
        match self.slots.get_mut(at) {
            Some(place) => *place = entry,
            None => self.slots.push(entry),
        }
        self.changed();
        Ok(slot)
    }

    /// Takes a port out.
    pub(crate) fn remove(&mut self, number: PortNo) -> Result<Arc<PortEntry>, PortError> {
        let unknown = || PortError::Unknown(number.to_string());
        let slot = self.by_number.remove(&number).ok_or_else(unknown)?;
        let place = self.slots.get_mut(usize::from(slot.0));
        let entry = place.and_then(Option::take).ok_or_else(unknown)?;
        self.changed();
        Ok(entry)
    }

    /// Changes a port's entry; true if anything is different now.
    pub(crate) fn update(
        &mut self,
        number: PortNo,
        change: impl FnOnce(&mut PortEntry),
    ) -> Result<bool, PortError> {
        let unknown = || PortError::Unknown(number.to_string());
        let slot = *self.by_number.get(&number).ok_or_else(unknown)?;
        let place = self.slots.get_mut(usize::from(slot.0));
        let entry = place.and_then(Option::as_mut).ok_or_else(unknown)?;
        let mut new = (**entry).clone();
        change(&mut new);
        let same = new.config == entry.config
            && new.link_up == entry.link_up
            && new.mtu == entry.mtu
            && new.mac == entry.mac
            && Arc::ptr_eq(&new.queues, &entry.queues);
        if !same {
            new.changed = self.generation + 1;
            *entry = Arc::new(new);
            self.changed();
        }
        Ok(!same)
    }

    /// Another worker sends to a port's device from now on. What depends on the port's settings goes
    /// on to hold.
    pub(crate) fn set_worker(&mut self, number: PortNo, to: usize) {
        let slot = self.by_number.get(&number);
        let place = slot.and_then(|slot| self.slots.get_mut(usize::from(slot.0)));
        if let Some(entry) = place.and_then(Option::as_mut)
            && let PortKind::Device { worker } = &mut Arc::make_mut(entry).kind
        {
            *worker = to;
            self.changed();
        }
    }

    /// Replaces the tunnel endpoints. One whose uplink does not exist (yet) waits for it.
    pub(crate) fn set_vteps(&mut self, vteps: Vec<Vtep>) {
        self.vteps = vteps;
        self.changed();
    }

    /// Says what becomes of IP fragments; true if that is different now.
    pub(crate) fn drop_fragments(&mut self, drop: bool) -> bool {
        let changes = self.drops_fragments != drop;
        if changes {
            self.drops_fragments = drop;
            self.changed();
        }
        changes
    }

    /// Says which tunnel options are fields.
    pub(crate) fn set_tunnel_options(&mut self, map: OptionMap) {
        self.tunnel_options = map;
        self.changed();
        self.endpoints_changed = self.generation;
    }

    fn changed(&mut self) {
        self.generation += 1;
        let resolve = |vtep: &Vtep| {
            let uplink = self.named(&vtep.port)?;
            Some(Endpoint {
                vtep: vtep.clone(),
                mac: vtep.mac.unwrap_or(uplink.mac),
                uplink: uplink.slot,
                mtu: uplink.mtu,
            })
        };
        let endpoints = self.vteps.iter().filter_map(resolve).collect();
        if self.endpoints != endpoints {
            self.endpoints = endpoints;
            self.endpoints_changed = self.generation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::Vni;

    fn device(number: u32, name: &str) -> PortEntry {
        PortEntry {
            number: PortNo(number),
            name: name.to_owned(),
            slot: PortSlot(0),
            config: 0,
            mac: MacAddr::ZERO,
            mtu: 1500,
            link_up: true,
            vlan: None,
            queues: Arc::default(),
            kind: PortKind::Device { worker: 0 },
            placement: Arc::default(),
            changed: 0,
        }
    }

    fn tunnel(number: u32, remote: Option<IpAddr>, vni: Option<u32>) -> PortEntry {
        let kind = PortKind::Tunnel(TunnelSpec {
            kind: TunnelKind::Geneve,
            remote,
            key: vni.map(|vni| Vni::new(vni).unwrap()),
            outer: Default::default(),
        });
        PortEntry {
            kind,
            ..device(number, &format!("t{number}"))
        }
    }

    #[test]
    fn numbers_and_names_are_unique_and_places_are_reused() {
        let mut map = PortMap::default();
        assert_eq!(map.add(device(5, "a")), Ok(PortSlot(0)));
        assert_eq!(map.add(device(6, "b")), Ok(PortSlot(1)));
        let taken = map.add(device(5, "c")).unwrap_err().to_string();
        assert!(taken.contains("taken by port a"), "{taken}");
        assert!(map.add(device(7, "a")).is_err());
        assert!(map.add(device(0, "z")).is_err());
        assert_eq!(map.remove(PortNo(5)).unwrap().name, "a");
        assert_eq!(map.add(device(8, "c")), Ok(PortSlot(0)));
    }

    #[test]
    fn a_vtep_waits_for_its_uplink() {
        let mut map = PortMap::default();
        map.set_vteps(vec!["10.0.0.1/24,port=up".parse().unwrap()]);
        assert!(map.endpoints().is_empty());
        map.add(device(1, "up")).unwrap();
        assert_eq!(map.endpoints().len(), 1);
        assert!(map.endpoint_for("10.9.0.1".parse().unwrap()).is_some());
        assert!(map.endpoint_for("fd00::1".parse().unwrap()).is_none());
    }

    #[test]
    fn the_most_specific_tunnel_port_takes_the_packet() {
        let mut map = PortMap::default();
        let peer: IpAddr = "10.0.0.2".parse().unwrap();
        let other: IpAddr = "10.0.0.3".parse().unwrap();
        map.add(tunnel(1, None, None)).unwrap();
        map.add(tunnel(2, None, Some(7))).unwrap();
        map.add(tunnel(3, Some(peer), None)).unwrap();
        let found = |remote, vni| {
            map.tunnel_for(TunnelKind::Geneve, remote, vni)
                .map(|p| p.number.0)
        };
        assert_eq!(found(peer, 7), Some(3));
        assert_eq!(found(other, 7), Some(2));
        assert_eq!(found(other, 8), Some(1));
        assert!(map.tunnel_for(TunnelKind::Vxlan, peer, 7).is_none());
    }
}
