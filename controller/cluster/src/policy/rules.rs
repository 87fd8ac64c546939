//! Rules, with their selectors and port names resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::classes::{Class, Classes, NamedPort};
use super::problems::Told;
use super::{Block, Peers, Ports, Scope};
use crate::desired::{Pod, Protocol};
use crate::name::NamespacedName;
use crate::view::{Action, LabelSelector, Node, Peer, PolicyPort, PolicyRule, Subject};

/// What selectors are resolved against.
pub(super) struct World<'a> {
    pub(super) classes: Classes<'a>,
    /// Labels of each namespace that has pods.
    pub(super) namespaces: BTreeMap<&'a str, BTreeMap<String, String>>,
    /// Pods with their addresses.
    pub(super) pods: &'a BTreeMap<NamespacedName, Pod>,
    pub(super) nodes: &'a BTreeMap<String, Node>,
    pub(super) node_addresses: &'a BTreeMap<String, Vec<IpAddr>>,
}

/// A rule whose selectors are resolved; names of ports of the pods that the policy holds for are
/// not, since these differ from pod to pod.
pub(super) struct Resolved<'a> {
    pub(super) action: Action,
    /// Scopes that are the same for every pod.
    scopes: Vec<Scope>,
    peers: Arc<Peers>,
    /// Names of the pod's own ports.
    own_ports: Vec<(Option<Protocol>, &'a str)>,
}

impl Resolved<'_> {
    /// The rule for pods with these ports.
    pub(super) fn scopes(&self, ports: &BTreeSet<NamedPort<'_>>) -> Vec<Scope> {
        let mut scopes = self.scopes.clone();
        let named: Vec<Ports> = self
            .own_ports
            .iter()
            .flat_map(|(protocol, name)| named(ports, *protocol, name))
            .collect();
        if !named.is_empty() {
            scopes.push(Scope {
                peers: self.peers.clone(),
                ports: Some(named),
            });
        }
        scopes
    }

    /// Names of ports that decide what the rule is for a pod.
    pub(super) fn own_ports(&self) -> impl Iterator<Item = (Option<Protocol>, &str)> {
        self.own_ports.iter().copied()
    }
}

/// Ports of that name.
fn named(
    ports: &BTreeSet<NamedPort<'_>>,
    protocol: Option<Protocol>,
    name: &str,
) -> impl Iterator<Item = Ports> {
    ports
        .iter()
        .filter(move |(n, p, _)| *n == name && protocol.is_none_or(|protocol| protocol == *p))
        .map(|(_, protocol, port)| Ports {
            protocol: *protocol,
            first: *port,
            last: *port,
        })
}

