//! ADD: from a closed port to a configured interface behind an open one.
//!
//! The order is that of ARCHITECTURE.md, "A pod's port": the port exists before its address is
//! known, stays closed until its flows stand, and whatever fails takes back what was made.

use std::time::{Duration, Instant};

use admin::{Client, Reply, Request};
use cluster::podapi::Interface;

use crate::call::{Config, Mode, Target};
use crate::controller;
use crate::failure::{Failure, code};
use crate::netlink::{Link, Netlink};
use crate::netns::Netns;
use crate::record::{Owner, Record};
use crate::result::{Attachment, routes};

/// How long the dataplane may take for anything but waiting.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Attaches a pod, or finds it attached.
///
/// # Errors
/// The step that failed or was still waited for; nothing stays behind.
pub fn add(config: &Config, target: &Target) -> Result<Attachment, Failure> {
    let deadline = Instant::now() + config.timeout;
    let sandbox = target.netns.as_deref().unwrap_or(std::path::Path::new(""));
    let netns = Netns::open(sandbox)?;
    let port = target.port();
    let mut record = Record::open(&config.state_dir, &port)?;
    let mut dataplane = Client::connect(&config.admin_socket, PATIENCE)?;

    let stale = record
        .owner()
        .is_some_and(|o| o.container != target.container);
    if stale {
        // The pod was recreated under its name; its old container's port goes.
        remove_port(&mut dataplane, &port)?;
    }
    // Written first: should this process be killed, GC finds what it left.
    record.write(owner(config, target))?;
    match attach(config, target, &netns, &port, &mut dataplane, deadline) {
        Ok(attachment) => Ok(attachment),
        Err(failure) => {
            let undone = undo(&port, &mut dataplane).and_then(|()| record.remove());
            Err(match undone {
                Ok(()) => failure,
                Err(e) => Failure {
                    details: format!("{}; and undoing it failed: {e}", failure.details),
                    ..failure
                },
            })
        }
    }
}

/// Takes back a port and, in veth mode, its pair; what is gone is fine.
///
/// # Errors
/// What the dataplane or the kernel refused.
pub fn undo(port: &str, dataplane: &mut Client) -> Result<(), Failure> {
    remove_port(dataplane, port)?;
    remove_link(port)
}

/// Removes the interface that a port is named after from this namespace, if it is there.
///
/// # Errors
/// What the kernel refused.
pub fn remove_link(port: &str) -> Result<(), Failure> {
    here()?
        .remove(port)
        .map(drop)
        .map_err(|e| kernel(&format!("cannot remove the interface {port}"), &e))
}

/// Removes a port; true if there was one.
///
/// # Errors
/// What the dataplane refused.
pub fn remove_port(dataplane: &mut Client, port: &str) -> Result<bool, Failure> {
    let name = port.to_owned();
    match dataplane.call(&Request::PortDel { name })? {
        Reply::PortDeleted { existed } => Ok(existed),
        other => Err(unexpected(dataplane, &other)),
    }
}

/// The failure for a reply of the wrong kind.
pub fn unexpected(dataplane: &Client, reply: &Reply) -> Failure {
    dataplane.not_understood(format!("{reply:?}")).into()
}

/// A netlink socket in the node's namespace.
///
/// # Errors
/// As the system says.
pub fn here() -> Result<Netlink, Failure> {
    Netlink::open().map_err(|e| kernel("cannot open a netlink socket", &e))
}

/// A failure of the kernel's.
pub fn kernel(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(code::IO, what).with(error)
}

fn owner(config: &Config, target: &Target) -> Owner {
    Owner {
        network: config.name.clone(),
        container: target.container.clone(),
        interface: target.interface.clone(),
        namespace: target.namespace.clone(),
        pod: target.pod.clone(),
    }
}

