//! What the tests of sessions share.
#![allow(dead_code)] // each test file uses its part

#[path = "../../../flows/tests/common/mod.rs"]
pub mod bank;
pub mod fake;
pub mod ovs;
pub mod own;
pub mod scenarios;
pub mod world;

use std::sync::Arc;
use std::time::Duration;

use flows::{FlowSet, Ports};
use session::{Applied, Context, Event, Intent, Listener, Registry, Role, Shared, Target, Timing};
use tokio::sync::{mpsc, watch};

type Compile = Box<dyn Fn(&str, &Ports) -> Option<FlowSet> + Send + Sync>;

/// An intent that a test sets: the flows for a node, given its ports.
pub struct TestIntent {
    pub compile: Compile,
    pub complete: bool,
    pub shared: Option<Arc<Shared>>,
}

impl Intent for TestIntent {
    fn compile(&self, node: &str, ports: &Ports) -> Option<FlowSet> {
        (self.compile)(node, ports)
    }

    fn complete(&self) -> bool {
        self.complete
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        self.shared.clone()
    }
}

/// A controller with one listener.
pub struct Controller {
    pub target: Target,
    intents: watch::Sender<Option<Arc<dyn Intent>>>,
    pub events: mpsc::UnboundedReceiver<Event>,
    pub role: watch::Sender<Role>,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Controller {
    pub async fn start(timing: Timing) -> Controller {
        Self::start_as(timing, Role::Alone).await
    }

    pub async fn start_as(timing: Timing, role: Role) -> Controller {
        let (role, role_seen) = watch::channel(role);
        let (intents, receiver) = watch::channel(None);
        let (sender, events) = mpsc::unbounded_channel();
        let context = Context {
            intents: receiver,
            events: Arc::new(move |event| drop(sender.send(event))),
            registry: Registry::default(),
            timing,
            role: role_seen,
        };
        let listener = Listener::bind(&"ptcp:0:127.0.0.1".parse().unwrap(), None)
            .await
            .unwrap();
        let target = listener.local().unwrap();
        let listening = tokio::spawn(session::listen(listener, context));
        Controller {
            target,
            intents,
            events,
            role,
            listening,
        }
    }

    /// The same flows for every node and whatever ports.
    pub fn want(&self, set: FlowSet, complete: bool) {
        self.want_of_ports(move |_| set.clone(), complete);
    }

    pub fn want_of_ports(
        &self,
        compile: impl Fn(&Ports) -> FlowSet + Send + Sync + 'static,
        complete: bool,
    ) {
        self.intents.send_replace(Some(Arc::new(TestIntent {
            compile: Box::new(move |_, ports| Some(compile(ports))),
            complete,
            shared: None,
        })));
    }

    /// The same for every node, encoded once, and nothing else.
    pub fn want_shared(&self, shared: &Arc<Shared>) {
        self.intents.send_replace(Some(Arc::new(TestIntent {
            compile: Box::new(|_, _| Some(FlowSet::default())),
            complete: true,
            shared: Some(shared.clone()),
        })));
    }

    pub fn want_of_nodes(&self, compile: impl Fn(&str, &Ports) -> FlowSet + Send + Sync + 'static) {
        self.intents.send_replace(Some(Arc::new(TestIntent {
            compile: Box::new(move |node, ports| Some(compile(node, ports))),
            complete: true,
            shared: None,
        })));
    }

    pub async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(Duration::from_secs(10), self.events.recv());
        next.await.expect("nothing happened for 10 s").unwrap()
    }

    pub async fn applied(&mut self) -> Applied {
        loop {
            if let Event::Applied(applied) = self.next().await {
                return applied;
            }
        }
    }
}
