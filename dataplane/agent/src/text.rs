//! Flows, groups and meters as `ovs-ofctl` writes them.
use openflow::msg::*;
use openflow::{Instructions, Match};
use tables::FlowFilter;
pub(crate) fn filter(_: &str) -> Result<FlowFilter, String> {
    Err("filters need the text form of matches, which is not built in yet".into())
}
pub(crate) fn matching(m: &Match) -> String {
    format!("{m:?}")
}
pub(crate) fn actions(m: &Instructions) -> String {
    format!("{m:?}")
}
pub(crate) fn flow(m: &FlowStats) -> String {
    format!("{m:?}")
}
pub(crate) fn group(m: &GroupDesc) -> String {
    format!("{m:?}")
}
pub(crate) fn meter(m: &MeterConfig) -> String {
    format!("{m:?}")
}
