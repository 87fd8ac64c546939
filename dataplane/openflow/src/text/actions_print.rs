//! Printing of actions and instructions.

use std::fmt;
use std::net::IpAddr;

use net::PortNo;

use super::value::{self, Hex};
use super::{Names, encap, learn, links, sample};
use crate::action::{Controller, Ct, CtZone, Nat, NatKind, REJECT_NOTE};
use crate::msg::PacketInReason;
use crate::{Action, Field, Instructions, SubField};

/// Writes what stands behind `actions=`.
pub(super) fn write_instructions(
    f: &mut dyn fmt::Write,
    instructions: &Instructions,
    names: &Names,
) -> fmt::Result {
    let mut first = true;
    let mut comma = |f: &mut dyn fmt::Write| match std::mem::take(&mut first) {
        true => Ok(()),
        false => f.write_char(','),
    };
    if let Some(meter) = instructions.meter {
        comma(f)?;
        write!(f, "meter:{meter}")?;
    }
    if !instructions.apply.is_empty() {
        comma(f)?;
        write_list(f, &instructions.apply, names)?;
    }
    if instructions.clear {
        comma(f)?;
        f.write_str("clear_actions")?;
    }
    if let Some(actions) = &instructions.write {
        comma(f)?;
        f.write_str("write_actions(")?;
        write_actions(f, actions, names)?;
        f.write_char(')')?;
    }
    if let Some((value, mask)) = instructions.metadata {
        comma(f)?;
        write!(f, "write_metadata:{}", Hex(u128::from(value)))?;
        if mask != u64::MAX {
            write!(f, "/{}", Hex(u128::from(mask)))?;
        }
    }
    if let Some(table) = instructions.goto_table {
        comma(f)?;
        write!(f, "goto_table:{}", names.table(table))?;
    }
    if first { f.write_str("drop") } else { Ok(()) }
}

/// Writes a list of actions; `drop` for none.
pub(super) fn write_actions(
    f: &mut dyn fmt::Write,
    actions: &[Action],
    names: &Names,
) -> fmt::Result {
    if actions.is_empty() {
        return f.write_str("drop");
    }
    write_list(f, actions, names)
}

fn write_list(f: &mut dyn fmt::Write, actions: &[Action], names: &Names) -> fmt::Result {
    for (at, action) in actions.iter().enumerate() {
        if at > 0 {
            f.write_char(',')?;
        }
        write_action(f, action, names)?;
    }
    Ok(())
}

