//! Which nodes a change of policies, or of pods that policies name, concerns.

use std::collections::{BTreeMap, BTreeSet};

use cluster::desired::{DesiredState, Pod};
use cluster::policy::{PodPolicy, PolicySet};
use cluster::{Change, NamespacedName, changes, different};

/// Where policy sets are in force and whom they name, kept up to date change by change.
#[derive(Debug, Default)]
pub(crate) struct Concern {
    /// By policy set, the nodes that have pods under it, and how many in either direction.
    places: BTreeMap<u32, BTreeMap<String, usize>>,
    /// By identity, the policy sets whose rules name it.
    naming: BTreeMap<u32, BTreeSet<u32>>,
    /// Policy sets whose rules name every pod.
    naming_all: BTreeSet<u32>,
}

impl Concern {
    /// Goes from one state to the next; gives names of the nodes whose policy flows may be
    /// different; none: every node.
    pub fn follow(
        &mut self,
        before: &DesiredState,
        now: &DesiredState,
    ) -> Option<BTreeSet<String>> {
        let (old, new) = (&before.policies, &now.policies);
        let mut nodes = BTreeSet::new();
        // Policy sets that are others now, or that name a pod whose addresses or identity are.
        let mut sets = BTreeSet::new();
        for Change { key, before, after } in changes(&old.sets, &new.sets) {
            self.rename(*key, before.map(|s| &**s), after.map(|s| &**s));
            match after.is_some_and(|set| names_all(set)) {
                true => self.naming_all.insert(*key),
                false => self.naming_all.remove(key),
            };
            sets.insert(*key);
        }
        let pods = different(&old.pods, &new.pods);
        let pods = pods.chain(different(&before.pods, &now.pods));
        let pods: BTreeSet<&NamespacedName> = pods.collect();
        let mut moved = BTreeSet::new();
        for name in pods {
            let was = before.pods.get(name).zip(old.pods.get(name));
            let is = now.pods.get(name).zip(new.pods.get(name));
            if let Some((pod, policy)) = was {
                self.leave(pod, policy);
            }
            if let Some((pod, policy)) = is {
                self.enter(pod, policy);
            }
            let said = |pair: Option<(&Pod, &PodPolicy)>| pair.map(|(_, policy)| *policy);
            if said(was) != said(is) {
                // A pod whose own policies are others now.
                let both = was.into_iter().chain(is);
                nodes.extend(both.map(|(pod, _)| pod.node.clone()));
            }
            let who = |pair: Option<(&Pod, &PodPolicy)>| {
                pair.map(|(pod, policy)| (policy.identity, pod.v4, pod.v6))
            };
            if who(was) != who(is) {
                let both = was.into_iter().chain(is);
                moved.extend(both.map(|(_, policy)| policy.identity));
            }
        }
        for identity in moved {
            sets.extend(self.naming.get(&identity).into_iter().flatten());
        }
        if old.underlay_pods != new.underlay_pods {
            sets.extend(&self.naming_all);
        }
        for number in sets {
            let places = self.places.get(&number).into_iter().flatten();
            nodes.extend(places.map(|(node, _)| node.clone()));
        }
        let alike = old.active == new.active && old.node_addresses == new.node_addresses;
        alike.then_some(nodes)
    }

    fn enter(&mut self, pod: &Pod, policy: &PodPolicy) {
        for number in policy.ingress.iter().chain(&policy.egress) {
            let places = self.places.entry(*number).or_default();
            match places.get_mut(&pod.node) {
                Some(count) => *count += 1,
                None => drop(places.insert(pod.node.clone(), 1)),
            }
        }
    }

    fn leave(&mut self, pod: &Pod, policy: &PodPolicy) {
        for number in policy.ingress.iter().chain(&policy.egress) {
            let Some(places) = self.places.get_mut(number) else {
                continue;
            };
            if let Some(count) = places.get_mut(&pod.node) {
                *count -= 1;
                if *count == 0 {
                    places.remove(&pod.node);
                }
            }
            if places.is_empty() {
                self.places.remove(number);
            }
        }
    }

    /// A policy set names others now.
    fn rename(&mut self, number: u32, before: Option<&PolicySet>, after: Option<&PolicySet>) {
        let (before, after) = (named(before), named(after));
        for identity in before.difference(&after) {
            if let Some(sets) = self.naming.get_mut(identity) {
                sets.remove(&number);
                if sets.is_empty() {
                    self.naming.remove(identity);
                }
            }
        }
        for identity in after.difference(&before) {
            self.naming.entry(*identity).or_default().insert(number);
        }
    }
}

/// Identities that the rules of a set name.
fn named(set: Option<&PolicySet>) -> BTreeSet<u32> {
    let rules = set.into_iter().flat_map(|set| &set.rules);
    let scopes = rules.flat_map(|rule| &rule.scopes);
    let identities = scopes.flat_map(|scope| &scope.peers.identities);
    identities.copied().collect()
}

fn names_all(set: &PolicySet) -> bool {
    let mut scopes = set.rules.iter().flat_map(|rule| &rule.scopes);
    scopes.any(|scope| scope.peers.all_pods)
}
