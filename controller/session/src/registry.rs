//! Which node is served by which session: one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flows::Ports;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::inspect::{Inspection, Reading, Wish};

use crate::traffic::Traffic;

/// Switches that are read and brought up to date from the start at the same time. Each may send and
/// be sent tens of megabytes; more at once would all be slow, and each could seem dead.
const AT_ONCE: usize = 16;
/// Questions that wait for one switch.
const INSPECTIONS: usize = 8;

/// Sessions by node.
#[derive(Clone, Debug)]
pub struct Registry {
    nodes: Arc<Mutex<HashMap<String, Entry>>>,
    /// Who brings a switch up to date from the start has one of these.
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) traffic: Arc<Traffic>,
    /// What nodes have acknowledged of their own flows ([`crate::Intent::serial`]).
    acknowledged: Arc<Acknowledged>,
}

#[derive(Debug)]
struct Acknowledged {
    nodes: Mutex<HashMap<String, Heard>>,
    /// Changes with every acknowledgement.
    news: watch::Sender<()>,
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    serial: u64,
    /// Since when it has no connection.
    lost: Option<Instant>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry {
            nodes: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            acknowledged: Arc::new(Acknowledged {
                nodes: Mutex::default(),
                news: watch::Sender::new(()),
                since: Instant::now(),
            }),
            traffic: Arc::default(),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    datapath: u64,
    peer: String,
    ports: Arc<Ports>,
    inspect: mpsc::Sender<Inspection>,
    replaced: Arc<Notify>,
    told: Arc<Notify>,
}

/// A switch that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Its datapath number.
    pub datapath: u64,
    /// Where it connects from.
    pub peer: String,
    /// Its ports; none before it has told them.
    pub ports: Arc<Ports>,
}

/// A session's place in the registry; gone when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Registry,
    node: String,
    /// Notified when a newer connection of the same switch takes over.
    pub replaced: Arc<Notify>,
    /// What others want to know of the switch; for the session to take.
    pub inspections: Option<mpsc::Receiver<Inspection>>,
    /// Notified when there is something for this node.
    pub told: Arc<Notify>,
}

impl Registry {
    /// Enters a session. A newer connection of the same switch replaces the older one (which may
    /// be half dead); another switch under the same name is refused with the first one's number.
    pub(crate) fn enter(&self, node: &str, datapath: u64, peer: &str) -> Result<Place, u64> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = nodes.get(node) {
            if there.datapath != datapath {
                return Err(there.datapath);
            }
            there.replaced.notify_one();
        }
        let replaced = Arc::new(Notify::new());
        let (inspect, inspections) = mpsc::channel(INSPECTIONS);
        let told = Arc::new(Notify::new());
        let entry = Entry {
            datapath,
            peer: peer.to_string(),
            ports: Arc::default(),
            inspect,
            replaced: replaced.clone(),
            told: told.clone(),
        };
        nodes.insert(node.to_string(), entry);
        Ok(Place {
            registry: self.clone(),
            node: node.to_string(),
            replaced,
            inspections: Some(inspections),
            told,
        })
    }

    /// The switch of a node, if it is connected.
    pub fn connected(&self, node: &str) -> Option<Connected> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = nodes.get(node)?;
        Some(Connected {
            datapath: entry.datapath,
            peer: entry.peer.clone(),
            ports: entry.ports.clone(),
        })
    }

    /// Reads what the switch of a node holds at this moment, after what it was told before.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn read(&self, node: &str, wish: Wish) -> Result<Reading, String> {
        let inspect = {
            let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.get(node).map(|entry| entry.inspect.clone())
        };
        let Some(inspect) = inspect else {
            return Err("its switch is not connected".into());
        };
        let gone = |_| "its switch has gone meanwhile; ask again".to_string();
        let (answer, answered) = oneshot::channel();
        let sent = inspect.send(Inspection { wish, answer }).await;
        sent.map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))
    }

    /// The ports of a switch are these now.
    pub(crate) fn set_ports(&self, node: &str, ports: &Ports) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = nodes.get_mut(node) {
            entry.ports = Arc::new(ports.clone());
        }
    }

    /// A node has everything of its own up to a serial number.
    pub(crate) fn acknowledge(&self, node: &str, serial: u64) {
        let heard = Heard { serial, lost: None };
        let mut nodes = self.acknowledged.lock();
        nodes.insert(node.to_string(), heard);
        drop(nodes);
        self.acknowledged.news.send_replace(());
    }

    /// Changes with every acknowledgement.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.acknowledged.news.subscribe()
    }

    /// True if a node has not acknowledged a serial number, and may still do so: one without a
    /// connection only for as long as `grace`.
    pub(crate) fn is_behind(&self, node: &str, serial: u64, grace: Duration, now: Instant) -> bool {
        let heard = self.acknowledged.lock().get(node).copied();
        if heard.is_some_and(|heard| heard.serial >= serial) {
            return false;
        }
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.contains_key(node) {
            return true;
        }
        let lost = heard.and_then(|heard| heard.lost);
        now < lost.unwrap_or(self.acknowledged.since) + grace
    }

    /// Nodes that are connected.
    pub fn nodes(&self) -> Vec<String> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.keys().cloned().collect()
    }

    /// How many nodes are connected.
    pub fn count(&self) -> usize {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.len()
    }

    /// Has the sessions of these nodes look at the intent; who is not connected will look when it
    /// connects.
    pub fn tell<'a>(&self, names: impl IntoIterator<Item = &'a String>) {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in names.into_iter().filter_map(|name| nodes.get(name)) {
            entry.told.notify_one();
        }
    }

    /// What has gone over all connections.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

impl Acknowledged {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Heard>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut nodes = self
            .registry
            .nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let ours = |e: &Entry| Arc::ptr_eq(&e.replaced, &self.replaced);
        if nodes.get(&self.node).is_some_and(ours) {
            nodes.remove(&self.node);
            drop(nodes);
            let acknowledged = &self.registry.acknowledged;
            if let Some(heard) = acknowledged.lock().get_mut(&self.node) {
                heard.lost = Some(Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_connection_replaces_and_a_second_switch_is_refused() {
        let registry = Registry::default();
        let old = registry.enter("node1", 1, "here").unwrap();
        assert_eq!(registry.enter("node1", 2, "there").err(), Some(1));
        let new = registry.enter("node1", 1, "here").unwrap();
        drop(old);
        assert_eq!(registry.nodes(), ["node1"]);
        drop(new);
        assert!(registry.nodes().is_empty());
    }

    #[test]
    fn a_lost_node_is_behind_for_as_long_as_the_grace_and_a_connected_one_until_it_says_so() {
        let registry = Registry::default();
        let grace = Duration::from_secs(10);
        let behind = |serial, later| {
            registry.is_behind(
                "node1",
                serial,
                grace,
                Instant::now() + Duration::from_secs(later),
            )
        };
        assert!(behind(1, 0) && !behind(1, 20), "never heard of");
        let place = registry.enter("node1", 1, "here").unwrap();
        assert!(behind(1, 20), "connected, and says nothing");
        registry.acknowledge("node1", 1);
        assert!(!behind(1, 0) && behind(2, 20));
        drop(place);
        assert!(!behind(1, 0) && behind(2, 0) && !behind(2, 20));
    }
}
