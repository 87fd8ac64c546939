//! A folder of manifests, from files on disk to pictures of the cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cluster::NamespacedName;
use watch::{Folder, Snapshot};

/// What a change may take to show.
const A_SECOND: Duration = Duration::from_secs(1);

/// Long enough to say that nothing comes.
const A_WHILE: Duration = Duration::from_millis(700);

struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice-watch-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    fn open(&self) -> Folder {
        Folder::open(&self.0).unwrap()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs on the kind of runtime that the controller has.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(test);
}

async fn changed(folder: &mut Folder) -> Snapshot {
    let started = Instant::now();
    let snapshot = tokio::time::timeout(Duration::from_secs(20), folder.next())
        .await
        .expect("a change");
    let took = started.elapsed();
    assert!(took < A_SECOND, "it took {took:?} to show");
    snapshot
}

/// Waits for pictures until one is as wished; several files need not be written within one.
async fn until(folder: &mut Folder, wished: impl Fn(&Snapshot) -> bool) -> Snapshot {
    loop {
        let snapshot = changed(folder).await;
        if wished(&snapshot) {
            return snapshot;
        }
    }
}

async fn assert_nothing(folder: &mut Folder) {
    if let Ok(snapshot) = tokio::time::timeout(A_WHILE, folder.next()).await {
        panic!("nothing has changed, and yet: {snapshot:#?}");
    }
}

fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: bank}}\nspec: {{nodeName: node1, containers: []}}\n"
    )
}

fn pods(snapshot: &Snapshot) -> Vec<String> {
    let pods = snapshot.view.pods.keys();
    pods.map(|name| name.to_string()).collect()
}

fn told(snapshot: &Snapshot) -> Vec<String> {
    snapshot.problems.iter().map(|p| p.to_string()).collect()
}

