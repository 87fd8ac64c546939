//! Figures for Prometheus, and the page that gives them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context;
use cluster::{DesiredState, changes};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use session::{Applied, Volume};

use crate::rulecounts::News;
use tokio::net::TcpListener;

/// Every figure.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    nodes: IntGauge,
    connected: IntGauge,
    pods: IntGaugeVec,
    services: IntGauge,
    used: IntGaugeVec,
    available: IntGaugeVec,
    problems: IntGauge,
    desired: IntGaugeVec,
    installed: IntGaugeVec,
    rejected: IntGaugeVec,
    sent: IntCounterVec,
    reconcile: HistogramVec,
    resolve: HistogramVec,
    log_written: IntCounterVec,
    log_missed: IntCounterVec,
    rule_packets: IntCounterVec,
    rule_bytes: IntCounterVec,
    acknowledge: Histogram,
    messages: [IntCounter; 2],
    bytes: [IntCounter; 2],
}

/// Labels of what is counted by rule.
const RULE: [&str; 4] = ["kind", "namespace", "name", "rule"];

macro_rules! figures {
    ($registry:ident; $($name:ident: $make:expr;)*) => {
        $(let $name = $make.context(stringify!($name))?;
        $registry.register(Box::new($name.clone())).context(stringify!($name))?;)*
    };
}