/// Writes one action.
pub(super) fn write_action(f: &mut dyn fmt::Write, action: &Action, names: &Names) -> fmt::Result {
    match action {
        Action::Output { port, max_len } => match *port {
            PortNo::CONTROLLER => write!(f, "CONTROLLER:{max_len}"),
            port if port < PortNo::MAX => write!(f, "output:{}", names.port(port)),
            port => write!(f, "{}", names.port(port)),
        },
        Action::OutputReg { src, .. } => write!(f, "output:{}", Range(*src)),
        Action::OutputTrunc { port, max_len } => {
            write!(f, "output(port={},max_len={max_len})", names.port(*port))
        }
        Action::Multipath(multipath) => links::write_multipath(f, multipath),
        Action::Bundle(bundle) => links::write_bundle(f, bundle, names),
        Action::Controller(controller) => write_controller(f, controller),
        Action::Group(group) => write!(f, "group:{group}"),
        Action::SetQueue(queue) => write!(f, "set_queue:{queue}"),
        Action::PopQueue => f.write_str("pop_queue"),
        Action::PushVlan { tpid } => write!(f, "push_vlan:{tpid:#06x}"),
        Action::PopVlan => f.write_str("pop_vlan"),
        Action::PushMpls { ethertype } => write!(f, "push_mpls:{ethertype:#06x}"),
        Action::PopMpls { ethertype } => write!(f, "pop_mpls:{ethertype:#06x}"),
        Action::PushPbb { ethertype } => write!(f, "push_pbb:{ethertype:#06x}"),
        Action::PopPbb => f.write_str("pop_pbb"),
        Action::SetField { field, value, mask } => {
            f.write_str("set_field:")?;
            value::write(f, *field, *value, *mask, names)?;
            write!(f, "->{}", name_in_action(*field))
        }
        Action::Move { src, dst } => write!(f, "move:{}->{}", Range(*src), Range(*dst)),
        Action::Load { dst, value } => {
            write!(f, "load:{}->{}", Hex(u128::from(*value)), Range(*dst))
        }
        Action::StackPush(src) => write!(f, "push:{}", Range(*src)),
        Action::StackPop(dst) => write!(f, "pop:{}", Range(*dst)),
        Action::DecNwTtl => f.write_str("dec_ttl"),
        Action::DecNwTtlIds(ids) => {
            let ids: Vec<String> = ids.iter().map(u16::to_string).collect();
            write!(f, "dec_ttl({})", ids.join(","))
        }
        Action::SetNwTtl(ttl) => write!(f, "mod_nw_ttl:{ttl}"),
        Action::DecMplsTtl => f.write_str("dec_mpls_ttl"),
        Action::SetMplsTtl(ttl) => write!(f, "set_mpls_ttl({ttl})"),
        Action::CopyTtlOut => f.write_str("copy_ttl_out"),
        Action::CopyTtlIn => f.write_str("copy_ttl_in"),
        Action::Meter(meter) => write!(f, "meter:{meter}"),
        Action::Resubmit { port, table, ct } => write_resubmit(f, *port, *table, *ct, names),
        Action::Ct(ct) => write_ct(f, ct, names),
        Action::Nat(nat) => write_nat(f, nat),
        Action::CtClear => f.write_str("ct_clear"),
        Action::Clone(inner) => {
            f.write_str("clone(")?;
            write_actions(f, inner, names)?;
            f.write_char(')')
        }
        Action::Note(note) => write!(f, "note:{}", dotted(note)),
        Action::Conjunction(c) => write!(
            f,
            "conjunction({},{}/{})",
            c.id,
            u16::from(c.clause) + 1,
            c.n_clauses
        ),
        Action::Learn(learn) => learn::write(f, learn, names),
        Action::FinTimeout { idle, hard } => {
            let parts = [("idle_timeout", idle), ("hard_timeout", hard)];
            let given = parts.iter().filter(|(_, seconds)| **seconds != 0);
            let given: Vec<String> = given.map(|(name, n)| format!("{name}={n}")).collect();
            write!(f, "fin_timeout({})", given.join(","))
        }
        Action::CheckPktLarger { len, dst } => {
            write!(f, "check_pkt_larger({len})->{}", Range(*dst))
        }
        Action::Sample(sample) => sample::write(f, sample, names),
        Action::DeleteField(field) => write!(f, "delete_field:{}", name_in_action(*field)),
        Action::Encap(encap) => encap::write_encap(f, encap),
        Action::Decap { packet_type } => encap::write_decap(f, *packet_type),
        Action::DecNshTtl => f.write_str("dec_nsh_ttl"),
        Action::Reject => write!(f, "note:{}", dotted(&REJECT_NOTE)),
        Action::Exit => f.write_str("exit"),
    }
}

/// The name that set_field gives a field; see `field_in_action`.
fn name_in_action(field: Field) -> &'static str {
    match field {
        Field::InPortNxm => "in_port",
        Field::InPort => "in_port_oxm",
        _ => field.info().name,
    }
}

/// A range of bits under its header's name: `NXM_NX_REG0[4..7]`.
pub(super) struct Range(pub(super) SubField);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SubField { field, shift, bits } = self.0;
        f.write_str(field.info().header)?;
        if self.0 == SubField::whole(field) {
            f.write_str("[]")
        } else if bits == 1 {
            write!(f, "[{shift}]")
        } else {
            write!(f, "[{shift}..{}]", u16::from(shift) + u16::from(bits) - 1)
        }
    }
}

fn dotted(bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.join(".")
}

/// Names of the reasons, as `controller(reason=...)` and packet-ins have them.
pub(super) const REASONS: &[(PacketInReason, &str)] = &[
    (PacketInReason::NoMatch, "no_match"),
    (PacketInReason::Action, "action"),
    (PacketInReason::InvalidTtl, "invalid_ttl"),
    (PacketInReason::ActionSet, "action_set"),
    (PacketInReason::Group, "group"),
    (PacketInReason::PacketOut, "packet_out"),
];

