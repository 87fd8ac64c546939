//! The controller killed at any moment, with an API server in motion and a real dataplane: what was
//! established goes on without losing a packet, and in the end the tables are those of a fresh start.
//!
//! A hundred kills, as the gate has it: `SLUICE_KILLS=100 cargo test -p sluice-controller --test restarts`

#[path = "../../session/tests/common/own.rs"]
mod own;
#[path = "../../session/tests/common/world.rs"]
#[allow(dead_code)] // used by other tests too
mod world;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use apiserver::{ApiServer, Options};
use etherparse::PacketBuilder;
use own::Own;
use world::{Node, Wire};

const CLUSTER: &str = "
apiVersion: v1
kind: Node
metadata: {name: node1}
status: {addresses: [{type: InternalIP, address: 172.30.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: node2}
status: {addresses: [{type: InternalIP, address: 172.30.0.2}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: bank}
---
apiVersion: kubeovn.io/v1
kind: Subnet
metadata: {name: apps}
spec: {default: true, cidrBlock: 10.16.0.0/16, gateway: 10.16.0.1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: b, namespace: bank}
spec: {podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}
";

/// The two that talk, with the last bytes of their addresses.
const TALKERS: [(&str, u8); 2] = [("a", 11), ("b", 12)];

fn mac(last: u8) -> [u8; 6] {
    [0x02, 0, 0, 0, 0, last]
}

fn ip(last: u8) -> [u8; 4] {
    [10, 16, 0, last]
}

fn pod(name: &str, node: &str, annotations: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: bank, labels: {{app: \
         {name}}}, annotations: {{{annotations}}}}}, spec: {{nodeName: {node}, containers: [{{name: \
         c, image: i}}]}}}}"
    )
}

fn talker(name: &str, last: u8) -> String {
    let annotations = format!(
        "ovn.kubernetes.io/ip_address: 10.16.0.{last}, ovn.kubernetes.io/mac_address: \
         '02:00:00:00:00:{last:02x}'"
    );
    pod(name, "node1", &annotations)
}

struct Program {
    child: Child,
}

