//! Actions of Open vSwitch's own (NXAST_*, ovs-actions(7)).

use net::{PortNo, TableId};

use super::actions::{begin_nicira, end_nicira, is_mpls, padded, read_actions, write_actions};
use super::{
    EncodeError, Reader, Writer, actions, controller, ct, encap, learn, links, oxm, sample,
};
use crate::action::{Conjunction, REJECT_NOTE};
use crate::error::{self, OfError};
use crate::flow_match::MatchField;
use crate::{Action, Field, SubField, Version};

/// NXAST_*.
pub(super) mod subtype {
    pub(super) const RESUBMIT: u16 = 1;
    pub(super) const SET_TUNNEL: u16 = 2;
    pub(super) const SET_QUEUE: u16 = 4;
    pub(super) const POP_QUEUE: u16 = 5;
    pub(super) const REG_MOVE: u16 = 6;
    pub(super) const REG_LOAD: u16 = 7;
    pub(super) const NOTE: u16 = 8;
    pub(super) const SET_TUNNEL64: u16 = 9;
    pub(in crate::wire) const MULTIPATH: u16 = 10;
    pub(in crate::wire) const BUNDLE: u16 = 12;
    pub(in crate::wire) const BUNDLE_LOAD: u16 = 13;
    pub(super) const RESUBMIT_TABLE: u16 = 14;
    pub(super) const OUTPUT_REG: u16 = 15;
    pub(in crate::wire) const LEARN: u16 = 16;
    pub(super) const EXIT: u16 = 17;
    pub(super) const DEC_TTL: u16 = 18;
    pub(super) const FIN_TIMEOUT: u16 = 19;
    pub(in crate::wire) const CONTROLLER: u16 = 20;
    pub(super) const DEC_TTL_IDS: u16 = 21;
    pub(super) const PUSH_MPLS: u16 = 23;
    pub(super) const POP_MPLS: u16 = 24;
    pub(super) const SET_MPLS_TTL: u16 = 25;
    pub(super) const DEC_MPLS_TTL: u16 = 26;
    pub(super) const STACK_PUSH: u16 = 27;
    pub(super) const STACK_POP: u16 = 28;
    pub(in crate::wire) const SAMPLE: u16 = 29;
    pub(super) const SET_MPLS_LABEL: u16 = 30;
    pub(super) const SET_MPLS_TC: u16 = 31;
    pub(super) const OUTPUT_REG2: u16 = 32;
    pub(super) const REG_LOAD2: u16 = 33;
    pub(super) const CONJUNCTION: u16 = 34;
    pub(in crate::wire) const CT: u16 = 35;
    pub(in crate::wire) const NAT: u16 = 36;
    pub(in crate::wire) const CONTROLLER2: u16 = 37;
    pub(in crate::wire) const SAMPLE2: u16 = 38;
    pub(in crate::wire) const SAMPLE3: u16 = 41;
    pub(in crate::wire) const OUTPUT_TRUNC: u16 = 39;
    pub(super) const CLONE: u16 = 42;
    pub(super) const CT_CLEAR: u16 = 43;
    pub(super) const RESUBMIT_TABLE_CT: u16 = 44;
    pub(in crate::wire) const LEARN2: u16 = 45;
    pub(super) const ENCAP: u16 = 46;
    pub(super) const DECAP: u16 = 47;
    pub(super) const DEC_NSH_TTL: u16 = 48;
    pub(super) const CHECK_PKT_LARGER: u16 = 49;
    pub(super) const DELETE_FIELD: u16 = 50;
    pub(in crate::wire) const SAMPLE4: u16 = 51;
}

