//! Every message of the protocol, both directions, independent of version.
//!
//! What a version cannot say is refused when it is encoded; what a version says differently (bundles
//! are an experimenter message on 1.3 and native on 1.4) is one variant here. Properties that the
//! model has no words for are kept as they are ([`RawProperty`]); a switch refuses them in requests
//! with [`Message::unsupported`].

mod bundle;
mod continuation;
mod events;
mod limits;
mod monitor;
mod multipart;
mod nicira;
mod packet;
mod property;
mod stats;
mod switch;
mod table;
mod table_features;
mod unsupported;

pub use bundle::{
    BUNDLE_ATOMIC, BUNDLE_ORDERED, BUNDLE_TIME, BundleAdd, BundleControl, BundleControlType,
    BundleFeatures, BundleFeaturesRequest, CookieLabels, HttpAnswers,
};
pub use continuation::{Continuation, Frame};
pub use events::{
    AsyncConfig, AsyncEntry, AsyncKind, AsyncMasks, AsyncSettings, ControllerReason,
    ControllerStatus, RequestForward, RoleReason, RoleStatus,
};
pub use limits::{Impairment, ZoneLimit};
pub use monitor::{
    FlowEvent, FlowMonitorRequest, FlowUpdate, FlowUpdateFull, MONITOR_ADD, MONITOR_INITIAL,
    MONITOR_INSTRUCTIONS, MONITOR_MODIFY, MONITOR_NO_ABBREV, MONITOR_ONLY_OWN, MONITOR_REMOVED,
    MonitorCommand,
};
pub use multipart::{
    ExperimenterMultipart, FlowStatsRequest, MultipartReply, MultipartRequest, ReplyBody,
    RequestBody,
};
pub use nicira::{CtFlush, CtTuple, TlvCommand, TlvMap, TlvTable, TlvTableMod};
pub use packet::{
    FlowRemoved, PacketIn, PacketIn2, PacketInFormat, PacketInReason, PacketOut, RemovedReason,
};
pub use property::RawProperty;
pub use stats::{
    AggregateStats, BandStats, BucketStats, FlowCounters, FlowStats, FlowStatsReason, GroupDesc,
    GroupFeatures, GroupStats, METER_FEATURE_ACTION_SET, METER_FEATURE_ANY_POSITION,
    METER_FEATURE_MULTI_LIST, MeterConfig, MeterFeatures, MeterStats, MoreStats, PortStats,
    QueueStats, SwitchDesc, TableStats,
};
pub use switch::{
    CAP_BUNDLES, CAP_FLOW_MONITORING, CAP_FLOW_STATS, CAP_GROUP_STATS, CAP_IP_REASM,
    CAP_PORT_BLOCKED, CAP_PORT_STATS, CAP_QUEUE_STATS, CAP_TABLE_STATS, ErrorMsg, Hello,
    PacketQueue, PortMod, PortReason, PortStatus, Role, RoleRequest, SwitchConfig, SwitchFeatures,
};
pub use table::{
    EVICT_IMPORTANCE, EVICT_LIFETIME, EVICT_OTHER, TABLE_EVICTION, TABLE_VACANCY_EVENTS, TableDesc,
    TableMod, TableReason, TableStatus, Vacancy,
};
pub use table_features::{
    FeatureAction, FeatureInstruction, FeatureOxm, FeaturesCommand, TABLE_EGRESS,
    TABLE_FIRST_EGRESS, TABLE_INGRESS, TableFeatures,
};

use net::PortNo;

use crate::model::{FlowMod, GroupMod, MeterMod};

/// Experimenter number of Open vSwitch's extensions (NX_VENDOR_ID).
pub const NICIRA: u32 = 0x0000_2320;
/// Experimenter number of the ONF (bundles on 1.3).
pub const ONF: u32 = 0x4f4e_4600;
/// Experimenter number of our own messages ("SLC").
pub const SLUICE: u32 = 0x0053_4c43;

