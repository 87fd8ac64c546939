//! A bench for workers, mostly one: tables, ports made of queues, and a clock that the test moves.
#![allow(dead_code)] // every test file uses a part of it

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use conntrack::ConnTable;

use net::{GroupId, MeterId, PortNo, TableId};
use openflow::model::{
    Band, BandKind, Bucket, FlowCommand, FlowMod, GroupCommand, GroupMod, GroupType, METER_BURST,
    METER_KBPS, MeterCommand, MeterMod,
};
use openflow::text::Names;
use openflow::{Action, Field, Instructions, Match};
use packet::{Csum, Gso, Packet, Pool};
use ports::mem::{MemPort, MemWire};
use ports::{Caps, OuterSpec, TunnelKind, TunnelSpec};
use tables::{FlowFilter, Tables};
use worker::{
    Config, Counter, DropReason, PacketIn, PacketOut, PortOptions, Reply, Request, Shared,
    TunnelPort, Worker, Workers,
};

pub const SECOND: u64 = 1_000_000_000;
pub const MILLISECOND: u64 = 1_000_000;

/// Workers on the bench.
pub struct Rig {
    pub tables: Tables,
    pub workers: Workers,
    pub worker: Worker,
    /// The other workers, of a rig with several.
    pub others: Vec<Worker>,
    pub pool: Pool,
    pub now: u64,
    wires: BTreeMap<u32, MemWire>,
}

impl Rig {
    /// A worker with ports 1..=n.
    pub fn new(ports: u32) -> Self {
        Self::with(ports, Config::default())
    }

    /// Likewise, without a flow cache.
    pub fn slow(ports: u32) -> Self {
        let config = Config {
            cache_entries: 0,
            ..Config::default()
        };
        Self::with(ports, config)
    }

    pub fn with(ports: u32, config: Config) -> Self {
        Self::with_conns(ports, config, conntrack::Config::new(10_000, [1, 2]))
    }

    pub fn with_conns(ports: u32, config: Config, conns: conntrack::Config) -> Self {
        let tables = Tables::new();
        let conns = ConnTable::new(&conns).unwrap();
        let shared = Shared::new(config, tables.published(), Arc::new(conns));
        let pool = Pool::heap(2048);
        let (workers, engines) = Workers::without_threads(shared, &pool, [7, 9]);
        let mut engines = engines.into_iter();
        let mut rig = Rig {
            tables,
            workers,
            worker: engines.next().unwrap(),
            others: engines.collect(),
            pool,
            now: SECOND,
            wires: BTreeMap::new(),
        };
        for number in 1..=ports {
            rig.port(number, Caps::default());
        }
        rig
    }

    /// Adds a port `pN` that has these offloads.
    pub fn port(&mut self, number: u32, caps: Caps) {
        let name = format!("p{number}");
        let (port, wire) = MemPort::new(&name, caps);
        self.workers
            .add_port(PortNo(number), &name, 0, Box::new(port))
            .unwrap();
        self.wires.insert(number, wire);
        self.poll();
    }

    /// Adds a port `pN` with a VLAN or queues.
    pub fn port_with(&mut self, number: u32, options: &PortOptions) {
        let name = format!("p{number}");
        let (port, wire) = MemPort::new(&name, Caps::default());
        self.workers
            .add_port_with(PortNo(number), &name, 0, options, Box::new(port))
            .unwrap();
        self.wires.insert(number, wire);
        self.poll();
    }

    /// A port's link goes up or down.
    pub fn link(&mut self, number: u32, up: bool) {
        let change = |port: &mut worker::PortEntry| port.link_up = up;
        self.workers.update_port(PortNo(number), change).unwrap();
    }

    /// Takes a port away.
    pub fn delete_port(&mut self, number: u32) {
        let (reply, answer) = Reply::channel();
        self.workers.delete_port(PortNo(number), reply).unwrap();
        self.poll();
        answer.try_recv().unwrap();
        self.wires.remove(&number);
    }

    /// The ports out of which exactly this came, once each; nothing else came out.
    pub fn everywhere(&mut self, frame: &[u8]) -> Vec<u32> {
        let out = self.all_out();
        for (port, got) in &out {
            assert_eq!(got, frame, "out of port {port}");
        }
        out.into_iter().map(|(port, _)| port).collect()
    }

    /// Adds a flow-based Geneve or VXLAN port.
    pub fn tunnel(&mut self, number: u32, kind: TunnelKind) {
        self.tunnel_with(number, kind, OuterSpec::default());
    }

