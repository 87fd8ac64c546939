//! OpenFlow: one version-independent model, its wire form and its text form. No I/O.
//!
//! Each match field is declared once, in [`field`]; codec, parser, printer and documentation come
//! from that declaration. A message goes from bytes ([`wire::decode`]) to [`msg::Message`] and back
//! ([`wire::encode`]); flows, groups and meters have a text form that is Open vSwitch's ([`text`]).
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod action;
mod check;
pub mod encap;
pub mod error;
pub mod field;
pub mod flow_match;
pub mod links;
pub mod model;
pub mod msg;
pub mod text;
pub mod version;
pub mod wire;

pub use action::{Action, Instructions};
pub use error::OfError;
pub use field::{Field, SubField};
pub use flow_match::Match;
pub use msg::Message;
pub use version::Version;
