//! Flows, groups and meters, and the set of them that one node shall have.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use cluster::Problem;
use ipnet::IpNet;
use net::{GroupId, MacAddr, MeterId, PortNo, TableId, VlanId};
use openflow::action::{Ct, CtZone};
use openflow::model::{Band, BandKind, Bucket, GroupType, METER_BURST, METER_KBPS, METER_PKTPS};
use openflow::{Action, Field, Instructions, Match, SubField};

use crate::fields::{Named, Zone};
use crate::origin::{Origin, hash64};
use crate::tables::Table;

/// What makes a flow the same flow (OpenFlow 1.3.5, 6.4: table, priority, match).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId {
    /// Table.
    pub table: TableId,
    /// Higher wins.
    pub priority: u16,
    /// Which packets.
    pub matching: Match,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Table.
    pub table: Table,
    /// Higher wins.
    pub priority: u16,
    /// What it is for, one sentence.
    pub intent: &'static str,
    /// Which packets.
    pub matching: Match,
    /// What happens to them.
    pub instructions: Instructions,
}

impl Flow {
    /// A flow that matches everything and drops it, to begin with.
    pub fn new(table: Table, priority: u16, intent: &'static str) -> Self {
        Flow {
            table,
            priority,
            intent,
            matching: Match::any(),
            instructions: Instructions::drop(),
        }
    }

    /// Only packets with this value.
    pub fn when(mut self, field: Field, value: impl Into<u128>) -> Self {
        self.matching = self.matching.with(field, value);
        self
    }

    /// Only packets with these bits.
    pub fn when_masked(
        mut self,
        field: Field,
        value: impl Into<u128>,
        mask: impl Into<u128>,
    ) -> Self {
        self.matching = self.matching.with_masked(field, value, mask);
        self
    }

    /// Only packets whose register bits have this value.
    pub fn is(self, named: &Named, value: u32) -> Self {
        self.is_masked(named, value, named.sub().ones() as u32)
    }

    /// Only packets whose register bits have this value where the mask has ones.
    pub fn is_masked(mut self, named: &Named, value: u32, mask: u32) -> Self {
        // Several named fields may share a register: add to what is matched of it already.
        let old = self.matching.get(named.field);
        let (old_value, old_mask) = old.map_or((0, 0), |f| (f.value, f.mask));
        let mask = old_mask | named.place(mask);
        if mask != 0 {
            let value = old_value | named.place(value);
            self.matching = self.matching.with_masked(named.field, value, mask);
        }
        self
    }

    /// Only packets in that state of their connection: bits that are set and bits that are not.
    pub fn ct_state(self, set: u32, unset: u32) -> Self {
        self.when_masked(Field::CtState, set, set | unset)
    }

    /// Only packets of that Ethernet type.
    pub fn ether(self, ethertype: u16) -> Self {
        self.when(Field::EthType, ethertype)
    }

    /// Only IP packets of the address's family that come from it.
    pub fn ip_src(self, address: IpAddr) -> Self {
        let (ethertype, source, _) = family(address);
        self.ether(ethertype).when(source, bits(address))
    }

    /// Only IP packets of the address's family that go to it.
    pub fn ip_dst(self, address: IpAddr) -> Self {
        let (ethertype, _, destination) = family(address);
        self.ether(ethertype).when(destination, bits(address))
    }

    /// Only IP packets that come from the range.
    pub fn ip_src_in(self, range: IpNet) -> Self {
        let (ethertype, source, _) = family(range.addr());
        self.ether(ethertype)
            .when_masked(source, bits(range.network()), bits(range.netmask()))
    }

    /// Only IP packets that go to the range.
    pub fn ip_dst_in(self, range: IpNet) -> Self {
        let (ethertype, _, destination) = family(range.addr());
        self.ether(ethertype)
            .when_masked(destination, bits(range.network()), bits(range.netmask()))
    }

    /// Writes register bits.
    pub fn load(self, named: &Named, value: u32) -> Self {
        self.act(load(named, value))
    }

