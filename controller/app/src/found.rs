//! What switches found wrong with objects: an address that another station of a VLAN has, a rate
//! that a port cannot hold.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{ObjectRef, Problem};

/// By object, whichever switch it was.
#[derive(Debug, Default)]
pub struct Found {
    nodes: BTreeMap<String, Vec<Problem>>,
    objects: BTreeMap<ObjectRef, Vec<Problem>>,
}

impl Found {
    /// Replaces what one node's switch found. Gives the objects of which something else is wrong
    /// now, each with what was wrong before.
    pub fn replace(&mut self, node: &str, now: Vec<Problem>) -> Vec<(ObjectRef, Vec<Problem>)> {
        let before = match now.is_empty() {
            true => self.nodes.remove(node),
            false => self.nodes.insert(node.to_string(), now.clone()),
        };
        let before = before.unwrap_or_default();
        if before == now {
            return Vec::new();
        }
        let objects: BTreeSet<ObjectRef> = before
            .iter()
            .chain(&now)
            .map(|problem| problem.object.clone())
            .collect();
        objects
            .into_iter()
            .filter_map(|object| {
                // Few switches find anything, and what they find is mostly the same of one object.
                let all = self.nodes.values().flatten();
                let wrong: BTreeSet<&Problem> =
                    all.filter(|problem| problem.object == object).collect();
                let wrong: Vec<Problem> = wrong.into_iter().cloned().collect();
                let then = match wrong.is_empty() {
                    true => self.objects.remove(&object),
                    false => self.objects.insert(object.clone(), wrong.clone()),
                };
                let then = then.unwrap_or_default();
                (then != wrong).then_some((object, then))
            })
            .collect()
    }

    /// By object.
    pub fn objects(&self) -> &BTreeMap<ObjectRef, Vec<Problem>> {
        &self.objects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::Kind;

    #[test]
    fn what_two_switches_find_of_one_object_is_told_once_and_is_over_when_neither_finds_it() {
        let object = ObjectRef::namespaced(Kind::Pod, &"bank/a".parse().unwrap());
        let problem = Problem::refused(object.clone(), "", "is taken", "move it");
        let mut found = Found::default();
        let changed = found.replace("n1", vec![problem.clone()]);
        assert_eq!(changed, [(object.clone(), vec![])]);
        assert_eq!(found.replace("n1", vec![problem.clone()]), []);
        assert_eq!(found.replace("n2", vec![problem.clone()]), []);
        assert_eq!(found.objects()[&object], std::slice::from_ref(&problem));
        assert_eq!(found.replace("n1", vec![]), []);
        assert_eq!(found.replace("n2", vec![]), [(object, vec![problem])]);
        assert!(found.objects().is_empty() && found.nodes.is_empty());
    }
}
