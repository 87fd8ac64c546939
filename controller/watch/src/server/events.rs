//! Events about objects (`events.k8s.io/v1`): one for each thing, counted when it comes again, and
//! not more a second than a server can keep.

use std::collections::VecDeque;
use std::time::Duration;

use cluster::writes::{MANAGER, Notice};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::board::Board;
use super::connection::{Connection, RequestError};

/// Events at once, and then one each ...
const BURST: u32 = 25;
/// ... of these.
const EACH: Duration = Duration::from_millis(200);

/// Those that wait; of more the oldest are dropped, since conditions say it too.
const WAITING: usize = 1000;

/// Where the Events of objects go that have no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct News {
    pub(super) notice: Notice,
    /// It was so when we began: whoever was before us may have told it, and then it is no news.
    pub(super) standing: bool,
}

/// Tells what comes, for ever.
pub(super) async fn tell(
    connection: &Connection,
    board: &Board,
    notices: &mut mpsc::UnboundedReceiver<News>,
) {
    let mut waiting: VecDeque<News> = VecDeque::new();
    let (mut tokens, mut filled) = (BURST, Instant::now());
    let mut dropped = 0u64;
    loop {
        if waiting.is_empty() {
            match notices.recv().await {
                Some(notice) => waiting.push_back(notice),
                None => return,
            }
        }
        while let Ok(notice) = notices.try_recv() {
            if !waiting.contains(&notice) {
                waiting.push_back(notice);
            }
            if waiting.len() > WAITING {
                waiting.pop_front();
                dropped += 1;
            }
        }
        while filled.elapsed() >= EACH && tokens < BURST {
            filled += EACH;
            tokens += 1;
        }
        if tokens == BURST {
            filled = Instant::now();
        }
        if tokens == 0 {
            sleep(EACH).await;
            continue;
        }
        let Some(News { notice, standing }) = waiting.pop_front() else {
            continue;
        };
        tokens -= 1;
        if dropped > 0 {
            tracing::warn!("{dropped} Events dropped; the log and the conditions have them");
            dropped = 0;
        }
        // Of an object that is gone there is nothing to tell.
        if let Some(uid) = board.uid(&notice.object)
            && let Err(error) = send(connection, &notice, standing, &uid).await
        {
            tracing::debug!("{}: no Event: {error}", notice.object);
        }
    }
}

async fn send(
    connection: &Connection,
    notice: &Notice,
    standing: bool,
    uid: &str,
) -> Result<(), RequestError> {
    let broken = |error: kube::core::request::Error| RequestError::Broken(error.to_string());
    let now = Timestamp::now();
    let event = event(notice, uid, now);
    let namespace = event["metadata"]["namespace"].as_str().unwrap_or_default();
    let name = event["metadata"]["name"].as_str().unwrap_or_default();
    let events = Request::new(format!(
        "/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    ));
    let body = serde_json::to_vec(&event).unwrap_or_default();
    let request = events
        .create(&PostParams::default(), body)
        .map_err(broken)?;
    match connection.ask(request).await {
        Ok(_) => return Ok(()),
        Err(error) if error.code() == Some(409) && standing => return Ok(()),
        Err(error) if error.code() == Some(409) => {}
        Err(error) => return Err(error),
    }
    // It has been told before: once more of the same.
    let request = events.get(name, &Default::default()).map_err(broken)?;
    let standing = connection.ask(request).await?;
    let count = standing.pointer("/series/count").and_then(Value::as_i64);
    let series = json!({"series": {
        "count": count.unwrap_or(1).saturating_add(1),
        "lastObservedTime": micro(now),
    }});
    let params = PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    };
    let request = events.patch(name, &params, &Patch::Merge(series));
    connection.ask(request.map_err(broken)?).await.map(drop)
}

/// The Event. Its name derives from what it says, so that the same thing is the same Event, to
/// whoever comes after us too.
fn event(notice: &Notice, uid: &str, now: Timestamp) -> Value {
    let object = &notice.object;
    let namespace = object.namespace.as_deref();
    let hash = fnv(&[uid, notice.reason, &notice.note]);
    let stem = object.name.get(..200).unwrap_or(&object.name);
    let stem = stem.trim_end_matches(['.', '-']);
    let mut regarding = json!({
        "apiVersion": object.kind.api_version(),
        "kind": object.kind.as_str(),
        "name": object.name,
        "uid": uid,
    });
    if let Some(namespace) = namespace {
        regarding["namespace"] = json!(namespace);
    }
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": format!("{stem}.{hash:016x}"),
            "namespace": namespace.unwrap_or(DEFAULT_NAMESPACE),
        },
        "eventTime": micro(now),
        "reportingController": "sluice.io/controller",
        "reportingInstance": MANAGER,
        "action": "Configure",
        "reason": notice.reason,
        "type": if notice.warning { "Warning" } else { "Normal" },
        "note": notice.note,
        "regarding": regarding,
    })
}

/// `metav1.MicroTime`
fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// FNV-1a, 64 bits: the same in every process.
fn fnv(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::{Kind, ObjectRef};

    #[test]
    fn an_event_names_its_object_and_the_same_thing_is_the_same_event() {
        let notice = |object: ObjectRef, note: &str| Notice {
            object,
            warning: true,
            reason: "Refused",
            note: note.into(),
        };
        let subnet = notice(ObjectRef::cluster(Kind::Subnet, "a"), "x");
        let now: Timestamp = "2026-11-20T19:00:00.5Z".parse().unwrap();
        let first = event(&subnet, "u", now);
        assert_eq!(first["metadata"]["namespace"], "default");
        assert_eq!(first["regarding"]["kind"], "Subnet");
        assert_eq!(first["eventTime"], "2026-11-20T19:00:00.500000Z");
        assert_eq!(first["type"], "Warning");
        let later: Timestamp = "2026-11-21T19:00:00Z".parse().unwrap();
        let name = |event: &Value| event["metadata"]["name"].clone();
        assert_eq!(name(&event(&subnet, "u", later)), name(&first));
        assert_ne!(name(&event(&subnet, "v", now)), name(&first));
        let pod = ObjectRef::namespaced(Kind::Pod, &"bank/web".parse().unwrap());
        let pod = event(&notice(pod, "y"), "u", now);
        assert_eq!(pod["metadata"]["namespace"], "bank");
        assert_eq!(pod["regarding"]["namespace"], "bank");
    }
}
