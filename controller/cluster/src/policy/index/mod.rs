//! What policies say, kept up to date change by change.
//!
//! A pod of a class that is known costs as much as finding it; a new class is matched with the
//! policies that ask for one of its labels ([`meeting`]); a policy costs the classes that it holds
//! for, and what it names. Nothing is looked at that has nothing to do with the change. What comes
//! out is what [`super::whole`] says of the whole.

mod meeting;
mod numbers;
mod sets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use self::meeting::{Meeting, SelectionId};
pub(in crate::policy) use self::numbers::{Crowded, Numbers};
use self::sets::Sets;
use super::classes::{self, Key, NamedPort};
use super::parts::{self, Part};
use super::rules::World;
use super::spec::{self, Asks, Rank, Selection, Spec};
use super::{PodPolicy, Policies};
use crate::annotations;
use crate::desired::{DesiredState, SubnetKind};
use crate::map::{self, Map};
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::problem::Problems;
use crate::view::{ClusterPolicy, ClusterView, LabelSelector};

/// What may be otherwise than it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Touched {
    /// Pods that were read anew, or have another node or other addresses.
    pods: BTreeSet<NamespacedName>,
    /// Namespaces that were read anew.
    namespaces: BTreeSet<String>,
    /// Policies that were read anew.
    policies: BTreeSet<ObjectRef>,
    /// Nodes that were read anew, or have other addresses.
    nodes: BTreeSet<String>,
    /// Some subnets.
    subnets: bool,
}

impl Touched {
    /// Everything there is.
    fn everything(view: &ClusterView, desired: &DesiredState) -> Self {
        Touched {
            pods: desired.pods.keys().cloned().collect(),
            namespaces: BTreeSet::new(), // read when they are met
            policies: Spec::all(view).map(|policy| policy.object).collect(),
            nodes: desired.nodes.keys().cloned().collect(),
            subnets: true,
        }
    }

    /// What differs between two pictures of the cluster.
    fn between(
        (view_before, desired_before): &(ClusterView, DesiredState),
        view: &ClusterView,
        desired: &DesiredState,
    ) -> Self {
        let pods = map::different(&view_before.pods, &view.pods);
        let pods = pods.chain(map::different(&desired_before.pods, &desired.pods));
        let namespaces = map::different(&view_before.namespaces, &view.namespaces);
        let nodes = map::different(&view_before.nodes, &view.nodes);
        let nodes = nodes.chain(map::different(&desired_before.nodes, &desired.nodes));
        let own = map::different(&view_before.network_policies, &view.network_policies);
        let own = own.map(|name| ObjectRef::namespaced(Kind::NetworkPolicy, name));
        let of = |kind, of: fn(&ClusterView) -> &Map<String, ClusterPolicy>| {
            let names = map::different(of(view_before), of(view));
            names.map(move |name| ObjectRef::cluster(kind, name))
        };
        let cluster = of(Kind::AdminNetworkPolicy, |v| &v.admin_network_policies)
            .chain(of(Kind::BaselineAdminNetworkPolicy, |v| {
                &v.baseline_admin_network_policies
            }))
            .chain(of(Kind::ClusterNetworkPolicy, |v| {
                &v.cluster_network_policies
            }));
        Touched {
            pods: pods.cloned().collect(),
            namespaces: namespaces.cloned().collect(),
            policies: own.chain(cluster).collect(),
            nodes: nodes.cloned().collect(),
            subnets: desired_before.subnets != desired.subnets,
        }
    }
}

/// A policy that is in force.
#[derive(Debug)]
struct Held {
    rank: Rank,
    subject: SelectionId,
    names: BTreeSet<SelectionId>,
    asks: Vec<Asks>,
    names_nodes: bool,
    /// Labels that tell pods apart because it asks for them.
    asked: BTreeSet<String>,
    /// Of ingress, of egress.
    parts: [Option<Arc<Part>>; 2],
}

/// What has to be worked out anew.
#[derive(Debug, Default)]
struct Dirty {
    policies: BTreeSet<ObjectRef>,
    /// Identities whose policy sets may be others.
    classes: BTreeSet<u32>,
    sets: BTreeSet<u32>,
}

/// The policies of a cluster.
#[derive(Debug)]
pub(crate) struct Index {
    policies: Policies,
    problems: Problems,
    /// What it is about.
    of: (ClusterView, DesiredState),
    held: BTreeMap<ObjectRef, Held>,
    /// By label, how many policies ask for it; those only that would not count otherwise.
    asked: BTreeMap<String, usize>,
    identities: Numbers,
    meeting: Meeting,
    sets: Sets,
    /// Policies whose rules name nodes.
    of_nodes: BTreeSet<ObjectRef>,
    /// By name of a port: policies that ask for it of every pod.
    of_ports: BTreeMap<String, BTreeSet<ObjectRef>>,
    /// By name of a port: policies that ask for it of pods by their addresses.
    of_addresses: BTreeMap<String, BTreeSet<ObjectRef>>,
}

