//! Actions, one by one.

use net::headers::{ethertype, proto};
use net::key::VLAN_PRESENT;
use net::{FlowKey, PortNo, TableId};
use openflow::field::Prereq;
use openflow::{Action, Field, SubField};
use tables::Meter;

use super::Walk;
use super::headers::Time;
use crate::effects::Effect;
use crate::program::{ByAddress, Op, Reach, Reshape};
use crate::{DropReason, PacketInReason};

impl<'a> Walk<'a> {
    /// Runs a list in order.
    pub(super) fn actions(&mut self, actions: &'a [Action]) {
        for (at, action) in actions.iter().enumerate() {
            if self.stop {
                return;
            }
            self.action(action);
            if self.pausing.is_some() {
                return self.put_off(actions.iter().skip(at + 1));
            }
        }
    }

    pub(super) fn action(&mut self, action: &'a Action) {
        self.reach = self.reach.min(self.reach_of(action));
        match action {
            Action::Output { port, max_len } => self.output(*port, *max_len),
            Action::OutputReg { src, max_len } => {
                let port = self.read(*src);
                match u32::try_from(port) {
                    Ok(port) => self.output(PortNo(port), *max_len),
                    Err(_) => self.lose(DropReason::NoPort),
                }
            }
            Action::OutputTrunc { port, max_len } => self.output_trunc(*port, *max_len),
            Action::Multipath(multipath) => self.multipath(multipath),
            Action::Bundle(bundle) => self.bundle(bundle),
            Action::Controller(to) => self.controller(to),
            Action::Group(group) => self.group(*group),
            Action::SetQueue(queue) => self.now.key.queue = (*queue).into(),
            Action::PopQueue => self.now.key.queue = 0.into(),
            Action::PushVlan { tpid } => {
                if !self.now.push_tag(*tpid) {
                    self.fail(DropReason::Unsupported);
                }
            }
            Action::PopVlan => self.pop_vlan(),
            Action::PushMpls { ethertype } => self.reshape(Reshape::PushMpls(*ethertype)),
            Action::PopMpls { ethertype } => {
                if has(Prereq::Mpls, &self.now.key) {
                    self.reshape(Reshape::PopMpls(*ethertype));
                }
            }
            Action::SetMplsTtl(ttl) => self.write(Field::MplsTtl, (*ttl).into(), 0xff),
            Action::DecMplsTtl => self.decrement_mpls_ttl(),
            Action::CopyTtlOut => self.reshape(Reshape::CopyTtlOut),
            Action::CopyTtlIn => self.reshape(Reshape::CopyTtlIn),
            Action::PushPbb { .. } => self.reshape(Reshape::PushPbb),
            Action::PopPbb => {
                if has(Prereq::Pbb, &self.now.key) {
                    self.reshape(Reshape::PopPbb);
                }
            }
            Action::SetField { field, value, mask } => self.write(*field, *value, *mask),
            Action::Load { dst, value } => self.write_range(*dst, (*value).into()),
            Action::Move { src, dst } => {
                let value = self.read(*src);
                self.write_range(*dst, value);
            }
            Action::DecNwTtl => self.decrement_ttl(&[0]),
            Action::DecNwTtlIds(controllers) => self.decrement_ttl(controllers),
            Action::SetNwTtl(ttl) => self.write(Field::IpTtl, (*ttl).into(), 0xff),
            Action::StackPush(src) => {
                let value = self.read(*src);
                self.stack.push(value);
            }
            Action::StackPop(dst) => {
                // Popping an empty stack leaves the field as it is (ovs-actions(7)).
                if let Some(value) = self.stack.pop() {
                    self.write_range(*dst, value);
                }
            }
            Action::CheckPktLarger { len, dst } => self.check_length(*len, *dst),
            Action::Meter(meter) => self.meter(*meter),
            Action::Resubmit { port, table, ct } => self.resubmit(*port, *table, *ct),
            Action::Ct(ct) => self.ct(ct),
            Action::CtClear => self.ct_clear(),
            Action::Clone(actions) => self.clone_of(actions),
            Action::Note(_) => {}
            // There is no collector; the packets are counted.
            Action::Sample(_) => self.effects.push(Effect::Sample),
            Action::Learn(learn) => self.learn(learn),
            Action::FinTimeout { idle, hard } => self.fin_timeout(*idle, *hard),
            // Looked at by the tables; runs in a packet-out only, where it means nothing.
            Action::Conjunction(_) => {}
            Action::Encap(encap) => self.encapsulate(encap),
            Action::Decap { packet_type } => self.decapsulate(*packet_type),
            Action::DeleteField(field) => self.delete(*field),
            Action::Reject => self.reject(),
            Action::Exit => self.stop = true,
            // A translation stands inside a ct action only; the rest is not offered.
            Action::Nat(_) | Action::DecNshTtl => self.fail(DropReason::Unsupported),
        }
    }

