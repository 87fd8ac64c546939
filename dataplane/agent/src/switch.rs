//! The switch: what all connections share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::ports::{Port, PortError, PortSpec};
use net::options::OptionMap;
use net::{PortNo, TableId};
use openflow::Message;
use openflow::model::FLOW_SEND_REMOVED;
use openflow::msg::{ControllerReason, PortReason, PortStatus};
use tables::{Change, RemovedReason, Rule, Tables};
use tokio::sync::{Notify, oneshot};

use crate::answers::Answers;
use crate::busy::Busy;
use crate::engine::{Device, Engine, NewPort};
use crate::events;
use crate::handle::bundle::Held;
use crate::handle::fast::Fast;
use crate::labels::Labels;
use crate::limits::Limits;
use crate::links::{Links, Primary};
use crate::monitors::{self, Origin};
use crate::notices;
use crate::ports::{PortRecord, Ports, state_of};
use crate::session::Session;
use crate::standalone::{self, Acting};
use crate::{Options, PortState};

/// Modifications that nobody waits for are published at most so often (nanoseconds): each time,
/// what is changed next has to be copied first.
const PUBLISH_EVERY: u64 = 50_000_000;
/// Bytes read at once.
const READ: usize = 1 << 16;

/// Who the switch is.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Datapath number.
    pub dpid: u64,
    /// The node's name.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Version of DPDK, where it is built in.
    pub dpdk: Option<String>,
    /// Tunnel endpoints, as `172.30.0.1/24 on uplink0`.
    pub vteps: Vec<String>,
}

/// Opens the device behind a specification.
pub type Opener = Box<dyn Fn(&PortSpec) -> Result<Box<dyn Port>, PortError>>;

/// The switch's state; lives on the control thread.
pub struct Switch {
    pub(crate) identity: Identity,
    /// Which switch this is, unlike any other that ran before it.
    pub(crate) instance: u128,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) tables: RefCell<Tables>,
    pub(crate) ports: RefCell<Ports>,
    pub(crate) labels: RefCell<Labels>,
    pub(crate) answers: RefCell<Answers>,
    pub(crate) limits: RefCell<Limits>,
    pub(crate) fast: Fast,
    /// Some connection has flow monitors.
    pub(crate) followed: Cell<bool>,
    /// When the messages that are handled now began to be, nanoseconds.
    pub(crate) read_at: Cell<u64>,
    pub(crate) sessions: RefCell<BTreeMap<u64, Rc<Session>>>,
    /// Bytes of messages in bundles.
    pub(crate) bundled: Held,
    /// Names that controllers gave to tables.
    pub(crate) table_names: RefCell<BTreeMap<TableId, String>>,
    /// The configured targets.
    pub(crate) links: Links,
    /// What the fail mode has done, while it acts.
    pub(crate) acting: RefCell<Option<Acting>>,
    /// All connections read through it, one at a time.
    pub(crate) read_buffer: RefCell<Box<[u8]>>,
    options: RefCell<Rc<Options>>,
    /// What connections that have ended had lost.
    lost_before: Cell<(u64, u64)>,
    /// Generation of the last master election (6.3.5).
    pub(crate) election: Cell<Option<u64>>,
    pub(crate) frag_flags: Cell<u16>,
    pub(crate) tunnel_options: Cell<OptionMap>,
    /// Woken when a port comes, goes or changes.
    pub(crate) port_changed: Notify,
    pub(crate) started: u64,
    worker_ended: Notify,
    pub(crate) busy: RefCell<Busy>,
    opener: Opener,
    removed: RefCell<Vec<(Arc<Rule>, RemovedReason)>>,
    waiting_since: Cell<Option<u64>>,
    published_at: Cell<u64>,
    /// A task will publish in a moment.
    publishing: Cell<bool>,
    next_session: Cell<u64>,
}

impl Switch {
    /// A switch without ports.
    pub fn new(
        identity: Identity,
        tables: Tables,
        engine: Box<dyn Engine>,
        opener: Opener,
    ) -> Rc<Self> {
        Rc::new(Switch {
            identity,
            instance: u128::from(random()) << 64 | u128::from(random()),
            started: engine.now(),
            engine,
            tables: RefCell::new(tables),
            ports: RefCell::default(),
            labels: RefCell::default(),
            answers: RefCell::default(),
            limits: RefCell::default(),
            fast: Fast::default(),
            followed: Cell::new(false),
            read_at: Cell::new(0),
            sessions: RefCell::default(),
            bundled: Held::default(),
            table_names: RefCell::default(),
            links: Links::default(),
            acting: RefCell::default(),
            read_buffer: RefCell::new(vec![0; READ].into()),
            options: RefCell::default(),
            lost_before: Cell::default(),
            election: Cell::new(None),
            frag_flags: Cell::new(0),
            tunnel_options: Cell::default(),
            port_changed: Notify::new(),
            worker_ended: Notify::new(),
            busy: RefCell::default(),
            opener,
            removed: RefCell::default(),
            waiting_since: Cell::new(None),
            published_at: Cell::new(0),
            publishing: Cell::new(false),
            next_session: Cell::new(1),
        })
    }

