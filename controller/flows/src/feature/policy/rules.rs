//! The rules of a policy set.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cluster::desired::SubnetKind;
use cluster::policy::{PolicySet, Ports, SetRule, Tier};
use cluster::view::Action;
use cluster::{ObjectRef, Problem};
use ipnet::IpNet;
use openflow::Action as FlowAction;

use super::blocks::{self, Blocks, OWN_NODE};
use super::{Direction, log, origin};
use crate::fields::{
    BLOCK, DENIED, L4_PORT, L4_PROTOCOL, PASSED_ADMIN, PASSED_BASELINE, PEER, POLICY_SET, SELF,
    l4_protocol,
};
use crate::flow::{Flow, FlowSet, IPV4, IPV6};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

// Priorities, from the top: the rules of the Admin tier in their order, then NetworkPolicies, then
// the rules of the Baseline tier.
const ADMIN: u16 = 60_000;
const ITSELF: u16 = 34_000;
const ALLOWED: u16 = 33_000;
const ISOLATED: u16 = 32_000;
const BASELINE: u16 = 31_000;
const UNDECIDED: u16 = 1;

/// Rules that a tier of one policy set can have, one after the other.
const MOST_RULES: usize = 24_000;

/// Flows that one policy set may need in one direction.
const MOST_FLOWS: usize = 100_000;

/// Flows of the block and rule tables for one set.
pub(super) fn flows(
    view: &View<'_>,
    direction: &Direction,
    number: u32,
    policies: &PolicySet,
    set: &mut FlowSet,
) {
    // What the pod's node sends is told apart by where it comes from, not by its address.
    let own_node = match direction.ingress || policies.isolated_by.is_empty() {
        true => Vec::new(),
        false => own_node(view),
    };
    let wants_pods = blocks::scopes(policies).any(|(_, scope)| scope.peers.all_pods);
    let all_pods = if wants_pods {
        all_pods(view)
    } else {
        Vec::new()
    };
    let blocks = Blocks::new(policies, &all_pods, &own_node);
    let whole = whole(policies);
    for (prefix, block) in &blocks.prefixes {
        let intent = match block {
            Some(_) => "Addresses that rules of the policies name.",
            None => "Addresses that they except.",
        };
        let priority = 1 + u16::from(prefix.prefix_len());
        let flow = Flow::new(direction.block, priority, intent).is(&POLICY_SET, number);
        let flow = match direction.ingress {
            true => flow.ip_src_in(*prefix),
            false => flow.ip_dst_in(*prefix),
        };
        let flow = flow.load(&BLOCK, block.unwrap_or(0));
        set.add(&whole, flow.goto(direction.rule));
    }
    let mut entries = Entries::new(policies);
    entries.add_rules(policies, &blocks, set);
    entries.write(direction, number, set);
    let flow =
        |priority, intent| Flow::new(direction.rule, priority, intent).is(&POLICY_SET, number);
    if policies.isolated_by.is_empty() {
        let intent = "No rule decides, and no NetworkPolicy isolates the pod.";
        set.add(&whole, flow(UNDECIDED, intent).goto(direction.next));
    } else {
        let intent = "No rule of the NetworkPolicies that isolate the pod allows it.";
        let flow_of = log::isolation(deny(flow(ISOLATED, intent)), direction, policies, set);
        set.add(&whole, flow_of);
        let intent = "No NetworkPolicy keeps a pod from itself.";
        set.add(
            &whole,
            flow(ITSELF, intent).is(&SELF, 1).goto(direction.next),
        );
    }
}

/// The origin of what belongs to the set as a whole: the policies that isolate, or else all of them.
fn whole(policies: &PolicySet) -> Origin {
    let all = policies.rules.iter().map(|rule| &rule.policy);
    let mut named: Vec<&ObjectRef> = policies.isolated_by.iter().collect();
    if named.is_empty() {
        named = all.collect();
        named.dedup();
    }
    match named.as_slice() {
        [] => Origin::table(Feature::Policy, Table::EgressRule),
        [one] => origin(one, "isolation"),
        [first, more @ ..] => origin(first, &format!("isolation, with {} more", more.len())),
    }
}

fn deny(flow: Flow) -> Flow {
    flow.load(&DENIED, 1).goto(Table::PolicyCommit)
}

fn host(address: &IpAddr) -> IpNet {
    IpNet::from(*address)
}

fn own_node(view: &View<'_>) -> Vec<IpNet> {
    let addresses = view.state.policies.node_addresses.get(&view.node.name);
    addresses.into_iter().flatten().map(host).collect()
}

