//! Where answers come from: the admin socket, or a switch over OpenFlow. Both give the same data.

use std::time::Duration;

use admin::{Client, Flow, Group, Meter, Port, Reply, Request, Show, Table};

use crate::Failure;
use crate::args::Cli;
use crate::print::{self, Objects};
use crate::target::Switch;

/// One of the two.
pub enum Source {
    /// The dataplane's own socket: everything, with the names of objects.
    Admin(Client),
    /// Any OpenFlow switch: what the protocol tells.
    OpenFlow(Switch),
}

impl Source {
    /// As the command line says.
    pub fn open(cli: &Cli) -> Result<Self, Failure> {
        let timeout = Duration::from_secs(cli.timeout.max(1));
        Ok(match &cli.target {
            Some(target) => {
                let tls = cli.tls_files().map_err(Failure::Usage)?;
                Source::OpenFlow(Switch::connect(target, tls, timeout)?)
            }
            None => Source::Admin(Client::connect(&cli.admin, timeout)?),
        })
    }

    /// A request that only the admin socket understands.
    pub fn ask(&mut self, what: &str, request: &Request) -> Result<Reply, Failure> {
        match self {
            Source::Admin(client) => Ok(client.call(request)?),
            Source::OpenFlow(_) => Err(Failure::Usage(format!(
                "OpenFlow has no word for {what}: use the admin socket, without --target"
            ))),
        }
    }

    /// The failure for an answer to another question.
    pub fn odd(&self, reply: &Reply) -> Failure {
        match self {
            Source::Admin(client) => client.not_understood(format!("{reply:?}")).into(),
            Source::OpenFlow(_) => Failure::Failed(format!("unexpected answer {reply:?}")),
        }
    }

    /// Flows.
    pub fn flows(&mut self, filter: Option<&str>) -> Result<Vec<Flow>, Failure> {
        match self {
            Source::OpenFlow(switch) => switch.flows(filter),
            Source::Admin(_) => {
                let filter = filter.map(str::to_owned);
                match self.ask("flows", &Request::Flows { filter })? {
                    Reply::Flows(flows) => Ok(flows),
                    other => Err(self.odd(&other)),
                }
            }
        }
    }

    /// Which object is behind each port; only the admin socket knows.
    pub fn objects(&mut self) -> Result<Objects, Failure> {
        match self {
            Source::OpenFlow(_) => Ok(Objects::new()),
            Source::Admin(_) => Ok(print::objects(&self.flows(Some("table=0"))?)),
        }
    }

    /// Groups.
    pub fn groups(&mut self) -> Result<Vec<Group>, Failure> {
        match self {
            Source::OpenFlow(switch) => switch.groups(),
            Source::Admin(_) => match self.ask("groups", &Request::Groups)? {
                Reply::Groups(groups) => Ok(groups),
                other => Err(self.odd(&other)),
            },
        }
    }

    /// Meters.
    pub fn meters(&mut self) -> Result<Vec<Meter>, Failure> {
        match self {
            Source::OpenFlow(switch) => switch.meters(),
            Source::Admin(_) => match self.ask("meters", &Request::Meters)? {
                Reply::Meters(meters) => Ok(meters),
                other => Err(self.odd(&other)),
            },
        }
    }

    /// Ports.
    pub fn ports(&mut self) -> Result<Vec<Port>, Failure> {
        match self {
            Source::OpenFlow(switch) => switch.ports(),
            Source::Admin(_) => match self.ask("ports", &Request::PortList)? {
                Reply::Ports(ports) => Ok(ports),
                other => Err(self.odd(&other)),
            },
        }
    }

    /// Flow tables.
    pub fn tables(&mut self) -> Result<Vec<Table>, Failure> {
        match self {
            Source::OpenFlow(switch) => switch.tables(),
            Source::Admin(_) => match self.ask("tables", &Request::Tables)? {
                Reply::Tables(tables) => Ok(tables),
                other => Err(self.odd(&other)),
            },
        }
    }

    /// The switch.
    pub fn show(&mut self) -> Result<Show, Failure> {
        match self {
            Source::OpenFlow(switch) => switch.show(),
            Source::Admin(_) => match self.ask("show", &Request::Show)? {
                Reply::Show(show) => Ok(show),
                other => Err(self.odd(&other)),
            },
        }
    }
}
