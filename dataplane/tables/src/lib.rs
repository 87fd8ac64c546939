//! The OpenFlow tables: what the agent writes and the workers read.
//!
//! [`Tables`] is the writer: it applies flow, group and meter modifications with OpenFlow's
//! semantics to a [`Pipeline`] and publishes it. A [`Pipeline`] is immutable once published; the
//! next one shares everything that did not change with it, so that one rule costs the path to it
//! and not the table. Workers keep an `Arc<Pipeline>` and compare [`Published::generation`] once
//! per burst; nothing they do blocks the writer, or the other way round.
//!
//! [`mod@reference`] is the slow, obvious twin of the lookup and the oracle of its tests.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod bucket;
mod change_log;
mod classifier;
mod conjunction;
mod error;
mod expiry;
mod group;
mod learn;
mod looks;
mod mask;
mod meter;
mod pipeline;
pub mod reference;
mod rendezvous;
mod rule;
mod trie;
mod writer;

pub use change_log::KeyBits;
pub use classifier::{Shape, Table, Template};
pub use error::Refused;
pub use group::{Group, GroupBucket, GroupStats};
pub use learn::Learned;
pub use mask::Mask;
pub use meter::{Meter, Verdict};
pub use pipeline::{Pipeline, Published, TableStats};
pub use rule::{Counters, Rule, RuleStats};
pub use writer::{
    Change, EvictBy, FlowFilter, MAX_BANDS, MAX_FLOWS, MAX_FLOWS_IN_ALL, MAX_GROUPS, MAX_METERS,
    MatchPlan, RemovedReason, Saved, Scan, Selector, TABLES, TableLimits, Tables, Vacancy,
    VacancyEvent,
};
