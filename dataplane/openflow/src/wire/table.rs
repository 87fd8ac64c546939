//! Configuration of tables (OpenFlow 1.3.5, 7.3.3; 1.5.1, 7.3.4.1, 7.3.5.17, 7.4.4).

use net::TableId;

use super::{EncodeError, Reader, Writer, property};
use crate::Version;
use crate::error::{self, OfError};
use crate::msg::{RawProperty, TableDesc, TableMod, TableReason, TableStatus, Vacancy};

/// OFPTMPT_EVICTION.
const EVICTION: u16 = 2;
/// OFPTMPT_VACANCY.
const VACANCY: u16 = 3;

/// What the properties of a modification or description say.
#[derive(Default)]
struct Properties {
    eviction: Option<u32>,
    vacancy: Option<Vacancy>,
    others: Vec<RawProperty>,
}

pub(super) fn read_mod(mut r: Reader<'_>) -> Result<TableMod, OfError> {
    let table = TableId(r.u8()?);
    r.skip(3)?;
    let config = r.u32()?;
    if r.version < Version::V1_4 {
        r.end()?;
    }
    let properties = read_properties(r)?;
    if let Some(vacancy) = properties.vacancy {
        // What is free now is for the switch to say.
        let Vacancy { down, up, current } = vacancy;
        if down > up || up > 100 || current != 0 {
            return Err(error::OFPBPC_BAD_VALUE);
        }
    }
    Ok(TableMod {
        table,
        config,
        eviction: properties.eviction,
        vacancy: properties.vacancy,
        properties: properties.others,
    })
}

fn read_properties(mut r: Reader<'_>) -> Result<Properties, OfError> {
    let mut found = Properties::default();
    while let Some((kind, mut body)) = property::next(&mut r)? {
        match kind {
            EVICTION => property::once(&mut found.eviction, property::number(body)?)?,
            VACANCY => {
                let vacancy = Vacancy {
                    down: body.u8()?,
                    up: body.u8()?,
                    current: body.u8()?,
                };
                body.skip(1)?;
                body.end()?;
                property::once(&mut found.vacancy, vacancy)?;
            }
            _ => found.others.push(property::experimenter(kind, body)?),
        }
    }
    Ok(found)
}

pub(super) fn write_mod(w: &mut Writer<'_>, m: &TableMod) -> Result<(), EncodeError> {
    w.u8(m.table.0);
    w.zeros(3);
    w.u32(m.config);
    if w.version < Version::V1_4 {
        if m.eviction.is_some() || m.vacancy.is_some() {
            return w.unsupported("eviction and vacancy of tables");
        }
        return property::none(w, &m.properties);
    }
    write_properties(w, m.eviction, m.vacancy, &m.properties)
}

fn write_properties(
    w: &mut Writer<'_>,
    eviction: Option<u32>,
    vacancy: Option<Vacancy>,
    others: &[RawProperty],
) -> Result<(), EncodeError> {
    if let Some(flags) = eviction {
        property::write(w, EVICTION, |w| w.u32(flags))?;
    }
    if let Some(vacancy) = vacancy {
        property::write(w, VACANCY, |w| {
            w.u8(vacancy.down);
            w.u8(vacancy.up);
            w.u8(vacancy.current);
            w.u8(0);
        })?;
    }
    property::write_raw(w, others)
}

/// Reads one entry of OFPMP_TABLE_DESC.
pub(super) fn read_desc(r: &mut Reader<'_>) -> Result<TableDesc, OfError> {
    let length = usize::from(r.peek_u16()?);
    let mut r = r.sub(length)?;
    r.skip(2)?;
    let table = TableId(r.u8()?);
    r.skip(1)?;
    let config = r.u32()?;
    let properties = read_properties(r)?;
    Ok(TableDesc {
        table,
        config,
        eviction: properties.eviction,
        vacancy: properties.vacancy,
        properties: properties.others,
    })
}

pub(super) fn write_desc(w: &mut Writer<'_>, m: &TableDesc) -> Result<(), EncodeError> {
    let start = w.len();
    w.u16(0);
    w.u8(m.table.0);
    w.u8(0);
    w.u32(m.config);
    write_properties(w, m.eviction, m.vacancy, &m.properties)?;
    w.patch_length(start, start, "table")
}

pub(super) fn read_status(mut r: Reader<'_>) -> Result<TableStatus, OfError> {
    let reason = match r.u8()? {
        3 => TableReason::VacancyDown,
        4 => TableReason::VacancyUp,
        _ => return Err(error::OFPBRC_BAD_TYPE),
    };
    r.skip(7)?;
    let desc = read_desc(&mut r)?;
    r.end()?;
    Ok(TableStatus { reason, desc })
}

pub(super) fn write_status(w: &mut Writer<'_>, m: &TableStatus) -> Result<(), EncodeError> {
    w.u8(m.reason as u8);
    w.zeros(7);
    write_desc(w, &m.desc)
}
