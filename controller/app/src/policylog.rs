//! The policy log: a line of JSON for each connection that a policy in the log has decided about
//! (docs/adr/0036-policy-log.md).
//!
//! Records wait in a queue of fixed length for a thread of their own, which looks names up and
//! writes; what does not fit is counted, and the log itself says how much is missing.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use cluster::{DesiredState, NamespacedName, ObjectRef};
use serde_json::{Value, json};
use session::Judged;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// Records that may wait.
const WAITING: usize = 8192;
/// How often names are looked up anew at most, since that costs as much as there are pods.
const FRESH: Duration = Duration::from_secs(1);
/// How often the log says what is missing, and looks whether its file was moved away.
const TURN: Duration = Duration::from_secs(1);

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Standard output; the journal, or the container's log.
    Stdout,
    /// A file, appended to; one that is moved away is begun anew.
    File(PathBuf),
}

/// The way to the log.
#[derive(Clone, Debug)]
pub struct PolicyLog {
    queue: SyncSender<(SystemTime, Box<Judged>)>,
    missing: Arc<Mutex<BTreeMap<String, u64>>>,
    metrics: Metrics,
}

impl PolicyLog {
    /// Opens the log. `states`: where pods are looked up.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open(
        place: &Place,
        states: watch::Receiver<Option<Arc<DesiredState>>>,
        metrics: Metrics,
    ) -> anyhow::Result<PolicyLog> {
        let output = Output::open(place)?;
        let (queue, records) = sync_channel(WAITING);
        let missing = Arc::default();
        let writer = Writer {
            output,
            states,
            names: Names::default(),
            missing: Arc::clone(&missing),
            metrics: metrics.clone(),
        };
        std::thread::Builder::new()
            .name("policy log".into())
            .spawn(move || writer.run(&records))
            .context("a thread for the policy log")?;
        Ok(PolicyLog {
            queue,
            missing,
            metrics,
        })
    }

    /// Takes a record; never waits.
    pub fn record(&self, judged: Box<Judged>) {
        let node = judged.node.clone();
        let records = judged.logged.len() as u64;
        if self.queue.try_send((SystemTime::now(), judged)).is_err() {
            self.missed(&node, records);
        }
    }

    /// So many more records of a node are not there.
    pub fn missed(&self, node: &str, records: u64) {
        if records == 0 {
            return;
        }
        self.metrics.policy_log_missed(node, records);
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing.entry(node.to_string()).or_default() += records;
    }
}

struct Writer {
    output: Output,
    states: watch::Receiver<Option<Arc<DesiredState>>>,
    names: Names,
    missing: Arc<Mutex<BTreeMap<String, u64>>>,
    metrics: Metrics,
}

impl Writer {
    /// Until nobody can send any more.
    fn run(mut self, records: &Receiver<(SystemTime, Box<Judged>)>) {
        let mut lines = String::new();
        let mut turn = Instant::now();
        loop {
            match records.recv_timeout(TURN) {
                Ok(first) => {
                    let state = self.states.borrow().clone();
                    self.names.follow(state.as_ref());
                    let waiting = std::iter::once(first).chain(records.try_iter().take(WAITING));
                    for (time, judged) in waiting {
                        self.write_down(time, &judged, &mut lines);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if turn.elapsed() >= TURN {
                turn = Instant::now();
                self.say_what_is_missing(&mut lines);
                self.output.follow();
            }
            self.output.write(&mut lines);
        }
        self.say_what_is_missing(&mut lines);
        self.output.write(&mut lines);
    }

    fn write_down(&self, time: SystemTime, judged: &Judged, lines: &mut String) {
        let records = records(time, judged, &self.names);
        self.metrics
            .policy_log_written(&judged.node, records.len() as u64);
        for record in records {
            *lines += &format!("{record}\n");
        }
    }

    fn say_what_is_missing(&self, lines: &mut String) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, records) in std::mem::take(&mut *missing) {
            let time = rfc3339(SystemTime::now());
            *lines += &format!(
                "{}\n",
                json!({"time": time, "node": node, "recordsNotWritten": records})
            );
        }
    }
}

/// One for each side whose policies decided.
fn records(time: SystemTime, judged: &Judged, names: &Names) -> Vec<Value> {
    let has_ports = matches!(judged.protocol, 6 | 17 | 132);
    let end = |address: IpAddr, port: u16, interface: Option<&str>| {
        let mut end = json!({"address": address.to_string()});
        if has_ports {
            end["port"] = port.into();
        }
        if let Some(pod) = names.by_address.get(&address) {
            end["namespace"] = pod.name.namespace.as_str().into();
            end["pod"] = pod.name.name.as_str().into();
            end["node"] = pod.node.as_str().into();
            end["interface"] = pod.port.as_str().into();
        } else if let Some(interface) = interface {
            end["interface"] = interface.into();
        }
        end
    };
    let source = end(judged.source, judged.ports.0, judged.port.as_deref());
    let destination = end(judged.destination, judged.ports.1, None);
    let record = |logged: &flows::flow::Logged| {
        let mut record = json!({
            "time": rfc3339(time),
            "node": judged.node,
            "verdict": if logged.denied { "denied" } else { "allowed" },
            "direction": if logged.ingress { "ingress" } else { "egress" },
            "policy": object(&logged.policy),
            "rule": logged.rule.as_deref().unwrap_or("isolated"),
            "protocol": protocol(judged.protocol),
            "source": source,
            "destination": destination,
        });
        if !logged.also.is_empty() {
            record["also"] = logged.also.iter().map(object).collect();
        }
        record
    };
    judged.logged.iter().map(record).collect()
}

fn object(object: &ObjectRef) -> Value {
    let mut value = json!({"kind": object.kind.as_str(), "name": object.name});
    if let Some(namespace) = &object.namespace {
        value["namespace"] = namespace.as_str().into();
    }
    value
}

/// By name where it has one (IANA, protocol numbers), else by number.
fn protocol(number: u8) -> Value {
    match number {
        1 => "ICMP".into(),
        6 => "TCP".into(),
        17 => "UDP".into(),
        58 => "ICMPv6".into(),
        132 => "SCTP".into(),
        other => other.into(),
    }
}

/// Pods by address.
#[derive(Default)]
struct Names {
    of: Option<Arc<DesiredState>>,
    read: Option<Instant>,
    by_address: HashMap<IpAddr, Named>,
}

struct Named {
    name: NamespacedName,
    node: String,
    port: String,
}

impl Names {
    /// Looks at a state. It waits where it did so a moment ago: records of the newest pods would
    /// lack their names else.
    fn follow(&mut self, state: Option<&Arc<DesiredState>>) {
        let Some(state) = state else { return };
        if self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, state)) {
            return;
        }
        if let Some(read) = self.read {
            std::thread::sleep(FRESH.saturating_sub(read.elapsed()));
        }
        self.by_address.clear();
        for pod in state.pods.values() {
            for address in pod.addresses() {
                let named = Named {
                    name: pod.name.clone(),
                    node: pod.node.clone(),
                    port: pod.port.clone(),
                };
                self.by_address.insert(address, named);
            }
        }
        (self.of, self.read) = (Some(state.clone()), Some(Instant::now()));
    }
}

