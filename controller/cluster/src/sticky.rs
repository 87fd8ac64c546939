//! Pods of StatefulSets keep their addresses while they are away: as long as the StatefulSet is
//! there and still has a pod of that number.

use crate::name::NamespacedName;
use crate::state::{Allocation, Workload};
use crate::view::{ClusterView, Pod, StatefulSet};

/// The StatefulSet's name and the pod's number, of a name of that form.
pub(crate) fn ordinal(pod: &str) -> Option<(&str, usize)> {
    let (name, number) = pod.rsplit_once('-')?;
    // "007" is no number that a StatefulSet writes.
    let plain = number.bytes().all(|b| b.is_ascii_digit())
        && !(number.len() > 1 && number.starts_with('0'));
    let number = plain.then(|| number.parse().ok()).flatten()?;
    (!name.is_empty()).then_some((name, number))
}

/// The StatefulSet that a pod is of: its owner, or, in a folder of manifests, whose objects name
/// no owners, one of the fitting name.
pub(crate) fn workload(view: &ClusterView, name: &NamespacedName, pod: &Pod) -> Option<Workload> {
    let (set, _) = ordinal(&name.name)?;
    let owner = pod.meta.owners.iter().find(|owner| {
        owner.kind == "StatefulSet" && owner.api_version.starts_with("apps/") && owner.name == set
    });
    match owner {
        Some(owner) => Some(Workload {
            name: owner.name.clone(),
            uid: Some(owner.uid.clone()).filter(|uid| !uid.is_empty()),
        }),
        None if pod.meta.owners.is_empty() && pod.meta.uid.is_none() => {
            let full = NamespacedName::new(&name.namespace, set);
            let there = view.stateful_sets.get(&full)?;
            Some(Workload {
                name: full.name,
                uid: there.meta.uid.clone(),
            })
        }
        None => None,
    }
}

/// True if what an absent pod held is kept for it.
pub(crate) fn is_kept(view: &ClusterView, name: &NamespacedName, held: &Allocation) -> bool {
    let Some(workload) = &held.workload else {
        return false;
    };
    let full = NamespacedName::new(&name.namespace, &workload.name);
    view.stateful_sets
        .get(&full)
        .is_some_and(|set| will_come_back(set, workload, &name.name))
}

fn will_come_back(set: &StatefulSet, workload: &Workload, pod: &str) -> bool {
    let is_it = match (&set.meta.uid, &workload.uid) {
        (Some(there), Some(known)) => there == known,
        _ => true,
    };
    let Some((_, number)) = ordinal(pod) else {
        return false;
    };
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    is_it
        && !set.meta.deleting
        && number >= set.start
        && number < set.start.saturating_add(set.replicas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_what_stands_after_the_last_dash() {
        assert_eq!(ordinal("web-0"), Some(("web", 0)));
        assert_eq!(ordinal("web-a-12"), Some(("web-a", 12)));
        for other in ["web", "web-", "-1", "web-01", "web-x", "web-1a"] {
            assert_eq!(ordinal(other), None, "{other}");
        }
    }
}
