//! Parsing of actions and instructions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::{GroupId, MeterId, PortNo, TableId};

use super::actions_print::{ALGORITHMS, REASONS};
use super::{Names, TextError, learn, scan, value};
use crate::action::{Conjunction, Controller, Ct, CtZone, Nat, NatKind};
use crate::check::Headers;
use crate::field::Prereq;
use crate::{Action, Field, Instructions, Match, SubField};

/// Parses what stands behind `actions=`. The match decides what `mod_tp_dst` and the like mean.
pub fn parse_instructions(
    text: &str,
    matching: &Match,
    names: &Names,
) -> Result<Instructions, TextError> {
    let mut found = Instructions::default();
    let mut parser = Parser::new(matching, names);
    let again = |what: &str| TextError::new(format!("{what} is given twice"));
    for item in scan::items(text) {
        let (key, argument) = scan::key_argument(item)?;
        let argument_text = argument.unwrap_or_default();
        let repeated = match key {
            "goto_table" => {
                let table = names.parse_table(argument_text)?;
                found.goto_table.replace(table).is_some()
            }
            "meter" => {
                let meter = MeterId(scan::number("meter", argument_text)?);
                found.meter.replace(meter).is_some()
            }
            "clear_actions" => std::mem::replace(&mut found.clear, true),
            "write_actions" => {
                let mut inner = Parser::new(matching, names);
                inner.list(argument_text)?;
                found.write.replace(inner.actions).is_some()
            }
            "write_metadata" => {
                let (value, mask) = value::parse(Field::Metadata, argument_text, names)?;
                let pair = (value as u64, mask as u64);
                found.metadata.replace(pair).is_some()
            }
            "apply_actions" => {
                return Err(TextError::new(
                    "apply_actions is what a plain list of actions means; leave it out",
                ));
            }
            _ => {
                parser.one(item, key, argument)?;
                false
            }
        };
        if repeated {
            return Err(again(key));
        }
    }
    found.apply = parser.finish()?;
    found.has_apply = !found.apply.is_empty();
    Ok(found)
}

/// Parses a list of actions, as in a bucket or a packet-out.
pub fn parse_actions(
    text: &str,
    matching: &Match,
    names: &Names,
) -> Result<Vec<Action>, TextError> {
    let mut parser = Parser::new(matching, names);
    parser.list(text)?;
    parser.finish()
}

struct Parser<'a> {
    names: &'a Names,
    matching: &'a Match,
    headers: Headers,
    /// A tag is there, matched or pushed.
    tagged: bool,
    dropped: bool,
    actions: Vec<Action>,
}

impl<'a> Parser<'a> {
    fn new(matching: &'a Match, names: &'a Names) -> Self {
        let headers = Headers::of(matching);
        Parser {
            names,
            matching,
            headers,
            tagged: headers.has(Prereq::Vlan),
            dropped: false,
            actions: Vec::new(),
        }
    }

