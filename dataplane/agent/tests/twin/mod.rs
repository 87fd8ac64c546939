//! A switch without threads and devices: the agent over an engine that only remembers.

pub mod controller;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::{
    Device, Done, Engine, Identity, NewPort, PortState, QueueView, Switch, Target, WorkerView,
};
use net::{MacAddr, PortNo};
use openflow::msg::Continuation;
use ports::mem::MemPort;
use ports::{Caps, PortKind, QueueSpec, Shaping};
use tables::Tables;
use worker::{
    CountersSnapshot, FdbCounts, FdbEntry, NeighborEntry, NeighborState, PacketIn, PacketInQueue,
    PacketOut, RequestQueue,
};

/// What the engine was told.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    PacketOut(PacketOutTold),
    Added(u32, u32),
    Deleted(u32),
    Set(u32, u32),
    Flushed(conntrack::Filter),
    DropFragments(bool),
    Neighbor(IpAddr, MacAddr),
    Moved(u32, u16, u32),
}

#[derive(Debug, PartialEq, Eq)]
pub struct PacketOutTold {
    pub in_port: PortNo,
    pub data: Vec<u8>,
}

pub struct TwinEngine {
    start: Instant,
    told: Mutex<Sender<Told>>,
    packet_ins: Arc<PacketInQueue>,
    requests: Arc<RequestQueue>,
    invalid_ttl: Arc<AtomicBool>,
    dead: Arc<AtomicBool>,
    skew: Arc<AtomicU64>,
    queues: Mutex<HashMap<PortNo, Shaping>>,
    tracker: Arc<conntrack::ConnTable>,
}

impl TwinEngine {
    fn tell(&self, told: Told) {
        drop(self.told.lock().unwrap().send(told));
    }
}

impl Engine for TwinEngine {
    fn now(&self) -> u64 {
        1_000_000 + self.start.elapsed().as_nanos() as u64 + self.skew.load(Relaxed)
    }

    fn barrier(&self, done: Done<()>) {
        if !self.dead.load(Relaxed) {
            done(());
        }
    }

    fn set_tunnel_options(&self, _map: net::options::OptionMap) {}

    fn settle(&self, done: Done<()>) {
        done(());
    }

    fn packet_out(&self, packet: PacketOut) {
        self.tell(Told::PacketOut(PacketOutTold {
            in_port: packet.in_port,
            data: packet.data,
        }));
    }

    fn resume(&self, packet: PacketOut, _rest: Continuation) {
        self.packet_out(packet);
    }

    fn packet_ins(&self) -> Arc<PacketInQueue> {
        self.packet_ins.clone()
    }

    fn requests(&self) -> Arc<RequestQueue> {
        self.requests.clone()
    }

    fn send_invalid_ttl(&self, wanted: bool) {
        self.invalid_ttl.store(wanted, Relaxed);
    }

    fn drop_fragments(&self, drop: bool) {
        self.tell(Told::DropFragments(drop));
    }

    fn add_port(&self, port: NewPort) -> Result<(), String> {
        assert!(matches!(port.device, Device::Port(_) | Device::Tunnel(_)));
        assert!(!port.name.is_empty());
        self.tell(Told::Added(port.number.0, port.config));
        let mut queues = self.queues.lock().unwrap();
        queues.insert(port.number, port.options.shaping);
        Ok(())
    }

    fn delete_port(&self, number: PortNo, done: Done<()>) -> Result<(), String> {
        self.tell(Told::Deleted(number.0));
        done(());
        Ok(())
    }

    fn move_port(
        &self,
        number: PortNo,
        queue: u16,
        cpu: u32,
        done: Done<()>,
    ) -> Result<(), String> {
        self.tell(Told::Moved(number.0, queue, cpu));
        done(());
        Ok(())
    }

    fn balance(&self) -> Vec<String> {
        Vec::new()
    }

    fn ticks_per_second(&self) -> u64 {
        1_000_000_000
    }

    fn set_port(&self, number: PortNo, state: PortState) {
        self.tell(Told::Set(number.0, state.config));
    }

    fn workers(&self) -> Vec<WorkerView> {
        vec![WorkerView {
            cpu: Some(1),
            ports: vec!["p1".into()],
            counters: CountersSnapshot::default(),
            telemetry: worker::TelemetrySnapshot::default(),
            queues: Vec::new(),
        }]
    }

