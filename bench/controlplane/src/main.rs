//! Many stand-in switches around one real controller: how long a cold start takes, how fast a change
//! arrives where it is needed, and what it costs.
//!
//!     controlplane --controller target/release/sluice-controller --nodes 1000 [--changes 20]
//!
//! Everything is as in a cluster but the switches: the controller is the program itself, it reads a
//! folder of manifests, and its switches are connections that speak OpenFlow and keep what they are
//! told. One process and one thread are all switches, so their work is in the latencies too.
#![allow(clippy::print_stdout, clippy::print_stderr)] // the result, and how it goes on

mod manifests;
mod standin;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use cluster::{DEFAULT_INTERFACE, port_name};
use openflow::model::PortDesc;
use serde_json::json;
use tokio::sync::mpsc;

use manifests::{PER_NAMESPACE, Size};
use standin::{Held, SharedLog, StandIn};

/// A change has arrived everywhere when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(400);
/// How long the controller is watched doing nothing.
const IDLE: Duration = Duration::from_secs(4);
/// A cold start is over when nothing has come for this long.
const SETTLED: Duration = Duration::from_secs(5);
/// The same port everywhere.
const TUNNEL: u32 = 2;

/// Measures a controller with many switches.
#[derive(Debug, Parser)]
struct Options {
    /// The program `sluice-controller`.
    #[arg(long)]
    controller: PathBuf,
    /// Switches.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Pods; 100 for each node unless given.
    #[arg(long)]
    pods: Option<usize>,
    /// Services of ten pods; 10 for each node unless given.
    #[arg(long)]
    services: Option<usize>,
    /// Network policies; 5 for each node unless given.
    #[arg(long)]
    policies: Option<usize>,
    /// Changes of each kind.
    #[arg(long, default_value_t = 20)]
    changes: usize,
    /// The longest a cold start may take, in seconds, before it is given up.
    #[arg(long, default_value_t = 300)]
    patience: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let size = Size {
        nodes: options.nodes,
        pods: options.pods.unwrap_or(options.nodes * 100),
        services: options.services.unwrap_or(options.nodes * 10),
        policies: options.policies.unwrap_or(options.nodes * 5),
    };
    ensure!(
        size.nodes > 0 && size.pods >= size.nodes,
        "too few nodes or pods"
    );
    let mut bench = Bench::start(&options, size)?;
    let cold = bench
        .cold_start(Duration::from_secs(options.patience))
        .await?;
    eprintln!("cold start: {cold}");
    let idle = bench.idle().await?;
    eprintln!(
        "nothing: {:.2} ms of processor time in a second",
        idle * 1000.0
    );
    let pod = bench.pods(options.changes).await?;
    eprintln!("one pod added: {pod}");
    let service = bench.service(options.changes).await?;
    eprintln!("one endpoint of a large Service: {service}");
    let policy = bench.policies(options.changes).await?;
    eprintln!("one policy added: {policy}");
    let peak = bench.peak()?;
    let result = json!({
        "nodes": size.nodes, "pods": size.pods, "services": size.services,
        "policies": size.policies, "cold_start": cold, "pod_added": pod,
        "service_scaled": service, "policy_added": policy, "peak_mib": peak,
        "idle_cpu_ms_per_second": (idle * 100_000.0).round() / 100.0,
    });
    println!("{result}");
    Ok(())
}

