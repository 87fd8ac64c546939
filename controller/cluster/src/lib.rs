//! From what the cluster says ([`view::ClusterView`]) to what the network shall be
//! ([`desired::DesiredState`]): plain data and pure functions, no I/O, no clock.
//!
//! [`resolve`] is the whole of it; what must outlive the process is in [`State`]. Whatever an
//! object asks for that cannot be done becomes a [`Problem`] on that object, naming the field and
//! the remedy; it stops nothing else.

mod acl;
mod addr;
mod adopt;
pub mod annotations;
pub mod backends;
mod bindings;
mod changes;
pub mod desired;
pub mod edge;
mod hash;
mod ipam;
mod map;
pub mod name;
mod nodes;
pub mod podapi;
pub mod policy;
pub mod portname;
pub mod problem;
mod qos;
pub mod query;
mod reserve;
mod resolve;
mod resolver;
mod services;
mod state;
mod sticky;
mod subnets;
mod text;
pub mod view;
pub mod writes;

pub use addr::Family;
pub use changes::Changes;
pub use desired::DesiredState;
pub use map::{Change, Map, changes, different};
pub use name::{Kind, NamespacedName, ObjectRef};
pub use portname::{DEFAULT_INTERFACE, port_name};
pub use problem::{Effect, Problem, Problems};
pub use resolve::{Settings, resolve};
pub use resolver::Resolver;
pub use state::{Allocation, State, StateError};
pub use view::ClusterView;
