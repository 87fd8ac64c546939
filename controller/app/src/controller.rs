//! The wiring: source to desired state to switches, and what is told about it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::watch::{Snapshot, Source};
use anyhow::Context as _;
use cluster::writes::{Concerned, Picture, Reach};
use cluster::{Changes, ClusterView, DesiredState, Problem, Resolver, State};
use flows::Nodes;
use session::{Event, Intent, Listener, Registry, Timing, Tls};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::config::Config;
use crate::desk::{Asker, Desk, Now, Switch};
use crate::found::Found;
use crate::intent::Live;
use crate::keeper::Keeper;
use crate::leadership::Leadership;
use crate::metrics::{self, Metrics};
use crate::podsocket::PodSocket;
use crate::policylog::PolicyLog;
use crate::problems::Problems;
use crate::rulecounts::RuleCounts;
use crate::store::Store;
use crate::writing::{self, Writing};

/// When to try again what the disk refused.
const DISK_RETRY: Duration = Duration::from_secs(2);

/// Questions that wait for the loop.
const ASKERS: usize = 16;

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut stop = stopped_by_signals()?;
    let origin = config.source.find(config.kubeconfig.as_deref()).await?;
    let pods = PodSocket::bind(&config.socket)?;
    let tls = config.tls.clone().map(Tls::load).transpose()?;
    let mut listeners = Vec::new();
    for target in &config.listen {
        listeners.push(
            Listener::bind(target, tls.as_ref())
                .await
                .context("--listen")?,
        );
    }
    let metrics = Metrics::new()?;
    if let Some(address) = config.metrics {
        let listener = metrics::bind(address).await?;
        tokio::spawn(metrics::serve(listener, metrics.clone()));
    }

    let (states, states_seen) = watch::channel(None);
    let log = PolicyLog::open(&config.policy_log, states_seen.clone(), metrics.clone())?;
    let (intents, intents_seen) = watch::channel(None);
    let (events, mut events_seen) = mpsc::unbounded_channel();
    let elects = origin.connection().zip(config.lease.clone());
    let first = match &elects {
        Some(_) => session::Role::Slave(0),
        None => session::Role::Alone,
    };
    let (roles, roles_seen) = watch::channel(first);
    let registry = Registry::default();
    let context = session::Context {
        intents: intents_seen,
        events: Arc::new({
            let log = log.clone();
            move |event| match event {
                Event::Judged(judged) => log.record(judged),
                // The receiver lives as long as the loop below; after it nobody needs to hear.
                event => drop(events.send(event)),
            }
        }),
        registry: registry.clone(),
        timing: Timing::default(),
        role: roles_seen,
    };
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        tasks.spawn(session::listen(listener, context.clone()));
    }
    let leadership = elects
        .map(|(connection, lease)| Leadership::seek(connection, lease, roles.clone()))
        .map(Arc::new);
    let (askers, mut askers_seen) = mpsc::channel(ASKERS);
    let standing = leadership.as_ref().map(|leadership| leadership.standing());
    let desk = Desk::new(askers, registry.clone(), standing);
    tasks.spawn(pods.serve(states_seen, desk));

    let mut beat = Beat::new();
    loop {
        let election = match &leadership {
            None => None,
            Some(leadership) => {
                let waited = stand_by(leadership, &mut stop, &mut beat, &mut events_seen).await;
                let Some(election) = waited else {
                    break;
                };
                Some(election)
            }
        };
        // Whoever leads begins with what there is now, as after a start.
        let opened = match origin.open() {
            Ok(opened) => opened,
            Err(error) => return Err(error.into()),
        };
        let (keeper, state) = match &opened.writer {
            Some(_) => (Keeper::Objects { read: false }, State::default()),
            None => match Store::open(&config.state) {
                Ok((store, state)) => (Keeper::Disk(store), state),
                Err(error) => return Err(error),
            },
        };
        let mut writes = tokio::task::JoinSet::new();
        let writing = opened.writer.map(|writer| {
            let writer_task = writer.clone();
            match &leadership {
                Some(leadership) => {
                    writes.spawn(Leadership::write(leadership.standing(), writer_task))
                }
                None => writes.spawn(async move { writer_task.run().await }),
            };
            Writing::new(writer)
        });
        let mut controller = Controller {
            config: config.clone(),
            leadership: leadership.clone(),
            keeper,
            writing,
            view: Weak::new(),
            kept_view: None,
            reach: Reach::default(),
            found: Found::default(),
            reached: Changes::none(),
            pictures: 0,
            resolver: Resolver::new(config.settings.clone(), state),
            live: Arc::default(),
            intents: intents.clone(),
            states: states.clone(),
            registry: registry.clone(),
            metrics: metrics.clone(),
            problems: Problems::default(),
            unsaved: None,
            complete: false,
            applied: BTreeMap::new(),
            switches: BTreeMap::new(),
            log: log.clone(),
            counts: RuleCounts::default(),
        };
        let lost = async {
            match leadership.as_ref().zip(election) {
                Some((leadership, election)) => leadership.lost(election).await,
                None => std::future::pending().await,
            }
        };
        let stopped = tokio::select! {
            () = controller.run(opened.source, &mut events_seen, &mut askers_seen, &mut beat) => true,
            () = stop.signalled() => true,
            () = lost => false,
        };
        writes.shutdown().await;
        if stopped {
            break;
        }
        tracing::warn!("another controller leads; this one stands by");
        intents.send_replace(None);
        states.send_replace(None);
    }
    tell_systemd(sd_notify::NotifyState::Stopping);
    tracing::info!("stopping; switches go on forwarding by the flows they have");
    // Switches keep forwarding by what they have; sockets are removed when their tasks end.
    tasks.shutdown().await;
    drop((intents, states));
    if let Some(leadership) = leadership.and_then(Arc::into_inner) {
        leadership.resign().await;
    }
    Ok(())
}