    /// One line on what is there, for people.
    pub fn status_line(&self) -> String {
        let ports = self.ports.borrow();
        let tables = self.tables.borrow();
        format!(
            "{} ports ({} failed), {} flows, {} OpenFlow connections",
            ports.iter().count(),
            ports.failed().count(),
            tables.pipeline().rules(),
            self.sessions.borrow().len(),
        )
    }

    /// How connections are kept, from now on; to be said before targets are served.
    pub fn configure(&self, options: Options) {
        *self.options.borrow_mut() = Rc::new(options);
    }

    pub(crate) fn options(&self) -> Rc<Options> {
        self.options.borrow().clone()
    }

    pub(crate) fn open_session(&self, peer: String, primary: Option<Rc<Primary>>) -> Rc<Session> {
        let id = self.next_session.get();
        self.next_session.set(id + 1);
        let session = Rc::new(Session::new(id, peer, primary, &self.options.borrow()));
        self.sessions.borrow_mut().insert(id, session.clone());
        session
    }

    /// Packets that rate limits have dropped, and messages left out for slow readers, on all
    /// connections there ever were.
    pub(crate) fn lost(&self) -> (u64, u64) {
        let sessions = self.sessions.borrow();
        sessions
            .values()
            .fold(self.lost_before.get(), |(limited, unread), session| {
                let dropped = session.pacer.borrow().dropped();
                (limited + dropped, unread + session.out.left_out())
            })
    }

    /// A connection is through hello.
    pub(crate) fn agreed(self: &Rc<Self>, session: &Session) {
        if let Some(primary) = &session.primary {
            primary.connected.set(true);
            // Its messages find the tables as they were without it.
            standalone::review(self);
        }
        notices::controller_status(self, session, ControllerReason::ChannelStatus);
        self.review_wishes();
    }

    pub(crate) fn close_session(&self, session: &Session) {
        self.sessions.borrow_mut().remove(&session.id);
        monitors::review(self);
        notices::controller_status(self, session, ControllerReason::ChannelStatus);
        let (limited, unread) = self.lost_before.get();
        self.lost_before.set((
            limited + session.pacer.borrow().dropped(),
            unread + session.out.left_out(),
        ));
        self.review_wishes();
    }

    /// Tells the workers what controllers want of them, after a change of their wishes.
    pub(crate) fn review_wishes(&self) {
        let wanted = events::invalid_ttl_wanted(self);
        self.engine.send_invalid_ttl(wanted);
    }

    /// Tells controllers of changes, which are of this request; remembers what they are to be told
    /// later, and that there is something to publish.
    pub(crate) fn note(self: &Rc<Self>, origin: Option<Origin>, changes: &mut Vec<Change>) {
        self.remember(origin, changes);
        monitors::hold_back(self);
    }

    /// As [`Switch::note`], where there is more to come: [`monitors::hold_back`] is due afterwards.
    pub(crate) fn remember(&self, origin: Option<Origin>, changes: &mut Vec<Change>) {
        if self.waiting_since.get().is_none() {
            self.waiting_since.set(Some(self.engine.now()));
        }
        self.tell_vacancy();
        monitors::tell(self, origin, changes);
        let removed = changes.drain(..).filter_map(|change| match change {
            Change::Removed(rule, reason) if rule.flags & FLOW_SEND_REMOVED != 0 => {
                Some((rule, reason))
            }
            _ => None,
        });
        self.removed.borrow_mut().extend(removed);
    }

    /// Tells controllers of tables that have become full or empty enough.
    pub(crate) fn tell_vacancy(&self) {
        let passed = self.tables.borrow_mut().vacancy_events();
        notices::table_status(self, passed);
    }

    /// What packets have asked for until now is part of what a barrier covers.
    async fn publish_requests(&self) {
        if self.take_requests() {
            self.publish();
            self.wait(|done| self.engine.barrier(done)).await;
        }
    }

    /// Makes all modifications so far visible to packets, with what packets have asked for.
    pub fn publish(&self) {
        self.take_requests();
        if self.waiting_since.take().is_some() {
            self.published_at.set(self.engine.now());
        }
        self.tables.borrow_mut().publish();
    }

