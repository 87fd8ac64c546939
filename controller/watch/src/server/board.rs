//! What shall stand on objects beside what stands there, and which of them are due to be written.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cluster::annotations::{KUBE_OVN, OURS};
use cluster::writes::{Condition, Wanted};
use cluster::{Kind, ObjectRef};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::observed::Observed;

/// Status changes with every pod: it is written no more often than this.
const PACE: Duration = Duration::from_secs(1);

/// When to try again what failed: first and longest pause.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// When to try again what the server refuses, or takes and does not keep.
const REFUSED: Duration = Duration::from_secs(60);

/// Shared by who reads and who writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    books: Mutex<Books>,
    due: Notify,
}

#[derive(Debug, Default)]
struct Books {
    wanted: HashMap<ObjectRef, Want>,
    observed: HashMap<ObjectRef, Observed>,
    /// What can be written now, the urgent first.
    ready: BTreeSet<(u8, ObjectRef)>,
    /// What can be written later, and when.
    later: BTreeSet<(Instant, ObjectRef)>,
    /// Objects that are being written, have been lately, or could not be.
    pace: HashMap<ObjectRef, Pace>,
    /// What the server's definitions of kinds have no place for.
    lacking: HashMap<Kind, Lacking>,
}

/// What shall become of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Want {
    /// This shall stand on it.
    Stand(Box<Wanted>),
    /// It shall not be there.
    Gone,
}

#[derive(Debug)]
struct Pace {
    writing: bool,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// The version that somebody had replaced when we wrote.
    overtaken: Option<String>,
}

impl Pace {
    fn new() -> Self {
        Pace {
            writing: false,
            not_before: None,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            overtaken: None,
        }
    }
}

/// What a server's definition of a kind has no place for, where it is not ours: Kube-OVN's own, say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lacking {
    /// Fields of `status`.
    pub(super) fields: BTreeSet<String>,
    /// The subresource: the status is a part of the object like any other.
    pub(super) subresource: bool,
}

/// Something to send.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) object: ObjectRef,
    pub(super) want: Want,
    pub(super) observed: Option<Observed>,
    /// Labels, annotations or spec differ.
    pub(super) main: bool,
    /// Status or conditions differ.
    pub(super) status: bool,
    /// What has no place there.
    pub(super) lacking: Lacking,
}

/// What became of a job.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The object as it is now; nothing if it is gone.
    Written(Option<Observed>),
    /// It may go better soon.
    Failed,
    /// Somebody has written since: it may go better with what stands there now.
    Overtaken,
    /// The server will not have it.
    Refused,
    /// The server has no place for some of it.
    Lacking(Lacking),
}

impl Board {
    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing panics while it holds this lock; if it did, the books are as good as before.
        self.0
            .books
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// An object stands there like this, or not at all.
    pub(super) fn observe(&self, object: &ObjectRef, observed: Option<Observed>) {
        let mut books = self.books();
        let uid = observed.as_ref().map(|observed| observed.uid.clone());
        let version = observed.as_ref().map(|observed| observed.version.clone());
        let before = match observed {
            Some(observed) => books.observed.insert(object.clone(), observed),
            None => books.observed.remove(object),
        };
        // Another object of the same name: what failed on the former says nothing of it.
        if before.map(|before| before.uid) != uid
            && books.pace.get(object).is_some_and(|pace| !pace.writing)
        {
            books.pace.remove(object);
        }
        // What was waited for has come.
        if let Some(pace) = books.pace.get_mut(object)
            && !pace.writing
            && pace.overtaken.is_some()
            && pace.overtaken != version
        {
            pace.overtaken = None;
            pace.not_before = None;
        }
        self.review(&mut books, object);
    }

    /// An object shall be like this; nothing leaves it as it is.
    pub(super) fn want(&self, object: &ObjectRef, want: Option<Want>) {
        let mut books = self.books();
        let same = books.wanted.get(object) == want.as_ref();
        if same {
            return;
        }
        match want {
            Some(want) => books.wanted.insert(object.clone(), want),
            None => books.wanted.remove(object),
        };
        self.review(&mut books, object);
    }

    /// Every object about which something is wanted.
    pub(super) fn wanted(&self) -> Vec<ObjectRef> {
        self.books().wanted.keys().cloned().collect()
    }