    /// Likewise, with outer headers of that kind.
    pub fn tunnel_with(&mut self, number: u32, kind: TunnelKind, outer: OuterSpec) {
        let (remote, key) = (None, None);
        self.tunnel_port(
            number,
            TunnelSpec {
                kind,
                remote,
                key,
                outer,
            },
        );
    }

    /// Adds a Geneve port to one peer.
    pub fn tunnel_to(&mut self, number: u32, peer: IpAddr, outer: OuterSpec) {
        let spec = TunnelSpec {
            kind: TunnelKind::Geneve,
            remote: Some(peer),
            key: None,
            outer,
        };
        self.tunnel_port(number, spec);
    }

    fn tunnel_port(&mut self, number: u32, spec: TunnelSpec) {
        let tunnel = TunnelPort {
            number: PortNo(number),
            name: format!("t{number}"),
            spec,
        };
        self.workers.add_tunnel(&tunnel, 0).unwrap();
        self.poll();
    }

    /// Adds a flow; it is in force at once.
    pub fn flow(&mut self, table: u8, priority: u16, matching: Match, actions: Vec<Action>) {
        self.rule(table, priority, matching, Instructions::apply(actions));
    }

    pub fn rule(&mut self, table: u8, priority: u16, matching: Match, does: Instructions) {
        let add = FlowMod::add(TableId(table), priority, matching, does);
        self.tables.flow_mod(&add, self.now).unwrap();
        self.tables.publish();
    }

    /// Adds a flow as `ovs-ofctl add-flow` takes it.
    pub fn add(&mut self, flow: &str) {
        let request = openflow::text::parse_flow(flow, FlowCommand::Add, Names::NONE);
        let request = request.unwrap_or_else(|error| panic!("{flow}: {error}"));
        self.tables.flow_mod(&request, self.now).unwrap();
        self.tables.publish();
    }

    /// Match and actions of the flows in a table.
    pub fn flows(&self, table: u8) -> Vec<String> {
        let filter = FlowFilter {
            table: TableId(table),
            ..FlowFilter::default()
        };
        let rules = self.tables.flows(&filter);
        let text = |rule: &Arc<tables::Rule>| format!("{} {}", rule.matching(), rule.instructions);
        rules.iter().map(text).collect()
    }

    /// Does what packets asked of the tables, as the control thread would; says how much it was.
    pub fn answer_requests(&mut self) -> usize {
        let queue = self.workers.shared().requests.clone();
        let mut answered = 0;
        while let Some(request) = queue.pop() {
            answered += 1;
            match request {
                Request::Learn(wanted) => drop(self.tables.learn(&wanted, self.now)),
                Request::Shorten { rule, idle, hard } => self.tables.shorten(&rule, idle, hard),
            }
        }
        self.tables.publish();
        answered
    }

    pub fn delete(&mut self, table: u8, priority: u16, matching: Match) {
        let delete = FlowMod::delete_strict(TableId(table), priority, matching);
        self.tables.flow_mod(&delete, self.now).unwrap();
        self.tables.publish();
    }

    pub fn group(&mut self, id: u32, kind: GroupType, buckets: Vec<(u16, Vec<Action>)>) {
        let buckets = buckets.into_iter().enumerate();
        let request = GroupMod {
            command: GroupCommand::Add,
            kind,
            group: GroupId(id),
            command_bucket_id: 0,
            buckets: buckets
                .map(|(at, (weight, actions))| Bucket {
                    id: at as u32,
                    // Only a select group has weights.
                    weight: if kind == GroupType::Select { weight } else { 0 },
                    watch_port: PortNo::ANY,
                    watch_group: GroupId::ANY,
                    actions,
                    properties: Vec::new(),
                })
                .collect(),
            selection: None,
            properties: Vec::new(),
        };
        self.tables.group_mod(&request, self.now).unwrap();
        self.tables.publish();
    }

    /// Adds a group of whole buckets.
    pub fn group_of(&mut self, id: u32, kind: GroupType, buckets: Vec<Bucket>) {
        let buckets = buckets.into_iter().enumerate();
        let request = GroupMod {
            command: GroupCommand::Add,
            kind,
            group: GroupId(id),
            command_bucket_id: 0,
            buckets: buckets
                .map(|(at, bucket)| Bucket {
                    id: at as u32,
                    ..bucket
                })
                .collect(),
            selection: None,
            properties: Vec::new(),
        };
        self.tables.group_mod(&request, self.now).unwrap();
        self.tables.publish();
    }

