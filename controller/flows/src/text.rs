//! Flows as text with names instead of numbers: for goldens, documents and debugging. What a switch
//! understands is `openflow`'s text form; this one is for people.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use net::MacAddr;
use openflow::action::{Ct, CtZone, Learn, LearnSource, LearnSpec, LearnTarget, Nat, NatKind};
use openflow::field::Format;
use openflow::flow_match::MatchField;
use openflow::model::{BandKind, GroupType, METER_PKTPS};
use openflow::msg::Impairment;
use openflow::{Action, Field, Instructions, Match, SubField};

use crate::fields::{NAMED, Named, ZONES};
use crate::flow::{FlowSet, Group, Meter};
use crate::tables::Table;

/// The whole set: tables in order, then groups, meters and problems. Each flow is its object, its
/// intent, its priority and match, and what it does.
pub fn render(set: &FlowSet) -> String {
    let mut out = String::new();
    let mut table = None;
    let mut origin = (0, "");
    for (id, flow) in flows_in_reading_order(set) {
        if table != Some(id.table) {
            table = Some(id.table);
            origin = (0, "");
            let name = Table::from_id(id.table).map_or("?", Table::name);
            let _ = writeln!(out, "\ntable {name}");
        }
        if origin != (flow.cookie, flow.intent) {
            origin = (flow.cookie, flow.intent);
            let label = set.labels.get(&flow.cookie).map_or("?", String::as_str);
            let _ = writeln!(out, "  {label}: {}", flow.intent);
        }
        let (matching, then) = (
            matching(&id.matching),
            instructions(&flow.instructions, set),
        );
        let _ = writeln!(out, "    {} {matching} -> {then}", id.priority);
    }
    for group in set.groups.values() {
        let _ = writeln!(out, "\ngroup {}", self::group(group, set));
    }
    for meter in set.meters.values() {
        let _ = writeln!(out, "\nmeter {}", self::meter(meter));
    }
    for (zone, limit) in &set.zone_limits {
        let crate::flow::ZoneLimit { limit, label, .. } = limit;
        let _ = writeln!(out, "\nzone {zone} {label}: {limit} connections");
    }
    for (port, impaired) in &set.impairments {
        let says = impairment(&impaired.impairment);
        let _ = writeln!(out, "\nport {port} {}: {says}", impaired.label);
    }
    for problem in &set.problems {
        let _ = writeln!(out, "\nproblem {problem}");
    }
    out
}

/// What becomes of packets on a line.
pub fn impairment(impairment: &Impairment) -> String {
    let Impairment {
        port: _,
        delay_us,
        jitter_us,
        loss_ppm,
        limit,
    } = impairment;
    format!(
        "{delay_us} us late, {jitter_us} us more or less, {loss_ppm} of a million lost, \
         {limit} at a time"
    )
}

fn flows_in_reading_order(set: &FlowSet) -> Vec<(&crate::flow::FlowId, &crate::flow::Installed)> {
    let mut flows: Vec<_> = set.flows.iter().collect();
    flows.sort_by(|(a, x), (b, y)| {
        let label = |cookie| set.labels.get(cookie);
        (a.table, b.priority)
            .cmp(&(b.table, a.priority))
            .then_with(|| label(&x.cookie).cmp(&label(&y.cookie)))
            .then_with(|| x.intent.cmp(y.intent))
            .then_with(|| a.matching.cmp(&b.matching))
    });
    flows
}

/// A match, with named registers and addresses.
pub fn matching(matching: &Match) -> String {
    let fields: Vec<String> = matching.iter().flat_map(match_field).collect();
    if fields.is_empty() {
        "any".into()
    } else {
        fields.join(",")
    }
}

