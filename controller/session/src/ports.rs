//! The ports of a switch, as it announces them, and the opening of pods' ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use flows::Ports;
use flows::flow::PodPort;
use net::PortNo;
use openflow::error::OFPPMFC_BAD_HW_ADDR;
use openflow::model::{PORT_NO_FWD, PORT_NO_RECV, PortDesc};
use openflow::msg::{Message, PortMod, PortReason, PortStatus, ReplyBody, RequestBody};

use crate::connection::{Connection, ConnectionError};
use crate::event::Rejected;

/// Config bits of a port that is not open yet.
const CLOSED: u32 = PORT_NO_RECV | PORT_NO_FWD;

/// How often a port's address may change under our hands before we wait for word of it.
const ATTEMPTS: usize = 3;

/// The ports of a switch.
#[derive(Debug, Default)]
pub(crate) struct PortTable {
    ports: BTreeMap<PortNo, PortDesc>,
    /// Their names and numbers.
    names: Arc<Ports>,
}

impl PortTable {
    /// Asks for all of them.
    pub async fn read(&mut self, connection: &mut Connection) -> Result<(), ConnectionError> {
        let parts = connection
            .ask_parts(RequestBody::PortDesc(PortNo::ANY), "for its ports")
            .await?;
        self.ports.clear();
        for part in parts {
            if let ReplyBody::PortDesc(ports) = part {
                self.ports
                    .extend(ports.into_iter().map(|desc| (desc.port, desc)));
            }
        }
        self.renew_names();
        Ok(())
    }

    fn renew_names(&mut self) {
        let ordinary = self.ports.values().filter(|desc| desc.port.is_ordinary());
        let names = ordinary.map(|desc| (desc.name.clone(), desc.port));
        self.names = Arc::new(names.collect());
    }

    /// Follows what the switch says of them; true if it says anything.
    pub fn follow(&mut self, changes: impl Iterator<Item = PortStatus>) -> bool {
        let mut any = false;
        for PortStatus { reason, desc } in changes {
            any = true;
            match reason {
                PortReason::Delete => drop(self.ports.remove(&desc.port)),
                PortReason::Add | PortReason::Modify => drop(self.ports.insert(desc.port, desc)),
            }
        }
        if any {
            self.renew_names();
        }
        any
    }

    /// Names and numbers.
    pub fn names(&self) -> Arc<Ports> {
        self.names.clone()
    }

    /// The name of a port.
    pub fn name(&self, port: PortNo) -> Option<String> {
        self.ports.get(&port).map(|desc| desc.name.clone())
    }

    /// True for a port that is there and not open yet.
    pub fn is_closed(&self, port: PortNo) -> bool {
        let desc = self.ports.get(&port);
        desc.is_some_and(|desc| desc.config & CLOSED != 0)
    }

    /// Opens ports of pods whose flows are in force: the barrier has been answered, and none of
    /// the pod's flows was refused.
    pub async fn open(
        &mut self,
        connection: &mut Connection,
        node: &str,
        pods: &BTreeMap<PortNo, PodPort>,
        may_open: impl Fn(PortNo) -> bool,
        rejected: &[Rejected],
    ) -> Result<(), ConnectionError> {
        for _ in 0..ATTEMPTS {
            let open = self.to_open(pods, &may_open, rejected);
            if open.is_empty() {
                return Ok(());
            }
            let messages = open.iter().map(|(_, open)| Message::PortMod(open.clone()));
            let first = connection.send(messages).await?;
            let errors = connection.barrier_errors().await?;
            let mut moved = false;
            for (number, (label, open)) in (0u32..).zip(open) {
                match errors.get(&first.wrapping_add(number)) {
                    None => {
                        tracing::debug!("{label}: Node {node}: port {} is open", open.port);
                        if let Some(desc) = self.ports.get_mut(&open.port) {
                            desc.config &= !CLOSED;
                        }
                    }
                    // The CNI plugin gives the interface the pod's address at this very moment.
                    Some(error) if *error == OFPPMFC_BAD_HW_ADDR => moved = true,
                    Some(error) => tracing::error!(
                        "{label}: Node {node}: port {} could not be opened: {error}",
                        open.port
                    ),
                }
            }
            if !moved {
                return Ok(());
            }
            self.read(connection).await?;
        }
        Ok(())
    }

    fn to_open<'a>(
        &self,
        pods: &'a BTreeMap<PortNo, PodPort>,
        may_open: &impl Fn(PortNo) -> bool,
        rejected: &[Rejected],
    ) -> Vec<(&'a str, PortMod)> {
        let mut open = Vec::new();
        for (port, pod) in pods {
            let Some(desc) = self.ports.get(port) else {
                continue;
            };
            let refused = rejected.iter().any(|r| r.object == pod.label);
            if desc.config & CLOSED == 0 || refused || !may_open(*port) {
                continue;
            }
            let port_mod = PortMod {
                port: *port,
                hw_addr: desc.hw_addr,
                config: 0,
                mask: CLOSED,
                advertise: 0,
                properties: Vec::new(),
            };
            open.push((pod.label.as_str(), port_mod));
        }
        open
    }
}
