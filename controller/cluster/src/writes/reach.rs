//! How far what was told to switches has come.

use std::collections::{BTreeMap, BTreeSet};

use crate::changes::Changes;
use crate::name::ObjectRef;

/// Which object is in force on which nodes: an object is in force on a node when the node's switch
/// has acknowledged a picture that is no older than the object's last change. A node that a picture
/// does not concern has it at once, if it has all that was before.
///
/// Pictures are numbered from 1, upwards.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    nodes: BTreeMap<String, Standing>,
    /// Of nodes that lack something: how many have exactly that much.
    lacking: BTreeMap<u64, usize>,
    /// Objects that changed last in an older picture than any node has to acknowledge.
    changed: BTreeMap<ObjectRef, u64>,
    /// The same, by picture.
    by_picture: BTreeMap<u64, Vec<ObjectRef>>,
    /// Objects that are not in `changed` changed last in this one, or before.
    base: u64,
    /// The picture that was told last.
    latest: u64,
}

/// What a node has.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// It has everything up to this picture; 0 is nothing. Whoever lacks nothing has the latest.
    has: u64,
    /// The last picture that concerns it; it lacks something if it has acknowledged none so late.
    due: Option<u64>,
}

/// Whom a picture concerns.
#[derive(Clone, Debug)]
pub enum Concerned<'a> {
    /// These, and there are no other nodes.
    All(Vec<&'a String>),
    /// These nodes.
    Some(&'a BTreeSet<String>),
}

/// How far one object has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached<'a> {
    /// It is in force on all nodes.
    All,
    /// It has not changed since we began, and not every node has said yet what it has: what was
    /// known of it before is no worse.
    Unknown,
    /// It is not in force on some.
    NotYet {
        /// How many nodes.
        nodes: usize,
        /// One of them.
        example: &'a str,
    },
}

impl Reach {
    /// A picture is told; the objects differ from the one before. Gives the objects that are in
    /// force on all nodes now, and were not before.
    pub fn told(&mut self, picture: u64, changed: &Changes, concerned: Concerned<'_>) -> Changes {
        let (before, lowest_before) = (self.latest, self.lowest());
        self.latest = picture;
        match concerned {
            Concerned::Some(names) => {
                for name in names {
                    if let Some(standing) = self.nodes.get_mut(name) {
                        standing.expect(before, picture, &mut self.lacking);
                    }
                }
            }
            Concerned::All(names) => {
                let mut known = std::mem::take(&mut self.nodes);
                self.lacking.clear();
                for name in names {
                    let mut standing = known.remove(name).unwrap_or(Standing {
                        has: 0,
                        due: Some(0),
                    });
                    if standing.due.is_some() {
                        count(&mut self.lacking, standing.has);
                    }
                    standing.expect(before, picture, &mut self.lacking);
                    self.nodes.insert(name.clone(), standing);
                }
            }
        }
        match changed {
            Changes::Everything => {
                self.changed.clear();
                self.by_picture.clear();
                self.base = picture;
            }
            Changes::Objects(objects) => {
                for object in objects {
                    self.changed.insert(object.clone(), picture);
                }
                let objects = objects.iter().cloned().collect();
                self.by_picture.insert(picture, objects);
            }
        }
        self.reached(lowest_before)
    }

    /// A node has acknowledged a picture. Gives the objects that are in force on all nodes now,
    /// and were not before; everything, if that is the picture everything changed with.
    pub fn acknowledged(&mut self, node: &str, picture: u64) -> Changes {
        let lowest_before = self.lowest();
        let Some(standing) = self.nodes.get_mut(node) else {
            return Changes::none();
        };
        let Some(due) = standing.due.filter(|_| standing.has < picture) else {
            return Changes::none();
        };
        discount(&mut self.lacking, standing.has);
        standing.has = picture;
        if picture >= due {
            standing.due = None;
        } else {
            count(&mut self.lacking, picture);
        }
        self.reached(lowest_before)
    }

    /// What is in force on all nodes, now that they have more than that.
    fn reached(&mut self, lowest_before: u64) -> Changes {
        let lowest = self.lowest();
        if lowest_before < self.base && lowest >= self.base {
            return Changes::Everything;
        }
        let rest = self.by_picture.split_off(&(lowest + 1));
        let done = std::mem::replace(&mut self.by_picture, rest);
        let mut reached = Changes::none();
        for object in done.into_values().flatten() {
            // It may have changed again since.
            if self.changed.get(&object).is_some_and(|at| *at <= lowest) {
                self.changed.remove(&object);
                reached.add(object);
            }
        }
        reached
    }

    /// How far an object has come.
    pub fn of(&self, object: &ObjectRef) -> Reached<'_> {
        let since = self.changed.get(object).copied().unwrap_or(self.base);
        if self.lowest() >= since {
            return Reached::All;
        }
        if since == self.base {
            return Reached::Unknown;
        }
        let lacks = |standing: &Standing| standing.due.is_some() && standing.has < since;
        let behind = || self.nodes.iter().filter(|(_, standing)| lacks(standing));
        let example = behind().next().map_or("", |(node, _)| node);
        let nodes = behind().count();
        Reached::NotYet { nodes, example }
    }

    /// Nodes that have not acknowledged an object's last change.
    pub fn behind(&self, object: &ObjectRef) -> impl Iterator<Item = &str> {
        let since = self.changed.get(object).copied().unwrap_or(self.base);
        let lacks = move |s: &Standing| s.due.is_some() && s.has < since;
        let behind = self.nodes.iter().filter(move |(_, s)| lacks(s));
        behind.map(|(node, _)| node.as_str())
    }

    /// The picture that a node has; 0 is nothing.
    pub fn acknowledged_by(&self, node: &str) -> u64 {
        self.nodes.get(node).map_or(0, |s| match s.due {
            Some(_) => s.has,
            None => self.latest,
        })
    }

    /// The picture that was told last; 0: none.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// What every node has.
    fn lowest(&self) -> u64 {
        let first = self.lacking.first_key_value();
        first.map_or(self.latest, |(picture, _)| *picture)
    }
}

