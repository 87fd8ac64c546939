//! How far what was told to switches has come.

use std::collections::BTreeMap;

use crate::changes::Changes;
use crate::name::ObjectRef;

/// Which object is in force on which nodes: an object is in force on a node when the node's switch
/// has acknowledged a picture that is no older than the object's last change.
///
/// Pictures are numbered from 1, upwards.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// What each node has acknowledged; 0 is nothing.
    nodes: BTreeMap<String, u64>,
    /// How many nodes have acknowledged exactly that much.
    counts: BTreeMap<u64, usize>,
    /// Objects that changed last in an older picture than any node has to acknowledge.
    changed: BTreeMap<ObjectRef, u64>,
    /// The same, by picture.
    by_picture: BTreeMap<u64, Vec<ObjectRef>>,
    /// Objects that are not in `changed` changed last in this one, or before.
    base: u64,
    /// The picture that was told last.
    latest: u64,
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
    /// A picture is told to these nodes; the objects differ from the one before.
    pub fn told<'a>(
        &mut self,
        picture: u64,
        changed: &Changes,
        nodes: impl IntoIterator<Item = &'a String>,
    ) {
        self.latest = picture;
        let mut before = std::mem::take(&mut self.nodes);
        self.counts.clear();
        for node in nodes {
            let acknowledged = before.remove(node).unwrap_or(0);
            *self.counts.entry(acknowledged).or_default() += 1;
            self.nodes.insert(node.clone(), acknowledged);
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
    }

    /// A node has acknowledged a picture. Gives the objects that are in force on all nodes now,
    /// and were not before; everything, if that is the picture everything changed with.
    pub fn acknowledged(&mut self, node: &str, picture: u64) -> Changes {
        let Some(known) = self.nodes.get_mut(node).filter(|known| **known < picture) else {
            return Changes::none();
        };
        let before = std::mem::replace(known, picture);
        let lowest_before = self.lowest();
        if let Some(count) = self.counts.get_mut(&before) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&before);
            }
        }
        *self.counts.entry(picture).or_default() += 1;
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
        let behind = || self.nodes.iter().filter(|(_, has)| **has < since);
        let example = behind().next().map_or("", |(node, _)| node);
        let nodes = behind().count();
        Reached::NotYet { nodes, example }
    }

    /// Nodes that have not acknowledged an object's last change.
    pub fn behind(&self, object: &ObjectRef) -> impl Iterator<Item = &str> {
        let since = self.changed.get(object).copied().unwrap_or(self.base);
        let behind = self.nodes.iter().filter(move |(_, has)| **has < since);
        behind.map(|(node, _)| node.as_str())
    }

    /// What a node has acknowledged; 0 is nothing.
    pub fn acknowledged_by(&self, node: &str) -> u64 {
        self.nodes.get(node).copied().unwrap_or(0)
    }

    /// The picture that was told last; 0: none.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// What every node has acknowledged.
    fn lowest(&self) -> u64 {
        let first = self.counts.first_key_value();
        first.map_or(u64::MAX - 1, |(picture, _)| *picture)
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
        let mut reach = Reach::default();
        reach.told(1, &Changes::Everything, &nodes);
        let not_yet = |nodes, example| Reached::NotYet { nodes, example };
        assert_eq!(reach.of(&service("a")), Reached::Unknown);
        assert_eq!(reach.acknowledged("n1", 1), Changes::none());
        assert_eq!(reach.of(&service("a")), Reached::Unknown);
        assert_eq!(reach.acknowledged("n2", 1), Changes::Everything);
        assert_eq!(reach.of(&service("a")), Reached::All);

        reach.told(2, &objects(&["a"]), &nodes);
        reach.told(3, &objects(&["a", "b"]), &nodes);
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
    fn what_a_node_says_twice_or_late_and_who_is_not_a_node_count_for_nothing() {
        let nodes = ["n1".to_string()];
        let mut reach = Reach::default();
        reach.told(1, &Changes::Everything, &nodes);
        assert_eq!(reach.acknowledged("stranger", 1), Changes::none());
        reach.acknowledged("n1", 1);
        reach.told(2, &objects(&["a"]), &nodes);
        assert_eq!(reach.acknowledged("n1", 1), Changes::none());
        assert!(matches!(
            reach.of(&service("a")),
            Reached::NotYet { nodes: 1, .. }
        ));
        let two = ["n1".to_string(), "n2".to_string()];
        reach.acknowledged("n1", 2);
        reach.told(3, &Changes::none(), &two);
        assert_eq!(
            reach.of(&service("a")),
            Reached::Unknown,
            "a node that comes calls nothing into question"
        );
        reach.told(4, &Changes::none(), &nodes);
        assert_eq!(reach.of(&service("a")), Reached::All, "the node is gone");
    }
}