fn attach(
    config: &Config,
    target: &Target,
    netns: &Netns,
    port: &str,
    dataplane: &mut Client,
    deadline: Instant,
) -> Result<Attachment, Failure> {
    let host = here()?;
    let inside = netns.netlink()?;
    let alias = format!("sluice {port}");

    // 1. A closed port, and the interface that goes into the pod.
    let moved = inside_link(&inside, target)?;
    let ours = moved.as_ref().is_some_and(|link| link.alias == alias);
    if moved.is_some() && !ours {
        let msg = format!(
            "{}: {} already has an interface {}, which is not ours; remove it",
            target.who(),
            netns.path(),
            target.interface
        );
        return Err(Failure::new(code::INVALID_ENVIRONMENT, msg));
    }
    let created = make_port(config, port, dataplane, &host, ours)?;
    let waits_here = match config.mode {
        Mode::Tap => created,
        Mode::Veth => !ours, // the pair outlives a dataplane
    };
    if ours && waits_here {
        // The dataplane was restarted: what is in the pod leads nowhere.
        inside
            .remove(&target.interface)
            .map_err(|e| kernel(&format!("cannot replace {}", target.interface), &e))?;
    }

    // 2. and 3. What it shall be; the controller learnt of the port from the switch meanwhile.
    let wanted = controller::interface_of(config, target, deadline)?;
    let mtu = config.mtu.unwrap_or(u32::from(wanted.mtu));

    // 4. The interface in the pod.
    if config.mode == Mode::Veth {
        let fit = |link: Option<Link>| link.map_or(Ok(()), |l| host.set_mtu(l.index, mtu));
        host.link(port)
            .and_then(fit)
            .map_err(|e| kernel(&format!("cannot set the MTU of {port} to {mtu}"), &e))?;
    }
    if waits_here {
        let leaving = pod_end(config.mode, port);
        let what = format!("cannot move {leaving} into {}", netns.path());
        let link = host
            .link(&leaving)
            .map_err(|e| kernel(&what, &e))?
            .ok_or_else(|| {
                let msg = format!("{what}: there is no such interface in this node's namespace");
                Failure::new(code::IO, msg)
                    .with("sluice-cni and sluice-dataplane must run in the same network namespace")
            })?;
        use std::os::fd::AsFd;
        host.send_away(link.index, netns.file().as_fd(), &target.interface)
            .map_err(|e| kernel(&what, &e))?;
    }
    let link = inside_link(&inside, target)?.ok_or_else(|| {
        Failure::new(
            code::IO,
            format!("{} vanished while it was set up", target.interface),
        )
    })?;
    configure(&inside, &link, &wanted, mtu, &alias)
        .map_err(|e| kernel(&format!("cannot configure {}", target.interface), &e))?;

    // 5. Open: every flow of the pod stands.
    wait_open(config, target, port, dataplane, deadline)?;
    let interface = &target.interface;
    Ok(Attachment::new(
        &config.version,
        interface,
        netns.path(),
        mtu,
        &wanted,
    ))
}

fn inside_link(inside: &Netlink, target: &Target) -> Result<Option<Link>, Failure> {
    inside
        .link(&target.interface)
        .map_err(|e| kernel(&format!("cannot look for {}", target.interface), &e))
}

/// The interface that leaves for the pod: the tap itself, or the other end of the pair.
fn pod_end(mode: Mode, port: &str) -> String {
    match mode {
        Mode::Tap => port.to_owned(),
        // Port names start with `sl`; this one lives for a moment and cannot meet another.
        Mode::Veth => format!("px{}", port.get(2..).unwrap_or_default()),
    }
}

/// True if this call made the port, false if it was there.
fn make_port(
    config: &Config,
    port: &str,
    dataplane: &mut Client,
    host: &Netlink,
    attached: bool,
) -> Result<bool, Failure> {
    let device = match config.mode {
        Mode::Tap => format!("tap,iface={port}"),
        Mode::Veth => {
            let what = format!("cannot make the veth pair {port}");
            let up = |link: Option<Link>| link.map_or(Ok(()), |link| host.up(link.index));
            let there = host.link(port).map_err(|e| kernel(&what, &e))?;
            if there.is_some() && !attached {
                // Left by a call that was killed in between.
                remove_port(dataplane, port)?;
                host.remove(port).map_err(|e| kernel(&what, &e))?;
            }
            if there.is_none() || !attached {
                host.add_veth(port, &pod_end(config.mode, port))
                    .and_then(|()| host.link(port))
                    .and_then(up)
                    .map_err(|e| kernel(&what, &e))?;
            }
            format!("veth,iface={port}")
        }
    };
    let spec = format!("{port},closed=true,dev={device}");
    match dataplane.call(&Request::PortAdd { spec: spec.clone() })? {
        Reply::Port { created: false, .. } if !attached => {
            // The port is there but its interface is not in the pod: left by a call that was
            // killed, or moved elsewhere. Only a new one is sure to be whole.
            remove_port(dataplane, port)?;
            match dataplane.call(&Request::PortAdd { spec })? {
                Reply::Port { .. } => Ok(true),
                other => Err(unexpected(dataplane, &other)),
            }
        }
        Reply::Port { created, .. } => Ok(created),
        other => Err(unexpected(dataplane, &other)),
    }
}

fn configure(
    inside: &Netlink,
    link: &Link,
    wanted: &Interface,
    mtu: u32,
    alias: &str,
) -> std::io::Result<()> {
    inside.configure(link.index, wanted.mac, mtu, alias)?;
    for address in &wanted.addresses {
        inside.add_address(link.index, *address)?;
    }
    for (destination, gateway) in routes(wanted) {
        let connected = wanted.addresses.iter().any(|a| a.contains(&gateway));
        inside.set_route(link.index, destination, gateway, !connected)?;
    }
    Ok(())
}

fn wait_open(
    config: &Config,
    target: &Target,
    port: &str,
    dataplane: &mut Client,
    deadline: Instant,
) -> Result<(), Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    let request = Request::PortWaitOpen {
        name: port.to_owned(),
        timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
    };
    match dataplane.call(&request)? {
        Reply::Port { port, .. } if port.open => Ok(()),
        Reply::Port { port, .. } => {
            let msg = format!(
                "{}: port {} still closed after {} s",
                target.who(),
                port.name,
                config.timeout.as_secs()
            );
            let why = port.error.unwrap_or_else(|| {
                "waited for the controller to install the pod's flows and open it; is \
                 sluice-controller connected to this dataplane (sluicectl show)?"
                    .into()
            });
            Err(Failure::new(code::TRY_AGAIN_LATER, msg).with(why))
        }
        other => Err(unexpected(dataplane, &other)),
    }
}
