//! `encap` and `decap` on the wire (Open vSwitch's ofp-actions.c and ofp-ed-props.h).

use super::actions::{begin_nicira, end_nicira};
use super::{EncodeError, Reader, Writer};
use crate::Action;
use crate::encap::{Encap, EncapProperty, packet_type};
use crate::error::{self, OfError};

/// OFPPPC_NSH.
const CLASS_NSH: u16 = 4;
/// OFPPPT_PROP_NSH_MDTYPE.
const MD_TYPE: u8 = 1;
/// OFPPPT_PROP_NSH_TLV.
const TLV: u8 = 2;
/// Bytes of a property before its value.
const HEADER: usize = 4;

pub(super) fn read_encap(mut r: Reader<'_>) -> Result<Action, OfError> {
    let (hdr_size, packet_type) = (r.u16()?, r.u32()?);
    let known = [
        packet_type::ETHERNET,
        packet_type::NSH,
        packet_type::MPLS,
        packet_type::MPLS_MULTICAST,
    ];
    if !known.contains(&packet_type) {
        return Err(error::NXBAC_BAD_HEADER_TYPE);
    }
    let mut properties = Vec::new();
    while !r.is_empty() {
        properties.push(read_property(&mut r)?);
    }
    Ok(Action::Encap(Box::new(Encap {
        packet_type,
        hdr_size,
        properties,
    })))
}

fn read_property(r: &mut Reader<'_>) -> Result<EncapProperty, OfError> {
    let (class, kind, len) = (r.u16()?, r.u8()?, usize::from(r.u8()?));
    let value = len.checked_sub(HEADER).ok_or(error::OFPBAC_BAD_LEN)?;
    let padding = len.next_multiple_of(8) - len;
    let mut body = r.sub(value)?;
    r.skip(padding)?;
    match (class, kind) {
        (CLASS_NSH, MD_TYPE) if value <= HEADER => {
            let md_type = body.u8().map_err(|_| error::NXBAC_BAD_ED_PROP)?;
            Ok(EncapProperty::NshMdType(md_type))
        }
        (CLASS_NSH, TLV) => {
            let bad = |_| error::NXBAC_BAD_ED_PROP;
            let class = body.u16().map_err(bad)?;
            let (kind, len) = (body.u8().map_err(bad)?, body.u8().map_err(bad)?);
            let len = usize::from(len);
            if body.len() != len.next_multiple_of(8) {
                return Err(error::NXBAC_BAD_ED_PROP);
            }
            let data = body.sub(len)?.rest().to_vec();
            Ok(EncapProperty::NshTlv { class, kind, data })
        }
        (CLASS_NSH, MD_TYPE) => Err(error::NXBAC_BAD_ED_PROP),
        _ => Err(error::NXBAC_UNKNOWN_ED_PROP),
    }
}

pub(super) fn read_decap(mut r: Reader<'_>) -> Result<Action, OfError> {
    r.skip(2)?;
    let packet_type = r.u32()?;
    if !r.is_empty() {
        return Err(error::NXBAC_UNKNOWN_ED_PROP);
    }
    Ok(Action::Decap {
        packet_type: (packet_type != packet_type::NEXT).then_some(packet_type),
    })
}

pub(super) fn write_encap(
    w: &mut Writer<'_>,
    subtype: u16,
    encap: &Encap,
) -> Result<(), EncodeError> {
    let start = begin_nicira(w, subtype);
    w.u16(encap.hdr_size);
    w.u32(encap.packet_type);
    for property in &encap.properties {
        w.u16(CLASS_NSH);
        match property {
            EncapProperty::NshMdType(md_type) => {
                w.u8(MD_TYPE);
                w.u8(HEADER as u8 + 1);
                w.u8(*md_type);
            }
            EncapProperty::NshTlv { class, kind, data } => {
                let too_long = EncodeError::OutOfRange {
                    what: "metadata of a network service header (127 bytes)",
                };
                let len = u8::try_from(data.len()).ok().filter(|len| *len < 128);
                let len = len.ok_or(too_long)?;
                w.u8(TLV);
                w.u8(8 + len.next_multiple_of(8));
                w.u16(*class);
                w.u8(*kind);
                w.u8(len);
                w.bytes(data);
            }
        }
        w.pad8(start);
    }
    end_nicira(w, start)
}

pub(super) fn write_decap(
    w: &mut Writer<'_>,
    subtype: u16,
    packet_type: Option<u32>,
) -> Result<(), EncodeError> {
    let start = begin_nicira(w, subtype);
    w.zeros(2);
    w.u32(packet_type.unwrap_or(packet_type::NEXT));
    end_nicira(w, start)
}