    /// For which packets of the port an action does the same, as long as `wanted` says that nothing of
    /// the packet was looked at. What differs from the packet is what is written ([`Walk::commit`]).
    fn reach_of(&self, action: &Action) -> Reach {
        match action {
            Action::Output { port, .. } if *port == PortNo::NORMAL => Reach::Alike,
            Action::Output { .. }
            | Action::Group(_)
            | Action::Resubmit { .. }
            | Action::Clone(_)
            | Action::Note(_)
            | Action::SetQueue(_)
            | Action::PopQueue
            | Action::Exit => Reach::Port,
            Action::PushVlan { .. } | Action::PopVlan => self.untagged(),
            Action::SetField { field, value, mask } => match field {
                Field::VlanVid | Field::VlanPcp => self.untagged(),
                // Not of the packet.
                Field::TunId | Field::TunDst | Field::Metadata => Reach::Port,
                // A copy's address is written back, and that is the packet's own.
                Field::EthDst | Field::EthSrc if self.nesting == 0 => {
                    let slot = field.info().slot;
                    let is_other = slot.get(self.arrived_key) != *value;
                    match is_other && *mask == slot.ones() {
                        true => Reach::Port,
                        false => Reach::Alike,
                    }
                }
                _ => Reach::Alike,
            },
            _ => Reach::Alike,
        }
    }

    fn untagged(&self) -> Reach {
        match self.arrived_key.vlan_tci.get() & VLAN_PRESENT {
            0 => Reach::Untagged,
            _ => Reach::Alike,
        }
    }

    /// Actions on a copy, with the action set that they leave; afterwards all is as before.
    fn clone_of(&mut self, actions: &'a [Action]) {
        let set = self.set.clone();
        self.on_copy(|walk| {
            walk.actions(actions);
            walk.finish_copy();
        });
        self.set = set;
    }

    /// Runs the action set of a copy that goes no further.
    pub(super) fn finish_copy(&mut self) {
        if !self.dead && self.pausing.is_none() {
            self.stop = false;
            let set = std::mem::take(&mut self.set);
            self.action_set(&set);
        }
    }

    pub(super) fn meter(&mut self, id: net::MeterId) {
        let meter = self.world.pipeline.meter(id);
        self.deps.meter(id, meter.map(|m| m.generation()));
        // A meter that is gone limits nothing: its flows went with it (OpenFlow 1.3.5, 6.4).
        if let Some(meter) = meter {
            self.ops.push(Op::Meter(ByAddress::<Meter>(meter.clone())));
        }
    }

    fn resubmit(&mut self, port: Option<PortNo>, table: Option<TableId>, ct: bool) {
        let here = self.rule.map(|rule| rule.table);
        let here = here.or(self.resumed.map(|(table, _)| table));
        let Some(table) = table.or(here) else {
            return self.fail(DropReason::Unsupported);
        };
        // Only the lookup sees the other port and the original tuple, not the rule's actions.
        let mut key = self.now.key;
        match port {
            Some(PortNo::IN_PORT) | None => {}
            Some(port) => key.in_port = port.0.into(),
        }
        if ct {
            original_tuple(&mut key);
        }
        let is_later = here.is_some_and(|here| table > here);
        self.deeper(u32::from(!is_later), |walk| walk.table_seen_as(table, &key));
    }

