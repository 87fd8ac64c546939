//! sluice-controller: reads Kubernetes objects, derives what the network shall be, and keeps every
//! node's switch at it.

mod config;
mod controller;
mod desk;
mod found;
mod intent;
mod keeper;
mod leadership;
mod metrics;
mod podsocket;
mod policylog;
mod problems;
mod rulecounts;
mod store;
mod writing;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use config::{Config, Flags};

fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) if !error.use_stderr() => {
            drop(error.print());
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(2, &one_line(&error)),
    };
    let config = match flags.resolve() {
        Ok(config) => config,
        Err(error) => return fail(2, &error.to_string()),
    };
    let filter = match EnvFilter::try_new(directives(&config.log)) {
        Ok(filter) => filter,
        Err(error) => return fail(2, &format!("--log {}: {error}", config.log)),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // The journal has its own time stamps.
    match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().with_ansi(false).init(),
        None => log.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

/// The client of the API server logs an error for each connection that fails, dozens of them a second
/// while a server is away. Which kind cannot be read, and that it can be again, `watch` says once.
fn directives(log: &str) -> String {
    const CLIENT: &str = "kube_client";
    match log.contains(CLIENT) {
        true => log.into(),
        false => format!("{log},{CLIENT}=off"),
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(controller::run(config))
}

/// clap's message without its usage block: what is wrong, in one line.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let first = first.trim_start_matches("error: ").to_string();
    format!("{first}; see --help")
}

fn fail(status: u8, text: &str) -> ExitCode {
    // Nobody to tell if standard error is closed.
    drop(writeln!(std::io::stderr(), "sluice-controller: {text}"));
    ExitCode::from(status)
}
