//! Match fields on the wire: OXM and NXM headers, values and masks (OpenFlow 1.3.5, 7.2.3).

use super::{EncodeError, Reader, Writer};
use crate::check::{Headers, has_connection};
use crate::error::{self, OfError};
use crate::field::{CLASS_BASIC, CLASS_EXPERIMENTER, Prereq};
use crate::flow_match::MatchField;
use crate::msg::ONF;
use crate::{Field, Match, Version};

/// OFPMT_OXM.
pub(super) const MATCH_OXM: u16 = 1;

/// A field's header, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OxmHeader {
    pub(super) class: u16,
    pub(super) code: u8,
    pub(super) masked: bool,
    /// Bytes of value and mask, without the experimenter's number.
    pub(super) len: u8,
    pub(super) experimenter: Option<u32>,
    /// Number of the extension that the ONF put behind the experimenter at first.
    pub(super) extension: Option<u16>,
}

/// Extension 256, pbb_uca for 1.3.
const EXT_PBB_UCA: u16 = 2560;

impl OxmHeader {
    /// Reads four bytes, eight for an experimenter's field.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, OfError> {
        let (class, code, mut len) = (r.u16()?, r.u8()?, r.u8()?);
        let mut experimenter = None;
        if class == CLASS_EXPERIMENTER {
            experimenter = Some(r.u32()?);
            len = len.checked_sub(4).ok_or(error::OFPBMC_BAD_LEN)?;
        }
        let mut extension = None;
        if experimenter == Some(ONF) && code >> 1 == 0 && r.peek_u16() == Ok(EXT_PBB_UCA) {
            extension = Some(r.u16()?);
            len = len.checked_sub(2).ok_or(error::OFPBMC_BAD_LEN)?;
        }
        Ok(OxmHeader {
            class,
            code: code >> 1,
            masked: code & 1 == 1,
            len,
            experimenter,
            extension,
        })
    }

    /// The header of a field in a version.
    pub(super) fn of(field: Field, masked: bool, version: Version) -> Self {
        let info = field.info();
        let (class, code) = info.oxm.or(info.nxm).unwrap_or_default();
        // Extensions 109 (TCP flags) and 233 (output of the action set) went into the standard
        // with 1.5; before, they are the ONF's.
        let extension = class == CLASS_BASIC && matches!(code, 42 | 43);
        let experimenter = (extension && version < Version::V1_5).then_some(ONF);
        // PBB's UCA went into the standard with 1.4.
        if field == Field::PbbUca && version < Version::V1_4 {
            return OxmHeader {
                class: CLASS_EXPERIMENTER,
                code: 0,
                masked,
                len: info.wire_bytes << u8::from(masked),
                experimenter: Some(ONF),
                extension: Some(EXT_PBB_UCA),
            };
        }
        OxmHeader {
            class: if experimenter.is_some() {
                CLASS_EXPERIMENTER
            } else {
                class
            },
            code,
            masked,
            len: info.wire_bytes << u8::from(masked),
            experimenter,
            extension: None,
        }
    }

    pub(super) fn write(self, w: &mut Writer<'_>) {
        w.u16(self.class);
        w.u8(self.code << 1 | u8::from(self.masked));
        w.u8(self.wire_len());
        if let Some(experimenter) = self.experimenter {
            w.u32(experimenter);
        }
        if let Some(extension) = self.extension {
            w.u16(extension);
        }
    }

    /// The length as the header gives it: what tells whose field it is counts.
    pub(super) fn wire_len(self) -> u8 {
        let experimenter = if self.experimenter.is_some() { 4 } else { 0 };
        let extension = if self.extension.is_some() { 2 } else { 0 };
        self.len + experimenter + extension
    }

    /// The field, if we know it.
    pub(super) fn field(self) -> Option<Field> {
        match self.experimenter {
            None => Field::from_code(self.class, self.code),
            Some(ONF) if matches!(self.code, 42 | 43) => Field::from_code(CLASS_BASIC, self.code),
            Some(ONF) if self.extension == Some(EXT_PBB_UCA) => Some(Field::PbbUca),
            Some(_) => None,
        }
    }
}

/// Reads one field with its value, and its mask if it may have one.
pub(super) fn read_field(r: &mut Reader<'_>) -> Result<MatchField, OfError> {
    let entry = read_masked(r)?;
    let info = entry.field.info();
    if !info.maskable && entry.mask != info.slot.ones() && entry.mask != 0 {
        return Err(error::OFPBMC_BAD_MASK);
    }
    Ok(entry)
}

