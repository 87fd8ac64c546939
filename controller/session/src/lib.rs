//! The controller's side of OpenFlow: switches connect, each gets the flows of its node.
//!
//! [`listen`] accepts connections; every switch has a task ([`switch`]) that says hello, reads what
//! the switch holds, compares it with what it shall hold ([`plan`]) and sends the difference, and
//! goes on doing so as the intent or the switch's ports change. Nothing is ever deleted to be added
//! again: a flow that is as it shall be is not touched, so its counters survive us.

mod apply;
mod canonical;
mod connection;
mod event;
mod inventory;
mod labels;
mod plan;
mod ports;
mod registry;
mod stream;
mod switch;
mod target;

use std::sync::Arc;

use flows::{FlowSet, Ports};
use tokio::sync::watch;

pub use connection::{ConnectionError, Timing};
pub use event::{Applied, Event, Rejected};
pub use inventory::Inventory;
pub use plan::{Plan, plan, plan_after};
pub use registry::Registry;
pub use target::{Listener, ParseTargetError, Target};

/// What switches shall hold.
pub trait Intent: Send + Sync + 'static {
    /// The flows of a node's switch that has these ports; `None` for a node that nobody knows,
    /// whose switch is left as it is.
    fn compile(&self, node: &str, ports: &Ports) -> Option<FlowSet>;

    /// False while something of the sources is not read yet: then nothing is deleted that was not desired before.
    fn complete(&self) -> bool;
}

/// The intent in force; `None` until there is a first one.
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
}

/// Accepts switches at a listener for ever; each is served by a task of its own.
pub async fn listen(listener: Listener, context: Context) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let context = context.clone();
                tokio::spawn(async move { switch::serve(stream, peer, context).await });
            }
            // Out of file descriptors, for instance: others may end, so wait and go on.
            Err(error) => {
                tracing::error!(
                    "a switch could not be accepted: {error}; trying again in a second"
                );
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}
