//! The controller's side of OpenFlow: switches connect, each gets the flows of its node.
//!
//! [`listen`] accepts connections; every switch has a task ([`switch`]) that says hello, reads what
//! the switch holds, compares it with what it shall hold ([`plan`]) and sends the difference, and
//! goes on doing so as the intent or the switch's ports change. Nothing is ever deleted to be added
//! again: a flow that is as it shall be is not touched, so its counters survive us.

mod announce;
mod answers;
mod apply;
mod canonical;
mod connection;
mod diff;
mod entry;
mod event;
mod fence;
mod held;
mod inspect;
mod inventory;
mod labels;
mod limits;
mod plan;
mod policylog;
mod ports;
mod registry;
mod role;
mod shared;
mod stream;
mod switch;
mod traffic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use flows::{FlowSet, Ports};
use tokio::sync::watch;
use transport::Incoming;

pub use connection::{ConnectionError, Timing};
pub use diff::{Difference, Differs, diff};
pub use entry::Step;
pub use event::{Applied, Counted, Event, Judged, Rejected};
pub use inspect::{Reading, Wish};
pub use inventory::Inventory;
pub use plan::{Plan, plan};
pub use registry::{Connected, Registry};
pub use role::Role;
pub use shared::Shared;
pub use traffic::{Traffic, Volume};
pub use transport::{ListenError, Listener, Target, TargetError, Tls, TlsFiles};

/// Time for TLS.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What switches shall hold.
pub trait Intent: Send + Sync + 'static {
    /// The flows of a node's switch that has these ports, but for those that all have alike; `None`
    /// for a node that nobody knows, whose switch is left as it is.
    fn compile(&self, node: &str, ports: &Ports) -> Option<FlowSet>;

    /// False while something of the sources is not read yet: then nothing is deleted that was not desired before.
    fn complete(&self) -> bool;

    /// A number that is another one whenever [`Intent::compile`] may give the node something else;
    /// `None`: it may at any time.
    fn serial(&self, node: &str) -> Option<u64> {
        let _ = node;
        None
    }

    /// Nodes whose own flows decide about packets of other nodes' pods, with the number that each
    /// has to acknowledge: none where nothing is judged.
    fn judges(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// What all switches hold alike, if there is such a thing.
    fn shared(&self) -> Option<Arc<Shared>> {
        None
    }

    /// When something was told last that concerns the node; `None`: nobody looks at the clock.
    fn told_at(&self, node: &str) -> Option<Instant> {
        let _ = node;
        None
    }

    /// The number of the picture, greater than that of any before, for [`Event::Reached`]; 0 if
    /// nobody counts.
    fn picture(&self) -> u64 {
        0
    }
}

/// The intent in force; `None` until there is a first one.
///
/// Every session looks at it when it is replaced. What concerns a few nodes only can be put there
/// without notice (`send_if_modified`), and these be told by [`Registry::tell`].
pub type Intents = watch::Receiver<Option<Arc<dyn Intent>>>;

/// What every session needs.
#[derive(Clone)]
pub struct Context {
    /// What switches shall hold.
    pub intents: Intents,
    /// Who hears of what happens.
    pub events: Arc<dyn Fn(Event) + Send + Sync>,
    /// Which node is connected by which session.
    pub registry: Registry,
    /// Time limits.
    pub timing: Timing,
    /// What we are to switches.
    pub role: watch::Receiver<Role>,
}

/// Accepts switches at a listener for ever; each is served by a task of its own.
pub async fn listen(listener: Listener, context: Context) {
    loop {
        match listener.accept().await {
            Ok(incoming) => {
                tokio::spawn(welcome(incoming, context.clone()));
            }
            // Out of file descriptors, for instance: others may end, so wait and go on.
            Err(error) => {
                tracing::error!(
                    "a switch could not be accepted: {error}; trying again in a second"
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// TLS first, where it is asked for, then the session.
async fn welcome(incoming: Incoming, context: Context) {
    let peer = incoming.peer().to_owned();
    match tokio::time::timeout(HANDSHAKE, incoming.open()).await {
        Ok(Ok(stream)) => switch::serve(stream, peer, context).await,
        Ok(Err(why)) => tracing::warn!("connection from {peer} refused: {why}"),
        Err(_) => tracing::warn!(
            "connection from {peer} refused: TLS was not agreed on within {} s",
            HANDSHAKE.as_secs()
        ),
    }
}