struct Bench {
    size: Size,
    folder: tempfile::TempDir,
    controller: Child,
    started: Instant,
    log: SharedLog,
    held: Vec<Arc<Mutex<Held>>>,
    plugs: Vec<mpsc::UnboundedSender<PortDesc>>,
    /// Processor time in a second in which nothing changes, seconds.
    idle: f64,
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.controller.kill();
        let _ = self.controller.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bench {
    fn start(options: &Options, size: Size) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests)?;
        // Endpoints of the large Service that come and go.
        let changing: Vec<_> = (0..options.changes.min(PER_NAMESPACE).min(size.pods)).collect();
        manifests::write(&manifests, size, &changing)?;
        let free = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?;
        drop(free);
        let log = SharedLog::default();
        let (mut held, mut plugs) = (Vec::new(), Vec::new());
        for number in 0..size.nodes {
            let mut ports = vec![standin::port(TUNNEL, "geneve0".into())];
            for (at, pod) in (number..size.pods).step_by(size.nodes).enumerate() {
                ports.push(standin::port(100 + at as u32, pod_port(pod)));
            }
            let (plug, plugged) = mpsc::unbounded_channel();
            let own = Arc::new(Mutex::new(Held::default()));
            plugs.push(plug);
            held.push(own.clone());
            let stand_in = StandIn {
                number,
                name: manifests::node(number),
                ports,
                log: log.clone(),
                held: own,
                plugged,
            };
            tokio::spawn(serve(stand_in, address));
        }
        let started = Instant::now();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let controller = Command::new(&options.controller)
            .args(["--source", &format!("dir:{}", manifests.display())])
            .args(["--listen", &format!("ptcp:{}:127.0.0.1", address.port())])
            .args(["--metrics", "none", "--log", "warn"])
            .args(["--socket", &path("controller.sock")])
            .args(["--state", &path("state")])
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", options.controller.display()))?;
        Ok(Bench {
            size,
            folder,
            controller,
            started,
            log,
            held,
            plugs,
            idle: 0.0,
        })
    }

    /// What the controller costs while nothing changes.
    async fn idle(&mut self) -> Result<f64> {
        let before = self.cpu()?;
        tokio::time::sleep(IDLE).await;
        self.idle = (self.cpu()? - before) / IDLE.as_secs_f64();
        Ok(self.idle)
    }

    /// Until every switch holds everything.
    async fn cold_start(&mut self, patience: Duration) -> Result<serde_json::Value> {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let (switches, last) = {
                let log = lock(&self.log);
                let switches: BTreeSet<_> = log.commits.iter().map(|c| c.0).collect();
                (switches.len(), log.commits.last().map(|c| c.1))
            };
            if switches == self.size.nodes && last.is_some_and(|at| at.elapsed() > SETTLED) {
                break;
            }
            ensure!(
                self.started.elapsed() < patience,
                "only {switches} of {} switches after {} s",
                self.size.nodes,
                patience.as_secs()
            );
            ensure!(
                self.controller.try_wait()?.is_none(),
                "the controller has ended"
            );
        }
        let log = lock(&self.log);
        let first = log.commits.first().map(|c| c.1 - self.started);
        let last = log.commits.last().map(|c| c.1 - self.started);
        let counts = |of: fn(&Held) -> usize| {
            let counts: Vec<_> = self.held.iter().map(|held| of(&lock(held))).collect();
            json!({"least": counts.iter().min(), "most": counts.iter().max()})
        };
        Ok(json!({
            "seconds": last.map(|d| d.as_secs_f64()),
            "first_switch_seconds": first.map(|d| d.as_secs_f64()),
            "controller_cpu_seconds": self.cpu()?,
            "controller_peak_mib": self.peak()?,
            "received_mib": log.bytes >> 20,
            "flows": counts(|held| held.flows.len()),
            "groups": counts(|held| held.groups.len()),
        }))
    }

    /// Pods that are added, one after the other.
    async fn pods(&mut self, changes: usize) -> Result<serde_json::Value> {
        let manifests = self.folder.path().join("manifests");
        let mut seen = Seen::default();
        for number in (self.size.pods..).take(changes) {
            let node = number % self.size.nodes;
            let port = standin::port(50_000 + (number - self.size.pods) as u32, pod_port(number));
            self.plugs.get(node).context("no such node")?.send(port)?;
            tokio::time::sleep(QUIET / 2).await;
            let object = manifests::pod(number, self.size, true);
            let arrived = self
                .change(&mut seen, || manifests::one(&manifests, &object))
                .await?;
            ensure!(arrived.contains(&node), "a pod's node heard nothing of it");
        }
        seen.told(changes)
    }

    /// Endpoints of the large Service that are not ready any more, and ready again.
    async fn service(&mut self, changes: usize) -> Result<serde_json::Value> {
        let manifests = self.folder.path().join("manifests");
        let mut seen = Seen::default();
        for number in 0..changes.min(PER_NAMESPACE) {
            let object = manifests::pod(number, self.size, false);
            let arrived = self
                .change(&mut seen, || manifests::one(&manifests, &object))
                .await?;
            ensure!(
                arrived.len() == self.size.nodes,
                "only {} of {} nodes heard of an endpoint that went",
                arrived.len(),
                self.size.nodes
            );
        }
        seen.told(changes)
    }

    /// Policies that are added, each for ten pods that had none.
    async fn policies(&mut self, changes: usize) -> Result<serde_json::Value> {
        let manifests = self.folder.path().join("manifests");
        let mut seen = Seen::default();
        for number in (self.size.policies..).take(changes) {
            let object = manifests::policy(number, self.size);
            let arrived = self
                .change(&mut seen, || manifests::one(&manifests, &object))
                .await?;
            let ruled = manifests::ruled(number, self.size);
            ensure!(
                ruled.is_subset(&arrived),
                "a policy's nodes are {ruled:?}, and {arrived:?} heard of it"
            );
        }
        seen.told(changes)
    }

    /// Makes a change and waits until it has arrived; gives the switches that it came to.
    async fn change(
        &mut self,
        seen: &mut Seen,
        make: impl FnOnce() -> Result<()>,
    ) -> Result<BTreeSet<usize>> {
        let (cpu, before) = (self.cpu()?, lock(&self.log).commits.len());
        let bytes = lock(&self.log).bytes;
        let started = Instant::now();
        make()?;
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let log = lock(&self.log);
            let last = log.commits.get(before..).and_then(|new| new.last());
            let quiet = last.is_some_and(|commit| commit.1.elapsed() > QUIET);
            if quiet || started.elapsed() > Duration::from_secs(60) {
                break;
            }
        }
        let log = lock(&self.log);
        let new = log.commits.get(before..).unwrap_or_default();
        let took = new.iter().map(|commit| commit.1.duration_since(started));
        seen.took.extend(took);
        seen.modifications += new.iter().map(|commit| commit.2).sum::<usize>();
        seen.bytes += log.bytes - bytes;
        let arrived = new.iter().map(|commit| commit.0).collect();
        drop(log);
        let idle = self.idle * started.elapsed().as_secs_f64();
        seen.cpu += (self.cpu()? - cpu - idle).max(0.0);
        Ok(arrived)
    }

    /// Seconds of processor time that the controller's threads have used.
    fn cpu(&self) -> Result<f64> {
        let mut total = 0.0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.controller.id()))? {
            // Nanoseconds on a processor come first (kernel, Documentation/scheduler/sched-stats).
            let Ok(stat) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
                continue; // it has ended
            };
            let first = stat.split_whitespace().next();
            total += first.and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9;
        }
        Ok(total)
    }

    /// The most memory that the controller has had, in MiB.
    fn peak(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.controller.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024)
    }
}

