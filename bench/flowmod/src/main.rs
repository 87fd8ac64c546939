//! Sends flow-mods as fast as a switch takes them, and says how fast that was.
//!
//!     flowmod unix:/run/sluice/br.mgmt --count 100000 --kind simple --command add [--bundle]
//!
//! All messages are encoded before the clock starts. It runs from the first byte written to the
//! reply to the barrier behind the last message, so what is measured is the switch. Works with any
//! switch that speaks OpenFlow 1.3.
#![allow(clippy::print_stdout)] // the result

mod connection;
mod flows;
mod paced;

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use openflow::msg::{BUNDLE_ATOMIC, BUNDLE_ORDERED, BundleAdd, BundleControl, BundleControlType};
use openflow::{Message, Version, wire};

use connection::Connection;
use flows::{Flows, Kind};

const BUNDLE: u32 = 1;
const BUNDLE_FLAGS: u16 = BUNDLE_ATOMIC | BUNDLE_ORDERED;

/// Sends flow-mods as fast as a switch takes them, and prints how fast that was.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// `unix:PATH` or `tcp:HOST:PORT`.
    target: String,
    /// Number of flow-mods.
    #[arg(long, default_value_t = 100_000)]
    count: u32,
    /// What the flows match.
    #[arg(long, value_enum, default_value_t = Kind::Simple)]
    kind: Kind,
    /// What is done with them.
    #[arg(long, value_enum, default_value_t = Command::Add)]
    command: Command,
    /// All in one bundle.
    #[arg(long)]
    bundle: bool,
    /// Table of the flows.
    #[arg(long, default_value_t = 0)]
    table: u8,
    /// Number of the first flow.
    #[arg(long, default_value_t = 0)]
    from: u32,
    /// Add and delete in turns at so many flow-mods per second, for `--seconds`, in place of the
    /// one burst; with `--count` flows.
    #[arg(long)]
    rate: Option<u32>,
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Command {
    /// Add them.
    Add,
    /// Give them other actions (strict).
    Modify,
    /// Delete each (strict).
    Delete,
    /// Add two, modify one of them, delete the other.
    Mixed,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut connection = Connection::open(&options.target)
        .with_context(|| format!("cannot speak to {}", options.target))?;
    let flows = Flows {
        kind: options.kind,
        table: options.table,
    };
    match options.rate {
        Some(rate) => paced::run(&options, rate, &flows, &mut connection),
        None => burst(&options, &flows, connection),
    }
}

/// Writes everything, waits for the barrier behind it, and prints one line of JSON.
fn burst(options: &Options, flows: &Flows, mut connection: Connection) -> Result<()> {
    let messages = match options.bundle {
        true => bundled(options, flows)?,
        false => plain(options, flows)?,
    };
    let begin = Instant::now();
    connection.write(&messages)?;
    let errors = connection.barrier()?;
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(
        errors.is_empty(),
        "{} messages were refused, the first with {}",
        errors.len(),
        errors.first().map_or_else(String::new, ToString::to_string)
    );
    println!(
        "{{\"kind\": \"{:?}\", \"command\": \"{:?}\", \"bundle\": {}, \"count\": {}, \"seconds\": {seconds:.6}, \"per_second\": {:.0}}}",
        options.kind,
        options.command,
        options.bundle,
        options.count,
        f64::from(options.count) / seconds
    );
    Ok(())
}

/// The flow-mods, one after the other.
fn requests<'a>(options: &Options, flows: &'a Flows) -> impl Iterator<Item = Message> + use<'a> {
    let (from, command) = (options.from, options.command);
    (0..options.count).map(move |n| {
        let request = match command {
            Command::Add => flows.add(from + n),
            Command::Modify => flows.modify(from + n),
            Command::Delete => flows.delete(from + n),
            Command::Mixed => match n % 4 {
                0 | 1 => flows.add(from + n),
                2 => flows.modify(from + n - 1),
                _ => flows.delete(from + n - 3),
            },
        };
        Message::FlowMod(request)
    })
}

fn plain(options: &Options, flows: &Flows) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (xid, request) in (1..).zip(requests(options, flows)) {
        wire::encode(Version::V1_3, xid, &request, &mut bytes)?;
    }
    Ok(bytes)
}

fn bundled(options: &Options, flows: &Flows) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let control = |kind, bytes: &mut Vec<u8>| {
        let control = BundleControl {
            bundle: BUNDLE,
            kind,
            flags: BUNDLE_FLAGS,
            properties: Vec::new(),
        };
        wire::encode(Version::V1_3, 0, &Message::BundleControl(control), bytes)
    };
    control(BundleControlType::OpenRequest, &mut bytes)?;
    for (xid, request) in (1..).zip(requests(options, flows)) {
        let add = BundleAdd {
            bundle: BUNDLE,
            flags: BUNDLE_FLAGS,
            xid,
            message: Box::new(request),
            properties: Vec::new(),
        };
        wire::encode(Version::V1_3, xid, &Message::BundleAdd(add), &mut bytes)?;
    }
    control(BundleControlType::CommitRequest, &mut bytes)?;
    Ok(bytes)
}
