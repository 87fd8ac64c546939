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
        Daemon::start_as(server.kubeconfig(), "none", directory)
    }

    fn start_as(kubeconfig: &Path, lease: &str, directory: &Path) -> Daemon {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let socket = directory.join("controller.sock");
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice-controller"))
            .args(["--source", "kube", "--kubeconfig"])
            .arg(kubeconfig)
            .args(["--listen", &format!("ptcp:{port}")])
            .args(["--metrics", "none", "--socket"])
            .arg(&socket)
            // Nothing but the objects tells a successor what was.
            .args(["--state", "/nowhere", "--lease", lease])
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
    deploy(&server, "crds");
    server.apply(CLUSTER).unwrap();
    server
}

/// Applies a folder of `deploy/`, in the order in which `kubectl apply -f` does.
fn deploy(server: &ApiServer, folder: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let files = std::fs::read_dir(path.join(folder)).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "yaml"))
    {
        let text = std::fs::read_to_string(file).unwrap();
        server
            .apply(&text)
            .unwrap_or_else(|error| panic!("{}: {error:#}", file.display()));
    }
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
    let log = server.faults().log();
    let patches: Vec<_> = log.iter().filter(|asked| asked.verb == "patch").collect();
    assert_eq!(
        patches.len(),
        written,
        "nothing is written anew: {patches:#?}, {:#}",
        subnet()
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

/// One object of each kind that something is written on, and what asks for it.
const EVERYTHING: &str = "
apiVersion: kubeovn.io/v1
kind: IPPool
metadata: {name: tills}
spec: {subnet: bank-overlay, ips: [10.16.9.1..10.16.9.9]}
---
apiVersion: kubeovn.io/v1
kind: Vip
metadata: {name: shared}
spec: {subnet: bank-overlay, v4ip: 10.16.9.200}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody, namespace: bank}
spec: {podSelector: {matchLabels: {app: nothing}}, policyTypes: [Ingress]}
---
apiVersion: v1
kind: Pod
metadata:
  name: greedy
  namespace: bank
  annotations: {ovn.kubernetes.io/ip_address: 10.99.0.1}
spec: {nodeName: node1, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: bank, annotations: {sluice.io/no-such-thing: '1'}}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: odd, annotations: {sluice.io/no-such-thing: '1'}}
---
apiVersion: v1
kind: Node
metadata: {name: node9, annotations: {sluice.io/no-such-thing: '1'}}
status: {addresses: [{type: InternalIP, address: 172.30.0.9}]}
";

#[test]
fn with_the_rights_that_deploy_grants_everything_is_written_and_nothing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let options = Options {
        rbac: true,
        endpoints: true,
        ..Options::default()
    };
    let server = runtime.block_on(ApiServer::start(options)).unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bank"}});
    server.apply_object(namespace).unwrap();
    for folder in ["crds", "kubernetes", "examples/bank"] {
        deploy(&server, folder);
    }
    server.apply(EVERYTHING).unwrap();
    let account = apiserver::User::service_account("sluice-system", "sluice-controller");
    let kubeconfig = server.kubeconfig_of("controller", account).unwrap();
    let lease = "sluice-system/sluice-controller";
    let daemon = Daemon::start_as(&kubeconfig, lease, directory.path());
    let pods = || server.list("Pod", "bank");
    let has_address = |pod: &Value| {
        pod["metadata"]["name"] == "greedy"
            || pod["metadata"]["annotations"]["ovn.kubernetes.io/allocated"] == "true"
    };
    daemon.wait("every pod has its address written", || {
        pods().len() > 10 && pods().iter().all(has_address)
    });
    for (resource, namespace, name) in [
        ("leases", "sluice-system", "sluice-controller"),
        ("ips", "", "web-1.bank"),
    ] {
        daemon.wait(resource, || server.get(resource, namespace, name).is_some());
    }
    for (resource, namespace, name, kind) in [
        ("subnets", "", "bank-overlay", "Validated"),
        ("ippools", "", "tills", "Validated"),
        ("vips", "", "shared", "Validated"),
        ("pods", "bank", "greedy", "sluice.io/Accepted"),
        ("services", "bank", "far", "sluice.io/Accepted"),
        ("nodes", "", "node9", "sluice.io/Accepted"),
        ("namespaces", "", "odd", "sluice.io/Accepted"),
    ] {
        daemon.wait(&format!("{kind} on {resource} {name}"), || {
            let object = server.get(resource, namespace, name).unwrap();
            condition(&object, kind) != " "
        });
    }
    let told = || {
        let all = server.list("Event", "bank");
        all.iter().any(|e| e["involvedObject"]["name"] == "greedy")
    };
    daemon.wait("an Event", told);
    let log = server.faults().log();
    let refused = log.iter().filter(|asked| matches!(asked.code, 401 | 403));
    let refused: Vec<_> = refused.collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let writes = log
        .iter()
        .filter(|asked| asked.user.contains("sluice-controller"));
    assert!(writes.count() > 20, "it was this account that asked");
}

