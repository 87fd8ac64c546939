//! OFPP_NORMAL: a VLAN-aware bridge that learns addresses, as Open vSwitch's.
//!
//! Ports are trunks (all VLANs, tagged; untagged packets are VLAN 0) or access ports of one VLAN.
//! Every packet teaches where its source is, a gratuitous ARP like any other: there are no bonds
//! whose members it could come back through. Group addresses and unknown ones go to all ports of
//! the VLAN but the one they came from.

use net::key::VLAN_PRESENT;
use net::{MacAddr, PortNo};

use super::Walk;
use crate::{DropReason, PortEntry};

/// Ethertype of the tags that trunks get.
const TPID: u16 = net::headers::ethertype::VLAN;

impl Walk<'_> {
    pub(super) fn normal(&mut self) {
        let ones = MacAddr([0xff; 6]);
        (self.wanted.eth_src, self.wanted.eth_dst) = (ones, ones);
        self.wanted.vlan_tci = u16::MAX.into();
        let (src, dst) = (self.now.key.eth_src, self.now.key.eth_dst);
        if is_reserved(dst) {
            return self.lose(DropReason::ReservedMulticast);
        }
        let in_port = PortNo(self.now.key.in_port.get());
        let world = self.world;
        // None: a packet-out of the controller's own, which is behind no port.
        let from = world.ports.get(in_port);
        self.deps.port(in_port, from.map(|port| port.changed));
        let tag = self.tag();
        let vlan = match from.and_then(|port| port.vlan) {
            Some(_) if tag != 0 => return self.lose(DropReason::WrongVlan),
            Some(access) => access.get(),
            None => tag,
        };
        if from.is_some() && !src.is_multicast() {
            match world.fdb.learn(vlan, src, in_port, world.now) {
                Some(seen) => self.macs.push(seen),
                None => self.cacheable = false,
            }
        }
        if dst.is_multicast() {
            return self.flood_vlan(vlan);
        }
        let found = world.fdb.find(vlan, dst);
        match found.seen {
            Some(seen) => self.macs.push(seen),
            None => self.cacheable = false,
        }
        match found.port {
            Some(port) if port == in_port => self.lose(DropReason::SamePort),
            Some(port) => self.bridge_to(port, vlan),
            None => self.flood_vlan(vlan),
        }
    }

    /// To the port that an address is behind.
    fn bridge_to(&mut self, number: PortNo, vlan: u16) {
        let port = self.world.ports.get(number);
        self.deps.port(number, port.map(|p| p.changed));
        let Some(port) = port else {
            // It has just gone, its addresses are about to.
            return self.flood_vlan(vlan);
        };
        match port.refuses_tx() {
            Some(reason) => self.lose(reason),
            None if !carries(port, vlan) => self.lose(DropReason::WrongVlan),
            None => self.send_tagged(port, vlan),
        }
    }

    /// To all ports that carry a VLAN, but the one it came from.
    fn flood_vlan(&mut self, vlan: u16) {
        let ports = self.world.ports;
        self.deps.all_ports = Some(ports.generation());
        let from = self.now.key.in_port.get();
        for port in ports.iter() {
            let takes = port.number.0 != from && port.refuses_tx().is_none();
            if takes && carries(port, vlan) && !self.is_aimless(port) {
                self.send_tagged(port, vlan);
            }
        }
    }

    /// Sends with the tag that a port's packets of a VLAN have.
    fn send_tagged(&mut self, port: &PortEntry, vlan: u16) {
        let wanted = if port.vlan.is_some() { 0 } else { vlan };
        if self.tag() == wanted {
            return self.send_to(port);
        }
        self.on_copy(|walk| {
            let done = match wanted {
                0 => {
                    walk.now.pop_tag();
                    true
                }
                vlan => {
                    let tagged = walk.now.outer().is_some() || walk.now.push_tag(TPID);
                    let priority = walk.now.outer().map_or(0, |tag| tag.tci & 0xe000);
                    walk.now.set_outer(priority | VLAN_PRESENT | vlan);
                    tagged
                }
            };
            match done {
                true => walk.send_to(port),
                false => walk.lose(DropReason::Unsupported),
            }
        });
    }

    /// Identifier of the outermost tag; 0 without one, or if it has a priority only.
    fn tag(&self) -> u16 {
        match self.now.key.vlan_tci.get() {
            tci if tci & VLAN_PRESENT != 0 => tci & 0xfff,
            _ => 0,
        }
    }
}

/// True if packets of a VLAN belong on a port.
fn carries(port: &PortEntry, vlan: u16) -> bool {
    port.vlan.is_none_or(|access| access.get() == vlan)
}

/// 01:80:c2:00:00:00 to 0f: for the next bridge only (IEEE 802.1Q 8.6.3).
fn is_reserved(mac: MacAddr) -> bool {
    matches!(mac.0, [0x01, 0x80, 0xc2, 0, 0, last] if last < 0x10)
}
