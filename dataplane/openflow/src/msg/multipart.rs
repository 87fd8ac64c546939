//! Multipart requests and replies.

use net::{GroupId, MeterId, PortNo, TableId};

use super::{
    AggregateStats, BundleFeatures, BundleFeaturesRequest, ControllerStatus, FlowCounters,
    FlowMonitorRequest, FlowStats, FlowUpdate, GroupDesc, GroupFeatures, GroupStats, MeterConfig,
    MeterFeatures, MeterStats, PacketQueue, PortStats, QueueStats, SwitchDesc, TableDesc,
    TableFeatures, TableStats,
};
use crate::Match;
use crate::model::PortDesc;

/// OFPT_MULTIPART_REQUEST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartRequest {
    /// More messages of this request follow (OFPMPF_REQ_MORE).
    pub more: bool,
    /// What is asked.
    pub body: RequestBody,
}

/// OFPT_MULTIPART_REPLY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartReply {
    /// More messages of this reply follow (OFPMPF_REPLY_MORE).
    pub more: bool,
    /// What is answered.
    pub body: ReplyBody,
}

/// Which flows (OFPMP_FLOW, OFPMP_AGGREGATE).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStatsRequest {
    /// Table; [`TableId::ALL`]: every one.
    pub table: TableId,
    /// Only flows with an output there; [`PortNo::ANY`]: no restriction.
    pub out_port: PortNo,
    /// Only flows with that group; [`GroupId::ANY`]: no restriction.
    pub out_group: GroupId,
    /// Only flows with this cookie,
    pub cookie: u64,
    /// in these bits.
    pub cookie_mask: u64,
    /// Only flows at least as specific as this.
    pub matching: Match,
}

impl Default for FlowStatsRequest {
    /// Every flow of every table.
    fn default() -> Self {
        FlowStatsRequest {
            table: TableId::ALL,
            out_port: PortNo::ANY,
            out_group: GroupId::ANY,
            cookie: 0,
            cookie_mask: 0,
            matching: Match::any(),
        }
    }
}

/// A request or reply of an experimenter (OFPMP_EXPERIMENTER).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimenterMultipart {
    /// Who defines it.
    pub experimenter: u32,
    /// Which of theirs.
    pub exp_type: u32,
    /// The rest.
    pub data: Vec<u8>,
}

/// OFPMP_*, as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// OFPMP_DESC.
    Desc,
    /// OFPMP_FLOW; OFPMP_FLOW_DESC in 1.5.
    Flow(FlowStatsRequest),
    /// OFPMP_AGGREGATE.
    Aggregate(FlowStatsRequest),
    /// OFPMP_TABLE.
    Table,
    /// OFPMP_PORT_STATS; [`PortNo::ANY`]: every port.
    PortStats(PortNo),
    /// OFPMP_QUEUE.
    Queue {
        /// [`PortNo::ANY`]: every port.
        port: PortNo,
        /// All ones: every queue.
        queue: u32,
    },
    /// OFPMP_GROUP; [`GroupId::ALL`]: every group.
    Group(GroupId),
    /// OFPMP_GROUP_DESC; [`GroupId::ALL`]: every group, the only choice before 1.5.
    GroupDesc(GroupId),
    /// OFPMP_GROUP_FEATURES.
    GroupFeatures,
    /// OFPMP_METER; [`MeterId::ALL`]: every meter.
    Meter(MeterId),
    /// OFPMP_METER_CONFIG; [`MeterId::ALL`]: every meter.
    MeterConfig(MeterId),
    /// OFPMP_METER_FEATURES.
    MeterFeatures,
    /// OFPMP_TABLE_FEATURES; empty: only asks.
    TableFeatures(Vec<TableFeatures>),
    /// OFPMP_PORT_DESC; [`PortNo::ANY`]: every port, the only choice before 1.5.
    PortDesc(PortNo),
    /// OFPMP_TABLE_DESC (1.4).
    TableDesc,
    /// OFPMP_QUEUE_DESC (1.4).
    QueueDesc {
        /// [`PortNo::ANY`]: every port.
        port: PortNo,
        /// All ones: every queue.
        queue: u32,
    },
    /// OFPMP_FLOW_MONITOR (1.4); ONF 1870 on 1.3.
    FlowMonitor(Vec<FlowMonitorRequest>),
    /// OFPMP_FLOW_STATS (1.5): counters only.
    FlowCounters(FlowStatsRequest),
    /// OFPMP_CONTROLLER_STATUS (1.5).
    ControllerStatus,
    /// OFPMP_BUNDLE_FEATURES (1.5).
    BundleFeatures(BundleFeaturesRequest),
    /// OFPMP_EXPERIMENTER.
    Experimenter(ExperimenterMultipart),
}

/// OFPMP_*, as answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// OFPMP_DESC.
    Desc(SwitchDesc),
    /// OFPMP_FLOW; OFPMP_FLOW_DESC in 1.5.
    Flow(Vec<FlowStats>),
    /// OFPMP_AGGREGATE.
    Aggregate(AggregateStats),
    /// OFPMP_TABLE.
    Table(Vec<TableStats>),
    /// OFPMP_PORT_STATS.
    PortStats(Vec<PortStats>),
    /// OFPMP_QUEUE.
    Queue(Vec<QueueStats>),
    /// OFPMP_GROUP.
    Group(Vec<GroupStats>),
    /// OFPMP_GROUP_DESC.
    GroupDesc(Vec<GroupDesc>),
    /// OFPMP_GROUP_FEATURES.
    GroupFeatures(GroupFeatures),
    /// OFPMP_METER.
    Meter(Vec<MeterStats>),
    /// OFPMP_METER_CONFIG.
    MeterConfig(Vec<MeterConfig>),
    /// OFPMP_METER_FEATURES.
    MeterFeatures(MeterFeatures),
    /// OFPMP_TABLE_FEATURES.
    TableFeatures(Vec<TableFeatures>),
    /// OFPMP_PORT_DESC.
    PortDesc(Vec<PortDesc>),
    /// OFPMP_TABLE_DESC (1.4).
    TableDesc(Vec<TableDesc>),
    /// OFPMP_QUEUE_DESC (1.4).
    QueueDesc(Vec<PacketQueue>),
    /// OFPMP_FLOW_MONITOR (1.4), ONF 1870 on 1.3: the flows there are, and later, with transaction
    /// number 0, what happens.
    FlowMonitor(Vec<FlowUpdate>),
    /// OFPMP_FLOW_STATS (1.5).
    FlowCounters(Vec<FlowCounters>),
    /// OFPMP_CONTROLLER_STATUS (1.5).
    ControllerStatus(Vec<ControllerStatus>),
    /// OFPMP_BUNDLE_FEATURES (1.5).
    BundleFeatures(BundleFeatures),
    /// OFPMP_EXPERIMENTER.
    Experimenter(ExperimenterMultipart),
}