    /// Value of a range, which from now on counts as looked at.
    pub(super) fn read(&mut self, src: SubField) -> u128 {
        src.set(&mut self.wanted, u128::MAX);
        src.get(&self.now.key)
    }

    pub(super) fn write_range(&mut self, dst: SubField, value: u128) {
        let ones = dst.ones();
        self.write(dst.field, (value & ones) << dst.shift, ones << dst.shift);
    }

    /// Writes bits of a field, if the packet has it.
    pub(super) fn write(&mut self, field: Field, value: u128, mask: u128) {
        let info = field.info();
        if !has(info.prereq, &self.now.key) {
            return;
        }
        let slot = info.slot;
        let partly = mask & slot.ones() != slot.ones();
        self.now.key.tun_present |= field.presence().unwrap_or(0);
        match field {
            Field::VlanTci | Field::VlanVid | Field::VlanPcp => {
                let mut tci = self.now.key;
                slot.set(&mut tci, value, mask);
                self.write_tci(field, tci.vlan_tci.get());
            }
            Field::IpTtl => {
                slot.set(&mut self.now.key, value, mask);
                self.now.ttl = Time::Is(self.now.key.nw_ttl);
            }
            Field::Ipv6Label => {
                if partly && !self.now.label_set {
                    slot.set(&mut self.wanted, u128::MAX, slot.ones() & !mask);
                }
                slot.set(&mut self.now.key, value, mask);
                self.now.label_set = true;
            }
            Field::MplsTtl => {
                if partly && self.now.mpls_ttl.is_none() {
                    slot.set(&mut self.wanted, u128::MAX, slot.ones() & !mask);
                }
                slot.set(&mut self.now.key, value, mask);
                let [entry, ..] = self.now.key.mpls;
                self.now.mpls_ttl = Some(entry.get() as u8);
            }
            Field::EthType | Field::IpProto => {
                let mut key = self.now.key;
                slot.set(&mut key, value, mask);
                if key.eth_type != self.now.key.eth_type {
                    self.reshape(Reshape::EthType(key.eth_type.get()));
                } else if key.nw_proto != self.now.key.nw_proto {
                    self.reshape(Reshape::IpProto(key.nw_proto));
                }
            }
            Field::CtMark | Field::CtLabel => self.fail(DropReason::Unsupported),
            _ => {
                if partly {
                    slot.set(&mut self.wanted, u128::MAX, slot.ones() & !mask);
                }
                slot.set(&mut self.now.key, value, mask);
            }
        }
    }

    /// Takes a tunnel option away; other fields cannot be deleted.
    fn delete(&mut self, field: Field) {
        if let Some(bit) = field.presence() {
            field.info().slot.set(&mut self.now.key, 0, u128::MAX);
            self.now.key.tun_present &= !bit;
        }
    }

    /// Writing the present bit through `vlan_tci` pushes or pops a tag, as in Open vSwitch; the
    /// standard's fields change the tag that is there.
    fn write_tci(&mut self, field: Field, tci: u16) {
        let tagged = self.now.outer().is_some();
        match (field, tagged, tci & VLAN_PRESENT != 0) {
            (Field::VlanTci, false, true) => {
                if !self.now.push_tag(ethertype::VLAN) {
                    return self.fail(DropReason::Unsupported);
                }
                self.now.set_outer(tci);
            }
            (Field::VlanTci, true, false) => self.pop_vlan(),
            (_, true, _) => self.now.set_outer(tci),
            (_, false, _) => {}
        }
    }

    fn pop_vlan(&mut self) {
        if self.now.hides_tag() {
            self.reshape(Reshape::PopVlan);
        } else {
            self.now.pop_tag();
        }
    }