/// Reads one field with its value and whatever mask; bits of the value outside the mask are
/// refused.
pub(super) fn read_masked(r: &mut Reader<'_>) -> Result<MatchField, OfError> {
    let header = OxmHeader::read(r)?;
    let mut payload = r.sub(usize::from(header.len))?;
    let field = header.field().ok_or(error::OFPBMC_BAD_FIELD)?;
    let info = field.info();
    let mut bytes = usize::from(info.wire_bytes);
    if field.is_variable() {
        bytes = bytes.min(payload.len() >> u8::from(header.masked)).max(1);
    }
    if payload.len() != bytes << u8::from(header.masked) {
        return Err(error::OFPBMC_BAD_LEN);
    }
    let ones = info.slot.ones();
    let value = wide(&mut payload, bytes)?;
    let mask = if header.masked {
        let mask = low(&mut payload, bytes)?;
        if value & !mask != 0 {
            return Err(error::OFPBMC_BAD_WILDCARDS);
        }
        // Bits beyond the field's width may be ones: they match what is always zero.
        mask & ones
    } else {
        ones
    };
    if value > ones {
        return Err(error::OFPBMC_BAD_VALUE);
    }
    if field == Field::IpTos && value & 3 != 0 {
        return Err(error::OFPBMC_BAD_VALUE);
    }
    Ok(MatchField { field, value, mask })
}

/// A value that may have more bytes than fit, if those are zero.
fn wide(r: &mut Reader<'_>, bytes: usize) -> Result<u128, OfError> {
    r.zeros(
        bytes.saturating_sub(size_of::<u128>()),
        error::OFPBMC_BAD_VALUE,
    )?;
    r.integer(bytes.min(size_of::<u128>()))
}

/// The low end of a value.
fn low(r: &mut Reader<'_>, bytes: usize) -> Result<u128, OfError> {
    r.skip(bytes.saturating_sub(size_of::<u128>()))?;
    r.integer(bytes.min(size_of::<u128>()))
}

/// How strictly a match is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Prerequisites before what needs them.
    Prerequisites,
    /// Fields that the packet had; unknown ones are passed over.
    Loose,
}

/// Reads `ofp_match` with its padding.
pub(super) fn read_match(r: &mut Reader<'_>, strictness: Strictness) -> Result<Match, OfError> {
    let (kind, length) = (r.u16()?, usize::from(r.u16()?));
    if kind != MATCH_OXM {
        return Err(error::OFPBMC_BAD_TYPE);
    }
    let payload = length.checked_sub(4).ok_or(error::OFPBMC_BAD_LEN)?;
    let mut fields = r.failing(error::OFPBMC_BAD_LEN);
    let list = fields.sub(payload)?;
    fields.skip(length.next_multiple_of(8) - length)?;
    r.skip(payload + length.next_multiple_of(8) - length)?;
    read_fields(list, strictness)
}

/// Reads fields that take `length` bytes, without the head of `ofp_match`, and padding to eight.
pub(super) fn read_bare_match(
    r: &mut Reader<'_>,
    length: usize,
    strictness: Strictness,
) -> Result<Match, OfError> {
    let mut whole = r.failing(error::OFPBMC_BAD_LEN);
    let fields = whole.sub(length)?;
    whole.skip(length.next_multiple_of(8) - length)?;
    r.skip(length.next_multiple_of(8))?;
    read_fields(fields, strictness)
}

/// Reads fields until nothing is left.
pub(super) fn read_fields(mut r: Reader<'_>, strictness: Strictness) -> Result<Match, OfError> {
    let mut matching = Match::any();
    while !r.is_empty() {
        let entry = match read_field(&mut r) {
            Err(error::OFPBMC_BAD_FIELD) if strictness == Strictness::Loose => continue,
            other => other?,
        };
        if matching.overlaps(entry.field) {
            return Err(error::OFPBMC_DUP_FIELD);
        }
        let needs = entry.field.info().prereq;
        let checked = strictness == Strictness::Prerequisites && entry.mask != 0;
        if checked && needs != Prereq::None && !Headers::of(&matching).has(needs) {
            return Err(error::OFPBMC_BAD_PREREQ);
        }
        if checked && entry.field.is_original_tuple() && !has_connection(&matching) {
            return Err(error::OFPBMC_BAD_PREREQ);
        }
        matching.set(entry.field, entry.value, entry.mask);
    }
    Ok(matching)
}