    fn list(&mut self, text: &str) -> Result<(), TextError> {
        for item in scan::items(text) {
            let (key, argument) = scan::key_argument(item)?;
            self.one(item, key, argument)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Action>, TextError> {
        if self.dropped && !self.actions.is_empty() {
            return Err(TextError::new("drop must stand alone"));
        }
        Ok(self.actions)
    }

    /// Parses one action and appends what it means.
    fn one(&mut self, item: &str, key: &str, argument: Option<&str>) -> Result<(), TextError> {
        let lower = key.to_ascii_lowercase();
        let text = argument.unwrap_or_default();
        if self.old_names(&lower, text)? {
            return Ok(());
        }
        let action = match lower.as_str() {
            "drop" => {
                self.dropped = true;
                return Ok(());
            }
            "output" => self.output(text)?,
            "controller" => Action::Controller(parse_controller(text)?),
            "group" => Action::Group(GroupId(scan::number("group", text)?)),
            "set_queue" => Action::SetQueue(scan::number("set_queue", text)?),
            "push_vlan" => {
                self.tagged = true;
                let tpid = scan::number("push_vlan", text)?;
                if !matches!(tpid, 0x8100 | 0x88a8) {
                    return Err(TextError::new(format!(
                        "push_vlan:{text}: 0x8100 or 0x88a8"
                    )));
                }
                Action::PushVlan { tpid }
            }
            "pop_vlan" | "strip_vlan" => {
                self.tagged = false;
                Action::PopVlan
            }
            "push_mpls" => Action::PushMpls {
                ethertype: mpls(text)?,
            },
            "pop_mpls" => Action::PopMpls {
                ethertype: scan::number("pop_mpls", text)?,
            },
            "push_pbb" => Action::PushPbb {
                ethertype: scan::number("push_pbb", text)?,
            },
            "pop_pbb" => Action::PopPbb,
            "set_field" => self.set_field(text)?,
            "load" | "reg_load" => return self.load(text),
            "move" => {
                let (src, dst) = arrow(text)?;
                let (src, dst) = (parse_range(src)?, writable(parse_range(dst)?)?);
                if src.bits != dst.bits {
                    return Err(TextError::new(format!(
                        "move:{text}: {} bits to {} bits",
                        src.bits, dst.bits
                    )));
                }
                Action::Move { src, dst }
            }
            "push" => Action::StackPush(parse_range(text)?),
            "pop" => Action::StackPop(writable(parse_range(text)?)?),
            "dec_ttl" | "dec_nw_ttl" => match scan::items(text) {
                ids if ids.is_empty() => Action::DecNwTtl,
                ids => Action::DecNwTtlIds(
                    ids.iter()
                        .map(|id| scan::number("dec_ttl", id))
                        .collect::<Result<_, _>>()?,
                ),
            },
            "mod_nw_ttl" | "set_nw_ttl" => Action::SetNwTtl(scan::number("mod_nw_ttl", text)?),
            "dec_mpls_ttl" => Action::DecMplsTtl,
            "set_mpls_ttl" => Action::SetMplsTtl(scan::number("set_mpls_ttl", text)?),
            "copy_ttl_out" => Action::CopyTtlOut,
            "copy_ttl_in" => Action::CopyTtlIn,
            "resubmit" => self.resubmit(item, text)?,
            "ct" => Action::Ct(self.ct(text)?),
            "nat" => Action::Nat(parse_nat(text)?),
            "ct_clear" => Action::CtClear,
            "clone" => {
                let mut inner = Parser::new(self.matching, self.names);
                inner.tagged = self.tagged;
                inner.list(text)?;
                Action::Clone(inner.finish()?)
            }
            "note" => Action::Note(parse_note(text)?),
            "conjunction" => Action::Conjunction(parse_conjunction(text)?),
            "learn" => Action::Learn(Box::new(learn::parse(text, self.names)?)),
            "fin_timeout" => parse_fin_timeout(text)?,
            "check_pkt_larger" => parse_check_pkt_larger(text)?,
            "exit" => Action::Exit,
            "goto_table" | "meter" | "clear_actions" | "write_actions" | "write_metadata" => {
                return Err(TextError::new(format!(
                    "{key} is an instruction, and stands only in a flow's own actions"
                )));
            }
            // A bare port.
            _ if argument.is_none() => match self.names.parse_port(key) {
                Ok(port) => Action::Output {
                    port,
                    max_len: if port == PortNo::CONTROLLER {
                        0xffff
                    } else {
                        0
                    },
                },
                Err(_) => return Err(TextError::new(format!("{key}: unknown action"))),
            },
            _ => return Err(TextError::new(format!("{key}: unknown action"))),
        };
        self.actions.push(match action {
            Action::Controller(c) => plain_controller(c),
            other => other,
        });
        Ok(())
    }

    /// The actions of OpenFlow 1.0, said today as set_field.
    fn old_names(&mut self, key: &str, text: &str) -> Result<bool, TextError> {
        let by_protocol = |tcp: Field, udp: Field, sctp: Field| {
            if self.headers.has(Prereq::Tcp) {
                Ok(tcp)
            } else if self.headers.has(Prereq::Udp) {
                Ok(udp)
            } else if self.headers.has(Prereq::Sctp) {
                Ok(sctp)
            } else {
                Err(TextError::new(format!(
                    "{key}: the match must say tcp, udp or sctp"
                )))
            }
        };
        let field = match key {
            "mod_dl_src" | "set_dl_src" => Field::EthSrc,
            "mod_dl_dst" | "set_dl_dst" => Field::EthDst,
            "mod_nw_src" => Field::Ipv4Src,
            "mod_nw_dst" => Field::Ipv4Dst,
            "mod_nw_tos" => Field::IpTos,
            "mod_nw_ecn" => Field::IpEcn,
            "mod_tp_src" => by_protocol(Field::TcpSrc, Field::UdpSrc, Field::SctpSrc)?,
            "mod_tp_dst" => by_protocol(Field::TcpDst, Field::UdpDst, Field::SctpDst)?,
            "set_tunnel" | "set_tunnel64" => Field::TunId,
            "set_mpls_label" => Field::MplsLabel,
            "set_mpls_tc" => Field::MplsTc,
            "mod_vlan_vid" | "set_vlan_vid" => Field::VlanVid,
            "mod_vlan_pcp" | "set_vlan_pcp" => Field::VlanPcp,
            _ => return Ok(false),
        };
        let text = text.trim_matches(['(', ')']);
        let (value, _) = value::parse(field, text, self.names)?;
        let value = match field {
            Field::VlanVid if value > 0xfff => {
                return Err(TextError::new(format!("{key}:{text}: 0 to 4095")));
            }
            Field::VlanVid => value | 0x1000,
            _ => value,
        };
        // They push a tag where there is none (as Open vSwitch does it).
        if matches!(field, Field::VlanVid | Field::VlanPcp) && !self.tagged {
            self.tagged = true;
            self.actions.push(Action::PushVlan { tpid: 0x8100 });
        }
        self.actions.push(written(field, value, u128::MAX));
        Ok(true)
    }

    fn output(&self, text: &str) -> Result<Action, TextError> {
        if let Ok(port) = self.names.parse_port(text) {
            let max_len = if port == PortNo::CONTROLLER {
                0xffff
            } else {
                0
            };
            return Ok(Action::Output { port, max_len });
        }
        match parse_range(text) {
            Ok(src) => Ok(Action::OutputReg {
                src,
                max_len: 0xffff,
            }),
            Err(_) => Err(TextError::new(format!("output:{text}: unknown port"))),
        }
    }

    fn set_field(&self, text: &str) -> Result<Action, TextError> {
        let (value_text, name) = arrow(text)?;
        let field = field_in_action(name)
            .ok_or_else(|| TextError::new(format!("{name}: unknown field")))?;
        if !field.info().writable {
            return Err(TextError::new(format!("{name} cannot be written")));
        }
        let (mut value, mask) = value::parse(field, value_text, self.names)?;
        if mask == 0 {
            return Err(TextError::new(format!("set_field:{text}: writes no bit")));
        }
        if field == Field::VlanVid && mask == field.info().slot.ones() {
            value |= 0x1000;
        }
        Ok(written(field, value, mask))
    }

    /// `load:VALUE->RANGE`; more than 64 bits are loaded in pieces, lowest first.
    fn load(&mut self, text: &str) -> Result<(), TextError> {
        let (value_text, dst) = arrow(text)?;
        let dst = writable(parse_range(dst)?)?;
        let value = scan::integer(value_text)?;
        if value > dst.ones() {
            return Err(TextError::new(format!(
                "load:{text}: the value does not fit into {} bits",
                dst.bits
            )));
        }
        let mut done = 0;
        while done < dst.bits {
            let bits = (dst.bits - done).min(64);
            let piece = SubField {
                field: dst.field,
                shift: dst.shift + done,
                bits,
            };
            let value = (value >> done) & piece.ones();
            self.actions.push(Action::Load {
                dst: piece,
                value: value as u64,
            });
            done += bits;
        }
        Ok(())
    }

    fn resubmit(&self, item: &str, text: &str) -> Result<Action, TextError> {
        let port = |text: &str| match text {
            "" => Ok(None),
            _ => self
                .names
                .parse_port(text)
                .map(|port| (port != PortNo::IN_PORT).then_some(port)),
        };
        let parts = if item.contains('(') {
            scan::arguments(text)
        } else {
            vec![text]
        };
        let part = |n: usize| parts.get(n).copied().unwrap_or_default();
        let table = match part(1) {
            "" => None,
            name => Some(self.names.parse_table(name)?).filter(|table| *table != TableId::ALL),
        };
        let ct = match part(2) {
            "" => false,
            "ct" => true,
            other => return Err(TextError::new(format!("resubmit: {other} is unknown"))),
        };
        if parts.len() > 3 {
            return Err(TextError::new(format!("{item}: too many arguments")));
        }
        let port = port(part(0))?;
        if port.is_none() && table.is_none() {
            return Err(TextError::new(format!(
                "{item}: needs a port or a table, or it would never end"
            )));
        }
        Ok(Action::Resubmit { port, table, ct })
    }

    fn ct(&self, text: &str) -> Result<Ct, TextError> {
        let mut ct = Ct::default();
        for item in scan::items(text) {
            let (key, argument) = scan::key_argument(item)?;
            let text = argument.unwrap_or_default();
            match key {
                "commit" => ct.commit = true,
                "force" => ct.force = true,
                "table" => {
                    let table = self.names.parse_table(text)?;
                    if table == TableId::ALL {
                        return Err(TextError::new("ct: table 255 is not a table"));
                    }
                    ct.table = Some(table);
                }
                "zone" => ct.zone = parse_zone(text)?,
                "alg" => {
                    let known = ALGORITHMS.iter().find(|(_, name)| *name == text);
                    ct.alg = match known {
                        Some((port, _)) => *port,
                        None => scan::number("alg", text)?,
                    };
                }
                "nat" => ct.actions.insert(0, Action::Nat(parse_nat(text)?)),
                "exec" => {
                    let mut inner = Parser::new(self.matching, self.names);
                    inner.list(text)?;
                    ct.actions.extend(inner.finish()?);
                }
                other => return Err(TextError::new(format!("ct: {other} is unknown"))),
            }
        }
        if ct.force && !ct.commit {
            return Err(TextError::new("ct: force needs commit"));
        }
        Ok(ct)
    }
}

/// A write; a field's other name is the field.
fn written(field: Field, value: u128, mask: u128) -> Action {
    let (field, value, mask) = match field {
        Field::IpTos => (Field::IpDscp, value >> 2, mask >> 2),
        field => (field, value, mask),
    };
    Action::SetField {
        field,
        value,
        mask: mask & field.info().slot.ones(),
    }
}

/// `controller` with nothing special is an output.
fn plain_controller(c: Controller) -> Action {
    let plain = c.reason == 1
        && c.controller_id == 0
        && c.userdata.is_empty()
        && !c.pause
        && c.meter_id.is_none();
    if plain {
        Action::Output {
            port: PortNo::CONTROLLER,
            max_len: c.max_len,
        }
    } else {
        Action::Controller(c)
    }
}

fn mpls(text: &str) -> Result<u16, TextError> {
    match scan::number("push_mpls", text)? {
        ethertype @ (0x8847 | 0x8848) => Ok(ethertype),
        _ => Err(TextError::new(format!(
            "push_mpls:{text}: 0x8847 or 0x8848"
        ))),
    }
}

/// `a->b`.
pub(super) fn arrow(text: &str) -> Result<(&str, &str), TextError> {
    text.split_once("->")
        .map(|(a, b)| (a.trim(), b.trim()))
        .ok_or_else(|| TextError::new(format!("{text}: missing ->")))
}

/// In actions `in_port` is the field of 16 bits, the only one that Open vSwitch writes.
pub(super) fn field_in_action(name: &str) -> Option<Field> {
    match name {
        "in_port" => Some(Field::InPortNxm),
        _ => Field::from_name(name),
    }
}

/// `NXM_NX_REG0[4..7]`, `reg0[4]`, `reg0[]` or `reg0`.
pub(super) fn parse_range(text: &str) -> Result<SubField, TextError> {
    let (name, bits) = match text.split_once('[') {
        Some((name, rest)) => {
            let inner = rest.strip_suffix(']');
            (
                name,
                inner.ok_or_else(|| TextError::new(format!("{text}: missing ]")))?,
            )
        }
        None => (text, ""),
    };
    let field = field_in_action(name)
        .ok_or_else(|| TextError::new(format!("{text}: unknown field {name}")))?;
    let whole = SubField::whole(field);
    if bits.is_empty() {
        return Ok(whole);
    }
    let (low, high) = bits.split_once("..").unwrap_or((bits, bits));
    let low: u8 = scan::number("bit", low)?;
    let high: u8 = scan::number("bit", high)?;
    if low > high || high >= whole.bits {
        return Err(TextError::new(format!(
            "{text}: {name} has the bits 0 to {}",
            whole.bits - 1
        )));
    }
    Ok(SubField::range(field, low, high))
}

pub(super) fn writable(range: SubField) -> Result<SubField, TextError> {
    let info = range.field.info();
    if info.writable {
        Ok(range)
    } else {
        Err(TextError::new(format!("{} cannot be written", info.name)))
    }
}

/// Bytes in hexadecimal between dots.
fn parse_note(text: &str) -> Result<Vec<u8>, TextError> {
    let bad = || TextError::new(format!("note:{text}: hexadecimal bytes such as 01.02"));
    let mut note = parse_bytes(text).ok_or_else(bad)?;
    // The wire has room for 6, 14, 22, ... bytes.
    let filled = (note.len() + 10).next_multiple_of(8) - 10;
    note.resize(filled.max(6), 0);
    Ok(note)
}

fn parse_bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| *c != '.')
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let pairs = digits.chunks(2);
    Some(
        pairs
            .map(|pair| pair.iter().fold(0, |sum, d| sum << 4 | *d as u8))
            .collect(),
    )
}