#[test]
fn every_kind_that_we_use_is_read_from_yaml_json_and_lists() {
    run(async {
        let dir = TempDir::new();
        dir.write(
            "nodes.yaml",
            "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Node
  metadata: {name: node1, annotations: {sluice.io/vtep: 172.30.0.1}}
  status: {addresses: [{type: Hostname, address: node1}, {type: InternalIP, address: 10.0.0.1}]}
- apiVersion: v1
  kind: Namespace
  metadata: {name: bank, labels: {team: core}}
",
        );
        dir.write(
            "network.yml",
            "\
apiVersion: kubeovn.io/v1
kind: Subnet
metadata: {name: under}
spec:
  cidrBlock: 10.100.0.0/24,fd00::/64
  gateway: 10.100.0.1
  protocol: Dual
  default: true
  excludeIps: [10.100.0.1, 10.100.0.10..10.100.0.20]
  namespaces: [bank, shop]
  namespaceSelectors: [{matchLabels: {team: core}, matchExpressions: [{key: a, operator: In, values: [b]}]}]
  vlan: vlan100
  mtu: 1450
---
apiVersion: kubeovn.io/v1
kind: Vlan
metadata: {name: vlan100}
spec: {id: 100, provider: physnet}
---
apiVersion: kubeovn.io/v1
kind: ProviderNetwork
metadata: {name: physnet}
spec:
  defaultInterface: uplink0
  customInterfaces: [{interface: bond0, nodes: [node2]}]
  excludeNodes: [node3]
",
        );
        dir.write(
            "web.json",
            r#"{"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "namespace": "bank"},
                "spec": {"clusterIP": "10.96.0.10", "selector": {"app": "web"},
                         "ports": [{"name": "http", "port": 80, "targetPort": 8080},
                                   {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns"}]}}
               {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "web-1", "namespace": "bank",
                             "labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
                "endpoints": [{"addresses": ["10.16.0.5"], "nodeName": "node1",
                               "conditions": {"ready": false, "serving": true, "terminating": true}}]}"#,
        );
        dir.write(
            "pod.yaml",
            "\
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: bank
  uid: abc
  creationTimestamp: \"2026-01-02T03:04:05Z\"
  labels: {app: web}
  annotations: {ovn.kubernetes.io/egress_rate: \"50\"}
spec:
  nodeName: node1
  containers:
  - name: web
    image: example/web:1
    ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 5353, protocol: UDP}]
status:
  phase: Running
  conditions: [{type: Ready, status: \"True\"}]
",
        );
        let snapshot = dir.open().next().await;
        assert_eq!(told(&snapshot), [""; 0]);
        let view = &snapshot.view;
        assert_eq!(view.problems, [].into());
        assert!(view.complete);
        assert_eq!(view.nodes["node1"].internal_ips, ["10.0.0.1"]);
        assert_eq!(
            view.nodes["node1"].meta.annotations["sluice.io/vtep"],
            "172.30.0.1"
        );
        assert_eq!(view.namespaces["bank"].meta.labels["team"], "core");
        let subnet = &view.subnets["under"];
        assert!(subnet.default && subnet.mtu == Some(1450) && subnet.vlan == "vlan100");
        assert_eq!(
            subnet.exclude_ips,
            ["10.100.0.1", "10.100.0.10..10.100.0.20"]
        );
        assert_eq!(subnet.namespaces.len(), 2);
        assert_eq!(subnet.namespace_selectors[0].match_labels["team"], "core");
        assert_eq!(subnet.namespace_selectors[0].match_expressions[0].key, "a");
        assert_eq!(view.vlans["vlan100"].id, 100);
        let network = &view.provider_networks["physnet"];
        assert_eq!(network.default_interface, "uplink0");
        assert_eq!(network.custom_interfaces[0].interface, "bond0");
        let name = |name: &str| NamespacedName::new("bank", name);
        let service = &view.services[&name("web")];
        assert_eq!(service.cluster_ips, ["10.96.0.10"]);
        assert_eq!((service.ports.len(), service.ports[1].port), (2, 53));
        let slice = &view.endpoint_slices[&name("web-1")];
        assert_eq!(slice.service.as_deref(), Some("web"));
        assert_eq!(slice.endpoints[0].terminating, Some(true));
        let pod = &view.pods[&name("web-1")];
        assert_eq!(pod.node.as_deref(), Some("node1"));
        assert_eq!((pod.ready, pod.ports.len()), (Some(true), 2));
        assert_eq!(pod.meta.created, Some(1_767_323_045));
        assert_eq!(pod.meta.uid.as_deref(), Some("abc"));
    });
}

#[test]
fn what_is_added_changed_and_deleted_shows_within_a_second() {
    run(async {
        let dir = TempDir::new();
        let mut folder = dir.open();
        assert_eq!(pods(&folder.next().await), [""; 0]);
        dir.write("a.yaml", &pod("one"));
        assert_eq!(pods(&changed(&mut folder).await), ["bank/one"]);
        dir.write("a.yaml", &format!("{}---\n{}", pod("one"), pod("two")));
        assert_eq!(pods(&changed(&mut folder).await), ["bank/one", "bank/two"]);
        fs::create_dir(dir.0.join("more")).unwrap();
        dir.write("more/b.yaml", &pod("three"));
        let three = |s: &Snapshot| s.view.pods.len() == 3;
        until(&mut folder, three).await;
        fs::remove_file(dir.0.join("a.yaml")).unwrap();
        assert_eq!(pods(&changed(&mut folder).await), ["bank/three"]);
        fs::remove_dir_all(dir.0.join("more")).unwrap();
        assert_eq!(pods(&changed(&mut folder).await), [""; 0]);
    });
}

#[test]
fn a_file_put_in_place_by_renaming_shows_and_one_that_is_only_touched_does_not() {
    run(async {
        let dir = TempDir::new();
        dir.write("a.yaml", &pod("one"));
        let mut folder = dir.open();
        folder.next().await;
        dir.write(".a.yaml.swp", &pod("two"));
        fs::rename(dir.0.join(".a.yaml.swp"), dir.0.join("a.yaml")).unwrap();
        assert_eq!(pods(&changed(&mut folder).await), ["bank/two"]);
        dir.write("a.yaml", &format!("# a comment\n{}", pod("two")));
        assert_nothing(&mut folder).await;
        dir.write("README.md", "not a manifest");
        dir.write(".hidden.yaml", &pod("three"));
        assert_nothing(&mut folder).await;
    });
}

#[test]
fn a_change_as_small_as_a_digit_right_after_the_reading_is_seen() {
    run(async {
        let dir = TempDir::new();
        let mut folder = dir.open();
        folder.next().await;
        // Same length, and time stamps as close as they come.
        for round in 0..10 {
            dir.write("a.yaml", &pod(&format!("pod-{round}")));
            let snapshot = changed(&mut folder).await;
            assert_eq!(pods(&snapshot), [format!("bank/pod-{round}")]);
        }
    });
}

#[test]
fn a_broken_file_is_told_with_its_line_and_stops_nothing_else() {
    run(async {
        let dir = TempDir::new();
        dir.write(
            "bad.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: [\n",
        );
        dir.write("good.yaml", &pod("one"));
        let snapshot = dir.open().next().await;
        assert_eq!(pods(&snapshot), ["bank/one"]);
        let told = told(&snapshot);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("bad.yaml:"), "{told:?}");
        assert!(
            told[0].contains("this document is not in force"),
            "{told:?}"
        );
        assert!(
            !snapshot.view.complete,
            "nobody knows what bad.yaml meant to say"
        );
    });
}

#[test]
fn what_could_never_be_read_is_unknown_only_if_it_was_there_from_the_start() {
    run(async {
        let dir = TempDir::new();
        let bad = pod("one").replace("node1", "{x: 1}");
        dir.write("a.yaml", &bad);
        let mut folder = dir.open();
        assert!(
            !folder.next().await.view.complete,
            "an earlier process may have known it"
        );
        dir.write("a.yaml", &format!("\n{bad}"));
        assert!(
            !changed(&mut folder).await.view.complete,
            "nobody knows it yet"
        );
        dir.write("a.yaml", &pod("one"));
        assert!(changed(&mut folder).await.view.complete);
        dir.write("b.yaml", "[");
        let snapshot = changed(&mut folder).await;
        assert_eq!(snapshot.problems.len(), 1);
        assert!(snapshot.view.complete, "it has never been in force");
    });
}

#[test]
fn an_object_that_breaks_stays_in_its_previous_version_and_the_rest_of_the_file_goes_on() {
    run(async {
        let dir = TempDir::new();
        dir.write("a.yaml", &format!("{}---\n{}", pod("one"), pod("two")));
        let mut folder = dir.open();
        folder.next().await;
        let bad = pod("one").replace("node1", "{x: 1}");
        dir.write("a.yaml", &format!("{bad}---\n{}", pod("three")));
        let snapshot = changed(&mut folder).await;
        assert_eq!(
            pods(&snapshot),
            ["bank/one", "bank/three"],
            "two was deleted, one broke"
        );
        let told = told(&snapshot);
        assert_eq!(told.len(), 1);
        for word in [
            "a.yaml:1: Pod bank/one: spec.nodeName: ",
            "expected",
            "previous version stays",
        ] {
            assert!(told[0].contains(word), "{word:?} is not in {told:?}");
        }
        assert!(snapshot.view.complete);
        assert_eq!(
            snapshot.view.pods[&NamespacedName::new("bank", "one")]
                .node
                .as_deref(),
            Some("node1")
        );
        dir.write("a.yaml", &pod("one"));
        let snapshot = changed(&mut folder).await;
        assert_eq!(
            (pods(&snapshot), snapshot.problems.len()),
            (vec!["bank/one".into()], 0)
        );
    });
}

#[test]
fn while_a_document_cannot_be_parsed_nothing_that_its_file_said_is_taken_away() {
    run(async {
        let dir = TempDir::new();
        dir.write("a.yaml", &format!("{}---\n{}", pod("one"), pod("two")));
        let mut folder = dir.open();
        folder.next().await;
        dir.write("a.yaml", &format!("}}{}---\n{}", pod("one"), pod("three")));
        let snapshot = changed(&mut folder).await;
        assert_eq!(pods(&snapshot), ["bank/one", "bank/three", "bank/two"]);
        assert!(told(&snapshot)[0].contains("stays in force"));
        // Broken in another way, it still stays.
        dir.write("a.yaml", "# cut short\n\n]");
        let snapshot = changed(&mut folder).await;
        assert_eq!(pods(&snapshot), ["bank/one", "bank/three", "bank/two"]);
        dir.write("a.yaml", &pod("two"));
        assert_eq!(pods(&changed(&mut folder).await), ["bank/two"]);
    });
}

#[test]
fn a_file_that_is_no_text_is_told_and_its_previous_version_stays() {
    run(async {
        let dir = TempDir::new();
        dir.write("a.yaml", &pod("one"));
        let mut folder = dir.open();
        folder.next().await;
        fs::write(dir.0.join("a.yaml"), [0xff, 0xfe, 0x00, 0x80]).unwrap();
        let snapshot = changed(&mut folder).await;
        assert_eq!(pods(&snapshot), ["bank/one"]);
        assert!(
            told(&snapshot)[0].contains("not UTF-8"),
            "{:?}",
            told(&snapshot)
        );
        dir.write("a.yaml", &pod("two"));
        assert_eq!(pods(&changed(&mut folder).await), ["bank/two"]);
    });
}

#[test]
fn what_does_not_fit_is_told_with_its_field() {
    let cases = [
        (
            "spec: {nodeName: 5, containers: []}",
            "Pod bank/p: spec.nodeName: invalid type",
        ),
        (
            "spec: {containers: [{name: a, ports: [{containerPort: http}]}]}",
            "Pod bank/p: spec.containers[0].ports[0].containerPort: invalid type",
        ),
        (
            "spec: {containers: [{name: a, ports: [{containerPort: 99999}]}]}",
            "spec.containers[0].ports[0].containerPort: 99999 is outside 1..=65535",
        ),
        (
            "spec: {containers: [{name: a, ports: [{containerPort: 80, protocol: ICMP}]}]}",
            "spec.containers[0].ports[0].protocol: \"ICMP\" is none of TCP, UDP, SCTP",
        ),
    ];
    run(async {
        for (spec, wanted) in cases {
            let dir = TempDir::new();
            let head = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: bank}\n";
            dir.write("a.yaml", &format!("{head}{spec}\n"));
            let told = told(&dir.open().next().await);
            assert!(
                told.len() == 1 && told[0].contains(wanted),
                "{wanted:?}: {told:?}"
            );
        }
        let dir = TempDir::new();
        let annotation = pod("p").replace(
            "namespace: bank",
            "namespace: bank, annotations: {ovn.kubernetes.io/egress_rate: 50}",
        );
        dir.write("a.yaml", &annotation);
        let told = told(&dir.open().next().await);
        let wanted = "metadata.annotations[ovn.kubernetes.io/egress_rate]: invalid type";
        assert!(told.len() == 1 && told[0].contains(wanted), "{told:?}");
    });
}

#[test]
fn what_is_no_object_is_told_with_what_it_lacks() {
    let cases = [
        (
            "kind: Pod\nmetadata: {name: p}",
            "p: apiVersion: is missing",
        ),
        ("apiVersion: v1\nmetadata: {name: p}", "p: kind: is missing"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {}",
            "Pod without a name: metadata.name: is missing",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: Web_1}",
            "metadata.name: \"Web_1\" is not a name",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a/b}",
            "metadata.namespace: \"a/b\" is not a name",
        ),
        (
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: p}",
            "apiVersion: \"discovery.k8s.io/v1beta1\" is not read; write discovery.k8s.io/v1",
        ),
        (
            "apiVersion: kubeovn.io/v1\nkind: Subnet\nmetadata: {name: s}\nspec: {}",
            "Subnet s: spec: missing field `cidrBlock`",
        ),
        ("just text", "apiVersion: is missing"),
    ];
    run(async {
        for (text, wanted) in cases {
            let dir = TempDir::new();
            dir.write("a.yaml", text);
            let told = told(&dir.open().next().await);
            assert!(
                told.len() == 1 && told[0].contains(wanted),
                "{wanted:?}: {told:?}"
            );
        }
    });
}

