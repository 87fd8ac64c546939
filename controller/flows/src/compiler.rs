//! The flows of a whole cluster, kept up to date change by change: [`compile`](crate::compile) says
//! what they are, this says what of them is different now, at the cost of what has changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cluster::desired::DesiredState;
use cluster::{Change, NamespacedName, changes, different};
use net::GroupId;

use crate::feature::policy::Concern;
use crate::flow::{FlowId, FlowSet, Group, Installed};
use crate::network::Network;
use crate::shared::{self, Piece};
use crate::view::Ports;

/// What is different from before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Flows that every node has; none: gone.
    pub flows: BTreeMap<FlowId, Option<Installed>>,
    /// Groups that every node has; none: gone.
    pub groups: BTreeMap<GroupId, Option<Group>>,
    /// Labels of cookies that every node has; none: gone.
    pub labels: BTreeMap<u64, Option<String>>,
    /// Nodes whose own flows may be different.
    pub nodes: Nodes,
}

/// Some nodes, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// Every one.
    All,
    /// These, by name.
    Some(BTreeSet<String>),
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes::Some(BTreeSet::new())
    }
}

impl Changes {
    /// True where nothing is different that all nodes have.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty() && self.groups.is_empty() && self.labels.is_empty()
    }
}

/// Keeps the flows of a cluster.
#[derive(Debug, Default)]
pub struct Compiler {
    state: Arc<DesiredState>,
    network: Network,
    policies: Concern,
    /// Each piece by itself.
    pieces: BTreeMap<Arc<Piece>, FlowSet>,
    /// Which pieces want a flow, in order: the first has it.
    wanted: HashMap<FlowId, Vec<Arc<Piece>>>,
    /// Which pieces want a group of that number.
    groups: HashMap<GroupId, Vec<Arc<Piece>>>,
    /// In how many pieces a label is.
    labels: HashMap<u64, usize>,
    /// Two groups' names hash alike (one in twenty clusters with 20,000 groups): then the whole is
    /// compiled as one piece, in which the second gets another number.
    crowded: bool,
}

impl Compiler {
    /// The state that was given last.
    pub fn state(&self) -> &Arc<DesiredState> {
        &self.state
    }

    /// What is a node's own ([`crate::own`]); none for a node that the state does not know.
    pub fn own(&self, node: &str, ports: &Ports) -> Option<FlowSet> {
        self.state.nodes.get(node)?;
        let mut set = FlowSet::default();
        crate::own(&self.state, &self.network, node, ports, &mut set);
        Some(set)
    }

    /// Takes the next state and says what is different.
    pub fn update(&mut self, next: Arc<DesiredState>) -> Changes {
        let before = std::mem::replace(&mut self.state, next);
        let (dirty, nodes) = self.follow(&before);
        let mut changes = Changes {
            nodes,
            ..Changes::default()
        };
        if !self.crowded {
            let next = self.state.clone();
            let compiled = dirty.into_iter().map(|piece| {
                let mut set = FlowSet::default();
                shared::compile(&next, &self.network, &piece, &mut set);
                (piece, set)
            });
            let compiled: Vec<_> = compiled.collect();
            for (piece, set) in compiled {
                self.replace(Arc::new(piece), set, &mut changes);
            }
        }
        if self.crowded {
            self.replace_all(&mut changes);
        }
        changes
    }

