//! What must hold between a match and the actions behind it: prerequisites of fields, and actions
//! that need a header which the match, or an earlier action, has made sure of.

use net::key::ct_state::{DNAT, EST, INV, NEW, REL, RPL, SNAT, TRK};
use net::{GroupId, MeterId, PortNo, TableId};

use crate::action::{CtZone, Learn, LearnSource, LearnTarget, NatKind, SampleId};
use crate::encap::packet_type;
use crate::error::{self, OfError};
use crate::field::Prereq;
use crate::links::Multipath;
use crate::{Action, Field, Instructions, Match, SubField};

/// Ethertypes that decide about prerequisites.
pub(crate) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const RARP: u16 = 0x8035;
    pub(crate) const IPV6: u16 = 0x86dd;
    pub(crate) const MPLS: u16 = 0x8847;
    pub(crate) const MPLS_MULTICAST: u16 = 0x8848;
    pub(crate) const PBB: u16 = 0x88e7;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const QINQ: u16 = 0x88a8;
}

/// The headers that packets are known to have, by a match and then by each action.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Headers {
    in_port: bool,
    vlan: bool,
    eth_type: Option<u16>,
    ip_proto: Option<u8>,
    icmpv6: Option<(u8, u8)>,
    /// They belong to a connection; see [`has_connection`].
    connection: bool,
}

impl Headers {
    pub(crate) fn of(matching: &Match) -> Self {
        let exact = |field: Field| {
            let entry = matching.get(field)?;
            (entry.mask == field.info().slot.ones()).then_some(entry.value)
        };
        let vid = matching.get(Field::VlanVid);
        let eth_type = exact(Field::EthType).and_then(|v| u16::try_from(v).ok());
        let mut headers = Headers {
            in_port: matching.get(Field::InPort).is_some(),
            vlan: vid.is_some_and(|vid| vid.mask & vid.value & 0x1000 != 0),
            connection: has_connection(matching),
            eth_type,
            ..Headers::default()
        };
        if headers.has(Prereq::Ip) {
            headers.ip_proto = exact(Field::IpProto).and_then(|v| u8::try_from(v).ok());
        }
        let kind = exact(Field::Icmpv6Type).and_then(|v| u8::try_from(v).ok());
        let code = exact(Field::Icmpv6Code).unwrap_or(0);
        headers.icmpv6 = kind.map(|kind| (kind, u8::try_from(code).unwrap_or(u8::MAX)));
        headers
    }

    /// True if the prerequisite holds (OpenFlow 1.3.5, 7.2.3.6).
    pub(crate) fn has(&self, prereq: Prereq) -> bool {
        let is = |types: &[u16]| self.eth_type.is_some_and(|t| types.contains(&t));
        let v4 = is(&[ethertype::IPV4]);
        let v6 = is(&[ethertype::IPV6]);
        let carries = |proto: u8| (v4 || v6) && self.ip_proto == Some(proto);
        let icmpv6 = v6 && self.ip_proto == Some(58);
        let nd = |kinds: &[u8]| {
            icmpv6
                && self
                    .icmpv6
                    .is_some_and(|(kind, code)| kinds.contains(&kind) && code == 0)
        };
        match prereq {
            Prereq::None => true,
            Prereq::InPort => self.in_port,
            Prereq::Vlan => self.vlan,
            Prereq::Ip => v4 || v6,
            Prereq::Ipv4 => v4,
            Prereq::Ipv6 => v6,
            Prereq::Arp => is(&[ethertype::ARP, ethertype::RARP]),
            Prereq::Mpls => is(&[ethertype::MPLS, ethertype::MPLS_MULTICAST]),
            Prereq::Pbb => is(&[ethertype::PBB]),
            Prereq::Tcp => carries(6),
            Prereq::Udp => carries(17),
            Prereq::Sctp => carries(132),
            Prereq::Icmpv4 => v4 && self.ip_proto == Some(1),
            Prereq::Icmpv6 => icmpv6,
            Prereq::Nd => nd(&[135, 136]),
            Prereq::NdSolicit => nd(&[135]),
            Prereq::NdAdvert => nd(&[136]),
        }
    }

    fn require(&self, prereq: Prereq) -> Result<(), OfError> {
        if self.has(prereq) {
            Ok(())
        } else {
            Err(error::OFPBAC_MATCH_INCONSISTENT)
        }
    }

