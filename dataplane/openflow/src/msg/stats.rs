//! What multipart replies carry, one struct for each kind of entry.

use net::{GroupId, MeterId, PortNo, TableId};

use super::RawProperty;
use crate::model::{Band, Bucket, GroupType};
use crate::{Instructions, Match};

/// OFPMP_DESC.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SwitchDesc {
    /// Manufacturer, at most 255 bytes.
    pub mfr_desc: String,
    /// Hardware, at most 255 bytes.
    pub hw_desc: String,
    /// Software, at most 255 bytes.
    pub sw_desc: String,
    /// Serial number, at most 31 bytes.
    pub serial_num: String,
    /// Name of this datapath, at most 255 bytes.
    pub dp_desc: String,
}

/// Statistics that only 1.5 can say (OXS).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MoreStats {
    /// How long no packet came: whole seconds, and nanoseconds beyond that (OFPXST_OFB_IDLE_TIME).
    pub idle: Option<(u32, u32)>,
    /// Flows that were added up (OFPXST_OFB_FLOW_COUNT).
    pub flow_count: Option<u32>,
}

/// A flow with its counters (OFPMP_FLOW; OFPMP_FLOW_DESC in 1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStats {
    /// Table.
    pub table: TableId,
    /// Age, whole seconds; all ones: not known.
    pub duration_sec: u32,
    /// Age, nanoseconds beyond that.
    pub duration_nsec: u32,
    /// Higher wins.
    pub priority: u16,
    /// Seconds.
    pub idle_timeout: u16,
    /// Seconds.
    pub hard_timeout: u16,
    /// FLOW_*.
    pub flags: u16,
    /// Who may be evicted first (1.4).
    pub importance: u16,
    /// The flow's name for its owner.
    pub cookie: u64,
    /// Packets; all ones: not counted.
    pub packet_count: u64,
    /// Bytes; all ones: not counted.
    pub byte_count: u64,
    /// Which packets.
    pub matching: Match,
    /// What happens to them.
    pub instructions: Instructions,
    /// What 1.5 adds.
    pub more: MoreStats,
}

/// Why a flow's counters are sent (OFPFSR_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowStatsReason {
    /// They were asked for.
    Request = 0,
    /// A trigger of the flow's own (OFPIT_STAT_TRIGGER).
    Trigger = 1,
}

/// A flow's counters without what it does (OFPMP_FLOW_STATS of 1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowCounters {
    /// Table.
    pub table: TableId,
    /// Why this is sent.
    pub reason: FlowStatsReason,
    /// Higher wins.
    pub priority: u16,
    /// Age, whole seconds; all ones: not known.
    pub duration_sec: u32,
    /// Age, nanoseconds beyond that.
    pub duration_nsec: u32,
    /// Packets; all ones: not counted.
    pub packet_count: u64,
    /// Bytes; all ones: not counted.
    pub byte_count: u64,
    /// Which packets.
    pub matching: Match,
    /// What else there is.
    pub more: MoreStats,
}

/// OFPMP_AGGREGATE. All ones: not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AggregateStats {
    /// Packets.
    pub packet_count: u64,
    /// Bytes.
    pub byte_count: u64,
    /// Flows.
    pub flow_count: u32,
}

/// OFPMP_TABLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TableStats {
    /// Table.
    pub table: TableId,
    /// Flows in it.
    pub active_count: u32,
    /// Packets looked up.
    pub lookup_count: u64,
    /// Packets that found a flow.
    pub matched_count: u64,
}

/// OFPMP_PORT_STATS. All ones: not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the specification's own names
pub struct PortStats {
    pub port: PortNo,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_frame_err: u64,
    pub rx_over_err: u64,
    pub rx_crc_err: u64,
    pub collisions: u64,
    pub duration_sec: u32,
    pub duration_nsec: u32,
    /// Other properties (1.4): optical, an experimenter's.
    pub properties: Vec<RawProperty>,
}

/// OFPMP_QUEUE.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the specification's own names
pub struct QueueStats {
    pub port: PortNo,
    pub queue: u32,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub duration_sec: u32,
    pub duration_nsec: u32,
    /// An experimenter's properties (1.4).
    pub properties: Vec<RawProperty>,
}

/// Counters of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BucketStats {
    /// Packets.
    pub packet_count: u64,
    /// Bytes.
    pub byte_count: u64,
}

/// OFPMP_GROUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStats {
    /// Which.
    pub group: GroupId,
    /// Flows and groups that name it.
    pub ref_count: u32,
    /// Packets.
    pub packet_count: u64,
    /// Bytes.
    pub byte_count: u64,
    /// Age, whole seconds.
    pub duration_sec: u32,
    /// Age, nanoseconds beyond that.
    pub duration_nsec: u32,
    /// One for each bucket.
    pub buckets: Vec<BucketStats>,
}

/// OFPMP_GROUP_DESC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDesc {
    /// Which.
    pub group: GroupId,
    /// Kind.
    pub kind: GroupType,
    /// Buckets.
    pub buckets: Vec<Bucket>,
    /// How a select group chooses (1.5).
    pub selection: Option<crate::model::Selection>,
    /// An experimenter's other properties (1.5).
    pub properties: Vec<RawProperty>,
}

/// OFPMP_GROUP_FEATURES; arrays are indexed by group type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GroupFeatures {
    /// Bit by group type.
    pub types: u32,
    /// OFPGFC_*: 1 weights, 2 liveness, 4 chaining, 8 refuses loops.
    pub capabilities: u32,
    /// How many groups of that type.
    pub max_groups: [u32; 4],
    /// Bit by action type.
    pub actions: [u32; 4],
}

/// Counters of a band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BandStats {
    /// Packets it took.
    pub packet_count: u64,
    /// Bytes it took.
    pub byte_count: u64,
}

/// OFPMP_METER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterStats {
    /// Which.
    pub meter: MeterId,
    /// Flows that name it.
    pub flow_count: u32,
    /// Packets that came.
    pub packet_in_count: u64,
    /// Bytes that came.
    pub byte_in_count: u64,
    /// Age, whole seconds.
    pub duration_sec: u32,
    /// Age, nanoseconds beyond that.
    pub duration_nsec: u32,
    /// One for each band.
    pub bands: Vec<BandStats>,
}

/// OFPMP_METER_CONFIG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterConfig {
    /// METER_*.
    pub flags: u16,
    /// Which.
    pub meter: MeterId,
    /// Bands.
    pub bands: Vec<Band>,
}

/// OFPMP_METER_FEATURES.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MeterFeatures {
    /// How many meters.
    pub max_meter: u32,
    /// Bit by band type (1: drop, 2: DSCP remark).
    pub band_types: u32,
    /// METER_* that are supported.
    pub capabilities: u32,
    /// Bands in a meter.
    pub max_bands: u8,
    /// Colours.
    pub max_color: u8,
    /// METER_FEATURE_* (1.5).
    pub features: u32,
}

/// The meter action may stand in an action set (OFPMFF_ACTION_SET).
pub const METER_FEATURE_ACTION_SET: u32 = 1;
/// It may stand anywhere in a list (OFPMFF_ANY_POSITION).
pub const METER_FEATURE_ANY_POSITION: u32 = 2;
/// It may stand in a list more than once (OFPMFF_MULTI_LIST).
pub const METER_FEATURE_MULTI_LIST: u32 = 4;