impl Standing {
    /// A picture concerns the node; `before` is the one before it.
    fn expect(&mut self, before: u64, picture: u64, lacking: &mut BTreeMap<u64, usize>) {
        if self.due.is_none() {
            self.has = before;
            count(lacking, before);
        }
        self.due = Some(picture);
    }
}

fn count(lacking: &mut BTreeMap<u64, usize>, has: u64) {
    *lacking.entry(has).or_default() += 1;
}

fn discount(lacking: &mut BTreeMap<u64, usize>, has: u64) {
    if let Some(count) = lacking.get_mut(&has) {
        *count -= 1;
        if *count == 0 {
            lacking.remove(&has);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Kind;

    fn service(name: &str) -> ObjectRef {
        ObjectRef::cluster(Kind::Service, name)
    }

    fn objects(names: &[&str]) -> Changes {
        Changes::Objects(names.iter().map(|name| service(name)).collect())
    }

    #[test]
    fn an_object_is_in_force_when_every_node_has_acknowledged_its_last_change() {
        let nodes = ["n1".to_string(), "n2".to_string()];
        let all = || Concerned::All(nodes.iter().collect());
        let mut reach = Reach::default();
        reach.told(1, &Changes::Everything, all());
        let not_yet = |nodes, example| Reached::NotYet { nodes, example };
        assert_eq!(reach.of(&service("a")), Reached::Unknown);
        assert_eq!(reach.acknowledged("n1", 1), Changes::none());
        assert_eq!(reach.of(&service("a")), Reached::Unknown);
        assert_eq!(reach.acknowledged("n2", 1), Changes::Everything);
        assert_eq!(reach.of(&service("a")), Reached::All);

        reach.told(2, &objects(&["a"]), all());
        reach.told(3, &objects(&["a", "b"]), all());
        assert_eq!(reach.of(&service("c")), Reached::All);
        assert_eq!(reach.acknowledged("n1", 3), Changes::none());
        assert_eq!(
            reach.acknowledged("n2", 2),
            Changes::none(),
            "a changed again"
        );
        assert_eq!(reach.of(&service("a")), not_yet(1, "n2"));
        assert_eq!(reach.acknowledged("n2", 3), objects(&["a", "b"]));
        assert_eq!(reach.of(&service("a")), Reached::All);
    }

    #[test]
    fn who_is_not_concerned_has_it_at_once_unless_something_from_before_is_missing() {
        let nodes = ["n1".to_string(), "n2".to_string()];
        let all = || Concerned::All(nodes.iter().collect());
        let first = BTreeSet::from(["n1".to_string()]);
        let nobody = BTreeSet::new();
        let mut reach = Reach::default();
        reach.told(1, &Changes::Everything, all());
        reach.acknowledged("n1", 1);
        let told = reach.told(2, &objects(&["a"]), Concerned::Some(&nobody));
        assert_eq!(told, Changes::none(), "n2 has not even the first");
        assert_eq!(reach.acknowledged("n2", 1), Changes::Everything);
        assert_eq!(reach.of(&service("a")), Reached::All);

        assert_eq!(
            reach.told(3, &objects(&["a"]), Concerned::Some(&nobody)),
            objects(&["a"])
        );
        let told = reach.told(4, &objects(&["b"]), Concerned::Some(&first));
        assert_eq!(told, Changes::none());
        let told = reach.told(5, &objects(&["c"]), Concerned::Some(&nobody));
        assert_eq!(told, Changes::none());
        assert!(matches!(
            reach.of(&service("c")),
            Reached::NotYet {
                nodes: 1,
                example: "n1"
            }
        ));
        assert_eq!(reach.acknowledged("n2", 5), Changes::none());
        assert_eq!(reach.acknowledged("n1", 4), objects(&["b", "c"]));
    }

    #[test]
    fn what_a_node_says_twice_or_late_and_who_is_not_a_node_count_for_nothing() {
        let nodes = ["n1".to_string(), "n2".to_string()];
        let one = || Concerned::All(nodes.iter().take(1).collect());
        let two = || Concerned::All(nodes.iter().collect());
        let mut reach = Reach::default();
        reach.told(1, &Changes::Everything, one());
        assert_eq!(reach.acknowledged("stranger", 1), Changes::none());
        reach.acknowledged("n1", 1);
        reach.told(2, &objects(&["a"]), one());
        assert_eq!(reach.acknowledged("n1", 1), Changes::none());
        assert!(matches!(
            reach.of(&service("a")),
            Reached::NotYet { nodes: 1, .. }
        ));
        reach.acknowledged("n1", 2);
        reach.told(3, &Changes::none(), two());
        assert_eq!(
            reach.of(&service("a")),
            Reached::Unknown,
            "a node that comes calls nothing into question"
        );
        reach.told(4, &Changes::none(), one());
        reach.acknowledged("n1", 4);
        assert_eq!(reach.of(&service("a")), Reached::All, "the node is gone");
    }
}