enum Output {
    Stdout,
    File {
        path: PathBuf,
        file: File,
        /// Lines that could not be written since it was told.
        lost: u64,
    },
}

impl Output {
    fn open(place: &Place) -> anyhow::Result<Output> {
        Ok(match place {
            Place::Stdout => Output::Stdout,
            Place::File(path) => Output::File {
                path: path.clone(),
                file: append(path).with_context(|| {
                    format!(
                        "--policy-log {}: cannot be written; name a file in a folder that is there",
                        path.display()
                    )
                })?,
                lost: 0,
            },
        })
    }

    /// Begins the file anew where it was moved away.
    fn follow(&mut self) {
        let Output::File { path, file, .. } = self else {
            return;
        };
        let is = |data: std::io::Result<std::fs::Metadata>| data.ok().map(|d| (d.dev(), d.ino()));
        if is(std::fs::metadata(&*path)) != is(file.metadata())
            && let Ok(new) = append(path)
        {
            *file = new;
        }
    }

    /// Writes the lines, and leaves none.
    fn write(&mut self, lines: &mut String) {
        if lines.is_empty() {
            return;
        }
        match self {
            // Whoever closes it wants none.
            Output::Stdout => drop(std::io::stdout().lock().write_all(lines.as_bytes())),
            Output::File { path, file, lost } => {
                if *lost > 0 {
                    let time = rfc3339(SystemTime::now());
                    let missing = json!({"time": time, "recordsNotWritten": *lost});
                    lines.insert_str(0, &format!("{missing}\n"));
                }
                match file.write_all(lines.as_bytes()) {
                    Ok(()) => *lost = 0,
                    Err(error) => {
                        if *lost == 0 {
                            let path = path.display();
                            tracing::error!("the policy log {path} cannot be written: {error}");
                        }
                        // The line about those that were lost before is not one more.
                        *lost += lines.matches('\n').count() as u64 - u64::from(*lost > 0);
                    }
                }
            }
        }
        lines.clear();
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// UTC, with microseconds (RFC 3339, 5.6).
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a day since 1970-01-01, in years that begin in March, so that the leap
/// day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_795_219_200, "2026-11-21T00:00:00.000000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(time), text);
        }
        let part = UNIX_EPOCH + Duration::from_nanos(1_234_567);
        assert_eq!(rfc3339(part), "1970-01-01T00:00:00.001234Z");
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut output = Output::open(&Place::File(path.clone())).unwrap();
        output.write(&mut "first\n".to_string());
        output.follow();
        output.write(&mut "second\n".to_string());
        std::fs::rename(&path, &moved).unwrap();
        output.write(&mut "third\n".to_string());
        output.follow();
        output.write(&mut "fourth\n".to_string());
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!(
            (read(moved), read(path)),
            ("first\nsecond\nthird\n".into(), "fourth\n".into())
        );
    }
}
