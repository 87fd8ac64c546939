//! systemd: readiness, status and watchdog (sd_notify(3)). Without systemd nothing happens.

use std::rc::Rc;
use std::time::Duration;

use agent::Switch;
use sd_notify::NotifyState;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

/// Everything is started.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Going down.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog, where there is one, as long as the workers answer. Does not return.
pub async fn watchdog(switch: Rc<Switch>) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let every = limit / 3;
    loop {
        tokio::time::sleep(every).await;
        match tokio::time::timeout(limit, switch.barrier()).await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(_) => tracing::error!("the workers did not answer within {limit:?}"),
        }
    }
}

/// At least this often the status is told.
pub const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Tells the status again and again. Does not return.
pub async fn status(switch: Rc<Switch>) {
    loop {
        tokio::time::sleep(STATUS_EVERY).await;
        tell(&[NotifyState::Status(&switch.status_line())]);
    }
}
