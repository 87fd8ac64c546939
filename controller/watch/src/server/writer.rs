//! Writes what shall stand on objects, by server-side apply, and tells Events.

use std::sync::Arc;

use cluster::writes::{MANAGER, Notice, Wanted};
use cluster::{Kind, ObjectRef};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::board::{Board, Job, Outcome, Want, status_text};
use super::connection::{Connection, RequestError};
use super::events::{self, News};
use super::lacking::lacking;
use super::observed::Observed;
use super::resource;

/// Requests under way at once: enough to fill a round trip, few enough to leave the server to
/// others.
const AT_ONCE: usize = 16;

/// Writes to an API server. Nothing is sent before [`Writer::run`].
#[derive(Clone, Debug)]
pub struct Writer {
    connection: Connection,
    board: Board,
    notices: mpsc::UnboundedSender<News>,
    notices_out: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<News>>>,
}

impl Writer {
    pub(super) fn new(connection: Connection, board: Board) -> Self {
        let (notices, out) = mpsc::unbounded_channel();
        Writer {
            connection,
            board,
            notices,
            notices_out: Arc::new(tokio::sync::Mutex::new(out)),
        }
    }

    /// What shall stand on an object; `None` leaves it as it is.
    pub fn want(&self, object: &ObjectRef, wanted: Option<Wanted>) {
        let want = wanted.map(|wanted| Want::Stand(Box::new(wanted)));
        self.board.want(object, want);
    }

    /// An object of ours shall be deleted.
    pub fn want_gone(&self, object: &ObjectRef) {
        self.board.want(object, Some(Want::Gone));
    }

    /// Every object about which something is wanted.
    pub fn wanted(&self) -> Vec<ObjectRef> {
        self.board.wanted()
    }

    /// Tells something about an object.
    pub fn tell(&self, notice: Notice) {
        // The receiver lives as long as we do.
        let _ = self.notices.send(News {
            notice,
            standing: false,
        });
    }

    /// Tells what was found at the beginning, unless somebody before us has.
    pub fn tell_standing(&self, notice: Notice) {
        let _ = self.notices.send(News {
            notice,
            standing: true,
        });
    }

    /// Writes for ever; to be dropped when somebody else is to write. What is under way then may
    /// still arrive.
    pub async fn run(&self) {
        let events = async {
            // One at a time; another run waits until the former one is over.
            let mut notices = self.notices_out.lock().await;
            events::tell(&self.connection, &self.board, &mut notices).await;
        };
        tokio::join!(self.write(), events);
    }

    async fn write(&self) {
        self.board.begin_anew();
        let mut under_way = JoinSet::new();
        let mut told = Told::default();
        loop {
            while under_way.len() < AT_ONCE
                && let Some(job) = self.board.take()
            {
                let connection = self.connection.clone();
                under_way.spawn(async move {
                    let result = send(&connection, &job).await;
                    (job, result)
                });
            }
            tokio::select! {
                Some(done) = under_way.join_next() => {
                    let Ok((job, result)) = done else { continue };
                    let outcome = match result {
                        Ok(observed) => Outcome::Written(observed),
                        Err(error) => match lacking(&job, &error) {
                            Some(lacking) => Outcome::Lacking(lacking),
                            None => {
                                told.failure(&job.object, &error);
                                outcome_of(&error)
                            }
                        },
                    };
                    self.board.done(&job, outcome);
                }
                () = self.board.due(), if under_way.len() < AT_ONCE => {}
            }
        }
    }
}

/// Failures are logged, but not each of a hundred thousand.
#[derive(Default)]
struct Told {
    last: Option<tokio::time::Instant>,
    since: u64,
}

