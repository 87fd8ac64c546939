//! Manifests in, packets out: two nodes whose dataplanes are real, without threads, so that every
//! packet is wherever it goes when a call returns.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use cluster::desired::{DesiredState, Pod};
use cluster::{NamespacedName, Settings, State};
use conntrack::ConnTable;
use flows::{FlowSet, Ports};
use net::PortNo;
use openflow::model::{Bucket, FlowMod, GroupCommand, GroupMod, GroupType, MeterCommand, MeterMod};
use packet::{Packet, Pool};
use ports::mem::{MemPort, MemWire};
use ports::{Caps, OuterSpec, TunnelKind, TunnelSpec};
use serde_json::Value;
use tables::Tables;
use watch::Folder;
use worker::{Config, Shared, TunnelPort, Worker, Workers};

/// Denied connections that a node remembers for the policy log.
pub const DENIED_LIMIT: u32 = 500;

const SECOND: u64 = 1_000_000_000;
const UPLINK: &str = "uplink0";
const TUNNEL: &str = "geneve0";
const HOST: &str = "sluice0";

/// A machine on the VLAN that is no pod.
pub const OUTSIDE: [u8; 6] = [0x02, 0xee, 0, 0, 0, 1];

/// Who got a frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// `namespace/name`
    Pod(String),
    /// The kernel of the node of that name.
    Node(String),
    Outside,
}

pub struct Bed {
    pub desired: DesiredState,
    state: State,
    nodes: Vec<Node>,
}

struct Node {
    name: String,
    tables: Tables,
    workers: Workers,
    worker: Worker,
    pool: Pool,
    wires: BTreeMap<String, MemWire>,
    ports: Ports,
    holds: FlowSet,
    conns: Arc<ConnTable>,
    heard: Arc<worker::PacketInQueue>,
}

impl Bed {
    /// The nodes of the manifests, in order of their names, have the tunnel endpoints
    /// 172.30.0.1 and so on.
    pub fn new(manifests: &[Value]) -> Self {
        let mut bed = Bed {
            desired: DesiredState::default(),
            state: State::default(),
            nodes: Vec::new(),
        };
        bed.apply(manifests);
        bed
    }

    /// The cluster is so now.
    pub fn apply(&mut self, manifests: &[Value]) {
        self.desired = self.resolve(manifests);
        let names: Vec<String> = self.desired.nodes.keys().cloned().collect();
        for (number, name) in (1u8..).zip(names) {
            if usize::from(number) > self.nodes.len() {
                self.nodes.push(Node::new(&name, number));
            }
        }
        for node in &mut self.nodes {
            node.follow(&self.desired);
        }
    }