    fn read(&self, field: SubField) -> Result<(), OfError> {
        self.require(field.field.info().prereq)
    }

    fn write(&mut self, field: Field, whole: Option<u128>) -> Result<(), OfError> {
        // A tag's identifier can be changed only where there is a tag (7.2.5: set_field needs the
        // header).
        if field == Field::VlanVid && !self.vlan {
            return Err(error::OFPBAC_MATCH_INCONSISTENT);
        }
        self.require(field.info().prereq)?;
        match field {
            Field::EthType => {
                self.forget_payload();
                self.eth_type = whole.and_then(|v| u16::try_from(v).ok());
            }
            Field::IpProto => {
                self.ip_proto = whole.and_then(|v| u8::try_from(v).ok());
                self.icmpv6 = None;
            }
            Field::VlanTci => self.vlan = whole.is_none_or(|v| v & 0x1000 != 0),
            Field::Icmpv6Type => {
                let code = self.icmpv6.map_or(0, |(_, code)| code);
                self.icmpv6 = whole
                    .and_then(|v| u8::try_from(v).ok())
                    .map(|kind| (kind, code));
            }
            _ => {}
        }
        Ok(())
    }

    fn forget_payload(&mut self) {
        self.eth_type = None;
        self.ip_proto = None;
        self.icmpv6 = None;
    }
}

/// True if a match is for packets that belong to a connection: one of the bits that say so is on,
/// or "tracked" is on and "invalid" off (ovs-fields(7), prerequisite CT).
pub(crate) fn has_connection(matching: &Match) -> bool {
    let Some(state) = matching.get(Field::CtState) else {
        return false;
    };
    let on = |bits: u32| state.value & state.mask & u128::from(bits) != 0;
    let invalid_is_off = state.mask & u128::from(INV) != 0 && !on(INV);
    on(NEW | EST | REL | RPL | SNAT | DNAT) || (on(TRK) && invalid_is_off)
}

/// Checks a flow: its actions against its match, and what the table's place decides.
pub(crate) fn flow(
    matching: &Match,
    instructions: &Instructions,
    table: TableId,
) -> Result<(), OfError> {
    let mut headers = Headers::of(matching);
    if let Some(meter) = instructions.meter {
        check_meter(meter)?;
    }
    clauses(instructions)?;
    apply(&mut headers, &instructions.apply, Place::Flow)?;
    // The action set runs at the end; what apply_actions did to the packet holds by then.
    if let Some(actions) = &instructions.write {
        apply(&mut headers, actions, Place::Set)?;
    }
    match instructions.goto_table {
        Some(next) if table != TableId::ALL && next <= table => Err(error::OFPBIC_BAD_TABLE_ID),
        Some(TableId::ALL) => Err(error::OFPBIC_BAD_TABLE_ID),
        _ => Ok(()),
    }
}

/// A clause of a conjunctive match is looked at and not run: nothing but notes may stand beside it
/// (ovs-actions(7), `conjunction`).
fn clauses(instructions: &Instructions) -> Result<(), OfError> {
    let is_clause = |action: &Action| matches!(action, Action::Conjunction(_));
    if !instructions.apply.iter().any(is_clause) {
        return Ok(());
    }
    let alone = instructions.meter.is_none()
        && !instructions.clear
        && instructions.write.is_none()
        && instructions.metadata.is_none()
        && instructions.goto_table.is_none();
    let quiet = |action: &Action| is_clause(action) || matches!(action, Action::Note(_));
    match alone && instructions.apply.iter().all(quiet) {
        true => Ok(()),
        false => Err(error::NXBAC_BAD_CONJUNCTION),
    }
}

/// Checks a list that stands alone (packet-out, bucket): ports, groups and meters, not headers,
/// since nothing is known of the packets.
pub(crate) fn list(actions: &[Action], place: Place) -> Result<(), OfError> {
    for action in actions {
        numbers(action, place)?;
        match action {
            Action::Clone(inner) => list(inner, place)?,
            Action::Resubmit { ct: true, .. } => return Err(error::OFPBAC_MATCH_INCONSISTENT),
            Action::Ct(ct) => {
                for inner in &ct.actions {
                    in_ct(inner)?;
                }
            }
            _ => outside_ct(action)?,
        }
    }
    Ok(())
}