/// Every address of an overlay is a pod's, or nobody's; on a physical network pods are among others.
fn all_pods(view: &View<'_>) -> Vec<IpNet> {
    let overlays = view.state.subnets.values();
    let overlays = overlays.filter(|s| matches!(s.kind, SubnetKind::Overlay { .. }));
    let overlays = overlays.flat_map(|subnet| subnet.prefixes().map(|(prefix, _)| prefix));
    let single = view.state.policies.underlay_pods.values();
    let single = single.flatten().map(host);
    overlays.chain(single).collect()
}

/// The other end, as an entry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Other {
    Any,
    /// Any of IPv4, or of IPv6.
    Family(u16),
    Peer(u32),
    Block(u32),
}

/// Protocol and destination port of an entry, with the port's mask.
type L4 = Option<(u32, u16, u16)>;

/// The best of the rules that match the same.
struct Entry<'a> {
    priority: u16,
    action: Action,
    origin: Option<&'a SetRule>,
}

/// Flows of a set, each key once.
struct Entries<'a> {
    entries: BTreeMap<(Other, L4, u16), Entry<'a>>,
    /// Which tiers have a rule that ends the tier.
    passes: [bool; 2],
}

impl<'a> Entries<'a> {
    fn new(policies: &PolicySet) -> Self {
        let passes = |tier| {
            let mut rules = policies.rules.iter();
            rules.any(|rule| rule.tier == tier && rule.action == Action::Pass)
        };
        Entries {
            entries: BTreeMap::new(),
            passes: [passes(Tier::Admin), passes(Tier::Baseline)],
        }
    }

    fn add_rules(&mut self, policies: &'a PolicySet, blocks: &Blocks, set: &mut FlowSet) {
        let mut blocks_of: BTreeMap<(usize, usize), Vec<u32>> = BTreeMap::new();
        for (number, scopes) in &blocks.numbers {
            for scope in scopes {
                blocks_of.entry(*scope).or_default().push(*number);
            }
        }
        for block in blocks_of.get(&OWN_NODE).into_iter().flatten() {
            self.put(Other::Block(*block), None, ALLOWED, Action::Allow, None);
        }
        let mut ranks = [0usize; 2];
        for (index, rule) in policies.rules.iter().enumerate() {
            let top = match rule.tier {
                Tier::Admin => ADMIN,
                Tier::Namespace => ALLOWED,
                Tier::Baseline => BASELINE,
            };
            let rank = match rule.tier {
                Tier::Admin => Some(&mut ranks[0]),
                Tier::Namespace => None,
                Tier::Baseline => Some(&mut ranks[1]),
            };
            let rank = rank.map_or(0, |rank| {
                *rank += 1;
                *rank
            });
            // Of NetworkPolicies that all allow it, one that wants it in the log has the word.
            let top = match rule.tier {
                Tier::Namespace => top + u16::from(rule.log),
                _ => top,
            };
            // At the end of what there is room for, what follows fails closed.
            let full = rank >= MOST_RULES || self.entries.len() >= MOST_FLOWS;
            let priority = top - rank.min(MOST_RULES) as u16;
            if full {
                report_full(rule, set);
                if rule.action != Action::Allow {
                    self.put(Other::Any, None, priority, Action::Deny, Some(rule));
                }
                continue;
            }
            for (scope_index, scope) in rule.scopes.iter().enumerate() {
                let mut others: Vec<Other> = Vec::new();
                if scope.peers.any {
                    others.push(Other::Any);
                }
                others.extend(scope.peers.identities.iter().map(|peer| Other::Peer(*peer)));
                let families = scope.peers.blocks.iter().filter(|b| blocks::is_family(b));
                others.extend(families.map(|block| match block.cidr {
                    IpNet::V4(_) => Other::Family(IPV4),
                    IpNet::V6(_) => Other::Family(IPV6),
                }));
                let numbers = blocks_of.get(&(index, scope_index)).into_iter().flatten();
                others.extend(numbers.map(|number| Other::Block(*number)));
                let ports: Vec<L4> = match &scope.ports {
                    None => vec![None],
                    Some(ports) => ports.iter().flat_map(l4).map(Some).collect(),
                };
                for other in others {
                    for port in &ports {
                        self.put(other, *port, priority, rule.action, Some(rule));
                    }
                }
            }
        }
    }

    fn put(
        &mut self,
        other: Other,
        l4: L4,
        priority: u16,
        action: Action,
        origin: Option<&'a SetRule>,
    ) {
        let entry = Entry {
            priority,
            action,
            origin,
        };
        // After a pass, lower tiers are asked: what they say of the same key counts too.
        let tier = match priority {
            p if p > ITSELF => 2,
            p if p > BASELINE => 1,
            _ => 0,
        };
        let there = self.entries.entry((other, l4, tier));
        let there = there.or_insert(Entry {
            priority: 0,
            ..entry
        });
        if there.priority < priority {
            *there = Entry {
                priority,
                action,
                origin,
            };
        }
    }

