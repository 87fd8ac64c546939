//! Groups (OpenFlow 1.3.5, 7.3.4.2).

use net::{GroupId, PortNo};

use super::actions::{read_actions, write_actions};
use super::{EncodeError, Reader, Writer};
use crate::check::{self, Place};
use crate::error::{self, OfError};
use crate::model::{Bucket, GroupCommand, GroupMod, GroupType};
use crate::msg::GroupDesc;

pub(super) fn read_type(kind: u8) -> Result<GroupType, OfError> {
    Ok(match kind {
        0 => GroupType::All,
        1 => GroupType::Select,
        2 => GroupType::Indirect,
        3 => GroupType::FastFailover,
        _ => return Err(error::OFPGMFC_BAD_TYPE),
    })
}

pub(super) fn read_group_mod(mut r: Reader<'_>) -> Result<GroupMod, OfError> {
    let command = match r.u16()? {
        0 => GroupCommand::Add,
        1 => GroupCommand::Modify,
        2 => GroupCommand::Delete,
        _ => return Err(error::OFPGMFC_BAD_COMMAND),
    };
    let kind = read_type(r.u8()?)?;
    r.skip(1)?;
    let group = GroupId(r.u32()?);
    let buckets = read_buckets(r)?;
    if command != GroupCommand::Delete {
        check_group(kind, group, &buckets)?;
    }
    Ok(GroupMod {
        command,
        kind,
        group,
        command_bucket_id: 0,
        buckets,
        selection: None,
        properties: Vec::new(),
    })
}

/// What makes a group wrong whatever else the switch holds.
fn check_group(kind: GroupType, group: GroupId, buckets: &[Bucket]) -> Result<(), OfError> {
    let one_only = kind == GroupType::Indirect && buckets.len() != 1;
    if group > GroupId::MAX || one_only {
        return Err(error::OFPGMFC_INVALID_GROUP);
    }
    for bucket in buckets {
        let watched = bucket.watch_port != PortNo::ANY || bucket.watch_group != GroupId::ANY;
        if kind == GroupType::FastFailover && !watched {
            return Err(error::OFPGMFC_BAD_WATCH);
        }
        check::list(&bucket.actions, Place::Bucket)?;
    }
    Ok(())
}

fn read_buckets(mut r: Reader<'_>) -> Result<Vec<Bucket>, OfError> {
    let mut buckets = Vec::new();
    while !r.is_empty() {
        let mut head = r.failing(error::OFPGMFC_BAD_BUCKET);
        let length = usize::from(head.peek_u16()?);
        if length < 16 || length % 8 != 0 {
            return Err(error::OFPGMFC_BAD_BUCKET);
        }
        let mut body = head.sub(length)?;
        r.skip(length)?;
        body.skip(2)?;
        let bucket = Bucket {
            // Numbers of their own come with 1.5.
            id: u32::try_from(buckets.len()).unwrap_or(u32::MAX),
            weight: body.u16()?,
            watch_port: PortNo(body.u32()?),
            watch_group: GroupId(body.u32()?),
            actions: {
                body.skip(4)?;
                read_actions(body)?
            },
            properties: Vec::new(),
        };
        buckets.push(bucket);
    }
    Ok(buckets)
}

pub(super) fn write_group_mod(w: &mut Writer<'_>, m: &GroupMod) -> Result<(), EncodeError> {
    if matches!(
        m.command,
        GroupCommand::InsertBucket | GroupCommand::RemoveBucket
    ) {
        return w.unsupported("insertion and removal of buckets");
    }
    if m.selection.is_some() {
        return w.unsupported("a selection method for groups");
    }
    w.u16(m.command as u16);
    w.u8(m.kind as u8);
    w.u8(0);
    w.u32(m.group.0);
    write_buckets(w, &m.buckets)
}

fn write_buckets(w: &mut Writer<'_>, buckets: &[Bucket]) -> Result<(), EncodeError> {
    for bucket in buckets {
        let start = w.len();
        w.u16(0);
        w.u16(bucket.weight);
        w.u32(bucket.watch_port.0);
        w.u32(bucket.watch_group.0);
        w.zeros(4);
        write_actions(w, &bucket.actions)?;
        w.patch_length(start, start, "bucket")?;
    }
    Ok(())
}

/// Reads one entry of OFPMP_GROUP_DESC.
pub(super) fn read_desc(r: &mut Reader<'_>) -> Result<GroupDesc, OfError> {
    let length = usize::from(r.peek_u16()?);
    let mut body = r.sub(length)?;
    body.skip(2)?;
    let kind = read_type(body.u8()?)?;
    body.skip(1)?;
    let group = GroupId(body.u32()?);
    Ok(GroupDesc {
        group,
        kind,
        buckets: read_buckets(body)?,
        selection: None,
        properties: Vec::new(),
    })
}

pub(super) fn write_desc(w: &mut Writer<'_>, m: &GroupDesc) -> Result<(), EncodeError> {
    let start = w.len();
    w.u16(0);
    w.u8(m.kind as u8);
    w.u8(0);
    w.u32(m.group.0);
    write_buckets(w, &m.buckets)?;
    w.patch_length(start, start, "group")
}