impl<'a> World<'a> {
    /// Resolves a rule. `ingress` tells whose port names it speaks of: those of the pod itself, or
    /// of its peers. A part that is not understood, or a wrong address, fails closed: an allow
    /// matches less, anything else becomes a denial of everything (as the cluster-wide kinds ask
    /// for it).
    pub(super) fn rule(
        &self,
        rule: &'a PolicyRule,
        own_namespace: &str,
        ingress: bool,
        told: &mut Told<'_>,
    ) -> Resolved<'a> {
        let (peers, peers_good) = self.peers(rule.peers.as_deref(), own_namespace, told);
        let mut good = peers_good;
        let mut numeric = Vec::new();
        let mut names = Vec::new();
        for (index, port) in rule.ports.iter().flatten().enumerate() {
            match port {
                PolicyPort::All(protocol) => numeric.push(Ports {
                    protocol: *protocol,
                    first: 0,
                    last: u16::MAX,
                }),
                PolicyPort::Range(protocol, first, last) => numeric.push(Ports {
                    protocol: *protocol,
                    first: *first,
                    last: *last,
                }),
                PolicyPort::Named(protocol, name) => names.push((index, *protocol, name.as_str())),
                PolicyPort::Unknown(why) => {
                    told.bad_port(index, why);
                    good = false;
                }
            }
        }
        if !good && rule.action != Action::Allow {
            return Resolved {
                action: Action::Deny,
                scopes: vec![Scope {
                    peers: Arc::new(Peers {
                        any: true,
                        ..Peers::default()
                    }),
                    ports: None,
                }],
                peers: Arc::default(),
                own_ports: Vec::new(),
            };
        }
        let mut scopes = Vec::new();
        let all = rule.ports.is_none();
        if all || !numeric.is_empty() {
            scopes.push(Scope {
                peers: peers.clone(),
                ports: (!all).then_some(numeric),
            });
        }
        let mut own_ports = Vec::new();
        for (index, protocol, name) in names {
            if ingress {
                own_ports.push((protocol, name));
                continue;
            }
            let mut found = self.peers_with_port(&peers, protocol, name);
            found.extend(self.blocks_with_port(&peers, protocol, name));
            if found.is_empty() {
                told.no_such_port(index, name);
            }
            scopes.extend(found);
        }
        Resolved {
            action: rule.action,
            scopes,
            peers,
            own_ports,
        }
    }

    /// The pods among the peers that have a port of that name, by what it is there.
    fn peers_with_port(&self, peers: &Peers, protocol: Option<Protocol>, name: &str) -> Vec<Scope> {
        let every_pod = peers.any || peers.all_pods;
        let mut by_ports: BTreeMap<Vec<Ports>, Vec<u32>> = BTreeMap::new();
        let mut enter = |class: &Class<'_>| {
            let ports: Vec<_> = named(&class.ports, protocol, name).collect();
            if !ports.is_empty() {
                by_ports.entry(ports).or_default().push(class.identity);
            }
        };
        if every_pod {
            self.classes.iter().for_each(|(_, class)| enter(class));
        } else {
            let named = peers.identities.iter();
            named.filter_map(|i| self.classes.with(*i)).for_each(enter);
        }
        let scope = |(ports, mut identities): (_, Vec<u32>)| {
            identities.sort_unstable();
            let peers = Peers {
                identities,
                ..Peers::default()
            };
            Scope {
                peers: Arc::new(peers),
                ports: Some(ports),
            }
        };
        by_ports.into_iter().map(scope).collect()
    }

    /// The pods whose addresses the peers name and that have a port of that name, by what it is there.
    fn blocks_with_port(
        &self,
        peers: &Peers,
        protocol: Option<Protocol>,
        name: &str,
    ) -> Vec<Scope> {
        let holds = |block: &Block, address: &IpAddr| {
            block.cidr.contains(address) && !block.except.iter().any(|e| e.contains(address))
        };
        let mut by_ports: BTreeMap<Vec<Ports>, Vec<Block>> = BTreeMap::new();
        for (_, class) in self.classes.iter().filter(|_| !peers.blocks.is_empty()) {
            let ports: Vec<_> = named(&class.ports, protocol, name).collect();
            if ports.is_empty() {
                continue;
            }
            let pods = class.pods.iter().filter_map(|name| self.pods.get(*name));
            let named = pods
                .flat_map(|pod| pod.addresses())
                .filter(|address| peers.blocks.iter().any(|block| holds(block, address)))
                .map(|address| Block {
                    cidr: IpNet::from(address),
                    except: Vec::new(),
                });
            by_ports.entry(ports).or_default().extend(named);
        }
        by_ports.retain(|_, blocks| !blocks.is_empty());
        let scope = |(ports, blocks)| {
            let peers = Peers {
                blocks,
                ..Peers::default()
            };
            Scope {
                peers: Arc::new(peers),
                ports: Some(ports),
            }
        };
        by_ports.into_iter().map(scope).collect()
    }

    /// The peers, and whether every one of them is understood.
    fn peers(
        &self,
        given: Option<&[Peer]>,
        own_namespace: &str,
        told: &mut Told<'_>,
    ) -> (Arc<Peers>, bool) {
        let mut peers = Peers::default();
        let mut good = true;
        let Some(given) = given else {
            peers.any = true;
            return (Arc::new(peers), good);
        };
        let mut identities = BTreeSet::new();
        for (index, peer) in given.iter().enumerate() {
            match peer {
                Peer::OwnNamespace(pods) => {
                    let found = self.classes.of(own_namespace);
                    let found: Vec<_> = found.filter(|c| pods.matches(c.labels)).collect();
                    told.selected(index, found.len());
                    identities.extend(found.iter().map(|class| class.identity));
                }
                Peer::Pods(subject) if *subject == Subject::default() => peers.all_pods = true,
                Peer::Pods(subject) => {
                    let before = identities.len();
                    let found = self.selected(subject).map(|class| class.identity);
                    let mut any = false;
                    identities.extend(found.inspect(|_| any = true));
                    told.selected(index, usize::from(any).max(identities.len() - before));
                }
                Peer::Block { cidr, except } => match block(cidr, except) {
                    Ok(block) => peers.blocks.push(block),
                    Err(why) => {
                        told.bad_peer(index, &why);
                        good = false;
                    }
                },
                Peer::Nodes(nodes) => {
                    let before = peers.blocks.len();
                    peers.blocks.extend(self.node_blocks(nodes));
                    told.selected(index, peers.blocks.len() - before);
                }
                Peer::Unknown(why) => {
                    told.bad_peer(index, why);
                    good = false;
                }
            }
        }
        peers.identities = identities.into_iter().collect();
        (Arc::new(peers), good)
    }

    /// The classes of a selection.
    pub(super) fn selected<'s>(
        &'s self,
        subject: &'s Subject,
    ) -> impl Iterator<Item = &'s Class<'a>> {
        let namespaces = self.classes.namespaces();
        let namespaces = namespaces.filter(|name| self.in_namespace(subject, name));
        namespaces
            .flat_map(|name| self.classes.of(name))
            .filter(|class| subject.pods.matches(class.labels))
    }

    /// True if the selection is of that namespace too.
    pub(super) fn in_namespace(&self, subject: &Subject, name: &str) -> bool {
        let labels = self.namespaces.get(name);
        labels.is_some_and(|labels| subject.namespaces.matches(labels))
    }

    fn node_blocks(&self, selector: &LabelSelector) -> impl Iterator<Item = Block> {
        let nodes = self.nodes.iter();
        let nodes = nodes.filter(|(_, node)| selector.matches(&node.meta.labels));
        let addresses = nodes.filter_map(|(name, _)| self.node_addresses.get(name));
        addresses.flatten().map(|address| Block {
            cidr: IpNet::from(*address),
            except: Vec::new(),
        })
    }
}

fn block(cidr: &str, except: &[String]) -> Result<Block, String> {
    let read = |text: &str| match text.parse::<IpNet>() {
        Ok(prefix) => Ok(prefix.trunc()),
        Err(_) => Err(format!("{text:?} is not a prefix like 10.0.0.0/8")),
    };
    let cidr = read(cidr)?;
    let mut less = Vec::with_capacity(except.len());
    for text in except {
        let part = read(text)?;
        if !cidr.contains(&part) {
            return Err(format!("except {text} is not inside {cidr}"));
        }
        less.push(part);
    }
    Ok(Block { cidr, except: less })
}
