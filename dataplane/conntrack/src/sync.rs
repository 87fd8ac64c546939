//! The atomics that connections are made of, and how structs of them are declared. The test of
//! interleavings has others in their place.

pub(crate) use os::shared;
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, fence};