    /// Writes a field.
    pub fn set(self, field: Field, value: impl Into<u128>) -> Self {
        self.act(set_field(field, value))
    }

    /// Runs an action.
    pub fn act(mut self, action: Action) -> Self {
        self.instructions.apply.push(action);
        self.instructions.has_apply = true;
        self
    }

    /// Sends to a port.
    pub fn output(self, port: PortNo) -> Self {
        self.act(output(port))
    }

    /// Goes through a meter first.
    pub fn meter(mut self, meter: MeterId) -> Self {
        self.instructions.meter = Some(meter);
        self
    }

    /// Goes on with a table.
    pub fn goto(mut self, table: Table) -> Self {
        self.instructions.goto_table = Some(table.id());
        self
    }

    /// What makes it the same flow.
    pub fn id(&self) -> FlowId {
        FlowId {
            table: self.table.id(),
            priority: self.priority,
            matching: self.matching.clone(),
        }
    }
}

/// Writes register bits: a load of part of a register, a set_field of all of it (which is how Open
/// vSwitch tells either back).
pub fn load(named: &Named, value: u32) -> Action {
    if named.bits == named.field.info().slot.bits {
        return set_field(named.field, value);
    }
    Action::Load {
        dst: named.sub(),
        value: u64::from(value),
    }
}

/// Writes all of a field.
pub fn set_field(field: Field, value: impl Into<u128>) -> Action {
    Action::SetField {
        field,
        value: value.into(),
        mask: field.info().slot.ones(),
    }
}

/// Copies all of a field to another.
pub fn copy(from: Field, to: Field) -> Action {
    Action::Move {
        src: SubField::whole(from),
        dst: SubField::whole(to),
    }
}

/// Copies low bits of a field to the same bits of another.
pub fn copy_low(from: SubField, to: Field) -> Action {
    Action::Move {
        src: from,
        dst: SubField::range(to, from.shift, from.shift + from.bits - 1),
    }
}

/// Ethertype of IPv4 (IANA, IEEE 802 numbers).
pub const IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ARP: u16 = 0x0806;
/// Ethertype of IPv6.
pub const IPV6: u16 = 0x86dd;

/// Ethertype, source field and destination field of an address's family.
pub fn family(address: IpAddr) -> (u16, Field, Field) {
    match address {
        IpAddr::V4(_) => (IPV4, Field::Ipv4Src, Field::Ipv4Dst),
        IpAddr::V6(_) => (IPV6, Field::Ipv6Src, Field::Ipv6Dst),
    }
}

/// An address as a field's value.
pub fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Sends to a port.
pub fn output(port: PortNo) -> Action {
    Action::Output { port, max_len: 0 }
}

/// Sends through the connection tracker and on to a table; `actions` are its translation and its
/// writes to the connection's mark.
pub fn ct(zone: Zone, commit: bool, actions: Vec<Action>, table: Table) -> Action {
    Action::Ct(Ct {
        commit,
        force: false,
        zone: CtZone::Number(zone.number),
        table: Some(table.id()),
        alg: 0,
        actions,
    })
}

/// Remembers the connection, with a write to its mark; the packet stays where it is.
pub fn commit(zone: Zone, mark: Action) -> Action {
    Action::Ct(Ct {
        commit: true,
        force: false,
        zone: CtZone::Number(zone.number),
        table: None,
        alg: 0,
        actions: vec![mark],
    })
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Kind.
    pub kind: GroupType,
    /// Buckets.
    pub buckets: Vec<Bucket>,
    /// The object it comes from, and for what of it.
    pub label: String,
}

/// A bucket of weight 1.
pub fn bucket(actions: Vec<Action>) -> Bucket {
    Bucket {
        id: 0,
        weight: 1,
        watch_port: PortNo::ANY,
        watch_group: GroupId::ANY,
        actions,
        properties: Vec::new(),
    }
}

