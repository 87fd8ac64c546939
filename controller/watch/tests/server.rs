//! An API server as the source: the same picture as the folder gives, whatever goes wrong on the
//! way; and what is written there.

use std::path::Path;
use std::time::Duration;

use apiserver::{ApiServer, Fault, On, Options};
use cluster::view::{ClusterView, Meta};
use cluster::writes::{Condition, Notice, Wanted};
use cluster::{Changes, Kind, ObjectRef};
use serde_json::{Value, json};
use watch::{Connection, Folder, Server, Snapshot, Source, Timing, Writer};

/// As the real ones, only faster.
fn timing() -> Timing {
    Timing {
        page: 3,
        silence: Duration::from_millis(400),
        retry: (Duration::from_millis(20), Duration::from_millis(200)),
        absent: Duration::from_millis(100),
        ..Timing::default()
    }
}

fn deploy(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    let read = |file| std::fs::read_to_string(file).unwrap();
    files.into_iter().map(read).collect()
}

async fn start() -> ApiServer {
    let server = ApiServer::start(Options {
        bookmark_interval: Duration::from_millis(100),
        ..Options::default()
    })
    .await
    .unwrap();
    for crd in deploy("crds") {
        server.apply(&crd).unwrap();
    }
    server
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: bank}}")
        .unwrap();
    server
}

async fn watch(server: &ApiServer) -> (Server, Writer) {
    let connection = Connection::open(Some(server.kubeconfig())).await.unwrap();
    let source = Server::watch(&connection, timing());
    let writer = source.writer(&connection);
    (source, writer)
}

fn pod(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "bank", "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
    })
}

async fn next(source: &mut Server) -> Snapshot {
    let next = tokio::time::timeout(Duration::from_secs(20), source.next());
    next.await.expect("another picture")
}

/// The next picture that is as wished; `seen` gets those before.
async fn until(
    source: &mut Server,
    mut seen: impl FnMut(&Snapshot),
    wished: impl Fn(&Snapshot) -> bool,
) -> Snapshot {
    loop {
        let snapshot = next(source).await;
        if wished(&snapshot) {
            return snapshot;
        }
        seen(&snapshot);
    }
}

fn has_pod(snapshot: &Snapshot, name: &str) -> bool {
    let name = format!("bank/{name}").parse().unwrap();
    snapshot.view.pods.contains_key(&name)
}

fn pod_ref(name: &str) -> ObjectRef {
    ObjectRef::namespaced(Kind::Pod, &format!("bank/{name}").parse().unwrap())
}

#[tokio::test]
async fn a_server_gives_the_picture_that_a_folder_of_the_same_manifests_gives() {
    let server = start().await;
    for manifest in deploy("examples/bank") {
        server.apply(&manifest).unwrap();
    }
    let (mut source, _) = watch(&server).await;
    let first = next(&mut source).await;
    assert_eq!(first.changed, Changes::Everything);
    assert_eq!(first.problems, []);
    assert!(first.view.complete);
    let bank = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples/bank");
    let folder = Folder::open(&bank).unwrap().next().await;
    /// What only a server gives.
    fn plain(meta: &mut Meta) {
        meta.uid = None;
        meta.created = None;
        meta.labels.remove("kubernetes.io/metadata.name");
    }
    let comparable = |mut view: ClusterView| {
        view.nodes.for_each_mut(|_, o| plain(&mut o.meta));
        view.namespaces.retain(|name, _| name == "bank");
        view.namespaces.for_each_mut(|_, o| plain(&mut o.meta));
        view.pods.for_each_mut(|_, pod| {
            plain(&mut pod.meta);
            // The server gives new pods the phase Pending.
            pod.ready = None;
        });
        view.services.retain(|name, _| name.namespace == "bank");
        view.services.for_each_mut(|_, o| plain(&mut o.meta));
        view.endpoint_slices.for_each_mut(|_, o| plain(&mut o.meta));
        view.subnets.for_each_mut(|_, o| plain(&mut o.meta));
        view.vlans.for_each_mut(|_, o| plain(&mut o.meta));
        view.provider_networks
            .for_each_mut(|_, o| plain(&mut o.meta));
        view
    };
    let served = comparable((*first.view).clone());
    let folder = comparable((*folder.view).clone());
    assert_eq!(served.pods, folder.pods);
    assert_eq!(served.subnets, folder.subnets);
    assert_eq!(served.services, folder.services);
    assert_eq!(served, folder);
}

