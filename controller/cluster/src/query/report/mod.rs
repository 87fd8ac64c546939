//! Answers from the picture of the cluster, what the network shall be, and how far switches have
//! come.

mod policies;
mod services;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use net::PortNo;

use super::{Counted, InForce, Node, Pod, Room, Selection, Subnet, near};
use crate::desired::{self, DesiredState, SubnetKind, Waiting};
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::view::ClusterView;
use crate::writes::Reach;

/// What the controller knows of a node's switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// It is connected.
    pub connected: bool,
    /// From where, or why it is not.
    pub session: String,
    /// Flows it shall hold.
    pub desired: usize,
    /// Flows it holds.
    pub installed: usize,
    /// What it refused, and what could not be compiled for it.
    pub problems: Vec<String>,
    /// Its ports, while it is connected.
    pub ports: Option<BTreeMap<String, PortNo>>,
}

/// Everything that answers are made of.
#[derive(Debug)]
pub struct Report<'a> {
    /// What the objects say.
    pub view: &'a ClusterView,
    /// What the network shall be.
    pub desired: &'a DesiredState,
    /// How far it has come.
    pub reach: &'a Reach,
    /// Switches, by node name.
    pub nodes: &'a BTreeMap<String, NodeStatus>,
    /// What flows of policies have counted, by the label of the flows; none: nobody was asked.
    pub hits: Option<&'a BTreeMap<String, Counted>>,
}