impl Default for Index {
    fn default() -> Self {
        Index::new(u32::MAX)
    }
}

impl Index {
    /// Of no policies. `mask` are the bits of hashes that count in numbers.
    pub(in crate::policy) fn new(mask: u32) -> Self {
        Index {
            policies: Policies::default(),
            problems: Problems::default(),
            of: Default::default(),
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            identities: Numbers::new(mask),
            meeting: Meeting::default(),
            sets: Sets::new(mask),
            of_nodes: BTreeSet::new(),
            of_ports: BTreeMap::new(),
            of_addresses: BTreeMap::new(),
        }
    }

    /// What policies say now, and what is wrong with them.
    ///
    /// `desired` has everything but these two. Both it and the view share with the versions of the
    /// call before what has not changed since, so that [`crate::changes`] finds what has.
    pub(crate) fn update(
        &mut self,
        view: &ClusterView,
        desired: &DesiredState,
    ) -> (Policies, Problems) {
        if spec::none(view) {
            // Nothing is kept of pods while nobody asks.
            *self = Index::new(self.identities.mask());
            return Default::default();
        }
        let touched = Touched::between(&self.of, view, desired);
        if !self.policies.active || self.follow(view, desired, &touched).is_err() {
            *self = Index::new(self.identities.mask());
            self.policies.active = true;
            let everything = Touched::everything(view, desired);
            // Where nothing is there yet, nothing is crowded.
            let _ = self.follow(view, desired, &everything);
        }
        self.of = (view.clone(), desired.clone());
        (self.policies.clone(), self.problems.clone())
    }

    /// An error leaves it half done: all has to be done anew.
    fn follow(
        &mut self,
        view: &ClusterView,
        desired: &DesiredState,
        touched: &Touched,
    ) -> Result<(), Crowded> {
        let mut dirty = Dirty::default();
        self.ask(view, touched)?;
        for name in &touched.nodes {
            let addresses = desired.nodes.get(name).map(super::addresses);
            self.policies.node_addresses.set(name.clone(), addresses);
        }
        if !touched.nodes.is_empty() {
            dirty.policies.extend(self.of_nodes.iter().cloned());
        }
        for name in &touched.namespaces {
            let labels = spec::namespace_labels(view, name);
            let (classes, selections) = self.meeting.relabel(name, labels);
            dirty.classes.extend(classes);
            self.touch(selections, &mut dirty);
            // What is logged of its own policies is said there.
            let first = NamespacedName::new(name.as_str(), "");
            let first = ObjectRef::namespaced(Kind::NetworkPolicy, &first);
            let own = self.held.range(first..).map(|(object, _)| object);
            let own = own.take_while(|o| o.namespace.as_ref() == Some(name));
            dirty.policies.extend(own.cloned());
        }
        self.follow_pods(view, desired, &touched.pods, &mut dirty)?;
        self.follow_underlay(desired, touched);
        for object in &touched.policies {
            self.follow_policy(view, object, &mut dirty);
        }
        self.resolve(view, desired, &mut dirty);
        self.choose_sets(&mut dirty)?;
        self.fill_sets(dirty.sets);
        Ok(())
    }

    /// Counts labels that are asked for. One more, or one less, and pods are told apart otherwise.
    fn ask(&mut self, view: &ClusterView, touched: &Touched) -> Result<(), Crowded> {
        let before: Vec<String> = self.asked.keys().cloned().collect();
        for object in &touched.policies {
            let had = self.held.get(object).into_iter();
            for key in had.flat_map(|held| &held.asked) {
                if let Some(count) = self.asked.get_mut(key) {
                    *count -= 1;
                    if *count == 0 {
                        self.asked.remove(key);
                    }
                }
            }
            for key in Spec::find(view, object)
                .map(|p| asked(&p))
                .unwrap_or_default()
            {
                *self.asked.entry(key).or_default() += 1;
            }
        }
        match self.policies.pods.is_empty() || self.asked.keys().eq(&before) {
            true => Ok(()),
            false => Err(Crowded),
        }
    }

    /// Classes of these selections are others: whoever uses them has to look again.
    fn touch(&self, selections: impl IntoIterator<Item = SelectionId>, dirty: &mut Dirty) {
        for id in selections {
            if let Some(selection) = self.meeting.selection(id) {
                dirty.policies.extend(selection.named_by.iter().cloned());
                dirty.policies.extend(selection.ruled_by.iter().cloned());
            }
        }
    }