/// A message without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// OFPT_HELLO: versions.
    Hello(Hello),
    /// OFPT_ERROR.
    Error(ErrorMsg),
    /// OFPT_ECHO_REQUEST with its data.
    EchoRequest(Vec<u8>),
    /// OFPT_ECHO_REPLY with the request's data.
    EchoReply(Vec<u8>),
    /// An experimenter message that has no variant of its own.
    Experimenter {
        /// Who defines it.
        experimenter: u32,
        /// Which of theirs.
        exp_type: u32,
        /// The rest.
        data: Vec<u8>,
    },
    /// OFPT_FEATURES_REQUEST.
    FeaturesRequest,
    /// OFPT_FEATURES_REPLY.
    FeaturesReply(SwitchFeatures),
    /// OFPT_GET_CONFIG_REQUEST.
    GetConfigRequest,
    /// OFPT_GET_CONFIG_REPLY.
    GetConfigReply(SwitchConfig),
    /// OFPT_SET_CONFIG.
    SetConfig(SwitchConfig),
    /// OFPT_PACKET_IN.
    PacketIn(PacketIn),
    /// OFPT_FLOW_REMOVED.
    FlowRemoved(FlowRemoved),
    /// OFPT_PORT_STATUS.
    PortStatus(PortStatus),
    /// OFPT_PACKET_OUT.
    PacketOut(PacketOut),
    /// OFPT_FLOW_MOD.
    FlowMod(FlowMod),
    /// OFPT_GROUP_MOD.
    GroupMod(GroupMod),
    /// OFPT_PORT_MOD.
    PortMod(PortMod),
    /// OFPT_TABLE_MOD.
    TableMod(TableMod),
    /// OFPT_METER_MOD.
    MeterMod(MeterMod),
    /// OFPT_MULTIPART_REQUEST.
    MultipartRequest(MultipartRequest),
    /// OFPT_MULTIPART_REPLY.
    MultipartReply(MultipartReply),
    /// OFPT_BARRIER_REQUEST.
    BarrierRequest,
    /// OFPT_BARRIER_REPLY.
    BarrierReply,
    /// OFPT_QUEUE_GET_CONFIG_REQUEST for a port, or [`PortNo::ANY`].
    QueueGetConfigRequest(PortNo),
    /// OFPT_QUEUE_GET_CONFIG_REPLY.
    QueueGetConfigReply {
        /// Port that was asked for.
        port: PortNo,
        /// Its queues.
        queues: Vec<PacketQueue>,
    },
    /// OFPT_ROLE_REQUEST.
    RoleRequest(RoleRequest),
    /// OFPT_ROLE_REPLY.
    RoleReply(RoleRequest),
    /// OFPT_GET_ASYNC_REQUEST.
    GetAsyncRequest,
    /// OFPT_GET_ASYNC_REPLY.
    GetAsyncReply(AsyncSettings),
    /// OFPT_SET_ASYNC, NXT_SET_ASYNC_CONFIG (19) and its second form (27).
    SetAsync(AsyncSettings),
    /// OFPT_ROLE_STATUS (1.4); ONF 1911 on 1.3.
    RoleStatus(RoleStatus),
    /// OFPT_TABLE_STATUS (1.4).
    TableStatus(TableStatus),
    /// OFPT_REQUESTFORWARD (1.4); ONF 2350 on 1.3.
    RequestForward(RequestForward),
    /// OFPT_CONTROLLER_STATUS (1.5).
    ControllerStatus(ControllerStatus),
    /// Bundle control: ONF 2300 on 1.3, OFPT_BUNDLE_CONTROL on 1.4.
    BundleControl(BundleControl),
    /// A message put into a bundle: ONF 2301 on 1.3, OFPT_BUNDLE_ADD_MESSAGE on 1.4.
    BundleAdd(BundleAdd),
    /// NXT_SET_PACKET_IN_FORMAT.
    SetPacketInFormat(PacketInFormat),
    /// NXT_SET_CONTROLLER_ID.
    SetControllerId(u16),
    /// NXT_PACKET_IN2.
    PacketIn2(PacketIn2),
    /// NXT_RESUME: the packet-in to go on with.
    Resume(PacketIn2),
    /// NXT_CT_FLUSH_ZONE.
    CtFlushZone(u16),
    /// NXT_CT_FLUSH.
    CtFlush(CtFlush),
    /// NXT_ROLE_REQUEST (10): a role without an election.
    NxtRoleRequest(Role),
    /// NXT_ROLE_REPLY (11): the answer to it.
    NxtRoleReply(Role),
    /// NXT_PACKET_IN (17), for controllers that ask for [`PacketInFormat::Nxt`].
    NxtPacketIn(PacketIn),
    /// NXT_FLOW_REMOVED (14).
    NxtFlowRemoved(FlowRemoved),
    /// NXT_FLOW_AGE (18): ages in NXST_FLOW replies, which later versions do not have.
    NxtFlowAge,
    /// NXT_TLV_TABLE_MOD (24).
    TlvTableMod(TlvTableMod),
    /// NXT_TLV_TABLE_REQUEST (25).
    TlvTableRequest,
    /// NXT_TLV_TABLE_REPLY (26).
    TlvTableReply(TlvTable),
    /// Ends a flow monitor on 1.3 (ONF 1870); from 1.4 on a [`RequestBody::FlowMonitor`] does.
    FlowMonitorCancel(u32),
    /// The switch tells no more of flows for want of room (ONF 1871 on 1.3, an entry of its own in
    /// a [`ReplyBody::FlowMonitor`] from 1.4 on).
    FlowMonitorPaused,
    /// It tells again (ONF 1872 on 1.3, likewise).
    FlowMonitorResumed,
    /// Names of the objects behind cookies (ours).
    CookieLabels(CookieLabels),
    /// What ports of the machine answer to HTTP requests (ours).
    HttpAnswers(HttpAnswers),
    /// Sets limits of zones, or tells them (ours).
    ZoneLimits(Vec<ZoneLimit>),
    /// Asks for the limits of zones that were set so (ours).
    ZoneLimitsRequest,
    /// Sets impairments of ports, or tells them (ours).
    Impairments(Vec<Impairment>),
    /// Asks for the impairments of ports (ours).
    ImpairmentsRequest,
}
