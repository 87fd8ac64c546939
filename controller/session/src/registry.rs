//! Which node is served by which session: one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flows::Ports;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::inspect::{Inspection, Reading, Wish};

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
}

impl Default for Registry {
    fn default() -> Self {
        Registry {
            nodes: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
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
        let entry = Entry {
            datapath,
            peer: peer.to_string(),
            ports: Arc::default(),
            inspect,
            replaced: replaced.clone(),
        };
        nodes.insert(node.to_string(), entry);
        Ok(Place {
            registry: self.clone(),
            node: node.to_string(),
            replaced,
            inspections: Some(inspections),
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

    /// Nodes that are connected.
    pub fn nodes(&self) -> Vec<String> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.keys().cloned().collect()
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
}
