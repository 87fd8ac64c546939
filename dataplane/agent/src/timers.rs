//! What happens by the clock: timeouts of flows, changes of ports, packets for controllers,
//! modifications that nobody published, the fail mode.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::requests::answer_workers;
use crate::{Switch, events, handle, standalone};

/// How often flows' timeouts are looked at.
const EXPIRY_TICK: Duration = Duration::from_millis(100);
/// How often it is looked whether ports have changed.
const PORT_TICK: Duration = Duration::from_millis(250);
/// How often it is read how busy workers are.
const BUSY_TICK: Duration = Duration::from_secs(1);
/// How often packets that wait for their turn are looked at.
const PACE_TICK: Duration = Duration::from_millis(5);

/// Runs all of them. Does not return.
pub async fn run_timers(switch: Rc<Switch>) {
    let flows = async {
        loop {
            sleep(EXPIRY_TICK).await;
            expire_flows(&switch).await;
        }
    };
    let ports = async {
        loop {
            sleep(PORT_TICK).await;
            switch.check_ports();
            standalone::review(&switch);
        }
    };
    let load = async {
        loop {
            sleep(BUSY_TICK).await;
            switch.read_busy();
            for moved in switch.engine.balance() {
                tracing::info!("{moved}");
            }
            handle::bundle::expire(&switch);
            // Finds a worker that has ended, see `Switch::worker_ended`.
            switch.barrier().await;
        }
    };
    let requests = answer_workers(&switch);
    tokio::join!(flows, ports, load, forward_packets(&switch), requests);
}

async fn expire_flows(switch: &Rc<Switch>) {
    switch.publish_if_overdue();
    let is_due = || {
        let next = switch.tables.borrow().next_expiry();
        next.is_some_and(|at| at <= switch.engine.now())
    };
    if switch.has_removed() && !is_due() {
        switch.settle().await;
    }
    // If they are many, a part at a time, between which others have their turn.
    while is_due() {
        // With the workers' counts in, idle flows can be told from busy ones.
        switch.settle().await;
        let mut gone = switch.tables.borrow_mut().expire(switch.engine.now());
        if !gone.is_empty() {
            switch.note(None, &mut gone);
            switch.settle().await;
        }
        tokio::task::yield_now().await;
    }
}

async fn forward_packets(switch: &Switch) {
    let queue = switch.engine.packet_ins();
    let ready = Arc::new(Notify::new());
    let wake = ready.clone();
    queue.on_push(move || wake.notify_one());
    loop {
        while let Some(packet) = queue.pop() {
            events::packet_in(switch, &Rc::new(packet));
            // A flood of packets must not keep requests waiting.
            tokio::task::consume_budget().await;
        }
        match events::release_packets(switch) {
            true => tokio::select! {
                () = ready.notified() => {}
                () = sleep(PACE_TICK) => {}
            },
            false => ready.notified().await,
        }
    }
}
