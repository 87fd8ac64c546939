//! The admin socket: requests of `sluicectl` and `sluice-cni`, one JSON document per line.

mod cores;
mod flows;
mod show;
mod tracker;

use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::ports::PortSpec;
use admin::{MAX_REQUEST, Reply, Request};
use net::MacAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{ListenError, Switch, Target};

/// Most connections at a time.
const MOST: usize = 128;

/// Serves the admin socket until the runtime ends. Needs a `LocalSet`.
///
/// # Errors
/// When the path cannot be listened on.
pub async fn serve_admin(switch: &Rc<Switch>, path: &Path) -> Result<(), ListenError> {
    let target = Target::PassiveUnix(path.to_path_buf());
    let listener =
        transport::listen_unix(path).map_err(|cause| ListenError::new(&target, &cause))?;
    let switch = switch.clone();
    let room = Arc::new(Semaphore::new(MOST));
    tokio::task::spawn_local(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let Ok(place) = room.clone().try_acquire_owned() else {
                        tracing::warn!("admin socket: refused, there are {MOST} connections");
                        continue;
                    };
                    let switch = switch.clone();
                    tokio::task::spawn_local(async move {
                        converse(switch, stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("admin socket: cannot accept a connection: {error}");
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    });
    Ok(())
}

async fn converse(switch: Rc<Switch>, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(MAX_REQUEST as u64 + 1);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(0) => return,
            Ok(_) if line.last() == Some(&b'\n') => {}
            Ok(_) if line.len() > MAX_REQUEST => {
                let text = format!("a request has at most {MAX_REQUEST} bytes");
                let reply = admin::encode_reply(&Reply::error(text));
                drop(writer.write_all(&reply).await);
                return;
            }
            // The peer left in the middle of a line.
            Ok(_) | Err(_) => return,
        }
        let done = match admin::decode_request(&line) {
            Ok(Request::Flows { filter }) => {
                flows::reply(&switch, filter.as_deref(), &mut writer).await
            }
            Ok(request) => {
                let reply = answer(&switch, request).await;
                writer.write_all(&admin::encode_reply(&reply)).await
            }
            Err(error) => {
                let reply = Reply::error(error);
                writer.write_all(&admin::encode_reply(&reply)).await
            }
        };
        if let Err(error) = done {
            tracing::debug!("admin socket: a reply was not taken: {error}");
            return;
        }
    }
}

async fn answer(switch: &Switch, request: Request) -> Reply {
    try_answer(switch, request)
        .await
        .unwrap_or_else(Reply::Error)
}

