//! Why a modification was refused.

use net::{GroupId, MeterId, PortNo, TableId};

/// Why a modification was refused; nothing was changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// OFPFMFC_BAD_TABLE_ID.
    #[error("there is no table {0}; tables are 0..=253")]
    NoSuchTable(TableId),
    /// OFPFMFC_TABLE_FULL.
    #[error("table {0} is full")]
    TableFull(TableId),
    /// A learned flow would be one too many; OFPFMFC_TABLE_FULL where it must have a code.
    #[error("there are as many learned flows with cookie {0:#x} as there may be")]
    LearnLimit(u64),
    /// OFPFMFC_OVERLAP.
    #[error("the flow overlaps another of the same priority in table {0}")]
    Overlap(TableId),
    /// OFPBIC_BAD_TABLE_ID.
    #[error("goto_table:{to} from table {from}: only later tables can be reached")]
    BadGoto {
        /// Table of the flow.
        from: TableId,
        /// Where it points.
        to: TableId,
    },
    /// OFPBAC_BAD_OUT_PORT.
    #[error("{0} is no port to send to")]
    BadOutPort(PortNo),
    /// OFPBAC_BAD_OUT_GROUP.
    #[error("there is no group {0}")]
    NoSuchGroupInAction(GroupId),
    /// OFPMMFC_INVALID_METER in an instruction.
    #[error("there is no meter {0}")]
    NoSuchMeterInFlow(MeterId),
    /// OFPGMFC_GROUP_EXISTS.
    #[error("group {0} exists")]
    GroupExists(GroupId),
    /// OFPGMFC_INVALID_GROUP.
    #[error("{0} is no number for a group, or its buckets do not fit its type")]
    InvalidGroup(GroupId),
    /// OFPGMFC_WEIGHT_UNSUPPORTED.
    #[error("group {0}: weights mean something in select groups only")]
    WeightUnsupported(GroupId),
    /// OFPGMFC_OUT_OF_GROUPS.
    #[error("no room for another group")]
    OutOfGroups,
    /// OFPGMFC_OUT_OF_BUCKETS.
    #[error("group {0} has too many buckets")]
    OutOfBuckets(GroupId),
    /// OFPGMFC_LOOP.
    #[error("group {0} would reach itself")]
    GroupLoop(GroupId),
    /// OFPGMFC_UNKNOWN_GROUP.
    #[error("there is no group {0}")]
    UnknownGroup(GroupId),
    /// OFPGMFC_CHAINED_GROUP.
    #[error("group {0} is used by another group")]
    ChainedGroup(GroupId),
    /// OFPGMFC_BAD_WATCH.
    #[error("group {0}: a fast failover bucket must watch a port or a group")]
    BadWatch(GroupId),
    /// OFPGMFC_BAD_BUCKET.
    #[error("group {0}: a bucket's number is reserved, or given twice")]
    BadBucket(GroupId),
    /// OFPGMFC_UNKNOWN_BUCKET.
    #[error("group {0} has no such bucket")]
    UnknownBucket(GroupId),
    /// OFPGMFC_BUCKET_EXISTS.
    #[error("group {0} has a bucket of that number already")]
    BucketExists(GroupId),
    /// OFPMMFC_METER_EXISTS.
    #[error("meter {0} exists")]
    MeterExists(MeterId),
    /// OFPMMFC_INVALID_METER.
    #[error("{0} is no number for a meter")]
    InvalidMeter(MeterId),
    /// OFPMMFC_UNKNOWN_METER.
    #[error("there is no meter {0}")]
    UnknownMeter(MeterId),
    /// OFPMMFC_BAD_FLAGS.
    #[error("a meter counts kbps or pktps, not both")]
    BadMeterFlags,
    /// OFPMMFC_BAD_RATE.
    #[error("meter {0}: a band's rate must not be 0")]
    BadRate(MeterId),
    /// OFPMMFC_OUT_OF_METERS.
    #[error("no room for another meter")]
    OutOfMeters,
    /// OFPMMFC_OUT_OF_BANDS.
    #[error("meter {0} has too many bands")]
    OutOfBands(MeterId),
}