    /// Through a folder of manifests, as the controller reads them.
    fn resolve(&mut self, manifests: &[Value]) -> DesiredState {
        let folder = tempfile::tempdir().unwrap();
        let text: String = manifests.iter().map(|m| format!("---\n{m}\n")).collect();
        std::fs::write(folder.path().join("all.yaml"), text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let snapshot = runtime.block_on(async {
            let mut source = Folder::open(folder.path()).unwrap();
            source.next().await
        });
        assert_eq!(snapshot.problems, [], "the test's manifests");
        cluster::resolve(&snapshot.view, &Settings::default(), &mut self.state)
    }

    /// The ports of a node's switch.
    pub fn ports(&self, node: &str) -> Option<Ports> {
        let node = self.nodes.iter().find(|n| n.name == node)?;
        Some(node.ports.clone())
    }

    pub fn pod(&self, name: &str) -> &Pod {
        let name: NamespacedName = name.parse().unwrap();
        &self.desired.pods[&name]
    }

    /// The MAC address to send to, so that it reaches that address.
    pub fn next_hop(&self, from: &str, to: IpAddr) -> [u8; 6] {
        let subnet = &self.desired.subnets[&self.pod(from).subnet];
        let mut pods = self.desired.pods.values();
        let peer = pods.find(|pod| pod.addresses().any(|a| a == to));
        match peer {
            Some(peer) if peer.subnet == subnet.name => peer.mac.0,
            None if subnet.contains(to) => OUTSIDE,
            _ => subnet.router_mac.0,
        }
    }

    /// A pod sends; who gets it, and as what.
    pub fn send(&mut self, from: &str, frame: &[u8]) -> Vec<(Receiver, Vec<u8>)> {
        let (node, port) = (self.pod(from).node.clone(), self.pod(from).port.clone());
        let node = self.nodes.iter_mut().find(|n| n.name == node).unwrap();
        node.inject(&port, frame);
        self.carry()
    }

    /// The kernel of a node sends.
    pub fn send_from_node(&mut self, node: usize, frame: &[u8]) -> Vec<(Receiver, Vec<u8>)> {
        self.nodes[node].inject(HOST, frame);
        self.carry()
    }

    /// The machine outside sends to every node's uplink, as a VLAN would flood it.
    pub fn send_from_outside(&mut self, vlan: u16, frame: &[u8]) -> Vec<(Receiver, Vec<u8>)> {
        let mut tagged = frame[..12].to_vec();
        tagged.extend([0x81, 0x00]);
        tagged.extend(vlan.to_be_bytes());
        tagged.extend(&frame[12..]);
        for node in &mut self.nodes {
            node.inject(UPLINK, &tagged);
        }
        self.carry()
    }

    /// Until nothing moves.
    fn carry(&mut self) -> Vec<(Receiver, Vec<u8>)> {
        let mut got = Vec::new();
        let names: BTreeMap<(String, String), String> = self
            .desired
            .pods
            .values()
            .map(|pod| ((pod.node.clone(), pod.port.clone()), pod.name.to_string()))
            .collect();
        loop {
            let mut carried = Vec::new();
            for (at, node) in self.nodes.iter_mut().enumerate() {
                node.poll();
                for (port, wire) in &node.wires {
                    for packet in wire.collect_all() {
                        let frame = packet.to_vec();
                        if port == UPLINK {
                            let outside = frame[..6] == OUTSIDE && frame[12..14] == [0x81, 0x00];
                            if outside {
                                let untagged = [&frame[..12], &frame[16..]].concat();
                                got.push((Receiver::Outside, untagged));
                            } else {
                                carried.push((at, frame));
                            }
                        } else if let Some(pod) = names.get(&(node.name.clone(), port.clone())) {
                            got.push((Receiver::Pod(pod.clone()), frame));
                        } else if port == HOST {
                            got.push((Receiver::Node(node.name.clone()), frame));
                        }
                    }
                }
            }
            if carried.is_empty() {
                return got;
            }
            for (from, frame) in carried {
                for (at, node) in self.nodes.iter_mut().enumerate() {
                    if at != from {
                        node.inject(UPLINK, &frame);
                    }
                }
            }
        }
    }

    /// What the controller was told for the policy log since it was asked last.
    pub fn heard(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        for node in &self.nodes {
            while let Some(packet) = node.heard.pop() {
                let value = |named: &flows::fields::Named| {
                    let all = named.field.info().slot.get(&packet.key);
                    (all >> named.low & named.sub().ones()) as u32
                };
                let denied = value(&flows::fields::DENIED) == 1;
                let numbers = [&flows::fields::LOG_EGRESS, &flows::fields::LOG_INGRESS];
                let said = numbers.map(|named| node.holds.logged.get(&value(named)));
                for logged in said.into_iter().flatten().filter(|l| l.denied == denied) {
                    heard.push(format!(
                        "{} {} {} {} {}",
                        node.name,
                        if denied { "denied" } else { "allowed" },
                        if logged.ingress { "ingress" } else { "egress" },
                        logged.policy,
                        logged.rule.as_deref().unwrap_or("isolated"),
                    ));
                }
            }
        }
        heard
    }

    /// Connections that the nodes remember.
    pub fn connections(&self) -> usize {
        self.nodes
            .iter()
            .map(|node| node.conns.len() as usize)
            .sum()
    }

    /// Packets that the flows of a label have counted on all nodes.
    pub fn hits(&mut self, label: &str) -> u64 {
        let mut packets = 0;
        for node in &mut self.nodes {
            let (reply, answer) = worker::Reply::channel();
            node.workers.settle(reply);
            node.poll();
            answer.try_recv().unwrap();
            let cookies: Vec<u64> = node
                .holds
                .labels
                .iter()
                .filter(|(_, text)| *text == label)
                .map(|(cookie, _)| *cookie)
                .collect();
            for rule in node.tables.flows(&tables::FlowFilter::default()) {
                if cookies.contains(&rule.cookie) {
                    packets += rule.stats.counters().packets;
                }
            }
        }
        packets
    }
}

impl Node {
    fn new(name: &str, number: u8) -> Self {
        let tables = Tables::new();
        let conns = ConnTable::new(&conntrack::Config::new(20_000, [1, 2])).unwrap();
        let config = Config {
            cache_entries: 4096,
            ..Config::default()
        };
        conns.set_limit(conntrack::LimitSpec::Zone(
            flows::fields::ZONE_DENIED.number,
            DENIED_LIMIT,
        ));
        let conns = Arc::new(conns);
        let shared = Shared::new(config, tables.published(), conns.clone());
        let heard = shared.packet_ins.clone();
        let pool = Pool::heap(2048);
        let (workers, mut engines) = Workers::without_threads(shared, &pool, [7, 9]);
        let mut node = Node {
            name: name.into(),
            tables,
            workers,
            worker: engines.remove(0),
            pool,
            wires: BTreeMap::new(),
            ports: Ports::new(),
            holds: FlowSet::default(),
            conns,
            heard,
        };
        node.add_port(UPLINK);
        let tunnel = TunnelPort {
            number: PortNo(2),
            name: TUNNEL.into(),
            spec: TunnelSpec {
                kind: TunnelKind::Geneve,
                remote: None,
                key: None,
                outer: OuterSpec::default(),
            },
        };
        node.workers.add_tunnel(&tunnel, 0).unwrap();
        node.ports.insert(TUNNEL.into(), PortNo(2));
        node.add_port(HOST);
        let vtep = format!("172.30.0.{number}/24,port={UPLINK},mac=02:00:ac:1e:00:{number:02x}");
        node.workers.set_vteps(vec![vtep.parse().unwrap()]);
        node.poll();
        node
    }

