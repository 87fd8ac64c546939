//! Policies, their rules, and the pods that they hold for.

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, Wanted, found};
use crate::name::{Kind, NamespacedName, ObjectRef};
use crate::policy::PolicySet;
use crate::query::{Counted, Policy, PolicyRule, Selection};
use crate::view::{self, Action, ClusterTier, LabelSelector, Operator, Peer, PolicyPort, Subject};

/// Pods that are named where no policy was asked for by name.
const SOME: usize = 10;

impl Report<'_> {
    /// Policies of all kinds.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn policies(&self, which: &Selection) -> Result<Vec<Policy>, String> {
        self.check_node(which)?;
        let selected = self.selected();
        let most = if which.name.is_some() {
            usize::MAX
        } else {
            SOME
        };
        let mut policies = Vec::new();
        let wanted = Wanted::new(which)?;
        for (name, policy) in wanted.of(&self.view.network_policies) {
            let object = ObjectRef::namespaced(Kind::NetworkPolicy, name);
            let directions = [("ingress", &policy.ingress), ("egress", &policy.egress)];
            let isolates = directions.iter().filter(|(_, rules)| rules.is_some());
            let isolates = isolates
                .map(|(direction, _)| (*direction).to_string())
                .collect();
            let rules = directions.into_iter().flat_map(|(direction, rules)| {
                let rules = rules.iter().flatten().enumerate();
                rules.map(move |(at, rule)| (direction, at, rule))
            });
            policies.push(self.policy(&object, isolates, rules, &selected, most, which));
        }
        let kinds = [
            (Kind::AdminNetworkPolicy, &self.view.admin_network_policies),
            (
                Kind::ClusterNetworkPolicy,
                &self.view.cluster_network_policies,
            ),
            (
                Kind::BaselineAdminNetworkPolicy,
                &self.view.baseline_admin_network_policies,
            ),
        ];
        for (kind, all) in kinds {
            for (name, policy) in all {
                let asked = which.name.as_ref().is_none_or(|wanted| wanted == name);
                if !asked || which.namespace.is_some() {
                    continue;
                }
                let object = ObjectRef::cluster(kind, name);
                let rules = [("ingress", &policy.ingress), ("egress", &policy.egress)];
                let rules = rules.into_iter().flat_map(|(direction, rules)| {
                    let rules = rules.iter().enumerate();
                    rules.map(move |(at, rule)| (direction, at, rule))
                });
                let mut told = self.policy(&object, Vec::new(), rules, &selected, most, which);
                let tier = match policy.tier {
                    ClusterTier::Admin => "Admin",
                    ClusterTier::Baseline => "Baseline",
                };
                told.kind = format!("{} ({tier} {})", kind.as_str(), policy.priority);
                policies.push(told);
            }
        }
        let known = self.view.network_policies.keys().map(ToString::to_string);
        let cluster = kinds.into_iter().flat_map(|(_, all)| all.keys().cloned());
        let known = known.chain(cluster);
        match which.name.as_deref() {
            Some(name) if policies.is_empty() => found(policies, Some(name), "policie", known)
                .map_err(|text| text.replace("no policie ", "no policy ")),
            _ => Ok(policies),
        }
    }

    fn policy<'r>(
        &self,
        object: &ObjectRef,
        isolates: Vec<String>,
        rules: impl Iterator<Item = (&'r str, usize, &'r view::PolicyRule)>,
        selected: &BTreeMap<&ObjectRef, BTreeSet<&NamespacedName>>,
        most: usize,
        which: &Selection,
    ) -> Policy {
        let pods = selected.get(object);
        let rules = rules.map(|(direction, at, rule)| {
            let name = match rule.name.as_str() {
                "" => format!("{direction}[{at}]"),
                name => format!("{direction}[{at}] ({name})"),
            };
            PolicyRule {
                action: match rule.action {
                    Action::Allow => "allow",
                    Action::Deny => "deny",
                    Action::Pass => "pass",
                }
                .into(),
                peers: peers(rule.peers.as_deref()),
                ports: ports(rule.ports.as_deref()),
                hits: self.counted(|label| label == format!("{object} {name}")),
                rule: name,
            }
        });
        let isolation = format!("{object} isolation");
        let problems = self.problems(object.kind);
        Policy {
            kind: object.kind.as_str().into(),
            namespace: object.namespace.clone().unwrap_or_default(),
            name: object.name.clone(),
            pods: pods.map_or(0, BTreeSet::len),
            selected: pods
                .into_iter()
                .flatten()
                .take(most)
                .map(ToString::to_string)
                .collect(),
            rules: rules.collect(),
            isolation_hits: match isolates.is_empty() {
                true => None,
                false => self.counted(|label| label.starts_with(&isolation)),
            },
            isolates,
            in_force: self.in_force(object, which.node.as_deref()),
            problems: problems.get(object).cloned().unwrap_or_default(),
        }
    }

    fn counted(&self, is_it: impl Fn(&str) -> bool) -> Option<Counted> {
        let hits = self.hits?;
        let mut sum = Counted::default();
        for (_, counted) in hits.iter().filter(|(label, _)| is_it(label)) {
            sum.packets += counted.packets;
            sum.bytes += counted.bytes;
            sum.flows += counted.flows;
        }
        Some(sum)
    }

    /// Pods that each policy holds for.
    fn selected(&self) -> BTreeMap<&ObjectRef, BTreeSet<&NamespacedName>> {
        let policies = &self.desired.policies;
        let mut selected: BTreeMap<&ObjectRef, BTreeSet<&NamespacedName>> = BTreeMap::new();
        for (name, pod) in &policies.pods {
            let sets = [pod.ingress, pod.egress].into_iter().flatten();
            for set in sets.filter_map(|number| policies.sets.get(&number)) {
                for policy in of_set(set) {
                    selected.entry(policy).or_default().insert(name);
                }
            }
        }
        selected
    }

    /// Policies that hold for a pod in one direction.
    pub(super) fn policies_of(&self, name: &NamespacedName, ingress: bool) -> Vec<String> {
        let policies = &self.desired.policies;
        let Some(pod) = policies.pods.get(name) else {
            return Vec::new();
        };
        let number = if ingress { pod.ingress } else { pod.egress };
        let set = number.and_then(|number| policies.sets.get(&number));
        let all: BTreeSet<String> = set
            .into_iter()
            .flat_map(|set| of_set(set))
            .map(ToString::to_string)
            .collect();
        all.into_iter().collect()
    }
}

