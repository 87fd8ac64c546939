//! Groups (OpenFlow 1.3.5, 7.3.4.2; 1.5.1, 7.3.4.3).

use net::{GroupId, PortNo};

use super::actions::{read_actions, write_actions};
use super::{EncodeError, Reader, Writer, oxm, property};
use crate::check::{self, Place};
use crate::error::{self, OfError};
use crate::model::{BUCKET_ALL, BUCKET_MAX, Bucket, GroupCommand, GroupMod, GroupType, Selection};
use crate::msg::{GroupDesc, RawProperty};
use crate::{Match, Version};

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
    let later = r.version >= Version::V1_5;
    let command = match r.u16()? {
        0 => GroupCommand::Add,
        1 => GroupCommand::Modify,
        2 => GroupCommand::Delete,
        3 if later => GroupCommand::InsertBucket,
        5 if later => GroupCommand::RemoveBucket,
        0x8000 => GroupCommand::AddOrModify,
        _ => return Err(error::OFPGMFC_BAD_COMMAND),
    };
    let kind = read_type(r.u8()?)?;
    r.skip(1)?;
    let mut m = GroupMod {
        command,
        kind,
        group: GroupId(r.u32()?),
        command_bucket_id: BUCKET_ALL,
        buckets: Vec::new(),
        selection: None,
        properties: Vec::new(),
    };
    if later {
        let length = usize::from(r.u16()?);
        r.skip(2)?;
        m.command_bucket_id = r.u32()?;
        if !command.takes_bucket(m.command_bucket_id) {
            return Err(error::OFPGMFC_BAD_BUCKET);
        }
        m.buckets = read_numbered_buckets(r.sub(length)?, kind)?;
        (m.selection, m.properties) = read_properties(r)?;
        check_selection(&m)?;
    } else {
        m.buckets = read_buckets(r)?;
    }
    check_group(&m)?;
    Ok(m)
}

/// A selection method is for select groups, when they are made (netronome-ext.h).
fn check_selection(m: &GroupMod) -> Result<(), OfError> {
    use GroupCommand as C;
    let Some(selection) = &m.selection else {
        return Ok(());
    };
    let makes = matches!(m.command, C::Add | C::Modify | C::AddOrModify);
    let known = match selection.method.as_str() {
        "hash" => true,
        "dp_hash" => selection.fields.is_empty(),
        _ => false,
    };
    if m.kind == GroupType::Select && makes && known {
        Ok(())
    } else {
        Err(error::OFPBPC_BAD_VALUE)
    }
}

/// What makes a group wrong whatever else the switch holds.
fn check_group(m: &GroupMod) -> Result<(), OfError> {
    let fills = match m.command {
        GroupCommand::Delete => return Ok(()),
        GroupCommand::RemoveBucket if m.buckets.is_empty() => return Ok(()),
        GroupCommand::RemoveBucket => return Err(error::OFPGMFC_BAD_BUCKET),
        GroupCommand::InsertBucket => false,
        GroupCommand::Add | GroupCommand::Modify | GroupCommand::AddOrModify => true,
    };
    let one_only = m.kind == GroupType::Indirect && fills && m.buckets.len() != 1;
    if m.group > GroupId::MAX || one_only {
        return Err(error::OFPGMFC_INVALID_GROUP);
    }
    for bucket in &m.buckets {
        let watched = bucket.watch_port != PortNo::ANY || bucket.watch_group != GroupId::ANY;
        if m.kind == GroupType::FastFailover && !watched {
            return Err(error::OFPGMFC_BAD_WATCH);
        }
        check::list(&bucket.actions, Place::Bucket)?;
    }
    Ok(())
}

/// Buckets before 1.5.
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

/// OFPGBPT_*.
mod bucket {
    pub(super) const WEIGHT: u16 = 0;
    pub(super) const WATCH_PORT: u16 = 1;
    pub(super) const WATCH_GROUP: u16 = 2;
}