/// Where a list of actions stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// apply_actions of a flow.
    Flow,
    /// write_actions of a flow.
    Set,
    /// A group's bucket.
    Bucket,
    /// A packet-out.
    PacketOut,
}

fn apply(headers: &mut Headers, actions: &[Action], place: Place) -> Result<(), OfError> {
    for action in actions {
        numbers(action, place)?;
        one(headers, action, place)?;
    }
    Ok(())
}

fn one(headers: &mut Headers, action: &Action, place: Place) -> Result<(), OfError> {
    match action {
        Action::PushVlan { .. } => headers.vlan = true,
        // A second tag below cannot be matched, so it can only be taken off where a first one was
        // pushed or matched.
        Action::PopVlan => {
            headers.require(Prereq::Vlan)?;
            headers.vlan = false;
        }
        Action::PushMpls { ethertype } => {
            headers.forget_payload();
            headers.eth_type = Some(*ethertype);
        }
        Action::PopMpls { ethertype } => {
            headers.require(Prereq::Mpls)?;
            headers.forget_payload();
            headers.eth_type = Some(*ethertype);
        }
        Action::PushPbb { ethertype } => {
            headers.forget_payload();
            headers.vlan = false;
            headers.eth_type = Some(*ethertype);
        }
        Action::PopPbb => {
            headers.require(Prereq::Pbb)?;
            headers.forget_payload();
        }
        Action::Encap(encap) => {
            if let Some(ethertype) = packet_type::ethertype(encap.packet_type) {
                headers.forget_payload();
                headers.vlan = false;
                headers.eth_type = Some(ethertype);
            }
        }
        // What is behind a label comes to light when a packet is there.
        Action::Decap { .. } if headers.has(Prereq::Mpls) => headers.forget_payload(),
        Action::SetField { field, value, mask } => {
            let whole = (*mask == field.info().slot.ones()).then_some(*value);
            outside_ct(action)?;
            headers.write(*field, whole)?;
        }
        Action::Load { dst, value } => {
            let whole = (*dst == SubField::whole(dst.field)).then_some(u128::from(*value));
            outside_ct(action)?;
            headers.write(dst.field, whole)?;
        }
        Action::Move { src, dst } => {
            outside_ct(action)?;
            headers.read(*src)?;
            headers.write(dst.field, None)?;
        }
        Action::StackPush(src) | Action::OutputReg { src, .. } => headers.read(*src)?,
        Action::Sample(sample) => {
            for id in [sample.obs_domain, sample.obs_point] {
                if let SampleId::Field(src) = id {
                    headers.read(src)?;
                }
            }
        }
        Action::StackPop(dst)
        | Action::CheckPktLarger { dst, .. }
        | Action::Multipath(Multipath { dst, .. }) => {
            outside_ct(action)?;
            headers.write(dst.field, None)?;
        }
        Action::Bundle(bundle) => {
            if let Some(dst) = bundle.dst {
                outside_ct(action)?;
                headers.write(dst.field, None)?;
            }
        }
        Action::DecNwTtl | Action::DecNwTtlIds(_) | Action::SetNwTtl(_) => {
            headers.require(Prereq::Ip)?;
        }
        Action::DecMplsTtl | Action::SetMplsTtl(_) => headers.require(Prereq::Mpls)?,
        Action::FinTimeout { .. } => headers.require(Prereq::Tcp)?,
        Action::Ct(ct) => {
            headers.require(Prereq::Ip)?;
            if let CtZone::Field(zone) = ct.zone {
                headers.read(zone)?;
            }
            for inner in &ct.actions {
                in_ct(inner)?;
                match inner {
                    Action::Move { src, .. } => headers.read(*src)?,
                    Action::Nat(nat) => {
                        let needs = match nat.addresses {
                            Some((a, _)) if a.is_ipv4() => Prereq::Ipv4,
                            Some(_) => Prereq::Ipv6,
                            None => Prereq::Ip,
                        };
                        headers.require(needs)?;
                        if nat.kind != NatKind::Existing && !ct.commit {
                            return Err(error::OFPBAC_BAD_ARGUMENT);
                        }
                    }
                    _ => {}
                }
            }
        }
        Action::Nat(_) => outside_ct(action)?,
        // The original direction's tuple is looked up with, so there must be one.
        Action::Resubmit { ct: true, .. } if !headers.connection => {
            return Err(error::OFPBAC_MATCH_INCONSISTENT);
        }
        Action::Clone(inner) => apply(&mut headers.clone(), inner, place)?,
        Action::Learn(learn) => learned(headers, learn)?,
        _ => {}
    }
    Ok(())
}