/// Writes `ofp_match` with its padding.
pub(super) fn write_match(w: &mut Writer<'_>, matching: &Match) -> Result<(), EncodeError> {
    let start = w.len();
    w.u16(MATCH_OXM);
    w.u16(0);
    write_fields(w, matching);
    w.patch_length(start + 2, start, "match")?;
    w.pad8(start);
    Ok(())
}

/// Writes the fields, the standard's first, each class in ascending order: prerequisites come
/// before what needs them.
pub(super) fn write_fields(w: &mut Writer<'_>, matching: &Match) {
    let mut fields: Vec<MatchField> = matching.iter().collect();
    let rank = |f: &MatchField| {
        let header = OxmHeader::of(f.field, false, w.version);
        let standard = matches!(header.class, CLASS_BASIC | CLASS_EXPERIMENTER);
        (!standard, f.field.info().oxm, header.class, header.code)
    };
    fields.sort_by_key(rank);
    let tci = tci_form(matching);
    for entry in fields {
        match (entry.field, tci) {
            (Field::VlanVid, Some(_)) => {}
            (Field::VlanPcp, Some(tci)) => write_field(w, tci),
            _ => write_field(w, entry),
        }
    }
}

/// Priority bits that OXM cannot say, because it can match them whole only and behind a tag that
/// is matched: the whole tag as NXM_OF_VLAN_TCI.
fn tci_form(matching: &Match) -> Option<MatchField> {
    let pcp = matching.get(Field::VlanPcp)?;
    let vid = matching.get(Field::VlanVid);
    let tagged = vid.is_some_and(|vid| vid.value & vid.mask & 0x1000 != 0);
    if tagged && pcp.mask == 7 {
        return None;
    }
    let (value, mask) = vid.map_or((0, 0), |vid| (vid.value, vid.mask));
    Some(MatchField {
        field: Field::VlanTci,
        value: value | pcp.value << 13,
        mask: mask | pcp.mask << 13,
    })
}

/// Writes one field, with its mask unless that is all ones.
pub(super) fn write_field(w: &mut Writer<'_>, entry: MatchField) {
    let info = entry.field.info();
    let masked = entry.mask != info.slot.ones();
    let mut bytes = usize::from(info.wire_bytes);
    let mut header = OxmHeader::of(entry.field, masked, w.version);
    if entry.field.is_variable() {
        let significant = if masked { entry.mask } else { entry.value };
        bytes = ((u128::BITS - significant.leading_zeros()).div_ceil(8) as usize).max(1);
        header.len = (bytes << u8::from(masked)) as u8;
    }
    header.write(w);
    w.integer(entry.value, bytes);
    if masked {
        w.integer(entry.mask, bytes);
    }
}

/// Actions name fields by short headers where there are any; extension 256 was for matches.
fn name_version(version: Version) -> Version {
    version.max(Version::V1_4)
}

/// A header without value: the name of a field in an action. An experimenter's takes eight bytes.
pub(super) fn write_name(w: &mut Writer<'_>, field: Field) {
    OxmHeader::of(field, false, name_version(w.version)).write(w);
}

/// The same under its older NXM name, where it has one: `learn` is written so.
pub(super) fn write_nxm_name(w: &mut Writer<'_>, field: Field) {
    match field.info().nxm {
        Some((class, code)) => OxmHeader {
            class,
            code,
            ..OxmHeader::of(field, false, Version::V1_5)
        }
        .write(w),
        None => write_name(w, field),
    }
}

/// True where a name takes eight bytes.
pub(super) fn has_long_name(field: Field, version: Version) -> bool {
    let version = name_version(version);
    OxmHeader::of(field, false, version).experimenter.is_some()
}

/// The field that a header names.
pub(super) fn read_name(r: &mut Reader<'_>) -> Result<Field, OfError> {
    let header = OxmHeader::read(r)?;
    let field = header.field().ok_or(error::OFPBMC_BAD_FIELD)?;
    // Names are written with the length of the value; Open vSwitch refuses others too.
    let right = header.len == field.info().wire_bytes || field.is_variable();
    if header.masked || !right {
        return Err(error::OFPBMC_BAD_FIELD);
    }
    Ok(field)
}