    /// Policies that ask for ports of every pod, or of those with some addresses.
    fn touch_ports(&self, ports: &BTreeSet<NamedPort>, of_class: bool, dirty: &mut Dirty) {
        for (name, ..) in ports {
            dirty
                .policies
                .extend(self.of_addresses.get(name).into_iter().flatten().cloned());
            if of_class {
                dirty
                    .policies
                    .extend(self.of_ports.get(name).into_iter().flatten().cloned());
            }
        }
    }

    fn follow_pods(
        &mut self,
        view: &ClusterView,
        desired: &DesiredState,
        pods: &BTreeSet<NamespacedName>,
        dirty: &mut Dirty,
    ) -> Result<(), Crowded> {
        let (mut next, mut new) = (Vec::with_capacity(pods.len()), BTreeSet::new());
        for name in pods {
            let pod = view.pods.get(name);
            let pod = pod.filter(|_| desired.pods.contains_key(name));
            let key = pod.map(|pod| Key::new(name, pod, |label| self.asked.contains_key(label)));
            let key = key.map(|key| (key.text(), key));
            if let Some((text, _)) = &key
                && self.identities.get(text).is_none()
            {
                new.insert(text.clone());
            }
            next.push((name, key));
        }
        self.identities.enter(new)?;
        let mut left = BTreeSet::new();
        for (name, key) in next {
            let before = self.policies.pods.get(name).map(|pod| pod.identity);
            let now = key.and_then(|(text, key)| Some((self.identities.get(&text)?, key)));
            if let Some(class) = before.and_then(|identity| self.meeting.class(identity)) {
                self.touch_ports(&class.key.ports, false, dirty);
            }
            if let Some((identity, key)) = now {
                self.touch_ports(&key.ports, false, dirty);
                if before == Some(identity) {
                    continue;
                }
                if self.meeting.class(identity).is_none() {
                    self.touch_ports(&key.ports, true, dirty);
                    let namespace = key.namespace.clone();
                    let labels = || spec::namespace_labels(view, &namespace);
                    let selections = self.meeting.enter(identity, key, labels);
                    self.touch(selections, dirty);
                    dirty.classes.insert(identity);
                }
                let sets = self.meeting.class(identity).map(|class| class.sets);
                let [ingress, egress] = sets.unwrap_or_default();
                let pod = PodPolicy {
                    identity,
                    ingress,
                    egress,
                };
                self.policies.members.insert((identity, name.clone()), ());
                self.policies.pods.insert(name.clone(), pod);
            } else if before.is_some() {
                self.policies.pods.remove(name);
            }
            if let Some(identity) = before {
                self.policies.members.remove(&(identity, name.clone()));
                left.insert(identity);
            }
        }
        for identity in left {
            if self.policies.members_of(identity).next().is_none() {
                self.remove_class(identity, dirty)?;
            }
        }
        Ok(())
    }

    fn remove_class(&mut self, identity: u32, dirty: &mut Dirty) -> Result<(), Crowded> {
        let Some(class) = self.meeting.leave(identity) else {
            return Ok(());
        };
        self.touch_ports(&class.key.ports, true, dirty);
        self.touch(class.selections, dirty);
        dirty.classes.remove(&identity);
        for number in class.sets.into_iter().flatten() {
            self.leave_set(number, identity)?;
        }
        self.identities.leave(identity)
    }

    fn leave_set(&mut self, number: u32, identity: u32) -> Result<(), Crowded> {
        if self.sets.leave(number, identity)? {
            self.policies.sets.remove(&number);
        }
        Ok(())
    }

    fn follow_underlay(&mut self, desired: &DesiredState, touched: &Touched) {
        let underlay = |subnet: &String| {
            let subnet = desired.subnets.get(subnet);
            subnet.is_some_and(|s| matches!(s.kind, SubnetKind::Underlay { .. }))
        };
        let addresses = |name: &NamespacedName| {
            let pod = desired.pods.get(name)?;
            let addresses = || pod.addresses().collect::<Vec<IpAddr>>();
            underlay(&pod.subnet).then(addresses)
        };
        let pods = &mut self.policies.underlay_pods;
        for name in &touched.pods {
            pods.set(name.clone(), addresses(name));
        }
        if touched.subnets {
            for name in desired.pods.keys() {
                pods.set(name.clone(), addresses(name));
            }
        }
    }

