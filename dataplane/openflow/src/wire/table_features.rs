//! Table features (OpenFlow 1.3.5, 7.3.5.5).

use net::TableId;

use super::oxm::{self, OxmHeader, read_field};
use super::property::{once, raw, write_as, write_raw};
use super::{EncodeError, Reader, Writer};
use crate::Version;
use crate::error::{self, OfError};
use crate::field::CLASS_EXPERIMENTER;
use crate::msg::{
    FeatureAction, FeatureInstruction, FeatureOxm, FeaturesCommand, RawProperty, TableFeatures,
};

/// OFPTFPT_*; the list for the table-miss flow has the next number.
mod property {
    pub(super) const INSTRUCTIONS: u16 = 0;
    pub(super) const INSTRUCTIONS_MISS: u16 = 1;
    pub(super) const NEXT_TABLES: u16 = 2;
    pub(super) const NEXT_TABLES_MISS: u16 = 3;
    pub(super) const WRITE_ACTIONS: u16 = 4;
    pub(super) const WRITE_ACTIONS_MISS: u16 = 5;
    pub(super) const APPLY_ACTIONS: u16 = 6;
    pub(super) const APPLY_ACTIONS_MISS: u16 = 7;
    pub(super) const MATCH: u16 = 8;
    pub(super) const WILDCARDS: u16 = 10;
    pub(super) const WRITE_SETFIELD: u16 = 12;
    pub(super) const WRITE_SETFIELD_MISS: u16 = 13;
    pub(super) const APPLY_SETFIELD: u16 = 14;
    pub(super) const APPLY_SETFIELD_MISS: u16 = 15;
    pub(super) const SYNC_FROM: u16 = 16;
    pub(super) const WRITE_COPYFIELD: u16 = 18;
    pub(super) const WRITE_COPYFIELD_MISS: u16 = 19;
    pub(super) const APPLY_COPYFIELD: u16 = 20;
    pub(super) const APPLY_COPYFIELD_MISS: u16 = 21;
    pub(super) const PACKET_TYPES: u16 = 22;
}

/// Reads the features of one table.
pub(super) fn read(r: &mut Reader<'_>) -> Result<TableFeatures, OfError> {
    let length = usize::from(r.peek_u16()?);
    let mut r = r.sub(length)?.failing(error::OFPTFFC_BAD_LEN);
    r.skip(2)?;
    let mut features = TableFeatures {
        table: TableId(r.u8()?),
        ..TableFeatures::default()
    };
    let (command, bits) = (r.u8()?, r.u32()?);
    if r.version >= Version::V1_5 {
        features.features = bits;
        features.command = match command {
            0 => FeaturesCommand::Replace,
            1 => FeaturesCommand::Modify,
            2 => FeaturesCommand::Enable,
            3 => FeaturesCommand::Disable,
            _ => return Err(error::OFPTFFC_BAD_COMMAND),
        };
    }
    features.name = r.text(32)?;
    features.metadata_match = r.u64()?;
    features.metadata_write = r.u64()?;
    features.config = r.u32()?;
    features.max_entries = r.u32()?;
    while !r.is_empty() {
        let (kind, length) = (r.u16()?, usize::from(r.u16()?));
        let payload = length.checked_sub(4).ok_or(error::OFPTFFC_BAD_LEN)?;
        let body = r.sub(payload)?;
        r.skip((length.next_multiple_of(8) - length).min(r.len()))?;
        read_property(&mut features, kind, body)?;
    }
    Ok(features)
}