impl Program {
    fn start(server: &ApiServer, folder: &Path, port: u16) -> Program {
        let child = Command::new(env!("CARGO_BIN_EXE_sluice-controller"))
            .args([
                "--source",
                "kube",
                "--lease",
                "none",
                "--metrics",
                "none",
                "--kubeconfig",
            ])
            .arg(server.kubeconfig())
            .args(["--listen", &format!("ptcp:{port}:127.0.0.1"), "--socket"])
            .arg(folder.join("controller.sock"))
            .arg("--state")
            .arg(folder.join("state"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Program { child }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A connection between the two.
struct Talk {
    wires: [Box<dyn Wire>; 2],
    sent: u32,
}

impl Talk {
    fn new(node: &Own) -> Talk {
        let wires = TALKERS.map(|(name, last)| {
            let port = cluster::port_name("bank", name, cluster::DEFAULT_INTERFACE);
            node.add_port(&port, u32::from(last));
            node.wire(&port)
        });
        Talk { wires, sent: 0 }
    }

    /// One segment from one side to the other; true if it comes.
    fn passes(&mut self, from: usize, flags: &str, number: u32) -> bool {
        let (us, they) = (TALKERS[from].1, TALKERS[1 - from].1);
        let ports = if from == 0 { (4000, 80) } else { (80, 4000) };
        let builder = PacketBuilder::ethernet2(mac(us), mac(they))
            .ipv4(ip(us), ip(they), 64)
            .tcp(ports.0, ports.1, number, 65_000);
        let builder = match flags {
            "syn" => builder.syn(),
            "syn ack" => builder.syn().ack(1001),
            _ => builder.ack(if from == 0 { 5001 } else { 1001 }),
        };
        let mut frame = Vec::new();
        builder.write(&mut frame, b"").unwrap();
        while self.wires[1 - from].receive().is_some() {}
        self.wires[from].send(&frame);
        self.sent += 1;
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            if let Some(got) = self.wires[1 - from].receive() {
                if got == frame {
                    return true;
                }
            } else {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        false
    }

    fn opens(&mut self) -> bool {
        self.passes(0, "syn", 1000)
            && self.passes(1, "syn ack", 5000)
            && self.passes(0, "ack", 1001)
    }
}

/// Flows and groups without their counters, as soon as they stay as they are.
fn settled(node: &Own, talk: &mut dyn FnMut()) -> Vec<String> {
    let dump = || -> Vec<String> {
        let flows = node.ofctl(&["dump-flows", "--no-stats"]);
        let groups = node.ofctl(&["dump-groups"]);
        let lines = flows.lines().chain(groups.lines());
        let mut lines: Vec<String> = lines
            .filter(|line| !line.contains("reply"))
            .map(|line| line.trim().to_owned())
            .collect();
        lines.sort();
        lines
    };
    let mut before = dump();
    let mut same = 0;
    for _ in 0..200 {
        talk();
        std::thread::sleep(Duration::from_millis(50));
        let now = dump();
        same = if now == before { same + 1 } else { 0 };
        before = now;
        if same == 20 {
            return before;
        }
    }
    panic!("the flows never settle: {before:#?}");
}

#[test]
fn killed_at_random_it_loses_no_established_packet_and_ends_as_a_fresh_start_does() {
    if Command::new("ovs-ofctl").arg("--version").output().is_err() {
        return;
    }
    let kills: u32 = std::env::var("SLUICE_KILLS").map_or(4, |n| n.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime
        .block_on(ApiServer::start(Options::default()))
        .unwrap();
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    for file in std::fs::read_dir(crds).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        server.apply(&text).unwrap();
    }
    server.apply(CLUSTER).unwrap();
    for (name, last) in TALKERS {
        server.apply(&talker(name, last)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut program = Program::start(&server, folder.path(), port);
    let node = Own::start("node1", 1);
    let mut talk = Talk::new(&node);
    node.set_controller(&format!("tcp:127.0.0.1:{port}"));
    let until = Instant::now() + Duration::from_secs(30);
    while !talk.opens() {
        assert!(Instant::now() < until, "no connection was ever made");
    }

    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut lost = Vec::new();
    for kill in 0..kills {
        for _ in 0..20 + next(180) {
            match next(12) {
                0 => {
                    let name = format!("p{}", next(12));
                    let place = if next(2) == 0 { "node1" } else { "node2" };
                    // One that is there on another node is refused, as by a real server it is not;
                    // it stays as it is.
                    if server.get("Pod", "bank", &name).is_none() {
                        server.apply(&pod(&name, place, "")).unwrap();
                    }
                }
                1 => drop(server.delete("Pod", "bank", &format!("p{}", next(12)))),
                2 => {
                    let number = next(4);
                    let service = format!(
                        "{{apiVersion: v1, kind: Service, metadata: {{name: s{number}, namespace: \
                         bank}}, spec: {{selector: {{app: b}}, ports: [{{port: {}}}]}}}}",
                        80 + next(3)
                    );
                    server.apply(&service).unwrap();
                }
                3 => drop(server.delete("Service", "bank", &format!("s{}", next(4)))),
                _ => {}
            }
            if !talk.passes((next(2)) as usize, "ack", 2000) {
                lost.push((kill, talk.sent));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        program.kill();
        program = Program::start(&server, folder.path(), port);
    }
    let mut also_lost = 0;
    let survived = settled(&node, &mut || {
        also_lost += u32::from(!talk.passes(0, "ack", 2000));
    });
    assert_eq!(
        (lost, also_lost),
        (Vec::new(), 0),
        "of {} packets",
        talk.sent
    );

    // A new switch, a new controller, the same cluster.
    program.kill();
    let port = free_port();
    let program = Program::start(&server, folder.path(), port);
    let fresh = Own::start("node1", 1);
    let mut talk = Talk::new(&fresh);
    fresh.set_controller(&format!("tcp:127.0.0.1:{port}"));
    let until = Instant::now() + Duration::from_secs(30);
    while !talk.opens() {
        assert!(Instant::now() < until, "no connection was ever made");
    }
    let wanted = settled(&fresh, &mut || ());
    program.kill();
    assert!(wanted.len() > 50, "{wanted:?}");
    let odd: Vec<&String> = survived.iter().filter(|l| !wanted.contains(l)).collect();
    let missing: Vec<&String> = wanted.iter().filter(|l| !survived.contains(l)).collect();
    assert!(
        odd.is_empty() && missing.is_empty(),
        "odd {odd:#?}\nmissing {missing:#?}"
    );
}
