//! Which nodes a change of policies, or of pods that policies name, concerns.

use std::collections::BTreeSet;

use cluster::NamespacedName;
use cluster::desired::{DesiredState, Pod};
use cluster::policy::{Policies, PolicySet};

use crate::compiler::different;

/// Names of the nodes whose policy flows may be different; none: every node.
pub(crate) fn concerned(before: &DesiredState, now: &DesiredState) -> Option<BTreeSet<String>> {
    let (old, new) = (&before.policies, &now.policies);
    if old.active != new.active || old.node_addresses != new.node_addresses {
        return None;
    }
    let mut nodes = BTreeSet::new();
    if !new.active {
        return Some(nodes);
    }
    // Pods whose own policies are others now.
    let pods: BTreeSet<&NamespacedName> = different(&old.pods, &new.pods).collect();
    for state in [before, now] {
        let changed = pods.iter().filter_map(|name| state.pods.get(*name));
        nodes.extend(changed.map(|pod| pod.node.clone()));
    }
    // Policy sets that are others now, or that name a pod whose addresses or identity are.
    let mut sets: BTreeSet<u32> = different(&old.sets, &new.sets).copied().collect();
    let identity = |policies: &Policies, name| policies.pods.get(name).map(|p| p.identity);
    let addresses = |pod: Option<&Pod>| pod.map(|pod| (pod.v4, pod.v6));
    let moved = new.pods.keys().chain(old.pods.keys()).filter(|name| {
        identity(old, name) != identity(new, name)
            || addresses(before.pods.get(*name)) != addresses(now.pods.get(*name))
    });
    let moved: BTreeSet<u32> = moved
        .flat_map(|name| identity(old, name).into_iter().chain(identity(new, name)))
        .collect();
    let underlay = old.underlay_pods != new.underlay_pods;
    let names = |set: &PolicySet| {
        let mut scopes = set.rules.iter().flat_map(|rule| &rule.scopes);
        scopes.any(|scope| {
            let peers = &scope.peers;
            underlay && peers.all_pods
                || !moved.is_empty() && peers.identities.iter().any(|i| moved.contains(i))
        })
    };
    sets.extend(
        new.sets
            .iter()
            .filter(|(_, set)| names(set))
            .map(|(n, _)| *n),
    );
    if !sets.is_empty() {
        for (name, policy) in &new.pods {
            let mut own = policy.ingress.iter().chain(&policy.egress);
            if own.any(|number| sets.contains(number)) {
                nodes.extend(now.pods.get(name).map(|pod| pod.node.clone()));
            }
        }
    }
    Some(nodes)
}