impl Metrics {
    /// All at nothing.
    pub fn new() -> anyhow::Result<Metrics> {
        let name = |name: &str| format!("sluice_controller_{name}");
        let gauge = |n: &str, help: &str| IntGauge::new(name(n), help);
        let gauges = |n: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name(n), help), labels)
        };
        let counters = |n: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name(n), help), labels)
        };
        let seconds = |n: &str, help: &str, labels: &[&str]| {
            let buckets = prometheus::exponential_buckets(0.000_5, 2.0, 16)?;
            HistogramVec::new(HistogramOpts::new(name(n), help).buckets(buckets), labels)
        };
        let registry = Registry::new();
        figures! { registry;
            nodes: gauge("nodes", "Nodes that the source names.");
            connected: gauge("nodes_connected", "Nodes whose switch is connected.");
            pods: gauges("pods", "Pods by state: ready, waiting, refused.", &["state"]);
            services: gauge("services", "Services with a cluster address.");
            used: gauges(
                "subnet_addresses_used", "Addresses that pods hold.", &["subnet", "family"]);
            available: gauges(
                "subnet_addresses_available",
                "Addresses that can still be given without being asked for.",
                &["subnet", "family"]);
            problems: gauge("problems", "Things asked for and not done; the log names each.");
            desired: gauges("flows_desired", "Flows a node shall have.", &["node"]);
            installed: gauges("flows_installed", "Flows a node has.", &["node"]);
            rejected: gauges(
                "flow_mods_rejected", "Modifications that a node refuses.", &["node"]);
            sent: IntCounterVec::new(
                Opts::new(
                    name("flow_mods_sent_total"),
                    "Modifications of flows, groups and meters sent."),
                &["node"]);
            reconcile: seconds(
                "reconcile_seconds",
                "From a change to the barrier's reply of a node's switch.", &["node"]);
            resolve: seconds("resolve_seconds", "From objects to the desired state.", &[]);
            log_written: counters(
                "policy_log_records_total", "Records written to the policy log.", &["node"]);
            log_missed: counters(
                "policy_log_records_not_written_total",
                "Packets that should have led to records in the policy log, and were too many.",
                &["node"]);
            rule_packets: counters(
                "policy_rule_packets_total",
                "Packets that rules of policies in the policy log decided about.", &RULE);
            rule_bytes: counters(
                "policy_rule_bytes_total",
                "Bytes of packets that rules of policies in the policy log decided about.", &RULE);
            acknowledge: {
                let buckets = prometheus::exponential_buckets(0.000_5, 2.0, 18)?;
                let help = "From when something was told that concerns a node to when its switch \
                            has acknowledged all of it; one for each change and node.";
                Histogram::with_opts(
                    HistogramOpts::new(name("acknowledge_seconds"), help).buckets(buckets))
            };
            sent_messages: IntCounter::new(
                name("openflow_messages_sent_total"), "OpenFlow messages sent to switches.");
            sent_bytes: IntCounter::new(
                name("openflow_sent_bytes_total"), "Bytes of OpenFlow sent to switches.");
            received_messages: IntCounter::new(
                name("openflow_messages_received_total"), "OpenFlow messages from switches.");
            received_bytes: IntCounter::new(
                name("openflow_received_bytes_total"), "Bytes of OpenFlow from switches.");
        }
        Ok(Metrics {
            registry,
            nodes,
            connected,
            pods,
            services,
            used,
            available,
            problems,
            desired,
            installed,
            rejected,
            sent,
            reconcile,
            resolve,
            log_written,
            log_missed,
            rule_packets,
            rule_bytes,
            acknowledge,
            messages: [sent_messages, received_messages],
            bytes: [sent_bytes, received_bytes],
        })
    }

    /// The desired state is this now, and was that before.
    pub fn state(&self, before: Option<&DesiredState>, state: &DesiredState, took: Duration) {
        use cluster::desired::Waiting;
        static NOTHING: LazyLock<DesiredState> = LazyLock::new(DesiredState::default);
        let before = before.unwrap_or(&NOTHING);
        self.nodes.set(state.nodes.len() as i64);
        self.services.set(state.services.len() as i64);
        let pods = |label: &str| self.pods.with_label_values(&[label]);
        let counted = |waiting: Option<&Waiting>| match waiting {
            Some(Waiting::Refused(_)) => Some(pods("refused")),
            Some(Waiting::For(_)) => Some(pods("waiting")),
            None => None,
        };
        if before.waiting.is_empty() {
            pods("refused").set(0);
            pods("waiting").set(0);
        }
        for change in changes(&before.waiting, &state.waiting) {
            counted(change.before).inspect(|gauge| gauge.dec());
            counted(change.after).inspect(|gauge| gauge.inc());
        }
        pods("ready").set(state.pods.len() as i64);
        for change in changes(&before.usage, &state.usage) {
            let subnet = change.key;
            for usage in change.before.into_iter().flatten() {
                for gauges in [&self.used, &self.available] {
                    // It need not be there: then it is gone as it shall be.
                    let _ = gauges.remove_label_values(&[subnet.as_str(), usage.family]);
                }
            }
            for usage in change.after.into_iter().flatten() {
                let labels = [subnet.as_str(), usage.family];
                let gauge = |value: u128| i64::try_from(value).unwrap_or(i64::MAX);
                self.used.with_label_values(&labels).set(gauge(usage.used));
                self.available
                    .with_label_values(&labels)
                    .set(gauge(usage.available));
            }
        }
        self.resolve
            .with_label_values(&[] as &[&str])
            .observe(took.as_secs_f64());
    }

    /// Records were written to the policy log.
    pub fn policy_log_written(&self, node: &str, records: u64) {
        self.log_written.with_label_values(&[node]).inc_by(records);
    }

    /// Records are missing in the policy log.
    pub fn policy_log_missed(&self, node: &str, records: u64) {
        self.log_missed.with_label_values(&[node]).inc_by(records);
    }

    /// Rules have counted more, and some are gone.
    pub fn rules(&self, news: &News) {
        for (rule, (packets, bytes)) in &news.more {
            let labels = rule_labels(rule);
            self.rule_packets
                .with_label_values(&labels)
                .inc_by(*packets);
            self.rule_bytes.with_label_values(&labels).inc_by(*bytes);
        }
        for rule in &news.gone {
            let labels = rule_labels(rule);
            // Not there is as good as gone.
            let _ = self.rule_packets.remove_label_values(&labels);
            let _ = self.rule_bytes.remove_label_values(&labels);
        }
    }

    /// So many nodes are connected.
    pub fn connected(&self, nodes: usize) {
        self.connected.set(nodes as i64);
    }

    /// So many problems are known.
    pub fn problems(&self, problems: usize) {
        self.problems.set(problems as i64);
    }

    /// A node's switch was brought up to date.
    pub fn applied(&self, applied: &Applied) {
        let node = &[applied.node.as_str()];
        self.desired
            .with_label_values(node)
            .set(applied.desired as i64);
        self.installed
            .with_label_values(node)
            .set(applied.installed as i64);
        self.rejected
            .with_label_values(node)
            .set(applied.rejected.len() as i64);
        self.sent
            .with_label_values(node)
            .inc_by(applied.sent as u64);
        self.reconcile
            .with_label_values(node)
            .observe(applied.took.as_secs_f64());
    }

    /// A node's switch has acknowledged what it was told so long ago.
    pub fn acknowledged(&self, took: Duration) {
        self.acknowledge.observe(took.as_secs_f64());
    }

    /// So much has been sent to switches, and received from them, since the start.
    pub fn traffic(&self, sent: Volume, received: Volume) {
        let volumes = [sent, received].into_iter();
        for ((volume, messages), bytes) in volumes.zip(&self.messages).zip(&self.bytes) {
            messages.inc_by(volume.messages.saturating_sub(messages.get()));
            bytes.inc_by(volume.bytes.saturating_sub(bytes.get()));
        }
    }

    /// A node is gone from the source and its switch is not connected.
    pub fn forget(&self, node: &str) {
        for figure in [&self.desired, &self.installed, &self.rejected] {
            // Not there is as good as gone.
            let _ = figure.remove_label_values(&[node]);
        }
        for figure in [&self.log_written, &self.log_missed] {
            let _ = figure.remove_label_values(&[node]);
        }
    }

    fn page(&self) -> Vec<u8> {
        let mut page = Vec::new();
        // Writing to memory does not fail; a figure that cannot be written is left out.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut page) {
            tracing::error!("metrics: {error}");
        }
        page
    }
}