#[test]
fn fields_that_nobody_knows_or_that_are_not_supported_are_told_and_neutral_ones_are_not() {
    run(async {
        let dir = TempDir::new();
        dir.write(
            "a.yaml",
            "\
apiVersion: kubeovn.io/v1
kind: Subnet
metadata: {name: s}
spec:
  protocol: IPv4
  cidrBlock: 10.0.0.0/24
  vpc: ovn-cluster
  gatewayType: distributed
  private: false
  natOutgoing: true
  gatewayTpye: distributed
  acls: [{action: drop}]
status: {availableIPs: 5}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: bank}
spec:
  type: NodePort
  clusterIP: 10.96.0.1
  sessionAffinity: ClientIP
  internalTrafficPolicy: Cluster
  ports: [{port: 80, nodePort: 30080}]
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: bank}
spec: {nodname: node1, containers: [{name: a, ports: [{containerPort: 80, hostPort: 80}]}]}
",
        );
        let snapshot = dir.open().next().await;
        assert_eq!(snapshot.problems, [], "every object is in force");
        let mut told: Vec<_> = snapshot
            .view
            .problems
            .values()
            .flatten()
            .map(|p| format!("{} {}", p.object, p.field))
            .collect();
        told.sort();
        assert_eq!(
            told,
            [
                "Pod bank/p spec.containers[0].ports[0].hostPort",
                "Pod bank/p spec.nodname",
                "Subnet s spec.gatewayTpye",
            ]
        );
    });
}

