//! What operators ask the controller: a real process, a folder of manifests, one node with a real
//! dataplane, another that is not connected.

#[path = "../../session/tests/common/own.rs"]
mod own;
#[path = "../../session/tests/common/world.rs"]
#[allow(dead_code)] // used by other tests too
mod world;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cluster::query::{Answer, End, How, InForce, NodeDiff, Policy, Question, Selection, Trace};
use etherparse::PacketBuilder;
use own::Own;
use world::Node;

const MANIFESTS: &str = "
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
spec: {default: true, cidrBlock: 10.16.0.0/24, gateway: 10.16.0.1}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: bank}
spec:
  podSelector: {matchLabels: {app: web-1}}
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: bank}
spec: {clusterIP: 10.96.0.10, selector: {app: web-1}, ports: [{name: http, port: 80, targetPort: 8080}]}
";

fn pod(name: &str, node: &str, ip: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: bank, labels: {{app: \
         {name}}}, annotations: {{ovn.kubernetes.io/ip_address: {ip}}}}}, spec: {{nodeName: {node}, \
         containers: [{{name: c, image: i}}]}}}}\n"
    )
}

struct Program {
    child: Child,
    socket: PathBuf,
    port: u16,
}

impl Program {
    fn start(folder: &Path) -> Program {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let socket = folder.join("controller.sock");
        let child = Command::new(env!("CARGO_BIN_EXE_sluice-controller"))
            .args([
                "--metrics",
                "none",
                "--listen",
                &format!("ptcp:{port}:127.0.0.1"),
                "--source",
            ])
            .arg(format!("dir:{}", folder.join("manifests").display()))
            .arg("--socket")
            .arg(&socket)
            .arg("--state")
            .arg(folder.join("state"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Program {
            child,
            socket,
            port,
        }
    }

    fn ask(&self, question: &Question) -> Answer {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let mut line = serde_json::to_string(question).unwrap();
        line.push('\n');
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    fn trace(&self, from: &str, to: &str) -> Trace {
        let question = Question::Trace {
            from: from.into(),
            to: to.into(),
            source_port: None,
            family: None,
        };
        match self.ask(&question) {
            Answer::Trace(trace) => *trace,
            other => panic!("{other:?}"),
        }
    }

    fn diff(&self) -> Vec<NodeDiff> {
        match self.ask(&Question::Diff { node: None }) {
            Answer::Diff(diffs) => diffs,
            other => panic!("{other:?}"),
        }
    }

    fn policy(&self) -> Policy {
        let which = named("bank/web");
        match self.ask(&Question::Policies { which, hits: true }) {
            Answer::Policies(mut policies) => policies.remove(0),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn named(name: &str) -> Selection {
    Selection {
        name: Some(name.into()),
        ..Selection::default()
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_operator_sees_where_things_stand_who_decides_and_what_is_otherwise() {
    if Command::new("ovs-ofctl").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    let pods = [
        pod("web-1", "node1", "10.16.0.2"),
        pod("client", "node1", "10.16.0.3"),
        pod("far", "node2", "10.16.0.4"),
        pod("lost", "node1", "10.99.0.1"),
    ];
    std::fs::write(
        manifests.join("all.yaml"),
        format!("{MANIFESTS}{}", pods.concat()),
    )
    .unwrap();
    let program = Program::start(folder.path());
    let node = Own::start("node1", 1);
    let wires = [("web-1", 11), ("client", 12)].map(|(name, number)| {
        let port = cluster::port_name("bank", name, cluster::DEFAULT_INTERFACE);
        node.add_port(&port, number);
        node.wire(&port)
    });
    let [mut web, mut client] = wires;
    node.set_controller(&format!("tcp:127.0.0.1:{}", program.port));
    wait("node1 has everything", || {
        let Ok(stream) = UnixStream::connect(&program.socket) else {
            return false;
        };
        drop(stream);
        match program.ask(&Question::Nodes(named("node1"))) {
            Answer::Nodes(nodes) => nodes[0].connected && nodes[0].picture == nodes[0].latest,
            _ => false,
        }
    });

    // Where things stand.
    let Answer::Pods(pods) = program.ask(&Question::Pods(Selection::default())) else {
        panic!();
    };
    let state = |name: &str| {
        pods.iter()
            .find(|pod| pod.name == name)
            .unwrap()
            .in_force
            .clone()
    };
    assert_eq!(state("client"), InForce::InForce);
    let example = "node2 (not connected)".to_string();
    assert_eq!(state("far"), InForce::Pending { nodes: 1, example });
    assert!(matches!(state("lost"), InForce::Refused { why } if why.contains("10.99.0.1")));
    let web_1 = pods.iter().find(|pod| pod.name == "web-1").unwrap();
    assert_eq!(web_1.ingress_policies, ["NetworkPolicy bank/web"]);
    assert_eq!(web_1.port_there, Some(true));
    let wrong = program.ask(&Question::Pods(named("bank/wbe-1")));
    assert_eq!(
        wrong,
        Answer::Error("no pod bank/wbe-1; bank/web-1 is near".into())
    );
    let Answer::Services(services) = program.ask(&Question::Services(named("web"))) else {
        panic!();
    };
    let backend = &services[0].ports[0].backends[0];
    assert_eq!(
        (backend.pod.as_deref(), backend.weight),
        (Some("bank/web-1"), Some(1))
    );
    let Answer::Subnets(subnets) = program.ask(&Question::Subnets(named("apps"))) else {
        panic!();
    };
    assert_eq!(
        (subnets[0].pods, subnets[0].room[0].used.as_str()),
        (3, "3")
    );

    // Who decides: what the trace says is what a packet does and what is counted.
    let rule = "NetworkPolicy bank/web ingress[0]";
    for to in ["service:bank/web:http", "web-1:8080"] {
        let told = program.trace("bank/client", to);
        assert_eq!(
            told.paths[0].ingress_rule.as_deref(),
            Some(rule),
            "{told:#?}"
        );
        assert!(
            told.verdict.contains("Pod bank/web-1 on node1 gets it"),
            "{}",
            told.verdict
        );
    }
    let told = program.trace("bank/client", "web-1:81");
    let isolated = |end: &End| matches!(end, End::Dropped { object, .. } if object == "NetworkPolicy bank/web isolation");
    assert!(
        !told.delivered && isolated(&told.paths[0].ends[0]),
        "{told:#?}"
    );
    let told = program.trace("bank/client", "far");
    assert!(
        told.delivered && told.notes[0].contains("Node node2 is not connected"),
        "{told:#?}"
    );
    // Nobody is waited for for ever: the second node has 5 s to come back.
    let closed = |said: &str| {
        ["NO_RECV", "NO_FWD", "PORT_DOWN"]
            .iter()
            .any(|word| said.contains(word))
    };
    wait("the ports are open", || !closed(&node.ofctl(&["show"])));
    let before = program.policy();
    let mac = |name: &str| {
        let pod = pods.iter().find(|pod| pod.name == name).unwrap();
        pod.mac.parse::<net::MacAddr>().unwrap().0
    };
    for port in [8080, 81] {
        let mut frame = Vec::new();
        let syn = PacketBuilder::ethernet2(mac("client"), mac("web-1"))
            .ipv4([10, 16, 0, 3], [10, 16, 0, 2], 64)
            .tcp(40_000, port, 1, 1000)
            .syn();
        syn.write(&mut frame, b"").unwrap();
        client.send(&frame);
    }
    let counted = |policy: &Policy| {
        let rule = policy.rules[0].hits.unwrap().packets;
        (rule, policy.isolation_hits.unwrap().packets)
    };
    let was = counted(&before);
    wait("both are counted", || {
        counted(&program.policy()) == (was.0 + 1, was.1 + 1)
    });
    wait("one of them came", || web.receive().is_some());
    assert!(web.receive().is_none());

    // What is otherwise.
    let diffs = program.diff();
    let unknown = diffs[1].unknown.as_deref();
    assert_eq!(unknown, Some("its switch is not connected"));
    assert!(
        diffs[0].same > 50 && diffs[0].differences.is_empty(),
        "{:#?}",
        diffs[0]
    );
    let client_port = "table=130,reg2=12";
    node.ofctl(&["del-flows", client_port]);
    node.ofctl(&["add-flow", "table=130,priority=7,in_port=99,actions=drop"]);
    node.ofctl(&[
        "mod-flows",
        "--strict",
        "table=60,priority=10,reg0=0x8/0x8,actions=output:1",
    ]);
    let found = program.diff().remove(0).differences;
    let told: Vec<_> = found
        .iter()
        .map(|d| (d.how, d.object.as_str(), d.intent.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (How::Missing, "Pod bank/client", "To the pod."),
            (
                How::Different,
                "Pipeline Routing",
                "No subnet of the cluster has that destination: no route, dropped."
            ),
            (How::Extra, "", ""),
        ],
        "{found:#?}"
    );
    assert!(found[1].held.contains("output:1") && found[1].desired.contains("drop"));
}
