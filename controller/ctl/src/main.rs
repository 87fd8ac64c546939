//! sluicectl: looks into a dataplane and changes it, over its admin socket or over OpenFlow; and asks
//! the controller about the whole cluster, over its local socket.

mod args;
mod columns;
mod controller;
mod explain;
mod print;
mod source;
mod switch;
mod target;

use std::io::Write;
use std::process::ExitCode;

use admin::{Reply, Request};
use clap::Parser;

use args::{
    Cli, Command, Ct, CtCommand, Explain, ExplainDrop, Fdb, FdbCommand, Form, LimitsCommand,
    Neighbor, Port, TraceArgs,
};
use source::Source;

/// Why nothing was done.
#[derive(Debug)]
enum Failure {
    /// It cannot be asked for in this way: exit status 2.
    Usage(String),
    /// It was asked and refused, or nobody answered: exit status 1.
    Failed(String),
    /// It was asked and answered, and the answer is bad news: exit status 1, on standard output.
    Different(String),
}

impl From<admin::Error> for Failure {
    fn from(error: admin::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    let (text, status) = match run(&cli) {
        Ok(output) => {
            // A reader that left, as `| head` does, is no failure.
            drop(std::io::stdout().write_all(output.as_bytes()));
            return ExitCode::SUCCESS;
        }
        Err(Failure::Different(output)) => {
            drop(std::io::stdout().write_all(output.as_bytes()));
            return ExitCode::from(1);
        }
        Err(Failure::Usage(text)) => (text, 2),
        Err(Failure::Failed(text)) => (text, 1),
    };
    drop(writeln!(std::io::stderr(), "sluicectl: {text}"));
    ExitCode::from(status)
}

/// Help as clap lays it out; anything wrong in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        drop(error.print());
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        drop(error.print());
        return ExitCode::from(2);
    }
    // The first paragraph says it all; after it come tips and the usage.
    let text = error.render().to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|l| !l.is_empty())
        .collect();
    let what = lines.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    let line = format!("sluicectl: {what}; `sluicectl help` shows what there is");
    drop(writeln!(std::io::stderr(), "{line}"));
    ExitCode::from(2)
}

fn run(cli: &Cli) -> Result<String, Failure> {
    let later = |what: &str| {
        let text =
            format!("{what} comes in a later version; see `sluicectl help` for what is here");
        Err(Failure::Usage(text))
    };
    match &cli.command {
        Command::Get(get) => return controller::get(cli, get),
        Command::Trace(arguments) => return controller::trace(cli, arguments),
        Command::Diff { node, output } => return controller::diff(cli, node.as_deref(), *output),
        Command::Explain(Explain::Drop(arguments)) => return explain_drop(cli, arguments),
        Command::Top { .. } => return later("top"),
        Command::Mirror { .. } => return later("mirror"),
        Command::Capture { .. } => return later("capture"),
        Command::Version => return version(cli),
        _ => {}
    }
    let mut source = Source::open(cli)?;
    match &cli.command {
        Command::DumpFlows(arguments) => {
            let mut flows = source.flows(arguments.filter.as_deref())?;
            print::sort_flows(&mut flows, arguments);
            output(cli.json, &flows, || print::flows(&flows, arguments))
        }
        Command::DumpGroups { group } => {
            let mut groups = source.groups()?;
            groups.retain(|g| group.is_none_or(|wanted| wanted == g.id));
            output(cli.json, &groups, || print::groups(&groups))
        }
        Command::DumpMeters { meter } => {
            let wanted = meter.as_deref().map(meter_number).transpose()?;
            let mut meters = source.meters()?;
            meters.retain(|m| wanted.is_none_or(|wanted| wanted == m.id));
            output(cli.json, &meters, || print::meters(&meters))
        }
        Command::DumpPorts { port } => {
            let ports = choose(source.ports()?, port.as_deref())?;
            output(cli.json, &ports, || print::port_counters(&ports))
        }
        Command::DumpTables => {
            let tables = source.tables()?;
            output(cli.json, &tables, || print::tables(&tables))
        }
        Command::Show => {
            let show = source.show()?;
            let objects = source.objects()?;
            output(cli.json, &show, || print::show(&show, &objects))
        }
        Command::Ct(command) => ct(cli, &mut source, command),
        Command::Fdb(command) => fdb(cli, &mut source, command),
        Command::Drops => match source.ask("drops", &Request::Drops)? {
            Reply::Drops(drops) => {
                let flows = source.flows(None)?;
                output(cli.json, &drops, || {
                    print::drops(&drops) + &print::dropping_flows(&flows)
                })
            }
            other => Err(source.odd(&other)),
        },
        Command::Cores => match source.ask("cores", &Request::Cores)? {
            Reply::Cores(cores) => output(cli.json, &cores, || print::cores(&cores)),
            other => Err(source.odd(&other)),
        },
        Command::Cache => match source.ask("cache", &Request::Cache)? {
            Reply::Caches(caches) => output(cli.json, &caches, || print::caches(&caches)),
            other => Err(source.odd(&other)),
        },
        Command::Neighbor(command) => neighbor(cli, &mut source, command),
        Command::Port(command) => port(cli, &mut source, command),
        Command::Version
        | Command::Get(_)
        | Command::Trace(_)
        | Command::Diff { .. }
        | Command::Explain(_)
        | Command::Top { .. }
        | Command::Mirror { .. }
        | Command::Capture { .. } => Ok(String::new()), // answered above
    }
}

