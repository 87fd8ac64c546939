//! The switch's ports as OpenFlow and the admin socket show them.

use std::collections::BTreeMap;
use std::sync::Arc;

use net::{MacAddr, PortNo};
use openflow::model::{
    PORT_DOWN, PORT_NO_FWD, PORT_NO_PACKET_IN, PORT_NO_RECV, PORT_STATE_LINK_DOWN, PORT_STATE_LIVE,
    PortDesc,
};
use ports::{PortControl, PortKind, PortSpec, PortStats};

use crate::PortState;

/// First number that is given to a port without one.
const FIRST_FREE: u32 = 1000;
/// Configuration bits that a controller may change.
pub(crate) const CONFIG_BITS: u32 = PORT_DOWN | PORT_NO_RECV | PORT_NO_FWD | PORT_NO_PACKET_IN;

/// A port.
pub(crate) struct PortRecord {
    /// As asked for.
    pub spec: PortSpec,
    /// Number.
    pub number: PortNo,
    /// The device; none for a tunnel.
    pub control: Option<Arc<dyn PortControl>>,
    /// As last told to the workers and controllers.
    pub state: PortState,
    /// When it was made, nanoseconds of the workers' clock.
    pub created: u64,
}

/// A port that could not be started.
pub(crate) struct FailedPort {
    /// As asked for.
    pub spec: PortSpec,
    /// Why.
    pub error: String,
}

/// All ports.
#[derive(Default)]
pub(crate) struct Ports {
    running: BTreeMap<PortNo, PortRecord>,
    failed: BTreeMap<String, FailedPort>,
}

impl PortRecord {
    /// Lets packets in and out.
    pub fn is_open(&self) -> bool {
        self.state.config & (PORT_DOWN | PORT_NO_RECV | PORT_NO_FWD) == 0
    }

    /// Counters; none are kept for tunnels, whose packets count at their uplink.
    pub fn stats(&self) -> Option<PortStats> {
        self.control.as_ref().map(|c| c.stats())
    }

    /// Reads the device anew; true if anything is different from what was told last.
    pub fn refresh(&mut self) -> bool {
        let now = PortState {
            config: self.state.config,
            ..state_of(&self.spec.name, self.control.as_deref())
        };
        std::mem::replace(&mut self.state, now) != now
    }

    /// As OpenFlow describes it.
    pub fn desc(&self) -> PortDesc {
        let speed = self.control.as_ref().map_or(0, |c| c.speed());
        let up = self.state.link_up && self.state.config & PORT_DOWN == 0;
        PortDesc {
            port: self.number,
            hw_addr: self.state.mac,
            name: self.spec.name.clone(),
            config: self.state.config,
            state: match up {
                true => PORT_STATE_LIVE,
                false => PORT_STATE_LINK_DOWN,
            },
            curr: speed_bit(speed),
            advertised: 0,
            supported: 0,
            peer: 0,
            curr_speed: speed.saturating_mul(1000),
            max_speed: 0,
            properties: Vec::new(),
        }
    }
}

impl Ports {
    /// The port with a number.
    pub fn get(&self, number: PortNo) -> Option<&PortRecord> {
        self.running.get(&number)
    }

    /// The port with a number, to be changed.
    pub fn get_mut(&mut self, number: PortNo) -> Option<&mut PortRecord> {
        self.running.get_mut(&number)
    }

    /// The port of a name.
    pub fn named(&self, name: &str) -> Option<&PortRecord> {
        self.iter().find(|port| port.spec.name == name)
    }

    /// Ports that run, by number.
    pub fn iter(&self) -> impl Iterator<Item = &PortRecord> {
        self.running.values()
    }

