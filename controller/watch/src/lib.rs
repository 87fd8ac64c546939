//! Where the cluster is read from: a folder of manifests now, an API server later; either way one
//! consistent [`ClusterView`](cluster::ClusterView) after another.
//!
//! A file or an object that cannot be read is reported and stops nothing else: what it said before
//! stays in force until it is mended or deleted.

mod folder;
mod object;
mod source;

pub use cluster::Changes;
pub use folder::{Folder, OpenError};
pub use source::{ParseSourceError, Snapshot, Source, SourceProblem, SourceSpec};