    /// The uid of an object, if it is there.
    pub(super) fn uid(&self, object: &ObjectRef) -> Option<String> {
        let books = self.books();
        let observed = books.observed.get(object)?;
        Some(observed.uid.clone())
    }

    /// Puts an object among those that are due, if it is.
    fn review(&self, books: &mut Books, object: &ObjectRef) {
        let key = (urgency(object.kind), object.clone());
        if books.job(object).is_none() {
            books.ready.remove(&key);
            return;
        }
        let pace = books.pace.get(object);
        if pace.is_some_and(|pace| pace.writing) {
            return; // Looked at again when that is done.
        }
        match pace.and_then(|pace| pace.not_before) {
            Some(at) if at > Instant::now() => {
                books.later.insert((at, object.clone()));
            }
            _ => {
                books.ready.insert(key);
            }
        }
        self.0.due.notify_one();
    }

    /// Whoever was writing does so no more: what was under way is due again, unless it has arrived.
    pub(super) fn begin_anew(&self) {
        let mut books = self.books();
        let under_way = books.pace.iter_mut().filter(|(_, pace)| pace.writing);
        let objects: Vec<ObjectRef> = under_way
            .map(|(object, pace)| {
                pace.writing = false;
                object.clone()
            })
            .collect();
        for object in objects {
            self.review(&mut books, &object);
        }
    }

    /// The next object to write, which is noted as being written.
    pub(super) fn take(&self) -> Option<Job> {
        let mut books = self.books();
        let now = Instant::now();
        while let Some((at, _)) = books.later.first()
            && *at <= now
        {
            let Some((_, object)) = books.later.pop_first() else {
                break;
            };
            books.ready.insert((urgency(object.kind), object));
        }
        while let Some((_, object)) = books.ready.pop_first() {
            let Some(job) = books.job(&object) else {
                continue;
            };
            let pace = books.pace.entry(object).or_insert_with(Pace::new);
            pace.writing = true;
            return Some(job);
        }
        None
    }

    /// Waits until something may be due.
    pub(super) async fn due(&self) {
        let next = self.books().later.first().map(|(at, _)| *at);
        match next {
            Some(at) => {
                tokio::select! {
                    () = self.0.due.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                }
            }
            None => self.0.due.notified().await,
        }
    }

    /// A job is done.
    pub(super) fn done(&self, job: &Job, outcome: Outcome) {
        let mut books = self.books();
        let object = &job.object;
        let now = Instant::now();
        let mut pace = books.pace.remove(object).unwrap_or_else(Pace::new);
        pace.writing = false;
        match outcome {
            Outcome::Written(observed) => {
                match observed {
                    Some(answer) => {
                        let seen = books.observed.get(object);
                        // The watch may have told of a later write than ours by now.
                        if seen.is_none_or(|seen| !seen.is_later_than(&answer)) {
                            books.observed.insert(object.clone(), answer);
                        }
                    }
                    None => drop(books.observed.remove(object)),
                }
                // The same is still wanted and still not there: the server takes it and does not
                // keep it, or somebody else writes something else there.
                let same = books.wanted.get(object) == Some(&job.want);
                if same && books.job(object).is_some() {
                    tracing::warn!(
                        "{object}: what was written does not stand there; is the custom resource \
                         definition another, or does somebody else write the same fields?"
                    );
                    pace.not_before = Some(now + REFUSED);
                } else {
                    pace.backoff.reset();
                    let paced = !matches!(object.kind, Kind::Pod | Kind::Ip);
                    pace.not_before = paced.then_some(now + PACE);
                }
            }
            Outcome::Overtaken => {
                let sent = job.observed.as_ref().map(|observed| &observed.version);
                let known = books.observed.get(object).map(|observed| &observed.version);
                // What stands there now may be known already, or comes in a moment.
                if sent == known {
                    pace.overtaken = sent.cloned();
                    pace.not_before = Some(now + pace.backoff.next());
                }
            }
            Outcome::Failed => pace.not_before = Some(now + pace.backoff.next()),
            Outcome::Refused => pace.not_before = Some(now + REFUSED),
            Outcome::Lacking(new) => {
                let known = books.lacking.entry(object.kind).or_default();
                let before = known.clone();
                known.fields.extend(new.fields);
                known.subresource |= new.subresource;
                if *known != before {
                    tracing::warn!("{}: {known}", object.kind);
                }
                // Sent without what is refused, and refused again.
                if *known == job.lacking {
                    pace.not_before = Some(now + REFUSED);
                }
            }
        }
        // What is settled needs no note; the few that are paced are kept until they are due.
        if pace.not_before.is_some() {
            books.pace.insert(object.clone(), pace);
        }
        self.review(&mut books, object);
        let settled = |pace: &Pace| !pace.writing && pace.not_before.is_none_or(|at| at <= now);
        if books.pace.len() > 1024 {
            books.pace.retain(|_, pace| !settled(pace));
        }
    }
}