impl Told {
    fn failure(&mut self, object: &ObjectRef, error: &RequestError) {
        // It has gone, or somebody else was faster; the watch says so in a moment.
        if matches!(error.code(), Some(404 | 409)) {
            return;
        }
        let quiet = std::time::Duration::from_secs(5);
        if self.last.is_some_and(|last| last.elapsed() < quiet) {
            self.since += 1;
            return;
        }
        let hint = match error.code() {
            Some(403) => "; grant what deploy/kubernetes/rbac.yaml does",
            _ => "",
        };
        tracing::warn!(
            "{object}: cannot be written: {error}{hint}; tried again ({} more since the last line)",
            self.since
        );
        self.last = Some(tokio::time::Instant::now());
        self.since = 0;
    }
}

fn outcome_of(error: &RequestError) -> Outcome {
    match error.code() {
        // Another of the same name, or somebody has written since: the watch says so in a moment.
        Some(409) => Outcome::Overtaken,
        Some(404 | 429) => Outcome::Failed,
        Some(code) if (400..500).contains(&code) => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

/// Sends a job; gives the object as the server has it then.
async fn send(connection: &Connection, job: &Job) -> Result<Option<Observed>, RequestError> {
    let broken = |error: kube::core::request::Error| RequestError::Broken(error.to_string());
    let object = &job.object;
    let resource = resource::beside(object);
    let wanted = match &job.want {
        Want::Stand(wanted) => wanted,
        Want::Gone => {
            let mut params = DeleteParams::default();
            // Not another one that somebody made under the same name meanwhile.
            if let Some(observed) = &job.observed {
                params = params.preconditions(Preconditions {
                    uid: Some(observed.uid.clone()),
                    resource_version: None,
                });
            }
            let request = resource.delete(&object.name, &params).map_err(broken)?;
            return match connection.ask(request).await {
                Ok(_) => Ok(None),
                Err(error) if error.code() == Some(404) => Ok(None),
                Err(error) => Err(error),
            };
        }
    };
    let params = PatchParams::apply(MANAGER).force();
    let mut answer = None;
    if job.status && job.lacking.subresource {
        let mut patch = main_patch(job, wanted);
        if let Some(status) = status_patch(job, wanted, Timestamp::now()).get_mut("status") {
            patch["status"] = status.take();
        }
        let request = resource.patch(&object.name, &params, &Patch::Apply(patch));
        let answer = connection.ask(request.map_err(broken)?).await?;
        return Ok(Some(Observed::of(object, &answer)));
    }
    if job.main {
        let mut patch = main_patch(job, wanted);
        name_version(job, &mut patch, job.object.kind == Kind::Pod);
        let patch = Patch::Apply(patch);
        let request = resource
            .patch(&object.name, &params, &patch)
            .map_err(broken)?;
        answer = Some(connection.ask(request).await?);
    }
    if job.status {
        let mut patch = status_patch(job, wanted, Timestamp::now());
        let is_truth = matches!(job.object.kind, Kind::Subnet | Kind::Vip);
        name_version(job, &mut patch, is_truth);
        let patch = Patch::Apply(patch);
        let request = resource.patch_subresource("status", &object.name, &params, &patch);
        answer = Some(connection.ask(request.map_err(broken)?).await?);
    }
    Ok(answer.map(|answer| Observed::of(object, &answer)))
}

/// Where it stands who holds what, a write names the version that it was derived from: one that
/// arrives after somebody else's is refused, however late that is.
fn name_version(job: &Job, patch: &mut Value, is_truth: bool) {
    let version = job.observed.iter().map(|observed| &observed.version);
    for version in version.filter(|version| is_truth && !version.is_empty()) {
        patch["metadata"]["resourceVersion"] = json!(version);
    }
}

/// Who is meant. With the uid, another object of the same name is refused, and one that is gone is
/// not made again.
fn head(job: &Job) -> Map<String, Value> {
    let object = &job.object;
    let mut metadata = json!({"name": object.name});
    if let Some(namespace) = &object.namespace {
        metadata["namespace"] = json!(namespace);
    }
    let uid = job.observed.as_ref().map(|observed| observed.uid.as_str());
    if let Some(uid) = uid.filter(|uid| !uid.is_empty()) {
        metadata["uid"] = json!(uid);
    }
    let mut head = Map::new();
    head.insert("apiVersion".into(), json!(object.kind.api_version()));
    head.insert("kind".into(), json!(object.kind.as_str()));
    head.insert("metadata".into(), metadata);
    head
}

fn main_patch(job: &Job, wanted: &Wanted) -> Value {
    let mut patch = head(job);
    if let Some(metadata) = patch.get_mut("metadata") {
        if !wanted.labels.is_empty() {
            metadata["labels"] = json!(wanted.labels);
        }
        let mut annotations = wanted.annotations.clone();
        // What is not known yet is applied as it is: left out, it would be taken off.
        let standing = job.observed.iter().flat_map(|o| &o.annotations);
        let standing = standing.filter(|(key, _)| wanted.unknown.contains(*key));
        annotations.extend(standing.map(|(key, value)| (key.clone(), value.clone())));
        if !annotations.is_empty() {
            metadata["annotations"] = json!(annotations);
        }
    }
    if let Some(spec) = &wanted.spec {
        patch.insert("spec".into(), spec.clone());
    }
    Value::Object(patch)
}

fn status_patch(job: &Job, wanted: &Wanted, now: Timestamp) -> Value {
    let mut status = wanted.status.clone();
    let standing = job.observed.iter().flat_map(|o| &o.status);
    let standing = standing.filter(|(key, _)| wanted.unknown.contains(*key));
    status.extend(standing.map(|(key, value)| (key.clone(), value.clone())));
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut conditions: Vec<Value> = wanted
        .conditions
        .iter()
        .map(|(type_, condition)| {
            let before = job.observed.as_ref().and_then(|o| o.conditions.get(type_));
            let text = |field: &str| before.and_then(|before| before.get(field)?.as_str());
            let status = status_text(condition.status);
            // The time of the last change from true to false or back, not of the last writing.
            let since = text("lastTransitionTime").filter(|_| text("status") == Some(status));
            let mut condition = json!({
                "type": type_,
                "status": status,
                "reason": condition.reason,
                "message": condition.message,
                "lastTransitionTime": since.unwrap_or(&now),
            });
            if job.object.kind == Kind::ProviderNetwork {
                // A part of the list's key there; ours are about all nodes.
                condition["node"] = json!("");
            }
            condition
        })
        .collect();
    let standing = job.observed.iter().flat_map(|o| &o.conditions);
    let standing = standing.filter(|(type_, _)| wanted.unknown.contains(*type_));
    conditions.extend(standing.map(|(_, condition)| condition.clone()));
    if !conditions.is_empty() {
        status.insert("conditions".into(), Value::Array(conditions));
    }
    status.retain(|field, _| !job.lacking.fields.contains(field));
    let mut patch = head(job);
    patch.insert("status".into(), Value::Object(status));
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::writes::Condition;

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let subnet = ObjectRef::cluster(Kind::Subnet, "a");
        let mut wanted = Wanted::default();
        let condition = |status| Condition {
            status,
            reason: "R".into(),
            message: String::new(),
        };
        wanted.conditions.insert("Ready".into(), condition(true));
        wanted
            .conditions
            .insert("Validated".into(), condition(false));
        let standing = |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        let status = json!({"conditions": [standing("Ready"), standing("Validated")]});
        let value = json!({"metadata": {"uid": "u"}, "status": status});
        let job = Job {
            want: Want::Stand(Box::new(wanted.clone())),
            observed: Some(Observed::of(&subnet, &value)),
            object: subnet,
            main: false,
            status: true,
            lacking: Default::default(),
        };
        let now = "2026-11-20T19:00:00.5Z".parse().unwrap();
        let patch = status_patch(&job, &wanted, now);
        assert_eq!(patch["metadata"], json!({"name": "a", "uid": "u"}));
        let times: Vec<_> = patch["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|condition| condition["lastTransitionTime"].as_str().unwrap())
            .collect();
        assert_eq!(times, ["2020-01-01T00:00:00Z", "2026-11-20T19:00:00Z"]);
    }
}
