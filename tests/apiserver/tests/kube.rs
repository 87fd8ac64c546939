//! The unmodified kube client against the server.

use apiserver::{ApiServer, Fault, On, Options, Refusal};
use futures_util::{StreamExt as _, TryStreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use serde_json::json;

async fn client(server: &ApiServer) -> kube::Client {
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    kube::Client::try_from(config).unwrap()
}

async fn start() -> (ApiServer, kube::Client) {
    start_with(Options::default()).await
}

async fn start_with(options: Options) -> (ApiServer, kube::Client) {
    let server = ApiServer::start(options).await.unwrap();
    let client = client(&server).await;
    (server, client)
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i:1"}]},
    }))
    .unwrap()
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

fn pods(server: &ApiServer, count: usize) -> Result<(), Refusal> {
    for n in 0..count {
        server.apply_object(serde_json::to_value(pod(&format!("p{n:03}"))).unwrap())?;
    }
    Ok(())
}

#[tokio::test]
async fn an_object_is_created_once_read_replaced_by_version_and_deleted() {
    let (_server, client) = start().await;
    let api: Api<Pod> = Api::namespaced(client, "default");
    let made = api
        .create(&PostParams::default(), &pod("web"))
        .await
        .unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(
        made.status.as_ref().unwrap().phase.as_deref(),
        Some("Pending")
    );
    let again = api
        .create(&PostParams::default(), &pod("web"))
        .await
        .unwrap_err();
    assert_eq!(code(&again), 409);

    let mut mine = api.get("web").await.unwrap();
    let mut theirs = mine.clone();
    mine.metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("a".into(), "1".into());
    api.replace("web", &PostParams::default(), &mine)
        .await
        .unwrap();
    theirs
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("a".into(), "2".into());
    let stale = api
        .replace("web", &PostParams::default(), &theirs)
        .await
        .unwrap_err();
    assert_eq!(code(&stale), 409);

    // A bound Pod stays for its grace period; without one it goes at once.
    let kept = api
        .delete("web", &Default::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert!(kept.metadata.deletion_timestamp.is_some());
    assert_eq!(kept.metadata.deletion_grace_period_seconds, Some(30));
    assert!(api.get("web").await.is_ok());
    api.delete("web", &kube::api::DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert_eq!(code(&api.get("web").await.unwrap_err()), 404);
}

#[tokio::test]
async fn a_list_in_pages_shows_one_state_though_objects_change_between_them() {
    let (server, client) = start().await;
    pods(&server, 25).unwrap();
    let api: Api<Pod> = Api::all(client);
    let mut params = ListParams::default().limit(10);
    let first = api.list(&params).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(15));
    server.delete("Pod", "default", "p012").unwrap();
    server
        .apply_object(serde_json::to_value(pod("p0125")).unwrap())
        .unwrap();
    let mut names: Vec<String> = Vec::new();
    let mut page = first;
    loop {
        names.extend(page.items.iter().map(|p| p.metadata.name.clone().unwrap()));
        match page.metadata.continue_.filter(|t| !t.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
        page = api.list(&params).await.unwrap();
    }
    let wanted: Vec<String> = (0..25).map(|n| format!("p{n:03}")).collect();
    assert_eq!(names, wanted);

    let first = api.list(&ListParams::default().limit(10)).await.unwrap();
    server.compact();
    pods(&server, 1).unwrap();
    server
        .apply_object(serde_json::to_value(pod("later")).unwrap())
        .unwrap();
    server.compact();
    let token = first.metadata.continue_.unwrap();
    let expired = api
        .list(&ListParams::default().limit(10).continue_token(&token))
        .await;
    assert_eq!(code(&expired.unwrap_err()), 410);
}

#[tokio::test]
async fn a_watch_shows_what_a_selector_sees_come_and_go() {
    let (server, client) = start().await;
    let api: Api<Pod> = Api::all(client);
    let start = server.revision().to_string();
    let stream = api
        .watch(
            &WatchParams::default().labels("side=blue").timeout(20),
            &start,
        )
        .await
        .unwrap();
    pin_mut!(stream);
    pods(&server, 1).unwrap();
    server
        .patch(
            "Pod",
            "default",
            "p000",
            json!({"metadata": {"labels": {"side": "blue"}}}),
        )
        .unwrap();
    server
        .patch(
            "Pod",
            "default",
            "p000",
            json!({"metadata": {"labels": {"x": "y"}}}),
        )
        .unwrap();
    server
        .patch(
            "Pod",
            "default",
            "p000",
            json!({"metadata": {"labels": {"side": "red"}}}),
        )
        .unwrap();
    let last = server.revision().to_string();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match stream.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(_) => seen.push("added"),
            WatchEvent::Modified(_) => seen.push("modified"),
            WatchEvent::Deleted(gone) => {
                assert_eq!(gone.metadata.labels.unwrap()["side"], "blue");
                assert_eq!(gone.metadata.resource_version.unwrap(), last);
                seen.push("deleted");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["added", "modified", "deleted"]);
}

#[tokio::test]
async fn kubes_watcher_misses_nothing_while_watches_are_cut_expired_and_broken_in_the_middle() {
    for streaming in [false, true] {
        let (server, client) = start().await;
        pods(&server, 3).unwrap();
        let mut config = watcher::Config::default().page_size(2);
        if streaming {
            config = watcher::Config::default().streaming_lists();
        }
        let api: Api<Pod> = Api::all(client);
        let stream = watcher(api, config);
        pin_mut!(stream);
        let mut known = std::collections::BTreeSet::new();
        let mut rounds = 0;
        let mut troubles = 0;
        loop {
            let event = tokio::time::timeout(std::time::Duration::from_secs(20), stream.next())
                .await
                .unwrap()
                .unwrap();
            let name = |pod: &Pod| pod.metadata.name.clone().unwrap();
            match event {
                Ok(watcher::Event::Init) => known.clear(),
                Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod)) => {
                    known.insert(name(&pod));
                }
                Ok(watcher::Event::Delete(pod)) => {
                    known.remove(&name(&pod));
                }
                Ok(watcher::Event::InitDone) => {}
                Err(_) => troubles += 1,
            }
            let now: std::collections::BTreeSet<String> = server
                .list("Pod", "")
                .iter()
                .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
                .collect();
            if known != now {
                continue;
            }
            rounds += 1;
            let new = pod(&format!("round{rounds}"));
            match rounds {
                1 => server.faults().cut_watches(),
                2 => server.faults().fail_watches(410),
                3 => server.faults().cut_watches_in_event(),
                4 => server.faults().close_watches(),
                5 => server.faults().fail_watches(500),
                6 => {
                    server.delete("Pod", "default", "p001").unwrap();
                    server.compact();
                    server.faults().cut_watches();
                }
                _ => break,
            }
            server
                .apply_object(serde_json::to_value(new).unwrap())
                .unwrap();
        }
        assert!(troubles >= 3, "streaming {streaming}: {troubles}");
        assert!(!known.contains("p001"));
    }
}