/// Reads what stands behind the experimenter's number.
pub(super) fn read(mut r: Reader<'_>) -> Result<Action, OfError> {
    let subtype = r.u16()?;
    match subtype {
        subtype::NOTE => {
            return Ok(match r.rest() {
                note if note == REJECT_NOTE => Action::Reject,
                note => Action::Note(note.to_vec()),
            });
        }
        subtype::CT => return ct::read_ct(r),
        subtype::NAT => return ct::read_nat(r),
        subtype::LEARN | subtype::LEARN2 => return learn::read(r, subtype == subtype::LEARN2),
        subtype::CLONE => {
            r.skip(6)?;
            return read_actions(r).map(Action::Clone);
        }
        subtype::CONTROLLER2 => return controller::read_second(r),
        subtype::REG_LOAD2 => return read_load2(r),
        subtype::DEC_TTL_IDS => return read_dec_ttl_ids(r),
        subtype::OUTPUT_REG2 => return read_output_reg2(r),
        subtype::REG_MOVE => return read_move(r),
        subtype::SAMPLE | subtype::SAMPLE2 | subtype::SAMPLE3 | subtype::SAMPLE4 => {
            return sample::read(r, subtype);
        }
        subtype::DELETE_FIELD => {
            let field = oxm::read_name(&mut r)?;
            r.zeros(r.len(), error::OFPBAC_BAD_ARGUMENT)?;
            return Ok(Action::DeleteField(field));
        }
        subtype::ENCAP => return encap::read_encap(r),
        subtype::DECAP => return encap::read_decap(r),
        subtype::MULTIPATH => return links::read_multipath(r),
        subtype::BUNDLE | subtype::BUNDLE_LOAD => {
            return links::read_bundle(r, subtype == subtype::BUNDLE_LOAD);
        }
        _ => {}
    }
    let action = match subtype {
        subtype::RESUBMIT => {
            let port = resubmit_port(r.u16()?);
            let action = Action::Resubmit {
                port,
                table: None,
                ct: false,
            };
            padded(&mut r, 4, action)?
        }
        subtype::RESUBMIT_TABLE | subtype::RESUBMIT_TABLE_CT => {
            let port = resubmit_port(r.u16()?);
            let table = TableId(r.u8()?);
            r.zeros(3, error::OFPBAC_BAD_ARGUMENT)?;
            Action::Resubmit {
                port,
                table: (table != TableId::ALL).then_some(table),
                ct: subtype == subtype::RESUBMIT_TABLE_CT,
            }
        }
        subtype::SET_TUNNEL => {
            r.skip(2)?;
            whole(Field::TunId, u128::from(r.u32()?))
        }
        subtype::SET_TUNNEL64 => {
            r.skip(6)?;
            whole(Field::TunId, u128::from(r.u64()?))
        }
        subtype::SET_QUEUE => {
            r.skip(2)?;
            Action::SetQueue(r.u32()?)
        }
        subtype::POP_QUEUE => padded(&mut r, 6, Action::PopQueue)?,
        subtype::OUTPUT_TRUNC => links::read_output_trunc(&mut r)?,
        subtype::REG_LOAD => read_load(&mut r)?,
        subtype::OUTPUT_REG => {
            let src = read_packed(&mut r, oxm::read_name)?;
            let max_len = r.u16()?;
            r.zeros(6, error::OFPBAC_BAD_ARGUMENT)?;
            Action::OutputReg { src, max_len }
        }
        subtype::EXIT => padded(&mut r, 6, Action::Exit)?,
        subtype::DEC_TTL => padded(&mut r, 6, Action::DecNwTtl)?,
        subtype::FIN_TIMEOUT => {
            let (idle, hard) = (r.u16()?, r.u16()?);
            padded(&mut r, 2, Action::FinTimeout { idle, hard })?
        }
        subtype::CONTROLLER => controller::read_first(&mut r)?,
        subtype::PUSH_MPLS => {
            let ethertype = r.u16()?;
            if !is_mpls(ethertype) {
                return Err(error::OFPBAC_BAD_ARGUMENT);
            }
            padded(&mut r, 4, Action::PushMpls { ethertype })?
        }
        subtype::POP_MPLS => {
            let ethertype = r.u16()?;
            padded(&mut r, 4, Action::PopMpls { ethertype })?
        }
        subtype::SET_MPLS_TTL => {
            let ttl = r.u8()?;
            padded(&mut r, 5, Action::SetMplsTtl(ttl))?
        }
        subtype::DEC_MPLS_TTL => padded(&mut r, 6, Action::DecMplsTtl)?,
        subtype::SET_MPLS_LABEL => {
            r.skip(2)?;
            mpls_field(Field::MplsLabel, r.u32()?)?
        }
        subtype::SET_MPLS_TC => {
            let class = r.u8()?;
            padded(&mut r, 5, mpls_field(Field::MplsTc, class.into())?)?
        }
        subtype::DEC_NSH_TTL => padded(&mut r, 6, Action::DecNshTtl)?,
        subtype::STACK_PUSH => Action::StackPush(read_stack(&mut r)?),
        subtype::STACK_POP => Action::StackPop(writable(read_stack(&mut r)?)?),
        subtype::CONJUNCTION => read_conjunction(&mut r)?,
        subtype::CT_CLEAR => {
            r.zeros(6, error::OFPBAC_BAD_ARGUMENT)?;
            Action::CtClear
        }
        subtype::CHECK_PKT_LARGER => {
            let (len, shift) = (r.u16()?, r.u16()?);
            let field = oxm::read_name(&mut r)?;
            r.skip(6)?;
            let dst = writable(subfield(field, shift, 1)?)?;
            Action::CheckPktLarger { len, dst }
        }
        _ => return Err(error::OFPBAC_BAD_EXP_TYPE),
    };
    r.end()?;
    Ok(action)
}