impl Books {
    /// What has to be sent for an object.
    fn job(&self, object: &ObjectRef) -> Option<Job> {
        let want = self.wanted.get(object)?;
        let observed = self.observed.get(object);
        let lacking = self.lacking.get(&object.kind);
        let (main, status) = match (want, observed) {
            (Want::Gone, observed) => (observed.is_some(), false),
            (Want::Stand(wanted), None) => (wanted.spec.is_some(), false),
            (Want::Stand(wanted), Some(observed)) => (
                // Somebody has written since: wait for what is derived from that.
                (wanted.basis.is_none() || wanted.basis == observed.basis)
                    && main_differs(wanted, observed),
                status_differs(wanted, observed, lacking.map(|lacking| &lacking.fields)),
            ),
        };
        (main || status).then(|| Job {
            object: object.clone(),
            want: want.clone(),
            observed: observed.cloned(),
            main,
            status,
            lacking: lacking.cloned().unwrap_or_default(),
        })
    }
}

/// Pods wait for their annotations; nobody waits for the rest.
fn urgency(kind: Kind) -> u8 {
    match kind {
        Kind::Pod => 0,
        Kind::Ip => 1,
        _ => 2,
    }
}

/// Names of annotations under Kube-OVN's prefix that nobody writes but who gives addresses. The
/// others may be a user's wish, which stands whether we want it or not.
const STATUS: [&str; 7] = [
    "allocated",
    "cidr",
    "gateway",
    "pod_nic_type",
    "provider_network",
    "routed",
    "vlan_id",
];

fn main_differs(wanted: &Wanted, observed: &Observed) -> bool {
    let stands = |(key, value): (&String, &String)| observed.annotations.get(key) == Some(value);
    let labelled = |(key, value): (&String, &String)| observed.labels.get(key) == Some(value);
    let stale = |key: &String| {
        let written = key
            .strip_prefix(KUBE_OVN[0])
            .is_some_and(|name| STATUS.contains(&name))
            || key
                .strip_prefix(OURS)
                .is_some_and(|name| WRITTEN.contains(&name));
        written && !wanted.annotations.contains_key(key) && !wanted.unknown.contains(key)
    };
    !wanted.annotations.iter().all(stands)
        || !wanted.labels.iter().all(labelled)
        || observed.annotations.keys().any(stale)
        || wanted
            .spec
            .as_ref()
            .is_some_and(|spec| *spec != observed.spec)
}

/// Names of annotations that we write on objects of any kind.
const WRITTEN: [&str; 3] = ["accepted", "in-force", "mtu"];

fn status_differs(
    wanted: &Wanted,
    observed: &Observed,
    lacking: Option<&BTreeSet<String>>,
) -> bool {
    let lacks = |key: &str| lacking.is_some_and(|fields| fields.contains(key));
    let stands = |(key, value): (&String, &Value)| {
        let standing = observed.status.get(key);
        lacks(key) || standing.is_some_and(|standing| same_value(standing, value))
    };
    let says = |(type_, condition): (&String, &Condition)| {
        let observed = observed.conditions.get(type_);
        observed.is_some_and(|observed| is_the_same(condition, observed))
    };
    if lacks("conditions") {
        return !wanted.status.iter().all(stands);
    }
    !wanted.status.iter().all(stands)
        || !wanted.conditions.iter().all(says)
        || observed
            .conditions
            .keys()
            .any(|type_| !wanted.conditions.contains_key(type_) && !wanted.unknown.contains(type_))
}

/// A server that keeps a number as floating point may write a large one as an integer.
fn same_value(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().is_some_and(|one| Some(one) == other.as_f64())
}

fn is_the_same(condition: &Condition, observed: &Value) -> bool {
    let text = |field: &str| observed.get(field).and_then(Value::as_str);
    text("status") == Some(status_text(condition.status))
        && text("reason") == Some(&condition.reason)
        && text("message").unwrap_or_default() == condition.message
}

