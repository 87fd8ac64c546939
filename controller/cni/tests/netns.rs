//! The plugin as a runtime calls it, in real network namespaces. A dataplane and a controller of
//! the test's own answer on the sockets; a veth pair stands in for the tap.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use admin::{Port, Reply, Request};
use serde_json::{Value, json};

/// A node's namespace, a pod's namespace and the two daemons.
struct Node {
    host: String,
    pod: String,
    dir: PathBuf,
    ports: Arc<Mutex<BTreeMap<String, Port>>>,
    /// Whether ports open when they are waited for.
    opens: Arc<AtomicBool>,
    /// How often the controller still says "waiting".
    waits: Arc<AtomicUsize>,
}

fn ip(args: &str) -> Output {
    let output = Command::new("ip").args(args.split(' ')).output().unwrap();
    assert!(
        output.status.success(),
        "ip {args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn json_of(args: &str) -> Value {
    serde_json::from_slice(&ip(args).stdout).unwrap()
}

impl Node {
    /// None without root; the test then says so.
    fn new(name: &str) -> Option<Node> {
        if !is_root() {
            #[allow(clippy::print_stdout)] // the reader shall know what was not tested
            {
                println!("skipped: network namespaces need root");
            }
            return None;
        }
        let unique = format!("{name}{}", std::process::id());
        let node = Node {
            host: format!("cnih-{unique}"),
            pod: format!("cnip-{unique}"),
            dir: std::env::temp_dir().join(format!("sluice-cni-{unique}")),
            ports: Arc::default(),
            opens: Arc::new(AtomicBool::new(true)),
            waits: Arc::default(),
        };
        std::fs::create_dir_all(&node.dir).unwrap();
        ip(&format!("netns add {}", node.host));
        ip(&format!("netns add {}", node.pod));
        node.serve_dataplane();
        node.serve_controller();
        Some(node)
    }

    fn serve_dataplane(&self) {
        let listener = UnixListener::bind(self.dir.join("admin.sock")).unwrap();
        let (ports, opens) = (self.ports.clone(), self.opens.clone());
        let host = self.host.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (ports, opens, host) = (ports.clone(), opens.clone(), host.clone());
                std::thread::spawn(move || {
                    each_line(stream.unwrap(), |line| {
                        let request = admin::decode_request(line).unwrap();
                        let mut ports = ports.lock().unwrap();
                        let opens = opens.load(Ordering::Relaxed);
                        admin::encode_reply(&dataplane(&mut ports, &host, opens, &request))
                    });
                });
            }
        });
    }

    fn serve_controller(&self) {
        let listener = UnixListener::bind(self.dir.join("controller.sock")).unwrap();
        let waits = self.waits.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                each_line(stream.unwrap(), |line| {
                    let request: Value = serde_json::from_slice(line).unwrap();
                    assert_eq!(request["namespace"], "bank");
                    let left = waits
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
                    let reply = match left {
                        Ok(_) => json!({"waiting": "Pod bank/web-1 to appear in the source"}),
                        Err(_) => json!({"ready": {
                            "addresses": ["10.16.0.2/16", "fd00:10:16::2/64"],
                            "mac": "02:5c:0a:10:00:02", "mtu": 1400,
                            "gateways": ["10.16.0.1", "fd00:10:16::1"],
                            "routes": [{"destination": "10.99.0.0/16", "gateway": "10.16.0.9"}],
                            "node": "node1", "port": "x", "subnet": "overlay"}}),
                    };
                    format!("{reply}\n").into_bytes()
                });
            }
        });
    }

    /// Calls the plugin; exit status and what it printed.
    fn call(&self, command: &str, container: &str, extra: Value) -> (bool, Value) {
        let mut config = json!({
            "cniVersion": "1.1.0", "name": "test", "type": "sluice-cni", "timeout": 2,
            "adminSocket": self.dir.join("admin.sock"),
            "controllerSocket": self.dir.join("controller.sock"),
            "stateDir": self.dir.join("state"),
        });
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        let mut child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.host,
                env!("CARGO_BIN_EXE_sluice-cni"),
            ])
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", format!("/run/netns/{}", self.pod))
            .env("CNI_IFNAME", "eth0")
            .env(
                "CNI_ARGS",
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=bank;K8S_POD_NAME=web-1",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(config.to_string().as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let printed = match output.stdout.as_slice() {
            [] => Value::Null,
            text => serde_json::from_slice(text).unwrap(),
        };
        (output.status.success(), printed)
    }

    fn pod_links(&self) -> Vec<String> {
        names(&json_of(&format!("-n {} -j link show", self.pod)))
    }

    fn host_links(&self) -> Vec<String> {
        names(&json_of(&format!("-n {} -j link show", self.host)))
    }

    fn nothing_left(&self) {
        assert_eq!(self.pod_links(), ["lo"]);
        assert_eq!(self.host_links(), ["lo"]);
        assert!(self.ports.lock().unwrap().is_empty());
        let records = std::fs::read_dir(self.dir.join("state")).unwrap().count();
        assert_eq!(records, 0);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for netns in [&self.host, &self.pod] {
            let mut delete = Command::new("ip");
            drop(
                delete
                    .args(["netns", "del", netns])
                    .stderr(Stdio::null())
                    .status(),
            );
        }
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"))
}

