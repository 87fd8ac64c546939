//! Requests: from paths and parameters to the store and back.

mod answer;
mod discovery;
mod handle;
mod openapi;
mod query;
mod target;
mod watch;

pub(crate) use handle::{Caller, handle, token_for};
