//! Arguments of single actions: ranges of fields, translations, notes, controllers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::{MeterId, PortNo};

use super::actions_print::REASONS;
use super::{TextError, scan};
use crate::action::{Conjunction, Controller, CtZone, Nat, NatKind};
use crate::{Action, Field, SubField};

/// `controller` with nothing special is an output.
pub(super) fn plain_controller(c: Controller) -> Action {
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

pub(super) fn mpls(text: &str) -> Result<u16, TextError> {
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
pub(super) fn parse_note(text: &str) -> Result<Vec<u8>, TextError> {
    let bad = || TextError::new(format!("note:{text}: hexadecimal bytes such as 01.02"));
    let mut note = parse_bytes(text).ok_or_else(bad)?;
    // The wire has room for 6, 14, 22, ... bytes.
    let filled = (note.len() + 10).next_multiple_of(8) - 10;
    note.resize(filled.max(6), 0);
    Ok(note)
}

pub(super) fn parse_bytes(text: &str) -> Option<Vec<u8>> {
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

pub(super) fn parse_controller(text: &str) -> Result<Controller, TextError> {
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
            // Meter 0 is none.
            "meter_id" => {
                let meter = MeterId(scan::number(key, text)?);
                c.meter_id = Some(meter).filter(|meter| meter.0 != 0);
            }
            other => return Err(TextError::new(format!("controller: {other} is unknown"))),
        }
    }
    Ok(c)
}

pub(super) fn parse_zone(text: &str) -> Result<CtZone, TextError> {
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

pub(super) fn parse_nat(text: &str) -> Result<Nat, TextError> {
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
pub(super) fn parse_nat_range(text: &str) -> Result<NatRange, TextError> {
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

pub(super) fn parse_conjunction(text: &str) -> Result<Conjunction, TextError> {
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

pub(super) fn parse_fin_timeout(text: &str) -> Result<Action, TextError> {
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
pub(super) fn parse_check_pkt_larger(text: &str) -> Result<Action, TextError> {
    let (len, dst) = arrow(text)?;
    let len = scan::number("check_pkt_larger", len.trim_matches(['(', ')']))?;
    let dst = writable(parse_range(dst)?)?;
    if dst.bits != 1 {
        return Err(TextError::new("check_pkt_larger writes one bit"));
    }
    Ok(Action::CheckPktLarger { len, dst })
}
