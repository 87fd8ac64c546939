//! The program on an API server: what is written on objects, and that a successor, who has nothing
//! but the objects, touches no flow.

#[path = "../../session/tests/common/fake.rs"]
mod fake;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apiserver::{ApiServer, Fault, On, Options};
use fake::{State, Switch};
use openflow::msg::PortReason;
use serde_json::{Value, json};

const CLUSTER: &str = "
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

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "bank", "labels": {"app": "web"}},
        "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "i"}]},
    })
}

struct Daemon {
    child: Child,
    port: u16,
    socket: std::path::PathBuf,
    said: Arc<Mutex<String>>,
}

impl Daemon {
    fn start(server: &ApiServer, directory: &Path) -> Daemon {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let socket = directory.join("controller.sock");
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice-controller"))
            .args(["--source", "kube", "--lease", "none", "--kubeconfig"])
            .arg(server.kubeconfig())
            .args(["--listen", &format!("ptcp:{port}")])
            .args(["--metrics", "none", "--socket"])
            .arg(&socket)
            // Nothing but the objects tells a successor what was.
            .args(["--state", "/nowhere", "--lease", "none"])
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
            port,
            socket,
            said,
        };
        daemon.wait("it listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        daemon
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !done() {
            let said = self.said.lock().unwrap().clone();
            assert!(Instant::now() < until, "not: {what}\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask(&self, pod: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let question = json!({"namespace": "bank", "pod": pod, "interface": "eth0"});
        writeln!(stream, "{question}").unwrap();
        let mut reply = String::new();
        BufReader::new(stream).read_line(&mut reply).unwrap();
        reply
    }

    fn target(&self) -> session::Target {
        format!("ptcp:{}:127.0.0.1", self.port).parse().unwrap()
    }

    /// Gone without a word, as when power is lost.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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
    builder.worker_threads(2).enable_all().build().unwrap()
}

fn cluster(runtime: &tokio::runtime::Runtime) -> ApiServer {
    let server = runtime
        .block_on(ApiServer::start(Options::default()))
        .unwrap();
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    for file in std::fs::read_dir(crds).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        server.apply(&text).unwrap();
    }
    server.apply(CLUSTER).unwrap();
    server
}

fn annotation(server: &ApiServer, pod: &str, name: &str) -> String {
    let pod = server.get("pods", "bank", pod).unwrap_or_default();
    let key = format!("ovn.kubernetes.io/{name}");
    let value = pod["metadata"]["annotations"][key].as_str();
    value.unwrap_or_default().to_string()
}

fn condition(object: &Value, type_: &str) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|c| c["type"] == type_);
    let text = |field: &str| found.and_then(|c| c[field].as_str()).unwrap_or_default();
    format!("{} {}", text("status"), text("reason"))
}

