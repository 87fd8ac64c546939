//! The `learn` action (NXAST_LEARN, NXAST_LEARN2).

use net::TableId;

use super::actions::{begin_nicira, end_nicira};
use super::nicira::{subfield, subtype};
use super::{EncodeError, Reader, Writer, oxm};
use crate::action::{
    LEARN_DELETE_LEARNED, LEARN_SEND_REMOVED, LEARN_WRITE_RESULT, Learn, LearnSource, LearnSpec,
    LearnTarget,
};
use crate::error::{self, OfError};
use crate::{Action, SubField};

/// Bits of a line's header (NX_LEARN_*).
mod bits {
    pub(super) const COUNT: u16 = 0x07ff;
    pub(super) const IMMEDIATE: u16 = 1 << 13;
    pub(super) const TARGET: u16 = 3 << 11;
    pub(super) const MATCH: u16 = 0;
    pub(super) const LOAD: u16 = 1 << 11;
    pub(super) const OUTPUT: u16 = 2 << 11;
    pub(super) const ALL: u16 = 0x3fff;
}

/// Reads what stands behind the subtype; `second` is NXAST_LEARN2.
pub(super) fn read(mut r: Reader<'_>, second: bool) -> Result<Action, OfError> {
    let bad = error::OFPBAC_BAD_ARGUMENT;
    let (idle_timeout, hard_timeout) = (r.u16()?, r.u16()?);
    let (priority, cookie, flags) = (r.u16()?, r.u64()?, r.u16()?);
    let table = TableId(r.u8()?);
    r.skip(1)?;
    let (fin_idle_timeout, fin_hard_timeout) = (r.u16()?, r.u16()?);
    let allowed = LEARN_SEND_REMOVED | LEARN_DELETE_LEARNED;
    let allowed = allowed | if second { LEARN_WRITE_RESULT } else { 0 };
    if table == TableId::ALL || flags & !allowed != 0 {
        return Err(bad);
    }
    let (mut limit, mut result) = (0, None);
    if second {
        limit = r.u32()?;
        let shift = r.u16()?;
        r.zeros(2, bad)?;
        if flags & LEARN_WRITE_RESULT != 0 {
            let dst = subfield(oxm::read_name(&mut r)?, shift, 1)?;
            if !dst.field.info().writable {
                return Err(bad);
            }
            result = Some(dst);
        }
    }
    let mut specs = Vec::new();
    while r.len() >= 2 {
        let header = r.u16()?;
        if header == 0 {
            break;
        }
        specs.push(read_spec(&mut r, header)?);
    }
    r.zeros(r.len(), bad)?;
    Ok(Action::Learn(Box::new(Learn {
        idle_timeout,
        hard_timeout,
        fin_idle_timeout,
        fin_hard_timeout,
        priority,
        cookie,
        flags: flags & !LEARN_WRITE_RESULT,
        table,
        limit,
        result,
        specs,
    })))
}

fn read_spec(r: &mut Reader<'_>, header: u16) -> Result<LearnSpec, OfError> {
    let bad = error::OFPBAC_BAD_ARGUMENT;
    let n = header & bits::COUNT;
    if header & !bits::ALL != 0 || n == 0 {
        return Err(bad);
    }
    let src = if header & bits::IMMEDIATE != 0 {
        if n > 128 {
            return Err(bad);
        }
        let value = r.integer(usize::from(n).div_ceil(16) * 2)?;
        if n < 128 && value >> n != 0 {
            return Err(bad);
        }
        LearnSource::Value { value, bits: n }
    } else {
        LearnSource::Field(read_range(r, n)?)
    };
    let dst = match header & bits::TARGET {
        bits::MATCH => LearnTarget::Match(read_range(r, n)?),
        bits::LOAD => LearnTarget::Load(read_range(r, n)?),
        bits::OUTPUT => LearnTarget::Output,
        _ => return Err(bad),
    };
    // An output of a constant has no form in text, and Open vSwitch refuses it too.
    if dst == LearnTarget::Output && matches!(src, LearnSource::Value { .. }) {
        return Err(bad);
    }
    Ok(LearnSpec { src, dst })
}

fn read_range(r: &mut Reader<'_>, n: u16) -> Result<SubField, OfError> {
    let field = oxm::read_name(r)?;
    let shift = r.u16()?;
    subfield(field, shift, n)
}

pub(super) fn write(w: &mut Writer<'_>, learn: &Learn) -> Result<(), EncodeError> {
    let second = learn.limit != 0 || learn.result.is_some();
    let start = begin_nicira(
        w,
        if second {
            subtype::LEARN2
        } else {
            subtype::LEARN
        },
    );
    w.u16(learn.idle_timeout);
    w.u16(learn.hard_timeout);
    w.u16(learn.priority);
    w.u64(learn.cookie);
    let result_flag = if learn.result.is_some() {
        LEARN_WRITE_RESULT
    } else {
        0
    };
    w.u16(learn.flags & !LEARN_WRITE_RESULT | result_flag);
    w.u8(learn.table.0);
    w.u8(0);
    w.u16(learn.fin_idle_timeout);
    w.u16(learn.fin_hard_timeout);
    if second {
        w.u32(learn.limit);
        w.u16(learn.result.map_or(0, |dst| u16::from(dst.shift)));
        w.zeros(2);
        if let Some(dst) = learn.result {
            oxm::write_nxm_name(w, dst.field);
        }
    }
    for spec in &learn.specs {
        write_spec(w, spec);
    }
    end_nicira(w, start)
}

fn write_spec(w: &mut Writer<'_>, spec: &LearnSpec) {
    let (n, immediate) = match spec.src {
        LearnSource::Field(range) => (u16::from(range.bits), 0),
        LearnSource::Value { bits, .. } => (bits, bits::IMMEDIATE),
    };
    let target = match spec.dst {
        LearnTarget::Match(_) => bits::MATCH,
        LearnTarget::Load(_) => bits::LOAD,
        LearnTarget::Output => bits::OUTPUT,
    };
    w.u16(n | immediate | target);
    match spec.src {
        LearnSource::Field(range) => write_range(w, range),
        LearnSource::Value { value, bits } => {
            w.integer(value, usize::from(bits).div_ceil(16) * 2);
        }
    }
    match spec.dst {
        LearnTarget::Match(range) | LearnTarget::Load(range) => write_range(w, range),
        LearnTarget::Output => {}
    }
}

fn write_range(w: &mut Writer<'_>, range: SubField) {
    oxm::write_nxm_name(w, range.field);
    w.u16(u16::from(range.shift));
}
