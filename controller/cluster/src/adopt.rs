//! The state, from what stands on objects: what was written there is what must outlive a process.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::MacAddr;

use crate::annotations;
use crate::changes::Changes;
use crate::ipam::owner::Owner;
use crate::name::{Kind, NamespacedName};
use crate::nodes::by_age;
use crate::state::{Allocation, Seen, State, SubnetState, Workload};
use crate::sticky;
use crate::view::{ClusterView, Ip, Pod};

impl State {
    /// What the objects of a cluster say of who holds what, and nothing else. Where two pods say
    /// that they hold the same address (somebody copied a Pod), the older one does; the other's
    /// annotations are a claim like any.
    pub fn from_objects(view: &ClusterView) -> State {
        let mut state = State::default();
        for (name, subnet) in &view.subnets {
            let spec = subnet.in_force.clone();
            let Some(spec) = spec.and_then(|spec| serde_json::from_value(spec).ok()) else {
                continue;
            };
            let known = SubnetState {
                spec,
                vni: subnet.tunnel_key,
                cursor_v4: None,
                cursor_v6: None,
                seen: Seen(true),
            };
            state.subnets.insert(name.clone(), known);
        }
        let mut addresses: BTreeSet<(String, IpAddr)> = BTreeSet::new();
        let mut macs: BTreeSet<(String, MacAddr)> = BTreeSet::new();
        for (name, pod) in by_age(&view.pods, |pod| pod.meta.created) {
            let Some(mut held) = held(pod) else {
                continue;
            };
            held.workload = sticky::workload(view, name, pod);
            let subnet = &held.subnet;
            let taken = held
                .addresses()
                .any(|address| addresses.contains(&(subnet.clone(), address)));
            if taken || !macs.insert((subnet.clone(), held.mac)) {
                continue;
            }
            addresses.extend(held.addresses().map(|address| (subnet.clone(), address)));
            state.pods.insert(name.clone(), held);
        }
        let mut free = |held: &Allocation| {
            let subnet = &held.subnet;
            let taken = held
                .addresses()
                .any(|a| addresses.contains(&(subnet.clone(), a)));
            let free = !taken && macs.insert((subnet.clone(), held.mac));
            if free {
                addresses.extend(held.addresses().map(|a| (subnet.clone(), a)));
            }
            free
        };
        for ip in view.ips.values().filter(|ip| !ip.pod.is_empty()) {
            let name = NamespacedName::new(&ip.namespace, &ip.pod);
            if view.pods.contains_key(&name) {
                continue;
            }
            if let Some(held) = kept(ip).filter(|held| free(held)) {
                state.kept.insert(name, held);
            }
        }
        for (name, vip) in &view.vips {
            let held = allocation(&vip.subnet, &vip.given_v4, &vip.given_v6, &vip.given_mac);
            if let Some(held) = held.filter(|held| free(held)) {
                state.vips.insert(name.clone(), held);
            }
        }
        state
    }

    /// Notes which of the pods' allocations stand on their Pods. Where what a controller before us
    /// gave has arrived only after we read, that counts, for the pod may have it already; if it
    /// is another's by now, the pod claims it like anybody, and is refused.
    pub fn confirm_written(&mut self, view: &ClusterView, changed: &Changes) {
        let mut late: Vec<(NamespacedName, Allocation)> = Vec::new();
        let mut confirm = |name: &NamespacedName, held: &mut Allocation| {
            if held.written.0 {
                return;
            }
            let pod = view.pods.get(name);
            let stands = pod.and_then(self::held);
            // Only of the very same Pod: one of the same name is given the same.
            let Some(stands) = stands.filter(|stands| stands.uid == held.uid) else {
                return;
            };
            let same = stands.subnet == held.subnet
                && (stands.v4, stands.v6, stands.mac) == (held.v4, held.v6, held.mac);
            if same {
                held.written.0 = true;
            } else {
                let workload = held.workload.clone();
                late.push((name.clone(), Allocation { workload, ..stands }));
            }
        };
        match changed {
            Changes::Everything => {
                let unwritten = self.pods.iter().filter(|(_, held)| !held.written.0);
                let names: Vec<_> = unwritten.map(|(name, _)| name.clone()).collect();
                for name in names {
                    if let Some(held) = self.pods.get_mut(&name) {
                        confirm(&name, held);
                    }
                }
            }
            Changes::Objects(objects) => {
                for object in objects.iter().filter(|object| object.kind == Kind::Pod) {
                    let namespace = object.namespace.clone().unwrap_or_default();
                    let name = NamespacedName::new(namespace, &object.name);
                    if let Some(held) = self.pods.get_mut(&name) {
                        confirm(&name, held);
                    }
                }
            }
        }
        for (name, _) in &late {
            self.let_go(&Owner::Pod(name.clone()));
        }
        for (name, stands) in late {
            self.hold(&Owner::Pod(name), stands, false);
        }
    }
}

/// What a Pod says that it holds.
fn held(pod: &Pod) -> Option<Allocation> {
    if pod.host_network || pod.finished {
        return None;
    }
    let get = |name: &str| annotations::kube_ovn(&pod.meta, name).map(|found| found.value);
    if get("allocated") != Some("true") {
        return None;
    }
    let (mut v4, mut v6) = (None, None);
    for part in get("ip_address")?.split(',') {
        match part.trim().parse().ok()? {
            IpAddr::V4(address) => v4 = Some(address),
            IpAddr::V6(address) => v6 = Some(address),
        }
    }
    Some(Allocation {
        subnet: get("logical_switch")?.to_string(),
        v4,
        v6,
        mac: get("mac_address")?.parse().ok()?,
        uid: pod.meta.uid.clone(),
        node: pod.node.clone(),
        workload: None,
        seen: Seen(true),
        written: Seen(true),
    })
}

/// What an IP object says is kept for a pod that is not there.
fn kept(ip: &Ip) -> Option<Allocation> {
    let set = (ip.pod_type == "StatefulSet").then(|| sticky::ordinal(&ip.pod));
    let workload = set.flatten().map(|(name, _)| Workload {
        name: name.to_string(),
        uid: None,
    });
    Some(Allocation {
        node: (!ip.node.is_empty()).then(|| ip.node.clone()),
        workload,
        ..allocation(&ip.subnet, &ip.v4, &ip.v6, &ip.mac)?
    })
}

fn allocation(subnet: &str, v4: &str, v6: &str, mac: &str) -> Option<Allocation> {
    let v4: Option<Ipv4Addr> = v4.trim().parse().ok();
    let v6: Option<Ipv6Addr> = v6.trim().parse().ok();
    let mac: MacAddr = mac.trim().parse().ok()?;
    (v4.is_some() || v6.is_some()).then(|| Allocation {
        subnet: subnet.to_string(),
        v4,
        v6,
        mac,
        uid: None,
        node: None,
        workload: None,
        seen: Seen(true),
        written: Seen(true),
    })
}
