//! Instructions (OpenFlow 1.3.5, 7.2.3).

use net::{MeterId, TableId};

use super::actions::{read_actions, write_actions};
use super::{EncodeError, Reader, Writer};
use crate::error::{self, OfError};
use crate::{Action, Instructions, Version};

/// OFPIT_*.
mod kind {
    pub(super) const GOTO_TABLE: u16 = 1;
    pub(super) const WRITE_METADATA: u16 = 2;
    pub(super) const WRITE_ACTIONS: u16 = 3;
    pub(super) const APPLY_ACTIONS: u16 = 4;
    pub(super) const CLEAR_ACTIONS: u16 = 5;
    pub(super) const METER: u16 = 6;
    pub(super) const STAT_TRIGGER: u16 = 7;
    pub(super) const EXPERIMENTER: u16 = 0xffff;
}

/// Reads instructions until nothing is left.
pub(super) fn read_instructions(r: Reader<'_>) -> Result<Instructions, OfError> {
    let mut r = r.failing(error::OFPBIC_BAD_LEN);
    let mut found = Instructions::default();
    while !r.is_empty() {
        let (kind, length) = (r.u16()?, usize::from(r.u16()?));
        let payload = length.checked_sub(4).ok_or(error::OFPBIC_BAD_LEN)?;
        if length % 8 != 0 {
            return Err(error::OFPBIC_BAD_LEN);
        }
        let body = r.sub(payload)?;
        let seen = match kind {
            kind::GOTO_TABLE => found.goto_table.replace(read_goto(body)?).is_some(),
            kind::WRITE_METADATA => found.metadata.replace(read_metadata(body)?).is_some(),
            kind::WRITE_ACTIONS => found.write.replace(read_list(body)?).is_some(),
            kind::APPLY_ACTIONS => {
                found.apply = read_list(body)?;
                std::mem::replace(&mut found.has_apply, true)
            }
            kind::CLEAR_ACTIONS => {
                read_list(body).and_then(|list| match list.is_empty() {
                    true => Ok(()),
                    false => Err(error::OFPBIC_BAD_LEN),
                })?;
                std::mem::replace(&mut found.clear, true)
            }
            // An action from 1.5 on.
            kind::METER if r.version < Version::V1_5 => {
                found.meter.replace(read_meter(body)?).is_some()
            }
            kind::STAT_TRIGGER if r.version >= Version::V1_5 => {
                return Err(error::OFPBIC_UNSUP_INST);
            }
            kind::EXPERIMENTER => return Err(error::OFPBIC_BAD_EXPERIMENTER),
            _ => return Err(error::OFPBIC_UNKNOWN_INST),
        };
        if seen {
            return Err(error::OFPBIC_DUP_INST);
        }
    }
    if r.version >= Version::V1_5 && found.meter.is_none() {
        first_meter(&mut found);
    }
    Ok(found)
}

/// A meter that comes before every other action is what the instruction was before 1.5; it is one
/// thing in the model.
fn first_meter(found: &mut Instructions) {
    if let Some(Action::Meter(meter)) = found.apply.first() {
        found.meter = Some(*meter);
        found.apply.remove(0);
        found.has_apply = !found.apply.is_empty();
    }
}

fn read_goto(mut r: Reader<'_>) -> Result<TableId, OfError> {
    let table = TableId(r.u8()?);
    r.skip(3)?;
    r.end()?;
    Ok(table)
}

fn read_metadata(mut r: Reader<'_>) -> Result<(u64, u64), OfError> {
    r.skip(4)?;
    let (value, mask) = (r.u64()?, r.u64()?);
    r.end()?;
    Ok((value & mask, mask))
}

fn read_meter(mut r: Reader<'_>) -> Result<MeterId, OfError> {
    let meter = MeterId(r.u32()?);
    r.end()?;
    Ok(meter)
}

fn read_list(mut r: Reader<'_>) -> Result<Vec<Action>, OfError> {
    r.skip(4)?;
    read_actions(r)
}

/// Writes instructions in the order in which they are run.
pub(super) fn write_instructions(
    w: &mut Writer<'_>,
    instructions: &Instructions,
) -> Result<(), EncodeError> {
    let before_1_5 = w.version < Version::V1_5;
    match instructions.meter {
        Some(meter) if before_1_5 => {
            w.u16(kind::METER);
            w.u16(8);
            w.u32(meter.0);
        }
        _ => {}
    }
    let meter = instructions.meter.filter(|_| !before_1_5);
    if meter.is_some() || instructions.has_apply || !instructions.apply.is_empty() {
        let start = begin_list(w, kind::APPLY_ACTIONS);
        if let Some(meter) = meter {
            write_actions(w, &[Action::Meter(meter)])?;
        }
        end_list(w, start, &instructions.apply)?;
    }
    if instructions.clear {
        write_list(w, kind::CLEAR_ACTIONS, &[])?;
    }
    if let Some(actions) = &instructions.write {
        write_list(w, kind::WRITE_ACTIONS, actions)?;
    }
    if let Some((value, mask)) = instructions.metadata {
        w.u16(kind::WRITE_METADATA);
        w.u16(24);
        w.zeros(4);
        w.u64(value);
        w.u64(mask);
    }
    if let Some(table) = instructions.goto_table {
        w.u16(kind::GOTO_TABLE);
        w.u16(8);
        w.u8(table.0);
        w.zeros(3);
    }
    Ok(())
}

fn write_list(w: &mut Writer<'_>, kind: u16, actions: &[Action]) -> Result<(), EncodeError> {
    let start = begin_list(w, kind);
    end_list(w, start, actions)
}

fn begin_list(w: &mut Writer<'_>, kind: u16) -> usize {
    let start = w.len();
    w.u16(kind);
    w.u16(0);
    w.zeros(4);
    start
}

fn end_list(w: &mut Writer<'_>, start: usize, actions: &[Action]) -> Result<(), EncodeError> {
    write_actions(w, actions)?;
    w.patch_length(start + 2, start, "instruction")
}
