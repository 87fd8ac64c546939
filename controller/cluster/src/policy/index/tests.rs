//! Change by change comes to the same as all at once.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use net::{MacAddr, Vni};
use proptest::prelude::*;

use super::*;
use crate::desired::{self, Prefix4, Protocol, Qos, Subnet};
use crate::policy::whole;
use crate::view::{
    self, Action, ClusterTier, ContainerPort, Meta, Namespace, NetworkPolicy, Operator, Peer,
    PolicyPort, PolicyRule, Requirement, Subject,
};

/// Small numbers, as many as are asked for, out of one.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len() as u64) as usize]
    }

    fn labels(&mut self, keys: &[&str]) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for key in keys {
            if self.roll(3) > 0 {
                labels.insert(key.to_string(), self.pick(&["a", "b"]).to_string());
            }
        }
        labels
    }

    fn selector(&mut self, keys: &[&str]) -> LabelSelector {
        let mut selector = LabelSelector::default();
        for _ in 0..self.roll(3) {
            let key = self.pick(keys).to_string();
            let value = self.pick(&["a", "b", "c"]).to_string();
            let operator = match self.roll(6) {
                0 => Operator::In([value].into()),
                1 => Operator::In([value, "b".to_string()].into()),
                2 => Operator::NotIn([value].into()),
                3 => Operator::Exists,
                4 => Operator::DoesNotExist,
                _ => {
                    selector.match_labels.insert(key, value);
                    continue;
                }
            };
            let requirement = Requirement { key, operator };
            selector.match_expressions.push(requirement);
        }
        selector
    }

    fn pods(&mut self) -> LabelSelector {
        match self.roll(12) {
            0 => self.selector(&["app", "pod-template-hash"]),
            _ => self.selector(&["app", "tier"]),
        }
    }

    fn subject(&mut self) -> Subject {
        Subject {
            namespaces: self.selector(&["env", "team", "kubernetes.io/metadata.name"]),
            pods: self.pods(),
        }
    }

    fn peer(&mut self) -> Peer {
        match self.roll(9) {
            0 => Peer::Nodes(self.selector(&["zone"])),
            1 => Peer::Block {
                cidr: self
                    .pick(&["10.0.0.0/29", "10.0.0.0/24", "nonsense"])
                    .into(),
                except: vec![],
            },
            2 => Peer::Pods(Subject::default()),
            3..6 => Peer::OwnNamespace(self.pods()),
            _ => Peer::Pods(self.subject()),
        }
    }

    fn rules(&mut self, cluster: bool) -> Vec<PolicyRule> {
        let rule = |dice: &mut Dice| {
            let action = match dice.roll(3) {
                0 if cluster => Action::Deny,
                1 if cluster => Action::Pass,
                _ => Action::Allow,
            };
            let peers =
                (dice.roll(8) > 0).then(|| (0..dice.roll(3)).map(|_| dice.peer()).collect());
            let port = |dice: &mut Dice| match dice.roll(3) {
                0 => PolicyPort::Range(Protocol::Tcp, 80, 90),
                1 => PolicyPort::Named(None, dice.pick(&["web", "dns"]).into()),
                _ => PolicyPort::Named(Some(Protocol::Tcp), dice.pick(&["web", "dns"]).into()),
            };
            let ports =
                (dice.roll(3) > 0).then(|| (0..1 + dice.roll(2)).map(|_| port(dice)).collect());
            PolicyRule {
                name: String::new(),
                action,
                peers,
                ports,
            }
        };
        (0..self.roll(3)).map(|_| rule(self)).collect()
    }

    fn cluster_policy(&mut self, tier: ClusterTier) -> view::ClusterPolicy {
        view::ClusterPolicy {
            meta: Meta::default(),
            tier,
            priority: self.roll(3) as u16,
            subject: self.subject(),
            ingress: self.rules(true),
            egress: self.rules(true),
        }
    }
}

fn subnet(name: &str, kind: SubnetKind) -> Subnet {
    Subnet {
        name: name.into(),
        v4: Some(Prefix4 {
            cidr: "10.0.0.0/24".parse().unwrap(),
            gateway: Ipv4Addr::new(10, 0, 0, 254),
        }),
        v6: None,
        kind,
        router_mac: MacAddr::ZERO,
        mtu: 1400,
        rules: Vec::new(),
        logical_gateway: false,
        interconnected: false,
    }
}

