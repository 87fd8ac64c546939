//! `multipath`, `bundle`, `bundle_load` and `output(port=,max_len=)` on the wire (nx_action_multipath,
//! nx_action_bundle and nx_action_output_trunc in Open vSwitch's ofp-actions.c).

use net::PortNo;

use super::actions::{begin_nicira, end_nicira};
use super::nicira::{narrow_port, pack, subtype, unpack, wide_port, writable};
use super::{EncodeError, Reader, Writer, oxm};
use crate::error::{self, OfError};
use crate::links::{
    Bundle, BundleAlgorithm, HashFields, MAX_MEMBERS, Multipath, MultipathAlgorithm,
};
use crate::{Action, SubField};

/// Bytes of an Ethernet header: no packet is cut to less.
const ETH_HEADER: u32 = 14;
/// Header of the field NXM_OF_IN_PORT: the only type that members have.
const NXM_OF_IN_PORT: u32 = 2;

pub(super) fn read_multipath(mut r: Reader<'_>) -> Result<Action, OfError> {
    let (fields, basis) = (r.u16()?, r.u16()?);
    r.skip(2)?;
    let (algorithm, max_link, arg) = (r.u16()?, r.u16()?, r.u32()?);
    r.skip(2)?;
    let packed = r.u16()?;
    let dst = writable(unpack(oxm::read_name(&mut r)?, packed)?)?;
    r.end()?;
    if dst.bits < bits_for(max_link) {
        return Err(error::OFPBAC_BAD_ARGUMENT);
    }
    Ok(Action::Multipath(Multipath {
        fields: known(HashFields::ALL, |v| v as u16, fields)?,
        basis,
        algorithm: known(MultipathAlgorithm::ALL, |v| v as u16, algorithm)?,
        max_link,
        arg,
        dst,
    }))
}

/// Bits that hold numbers up to this one.
pub(crate) const fn bits_for(max_link: u16) -> u8 {
    (u16::BITS - max_link.leading_zeros()) as u8
}

pub(super) fn write_multipath(w: &mut Writer<'_>, m: &Multipath) -> Result<(), EncodeError> {
    let start = begin_nicira(w, subtype::MULTIPATH);
    w.u16(m.fields as u16);
    w.u16(m.basis);
    w.zeros(2);
    w.u16(m.algorithm as u16);
    w.u16(m.max_link);
    w.u32(m.arg);
    w.zeros(2);
    write_dst(w, m.dst)?;
    end_nicira(w, start)
}

pub(super) fn read_bundle(mut r: Reader<'_>, load: bool) -> Result<Action, OfError> {
    let (algorithm, fields, basis) = (r.u16()?, r.u16()?, r.u16()?);
    let member_type = r.u32()?;
    let n_members = usize::from(r.u16()?);
    let packed = r.u16()?;
    let dst = if load {
        let dst = writable(unpack(oxm::read_name(&mut r)?, packed)?)?;
        if dst.bits < 16 {
            return Err(error::OFPBAC_BAD_ARGUMENT);
        }
        Some(dst)
    } else {
        if packed != 0 || r.u32()? != 0 {
            return Err(error::OFPBAC_BAD_ARGUMENT);
        }
        None
    };
    r.zeros(4, error::OFPBAC_BAD_ARGUMENT)?;
    if n_members > MAX_MEMBERS || member_type != NXM_OF_IN_PORT {
        return Err(error::OFPBAC_BAD_ARGUMENT);
    }
    let algorithm = known(BundleAlgorithm::ALL, |v| v as u16, algorithm)?;
    let fields = known(HashFields::ALL, |v| v as u16, fields)?;
    if r.len() < 2 * n_members {
        return Err(error::OFPBAC_BAD_LEN);
    }
    let members: Vec<PortNo> = (0..n_members)
        .map(|_| r.u16().map(wide_port))
        .collect::<Result<_, _>>()?;
    Ok(Action::Bundle(Box::new(Bundle {
        fields,
        basis,
        algorithm,
        dst,
        members,
    })))
}

pub(super) fn write_bundle(w: &mut Writer<'_>, bundle: &Bundle) -> Result<(), EncodeError> {
    let start = begin_nicira(
        w,
        match bundle.dst {
            Some(_) => subtype::BUNDLE_LOAD,
            None => subtype::BUNDLE,
        },
    );
    w.u16(bundle.algorithm as u16);
    w.u16(bundle.fields as u16);
    w.u16(bundle.basis);
    w.u32(NXM_OF_IN_PORT);
    w.u16(
        u16::try_from(bundle.members.len()).map_err(|_| EncodeError::OutOfRange {
            what: "the members of a bundle (2048)",
        })?,
    );
    match bundle.dst {
        Some(dst) => write_dst(w, dst)?,
        None => w.zeros(6),
    }
    w.zeros(4);
    for member in &bundle.members {
        w.u16(narrow_port(*member)?);
    }
    end_nicira(w, start)
}

pub(super) fn read_output_trunc(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (port, max_len) = (wide_port(r.u16()?), r.u32()?);
    if max_len < ETH_HEADER {
        return Err(error::OFPBAC_BAD_ARGUMENT);
    }
    Ok(Action::OutputTrunc { port, max_len })
}

pub(super) fn write_output_trunc(
    w: &mut Writer<'_>,
    port: PortNo,
    max_len: u32,
) -> Result<(), EncodeError> {
    let start = begin_nicira(w, subtype::OUTPUT_TRUNC);
    w.u16(narrow_port(port)?);
    w.u32(max_len);
    end_nicira(w, start)
}

/// Offset and width, then a field whose name has four bytes.
fn write_dst(w: &mut Writer<'_>, dst: SubField) -> Result<(), EncodeError> {
    if oxm::has_long_name(dst.field, w.version) {
        return w.unsupported("a field of an experimenter as a link's destination");
    }
    w.u16(pack(dst)?);
    oxm::write_name(w, dst.field);
    Ok(())
}

/// The value that a number on the wire stands for.
fn known<T: Copy, const N: usize>(
    all: [(T, &'static str); N],
    number_of: impl Fn(T) -> u16,
    number: u16,
) -> Result<T, OfError> {
    let found = all.iter().find(|(value, _)| number_of(*value) == number);
    found
        .map(|(value, _)| *value)
        .ok_or(error::OFPBAC_BAD_ARGUMENT)
}