    /// Ports that run, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut PortRecord> {
        self.running.values_mut()
    }

    /// Ports that do not run.
    pub fn failed(&self) -> impl Iterator<Item = &FailedPort> {
        self.failed.values()
    }

    /// The number that a new port gets: the one asked for, or the first free one from 1000 on.
    pub fn number_for(&self, spec: &PortSpec) -> Result<PortNo, String> {
        let name = &spec.name;
        if let Some(number) = spec.ofport {
            return match self.get(number) {
                None => Ok(number),
                Some(other) => Err(format!(
                    "port {name}: ofport {number} is taken by port {}; choose another number",
                    other.spec.name
                )),
            };
        }
        (FIRST_FREE..PortNo::MAX.0)
            .map(PortNo)
            .find(|number| !self.running.contains_key(number))
            .ok_or_else(|| format!("port {name}: every ofport is taken; delete a port first"))
    }

    /// A port runs.
    pub fn add(&mut self, port: PortRecord) {
        self.failed.remove(&port.spec.name);
        self.running.insert(port.number, port);
    }

    /// A port does not run.
    pub fn add_failed(&mut self, spec: PortSpec, error: String) {
        self.failed
            .insert(spec.name.clone(), FailedPort { spec, error });
    }

    /// Takes a port out by its number.
    pub fn remove(&mut self, number: PortNo) -> Option<PortRecord> {
        self.running.remove(&number)
    }

    /// Forgets a port that never ran; true if there was one.
    pub fn remove_failed(&mut self, name: &str) -> bool {
        self.failed.remove(name).is_some()
    }
}

/// A device's state, open; tunnels are always up and have an address made of their name.
pub(crate) fn state_of(name: &str, control: Option<&dyn PortControl>) -> PortState {
    PortState {
        config: 0,
        link_up: control.is_none_or(|c| c.link_up()),
        mac: control.map_or_else(|| mac_for(name), |c| c.mac()),
        mtu: control.map_or(0, |c| c.mtu()),
    }
}

/// What kind of thing a port is, in one word.
pub(crate) fn kind_name(kind: &PortKind) -> String {
    match kind {
        PortKind::Tap { .. } => "tap".into(),
        PortKind::Veth { .. } => "veth".into(),
        PortKind::Dpdk { .. } => "dpdk".into(),
        PortKind::Test(_) => "test".into(),
        PortKind::Tunnel(tunnel) => tunnel.kind.to_string(),
    }
}

/// The kernel's interface, where there is one.
pub(crate) fn iface(kind: &PortKind) -> Option<&str> {
    match kind {
        PortKind::Tap { iface } | PortKind::Veth { iface } => Some(iface),
        PortKind::Dpdk { devargs } => devargs
            .split(',')
            .find_map(|part| part.strip_prefix("iface=")),
        PortKind::Test(_) | PortKind::Tunnel(_) => None,
    }
}

/// OFPPF_* bit of a speed in Mbit/s, full duplex.
fn speed_bit(mbps: u32) -> u32 {
    match mbps {
        0 => 0,
        10 => 1 << 1,
        100 => 1 << 3,
        1_000 => 1 << 5,
        10_000 => 1 << 6,
        40_000 => 1 << 7,
        100_000 => 1 << 8,
        1_000_000 => 1 << 9,
        _ => 1 << 10,
    }
}

/// A locally administered unicast address (IEEE 802-2014, 8.4) made of a name.
fn mac_for(name: &str) -> MacAddr {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut bytes = MacAddr::from_u64(hash).0;
    bytes[0] = (bytes[0] & 0xfc) | 0x02;
    MacAddr(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(spec: &str, number: u32) -> PortRecord {
        PortRecord {
            spec: spec.parse().unwrap(),
            number: PortNo(number),
            control: None,
            state: PortState {
                config: PORT_NO_RECV | PORT_NO_FWD,
                ..state_of("a", None)
            },
            created: 0,
        }
    }

    #[test]
    fn numbers_are_those_asked_for_or_free_ones() {
        let mut ports = Ports::default();
        let any: PortSpec = "p,tunnel=geneve".parse().unwrap();
        assert_eq!(ports.number_for(&any), Ok(PortNo(1000)));
        ports.add(record("a,ofport=1000,tunnel=geneve", 1000));
        assert_eq!(ports.number_for(&any), Ok(PortNo(1001)));
        let taken: PortSpec = "b,ofport=1000,tunnel=geneve".parse().unwrap();
        let error = ports.number_for(&taken).unwrap_err();
        assert_eq!(
            error,
            "port b: ofport 1000 is taken by port a; choose another number"
        );
    }

    #[test]
    fn a_port_is_live_only_with_link_and_not_down() {
        let mut port = record("a,tunnel=geneve", 1);
        assert_eq!(port.desc().state, PORT_STATE_LIVE);
        assert!(!port.is_open() && port.state.mac.is_unicast());
        port.state.config = PORT_DOWN;
        assert_eq!(port.desc().state, PORT_STATE_LINK_DOWN);
        port.state.config = 0;
        assert!(port.is_open());
    }
}
