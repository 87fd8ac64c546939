//! The ways in which a table's rules are found.

use std::fmt;

/// How a table is searched. Each table takes the cheapest that fits its rules, and looks again as
/// they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// A few rules, tried one after the other.
    Direct,
    /// All rules have one mask, but for a catch-all: one hash probe.
    Exact,
    /// Rules differ in the prefix of an address: one descent; what does not is hashed.
    Prefix,
    /// One hash probe for each mask.
    Tuples,
    /// Too many masks for one probe each: rules are hashed under what their masks have in common,
    /// and those of one hash are tried in turn.
    Merged,
}

impl Template {
    /// All of them.
    pub const ALL: [Template; 5] = [
        Template::Direct,
        Template::Exact,
        Template::Prefix,
        Template::Tuples,
        Template::Merged,
    ];
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Template::Direct => "direct",
            Template::Exact => "exact",
            Template::Prefix => "prefix",
            Template::Tuples => "tuples",
            Template::Merged => "merged",
        })
    }
}

/// What a table looks like inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How it is searched.
    pub template: Template,
    /// Rules.
    pub entries: usize,
    /// Different masks of rules.
    pub masks: usize,
    /// Most structures that one lookup searches: hash tables and prefix trees.
    pub probes: usize,
    /// Bytes of the rules and of what finds them. Instructions are not counted, which rules share.
    pub memory: usize,
}
