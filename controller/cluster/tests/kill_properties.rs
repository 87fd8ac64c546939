//! Addresses where the API server is the truth: a controller that is killed at any point between
//! giving, writing and reading, and another that begins with nothing but what stands on objects.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use cluster::view::ClusterView;
use cluster::{Changes, DesiredState, NamespacedName, Settings, State, resolve};
use common::*;
use proptest::prelude::*;

/// 10.0.0.0/28: 13 addresses to give.
const CIDR: &str = "10.0.0.0/28";
const PODS: u8 = 18;

/// What a controller writes on Pods.
const WRITTEN: [&str; 4] = ["allocated", "ip_address", "mac_address", "logical_switch"];

/// A write on its way to the API server.
#[derive(Clone, Debug)]
struct Write {
    pod: NamespacedName,
    uid: String,
    /// The version that it was derived from.
    version: u64,
    /// Nothing takes off what stands there.
    annotations: Option<[String; 4]>,
}

struct World {
    /// What the API server has.
    view: ClusterView,
    /// The controller, if it runs and has read.
    state: Option<State>,
    underway: Vec<Write>,
    uids: u64,
    /// By uid: the version, and the address that its user asks for.
    pods: BTreeMap<String, (u64, Option<String>)>,
}

impl World {
    fn new(cidr: &str) -> Self {
        let mut view = two_nodes();
        add_subnet(&mut view, "s", cidr).default = true;
        World {
            view,
            state: None,
            underway: Vec::new(),
            uids: 0,
            pods: BTreeMap::new(),
        }
    }

    fn create(&mut self, pod: &str, asks: Option<u8>) {
        if self.view.pods.contains_key(&name(pod)) {
            return;
        }
        self.uids += 1;
        let (uid, node) = (format!("uid-{}", self.uids), 1 + self.uids % 2);
        let address = asks.map(|last| Ipv4Addr::new(10, 0, 0, last).to_string());
        self.pods.insert(uid.clone(), (1, address.clone()));
        let annotations: Vec<_> = address.iter().map(|a| ("ip_address", a.as_str())).collect();
        let pod = add_pod(&mut self.view, pod, &annotations);
        pod.meta.uid = Some(uid);
        pod.meta.created = Some(i64::try_from(self.uids).unwrap());
        pod.node = Some(format!("node{node}"));
    }

    /// One turn of the controller: reads, decides, and sends what has to be written.
    fn turn(&mut self) -> DesiredState {
        let state = self
            .state
            .get_or_insert_with(|| State::from_objects(&self.view));
        state.confirm_written(&self.view, &Changes::Everything);
        let settings = Settings {
            written_first: true,
            block_bits: 2,
            ..Settings::default()
        };
        let desired = resolve(&self.view, &settings, state);
        for (name, pod) in &self.view.pods {
            let held = state.allocation(name);
            let annotations = held.map(|held| {
                let addresses: Vec<_> = held.addresses().map(|a| a.to_string()).collect();
                let (mac, subnet) = (held.mac.to_string(), held.subnet.clone());
                ["true".into(), addresses.join(","), mac, subnet]
            });
            let stands = |name: &str| {
                pod.meta
                    .annotations
                    .get(&format!("ovn.kubernetes.io/{name}"))
            };
            let differs = match &annotations {
                Some(values) => WRITTEN
                    .iter()
                    .zip(values)
                    .any(|(n, v)| stands(n) != Some(v)),
                None => stands("allocated").is_some(),
            };
            if differs {
                let uid = pod.meta.uid.clone().unwrap();
                let version = self.pods[&uid].0;
                let pod = name.clone();
                self.underway.push(Write {
                    pod,
                    uid,
                    version,
                    annotations,
                });
            }
        }
        desired
    }

    /// A write arrives; it names uid and version, so that it never meets another Pod of that name,
    /// nor what somebody else has written since.
    fn land(&mut self, write: Write) {
        let there = self.view.pods.get_mut(&write.pod);
        let Some(pod) = there.filter(|pod| pod.meta.uid.as_deref() == Some(&write.uid)) else {
            return;
        };
        let (version, asked) = self.pods.get_mut(&write.uid).unwrap();
        if *version != write.version {
            return;
        }
        *version += 1;
        for (at, name) in WRITTEN.into_iter().enumerate() {
            let key = format!("ovn.kubernetes.io/{name}");
            let value = match &write.annotations {
                Some(values) => Some(values[at].clone()),
                // What a user asks for is the user's.
                None if name == "ip_address" => asked.clone(),
                None => None,
            };
            match value {
                Some(value) => drop(pod.meta.annotations.insert(key, value)),
                None => drop(pod.meta.annotations.remove(&key)),
            }
        }
    }

    fn land_all(&mut self) {
        for write in std::mem::take(&mut self.underway) {
            self.land(write);
        }
    }