/// A meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// METER_* bits of `openflow::model`.
    pub flags: u16,
    /// Bands.
    pub bands: Vec<Band>,
    /// The object it comes from, and for what of it.
    pub label: String,
}

impl Meter {
    /// Drops what exceeds a rate.
    pub fn drop_above(rate: cluster::desired::Rate, label: String) -> Self {
        let band = Band {
            kind: BandKind::Drop,
            rate: rate.kbps,
            burst: rate.burst_kbit,
        };
        Meter {
            flags: METER_KBPS | METER_BURST,
            bands: vec![band],
            label,
        }
    }

    /// Drops what exceeds a rate of packets.
    pub fn drop_packets_above(rate: cluster::desired::PacketRate, label: String) -> Self {
        let band = Band {
            kind: BandKind::Drop,
            rate: rate.pps,
            burst: rate.burst,
        };
        Meter {
            flags: METER_PKTPS | METER_BURST,
            bands: vec![band],
            label,
        }
    }
}

/// A flow as it is installed: with the cookie of its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// See [`Origin`].
    pub cookie: u64,
    /// What happens to its packets.
    pub instructions: Instructions,
    /// What it is for.
    pub intent: &'static str,
}

/// A port of a pod, which may be opened when its flows are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPort {
    /// The pod, as `Pod namespace/name`.
    pub label: String,
    /// On a VLAN: what its addresses are asked for and announced by.
    pub announce: Option<Announcement>,
}

/// What addresses on a VLAN are asked for and announced by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The pod or Service, for problems.
    pub object: cluster::ObjectRef,
    /// Where the VLAN is.
    pub uplink: PortNo,
    /// Its tag.
    pub vlan: Option<VlanId>,
    /// The MAC address of the pod, or of the node.
    pub mac: MacAddr,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// How many connections a zone of the tracker may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneLimit {
    /// Most connections; 0 is any number.
    pub limit: u32,
    /// A number for whose zone it is: with another owner it begins empty.
    pub owner: u64,
    /// The object it comes from, and for what of it.
    pub label: String,
}

/// What a port does to what it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impaired {
    /// What.
    pub impairment: openflow::msg::Impairment,
    /// The object it comes from, and for what of it.
    pub label: String,
}

/// What a port of the node answers to an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthAnswer {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
}

/// What a number in the registers of the policy log stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// It was the receiver's policies that decided, else the sender's.
    pub ingress: bool,
    /// It was denied, else allowed.
    pub denied: bool,
    /// The policy.
    pub policy: cluster::ObjectRef,
    /// The rule, as `ingress[0]`; none: no rule allowed it, and the policy isolates the pod.
    pub rule: Option<String>,
    /// Further policies that isolate the pod.
    pub also: Vec<cluster::ObjectRef>,
}

/// Everything one node's switch shall hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowSet {
    /// Flows.
    pub flows: BTreeMap<FlowId, Installed>,
    /// Groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// Meters.
    pub meters: BTreeMap<MeterId, Meter>,
    /// Zones of connections, and how many each may have.
    pub zone_limits: BTreeMap<u16, ZoneLimit>,
    /// Ports that delay or lose what they send.
    pub impairments: BTreeMap<PortNo, Impaired>,
    /// Cookies and the objects they stand for.
    pub labels: BTreeMap<u64, String>,
    /// What ports of the node answer to health checks.
    pub answers: BTreeMap<u16, HealthAnswer>,
    /// Ports to open when the flows are in force.
    pub pod_ports: BTreeMap<PortNo, PodPort>,
    /// Addresses of load balancers that the node answers for, to be announced when the flows are in
    /// force.
    pub taken: BTreeMap<IpAddr, Announcement>,
    /// What is in the policy log, by the numbers that packets bring to the controller.
    pub logged: BTreeMap<u32, Logged>,
    /// What could not be done on this node.
    pub problems: Vec<Problem>,
    /// Flows that two objects want differently; the first one stands.
    pub conflicts: Vec<String>,
    /// Groups that are added are a node's own.
    pub(crate) own: bool,
}

