//! Roles, forwarded requests, controllers' status and who gets which asynchronous message
//! (OpenFlow 1.3.5, 7.3.9, 7.3.10; 1.5.1, 7.3.8, 7.3.10, 7.4.5 to 7.4.7).

use super::{EncodeError, Header, Reader, Writer, decode, encode_message, kind, property};
use crate::Version;
use crate::error::{self, OfError};
use crate::msg::{
    AsyncEntry, AsyncKind, AsyncSettings, ControllerReason, ControllerStatus, RawProperty,
    RequestForward, Role, RoleReason, RoleRequest, RoleStatus,
};

pub(super) const fn role(number: u32) -> Result<Role, OfError> {
    Ok(match number {
        0 => Role::NoChange,
        1 => Role::Equal,
        2 => Role::Master,
        3 => Role::Slave,
        _ => return Err(error::OFPRRFC_BAD_ROLE),
    })
}

pub(super) fn read_role(mut r: Reader<'_>) -> Result<RoleRequest, OfError> {
    let role = role(r.u32()?)?;
    // Padding before 1.5.
    let short_id = r.u16()?;
    r.skip(2)?;
    let generation_id = r.u64()?;
    let later = r.version >= Version::V1_5;
    r.end()?;
    Ok(RoleRequest {
        role,
        generation_id,
        short_id: if later { short_id } else { 0 },
    })
}

pub(super) fn write_role(w: &mut Writer<'_>, m: RoleRequest) {
    let later = w.version >= Version::V1_5;
    w.u32(m.role as u32);
    w.u16(if later { m.short_id } else { 0 });
    w.zeros(2);
    w.u64(m.generation_id);
}

pub(super) fn read_role_status(mut r: Reader<'_>) -> Result<RoleStatus, OfError> {
    let role = role(r.u32()?)?;
    let reason = match r.u8()? {
        0 => RoleReason::MasterRequest,
        1 => RoleReason::Config,
        2 => RoleReason::Experimenter,
        _ => return Err(error::OFPBRC_BAD_TYPE),
    };
    r.skip(3)?;
    Ok(RoleStatus {
        role,
        reason,
        generation_id: r.u64()?,
        properties: property::all_experimenters(r)?,
    })
}

pub(super) fn write_role_status(w: &mut Writer<'_>, m: &RoleStatus) -> Result<(), EncodeError> {
    w.u32(m.role as u32);
    w.u8(m.reason as u8);
    w.zeros(3);
    w.u64(m.generation_id);
    property::write_raw(w, &m.properties)
}

pub(super) fn read_forward(r: Reader<'_>) -> Result<RequestForward, OfError> {
    let bytes = r.rest();
    let inner = Header::read(bytes).ok_or(error::OFPBRC_BAD_LEN)?;
    if !matches!(inner.kind, kind::GROUP_MOD | kind::METER_MOD) {
        return Err(error::OFPBRC_BAD_TYPE);
    }
    Ok(RequestForward {
        xid: inner.xid,
        request: Box::new(decode(r.version, bytes)?),
    })
}

pub(super) fn write_forward(w: &mut Writer<'_>, m: &RequestForward) -> Result<(), EncodeError> {
    encode_message(w, m.xid, &m.request)
}

/// OFPCSPT_URI.
const URI: u16 = 0;

/// Reads one entry of OFPMP_CONTROLLER_STATUS.
pub(super) fn read_controller(r: &mut Reader<'_>) -> Result<ControllerStatus, OfError> {
    let length = usize::from(r.peek_u16()?);
    let mut r = r.sub(length)?;
    r.skip(2)?;
    let short_id = r.u16()?;
    let role = role(r.u32()?)?;
    let reason = match r.u8()? {
        0 => ControllerReason::Request,
        1 => ControllerReason::ChannelStatus,
        2 => ControllerReason::Role,
        3 => ControllerReason::Added,
        4 => ControllerReason::Removed,
        5 => ControllerReason::ShortId,
        6 => ControllerReason::Experimenter,
        _ => return Err(error::OFPBRC_BAD_TYPE),
    };
    // OFPCT_STATUS_UP is 0 in 1.5.1; what else there is, is down.
    let up = r.u8()? == 0;
    r.skip(6)?;
    let (mut uri, mut properties) = (None, Vec::new());
    while let Some((kind, body)) = property::next(&mut r)? {
        if kind == URI {
            let text = String::from_utf8_lossy(body.rest()).into_owned();
            property::once(&mut uri, text)?;
        } else {
            properties.push(property::experimenter(kind, body)?);
        }
    }
    Ok(ControllerStatus {
        short_id,
        role,
        reason,
        up,
        uri,
        properties,
    })
}

pub(super) fn read_controller_status(mut r: Reader<'_>) -> Result<ControllerStatus, OfError> {
    let status = read_controller(&mut r)?;
    r.end()?;
    Ok(status)
}

pub(super) fn write_controller(
    w: &mut Writer<'_>,
    m: &ControllerStatus,
) -> Result<(), EncodeError> {
    let start = w.len();
    w.u16(0);
    w.u16(m.short_id);
    w.u32(m.role as u32);
    w.u8(m.reason as u8);
    w.u8(u8::from(!m.up));
    w.zeros(6);
    if let Some(uri) = &m.uri {
        property::write(w, URI, |w| w.bytes(uri.as_bytes()))?;
    }
    property::write_raw(w, &m.properties)?;
    w.patch_length(start, start, "controller status")
}