#[tokio::test]
async fn a_change_names_its_object_and_what_concerns_nobody_is_no_change() {
    let server = start().await;
    server.apply_object(pod("a", json!({}))).unwrap();
    let (mut source, _) = watch(&server).await;
    // Who must not copy the view keeps hold of it so, until there is another.
    let view = std::sync::Arc::downgrade(&next(&mut source).await.view);
    server
        .patch_status("pods", "bank", "a", json!({"message": "of no concern"}))
        .unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(100), source.next());
    assert!(quiet.await.is_err(), "no picture of what is of no concern");
    assert!(
        view.upgrade().is_some(),
        "and the view is the one given out"
    );
    server.apply_object(pod("b", json!({}))).unwrap();
    let snapshot = next(&mut source).await;
    assert_eq!(snapshot.changed, Changes::Objects([pod_ref("b")].into()));
    server.delete("pods", "bank", "a").unwrap();
    let snapshot = until(&mut source, |_| {}, |s| !has_pod(s, "a")).await;
    assert!(snapshot.changed.may_concern(&pod_ref("a")));
    assert!(!snapshot.changed.may_concern(&pod_ref("b")));
}

#[tokio::test]
async fn many_changes_at_once_are_few_pictures_and_nothing_is_lost_in_pages() {
    let server = start().await;
    for number in 0..20 {
        let pod = pod(&format!("p{number}"), json!({}));
        server.apply_object(pod).unwrap();
    }
    let (mut source, _) = watch(&server).await;
    assert_eq!(next(&mut source).await.view.pods.len(), 20);
    assert!(server.faults().count("list", "pods") >= 7, "pages of three");
    for number in 20..220 {
        let pod = pod(&format!("p{number}"), json!({}));
        server.apply_object(pod).unwrap();
    }
    let mut pictures = 0;
    until(&mut source, |_| pictures += 1, |s| s.view.pods.len() == 220).await;
    assert!(pictures < 100, "{pictures}");
}

/// Whatever goes wrong, what is there stays in the picture all the while, what came and went
/// meanwhile is seen afterwards, and nothing is told of objects that did not change.
async fn survives(fault: impl FnOnce(&ApiServer), mend: impl FnOnce(&ApiServer)) {
    let server = start().await;
    for name in ["stays", "goes"] {
        server.apply_object(pod(name, json!({}))).unwrap();
    }
    let (mut source, _) = watch(&server).await;
    next(&mut source).await;
    fault(&server);
    server.apply_object(pod("comes", json!({}))).unwrap();
    server.delete("pods", "bank", "goes").unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    mend(&server);
    let mut changed = Changes::none();
    let mut see = |snapshot: &Snapshot| {
        assert!(has_pod(snapshot, "stays") && snapshot.view.complete);
        changed.merge(snapshot.changed.clone());
    };
    let right = |s: &Snapshot| has_pod(s, "comes") && !has_pod(s, "goes") && s.problems.is_empty();
    let last = until(&mut source, &mut see, right).await;
    see(&last);
    let expected = [pod_ref("comes"), pod_ref("goes")].into();
    assert_eq!(changed, Changes::Objects(expected));
}

#[tokio::test]
async fn watches_that_end_or_are_cut_go_on_from_where_they_were() {
    survives(|s| s.faults().close_watches(), |_| {}).await;
    survives(|s| s.faults().cut_watches(), |_| {}).await;
    survives(|s| s.faults().cut_watches_in_event(), |_| {}).await;
}

#[tokio::test]
async fn a_server_that_has_forgotten_where_we_were_is_listed_anew() {
    survives(|s| s.faults().fail_watches(410), |_| {}).await;
    let forget = |s: &ApiServer| {
        s.faults()
            .always(On::verb("watch", "pods"), Fault::Status(503));
        s.faults().cut_watches();
    };
    let mend = |s: &ApiServer| {
        s.compact();
        s.faults().clear();
    };
    survives(forget, mend).await;
}

#[tokio::test]
async fn errors_in_a_watch_and_servers_that_are_away_are_lived_with() {
    survives(|s| s.faults().fail_watches(500), |_| {}).await;
    survives(|s| s.faults().fail_watches(403), |_| {}).await;
    survives(|s| s.faults().down(), |s| s.faults().up()).await;
    let refuse = |s: &ApiServer| {
        s.faults().cut_watches();
        s.faults().always(On::everything(), Fault::Status(429));
    };
    survives(refuse, |s| s.faults().clear()).await;
}

