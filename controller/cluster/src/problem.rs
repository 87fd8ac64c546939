//! What an object asks for and does not get: the text of a log line now, of an Event later.

use std::fmt;

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
