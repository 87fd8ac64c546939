//! The desired state as what switches shall hold: one compiler for all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use cluster::DesiredState;
use flows::{Compiler, FlowSet, Nodes, Ports};
use session::{Intent, Shared};

/// The compiler, and what it has compiled for all switches alike.
#[derive(Debug, Default)]
pub struct Live {
    compiler: RwLock<Compiler>,
    shared: Arc<Shared>,
    serials: RwLock<Serials>,
}

/// Serial numbers rise as long as the process lives, whoever leads meanwhile.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// When what is a node's own was different for the last time, and when it was told anything.
#[derive(Debug, Default)]
struct Serials {
    all: u64,
    nodes: HashMap<String, (u64, Instant)>,
    all_told: Option<Instant>,
    complete: bool,
}

/// The desired state, and whether all of the sources is in it.
#[derive(Debug)]
struct Desired {
    live: Arc<Live>,
    complete: bool,
    picture: u64,
}

/// What is to be told.
pub struct Told {
    /// The intent for the switches.
    pub intent: Arc<dyn Intent>,
    /// Whom it is news to.
    pub nodes: Nodes,
    /// What no switch can be told: one line each.
    pub problems: Vec<String>,
}

impl Live {
    /// Takes the next state.
    pub fn take(self: &Arc<Self>, state: Arc<DesiredState>, complete: bool, picture: u64) -> Told {
        let at = Instant::now();
        let mut compiler = self
            .compiler
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let changes = compiler.update(state);
        let news_to_all = self.shared.apply(&changes);
        let mut serials = self.serials.write().unwrap_or_else(PoisonError::into_inner);
        let now = NEXT.fetch_add(1, Ordering::Relaxed);
        match &changes.nodes {
            Nodes::All => {
                serials.all = now;
                serials.nodes.clear();
            }
            Nodes::Some(nodes) => {
                let nodes = nodes.iter().cloned();
                serials.nodes.extend(nodes.map(|node| (node, (now, at))));
            }
        }
        let other = std::mem::replace(&mut serials.complete, complete) != complete;
        let nodes = match changes.nodes {
            Nodes::Some(nodes) if !news_to_all && !other => Nodes::Some(nodes),
            _ => {
                serials.all_told = Some(at);
                Nodes::All
            }
        };
        let live = self.clone();
        let desired = Desired {
            live,
            complete,
            picture,
        };
        Told {
            intent: Arc::new(desired),
            nodes,
            problems: self.shared.problems(),
        }
    }
}

impl Intent for Desired {
    fn compile(&self, node: &str, ports: &Ports) -> Option<FlowSet> {
        let compiler = self.live.compiler.read();
        compiler
            .unwrap_or_else(PoisonError::into_inner)
            .own(node, ports)
    }

    fn complete(&self) -> bool {
        self.complete
    }

    fn serial(&self, node: &str) -> Option<u64> {
        let serials = self.live.serials.read();
        let serials = serials.unwrap_or_else(PoisonError::into_inner);
        let own = serials.nodes.get(node).map_or(0, |(serial, _)| *serial);
        Some(own.max(serials.all))
    }

    fn told_at(&self, node: &str) -> Option<Instant> {
        let serials = self.live.serials.read();
        let serials = serials.unwrap_or_else(PoisonError::into_inner);
        let own = serials.nodes.get(node).map(|(_, at)| *at);
        own.max(serials.all_told)
    }

    fn judges(&self) -> Vec<(String, u64)> {
        let compiler = self.live.compiler.read();
        let state = compiler
            .unwrap_or_else(PoisonError::into_inner)
            .state()
            .clone();
        if !state.policies.active {
            return Vec::new();
        }
        let nodes = state.nodes.keys();
        nodes
            .filter_map(|node| Some((node.clone(), self.serial(node)?)))
            .collect()
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        Some(self.live.shared.clone())
    }

    fn picture(&self) -> u64 {
        self.picture
    }
}