#[tokio::test]
async fn a_server_that_is_silent_or_slow_is_asked_again() {
    let silent = |s: &ApiServer| s.faults().mute_watches(true);
    survives(silent, |s| s.faults().mute_watches(false)).await;
    let slow = |s: &ApiServer| {
        s.faults().cut_watches();
        let delay = Fault::Delay(Duration::from_millis(150));
        s.faults().always(On::everything(), delay);
    };
    survives(slow, |_| {}).await;
    // Without bookmarks every silence is taken for a dead server; that costs a request, no more.
    survives(|s| s.faults().no_bookmarks(), |_| {}).await;
}

#[tokio::test]
async fn nothing_is_said_before_every_kind_is_known() {
    let server = start().await;
    server
        .faults()
        .always(On::verb("list", "services"), Fault::Status(500));
    let (mut source, _) = watch(&server).await;
    let early = tokio::time::timeout(Duration::from_millis(600), source.next()).await;
    assert!(early.is_err(), "{early:?}");
    server.faults().clear();
    assert!(next(&mut source).await.view.complete);
}

#[tokio::test]
async fn a_kind_that_is_not_installed_is_told_and_appears_when_it_is() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let (mut source, _) = watch(&server).await;
    let first = until(&mut source, |_| {}, |s| s.problems.len() == 6).await;
    assert!(first.view.complete);
    let told: Vec<_> = first.problems.iter().map(|p| p.to_string()).collect();
    let subnet = told.iter().find(|t| t.contains(": Subnet:")).unwrap();
    assert!(subnet.contains("apply deploy/crds"), "{subnet}");
    for crd in deploy("crds") {
        server.apply(&crd).unwrap();
    }
    server
        .apply("{apiVersion: kubeovn.io/v1, kind: Subnet, metadata: {name: a}, spec: {cidrBlock: 10.16.0.0/16}}")
        .unwrap();
    let there = |s: &Snapshot| s.view.subnets.contains_key("a") && s.problems.is_empty();
    until(&mut source, |_| {}, there).await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_told_on_it_and_its_last_version_stays() {
    let server = start().await;
    let subnet = |cidr: &str, operator: &str| {
        json!({
            "apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": "a"},
            "spec": {"cidrBlock": cidr, "namespaceSelectors": [
                {"matchExpressions": [{"key": "a", "operator": operator}]}]},
        })
    };
    let object = ObjectRef::cluster(Kind::Subnet, "a");
    server
        .apply_object(subnet("10.16.0.0/16", "Perhaps"))
        .unwrap();
    let (mut source, _) = watch(&server).await;
    let first = next(&mut source).await;
    assert!(!first.view.complete, "it may speak of what is in force");
    let told = first.view.problems[&object][0].to_string();
    assert!(
        told.contains("namespaceSelectors[0]") && told.contains("Perhaps"),
        "{told}"
    );
    server
        .apply_object(subnet("10.16.0.0/16", "Exists"))
        .unwrap();
    let good = until(&mut source, |_| {}, |s| s.view.problems.is_empty()).await;
    assert!(good.view.complete && good.view.subnets.contains_key("a"));
    server
        .apply_object(subnet("10.17.0.0/16", "Perhaps"))
        .unwrap();
    let spoilt = until(&mut source, |_| {}, |s| !s.view.problems.is_empty()).await;
    assert!(spoilt.view.complete);
    assert_eq!(spoilt.view.subnets, good.view.subnets);
    assert_eq!(spoilt.changed, Changes::Objects([object].into()));
}

/// What is written.
struct Writing {
    server: ApiServer,
    source: Server,
    writer: Writer,
    _run: tokio::task::JoinHandle<()>,
}

impl Writing {
    async fn start() -> Self {
        let server = start().await;
        server
            .apply_object(pod("web", json!({"app": "web"})))
            .unwrap();
        server
            .apply("{apiVersion: kubeovn.io/v1, kind: Subnet, metadata: {name: a}, spec: {cidrBlock: 10.16.0.0/16}}")
            .unwrap();
        let (mut source, writer) = watch(&server).await;
        next(&mut source).await;
        let runs = writer.clone();
        let _run = tokio::spawn(async move { runs.run().await });
        Writing {
            server,
            source,
            writer,
            _run,
        }
    }