fn read_property(f: &mut TableFeatures, kind: u16, r: Reader<'_>) -> Result<(), OfError> {
    let repeated = match kind {
        property::INSTRUCTIONS => f.instructions.replace(read_instructions(r)?).is_some(),
        property::INSTRUCTIONS_MISS => f.instructions_miss.replace(read_instructions(r)?).is_some(),
        property::NEXT_TABLES => f.next_tables.replace(read_tables(r)).is_some(),
        property::NEXT_TABLES_MISS => f.next_tables_miss.replace(read_tables(r)).is_some(),
        property::WRITE_ACTIONS => f.write_actions.replace(read_actions(r)?).is_some(),
        property::WRITE_ACTIONS_MISS => f.write_actions_miss.replace(read_actions(r)?).is_some(),
        property::APPLY_ACTIONS => f.apply_actions.replace(read_actions(r)?).is_some(),
        property::APPLY_ACTIONS_MISS => f.apply_actions_miss.replace(read_actions(r)?).is_some(),
        property::MATCH => f.matching.replace(read_fields(r)?).is_some(),
        property::WILDCARDS => f.wildcards.replace(read_fields(r)?).is_some(),
        property::WRITE_SETFIELD => f.write_setfield.replace(read_fields(r)?).is_some(),
        property::WRITE_SETFIELD_MISS => f.write_setfield_miss.replace(read_fields(r)?).is_some(),
        property::APPLY_SETFIELD => f.apply_setfield.replace(read_fields(r)?).is_some(),
        property::APPLY_SETFIELD_MISS => f.apply_setfield_miss.replace(read_fields(r)?).is_some(),
        property::SYNC_FROM if r.version >= Version::V1_4 => {
            f.sync_from.replace(read_tables(r)).is_some()
        }
        property::WRITE_COPYFIELD..=property::PACKET_TYPES if r.version >= Version::V1_5 => {
            return read_later(f, kind, r);
        }
        RawProperty::EXPERIMENTER_SECOND.. => {
            f.properties.push(raw(kind, r)?);
            false
        }
        _ => return Err(error::OFPTFFC_BAD_TYPE),
    };
    if repeated {
        Err(error::OFPTFFC_BAD_ARGUMENT)
    } else {
        Ok(())
    }
}

/// What came with 1.5.
fn read_later(f: &mut TableFeatures, kind: u16, mut r: Reader<'_>) -> Result<(), OfError> {
    let place = match kind {
        property::WRITE_COPYFIELD => &mut f.write_copyfield,
        property::WRITE_COPYFIELD_MISS => &mut f.write_copyfield_miss,
        property::APPLY_COPYFIELD => &mut f.apply_copyfield,
        property::APPLY_COPYFIELD_MISS => &mut f.apply_copyfield_miss,
        _ => {
            let mut types = Vec::new();
            while !r.is_empty() {
                types.push(read_field(&mut r)?);
            }
            return once(&mut f.packet_types, types);
        }
    };
    once(place, read_fields(r)?)
}

fn read_instructions(mut r: Reader<'_>) -> Result<Vec<FeatureInstruction>, OfError> {
    let mut list = Vec::new();
    while !r.is_empty() {
        list.push(match read_kind(&mut r)? {
            (kind, None) => FeatureInstruction::Standard(kind),
            (_, Some(experimenter)) => FeatureInstruction::Experimenter(experimenter),
        });
    }
    Ok(list)
}

fn read_actions(mut r: Reader<'_>) -> Result<Vec<FeatureAction>, OfError> {
    let mut list = Vec::new();
    while !r.is_empty() {
        list.push(match read_kind(&mut r)? {
            (kind, None) => FeatureAction::Standard(kind),
            (_, Some(experimenter)) => FeatureAction::Experimenter(experimenter),
        });
    }
    Ok(list)
}

/// Type and length of an instruction or action, and an experimenter's number. Before 1.3.4 some
/// switches gave each eight bytes; the specification's four (no padding) are what is read here.
fn read_kind(r: &mut Reader<'_>) -> Result<(u16, Option<u32>), OfError> {
    let (kind, length) = (r.u16()?, usize::from(r.u16()?));
    let payload = length.checked_sub(4).ok_or(error::OFPTFFC_BAD_LEN)?;
    let mut body = r.sub(payload)?;
    if kind == 0xffff {
        return Ok((kind, Some(body.u32()?)));
    }
    Ok((kind, None))
}

fn read_tables(r: Reader<'_>) -> Vec<TableId> {
    r.rest().iter().copied().map(TableId).collect()
}

fn read_fields(mut r: Reader<'_>) -> Result<Vec<FeatureOxm>, OfError> {
    let mut list = Vec::new();
    while !r.is_empty() {
        let h = OxmHeader::read(&mut r)?;
        list.push(match h.field() {
            Some(field) => FeatureOxm::Field {
                field,
                masked: h.masked,
            },
            None => FeatureOxm::Unknown {
                header: u32::from_be_bytes([
                    (h.class >> 8) as u8,
                    h.class as u8,
                    h.code << 1 | u8::from(h.masked),
                    h.wire_len(),
                ]),
                experimenter: h.experimenter,
            },
        });
    }
    Ok(list)
}

