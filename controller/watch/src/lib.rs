//! Where the cluster is read from, a folder of manifests or an API server; either way one consistent
//! [`ClusterView`](cluster::ClusterView) after another.
//!
//! A file or an object that cannot be read is reported and stops nothing else: what it said before
//! stays in force until it is mended or deleted.

mod folder;
mod lease;
mod object;
mod server;
mod source;

pub use cluster::Changes;
pub use folder::{Folder, OpenError};
pub use lease::{Elected, Elector, LeaseName, Standing, Terms};
pub use server::{ConnectError, Connection, Server, Timing, Writer, interface_of};
pub use source::{Opened, Origin, ParseSourceError, Snapshot, Source, SourceProblem, SourceSpec};