    /// Waits until an object is as wished, while the source goes on.
    async fn wait(&mut self, kind: &str, name: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let namespace = if kind == "pods" { "bank" } else { "" };
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let object = self.server.get(kind, namespace, name).unwrap_or_default();
            if wished(&object) {
                return object;
            }
            assert!(tokio::time::Instant::now() < end, "{object:#}");
            let pause = Duration::from_millis(20);
            let _ = tokio::time::timeout(pause, self.source.next()).await;
        }
    }

    fn writes(&self) -> usize {
        self.server.faults().count("patch", "")
            + self.server.faults().count("create", "")
            + self.server.faults().count("delete", "")
    }
}

fn annotated(pairs: &[(&str, &str)]) -> Wanted {
    let pairs = pairs.iter();
    Wanted {
        annotations: pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ..Wanted::default()
    }
}

#[tokio::test]
async fn what_is_wanted_stands_on_the_object_beside_what_others_wrote_and_is_taken_off_again() {
    let mut writing = Writing::start().await;
    let key = "ovn.kubernetes.io/allocated";
    let wanted = annotated(&[(key, "true"), ("sluice.io/mtu", "1400")]);
    writing.writer.want(&pod_ref("web"), Some(wanted));
    let allocated = |o: &Value| o["metadata"]["annotations"][key] == "true";
    let object = writing.wait("pods", "web", allocated).await;
    assert_eq!(object["metadata"]["labels"]["app"], "web");
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|m| m["manager"] == "sluice-controller"));
    let removed = writing.server.patch(
        "pods",
        "bank",
        "web",
        json!({"metadata": {"annotations": {key: null, "theirs": "x"}}}),
    );
    removed.unwrap();
    let healed = writing.wait("pods", "web", allocated).await;
    assert_eq!(healed["metadata"]["annotations"]["theirs"], "x");
    writing
        .writer
        .want(&pod_ref("web"), Some(Wanted::default()));
    let off = |o: &Value| o["metadata"]["annotations"].get(key).is_none();
    let object = writing.wait("pods", "web", off).await;
    assert_eq!(object["metadata"]["annotations"], json!({"theirs": "x"}));
}

#[tokio::test]
async fn status_and_conditions_stand_and_a_successor_writes_nothing() {
    let mut writing = Writing::start().await;
    let mut wanted = Wanted::default();
    wanted.status.insert("v4usingIPs".into(), json!(3));
    let condition = Condition {
        status: false,
        reason: "Pending".into(),
        message: "not yet".into(),
    };
    wanted.conditions.insert("Ready".into(), condition.clone());
    let subnet = ObjectRef::cluster(Kind::Subnet, "a");
    writing.writer.want(&subnet, Some(wanted.clone()));
    let ready =
        |status: &'static str| move |o: &Value| o["status"]["conditions"][0]["status"] == status;
    let object = writing.wait("subnets", "a", ready("False")).await;
    assert_eq!(object["status"]["v4usingIPs"], 3);
    assert_eq!(object["spec"]["cidrBlock"], "10.16.0.0/16");
    let condition = Condition {
        status: true,
        ..condition
    };
    wanted.conditions.insert("Ready".into(), condition);
    writing.writer.want(&subnet, Some(wanted.clone()));
    let object = writing.wait("subnets", "a", ready("True")).await;
    assert_eq!(object["status"]["conditions"].as_array().unwrap().len(), 1);

    let before = writing.writes();
    let (mut source, writer) = watch(&writing.server).await;
    next(&mut source).await;
    let runs = writer.clone();
    let run = tokio::spawn(async move { runs.run().await });
    writer.want(&subnet, Some(wanted));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(writing.writes(), before);
    run.abort();
}

#[tokio::test]
async fn writes_that_fail_are_tried_again_and_one_without_an_answer_is_not_done_twice_in_vain() {
    let mut writing = Writing::start().await;
    let faults = writing.server.faults().clone();
    faults.next(2, On::verb("patch", "pods"), Fault::Status(500));
    faults.next(1, On::verb("patch", "pods"), Fault::Drop);
    faults.next(1, On::verb("patch", "pods"), Fault::DropAfter);
    let key = "ovn.kubernetes.io/allocated";
    writing
        .writer
        .want(&pod_ref("web"), Some(annotated(&[(key, "true")])));
    let allocated = |o: &Value| o["metadata"]["annotations"][key] == "true";
    writing.wait("pods", "web", allocated).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(faults.count("patch", "pods") <= 5);
}