/// Everything that can be wrong with what people write, beside things that are right.
const SPOILT: &str = "
apiVersion: kubeovn.io/v1
kind: Subnet
metadata: {name: unknown-field}
spec: {cidrBlock: 10.30.0.0/16, gatewayTpye: centralized, gatewayNode: node1}
---
apiVersion: kubeovn.io/v1
kind: Subnet
metadata: {name: contradictory}
spec: {cidrBlock: 10.31.0.0/16, protocol: IPv6}
---
apiVersion: kubeovn.io/v1
kind: Subnet
metadata: {name: no-prefix}
spec: {cidrBlock: 10.32.0.0/33}
---
apiVersion: kubeovn.io/v1
kind: Subnet
metadata: {name: wrong-gateway}
spec: {cidrBlock: 10.33.0.0/16, gateway: 10.99.0.1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody, namespace: bank}
spec: {podSelector: {matchLabels: {app: nothing}}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: no-such-port, namespace: bank}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{ports: [{port: no-such-port}]}]
---
apiVersion: v1
kind: Pod
metadata:
  name: wrong-family
  namespace: bank
  annotations: {ovn.kubernetes.io/ip_family: ipv6}
spec: {nodeName: node1, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: wrong-address
  namespace: bank
  annotations: {ovn.kubernetes.io/ip_address: fd00::5}
spec: {nodeName: node1, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Service
metadata: {name: odd, namespace: bank, annotations: {sluice.io/zone-weights: 'a=much'}}
spec: {selector: {app: web}, ports: [{port: 80}]}
";

/// A policy of 5,000 rules, which is long and right.
fn long_policy() -> Value {
    let rule = |number: u32| {
        let address = format!("10.{}.{}.0/24", 100 + number / 256, number % 256);
        json!({"from": [{"ipBlock": {"cidr": address}}], "ports": [{"port": 80}]})
    };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "long", "namespace": "bank"},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}},
                 "ingress": (0..5000).map(rule).collect::<Vec<_>>()},
    })
}

/// Each of the mistakes that the documents list leaves an Event and a condition on its object, or
/// an annotation where an object has no conditions, and nothing else is harmed.
#[test]
fn every_mistake_is_told_on_its_object_and_stops_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let server = cluster(&runtime);
    server.apply(SPOILT).unwrap();
    server.apply_object(long_policy()).unwrap();
    let daemon = Daemon::start(&server, directory.path());
    let state = State::new("node1");
    let _switch = runtime.block_on(Switch::connect(&daemon.target(), state.clone()));
    server.apply_object(pod("good")).unwrap();
    let served = || annotation(&server, "good", "ip_address").starts_with("10.16.");
    daemon.wait("who did nothing wrong is served", served);

    let has_event = |namespace: &str, kind: &str, name: &str| {
        let all = server.list("Event", namespace);
        all.iter().any(|event| {
            let object = &event["involvedObject"];
            object["kind"] == kind && object["name"] == name && event["type"] == "Warning"
        })
    };
    for (resource, namespace, kind, name, type_) in [
        ("subnets", "", "Subnet", "unknown-field", "Validated"),
        ("subnets", "", "Subnet", "contradictory", "Validated"),
        ("subnets", "", "Subnet", "no-prefix", "Validated"),
        ("subnets", "", "Subnet", "wrong-gateway", "Validated"),
        ("pods", "bank", "Pod", "wrong-family", "sluice.io/Accepted"),
        ("pods", "bank", "Pod", "wrong-address", "sluice.io/Accepted"),
        ("services", "bank", "Service", "odd", "sluice.io/Accepted"),
        ("networkpolicies", "bank", "NetworkPolicy", "nobody", ""),
        (
            "networkpolicies",
            "bank",
            "NetworkPolicy",
            "no-such-port",
            "",
        ),
    ] {
        daemon.wait(&format!("{kind} {name} says so"), || {
            let object = server.get(resource, namespace, name).unwrap();
            match type_ {
                // They have no status: an annotation says it.
                "" => {
                    let says = object["metadata"]["annotations"]["sluice.io/accepted"].as_str();
                    says.is_some_and(|says| says.starts_with("false"))
                }
                _ => condition(&object, type_).starts_with("False"),
            }
        });
        let events_in = if namespace.is_empty() {
            "default"
        } else {
            namespace
        };
        daemon.wait(&format!("an Event about {kind} {name}"), || {
            has_event(events_in, kind, name)
        });
    }
    // The unknown field is without effect; the rest of its Subnet is in force.
    let subnet = |name: &str| server.get("subnets", "", name).unwrap();
    daemon.wait("the rest of it is in force", || {
        condition(&subnet("unknown-field"), "Ready") == "True InForce"
    });
    assert_eq!(condition(&subnet("no-prefix"), "Ready"), "False Refused");
    daemon.wait("the good one is in force", || {
        condition(&subnet("apps"), "Ready") == "True InForce"
    });
    daemon.wait("the long policy is in force", || {
        let policy = server.get("networkpolicies", "bank", "long").unwrap();
        let says = |name: &str| {
            let value = &policy["metadata"]["annotations"][format!("sluice.io/{name}")];
            value.as_str().unwrap_or_default().to_string()
        };
        says("accepted").starts_with("true") && says("in-force").starts_with("true")
    });

    // A namespace that goes while its pods are served takes them along, and nobody else.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "short"}});
    server.apply_object(namespace).unwrap();
    let mut guest = pod("guest");
    guest["metadata"]["namespace"] = json!("short");
    server.apply_object(guest).unwrap();
    let there = || server.get("ips", "", "guest.short").is_some();
    daemon.wait("the guest is served", there);
    server.delete("namespaces", "", "short").unwrap();
    drop(server.delete("pods", "short", "guest"));
    daemon.wait("its address is free", || !there());
    server.apply_object(pod("after")).unwrap();
    daemon.wait("others are served on", || {
        annotation(&server, "after", "allocated") == "true"
    });
}
