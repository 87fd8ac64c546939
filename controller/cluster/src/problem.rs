//! What an object asks for and does not get: the text of a log line now, of an Event later.

use std::collections::BTreeMap;
use std::fmt;

use crate::map::Map;
use crate::name::ObjectRef;

/// What becomes of the object that has the problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// The object, or the part the field speaks of, is not in force.
    Refused,
    /// The object is in force, the field is without effect.
    Ignored,
}

/// One thing that is wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// Whose problem it is.
    pub object: ObjectRef,
    /// The field, as a path from the object's root: `spec.cidrBlock`,
    /// `metadata.annotations[ovn.kubernetes.io/ip_address]`; empty if it is the whole object.
    pub field: String,
    /// What is wrong and what is done instead.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// How much of the object is affected.
    pub effect: Effect,
}

impl Problem {
    /// The field, or the object, is refused.
    pub fn refused(
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Problem {
            object,
            field: field.into(),
            message: message.into(),
            remedy: remedy.into(),
            effect: Effect::Refused,
        }
    }

    /// The field is without effect, the rest of the object is in force.
    pub fn ignored(
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Problem {
            effect: Effect::Ignored,
            ..Problem::refused(object, field, message, remedy)
        }
    }
}

impl Problem {
    /// The text where the object is known anyway: on the object itself.
    pub fn without_object(&self) -> String {
        let colon = if self.field.is_empty() { "" } else { ": " };
        format!("{}{colon}{}; {}", self.field, self.message, self.remedy)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.without_object())
    }
}

/// What is wrong, by object; of each object in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Map<ObjectRef, Vec<Problem>>);

impl Problems {
    /// By object; those of no problems are not there.
    pub fn by_object(&self) -> &Map<ObjectRef, Vec<Problem>> {
        &self.0
    }

    /// What is wrong with one object.
    pub fn of(&self, object: &ObjectRef) -> &[Problem] {
        self.0.get(object).map_or(&[], Vec::as_slice)
    }

    /// Every problem, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.values().flatten()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says what is wrong with an object now, in any order.
    pub fn set(&mut self, object: ObjectRef, mut problems: Vec<Problem>) {
        problems.sort();
        problems.dedup();
        self.0
            .set(object, Some(problems).filter(|list| !list.is_empty()));
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        let mut by_object: BTreeMap<ObjectRef, Vec<Problem>> = BTreeMap::new();
        for problem in problems {
            let of_object = by_object.entry(problem.object.clone()).or_default();
            of_object.push(problem);
        }
        for of_object in by_object.values_mut() {
            of_object.sort();
            of_object.dedup();
        }
        Problems(by_object.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = Box<dyn Iterator<Item = &'a Problem> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl<const N: usize> PartialEq<[Problem; N]> for Problems {
    fn eq(&self, other: &[Problem; N]) -> bool {
        self.iter().eq(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Kind;

    #[test]
    fn a_problem_is_one_line_with_object_field_reason_and_remedy() {
        let problem = Problem::refused(
            ObjectRef::cluster(Kind::Subnet, "a"),
            "spec.cidrBlock",
            "10.0.0.0/33 is not a prefix",
            "write it like 10.16.0.0/16",
        );
        assert_eq!(
            problem.to_string(),
            "Subnet a: spec.cidrBlock: 10.0.0.0/33 is not a prefix; write it like 10.16.0.0/16"
        );
    }
}