/// Buckets of a group that is one message: one that commits a connection with an IPv6 endpoint has
/// less than 160 bytes.
const MOST_BUCKETS: usize = 384;
/// Buckets that a part of a larger group has, about; at most [`MOST_BUCKETS`].
const PART: usize = 128;

/// Numbers up to this are of groups that every node has, above of a node's own.
const SHARED_GROUPS: u64 = 0x7fff_ffff;

impl FlowSet {
    /// Adds a flow of an origin. The first of two different flows with one identity stands.
    pub fn add(&mut self, origin: &Origin, flow: Flow) {
        self.labels
            .entry(origin.cookie)
            .or_insert_with(|| origin.label.clone());
        let wanted = Installed {
            cookie: origin.cookie,
            instructions: flow.instructions.clone(),
            intent: flow.intent,
        };
        match self.flows.entry(flow.id()) {
            Entry::Vacant(free) => {
                free.insert(wanted);
            }
            Entry::Occupied(there) if *there.get() == wanted => {}
            Entry::Occupied(there) => {
                let first = &self.labels[&there.get().cookie];
                self.conflicts.push(format!(
                    "{origin} and {first} want the same packets treated differently in table {} \
                     ({}); {first} has it",
                    flow.table.name(),
                    flow.intent,
                ));
            }
        }
    }

    /// Adds a group under a name of its own and gives its number: the name's hash, or the next
    /// free number where two names hash alike. The same name again is the same group.
    ///
    /// A select group with more buckets than a message can hold (65,535 bytes, OpenFlow 1.3.5, 7.1)
    /// becomes one that chooses among parts, by their weight. A bucket is in the part that its
    /// actions hash to, so that one bucket more or less is a change of one part.
    pub fn add_group(&mut self, kind: GroupType, label: String, buckets: Vec<Bucket>) -> GroupId {
        if kind != GroupType::Select || buckets.len() <= MOST_BUCKETS {
            return self.add_one_group(kind, label, buckets);
        }
        let count = (buckets.len() / PART).next_power_of_two();
        let mut parts = vec![Vec::new(); count];
        for bucket in buckets {
            let at = hash64(format!("{:?}", bucket.actions).as_bytes()) as usize & (count - 1);
            if let Some(part) = parts.get_mut(at) {
                part.push(bucket);
            }
        }
        let mut choose = Vec::with_capacity(count);
        for (at, part) in parts.into_iter().enumerate() {
            let weights = part.iter().map(|bucket: &Bucket| u64::from(bucket.weight));
            let weight = weights.sum();
            if !part.is_empty() {
                let part = self.add_one_group(kind, format!("{label} part {at}"), part);
                choose.push((weight, bucket(vec![Action::Group(part)])));
            }
        }
        // In proportion to each other, and no more than the field holds.
        let most = choose.iter().map(|(weight, _)| *weight).max();
        let scale = most.unwrap_or(0).div_ceil(u64::from(u16::MAX)).max(1);
        let choose = choose.into_iter().map(|(weight, bucket)| Bucket {
            weight: u16::try_from(weight.div_ceil(scale)).unwrap_or(u16::MAX),
            ..bucket
        });
        self.add_one_group(kind, label, choose.collect())
    }

    fn add_one_group(&mut self, kind: GroupType, label: String, buckets: Vec<Bucket>) -> GroupId {
        let (first, last) = match self.own {
            false => (1, SHARED_GROUPS),
            true => (SHARED_GROUPS + 1, u64::from(GroupId::MAX.0)),
        };
        let count = last - first + 1;
        let mut number = hash64(label.as_bytes()) % count;
        while let Some(there) = self.groups.get(&GroupId((first + number) as u32)) {
            if there.label == label {
                break; // asked for again
            }
            number = (number + 1) % count;
        }
        let id = GroupId((first + number) as u32);
        let group = Group {
            kind,
            buckets,
            label,
        };
        self.groups.insert(id, group);
        id
    }