    fn tracker(&self) -> Arc<conntrack::ConnTable> {
        self.tracker.clone()
    }

    fn connections(&self, _zone: Option<u16>) -> Vec<admin::Connection> {
        Vec::new()
    }

    fn connection_count(&self) -> (u64, u64) {
        (0, 100)
    }

    fn flush_connections(&self, filter: &conntrack::Filter, part: u32) -> (u64, bool) {
        if part == 0 {
            self.tell(Told::Flushed(*filter));
        }
        (1, part < 2)
    }

    fn queues(&self, number: PortNo) -> Vec<QueueView> {
        let queues = self.queues.lock().unwrap().get(&number).cloned();
        let view = |spec: &QueueSpec| QueueView {
            spec: *spec,
            created: 0,
            packets: u64::from(spec.id) + 1,
            bytes: 60 * (u64::from(spec.id) + 1),
            dropped: spec.id.into(),
        };
        queues.unwrap_or_default().queues.iter().map(view).collect()
    }

    fn shape_port(&self, number: PortNo, shaping: &Shaping) -> Result<(), String> {
        self.queues.lock().unwrap().insert(number, shaping.clone());
        Ok(())
    }

    fn fdb(&self) -> Vec<FdbEntry> {
        let entry = FdbEntry {
            vlan: 10,
            mac: MacAddr([2, 0, 0, 0, 0, 9]),
            port: PortNo(1),
            age: 7,
        };
        vec![entry]
    }

    fn fdb_counts(&self) -> FdbCounts {
        FdbCounts {
            entries: 1,
            capacity: 8192,
            learned: 5,
            moved: 1,
            expired: 2,
            evicted: 2,
        }
    }

    fn flush_fdb(&self, port: Option<PortNo>) -> usize {
        port.map_or(4, |port| port.0 as usize)
    }

    fn neighbors(&self) -> Vec<NeighborEntry> {
        vec![NeighborEntry {
            address: "172.30.0.2".parse().unwrap(),
            mac: None,
            port: PortNo(1),
            state: NeighborState::Permanent,
            age_ms: 5,
        }]
    }

    fn set_neighbor(&self, address: IpAddr, mac: MacAddr) -> bool {
        self.tell(Told::Neighbor(address, mac));
        true
    }

    fn delete_neighbor(&self, _address: IpAddr) -> bool {
        false
    }
}

/// A running switch with ports p1, p2 (1, 2), on sockets of its own.
pub struct Twin {
    pub openflow: PathBuf,
    pub admin: PathBuf,
    pub told: Receiver<Told>,
    pub packet_ins: Arc<PacketInQueue>,
    pub requests: Arc<RequestQueue>,
    pub invalid_ttl: Arc<AtomicBool>,
    /// Nanoseconds by which the switch's clock is ahead.
    pub skew: Arc<AtomicU64>,
    /// Set: the worker answers no more.
    pub dead: Arc<AtomicBool>,
    /// Told when the switch has noticed.
    pub ended: Receiver<()>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    folder: PathBuf,
}

impl Twin {
    /// Starts it; `more` are further targets.
    pub fn start(name: &str, more: &[&str]) -> Twin {
        Self::with(name, more, agent::Options::default())
    }

    /// Likewise, with other options.
    pub fn with(name: &str, more: &[&str], options: agent::Options) -> Twin {
        Self::made(name, more, options, |_| {})
    }

    /// Likewise, with tables of other sizes.
    pub fn sized(name: &str, size: fn(&mut Tables)) -> Twin {
        Self::made(name, &[], agent::Options::default(), size)
    }