fn ct(cli: &Cli, source: &mut Source, ct: &Ct) -> Result<String, Failure> {
    let request = match &ct.command {
        None => Request::CtList { zone: ct.zone },
        Some(CtCommand::Flush { filter }) => Request::CtFlush {
            zone: ct.zone,
            filter: filter.clone(),
        },
        Some(CtCommand::Show) => Request::CtShow,
        Some(CtCommand::Limits { command: None }) => Request::CtLimits,
        Some(CtCommand::Limits {
            command: Some(LimitsCommand::Set { limits }),
        }) => Request::CtSetLimits {
            limits: limits.clone(),
        },
        Some(CtCommand::Limits {
            command: Some(LimitsCommand::Del { zones }),
        }) => Request::CtDelLimits {
            zones: zones.clone(),
        },
    };
    match source.ask("ct", &request)? {
        Reply::Connections(list) => output(cli.json, &list, || print::connections(&list)),
        Reply::CtFlushed { count } => {
            let what = serde_json::json!({ "flushed": count });
            let plural = if count == 1 { "" } else { "s" };
            output(cli.json, &what, || {
                format!("{count} connection{plural} forgotten\n")
            })
        }
        Reply::Tracker(tracker) => output(cli.json, &tracker, || print::tracker(&tracker)),
        Reply::ZoneLimits(mut limits) => {
            limits
                .zones
                .retain(|limit| ct.zone.is_none_or(|zone| zone == limit.zone));
            output(cli.json, &limits, || print::zone_limits(&limits))
        }
        Reply::Done {} => Ok(String::new()),
        other => Err(source.odd(&other)),
    }
}

fn fdb(cli: &Cli, source: &mut Source, command: &Fdb) -> Result<String, Failure> {
    let request = match &command.command {
        None => Request::FdbList,
        Some(FdbCommand::Flush { port }) => Request::FdbFlush { port: port.clone() },
    };
    match source.ask("fdb", &request)? {
        Reply::Fdb(fdb) => output(cli.json, &fdb, || print::fdb(&fdb)),
        Reply::FdbFlushed { count } => {
            let what = serde_json::json!({ "flushed": count });
            let plural = if count == 1 { "" } else { "es" };
            output(cli.json, &what, || {
                format!("{count} address{plural} forgotten\n")
            })
        }
        other => Err(source.odd(&other)),
    }
}

fn neighbor(cli: &Cli, source: &mut Source, command: &Neighbor) -> Result<String, Failure> {
    let request = match command {
        Neighbor::List => Request::NeighborList,
        Neighbor::Set { ip, mac } => Request::NeighborSet {
            ip: ip.to_string(),
            mac: mac.to_string(),
        },
        Neighbor::Del { ip } => Request::NeighborDel { ip: ip.to_string() },
    };
    match source.ask("neighbor", &request)? {
        Reply::Neighbors(list) => output(cli.json, &list, || print::neighbors(&list)),
        Reply::Done {} => Ok(String::new()),
        other => Err(source.odd(&other)),
    }
}

