//! Leader election among replicas, by a Lease of the API server (coordination.k8s.io/v1).

mod election;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::server::{Connection, RequestError};
use election::{Act, Election};
pub use election::{Standing, Terms};

/// A leader that goes waits so long at most for the server to hear of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Which Lease, and who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Takes part in an election.
#[derive(Debug)]
pub struct Elector {
    connection: Connection,
    lease: LeaseName,
    election: Election,
    least: Arc<AtomicU64>,
    standing: watch::Sender<Standing>,
}

/// What others need of an elector.
#[derive(Clone, Debug)]
pub struct Elected {
    /// What we are; it changes.
    pub standing: watch::Receiver<Standing>,
    least: Arc<AtomicU64>,
}

impl Elected {
    /// A switch has had a master of this election; ours has to be a later one, if we lead.
    pub fn outranked(&self, election: u64) {
        self.least
            .fetch_max(election.saturating_add(1), Ordering::Relaxed);
    }
}

impl Elector {
    /// A candidate that takes part when [`Elector::run`] runs.
    pub fn new(
        connection: &Connection,
        lease: LeaseName,
        identity: String,
        terms: Terms,
    ) -> (Self, Elected) {
        let election = Election::new(identity, terms);
        let (standing, seen) = watch::channel(election.standing(Instant::now()));
        let least = Arc::new(AtomicU64::new(0));
        let elector = Elector {
            connection: connection.clone(),
            lease,
            election,
            least: least.clone(),
            standing,
        };
        let elected = Elected {
            standing: seen,
            least,
        };
        (elector, elected)
    }

    /// Takes part until `stop` comes back, then leaves the Lease to others.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut told = None;
        loop {
            let (pause, patience) = self.election.pace();
            tokio::select! {
                () = &mut stop => break,
                round = timeout(patience, self.round()) => {
                    let why = match round {
                        Ok(Ok(())) => None,
                        Ok(Err(error)) => Some(error.to_string()),
                        Err(_) => Some("no answer in time".into()),
                    };
                    if told != why {
                        if let Some(why) = &why {
                            tracing::warn!(
                                "Lease {}/{}: {why}; trying again",
                                self.lease.namespace, self.lease.name
                            );
                        }
                        told = why;
                    }
                }
            }
            self.tell();
            tokio::select! {
                () = &mut stop => break,
                () = sleep(pause) => {}
            }
        }
        // If the server does not hear of it, the Lease runs out by itself.
        let _best_effort = timeout(FAREWELL, self.release()).await;
    }

    fn tell(&self) {
        let now = self.election.standing(Instant::now());
        self.standing.send_if_modified(|standing| {
            let changed = *standing != now;
            *standing = now;
            changed
        });
    }

    async fn round(&mut self) -> Result<(), RequestError> {
        let lease = self.read().await?;
        let now = Instant::now();
        let least = self.least.load(Ordering::Relaxed);
        let (method, path, body) = match self.election.decide(lease.as_ref(), now, &wall(), least) {
            Act::Wait => return Ok(()),
            Act::Create(spec) => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": self.lease.name, "namespace": self.lease.namespace},
                    "spec": spec,
                });
                (http::Method::POST, self.collection(), lease)
            }
            Act::Replace(lease) => (http::Method::PUT, self.path(), lease),
        };
        match self.ask(method, &path, Some(&body)).await {
            Ok(lease) => {
                self.election.taken(&lease, now);
                Ok(())
            }
            // Somebody was faster: what they wrote is seen in the next round.
            Err(error) if error.code() == Some(409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn release(&self) -> Result<(), RequestError> {
        let Some(lease) = self.read().await? else {
            return Ok(());
        };
        if let Some(free) = self.election.released(&lease, &wall()) {
            self.ask(http::Method::PUT, &self.path(), Some(&free))
                .await?;
        }
        Ok(())
    }

    async fn read(&self) -> Result<Option<Value>, RequestError> {
        match self.ask(http::Method::GET, &self.path(), None).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error.code() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ask(
        &self,
        method: http::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, RequestError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.into_bytes())
            .map_err(|error| RequestError::Broken(error.to_string()))?;
        self.connection.ask(request).await
    }

    fn collection(&self) -> String {
        let namespace = &self.lease.namespace;
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.lease.name)
    }
}

/// Now, with microseconds, as Leases have it.
fn wall() -> String {
    Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        .to_string()
}
