//! What is wrong with a rule, told on its policy.

use crate::name::ObjectRef;
use crate::problem::Problem;

/// Tells of one rule.
pub(super) struct Told<'a> {
    pub(super) policy: &'a ObjectRef,
    /// `spec.ingress[0]`
    pub(super) field: String,
    /// `from` or `to`
    pub(super) peers: &'static str,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Told<'_> {
    pub(super) fn bad_peer(&mut self, index: usize, why: &str) {
        let field = format!("{}.{}[{index}]", self.field, self.peers);
        self.problems.push(Problem::refused(
            self.policy.clone(),
            field,
            format!("{why}; so much of the rule as would let traffic through by it does not"),
            "correct the peer",
        ));
    }

    pub(super) fn bad_port(&mut self, index: usize, why: &str) {
        let field = format!("{}.ports[{index}]", self.field);
        self.problems.push(Problem::refused(
            self.policy.clone(),
            field,
            format!("{why}; so much of the rule as would let traffic through by it does not"),
            "correct the port",
        ));
    }

    pub(super) fn no_such_port(&mut self, index: usize, name: &str) {
        let field = format!("{}.ports[{index}]", self.field);
        self.problems.push(Problem::ignored(
            self.policy.clone(),
            field,
            format!("no pod that the rule concerns has a port {name:?} of that protocol"),
            "name the port in the pods' containers, or use its number",
        ));
    }

    pub(super) fn selected(&mut self, index: usize, count: usize) {
        if count > 0 {
            return;
        }
        let field = format!("{}.{}[{index}]", self.field, self.peers);
        self.problems.push(Problem::ignored(
            self.policy.clone(),
            field,
            "selects nothing at present",
            "correct the selector, unless what it is for is still to come",
        ));
    }
}
