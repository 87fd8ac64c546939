//! Connections, as far as the first packet of one meets them: nothing is known at the beginning, and
//! what the packet commits is known on that node from then on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::FlowKey;
use net::key::ct_state::{DNAT, INV, NEW, SNAT, TRK};
use openflow::action::{Ct, CtZone, Nat, NatKind};
use openflow::{Action, Field};

use crate::flow::{IPV4, IPV6};

/// Identifier of traced echo requests.
const ECHO_ID: u16 = 1;

/// Both ends of a connection; ICMP has its identifier in `from.1`, type and code in `to.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source address and port.
    pub from: (IpAddr, u16),
    /// Destination address and port.
    pub to: (IpAddr, u16),
    /// The protocol of the IP header.
    pub protocol: u8,
}

impl Tuple {
    /// Of a packet; none where it is not IP.
    pub fn of(key: &FlowKey) -> Option<Self> {
        let (from, to): (IpAddr, IpAddr) = match key.eth_type.get() {
            IPV4 => (
                Ipv4Addr::from_bits(key.nw_src.get()).into(),
                Ipv4Addr::from_bits(key.nw_dst.get()).into(),
            ),
            IPV6 => (
                Ipv6Addr::from(key.ipv6_src).into(),
                Ipv6Addr::from(key.ipv6_dst).into(),
            ),
            _ => return None,
        };
        let (source, destination) = (key.tp_src.get(), key.tp_dst.get());
        let ports = match is_icmp(key.nw_proto) {
            true => (ECHO_ID, source << 8 | (destination & 0xff)),
            false => (source, destination),
        };
        Some(Tuple {
            from: (from, ports.0),
            to: (to, ports.1),
            protocol: key.nw_proto,
        })
    }

    /// Writes the ends to a packet.
    pub fn write(&self, key: &mut FlowKey) {
        match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                key.nw_src = from.to_bits().into();
                key.nw_dst = to.to_bits().into();
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                key.ipv6_src = from.octets();
                key.ipv6_dst = to.octets();
            }
            _ => {} // a translation to the other family is refused by every switch
        }
        if !is_icmp(self.protocol) {
            key.tp_src = self.from.1.into();
            key.tp_dst = self.to.1.into();
        }
    }

    /// What a translation makes of it.
    fn translated(mut self, nat: &Nat) -> Self {
        let end = match nat.kind {
            NatKind::Existing => return self,
            NatKind::Src => &mut self.from,
            NatKind::Dst => &mut self.to,
        };
        if let Some((first, _)) = nat.addresses {
            end.0 = first;
        }
        if let Some((first, last)) = nat.ports.filter(|_| !is_icmp(self.protocol)) {
            // A source port stays where it may; which other it gets the switch chooses.
            if !(first..=last).contains(&end.1) {
                end.1 = first;
            }
        }
        self
    }
}

fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, 1 | 58)
}

/// A connection that the packet has committed.
#[derive(Clone, Copy, Debug)]
struct Connection {
    zone: u16,
    tuple: Tuple,
    translated: Tuple,
    mark: u128,
    label: u128,
}

/// What one node knows.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    connections: Vec<Connection>,
}

/// Which connection the packet is of, in the zone that it went through last: however it looks by
/// now, it stays with it there, and is translated once.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    zone: u16,
    tuple: Tuple,
    translation: u32,
}

impl Tracker {
    /// Sends a packet through, as `ct` says; what it learns of it stands in the key then.
    pub fn track(&mut self, ct: &Ct, key: &mut FlowKey, known: &mut Option<Known>) {
        let zone = match ct.zone {
            CtZone::Number(zone) => zone,
            CtZone::Field(field) => field.get(key) as u16,
        };
        let before = known.filter(|before| before.zone == zone);
        let Some(tuple) = before.map(|b| b.tuple).or_else(|| Tuple::of(key)) else {
            show(key, zone, TRK | INV, None, (0, 0));
            return;
        };
        let mut translation = before.map_or(0, |before| before.translation);
        let is_this = |c: &Connection| c.zone == zone && c.tuple == tuple;
        let mut found = self.connections.iter().position(is_this);
        let nat = ct.actions.iter().find_map(|action| match action {
            Action::Nat(nat) => Some(nat),
            _ => None,
        });
        if let (true, true, Some(at), Some(nat)) = (ct.force, ct.commit, found, nat) {
            let has = self.connections[at].translated;
            if nat.kind == NatKind::Dst && tuple.translated(nat).to != has.to {
                // Another connection begins in its place, and the packet has its own ends again.
                self.connections.remove(at);
                found = None;
                if translation != 0 {
                    tuple.write(key);
                    translation = 0;
                }
            }
        }
        if ct.commit && found.is_none() {
            self.connections.push(Connection {
                zone,
                tuple,
                translated: nat.map_or(tuple, |nat| tuple.translated(nat)),
                mark: 0,
                label: 0,
            });
            found = Some(self.connections.len() - 1);
        }
        let mut state = TRK | NEW;
        let mut written = (0, 0);
        if let Some(connection) = found.and_then(|at| self.connections.get_mut(at)) {
            if ct.commit {
                connection.write(&ct.actions, key);
            }
            written = (connection.mark, connection.label);
            let translated = connection.translated;
            if nat.is_some() && translation == 0 && translated != tuple {
                if translated.from != tuple.from {
                    translation |= SNAT;
                }
                if translated.to != tuple.to {
                    translation |= DNAT;
                }
                translated.write(key);
            }
        }
        state |= translation;
        *known = Some(Known {
            zone,
            tuple,
            translation,
        });
        show(key, zone, state, Some(tuple), written);
    }
}

impl Connection {
    /// Runs the writes of `exec`.
    fn write(&mut self, actions: &[Action], key: &FlowKey) {
        let mut key = *key;
        let (mark, label) = (Field::CtMark.info().slot, Field::CtLabel.info().slot);
        mark.set(&mut key, self.mark, mark.ones());
        label.set(&mut key, self.label, label.ones());
        for action in actions {
            super::machine::write(action, &mut key);
        }
        (self.mark, self.label) = (mark.get(&key), label.get(&key));
    }
}

/// What tables see of it.
fn show(key: &mut FlowKey, zone: u16, state: u32, of: Option<Tuple>, written: (u128, u128)) {
    key.ct_state = state.into();
    key.ct_zone = zone.into();
    key.ct_mark = (written.0 as u32).into();
    key.ct_label = written.1.into();
    let Some(tuple) = of else { return };
    key.ct_nw_proto = tuple.protocol;
    key.ct_tp_src = tuple.from.1.into();
    key.ct_tp_dst = tuple.to.1.into();
    match (tuple.from.0, tuple.to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            key.ct_nw_src = from.to_bits().into();
            key.ct_nw_dst = to.to_bits().into();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            key.ct_ipv6_src = from.octets();
            key.ct_ipv6_dst = to.octets();
        }
        _ => {}
    }
}