    /// Nobody in force shares an address, and each has what stands on its Pod.
    fn check(&self, desired: &DesiredState) -> Result<(), TestCaseError> {
        let mut addresses = BTreeMap::new();
        let mut macs = BTreeSet::new();
        for (pod, given) in &desired.pods {
            let v4 = given.v4.unwrap();
            let other = addresses.insert(v4, pod);
            prop_assert!(
                other.is_none(),
                "{} is given to {:?} and {}",
                v4,
                other,
                pod
            );
            prop_assert!(macs.insert(given.mac));
            let stands = &self.view.pods[pod].meta.annotations;
            prop_assert_eq!(&stands["ovn.kubernetes.io/ip_address"], &v4.to_string());
        }
        let state = self.state.as_ref().unwrap();
        let held: BTreeSet<_> = state.allocations().map(|(pod, _)| pod.clone()).collect();
        for pod in &held {
            prop_assert!(
                self.view.pods.contains_key(pod),
                "{} holds what it had",
                pod
            );
        }
        prop_assert_eq!(desired.usage["s"][0].used, held.len() as u128);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Create {
        pod: u8,
        asks: Option<u8>,
    },
    Delete {
        pod: u8,
    },
    Turn,
    /// One of the writes under way arrives, in whatever order.
    Land {
        which: usize,
    },
    /// One is lost.
    Lose {
        which: usize,
    },
    /// The controller is killed; what it had sent arrives before a successor reads, or at any time
    /// later, or never.
    Kill {
        lost: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let asks = prop_oneof![3 => Just(None), 1 => (2u8..16).prop_map(Some)];
    prop_oneof![
        6 => (0..PODS, asks).prop_map(|(pod, asks)| Step::Create { pod, asks }),
        3 => (0..PODS).prop_map(|pod| Step::Delete { pod }),
        6 => Just(Step::Turn),
        6 => any::<usize>().prop_map(|which| Step::Land { which }),
        1 => any::<usize>().prop_map(|which| Step::Lose { which }),
        1 => any::<bool>().prop_map(|lost| Step::Kill { lost }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").map_or(80, |n| n.parse().unwrap()),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn wherever_a_controller_is_killed_no_address_is_in_force_twice_and_none_leaks(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(CIDR);
        for step in steps {
            match step {
                Step::Create { pod, asks } => world.create(&format!("bank/p-{pod}"), asks),
                Step::Delete { pod } => {
                    world.view.pods.remove(&name(&format!("bank/p-{pod}")));
                }
                Step::Turn => {
                    let desired = world.turn();
                    world.check(&desired)?;
                }
                Step::Land { which } if !world.underway.is_empty() => {
                    let at = which % world.underway.len();
                    let write = world.underway.swap_remove(at);
                    world.land(write);
                }
                Step::Lose { which } if !world.underway.is_empty() => {
                    let at = which % world.underway.len();
                    world.underway.swap_remove(at);
                }
                Step::Kill { lost } => {
                    world.state = None;
                    if lost {
                        world.underway.clear();
                    }
                }
                Step::Land { .. } | Step::Lose { .. } => {}
            }
        }
        // Left alone it comes to rest: everybody is served for whom there is something.
        for _ in 0..5 {
            world.land_all();
            let desired = world.turn();
            world.check(&desired)?;
        }
        world.land_all();
        let desired = world.turn();
        let pods = world.view.pods.len();
        prop_assert_eq!(desired.pods.len() + desired.waiting.len(), pods);
        if world.view.pods.values().all(|pod| pod.meta.annotations.contains_key("ovn.kubernetes.io/allocated")) {
            prop_assert!(desired.pods.len() <= 13);
        }
        world.view.pods.clear();
        world.turn();
        prop_assert_eq!(world.state.unwrap().allocations().count(), 0);
    }
}

#[test]
fn after_ten_thousand_pods_with_kills_in_between_the_count_is_exact() {
    let mut world = World::new("10.0.0.0/24");
    let mut created = 0;
    for wave in 0..200 {
        for number in 0..50 {
            world.create(&format!("bank/w{wave}-{number}"), None);
            created += 1;
        }
        world.turn();
        match wave % 4 {
            // Killed before anything is written, after some of it, after all of it.
            0 => (world.state, world.underway) = (None, Vec::new()),
            1 => {
                world.underway.truncate(25);
                world.land_all();
                world.state = None;
            }
            2 => {
                world.land_all();
                world.state = None;
            }
            _ => {}
        }
        world.land_all();
        world.turn();
        world.land_all();
        let desired = world.turn();
        assert_eq!(
            (desired.pods.len(), desired.waiting.len()),
            (50 + wave / 10, 0)
        );
        for number in 0..50 {
            if number > 0 || wave % 10 != 9 {
                world
                    .view
                    .pods
                    .remove(&name(&format!("bank/w{wave}-{number}")));
            }
        }
        let desired = world.turn();
        assert_eq!(desired.usage["s"][0].used as usize, (wave + 1) / 10);
    }
    assert_eq!(created, 10_000);
}