/// A condition's status as Kubernetes writes it.
pub(super) fn status_text(status: bool) -> &'static str {
    if status { "True" } else { "False" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> ObjectRef {
        ObjectRef::namespaced(Kind::Pod, &"bank/a".parse().unwrap())
    }

    fn annotated(pairs: &[(&str, &str)]) -> Wanted {
        Wanted {
            annotations: pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            ..Wanted::default()
        }
    }

    fn stand(wanted: Wanted) -> Option<Want> {
        Some(Want::Stand(Box::new(wanted)))
    }

    fn observed(object: &ObjectRef, value: Value) -> Option<Observed> {
        Some(Observed::of(object, &value))
    }

    #[tokio::test(start_paused = true)]
    async fn only_differences_are_due_and_each_once() {
        let board = Board::default();
        let wanted = annotated(&[("ovn.kubernetes.io/allocated", "true")]);
        board.want(&pod(), stand(wanted.clone()));
        assert!(board.take().is_none(), "there is no such pod yet");
        board.observe(&pod(), observed(&pod(), json!({"metadata": {"uid": "u"}})));
        let job = board.take().unwrap();
        assert!(job.main && !job.status);
        assert!(board.take().is_none(), "it is being written");
        let written = json!({"metadata": {"uid": "u", "annotations": wanted.annotations}});
        board.done(&job, Outcome::Written(observed(&pod(), written.clone())));
        assert!(board.take().is_none());
        board.observe(&pod(), observed(&pod(), written));
        assert!(board.take().is_none());
        // Somebody takes it off.
        board.observe(&pod(), observed(&pod(), json!({"metadata": {"uid": "u"}})));
        assert!(board.take().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wanted_no_longer_is_taken_off_and_what_others_write_is_left() {
        let board = Board::default();
        board.want(&pod(), stand(Wanted::default()));
        let users =
            json!({"metadata": {"annotations": {"ovn.kubernetes.io/ip_address": "10.0.0.1"}}});
        board.observe(&pod(), observed(&pod(), users));
        assert!(board.take().is_none());
        let ours = json!({"metadata": {"annotations": {"ovn.kubernetes.io/allocated": "true"}}});
        board.observe(&pod(), observed(&pod(), ours));
        assert!(board.take().unwrap().main);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_tried_again_later_and_a_refusal_much_later() {
        let board = Board::default();
        board.want(&pod(), stand(annotated(&[("sluice.io/mtu", "1400")])));
        board.observe(&pod(), observed(&pod(), json!({})));
        let job = board.take().unwrap();
        board.done(&job, Outcome::Failed);
        assert!(board.take().is_none());
        board.due().await;
        let begun = Instant::now();
        let job = loop {
            match board.take() {
                Some(job) => break job,
                None => board.due().await,
            }
        };
        assert!(begun.elapsed() <= RETRY.0);
        board.done(&job, Outcome::Refused);
        tokio::time::sleep(REFUSED - Duration::from_secs(1)).await;
        assert!(board.take().is_none());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(board.take().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_has_written_over_waits_for_what_stands_there_and_what_derives_from_it() {
        let board = Board::default();
        let key = "ovn.kubernetes.io/ip_address";
        let mut wanted = annotated(&[(key, "10.0.0.5")]);
        let stands = |version: &str, address: Option<&str>| {
            let address = address.map(|a| json!({ key: a })).unwrap_or_default();
            let metadata = json!({"uid": "u", "resourceVersion": version, "annotations": address});
            observed(&pod(), json!({ "metadata": metadata }))
        };
        let before = stands("1", None);
        wanted.basis = before.as_ref().unwrap().basis;
        board.want(&pod(), stand(wanted.clone()));
        board.observe(&pod(), before);
        let job = board.take().unwrap();
        board.done(&job, Outcome::Overtaken);
        assert!(
            board.take().is_none(),
            "it is not known yet what stands there"
        );
        // Somebody else has given it an address: ours was derived from something else.
        board.observe(&pod(), stands("2", Some("10.0.0.9")));
        tokio::time::sleep(REFUSED).await;
        assert!(board.take().is_none());
        wanted.basis = stands("2", Some("10.0.0.9")).unwrap().basis;
        board.want(&pod(), stand(wanted.clone()));
        assert_eq!(board.take().unwrap().observed.unwrap().version, "2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_was_overtaken_by_something_else_is_sent_again_at_once() {
        let board = Board::default();
        let wanted = annotated(&[("sluice.io/mtu", "1400")]);
        let stands = |version: &str| {
            let metadata = json!({"uid": "u", "resourceVersion": version});
            observed(&pod(), json!({ "metadata": metadata }))
        };
        board.want(&pod(), stand(wanted));
        board.observe(&pod(), stands("1"));
        let job = board.take().unwrap();
        board.done(&job, Outcome::Overtaken);
        board.observe(&pod(), stands("2"));
        let job = board.take().unwrap();
        // Known already when the answer comes.
        board.observe(&pod(), stands("3"));
        board.done(&job, Outcome::Overtaken);
        let job = board.take().unwrap();
        assert_eq!(job.observed.as_ref().unwrap().version, "3");
        // The watch is ahead of the answer.
        board.observe(&pod(), stands("5"));
        board.done(&job, Outcome::Written(stands("4")));
        assert_eq!(board.books().observed[&pod()].version, "5");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_does_not_keep_is_not_written_in_a_circle() {
        let board = Board::default();
        let subnet = ObjectRef::cluster(Kind::Subnet, "a");
        let mut wanted = Wanted::default();
        wanted
            .status
            .insert("inForce".into(), json!({"cidr_block": "a"}));
        board.want(&subnet, stand(wanted));
        board.observe(&subnet, observed(&subnet, json!({})));
        let job = board.take().unwrap();
        assert!(job.status && !job.main);
        board.done(&job, Outcome::Written(observed(&subnet, json!({}))));
        tokio::time::sleep(REFUSED / 2).await;
        board.observe(&subnet, observed(&subnet, json!({"status": {"x": 1}})));
        assert!(board.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn status_is_written_at_most_once_a_second_and_pods_at_once() {
        let board = Board::default();
        let subnet = ObjectRef::cluster(Kind::Subnet, "a");
        let using = |count: u32| {
            let mut wanted = Wanted::default();
            wanted.status.insert("v4usingIPs".into(), json!(count));
            stand(wanted)
        };
        board.observe(&subnet, observed(&subnet, json!({})));
        board.want(&subnet, using(1));
        let job = board.take().unwrap();
        let written = json!({"status": {"v4usingIPs": 1}});
        board.done(&job, Outcome::Written(observed(&subnet, written)));
        board.want(&subnet, using(2));
        board.want(&subnet, using(3));
        assert!(board.take().is_none());
        tokio::time::sleep(PACE).await;
        let job = board.take().unwrap();
        let Want::Stand(wanted) = &job.want else {
            panic!()
        };
        assert_eq!(wanted.status["v4usingIPs"], 3);
        assert!(board.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_is_compared_by_what_it_says_and_not_by_its_times() {
        let board = Board::default();
        let subnet = ObjectRef::cluster(Kind::Subnet, "a");
        let mut wanted = Wanted::default();
        let condition = Condition {
            status: true,
            reason: "InForce".into(),
            message: "on all nodes".into(),
        };
        wanted.conditions.insert("Ready".into(), condition);
        board.want(&subnet, stand(wanted));
        let standing = |status: &str| {
            let condition = json!({"type": "Ready", "status": status, "reason": "InForce",
                "message": "on all nodes", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            observed(&subnet, json!({"status": {"conditions": [condition]}}))
        };
        board.observe(&subnet, standing("True"));
        assert!(board.take().is_none());
        board.observe(&subnet, standing("False"));
        assert!(board.take().unwrap().status);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_of_ours_is_made_and_removed() {
        let board = Board::default();
        let ip = ObjectRef::cluster(Kind::Ip, "a.bank");
        let spec = json!({"podName": "a"});
        let wanted = Wanted {
            spec: Some(spec.clone()),
            ..Wanted::default()
        };
        board.want(&ip, stand(wanted));
        let job = board.take().unwrap();
        assert!(job.main && job.observed.is_none());
        board.done(&job, Outcome::Written(observed(&ip, json!({"spec": spec}))));
        assert!(board.take().is_none());
        board.want(&ip, Some(Want::Gone));
        let job = board.take().unwrap();
        assert_eq!(job.want, Want::Gone);
        board.done(&job, Outcome::Written(None));
        assert!(board.take().is_none());
    }
}
