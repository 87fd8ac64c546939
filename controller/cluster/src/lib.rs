//! From what the cluster says ([`view::ClusterView`]) to what the network shall be
//! ([`desired::DesiredState`]): plain data and pure functions, no I/O, no clock.
//!
//! Whatever an object asks for that cannot be done becomes a [`Problem`] on that object, naming the
//! field and the remedy; it stops nothing else.

pub mod desired;
pub mod name;
pub mod podapi;
pub mod portname;
pub mod problem;
mod text;
pub mod view;

pub use desired::DesiredState;
pub use name::{Kind, NamespacedName, ObjectRef};
pub use portname::{DEFAULT_INTERFACE, port_name};
pub use problem::{Effect, Problem};
pub use view::ClusterView;
