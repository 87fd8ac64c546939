//! Actions of the standard (OpenFlow 1.3.5, 7.2.4), and the frame of all others.

use net::{GroupId, MeterId, PortNo};

use super::{EncodeError, Reader, Writer, nicira, oxm};
use crate::check::ethertype;
use crate::error::{self, OfError};
use crate::flow_match::MatchField;
use crate::msg::{NICIRA, ONF};
use crate::{Action, Field, SubField, Version};

/// OFPAT_*.
mod kind {
    pub(super) const OUTPUT: u16 = 0;
    pub(super) const COPY_TTL_OUT: u16 = 11;
    pub(super) const COPY_TTL_IN: u16 = 12;
    pub(super) const SET_MPLS_TTL: u16 = 15;
    pub(super) const DEC_MPLS_TTL: u16 = 16;
    pub(super) const PUSH_VLAN: u16 = 17;
    pub(super) const POP_VLAN: u16 = 18;
    pub(super) const PUSH_MPLS: u16 = 19;
    pub(super) const POP_MPLS: u16 = 20;
    pub(super) const SET_QUEUE: u16 = 21;
    pub(super) const GROUP: u16 = 22;
    pub(super) const SET_NW_TTL: u16 = 23;
    pub(super) const DEC_NW_TTL: u16 = 24;
    pub(super) const SET_FIELD: u16 = 25;
    pub(super) const PUSH_PBB: u16 = 26;
    pub(super) const POP_PBB: u16 = 27;
    pub(super) const COPY_FIELD: u16 = 28;
    pub(super) const METER: u16 = 29;
    pub(super) const EXPERIMENTER: u16 = 0xffff;
}

/// Lists inside lists (clone, ct) go no deeper than this.
const MAX_DEPTH: u8 = 16;

/// Reads actions until nothing is left.
pub(super) fn read_actions(mut r: Reader<'_>) -> Result<Vec<Action>, OfError> {
    r.depth = r.depth.saturating_add(1);
    if r.depth > MAX_DEPTH {
        return Err(error::OFPBAC_TOO_MANY);
    }
    let mut actions = Vec::new();
    let mut r = r.failing(error::OFPBAC_BAD_LEN);
    while !r.is_empty() {
        actions.push(read_action(&mut r)?);
    }
    Ok(actions)
}

fn read_action(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (kind, length) = (r.u16()?, usize::from(r.u16()?));
    if length < 8 || length % 8 != 0 {
        return Err(error::OFPBAC_BAD_LEN);
    }
    let mut body = r.sub(length - 4)?;
    if kind == kind::SET_FIELD {
        return read_set_field(body);
    }
    if kind == kind::COPY_FIELD && r.version >= Version::V1_5 {
        return nicira::read_copy(body);
    }
    if kind == kind::EXPERIMENTER {
        return match body.u32()? {
            NICIRA => nicira::read(body),
            ONF if r.version < Version::V1_5 => nicira::read_onf(body),
            _ => Err(error::OFPBAC_BAD_EXPERIMENTER),
        };
    }
    let action = match kind {
        kind::OUTPUT => {
            let action = Action::Output {
                port: PortNo(body.u32()?),
                max_len: body.u16()?,
            };
            body.skip(6)?;
            action
        }
        kind::COPY_TTL_OUT => padded(&mut body, 4, Action::CopyTtlOut)?,
        kind::COPY_TTL_IN => padded(&mut body, 4, Action::CopyTtlIn)?,
        kind::SET_MPLS_TTL => {
            let ttl = body.u8()?;
            padded(&mut body, 3, Action::SetMplsTtl(ttl))?
        }
        kind::DEC_MPLS_TTL => padded(&mut body, 4, Action::DecMplsTtl)?,
        kind::PUSH_VLAN => {
            let tpid = body.u16()?;
            if !matches!(tpid, ethertype::VLAN | ethertype::QINQ) {
                return Err(error::OFPBAC_BAD_ARGUMENT);
            }
            padded(&mut body, 2, Action::PushVlan { tpid })?
        }
        kind::POP_VLAN => padded(&mut body, 4, Action::PopVlan)?,
        kind::PUSH_MPLS => {
            let ethertype = body.u16()?;
            if !is_mpls(ethertype) {
                return Err(error::OFPBAC_BAD_ARGUMENT);
            }
            padded(&mut body, 2, Action::PushMpls { ethertype })?
        }
        kind::POP_MPLS => {
            let ethertype = body.u16()?;
            padded(&mut body, 2, Action::PopMpls { ethertype })?
        }
        kind::SET_QUEUE => Action::SetQueue(body.u32()?),
        kind::GROUP => Action::Group(GroupId(body.u32()?)),
        kind::SET_NW_TTL => {
            let ttl = body.u8()?;
            padded(&mut body, 3, Action::SetNwTtl(ttl))?
        }
        kind::DEC_NW_TTL => padded(&mut body, 4, Action::DecNwTtl)?,
        kind::PUSH_PBB => {
            let ethertype = body.u16()?;
            if ethertype != ethertype::PBB {
                return Err(error::OFPBAC_BAD_ARGUMENT);
            }
            padded(&mut body, 2, Action::PushPbb { ethertype })?
        }
        kind::POP_PBB => padded(&mut body, 4, Action::PopPbb)?,
        kind::METER if r.version >= Version::V1_5 => Action::Meter(MeterId(body.u32()?)),
        _ => return Err(error::OFPBAC_BAD_TYPE),
    };
    body.end()?;
    Ok(action)
}

