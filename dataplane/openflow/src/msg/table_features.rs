//! Table features (OFPMP_TABLE_FEATURES).

use net::TableId;

use crate::Field;

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

/// What a table can do. A list is none where the property is left out; the `_miss` lists, left
/// out, are as the ordinary ones (OpenFlow 1.3.5, A.3.5.5.2).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TableFeatures {
    /// Which table.
    pub table: TableId,
    /// Its name, at most 31 bytes.
    pub name: String,
    /// Bits of the metadata it can match.
    pub metadata_match: u64,
    /// Bits of the metadata it can write.
    pub metadata_write: u64,
    /// OFPTC_*.
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
}
