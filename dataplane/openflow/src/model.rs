//! What the messages carry, independent of version: flow, group and meter modifications,
//! descriptions of ports.

use net::{GroupId, MacAddr, MeterId, PortNo, TableId};

use crate::msg::RawProperty;
use crate::{Action, Instructions, Match};

/// Ask for a flow-removed message (OFPFF_SEND_FLOW_REM).
pub const FLOW_SEND_REMOVED: u16 = 1;
/// Refuse a flow that overlaps one of the same priority (OFPFF_CHECK_OVERLAP).
pub const FLOW_CHECK_OVERLAP: u16 = 2;
/// Reset the counters of flows that stay (OFPFF_RESET_COUNTS).
pub const FLOW_RESET_COUNTS: u16 = 4;
/// Do not count packets (OFPFF_NO_PKT_COUNTS).
pub const FLOW_NO_PACKET_COUNTS: u16 = 8;
/// Do not count bytes (OFPFF_NO_BYT_COUNTS).
pub const FLOW_NO_BYTE_COUNTS: u16 = 16;

/// OFPFC_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the specification's own names
pub enum FlowCommand {
    Add = 0,
    Modify = 1,
    ModifyStrict = 2,
    Delete = 3,
    DeleteStrict = 4,
}

/// A flow-mod without its match and its instructions; the fields are those of [`FlowMod`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FlowHead {
    pub command: FlowCommand,
    pub table: TableId,
    pub cookie: u64,
    pub cookie_mask: u64,
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub priority: u16,
    pub buffer_id: u32,
    pub out_port: PortNo,
    pub out_group: GroupId,
    pub flags: u16,
    pub importance: u16,
}

/// OFPT_FLOW_MOD (OpenFlow 1.3.5, A.3.4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowMod {
    /// What to do.
    pub command: FlowCommand,
    /// Table; [`TableId::ALL`] in deletions.
    pub table: TableId,
    /// The flow's name for its owner.
    pub cookie: u64,
    /// Bits of the cookie that restrict modifications and deletions.
    pub cookie_mask: u64,
    /// Seconds without a packet after which it goes; 0: never.
    pub idle_timeout: u16,
    /// Seconds after which it goes; 0: never.
    pub hard_timeout: u16,
    /// Higher wins.
    pub priority: u16,
    /// Packet kept at the switch; OFP_NO_BUFFER otherwise.
    pub buffer_id: u32,
    /// Deletions: only flows with an output there; [`PortNo::ANY`]: no restriction.
    pub out_port: PortNo,
    /// Deletions: only flows with that group; [`GroupId::ANY`]: no restriction.
    pub out_group: GroupId,
    /// FLOW_*.
    pub flags: u16,
    /// Who may be evicted first (1.4).
    pub importance: u16,
    /// Which packets.
    pub matching: Match,
    /// What happens to them.
    pub instructions: Instructions,
}

/// No buffered packet (OFP_NO_BUFFER).
pub const NO_BUFFER: u32 = 0xffff_ffff;
/// The priority that `ovs-ofctl` and the specification give without being asked.
pub const DEFAULT_PRIORITY: u16 = 0x8000;

impl FlowMod {
    /// Adds a flow without timeouts.
    pub fn add(table: TableId, priority: u16, matching: Match, instructions: Instructions) -> Self {
        FlowMod {
            command: FlowCommand::Add,
            table,
            cookie: 0,
            cookie_mask: 0,
            idle_timeout: 0,
            hard_timeout: 0,
            priority,
            buffer_id: NO_BUFFER,
            out_port: PortNo::ANY,
            out_group: GroupId::ANY,
            flags: 0,
            importance: 0,
            matching,
            instructions,
        }
    }

    /// From its parts.
    pub fn of(head: FlowHead, matching: Match, instructions: Instructions) -> Self {
        FlowMod {
            command: head.command,
            table: head.table,
            cookie: head.cookie,
            cookie_mask: head.cookie_mask,
            idle_timeout: head.idle_timeout,
            hard_timeout: head.hard_timeout,
            priority: head.priority,
            buffer_id: head.buffer_id,
            out_port: head.out_port,
            out_group: head.out_group,
            flags: head.flags,
            importance: head.importance,
            matching,
            instructions,
        }
    }

    /// All but match and instructions.
    pub fn head(&self) -> FlowHead {
        FlowHead {
            command: self.command,
            table: self.table,
            cookie: self.cookie,
            cookie_mask: self.cookie_mask,
            idle_timeout: self.idle_timeout,
            hard_timeout: self.hard_timeout,
            priority: self.priority,
            buffer_id: self.buffer_id,
            out_port: self.out_port,
            out_group: self.out_group,
            flags: self.flags,
            importance: self.importance,
        }
    }

    /// Removes exactly that flow.
    pub fn delete_strict(table: TableId, priority: u16, matching: Match) -> Self {
        FlowMod {
            command: FlowCommand::DeleteStrict,
            ..FlowMod::add(table, priority, matching, Instructions::drop())
        }
    }
}

/// OFPGT_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the specification's own names
pub enum GroupType {
    All = 0,
    Select = 1,
    Indirect = 2,
    FastFailover = 3,
}

impl GroupType {
    /// The weight of a bucket that is given none.
    pub(crate) const fn default_weight(self) -> u16 {
        match self {
            GroupType::Select => 1,
            _ => 0,
        }
    }
}

/// OFPGC_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[allow(missing_docs)] // the specification's own names
pub enum GroupCommand {
    Add = 0,
    Modify = 1,
    Delete = 2,
    InsertBucket = 3,
    RemoveBucket = 5,
    /// Open vSwitch's own: adds, or modifies what is there.
    AddOrModify = 0x8000,
}