fn mpls_field(field: Field, value: u32) -> Result<Action, OfError> {
    let value = u128::from(value);
    match value <= field.info().slot.ones() {
        true => Ok(whole(field, value)),
        false => Err(error::OFPBAC_BAD_ARGUMENT),
    }
}

fn whole(field: Field, value: u128) -> Action {
    let mask = field.info().slot.ones();
    Action::SetField { field, value, mask }
}

/// A port in 16 bits: the reserved ones are the low halves of the 32-bit ones.
pub(super) fn wide_port(port: u16) -> PortNo {
    if port >= 0xff00 {
        PortNo(u32::from(port) | 0xffff_0000)
    } else {
        PortNo(u32::from(port))
    }
}

fn resubmit_port(port: u16) -> Option<PortNo> {
    let wide = wide_port(port);
    (wide != PortNo::IN_PORT).then_some(wide)
}

pub(super) fn narrow_port(port: PortNo) -> Result<u16, EncodeError> {
    let narrow = port.0 as u16;
    if wide_port(narrow) == port {
        Ok(narrow)
    } else {
        Err(EncodeError::OutOfRange {
            what: "a port of 16 bits",
        })
    }
}

/// Bits of a field, checked against its width.
pub(super) fn subfield(field: Field, shift: u16, bits: u16) -> Result<SubField, OfError> {
    let width = u16::from(field.range_bits());
    let good = bits > 0 && shift < width && bits <= width - shift;
    match (u8::try_from(shift), u8::try_from(bits)) {
        (Ok(shift), Ok(bits)) if good => Ok(SubField { field, shift, bits }),
        _ => Err(error::OFPBAC_BAD_ARGUMENT),
    }
}

pub(super) fn writable(subfield: SubField) -> Result<SubField, OfError> {
    if subfield.field.info().writable {
        Ok(subfield)
    } else {
        Err(error::OFPBAC_BAD_ARGUMENT)
    }
}