#[tokio::test]
async fn a_pod_that_was_replaced_meanwhile_does_not_get_what_was_meant_for_the_former_and_is_not_made()
 {
    let mut writing = Writing::start().await;
    writing.server.faults().mute_watches(true);
    writing.server.delete("pods", "bank", "web").unwrap();
    let key = "ovn.kubernetes.io/allocated";
    writing
        .writer
        .want(&pod_ref("web"), Some(annotated(&[(key, "true")])));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(writing.server.get("pods", "bank", "web").is_none());
    writing.server.apply_object(pod("web", json!({}))).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let object = writing.server.get("pods", "bank", "web").unwrap();
    assert!(
        object["metadata"]["annotations"].get(key).is_none(),
        "{object:#}"
    );
    writing.server.faults().mute_watches(false);
    // Now it is known, and what is wanted of a pod of that name is written on it.
    writing
        .wait("pods", "web", |o| {
            o["metadata"]["annotations"][key] == "true"
        })
        .await;
}

#[tokio::test]
async fn events_are_told_once_and_counted_when_they_come_again() {
    let mut writing = Writing::start().await;
    let notice = Notice {
        object: ObjectRef::cluster(Kind::Subnet, "a"),
        warning: true,
        reason: "Refused",
        note: "spec.gateway: is wrong; correct it".into(),
    };
    let events = |server: &ApiServer| server.list("Event", "default");
    for round in 1..=3 {
        writing.writer.tell(notice.clone());
        let end = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let all = events(&writing.server);
            if let [event] = all.as_slice() {
                let count = event["series"]["count"].as_i64().unwrap_or(1);
                if count == round {
                    break;
                }
            }
            assert!(tokio::time::Instant::now() < end, "{all:#?}");
            let _ = tokio::time::timeout(Duration::from_millis(20), writing.source.next()).await;
        }
    }
    // Who begins anew and finds the same says nothing new; what follows is told after it.
    let other = Notice {
        note: "spec.mtu: is wrong; correct it".into(),
        ..notice.clone()
    };
    writing.writer.tell_standing(notice.clone());
    writing.writer.tell_standing(other);
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while events(&writing.server).len() < 2 {
        assert!(tokio::time::Instant::now() < end);
        let _ = tokio::time::timeout(Duration::from_millis(20), writing.source.next()).await;
    }
    let mut all = events(&writing.server);
    all.retain(|event| event["series"]["count"] == 3);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0]["involvedObject"]["name"], "a");
    assert_eq!(all[0]["type"], "Warning");
}

/// The definitions that a cluster has which comes from Kube-OVN.
const OTHER_DEFINITIONS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: subnets.kubeovn.io}
spec:
  group: kubeovn.io
  scope: Cluster
  names: {kind: Subnet, listKind: SubnetList, plural: subnets, singular: subnet}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {cidrBlock: {type: string}}}
            status: {type: object, properties: {v4usingIPs: {type: number}}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: vips.kubeovn.io}
spec:
  group: kubeovn.io
  scope: Cluster
  names: {kind: Vip, listKind: VipList, plural: vips, singular: vip}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {subnet: {type: string}}}
            status: {type: object, properties: {v4ip: {type: string}}}
";

#[tokio::test]
async fn of_a_status_that_is_declared_otherwise_what_has_a_place_is_written() {
    let mut writing = Writing::start().await;
    writing.server.apply(OTHER_DEFINITIONS).unwrap();
    writing
        .server
        .apply("{apiVersion: kubeovn.io/v1, kind: Vip, metadata: {name: b}, spec: {subnet: a}}")
        .unwrap();
    let wanted = |field: &str, value: Value| {
        let mut wanted = Wanted::default();
        wanted.status.insert(field.into(), value);
        wanted.status.insert("inForce".into(), json!({"x": 1}));
        let condition = Condition {
            status: true,
            reason: "InForce".into(),
            message: String::new(),
        };
        wanted.conditions.insert("Ready".into(), condition);
        Some(wanted)
    };
    let subnet = ObjectRef::cluster(Kind::Subnet, "a");
    writing.writer.want(&subnet, wanted("v4usingIPs", json!(3)));
    let object = writing
        .wait("subnets", "a", |o| o["status"]["v4usingIPs"] == 3)
        .await;
    assert_eq!(object["status"], json!({"v4usingIPs": 3}));
    // Without the subresource, the status is written with the object.
    let vip = ObjectRef::cluster(Kind::Vip, "b");
    writing
        .writer
        .want(&vip, wanted("v4ip", json!("10.16.0.2")));
    let object = writing
        .wait("vips", "b", |o| o["status"]["v4ip"] == "10.16.0.2")
        .await;
    assert_eq!(object["spec"]["subnet"], "a");
    let before = writing.writes();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        writing.writes(),
        before,
        "what has no place is not tried again"
    );
}