/// Waits until we lead; none if we are to stop.
async fn stand_by(
    leadership: &Leadership,
    stop: &mut Stop,
    beat: &mut Beat,
    events: &mut mpsc::UnboundedReceiver<Event>,
) -> Option<u64> {
    tell_systemd(sd_notify::NotifyState::Ready);
    loop {
        tokio::select! {
            election = leadership.won() => {
                tracing::info!("this controller leads, by election {election}");
                return Some(election);
            }
            Some(event) = events.recv() => match event {
                Event::Connected { node, datapath, peer } => tracing::info!(
                    "Node {node}: switch {datapath:#018x} connected from {peer}; another \
                     controller is to be its master"
                ),
                Event::Disconnected { node, why } => tracing::info!("Node {node}: {why}"),
                _ => {}
            },
            () = beat.due() => {}
            () = stop.signalled() => return None,
        }
    }
}

/// Signals that end us.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

fn stopped_by_signals() -> anyhow::Result<Stop> {
    Ok(Stop {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    })
}

impl Stop {
    async fn signalled(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells the service manager that we are alive.
struct Beat {
    watched: bool,
    interval: tokio::time::Interval,
}

impl Beat {
    fn new() -> Self {
        // Half the period the service manager allows, so that one late beat does not kill us.
        let period = sd_notify::watchdog_enabled().map(|period| period / 2);
        Beat {
            watched: period.is_some(),
            interval: tokio::time::interval(period.unwrap_or(Duration::from_secs(3600))),
        }
    }

    async fn due(&mut self) {
        self.interval.tick().await;
        if self.watched {
            tell_systemd(sd_notify::NotifyState::Watchdog);
        }
    }
}

struct Controller {
    config: Config,
    leadership: Option<Arc<Leadership>>,
    keeper: Keeper,
    /// Where the source can be written to.
    writing: Option<Writing>,
    /// The view of the last picture, as long as its source has not changed it: who held it would
    /// make the source copy all of it.
    view: Weak<ClusterView>,
    /// The same, of a source that makes a new one each time.
    kept_view: Option<Arc<ClusterView>>,
    /// What switches have acknowledged.
    reach: Reach,
    /// What switches found wrong with objects.
    found: Found,
    /// Objects that are in force everywhere now and do not say so yet.
    reached: Changes,
    /// How many pictures they have been told.
    pictures: u64,
    /// The desired state, and who holds which address.
    resolver: Resolver,
    live: Arc<Live>,
    intents: watch::Sender<Option<Arc<dyn Intent>>>,
    states: watch::Sender<Option<Arc<DesiredState>>>,
    registry: Registry,
    metrics: Metrics,
    problems: Problems,
    /// A snapshot whose addresses could not be saved, and when to try again.
    unsaved: Option<(Snapshot, Instant)>,
    /// Everything of the source was in what switches were told last.
    complete: bool,
    /// Nodes that had something applied.
    applied: BTreeMap<String, usize>,
    /// What happened last to switches.
    switches: BTreeMap<String, Switch>,
    log: PolicyLog,
    counts: RuleCounts,
}

impl Controller {
    async fn run(
        &mut self,
        mut source: Box<dyn Source>,
        events: &mut mpsc::UnboundedReceiver<Event>,
        askers: &mut mpsc::Receiver<Asker>,
        beat: &mut Beat,
    ) {
        let mut ready = false;
        loop {
            let retry = self.unsaved.as_ref().map(|(_, at)| *at);
            let retry = retry.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                snapshot = source.next() => {
                    self.take(snapshot);
                    if !std::mem::replace(&mut ready, true) {
                        tell_systemd(sd_notify::NotifyState::Ready);
                    }
                }
                () = tokio::time::sleep_until(retry) => {
                    if let Some((snapshot, _)) = self.unsaved.take() {
                        self.take(snapshot);
                    }
                }
                Some(event) = events.recv() => self.hear(event),
                // Whoever asked may have had enough.
                Some(asker) = askers.recv() => drop(asker.send(self.now())),
                () = beat.due() => {}
            }
            self.metrics.problems(self.problems.count());
            self.metrics.connected(self.registry.count());
            let traffic = self.registry.traffic();
            self.metrics.traffic(traffic.sent(), traffic.received());
        }
    }

    /// What answers are made of.
    fn now(&self) -> Option<Now> {
        Some(Now {
            view: self.kept_view.clone().or_else(|| self.view.upgrade()),
            desired: self.states.borrow().clone()?,
            picture: self.pictures,
            reach: self.reach.clone(),
            switches: self.switches.clone(),
        })
    }

    /// A new picture of the cluster: the desired state, kept first, then told to everybody.
    fn take(&mut self, mut snapshot: Snapshot) {
        let started = Instant::now();
        if let Some((earlier, _)) = self.unsaved.take() {
            snapshot.changed.merge(earlier.changed);
        }
        let state = self.resolver.state_mut();
        self.keeper.learn(state, &snapshot.view, &snapshot.changed);
        if self.states.borrow().is_none() {
            // Whoever was given something is asked once more by the next update. At the start these
            // may be all, and the first change would have to wait for them.
            self.resolver.update(&snapshot.view);
        }
        let desired = self.resolver.update(&snapshot.view).clone();
        if let Err(error) = self.keeper.keep(self.resolver.state()) {
            let text = format!("{error:#}; no change takes effect before it can");
            self.problems.tell("state", [text]);
            self.unsaved = Some((snapshot, Instant::now() + DISK_RETRY));
            return;
        }
        self.problems.tell("state", []);
        self.metrics
            .state(self.states.borrow().as_deref(), &desired, started.elapsed());
        let source = snapshot.problems.iter().map(ToString::to_string);
        self.problems.tell("source", source);
        self.problems.tell_objects(&desired.problems);
        self.forget_nodes(&desired);

        let complete = snapshot.view.complete;
        let told = (self.states.borrow().as_deref() == Some(&desired)) && complete == self.complete;
        let changed = match &self.writing {
            Some(_) => {
                let before = self.states.borrow();
                writing::differing(
                    &snapshot.changed,
                    &snapshot.view,
                    before.as_deref(),
                    &desired,
                )
            }
            None => snapshot.changed.clone(),
        };
        self.view = Arc::downgrade(&snapshot.view);
        self.kept_view = (self.writing.is_none()).then(|| snapshot.view.clone());
        if told {
            // A comment, a label that nobody selects by: no switch needs to hear of it.
            self.write(&snapshot.view, &desired, &changed);
            return;
        }
        self.complete = complete;
        let desired = Arc::new(desired);
        tracing::info!(
            "{}: {} nodes, {} subnets, {} pods ({} waiting), {} services{}",
            self.config.source,
            desired.nodes.len(),
            desired.subnets.len(),
            desired.pods.len(),
            desired.waiting.len(),
            desired.services.len(),
            if complete {
                ""
            } else {
                "; some could not be read, so nothing unknown is deleted"
            }
        );
        self.pictures += 1;
        let network = writing::of_network(
            &changed,
            &snapshot.changed,
            self.states.borrow().as_deref(),
            &desired,
        );
        let told = self.live.take(desired.clone(), complete, self.pictures);
        self.problems.tell("flows", told.problems);
        let concerned = match &told.nodes {
            Nodes::All => Concerned::All(desired.nodes.keys().collect()),
            Nodes::Some(nodes) => Concerned::Some(nodes),
        };
        let reached = self.reach.told(self.pictures, &network, concerned);
        if self.writing.is_some() {
            self.reached.merge(reached);
        }
        self.write(&snapshot.view, &desired, &changed);
        self.states.send_replace(Some(desired));
        match &told.nodes {
            Nodes::All => drop(self.intents.send_replace(Some(told.intent))),
            Nodes::Some(nodes) => {
                self.intents.send_if_modified(|intent| {
                    *intent = Some(told.intent);
                    false
                });
                self.registry.tell(nodes);
            }
        }
    }

    /// Says what shall stand on objects.
    fn write(&mut self, view: &ClusterView, desired: &DesiredState, changed: &Changes) {
        let Some(writing) = &mut self.writing else {
            return;
        };
        let mut changed = changed.clone();
        changed.merge(std::mem::replace(&mut self.reached, Changes::none()));
        let picture = Picture {
            view,
            desired,
            state: self.resolver.state(),
            reach: &self.reach,
            found: self.found.objects(),
        };
        writing.update(&picture, &changed);
    }

    /// Says on objects that they are in force everywhere.
    fn write_reached(&mut self, reached: Changes) {
        self.reached.merge(reached);
        if self.reached.is_empty() {
            return;
        }
        let desired = self.states.borrow().clone();
        // While a newer view is being made, this waits for it.
        let (Some(writing), Some(desired), Some(view)) =
            (&mut self.writing, desired, self.view.upgrade())
        else {
            return;
        };
        let picture = Picture {
            view: &view,
            desired: &desired,
            state: self.resolver.state(),
            reach: &self.reach,
            found: self.found.objects(),
        };
        writing.reached(&picture, &self.reached);
        self.reached = Changes::none();
    }

    fn forget_nodes(&mut self, desired: &DesiredState) {
        let connected = self.registry.nodes();
        let gone = |node: &String| !desired.nodes.contains_key(node) && !connected.contains(node);
        let gone: Vec<String> = self.applied.keys().filter(|n| gone(n)).cloned().collect();
        for node in gone {
            self.applied.remove(&node);
            self.switches.remove(&node);
            self.metrics.forget(&node);
            self.counts.forget(&node);
            self.problems.tell(&node_key(&node), []);
            self.find(&node, Vec::new());
        }
    }

    /// Says on objects what a switch found wrong with them.
    fn find(&mut self, node: &str, problems: Vec<Problem>) {
        let changed = self.found.replace(node, problems);
        let Some(writing) = &self.writing else {
            return;
        };
        let mut objects = Changes::none();
        let first = !self.applied.contains_key(node);
        for (object, before) in changed {
            let now = self.found.objects().get(&object);
            let now = now.map_or(&[][..], Vec::as_slice);
            writing.tell(&object, &before, now, first);
            objects.add(object);
        }
        self.write_reached(objects);
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Connected {
                node,
                datapath,
                peer,
            } => {
                tracing::info!("Node {node}: switch {datapath:#018x} connected from {peer}");
            }
            Event::Disconnected { node, why } => {
                tracing::warn!("Node {node}: {why}; it goes on forwarding by the flows it has");
                self.switches.entry(node).or_default().gone = why;
            }
            Event::Unknown(node) => self.problems.tell(
                &node_key(&node),
                [format!(
                    "Node {node}: its switch is connected, but {} has no such Node; its flows are \
                     left as they are: add the Node, or correct the switch's --name",
                    self.config.source
                )],
            ),
            // Records go to the log by themselves.
            Event::Judged(_) => {}
            Event::Counted(counted) => {
                let node = counted.node.clone();
                let news = self.counts.take(counted);
                self.metrics.rules(&news);
                self.log.missed(&node, news.kept_back);
            }
            Event::Reached {
                node,
                picture,
                took,
            } => {
                if let Some(took) = took {
                    self.metrics.acknowledged(took);
                }
                let reached = self.reach.acknowledged(&node, picture);
                if self.writing.is_some() {
                    self.write_reached(reached);
                }
            }
            Event::Outranked { node, generation } => {
                tracing::warn!(
                    "Node {node}: its switch has had a master of election {generation}, which is \
                     later than ours; it is left as it is until we are elected later"
                );
                if let Some(leadership) = &self.leadership {
                    leadership.outranked(generation);
                }
            }
            Event::Applied(applied) => {
                self.metrics.applied(&applied);
                let rejected = applied.rejected.iter();
                let rejected = rejected.map(|r| format!("Node {}: {r}", applied.node));
                self.find(&applied.node, applied.problems.clone());
                let problems = applied.problems.iter().map(ToString::to_string);
                self.problems
                    .tell(&node_key(&applied.node), problems.chain(rejected));
                let told = || {
                    format!(
                        "Node {}: {} changes sent ({} flows set, {} deleted, {} held) in {:.1} ms",
                        applied.node,
                        applied.sent,
                        applied.flows.0,
                        applied.flows.1,
                        applied.installed,
                        applied.took.as_secs_f64() * 1000.0
                    )
                };
                // The first of a node; later ones may be a thousand lines for one pod.
                if !self.applied.contains_key(&applied.node) {
                    tracing::info!("{}", told());
                } else if applied.sent > 0 {
                    tracing::debug!("{}", told());
                }
                self.applied.insert(applied.node.clone(), applied.installed);
                let node = applied.node.clone();
                self.switches.entry(node).or_default().applied = applied;
            }
        }
    }
}

fn node_key(node: &str) -> String {
    format!("node {node}")
}

fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("the service manager could not be told: {error}");
    }
}