    /// Likewise, at once or, if that happened a moment ago, a moment later. For when a controller
    /// has nothing more to say for now; often it is only slower than we are.
    pub(crate) fn publish_soon(self: &Rc<Self>) {
        if self.waiting_since.get().is_none() {
            return;
        }
        let (now, next) = (self.engine.now(), self.published_at.get() + PUBLISH_EVERY);
        if now >= next {
            self.publish();
        } else if !self.publishing.replace(true) {
            let switch = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_nanos(next - now)).await;
                switch.publishing.set(false);
                switch.publish();
            });
        }
    }

    /// Publishes if modifications have waited long enough.
    pub(crate) fn publish_if_overdue(&self) {
        let since = self.waiting_since.get();
        if since.is_some_and(|since| self.engine.now() >= since + PUBLISH_EVERY) {
            self.publish();
        }
    }

    /// Publishes, and returns when every worker works with it: the next packet sees it.
    pub async fn barrier(&self) {
        if self.has_removed() {
            // Their last counts are wanted.
            return self.settle().await;
        }
        self.publish();
        self.wait(|done| self.engine.barrier(done)).await;
        self.publish_requests().await;
        self.tables.borrow_mut().reclaim();
    }

    /// As [`Switch::barrier`], and counters of flows, groups and tables are exact.
    pub async fn settle(&self) {
        self.publish();
        self.wait(|done| self.engine.settle(done)).await;
        self.publish_requests().await;
        self.tables.borrow_mut().reclaim();
        let removed = self.removed.take();
        for (rule, reason) in removed {
            events::flow_removed(self, &rule, reason);
        }
    }

    /// Waits for the workers. One that has ended holds nothing back, but is noticed.
    async fn wait(&self, ask: impl FnOnce(crate::Done<()>)) {
        let (sender, receiver) = oneshot::channel();
        ask(Box::new(move |()| {
            let _gone = sender.send(());
        }));
        if receiver.await.is_err() {
            self.worker_ended.notify_one();
        }
    }

    /// Returns when a worker has ended, which none should.
    pub async fn worker_ended(&self) {
        self.worker_ended.notified().await;
    }

    /// True if controllers wait to be told of removed flows.
    pub(crate) fn has_removed(&self) -> bool {
        !self.removed.borrow().is_empty()
    }

    /// Adds a port: opens its device and hands it to the workers.
    ///
    /// # Errors
    /// One line for the operator; the port is kept among those that failed.
    pub fn add_port(&self, spec: PortSpec) -> Result<PortNo, String> {
        let added = self.try_add_port(&spec);
        if let Err(error) = &added {
            let mut ports = self.ports.borrow_mut();
            if ports.named(&spec.name).is_none() {
                ports.add_failed(spec, error.clone());
            }
        }
        added
    }

    fn try_add_port(&self, spec: &PortSpec) -> Result<PortNo, String> {
        use openflow::model::{PORT_NO_FWD, PORT_NO_RECV};
        if self.ports.borrow().named(&spec.name).is_some() {
            return Err(format!(
                "port {}: there is one already; delete it first",
                spec.name
            ));
        }
        let number = self.ports.borrow().number_for(spec)?;
        let (device, control) = match &spec.kind {
            ::ports::PortKind::Tunnel(tunnel) => (Device::Tunnel(*tunnel), None),
            _ => {
                let port = (self.opener)(spec).map_err(|e| e.to_string())?;
                let control = port.control().clone();
                (Device::Port(port), Some(control))
            }
        };
        let closed = match spec.closed {
            true => PORT_NO_RECV | PORT_NO_FWD,
            false => 0,
        };
        let record = PortRecord {
            state: PortState {
                config: closed,
                ..state_of(&spec.name, control.as_deref())
            },
            spec: spec.clone(),
            number,
            control,
            created: self.engine.now(),
        };
        self.engine.add_port(NewPort {
            number,
            name: spec.name.clone(),
            config: record.state.config,
            options: worker::PortOptions {
                vlan: spec.vlan,
                shaping: self.impaired(number, &spec.shaping),
                spread: spec.spread,
            },
            device,
        })?;
        tracing::info!("port {}: added as number {number}", spec.name);
        self.tell_port(PortReason::Add, &record);
        self.ports.borrow_mut().add(record);
        self.port_changed.notify_waiters();
        Ok(number)
    }

    /// Changes how fast a port may send, and its queues.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn shape_port(&self, name: &str, shaping: ::ports::Shaping) -> Result<(), String> {
        let mut ports = self.ports.borrow_mut();
        let number = ports.named(name).map(|port| port.number);
        let record = number.and_then(|number| ports.get_mut(number));
        let Some(record) = record else {
            return Err(format!(
                "no port {name}; `sluicectl port list` shows what there is"
            ));
        };
        if let ::ports::PortKind::Tunnel(_) = record.spec.kind {
            return Err(format!(
                "port {name}: a tunnel has no queues of its own; those of its uplink are used"
            ));
        }
        let effective = self.impaired(record.number, &shaping);
        self.engine.shape_port(record.number, &effective)?;
        tracing::info!("port {name}: {}", told(&effective));
        record.spec.shaping = shaping;
        Ok(())
    }

    /// A port's shaping with what a controller adds to it.
    fn impaired(&self, number: PortNo, shaping: &::ports::Shaping) -> ::ports::Shaping {
        ::ports::Shaping {
            impairment: self.limits.borrow().impairment(number),
            ..shaping.clone()
        }
    }

    /// What a controller says of a port's number has changed; there may be no such port.
    pub(crate) fn impair_port(&self, number: PortNo) {
        let ports = self.ports.borrow();
        let Some(record) = ports.get(number) else {
            return;
        };
        if let ::ports::PortKind::Tunnel(_) = record.spec.kind {
            return;
        }
        let effective = self.impaired(number, &record.spec.shaping);
        match self.engine.shape_port(number, &effective) {
            Ok(()) => tracing::info!("port {}: {}", record.spec.name, told(&effective)),
            Err(error) => tracing::warn!("port {}: {error}", record.spec.name),
        }
    }

    /// Deletes a port; returns when its device is closed. False: there was none.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn delete_port(&self, name: &str) -> Result<bool, String> {
        let number = self.ports.borrow().named(name).map(|port| port.number);
        let Some(number) = number else {
            return Ok(self.ports.borrow_mut().remove_failed(name));
        };
        let (sender, receiver) = oneshot::channel();
        self.engine.delete_port(
            number,
            Box::new(move |()| {
                let _gone = sender.send(());
            }),
        )?;
        let record = self.ports.borrow_mut().remove(number);
        if let Some(record) = record {
            self.tell_port(PortReason::Delete, &record);
        }
        self.port_changed.notify_waiters();
        drop(receiver.await);
        tracing::info!("port {name}: deleted");
        Ok(true)
    }

    /// Has the worker of a processor poll an rx queue of a port; returns when it does.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn move_port(&self, name: &str, queue: u16, cpu: u32) -> Result<(), String> {
        let number = self.ports.borrow().named(name).map(|port| port.number);
        let number = number
            .ok_or_else(|| format!("there is no port {name}; `sluicectl port list` shows them"))?;
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |()| {
            let _gone = sender.send(());
        });
        self.engine.move_port(number, queue, cpu, done)?;
        let moved = receiver.await;
        moved.map_err(|_| format!("port {name}: a worker has ended before the port was moved"))?;
        tracing::info!("port {name}: rx queue {queue} is on core {cpu} now");
        Ok(())
    }

    /// Changes a port's configuration bits and tells workers and controllers.
    pub(crate) fn configure_port(&self, number: PortNo, config: u32, mask: u32) {
        let mut ports = self.ports.borrow_mut();
        let Some(port) = ports.get_mut(number) else {
            return;
        };
        let before = port.state.config;
        port.state.config = (before & !mask) | (config & mask);
        if port.state.config == before {
            return;
        }
        self.engine.set_port(number, port.state);
        let down = openflow::model::PORT_DOWN;
        if (port.state.config ^ before) & down != 0
            && let Some(control) = &port.control
            && let Err(error) = control.set_up(port.state.config & down == 0)
        {
            tracing::warn!("{error}");
        }
        self.tell_port(PortReason::Modify, port);
        drop(ports);
        self.port_changed.notify_waiters();
    }

    /// Looks whether links, addresses or MTUs have changed, and tells workers and controllers.
    pub(crate) fn check_ports(&self) {
        let mut changed = false;
        for port in self.ports.borrow_mut().iter_mut() {
            if port.refresh() {
                changed = true;
                self.engine.set_port(port.number, port.state);
                self.tell_port(PortReason::Modify, port);
            }
        }
        if changed {
            self.port_changed.notify_waiters();
        }
    }

    /// Reads how busy the workers were.
    pub(crate) fn read_busy(&self) {
        let workers = self.engine.workers();
        self.busy.borrow_mut().read(self.engine.now(), &workers);
    }

    fn tell_port(&self, reason: PortReason, port: &PortRecord) {
        let desc = port.desc();
        events::port_status(
            self,
            &Message::PortStatus(PortStatus { reason, desc }),
            reason,
        );
    }
}

/// Different in each process.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// How a port sends, for the log.
fn told(shaping: &::ports::Shaping) -> String {
    match shaping.is_empty() {
        true => "sends as fast as it can, without queues".to_owned(),
        false => shaping.to_string(),
    }
}
