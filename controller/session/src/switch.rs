//! The task of one switch.

use std::sync::Arc;
use std::time::Duration;

use flows::{FlowSet, Ports};
use openflow::msg::{Message, ReplyBody, RequestBody};
use tokio::time::Instant;
use transport::Stream;

use crate::apply::{Bundles, apply};
use crate::connection::{Connection, ConnectionError};
use crate::event::{Applied, Event, Rejected};
use crate::inventory::Inventory;
use crate::labels::Labels;
use crate::plan::plan_after;
use crate::ports::PortTable;
use crate::{Context, Intent};

/// Serves a switch until its connection ends.
pub(crate) async fn serve(stream: Stream, peer: String, context: Context) {
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
    ports: PortTable,
    held: Inventory,
    bundles: Bundles,
    labels: Labels,
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
    Message(Box<Message>),
    Resync,
    Retry,
}

impl Session {
    fn new(connection: Connection, node: String, context: Context) -> Self {
        Session {
            connection,
            node,
            context,
            ports: PortTable::default(),
            held: Inventory::default(),
            bundles: Bundles::Unknown,
            labels: Labels::default(),
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
        self.ports.read(&mut self.connection).await?;
        self.held = Inventory::read(&mut self.connection).await?;
        let mut resync = Instant::now() + self.context.timing.resync;
        let mut again = self.reconcile().await?;
        loop {
            match self.wait(resync, again).await? {
                None => return Ok(()),
                Some(Wake::Intent | Wake::Ports) => {}
                Some(Wake::Retry) => self.again = true,
                Some(Wake::Resync) => {
                    self.ports.read(&mut self.connection).await?;
                    self.held = Inventory::read(&mut self.connection).await?;
                    self.compiled = None;
                    resync = Instant::now() + self.context.timing.resync;
                }
                Some(Wake::Message(message)) => {
                    self.connection.keep(*message);
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
            received = self.connection.receive() => received.map(|(_, m)| Some(Wake::Message(Box::new(m)))),
            () = tokio::time::sleep_until(resync) => Ok(Some(Wake::Resync)),
            () = tokio::time::sleep_until(retry) => Ok(Some(Wake::Retry)),
        }
    }

    /// Makes the switch what it shall be. Gives the time to try again, if something was refused.
    async fn reconcile(&mut self) -> Result<Option<Instant>, ConnectionError> {
        loop {
            self.ports.follow(self.connection.port_changes.drain(..));
            let intent = self.context.intents.borrow_and_update().clone();
            let Some(intent) = intent else {
                return Ok(None);
            };
            let ports = self.ports.names();
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

    async fn open_ports(
        &mut self,
        desired: &FlowSet,
        rejected: &[Rejected],
    ) -> Result<(), ConnectionError> {
        let (connection, node) = (&mut self.connection, &self.node);
        self.ports.open(connection, node, desired, rejected).await
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
        self.labels
            .send(&mut self.connection, &desired, &self.held)
            .await?;
        applied.took = started.elapsed();
        self.refused.clone_from(&applied.rejected);
        let rejected = !applied.rejected.is_empty();
        if changed {
            (self.context.events)(Event::Applied(applied));
        }
        self.desired = Some(desired);
        Ok(rejected)
    }
}