pub(super) const fn is_mpls(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::MPLS | ethertype::MPLS_MULTICAST)
}

/// An action after its padding, which need not be zero (OpenFlow 1.3.5, 7: receivers ignore it).
pub(super) fn padded(r: &mut Reader<'_>, n: usize, action: Action) -> Result<Action, OfError> {
    r.skip(n)?;
    Ok(action)
}

fn read_set_field(body: Reader<'_>) -> Result<Action, OfError> {
    let mut r = body.failing(error::OFPBAC_BAD_SET_LEN);
    // Masks come with 1.5, for any field that can be written.
    let read = if body.version < Version::V1_5 {
        oxm::read_field
    } else {
        oxm::read_masked
    };
    let entry = read(&mut r).map_err(set_field_error)?;
    // Whatever fills the action up to eight bytes must be less than eight.
    if r.len() >= 8 {
        return Err(error::OFPBAC_BAD_SET_LEN);
    }
    r.zeros(r.len(), error::OFPBAC_BAD_ARGUMENT)?;
    let info = entry.field.info();
    // Before 1.5 there is no room for one.
    if entry.mask != info.slot.ones() && body.version < Version::V1_5 {
        return Err(error::OFPBAC_BAD_SET_LEN);
    }
    if entry.mask == 0 {
        return Err(error::OFPBAC_BAD_SET_MASK);
    }
    set_field(entry)
}

/// A write of a field, checked.
pub(super) fn set_field(entry: MatchField) -> Result<Action, OfError> {
    let MatchField { field, value, mask } = entry;
    if !field.info().writable {
        return Err(error::OFPBAC_BAD_SET_TYPE);
    }
    // "OFPVID_PRESENT must be set" (OpenFlow 1.3.5, 7.2.5).
    if field == Field::VlanVid && mask & 0x1000 != 0 && value & 0x1000 == 0 {
        return Err(error::OFPBAC_BAD_SET_ARGUMENT);
    }
    Ok(match field {
        // The field's other name; the low two bits of the byte are not part of it.
        Field::IpTos => Action::SetField {
            field: Field::IpDscp,
            value: value >> 2,
            mask: mask >> 2,
        },
        _ => Action::SetField { field, value, mask },
    })
}

/// The errors of fields, as set_field names them (OpenFlow 1.3.5, A.4.4).
pub(super) const fn set_field_error(error: OfError) -> OfError {
    match error {
        error::OFPBMC_BAD_FIELD => error::OFPBAC_BAD_SET_TYPE,
        error::OFPBMC_BAD_LEN => error::OFPBAC_BAD_SET_LEN,
        error::OFPBMC_BAD_VALUE | error::OFPBMC_BAD_WILDCARDS => error::OFPBAC_BAD_SET_ARGUMENT,
        error::OFPBMC_BAD_MASK => error::OFPBAC_BAD_SET_MASK,
        other => other,
    }
}

/// Writes a list of actions, without a length of its own.
pub(super) fn write_actions(w: &mut Writer<'_>, actions: &[Action]) -> Result<(), EncodeError> {
    for action in actions {
        write_action(w, action)?;
    }
    Ok(())
}