fn names(links: &Value) -> Vec<String> {
    let links = links.as_array().unwrap();
    links
        .iter()
        .map(|l| l["ifname"].as_str().unwrap().to_owned())
        .collect()
}

fn each_line(stream: UnixStream, mut answer: impl FnMut(&[u8]) -> Vec<u8>) {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap_or(0) > 0 {
        drop(lines.get_mut().write_all(&answer(line.as_bytes())));
        line.clear();
    }
}

/// What a dataplane does as far as the plugin sees it.
fn dataplane(
    ports: &mut BTreeMap<String, Port>,
    host: &str,
    opens: bool,
    request: &Request,
) -> Reply {
    match request {
        Request::PortAdd { spec } => {
            let (name, rest) = spec.split_once(',').unwrap();
            let device = rest.strip_prefix("closed=true,dev=").unwrap();
            let created = !ports.contains_key(name);
            if created {
                if device.starts_with("tap,") {
                    let peer = format!("z{}", &name[1..]);
                    ip(&format!(
                        "-n {host} link add {name} type veth peer name {peer}"
                    ));
                }
                let port = Port {
                    name: name.into(),
                    device: device.into(),
                    ..Port::default()
                };
                ports.insert(name.into(), port);
            }
            Reply::Port {
                port: ports[name].clone(),
                created,
            }
        }
        Request::PortDel { name } => {
            let gone = ports.remove(name);
            if gone
                .as_ref()
                .is_some_and(|port| port.device.starts_with("tap,"))
            {
                ip(&format!("-n {host} link del z{}", &name[1..]));
            }
            Reply::PortDeleted {
                existed: gone.is_some(),
            }
        }
        Request::PortWaitOpen { name, .. } => {
            let port = ports.get_mut(name).unwrap();
            port.open = opens;
            Reply::Port {
                port: port.clone(),
                created: false,
            }
        }
        Request::PortList => Reply::Ports(ports.values().cloned().collect()),
        Request::Version => Reply::Version(admin::Version::default()),
        other => Reply::error(format!("{other:?} was not expected")),
    }
}

