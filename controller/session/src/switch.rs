//! The task of one switch.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use flows::flow::{Announcement, HealthAnswer, Logged, PodPort};
use flows::{FlowSet, Ports, Problem};
use net::PortNo;
use openflow::error::{OFPBRC_IS_SLAVE, OfError};
use openflow::msg::{Message, ReplyBody, RequestBody};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;
use transport::Stream;

use crate::announce::Announcer;
use crate::answers::Answers;
use crate::apply::{self, Bundles, Work, apply};
use crate::connection::{Connection, ConnectionError};
use crate::entry::{self, Step};
use crate::event::{Applied, Event, Rejected};
use crate::fence::Fence;
use crate::held::Held;
use crate::inspect::{Inspection, Reading};
use crate::inventory::Inventory;
use crate::labels::Labels;
use crate::policylog;
use crate::ports::PortTable;
use crate::role::{self, Taken};
use crate::shared::{self, Delta, Shared};
use crate::{Context, Intent};

/// Serves a switch until its connection ends.
pub(crate) async fn serve(stream: Stream, peer: String, context: Context) {
    let traffic = context.registry.traffic.clone();
    let mut connection = Connection::new(stream, context.timing, traffic);
    let (node, datapath) = match greet(&mut connection).await {
        Ok(greeted) => greeted,
        Err(error) => {
            tracing::warn!("connection from {peer} ended before it was of use: {error}");
            return;
        }
    };
    let mut place = match context.registry.enter(&node, datapath, &peer) {
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
    let told = place.told.clone();
    let mut session = Session::new(connection, node.clone(), told, context.clone());
    session.inspections = place.inspections.take();
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
    /// Notified when there is something for this node.
    told: Arc<Notify>,
    context: Context,
    ports: PortTable,
    /// What the switch holds; none: it is not known.
    held: Option<Held>,
    bundles: Bundles,
    labels: Labels,
    answers: Answers,
    own: Own,
    announcer: Announcer,
    fence: Fence,
    news: watch::Receiver<()>,
    /// When rules are counted next.
    count_at: Instant,
    /// What was refused, and when to try again.
    refused: Vec<Rejected>,
    retry_at: Option<Instant>,
    /// It has been told that nobody knows this node.
    unknown: bool,
    /// We may change what the switch holds.
    writes: bool,
    /// What others want to know of the switch.
    inspections: Option<mpsc::Receiver<Inspection>>,
    /// The ports that others know of.
    told_ports: Arc<Ports>,
    /// When what it has acknowledged was told last; at first, when it connected.
    acknowledged: std::time::Instant,
}

/// What a node's own flows were compiled from: the intent, its serial number, the ports.
type Basis = (Arc<dyn Intent>, Option<u64>, Arc<Ports>);

/// What is the node's own, as it was compiled last.
#[derive(Default)]
struct Own {
    of: Option<Basis>,
    labels: BTreeMap<u64, String>,
    answers: BTreeMap<u16, HealthAnswer>,
    pod_ports: BTreeMap<PortNo, PodPort>,
    taken: BTreeMap<IpAddr, Announcement>,
    logged: BTreeMap<u32, Logged>,
    problems: Vec<Problem>,
}

impl Own {
    /// True if it would be the same.
    fn is_of(&self, intent: &Arc<dyn Intent>, serial: Option<u64>, ports: &Arc<Ports>) -> bool {
        self.of.as_ref().is_some_and(|(before, number, of)| {
            let same = Arc::ptr_eq(before, intent) || (serial.is_some() && *number == serial);
            same && (Arc::ptr_eq(of, ports) || of == ports)
        })
    }

    /// Takes over all but the flows; true if anything of it is different.
    fn take(&mut self, set: FlowSet) -> bool {
        let different = self.pod_ports != set.pod_ports || self.problems != set.problems;
        self.labels = set.labels;
        self.answers = set.answers;
        self.pod_ports = set.pod_ports;
        self.taken = set.taken;
        self.logged = set.logged;
        self.problems = set.problems;
        different
    }
}

/// When those that wait for other nodes look again, if nothing happens.
const LOOK: Duration = Duration::from_secs(1);

enum Wake {
    Intent,
    Role,
    Ports,
    Message(Box<Message>),
    Resync,
    Retry,
    Announce,
    Inspect(Inspection),
    Acknowledged,
    Count,
}

impl Session {
    fn new(connection: Connection, node: String, told: Arc<Notify>, context: Context) -> Self {
        let (news, timing) = (context.registry.news(), context.timing);
        Session {
            connection,
            node,
            told,
            context,
            ports: PortTable::default(),
            held: None,
            bundles: Bundles::Unknown,
            labels: Labels::default(),
            answers: Answers::default(),
            own: Own::default(),
            announcer: Announcer::default(),
            fence: Fence::default(),
            news,
            count_at: Instant::now() + timing.count,
            refused: Vec::new(),
            retry_at: None,
            unknown: false,
            writes: false,
            inspections: None,
            told_ports: Arc::default(),
            acknowledged: std::time::Instant::now(),
        }
    }

    /// Until the connection ends, or the controller does.
    async fn run(&mut self) -> Result<(), ConnectionError> {
        self.assume_role().await?;
        let mut resync = self.next_resync();
        self.reconcile(false).await?;
        loop {
            let mut again = false;
            match self.wait(resync).await? {
                None => return Ok(()),
                Some(Wake::Intent | Wake::Ports) => {}
                Some(Wake::Role) => self.assume_role().await?,
                Some(Wake::Retry) if !self.writes => self.assume_role().await?,
                Some(Wake::Retry) => again = true,
                Some(Wake::Announce) => {
                    self.announce().await?;
                    continue;
                }
                Some(Wake::Inspect(inspection)) => {
                    self.inspect(inspection).await?;
                    continue;
                }
                Some(Wake::Acknowledged) => {
                    self.open_ports(None).await?;
                    continue;
                }
                Some(Wake::Count) => {
                    self.count().await?;
                    continue;
                }
                Some(Wake::Resync) => {
                    self.assume_role().await?;
                    resync = self.next_resync();
                }
                Some(Wake::Message(message)) => {
                    self.connection.keep(*message);
                    while let Some(received) = self.connection.try_receive() {
                        let (_, message) = received?;
                        self.connection.keep(message);
                    }
                    self.hear();
                    if self.connection.port_changes.is_empty() {
                        continue;
                    }
                }
            }
            self.reconcile(again).await?;
        }
    }

    /// At another moment for each node, so that not all are read at once.
    fn next_resync(&self) -> Instant {
        let spread = f64::from(flows::origin::hash64(self.node.as_bytes()) as u16) / 65536.0;
        Instant::now() + self.context.timing.resync.mul_f64(0.75 + spread / 2.0)
    }

    /// Asks for the role that is ours now. What the switch holds may be another's work since we
    /// looked, so who is to change it reads it anew.
    async fn assume_role(&mut self) -> Result<(), ConnectionError> {
        let role = *self.context.role.borrow_and_update();
        self.ports.read(&mut self.connection).await?;
        self.held = None;
        self.retry_at = None;
        self.writes = role.writes();
        if let Taken::Outranked(generation) = role::take(&mut self.connection, role).await? {
            self.writes = false;
            let node = self.node.clone();
            (self.context.events)(Event::Outranked { node, generation });
        }
        Ok(())
    }

    /// What happens next; none: the controller stops.
    async fn wait(&mut self, resync: Instant) -> Result<Option<Wake>, ConnectionError> {
        if !self.connection.port_changes.is_empty() {
            return Ok(Some(Wake::Ports));
        }
        let later = || Instant::now() + Duration::from_secs(86_400);
        let retry = self.retry_at.unwrap_or_else(later);
        let announce = self.announcer.next().unwrap_or_else(later);
        let asked = async {
            match &mut self.inspections {
                Some(inspections) => inspections.recv().await,
                None => None,
            }
        };
        let count = match self.own.logged.is_empty() {
            true => later(),
            false => self.count_at,
        };
        let (waits, news) = (self.fence.waits(), &mut self.news);
        let news = async {
            match waits {
                // A node may also be given up.
                true => drop(tokio::time::timeout(LOOK, news.changed()).await),
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(inspection) = asked => Ok(Some(Wake::Inspect(inspection))),
            changed = self.context.intents.changed() => Ok(changed.is_ok().then_some(Wake::Intent)),
            () = self.told.notified() => Ok(Some(Wake::Intent)),
            changed = self.context.role.changed() => Ok(changed.is_ok().then_some(Wake::Role)),
            received = self.connection.receive() => received.map(|(_, m)| Some(Wake::Message(Box::new(m)))),
            () = tokio::time::sleep_until(resync) => Ok(Some(Wake::Resync)),
            () = tokio::time::sleep_until(retry) => Ok(Some(Wake::Retry)),
            () = tokio::time::sleep_until(announce) => Ok(Some(Wake::Announce)),
            () = tokio::time::sleep_until(count) => Ok(Some(Wake::Count)),
            () = news => Ok(Some(Wake::Acknowledged)),
        }
    }

    /// Makes the switch what it shall be; `again`: asks for what was refused, too.
    async fn reconcile(&mut self, mut again: bool) -> Result<(), ConnectionError> {
        loop {
            let moved = self.ports.follow(self.connection.port_changes.drain(..));
            if !self.writes {
                return Ok(());
            }
            let intent = self.context.intents.borrow_and_update().clone();
            let Some(intent) = intent else {
                return Ok(());
            };
            let started = Instant::now();
            let ports = self.ports.names();
            if !Arc::ptr_eq(&ports, &self.told_ports) {
                self.context.registry.set_ports(&self.node, &ports);
                self.told_ports = ports.clone();
            }
            // Before it is compiled: what changes meanwhile has another number.
            let serial = intent.serial(&self.node);
            let told_at = intent.told_at(&self.node);
            let shared = intent.shared().unwrap_or_default();
            let behind = |held: &Held| shared.since(held.version).is_none();
            if self.held.as_ref().is_some_and(behind) {
                self.held = None;
            }
            let mut own = None;
            if self.held.is_none() || !self.own.is_of(&intent, serial, &ports) {
                let Some(set) = intent.compile(&self.node, &ports) else {
                    if !std::mem::replace(&mut self.unknown, true) {
                        (self.context.events)(Event::Unknown(self.node.clone()));
                    }
                    return Ok(());
                };
                self.unknown = false;
                own = Some(set);
            }
            let of = (&*intent, serial);
            if !self
                .bring(started, own, &shared, of, (again, moved))
                .await?
            {
                continue;
            }
            self.hear();
            let picture = intent.picture();
            if self.refused.is_empty() && picture > 0 {
                let node = self.node.clone();
                let new = told_at.filter(|at| *at > self.acknowledged);
                let took = new.map(|at| at.elapsed());
                self.acknowledged = new.unwrap_or(self.acknowledged);
                (self.context.events)(Event::Reached {
                    node,
                    picture,
                    took,
                });
            }
            self.own.of = Some((intent, serial, ports));
            again = false;
            // Ports that came while we were waiting for replies have no flows yet.
            if self.connection.port_changes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Sends the difference; `own`: what is the node's own, where that may be another than before;
    /// `again`: asks for what was refused, too; `moved`: ports came, went or changed.
    /// False where the difference is not known any more, so that all has to be compared.
    async fn bring(
        &mut self,
        started: Instant,
        own: Option<FlowSet>,
        shared: &Shared,
        (intent, serial): (&dyn Intent, Option<u64>),
        (again, moved): (bool, bool),
    ) -> Result<bool, ConnectionError> {
        let complete = intent.complete();
        let mut entries = None;
        let own_changed = own.is_some();
        let mut changed = false;
        if let Some(set) = own {
            let (mut list, unsendable) = entry::entries(&set);
            let taken = shared.has(list.iter().map(|entry| entry.key));
            let mut taken = taken.into_iter();
            // What all have alike stands.
            list.retain(|_| !taken.next().unwrap_or(false));
            entries = Some(list);
            changed = self.own.take(set);
            for (object, why) in unsendable {
                tracing::error!("{object}: Node {}: {why}", self.node);
            }
        }
        let (work, labels, turn) = match self.held.take() {
            None => {
                let turn = self.take_a_turn().await?;
                changed = true;
                let inventory = Inventory::read(&mut self.connection).await?;
                let whole = shared.whole();
                let own = entries.unwrap_or_default();
                let mut work = Work::default();
                let held;
                if inventory.is_empty() {
                    let none = Delta {
                        version: whole.version,
                        ..Delta::default()
                    };
                    (held, work.plan) = Held::meet(inventory, &none, &own, complete);
                    work.alike = Some(whole.clone());
                } else {
                    (held, work.plan) = Held::meet(inventory, &whole, &own, complete);
                }
                self.held = Some(held);
                (work, Some(whole), Some(turn))
            }
            Some(mut held) => {
                let mut work = Work::default();
                let Some(deltas) = shared.since(held.version) else {
                    return Ok(false);
                };
                let mut labels = None;
                let as_it_is = |delta: &Delta| complete || delta.deleted_groups.is_empty();
                if let ([delta], true) = (deltas.as_slice(), held.is_ordinary())
                    && as_it_is(delta)
                {
                    held.version = delta.version;
                    work.alike = Some(delta.clone());
                    labels = Some(delta.clone());
                } else if let Some(delta) = shared::join(&deltas) {
                    held.follow(&delta, complete, &mut work.plan);
                    labels = Some(Arc::new(delta));
                }
                if let Some(own) = entries {
                    held.turn(&own, complete, &mut work.plan);
                }
                if complete {
                    held.clean(&mut work.plan);
                }
                if again {
                    held.retry(&mut work.plan);
                }
                self.held = Some(held);
                (work, labels, None)
            }
        };
        let outcome = apply(&mut self.connection, &mut self.bundles, &work).await?;
        changed |= work.len() > 0;
        self.note_refused(shared, outcome.rejected);
        if let Some(serial) = serial {
            self.context.registry.acknowledge(&self.node, serial);
        }
        if own_changed || again || moved || !self.refused.is_empty() {
            self.open_ports(Some(intent)).await?;
        }
        let (connection, own) = (&mut self.connection, &self.own);
        self.labels
            .send(
                connection,
                shared,
                labels.as_deref(),
                &own.labels,
                own_changed,
            )
            .await?;
        self.answers.send(connection, &own.answers).await?;
        drop(turn);
        if changed {
            let held = self.held.as_ref();
            let flows = shared.flows();
            (self.context.events)(Event::Applied(Applied {
                node: self.node.clone(),
                desired: flows + held.map_or(0, Held::own_flows),
                installed: held.map_or(0, |held| held.flows(flows)),
                sent: outcome.sent,
                flows: work.flows(),
                took: started.elapsed(),
                rejected: self.refused.clone(),
                problems: self.problems(),
            }));
        }
        Ok(true)
    }

    /// Tells somebody what the switch holds.
    async fn inspect(&mut self, inspection: Inspection) -> Result<(), ConnectionError> {
        let mut reading = Reading::read(&mut self.connection, &inspection.wish).await?;
        reading.ports = (*self.ports.names()).clone();
        let cookies = reading.flows.iter().map(|flow| flow.cookie);
        let cookies: BTreeSet<u64> = cookies.collect();
        if let Some((intent, _, _)) = &self.own.of {
            reading.picture = intent.picture();
            if let Some(shared) = intent.shared() {
                reading
                    .labels
                    .extend(shared.labels_of(cookies.iter().copied()));
            }
        }
        let own = self.own.labels.iter();
        let own = own.filter(|(cookie, _)| cookies.contains(cookie));
        reading
            .labels
            .extend(own.map(|(cookie, label)| (*cookie, label.clone())));
        // Whoever asked may have had enough.
        drop(inspection.answer.send(reading));
        Ok(())
    }

    /// Opens ports of pods whose flows are in force, who are known where they are judged, and whose
    /// addresses nobody else has. `intent`: what the flows are of, where they were just brought.
    async fn open_ports(&mut self, intent: Option<&dyn Intent>) -> Result<(), ConnectionError> {
        let (ports, now) = (&self.ports, Instant::now());
        let is_closed = |port| ports.is_closed(port);
        self.announcer.follow(&self.own.pod_ports, is_closed, now);
        self.announcer.take(&self.own.taken, now);
        if let Some(intent) = intent {
            let pods = self.own.pod_ports.keys().copied();
            let closed = pods.filter(|port| is_closed(*port));
            let registry = &self.context.registry;
            self.fence.follow(closed, || intent.judges(), registry, now);
        }
        for missed in self.fence.look(&self.context.registry, now) {
            tracing::warn!(
                "Node {}: pods start although Node {missed} has not said that it knows them; its \
                 policies may treat them as strangers until it does",
                self.node
            );
        }
        let (connection, node) = (&mut self.connection, &self.node);
        let may_open = |port| self.announcer.may_open(port) && self.fence.may_open(port);
        let pods = &self.own.pod_ports;
        self.ports
            .open(connection, node, pods, may_open, &self.refused)
            .await
    }

    /// Asks for addresses and announces them, as far as it is time.
    async fn announce(&mut self) -> Result<(), ConnectionError> {
        let before = self.announcer.problems();
        let messages = self.announcer.due(&self.context.timing, Instant::now());
        if !messages.is_empty() {
            self.connection.send(messages).await?;
        }
        self.open_ports(None).await?;
        self.hear();
        if self.announcer.problems() != before {
            self.tell_problems();
        }
        Ok(())
    }

    /// Reads what rules of policies that are in the log have counted.
    async fn count(&mut self) -> Result<(), ConnectionError> {
        self.count_at = Instant::now() + self.context.timing.count;
        let (connection, own) = (&mut self.connection, &self.own);
        let counted = policylog::count(connection, &self.node, &own.logged, &own.labels).await;
        match counted {
            Ok(mut counted) => {
                counted.kept_back += self.connection.unheard;
                (self.context.events)(Event::Counted(counted));
            }
            // It has no such meter yet, or never will: it is asked again.
            Err(ConnectionError::Refused { error, .. }) => {
                tracing::debug!("Node {}: rules cannot be counted: {error}", self.node);
            }
            Err(other) => return Err(other),
        }
        self.hear();
        Ok(())
    }

    /// Hears what stations of VLANs say of pods' addresses, and what begins connections that are in
    /// the policy log.
    fn hear(&mut self) {
        let packets = std::mem::take(&mut self.connection.packets);
        let now = Instant::now();
        let mut news = false;
        for packet in &packets {
            if !policylog::is_logged(packet) {
                news |= self.announcer.hear(&packet.data, now);
                continue;
            }
            let name = |port| self.ports.name(port);
            if let Some(judged) = policylog::judged(&self.node, packet, &self.own.logged, name) {
                (self.context.events)(Event::Judged(Box::new(judged)));
            }
        }
        if news {
            self.tell_problems();
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.own.problems.clone();
        problems.extend(self.announcer.problems());
        problems
    }

    fn tell_problems(&self) {
        let held = self.held.as_ref();
        let shared = self
            .own
            .of
            .as_ref()
            .and_then(|(intent, _, _)| intent.shared());
        let flows = shared.map_or(0, |shared| shared.flows());
        (self.context.events)(Event::Applied(Applied {
            node: self.node.clone(),
            desired: flows + held.map_or(0, Held::own_flows),
            installed: held.map_or(0, |held| held.flows(flows)),
            rejected: self.refused.clone(),
            problems: self.problems(),
            ..Applied::default()
        }));
    }

    /// Waits until this switch may be brought up to date from the start; what it says meanwhile is
    /// heard.
    async fn take_a_turn(&mut self) -> Result<OwnedSemaphorePermit, ConnectionError> {
        let turns = self.context.registry.turns.clone();
        let turn = turns.acquire_owned();
        tokio::pin!(turn);
        loop {
            tokio::select! {
                turn = &mut turn => {
                    return turn.map_err(|_| ConnectionError::Closed); // never closed
                }
                received = self.connection.receive() => self.connection.keep(received?.1),
            }
        }
    }

    /// Remembers what was refused.
    fn note_refused(&mut self, shared: &Shared, rejected: Vec<(Step, OfError)>) {
        if rejected.iter().any(|(_, error)| *error == OFPBRC_IS_SLAVE) {
            // Another master came while we wrote; which, the switch says when it is asked again.
            self.writes = false;
        }
        let Some(held) = &mut self.held else { return };
        let cookies = rejected.iter().map(|(step, _)| step.entry.cookie);
        let names = shared.labels_of(cookies);
        for (step, error) in rejected {
            let entry = &step.entry;
            let own = self.own.labels.get(&entry.cookie);
            let object = match own.or_else(|| names.get(&entry.cookie)) {
                _ if !entry.object.is_empty() => entry.object.to_string(),
                Some(name) => name.clone(),
                None => format!("cookie {:#x}", entry.cookie),
            };
            let told = apply::rejected(&step, &object, error);
            held.refuse(step, told);
        }
        self.refused = held.rejected();
        let retry = self.context.timing.retry;
        self.retry_at = (!self.refused.is_empty()).then(|| Instant::now() + retry);
    }
}