#[test]
fn a_pod_gets_its_address_written_before_its_port_opens_and_a_successor_touches_no_flow() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let server = cluster(&runtime);
    let daemon = Daemon::start(&server, directory.path());
    let state = State::new("node1");
    let _switch = runtime.block_on(Switch::connect(&daemon.target(), state.clone()));

    // As long as nothing can be written, nothing opens, and nobody is told an address.
    server
        .faults()
        .always(On::verb("patch", "pods"), Fault::Status(500));
    server.apply_object(pod("web-1")).unwrap();
    let port = |number: u32, pod: &str| {
        let name = cluster::port_name("bank", pod, "eth0");
        state.lock().unwrap().add_port(number, &name)
    };
    _switch.announce(PortReason::Add, port(11, "web-1"));
    let is_open = |number: u32| state.lock().unwrap().ports[&net::PortNo(number)].config == 0;
    daemon.wait("it is tried", || server.faults().count("patch", "pods") > 1);
    assert!(
        daemon.ask("web-1").contains("waiting"),
        "{}",
        daemon.ask("web-1")
    );
    assert!(!is_open(11));
    server.faults().clear();
    daemon.wait("the port is open", || is_open(11));
    assert_eq!(annotation(&server, "web-1", "ip_address"), "10.16.0.2");
    assert_eq!(annotation(&server, "web-1", "allocated"), "true");
    assert!(daemon.ask("web-1").contains("10.16.0.2/16"));

    // The API server goes away and comes back: nothing changes for anybody.
    state.lock().unwrap().log.clear();
    server.faults().down();
    std::thread::sleep(Duration::from_millis(300));
    server.faults().up();
    server.apply_object(pod("web-2")).unwrap();
    let ready = || annotation(&server, "web-2", "ip_address") == "10.16.0.3";
    daemon.wait("it goes on", ready);
    let subnet = || server.get("subnets", "", "apps").unwrap();
    let whole =
        || condition(&subnet(), "Ready") == "True InForce" && subnet()["status"]["v4usingIPs"] == 2;
    daemon.wait("the subnet says so", whole);
    assert_eq!(condition(&subnet(), "Validated"), "True Accepted");
    let ip = server.get("ips", "", "web-2.bank").unwrap();
    assert_eq!(ip["spec"]["v4IpAddress"], "10.16.0.3");

    // Killed in the middle; the next one reads all of it from the objects.
    std::thread::sleep(Duration::from_millis(200));
    let before = server.get("pods", "bank", "web-1").unwrap();
    daemon.kill();
    state.lock().unwrap().log.clear();
    let written = server.faults().count("patch", "");
    let daemon = Daemon::start(&server, directory.path());
    let _switch = runtime.block_on(Switch::connect(&daemon.target(), state.clone()));
    daemon.wait("labels come last", || {
        !state.lock().unwrap().labels.is_empty()
    });
    daemon.wait("it answers", || {
        daemon.ask("web-2").contains("10.16.0.3/16")
    });
    std::thread::sleep(Duration::from_millis(300));
    let modifications = state.lock().unwrap().modifications().len();
    assert_eq!(modifications, 0);
    assert_eq!(
        server.faults().count("patch", ""),
        written,
        "nothing is written anew"
    );
    assert_eq!(server.get("pods", "bank", "web-1").unwrap(), before);

    // A pod that goes frees its address, and its IP object goes with it.
    server.delete("pods", "bank", "web-2").unwrap();
    let gone = || server.get("ips", "", "web-2.bank").is_none();
    daemon.wait("the address is free", gone);
}

#[test]
fn what_is_wrong_is_told_on_the_object_and_when_it_is_mended_too() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let server = cluster(&runtime);
    let daemon = Daemon::start(&server, directory.path());
    let mut greedy = pod("greedy");
    let asks = json!({"ovn.kubernetes.io/ip_address": "10.99.0.1"});
    greedy["metadata"]["annotations"] = asks;
    server.apply_object(greedy).unwrap();
    server.apply_object(pod("good")).unwrap();
    let greedy = || server.get("pods", "bank", "greedy").unwrap();
    let refused = || condition(&greedy(), "sluice.io/Accepted") == "False Refused";
    daemon.wait("a condition says so", refused);
    let events = || server.list("Event", "bank");
    let about = |reason: &str| {
        let all = events();
        all.iter()
            .any(|e| e["involvedObject"]["name"] == "greedy" && e["reason"] == reason)
    };
    daemon.wait("an Event says so", || about("Refused"));
    let served = || annotation(&server, "good", "ip_address") == "10.16.0.2";
    daemon.wait("the other is served", served);
    let patch = json!({"metadata": {"annotations": {"ovn.kubernetes.io/ip_address": null}}});
    server.patch("pods", "bank", "greedy", patch).unwrap();
    daemon.wait("it is served", || {
        annotation(&server, "greedy", "allocated") == "true"
    });
    daemon.wait("the condition is gone", || {
        condition(&greedy(), "sluice.io/Accepted") == " "
    });
    daemon.wait("an Event says that", || about("Mended"));
}