/// Writes the features of one table.
pub(super) fn write(w: &mut Writer<'_>, f: &TableFeatures) -> Result<(), EncodeError> {
    let start = w.len();
    w.u16(0);
    w.u8(f.table.0);
    if w.version < Version::V1_5 {
        w.zeros(5);
    } else {
        w.u8(f.command as u8);
        w.u32(f.features);
    }
    w.text(&f.name, 32);
    w.u64(f.metadata_match);
    w.u64(f.metadata_write);
    w.u32(f.config);
    w.u32(f.max_entries);
    list(
        w,
        property::INSTRUCTIONS,
        &f.instructions,
        write_instruction,
    )?;
    list(
        w,
        property::INSTRUCTIONS_MISS,
        &f.instructions_miss,
        write_instruction,
    )?;
    let table = |w: &mut Writer<'_>, table: &TableId| w.u8(table.0);
    list(w, property::NEXT_TABLES, &f.next_tables, table)?;
    list(w, property::NEXT_TABLES_MISS, &f.next_tables_miss, table)?;
    for (kind, actions) in [
        (property::WRITE_ACTIONS, &f.write_actions),
        (property::WRITE_ACTIONS_MISS, &f.write_actions_miss),
        (property::APPLY_ACTIONS, &f.apply_actions),
        (property::APPLY_ACTIONS_MISS, &f.apply_actions_miss),
    ] {
        list(w, kind, actions, write_action)?;
    }
    for (kind, fields) in [
        (property::MATCH, &f.matching),
        (property::WILDCARDS, &f.wildcards),
        (property::WRITE_SETFIELD, &f.write_setfield),
        (property::WRITE_SETFIELD_MISS, &f.write_setfield_miss),
        (property::APPLY_SETFIELD, &f.apply_setfield),
        (property::APPLY_SETFIELD_MISS, &f.apply_setfield_miss),
    ] {
        list(w, kind, fields, write_field)?;
    }
    if w.version >= Version::V1_4 {
        list(w, property::SYNC_FROM, &f.sync_from, table)?;
    }
    if w.version >= Version::V1_5 {
        for (kind, fields) in [
            (property::WRITE_COPYFIELD, &f.write_copyfield),
            (property::WRITE_COPYFIELD_MISS, &f.write_copyfield_miss),
            (property::APPLY_COPYFIELD, &f.apply_copyfield),
            (property::APPLY_COPYFIELD_MISS, &f.apply_copyfield_miss),
        ] {
            list(w, kind, fields, write_field)?;
        }
        list(w, property::PACKET_TYPES, &f.packet_types, |w, entry| {
            oxm::write_field(w, *entry);
        })?;
    }
    write_raw(w, &f.properties)?;
    w.patch_length(start, start, "table features")
}

fn list<T>(
    w: &mut Writer<'_>,
    kind: u16,
    entries: &Option<Vec<T>>,
    write: impl Fn(&mut Writer<'_>, &T),
) -> Result<(), EncodeError> {
    let Some(entries) = entries else {
        return Ok(());
    };
    write_as(w, kind, "table feature", |w| {
        entries.iter().for_each(|entry| write(w, entry));
        Ok(())
    })
}

fn write_instruction(w: &mut Writer<'_>, instruction: &FeatureInstruction) {
    match instruction {
        FeatureInstruction::Standard(kind) => write_kind(w, *kind, None),
        FeatureInstruction::Experimenter(id) => write_kind(w, 0xffff, Some(*id)),
    }
}

fn write_action(w: &mut Writer<'_>, action: &FeatureAction) {
    match action {
        FeatureAction::Standard(kind) => write_kind(w, *kind, None),
        FeatureAction::Experimenter(id) => write_kind(w, 0xffff, Some(*id)),
    }
}

fn write_kind(w: &mut Writer<'_>, kind: u16, experimenter: Option<u32>) {
    w.u16(kind);
    w.u16(if experimenter.is_some() { 8 } else { 4 });
    if let Some(experimenter) = experimenter {
        w.u32(experimenter);
    }
}

fn write_field(w: &mut Writer<'_>, oxm: &FeatureOxm) {
    match *oxm {
        FeatureOxm::Field { field, masked } => OxmHeader::of(field, masked, w.version).write(w),
        FeatureOxm::Unknown {
            header,
            experimenter,
        } => {
            w.u32(header);
            if header >> 16 == u32::from(CLASS_EXPERIMENTER) {
                w.u32(experimenter.unwrap_or(0));
            }
        }
    }
}
