//! What an operator can ask the controller, and what it answers: one JSON line asked, one JSON line
//! answered, on the same local socket as [`crate::podapi`].
//!
//! ```text
//! > {"request":"pods","namespace":"bank"}
//! < {"pods":[{"namespace":"bank","name":"web-1","node":"node1",...}]}
//! > {"request":"dance"}
//! < {"error":"unknown variant `dance`, expected one of `pods`, ..."}
//! ```
//!
//! The types are plain (strings and numbers) on purpose: people and scripts read them. A field may
//! be added, none is renamed.

mod answer;
mod near;
mod question;
mod report;
mod trace;

pub use answer::{
    Answer, Backend, Counted, Difference, How, InForce, Node, NodeDiff, Pod, Policy, PolicyRule,
    Room, Service, ServicePort, Subnet,
};
pub use near::near;
pub use question::{DEFAULT_SOURCE_PORT, Question, Selection};
pub use report::{NodeStatus, Report};
pub use trace::{Choice, End, Path, Step, Trace};
