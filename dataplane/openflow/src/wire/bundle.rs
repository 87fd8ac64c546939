//! Bundles: native from 1.4 on, ONF extension 230 on 1.3 (OpenFlow 1.5.1, 7.3.9).

use super::{
    EncodeError, HEADER_LEN, Header, Reader, Writer, decode, encode_message, kind, property,
};
use crate::Version;
use crate::error::{self, OfError};
use crate::msg::{
    BundleAdd, BundleControl, BundleControlType, BundleFeatures, BundleFeaturesRequest, RawProperty,
};

/// OFPBPT_TIME and OFPTMPBF_TIME_CAPABILITY (1.5).
const TIME: u16 = 1;

/// Properties of bundles: a time from 1.5 on, and experimenters'.
fn read_properties(mut r: Reader<'_>) -> Result<Vec<RawProperty>, OfError> {
    let mut properties = Vec::new();
    while let Some((kind, body)) = property::next(&mut r)? {
        properties.push(match kind {
            TIME if r.version >= Version::V1_5 => property::raw(kind, body)?,
            _ => property::experimenter(kind, body)?,
        });
    }
    Ok(properties)
}

/// Reads what stands behind the header, or the experimenter's type.
pub(super) fn read_control(mut r: Reader<'_>) -> Result<BundleControl, OfError> {
    let bundle = r.u32()?;
    let kind = BundleControlType::from_wire(r.u16()?).ok_or(error::OFPBFC_BAD_TYPE)?;
    let flags = r.u16()?;
    Ok(BundleControl {
        bundle,
        kind,
        flags,
        properties: read_properties(r)?,
    })
}

pub(super) fn write_control(w: &mut Writer<'_>, m: &BundleControl) -> Result<(), EncodeError> {
    w.u32(m.bundle);
    w.u16(m.kind as u16);
    w.u16(m.flags);
    property::write_raw(w, &m.properties)
}

/// Reads what stands behind the header, or the experimenter's type.
pub(super) fn read_add(mut r: Reader<'_>) -> Result<BundleAdd, OfError> {
    let bundle = r.u32()?;
    r.skip(2)?;
    let flags = r.u16()?;
    let bytes = r.rest();
    let inner = Header::read(bytes).ok_or(error::OFPBFC_MSG_BAD_LEN)?;
    let length = usize::from(inner.length);
    let frame = bytes.get(..length).ok_or(error::OFPBFC_MSG_BAD_LEN)?;
    if length < HEADER_LEN {
        return Err(error::OFPBFC_MSG_BAD_LEN);
    }
    if inner.version != r.version.to_wire() {
        return Err(error::OFPBFC_MSG_UNSUP);
    }
    if !may_be_bundled(inner.kind) {
        return Err(error::OFPBFC_MSG_UNSUP);
    }
    let message = Box::new(decode(r.version, frame)?);
    // Padding is there only where properties are.
    r.skip(length)?;
    let padding = length.next_multiple_of(8) - length;
    r.skip(padding.min(r.len()))?;
    Ok(BundleAdd {
        bundle,
        flags,
        xid: inner.xid,
        message,
        properties: read_properties(r)?,
    })
}

/// Messages that change the switch, and packet-outs.
const fn may_be_bundled(kind: u8) -> bool {
    matches!(
        kind,
        kind::FLOW_MOD
            | kind::GROUP_MOD
            | kind::METER_MOD
            | kind::PORT_MOD
            | kind::TABLE_MOD
            | kind::PACKET_OUT
    )
}

pub(super) fn write_add(w: &mut Writer<'_>, m: &BundleAdd) -> Result<(), EncodeError> {
    w.u32(m.bundle);
    w.zeros(2);
    w.u16(m.flags);
    let start = w.len();
    encode_message(w, m.xid, &m.message)?;
    if !m.properties.is_empty() {
        w.pad8(start);
    }
    property::write_raw(w, &m.properties)
}

pub(super) fn read_features_request(mut r: Reader<'_>) -> Result<BundleFeaturesRequest, OfError> {
    let flags = r.u32()?;
    r.skip(4)?;
    Ok(BundleFeaturesRequest {
        flags,
        properties: read_properties(r)?,
    })
}

pub(super) fn write_features_request(
    w: &mut Writer<'_>,
    m: &BundleFeaturesRequest,
) -> Result<(), EncodeError> {
    w.u32(m.flags);
    w.zeros(4);
    property::write_raw(w, &m.properties)
}

pub(super) fn read_features(mut r: Reader<'_>) -> Result<BundleFeatures, OfError> {
    let capabilities = r.u16()?;
    r.skip(6)?;
    Ok(BundleFeatures {
        capabilities,
        properties: read_properties(r)?,
    })
}

pub(super) fn write_features(w: &mut Writer<'_>, m: &BundleFeatures) -> Result<(), EncodeError> {
    w.u16(m.capabilities);
    w.zeros(6);
    property::write_raw(w, &m.properties)
}