#[tokio::test]
async fn server_side_apply_shares_fields_refuses_to_steal_them_and_takes_back_its_own() {
    let (server, client) = start().await;
    let api: Api<Namespace> = Api::all(client);
    let apply = |value: serde_json::Value| {
        Patch::Apply(json!({"apiVersion": "v1", "kind": "Namespace",
                            "metadata": {"name": "bank", "annotations": value}}))
    };
    let (a, b) = (PatchParams::apply("a"), PatchParams::apply("b"));
    api.patch("bank", &a, &apply(json!({"x": "1", "y": "1"})))
        .await
        .unwrap();
    // The same value may be two managers'.
    api.patch("bank", &b, &apply(json!({"x": "1", "z": "1"})))
        .await
        .unwrap();
    let refused = api
        .patch("bank", &b, &apply(json!({"x": "2", "z": "1"})))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), 409);
    assert!(
        refused
            .to_string()
            .contains("conflict with \"a\" using v1: .metadata.annotations.x"),
        "{refused}"
    );
    // Nothing changes without a change.
    let before = server.revision();
    api.patch("bank", &b, &apply(json!({"x": "1", "z": "1"})))
        .await
        .unwrap();
    assert_eq!(server.revision(), before);
    // What a manager leaves out goes, unless another has it.
    api.patch("bank", &a, &apply(json!({"y": "1"})))
        .await
        .unwrap();
    let annotations = |server: &ApiServer| {
        server.get("Namespace", "", "bank").unwrap()["metadata"]["annotations"].clone()
    };
    assert_eq!(annotations(&server), json!({"x": "1", "y": "1", "z": "1"}));
    api.patch("bank", &b, &apply(json!({"z": "1"})))
        .await
        .unwrap();
    assert_eq!(annotations(&server), json!({"y": "1", "z": "1"}));
    // By force it takes it.
    api.patch("bank", &b.clone().force(), &apply(json!({"y": "2"})))
        .await
        .unwrap();
    assert_eq!(annotations(&server), json!({"y": "2"}));
    let lost = api
        .patch("bank", &a, &apply(json!({"y": "1"})))
        .await
        .unwrap_err();
    assert_eq!(code(&lost), 409);
    // A merge patch takes without asking.
    server
        .patch(
            "Namespace",
            "",
            "bank",
            json!({"metadata": {"annotations": {"y": "3"}}}),
        )
        .unwrap();
    let managers =
        server.get("Namespace", "", "bank").unwrap()["metadata"]["managedFields"].to_string();
    assert!(!managers.contains("\"b\""), "{managers}");
}