impl Report<'_> {
    /// Pods: those with a place in the network and those that wait for one.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn pods(&self, which: &Selection) -> Result<Vec<Pod>, String> {
        self.check_node(which)?;
        let wanted = Wanted::new(which)?;
        let problems = self.problems(Kind::Pod);
        let mut pods: Vec<Pod> = Vec::new();
        for (name, pod) in wanted.of(&self.desired.pods) {
            if which.node.as_ref().is_none_or(|node| *node == pod.node) {
                pods.push(self.pod(name, pod, &problems));
            }
        }
        for (name, waiting) in wanted.of(&self.desired.waiting) {
            let node = self.view.pods.get(name).and_then(|pod| pod.node.clone());
            if which.node.is_none() || which.node == node {
                let object = ObjectRef::namespaced(Kind::Pod, name);
                pods.push(Pod {
                    node: node.unwrap_or_default(),
                    in_force: match waiting.clone() {
                        Waiting::For(why) => InForce::Waiting { why },
                        Waiting::Refused(why) => InForce::Refused { why },
                    },
                    problems: problems.get(&object).cloned().unwrap_or_default(),
                    ..nowhere(name)
                });
            }
        }
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let known = self.desired.pods.keys().chain(self.desired.waiting.keys());
        wanted.found(pods, "pod", known.map(ToString::to_string))
    }

    fn pod(&self, name: &NamespacedName, pod: &desired::Pod, problems: &Told) -> Pod {
        let object = ObjectRef::namespaced(Kind::Pod, name);
        let status = self.nodes.get(&pod.node);
        let ports = status.and_then(|status| status.ports.as_ref());
        Pod {
            node: pod.node.clone(),
            subnet: pod.subnet.clone(),
            addresses: pod.addresses().collect(),
            mac: pod.mac.to_string(),
            port: pod.port.clone(),
            port_there: ports.map(|ports| ports.contains_key(&pod.port)),
            in_force: self.in_force(&object, Some(&pod.node)),
            ingress_policies: self.policies_of(name, true),
            egress_policies: self.policies_of(name, false),
            problems: problems.get(&object).cloned().unwrap_or_default(),
            ..nowhere(name)
        }
    }

    /// Subnets.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn subnets(&self, which: &Selection) -> Result<Vec<Subnet>, String> {
        self.check_node(which)?;
        let problems = self.problems(Kind::Subnet);
        let mut pods: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in self.desired.pods.values() {
            *pods.entry(&pod.subnet).or_default() += 1;
        }
        let is_wanted = |name: &String| which.name.as_ref().is_none_or(|wanted| wanted == name);
        let mut subnets: Vec<Subnet> = Vec::new();
        for name in self.view.subnets.keys().filter(|name| is_wanted(name)) {
            let object = ObjectRef::cluster(Kind::Subnet, name);
            let told = problems.get(&object).cloned().unwrap_or_default();
            let Some(subnet) = self.desired.subnets.get(name) else {
                subnets.push(refused(name, told));
                continue;
            };
            let (kind, provider, vlan, vni) = match &subnet.kind {
                SubnetKind::Overlay { vni } => ("overlay", None, None, Some(vni.get())),
                SubnetKind::Underlay { provider, vlan } => {
                    let vlan = vlan.map(|vlan| vlan.get());
                    ("underlay", Some(provider.clone()), vlan, None)
                }
            };
            let room = self.desired.usage.get(name).into_iter().flatten();
            let room = room.map(|usage| Room {
                family: usage.family.into(),
                used: usage.used.to_string(),
                available: usage.available.to_string(),
            });
            subnets.push(Subnet {
                name: name.clone(),
                kind: kind.into(),
                ranges: subnet
                    .prefixes()
                    .map(|(range, _)| range.to_string())
                    .collect(),
                gateways: subnet.prefixes().map(|(_, gateway)| gateway).collect(),
                provider,
                vlan,
                vni,
                mtu: subnet.mtu,
                room: room.collect(),
                pods: pods.get(name.as_str()).copied().unwrap_or(0),
                in_force: self.in_force(&object, which.node.as_deref()),
                problems: told,
            });
        }
        let known = self.view.subnets.keys().cloned();
        found(subnets, which.name.as_deref(), "subnet", known)
    }

    /// Nodes.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn nodes(&self, which: &Selection) -> Result<Vec<Node>, String> {
        let mut pods: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in self.desired.pods.values() {
            *pods.entry(&pod.node).or_default() += 1;
        }
        let problems = self.problems(Kind::Node);
        let wanted = which.name.as_ref().or(which.node.as_ref());
        let is_wanted = |name: &&String| wanted.is_none_or(|wanted| wanted == *name);
        let names: BTreeSet<&String> = self.desired.nodes.keys().chain(self.nodes.keys()).collect();
        let node = |name: &String| {
            let node = self.desired.nodes.get(name);
            let status = self.nodes.get(name).cloned().unwrap_or_default();
            let object = ObjectRef::cluster(Kind::Node, name);
            let mut told = problems.get(&object).cloned().unwrap_or_default();
            told.extend(status.problems);
            Node {
                name: name.clone(),
                addresses: node.map_or(Vec::new(), |node| node.addresses.clone()),
                vtep: node.and_then(|node| node.vtep),
                zone: node.and_then(|node| node.zone.clone()),
                pods: pods.get(name.as_str()).copied().unwrap_or(0),
                connected: status.connected,
                session: match status.session.as_str() {
                    "" => "has not connected since the controller leads".into(),
                    session => session.into(),
                },
                picture: self.reach.acknowledged_by(name),
                latest: self.reach.latest(),
                flows_desired: status.desired,
                flows_installed: status.installed,
                problems: told,
            }
        };
        let nodes = names.iter().copied().filter(is_wanted).map(node).collect();
        let known = names.iter().copied().cloned();
        found(nodes, wanted.map(String::as_str), "node", known)
    }

    /// How far an object has come, on all nodes or on one.
    fn in_force(&self, object: &ObjectRef, node: Option<&str>) -> InForce {
        let mut behind = self
            .reach
            .behind(object)
            .filter(|name| node.is_none_or(|n| n == *name));
        let Some(example) = behind.next() else {
            return InForce::InForce;
        };
        let connected = self
            .nodes
            .get(example)
            .is_some_and(|status| status.connected);
        let with_it = if connected { "" } else { " (not connected)" };
        InForce::Pending {
            nodes: 1 + behind.count(),
            example: format!("{example}{with_it}"),
        }
    }

    fn problems(&self, kind: Kind) -> Told {
        let mut told = Told::new();
        for problem in self
            .desired
            .problems
            .iter()
            .filter(|p| p.object.kind == kind)
        {
            let of = told.entry(problem.object.clone()).or_default();
            of.push(problem.without_object());
        }
        told
    }

    fn check_node(&self, which: &Selection) -> Result<(), String> {
        match &which.node {
            Some(node) if !self.desired.nodes.contains_key(node) => {
                let known = self.desired.nodes.keys().cloned();
                Err(nothing(node, "node", known))
            }
            _ => Ok(()),
        }
    }
}

/// Problems by object.
type Told = HashMap<ObjectRef, Vec<String>>;

