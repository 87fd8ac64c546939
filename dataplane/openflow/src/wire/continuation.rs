//! The state of a paused packet (NXCPT_*, ovs-actions(7), "controller").

use net::TableId;

use super::actions::{read_actions, write_actions};
use super::property::write_as;
use super::{EncodeError, Reader, Writer};
use crate::Action;
use crate::error::{self, OfError};
use crate::msg::{Continuation, Frame};

/// NXCPT_*.
mod property {
    pub(super) const BRIDGE: u16 = 0x8000;
    pub(super) const STACK: u16 = 0x8001;
    pub(super) const MIRRORS: u16 = 0x8002;
    pub(super) const CONNTRACKED: u16 = 0x8003;
    pub(super) const TABLE_ID: u16 = 0x8004;
    pub(super) const COOKIE: u16 = 0x8005;
    pub(super) const ACTIONS: u16 = 0x8006;
    pub(super) const ACTION_SET: u16 = 0x8007;
    pub(super) const ODP_PORT: u16 = 0x8008;
}

/// Most bytes of one entry of the stack.
const STACK_ENTRY: usize = 255;

/// Reads properties until nothing is left.
pub(super) fn read(r: Reader<'_>) -> Result<Continuation, OfError> {
    let mut r = r.failing(error::OFPBPC_BAD_LEN);
    let mut state = Continuation::default();
    // Table and cookie hold for the lists behind them until they are given again.
    let (mut table, mut cookie) = (TableId(0), 0);
    while !r.is_empty() {
        let (kind, length) = (r.u16()?, usize::from(r.u16()?));
        let payload = length.checked_sub(4).ok_or(error::OFPBPC_BAD_LEN)?;
        let mut body = r.sub(payload)?;
        r.skip((length.next_multiple_of(8) - length).min(r.len()))?;
        match kind {
            property::BRIDGE => state.bridge = u128::from_be_bytes(body.array()?),
            property::STACK if payload > STACK_ENTRY => return Err(error::OFPBPC_BAD_LEN),
            property::STACK => state.stack.push(body.rest().to_vec()),
            property::MIRRORS => state.mirrors = body.u32()?,
            property::CONNTRACKED => state.conntracked = true,
            property::TABLE_ID => table = TableId(body.u8()?),
            property::COOKIE => {
                body.skip(4)?;
                cookie = body.u64()?;
            }
            property::ACTIONS => state.frames.push(Frame {
                table,
                cookie,
                actions: read_list(body)?,
            }),
            property::ACTION_SET => state.action_set = read_list(body)?,
            property::ODP_PORT => state.odp_port = body.u32()?,
            _ => return Err(error::OFPBPC_BAD_TYPE),
        }
    }
    Ok(state)
}

fn read_list(mut body: Reader<'_>) -> Result<Vec<Action>, OfError> {
    body.skip(4)?;
    read_actions(body)
}

/// Writes the properties.
pub(super) fn write(w: &mut Writer<'_>, state: &Continuation) -> Result<(), EncodeError> {
    if state.bridge != 0 {
        property(w, property::BRIDGE, |w| {
            w.bytes(&state.bridge.to_be_bytes());
            Ok(())
        })?;
    }
    for entry in &state.stack {
        if entry.len() > STACK_ENTRY {
            let what = "an entry of the stack";
            return Err(EncodeError::TooLong { what });
        }
        property(w, property::STACK, |w| {
            w.bytes(entry);
            Ok(())
        })?;
    }
    let number = |w: &mut Writer<'_>, kind: u16, number: u32| {
        property(w, kind, |w| {
            w.u32(number);
            Ok(())
        })
    };
    if state.mirrors != 0 {
        number(w, property::MIRRORS, state.mirrors)?;
    }
    if state.conntracked {
        property(w, property::CONNTRACKED, |_| Ok(()))?;
    }
    write_frames(w, &state.frames)?;
    if !state.action_set.is_empty() {
        list(w, property::ACTION_SET, &state.action_set)?;
    }
    if state.odp_port != 0 {
        number(w, property::ODP_PORT, state.odp_port)?;
    }
    Ok(())
}

/// Lists with the table and cookie of their flows, where these differ from the last one's.
fn write_frames(w: &mut Writer<'_>, frames: &[Frame]) -> Result<(), EncodeError> {
    let (mut table, mut cookie) = (TableId(0), 0);
    for frame in frames {
        if frame.table != table {
            table = frame.table;
            property(w, property::TABLE_ID, |w| {
                w.u8(table.0);
                Ok(())
            })?;
        }
        if frame.cookie != cookie {
            cookie = frame.cookie;
            property(w, property::COOKIE, |w| {
                w.zeros(4);
                w.u64(cookie);
                Ok(())
            })?;
        }
        list(w, property::ACTIONS, &frame.actions)?;
    }
    Ok(())
}

fn list(w: &mut Writer<'_>, kind: u16, actions: &[Action]) -> Result<(), EncodeError> {
    property(w, kind, |w| {
        w.zeros(4);
        write_actions(w, actions)
    })
}

fn property(
    w: &mut Writer<'_>,
    kind: u16,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    write_as(w, kind, "continuation", body)
}