/// Buckets of 1.5: with a number, and properties behind the actions.
fn read_numbered_buckets(r: Reader<'_>, kind: GroupType) -> Result<Vec<Bucket>, OfError> {
    let mut r = r.failing(error::OFPGMFC_BAD_BUCKET);
    let mut buckets: Vec<Bucket> = Vec::new();
    while !r.is_empty() {
        let (length, actions) = (usize::from(r.u16()?), usize::from(r.u16()?));
        let mut body = r.sub(length.checked_sub(4).ok_or(error::OFPGMFC_BAD_BUCKET)?)?;
        let mut bucket = Bucket {
            id: body.u32()?,
            weight: kind.default_weight(),
            watch_port: PortNo::ANY,
            watch_group: GroupId::ANY,
            actions: read_actions(body.sub(actions)?)?,
            properties: Vec::new(),
        };
        read_bucket_properties(&mut bucket, body)?;
        if bucket.id > BUCKET_MAX || buckets.iter().any(|b| b.id == bucket.id) {
            return Err(error::OFPGMFC_BAD_BUCKET);
        }
        buckets.push(bucket);
    }
    Ok(buckets)
}

fn read_bucket_properties(bucket: &mut Bucket, mut r: Reader<'_>) -> Result<(), OfError> {
    let (mut weight, mut port, mut group) = (None, None, None);
    while let Some((kind, body)) = property::next(&mut r)? {
        match kind {
            bucket::WEIGHT => property::once(&mut weight, property::short(body)?)?,
            bucket::WATCH_PORT => property::once(&mut port, property::number(body)?)?,
            bucket::WATCH_GROUP => property::once(&mut group, property::number(body)?)?,
            _ => bucket.properties.push(property::experimenter(kind, body)?),
        }
    }
    bucket.weight = weight.unwrap_or(bucket.weight);
    bucket.watch_port = port.map_or(bucket.watch_port, PortNo);
    bucket.watch_group = group.map_or(bucket.watch_group, GroupId);
    Ok(())
}

/// Netronome's number, under which Open vSwitch has its selection methods.
const NETRONOME: u32 = 0x0000_154d;
/// NTRT_SELECTION_METHOD.
const SELECTION_METHOD: u32 = 1;
/// Bytes for the method's name.
const METHOD_LEN: usize = 16;

/// The properties of a group: how it selects, and those that are not known.
fn read_properties(mut r: Reader<'_>) -> Result<(Option<Selection>, Vec<RawProperty>), OfError> {
    let (mut selection, mut others) = (None, Vec::new());
    while let Some((kind, body)) = property::next(&mut r)? {
        let property = property::experimenter(kind, body)?;
        if property.experimenter() == Some((NETRONOME, SELECTION_METHOD)) {
            property::once(&mut selection, read_selection(body)?)?;
        } else {
            others.push(property);
        }
    }
    Ok((selection, others))
}

fn read_selection(mut r: Reader<'_>) -> Result<Selection, OfError> {
    r.skip(12)?;
    let method = r.take(METHOD_LEN)?;
    let end = method.iter().position(|byte| *byte == 0);
    let method = method.get(..end.ok_or(error::OFPBPC_BAD_VALUE)?);
    let method = String::from_utf8_lossy(method.unwrap_or_default()).into_owned();
    let param = r.u64()?;
    Ok(Selection {
        method,
        param,
        fields: read_hashed(r)?,
    })
}

/// The fields to hash: without mask bit, since the value is the mask.
fn read_hashed(mut r: Reader<'_>) -> Result<Match, OfError> {
    let mut fields = Match::any();
    while !r.is_empty() {
        let entry = oxm::read_field(&mut r)?;
        let ones = entry.field.info().slot.ones();
        if entry.mask != ones {
            return Err(error::OFPBMC_BAD_MASK);
        }
        if fields.overlaps(entry.field) {
            return Err(error::OFPBMC_DUP_FIELD);
        }
        fields.set(entry.field, entry.value, entry.value);
    }
    Ok(fields)
}

fn write_properties(
    w: &mut Writer<'_>,
    selection: Option<&Selection>,
    others: &[RawProperty],
) -> Result<(), EncodeError> {
    if let Some(selection) = selection {
        if selection.method.len() >= METHOD_LEN {
            let what = "the name of the selection method";
            return Err(EncodeError::TooLong { what });
        }
        property::write(w, RawProperty::EXPERIMENTER, |w| {
            w.u32(NETRONOME);
            w.u32(SELECTION_METHOD);
            w.zeros(4);
            w.text(&selection.method, METHOD_LEN);
            w.u64(selection.param);
            for mut entry in selection.fields.iter() {
                entry.value = entry.mask;
                entry.mask = entry.field.info().slot.ones();
                oxm::write_field(w, entry);
            }
        })?;
    }
    property::write_raw(w, others)
}