#[test]
fn an_object_that_is_there_twice_is_told_and_the_first_file_is_followed() {
    run(async {
        let dir = TempDir::new();
        dir.write("a.yaml", &pod("one"));
        dir.write("b.yaml", &pod("one").replace("node1", "node2"));
        let snapshot = dir.open().next().await;
        let one = &snapshot.view.pods[&NamespacedName::new("bank", "one")];
        assert_eq!(one.node.as_deref(), Some("node1"));
        let told = told(&snapshot);
        assert!(
            told[0].contains("b.yaml:1: Pod bank/one: metadata.name: is in "),
            "{told:?}"
        );
        assert!(told[0].contains("a.yaml already"), "{told:?}");
    });
}

#[test]
fn a_folder_that_goes_away_takes_nothing_with_it_and_is_read_again_when_it_is_back() {
    run(async {
        let dir = TempDir::new();
        dir.write("a.yaml", &pod("one"));
        let mut folder = dir.open();
        folder.next().await;
        let away = dir.0.with_extension("away");
        fs::rename(&dir.0, &away).unwrap();
        let snapshot = changed(&mut folder).await;
        assert_eq!(pods(&snapshot), ["bank/one"]);
        assert!(told(&snapshot)[0].contains("stays in force"));
        fs::rename(&away, &dir.0).unwrap();
        assert_eq!(told(&changed(&mut folder).await), [""; 0]);
    });
}

