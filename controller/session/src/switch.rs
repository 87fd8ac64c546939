//! The task of one switch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use flows::{FlowSet, Ports};
use net::PortNo;
use openflow::error;
use openflow::model::{PORT_NO_FWD, PORT_NO_RECV, PortDesc};
use openflow::msg::{
    CookieLabels, Message, PortMod, PortReason, PortStatus, ReplyBody, RequestBody,
};
use tokio::time::Instant;

use crate::apply::{Bundles, apply};
use crate::connection::{Connection, ConnectionError};
use crate::event::{Applied, Event, Rejected};
use crate::inventory::Inventory;
use crate::plan::plan_after;
use crate::target::Stream;
use crate::{Context, Intent};

/// Labels in one message; a label is at most a few hundred bytes and a message 64 kB.
const LABELS: usize = 100;

/// Config bits of a port that is not open yet.
const CLOSED: u32 = PORT_NO_RECV | PORT_NO_FWD;

/// Serves a switch until its connection ends.
pub(crate) async fn serve(stream: Box<dyn Stream>, peer: String, context: Context) {
    let mut connection = Connection::new(stream, context.timing);
    let (node, datapath) = match greet(&mut connection).await {
        Ok(greeted) => greeted,
        Err(error) => {
            tracing::warn!("connection from {peer} ended before it was of use: {error}");
            return;
        }
    };
    let place = match context.registry.enter(&node, datapath) {
        Ok(place) => place,
        Err(other) => {
            tracing::error!(
                "switch {datapath:#018x} at {peer} calls itself Node {node}, as switch \
                 {other:#018x} does already; it is refused: start one of them with another --name"
            );
            return;
        }
    };
    (context.events)(Event::Connected {
        node: node.clone(),
        datapath,
        peer,
    });
    let mut session = Session::new(connection, node.clone(), context.clone());
    let why = tokio::select! {
        ended = session.run() => match ended {
            Ok(()) => "the controller stops".to_string(),
            Err(error) => error.to_string(),
        },
        () = place.replaced.notified() => "the switch has connected again".to_string(),
    };
    (context.events)(Event::Disconnected { node, why });
}

/// Hello, features, description: which node is it, and which datapath.
async fn greet(connection: &mut Connection) -> Result<(String, u64), ConnectionError> {
    connection.hello().await?;
    let features = connection
        .ask(Message::FeaturesRequest, "for its features")
        .await?;
    let Message::FeaturesReply(features) = features else {
        return Err(ConnectionError::NotOpenFlow(
            "no features in the reply".into(),
        ));
    };
    let parts = connection
        .ask_parts(RequestBody::Desc, "for its description")
        .await?;
    let name = parts.into_iter().find_map(|part| match part {
        ReplyBody::Desc(desc) => Some(desc.dp_desc),
        _ => None,
    });
    match name {
        Some(name) if !name.is_empty() && name != "None" => Ok((name, features.datapath_id)),
        _ => Err(ConnectionError::Unwanted(format!(
            "switch {:#018x} does not say which node it is; start it with --name NODE (Open \
             vSwitch: other_config:dp-desc)",
            features.datapath_id
        ))),
    }
}

struct Session {
    connection: Connection,
    node: String,
    context: Context,
    ports: BTreeMap<PortNo, PortDesc>,
    held: Inventory,
    bundles: Bundles,
    labels: HashMap<u64, String>,
    takes_labels: bool,
    /// The last set that was compiled; what of it was refused is tried again later.
    desired: Option<FlowSet>,
    /// What that set was compiled from.
    compiled: Option<(Arc<dyn Intent>, Ports)>,
    /// Install it once more, even if nothing has changed.
    again: bool,
    /// What of it was refused, and when to try again.
    refused: Vec<Rejected>,
    retry_at: Option<Instant>,
    /// It has been told that nobody knows this node.
    unknown: bool,
}

enum Wake {
    Intent,
    Ports,
    Message(Message),
    Resync,
    Retry,
}

impl Session {
    fn new(connection: Connection, node: String, context: Context) -> Self {
        Session {
            connection,
            node,
            context,
            ports: BTreeMap::new(),
            held: Inventory::default(),
            bundles: Bundles::Unknown,
            labels: HashMap::new(),
            takes_labels: true,
            desired: None,
            compiled: None,
            again: false,
            refused: Vec::new(),
            retry_at: None,
            unknown: false,
        }
    }