    pub fn meter(&mut self, id: u32, kbps: u32, burst_kbit: u32) {
        let request = MeterMod {
            command: MeterCommand::Add,
            flags: METER_KBPS | METER_BURST,
            meter: MeterId(id),
            bands: vec![Band {
                kind: BandKind::Drop,
                rate: kbps,
                burst: burst_kbit,
            }],
        };
        self.tables.meter_mod(&request, self.now).unwrap();
        self.tables.publish();
    }

    /// Rounds until nothing moves any more.
    pub fn poll(&mut self) {
        loop {
            let mut taken = self.worker.poll(self.now);
            for other in &mut self.others {
                taken += other.poll(self.now);
            }
            if taken == 0 {
                return;
            }
        }
    }

    /// A frame comes in on a port and is handled.
    pub fn send(&mut self, port: u32, frame: &[u8]) {
        let packet = Packet::from_slice(&self.pool, frame).unwrap();
        self.send_packet(port, packet);
    }

    pub fn send_packet(&mut self, port: u32, packet: Packet) {
        self.wires[&port].inject(packet).unwrap();
        self.poll();
    }

    /// Frames come in on a port together, as one burst.
    pub fn send_burst(&mut self, port: u32, frames: &[Vec<u8>]) {
        for frame in frames {
            let packet = Packet::from_slice(&self.pool, frame).unwrap();
            self.wires[&port].inject(packet).unwrap();
        }
        self.poll();
    }

    /// What came out of a port since the last time.
    pub fn out(&mut self, port: u32) -> Vec<Vec<u8>> {
        self.out_packets(port).iter().map(Packet::to_vec).collect()
    }

    pub fn out_packets(&mut self, port: u32) -> Vec<Packet> {
        self.wires[&port].collect_all()
    }

    /// The only frame that came out of a port.
    pub fn only(&mut self, port: u32) -> Vec<u8> {
        let mut frames = self.out(port);
        assert_eq!(frames.len(), 1, "frames out of port {port}; {}", self.why());
        frames.remove(0)
    }

    /// All that came out anywhere, by port.
    pub fn all_out(&mut self) -> Vec<(u32, Vec<u8>)> {
        let ports: Vec<u32> = self.wires.keys().copied().collect();
        let mut all = Vec::new();
        for port in ports {
            all.extend(self.out(port).into_iter().map(|frame| (port, frame)));
        }
        all
    }

    pub fn wire(&self, port: u32) -> &MemWire {
        &self.wires[&port]
    }

    pub fn advance(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
        self.poll();
    }

    pub fn packet_out(&mut self, in_port: PortNo, actions: Vec<Action>, data: &[u8]) {
        self.packet_out_with(in_port, Match::any(), actions, data);
    }

    /// With pipeline fields.
    pub fn packet_out_with(
        &mut self,
        in_port: PortNo,
        fields: Match,
        actions: Vec<Action>,
        data: &[u8],
    ) {
        self.workers.packet_out(PacketOut {
            in_port,
            actions,
            data: data.to_vec(),
            fields,
        });
        self.poll();
    }

    /// A packet that waited for the controller comes back as it was.
    pub fn resume(&mut self, waited: &PacketIn) {
        let mut fields = Match::any();
        for field in [Field::Metadata, Field::Reg0, Field::Reg1, Field::Reg2] {
            let slot = field.info().slot;
            fields.set(field, slot.get(&waited.key), slot.ones());
        }
        let packet = PacketOut {
            in_port: waited.in_port(),
            actions: Vec::new(),
            data: waited.data.clone(),
            fields,
        };
        let rest = waited.rest.as_deref().expect("it waits").clone();
        self.workers.resume(packet, rest);
        self.poll();
    }

    pub fn packet_in(&mut self) -> Option<PacketIn> {
        self.workers.shared().packet_ins.pop()
    }

    pub fn count(&self, counter: Counter) -> u64 {
        let shared = self.workers.shared();
        let workers = 0..shared.workers();
        workers.map(|w| shared.counters(w).get(counter)).sum()
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        let shared = self.workers.shared();
        let workers = 0..1 + self.others.len();
        workers.map(|at| shared.counters(at).dropped(reason)).sum()
    }

    /// Every reason with its count, for messages of assertions.
    pub fn why(&self) -> String {
        let counted = |reason: &&DropReason| self.dropped(**reason) > 0;
        DropReason::ALL
            .iter()
            .filter(counted)
            .map(|reason| format!("{reason}={} ", self.dropped(*reason)))
            .collect()
    }

