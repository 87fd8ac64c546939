//! What is wrong, by whose reading found it: so that reading one object again replaces what was
//! found then, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::ipam::Owner;
use crate::name::{NamespacedName, ObjectRef};
use crate::problem::{Problem, Problems};

/// Who found something wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Finder {
    /// Reading the object.
    Read(ObjectRef),
    /// Nodes, subnets, namespaces and the like together.
    Frame,
    /// Serving somebody with addresses.
    Want(Owner),
    /// What a pod asks for.
    Pod(NamespacedName),
    /// An EndpointSlice.
    Slice(NamespacedName),
    /// A Service's ports and endpoints.
    Service(NamespacedName),
    /// What Services are reached by besides their cluster IPs, together.
    Frontends,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    found: BTreeMap<Finder, Vec<Problem>>,
    /// Who found something wrong with an object.
    finders: BTreeMap<ObjectRef, BTreeSet<Finder>>,
    /// Objects of which something else was found than before.
    touched: BTreeSet<ObjectRef>,
    /// What was found of policies, as told last.
    policies: Problems,
}

impl Found {
    /// Forgets what was found, but not that it was told.
    pub(super) fn begin_anew(&mut self) {
        self.found.clear();
        let told = std::mem::take(&mut self.finders);
        self.touched.extend(told.into_keys());
    }

    /// All that somebody finds now.
    pub(super) fn set(&mut self, finder: Finder, problems: Vec<Problem>) {
        let before = if problems.is_empty() {
            self.found.remove(&finder)
        } else if self.found.get(&finder) == Some(&problems) {
            return;
        } else {
            self.found.insert(finder.clone(), problems.clone())
        };
        for problem in before.into_iter().flatten() {
            if let Some(finders) = self.finders.get_mut(&problem.object) {
                finders.remove(&finder);
                if finders.is_empty() {
                    self.finders.remove(&problem.object);
                }
            }
            self.touched.insert(problem.object);
        }
        for problem in problems {
            let finders = self.finders.entry(problem.object.clone()).or_default();
            finders.insert(finder.clone());
            self.touched.insert(problem.object);
        }
    }

    /// Enters into `told` what differs, with what was found of policies.
    pub(super) fn tell(&mut self, policies: Problems, told: &mut Problems) {
        let before = std::mem::replace(&mut self.policies, policies);
        let differing = crate::different(before.by_object(), self.policies.by_object());
        self.touched.extend(differing.cloned());
        for object in std::mem::take(&mut self.touched) {
            let finders = self.finders.get(&object).into_iter().flatten();
            let found = finders
                .filter_map(|finder| self.found.get(finder))
                .flatten();
            let mut problems: Vec<Problem> = found
                .filter(|problem| problem.object == object)
                .cloned()
                .collect();
            problems.extend(self.policies.of(&object).iter().cloned());
            told.set(object, problems);
        }
    }
}
