//! OpenFlow: one version-independent model, its wire form and its text form. No I/O.
//!
//! Each match field is declared once, in [`field`]; codec, parser, printer and documentation come
//! from that declaration.

pub mod action;
pub mod field;
pub mod flow_match;
pub mod model;

pub use action::{Action, Instructions};
pub use field::{Field, SubField};
pub use flow_match::Match;
