//! A direction of a policy with its selectors resolved, and policy sets made of such parts.

use std::collections::BTreeSet;

use super::classes::NamedPort;
use super::log::{self, Log};
use super::problems::Told;
use super::rules::{self, Resolved, World};
use super::spec::Spec;
use super::{PolicySet, SetRule, Tier};
use crate::desired::Protocol;
use crate::name::ObjectRef;
use crate::problem::Problem;
use crate::view::ClusterView;

/// A direction of a policy, resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) object: ObjectRef,
    pub(super) tier: Tier,
    log: Log,
    rules: Vec<(String, Resolved)>,
}

impl Part {
    /// None: the policy says nothing of that direction.
    pub(super) fn new(
        world: &impl World,
        view: &ClusterView,
        policy: &Spec<'_>,
        ingress: bool,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let (direction, peers) = if ingress {
            ("ingress", "from")
        } else {
            ("egress", "to")
        };
        let rules = policy.rules(ingress)?.iter().enumerate();
        let log = log::of_policy(view, &policy.object, policy.meta, problems);
        let rules = rules.map(|(index, rule)| {
            let field = format!("{direction}[{index}]");
            let mut told = Told {
                policy: &policy.object,
                field: format!("spec.{field}"),
                peers,
                problems,
            };
            let resolved = rules::resolve(world, rule, policy.namespace, ingress, &mut told);
            let name = match rule.name.as_str() {
                "" => field,
                name => format!("{field} ({name})"),
            };
            (name, resolved)
        });
        Some(Part {
            object: policy.object.clone(),
            tier: policy.tier,
            log,
            rules: rules.collect(),
        })
    }

    /// Names of the pods' own ports that its rules depend on.
    pub(super) fn own_ports(&self) -> impl Iterator<Item = (Option<Protocol>, &str)> {
        self.rules.iter().flat_map(|(_, rule)| rule.own_ports())
    }

    /// What of it has no effect at present. `classes` are the ports of those that it holds for.
    pub(super) fn report_unused<'p>(
        &self,
        ingress: bool,
        classes: impl Iterator<Item = &'p BTreeSet<NamedPort>>,
        problems: &mut Vec<Problem>,
    ) {
        let mut missing: BTreeSet<_> = self.own_ports().collect();
        let mut used = false;
        for ports in classes {
            used = true;
            missing.retain(|(protocol, name)| !has_port(ports, *protocol, name));
            if missing.is_empty() {
                break;
            }
        }
        if !used {
            problems.push(Problem::ignored(
                self.object.clone(),
                if self.tier == Tier::Namespace {
                    "spec.podSelector"
                } else {
                    "spec.subject"
                },
                "selects no pod at present",
                "correct the selector, unless the pods are still to come",
            ));
            return;
        }
        let direction = if ingress { "ingress" } else { "egress" };
        for (index, (_, rule)) in self.rules.iter().enumerate() {
            for port in rule.own_ports().filter(|port| missing.contains(port)) {
                problems.push(Problem::ignored(
                    self.object.clone(),
                    format!("spec.{direction}[{index}].ports"),
                    format!(
                        "no pod that the policy holds for has a port {:?} of that protocol",
                        port.1
                    ),
                    "name the port in the pods' containers, or use its number",
                ));
            }
        }
    }

    fn set_rules(&self, ports: &BTreeSet<NamedPort>) -> impl Iterator<Item = SetRule> {
        self.rules.iter().map(|(name, rule)| SetRule {
            policy: self.object.clone(),
            part: name.clone(),
            tier: self.tier,
            action: rule.action,
            log: self.log.has(rule.action),
            scopes: rule.scopes(ports),
        })
    }
}

fn has_port(ports: &BTreeSet<NamedPort>, protocol: Option<Protocol>, name: &str) -> bool {
    let of_protocol = |p: Protocol| protocol.is_none_or(|protocol| protocol == p);
    ports.iter().any(|(n, p, _)| n == name && of_protocol(*p))
}

/// The set of these parts, in order, for pods with these ports: a text that says what is in it, and
/// those of the ports that count.
pub(super) fn describe<'p>(
    ingress: bool,
    parts: impl Iterator<Item = &'p Part> + Clone,
    ports: &BTreeSet<NamedPort>,
) -> (String, BTreeSet<NamedPort>) {
    use std::fmt::Write;
    let mut text = String::from(if ingress { "ingress" } else { "egress" });
    for part in parts.clone() {
        let _ = write!(text, "\n{}", part.object);
    }
    let names = parts.flat_map(Part::own_ports).map(|(_, name)| name);
    let names: BTreeSet<&str> = names.collect();
    let ports = ports.iter();
    let ports = ports.filter(|(name, ..)| names.contains(name.as_str()));
    let ports: BTreeSet<NamedPort> = ports.cloned().collect();
    for (name, protocol, port) in &ports {
        let _ = write!(text, "\n{name} {protocol} {port}");
    }
    (text, ports)
}

/// The set itself.
pub(super) fn set<'p>(
    parts: impl Iterator<Item = &'p Part> + Clone,
    ports: &BTreeSet<NamedPort>,
) -> PolicySet {
    let isolating = parts.clone().filter(|part| part.tier == Tier::Namespace);
    let logged = isolating.clone().filter(|part| part.log.denied);
    PolicySet {
        isolated_by: isolating.map(|part| part.object.clone()).collect(),
        isolation_logged_by: logged.map(|part| part.object.clone()).collect(),
        rules: parts.flat_map(|part| part.set_rules(ports)).collect(),
    }
}