/// Something that happens to the cluster.
fn happen(view: &mut ClusterView, desired: &mut DesiredState, what: u8, seed: u64) {
    let mut dice = Dice(seed);
    let namespace = dice.pick(&["n0", "n1", "n2"]).to_string();
    let number = dice.roll(9);
    let pod = NamespacedName::new(&namespace, format!("p{number}"));
    let policy = NamespacedName::new(&namespace, format!("np{}", number % 3));
    let cluster = format!("c{}", number % 2);
    match what {
        // A pod comes, or is another one.
        0..6 => {
            let mut labels = dice.labels(&["app", "tier"]);
            labels.insert("pod-template-hash".into(), format!("{number}"));
            let port = |(name, protocol, port): (&str, _, _)| ContainerPort {
                name: Some(name.to_string()),
                protocol,
                port,
            };
            let mut ports = Vec::new();
            if dice.roll(2) == 0 {
                ports.push(port(("web", Protocol::Tcp, 80 + dice.roll(2) as u16)));
            }
            if dice.roll(3) == 0 {
                ports.push(port(("dns", Protocol::Udp, 53)));
            }
            let read = view::Pod {
                meta: Meta {
                    labels,
                    ..Meta::default()
                },
                ports,
                ..view::Pod::default()
            };
            view.pods.insert(pod.clone(), read);
            let space = namespace.as_bytes()[1] - b'0';
            let address = 10 * space + number as u8 + 100 * dice.roll(2) as u8;
            let port = desired::Pod {
                name: pod.clone(),
                node: "k0".into(),
                port: String::new(),
                subnet: dice.pick(&["over", "under"]).into(),
                mac: MacAddr::ZERO,
                v4: Some(Ipv4Addr::new(10, 0, 0, address)),
                v6: None,
                allowed: Vec::new(),
                qos: Qos::default(),
                cell: None,
            };
            // It may be read before it has an address.
            let has = dice.roll(8) > 0;
            desired.pods.set(pod, has.then_some(port));
        }
        6 => {
            view.pods.remove(&pod);
            desired.pods.remove(&pod);
        }
        7 => {
            let labels = dice.labels(&["env", "team"]);
            let mut meta = Meta {
                labels,
                ..Meta::default()
            };
            if dice.roll(3) == 0 {
                let value = dice.pick(&["denied", "allowed", "nonsense"]);
                meta.annotations
                    .insert("sluice.io/log".into(), value.into());
            }
            view.namespaces.insert(namespace, Namespace { meta });
        }
        8..11 => {
            let ingress = dice.roll(4) > 0;
            let read = NetworkPolicy {
                meta: Meta::default(),
                pods: dice.pods(),
                ingress: ingress.then(|| dice.rules(false)),
                egress: (!ingress || dice.roll(2) == 0).then(|| dice.rules(false)),
            };
            view.network_policies.insert(policy, read);
        }
        11 => drop(view.network_policies.remove(&policy)),
        12 => {
            let read = dice.cluster_policy(ClusterTier::Admin);
            view.admin_network_policies.insert(cluster, read);
        }
        13 => {
            let tier = match dice.roll(2) {
                0 => ClusterTier::Admin,
                _ => ClusterTier::Baseline,
            };
            let read = dice.cluster_policy(tier);
            view.cluster_network_policies.insert(cluster, read);
        }
        14 => {
            let read = dice.cluster_policy(ClusterTier::Baseline);
            view.baseline_admin_network_policies
                .insert("default".into(), read);
        }
        15 => match dice.roll(3) {
            0 => drop(view.admin_network_policies.remove(&cluster)),
            1 => drop(view.cluster_network_policies.remove(&cluster)),
            _ => view.baseline_admin_network_policies.clear(),
        },
        16 => {
            let name = format!("k{}", dice.roll(2));
            let mut read = view::Node::default();
            read.meta.labels = dice.labels(&["zone"]);
            view.nodes.insert(name.clone(), read);
            let node = desired::Node {
                name: name.clone(),
                vtep: None,
                addresses: vec![Ipv4Addr::new(172, 16, 0, dice.roll(4) as u8).into()],
                zone: None,
                cell: None,
            };
            desired.nodes.insert(name, node);
        }
        17 => {
            let provider = || SubnetKind::Underlay {
                provider: "p".into(),
                vlan: None,
            };
            let overlay = || SubnetKind::Overlay {
                vni: Vni::new(1).unwrap(),
            };
            for (name, sides) in [("over", 8), ("under", 2)] {
                let kind = match dice.roll(sides) {
                    0 => provider(),
                    _ => overlay(),
                };
                desired.subnets.insert(name.into(), subnet(name, kind));
            }
        }
        18 => {
            view.network_policies.clear();
            view.admin_network_policies.clear();
            view.cluster_network_policies.clear();
            view.baseline_admin_network_policies.clear();
        }
        _ => drop(view.namespaces.remove(&namespace)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With all bits of the hashes, and with so few that most numbers are taken.
    #[test]
    fn change_by_change_is_the_same_as_all_at_once(
        mask in prop_oneof![Just(u32::MAX), Just(31), Just(7)],
        first in proptest::collection::vec((0u8..18, any::<u64>()), 30),
        steps in proptest::collection::vec(
            proptest::collection::vec((0u8..20, any::<u64>()), 1..4), 1..24),
    ) {
        let mut view = ClusterView::default();
        let mut desired = DesiredState::default();
        for (what, seed) in first {
            happen(&mut view, &mut desired, what, seed);
        }
        let mut index = Index::new(mask);
        index.update(&view, &desired);
        for step in steps {
            for (what, seed) in step {
                happen(&mut view, &mut desired, what, seed);
            }
            let followed = index.update(&view, &desired);
            prop_assert_eq!(followed, whole::policies(&view, &desired, mask));
        }
    }
}
