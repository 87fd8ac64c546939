//! Tunnel options as fields: the table that says which option each `tun_metadata` field is, and what may
//! use them (NXT_TLV_TABLE_*, nicira-ext.h).

use net::options::{FIELDS, GeneveOption, OptionMap, VALUE_BYTES};
use openflow::action::{Action, CtZone, LearnSource, LearnTarget, SampleId};
use openflow::error::*;
use openflow::msg::{TlvCommand, TlvMap, TlvTable, TlvTableMod};
use openflow::{Field, Instructions, Match};

use crate::Switch;

/// Longest value of an option (RFC 8926 3.5).
const LONGEST: u8 = 124;

/// The table as it is.
pub(crate) fn table(map: &OptionMap) -> TlvTable {
    let options = map.iter().enumerate();
    TlvTable {
        max_space: FIELDS as u32 * u32::from(VALUE_BYTES),
        max_fields: FIELDS as u16,
        maps: options
            .filter_map(|(at, option)| {
                option.map(|option| TlvMap {
                    class: option.class,
                    kind: option.kind,
                    len: option.len,
                    index: at as u16,
                })
            })
            .collect(),
    }
}

/// Changes the table: all that is asked for, or nothing.
pub(crate) fn modify(switch: &Switch, request: &TlvTableMod) -> Result<(), OfError> {
    let old = switch.tunnel_options.get();
    let mut map = old;
    match request.command {
        TlvCommand::Add => {
            for wanted in &request.maps {
                add(&mut map, wanted)?;
            }
        }
        TlvCommand::Delete => {
            for unwanted in &request.maps {
                let place = map.get_mut(usize::from(unwanted.index));
                *place.ok_or(NXTTMFC_BAD_FIELD_IDX)? = None;
            }
        }
        TlvCommand::Clear => map = OptionMap::default(),
    }
    let gone: u8 = old
        .iter()
        .zip(&map)
        .enumerate()
        .fold(0, |bits, (at, (old, new))| {
            bits | u8::from(old.is_some() && new.is_none()) << at
        });
    if gone != 0 && in_use(switch, gone) {
        return Err(NXTTMFC_INVALID_TLV_DEL);
    }
    switch.tunnel_options.set(map);
    switch.fast.forget();
    switch.engine.set_tunnel_options(map);
    Ok(())
}

fn add(map: &mut OptionMap, wanted: &TlvMap) -> Result<(), OfError> {
    if !wanted.len.is_multiple_of(4) || wanted.len > LONGEST {
        return Err(NXTTMFC_BAD_OPT_LEN);
    }
    let place = map.get(usize::from(wanted.index));
    if place.ok_or(NXTTMFC_BAD_FIELD_IDX)?.is_some() {
        return Err(NXTTMFC_ALREADY_MAPPED);
    }
    let same = |o: &GeneveOption| (o.class, o.kind) == (wanted.class, wanted.kind);
    if map.iter().flatten().any(same) {
        return Err(NXTTMFC_DUP_ENTRY);
    }
    if wanted.len > VALUE_BYTES {
        return Err(NXTTMFC_TABLE_FULL);
    }
    if let Some(place) = map.get_mut(usize::from(wanted.index)) {
        *place = Some(GeneveOption {
            class: wanted.class,
            kind: wanted.kind,
            len: wanted.len,
        });
    }
    Ok(())
}

/// Refuses options that are no fields yet.
pub(crate) fn check_flow(
    map: &OptionMap,
    matching: &Match,
    instructions: &Instructions,
) -> Result<(), OfError> {
    mapped(map, uses(matching, instructions))
}

/// Likewise, for a list of actions.
pub(crate) fn check_actions(map: &OptionMap, actions: &[Action]) -> Result<(), OfError> {
    mapped(map, of_actions(actions))
}

fn mapped(map: &OptionMap, used: u8) -> Result<(), OfError> {
    let there = map.iter().enumerate();
    let there = there.fold(0u8, |bits, (at, option)| {
        bits | u8::from(option.is_some()) << at
    });
    match used & !there {
        0 => Ok(()),
        _ => Err(NXFMFC_INVALID_TLV_FIELD),
    }
}

fn in_use(switch: &Switch, fields: u8) -> bool {
    let tables = switch.tables.borrow();
    let pipeline = tables.pipeline();
    let mut rules = pipeline.tables().flat_map(|(_, table)| table.rules());
    rules.any(|rule| uses(&rule.matching(), &rule.instructions) & fields != 0)
}

/// The options that a flow uses, a bit for each.
fn uses(matching: &Match, instructions: &Instructions) -> u8 {
    let matched = matching.iter().fold(0, |bits, f| bits | bit(f.field));
    let written = instructions.write.as_deref().unwrap_or_default();
    matched | of_actions(&instructions.apply) | of_actions(written)
}

fn of_actions(actions: &[Action]) -> u8 {
    actions
        .iter()
        .fold(0, |bits, action| bits | of_action(action))
}

fn of_action(action: &Action) -> u8 {
    match action {
        Action::SetField { field, .. } | Action::DeleteField(field) => bit(*field),
        Action::Move { src, dst } => bit(src.field) | bit(dst.field),
        Action::Load { dst, .. } | Action::CheckPktLarger { dst, .. } | Action::StackPop(dst) => {
            bit(dst.field)
        }
        Action::OutputReg { src, .. } | Action::StackPush(src) => bit(src.field),
        Action::Multipath(multipath) => bit(multipath.dst.field),
        Action::Bundle(bundle) => bundle.dst.map_or(0, |dst| bit(dst.field)),
        Action::Clone(inner) => of_actions(inner),
        Action::Ct(ct) => {
            let zone = match ct.zone {
                CtZone::Field(zone) => bit(zone.field),
                CtZone::Number(_) => 0,
            };
            zone | of_actions(&ct.actions)
        }
        Action::Sample(sample) => {
            let ids = [&sample.obs_domain, &sample.obs_point];
            ids.into_iter().fold(0, |bits, id| match id {
                SampleId::Field(src) => bits | bit(src.field),
                SampleId::Number(_) => bits,
            })
        }
        Action::Learn(learn) => learn.specs.iter().fold(0, |bits, spec| {
            let src = match spec.src {
                LearnSource::Field(src) => bit(src.field),
                LearnSource::Value { .. } => 0,
            };
            let dst = match spec.dst {
                LearnTarget::Match(dst) | LearnTarget::Load(dst) => bit(dst.field),
                LearnTarget::Output => 0,
            };
            bits | src | dst
        }),
        _ => 0,
    }
}

fn bit(field: Field) -> u8 {
    field.presence().unwrap_or(0)
}
