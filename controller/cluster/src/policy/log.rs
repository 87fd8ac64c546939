//! Which decisions of a policy are written to the policy log (`sluice.io/log`).

use crate::annotations;
use crate::name::{Kind, ObjectRef};
use crate::problem::Problem;
use crate::view::{Action, ClusterView, Meta};

/// The annotation.
const LOG: &str = "log";

/// Decisions that are written to the policy log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log {
    /// What the policy denies: by a rule, or by isolating.
    pub denied: bool,
    /// What a rule of it allows.
    pub allowed: bool,
}

impl Log {
    /// True if a rule with that action is written down when it decides. One that passes decides
    /// nothing.
    pub fn has(self, action: Action) -> bool {
        match action {
            Action::Allow => self.allowed,
            Action::Deny => self.denied,
            Action::Pass => false,
        }
    }
}

/// What a policy asks for: its own annotation, else, for a NetworkPolicy, that of its namespace. A
/// value that cannot be read is reported and is as if it was not there.
pub(super) fn of_policy(
    view: &ClusterView,
    object: &ObjectRef,
    meta: &Meta,
    problems: &mut Vec<Problem>,
) -> Log {
    read(object, meta, problems)
        .or_else(|| {
            let name = object.namespace.as_deref()?;
            let namespace = view.namespaces.get(name)?;
            // What is wrong with it is told once, by `of_namespace`.
            let object = ObjectRef::cluster(Kind::Namespace, name);
            read(&object, &namespace.meta, &mut Vec::new())
        })
        .unwrap_or_default()
}

/// Reports what is wrong with the annotation of a namespace.
pub(crate) fn of_namespace(object: &ObjectRef, meta: &Meta, problems: &mut Vec<Problem>) {
    read(object, meta, problems);
}

fn read(object: &ObjectRef, meta: &Meta, problems: &mut Vec<Problem>) -> Option<Log> {
    let annotation = annotations::ours(meta, LOG)?;
    let mut log = Log::default();
    let words: Vec<&str> = annotation.value.split(',').map(str::trim).collect();
    for word in &words {
        match *word {
            "denied" => log.denied = true,
            "allowed" => log.allowed = true,
            "none" if words.len() == 1 => {}
            _ => {
                problems.push(Problem::ignored(
                    object.clone(),
                    annotation.field(),
                    format!(
                        "{:?} names no decisions; it has no effect",
                        annotation.value
                    ),
                    "write denied, allowed, or both with a comma between them, or none",
                ));
                return None;
            }
        }
    }
    Some(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::NamespacedName;
    use crate::view::Namespace;

    fn meta(value: &str) -> Meta {
        Meta {
            annotations: [("sluice.io/log".to_string(), value.to_string())].into(),
            ..Meta::default()
        }
    }

    fn said(own: &str, namespace: &str) -> (Log, usize) {
        let mut view = ClusterView::default();
        let given = Namespace {
            meta: meta(namespace),
        };
        view.namespaces.insert("bank".into(), given);
        let object = ObjectRef::namespaced(Kind::NetworkPolicy, &NamespacedName::new("bank", "p"));
        let mut problems = Vec::new();
        let log = of_policy(&view, &object, &meta(own), &mut problems);
        (log, problems.len())
    }

    #[test]
    fn the_policys_own_word_stands_before_its_namespaces() {
        let log = |denied, allowed| Log { denied, allowed };
        assert_eq!(said("denied", ""), (log(true, false), 0));
        assert_eq!(said(" allowed , denied", ""), (log(true, true), 0));
        assert_eq!(said("", "allowed"), (log(false, true), 0));
        assert_eq!(said("none", "allowed"), (log(false, false), 0));
        assert_eq!(said("", "wrong"), (log(false, false), 0), "told elsewhere");
        assert_eq!(said("denied,", "allowed"), (log(false, true), 1));
        assert_eq!(said("none,denied", ""), (log(false, false), 1));
        assert_eq!(said("drop", ""), (log(false, false), 1));
    }
}
