//! Address management under anything that may happen: pods come, go, finish, change what they ask
//! for; the controller restarts, with a folder that it can read or not. What must hold is checked
//! after every step against what was asked, not against how it is done.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use cluster::view::ClusterView;
use cluster::{DesiredState, NamespacedName, State};
use common::*;
use proptest::prelude::*;

/// 10.0.0.0/28: 1 is the gateway, 5 and 6 are excluded, 15 is broadcast; 11 addresses to give.
const CIDR: &str = "10.0.0.0/28";
const EXCLUDED: [u8; 2] = [5, 6];
const GIVEN: std::ops::RangeInclusive<u8> = 2..=14;

/// More pods than addresses.
const PODS: u8 = 16;

#[derive(Clone, Debug)]
enum Step {
    /// The pod is there, asking for this address and MAC (0: for none).
    Apply {
        pod: u8,
        address: u8,
        mac: u8,
    },
    Delete {
        pod: u8,
    },
    Finish {
        pod: u8,
    },
    /// The controller goes down and comes up; while it is down these pods vanish.
    Restart {
        gone: Vec<u8>,
    },
    /// It comes up and cannot read the manifests of these pods; then it can.
    RestartHalfBlind {
        unseen: Vec<u8>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    // Half of the pods ask for nothing, the others for what a pod can or cannot have.
    let address = prop_oneof![Just(0u8), 1u8..18];
    let mac = prop_oneof![4 => Just(0u8), 1 => 1u8..4];
    let pods = || proptest::collection::vec(0..PODS, 0..4);
    prop_oneof![
        8 => (0..PODS, address, mac).prop_map(|(pod, address, mac)| Step::Apply { pod, address, mac }),
        4 => (0..PODS).prop_map(|pod| Step::Delete { pod }),
        1 => (0..PODS).prop_map(|pod| Step::Finish { pod }),
        1 => pods().prop_map(|gone| Step::Restart { gone }),
        1 => pods().prop_map(|unseen| Step::RestartHalfBlind { unseen }),
    ]
}

fn pod_name(pod: u8) -> NamespacedName {
    NamespacedName::new("bank", format!("p-{pod}"))
}

/// Address number 15 is the broadcast address, 16 and 17 are outside.
fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// The MACs 2 and 3 are those that the addresses 2 and 3 suggest.
fn mac(number: u8) -> String {
    format!("02:5c:0a:00:00:{number:02x}")
}

struct World {
    view: ClusterView,
    state: State,
    last: DesiredState,
    /// The view of the last round, to know what has been changed.
    last_view: ClusterView,
}

impl World {
    fn new() -> Self {
        let mut view = two_nodes();
        let subnet = add_subnet(&mut view, "s", CIDR);
        subnet.default = true;
        subnet.exclude_ips = vec!["10.0.0.5..10.0.0.6".into()];
        World {
            last_view: view.clone(),
            view,
            state: State::default(),
            last: DesiredState::default(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Apply {
                pod,
                address: number,
                mac: mac_number,
            } => {
                let mut annotations = Vec::new();
                let (address, mac) = (address(*number).to_string(), mac(*mac_number));
                if *number > 0 {
                    annotations.push(("ip_address", address.as_str()));
                }
                if *mac_number > 0 {
                    annotations.push(("mac_address", mac.as_str()));
                }
                add_pod(&mut self.view, &pod_name(*pod).to_string(), &annotations);
            }
            Step::Delete { pod } => {
                self.view.pods.remove(&pod_name(*pod));
            }
            Step::Finish { pod } => {
                if let Some(pod) = self.view.pods.get_mut(&pod_name(*pod)) {
                    pod.finished = true;
                }
            }
            Step::Restart { gone } => {
                self.state = restarted(&self.state);
                for pod in gone {
                    self.view.pods.remove(&pod_name(*pod));
                }
            }
            Step::RestartHalfBlind { unseen } => {
                self.state = restarted(&self.state);
                let mut half = self.view.clone();
                half.complete = false;
                for pod in unseen {
                    half.pods.remove(&pod_name(*pod));
                }
                let seen = run(&half, &mut self.state);
                for (name, pod) in &seen.pods {
                    assert_eq!(self.last.pods.get(name), Some(pod), "as it was before");
                }
            }
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let desired = run(&self.view, &mut self.state);

        // Nobody shares anything.
        let mut addresses = BTreeMap::new();
        let mut macs = BTreeSet::new();
        for (name, pod) in &desired.pods {
            let Some(v4) = pod.v4 else {
                return Err(TestCaseError::fail(format!("{name} has no address")));
            };
            let other = addresses.insert(v4, name);
            prop_assert!(
                other.is_none(),
                "{} is given to {:?} and {}",
                v4,
                other,
                name
            );
            prop_assert!(macs.insert(pod.mac), "{} is given twice", pod.mac);
            prop_assert!(pod.mac != desired.subnets["s"].router_mac);
            prop_assert!(
                GIVEN.contains(&v4.octets()[3]),
                "{} is no address for a pod",
                v4
            );
        }

        // Exactly those that are there hold something, and each holds what it has been given.
        let there = |view: &ClusterView| -> BTreeSet<NamespacedName> {
            let running = view.pods.iter().filter(|(_, pod)| !pod.finished);
            running.map(|(name, _)| name.clone()).collect()
        };
        let served: BTreeSet<_> = desired.pods.keys().cloned().collect();
        let waiting: BTreeSet<_> = desired.waiting.keys().cloned().collect();
        prop_assert!(served.is_disjoint(&waiting));
        prop_assert_eq!(&served | &waiting, there(&self.view));
        let holding: BTreeSet<_> = self.state.allocations().map(|(n, _)| n.clone()).collect();
        prop_assert_eq!(&holding, &served, "nothing leaks");

        for (name, pod) in &self.view.pods {
            if pod.finished {
                continue;
            }
            let annotation = |key: &str| {
                pod.meta
                    .annotations
                    .get(&format!("ovn.kubernetes.io/{key}"))
            };
            let asked: Option<Ipv4Addr> = annotation("ip_address").map(|a| a.parse().unwrap());
            let asked_mac = annotation("mac_address");
            match desired.pods.get(name) {
                Some(given) => {
                    // Who had what it asks for, and asks for the same, keeps everything.
                    let before = self.last.pods.get(name);
                    let same = self.last_view.pods.get(name) == Some(pod);
                    let was_told = self
                        .last
                        .problems
                        .iter()
                        .any(|p| p.object.name == name.name);
                    if let (Some(before), true, false) = (before, same, was_told) {
                        prop_assert_eq!(before, given);
                    }
                    let got_what_it_asked = asked.is_none_or(|a| given.v4 == Some(a))
                        && asked_mac.is_none_or(|m| *m == given.mac.to_string());
                    let told = desired.problems.iter().any(|p| p.object.name == name.name);
                    prop_assert!(got_what_it_asked != told, "{} {:?}", name, desired.problems);
                    let number = given.v4.map_or(0, |v4| v4.octets()[3]);
                    if asked.is_none() && EXCLUDED.contains(&number) {
                        // Only by having asked for it once.
                        prop_assert!(before.is_some_and(|b| b.v4 == given.v4));
                    }
                }
                None => {
                    let told = desired
                        .problems
                        .iter()
                        .filter(|p| p.object.name == name.name);
                    prop_assert_eq!(told.count(), 1, "who waits is told why");
                    let taken = |a: Ipv4Addr| addresses.contains_key(&a);
                    let mac_taken = asked_mac
                        .is_some_and(|asked| macs.iter().any(|mac| mac.to_string() == *asked));
                    match asked {
                        Some(asked) => prop_assert!(
                            taken(asked) || !GIVEN.contains(&asked.octets()[3]) || mac_taken,
                            "{} was refused {} for no reason",
                            name,
                            asked
                        ),
                        None => prop_assert!(
                            mac_taken || self.nothing_left(&addresses),
                            "{} got nothing although there is something",
                            name
                        ),
                    }
                }
            }
        }

        // It has come to rest: doing it again changes nothing, but perhaps which of two reasons a
        // pod is refused for.
        let state = self.state.clone();
        let again = run(&self.view, &mut self.state);
        prop_assert_eq!(&again.pods, &desired.pods);
        prop_assert!(again.waiting.keys().eq(desired.waiting.keys()));
        prop_assert_eq!(&self.state, &state);

        self.last = desired;
        self.last_view = self.view.clone();
        Ok(())
    }

    /// True if every address that is given unasked is held, or asked for by somebody.
    fn nothing_left(&self, held: &BTreeMap<Ipv4Addr, &NamespacedName>) -> bool {
        let asked: BTreeSet<IpAddr> = self
            .view
            .pods
            .values()
            .filter_map(|pod| pod.meta.annotations.get("ovn.kubernetes.io/ip_address"))
            .map(|text| text.parse().unwrap())
            .collect();
        GIVEN
            .filter(|number| !EXCLUDED.contains(number))
            .map(address)
            .all(|a| held.contains_key(&a) || asked.contains(&IpAddr::V4(a)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(100, |n| n.parse().unwrap()),
        // A failure worth keeping becomes a scenario with a name.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_given_twice_nothing_leaks_and_nobody_is_moved_or_refused_without_need(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check()?;
        }
        world.view.pods.clear();
        world.check()?;
        prop_assert_eq!(world.state.allocations().count(), 0);
    }
}

#[test]
fn after_ten_thousand_pods_with_restarts_in_between_the_count_is_exact() {
    let mut view = two_nodes();
    add_subnet(&mut view, "s", "10.0.0.0/22").default = true;
    let mut state = State::default();
    let mut used = BTreeSet::new();
    // Waves of 500: each comes whole and goes but for one pod.
    for wave in 0..20 {
        for number in 0..500 {
            add_pod(&mut view, &format!("bank/w{wave}-{number}"), &[]);
        }
        let desired = run(&view, &mut state);
        assert_eq!((desired.pods.len(), desired.waiting.len()), (500 + wave, 0));
        used.extend(desired.pods.values().filter_map(|pod| pod.v4));
        if wave % 3 == 0 {
            state = restarted(&state);
        }
        for number in 1..500 {
            view.pods.remove(&name(&format!("bank/w{wave}-{number}")));
        }
        run(&view, &mut state);
        assert_eq!(state.allocations().count(), wave + 1);
    }
    assert!(
        used.len() > 1000,
        "freed addresses rest as long as there are others"
    );
}