    /// Until the connection ends, or the controller does.
    async fn run(&mut self) -> Result<(), ConnectionError> {
        self.read_ports().await?;
        self.held = Inventory::read(&mut self.connection).await?;
        let mut resync = Instant::now() + self.context.timing.resync;
        let mut again = self.reconcile().await?;
        loop {
            match self.wait(resync, again).await? {
                None => return Ok(()),
                Some(Wake::Intent | Wake::Ports) => {}
                Some(Wake::Retry) => self.again = true,
                Some(Wake::Resync) => {
                    self.read_ports().await?;
                    self.held = Inventory::read(&mut self.connection).await?;
                    self.compiled = None;
                    resync = Instant::now() + self.context.timing.resync;
                }
                Some(Wake::Message(message)) => {
                    self.connection.keep(message);
                    while let Some(received) = self.connection.try_receive() {
                        let (_, message) = received?;
                        self.connection.keep(message);
                    }
                    if self.connection.port_changes.is_empty() {
                        continue;
                    }
                }
            }
            again = self.reconcile().await?;
        }
    }

    /// What happens next; none: the controller stops.
    async fn wait(
        &mut self,
        resync: Instant,
        again: Option<Instant>,
    ) -> Result<Option<Wake>, ConnectionError> {
        if !self.connection.port_changes.is_empty() {
            return Ok(Some(Wake::Ports));
        }
        let retry = again.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        tokio::select! {
            changed = self.context.intents.changed() => Ok(changed.is_ok().then_some(Wake::Intent)),
            received = self.connection.receive() => received.map(|(_, m)| Some(Wake::Message(m))),
            () = tokio::time::sleep_until(resync) => Ok(Some(Wake::Resync)),
            () = tokio::time::sleep_until(retry) => Ok(Some(Wake::Retry)),
        }
    }

    async fn read_ports(&mut self) -> Result<(), ConnectionError> {
        self.ports.clear();
        for part in self
            .connection
            .ask_parts(RequestBody::PortDesc, "for its ports")
            .await?
        {
            if let ReplyBody::PortDesc(ports) = part {
                self.ports
                    .extend(ports.into_iter().map(|desc| (desc.port, desc)));
            }
        }
        Ok(())
    }

    /// Makes the switch what it shall be. Gives the time to try again, if something was refused.
    async fn reconcile(&mut self) -> Result<Option<Instant>, ConnectionError> {
        loop {
            self.take_port_changes();
            let intent = self.context.intents.borrow_and_update().clone();
            let Some(intent) = intent else {
                return Ok(None);
            };
            let ports = self.port_names();
            let same =
                |(of, with): &(Arc<dyn Intent>, Ports)| Arc::ptr_eq(of, &intent) && *with == ports;
            let again = std::mem::take(&mut self.again);
            if self.compiled.as_ref().is_some_and(same) && !again {
                // A link went up or down, or a port was opened: the flows are the same.
                self.open_known_ports().await?;
                if self.connection.port_changes.is_empty() {
                    return Ok(self.retry_at);
                }
                continue;
            }
            let Some(desired) = intent.compile(&self.node, &ports) else {
                if !std::mem::replace(&mut self.unknown, true) {
                    (self.context.events)(Event::Unknown(self.node.clone()));
                }
                return Ok(None);
            };
            self.unknown = false;
            let rejected = self.install(&*intent, desired).await?;
            self.compiled = Some((intent, ports));
            let retry = self.context.timing.retry;
            self.retry_at = rejected.then(|| Instant::now() + retry);
            // Ports that came while we were waiting for replies have no flows yet.
            if self.connection.port_changes.is_empty() {
                return Ok(self.retry_at);
            }
        }
    }

    async fn open_known_ports(&mut self) -> Result<(), ConnectionError> {
        let Some(desired) = self.desired.take() else {
            return Ok(());
        };
        let refused = std::mem::take(&mut self.refused);
        let opened = self.open_ports(&desired, &refused).await;
        (self.desired, self.refused) = (Some(desired), refused);
        opened
    }

    /// Sends the difference; true if something was refused.
    async fn install(
        &mut self,
        intent: &dyn Intent,
        desired: FlowSet,
    ) -> Result<bool, ConnectionError> {
        let started = Instant::now();
        let plan = plan_after(
            self.desired.as_ref(),
            &self.held,
            &desired,
            intent.complete(),
        );
        let changed = !plan.is_empty() || self.desired.as_ref() != Some(&desired);
        let mut applied = Applied {
            node: self.node.clone(),
            desired: desired.flows.len(),
            flows: (plan.flows_set, plan.flows_deleted),
            problems: desired.problems.clone(),
            ..Applied::default()
        };
        let (connection, bundles) = (&mut self.connection, &mut self.bundles);
        let outcome = apply(connection, bundles, plan, &mut self.held).await?;
        applied.sent = outcome.sent;
        applied.rejected = outcome.rejected;
        applied.installed = self.held.flows.len();
        self.open_ports(&desired, &applied.rejected).await?;
        self.send_labels(&desired).await?;
        applied.took = started.elapsed();
        self.refused.clone_from(&applied.rejected);
        let rejected = !applied.rejected.is_empty();
        if changed {
            (self.context.events)(Event::Applied(applied));
        }
        self.desired = Some(desired);
        Ok(rejected)
    }

