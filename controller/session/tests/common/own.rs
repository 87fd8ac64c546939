//! Our own dataplane as a node's switch: the real workers and the real agent, with ports in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use agent::{Identity, Opener, Switch, Target};
use conntrack::ConnTable;
use packet::{Packet, Pool};
use ports::Caps;
use ports::mem::{MemPort, MemWire};
use tables::Tables;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use worker::{Config, Shared, Workers};

use super::world::{Node, Wire};

struct MemoryWire {
    wire: MemWire,
    pool: Pool,
}

impl Wire for MemoryWire {
    fn send(&mut self, frame: &[u8]) {
        let packet = Packet::from_slice(&self.pool, frame).unwrap();
        assert!(
            self.wire.inject(packet).is_ok(),
            "the port takes nothing any more"
        );
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        self.wire.collect().map(|packet| packet.to_vec())
    }
}

enum Order {
    AddPort(String, mpsc::Sender<()>),
    Connect(String),
}

type Wires = Arc<Mutex<BTreeMap<String, MemWire>>>;

/// One node.
pub struct Own {
    orders: UnboundedSender<Order>,
    wires: Wires,
    pool: Pool,
    directory: tempfile::TempDir,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Own {
    /// A node with an uplink `uplink0` (1), over which its tunnel endpoint 172.30.0.`number` is
    /// reached untagged, and a Geneve port `geneve0` (2).
    pub fn start(node: &'static str, number: u8) -> Own {
        let (orders, received) = unbounded_channel();
        let wires = Wires::default();
        let pool = Pool::heap(2048);
        let directory = tempfile::tempdir().unwrap();
        let thread = {
            let (wires, pool) = (wires.clone(), pool.clone());
            let folder = directory.path().to_path_buf();
            std::thread::spawn(move || run(node, number, wires, pool, folder, received))
        };
        let own = Own {
            orders,
            wires,
            pool,
            directory,
            thread: Some(thread),
        };
        own.add("uplink0,ofport=1,dev=mem");
        own.add("geneve0,ofport=2,tunnel=geneve");
        own
    }

    pub fn add(&self, spec: &str) {
        let (done, added) = mpsc::channel();
        let order = Order::AddPort(spec.into(), done);
        assert!(self.orders.send(order).is_ok(), "the switch has ended");
        added.recv().unwrap();
    }
}

impl Node for Own {
    fn add_port(&self, name: &str, number: u32) {
        // Closed, as sluice-cni asks for it: only the controller opens it.
        self.add(&format!("{name},ofport={number},closed=true,dev=mem"));
    }

    fn wire(&self, name: &str) -> Box<dyn Wire> {
        let wire = self.wires.lock().unwrap()[name].clone();
        Box::new(MemoryWire {
            wire,
            pool: self.pool.clone(),
        })
    }

    fn tunnel_wire(&self) -> Option<Box<dyn Wire>> {
        None
    }

    fn set_controller(&self, target: &str) {
        let order = Order::Connect(target.into());
        assert!(self.orders.send(order).is_ok(), "the switch has ended");
    }

    fn labels(&self) -> String {
        let admin = self.directory.path().join("admin.sock");
        let mut client = admin::Client::connect(admin, Duration::from_secs(5)).unwrap();
        let reply = client
            .call(&admin::Request::Flows { filter: None })
            .unwrap();
        format!("{reply:?}")
    }

    fn ofctl(&self, args: &[&str]) -> String {
        let management = format!("unix:{}", self.directory.path().join("br.mgmt").display());
        let mut all = vec!["-O", "OpenFlow13", args[0], &management];
        all.extend(&args[1..]);
        let output = Command::new("ovs-ofctl").args(&all).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ovs-ofctl {all:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.orders = unbounded_channel().0;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the switch panicked"
            );
        }
    }
}

fn run(
    node: &str,
    number: u8,
    wires: Wires,
    pool: Pool,
    folder: PathBuf,
    mut orders: UnboundedReceiver<Order>,
) {
    let tables = Tables::new();
    let conns = ConnTable::new(&conntrack::Config::new(10_000, [1, 2])).unwrap();
    let shared = Shared::new(Config::default(), tables.published(), Arc::new(conns));
    let workers = Workers::start(shared, &pool, [7, 9], |_| ()).unwrap();
    let vtep = format!("172.30.0.{number}/24,port=uplink0,mac=02:00:ac:1e:00:{number:02x}");
    workers.set_vteps(vec![vtep.parse().unwrap()]);
    let opener: Opener = Box::new(move |spec| {
        let (port, wire) = MemPort::new(&spec.name, Caps::default());
        wires.lock().unwrap().insert(spec.name.clone(), wire);
        Ok(Box::new(port))
    });
    let identity = Identity {
        dpid: number.into(),
        name: node.into(),
        ..Identity::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let switch = Switch::new(identity, tables, Box::new(workers), opener);
        let management = Target::PassiveUnix(folder.join("br.mgmt"));
        agent::serve(&switch, &management).await.unwrap();
        agent::serve_admin(&switch, &folder.join("admin.sock"))
            .await
            .unwrap();
        tokio::task::spawn_local(agent::run_timers(switch.clone()));
        while let Some(order) = orders.recv().await {
            match order {
                Order::AddPort(spec, done) => {
                    switch.add_port(spec.parse().unwrap()).unwrap();
                    done.send(()).unwrap();
                }
                Order::Connect(target) => {
                    agent::serve(&switch, &target.parse().unwrap())
                        .await
                        .unwrap();
                }
            }
        }
    });
}
