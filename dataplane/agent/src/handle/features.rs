//! What the switch can do, as OpenFlow asks for it.

use net::{PortNo, TableId};
use openflow::encap::packet_type;
use openflow::error::*;
use openflow::model::{METER_BURST, METER_KBPS, METER_PKTPS, METER_STATS};
use openflow::msg::{
    FeatureAction, FeatureInstruction, FeatureOxm, GroupFeatures, MeterFeatures, TABLE_EVICTION,
    TABLE_INGRESS, TABLE_VACANCY_EVENTS, TableFeatures,
};
use openflow::{Action, Field, Instructions, Match, Version};
use tables::{MAX_FLOWS, TABLES, Tables};

/// OFPAT_* that can be carried out: output, copy_ttl_out, copy_ttl_in, set_mpls_ttl, dec_mpls_ttl,
/// push_vlan, pop_vlan, push_mpls, pop_mpls, set_queue, group, set_nw_ttl, dec_nw_ttl, set_field,
/// push_pbb, pop_pbb (OpenFlow 1.3.5, 7.2.5).
const ACTIONS: &[u16] = &[
    0, 11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
];
/// Likewise what 1.5 adds: copy_field and meter.
const ACTIONS_1_5: &[u16] = &[28, 29];
/// OFPIT_*: goto_table, write_metadata, write_actions, apply_actions, clear_actions.
const INSTRUCTIONS: &[u16] = &[1, 2, 3, 4, 5];
/// OFPIT_METER, an action from 1.5 on.
const METER: u16 = 6;

/// True for fields that workers fill in.
fn can_match(field: Field) -> bool {
    field != Field::DpHash
}

/// True for fields that workers can write.
fn can_write(field: Field) -> bool {
    field.info().writable && can_match(field) && !matches!(field, Field::CtMark | Field::CtLabel)
}

/// Refuses matches and actions that workers cannot carry out: said here, and not by packets that
/// are dropped later.
pub(crate) fn check_flow(matching: &Match, instructions: &Instructions) -> Result<(), OfError> {
    if let Some(odd) = matching.iter().find(|f| !can_match(f.field)) {
        tracing::debug!("flow refused: cannot match {}", odd.field.info().name);
        return Err(OFPBMC_BAD_FIELD);
    }
    let written = instructions.write.iter().flatten();
    let actions = instructions.apply.iter().chain(written);
    actions.into_iter().try_for_each(|a| check_action(a, false))
}

/// Likewise for the actions of a bucket, or of a packet-out.
pub(crate) fn check_actions(actions: &[Action], packet_out: bool) -> Result<(), OfError> {
    actions
        .iter()
        .try_for_each(|action| check_action(action, packet_out))
}

fn check_action(action: &Action, packet_out: bool) -> Result<(), OfError> {
    let writes = |field: Field| match can_write(field) {
        true => Ok(()),
        false => Err(OFPBAC_BAD_SET_TYPE),
    };
    match action {
        Action::Output { port, .. } => match *port {
            PortNo::TABLE if !packet_out => Err(OFPBAC_BAD_OUT_PORT),
            _ => Ok(()),
        },
        Action::SetField { field, .. } => writes(*field),
        Action::Load { dst, .. } | Action::Move { dst, .. } | Action::StackPop(dst) => {
            writes(dst.field)
        }
        Action::Clone(inner) => check_actions(inner, packet_out),
        // Network service headers are left to those who serve.
        Action::Encap(encap) if encap.packet_type == packet_type::NSH => Err(NXBAC_BAD_HEADER_TYPE),
        Action::DecNshTtl => Err(OFPBAC_BAD_EXP_TYPE),
        // There are no helpers that look for addresses inside of connections.
        Action::Ct(ct) if ct.alg != 0 => {
            tracing::debug!("refused: ct(alg={}): no such helper", ct.alg);
            Err(OFPBAC_BAD_ARGUMENT)
        }
        _ => Ok(()),
    }
}

/// All tables are alike but for the tables that follow them.
pub(crate) fn table_features(version: Version, table: TableId) -> TableFeatures {
    // On 1.3, pbb_uca's header is too long for such a list: it is ONF extension 2560's there.
    let listed = |field: Field| version >= Version::V1_4 || field != Field::PbbUca;
    let fields = || {
        let all = Field::ALL.iter().copied();
        all.filter(|f| can_match(*f) && listed(*f))
    };
    let oxms = |masked: bool| {
        let oxm = |field: Field| FeatureOxm::Field {
            field,
            masked: masked && field.info().maskable,
        };
        fields().map(oxm).collect::<Vec<_>>()
    };
    let writable = || {
        let oxm = |field| FeatureOxm::Field {
            field,
            masked: false,
        };
        let fields = fields().filter(|f| can_write(*f));
        Some(fields.map(oxm).collect::<Vec<_>>())
    };
    let is_1_5 = version >= Version::V1_5;
    let more: &[u16] = if is_1_5 { ACTIONS_1_5 } else { &[] };
    let actions: Vec<_> = ACTIONS
        .iter()
        .chain(more)
        .map(|a| FeatureAction::Standard(*a))
        .collect();
    let instructions = INSTRUCTIONS
        .iter()
        .chain((!is_1_5).then_some(&METER))
        .map(|i| FeatureInstruction::Standard(*i));
    TableFeatures {
        table,
        name: String::new(),
        // No egress tables.
        features: if is_1_5 { TABLE_INGRESS } else { 0 },
        metadata_match: u64::MAX,
        metadata_write: u64::MAX,
        config: match version {
            Version::V1_3 => 0,
            _ => TABLE_EVICTION | TABLE_VACANCY_EVENTS,
        },
        max_entries: MAX_FLOWS as u32,
        instructions: Some(instructions.collect()),
        next_tables: Some((table.0 + 1..TABLES).map(TableId).collect()),
        write_actions: Some(actions.clone()),
        apply_actions: Some(actions),
        matching: Some(oxms(true)),
        wildcards: Some(oxms(false)),
        write_setfield: writable(),
        apply_setfield: writable(),
        write_copyfield: is_1_5.then(writable).flatten(),
        apply_copyfield: is_1_5.then(writable).flatten(),
        ..TableFeatures::default()
    }
}

/// Group features: all four types alike.
pub(crate) fn group_features(tables: &Tables) -> GroupFeatures {
    let actions = ACTIONS.iter().fold(0u32, |bits, action| bits | 1 << action);
    GroupFeatures {
        types: 0b1111,
        // Weights, liveness, chaining, and loops are refused.
        capabilities: 0b1111,
        max_groups: [tables.most_groups() as u32; 4],
        actions: [actions; 4],
    }
}

/// Meter features.
pub(crate) fn meter_features(tables: &Tables) -> MeterFeatures {
    MeterFeatures {
        max_meter: tables.most_meters() as u32,
        // OFPMBT_DROP and OFPMBT_DSCP_REMARK.
        band_types: 1 << 1 | 1 << 2,
        capabilities: u32::from(METER_KBPS | METER_PKTPS | METER_BURST | METER_STATS),
        max_bands: tables::MAX_BANDS as u8,
        max_color: 0,
        features: 0,
    }
}
