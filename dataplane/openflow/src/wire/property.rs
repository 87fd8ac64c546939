//! Properties: type, length without padding, payload, padding to eight bytes (OpenFlow 1.5.1,
//! 7.2.1.1 and wherever structures end in a list of them).

use super::{EncodeError, Reader, Writer};
use crate::error::{self, OfError};
use crate::msg::RawProperty;

/// The next property's type and payload; none at the end.
pub(super) fn next<'a>(r: &mut Reader<'a>) -> Result<Option<(u16, Reader<'a>)>, OfError> {
    if r.is_empty() {
        return Ok(None);
    }
    let mut list = r.failing(error::OFPBPC_BAD_LEN);
    let (kind, length) = (list.u16()?, usize::from(list.u16()?));
    let payload = length.checked_sub(4).ok_or(error::OFPBPC_BAD_LEN)?;
    let body = list.sub(payload)?;
    list.skip(length.next_multiple_of(8) - length)?;
    r.skip(length.next_multiple_of(8))?;
    Ok(Some((kind, body)))
}

/// Keeps a property as it is. An experimenter's says who it is and what.
pub(super) fn raw(kind: u16, body: Reader<'_>) -> Result<RawProperty, OfError> {
    if kind >= RawProperty::EXPERIMENTER_SECOND && body.len() < 8 {
        return Err(error::OFPBPC_BAD_LEN);
    }
    Ok(RawProperty {
        kind,
        data: body.rest().to_vec(),
    })
}

/// Keeps an experimenter's property, refuses every other.
pub(super) fn experimenter(kind: u16, body: Reader<'_>) -> Result<RawProperty, OfError> {
    if kind != RawProperty::EXPERIMENTER {
        return Err(error::OFPBPC_BAD_TYPE);
    }
    raw(kind, body)
}

/// Reads properties of which none but experimenters' are known.
pub(super) fn all_experimenters(mut r: Reader<'_>) -> Result<Vec<RawProperty>, OfError> {
    let mut properties = Vec::new();
    while let Some((kind, body)) = next(&mut r)? {
        properties.push(experimenter(kind, body)?);
    }
    Ok(properties)
}

/// Fills a place that a property may fill once.
pub(super) fn once<T>(place: &mut Option<T>, value: T) -> Result<(), OfError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(error::OFPBPC_DUP_TYPE),
    }
}

/// A payload of one number of 32 bits.
pub(super) fn number(mut body: Reader<'_>) -> Result<u32, OfError> {
    let number = body.u32()?;
    body.end()?;
    Ok(number)
}

/// A payload of one number of 16 bits, and two bytes of padding that count.
pub(super) fn short(mut body: Reader<'_>) -> Result<u16, OfError> {
    let number = body.u16()?;
    body.skip(2)?;
    body.end()?;
    Ok(number)
}

/// Writes a property.
pub(super) fn write(
    w: &mut Writer<'_>,
    kind: u16,
    body: impl FnOnce(&mut Writer<'_>),
) -> Result<(), EncodeError> {
    write_as(w, kind, "a property", |w| {
        body(w);
        Ok(())
    })
}

/// Writes a property; `what` it is where it is too long.
pub(super) fn write_as(
    w: &mut Writer<'_>,
    kind: u16,
    what: &'static str,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = w.len();
    w.u16(kind);
    w.u16(0);
    body(w)?;
    w.patch_length(start + 2, start, what)?;
    w.pad8(start);
    Ok(())
}

/// Writes properties as they were read.
pub(super) fn write_raw(w: &mut Writer<'_>, properties: &[RawProperty]) -> Result<(), EncodeError> {
    for property in properties {
        write(w, property.kind, |w| w.bytes(&property.data))?;
    }
    Ok(())
}

/// Fails where a version has no place for properties that there are.
pub(super) fn none(w: &Writer<'_>, properties: &[RawProperty]) -> Result<(), EncodeError> {
    if properties.is_empty() {
        Ok(())
    } else {
        w.unsupported("those properties")
    }
}