async fn serve(stand_in: StandIn, controller: SocketAddr) {
    let name = stand_in.name.clone();
    if let Err(error) = stand_in.run(controller).await {
        eprintln!("{name}: {error:#}");
    }
}

fn pod_port(pod: usize) -> String {
    let (namespace, name) = manifests::pod_name(pod);
    port_name(&namespace, &name, DEFAULT_INTERFACE)
}

/// What some changes came to.
#[derive(Default)]
struct Seen {
    took: Vec<Duration>,
    modifications: usize,
    bytes: u64,
    cpu: f64,
}

impl Seen {
    fn told(mut self, changes: usize) -> Result<serde_json::Value> {
        self.took.sort();
        let at = |part: f64| {
            let last = self.took.len().checked_sub(1)?;
            let took = self.took.get((last as f64 * part).ceil() as usize)?;
            Some((took.as_secs_f64() * 10_000.0).round() / 10.0)
        };
        let per_change = |value: f64| (value / changes.max(1) as f64 * 100.0).round() / 100.0;
        Ok(json!({
            "changes": changes,
            "nodes_per_change": per_change(self.took.len() as f64),
            "modifications_per_change": per_change(self.modifications as f64),
            "kib_per_change": per_change(self.bytes as f64 / 1024.0),
            "p50_ms": at(0.5), "p99_ms": at(0.99), "most_ms": at(1.0),
            "controller_cpu_ms_per_change": per_change(self.cpu * 1000.0),
        }))
    }
}