fn write_action(w: &mut Writer<'_>, action: &Action) -> Result<(), EncodeError> {
    match action {
        Action::Output { port, max_len } => {
            header(w, kind::OUTPUT, 16);
            w.u32(port.0);
            w.u16(*max_len);
            w.zeros(6);
        }
        Action::CopyTtlOut => plain(w, kind::COPY_TTL_OUT, 0),
        Action::CopyTtlIn => plain(w, kind::COPY_TTL_IN, 0),
        Action::SetMplsTtl(ttl) => plain(w, kind::SET_MPLS_TTL, u32::from(*ttl) << 24),
        Action::DecMplsTtl => plain(w, kind::DEC_MPLS_TTL, 0),
        Action::PushVlan { tpid } => plain(w, kind::PUSH_VLAN, u32::from(*tpid) << 16),
        Action::PopVlan => plain(w, kind::POP_VLAN, 0),
        Action::PushMpls { ethertype } => plain(w, kind::PUSH_MPLS, u32::from(*ethertype) << 16),
        Action::PopMpls { ethertype } => plain(w, kind::POP_MPLS, u32::from(*ethertype) << 16),
        Action::SetQueue(queue) => plain(w, kind::SET_QUEUE, *queue),
        Action::Group(group) => plain(w, kind::GROUP, group.0),
        Action::SetNwTtl(ttl) => plain(w, kind::SET_NW_TTL, u32::from(*ttl) << 24),
        Action::DecNwTtl => plain(w, kind::DEC_NW_TTL, 0),
        Action::PushPbb { ethertype } => plain(w, kind::PUSH_PBB, u32::from(*ethertype) << 16),
        Action::PopPbb => plain(w, kind::POP_PBB, 0),
        Action::Meter(meter) if w.version >= Version::V1_5 => plain(w, kind::METER, meter.0),
        Action::Meter(_) if w.describes => {}
        Action::Meter(_) => return w.unsupported("meter as an action"),
        Action::Load { dst, value } if w.version >= Version::V1_5 => {
            let entry = loaded(*dst, *value);
            // Bits that the field does not keep cannot be told by its mask.
            if entry.mask & entry.field.info().slot.ones() == 0 {
                return nicira::write(w, action);
            }
            write_set_field(w, entry)?;
        }
        Action::Move { src, dst } if w.version >= Version::V1_5 => {
            let start = w.len();
            header(w, kind::COPY_FIELD, 0);
            nicira::write_move(w, *src, *dst);
            w.pad8(start);
            w.patch_length(start + 2, start, "copy_field")?;
        }
        Action::SetField { field, value, mask } => {
            let entry = MatchField {
                field: *field,
                value: *value,
                mask: *mask,
            };
            let masked = *mask != field.info().slot.ones();
            if masked && w.version < Version::V1_5 {
                return nicira::write_masked_set_field(w, entry);
            }
            write_set_field(w, entry)?;
        }
        _ => return nicira::write(w, action),
    }
    Ok(())
}

fn write_set_field(w: &mut Writer<'_>, entry: MatchField) -> Result<(), EncodeError> {
    let start = w.len();
    header(w, kind::SET_FIELD, 0);
    oxm::write_field(w, entry);
    w.pad8(start);
    w.patch_length(start + 2, start, "set_field")
}

/// What a load writes, as set_field says it.
fn loaded(dst: SubField, value: u64) -> MatchField {
    let width = dst.field.info().slot.ones();
    let mask = (dst.ones() << dst.shift) & width;
    let value = (u128::from(value) << dst.shift) & width;
    MatchField {
        field: dst.field,
        value,
        mask,
    }
}

fn header(w: &mut Writer<'_>, kind: u16, length: u16) {
    w.u16(kind);
    w.u16(length);
}

/// An action of eight bytes, the last four being `argument`.
fn plain(w: &mut Writer<'_>, kind: u16, argument: u32) {
    header(w, kind, 8);
    w.u32(argument);
}

/// Begins an action of Nicira's; [`end_nicira`] fills in the length.
pub(super) fn begin_nicira(w: &mut Writer<'_>, subtype: u16) -> usize {
    let start = w.len();
    header(w, kind::EXPERIMENTER, 0);
    w.u32(NICIRA);
    w.u16(subtype);
    start
}

/// Ends it: padding and length.
pub(super) fn end_nicira(w: &mut Writer<'_>, start: usize) -> Result<(), EncodeError> {
    w.pad8(start);
    w.patch_length(start + 2, start, "action")
}
