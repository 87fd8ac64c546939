//! What packets ask for: flows that they teach, flows that are to end sooner.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use worker::Request;

use crate::{Switch, monitors};

/// Requests carried out before others get their turn.
const AT_ONCE: usize = 4096;

/// Carries out what workers ask for as it comes, and publishes it. Does not return.
pub(crate) async fn answer_workers(switch: &Rc<Switch>) {
    let ready = Arc::new(Notify::new());
    let wake = ready.clone();
    switch.engine.requests().on_push(move || wake.notify_one());
    loop {
        while switch.take_requests() {
            monitors::hold_back(switch);
            switch.publish();
            tokio::task::yield_now().await;
        }
        ready.notified().await;
    }
}

impl Switch {
    /// Carries out what workers have asked for so far; true if there was anything.
    pub(crate) fn take_requests(&self) -> bool {
        let queue = self.engine.requests();
        let mut any = false;
        for _ in 0..AT_ONCE {
            let Some(request) = queue.pop() else { break };
            any = true;
            let now = self.engine.now();
            match request {
                Request::Learn(wanted) => {
                    let learned = self.tables.borrow_mut().learn(&wanted, now);
                    match learned {
                        Ok(mut changes) => self.remember(None, &mut changes),
                        Err(refused) => tracing::debug!("not learned: {refused}"),
                    }
                }
                Request::Shorten { rule, idle, hard } => {
                    self.tables.borrow_mut().shorten(&rule, idle, hard);
                }
            }
        }
        any
    }
}
