//! Start and stop, in order.
//!
//! Start: packet memory, workers, ports, admin socket, metrics, OpenFlow; then systemd is told.
//! Stop: no more requests are taken, then the workers end and close their devices.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::IsTerminal;
use std::rc::Rc;
use std::sync::Arc;

use agent::{Identity, Opener, Options, Switch, Target};
use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use transport::Tls;
use worker::{Shared, Workers};

use crate::config::Config;
use crate::{cpus, eal, http, notify};

/// Logs to stderr; RUST_LOG chooses what.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // The journal has its own time stamps.
    match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().with_ansi(false).init(),
        None => log.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}

/// Runs until a signal ends it.
pub fn run(config: Config) -> Result<()> {
    if !config.cpus.is_empty() {
        let allowed = os::allowed_cpus()?;
        cpus::check(&config.cpus, &allowed).map_err(anyhow::Error::msg)?;
    }
    let pools = eal::start(&config)?;
    let tables = config.sizes.tables();
    let conns = config
        .tracking
        .table(seeds())
        .context("cannot reserve memory for tracked connections (ct-max)")?;
    let shared = Shared::new(
        worker::Config {
            cpus: config.cpus.clone(),
            poll: config.poll,
            cache_entries: config.cache_entries,
            fdb_entries: config.mac_table_size as usize,
            balance: config.balance,
            fragments: config.fragments,
            fdb_idle: u64::from(config.mac_aging_time) * 1_000_000_000,
            queue_buffers: queue_buffers(&pools, config.cpus.len()),
            ..worker::Config::default()
        },
        tables.published(),
        Arc::new(conns),
    );
    let workers = start_workers(&config, shared, &pools)?;
    workers.set_vteps(config.vteps.clone());

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the control thread's runtime")?;
    let opener: Opener = {
        let pools = pools.clone();
        let workers = config.cpus.len().max(1);
        Box::new(move |spec| ports::open_for(spec, &pools, workers))
    };
    let identity = Identity {
        dpid: config.dpid,
        name: config.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        dpdk: eal::version(),
        vteps: config
            .vteps
            .iter()
            .map(|vtep| format!("{}/{} on {}", vtep.address, vtep.prefix, vtep.port))
            .collect(),
    };
    let served = tokio::task::LocalSet::new().block_on(&runtime, async {
        let switch = Switch::new(identity, tables, Box::new(workers), opener);
        switch.configure(Options {
            tls: config.tls.clone().map(Tls::load).transpose()?,
            ..config.openflow.clone()
        });
        serve(&switch, &config).await?;
        // Only now it is certain that they are ours, and not those of another process.
        remove_sockets(&config);
        Ok(())
    });
    // Sessions and with them the workers end with the runtime's tasks.
    drop(runtime);
    tracing::info!("stopped");
    served
}

/// A quarter of the packet memory may wait in queues of ports, and each worker has its part of that.
fn queue_buffers(pools: &ports::Pools, workers: usize) -> (usize, usize) {
    let part = |count: usize| count / 4 / workers.max(1);
    let usual = worker::Config::default().queue_buffers;
    pools
        .counts
        .map_or(usual, |(frames, big)| (part(frames), part(big)))
}

fn start_workers(config: &Config, shared: Arc<Shared>, pools: &ports::Pools) -> Result<Workers> {
    let cpus = config.cpus.clone();
    let setup = move |index: usize| {
        if let Some(cpu) = cpus.get(index)
            && let Err(error) = os::pin_current_thread(*cpu)
        {
            tracing::error!("worker {index}: {error}");
        }
        eal::register_thread();
    };
    Workers::start(shared, &pools.frames, seeds(), setup).context("cannot start the worker threads")
}

/// Secrets of hash functions, different in each process.
fn seeds() -> [u64; 2] {
    [0; 2].map(|_: u64| RandomState::new().build_hasher().finish())
}

async fn serve(switch: &Rc<Switch>, config: &Config) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    for spec in &config.ports {
        // A port that fails is told of, and does not stop the others.
        if let Err(error) = switch.add_port(spec.clone()) {
            tracing::error!("{error}; the other ports run");
        }
    }
    agent::serve_admin(switch, &config.admin).await?;
    if let Some(address) = &config.metrics {
        http::serve(switch, address).await?;
    }
    for target in &config.targets {
        agent::serve(switch, target).await?;
    }
    tokio::task::spawn_local(agent::run_timers(switch.clone()));
    tokio::task::spawn_local(notify::watchdog(switch.clone()));
    tokio::task::spawn_local(notify::status(switch.clone()));
    let status = switch.status_line();
    tracing::info!("running: {status}");
    notify::ready(&status);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        () = switch.worker_ended() => {
            // Its ports are dead; a new process is the way to get them back.
            anyhow::bail!("a worker thread has ended (its last words are above); start again");
        }
    }
    notify::stopping();
    Ok(())
}

/// Sockets that this process made do not stay behind.
fn remove_sockets(config: &Config) {
    let paths = config.targets.iter().filter_map(|target| match target {
        Target::PassiveUnix(path) => Some(path),
        _ => None,
    });
    for path in paths.chain([&config.admin]) {
        drop(std::fs::remove_file(path));
    }
}
