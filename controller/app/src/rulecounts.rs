//! What the rules of policies in the policy log have counted, summed over nodes.
//!
//! A node's switch counts from when it got a flow; what it counted before a flow was gone, or the
//! switch began anew, stays in the sum.

use std::collections::BTreeMap;

use session::Counted;

/// Packets and bytes.
pub type Counts = (u64, u64);

/// What nodes have said last, by rule, as `NetworkPolicy bank/web ingress[0]`.
#[derive(Debug, Default)]
pub struct RuleCounts {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Default)]
struct Node {
    rules: BTreeMap<String, Counts>,
    /// None: not read yet; what was kept back before we came is not ours to tell.
    kept_back: Option<u64>,
}

/// What is different since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// More packets and bytes, by rule.
    pub more: BTreeMap<String, Counts>,
    /// Rules that no node has any more.
    pub gone: Vec<String>,
    /// More records that the switch kept back.
    pub kept_back: u64,
}

impl RuleCounts {
    /// Takes what a node says now.
    pub fn take(&mut self, counted: Counted) -> News {
        let node = self.nodes.entry(counted.node).or_default();
        let mut news = News {
            kept_back: since(
                counted.kept_back,
                node.kept_back.unwrap_or(counted.kept_back),
            ),
            ..News::default()
        };
        node.kept_back = Some(counted.kept_back);
        let mut now: BTreeMap<String, Counts> = BTreeMap::new();
        for (rule, counts) in counted.rules {
            let sum = now.entry(rule).or_default();
            *sum = (sum.0 + counts.0, sum.1 + counts.1);
        }
        for (rule, counts) in &now {
            let before = node.rules.get(rule).copied().unwrap_or_default();
            let more = (since(counts.0, before.0), since(counts.1, before.1));
            news.more.insert(rule.clone(), more);
        }
        let before = std::mem::replace(&mut node.rules, now);
        let nodes = &self.nodes;
        let gone = before.into_keys();
        let gone = gone.filter(|rule| !nodes.values().any(|node| node.rules.contains_key(rule)));
        news.gone = gone.collect();
        news
    }

    /// A node is gone, and its part of the sums with it no more.
    pub fn forget(&mut self, node: &str) {
        self.nodes.remove(node);
    }
}

/// How much more; a counter that is less than before began anew.
fn since(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(node: &str, kept_back: u64, rules: &[(&str, u64)]) -> Counted {
        let rules = rules.iter();
        Counted {
            node: node.into(),
            kept_back,
            rules: rules
                .map(|(rule, n)| (rule.to_string(), (*n, n * 100)))
                .collect(),
        }
    }

    #[test]
    fn what_is_more_is_told_and_a_switch_that_begins_anew_takes_nothing_away() {
        let mut counts = RuleCounts::default();
        let news = counts.take(counted("a", 7, &[("x", 5), ("y", 1)]));
        assert_eq!((news.more["x"], news.kept_back), ((5, 500), 0));
        assert_eq!(
            counts.take(counted("b", 0, &[("x", 10)])).more["x"],
            (10, 1000)
        );
        let news = counts.take(counted("a", 9, &[("x", 8)]));
        assert_eq!((news.more["x"], news.kept_back), ((3, 300), 2));
        assert_eq!(news.gone, ["y"]);
        let news = counts.take(counted("a", 1, &[("x", 2)]));
        assert_eq!(
            (news.more["x"], news.kept_back),
            ((2, 200), 1),
            "begun anew"
        );
        assert_eq!(counts.take(counted("a", 1, &[])).gone, [""; 0], "b has it");
        assert_eq!(counts.take(counted("b", 0, &[])).gone, ["x"]);
    }
}
