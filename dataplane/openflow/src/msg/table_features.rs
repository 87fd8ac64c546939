//! Table features (OFPMP_TABLE_FEATURES).

use net::TableId;

use super::RawProperty;
use crate::Field;
use crate::flow_match::MatchField;

/// An instruction that a table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeatureInstruction {
    /// OFPIT_*.
    Standard(u16),
    /// Of an experimenter.
    Experimenter(u32),
}

/// An action that a table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeatureAction {
    /// OFPAT_*.
    Standard(u16),
    /// Of an experimenter.
    Experimenter(u32),
}

/// A field that a table may match or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeatureOxm {
    /// One that we know.
    Field {
        /// Which.
        field: Field,
        /// With a mask.
        masked: bool,
    },
    /// A header that we do not know, as it is on the wire.
    Unknown {
        /// Class, field, mask bit and length.
        header: u32,
        /// Of an experimenter class.
        experimenter: Option<u32>,
    },
}

/// What a request for table features is to do (OFPTFC_*, 1.5; before, it replaces).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum FeaturesCommand {
    /// Replace the whole pipeline.
    #[default]
    Replace = 0,
    /// Change these tables.
    Modify = 1,
    /// Switch these tables on.
    Enable = 2,
    /// Switch these tables off.
    Disable = 3,
}

/// Can be an ingress table (OFPTFF_INGRESS_TABLE, 1.5).
pub const TABLE_INGRESS: u32 = 1;
/// Can be an egress table (OFPTFF_EGRESS_TABLE, 1.5).
pub const TABLE_EGRESS: u32 = 2;
/// Is the first egress table (OFPTFF_FIRST_EGRESS, 1.5).
pub const TABLE_FIRST_EGRESS: u32 = 16;

/// What a table can do. A list is none where the property is left out; the `_miss` lists, left
/// out, are as the ordinary ones (OpenFlow 1.3.5, A.3.5.5.2).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TableFeatures {
    /// Which table.
    pub table: TableId,
    /// Its name, at most 31 bytes.
    pub name: String,
    /// What to do (1.5).
    pub command: FeaturesCommand,
    /// TABLE_INGRESS and so on (1.5).
    pub features: u32,
    /// Bits of the metadata it can match.
    pub metadata_match: u64,
    /// Bits of the metadata it can write.
    pub metadata_write: u64,
    /// OFPTC_*: what it is configured to (1.3), or can be (1.4: `capabilities`).
    pub config: u32,
    /// How many flows.
    pub max_entries: u32,
    /// Instructions.
    pub instructions: Option<Vec<FeatureInstruction>>,
    /// Instructions of the table-miss flow.
    pub instructions_miss: Option<Vec<FeatureInstruction>>,
    /// Tables that goto_table may name.
    pub next_tables: Option<Vec<TableId>>,
    /// Likewise for the table-miss flow.
    pub next_tables_miss: Option<Vec<TableId>>,
    /// Actions of write_actions.
    pub write_actions: Option<Vec<FeatureAction>>,
    /// Likewise for the table-miss flow.
    pub write_actions_miss: Option<Vec<FeatureAction>>,
    /// Actions of apply_actions.
    pub apply_actions: Option<Vec<FeatureAction>>,
    /// Likewise for the table-miss flow.
    pub apply_actions_miss: Option<Vec<FeatureAction>>,
    /// Fields that can be matched.
    pub matching: Option<Vec<FeatureOxm>>,
    /// Fields that need not be matched.
    pub wildcards: Option<Vec<FeatureOxm>>,
    /// Fields that write_actions may set.
    pub write_setfield: Option<Vec<FeatureOxm>>,
    /// Likewise for the table-miss flow.
    pub write_setfield_miss: Option<Vec<FeatureOxm>>,
    /// Fields that apply_actions may set.
    pub apply_setfield: Option<Vec<FeatureOxm>>,
    /// Likewise for the table-miss flow.
    pub apply_setfield_miss: Option<Vec<FeatureOxm>>,
    /// Tables that its flows are copied from (1.4).
    pub sync_from: Option<Vec<TableId>>,
    /// Fields that the copy_field of write_actions may name (1.5).
    pub write_copyfield: Option<Vec<FeatureOxm>>,
    /// Likewise for the table-miss flow.
    pub write_copyfield_miss: Option<Vec<FeatureOxm>>,
    /// Fields that the copy_field of apply_actions may name (1.5).
    pub apply_copyfield: Option<Vec<FeatureOxm>>,
    /// Likewise for the table-miss flow.
    pub apply_copyfield_miss: Option<Vec<FeatureOxm>>,
    /// Fields with values: the packet types that it takes (1.5).
    pub packet_types: Option<Vec<MatchField>>,
    /// An experimenter's properties.
    pub properties: Vec<RawProperty>,
}