fn match_field(f: MatchField) -> Vec<String> {
    let covered = |named: &&Named| named.field == f.field && f.mask & named.mask() == named.mask();
    let names: Vec<&Named> = NAMED.iter().filter(covered).collect();
    if names.iter().fold(0, |all, n| all | n.mask()) == f.mask {
        let text = |n: &&Named| {
            format!(
                "{}={}",
                n.name,
                named_value(n, ((f.value >> n.low) & n.sub().ones()) as u32)
            )
        };
        return names.iter().map(text).collect();
    }
    let info = f.field.info();
    if f.mask == info.slot.ones() {
        return vec![format!("{}={}", info.name, value(f.field, f.value))];
    }
    if info.format == Format::CtState {
        return vec![format!(
            "ct_state={}",
            ct_state(f.value as u32, f.mask as u32)
        )];
    }
    let prefix = f.mask.count_ones();
    let is_prefix = matches!(info.format, Format::Ipv4 | Format::Ipv6)
        && f.mask == info.slot.ones() & !(info.slot.ones() >> prefix);
    let mask = if is_prefix {
        prefix.to_string()
    } else {
        value(f.field, f.mask)
    };
    vec![format!("{}={}/{mask}", info.name, value(f.field, f.value))]
}

fn named_value(named: &Named, value: u32) -> String {
    match named.value_name(value) {
        Some(name) => name.into(),
        None if named.bits == 1 => value.to_string(),
        None => format!("{value:#x}"),
    }
}

fn value(field: Field, value: u128) -> String {
    match field.info().format {
        Format::Mac => MacAddr::from_u64(value as u64).to_string(),
        Format::Ipv4 => Ipv4Addr::from_bits(value as u32).to_string(),
        Format::Ipv6 => Ipv6Addr::from_bits(value).to_string(),
        Format::Port => net::PortNo(value as u32).to_string(),
        Format::Decimal => value.to_string(),
        _ => format!("{value:#x}"),
    }
}

fn ct_state(value: u32, mask: u32) -> String {
    use net::key::ct_state::{DNAT, EST, INV, NEW, REL, RPL, SNAT, TRK};
    let bits = [
        (NEW, "new"),
        (EST, "est"),
        (REL, "rel"),
        (RPL, "rpl"),
        (INV, "inv"),
        (TRK, "trk"),
        (SNAT, "snat"),
        (DNAT, "dnat"),
    ];
    let named = bits.iter().filter(|(bit, _)| mask & bit != 0);
    named
        .map(|(bit, name)| format!("{}{name}", if value & bit != 0 { '+' } else { '-' }))
        .collect()
}

/// Instructions, with named tables, registers, groups and meters.
pub fn instructions(instructions: &Instructions, set: &FlowSet) -> String {
    let mut parts = Vec::new();
    if let Some(meter) = instructions.meter {
        let label = set.meters.get(&meter).map_or("?", |m| m.label.as_str());
        parts.push(format!("meter[{label}]"));
    }
    parts.extend(instructions.apply.iter().map(|a| action(a, set)));
    if let Some(table) = instructions.goto_table {
        parts.push(Table::from_id(table).map_or("?", Table::name).into());
    }
    if parts.is_empty() {
        "drop".into()
    } else {
        parts.join(", ")
    }
}

/// An action, with named tables, registers and groups.
pub fn action(action: &Action, set: &FlowSet) -> String {
    match action {
        Action::Output { port, .. } => format!("output:{port}"),
        Action::Group(id) => {
            let label = set.groups.get(id).map_or("?", |g| g.label.as_str());
            format!("group[{label}]")
        }
        Action::PushVlan { tpid } => format!("push_vlan:{tpid:#06x}"),
        Action::PopVlan => "pop_vlan".into(),
        Action::SetQueue(queue) => format!("set_queue:{queue}"),
        Action::DecNwTtl => "dec_ttl".into(),
        Action::SetNwTtl(ttl) => format!("set_ttl:{ttl}"),
        Action::SetField { field, value, mask } => {
            let written = MatchField {
                field: *field,
                value: *value,
                mask: *mask,
            };
            match_field(written).join(",")
        }
        Action::Load { dst, value } => {
            let written = MatchField {
                field: dst.field,
                value: u128::from(*value) << dst.shift,
                mask: dst.ones() << dst.shift,
            };
            match_field(written).join(",")
        }
        Action::Move { src, dst } => format!("{}={}", sub_field(dst), sub_field(src)),
        Action::Ct(ct) => ct_text(ct, set),
        Action::Nat(nat) => nat_text(nat),
        Action::Resubmit {
            port: None,
            table: Some(table),
            ct: false,
        } => {
            format!("ask {}", Table::from_id(*table).map_or("?", Table::name))
        }
        Action::Learn(learn) => learn_text(learn),
        other => format!("{other:?}"),
    }
}

