//! What is told about an object as an Event: once when it comes, once when it is gone.

use crate::name::ObjectRef;
use crate::problem::{Effect, Problem};

/// Longest `note` of an Event (`events.k8s.io/v1`: 1,024 bytes).
const LONGEST_NOTE: usize = 1024;

/// Something to tell about an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// About which.
    pub object: ObjectRef,
    /// `Warning`, or else `Normal`.
    pub warning: bool,
    /// One word, in CamelCase.
    pub reason: &'static str,
    /// For people.
    pub note: String,
}

/// What to tell when the problems of one object changed.
pub fn notices(object: &ObjectRef, before: &[Problem], now: &[Problem]) -> Vec<Notice> {
    let notice = |warning, reason, problem: &Problem| Notice {
        object: object.clone(),
        warning,
        reason,
        note: shortened(&problem.without_object(), LONGEST_NOTE),
    };
    let new = now.iter().filter(|problem| !before.contains(problem));
    let new = new.map(|problem| match problem.effect {
        Effect::Refused => notice(true, "Refused", problem),
        Effect::Ignored => notice(true, "Ignored", problem),
    });
    let gone = before.iter().filter(|problem| !now.contains(problem));
    let gone = gone.map(|problem| notice(false, "Mended", problem));
    new.chain(gone).collect()
}

/// The text, cut so that it has no more bytes than that.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_string();
    }
    let mut end = longest.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Kind;

    #[test]
    fn a_problem_is_told_when_it_comes_and_when_it_is_gone_and_not_in_between() {
        let subnet = ObjectRef::cluster(Kind::Subnet, "a");
        let problem = |field: &str| Problem::refused(subnet.clone(), field, "is wrong", "mend it");
        let (one, two) = (problem("spec.a"), problem("spec.b"));
        let told = notices(&subnet, &[], std::slice::from_ref(&one));
        assert_eq!(told.len(), 1);
        assert!(told[0].warning);
        assert_eq!(told[0].note, "spec.a: is wrong; mend it");
        let both = [one.clone(), two.clone()];
        assert_eq!(notices(&subnet, &both, &both), []);
        let told = notices(&subnet, &[one], &[two]);
        let told: Vec<_> = told.iter().map(|n| (n.reason, n.warning)).collect();
        assert_eq!(told, [("Refused", true), ("Mended", false)]);
    }

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("äöüäöü", 8), "äö...");
    }
}
