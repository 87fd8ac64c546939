//! What must outlive the process: who holds which address, and which subnet has which number.
//!
//! Where objects come from a folder it is kept as JSON by the controller, whole and then change by
//! change ([`State::change_since`]). Losing it loses no
//! connectivity by itself: fixed addresses come from annotations, tunnel numbers from the subnet's
//! name; only addresses given unasked may come out differently. Where objects come from an API
//! server, what was written there is the truth, and [`State::from_objects`] reads it back.

mod change;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use net::MacAddr;
use serde::{Deserialize, Serialize};

use crate::addr::Family;
use crate::ipam::ledger::Ledger;
use crate::ipam::owner::Owner;
use crate::map::Map;
use crate::name::NamespacedName;
use crate::view::Acl;

/// How many freed allocations are remembered, so that a pod that comes back gets what it had.
const REMEMBERED: usize = 4096;

/// Everything that must outlive the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Subnets in force.
    #[serde(default)]
    pub(crate) subnets: Map<String, SubnetState>,
    /// What pods hold.
    #[serde(default)]
    pub(crate) pods: Map<NamespacedName, Allocation>,
    /// What is kept for pods that are not there: of StatefulSets, and by IP objects.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) kept: Map<NamespacedName, Allocation>,
    /// What Vips hold.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) vips: Map<String, Allocation>,
    /// Addresses of ours that Services' load balancers have, IPv4 first.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) balanced: Map<NamespacedName, Vec<IpAddr>>,
    /// What pods held that are gone; free for anybody else.
    #[serde(default)]
    released: Map<NamespacedName, Released>,
    /// Order of the next release.
    #[serde(default)]
    next_release: u64,
    /// Who holds what, by address and MAC; none until the first round.
    #[serde(skip)]
    pub(crate) ledger: Index,
}

/// An index over the rest of the state; compares equal always, for it is no part of the value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index(pub(crate) Option<Box<Ledger>>);

impl PartialEq for Index {
    fn eq(&self, _: &Index) -> bool {
        true
    }
}

impl Eq for Index {}

/// The last version of a subnet that was good, and what it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubnetState {
    pub(crate) spec: SubnetSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vni: Option<u32>,
    /// The last addresses given unasked, where the search for the next goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cursor_v4: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cursor_v6: Option<Ipv6Addr>,
    /// Seen by this process; not kept.
    #[serde(skip)]
    pub(crate) seen: Seen,
}

/// The fields of a Subnet that its ranges derive from, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubnetSpec {
    pub(crate) cidr_block: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) gateway: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) exclude_ips: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) vlan: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) provider: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) vpc: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vni: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) protocol: String,
    #[serde(default, skip_serializing_if = "is_off")]
    pub(crate) private: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow_subnets: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) acls: Vec<Acl>,
    #[serde(default, skip_serializing_if = "is_off")]
    pub(crate) allow_ew_traffic: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    pub(crate) logical_gateway: bool,
    #[serde(default, skip_serializing_if = "is_off")]
    pub(crate) u2o_interconnection: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) u2o_interconnection_ip: String,
}

fn is_off(value: &bool) -> bool {
    !value
}

/// What one pod holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The subnet, by name.
    pub subnet: String,
    /// The IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Ipv6Addr>,
    /// The Ethernet address.
    #[serde(with = "crate::text")]
    pub mac: MacAddr,
    /// The Pod's uid, where it has one: tells a pod from its successor of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The node the pod is on: its addresses count as that node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    /// The StatefulSet that the pod is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) workload: Option<Workload>,
    /// Seen by this process; not kept.
    #[serde(skip)]
    pub(crate) seen: Seen,
    /// Stands on the Pod, as far as this process has seen.
    #[serde(skip)]
    pub(crate) written: Seen,
}

/// The StatefulSet that a pod is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Workload {
    /// Its name, in the pod's namespace.
    pub(crate) name: String,
    /// Its uid, where it has one: tells it from its successor of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<String>,
}

impl Allocation {
    /// The addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.map(IpAddr::V4);
        v4.into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// The address of one family.
    pub(crate) fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }
}