fn port(cli: &Cli, source: &mut Source, command: &Port) -> Result<String, Failure> {
    let request = match command {
        Port::List => {
            let ports = source.ports()?;
            let objects = source.objects()?;
            return output(cli.json, &ports, || print::ports(&ports, &objects));
        }
        Port::Add { spec } => Request::PortAdd { spec: spec.clone() },
        Port::Del { name } => Request::PortDel { name: name.clone() },
        Port::Set { name, shaping } => Request::PortShape {
            name: name.clone(),
            shaping: shaping.clone(),
        },
        Port::Queues { name } => Request::Queues { port: name.clone() },
        Port::Move { name, core, rxq } => Request::PortMove {
            name: name.clone(),
            cpu: *core,
            rxq: *rxq,
        },
    };
    match source.ask("changing ports, and their queues,", &request)? {
        Reply::Done {} => Ok(String::new()),
        Reply::Queues(queues) => output(cli.json, &queues, || print::queues(&queues)),
        Reply::Port { port, created } => output(cli.json, &port, || {
            let (name, number) = (&port.name, port.ofport);
            let how = if created {
                "added"
            } else {
                "was there already"
            };
            format!("port {name} {how}, number {number}\n")
        }),
        Reply::PortDeleted { existed: true } => Ok(String::new()),
        Reply::PortDeleted { existed: false } => {
            let name = match command {
                Port::Del { name } => name,
                _ => "",
            };
            let text = format!("there is no port {name}; `sluicectl port list` shows them");
            Err(Failure::Failed(text))
        }
        other => Err(source.odd(&other)),
    }
}

/// The dataplane's version is told if one answers; asking for ours must not need one.
fn version(cli: &Cli) -> Result<String, Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let dataplane = Source::open(cli).and_then(|mut s| s.ask("version", &Request::Version));
    let dataplane = match dataplane {
        Ok(Reply::Version(version)) => Some(version),
        _ => None,
    };
    let document = serde_json::json!({ "sluicectl": own, "dataplane": &dataplane });
    output(cli.json, &document, || {
        print::version(own, dataplane.as_ref())
    })
}

/// What stands at a drop reason is known without anybody; what it has counted, a dataplane says.
fn explain_drop(cli: &Cli, arguments: &ExplainDrop) -> Result<String, Failure> {
    if let (Some(from), Some(_)) = (&arguments.what, &arguments.to) {
        let trace = TraceArgs {
            from: from.clone(),
            to: arguments.to.clone(),
            source_port: arguments.source_port,
            family: arguments.family,
            output: arguments.output,
        };
        return controller::explain(cli, &trace);
    }
    let drops = Source::open(cli).and_then(|mut source| source.ask("drops", &Request::Drops));
    let drops = match drops {
        Ok(Reply::Drops(drops)) => Some(drops),
        _ => None,
    };
    let told = explain::told(arguments.what.as_deref(), drops.as_deref())?;
    let json = cli.json || arguments.output == Some(Form::Json);
    output(json, &told, || explain::text(&told))
}

fn output<T: serde::Serialize>(
    json: bool,
    document: &T,
    text: impl FnOnce() -> String,
) -> Result<String, Failure> {
    if !json {
        return Ok(text());
    }
    let json = serde_json::to_string_pretty(document);
    json.map(|json| json + "\n")
        .map_err(|e| Failure::Failed(format!("cannot print as JSON: {e}")))
}

fn choose(ports: Vec<admin::Port>, wanted: Option<&str>) -> Result<Vec<admin::Port>, Failure> {
    let Some(wanted) = wanted else {
        return Ok(ports);
    };
    let found: Vec<_> = ports
        .into_iter()
        .filter(|p| p.name == wanted || wanted.parse() == Ok(p.ofport))
        .collect();
    if found.is_empty() {
        let text = format!("there is no port {wanted}; `sluicectl port list` shows them");
        return Err(Failure::Failed(text));
    }
    Ok(found)
}

fn meter_number(text: &str) -> Result<u32, Failure> {
    let number = text.strip_prefix("meter=").unwrap_or(text);
    let wrong = || Failure::Usage(format!("meter {text:?} is not a number nor meter=N"));
    number.parse().map_err(|_| wrong())
}
