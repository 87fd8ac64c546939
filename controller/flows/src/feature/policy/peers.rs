//! Which policy set holds, and who the other end is.

use std::collections::{BTreeMap, BTreeSet};

use cluster::policy::PolicySet;
use cluster::{Kind, ObjectRef};
use openflow::Field;

use super::Direction;
use crate::fields::{BLOCK, NET, PASSED_ADMIN, PASSED_BASELINE, PEER, POLICY_SET, ROUTE, SELF};
use crate::flow::{Flow, FlowSet};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::{PodView, View};

const ITSELF: u16 = 210;
const POD: u16 = 200;
const IDENTITY: u16 = 100;

/// Flows of the set and peer tables; gives the policy sets that are in force on this node.
pub(super) fn flows<'a>(
    view: &View<'a>,
    direction: &Direction,
    set: &mut FlowSet,
) -> BTreeMap<u32, &'a PolicySet> {
    let policies = &view.state.policies;
    let mut sets = BTreeMap::new();
    for (pod, port) in view.local_pods() {
        let Some(own) = policies.pods.get(&pod.pod.name) else {
            continue;
        };
        let number = if direction.ingress {
            own.ingress
        } else {
            own.egress
        };
        let Some(number) = number else { continue };
        let Some(policy_set) = policies.sets.get(&number) else {
            continue;
        };
        sets.insert(number, &**policy_set);
        let origin = Origin::object(Feature::Policy, &pod.object());
        if direction.ingress {
            receiver(view, pod, number, &mut |flow| set.add(&origin, flow));
        }
        for address in pod.pod.addresses() {
            let table = if direction.ingress {
                Table::IngressSet
            } else {
                direction.peer
            };
            let itself = Flow::new(
                table,
                ITSELF,
                "A pod that reaches itself through a Service.",
            )
            .when(Field::InPort, port.0)
            .ip_dst(address)
            .load(&SELF, 1);
            let flow = match direction.ingress {
                true => start(itself, number).load(&PEER, own.identity),
                false => itself.load(&PEER, own.identity).goto(direction.block),
            };
            set.add(&origin, flow);
        }
    }
    identities(view, direction, &sets, set);
    sets
}

/// The pod that will get the packet: by address if the packet is routed, by MAC address otherwise.
fn receiver(view: &View<'_>, pod: &PodView<'_>, number: u32, add: &mut impl FnMut(Flow)) {
    let subnet = view.subnet(pod);
    let flow = || {
        let intent = "What this pod gets is judged by its policies.";
        Flow::new(Table::IngressSet, POD, intent)
    };
    for address in pod.pod.addresses() {
        add(start(flow().is(&ROUTE, 1).ip_dst(address), number));
    }
    for net in BTreeSet::from([subnet.net, subnet.vni.get()]) {
        let flow = flow().is(&ROUTE, 0).is(&NET, net);
        add(start(
            flow.when(Field::EthDst, pod.pod.mac.to_u64()),
            number,
        ));
    }
}

/// Begins to judge by a set; what egress found of the other end is forgotten.
fn start(flow: Flow, number: u32) -> Flow {
    flow.load(&POLICY_SET, number)
        .load(&PEER, 0)
        .load(&BLOCK, 0)
        .load(&PASSED_ADMIN, 0)
        .load(&PASSED_BASELINE, 0)
        .goto(Table::IngressPeer)
}

/// Addresses of pods that a rule in force here names.
fn identities(
    view: &View<'_>,
    direction: &Direction,
    sets: &BTreeMap<u32, &PolicySet>,
    set: &mut FlowSet,
) {
    let rules = sets.values().flat_map(|set| &set.rules);
    let named = rules.flat_map(|rule| &rule.scopes);
    let named: BTreeSet<u32> = named
        .flat_map(|scope| scope.peers.identities.iter().copied())
        .collect();
    for identity in named {
        let members = view.state.policies.members_of(identity);
        for pod in members.filter_map(|name| view.state.pods.get(name)) {
            let object = ObjectRef::namespaced(Kind::Pod, &pod.name);
            let origin = Origin::object(Feature::Policy, &object);
            for address in pod.addresses() {
                let flow = Flow::new(direction.peer, IDENTITY, "Who has this address.");
                let flow = match direction.ingress {
                    true => flow.ip_src(address),
                    false => flow.ip_dst(address),
                };
                set.add(&origin, flow.load(&PEER, identity).goto(direction.block));
            }
        }
    }
}