fn sub_field(sub: &SubField) -> String {
    let info = sub.field.info();
    match NAMED.iter().find(|named| named.sub() == *sub) {
        Some(named) => named.name.into(),
        None if sub.bits == info.slot.bits => info.name.into(),
        None => format!("{}[{}..{}]", info.name, sub.shift, sub.shift + sub.bits - 1),
    }
}

fn ct_text(ct: &Ct, set: &FlowSet) -> String {
    let mut parts = Vec::new();
    if ct.commit {
        parts.push("commit".to_string());
    }
    if ct.force {
        parts.push("force".to_string());
    }
    let zone = match ct.zone {
        CtZone::Number(number) => ZONES
            .iter()
            .find(|zone| zone.number == number)
            .map(|zone| zone.name.to_string())
            .or_else(|| Some(format!("<{}>", set.zone_limits.get(&number)?.label)))
            .unwrap_or_else(|| number.to_string()),
        CtZone::Field(sub) => sub_field(&sub),
    };
    parts.push(format!("zone={zone}"));
    parts.extend(ct.actions.iter().map(|a| action(a, set)));
    let next = ct.table.and_then(Table::from_id).map_or("", Table::name);
    format!("ct({}) -> {next}", parts.join(","))
}

fn nat_text(nat: &Nat) -> String {
    let kind = match nat.kind {
        NatKind::Existing => return "nat".into(),
        NatKind::Src => "src",
        NatKind::Dst => "dst",
    };
    let address = nat
        .addresses
        .map_or(String::new(), |(first, _)| match first {
            std::net::IpAddr::V6(v6) if nat.ports.is_some() => format!("[{v6}]"),
            address => address.to_string(),
        });
    let port = nat
        .ports
        .map_or(String::new(), |(first, _)| format!(":{first}"));
    format!("nat({kind}={address}{port})")
}

fn learn_text(learn: &Learn) -> String {
    let side = |dst: &SubField, src: &LearnSource| match src {
        LearnSource::Field(src) if src == dst => sub_field(dst),
        LearnSource::Field(src) => format!("{}={}", sub_field(dst), sub_field(src)),
        LearnSource::Value { value: number, .. } => {
            format!("{}={}", sub_field(dst), value(dst.field, *number))
        }
    };
    let spec = |spec: &LearnSpec| match &spec.dst {
        LearnTarget::Match(dst) => side(dst, &spec.src),
        LearnTarget::Load(dst) => format!("-> {}", side(dst, &spec.src)),
        LearnTarget::Output => "-> output".into(),
    };
    let specs: Vec<_> = learn.specs.iter().map(spec).collect();
    let table = Table::from_id(learn.table).map_or("?", Table::name);
    format!(
        "learn({table} for {} s idle: {})",
        learn.idle_timeout,
        specs.join(",")
    )
}

/// A group with its buckets.
pub fn group(group: &Group, set: &FlowSet) -> String {
    let kind = match group.kind {
        GroupType::All => "all",
        GroupType::Select => "select",
        GroupType::Indirect => "indirect",
        GroupType::FastFailover => "fast_failover",
    };
    let mut text = format!("[{}] {kind}", group.label);
    for bucket in &group.buckets {
        let actions: Vec<_> = bucket.actions.iter().map(|a| action(a, set)).collect();
        let _ = write!(
            text,
            "\n  bucket weight {}: {}",
            bucket.weight,
            actions.join(", ")
        );
    }
    text
}

/// A meter with its bands.
pub fn meter(meter: &Meter) -> String {
    let mut text = format!("[{}]", meter.label);
    let (rate, burst) = match meter.flags & METER_PKTPS {
        0 => ("kbit/s", "kbit"),
        _ => ("packets/s", "packets"),
    };
    for band in &meter.bands {
        let kind = match band.kind {
            BandKind::Drop => "drop".to_string(),
            BandKind::DscpRemark { prec_level } => format!("remark by {prec_level}"),
        };
        let _ = write!(
            text,
            " {kind} above {} {rate}, burst {} {burst}",
            band.rate, band.burst
        );
    }
    text
}