/// The kinds of 1.3, in their order there.
const FIXED_KINDS: [AsyncKind; 3] = [
    AsyncKind::PacketIn,
    AsyncKind::PortStatus,
    AsyncKind::FlowRemoved,
];

/// The reasons that there are of a kind, as bits (1.5.1).
const fn reasons(kind: AsyncKind) -> u32 {
    match kind {
        AsyncKind::PacketIn | AsyncKind::FlowRemoved => 0b11_1111,
        AsyncKind::PortStatus | AsyncKind::RoleStatus => 0b111,
        AsyncKind::TableStatus => 0b1_1000,
        AsyncKind::RequestForward | AsyncKind::FlowStats => 0b11,
        AsyncKind::ControllerStatus => 0b111_1111,
    }
}

/// Reads the settings that a controller asks for.
pub(super) fn read_set_async(r: Reader<'_>) -> Result<AsyncSettings, OfError> {
    if r.version < Version::V1_4 {
        return read_fixed_async(r);
    }
    read_asked_properties(r)
}

/// Reads NXT_SET_ASYNC_CONFIG: the form of 1.3 in every version, of which bits without a meaning
/// are passed over.
pub(super) fn read_old_async(r: Reader<'_>) -> Result<AsyncSettings, OfError> {
    let mut settings = read_fixed_async(r)?;
    for entry in &mut settings.entries {
        entry.mask &= reasons(entry.kind);
    }
    Ok(settings)
}

/// Reads the form of 1.4 as a request.
pub(super) fn read_asked_properties(r: Reader<'_>) -> Result<AsyncSettings, OfError> {
    let settings = read_async_properties(r)?;
    // "One of the masks is invalid" (1.5.1, 7.5.4.16).
    let strange = |e: &AsyncEntry| e.mask & !reasons(e.kind) != 0;
    if settings.entries.iter().any(strange) {
        return Err(error::OFPACFC_INVALID);
    }
    Ok(settings)
}

/// Reads the settings that a switch has.
pub(super) fn read_async(r: Reader<'_>) -> Result<AsyncSettings, OfError> {
    if r.version < Version::V1_4 {
        read_fixed_async(r)
    } else {
        read_async_properties(r)
    }
}

/// Reads the form of 1.3: six masks.
fn read_fixed_async(mut r: Reader<'_>) -> Result<AsyncSettings, OfError> {
    let mut settings = AsyncSettings::default();
    for kind in FIXED_KINDS {
        let (master, slave) = (r.u32()?, r.u32()?);
        for (slave, mask) in [(true, slave), (false, master)] {
            settings.entries.push(AsyncEntry { kind, slave, mask });
        }
    }
    r.end()?;
    Ok(settings)
}

/// Reads the form of 1.4: properties, two of each kind.
fn read_async_properties(mut r: Reader<'_>) -> Result<AsyncSettings, OfError> {
    let mut settings = AsyncSettings::default();
    while let Some((number, body)) = property::next(&mut r)? {
        if number >= RawProperty::EXPERIMENTER_SECOND {
            settings.properties.push(property::raw(number, body)?);
            continue;
        }
        let known = AsyncKind::ALL.get(usize::from(number / 2));
        let kind = *known.ok_or(error::OFPBPC_BAD_TYPE)?;
        if kind.since() > r.version.max(Version::V1_4) {
            return Err(error::OFPBPC_BAD_TYPE);
        }
        let slave = number % 2 == 0;
        let same = |e: &AsyncEntry| e.kind == kind && e.slave == slave;
        if settings.entries.iter().any(same) {
            return Err(error::OFPBPC_DUP_TYPE);
        }
        let mask = property::number(body)?;
        settings.entries.push(AsyncEntry { kind, slave, mask });
    }
    settings.entries.sort_by_key(|e| (e.kind, !e.slave));
    Ok(settings)
}

/// True for settings that the message of 1.3 can say: all of its masks. A whole configuration has
/// those of later kinds too, which are nothing there.
pub(super) fn is_whole(m: &AsyncSettings) -> bool {
    let old = m.entries.iter().filter(|e| FIXED_KINDS.contains(&e.kind));
    let whole = [2 * FIXED_KINDS.len(), 2 * AsyncKind::ALL.len()];
    let all = old.count() == 2 * FIXED_KINDS.len() && whole.contains(&m.entries.len());
    all && m.properties.is_empty()
}

/// Writes the form of 1.4.
pub(super) fn write_async_properties(
    w: &mut Writer<'_>,
    m: &AsyncSettings,
) -> Result<(), EncodeError> {
    let version = w.version.max(Version::V1_4);
    for entry in m.entries.iter().filter(|e| e.kind.since() <= version) {
        let number = 2 * entry.kind as u16 + u16::from(!entry.slave);
        property::write(w, number, |w| w.u32(entry.mask))?;
    }
    property::write_raw(w, &m.properties)
}

pub(super) fn write_async(w: &mut Writer<'_>, m: &AsyncSettings) -> Result<(), EncodeError> {
    if w.version >= Version::V1_4 {
        return write_async_properties(w, m);
    }
    for kind in FIXED_KINDS {
        for slave in [false, true] {
            let same = |e: &&AsyncEntry| e.kind == kind && e.slave == slave;
            match m.entries.iter().find(same) {
                Some(entry) => w.u32(entry.mask),
                None => return w.unsupported("a part of the asynchronous configuration"),
            }
        }
    }
    property::none(w, &m.properties)
}
