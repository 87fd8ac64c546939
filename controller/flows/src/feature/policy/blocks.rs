//! Addresses that the rules of a policy set name, as prefixes that do not contradict: each prefix
//! knows every rule that holds for the addresses it is the longest of.

use std::collections::{BTreeMap, BTreeSet};

use cluster::policy::{PolicySet, Scope};
use ipnet::IpNet;

use crate::origin::hash64;

/// Scopes of a policy set, by number of the rule and of the scope in it.
pub(super) type ScopeId = (usize, usize);

/// The scope of what is let through because it is the pod's own node.
pub(super) const OWN_NODE: ScopeId = (usize::MAX, 0);

/// Addresses that are treated alike, and the scopes that they are in.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Prefixes, the longest wins; none: in no scope.
    pub(super) prefixes: Vec<(IpNet, Option<u32>)>,
    /// What a number stands for.
    pub(super) numbers: BTreeMap<u32, BTreeSet<ScopeId>>,
}

/// A prefix that begins a scope, or an exception that ends it below.
struct Edge {
    prefix: IpNet,
    block: usize,
    begins: bool,
}

/// True for a prefix of every address of its family without exceptions: rules say that themselves.
pub(super) fn is_family(block: &cluster::policy::Block) -> bool {
    block.cidr.prefix_len() == 0 && block.except.is_empty()
}

impl Blocks {
    /// Of a set; `all_pods` are the prefixes that stand for every pod, `own_node` what is always let
    /// through.
    pub(super) fn new(set: &PolicySet, all_pods: &[IpNet], own_node: &[IpNet]) -> Self {
        let mut edges = Vec::new();
        let mut scope_of = Vec::new();
        let mut begin = |prefix: IpNet, except: &[IpNet], scope: ScopeId| {
            let block = scope_of.len();
            scope_of.push(scope);
            let edge = |prefix, begins| Edge {
                prefix,
                block,
                begins,
            };
            edges.push(edge(prefix, true));
            edges.extend(except.iter().map(|except| edge(*except, false)));
        };
        for (id, scope) in scopes(set) {
            for block in scope.peers.blocks.iter().filter(|block| !is_family(block)) {
                begin(block.cidr, &block.except, id);
            }
            if scope.peers.all_pods {
                all_pods.iter().for_each(|prefix| begin(*prefix, &[], id));
            }
        }
        own_node
            .iter()
            .for_each(|prefix| begin(*prefix, &[], OWN_NODE));
        // Outer prefixes before those inside them.
        edges.sort_by_key(|edge| (edge.prefix.network(), edge.prefix.prefix_len()));
        let mut blocks = Blocks::default();
        // The prefixes that the current one is inside of, with the blocks that hold there.
        let mut outer: Vec<(IpNet, BTreeSet<usize>)> = Vec::new();
        let mut at = 0;
        while let Some(first) = edges.get(at) {
            let prefix = first.prefix;
            while outer
                .last()
                .is_some_and(|(outer, _)| !outer.contains(&prefix))
            {
                outer.pop();
            }
            let mut holds = outer
                .last()
                .map_or_else(BTreeSet::new, |(_, holds)| holds.clone());
            // An exception that is the whole of its block leaves nothing of it.
            let here = edges[at..].iter().take_while(|edge| edge.prefix == prefix);
            let here: Vec<_> = here.collect();
            at += here.len();
            holds.extend(here.iter().filter(|e| e.begins).map(|e| e.block));
            for ends in here.iter().filter(|edge| !edge.begins) {
                holds.remove(&ends.block);
            }
            let scopes: BTreeSet<ScopeId> = holds.iter().map(|block| scope_of[*block]).collect();
            let number = (!scopes.is_empty()).then(|| blocks.number(scopes));
            blocks.prefixes.push((prefix, number));
            outer.push((prefix, holds));
        }
        blocks
    }

    /// The number of some scopes: a hash, or the next free one.
    fn number(&mut self, scopes: BTreeSet<ScopeId>) -> u32 {
        let text = format!("{scopes:?}");
        let mut number = (hash64(text.as_bytes()) as u32).max(1);
        loop {
            match self.numbers.get(&number) {
                Some(taken) if *taken != scopes => number = number.wrapping_add(1).max(1),
                _ => break,
            }
        }
        self.numbers.insert(number, scopes);
        number
    }
}

/// Every scope of a set with its number.
pub(super) fn scopes(set: &PolicySet) -> impl Iterator<Item = (ScopeId, &Scope)> {
    set.rules.iter().enumerate().flat_map(|(rule, set_rule)| {
        let scopes = set_rule.scopes.iter().enumerate();
        scopes.map(move |(scope, s)| ((rule, scope), s))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cluster::policy::{Block, Peers, SetRule, Tier};
    use cluster::view::Action;
    use cluster::{Kind, ObjectRef};

    use super::*;

    fn rule(blocks: &[(&str, &[&str])], all_pods: bool) -> SetRule {
        let net = |text: &&str| text.parse().unwrap();
        let block = |(cidr, except): &(&str, &[&str])| Block {
            cidr: net(cidr),
            except: except.iter().map(net).collect(),
        };
        let peers = Peers {
            blocks: blocks.iter().map(block).collect(),
            all_pods,
            ..Peers::default()
        };
        SetRule {
            policy: ObjectRef::cluster(Kind::NetworkPolicy, "p"),
            part: String::new(),
            tier: Tier::Namespace,
            action: Action::Allow,
            log: false,
            scopes: vec![Scope {
                peers: Arc::new(peers),
                ports: None,
            }],
        }
    }

    #[test]
    fn the_longest_prefix_of_an_address_knows_every_rule_that_holds_for_it() {
        let set = PolicySet {
            isolated_by: vec![],
            isolation_logged_by: vec![],
            rules: vec![
                rule(&[("10.0.0.0/8", &["10.1.0.0/16"])], false),
                rule(
                    &[("10.1.2.0/24", &[]), ("10.0.0.0/8", &["10.0.0.0/8"])],
                    false,
                ),
                rule(
                    &[("0.0.0.0/0", &["10.1.2.3/32"]), ("10.1.2.0/25", &[])],
                    true,
                ),
                rule(&[("0.0.0.0/0", &[])], false),
            ],
        };
        let blocks = Blocks::new(
            &set,
            &["10.9.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()],
            &["10.1.2.3/32".parse().unwrap()],
        );
        let of = |address: &str| -> Vec<usize> {
            let address: std::net::IpAddr = address.parse().unwrap();
            let prefixes = blocks.prefixes.iter().filter(|(p, _)| p.contains(&address));
            let longest = prefixes.max_by_key(|(prefix, _)| prefix.prefix_len());
            let number = longest.and_then(|(_, number)| *number);
            let scopes = number.map(|number| &blocks.numbers[&number]);
            scopes
                .into_iter()
                .flatten()
                .map(|(rule, _)| *rule)
                .collect()
        };
        assert_eq!(of("10.7.0.1"), [0, 2]);
        assert_eq!(of("10.1.7.1"), [2]);
        assert_eq!(of("10.1.2.200"), [1, 2]);
        assert_eq!(
            of("10.1.2.3"),
            [1, 2, OWN_NODE.0],
            "one block of rule 2 excepts it, one does not"
        );
        assert_eq!(of("10.9.0.1"), [0, 2]);
        assert_eq!(of("192.0.2.1"), [2]);
        assert_eq!(of("fd00::1"), [2]);
        assert_eq!(of("fd01::1"), [] as [usize; 0]);
    }
}
