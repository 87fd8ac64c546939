//! Rules, with their selectors and port names resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::classes::NamedPort;
use super::problems::Told;
use super::spec::Selection;
use super::{Block, Peers, Ports, Scope};
use crate::desired::Protocol;
use crate::view::{Action, LabelSelector, Peer, PolicyPort, PolicyRule, Subject};

/// What selectors are resolved against.
pub(super) trait World {
    /// Identities of the pods of a selection, each once, in any order.
    fn select(&self, selection: &Selection, each: &mut dyn FnMut(u32));

    /// Identities of pods that have a port of that name, each once, in any order.
    fn with_port(&self, name: &str, each: &mut dyn FnMut(u32));

    /// The named ports of an identity.
    fn ports(&self, identity: u32) -> Option<&BTreeSet<NamedPort>>;

    /// The addresses of the pods of an identity, in any order.
    fn addresses(&self, identity: u32, each: &mut dyn FnMut(IpAddr));

    /// The addresses of nodes, in the order of their names.
    fn nodes(&self, selector: &LabelSelector) -> Vec<IpAddr>;
}

/// A rule whose selectors are resolved; names of ports of the pods that the policy holds for are
/// not, since these differ from pod to pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) action: Action,
    /// Scopes that are the same for every pod.
    scopes: Vec<Scope>,
    peers: Arc<Peers>,
    /// Names of the pod's own ports.
    own_ports: Vec<(Option<Protocol>, String)>,
}

impl Resolved {
    /// The rule for pods with these ports.
    pub(super) fn scopes(&self, ports: &BTreeSet<NamedPort>) -> Vec<Scope> {
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
        let names = self.own_ports.iter();
        names.map(|(protocol, name)| (*protocol, name.as_str()))
    }
}

/// Ports of that name.
fn named(
    ports: &BTreeSet<NamedPort>,
    protocol: Option<Protocol>,
    name: &str,
) -> impl Iterator<Item = Ports> {
    ports
        .iter()
        .filter(move |(n, p, _)| n == name && protocol.is_none_or(|protocol| protocol == *p))
        .map(|(_, protocol, port)| Ports {
            protocol: *protocol,
            first: *port,
            last: *port,
        })
}

/// Resolves a rule. `ingress` tells whose port names it speaks of: those of the pod itself, or of
/// its peers. A part that is not understood, or a wrong address, fails closed: an allow matches
/// less, anything else becomes a denial of everything (as the cluster-wide kinds ask for it).
pub(super) fn resolve(
    world: &impl World,
    rule: &PolicyRule,
    own_namespace: &str,
    ingress: bool,
    told: &mut Told<'_>,
) -> Resolved {
    let (peers, peers_good) = peers(world, rule.peers.as_deref(), own_namespace, told);
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
            own_ports.push((protocol, name.to_string()));
            continue;
        }
        let mut found = peers_with_port(world, &peers, protocol, name);
        found.extend(blocks_with_port(world, &peers, protocol, name));
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
fn peers_with_port(
    world: &impl World,
    peers: &Peers,
    protocol: Option<Protocol>,
    name: &str,
) -> Vec<Scope> {
    let every_pod = peers.any || peers.all_pods;
    let mut by_ports: BTreeMap<Vec<Ports>, Vec<u32>> = BTreeMap::new();
    world.with_port(name, &mut |identity| {
        if !every_pod && peers.identities.binary_search(&identity).is_err() {
            return;
        }
        let ports = world.ports(identity).into_iter();
        let ports: Vec<_> = ports.flat_map(|p| named(p, protocol, name)).collect();
        if !ports.is_empty() {
            by_ports.entry(ports).or_default().push(identity);
        }
    });
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
    world: &impl World,
    peers: &Peers,
    protocol: Option<Protocol>,
    name: &str,
) -> Vec<Scope> {
    if peers.blocks.is_empty() {
        return Vec::new();
    }
    let holds = |block: &Block, address: &IpAddr| {
        block.cidr.contains(address) && !block.except.iter().any(|e| e.contains(address))
    };
    let mut by_ports: BTreeMap<Vec<Ports>, BTreeSet<Block>> = BTreeMap::new();
    world.with_port(name, &mut |identity| {
        let ports = world.ports(identity).into_iter();
        let ports: Vec<_> = ports.flat_map(|p| named(p, protocol, name)).collect();
        if ports.is_empty() {
            return;
        }
        let mut found = Vec::new();
        world.addresses(identity, &mut |address| {
            if peers.blocks.iter().any(|block| holds(block, &address)) {
                found.push(Block {
                    cidr: IpNet::from(address),
                    except: Vec::new(),
                });
            }
        });
        if !found.is_empty() {
            by_ports.entry(ports).or_default().extend(found);
        }
    });
    let scope = |(ports, blocks): (_, BTreeSet<Block>)| {
        let peers = Peers {
            blocks: blocks.into_iter().collect(),
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
    world: &impl World,
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
    let mut identities = Vec::new();
    for (index, peer) in given.iter().enumerate() {
        match peer {
            Peer::Pods(subject) if *subject == Subject::default() => peers.all_pods = true,
            Peer::OwnNamespace(_) | Peer::Pods(_) => {
                let before = identities.len();
                if let Some(selection) = Selection::of(peer, own_namespace) {
                    world.select(&selection, &mut |identity| identities.push(identity));
                }
                told.selected(index, identities.len() - before);
            }
            Peer::Block { cidr, except } => match block(cidr, except) {
                Ok(block) => peers.blocks.push(block),
                Err(why) => {
                    told.bad_peer(index, &why);
                    good = false;
                }
            },
            Peer::Nodes(nodes) => {
                let addresses = world.nodes(nodes);
                told.selected(index, addresses.len());
                peers
                    .blocks
                    .extend(addresses.into_iter().map(|address| Block {
                        cidr: IpNet::from(address),
                        except: Vec::new(),
                    }));
            }
            Peer::Unknown(why) => {
                told.bad_peer(index, why);
                good = false;
            }
        }
    }
    identities.sort_unstable();
    identities.dedup();
    peers.identities = identities;
    (Arc::new(peers), good)
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