async fn try_answer(switch: &Switch, request: Request) -> Result<Reply, String> {
    Ok(match request {
        Request::PortAdd { spec } => port_add(switch, &spec)?,
        Request::PortDel { name } => Reply::PortDeleted {
            existed: switch.delete_port(&name).await?,
        },
        Request::PortMove { name, cpu, rxq } => {
            switch.move_port(&name, rxq, cpu).await?;
            Reply::Done {}
        }
        Request::PortShape { name, shaping } => {
            let shaping = shaping.parse();
            let shaping = shaping.map_err(|e: String| format!("port {name}: {e}"))?;
            switch.shape_port(&name, shaping)?;
            Reply::Done {}
        }
        Request::Queues { port } => Reply::Queues(show::queues(switch, port.as_deref())?),
        Request::PortList => Reply::Ports(show::ports(switch)),
        Request::PortWaitOpen { name, timeout_ms } => {
            wait_open(switch, &name, Duration::from_millis(timeout_ms)).await?
        }
        Request::Flows { .. } => return Err("flows are answered elsewhere".into()),
        Request::Groups => {
            switch.settle().await;
            Reply::Groups(show::groups(switch).await)
        }
        Request::Meters => Reply::Meters(show::meters(switch).await),
        Request::Tables => {
            switch.settle().await;
            Reply::Tables(show::tables(switch))
        }
        Request::Show => Reply::Show(show::switch(switch)),
        Request::CtList { zone } => Reply::Connections(switch.engine.connections(zone)),
        Request::CtFlush { zone, filter } => {
            let filter = crate::handle::ct::parse(zone, &filter)?;
            Reply::CtFlushed {
                count: tracker::flush(switch, &filter).await,
            }
        }
        Request::CtShow => Reply::Tracker(tracker::show(switch)),
        Request::CtLimits => Reply::ZoneLimits(tracker::limits(switch)),
        Request::CtSetLimits { limits } => tracker::set_limits(switch, &limits)?,
        Request::CtDelLimits { zones } => tracker::delete_limits(switch, &zones),
        Request::FdbList => Reply::Fdb(show::fdb(switch)),
        Request::FdbFlush { port } => {
            let ports = switch.ports.borrow();
            let number = |name: String| {
                let port = ports.named(&name).map(|port| port.number);
                port.ok_or_else(|| {
                    format!("no port {name}; `sluicectl port list` shows what there is")
                })
            };
            let port = port.map(number).transpose()?;
            Reply::FdbFlushed {
                count: switch.engine.flush_fdb(port) as u64,
            }
        }
        Request::Drops => Reply::Drops(show::drops(switch)),
        Request::Cores => Reply::Cores(cores::cores(switch)),
        Request::Cache => Reply::Caches(cores::caches(switch)),
        Request::NeighborList => {
            Reply::Neighbors(show::neighbors(switch, switch.engine.neighbors()))
        }
        Request::NeighborSet { ip, mac } => {
            let mac: MacAddr = mac.parse().map_err(|e| format!("mac '{mac}': {e}"))?;
            let address = parse_ip(&ip)?;
            match switch.engine.set_neighbor(address, mac) {
                true => Reply::Done {},
                false => {
                    return Err(format!(
                        "next hop {ip}: no tunnel endpoint of that address family; see --vtep"
                    ));
                }
            }
        }
        Request::NeighborDel { ip } => {
            let address = parse_ip(&ip)?;
            match switch.engine.delete_neighbor(address) {
                true => Reply::Done {},
                false => {
                    return Err(format!(
                        "no next hop {ip}; `sluicectl neighbor list` shows what there is"
                    ));
                }
            }
        }
        Request::Version => Reply::Version(show::version(switch)),
    })
}

fn parse_ip(ip: &str) -> Result<IpAddr, String> {
    ip.parse()
        .map_err(|_| format!("'{ip}' is no IP address; write it like 172.30.0.2 or fd00::2"))
}

fn port_add(switch: &Switch, text: &str) -> Result<Reply, String> {
    let spec: PortSpec = text.parse().map_err(|e| format!("{e}"))?;
    let existing = {
        let ports = switch.ports.borrow();
        ports.named(&spec.name).map(|port| {
            let number = spec.ofport.is_none_or(|number| number == port.number);
            (number && port.spec.kind == spec.kind, show::port(port))
        })
    };
    match existing {
        Some((true, port)) => Ok(Reply::Port {
            port,
            created: false,
        }),
        Some((false, port)) => Err(format!(
            "port {}: there is one already, number {} on {}; delete it first",
            spec.name, port.ofport, port.device
        )),
        None => {
            let number = switch.add_port(spec)?;
            let ports = switch.ports.borrow();
            let port = ports.get(number).ok_or("the port went away at once")?;
            Ok(Reply::Port {
                port: show::port(port),
                created: true,
            })
        }
    }
}

async fn wait_open(switch: &Switch, name: &str, time: Duration) -> Result<Reply, String> {
    let until = Instant::now() + time;
    loop {
        let changed = switch.port_changed.notified();
        let port = {
            let ports = switch.ports.borrow();
            let port = ports.named(name).map(show::port);
            port.ok_or_else(|| {
                format!("no port {name}; `sluicectl port list` shows what there is")
            })?
        };
        if port.open || timeout_at(until, changed).await.is_err() {
            return Ok(Reply::Port {
                port,
                created: false,
            });
        }
    }
}