    fn take_port_changes(&mut self) {
        for PortStatus { reason, desc } in self.connection.port_changes.drain(..) {
            match reason {
                PortReason::Delete => drop(self.ports.remove(&desc.port)),
                PortReason::Add | PortReason::Modify => drop(self.ports.insert(desc.port, desc)),
            }
        }
    }

    fn port_names(&self) -> Ports {
        let ordinary = self.ports.values().filter(|desc| desc.port.is_ordinary());
        ordinary
            .map(|desc| (desc.name.clone(), desc.port))
            .collect()
    }

    /// Opens ports of pods whose flows are in force: the barrier has been answered, and none of
    /// the pod's flows was refused.
    async fn open_ports(
        &mut self,
        desired: &FlowSet,
        rejected: &[Rejected],
    ) -> Result<(), ConnectionError> {
        let mut opened = Vec::new();
        for (port, pod) in &desired.pod_ports {
            let Some(desc) = self.ports.get(port) else {
                continue;
            };
            let refused = rejected.iter().any(|r| r.object == pod.label);
            if desc.config & CLOSED == 0 || refused {
                continue;
            }
            let open = PortMod {
                port: *port,
                hw_addr: desc.hw_addr,
                config: 0,
                mask: CLOSED,
                advertise: 0,
            };
            opened.push((*port, pod.label.clone(), open));
        }
        if opened.is_empty() {
            return Ok(());
        }
        let messages = opened.iter().map(|(_, _, open)| Message::PortMod(*open));
        let first = self.connection.send(messages).await?;
        let errors = self.connection.barrier_errors().await?;
        for (number, (port, label, _)) in (0u32..).zip(opened) {
            match errors.get(&first.wrapping_add(number)) {
                // The container runtime gave the interface its address meanwhile; the status that
                // tells of it leads here again.
                Some(&error::OFPPMFC_BAD_HW_ADDR) => tracing::debug!(
                    "{label}: Node {}: port {port} changed its address while it was opened",
                    self.node
                ),
                Some(error) => tracing::error!(
                    "{label}: Node {}: port {port} could not be opened: {error}",
                    self.node
                ),
                None => {
                    tracing::debug!("{label}: Node {}: port {port} is open", self.node);
                    if let Some(desc) = self.ports.get_mut(&port) {
                        desc.config &= !CLOSED;
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells a dataplane of ours which objects cookies stand for: what changed since last time.
    async fn send_labels(&mut self, desired: &FlowSet) -> Result<(), ConnectionError> {
        if !self.takes_labels {
            return Ok(());
        }
        let is_new = |(cookie, label): &(&u64, &String)| self.labels.get(cookie) != Some(label);
        let new = desired.labels.iter().filter(is_new);
        let mut entries: Vec<_> = new.map(|(c, label)| (*c, label.clone())).collect();
        // A label outlives its object as long as flows with its cookie may be left.
        let in_use: std::collections::HashSet<u64> =
            self.held.flows.values().map(|flow| flow.cookie).collect();
        let gone = |c: &&u64| !desired.labels.contains_key(c) && !in_use.contains(c);
        entries.extend(self.labels.keys().filter(gone).map(|c| (*c, String::new())));
        entries.sort();
        if entries.is_empty() {
            return Ok(());
        }
        let messages = entries.chunks(LABELS).map(|chunk| {
            Message::CookieLabels(CookieLabels {
                entries: chunk.to_vec(),
            })
        });
        self.connection.send(messages).await?;
        let mut refused = false;
        self.connection.barrier(|_, _| refused = true).await?;
        if refused {
            tracing::debug!("Node {}: the switch takes no names of cookies", self.node);
            self.takes_labels = false;
        }
        for (cookie, label) in entries {
            match label.is_empty() {
                true => drop(self.labels.remove(&cookie)),
                false => drop(self.labels.insert(cookie, label)),
            }
        }
        Ok(())
    }
}
