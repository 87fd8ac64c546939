//! Flows in text: what `add-flow` takes and `dump-flows` prints.

use std::fmt::{self, Write};

use net::{GroupId, PortNo, TableId};

use super::actions_parse::parse_instructions;
use super::match_parse::Builder;
use super::{Names, TextError, actions_print, match_print, scan, value};
use crate::check;
use crate::model::{
    DEFAULT_PRIORITY, FLOW_CHECK_OVERLAP, FLOW_NO_BYTE_COUNTS, FLOW_NO_PACKET_COUNTS,
    FLOW_RESET_COUNTS, FLOW_SEND_REMOVED, FlowCommand, FlowMod,
};
use crate::msg::{FlowStats, FlowStatsRequest};
use crate::{Instructions, Match};

/// Names of the flags, in the order in which they are printed.
const FLAGS: &[(u16, &str)] = &[
    (FLOW_SEND_REMOVED, "send_flow_rem"),
    (FLOW_CHECK_OVERLAP, "check_overlap"),
    (FLOW_RESET_COUNTS, "reset_counts"),
    (FLOW_NO_PACKET_COUNTS, "no_packet_counts"),
    (FLOW_NO_BYTE_COUNTS, "no_byte_counts"),
];

/// One line of `dump-flows`, without the space in front and the line's end.
pub fn print_flow_stats(flow: &FlowStats, names: &Names) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_flow_stats(&mut text, flow, names);
    text
}

fn write_flow_stats(f: &mut String, flow: &FlowStats, names: &Names) -> fmt::Result {
    write!(f, "cookie={:#x}, duration=", flow.cookie)?;
    write_duration(f, flow.duration_sec, flow.duration_nsec)?;
    write!(f, ", table={}, ", names.table(flow.table))?;
    write!(
        f,
        "n_packets={}, n_bytes={}, ",
        flow.packet_count, flow.byte_count
    )?;
    if flow.idle_timeout != 0 {
        write!(f, "idle_timeout={}, ", flow.idle_timeout)?;
    }
    if flow.hard_timeout != 0 {
        write!(f, "hard_timeout={}, ", flow.hard_timeout)?;
    }
    for (_, name) in FLAGS.iter().filter(|(bit, _)| flow.flags & bit != 0) {
        write!(f, "{name} ")?;
    }
    if flow.importance != 0 {
        write!(f, "importance={}, ", flow.importance)?;
    }
    if write_priority_match(f, flow.priority, &flow.matching, names)? {
        f.push(' ');
    }
    f.push_str("actions=");
    actions_print::write_instructions(f, &flow.instructions, names)
}

/// `5.12s`: nanoseconds to the thousandth, or as many digits as they need.
pub(super) fn write_duration(f: &mut String, sec: u32, nsec: u32) -> fmt::Result {
    write!(f, "{sec}")?;
    if nsec != 0 {
        let fraction = format!("{nsec:09}");
        let shown = fraction.trim_end_matches('0');
        let shown = fraction.get(..shown.len().max(3)).unwrap_or(shown);
        write!(f, ".{shown}")?;
    }
    f.push('s');
    Ok(())
}

/// Writes priority and match; false if there was nothing to write.
fn write_priority_match(
    f: &mut String,
    priority: u16,
    matching: &Match,
    names: &Names,
) -> Result<bool, fmt::Error> {
    let before = f.len();
    if priority != DEFAULT_PRIORITY {
        write!(f, "priority={priority}")?;
        if !matching.is_empty() {
            f.push(',');
        }
    }
    match_print::write(f, matching, names)?;
    Ok(f.len() > before)
}

/// A flow modification as `add-flow` and the others take it.
pub fn print_flow_mod(flow: &FlowMod, names: &Names) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_flow_mod(&mut text, flow, names);
    text
}

fn write_flow_mod(f: &mut String, flow: &FlowMod, names: &Names) -> fmt::Result {
    let mut parts = Vec::new();
    if flow.table != TableId(0) && flow.table != TableId::ALL {
        parts.push(format!("table={}", names.table(flow.table)));
    }
    match (flow.cookie, flow.cookie_mask) {
        (0, 0) => {}
        (cookie, 0) => parts.push(format!("cookie={cookie:#x}")),
        (cookie, mask) => parts.push(format!(
            "cookie={}/{}",
            value::Hex(u128::from(cookie)),
            if mask == u64::MAX {
                "-1".to_owned()
            } else {
                format!("{mask:#x}")
            }
        )),
    }
    for (name, seconds) in [
        ("idle_timeout", flow.idle_timeout),
        ("hard_timeout", flow.hard_timeout),
    ] {
        if seconds != 0 {
            parts.push(format!("{name}={seconds}"));
        }
    }
    if flow.importance != 0 {
        parts.push(format!("importance={}", flow.importance));
    }
    for (_, name) in FLAGS.iter().filter(|(bit, _)| flow.flags & bit != 0) {
        parts.push((*name).to_owned());
    }
    if flow.out_port != PortNo::ANY {
        parts.push(format!("out_port={}", names.port(flow.out_port)));
    }
    if flow.out_group != GroupId::ANY {
        parts.push(format!("out_group={}", flow.out_group));
    }
    let mut matching = String::new();
    if write_priority_match(&mut matching, flow.priority, &flow.matching, names)? {
        parts.push(matching);
    }
    let deletes = matches!(
        flow.command,
        FlowCommand::Delete | FlowCommand::DeleteStrict
    );
    if !deletes {
        let mut actions = "actions=".to_owned();
        actions_print::write_instructions(&mut actions, &flow.instructions, names)?;
        parts.push(actions);
    }
    f.push_str(&parts.join(","));
    Ok(())
}