    /// Enters a policy as it is now, or takes it out.
    fn follow_policy(&mut self, view: &ClusterView, object: &ObjectRef, dirty: &mut Dirty) {
        let before = self.held.remove(object);
        if before.is_some() {
            dirty.sets.extend(self.sets.of_policy(object));
        }
        let now = Spec::find(view, object).map(|policy| {
            let subject = self.meeting.select(policy.subject.clone());
            let names = policy.selections().map(|s| self.meeting.select(s));
            Held {
                subject,
                names: names.collect(),
                asks: policy.asks(),
                names_nodes: policy.names_nodes(),
                asked: asked(&policy),
                rank: policy.rank,
                parts: [None, None],
            }
        });
        for (held, is_now) in [(&before, false), (&now, true)] {
            let Some(held) = held else { continue };
            if let Some(selection) = self.meeting.selection_mut(held.subject) {
                dirty.classes.extend(&selection.classes);
                put(&mut selection.ruled_by, object, is_now);
            }
            for id in &held.names {
                if let Some(selection) = self.meeting.selection_mut(*id) {
                    put(&mut selection.named_by, object, is_now);
                }
            }
            if held.names_nodes {
                put(&mut self.of_nodes, object, is_now);
            }
            for asks in &held.asks {
                for (wanted, index) in [
                    (asks.every_pod, &mut self.of_ports),
                    (asks.addresses, &mut self.of_addresses),
                ] {
                    if wanted {
                        put(index.entry(asks.port.clone()).or_default(), object, is_now);
                    }
                }
            }
        }
        for id in before.iter().flat_map(|held| &held.names) {
            self.meeting.tidy(*id);
        }
        if let Some(before) = &before {
            self.meeting.tidy(before.subject);
            for asks in &before.asks {
                for index in [&mut self.of_ports, &mut self.of_addresses] {
                    if index.get(&asks.port).is_some_and(BTreeSet::is_empty) {
                        index.remove(&asks.port);
                    }
                }
            }
        }
        match now {
            Some(now) => {
                self.held.insert(object.clone(), now);
                dirty.policies.insert(object.clone());
            }
            None => {
                dirty.policies.remove(object);
                self.problems.set(object.clone(), Vec::new());
            }
        }
    }

    /// Resolves policies anew.
    fn resolve(&mut self, view: &ClusterView, desired: &DesiredState, dirty: &mut Dirty) {
        for object in std::mem::take(&mut dirty.policies) {
            let Some(policy) = Spec::find(view, &object) else {
                continue;
            };
            let world = Known {
                index: self,
                view,
                desired,
            };
            let mut problems = Vec::new();
            let parts = [true, false].map(|ingress| {
                let part = Part::new(&world, view, &policy, ingress, &mut problems)?;
                Some(Arc::new(part))
            });
            let Some(held) = self.held.get(&object) else {
                continue;
            };
            let subject = self.meeting.selection(held.subject);
            let classes = subject.map(|s| &s.classes);
            for (part, ingress) in parts.iter().zip([true, false]) {
                let Some(part) = part else { continue };
                let classes = classes.into_iter().flatten();
                let classes = classes.filter_map(|identity| self.meeting.class(*identity));
                part.report_unused(ingress, classes.map(|c| &c.key.ports), &mut problems);
            }
            annotations::report_unread(&object, policy.meta, &mut problems);
            self.problems.set(object.clone(), problems);
            if held.parts == parts {
                continue;
            }
            dirty.sets.extend(self.sets.of_policy(&object));
            let alike = held.parts.iter().zip(&parts);
            if !alike
                .into_iter()
                .all(|(a, b)| same_text(a.as_deref(), b.as_deref()))
            {
                dirty.classes.extend(classes.into_iter().flatten());
            }
            if let Some(held) = self.held.get_mut(&object) {
                held.parts = parts;
            }
        }
    }