/// Offset and width packed into 16 bits, then the field.
fn read_packed(
    r: &mut Reader<'_>,
    field: impl FnOnce(&mut Reader<'_>) -> Result<Field, OfError>,
) -> Result<SubField, OfError> {
    let packed = r.u16()?;
    let field = field(r)?;
    unpack(field, packed)
}

/// A field with the offset and width packed into 16 bits.
pub(super) fn unpack(field: Field, packed: u16) -> Result<SubField, OfError> {
    subfield(field, packed >> 6, (packed & 63) + 1)
}

/// Offset and width in 16 bits; at most 64 bits wide.
pub(super) fn pack(subfield: SubField) -> Result<u16, EncodeError> {
    if subfield.bits == 0 || subfield.bits > 64 {
        return Err(EncodeError::OutOfRange {
            what: "a range of more than 64 bits",
        });
    }
    Ok(u16::from(subfield.shift) << 6 | (u16::from(subfield.bits) - 1))
}

fn read_load(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let dst = writable(read_packed(r, oxm::read_name)?)?;
    let value = r.u64()?;
    if u128::from(value) > dst.ones() {
        return Err(error::OFPBAC_BAD_ARGUMENT);
    }
    Ok(Action::Load { dst, value })
}

fn read_load2(mut r: Reader<'_>) -> Result<Action, OfError> {
    // The field stands right behind the subtype.
    r = r.failing(error::OFPBAC_BAD_SET_LEN);
    let entry = oxm::read_masked(&mut r).map_err(actions::set_field_error)?;
    if r.len() >= 8 {
        return Err(error::OFPBAC_BAD_LEN);
    }
    r.zeros(r.len(), error::OFPBAC_BAD_ARGUMENT)?;
    if entry.mask == 0 {
        return Err(error::OFPBAC_BAD_ARGUMENT);
    }
    actions::set_field(entry)
}

/// copy_field for 1.3 and 1.4 (ONF extension 320).
const ONF_COPY_FIELD: u16 = 3200;

/// Reads what stands behind the ONF's number.
pub(super) fn read_onf(mut r: Reader<'_>) -> Result<Action, OfError> {
    if r.u16()? != ONF_COPY_FIELD {
        return Err(error::OFPBAC_BAD_EXP_TYPE);
    }
    r.skip(2)?;
    read_copy(r)
}

/// Reads copy_field of 1.5: as NXAST_REG_MOVE, but two bytes of padding before the fields.
pub(super) fn read_copy(mut r: Reader<'_>) -> Result<Action, OfError> {
    let numbers = (r.u16()?, r.u16()?, r.u16()?);
    r.skip(2)?;
    read_moved(numbers, r)
}

/// Writes what stands behind the head of copy_field.
pub(super) fn write_move(w: &mut Writer<'_>, src: SubField, dst: SubField) {
    w.u16(u16::from(src.bits));
    w.u16(u16::from(src.shift));
    w.u16(u16::from(dst.shift));
    w.zeros(2);
    oxm::write_name(w, src.field);
    oxm::write_name(w, dst.field);
}

fn read_move(mut r: Reader<'_>) -> Result<Action, OfError> {
    let numbers = (r.u16()?, r.u16()?, r.u16()?);
    read_moved(numbers, r)
}

fn read_moved((bits, from, to): (u16, u16, u16), mut r: Reader<'_>) -> Result<Action, OfError> {
    let src = subfield(oxm::read_name(&mut r)?, from, bits)?;
    let dst = writable(subfield(oxm::read_name(&mut r)?, to, bits)?)?;
    r.zeros(r.len(), error::OFPBAC_BAD_ARGUMENT)?;
    Ok(Action::Move { src, dst })
}

fn read_output_reg2(mut r: Reader<'_>) -> Result<Action, OfError> {
    let (packed, max_len) = (r.u16()?, r.u16()?);
    let src = unpack(oxm::read_name(&mut r)?, packed)?;
    r.zeros(r.len(), error::OFPBAC_BAD_ARGUMENT)?;
    Ok(Action::OutputReg { src, max_len })
}

fn read_stack(r: &mut Reader<'_>) -> Result<SubField, OfError> {
    let shift = r.u16()?;
    let field = oxm::read_name(r)?;
    let bits = r.u16()?;
    r.skip(r.len())?;
    subfield(field, shift, bits)
}

fn read_dec_ttl_ids(mut r: Reader<'_>) -> Result<Action, OfError> {
    let n = usize::from(r.u16()?);
    r.zeros(4, error::OFPBAC_BAD_ARGUMENT)?;
    if n == 0 || r.len() < 2 * n {
        return Err(error::OFPBAC_BAD_LEN);
    }
    let ids = (0..n).map(|_| r.u16()).collect::<Result<_, _>>()?;
    Ok(Action::DecNwTtlIds(ids))
}

fn read_conjunction(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (clause, n_clauses, id) = (r.u8()?, r.u8()?, r.u32()?);
    if !(2..=64).contains(&n_clauses) || clause >= n_clauses {
        return Err(error::NXBAC_BAD_CONJUNCTION);
    }
    Ok(Action::Conjunction(Conjunction {
        id,
        clause,
        n_clauses,
    }))
}

/// Writes an action that the standard does not have.
pub(super) fn write(w: &mut Writer<'_>, action: &Action) -> Result<(), EncodeError> {
    match action {
        Action::Ct(ct) => return ct::write_ct(w, ct),
        Action::Nat(nat) => return ct::write_nat(w, nat),
        Action::Learn(learn) => return learn::write(w, learn),
        Action::Encap(encap) => return encap::write_encap(w, subtype::ENCAP, encap),
        Action::Decap { packet_type } => {
            return encap::write_decap(w, subtype::DECAP, *packet_type);
        }
        Action::Controller(controller) => return controller::write(w, controller),
        Action::Sample(sample) => return sample::write(w, sample),
        Action::Multipath(multipath) => return links::write_multipath(w, multipath),
        Action::Bundle(bundle) => return links::write_bundle(w, bundle),
        Action::OutputTrunc { port, max_len } => {
            return links::write_output_trunc(w, *port, *max_len);
        }
        _ => {}
    }
    let Some(subtype) = subtype_of(action, w.version) else {
        return w.unsupported("that action");
    };
    let start = begin_nicira(w, subtype);
    match action {
        Action::Resubmit { port, table, .. } => {
            w.u16(narrow_port(port.unwrap_or(PortNo::IN_PORT))?);
            w.u8(table.unwrap_or(TableId::ALL).0);
            w.zeros(3);
        }
        Action::Load { dst, value } => {
            w.u16(pack(*dst)?);
            oxm::write_name(w, dst.field);
            w.u64(*value);
        }
        Action::Move { src, dst } => {
            w.u16(u16::from(src.bits));
            w.u16(u16::from(src.shift));
            w.u16(u16::from(dst.shift));
            oxm::write_name(w, src.field);
            oxm::write_name(w, dst.field);
        }
        Action::OutputReg { src, max_len } => {
            w.u16(pack(*src)?);
            if subtype == subtype::OUTPUT_REG {
                oxm::write_name(w, src.field);
                w.u16(*max_len);
            } else {
                w.u16(*max_len);
                oxm::write_name(w, src.field);
            }
        }
        Action::StackPush(range) | Action::StackPop(range) => {
            w.u16(u16::from(range.shift));
            oxm::write_name(w, range.field);
            w.u16(u16::from(range.bits));
        }
        Action::DecNwTtlIds(ids) => {
            w.u16(u16::try_from(ids.len()).unwrap_or(u16::MAX));
            w.zeros(4);
            for id in ids {
                w.u16(*id);
            }
        }
        Action::FinTimeout { idle, hard } => {
            w.u16(*idle);
            w.u16(*hard);
        }
        Action::Conjunction(conjunction) => {
            w.u8(conjunction.clause);
            w.u8(conjunction.n_clauses);
            w.u32(conjunction.id);
        }
        Action::CheckPktLarger { len, dst } => {
            w.u16(*len);
            w.u16(u16::from(dst.shift));
            oxm::write_name(w, dst.field);
        }
        Action::DeleteField(field) => {
            oxm::write_name(w, *field);
            // Room for the longest name there is.
            let written = if oxm::has_long_name(*field, w.version) {
                8
            } else {
                4
            };
            w.zeros(14 - written);
        }
        Action::Note(note) => w.bytes(note),
        Action::Reject => w.bytes(&REJECT_NOTE),
        Action::Clone(inner) => {
            w.zeros(6);
            write_actions(w, inner)?;
        }
        _ => w.zeros(6),
    }
    end_nicira(w, start)
}

fn subtype_of(action: &Action, version: Version) -> Option<u16> {
    Some(match action {
        Action::Resubmit { ct: true, .. } => subtype::RESUBMIT_TABLE_CT,
        Action::Resubmit { table: None, .. } => subtype::RESUBMIT,
        Action::Resubmit { .. } => subtype::RESUBMIT_TABLE,
        Action::Load { .. } => subtype::REG_LOAD,
        Action::Move { .. } => subtype::REG_MOVE,
        Action::OutputReg { src, .. } if oxm::has_long_name(src.field, version) => {
            subtype::OUTPUT_REG2
        }
        Action::OutputReg { .. } => subtype::OUTPUT_REG,
        Action::StackPush(_) => subtype::STACK_PUSH,
        Action::StackPop(_) => subtype::STACK_POP,
        Action::DecNwTtlIds(_) => subtype::DEC_TTL_IDS,
        Action::FinTimeout { .. } => subtype::FIN_TIMEOUT,
        Action::Conjunction(_) => subtype::CONJUNCTION,
        Action::CheckPktLarger { .. } => subtype::CHECK_PKT_LARGER,
        Action::DeleteField(_) => subtype::DELETE_FIELD,
        Action::Note(_) | Action::Reject => subtype::NOTE,
        Action::Clone(_) => subtype::CLONE,
        Action::CtClear => subtype::CT_CLEAR,
        Action::PopQueue => subtype::POP_QUEUE,
        Action::Exit => subtype::EXIT,
        Action::DecNshTtl => subtype::DEC_NSH_TTL,
        _ => return None,
    })
}

/// set_field with a mask, which the standard has from 1.5 on (NXAST_REG_LOAD2).
pub(super) fn write_masked_set_field(
    w: &mut Writer<'_>,
    entry: MatchField,
) -> Result<(), EncodeError> {
    let start = begin_nicira(w, subtype::REG_LOAD2);
    oxm::write_field(w, entry);
    end_nicira(w, start)
}
