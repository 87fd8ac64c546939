//! CHECK and STATUS: is an attachment as it was made, can another one be made.

use std::path::Path;

use admin::{Client, Reply, Request};
use ipnet::IpNet;
use serde_json::Value;

use crate::attach::{PATIENCE, kernel, unexpected};
use crate::call::{Config, Target};
use crate::controller;
use crate::failure::{Failure, code};
use crate::netns::Netns;

/// Compares an attachment with what ADD returned.
///
/// # Errors
/// What is missing or different.
pub fn check(config: &Config, target: &Target) -> Result<(), Failure> {
    let who = target.who();
    let differs = |what: String| Failure::new(code::DIFFERS, format!("{who}: {what}"));
    let previous = config.previous.as_ref().ok_or_else(|| {
        Failure::new(
            code::INVALID_CONFIG,
            "prevResult: missing, CHECK compares with it",
        )
    })?;

    let name = target.port();
    let mut dataplane = Client::connect(&config.admin_socket, PATIENCE)?;
    let ports = match dataplane.call(&Request::PortList)? {
        Reply::Ports(ports) => ports,
        other => return Err(unexpected(&dataplane, &other)),
    };
    match ports.iter().find(|port| port.name == name) {
        None => return Err(differs(format!("the dataplane has no port {name}"))),
        Some(port) if !port.open => return Err(differs(format!("port {name} is closed"))),
        Some(port) => {
            if let Some(error) = &port.error {
                return Err(differs(format!("port {name} does not run: {error}")));
            }
        }
    }

    let sandbox = target.netns.as_deref().unwrap_or(Path::new(""));
    let inside = Netns::open(sandbox)?.netlink()?;
    let interface = &target.interface;
    let look = |e: std::io::Error| kernel(&format!("{who}: cannot look at {interface}"), &e);
    let link = inside
        .link(interface)
        .map_err(look)?
        .ok_or_else(|| differs(format!("{interface} is gone")))?;
    if !link.up {
        return Err(differs(format!("{interface} is down")));
    }
    let mac = recorded_mac(previous, interface);
    if mac.is_some_and(|mac| !mac.eq_ignore_ascii_case(&link.mac.to_string())) {
        let found = link.mac;
        return Err(differs(format!(
            "{interface} has another Ethernet address, {found}"
        )));
    }
    let present = inside.addresses(link.index).map_err(look)?;
    for wanted in recorded_addresses(previous) {
        if !present.contains(&wanted) {
            return Err(differs(format!("{interface} lost the address {wanted}")));
        }
    }
    Ok(())
}

/// Can ADD be served?
///
/// # Errors
/// Who does not answer.
pub fn status(config: &Config) -> Result<(), Failure> {
    let unavailable = |msg: String| Failure::new(code::NOT_AVAILABLE, msg);
    Client::connect(&config.admin_socket, PATIENCE)
        .and_then(|mut dataplane| dataplane.call(&Request::Version))
        .map_err(|e| unavailable(e.to_string()))?;
    controller::reachable(config)
}

fn recorded_mac<'a>(previous: &'a Value, interface: &str) -> Option<&'a str> {
    let interfaces = previous.get("interfaces")?.as_array()?;
    let named = |i: &&Value| i.get("name").and_then(Value::as_str) == Some(interface);
    interfaces.iter().find(named)?.get("mac")?.as_str()
}

fn recorded_addresses(previous: &Value) -> Vec<IpNet> {
    let ips = previous.get("ips").and_then(Value::as_array);
    let address = |ip: &Value| ip.get("address")?.as_str()?.parse().ok();
    ips.map(|ips| ips.iter().filter_map(address).collect())
        .unwrap_or_default()
}