fn write_controller(f: &mut dyn fmt::Write, c: &Controller) -> fmt::Result {
    let reason_given = c.reason != PacketInReason::Action as u8;
    let plain = !reason_given
        && c.controller_id == 0
        && c.userdata.is_empty()
        && !c.pause
        && c.meter_id.is_none();
    if plain {
        return write!(f, "CONTROLLER:{}", c.max_len);
    }
    let mut parts = Vec::new();
    if reason_given {
        let known = REASONS.iter().find(|(reason, _)| *reason as u8 == c.reason);
        parts.push(match known {
            Some((_, name)) => format!("reason={name}"),
            None => format!("reason={}", c.reason),
        });
    }
    if c.max_len != 0xffff {
        parts.push(format!("max_len={}", c.max_len));
    }
    if c.controller_id != 0 {
        parts.push(format!("id={}", c.controller_id));
    }
    if !c.userdata.is_empty() {
        parts.push(format!("userdata={}", dotted(&c.userdata)));
    }
    if c.pause {
        parts.push("pause".to_owned());
    }
    if let Some(meter) = c.meter_id {
        parts.push(format!("meter_id={meter}"));
    }
    write!(f, "controller({})", parts.join(","))
}

fn write_resubmit(
    f: &mut dyn fmt::Write,
    port: Option<PortNo>,
    table: Option<net::TableId>,
    ct: bool,
    names: &Names,
) -> fmt::Result {
    let port_text = port.map(|port| names.port(port)).unwrap_or_default();
    match (port, table) {
        (Some(_), None) if !ct => write!(f, "resubmit:{port_text}"),
        _ => {
            let table = table.map(|table| names.table(table)).unwrap_or_default();
            let ct = if ct { ",ct" } else { "" };
            write!(f, "resubmit({port_text},{table}{ct})")
        }
    }
}

/// Algorithms that have a name, by their port.
pub(super) const ALGORITHMS: &[(u16, &str)] = &[(21, "ftp"), (69, "tftp")];

fn write_ct(f: &mut dyn fmt::Write, ct: &Ct, names: &Names) -> fmt::Result {
    let mut parts = Vec::new();
    if ct.commit {
        parts.push("commit".to_owned());
    }
    if ct.force {
        parts.push("force".to_owned());
    }
    if let Some(table) = ct.table {
        parts.push(format!("table={}", names.table(table)));
    }
    match ct.zone {
        CtZone::Number(0) => {}
        CtZone::Number(zone) => parts.push(format!("zone={zone}")),
        CtZone::Field(range) => parts.push(format!("zone={}", Range(range))),
    }
    // A translation that comes first stands outside of exec.
    let rest = match ct.actions.split_first() {
        Some((Action::Nat(nat), rest)) => {
            let mut text = String::new();
            write_nat(&mut text, nat)?;
            parts.push(text);
            rest
        }
        _ => &ct.actions,
    };
    if !rest.is_empty() {
        let mut text = "exec(".to_owned();
        write_actions(&mut text, rest, names)?;
        text.push(')');
        parts.push(text);
    }
    if ct.alg != 0 {
        let known = ALGORITHMS.iter().find(|(port, _)| *port == ct.alg);
        parts.push(match known {
            Some((_, name)) => format!("alg={name}"),
            None => format!("alg={}", ct.alg),
        });
    }
    write!(f, "ct({})", parts.join(","))
}

fn write_nat(f: &mut dyn fmt::Write, nat: &Nat) -> fmt::Result {
    let kind = match nat.kind {
        NatKind::Existing => return f.write_str("nat"),
        NatKind::Src => "src",
        NatKind::Dst => "dst",
    };
    write!(f, "nat({kind}")?;
    let brackets = nat.ports.is_some();
    let address = |ip: IpAddr| match ip {
        IpAddr::V6(v6) if brackets => format!("[{v6}]"),
        ip => ip.to_string(),
    };
    if nat.addresses.is_some() || nat.ports.is_some() {
        f.write_char('=')?;
    }
    if let Some((low, high)) = nat.addresses {
        f.write_str(&address(low))?;
        if high != low {
            write!(f, "-{}", address(high))?;
        }
    }
    if let Some((low, high)) = nat.ports {
        write!(f, ":{low}")?;
        if high != low {
            write!(f, "-{high}")?;
        }
    }
    for (on, name) in [
        (nat.persistent, "persistent"),
        (nat.hash, "hash"),
        (nat.random, "random"),
    ] {
        if on {
            write!(f, ",{name}")?;
        }
    }
    f.write_char(')')
}