fn parse_controller(text: &str) -> Result<Controller, TextError> {
    let mut c = Controller {
        max_len: 0xffff,
        reason: 1,
        controller_id: 0,
        userdata: Vec::new(),
        pause: false,
        meter_id: None,
    };
    if let Ok(max_len) = scan::number("controller", text) {
        c.max_len = max_len;
        return Ok(c);
    }
    for item in scan::items(text) {
        let (key, argument) = scan::key_argument(item)?;
        let text = argument.unwrap_or_default();
        match key {
            "max_len" => c.max_len = scan::number(key, text)?,
            "id" => c.controller_id = scan::number(key, text)?,
            "reason" => {
                let known = REASONS.iter().find(|(_, name)| *name == text);
                c.reason = match known {
                    Some((reason, _)) => *reason as u8,
                    None => scan::number(key, text)?,
                };
            }
            "userdata" => {
                let bad = || TextError::new(format!("userdata={text}: hexadecimal bytes"));
                c.userdata = parse_bytes(text).ok_or_else(bad)?;
            }
            "pause" => c.pause = true,
            "meter_id" => c.meter_id = Some(MeterId(scan::number(key, text)?)),
            other => return Err(TextError::new(format!("controller: {other} is unknown"))),
        }
    }
    Ok(c)
}