fn of_set(set: &PolicySet) -> impl Iterator<Item = &ObjectRef> {
    set.isolated_by
        .iter()
        .chain(set.rules.iter().map(|rule| &rule.policy))
}

fn peers(peers: Option<&[Peer]>) -> String {
    let Some(peers) = peers else {
        return "anybody".into();
    };
    let words: Vec<String> = peers.iter().map(peer).collect();
    match words.is_empty() {
        true => "nobody".into(),
        false => words.join("; "),
    }
}

fn peer(peer: &Peer) -> String {
    match peer {
        Peer::OwnNamespace(pods) => format!("pods {} of its namespace", selector(pods)),
        Peer::Pods(Subject { namespaces, pods }) => {
            format!(
                "pods {} of namespaces {}",
                selector(pods),
                selector(namespaces)
            )
        }
        Peer::Block { cidr, except } if except.is_empty() => cidr.clone(),
        Peer::Block { cidr, except } => format!("{cidr} but {}", except.join(", ")),
        Peer::Nodes(nodes) => format!("nodes {}", selector(nodes)),
        Peer::Unknown(why) => format!("nobody ({why})"),
    }
}

fn selector(selector: &LabelSelector) -> String {
    let labels = selector
        .match_labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().map(|requirement| {
        let key = &requirement.key;
        let list = |values: &BTreeSet<String>| values.iter().cloned().collect::<Vec<_>>().join(",");
        match &requirement.operator {
            Operator::In(values) => format!("{key} in ({})", list(values)),
            Operator::NotIn(values) => format!("{key} notin ({})", list(values)),
            Operator::Exists => key.clone(),
            Operator::DoesNotExist => format!("!{key}"),
        }
    });
    let all: Vec<String> = labels.chain(expressions).collect();
    match all.is_empty() {
        true => "(all)".into(),
        false => all.join(","),
    }
}

fn ports(ports: Option<&[PolicyPort]>) -> String {
    let Some(ports) = ports else {
        return "any".into();
    };
    let words = ports.iter().map(|port| match port {
        PolicyPort::All(protocol) => protocol.to_string(),
        PolicyPort::Range(protocol, first, last) if first == last => format!("{first}/{protocol}"),
        PolicyPort::Range(protocol, first, last) => format!("{first}-{last}/{protocol}"),
        PolicyPort::Named(Some(protocol), name) => format!("{name}/{protocol}"),
        PolicyPort::Named(None, name) => name.clone(),
        PolicyPort::Unknown(why) => format!("none ({why})"),
    });
    let words: Vec<String> = words.collect();
    match words.is_empty() {
        true => "none".into(),
        false => words.join(", "),
    }
}