/// Checks a template for flows: its sources against the packets here, what it matches and loads
/// against the constants that it matches before.
fn learned(headers: &Headers, learn: &Learn) -> Result<(), OfError> {
    let mut matching = Match::any();
    for spec in &learn.specs {
        if let LearnSource::Field(src) = spec.src {
            headers.read(src)?;
        }
        match (spec.dst, spec.src) {
            (LearnTarget::Match(dst), src) => {
                Headers::of(&matching).read(dst)?;
                if let LearnSource::Value { value, .. } = src {
                    let shift = dst.shift;
                    matching.add_bits(dst.field, value << shift, dst.ones() << shift);
                }
            }
            (LearnTarget::Load(dst), _) => {
                let info = dst.field.info();
                Headers::of(&matching).require(info.prereq)?;
                if !info.writable || dst.field.is_written_by_ct() {
                    return Err(error::OFPBAC_BAD_SET_ARGUMENT);
                }
            }
            (LearnTarget::Output, _) => {}
        }
    }
    Ok(())
}

/// The connection's mark and label are written inside `ct(exec(...))` only.
fn outside_ct(action: &Action) -> Result<(), OfError> {
    match written(action) {
        Some(field) if field.is_written_by_ct() => Err(error::OFPBAC_BAD_ARGUMENT),
        _ if matches!(action, Action::Nat(_)) => Err(error::OFPBAC_BAD_ARGUMENT),
        _ => Ok(()),
    }
}

/// Inside `ct` there are `nat` and writes of the connection's mark and label, nothing else.
fn in_ct(action: &Action) -> Result<(), OfError> {
    match (action, written(action)) {
        (Action::Nat(_), _) => Ok(()),
        (_, Some(field)) if field.is_written_by_ct() => Ok(()),
        _ => Err(error::OFPBAC_BAD_ARGUMENT),
    }
}

fn written(action: &Action) -> Option<Field> {
    match action {
        Action::SetField { field, .. } => Some(*field),
        Action::Load { dst, .. }
        | Action::Move { dst, .. }
        | Action::StackPop(dst)
        | Action::CheckPktLarger { dst, .. }
        | Action::Multipath(Multipath { dst, .. }) => Some(dst.field),
        Action::Bundle(bundle) => bundle.dst.map(|dst| dst.field),
        _ => None,
    }
}

/// Port, group and meter numbers, and what may stand in an action set.
fn numbers(action: &Action, place: Place) -> Result<(), OfError> {
    match action {
        Action::Output { port, .. } => check_port(*port, place),
        Action::OutputTrunc { .. }
        | Action::Bundle(_)
        | Action::Multipath(_)
        | Action::PopQueue
            if place == Place::Set =>
        {
            Err(error::OFPBAC_BAD_TYPE)
        }
        // Open vSwitch takes the other reserved ports on the wire and then sends nothing.
        Action::OutputTrunc { port, .. } => match *port {
            PortNo::IN_PORT | PortNo::LOCAL => Ok(()),
            port if port.is_ordinary() => Ok(()),
            _ => Err(error::OFPBAC_BAD_OUT_PORT),
        },
        Action::Bundle(bundle) => bundle.members.iter().try_for_each(|member| match *member {
            PortNo::CONTROLLER => Err(error::OFPBAC_BAD_OUT_PORT),
            PortNo::ANY => Ok(()),
            member => check_port(member, place),
        }),
        Action::Group(group) if *group > GroupId::MAX => Err(error::OFPBAC_BAD_OUT_GROUP),
        Action::Meter(meter) => check_meter(*meter),
        // Only options of tunnels can be taken away (ovs-actions(7)).
        Action::DeleteField(field) if !field.info().name.starts_with("tun_metadata") => {
            Err(error::OFPBAC_BAD_ARGUMENT)
        }
        Action::Resubmit { .. }
        | Action::Clone(_)
        | Action::Conjunction(_)
        | Action::Learn(_)
        | Action::Reject
        | Action::Exit
        | Action::Note(_)
        | Action::Sample(_)
        | Action::DeleteField(_)
        | Action::StackPush(_)
        | Action::StackPop(_)
            if place == Place::Set =>
        {
            Err(error::OFPBAC_BAD_TYPE)
        }
        _ => Ok(()),
    }
}