#[test]
fn a_folder_that_another_takes_the_place_of_is_watched_on() {
    run(async {
        let dir = TempDir::new();
        dir.write("a.yaml", &pod("one"));
        let mut folder = dir.open();
        folder.next().await;
        let away = TempDir::new();
        fs::rename(&dir.0, away.0.join("old")).unwrap();
        fs::create_dir(&dir.0).unwrap();
        dir.write("a.yaml", &pod("two"));
        let two = |s: &Snapshot| pods(s) == ["bank/two"];
        until(&mut folder, two).await;
        // Several times, so that no look that was due anyway can be mistaken for notification.
        for name in ["three", "four", "five"] {
            dir.write("a.yaml", &pod(name));
            assert_eq!(pods(&changed(&mut folder).await), [format!("bank/{name}")]);
        }
    });
}

#[test]
fn a_picture_that_was_waited_for_in_vain_is_not_lost() {
    run(async {
        let dir = TempDir::new();
        let mut folder = dir.open();
        folder.next().await;
        dir.write("a.yaml", &pod("one"));
        // Given up again and again while the folder settles.
        for _ in 0..20 {
            let impatient = Duration::from_millis(5);
            if let Ok(snapshot) = tokio::time::timeout(impatient, folder.next()).await {
                assert_eq!(pods(&snapshot), ["bank/one"]);
                return;
            }
        }
        assert_eq!(pods(&changed(&mut folder).await), ["bank/one"]);
    });
}

#[test]
fn a_folder_that_is_not_there_is_refused_in_one_line() {
    let error = Folder::open(Path::new("/nonexistent/manifests"))
        .err()
        .unwrap();
    let error = error.to_string();
    assert!(
        error.contains("dir:/nonexistent/manifests") && !error.contains('\n'),
        "{error}"
    );
    let error = Folder::open(Path::new("/etc/hostname")).err().unwrap();
    assert!(error.to_string().contains("is not a folder"), "{error}");
}