#[test]
fn add_configures_the_pod_and_del_leaves_nothing() {
    let Some(node) = Node::new("a") else { return };
    node.waits.store(2, Ordering::Relaxed);
    let (ok, result) = node.call("ADD", "c1", json!({}));
    assert!(ok, "{result}");
    assert_eq!(result["cniVersion"], "1.1.0");
    assert_eq!(result["interfaces"][0]["mtu"], 1400);
    assert_eq!(result["ips"][0]["address"], "10.16.0.2/16");

    let links = json_of(&format!("-n {} -j addr show eth0", node.pod));
    let link = &links[0];
    assert_eq!(link["address"], "02:5c:0a:10:00:02");
    assert_eq!(link["mtu"], 1400);
    assert!(link["flags"].as_array().unwrap().contains(&json!("UP")));
    let addresses: Vec<_> = link["addr_info"].as_array().unwrap().iter().collect();
    assert!(
        addresses
            .iter()
            .any(|a| a["local"] == "10.16.0.2" && a["prefixlen"] == 16)
    );
    let v6 = addresses
        .iter()
        .find(|a| a["local"] == "fd00:10:16::2")
        .unwrap();
    assert!(v6.get("tentative").is_none(), "{v6}");
    let routes = json_of(&format!("-n {} -j route show", node.pod));
    let has_route = |to: &str, gateway: &str| {
        let mut routes = routes.as_array().unwrap().iter();
        routes.any(|r| r["dst"] == to && r["gateway"] == gateway)
    };
    assert!(has_route("default", "10.16.0.1"), "{routes}");
    assert!(has_route("10.99.0.0/16", "10.16.0.9"), "{routes}");
    let routes = json_of(&format!("-n {} -6 -j route show", node.pod)).to_string();
    assert!(routes.contains(r#""gateway":"fd00:10:16::1""#), "{routes}");
    assert_eq!(node.pod_links(), ["lo", "eth0"]);

    // The same again changes nothing.
    let (ok, again) = node.call("ADD", "c1", json!({}));
    assert!(ok, "{again}");
    assert_eq!(again, result);

    assert_eq!(
        node.call("CHECK", "c1", json!({"prevResult": result})),
        (true, Value::Null)
    );
    ip(&format!("-n {} addr del 10.16.0.2/16 dev eth0", node.pod));
    let (ok, error) = node.call("CHECK", "c1", json!({"prevResult": result}));
    assert!(!ok);
    assert_eq!(error["code"], 102);
    assert_eq!(
        error["msg"],
        "Pod bank/web-1: eth0 lost the address 10.16.0.2/16"
    );

    assert_eq!(node.call("DEL", "c1", json!({})), (true, Value::Null));
    node.nothing_left();
    assert_eq!(node.call("DEL", "c1", json!({})), (true, Value::Null));
}

#[test]
fn a_wait_that_runs_out_names_its_step_and_undoes_everything() {
    let Some(node) = Node::new("b") else { return };
    node.opens.store(false, Ordering::Relaxed);
    let (ok, error) = node.call("ADD", "c1", json!({}));
    assert!(!ok);
    assert_eq!(error["code"], 11);
    let msg = error["msg"].as_str().unwrap();
    assert!(msg.starts_with("Pod bank/web-1: port sl") && msg.ends_with("still closed after 2 s"));
    node.nothing_left();

    node.waits.store(usize::MAX, Ordering::Relaxed);
    let (ok, error) = node.call("ADD", "c1", json!({"mode": "veth"}));
    assert!(!ok);
    assert_eq!(error["msg"], "Pod bank/web-1: no address within 2 s");
    let wanted = "the controller waits for Pod bank/web-1 to appear in the source";
    assert_eq!(error["details"], wanted);
    node.nothing_left();
}

#[test]
fn a_foreign_interface_in_the_pod_is_left_alone() {
    let Some(node) = Node::new("c") else { return };
    ip(&format!(
        "-n {} link add eth0 type veth peer name other",
        node.pod
    ));
    let (ok, error) = node.call("ADD", "c1", json!({}));
    assert!(!ok);
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("already has an interface eth0"),
        "{error}"
    );
    assert!(node.pod_links().contains(&"eth0".to_owned()));
    assert!(node.ports.lock().unwrap().is_empty());
}

#[test]
fn a_recreated_pod_keeps_its_port_when_its_old_container_goes() {
    let Some(node) = Node::new("d") else { return };
    assert!(node.call("ADD", "old", json!({})).0);
    // The old sandbox goes only after the new one is attached.
    let old = node.pod.clone();
    ip(&format!("netns add {old}-new"));
    let renewed = Node {
        pod: format!("{old}-new"),
        host: node.host.clone(),
        dir: node.dir.clone(),
        ports: node.ports.clone(),
        opens: node.opens.clone(),
        waits: node.waits.clone(),
    };
    assert!(renewed.call("ADD", "new", json!({})).0);
    assert_eq!(node.call("DEL", "old", json!({})), (true, Value::Null));
    assert_eq!(renewed.pod_links(), ["lo", "eth0"]);
    assert_eq!(node.ports.lock().unwrap().len(), 1);

    // GC sweeps what the runtime does not know, and nothing else.
    let keep = json!({"cni.dev/valid-attachments": [{"containerID": "new", "ifname": "eth0"}]});
    assert_eq!(renewed.call("GC", "", keep), (true, Value::Null));
    assert_eq!(node.ports.lock().unwrap().len(), 1);
    let other = json!({"name": "other", "cni.dev/valid-attachments": []});
    assert_eq!(renewed.call("GC", "", other), (true, Value::Null));
    assert_eq!(node.ports.lock().unwrap().len(), 1);
    let none = json!({"cni.dev/valid-attachments": []});
    assert_eq!(renewed.call("GC", "", none), (true, Value::Null));
    renewed.nothing_left();
}

#[test]
fn veth_mode_keeps_the_host_end_and_survives_a_restarted_dataplane() {
    let Some(node) = Node::new("e") else { return };
    let veth = || json!({"mode": "veth", "mtu": 1300});
    let (ok, result) = node.call("ADD", "c1", veth());
    assert!(ok, "{result}");
    assert_eq!(node.host_links().len(), 2);
    assert!(node.host_links()[1].starts_with("sl"));
    assert_eq!(result["interfaces"][0]["mtu"], 1300);

    // A dataplane that was restarted has forgotten the port.
    node.ports.lock().unwrap().clear();
    let (ok, error) = node.call("CHECK", "c1", json!({"mode": "veth", "prevResult": result}));
    assert!(
        !ok && error["msg"].as_str().unwrap().contains("has no port sl"),
        "{error}"
    );
    let (ok, again) = node.call("ADD", "c1", veth());
    assert!(ok, "{again}");
    assert_eq!(again, result);
    assert_eq!(node.call("DEL", "c1", veth()), (true, Value::Null));
    node.nothing_left();
}

#[test]
fn status_and_version_answer_without_a_pod() {
    let Some(node) = Node::new("f") else { return };
    assert_eq!(node.call("STATUS", "", json!({})), (true, Value::Null));
    let away = json!({"adminSocket": Path::new("/nonexistent")});
    let (ok, error) = node.call("STATUS", "", away);
    assert!(!ok);
    assert_eq!(error["code"], 50);
    let (ok, versions) = node.call("VERSION", "", json!({}));
    assert!(ok);
    assert_eq!(versions["supportedVersions"], json!(["1.0.0", "1.1.0"]));
}