fn parse_zone(text: &str) -> Result<CtZone, TextError> {
    if let Ok(zone) = scan::number("zone", text) {
        return Ok(CtZone::Number(zone));
    }
    let range = parse_range(text)?;
    if range.bits != 16 {
        return Err(TextError::new(format!(
            "zone={text}: a zone has 16 bits, not {}",
            range.bits
        )));
    }
    Ok(CtZone::Field(range))
}

fn parse_nat(text: &str) -> Result<Nat, TextError> {
    let mut nat = Nat {
        kind: NatKind::Existing,
        addresses: None,
        ports: None,
        persistent: false,
        hash: false,
        random: false,
    };
    for item in scan::items(text) {
        let (key, argument) = match item.split_once('=') {
            Some((key, argument)) => (key, Some(argument)),
            None => (item, None),
        };
        match key {
            "src" | "dst" => {
                if nat.kind != NatKind::Existing {
                    return Err(TextError::new("nat: either src or dst, once"));
                }
                nat.kind = if key == "src" {
                    NatKind::Src
                } else {
                    NatKind::Dst
                };
                if let Some(argument) = argument {
                    (nat.addresses, nat.ports) = parse_nat_range(argument)?;
                }
            }
            "persistent" => nat.persistent = true,
            "hash" => nat.hash = true,
            "random" => nat.random = true,
            other => return Err(TextError::new(format!("nat: {other} is unknown"))),
        }
    }
    let flags = nat.persistent || nat.hash || nat.random;
    if nat.kind == NatKind::Existing && flags {
        return Err(TextError::new("nat: flags need src or dst"));
    }
    if nat.hash && nat.random {
        return Err(TextError::new("nat: either hash or random"));
    }
    Ok(nat)
}