    fn add_port(&mut self, name: &str) {
        let number = match self.ports.len() {
            0 => PortNo(1),
            more => PortNo(2 + more as u32),
        };
        let (port, wire) = MemPort::new(name, Caps::default());
        self.workers
            .add_port(number, name, 0, Box::new(port))
            .unwrap();
        self.wires.insert(name.into(), wire);
        self.ports.insert(name.into(), number);
        self.poll();
    }

    /// The flows that the state wants, as the difference to what is there.
    fn follow(&mut self, desired: &DesiredState) {
        for pod in desired.pods.values() {
            if pod.node == self.name && !self.ports.contains_key(&pod.port) {
                self.add_port(&pod.port);
            }
        }
        let wanted = flows::compile(desired, &self.name, &self.ports);
        assert_eq!(wanted.conflicts, [""; 0]);
        let now = SECOND;
        for (id, meter) in &wanted.meters {
            if self.holds.meters.get(id) != Some(meter) {
                let request = MeterMod {
                    command: match self.holds.meters.contains_key(id) {
                        true => MeterCommand::Modify,
                        false => MeterCommand::Add,
                    },
                    flags: meter.flags,
                    meter: *id,
                    bands: meter.bands.clone(),
                };
                self.tables.meter_mod(&request, now).unwrap();
            }
        }
        for (id, group) in &wanted.groups {
            if self.holds.groups.get(id) != Some(group) {
                let known = self.holds.groups.contains_key(id);
                let request = GroupMod {
                    command: if known {
                        GroupCommand::Modify
                    } else {
                        GroupCommand::Add
                    },
                    kind: group.kind,
                    group: *id,
                    command_bucket_id: 0,
                    buckets: buckets(group),
                    selection: None,
                    properties: Vec::new(),
                };
                self.tables.group_mod(&request, now).unwrap();
            }
        }
        for id in self
            .holds
            .flows
            .keys()
            .filter(|id| !wanted.flows.contains_key(id))
        {
            let matching = id.matching.clone();
            let delete = FlowMod::delete_strict(id.table, id.priority, matching);
            self.tables.flow_mod(&delete, now).unwrap();
        }
        for (id, flow) in &wanted.flows {
            if self.holds.flows.get(id) != Some(flow) {
                let (matching, does) = (id.matching.clone(), flow.instructions.clone());
                let mut add = FlowMod::add(id.table, id.priority, matching, does);
                add.cookie = flow.cookie;
                self.tables.flow_mod(&add, now).unwrap();
            }
        }
        self.tables.publish();
        self.holds = wanted;
        self.poll();
    }

    fn inject(&mut self, port: &str, frame: &[u8]) {
        let packet = Packet::from_slice(&self.pool, frame).unwrap();
        assert!(self.wires[port].inject(packet).is_ok());
        self.poll();
    }

    fn poll(&mut self) {
        while self.worker.poll(SECOND) > 0 {}
    }
}

/// As a switch takes them: numbered, and without weights where those mean nothing.
fn buckets(group: &flows::Group) -> Vec<Bucket> {
    let given = group.buckets.iter().enumerate();
    given
        .map(|(at, bucket)| Bucket {
            id: at as u32,
            weight: if group.kind == GroupType::Select {
                bucket.weight
            } else {
                0
            },
            ..bucket.clone()
        })
        .collect()
}
