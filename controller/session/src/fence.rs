//! A pod's port stays closed until every node that may judge the pod's packets knows who it is.
//!
//! Policies name pods by identity, and each node learns for itself which addresses have it. A pod
//! that sends before another node has learnt that would be judged there by what its address was
//! before, or as nobody: a rule that denies it would not match. So a port is opened when all nodes
//! have acknowledged what they were to be told at the moment when the pod's own flows were in force.
//! A node that is not connected is waited for as long as [`GRACE`], from the moment it was lost, or
//! from our start; one that does not answer, as long as [`MOST`].

use std::collections::BTreeMap;
use std::time::Duration;

use net::PortNo;
use tokio::time::Instant;

use crate::registry::Registry;

/// How long a node that has no connection may take to come back.
const GRACE: Duration = Duration::from_secs(5);
/// How long a port waits at most.
const MOST: Duration = Duration::from_secs(30);

/// The ports of one switch that wait.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    ports: BTreeMap<PortNo, Wait>,
}

#[derive(Debug)]
struct Wait {
    /// Nodes, and what each has to acknowledge.
    behind: Vec<(String, u64)>,
    until: Instant,
}

impl Fence {
    /// Brings the ports up to date: those that are closed wait for the nodes that are behind now,
    /// unless they wait already.
    pub fn follow(
        &mut self,
        closed: impl Iterator<Item = PortNo>,
        behind: impl Fn() -> Vec<(String, u64)>,
        now: Instant,
    ) {
        let mut ports = std::mem::take(&mut self.ports);
        let mut all: Option<Vec<(String, u64)>> = None;
        for port in closed {
            let wait = ports.remove(&port).unwrap_or_else(|| Wait {
                behind: all.get_or_insert_with(&behind).clone(),
                until: now + MOST,
            });
            self.ports.insert(port, wait);
        }
    }

    /// Looks again who has acknowledged what; gives the nodes that some port has waited for in vain.
    pub fn look(&mut self, registry: &Registry, now: Instant) -> Vec<String> {
        let mut missed = Vec::new();
        for wait in self.ports.values_mut() {
            wait.behind
                .retain(|(node, serial)| registry.is_behind(node, *serial, GRACE, now));
            if now >= wait.until {
                missed.extend(wait.behind.drain(..).map(|(node, _)| node));
            }
        }
        missed.sort();
        missed.dedup();
        missed
    }

    /// True if nobody has to be waited for.
    pub fn may_open(&self, port: PortNo) -> bool {
        self.ports
            .get(&port)
            .is_none_or(|wait| wait.behind.is_empty())
    }

    /// True if some port waits.
    pub fn waits(&self) -> bool {
        self.ports.values().any(|wait| !wait.behind.is_empty())
    }
}