type NatRange = (Option<(IpAddr, IpAddr)>, Option<(u16, u16)>);

/// `ADDRESS[-ADDRESS][:PORT[-PORT]]`; IPv6 addresses with ports in brackets.
fn parse_nat_range(text: &str) -> Result<NatRange, TextError> {
    let bad = |what: &str| TextError::new(format!("nat {text}: {what}"));
    let v4_or_none = !text.contains('[') && text.matches(':').count() <= 1;
    let (address, ports) = if v4_or_none {
        match text.split_once(':') {
            Some((address, ports)) => (address, Some(ports)),
            None => (text, None),
        }
    } else {
        match text.rfind(']') {
            Some(end) => {
                let (address, rest) = text.split_at(end + 1);
                (address, rest.strip_prefix(':'))
            }
            None => (text, None),
        }
    };
    let addresses = if address.is_empty() {
        None
    } else {
        let (low, high) = scan::range(address);
        let parse = |text: &str| -> Result<IpAddr, TextError> {
            let text = text.trim_matches(['[', ']']);
            let v4 = text.parse::<Ipv4Addr>().map(IpAddr::V4);
            v4.or_else(|_| text.parse::<Ipv6Addr>().map(IpAddr::V6))
                .map_err(|_| bad("not an address"))
        };
        let (low, high) = (parse(low)?, parse(high)?);
        if low > high || low.is_ipv4() != high.is_ipv4() {
            return Err(bad("the last address comes before the first"));
        }
        Some((low, high))
    };
    let ports = match ports {
        None => None,
        Some(ports) => {
            let (low, high) = scan::range(ports);
            let (low, high) = (scan::number("port", low)?, scan::number("port", high)?);
            if low > high {
                return Err(bad("the last port comes before the first"));
            }
            Some((low, high))
        }
    };
    Ok((addresses, ports))
}

