//! Outputs: ports, reserved ports, tunnels and the controller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::headers::Ethernet;
use net::options::{self, Options};
use net::tunnel::{Encapsulation, Outer, Template};
use net::{MacAddr, PortNo, TableId, Vni};
use openflow::action::Controller;
use ports::{TunnelKind, TunnelSpec};

use super::Walk;
use crate::program::{ByAddress, Encap, Op, Rest, ToController};
use crate::tunnel::inherit;
use crate::{DropReason, PacketInReason, PortEntry, PortKind, PortSlot};

impl Walk<'_> {
    pub(super) fn output(&mut self, port: PortNo, max_len: u16) {
        match port {
            PortNo::IN_PORT => self.send(PortNo(self.now.key.in_port.get())),
            PortNo::TABLE if self.packet_out => self.nested(|walk| walk.table(TableId(0))),
            PortNo::ALL | PortNo::FLOOD => self.flood(),
            PortNo::CONTROLLER => {
                let reason = self.packet_in_reason();
                self.tell_controller(reason as u8, max_len, 0, &[]);
            }
            PortNo::NORMAL => self.normal(),
            PortNo::TABLE | PortNo::ANY => self.lose(DropReason::Unsupported),
            port if port.0 == self.now.key.in_port.get() => self.lose(DropReason::SamePort),
            port => self.send(port),
        }
    }

    /// To a port, what stands before byte `max_len`.
    pub(super) fn output_trunc(&mut self, port: PortNo, max_len: u32) {
        self.on_copy(|walk| {
            walk.commit();
            walk.ops.push(Op::Cut(max_len));
            let outer = std::mem::replace(&mut walk.cut, true);
            walk.output(port, u16::MAX);
            walk.cut = outer;
        });
    }

    pub(super) fn controller(&mut self, to: &Controller) {
        if to.pause {
            return self.pause(to);
        }
        let (reason, max_len, id) = (to.reason, to.max_len, to.controller_id);
        match to.meter_id {
            Some(meter) => self.on_copy(|walk| {
                walk.meter(meter);
                walk.tell_controller(reason, max_len, id, &to.userdata);
            }),
            None => self.tell_controller(reason, max_len, id, &to.userdata),
        }
    }

    pub(super) fn tell_controller(
        &mut self,
        reason: u8,
        max_len: u16,
        controller_id: u16,
        userdata: &[u8],
    ) {
        let (table, cookie) = self.here();
        self.commit();
        self.ops.push(Op::Controller(Box::new(ToController {
            max_len,
            reason,
            controller_id,
            table,
            cookie,
            rest: Rest::default(),
            userdata: userdata.into(),
            key: self.now.key,
        })));
        // The packet-in shows fields of this packet that others of the flow may have otherwise.
        self.cacheable = false;
    }

    /// A table-miss flow (priority 0, matches everything) sends with reason NO_MATCH
    /// (OpenFlow 1.3.5, 5.4).
    fn packet_in_reason(&self) -> PacketInReason {
        match self.rule {
            None if self.resumed.is_some() => PacketInReason::Action,
            None => PacketInReason::PacketOut,
            Some(rule) if rule.priority == 0 && rule.matching().is_empty() => {
                PacketInReason::NoMatch
            }
            Some(_) => PacketInReason::Action,
        }
    }

    fn flood(&mut self) {
        let ports = self.world.ports;
        self.deps.all_ports = Some(ports.generation());
        let from = self.now.key.in_port.get();
        for port in ports.iter() {
            if port.number.0 != from && port.refuses_tx().is_none() && !self.is_aimless(port) {
                self.send_to(port);
            }
        }
    }

    /// A tunnel port to nowhere takes no part in floods.
    pub(super) fn is_aimless(&self, port: &PortEntry) -> bool {
        match &port.kind {
            PortKind::Tunnel(tunnel) => self.remote(tunnel).is_none(),
            PortKind::Device { .. } => false,
        }
    }

    /// Answers whoever sent the packet. The steps so far must have left it as it came.
    pub(super) fn reject(&mut self) {
        let number = PortNo(self.arrived_key.in_port.get());
        let port = self.world.ports.get(number);
        self.deps.port(number, port.map(|p| p.changed));
        if self.ops.iter().any(Op::changes) {
            return self.lose(DropReason::Unsupported);
        }
        let Some(port) = port else {
            return self.lose(DropReason::NoPort);
        };
        if let Some(reason) = port.refuses_tx() {
            return self.lose(reason);
        }
        if port.is_device() {
            self.ops.push(Op::Reject(port.slot));
        }
        self.lose(DropReason::Rejected);
    }

    fn send(&mut self, number: PortNo) {
        let port = self.world.ports.get(number);
        self.deps.port(number, port.map(|p| p.changed));
        let Some(port) = port else {
            return self.lose(match number {
                PortNo::LOCAL => DropReason::NoLocalPort,
                _ => DropReason::NoPort,
            });
        };
        match port.refuses_tx() {
            Some(reason) => self.lose(reason),
            None => self.send_to(port),
        }
    }

    pub(super) fn send_to(&mut self, port: &PortEntry) {
        if !self.is_ethernet() {
            return self.lose(DropReason::Unsupported);
        }
        match &port.kind {
            PortKind::Device { .. } => {
                self.commit();
                if let Some(queue) = port.queues.choose(self.now.key.queue.get()) {
                    self.ops.push(Op::Queue(ByAddress(queue.clone())));
                }
                self.ops.push(Op::Output(port.slot));
            }
            PortKind::Tunnel(tunnel) => match self.encap(port, tunnel) {
                Ok(encap) => {
                    self.commit();
                    if !self.cut {
                        let known = self.inner_mtu.unwrap_or(u32::MAX);
                        self.inner_mtu = Some(known.min(encap.inner_mtu));
                    }
                    self.queue_of_uplink(encap.uplink);
                    self.ops.push(Op::Tunnel(Box::new(encap)));
                }
                Err(reason) => self.lose(reason),
            },
        }
    }

    /// What goes into a tunnel waits in the queues of the port that it leaves by.
    fn queue_of_uplink(&mut self, uplink: PortSlot) {
        let Some(uplink) = self.world.ports.at(uplink) else {
            return;
        };
        self.deps.port(uplink.number, Some(uplink.changed));
        if let Some(queue) = uplink.queues.choose(self.now.key.queue.get()) {
            self.ops.push(Op::Queue(ByAddress(queue.clone())));
        }
    }

    /// Where a tunnel goes.
    fn remote(&self, tunnel: &TunnelSpec) -> Option<IpAddr> {
        let key = &self.now.key;
        let v4 = Ipv4Addr::from_bits(key.tun_dst.get());
        let v6 = Ipv6Addr::from(key.tun_ipv6_dst);
        match tunnel.remote {
            Some(remote) => Some(remote),
            None if !v4.is_unspecified() => Some(v4.into()),
            None if !v6.is_unspecified() => Some(v6.into()),
            None => None,
        }
    }

    fn encap(&mut self, port: &PortEntry, tunnel: &TunnelSpec) -> Result<Encap, DropReason> {
        let ports = self.world.ports;
        let remote = self.remote(tunnel).ok_or(DropReason::TunnelNoDestination)?;
        self.deps.endpoints = Some(ports.endpoints_changed());
        let endpoint = ports
            .endpoint_for(remote)
            .ok_or(DropReason::TunnelNoEndpoint)?;
        let next_hop = match endpoint.vtep.gateway {
            _ if endpoint.vtep.on_link(remote) => remote,
            Some(gateway) => gateway,
            None => return Err(DropReason::TunnelNoRoute),
        };
        let uplink = ports.at(endpoint.uplink).ok_or(DropReason::NoPort)?;
        self.deps.port(uplink.number, Some(uplink.changed));
        if let Some(reason) = uplink.refuses_tx() {
            return Err(reason);
        }
        let low_bits = (self.now.key.tun_id.get() & u64::from(Vni::MAX)) as u32;
        let vni = tunnel.key.or(Vni::new(low_bits).ok()).unwrap_or_default();
        let mut bytes = [0; options::MAX_BYTES];
        let options = match tunnel.kind {
            TunnelKind::Geneve => {
                Options::of(&self.now.key).write(ports.tunnel_options(), &mut bytes)
            }
            TunnelKind::Vxlan => 0,
        };
        let (tos, ttl) = inherit::defaults(&tunnel.outer);
        let template = Template::new(&Outer {
            encapsulation: encapsulation(tunnel.kind),
            eth_dst: MacAddr::ZERO,
            eth_src: endpoint.mac,
            vlan: endpoint.vtep.vlan.map(|vlan| vlan.get()),
            src: endpoint.vtep.address,
            dst: remote,
            tos,
            ttl,
            dont_fragment: tunnel.outer.dont_fragment,
            vni,
            options: bytes.get(..options).unwrap_or_default(),
        });
        let template = template.map_err(|_| DropReason::TunnelNoEndpoint)?;
        let overhead = template.len() - template.l3() + Ethernet::LEN;
        let neighbor = self
            .world
            .neighbors
            .place(endpoint, next_hop, self.world.now);
        Ok(Encap {
            port: port.slot,
            uplink: endpoint.uplink,
            neighbor: neighbor.ok_or(DropReason::NeighborQueueFull)?,
            inner_mtu: endpoint.mtu.saturating_sub(overhead as u32),
            checksum: tunnel.outer.checksum.unwrap_or(remote.is_ipv6()),
            outer: tunnel.outer,
            inherits: inherit::inherits(&tunnel.outer),
            template,
        })
    }
}

pub(crate) fn encapsulation(kind: TunnelKind) -> Encapsulation {
    match kind {
        TunnelKind::Geneve => Encapsulation::Geneve,
        TunnelKind::Vxlan => Encapsulation::Vxlan,
    }
}
