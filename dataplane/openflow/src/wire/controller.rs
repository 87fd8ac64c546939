//! Packets to the controller with a reason and data of their own (NXAST_CONTROLLER and its second
//! form, which is made of properties).

use net::MeterId;

use super::actions::{begin_nicira, end_nicira};
use super::nicira::subtype;
use super::property::write_as;
use super::{EncodeError, Reader, Writer};
use crate::Action;
use crate::action::Controller;
use crate::error::{self, OfError};

/// Properties of NXAST_CONTROLLER2.
mod property {
    pub(super) const MAX_LEN: u16 = 0;
    pub(super) const CONTROLLER_ID: u16 = 1;
    pub(super) const REASON: u16 = 2;
    pub(super) const USERDATA: u16 = 3;
    pub(super) const PAUSE: u16 = 4;
    pub(super) const METER_ID: u16 = 5;
}

/// Reads NXAST_CONTROLLER behind the subtype.
pub(super) fn read_first(r: &mut Reader<'_>) -> Result<Action, OfError> {
    let (max_len, controller_id) = (r.u16()?, r.u16()?);
    let reason = r.u8()?;
    r.skip(1)?;
    Ok(Action::Controller(Controller {
        max_len,
        reason,
        controller_id,
        userdata: Vec::new(),
        pause: false,
        meter_id: None,
    }))
}

/// Reads NXAST_CONTROLLER2 behind the subtype.
pub(super) fn read_second(mut r: Reader<'_>) -> Result<Action, OfError> {
    r.zeros(6, error::OFPBAC_BAD_ARGUMENT)?;
    let mut controller = Controller {
        max_len: 0xffff,
        reason: 1,
        controller_id: 0,
        userdata: Vec::new(),
        pause: false,
        meter_id: None,
    };
    let mut r = r.failing(error::OFPBPC_BAD_LEN);
    while !r.is_empty() {
        let (kind, length) = (r.u16()?, usize::from(r.u16()?));
        let payload = length.checked_sub(4).ok_or(error::OFPBPC_BAD_LEN)?;
        let mut body = r.sub(payload)?;
        r.skip((length.next_multiple_of(8) - length).min(r.len()))?;
        match kind {
            property::MAX_LEN => controller.max_len = body.u16()?,
            property::CONTROLLER_ID => controller.controller_id = body.u16()?,
            property::REASON => controller.reason = body.u8()?,
            property::USERDATA => controller.userdata = body.rest().to_vec(),
            property::PAUSE => controller.pause = true,
            // Meter 0 is none.
            property::METER_ID => {
                controller.meter_id = Some(MeterId(body.u32()?)).filter(|meter| meter.0 != 0);
            }
            _ => return Err(error::OFPBPC_BAD_TYPE),
        }
    }
    Ok(Action::Controller(controller))
}

/// The older form where it says all that there is to say.
pub(super) fn write(w: &mut Writer<'_>, c: &Controller) -> Result<(), EncodeError> {
    if c.userdata.is_empty() && !c.pause && c.meter_id.is_none() {
        let start = begin_nicira(w, subtype::CONTROLLER);
        w.u16(c.max_len);
        w.u16(c.controller_id);
        w.u8(c.reason);
        w.u8(0);
        return end_nicira(w, start);
    }
    let start = begin_nicira(w, subtype::CONTROLLER2);
    w.zeros(6);
    // Numbers of 16 bits are followed by two bytes that count; those of 8 bits by none.
    let wide = |n: u16| (u32::from(n) << 16).to_be_bytes();
    if c.max_len != 0xffff {
        write_property(w, property::MAX_LEN, &wide(c.max_len))?;
    }
    if c.controller_id != 0 {
        write_property(w, property::CONTROLLER_ID, &wide(c.controller_id))?;
    }
    if c.reason != 1 {
        write_property(w, property::REASON, &[c.reason])?;
    }
    if !c.userdata.is_empty() {
        write_property(w, property::USERDATA, &c.userdata)?;
    }
    if c.pause {
        write_property(w, property::PAUSE, &[])?;
    }
    if let Some(meter) = c.meter_id {
        write_property(w, property::METER_ID, &meter.0.to_be_bytes())?;
    }
    end_nicira(w, start)
}

fn write_property(w: &mut Writer<'_>, kind: u16, payload: &[u8]) -> Result<(), EncodeError> {
    write_as(w, kind, "userdata", |w| {
        w.bytes(payload);
        Ok(())
    })
}
