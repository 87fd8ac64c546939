//! Packets that waited for a controller go on (NXT_RESUME).

use net::{PortNo, TableId};
use openflow::error::{
    NXR_STALE, OFPBRC_BAD_PACKET, OFPBRC_BAD_PORT, OFPBRC_BAD_TABLE_ID, OfError,
};
use openflow::msg::PacketIn2;
use openflow::{Action, Field, Match};
use tables::TABLES;

use super::{SHORTEST_PACKET, features, tlv};
use crate::refusal::of_error;
use crate::{Switch, events};

/// Most bytes of a value on the stack: the longest field has so many.
const STACK_ENTRY: usize = 16;

/// Goes on with a packet. What comes back is checked like everything else that a controller sends.
pub(super) fn resume(switch: &Switch, request: PacketIn2) -> Result<(), OfError> {
    let rest = request.continuation.ok_or(NXR_STALE)?;
    if rest.bridge != switch.instance || rest.stack.iter().any(|e| e.len() > STACK_ENTRY) {
        return Err(NXR_STALE);
    }
    if request.data.len() < SHORTEST_PACKET {
        return Err(OFPBRC_BAD_PACKET);
    }
    let in_port = request.matching.get(Field::InPort).ok_or(OFPBRC_BAD_PORT)?;
    for frame in &rest.frames {
        if frame.table >= TableId(TABLES) {
            return Err(OFPBRC_BAD_TABLE_ID);
        }
        check(switch, &frame.actions)?;
    }
    check(switch, &rest.action_set)?;
    let mut fields = Match::any();
    for given in request.matching.iter() {
        if events::is_pipeline_field(given.field) {
            fields.set(given.field, given.value, given.mask);
        }
    }
    // It must see every modification before it.
    switch.publish();
    let packet = worker::PacketOut {
        in_port: PortNo(in_port.value as u32),
        actions: Vec::new(),
        data: request.data,
        fields,
    };
    switch.engine.resume(packet, rest);
    Ok(())
}

fn check(switch: &Switch, actions: &[Action]) -> Result<(), OfError> {
    features::check_actions(actions, false)?;
    tlv::check_actions(&switch.tunnel_options.get(), actions)?;
    let tables = switch.tables.borrow();
    tables.check_actions(actions).map_err(of_error)
}
