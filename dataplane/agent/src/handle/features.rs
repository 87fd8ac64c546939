//! What the switch can do, as OpenFlow asks for it.

use net::TableId;
use openflow::Field;
use openflow::model::{METER_BURST, METER_KBPS, METER_PKTPS, METER_STATS};
use openflow::msg::{
    FeatureAction, FeatureInstruction, FeatureOxm, GroupFeatures, MeterFeatures, TableFeatures,
};
use tables::{MAX_FLOWS, MAX_GROUPS, MAX_METERS, TABLES};

/// OFPAT_* that can be carried out: output, push_vlan, pop_vlan, set_queue, group, set_nw_ttl,
/// dec_nw_ttl, set_field (OpenFlow 1.3.5, 7.2.5).
const ACTIONS: &[u16] = &[0, 17, 18, 21, 22, 23, 24, 25];
/// OFPIT_*: goto_table, write_metadata, write_actions, apply_actions, clear_actions, meter.
const INSTRUCTIONS: &[u16] = &[1, 2, 3, 4, 5, 6];

/// True for fields that packets are parsed for.
pub(crate) fn can_match(field: Field) -> bool {
    !matches!(
        field,
        Field::InPhyPort
            | Field::ActsetOutput
            | Field::PacketType
            | Field::PbbIsid
            | Field::PbbUca
            | Field::ConjId
            | Field::DpHash
    )
}

/// All tables are alike but for the tables that follow them.
pub(crate) fn table_features(table: TableId) -> TableFeatures {
    let fields = || Field::ALL.iter().copied().filter(|f| can_match(*f));
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
        let fields = fields().filter(|f| f.info().writable);
        Some(fields.map(oxm).collect::<Vec<_>>())
    };
    let actions: Vec<_> = ACTIONS
        .iter()
        .map(|a| FeatureAction::Standard(*a))
        .collect();
    let instructions = INSTRUCTIONS
        .iter()
        .map(|i| FeatureInstruction::Standard(*i));
    TableFeatures {
        table,
        name: String::new(),
        metadata_match: u64::MAX,
        metadata_write: u64::MAX,
        config: 0,
        max_entries: MAX_FLOWS as u32,
        instructions: Some(instructions.collect()),
        next_tables: Some((table.0 + 1..TABLES).map(TableId).collect()),
        write_actions: Some(actions.clone()),
        apply_actions: Some(actions),
        matching: Some(oxms(true)),
        wildcards: Some(oxms(false)),
        write_setfield: writable(),
        apply_setfield: writable(),
        ..TableFeatures::default()
    }
}

/// Group features: all four types alike.
pub(crate) fn group_features() -> GroupFeatures {
    let actions = ACTIONS.iter().fold(0u32, |bits, action| bits | 1 << action);
    GroupFeatures {
        types: 0b1111,
        // Weights, liveness, chaining, and loops are refused.
        capabilities: 0b1111,
        max_groups: [MAX_GROUPS as u32; 4],
        actions: [actions; 4],
    }
}

/// Meter features.
pub(crate) fn meter_features() -> MeterFeatures {
    MeterFeatures {
        max_meter: MAX_METERS as u32,
        // OFPMBT_DROP and OFPMBT_DSCP_REMARK.
        band_types: 1 << 1 | 1 << 2,
        capabilities: u32::from(METER_KBPS | METER_PKTPS | METER_BURST | METER_STATS),
        max_bands: tables::MAX_BANDS as u8,
        max_color: 0,
    }
}