fn parse_conjunction(text: &str) -> Result<Conjunction, TextError> {
    let bad = || TextError::new(format!("conjunction({text}): write ID,CLAUSE/CLAUSES"));
    let (id, clauses) = text.split_once(',').ok_or_else(bad)?;
    let (clause, n_clauses) = clauses.split_once('/').ok_or_else(bad)?;
    let clause: u8 = scan::number("clause", clause.trim())?;
    let n_clauses: u8 = scan::number("clauses", n_clauses.trim())?;
    if !(2..=64).contains(&n_clauses) || clause == 0 || clause > n_clauses {
        return Err(TextError::new(format!(
            "conjunction({text}): 2 to 64 clauses, numbered from 1"
        )));
    }
    Ok(Conjunction {
        id: scan::number("conjunction", id.trim())?,
        clause: clause - 1,
        n_clauses,
    })
}

fn parse_fin_timeout(text: &str) -> Result<Action, TextError> {
    let (mut idle, mut hard) = (0, 0);
    for item in scan::items(text) {
        let (key, argument) = scan::key_argument(item)?;
        let argument = argument.unwrap_or_default();
        match key {
            "idle_timeout" => idle = scan::number(key, argument)?,
            "hard_timeout" => hard = scan::number(key, argument)?,
            other => return Err(TextError::new(format!("fin_timeout: {other} is unknown"))),
        }
    }
    Ok(Action::FinTimeout { idle, hard })
}

/// `(1500)->RANGE`, with the parenthesis in front.
fn parse_check_pkt_larger(text: &str) -> Result<Action, TextError> {
    let (len, dst) = arrow(text)?;
    let len = scan::number("check_pkt_larger", len.trim_matches(['(', ')']))?;
    let dst = writable(parse_range(dst)?)?;
    if dst.bits != 1 {
        return Err(TextError::new("check_pkt_larger writes one bit"));
    }
    Ok(Action::CheckPktLarger { len, dst })
}