    fn decrement_mpls_ttl(&mut self) {
        if !has(Prereq::Mpls, &self.now.key) {
            return;
        }
        // Without being written, it is what it is in this packet.
        self.cacheable &= self.now.mpls_ttl.is_some();
        let [entry, ..] = self.now.key.mpls;
        let ttl = entry.get() as u8;
        if ttl > 1 {
            self.write(Field::MplsTtl, (ttl - 1).into(), 0xff);
        } else {
            self.ttl_ran_out(&[0]);
        }
    }

    /// `controllers` are told if it runs out.
    fn decrement_ttl(&mut self, controllers: &[u16]) {
        let key = &mut self.now.key;
        if !matches!(key.eth_type.get(), ethertype::IPV4 | ethertype::IPV6) {
            return;
        }
        if key.nw_ttl > 1 {
            key.nw_ttl -= 1;
            self.now.ttl = match self.now.ttl {
                Time::Down(steps) => {
                    self.ttl_down = self.ttl_down.max(steps + 1);
                    Time::Down(steps + 1)
                }
                Time::Is(ttl) => Time::Is(ttl - 1),
            };
            return;
        }
        // Other packets of the flow may have more time left: this is about this one alone.
        self.cacheable &= matches!(self.now.ttl, Time::Is(_));
        self.ttl_ran_out(controllers);
    }

    fn ttl_ran_out(&mut self, controllers: &[u16]) {
        if self.world.invalid_ttl_to_controller {
            for id in controllers {
                self.tell_controller(PacketInReason::InvalidTtl as u8, u16::MAX, *id, &[]);
            }
            self.stop = true;
            self.dead = true;
        } else {
            self.fail(DropReason::TtlExpired);
        }
    }
}

/// Puts the connection's original direction in the place of the packet's own addresses and ports.
fn original_tuple(key: &mut FlowKey) {
    key.nw_src = key.ct_nw_src;
    key.nw_dst = key.ct_nw_dst;
    key.ipv6_src = key.ct_ipv6_src;
    key.ipv6_dst = key.ct_ipv6_dst;
    key.tp_src = key.ct_tp_src;
    key.tp_dst = key.ct_tp_dst;
    if key.ct_nw_proto != 0 {
        key.nw_proto = key.ct_nw_proto;
    }
}

/// True if the packet has what a field needs.
pub(super) fn has(prereq: Prereq, key: &FlowKey) -> bool {
    let ethertype = key.eth_type.get();
    let v4 = ethertype == ethertype::IPV4;
    let v6 = ethertype == ethertype::IPV6;
    let over_ip = |protocol| (v4 || v6) && key.nw_proto == protocol;
    let icmpv6 = v6 && key.nw_proto == proto::ICMPV6;
    match prereq {
        Prereq::None | Prereq::InPort => true,
        Prereq::Vlan => key.vlan_tci.get() & VLAN_PRESENT != 0,
        Prereq::Ip => v4 || v6,
        Prereq::Ipv4 => v4,
        Prereq::Ipv6 => v6,
        Prereq::Arp => matches!(ethertype, ethertype::ARP | ethertype::RARP),
        Prereq::Mpls => matches!(ethertype, ethertype::MPLS | ethertype::MPLS_MULTICAST),
        Prereq::Pbb => ethertype == ethertype::PBB,
        Prereq::Tcp => over_ip(proto::TCP),
        Prereq::Udp => over_ip(proto::UDP),
        Prereq::Sctp => over_ip(proto::SCTP),
        Prereq::Icmpv4 => v4 && key.nw_proto == proto::ICMP,
        Prereq::Icmpv6 => icmpv6,
        Prereq::Nd => icmpv6 && matches!(key.tp_src.get(), 135 | 136),
        Prereq::NdSolicit => icmpv6 && key.tp_src.get() == 135,
        Prereq::NdAdvert => icmpv6 && key.tp_src.get() == 136,
    }
}
