//! Who set which field: `metadata.managedFields` and server-side apply.
//!
//! A set of fields is kept as its `fieldsV1` form says it (structured-merge-diff, `fieldpath`):
//! `f:name` a field, `k:{...}` an element of a list known by keys, `v:...` an element of a list
//! that is a set.

mod apply;
mod managers;
mod set;
mod shape;

pub(crate) use apply::apply;
pub(crate) use managers::{Manager, Managers, Operation};
pub(crate) use shape::{ListType, Shape};
