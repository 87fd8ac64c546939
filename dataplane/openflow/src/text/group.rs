//! Groups in text.

use std::fmt::{self, Write};

use net::{GroupId, PortNo};

use super::actions_parse::parse_actions;
use super::flow::write_duration;
use super::selection::{self, Parts};
use super::{Names, TextError, actions_print, scan};
use crate::model::{
    BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, Bucket, GroupCommand, GroupMod, GroupType,
};
use crate::msg::{GroupDesc, GroupStats};
use crate::{Match, Version};

const TYPES: &[(&str, GroupType)] = &[
    ("all", GroupType::All),
    ("select", GroupType::Select),
    ("indirect", GroupType::Indirect),
    ("ff", GroupType::FastFailover),
    ("fast_failover", GroupType::FastFailover),
];

/// One line of `dump-groups`, without the space in front, as before 1.5: buckets have no numbers.
pub fn print_group_desc(group: &GroupDesc, names: &Names) -> String {
    print_group_desc_in(Version::V1_4, group, names)
}

/// One line of `dump-groups` of a version, without the space in front.
pub fn print_group_desc_in(version: Version, group: &GroupDesc, names: &Names) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_desc(&mut text, version, group, names);
    text
}

fn write_desc(f: &mut String, version: Version, group: &GroupDesc, names: &Names) -> fmt::Result {
    let kind = TYPES.iter().find(|(_, kind)| *kind == group.kind);
    let kind = kind.map_or("?", |(name, _)| name);
    write!(f, "group_id={},type={kind}", group.group)?;
    if let Some(selection) = &group.selection {
        selection::write(f, selection, names)?;
    }
    for bucket in &group.buckets {
        f.push_str(",bucket=");
        if version >= Version::V1_5 {
            write!(f, "bucket_id:{},", bucket.id)?;
        }
        // The weight that is meant where none is given is left out.
        if bucket.weight != group.kind.default_weight() {
            write!(f, "weight:{},", bucket.weight)?;
        }
        if bucket.watch_port != PortNo::ANY {
            write!(f, "watch_port:{},", names.port(bucket.watch_port))?;
        }
        if bucket.watch_group != GroupId::ANY {
            write!(f, "watch_group:{},", bucket.watch_group)?;
        }
        f.push_str("actions=");
        actions_print::write_actions(f, &bucket.actions, names)?;
    }
    Ok(())
}

/// One line of `dump-group-stats`, without the space in front.
pub fn print_group_stats(group: &GroupStats) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_stats(&mut text, group);
    text
}

fn write_stats(f: &mut String, group: &GroupStats) -> fmt::Result {
    write!(f, "group_id={},duration=", group.group)?;
    write_duration(f, group.duration_sec, group.duration_nsec)?;
    write!(
        f,
        ",ref_count={},packet_count={},byte_count={}",
        group.ref_count, group.packet_count, group.byte_count
    )?;
    for (at, bucket) in group.buckets.iter().enumerate() {
        write!(
            f,
            ",bucket{at}:packet_count={},byte_count={}",
            bucket.packet_count, bucket.byte_count
        )?;
    }
    Ok(())
}

/// Parses a group as `ovs-ofctl add-group`, `mod-group`, `del-groups`, `insert-buckets` and
/// `remove-buckets` take it.
pub fn parse_group(
    text: &str,
    command: GroupCommand,
    names: &Names,
) -> Result<GroupMod, TextError> {
    use GroupCommand as C;
    let mut pieces = buckets(text).into_iter();
    let (mut group, mut kind, mut place) = (None, None, None);
    let mut selection = Parts::default();
    for item in scan::items(pieces.next().unwrap_or_default()) {
        let (key, argument) = scan::key_argument(item)?;
        let text = argument.unwrap_or_default();
        match key {
            "group_id" => group = Some(parse_id(text, command)?),
            "type" => {
                let known = TYPES.iter().find(|(name, _)| *name == text);
                let (_, known) = known.ok_or_else(|| {
                    TextError::new(format!("type={text}: all, select, indirect or ff"))
                })?;
                kind = Some(*known);
            }
            "command_bucket_id" => place = Some(parse_place(text, command)?),
            _ if selection.take(key, text, names)? => {}
            other => return Err(TextError::new(format!("{other}: unknown in a group"))),
        }
    }
    let deletes = command == C::Delete;
    let on_buckets = matches!(command, C::InsertBucket | C::RemoveBucket);
    let group = match group {
        Some(group) => group,
        None if deletes => GroupId::ALL,
        None => return Err(TextError::new("the group has no group_id=")),
    };
    let kind = match kind {
        Some(kind) => kind,
        None if deletes || on_buckets => GroupType::All,
        None => return Err(TextError::new("the group has no type=")),
    };
    let command_bucket_id = match place {
        Some(place) => place,
        None if on_buckets => return Err(TextError::new("there is no command_bucket_id=")),
        None => BUCKET_ALL,
    };
    let buckets = pieces
        .enumerate()
        .map(|(at, text)| parse_bucket(text, at, kind, names))
        .collect::<Result<Vec<_>, _>>()?;
    if kind == GroupType::Indirect && buckets.len() != 1 && !deletes && !on_buckets {
        return Err(TextError::new("an indirect group has exactly one bucket"));
    }
    Ok(GroupMod {
        command,
        kind,
        group,
        command_bucket_id,
        buckets,
        selection: selection.finish(kind)?,
        properties: Vec::new(),
    })
}

