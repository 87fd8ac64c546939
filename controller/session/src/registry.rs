//! Which node is served by which session: one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore};

/// Switches that are read and brought up to date from the start at the same time. Each may send and
/// be sent tens of megabytes; more at once would all be slow, and each could seem dead.
const AT_ONCE: usize = 16;

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
    replaced: Arc<Notify>,
}

/// A session's place in the registry; gone when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Registry,
    node: String,
    /// Notified when a newer connection of the same switch takes over.
    pub replaced: Arc<Notify>,
}

impl Registry {
    /// Enters a session. A newer connection of the same switch replaces the older one (which may
    /// be half dead); another switch under the same name is refused with the first one's number.
    pub(crate) fn enter(&self, node: &str, datapath: u64) -> Result<Place, u64> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = nodes.get(node) {
            if there.datapath != datapath {
                return Err(there.datapath);
            }
            there.replaced.notify_one();
        }
        let replaced = Arc::new(Notify::new());
        let entry = Entry {
            datapath,
            replaced: replaced.clone(),
        };
        nodes.insert(node.to_string(), entry);
        Ok(Place {
            registry: self.clone(),
            node: node.to_string(),
            replaced,
        })
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
        let old = registry.enter("node1", 1).unwrap();
        assert_eq!(registry.enter("node1", 2).err(), Some(1));
        let new = registry.enter("node1", 1).unwrap();
        drop(old);
        assert_eq!(registry.nodes(), ["node1"]);
        drop(new);
        assert!(registry.nodes().is_empty());
    }
}
