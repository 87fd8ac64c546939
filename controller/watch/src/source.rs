//! What a source is called and what it yields.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use cluster::{Changes, ClusterView};

use crate::folder::{Folder, OpenError};
use crate::server::{Connection, Server, Timing, Writer};

/// Where the cluster is read from.
pub trait Source: Send {
    /// The first picture as soon as there is one, then another whenever something has changed.
    /// The future can be dropped and asked for again without missing anything.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Snapshot> + Send + '_>>;
}

/// The value of `--source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// `dir:PATH`, a folder of manifests.
    Dir(PathBuf),
    /// `kube`, the API server.
    Kube,
}

/// The text names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a source; use dir:PATH or kube")]
pub struct ParseSourceError(String);

impl FromStr for SourceSpec {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, ParseSourceError> {
        match text.split_once(':') {
            Some(("dir", path)) if !path.is_empty() => Ok(SourceSpec::Dir(path.into())),
            None if text == "kube" => Ok(SourceSpec::Kube),
            _ => Err(ParseSourceError(text.into())),
        }
    }
}

/// A source, and who writes to it.
pub struct Opened {
    /// The source.
    pub source: Box<dyn Source>,
    /// A folder is not written to.
    pub writer: Option<Writer>,
}

/// A source that can be opened, again and again.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A folder of manifests.
    Dir(PathBuf),
    /// An API server.
    Kube(Connection),
}

impl SourceSpec {
    /// Finds the way to the source. An API server is found by the kubeconfig, or else by the
    /// service account of the pod we are in; it need not answer yet.
    ///
    /// # Errors
    /// There is no way to an API server.
    pub async fn find(&self, kubeconfig: Option<&Path>) -> Result<Origin, OpenError> {
        Ok(match self {
            SourceSpec::Dir(path) => Origin::Dir(path.clone()),
            SourceSpec::Kube => Origin::Kube(Connection::open(kubeconfig).await?),
        })
    }
}

impl Origin {
    /// The way to the API server, where there is one.
    pub fn connection(&self) -> Option<&Connection> {
        match self {
            Origin::Dir(_) => None,
            Origin::Kube(connection) => Some(connection),
        }
    }

    /// Begins to watch the source.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn open(&self) -> Result<Opened, OpenError> {
        match self {
            Origin::Dir(path) => Ok(Opened {
                source: Box::new(Folder::open(path)?),
                writer: None,
            }),
            Origin::Kube(connection) => {
                let server = Server::watch(connection, Timing::default());
                Ok(Opened {
                    writer: Some(server.writer(connection)),
                    source: Box::new(server),
                })
            }
        }
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceSpec::Dir(path) => write!(f, "dir:{}", path.display()),
            SourceSpec::Kube => f.write_str("kube"),
        }
    }
}

/// The cluster as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Every object that could be read, or the last good version of it.
    ///
    /// A source that changes it in place has to copy all of it while somebody else still holds
    /// it: let go of it before asking for the next.
    pub view: Arc<ClusterView>,
    /// What could not be read.
    pub problems: Vec<SourceProblem>,
    /// What differs from the snapshot before; everything in the first.
    pub changed: Changes,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceProblem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, where that is known.
    pub line: Option<u64>,
    /// The object, like `Pod bank/web-1`, where that is known.
    pub object: Option<String>,
    /// The field, as a path from the object's root; empty if it is the whole.
    pub field: String,
    /// What is wrong, what is done instead, what to do.
    pub message: String,
}

impl fmt::Display for SourceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(object) = &self.object {
            write!(f, ": {object}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_folder_or_the_api_server() {
        let dir = SourceSpec::Dir("deploy/examples/bank".into());
        assert_eq!("dir:deploy/examples/bank".parse(), Ok(dir.clone()));
        assert_eq!(dir.to_string(), "dir:deploy/examples/bank");
        assert_eq!("kube".parse(), Ok(SourceSpec::Kube));
        for bad in ["", "dir", "dir:", "kube:", "file:x", "/etc"] {
            let error = bad.parse::<SourceSpec>().unwrap_err().to_string();
            assert!(error.contains("use dir:PATH or kube"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_problem_names_file_line_object_and_field() {
        let problem = SourceProblem {
            file: "bank/pods.yaml".into(),
            line: Some(12),
            object: Some("Pod bank/web-1".into()),
            field: "spec.nodeName".into(),
            message: "invalid type".into(),
        };
        assert_eq!(
            problem.to_string(),
            "bank/pods.yaml:12: Pod bank/web-1: spec.nodeName: invalid type"
        );
    }
}