    /// Brings the index up to date; gives pieces to compile anew and nodes to look at.
    fn follow(&mut self, before: &DesiredState) -> (BTreeSet<Piece>, Nodes) {
        let state = self.state.clone();
        // Whoever adds a field: if flows depend on it, compare it here, else name it below.
        let DesiredState {
            nodes,
            provider_networks,
            subnets,
            pods,
            services,
            namespace_limits,
            waiting: _,
            problems: _,
            usage: _,
            ip_pools: _,
            kept: _,
            vips: _,
            frontends,
            hosts,
            nat_outgoing,
            policies: _, // looked at by `Concern`
            policy_log_rate,
        } = &*state;
        let same_frame = *nodes == before.nodes
            && *provider_networks == before.provider_networks
            && *subnets == before.subnets
            && *hosts == before.hosts
            && *nat_outgoing == before.nat_outgoing
            && *policy_log_rate == before.policy_log_rate;
        let judged = self.policies.follow(before, &state);
        if !same_frame || self.pieces.is_empty() {
            self.network = Network::new(&state);
            let known = self.pieces.keys().map(|piece| Piece::clone(piece));
            let mut dirty: BTreeSet<Piece> = known.collect();
            dirty.extend(shared::pieces(&state, &self.network));
            return (dirty, Nodes::All);
        }
        let (mut dirty, mut nodes) = (BTreeSet::new(), BTreeSet::new());
        let changed: Vec<&NamespacedName> = different(&before.pods, pods).collect();
        for name in &changed {
            if let Some(pod) = before.pods.get(*name) {
                nodes.insert(pod.node.clone());
                let blocks = self.network.remove(&state, pod);
                dirty.extend(blocks.into_iter().map(Piece::Block));
            }
        }
        for name in &changed {
            if let Some(pod) = pods.get(*name) {
                nodes.insert(pod.node.clone());
                let blocks = self.network.enter(&state, pod);
                dirty.extend(blocks.into_iter().map(Piece::Block));
            }
        }
        for namespace in different(&before.namespace_limits, namespace_limits) {
            let first = NamespacedName::new(namespace.as_str(), "");
            let theirs = pods.starting_at(&first);
            let theirs = theirs.take_while(|(name, _)| name.namespace == *namespace);
            nodes.extend(theirs.map(|(_, pod)| pod.node.clone()));
        }
        let mut everybody = false;
        for name in different(&before.services, services) {
            everybody |= self.network.enter_service(name, services.get(name));
            dirty.insert(Piece::Service(name.clone()));
        }
        for Change { key, before, after } in changes(&before.frontends, frontends) {
            dirty.insert(Piece::Service(key.clone()));
            everybody |= self.network.by_place.contains(key);
            everybody |= self.network.balanced.follow(key, before, after);
            // Who answers for an address, and who did.
            let both = before.into_iter().chain(after);
            let announced = both.flat_map(|f| &f.balanced);
            nodes.extend(announced.filter_map(|b| b.announced.as_ref()?.node.clone()));
        }
        let nodes = match judged {
            Some(judged) if !everybody => {
                nodes.extend(judged);
                Nodes::Some(nodes)
            }
            _ => Nodes::All,
        };
        (dirty, nodes)
    }

    /// Puts a piece in the place of what it was.
    fn replace(&mut self, piece: Arc<Piece>, set: FlowSet, changes: &mut Changes) {
        let old = self.pieces.remove(&piece).unwrap_or_default();
        let ids: BTreeSet<&FlowId> = old.flows.keys().chain(set.flows.keys()).collect();
        let groups: BTreeSet<&GroupId> = old.groups.keys().chain(set.groups.keys()).collect();
        let labels: BTreeSet<&u64> = old.labels.keys().chain(set.labels.keys()).collect();
        for id in ids {
            let wanted = self.wanted.entry(id.clone()).or_default();
            let others = wanted.iter().filter(|other| **other != piece);
            let first = others.min();
            let other = first.and_then(|other| self.pieces.get(other)?.flows.get(id));
            let pick = |own: Option<&Installed>| match (own, first) {
                (Some(own), Some(other)) if piece < *other => Some(own.clone()),
                (Some(own), None) => Some(own.clone()),
                _ => other.cloned(),
            };
            let (was, is) = (pick(old.flows.get(id)), pick(set.flows.get(id)));
            wanted.retain(|other| *other != piece);
            if set.flows.contains_key(id) {
                wanted.push(piece.clone());
            }
            if wanted.is_empty() {
                self.wanted.remove(id);
            }
            if was != is {
                changes.flows.insert(id.clone(), is);
            }
        }
        for id in groups {
            let wanted = self.groups.entry(*id).or_default();
            wanted.retain(|other| *other != piece);
            if set.groups.contains_key(id) {
                wanted.push(piece.clone());
            }
            self.crowded |= wanted.len() > 1;
            if wanted.is_empty() {
                self.groups.remove(id);
            }
            let is = set.groups.get(id);
            if old.groups.get(id) != is {
                changes.groups.insert(*id, is.cloned());
            }
        }
        for cookie in labels {
            let (was, is) = (old.labels.get(cookie), set.labels.get(cookie));
            let count = self.labels.entry(*cookie).or_default();
            let before = *count;
            *count = before + usize::from(is.is_some()) - usize::from(was.is_some());
            let after = *count;
            if after == 0 {
                self.labels.remove(cookie);
                changes.labels.insert(*cookie, None);
            } else if before == 0 {
                changes.labels.insert(*cookie, is.cloned());
            } else {
                // It may have gone with one piece and come with another of the same change.
                let told = is.or(was).cloned();
                if matches!(changes.labels.get(cookie), Some(None)) {
                    changes.labels.insert(*cookie, told);
                }
            }
        }
        if set != FlowSet::default() {
            self.pieces.insert(piece, set);
        }
    }

    /// All of it as one piece.
    fn replace_all(&mut self, changes: &mut Changes) {
        let mut whole = FlowSet::default();
        for piece in shared::pieces(&self.state, &self.network) {
            shared::compile(&self.state, &self.network, &piece, &mut whole);
        }
        let others = self.pieces.keys().filter(|piece| ***piece != Piece::Frame);
        let others: Vec<_> = others.cloned().collect();
        // What the others had goes to the one before they give it up, so that nothing is gone between.
        self.replace(Arc::new(Piece::Frame), whole, changes);
        for piece in others {
            self.replace(piece, FlowSet::default(), changes);
        }
    }
}