pub(super) fn write_group_mod(w: &mut Writer<'_>, m: &GroupMod) -> Result<(), EncodeError> {
    use GroupCommand as C;
    let on_buckets = matches!(m.command, C::InsertBucket | C::RemoveBucket);
    w.u16(m.command as u16);
    w.u8(m.kind as u8);
    w.u8(0);
    w.u32(m.group.0);
    if w.version < Version::V1_5 {
        if on_buckets {
            return w.unsupported("insertion and removal of buckets");
        }
        if m.selection.is_some() {
            return w.unsupported("a selection method for groups");
        }
        property::none(w, &m.properties)?;
        return write_buckets(w, &m.buckets);
    }
    let length_at = w.len();
    w.zeros(4);
    w.u32(if on_buckets {
        m.command_bucket_id
    } else {
        BUCKET_ALL
    });
    write_numbered_buckets(w, length_at, m.kind, &m.buckets)?;
    write_properties(w, m.selection.as_ref(), &m.properties)
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

/// Writes buckets, and the bytes they take to `length_at`.
fn write_numbered_buckets(
    w: &mut Writer<'_>,
    length_at: usize,
    kind: GroupType,
    buckets: &[Bucket],
) -> Result<(), EncodeError> {
    let all = w.len();
    for bucket in buckets {
        let start = w.len();
        w.zeros(4);
        w.u32(bucket.id);
        let actions = w.len();
        write_actions(w, &bucket.actions)?;
        w.patch_length(start + 2, actions, "list of actions")?;
        // Open vSwitch gives the weight of every bucket of a select group.
        if kind == GroupType::Select || bucket.weight != 0 {
            property::write(w, bucket::WEIGHT, |w| {
                w.u16(bucket.weight);
                w.zeros(2);
            })?;
        }
        if bucket.watch_port != PortNo::ANY {
            property::write(w, bucket::WATCH_PORT, |w| w.u32(bucket.watch_port.0))?;
        }
        if bucket.watch_group != GroupId::ANY {
            property::write(w, bucket::WATCH_GROUP, |w| w.u32(bucket.watch_group.0))?;
        }
        property::write_raw(w, &bucket.properties)?;
        w.patch_length(start, start, "bucket")?;
    }
    w.patch_length(length_at, all, "list of buckets")
}

/// Reads one entry of OFPMP_GROUP_DESC.
pub(super) fn read_desc(r: &mut Reader<'_>) -> Result<GroupDesc, OfError> {
    let length = usize::from(r.peek_u16()?);
    let mut body = r.sub(length)?;
    body.skip(2)?;
    let kind = read_type(body.u8()?)?;
    body.skip(1)?;
    let mut desc = GroupDesc {
        group: GroupId(body.u32()?),
        kind,
        buckets: Vec::new(),
        selection: None,
        properties: Vec::new(),
    };
    if r.version < Version::V1_5 {
        desc.buckets = read_buckets(body)?;
        return Ok(desc);
    }
    let length = usize::from(body.u16()?);
    body.skip(6)?;
    desc.buckets = read_numbered_buckets(body.sub(length)?, kind)?;
    (desc.selection, desc.properties) = read_properties(body)?;
    Ok(desc)
}

pub(super) fn write_desc(w: &mut Writer<'_>, m: &GroupDesc) -> Result<(), EncodeError> {
    let start = w.len();
    w.u16(0);
    w.u8(m.kind as u8);
    w.u8(0);
    w.u32(m.group.0);
    if w.version < Version::V1_5 {
        // How it selects cannot be told; the group is still told of.
        write_buckets(w, &m.buckets)?;
    } else {
        let length_at = w.len();
        w.zeros(8);
        write_numbered_buckets(w, length_at, m.kind, &m.buckets)?;
        write_properties(w, m.selection.as_ref(), &m.properties)?;
    }
    w.patch_length(start, start, "group")
}