    /// Puts classes into the policy sets that hold for them now.
    fn choose_sets(&mut self, dirty: &mut Dirty) -> Result<(), Crowded> {
        let (mut chosen, mut new) = (Vec::new(), BTreeSet::new());
        for identity in std::mem::take(&mut dirty.classes) {
            let Some(class) = self.meeting.class(identity) else {
                continue;
            };
            let selections = class.selections.iter();
            let selections = selections.filter_map(|id| self.meeting.selection(*id));
            let policies = selections.flat_map(|s| &s.ruled_by);
            let mut held: Vec<&Held> = policies.filter_map(|p| self.held.get(p)).collect();
            held.sort_by(|a, b| a.rank.cmp(&b.rank));
            for (at, ingress) in [true, false].into_iter().enumerate() {
                let parts = held.iter().filter_map(|held| held.parts[at].as_deref());
                if parts.clone().next().is_none() {
                    chosen.push((identity, at, None));
                    continue;
                }
                let (text, ports) = parts::describe(ingress, parts.clone(), &class.key.ports);
                if self.sets.number(&text).is_none() {
                    new.insert(text.clone());
                }
                let policies: Vec<_> = parts.map(|part| part.object.clone()).collect();
                chosen.push((identity, at, Some((text, ports, policies))));
            }
        }
        self.sets.enter(new)?;
        let mut changed = BTreeSet::new();
        let mut left = Vec::new();
        for (identity, at, set) in chosen {
            let number = match set {
                None => None,
                Some((text, ports, policies)) => {
                    let joined = self.sets.join(&text, at == 0, ports, policies, identity);
                    let (number, is_new) = joined.ok_or(Crowded)?;
                    if is_new {
                        dirty.sets.insert(number);
                    }
                    Some(number)
                }
            };
            let Some(class) = self.meeting.class_mut(identity) else {
                continue;
            };
            let before = std::mem::replace(&mut class.sets[at], number);
            if before != number {
                changed.insert(identity);
                left.extend(before.map(|before| (before, identity)));
            }
        }
        for (number, identity) in left {
            self.leave_set(number, identity)?;
        }
        for identity in changed {
            let sets = self.meeting.class(identity).map(|class| class.sets);
            let [ingress, egress] = sets.unwrap_or_default();
            let policy = PodPolicy {
                identity,
                ingress,
                egress,
            };
            let members: Vec<_> = self.policies.members_of(identity).cloned().collect();
            for name in members {
                self.policies.pods.set(name, Some(policy));
            }
        }
        Ok(())
    }

    fn fill_sets(&mut self, dirty: BTreeSet<u32>) {
        for number in dirty {
            let Some(record) = self.sets.get(number) else {
                continue;
            };
            let at = usize::from(!record.ingress);
            let parts = record.policies.iter();
            let parts = parts.filter_map(|p| self.held.get(p)?.parts[at].as_deref());
            let set = Arc::new(parts::set(parts, &record.ports));
            self.policies.sets.set(number, Some(set));
        }
    }
}

fn put(set: &mut BTreeSet<ObjectRef>, object: &ObjectRef, there: bool) {
    if there {
        set.insert(object.clone());
    } else {
        set.remove(object);
    }
}

fn asked(policy: &Spec<'_>) -> BTreeSet<String> {
    let own = policy.subject.clone();
    let selections = policy.selections().chain([own]);
    let keys = selections.flat_map(|selection| {
        let keys = classes::asked(selection.pods());
        keys.map(str::to_string).collect::<Vec<_>>()
    });
    keys.collect()
}

/// True if both make the same text of a set.
fn same_text(a: Option<&Part>, b: Option<&Part>) -> bool {
    let names = |part: Option<&Part>| {
        let ports = part.map(|part| part.own_ports().map(|(_, n)| n.to_string()).collect());
        ports.map(|names: BTreeSet<String>| names)
    };
    names(a) == names(b)
}

/// What selectors are resolved against.
struct Known<'a> {
    index: &'a Index,
    view: &'a ClusterView,
    desired: &'a DesiredState,
}

impl World for Known<'_> {
    fn select(&self, selection: &Selection, each: &mut dyn FnMut(u32)) {
        let classes = self.index.meeting.classes_of(selection);
        classes.into_iter().flatten().copied().for_each(each);
    }

    fn with_port(&self, name: &str, each: &mut dyn FnMut(u32)) {
        self.index.meeting.with_port(name).for_each(each);
    }

    fn ports(&self, identity: u32) -> Option<&BTreeSet<NamedPort>> {
        Some(&self.index.meeting.class(identity)?.key.ports)
    }

    fn addresses(&self, identity: u32, each: &mut dyn FnMut(IpAddr)) {
        let members = self.index.policies.members_of(identity);
        let pods = members.filter_map(|name| self.desired.pods.get(name));
        pods.flat_map(|pod| pod.addresses()).for_each(each);
    }

    fn nodes(&self, selector: &LabelSelector) -> Vec<IpAddr> {
        nodes(self.view, &self.index.policies.node_addresses, selector)
    }
}

/// The addresses of nodes with these labels.
pub(in crate::policy) fn nodes(
    view: &ClusterView,
    addresses: &Map<String, Vec<IpAddr>>,
    selector: &LabelSelector,
) -> Vec<IpAddr> {
    let nodes = view.nodes.iter();
    let nodes = nodes.filter(|(_, node)| selector.matches(&node.meta.labels));
    let addresses = nodes.filter_map(|(name, _)| addresses.get(name));
    addresses.flatten().copied().collect()
}