    /// Gives what is to be in the policy log a number from 1: the hash of its text, or the next free
    /// one where two hash alike.
    pub fn add_logged(&mut self, logged: Logged) -> u32 {
        let mut number = (hash64(format!("{logged:?}").as_bytes()) as u32).max(1);
        while self.logged.get(&number).is_some_and(|l| *l != logged) {
            number = number.wrapping_add(1).max(1);
        }
        self.logged.insert(number, logged);
        number
    }

    /// Adds a meter, unless one of its name is there, and gives its number: one of 65,536 from
    /// `first` on, by the name's hash, or the next free one where two names hash alike.
    pub fn add_meter(&mut self, first: u32, meter: Meter) -> MeterId {
        let mut number = hash64(meter.label.as_bytes()) as u16;
        loop {
            let id = MeterId(first + u32::from(number));
            match self.meters.get(&id) {
                Some(other) if other.label != meter.label => number = number.wrapping_add(1),
                _ => {
                    self.meters.insert(id, meter);
                    return id;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::{CROSS, FROM, FROM_POD, ROUTE};
    use crate::origin::Feature;

    #[test]
    fn register_fields_of_one_register_are_matched_together() {
        let flow = Flow::new(Table::Routing, 1, "test")
            .is(&FROM, FROM_POD)
            .is(&ROUTE, 1)
            .is(&CROSS, 0);
        let both = flow.matching.get(Field::Reg0).unwrap();
        assert_eq!((both.value, both.mask), (0b0_1001, 0b1_1111));
    }

    #[test]
    fn the_first_of_two_contradicting_flows_stands_and_the_second_is_told() {
        let mut set = FlowSet::default();
        let origin = |table| Origin::table(Feature::Pipeline, table);
        let flow = || Flow::new(Table::Output, 1, "test");
        set.add(&origin(Table::Output), flow());
        set.add(&origin(Table::Output), flow());
        assert!(set.conflicts.is_empty());
        set.add(&origin(Table::Mirror), flow().goto(Table::Output));
        assert_eq!(set.flows.len(), 1);
        assert_eq!(
            set.conflicts,
            [
                "Pipeline Mirror and Pipeline Output want the same packets treated differently in \
                 table Output (test); Pipeline Output has it"
            ]
        );
    }

    #[test]
    fn a_group_of_too_many_buckets_becomes_parts_and_one_bucket_more_changes_one() {
        let set = |buckets: u32| {
            let mut set = FlowSet::default();
            let bucket = |port| bucket(vec![output(PortNo(port))]);
            let buckets = (1..=buckets).map(bucket).collect();
            let id = set.add_group(GroupType::Select, "Service bank/web".into(), buckets);
            (set, id)
        };
        let (before, id) = set(1000);
        let weights = before.groups[&id].buckets.iter().map(|b| b.weight);
        assert_eq!(weights.sum::<u16>(), 1000);
        let parts = before.groups.iter().filter(|(part, _)| **part != id);
        let parts: Vec<_> = parts.collect();
        assert!(parts.len() == 8 && parts.iter().all(|(_, p)| p.buckets.len() < MOST_BUCKETS));
        let (after, same) = set(1001);
        let differ = |other: &&GroupId| before.groups[*other] != after.groups[*other];
        let changed: Vec<_> = before.groups.keys().filter(differ).collect();
        assert!(same == id && changed.len() == 2 && changed.contains(&&id));
    }

    #[test]
    fn a_group_keeps_its_number_whatever_else_is_there() {
        let mut alone = FlowSet::default();
        let id = alone.add_group(GroupType::Select, "Service bank/web".into(), vec![]);
        let mut more = FlowSet::default();
        more.add_group(GroupType::Select, "Service bank/api".into(), vec![]);
        let again = more.add_group(GroupType::Select, "Service bank/web".into(), vec![]);
        assert_eq!(id, again);
        assert!(id.0 > 0 && id <= GroupId::MAX);
    }
}
