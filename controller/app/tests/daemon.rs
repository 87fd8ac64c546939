//! The program as an operator runs it: real process, real sockets, a folder of manifests, and a
//! switch that speaks the real protocol.

#[path = "../../session/tests/common/fake.rs"]
mod fake;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake::{State, Switch};
use openflow::msg::PortReason;

const NODES: &str = "
apiVersion: v1
kind: Node
metadata: {name: node1}
status: {addresses: [{type: InternalIP, address: 172.30.0.1}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: bank}
---
apiVersion: kubeovn.io/v1
kind: Subnet
metadata: {name: apps}
spec: {default: true, cidrBlock: 10.16.0.0/16}
";

fn pod(name: &str, annotations: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: bank, annotations: \
         {{{annotations}}}}}\nspec: {{nodeName: node1, containers: [{{name: a, image: b}}]}}\n"
    )
}

struct Daemon {
    child: Child,
    folder: PathBuf,
    port: u16,
    said: Arc<Mutex<String>>,
}

impl Daemon {
    fn start(folder: &Path) -> Daemon {
        std::fs::create_dir_all(folder.join("manifests")).unwrap();
        // The kernel gives a free port; between here and the daemon's bind nobody else wants it.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice-controller"))
            .args([
                "--source",
                &format!("dir:{}", folder.join("manifests").display()),
            ])
            .args(["--listen", &format!("ptcp:{port}")])
            .args(["--metrics", "none", "--policy-log"])
            .arg(folder.join("policy.log"))
            .arg("--state")
            .arg(folder.join("state"))
            .arg("--socket")
            .arg(folder.join("controller.sock"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = said.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *log.lock().unwrap() += &format!("{line}\n");
            }
        });
        let daemon = Daemon {
            child,
            folder: folder.into(),
            port,
            said,
        };
        daemon.wait("it listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        daemon
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join("manifests").join(file), text).unwrap();
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn says(&self, text: &str) {
        self.wait(text, || self.said().contains(text));
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !done() {
            assert!(Instant::now() < until, "not: {what}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.join("controller.sock")).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).unwrap();
        reply
    }

    fn target(&self) -> session::Target {
        format!("ptcp:{}:127.0.0.1", self.port).parse().unwrap()
    }

    /// SIGTERM; gives the exit status.
    fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn manifests_become_flows_and_a_restart_touches_none_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let daemon = Daemon::start(directory.path());
    daemon.write("nodes.yaml", NODES);
    daemon.write("web.yaml", &pod("web-1", ""));
    let state = State::new("node1");
    let name = cluster::port_name("bank", "web-1", "eth0");
    state.lock().unwrap().add_port(11, &name);
    let switch = runtime.block_on(Switch::connect(&daemon.target(), state.clone()));
    let open = || state.lock().unwrap().ports[&net::PortNo(11)].config == 0;
    daemon.wait("the pod's port is open", open);
    let flows = state.lock().unwrap().flows.len();
    let question = r#"{"namespace":"bank","pod":"web-1","interface":"eth0"}"#;
    let answer = daemon.ask(question);
    assert!(
        answer.contains(r#""addresses":["10.16.0.2/16"]"#),
        "{answer}"
    );

    // A bad file is told with file, object and field, and stops nothing else.
    daemon.write(
        "bad.yaml",
        &pod("bad-1", "").replace("nodeName: node1", "nodeName: [1]"),
    );
    daemon.write(
        "db.yaml",
        &pod("db-1", "ovn.kubernetes.io/ip_address: 10.99.0.1"),
    );
    daemon.write("api.yaml", &pod("api-1", ""));
    daemon.says("bad.yaml");
    daemon.says("Pod bank/db-1: metadata.annotations[ovn.kubernetes.io/ip_address]");
    daemon.wait("a later pod is served", || {
        daemon
            .ask(&question.replace("web-1", "api-1"))
            .contains("10.16.0.3")
    });
    let told = daemon
        .said()
        .matches("Pod bank/db-1: metadata.annotations")
        .count();
    assert_eq!(told, 1, "{}", daemon.said());
    daemon.write(
        "db.yaml",
        &pod("db-1", "ovn.kubernetes.io/ip_address: 10.16.0.99"),
    );
    daemon.says("mended: Pod bank/db-1");

    // A port that comes later gets flows and is opened.
    let desc = {
        let name = cluster::port_name("bank", "api-1", "eth0");
        state.lock().unwrap().add_port(12, &name)
    };
    switch.announce(PortReason::Add, desc);
    let open = || state.lock().unwrap().ports[&net::PortNo(12)].config == 0;
    daemon.wait("the later port is open", open);
    assert!(state.lock().unwrap().flows.len() > flows);

    // SIGTERM is a clean end; the next start touches nothing, and knows every address.
    assert_eq!(daemon.stop(), Some(0));
    assert!(
        !directory.path().join("controller.sock").exists(),
        "the socket is left behind"
    );
    state.lock().unwrap().log.clear();
    let daemon = Daemon::start(directory.path());
    let _switch = runtime.block_on(Switch::connect(&daemon.target(), state.clone()));
    daemon.says("Node node1: switch 0x0000000000000001 connected");
    daemon.wait("labels come last", || {
        !state.lock().unwrap().labels.is_empty()
    });
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(
        state.lock().unwrap().modifications(),
        Vec::<&openflow::Message>::new()
    );
    assert!(daemon.ask(question).contains("10.16.0.2/16"));
    assert!(
        daemon
            .ask(&question.replace("web-1", "db-1"))
            .contains("10.16.0.99/16")
    );
}

const JUDGED: &str = "
apiVersion: v1
kind: Node
metadata: {name: node2}
status: {addresses: [{type: InternalIP, address: 172.30.0.2}]}
---
apiVersion: v1
kind: Pod
metadata:
  {name: db-1, namespace: bank, labels: {app: db}, annotations: {ovn.kubernetes.io/ip_address: 10.16.0.2}}
spec: {nodeName: node2, containers: [{name: a, image: b}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: bank, annotations: {sluice.io/log: 'denied'}}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
";

#[test]
fn a_pod_starts_when_nodes_that_judge_it_know_it_and_what_they_deny_is_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let runtimes = [runtime(), runtime()];
    let daemon = Daemon::start(directory.path());
    daemon.write("nodes.yaml", NODES);
    daemon.write("judged.yaml", JUDGED);
    let states = ["node1", "node2"].map(State::new);
    states[1].lock().unwrap().datapath = 2;
    let port = |pod: &str| cluster::port_name("bank", pod, "eth0");
    states[0].lock().unwrap().add_port(11, &port("web-1"));
    states[1].lock().unwrap().add_port(12, &port("db-1"));
    let switches: Vec<Switch> = runtimes
        .iter()
        .zip(&states)
        .map(|(runtime, state)| runtime.block_on(Switch::connect(&daemon.target(), state.clone())))
        .collect();
    let is_open =
        |node: usize, port: u32| states[node].lock().unwrap().ports[&net::PortNo(port)].config == 0;
    daemon.wait("the pod that is there is open", || is_open(1, 12));

    // The second node does not say that it knows the new pod.
    let silent = states[1].lock().unwrap();
    let flows = states[0].lock().unwrap().flows.len();
    let web = pod("web-1", "ovn.kubernetes.io/ip_address: 10.16.0.3");
    daemon.write(
        "web.yaml",
        &web.replace("annotations", "labels: {app: web}, annotations"),
    );
    daemon.wait("its own flows are there", || {
        states[0].lock().unwrap().flows.len() > flows
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!is_open(0, 11), "the first node's pod may send already");
    drop(silent);
    daemon.wait("it is open", || is_open(0, 11));
    let names = |state: &Arc<Mutex<State>>| -> Vec<String> {
        state.lock().unwrap().labels.values().cloned().collect()
    };
    daemon.wait("the second node knows it", || {
        names(&states[1]).contains(&"Pod bank/web-1".to_string())
    });

    // What the second node denies is in the log, with names.
    let denied = {
        let state = states[1].lock().unwrap();
        let rule = |table: net::TableId| table == flows::Table::IngressRule.id();
        let notes = state.flows.iter().filter(|(id, _)| rule(id.table));
        let number = notes
            .flat_map(|(_, (_, does))| &does.apply)
            .find_map(|act| match act {
                openflow::Action::SetField {
                    field: openflow::Field::Reg14,
                    value,
                    ..
                } => Some(*value),
                _ => None,
            });
        openflow::Match::any()
            .with(openflow::Field::InPort, 2u32)
            .with(openflow::Field::Reg9, flows::fields::DENIED.mask())
            .with(openflow::Field::Reg14, number.expect("a number of the log"))
    };
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 16, 0, 3], [10, 16, 0, 2], 64)
        .tcp(700, 22, 1, 100)
        .syn()
        .write(&mut frame, b"")
        .unwrap();
    switches[1].packet_in(openflow::msg::PacketIn {
        buffer_id: u32::MAX,
        total_len: frame.len() as u16,
        reason: openflow::msg::PacketInReason::Action,
        table: flows::Table::PolicyLog.id(),
        cookie: 0,
        matching: denied,
        data: frame,
    });
    let log = || std::fs::read_to_string(directory.path().join("policy.log")).unwrap_or_default();
    daemon.wait("the record is there", || log().ends_with('\n'));
    let record: serde_json::Value = serde_json::from_str(&log()).unwrap();
    let expected = serde_json::json!({
        "time": record["time"], "node": "node2", "verdict": "denied", "direction": "ingress",
        "policy": {"kind": "NetworkPolicy", "namespace": "bank", "name": "db"},
        "rule": "isolated", "protocol": "TCP",
        "source": {"address": "10.16.0.3", "port": 700, "namespace": "bank", "pod": "web-1",
                   "node": "node1", "interface": port("web-1")},
        "destination": {"address": "10.16.0.2", "port": 22, "namespace": "bank", "pod": "db-1",
                        "node": "node2", "interface": port("db-1")},
    });
    assert_eq!(record, expected);
}

#[test]
fn a_switch_of_a_node_that_nobody_knows_is_left_alone_and_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let daemon = Daemon::start(directory.path());
    daemon.write("nodes.yaml", NODES);
    let state = State::new("node7");
    let _switch = runtime.block_on(Switch::connect(&daemon.target(), state.clone()));
    daemon.says("Node node7: its switch is connected, but");
    assert!(state.lock().unwrap().flows.is_empty());
    daemon.write(
        "more.yaml",
        "apiVersion: v1\nkind: Node\nmetadata: {name: node7}\n",
    );
    daemon.says("mended: Node node7");
    daemon.wait("it gets flows", || !state.lock().unwrap().flows.is_empty());
}

fn run(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_sluice-controller"))
        .args(args)
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn wrong_use_ends_with_2_and_one_line_and_what_cannot_be_done_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (args, says) in [
        (vec![], "--source is missing"),
        (
            vec!["--source", "dir:/", "--kubeconfig", "x"],
            "is for --source kube",
        ),
        (vec!["--sauce", "x"], "unexpected argument '--sauce' found"),
        (vec!["--source", "dir:/", "--log", "=="], "--log =="),
    ] {
        let (status, said) = run(&args);
        assert_eq!(
            (status, said.lines().count()),
            (Some(2), 1),
            "{args:?}: {said}"
        );
        assert!(
            said.starts_with("sluice-controller: ") && said.contains(says),
            "{said}"
        );
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (state, socket) = (path("state"), path("sock"));
    let source = format!("dir:{}", directory.path().display());
    let common = [
        "--state",
        &state,
        "--socket",
        &socket,
        "--metrics",
        "none",
        "--source",
    ];
    let nowhere = run(&[&common[..], &["dir:/nowhere/at/all"]].concat());
    let in_use = format!("ptcp:{port}");
    let in_use = run(&[&common[..], &[source.as_str(), "--listen", in_use.as_str()]].concat());
    for ((status, said), says) in [(nowhere, "name a folder"), (in_use, "stop who has it")] {
        assert_eq!((status, said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn metrics_are_served() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("nodes.yaml"), NODES).unwrap();
    let free = |_| {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
    };
    let [metrics, listen] = [0, 1].map(free);
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice-controller"))
        .args(["--source", &format!("dir:{}", directory.path().display())])
        .args([
            "--listen",
            &format!("ptcp:{}", listen.port()),
            "--metrics",
            &metrics.to_string(),
        ])
        .arg("--state")
        .arg(directory.path().join("state"))
        .arg("--socket")
        .arg(directory.path().join("sock"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let page = loop {
        let mut page = String::new();
        if let Ok(mut stream) = std::net::TcpStream::connect(metrics) {
            let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            stream.read_to_string(&mut page).unwrap();
        }
        if page.contains("sluice_controller_nodes 1") || Instant::now() > until {
            break page;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(page.contains("sluice_controller_nodes 1"), "{page}");
    assert!(
        page.contains("sluice_controller_nodes_connected 0"),
        "{page}"
    );
    let used = r#"sluice_controller_subnet_addresses_used{family="ipv4",subnet="apps"} 0"#;
    assert!(page.contains(used), "{page}");
}