    fn made(name: &str, more: &[&str], options: agent::Options, size: fn(&mut Tables)) -> Twin {
        let folder =
            std::env::temp_dir().join(format!("sluice-twin-{}-{name}", std::process::id()));
        let (openflow, admin) = (folder.join("br.mgmt"), folder.join("admin.sock"));
        let (told_to, told) = channel();
        let packet_ins = Arc::new(PacketInQueue::new(64));
        let requests = Arc::new(RequestQueue::default());
        let invalid_ttl = Arc::new(AtomicBool::new(false));
        let dead = Arc::new(AtomicBool::new(false));
        let skew = Arc::new(AtomicU64::new(0));
        let (ended_to, ended) = channel();
        let mut targets = vec![Target::PassiveUnix(openflow.clone())];
        targets.extend(more.iter().map(|t| t.parse().unwrap()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready_to, ready) = channel();
        let thread = {
            let (admin, packet_ins) = (admin.clone(), packet_ins.clone());
            let requests = requests.clone();
            let (invalid_ttl, dead) = (invalid_ttl.clone(), dead.clone());
            let skew = skew.clone();
            std::thread::spawn(move || {
                let engine = Box::new(TwinEngine {
                    start: Instant::now(),
                    told: Mutex::new(told_to),
                    packet_ins,
                    requests,
                    invalid_ttl,
                    dead,
                    skew,
                    queues: Mutex::default(),
                    tracker: Arc::new(
                        conntrack::ConnTable::new(&conntrack::Config::new(100, [1, 2])).unwrap(),
                    ),
                });
                let mut tables = Tables::new();
                size(&mut tables);
                let tell = [ready_to, ended_to];
                run(engine, tables, options, &targets, admin, tell, stopped);
            })
        };
        ready.recv_timeout(Duration::from_secs(5)).unwrap();
        Twin {
            openflow,
            admin,
            told,
            packet_ins,
            requests,
            invalid_ttl,
            dead,
            skew,
            ended,
            stop: Some(stop),
            thread: Some(thread),
            folder,
        }
    }

    /// Where its listener at `ptcp:0:127.0.0.1` is.
    pub fn tcp(&self) -> String {
        let mut admin = admin::Client::connect(&self.admin, Duration::from_secs(10)).unwrap();
        let Ok(admin::Reply::Show(show)) = admin.call(&admin::Request::Show) else {
            panic!("no answer")
        };
        let mut targets = show.sessions.iter().map(|s| s.target.split(':'));
        let tcp = targets.find_map(|mut words| match words.next() {
            Some("ptcp" | "pssl") => words.next(),
            _ => None,
        });
        format!("127.0.0.1:{}", tcp.unwrap())
    }

    /// Lets time pass for the switch.
    pub fn later(&self, seconds: u64) {
        self.skew.fetch_add(seconds * 1_000_000_000, Relaxed);
    }

    /// What the engine was told so far.
    pub fn told(&self) -> Vec<Told> {
        self.told.try_iter().collect()
    }

    /// Sends a packet to the controllers.
    pub fn packet_in(&self, packet: PacketIn) {
        assert!(self.packet_ins.push(packet));
    }
}

fn run(
    engine: Box<dyn Engine>,
    tables: Tables,
    options: agent::Options,
    targets: &[Target],
    admin: PathBuf,
    [ready, ended]: [Sender<()>; 2],
    stopped: tokio::sync::oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let opener: agent::Opener = Box::new(|spec| match &spec.kind {
        PortKind::Dpdk { devargs } if devargs == "broken" => Err(ports::PortError::Open {
            port: spec.name.clone(),
            device: devargs.clone(),
            reason: "it is broken".into(),
        }),
        _ => Ok(Box::new(MemPort::new(&spec.name, Caps::default()).0)),
    });
    let identity = Identity {
        dpid: 0xabc,
        name: "node-a".into(),
        version: "1.2.3".into(),
        ..Identity::default()
    };
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let switch = Switch::new(identity, tables, engine, opener);
        switch.configure(options);
        for port in ["p1,ofport=1,dev=mem", "p2,ofport=2,dev=mem"] {
            switch.add_port(port.parse().unwrap()).unwrap();
        }
        for target in targets {
            agent::serve(&switch, target).await.unwrap();
        }
        agent::serve_admin(&switch, &admin).await.unwrap();
        tokio::task::spawn_local(agent::run_timers(switch.clone()));
        ready.send(()).unwrap();
        tokio::task::spawn_local(async move {
            switch.worker_ended().await;
            let _nobody_asked = ended.send(());
        });
        drop(stopped.await);
    });
}

impl Drop for Twin {
    fn drop(&mut self) {
        let _ended = self.stop.take().map(|stop| stop.send(()));
        drop(self.thread.take().map(|thread| thread.join()));
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
