//! What of the cluster is not as it was one picture ago.

use std::collections::BTreeSet;

use crate::name::ObjectRef;

/// What differs from the picture before; everything else is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Nobody knows: compare all of it.
    Everything,
    /// These objects came, went or changed, or what is wrong with them did.
    Objects(BTreeSet<ObjectRef>),
}

impl Changes {
    /// Nothing.
    pub fn none() -> Self {
        Changes::Objects(BTreeSet::new())
    }

    /// True if nothing differs.
    pub fn is_empty(&self) -> bool {
        matches!(self, Changes::Objects(objects) if objects.is_empty())
    }

    /// True if the object may differ.
    pub fn may_concern(&self, object: &ObjectRef) -> bool {
        match self {
            Changes::Everything => true,
            Changes::Objects(objects) => objects.contains(object),
        }
    }

    /// Adds one object.
    pub fn add(&mut self, object: ObjectRef) {
        if let Changes::Objects(objects) = self {
            objects.insert(object);
        }
    }

    /// What differs after both.
    pub fn merge(&mut self, later: Changes) {
        match (&mut *self, later) {
            (Changes::Objects(mine), Changes::Objects(mut later)) => mine.append(&mut later),
            _ => *self = Changes::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Kind;

    #[test]
    fn what_differs_after_two_steps_is_what_either_touched() {
        let node = |name: &str| ObjectRef::cluster(Kind::Node, name);
        let mut both = Changes::none();
        assert!(both.is_empty());
        both.add(node("a"));
        both.merge(Changes::Objects([node("b")].into()));
        assert_eq!(both, Changes::Objects([node("a"), node("b")].into()));
        assert!(both.may_concern(&node("b")) && !both.may_concern(&node("c")));
        both.merge(Changes::Everything);
        both.add(node("d"));
        assert_eq!(both, Changes::Everything);
        assert!(both.may_concern(&node("c")) && !both.is_empty());
    }
}