/// A pod without a place.
fn nowhere(name: &NamespacedName) -> Pod {
    Pod {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        node: String::new(),
        subnet: String::new(),
        addresses: Vec::new(),
        mac: String::new(),
        port: String::new(),
        port_there: None,
        in_force: InForce::InForce,
        ingress_policies: Vec::new(),
        egress_policies: Vec::new(),
        problems: Vec::new(),
    }
}

fn refused(name: &str, problems: Vec<String>) -> Subnet {
    let why = match problems.first() {
        Some(problem) => problem.clone(),
        None => "it is not in force".into(),
    };
    Subnet {
        name: name.into(),
        kind: String::new(),
        ranges: Vec::new(),
        gateways: Vec::new(),
        provider: None,
        vlan: None,
        vni: None,
        mtu: 0,
        room: Vec::new(),
        pods: 0,
        in_force: InForce::Refused { why },
        problems,
    }
}

/// Which objects of namespaces are asked for.
struct Wanted {
    namespace: Option<String>,
    name: Option<NamespacedName>,
    /// A name of which the namespace is not said.
    anywhere: Option<String>,
}

impl Wanted {
    fn new(which: &Selection) -> Result<Self, String> {
        let mut wanted = Wanted {
            namespace: which.namespace.clone(),
            name: None,
            anywhere: None,
        };
        match (&which.namespace, &which.name) {
            (_, None) => {}
            (namespace, Some(text)) => match (text.parse::<NamespacedName>(), namespace) {
                (Ok(name), Some(other)) if name.namespace != *other => {
                    return Err(format!(
                        "{name} is not in namespace {other}: leave one of them out"
                    ));
                }
                (Ok(name), _) => wanted.name = Some(name),
                (Err(_), Some(namespace)) => {
                    wanted.name = Some(NamespacedName::new(namespace, text));
                }
                (Err(_), None) => wanted.anywhere = Some(text.clone()),
            },
        }
        Ok(wanted)
    }

    fn is(&self, name: &NamespacedName) -> bool {
        self.namespace.as_ref().is_none_or(|n| *n == name.namespace)
            && self.name.as_ref().is_none_or(|n| n == name)
            && self.anywhere.as_ref().is_none_or(|n| *n == name.name)
    }

    fn of<'m, V: 'm>(
        &self,
        all: impl IntoIterator<Item = (&'m NamespacedName, &'m V)>,
    ) -> impl Iterator<Item = (&'m NamespacedName, &'m V)> {
        all.into_iter().filter(|(name, _)| self.is(name))
    }

    /// An error where something was named and is not there.
    fn found<T>(
        &self,
        list: Vec<T>,
        what: &str,
        known: impl Iterator<Item = String>,
    ) -> Result<Vec<T>, String> {
        let name = self.name.as_ref().map(ToString::to_string);
        match name.as_deref().or(self.anywhere.as_deref()) {
            Some(name) if list.is_empty() && self.anywhere.is_some() => {
                // Near the name alone, whatever the namespace.
                let known: Vec<String> = known.collect();
                let short = known
                    .iter()
                    .map(|full| full.rsplit('/').next().unwrap_or(full));
                let close = near(name, short);
                let full = known.iter();
                let full = full.filter(|k| close.contains(&k.rsplit('/').next().unwrap_or(k)));
                Err(hint(name, what, &full.take(3).cloned().collect::<Vec<_>>()))
            }
            name => found(list, name, what, known),
        }
    }
}

fn found<T>(
    list: Vec<T>,
    name: Option<&str>,
    what: &str,
    known: impl Iterator<Item = String>,
) -> Result<Vec<T>, String> {
    match name {
        Some(name) if list.is_empty() => Err(nothing(name, what, known)),
        _ => Ok(list),
    }
}

fn nothing(name: &str, what: &str, known: impl Iterator<Item = String>) -> String {
    let known: Vec<String> = known.collect();
    let close = near(name, known.iter().map(String::as_str));
    let close: Vec<String> = close.into_iter().map(str::to_string).collect();
    hint(name, what, &close)
}

fn hint(name: &str, what: &str, close: &[String]) -> String {
    match close {
        [] => format!("no {what} {name}; `sluicectl get {what}s` shows what there is"),
        [one] => format!("no {what} {name}; {one} is near"),
        more => format!("no {what} {name}; {} are near", more.join(", ")),
    }
}

/// Who has which address.
fn owners(desired: &DesiredState) -> HashMap<IpAddr, &NamespacedName> {
    let pods = desired.pods.values();
    pods.flat_map(|pod| pod.addresses().map(|address| (address, &pod.name)))
        .collect()
}