#[tokio::test]
async fn status_is_written_apart_and_conditions_of_two_managers_stand_side_by_side() {
    let (server, client) = start().await;
    let api: Api<Pod> = Api::namespaced(client, "default");
    let mut new = pod("web");
    new.status = serde_json::from_value(json!({"phase": "Running"})).unwrap();
    let made = api.create(&PostParams::default(), &new).await.unwrap();
    assert_eq!(made.status.unwrap().phase.as_deref(), Some("Pending"));
    for (manager, condition) in [("kubelet", "Ready"), ("sluice", "sluice.io/drained")] {
        let status = json!({"apiVersion": "v1", "kind": "Pod", "status": {"conditions": [
            {"type": condition, "status": "True"}]}});
        api.patch_status("web", &PatchParams::apply(manager), &Patch::Apply(status))
            .await
            .unwrap();
    }
    let types: Vec<String> = server.get("Pod", "default", "web").unwrap()["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(types, ["Ready", "sluice.io/drained"]);
    // A strategic merge patch knows the key too.
    let patch = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}});
    let patched = api
        .patch_status("web", &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .unwrap();
    assert_eq!(patched.status.unwrap().conditions.unwrap().len(), 2);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_has_taken_effect() {
    let (server, client) = start().await;
    let api: Api<Pod> = Api::namespaced(client, "default");
    server
        .faults()
        .next(1, On::verb("create", "pods"), Fault::DropAfter);
    assert!(
        api.create(&PostParams::default(), &pod("web"))
            .await
            .is_err()
    );
    assert!(api.get("web").await.is_ok());
    server
        .faults()
        .next(1, On::verb("create", "pods"), Fault::Drop);
    assert!(
        api.create(&PostParams::default(), &pod("db"))
            .await
            .is_err()
    );
    assert_eq!(code(&api.get("db").await.unwrap_err()), 404);
    server
        .faults()
        .next(1, On::verb("get", "pods"), Fault::Status(500));
    assert_eq!(code(&api.get("web").await.unwrap_err()), 500);
    server.faults().down();
    assert!(api.get("web").await.is_err());
    server.faults().up();
    let mut up = false;
    for _ in 0..50 {
        up = api.get("web").await.is_ok();
        if up {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(up);
}