/// What a line says besides the match.
struct Line {
    flow: FlowMod,
    builder: Builder,
    priority_given: bool,
    cookie_masked: bool,
}

/// Parses a flow as `ovs-ofctl add-flow`, `mod-flows`, `del-flows` and the strict ones take it.
///
/// Additions and modifications need `actions=`, deletions must not have it. A cookie with a mask
/// restricts; without one it is given to the flow.
pub fn parse_flow(text: &str, command: FlowCommand, names: &Names) -> Result<FlowMod, TextError> {
    let (head, actions) = split_actions(text);
    let deletes = matches!(command, FlowCommand::Delete | FlowCommand::DeleteStrict);
    match (actions, deletes) {
        (None, false) => return Err(TextError::new("the flow has no actions=")),
        (Some(_), true) => return Err(TextError::new("actions= says nothing in a deletion")),
        _ => {}
    }
    let mut line = parse_head(head, command, names)?;
    if line.cookie_masked && command == FlowCommand::Add {
        return Err(TextError::new(
            "a cookie's mask says nothing in an addition",
        ));
    }
    if line.priority_given && command == FlowCommand::Delete {
        return Err(TextError::new(
            "priority= says nothing in a deletion that is not strict",
        ));
    }
    line.flow.matching = line.builder.finish(names)?;
    if let Some(actions) = actions {
        line.flow.instructions = parse_instructions(actions, &line.flow.matching, names)?;
    }
    check::flow(
        &line.flow.matching,
        &line.flow.instructions,
        line.flow.table,
    )
    .map_err(|error| TextError::new(format!("the actions do not fit the match: {error}")))?;
    Ok(line.flow)
}

/// Parses the filter of `dump-flows` and `dump-aggregate`.
pub fn parse_flow_filter(text: &str, names: &Names) -> Result<FlowStatsRequest, TextError> {
    let line = parse_head(text, FlowCommand::Delete, names)?;
    if line.priority_given {
        return Err(TextError::new("priority= cannot be filtered by"));
    }
    Ok(FlowStatsRequest {
        table: line.flow.table,
        out_port: line.flow.out_port,
        out_group: line.flow.out_group,
        cookie: line.flow.cookie,
        cookie_mask: line.flow.cookie_mask,
        matching: line.builder.finish(names)?,
    })
}

/// What stands before `actions=` and behind it.
fn split_actions(text: &str) -> (&str, Option<&str>) {
    for word in ["actions", "action"] {
        for (at, _) in text.match_indices(word) {
            let (head, tail) = text.split_at(at);
            let boundary =
                head.is_empty() || head.ends_with(|c: char| c == ',' || c.is_ascii_whitespace());
            let tail = tail.get(word.len()..).unwrap_or_default().trim_start();
            if let (true, Some(actions)) = (boundary, tail.strip_prefix('=')) {
                return (head, Some(actions.trim()));
            }
        }
    }
    (text, None)
}

fn parse_head(head: &str, command: FlowCommand, names: &Names) -> Result<Line, TextError> {
    let deletes = matches!(command, FlowCommand::Delete | FlowCommand::DeleteStrict);
    let mut flow = FlowMod::add(
        if deletes { TableId::ALL } else { TableId(0) },
        DEFAULT_PRIORITY,
        Match::any(),
        Instructions::drop(),
    );
    flow.command = command;
    let mut line = Line {
        flow,
        builder: Builder::default(),
        priority_given: false,
        cookie_masked: false,
    };
    for item in scan::items(head) {
        let (key, argument) = scan::key_argument(item)?;
        if let Some((bit, _)) = FLAGS.iter().find(|(_, name)| *name == key) {
            line.flow.flags |= bit;
            continue;
        }
        let text = argument.unwrap_or_default();
        match key {
            "table" => line.flow.table = names.parse_table(text)?,
            "priority" => {
                line.flow.priority = scan::number(key, text)?;
                line.priority_given = true;
            }
            "idle_timeout" => line.flow.idle_timeout = scan::number(key, text)?,
            "hard_timeout" => line.flow.hard_timeout = scan::number(key, text)?,
            "importance" => line.flow.importance = scan::number(key, text)?,
            "cookie" => take_cookie(&mut line, text, deletes)?,
            "out_port" => line.flow.out_port = names.parse_port(text)?,
            "out_group" => line.flow.out_group = GroupId(scan::number(key, text)?),
            // What dump-flows prints besides; so its output can be fed back.
            "duration" | "n_packets" | "n_bytes" | "idle_age" | "hard_age" => {}
            _ => {
                if !line.builder.take(key, argument, names)? {
                    return Err(TextError::new(format!("{key}: unknown field")));
                }
            }
        }
    }
    Ok(line)
}

/// `cookie=VALUE` gives it, `cookie=VALUE/MASK` restricts; -1 as a mask is all ones. A deletion
/// or a filter can only restrict.
fn take_cookie(line: &mut Line, text: &str, deletes: bool) -> Result<(), TextError> {
    let (value, mask) = scan::value_mask(text);
    let number = |text: &str| match text {
        "-1" => Ok(u64::MAX),
        _ => scan::number("cookie", text),
    };
    line.flow.cookie = number(value)?;
    match mask {
        Some(mask) => {
            line.flow.cookie_mask = number(mask)?;
            line.cookie_masked = true;
        }
        None if deletes => {
            return Err(TextError::new(format!(
                "cookie={text}: a filter needs a mask, as in cookie={text}/-1"
            )));
        }
        None => {}
    }
    Ok(())
}