    fn write(self, direction: &Direction, number: u32, set: &mut FlowSet) {
        for ((other, l4, _), entry) in self.entries {
            let intent = match entry.action {
                _ if entry.origin.is_none() => {
                    "The pod's own node is always reached, as NetworkPolicy has it."
                }
                Action::Allow => "A rule allows it.",
                Action::Deny => "A rule denies it.",
                Action::Pass => "A rule leaves it to the next tier.",
            };
            let mut flow =
                Flow::new(direction.rule, entry.priority, intent).is(&POLICY_SET, number);
            flow = match other {
                Other::Any => flow,
                Other::Family(ethertype) => flow.ether(ethertype),
                Other::Peer(peer) => flow.is(&PEER, peer),
                Other::Block(block) => flow.is(&BLOCK, block),
            };
            if let Some((protocol, port, mask)) = l4 {
                flow = flow.is(&L4_PROTOCOL, protocol);
                flow = flow.is_masked(&L4_PORT, port.into(), mask.into());
            }
            if self.passes[0] && entry.priority > ITSELF {
                flow = flow.is(&PASSED_ADMIN, 0);
            }
            if self.passes[1] && entry.priority < ISOLATED {
                flow = flow.is(&PASSED_BASELINE, 0);
            }
            let flow = match entry.action {
                Action::Allow => flow.goto(direction.next),
                Action::Deny => deny(flow),
                Action::Pass => {
                    let passed = match entry.priority > ITSELF {
                        true => &PASSED_ADMIN,
                        false => &PASSED_BASELINE,
                    };
                    flow.load(passed, 1).act(FlowAction::Resubmit {
                        port: None,
                        table: Some(direction.rule.id()),
                        ct: false,
                    })
                }
            };
            let flow = match entry.origin {
                Some(rule) if rule.log => log::rule(flow, direction, rule, set),
                _ => flow,
            };
            let origin = match entry.origin {
                Some(rule) => origin(&rule.policy, &rule.part),
                None => Origin::table(Feature::Policy, direction.rule),
            };
            set.add(&origin, flow);
        }
    }
}

fn report_full(rule: &SetRule, set: &mut FlowSet) {
    let problem = Problem::refused(
        rule.policy.clone(),
        format!("spec.{}", rule.part),
        format!(
            "the policies of one pod may need {MOST_FLOWS} flows, and {MOST_RULES} rules that are asked in \
             order; from this rule on nothing is let through"
        ),
        "name fewer peers and ports",
    );
    if !set.problems.contains(&problem) {
        set.problems.push(problem);
    }
}

/// A range of ports as values with masks.
fn l4(ports: &Ports) -> Vec<(u32, u16, u16)> {
    let protocol = l4_protocol(ports.protocol);
    let (mut first, last) = (u32::from(ports.first), u32::from(ports.last));
    let mut parts = Vec::new();
    while first <= last {
        // The largest aligned block that begins here and ends in time.
        let aligned = first.trailing_zeros().min(16);
        let fits = (last - first + 1).ilog2();
        let size = aligned.min(fits);
        let mask = !0u32 << size;
        parts.push((protocol, first as u16, mask as u16));
        first += 1 << size;
    }
    parts
}

#[cfg(test)]
mod tests {
    use cluster::desired::Protocol;

    use super::*;

    #[test]
    fn a_range_of_ports_is_the_fewest_values_with_masks() {
        let parts = |first, last| -> Vec<(u16, u16)> {
            let ports = Ports {
                protocol: Protocol::Tcp,
                first,
                last,
            };
            l4(&ports)
                .into_iter()
                .map(|(_, value, mask)| (value, mask))
                .collect()
        };
        assert_eq!(parts(80, 80), [(80, 0xffff)]);
        assert_eq!(parts(0, 65535), [(0, 0)]);
        assert_eq!(parts(5, 8), [(5, 0xffff), (6, 0xfffe), (8, 0xffff)]);
        for (first, last) in [(1, 65535), (32000, 32768), (1, 65534), (65535, 65535)] {
            let parts = parts(first, last);
            for port in 0..=65535u16 {
                let hits = parts
                    .iter()
                    .filter(|(value, mask)| port & mask == *value)
                    .count();
                assert_eq!(hits, usize::from((first..=last).contains(&port)), "{port}");
            }
        }
    }
}