    /// Counts of rules are complete after this.
    pub fn settle(&mut self) {
        let (reply, answer) = Reply::channel();
        self.workers.settle(reply);
        self.poll();
        answer.try_recv().unwrap();
    }

    /// Packets and bytes of the only rule in a table with a priority.
    pub fn rule_counts(&mut self, table: u8, priority: u16) -> (u64, u64) {
        self.settle();
        let pipeline = self.tables.published().load();
        let found = pipeline.table(TableId(table)).unwrap().rules();
        let rules: Vec<_> = found.filter(|rule| rule.priority == priority).collect();
        assert_eq!(rules.len(), 1);
        let counters = rules[0].stats.counters();
        (counters.packets, counters.bytes)
    }
}

pub fn output(port: u32) -> Action {
    Action::Output {
        port: PortNo(port),
        max_len: 0xffff,
    }
}

pub fn set(field: Field, value: impl Into<u128>) -> Action {
    Action::SetField {
        field,
        value: value.into(),
        mask: field.info().slot.ones(),
    }
}

pub fn any() -> Match {
    Match::any()
}

pub fn in_port(port: u32) -> Match {
    Match::any().with(Field::InPort, port)
}

pub fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

/// A UDP packet over IPv4 from host `src` to host `dst` of 10.0.0.0/24.
pub fn udp(src: u8, dst: u8, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    udp_ttl(src, dst, ports, 64, payload)
}

pub fn udp_ttl(src: u8, dst: u8, ports: (u16, u16), ttl: u8, payload: &[u8]) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2(mac(src), mac(dst))
        .ipv4([10, 0, 0, src], [10, 0, 0, dst], ttl)
        .udp(ports.0, ports.1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// A TCP frame of many segments, as a tap gives it: its checksum is left to do.
pub fn large_frame(rig: &Rig, payload: &[u8], mss: u16) -> Packet {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(1), mac(2))
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1000, 2000, 7, 100)
        .write(&mut frame, payload)
        .unwrap();
    let len = (frame.len() - 34) as u32;
    let partial = net::csum::pseudo_ipv4([10, 0, 0, 1], [10, 0, 0, 2], 6, len).partial();
    frame[50..52].copy_from_slice(&partial.to_be_bytes());
    let mut packet = Packet::from_slice(&rig.pool, &frame).unwrap();
    let meta = packet.meta_mut();
    meta.csum = Csum::Partial;
    meta.csum_start = 34;
    meta.csum_offset = 16;
    meta.gso = Gso::Tcp4;
    meta.gso_size = mss;
    meta.hdr_len = 54;
    packet
}

/// Panics if a checksum of an IPv4 or IPv6 packet is wrong.
pub fn check_sums(frame: &[u8]) {
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
    use etherparse::{NetSlice, TransportSlice};
    match sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            assert_eq!(
                header.calc_header_checksum(),
                header.header_checksum,
                "IPv4"
            );
            let payload = ip.payload().payload;
            match sliced.transport {
                Some(TransportSlice::Udp(udp)) if udp.checksum() != 0 => {
                    let sum = udp.to_header().calc_checksum_ipv4(&header, udp.payload());
                    assert_eq!(sum.unwrap(), udp.checksum(), "UDP");
                }
                Some(TransportSlice::Tcp(tcp)) => {
                    let sum = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload());
                    assert_eq!(sum.unwrap(), tcp.checksum(), "TCP");
                }
                Some(TransportSlice::Icmpv4(_)) => {
                    assert_eq!(net::csum::complete([payload]), 0xffff, "ICMP");
                }
                _ => {}
            }
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header().to_header();
            match sliced.transport {
                Some(TransportSlice::Udp(udp)) => {
                    let sum = udp.to_header().calc_checksum_ipv6(&header, udp.payload());
                    assert_eq!(sum.unwrap(), udp.checksum(), "UDP");
                }
                Some(TransportSlice::Tcp(tcp)) => {
                    let sum = tcp.to_header().calc_checksum_ipv6(&header, tcp.payload());
                    assert_eq!(sum.unwrap(), tcp.checksum(), "TCP");
                }
                _ => {}
            }
        }
        _ => {}
    }
}

/// A bucket that watches a port, or none.
pub fn watching(port: Option<u32>, weight: u16, actions: Vec<Action>) -> Bucket {
    Bucket {
        id: 0,
        weight,
        watch_port: port.map_or(PortNo::ANY, PortNo),
        watch_group: GroupId::ANY,
        actions,
        properties: Vec::new(),
    }
}