/// OpenFlow 1.3.5, 7.2.1: OFPP_TABLE only in a packet-out, OFPP_ANY nowhere.
fn check_port(port: PortNo, place: Place) -> Result<(), OfError> {
    let good = match port {
        PortNo::ANY => false,
        PortNo::TABLE => place == Place::PacketOut,
        PortNo::IN_PORT
        | PortNo::NORMAL
        | PortNo::FLOOD
        | PortNo::ALL
        | PortNo::CONTROLLER
        | PortNo::LOCAL => true,
        _ => port.is_ordinary(),
    };
    if good {
        Ok(())
    } else {
        Err(error::OFPBAC_BAD_OUT_PORT)
    }
}

fn check_meter(meter: MeterId) -> Result<(), OfError> {
    if meter.0 == 0 || meter > MeterId::MAX {
        Err(error::OFPMMFC_INVALID_METER)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(matching: Match, actions: Vec<Action>) -> Result<(), OfError> {
        flow(&matching, &Instructions::apply(actions), TableId(0))
    }

    #[test]
    fn an_action_needs_the_header_that_it_changes() {
        let ip = || Match::any().with(Field::EthType, 0x800u16);
        let inconsistent = Err(error::OFPBAC_MATCH_INCONSISTENT);
        assert_eq!(check(Match::any(), vec![Action::DecNwTtl]), inconsistent);
        assert_eq!(check(ip(), vec![Action::DecNwTtl]), Ok(()));
        assert_eq!(check(ip(), vec![Action::PopVlan]), inconsistent);
        let push = Action::PushVlan { tpid: 0x8100 };
        assert_eq!(check(ip(), vec![push, Action::PopVlan]), Ok(()));
        let mpls = Action::PushMpls { ethertype: 0x8847 };
        assert_eq!(check(ip(), vec![mpls, Action::DecNwTtl]), inconsistent);
        let port = Action::SetField {
            field: Field::TcpDst,
            value: 80,
            mask: 0xffff,
        };
        assert_eq!(check(ip(), vec![port.clone()]), inconsistent);
        assert_eq!(check(ip().with(Field::IpProto, 6u8), vec![port]), Ok(()));
    }

    #[test]
    fn mark_and_label_are_written_in_ct_only() {
        let ip = || Match::any().with(Field::EthType, 0x800u16);
        let mark = Action::SetField {
            field: Field::CtMark,
            value: 1,
            mask: 0xffff_ffff,
        };
        let bad = Err(error::OFPBAC_BAD_ARGUMENT);
        assert_eq!(check(ip(), vec![mark.clone()]), bad);
        let ct = |inner| {
            Action::Ct(crate::action::Ct {
                commit: true,
                actions: vec![inner],
                ..Default::default()
            })
        };
        assert_eq!(check(ip(), vec![ct(mark)]), Ok(()));
        assert_eq!(check(ip(), vec![ct(Action::DecNwTtl)]), bad);
    }

    #[test]
    fn a_clause_stands_alone_but_for_notes() {
        let clause = Action::Conjunction(crate::action::Conjunction {
            id: 1,
            clause: 0,
            n_clauses: 2,
        });
        let bad = Err(error::NXBAC_BAD_CONJUNCTION);
        let list = |more: Action| check(Match::any(), vec![more, clause.clone()]);
        assert_eq!(list(Action::Note(vec![0; 6])), Ok(()));
        assert_eq!(list(clause.clone()), Ok(()));
        assert_eq!(list(Action::Exit), bad);
        let goes_on = Instructions::apply(vec![clause]).goto(TableId(3));
        assert_eq!(flow(&Match::any(), &goes_on, TableId(0)), bad);
    }

    #[test]
    fn a_flow_goes_forward_only() {
        let goto = |t| {
            flow(
                &Match::any(),
                &Instructions::drop().goto(TableId(t)),
                TableId(5),
            )
        };
        assert_eq!(goto(6), Ok(()));
        assert_eq!(goto(5), Err(error::OFPBIC_BAD_TABLE_ID));
        assert_eq!(goto(255), Err(error::OFPBIC_BAD_TABLE_ID));
    }
}
