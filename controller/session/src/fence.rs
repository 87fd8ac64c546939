//! A pod's port stays closed until every node that may judge the pod's packets knows who it is.
//!
//! Policies name pods by identity, and each node learns for itself which addresses have it. A pod
//! that sends before another node has learnt that would be judged there by what its address was
//! before, or as nobody: a rule that denies it would not match. So a port is opened when all nodes
//! have acknowledged what they were to be told at the moment when the pod's own flows were in force.
//! A node that is not connected is waited for as long as [`GRACE`], from the moment it was lost, or
//! from our start; one that does not answer, as long as [`MOST`].

use std::collections::BTreeSet;
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
    waits: Vec<Wait>,
}

/// Ports that came together.
#[derive(Debug)]
struct Wait {
    ports: BTreeSet<PortNo>,
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
        judges: impl FnOnce() -> Vec<(String, u64)>,
        registry: &Registry,
        now: Instant,
    ) {
        let mut new: BTreeSet<PortNo> = closed.collect();
        for wait in &mut self.waits {
            // Who waits already; who is open, or gone, waits no more.
            wait.ports.retain(|port| new.remove(port));
        }
        self.waits.retain(|wait| !wait.ports.is_empty());
        if new.is_empty() {
            return;
        }
        let mut behind = judges();
        behind.retain(|(node, serial)| registry.is_behind(node, *serial, GRACE, now));
        self.waits.push(Wait {
            ports: new,
            behind,
            until: now + MOST,
        });
    }

    /// Looks again who has acknowledged what; gives the nodes that some port has waited for in vain.
    pub fn look(&mut self, registry: &Registry, now: Instant) -> Vec<String> {
        let mut missed = Vec::new();
        for wait in &mut self.waits {
            // From the end on, as far as the first that is still behind: with a thousand nodes, each
            // acknowledgement is looked at by a thousand switches.
            while let Some((node, serial)) = wait.behind.last() {
                if registry.is_behind(node, *serial, GRACE, now) {
                    break;
                }
                wait.behind.pop();
            }
            if now >= wait.until {
                let late = wait.behind.drain(..);
                let late = late.filter(|(n, serial)| registry.is_behind(n, *serial, GRACE, now));
                missed.extend(late.map(|(node, _)| node));
            }
        }
        missed.sort();
        missed.dedup();
        missed
    }

    /// True if nobody has to be waited for.
    pub fn may_open(&self, port: PortNo) -> bool {
        let waits = |wait: &&Wait| wait.ports.contains(&port);
        self.waits
            .iter()
            .find(waits)
            .is_none_or(|wait| wait.behind.is_empty())
    }

    /// True if some port waits.
    pub fn waits(&self) -> bool {
        self.waits.iter().any(|wait| !wait.behind.is_empty())
    }
}