impl GroupCommand {
    /// True for a bucket that the command may refer to (OpenFlow 1.5.1, 6.7).
    pub(crate) const fn takes_bucket(self, id: u32) -> bool {
        let one = id <= BUCKET_MAX || matches!(id, BUCKET_FIRST | BUCKET_LAST);
        match self {
            GroupCommand::InsertBucket => one,
            GroupCommand::RemoveBucket => one || id == BUCKET_ALL,
            _ => id == BUCKET_ALL,
        }
    }
}

/// Last number a bucket may have (OFPG_BUCKET_MAX).
pub const BUCKET_MAX: u32 = 0xffff_ff00;
/// The first bucket of a group (OFPG_BUCKET_FIRST).
pub const BUCKET_FIRST: u32 = 0xffff_fffd;
/// The last bucket of a group (OFPG_BUCKET_LAST).
pub const BUCKET_LAST: u32 = 0xffff_fffe;
/// Every bucket of a group (OFPG_BUCKET_ALL).
pub const BUCKET_ALL: u32 = 0xffff_ffff;

/// A bucket of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// Number (1.5); below that its place.
    pub id: u32,
    /// Share in a select group.
    pub weight: u16,
    /// Port whose liveness decides (fast failover).
    pub watch_port: PortNo,
    /// Group whose liveness decides (fast failover).
    pub watch_group: GroupId,
    /// What it does.
    pub actions: Vec<Action>,
    /// An experimenter's properties (1.5).
    pub properties: Vec<RawProperty>,
}

/// OFPT_GROUP_MOD.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupMod {
    /// What to do.
    pub command: GroupCommand,
    /// Kind of group.
    pub kind: GroupType,
    /// Which group.
    pub group: GroupId,
    /// Bucket that insertion (behind it, or [`BUCKET_FIRST`] or [`BUCKET_LAST`]) and removal (it,
    /// those or [`BUCKET_ALL`]) refer to (1.5). [`BUCKET_ALL`] in other commands.
    pub command_bucket_id: u32,
    /// Its buckets.
    pub buckets: Vec<Bucket>,
    /// How a select group chooses (experimenter property, 1.5).
    pub selection: Option<Selection>,
    /// An experimenter's other properties (1.5).
    pub properties: Vec<RawProperty>,
}

/// How a select group chooses (ovs-ofctl's `selection_method`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    /// `hash` or `dp_hash`.
    pub method: String,
    /// Parameter: hash basis and function.
    pub param: u64,
    /// Fields that are hashed, with masks.
    pub fields: Match,
}

/// OFPMC_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[allow(missing_docs)] // the specification's own names
pub enum MeterCommand {
    Add = 0,
    Modify = 1,
    Delete = 2,
}

/// Rates are in kbit/s (OFPMF_KBPS).
pub const METER_KBPS: u16 = 1;
/// Rates are in packets/s (OFPMF_PKTPS).
pub const METER_PKTPS: u16 = 2;
/// Bursts are given (OFPMF_BURST).
pub const METER_BURST: u16 = 4;
/// Count (OFPMF_STATS).
pub const METER_STATS: u16 = 8;

/// What a band does above its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BandKind {
    /// Drops.
    Drop,
    /// Raises the drop precedence of the DSCP by so many levels.
    DscpRemark {
        /// Levels.
        prec_level: u8,
    },
}

/// A meter band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Band {
    /// What it does.
    pub kind: BandKind,
    /// kbit/s or packets/s, by the meter's flags.
    pub rate: u32,
    /// kbit or packets; meaningful with [`METER_BURST`].
    pub burst: u32,
}

/// OFPT_METER_MOD.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeterMod {
    /// What to do.
    pub command: MeterCommand,
    /// METER_*.
    pub flags: u16,
    /// Which meter.
    pub meter: MeterId,
    /// Its bands.
    pub bands: Vec<Band>,
}

/// Port is administratively down (OFPPC_PORT_DOWN).
pub const PORT_DOWN: u32 = 1;
/// Drop what it receives (OFPPC_NO_RECV).
pub const PORT_NO_RECV: u32 = 4;
/// Drop what is sent to it (OFPPC_NO_FWD).
pub const PORT_NO_FWD: u32 = 32;
/// No packet-ins for it (OFPPC_NO_PACKET_IN).
pub const PORT_NO_PACKET_IN: u32 = 64;
/// No link (OFPPS_LINK_DOWN).
pub const PORT_STATE_LINK_DOWN: u32 = 1;
/// Blocked (OFPPS_BLOCKED).
pub const PORT_STATE_BLOCKED: u32 = 2;
/// Live for fast failover (OFPPS_LIVE).
pub const PORT_STATE_LIVE: u32 = 4;

/// A port's description (`ofp_port`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDesc {
    /// Number.
    pub port: PortNo,
    /// Hardware address.
    pub hw_addr: MacAddr,
    /// Name, at most 15 bytes on the wire.
    pub name: String,
    /// PORT_* configuration bits.
    pub config: u32,
    /// PORT_STATE_* bits.
    pub state: u32,
    /// OFPPF_* bits.
    pub curr: u32,
    /// OFPPF_* bits.
    pub advertised: u32,
    /// OFPPF_* bits.
    pub supported: u32,
    /// OFPPF_* bits.
    pub peer: u32,
    /// kbit/s.
    pub curr_speed: u32,
    /// kbit/s.
    pub max_speed: u32,
    /// Other properties (1.4): optical, an experimenter's.
    pub properties: Vec<RawProperty>,
}
