//! Metrics of OpenFlow connections.

use openflow::msg::Role;
use prometheus::Result;

use super::Page;
use crate::Switch;
use crate::links::Link;

pub(super) fn connections(page: &Page, switch: &Switch) -> Result<()> {
    let sessions = page.gauge(
        "sluice_openflow_sessions",
        "OpenFlow connections, by role.",
        &["role"],
    )?;
    let connected = switch.sessions.borrow();
    for (role, name) in [
        (Role::Equal, "equal"),
        (Role::Master, "master"),
        (Role::Slave, "slave"),
    ] {
        let count = connected.values().filter(|s| s.role.get() == role).count();
        sessions.with_label_values(&[name]).set(count as i64);
    }
    let queued: usize = connected.values().map(|s| s.out.waiting()).sum();
    page.gauge(
        "sluice_openflow_queued_bytes",
        "Bytes that peers have not read yet.",
        &[],
    )?
    .with_label_values::<&str>(&[])
    .set(queued as i64);
    targets(page, switch)?;
    let refused = page.counter(
        "sluice_openflow_refused_total",
        "Connections refused, by the target they came to.",
        &["target", "reason"],
    )?;
    for (target, reason, count) in switch.links.refused() {
        let label = [target.as_str(), reason.name()];
        refused.with_label_values(&label).inc_by(count);
    }
    lost(page, switch)
}

fn targets(page: &Page, switch: &Switch) -> Result<()> {
    let up = page.gauge(
        "sluice_openflow_controller_up",
        "1 while the controller is connected.",
        &["target"],
    )?;
    let attempts = page.counter(
        "sluice_openflow_connects_total",
        "Attempts to connect to the controller.",
        &["target"],
    )?;
    let listening = page.gauge(
        "sluice_openflow_accepted",
        "Connections on a target that is listened on.",
        &["target"],
    )?;
    for (target, link) in switch.links.each() {
        let label = [target.as_str()];
        match link {
            Link::Primary(primary) => {
                let connected = i64::from(primary.connected.get());
                up.with_label_values(&label).set(connected);
                attempts
                    .with_label_values(&label)
                    .inc_by(primary.attempts.get());
            }
            Link::Listening(admission) => {
                let count = admission.borrow().total() as i64;
                listening.with_label_values(&label).set(count);
            }
        }
    }
    let alone = i64::from(switch.acting.borrow().is_some());
    page.gauge(
        "sluice_standalone",
        "1 while the switch acts for itself because no controller is there.",
        &[],
    )?
    .with_label_values::<&str>(&[])
    .set(alone);
    Ok(())
}

/// Packets for controllers and other messages that did not get there.
fn lost(page: &Page, switch: &Switch) -> Result<()> {
    let (limited, unread) = switch.lost();
    let queue = switch.engine.packet_ins().dropped();
    let drops = page.counter(
        "sluice_packet_in_drops_total",
        "Packets for controllers that were dropped: the workers' queue was full, or a \
         controller's rate limit was exceeded.",
        &["reason"],
    )?;
    drops.with_label_values(&["queue_full"]).inc_by(queue);
    drops.with_label_values(&["rate_limit"]).inc_by(limited);
    page.counter(
        "sluice_openflow_unread_total",
        "Messages left out because the peer reads too slowly.",
        &[],
    )?
    .with_label_values::<&str>(&[])
    .inc_by(unread);
    Ok(())
}