/// Where buckets are inserted, or which are removed.
fn parse_place(text: &str, command: GroupCommand) -> Result<u32, TextError> {
    let place = match text {
        "first" => BUCKET_FIRST,
        "last" => BUCKET_LAST,
        "all" => BUCKET_ALL,
        number => scan::number("command_bucket_id", number)?,
    };
    if !matches!(
        command,
        GroupCommand::InsertBucket | GroupCommand::RemoveBucket
    ) {
        return Err(TextError::new("command_bucket_id: for single buckets only"));
    }
    if command.takes_bucket(place) {
        Ok(place)
    } else {
        Err(TextError::new(format!(
            "command_bucket_id={text}: the number of a bucket, first or last"
        )))
    }
}

fn parse_id(text: &str, command: GroupCommand) -> Result<GroupId, TextError> {
    if text == "all" && command == GroupCommand::Delete {
        return Ok(GroupId::ALL);
    }
    let group = GroupId(scan::number("group_id", text)?);
    if group > GroupId::MAX {
        return Err(TextError::new(format!(
            "group_id={text}: 0 to {}",
            GroupId::MAX
        )));
    }
    Ok(group)
}

/// The text before the first bucket, and each bucket's.
fn buckets(text: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut ends = Vec::new();
    for (at, _) in text.match_indices("bucket") {
        let head = text.get(..at).unwrap_or_default();
        let tail = text.get(at + "bucket".len()..).unwrap_or_default();
        let boundary =
            head.is_empty() || head.ends_with(|c: char| c == ',' || c.is_ascii_whitespace());
        if boundary && tail.starts_with(['=', ':']) {
            ends.push(at);
            starts.push(at + "bucket=".len());
        }
    }
    ends.push(text.len());
    let spans = starts.into_iter().zip(ends);
    spans
        .map(|(start, end)| text.get(start..end).unwrap_or_default())
        .map(|piece| piece.trim_matches(|c: char| c == ',' || c.is_ascii_whitespace()))
        .collect()
}

/// A bucket: weight and what it watches, then actions, with or without `actions=` before them.
fn parse_bucket(
    text: &str,
    at: usize,
    kind: GroupType,
    names: &Names,
) -> Result<Bucket, TextError> {
    let mut bucket = Bucket {
        id: u32::try_from(at).unwrap_or(u32::MAX),
        weight: kind.default_weight(),
        watch_port: PortNo::ANY,
        watch_group: GroupId::ANY,
        actions: Vec::new(),
        properties: Vec::new(),
    };
    let mut actions = Vec::new();
    for item in scan::items(text) {
        if !actions.is_empty() {
            actions.push(item);
            continue;
        }
        let (key, argument) = scan::key_argument(item)?;
        let text = argument.unwrap_or_default();
        match key {
            "bucket_id" => bucket.id = scan::number(key, text)?,
            "weight" => bucket.weight = scan::number(key, text)?,
            "watch_port" => bucket.watch_port = names.parse_port(text)?,
            "watch_group" => bucket.watch_group = GroupId(scan::number(key, text)?),
            "actions" | "action" => actions.push(text),
            _ => actions.push(item),
        }
    }
    bucket.actions = parse_actions(&actions.join(","), &Match::any(), names)?;
    Ok(bucket)
}
