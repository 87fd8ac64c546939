//! The `ct` and `nat` actions (NXAST_CT, NXAST_NAT).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::TableId;

use super::actions::{begin_nicira, end_nicira, read_actions, write_actions};
use super::nicira::{pack, subtype, unpack};
use super::{EncodeError, Reader, Writer, oxm};
use crate::Action;
use crate::action::{Ct, CtZone, Nat, NatKind};
use crate::error::{self, OfError};

/// NX_CT_F_COMMIT.
const COMMIT: u16 = 1;
/// NX_CT_F_FORCE.
const FORCE: u16 = 2;

/// Reads what stands behind the subtype.
pub(super) fn read_ct(mut r: Reader<'_>) -> Result<Action, OfError> {
    let flags = r.u16()?;
    if flags & !(COMMIT | FORCE) != 0 {
        return Err(error::OFPBAC_BAD_ARGUMENT);
    }
    let field = r.sub(4)?;
    let number_or_range = r.u16()?;
    let zone = if field.rest() == [0; 4] {
        CtZone::Number(number_or_range)
    } else {
        let range = unpack(oxm::read_name(&mut { field })?, number_or_range)?;
        if range.bits != 16 {
            return Err(error::OFPBAC_BAD_SET_LEN);
        }
        CtZone::Field(range)
    };
    let table = TableId(r.u8()?);
    r.zeros(3, error::OFPBAC_BAD_ARGUMENT)?;
    let alg = r.u16()?;
    let (commit, force) = (flags & COMMIT != 0, flags & FORCE != 0);
    if force && !commit {
        return Err(error::OFPBAC_BAD_ARGUMENT);
    }
    Ok(Action::Ct(Ct {
        commit,
        force,
        zone,
        table: (table != TableId::ALL).then_some(table),
        alg,
        actions: read_actions(r)?,
    }))
}

pub(super) fn write_ct(w: &mut Writer<'_>, ct: &Ct) -> Result<(), EncodeError> {
    let start = begin_nicira(w, subtype::CT);
    w.u16(if ct.commit { COMMIT } else { 0 } | if ct.force { FORCE } else { 0 });
    match ct.zone {
        CtZone::Number(zone) => {
            w.u32(0);
            w.u16(zone);
        }
        CtZone::Field(range) => {
            if oxm::has_long_name(range.field, w.version) {
                return w.unsupported("that field as the zone of ct");
            }
            oxm::write_name(w, range.field);
            w.u16(pack(range)?);
        }
    }
    w.u8(ct.table.unwrap_or(TableId::ALL).0);
    w.zeros(3);
    w.u16(ct.alg);
    write_actions(w, &ct.actions)?;
    end_nicira(w, start)
}

/// NX_NAT_F_*.
mod flag {
    pub(super) const SRC: u16 = 1;
    pub(super) const DST: u16 = 2;
    pub(super) const PERSISTENT: u16 = 4;
    pub(super) const HASH: u16 = 8;
    pub(super) const RANDOM: u16 = 16;
    pub(super) const ALL: u16 = 31;
}

/// NX_NAT_RANGE_*: which parts follow, in this order.
mod part {
    pub(super) const V4_MIN: u16 = 1;
    pub(super) const V4_MAX: u16 = 2;
    pub(super) const V6_MIN: u16 = 4;
    pub(super) const V6_MAX: u16 = 8;
    pub(super) const PORT_MIN: u16 = 16;
    pub(super) const PORT_MAX: u16 = 32;
    pub(super) const ALL: u16 = 63;
}

/// Reads what stands behind the subtype.
pub(super) fn read_nat(mut r: Reader<'_>) -> Result<Action, OfError> {
    let bad = error::OFPBAC_BAD_ARGUMENT;
    r.zeros(2, bad)?;
    let (flags, parts) = (r.u16()?, r.u16()?);
    if flags & !flag::ALL != 0 || parts & !part::ALL != 0 {
        return Err(bad);
    }
    let kind = match flags & (flag::SRC | flag::DST) {
        0 => NatKind::Existing,
        flag::SRC => NatKind::Src,
        flag::DST => NatKind::Dst,
        _ => return Err(bad),
    };
    if kind == NatKind::Existing && (flags != 0 || parts != 0) {
        return Err(bad);
    }
    if flags & flag::HASH != 0 && flags & flag::RANDOM != 0 {
        return Err(bad);
    }
    let has = |bit: u16| parts & bit != 0;
    let v4 = has(part::V4_MIN | part::V4_MAX);
    let v6 = has(part::V6_MIN | part::V6_MAX);
    let lower_missing = has(part::V4_MAX) && !has(part::V4_MIN)
        || has(part::V6_MAX) && !has(part::V6_MIN)
        || has(part::PORT_MAX) && !has(part::PORT_MIN);
    if (v4 && v6) || lower_missing {
        return Err(bad);
    }
    let addresses = if v4 {
        let min = Ipv4Addr::from(r.u32()?);
        let max = if has(part::V4_MAX) {
            Ipv4Addr::from(r.u32()?)
        } else {
            min
        };
        Some((IpAddr::V4(min), IpAddr::V4(max)))
    } else if v6 {
        let min = Ipv6Addr::from(r.array()?);
        let max = if has(part::V6_MAX) {
            Ipv6Addr::from(r.array()?)
        } else {
            min
        };
        Some((IpAddr::V6(min), IpAddr::V6(max)))
    } else {
        None
    };
    let ports = if has(part::PORT_MIN) {
        let min = r.u16()?;
        let max = if has(part::PORT_MAX) { r.u16()? } else { min };
        Some((min, max))
    } else {
        None
    };
    r.zeros(r.len(), bad)?;
    let reversed = addresses.is_some_and(|(a, b)| a > b) || ports.is_some_and(|(a, b)| a > b);
    if reversed {
        return Err(bad);
    }
    Ok(Action::Nat(Nat {
        kind,
        addresses,
        ports,
        persistent: flags & flag::PERSISTENT != 0,
        hash: flags & flag::HASH != 0,
        random: flags & flag::RANDOM != 0,
    }))
}

pub(super) fn write_nat(w: &mut Writer<'_>, nat: &Nat) -> Result<(), EncodeError> {
    let start = begin_nicira(w, subtype::NAT);
    w.zeros(2);
    let kind = match nat.kind {
        NatKind::Existing => 0,
        NatKind::Src => flag::SRC,
        NatKind::Dst => flag::DST,
    };
    let bit = |on: bool, bit: u16| if on { bit } else { 0 };
    w.u16(
        kind | bit(nat.persistent, flag::PERSISTENT)
            | bit(nat.hash, flag::HASH)
            | bit(nat.random, flag::RANDOM),
    );
    let mut parts = match nat.addresses {
        Some((IpAddr::V4(a), b)) => part::V4_MIN | bit(b != a, part::V4_MAX),
        Some((IpAddr::V6(a), b)) => part::V6_MIN | bit(b != a, part::V6_MAX),
        None => 0,
    };
    if let Some((low, high)) = nat.ports {
        parts |= part::PORT_MIN | bit(high != low, part::PORT_MAX);
    }
    w.u16(parts);
    if let Some((low, high)) = nat.addresses {
        write_address(w, low);
        if high != low {
            write_address(w, high);
        }
    }
    if let Some((low, high)) = nat.ports {
        w.u16(low);
        if high != low {
            w.u16(high);
        }
    }
    end_nicira(w, start)
}

fn write_address(w: &mut Writer<'_>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => w.bytes(&v4.octets()),
        IpAddr::V6(v6) => w.bytes(&v6.octets()),
    }
}
