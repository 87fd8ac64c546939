//! Flows, groups and meters as `ovs-ofctl` writes them.

use openflow::msg::{FlowStats, GroupDesc, MeterConfig};
use openflow::text::{self, Names};
use openflow::{Instructions, Match};
use tables::FlowFilter;

/// The filter of `dump-flows`.
pub(crate) fn filter(text: &str) -> Result<FlowFilter, String> {
    let request = text::parse_flow_filter(text, Names::NONE).map_err(|e| e.to_string())?;
    Ok(FlowFilter {
        table: request.table,
        matching: request.matching,
        cookie: request.cookie,
        cookie_mask: request.cookie_mask,
        out_port: request.out_port,
        out_group: request.out_group,
    })
}

pub(crate) fn matching(matching: &Match) -> String {
    matching.to_string()
}

pub(crate) fn actions(instructions: &Instructions) -> String {
    instructions.to_string()
}

pub(crate) fn flow(stats: &FlowStats) -> String {
    text::print_flow_stats(stats, Names::NONE)
}

pub(crate) fn group(desc: &GroupDesc) -> String {
    text::print_group_desc(desc, Names::NONE)
}

pub(crate) fn meter(config: &MeterConfig) -> String {
    text::print_meter_config(config)
}