/// Whether this process has seen the object; compares equal always, for it is no part of the value.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub(crate) struct Seen(pub(crate) bool);

impl PartialEq for Seen {
    fn eq(&self, _: &Seen) -> bool {
        true
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Released {
    order: u64,
    #[serde(flatten)]
    allocation: Allocation,
}

/// The form of the file; a later one that is read differently has a later number.
const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Read {
    version: u32,
    #[serde(flatten)]
    state: State,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    state: &'a State,
}

/// The text is not a state that can be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is something else, or damaged.
    #[error("not a state file of sluice-controller ({0}); move it away to start with an empty one")]
    Unreadable(#[from] serde_json::Error),
    /// A later program wrote it.
    #[error(
        "state of version {0}, and this program reads {VERSION}; use the program that wrote it"
    )]
    Version(u32),
}

impl State {
    /// Reads what [`State::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Self, StateError> {
        let read: Read = serde_json::from_str(text)?;
        match read.version {
            VERSION => Ok(read.state),
            other => Err(StateError::Version(other)),
        }
    }

    /// As text, ordered, one value a line, so that two versions can be compared with `diff`.
    pub fn to_json(&self) -> String {
        let written = Written {
            version: VERSION,
            state: self,
        };
        // Strings, numbers and maps keyed by strings: serialising them cannot fail.
        serde_json::to_string_pretty(&written).unwrap_or_default()
    }

    /// What the pods hold.
    pub fn allocations(&self) -> impl Iterator<Item = (&NamespacedName, &Allocation)> {
        self.pods.iter()
    }

    /// What one pod holds.
    pub fn allocation(&self, pod: &NamespacedName) -> Option<&Allocation> {
        self.pods.get(pod)
    }

    /// The version of a Subnet that is in force with what it was given, to be read again by
    /// [`State::adopt`].
    pub fn subnet_in_force(&self, name: &str) -> Option<serde_json::Value> {
        let subnet = self.subnets.get(name)?;
        serde_json::to_value(&subnet.spec).ok()
    }

    /// Opens the books, if they are not open for these subnets. Two allocations that contradict
    /// each other cannot come from us; should the file have been edited so, the second is dropped
    /// and its pod served anew.
    pub(crate) fn open_books(&mut self, segments: &BTreeMap<String, String>, block_bits: u8) {
        if let Some(ledger) = &mut self.ledger.0
            && ledger.is_of(segments, block_bits)
        {
            ledger.forget_what_was_full();
            return;
        }
        let mut ledger = Ledger::new(segments.clone(), block_bits);
        self.pods
            .retain(|name, held| ledger.take(held, &Owner::Pod(name.clone())).is_ok());
        self.kept
            .retain(|name, held| ledger.take(held, &Owner::Pod(name.clone())).is_ok());
        self.vips
            .retain(|name, held| ledger.take(held, &Owner::Vip(name.clone())).is_ok());
        self.ledger = Index(Some(Box::new(ledger)));
    }

    /// What somebody holds, and whether it is kept for a pod that is not there.
    pub(crate) fn held(&self, owner: &Owner) -> Option<(&Allocation, bool)> {
        match owner {
            Owner::Pod(name) => match self.pods.get(name) {
                Some(held) => Some((held, false)),
                None => self.kept.get(name).map(|kept| (kept, true)),
            },
            Owner::Vip(name) => self.vips.get(name).map(|held| (held, false)),
        }
    }

    /// Takes what somebody holds out of books and state.
    pub(crate) fn let_go(&mut self, owner: &Owner) -> Option<Allocation> {
        let held = match owner {
            Owner::Pod(name) => {
                let there = self.pods.remove(name).or_else(|| self.kept.remove(name));
                Arc::unwrap_or_clone(there?).1
            }
            Owner::Vip(name) => Arc::unwrap_or_clone(self.vips.remove(name)?).1,
        };
        if let Some(ledger) = &mut self.ledger.0 {
            ledger.give_back(&held);
        }
        Some(held)
    }

    /// Records what somebody holds now, in the books too; false, and nothing is recorded, if a
    /// part of it is somebody else's.
    pub(crate) fn hold(&mut self, owner: &Owner, allocation: Allocation, away: bool) -> bool {
        if let Some(ledger) = &mut self.ledger.0
            && ledger.take(&allocation, owner).is_err()
        {
            return false;
        }
        match owner {
            Owner::Pod(name) => {
                self.released.remove(name);
                let map = if away { &mut self.kept } else { &mut self.pods };
                map.insert(name.clone(), allocation);
            }
            Owner::Vip(name) => drop(self.vips.insert(name.clone(), allocation)),
        }
        true
    }

    /// Frees what a pod holds, and remembers it for when it comes back.
    pub(crate) fn release(&mut self, pod: &NamespacedName) {
        let Some(allocation) = self.let_go(&Owner::Pod(pod.clone())) else {
            return;
        };
        let order = self.next_release;
        self.next_release += 1;
        let released = Released { order, allocation };
        self.released.insert(pod.clone(), released);
        if self.released.len() > REMEMBERED {
            let oldest = self.released.iter().min_by_key(|(_, r)| r.order);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.released.remove(&oldest);
            }
        }
    }

    /// Keeps what a pod holds although it is gone.
    pub(crate) fn keep(&mut self, pod: &NamespacedName) {
        if let Some(there) = self.pods.remove(pod) {
            let (name, allocation) = Arc::unwrap_or_clone(there);
            self.kept.insert(name, allocation);
        }
    }

    /// What a pod of this name held before.
    pub(crate) fn recall(&self, owner: &Owner) -> Option<&Allocation> {
        match owner {
            Owner::Pod(name) => self.released.get(name).map(|r| &r.allocation),
            Owner::Vip(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocation(last: u8) -> Allocation {
        Allocation {
            subnet: "a".into(),
            v4: Some(Ipv4Addr::new(10, 0, 0, last)),
            v6: None,
            mac: MacAddr([2, 0x5c, 10, 0, 0, last]),
            uid: None,
            node: None,
            workload: None,
            seen: Seen(true),
            written: Seen(false),
        }
    }

    #[test]
    fn a_state_survives_being_written_and_read() {
        let mut state = State::default();
        for last in 2..5 {
            let name = NamespacedName::new("bank", format!("web-{last}"));
            state.pods.insert(name, allocation(last));
        }
        state.release(&NamespacedName::new("bank", "web-3"));
        state.subnets.insert(
            "a".into(),
            SubnetState {
                spec: SubnetSpec {
                    cidr_block: "10.0.0.0/24".into(),
                    ..Default::default()
                },
                vni: Some(1016),
                cursor_v4: Some(Ipv4Addr::new(10, 0, 0, 4)),
                cursor_v6: None,
                seen: Seen(true),
            },
        );
        let read = State::from_json(&state.to_json()).unwrap();
        assert_eq!(read, state);
        assert!(
            !read.pods.values().any(|a| a.seen.0),
            "a new process has seen nothing"
        );
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_in_one_line() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"version": 1, "pods": {"no-namespace": {}}}"#,
        ] {
            let error = State::from_json(text).unwrap_err().to_string();
            assert!(
                error.contains("move it away") && !error.contains('\n'),
                "{error}"
            );
        }
        let empty = State::from_json(r#"{"version": 1}"#).unwrap();
        assert_eq!(empty, State::default());
        let later = State::from_json(r#"{"version": 2}"#).unwrap_err();
        assert!(matches!(later, StateError::Version(2)), "{later}");
    }

    #[test]
    fn only_the_latest_releases_are_remembered() {
        let mut state = State::default();
        for number in 0..REMEMBERED + 10 {
            let name = NamespacedName::new("bank", format!("p-{number}"));
            state.pods.insert(name.clone(), allocation(2));
            state.release(&name);
        }
        assert_eq!(state.released.len(), REMEMBERED);
        let pod = |name: &str| Owner::Pod(NamespacedName::new("bank", name));
        assert!(state.recall(&pod("p-9")).is_none());
        assert_eq!(state.recall(&pod("p-10")), Some(&allocation(2)));
        assert!(state.hold(&pod("p-10"), allocation(2), false));
        assert!(state.recall(&pod("p-10")).is_none());
    }
}