/// `NetworkPolicy bank/web ingress[0]` by its parts.
fn rule_labels(rule: &str) -> [&str; 4] {
    let (kind, rest) = rule.split_once(' ').unwrap_or((rule, ""));
    let (object, part) = rest.split_once(' ').unwrap_or((rest, ""));
    let (namespace, name) = object.split_once('/').unwrap_or(("", object));
    [kind, namespace, name, part]
}

/// Binds the page's address.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| {
        format!("--metrics {address}: cannot listen there; choose another address, or none")
    })
}

/// Serves `/metrics` for ever.
pub async fn serve(listener: TcpListener, metrics: Metrics) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let reply = reply(&metrics, &request);
                async move { Ok::<_, Infallible>(reply) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // Whoever reads may go away at any time, and nobody may stay for ever.
            let _ = tokio::time::timeout(Duration::from_secs(60), connection).await;
        });
    }
}

fn reply(metrics: &Metrics, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, metrics.page()),
        _ => (StatusCode::NOT_FOUND, b"see /metrics\n".to_vec()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4");
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn promtool_finds_nothing_to_complain_about() {
        let metrics = Metrics::new().unwrap();
        metrics.state(None, &DesiredState::default(), Duration::from_millis(3));
        metrics.applied(&Applied {
            node: "node1".into(),
            sent: 5,
            ..Applied::default()
        });
        metrics.policy_log_missed("node1", 7);
        let rule = "NetworkPolicy bank/web ingress[0] (from the front)";
        let news = News {
            more: [(rule.to_string(), (3, 300))].into(),
            ..News::default()
        };
        metrics.rules(&news);
        let page = metrics.page();
        let text = String::from_utf8(page.clone()).unwrap();
        assert!(
            text.contains("sluice_controller_flow_mods_sent_total{node=\"node1\"} 5"),
            "{text}"
        );
        let counted = "sluice_controller_policy_rule_packets_total{kind=\"NetworkPolicy\",\
             name=\"web\",namespace=\"bank\",rule=\"ingress[0] (from the front)\"} 3";
        assert!(text.contains(counted), "{text}");
        let check = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut check) = check else {
            return; // promtool is not installed here; the demo checks a running daemon
        };
        std::io::Write::write_all(&mut check.stdin.take().unwrap(), &page).unwrap();
        let output = check.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
