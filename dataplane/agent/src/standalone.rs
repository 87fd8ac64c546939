//! The fail mode: what the switch does by itself while no controller can be reached.
//!
//! In standalone mode one flow makes an ordinary learning switch of it: table 0, priority 0,
//! everything, NORMAL. What controllers have installed above it goes on; a flow of theirs with the
//! same match is set aside, and comes back when a controller does. The flow is seen in dumps, under
//! a cookie and a label of its own (docs/adr/0010).

use std::rc::Rc;
use std::time::Duration;

use net::{PortNo, TableId};
use openflow::model::{FlowCommand, FlowMod};
use openflow::{Action, Instructions, Match};

use crate::{FailMode, Switch};

/// Cookie of the flow: "standalo" in ASCII.
pub(crate) const COOKIE: u64 = 0x7374_616e_6461_6c6f;
/// What `sluicectl dump-flows` says it comes from.
const LABEL: &str = "fail-mode standalone";
/// Probe intervals without a controller after which the switch acts for itself.
const PATIENCE: u32 = 3;
/// Probe interval where probing is off.
const PROBE: Duration = Duration::from_secs(5);

/// What the mode has done.
#[derive(Debug)]
pub(crate) struct Acting {
    /// The flow whose place is taken.
    set_aside: Option<Box<FlowMod>>,
}

/// Begins or ends to act for itself, if it is time.
pub(crate) fn review(switch: &Rc<Switch>) {
    let options = switch.options();
    let alone = switch.links.without_primary(switch.engine.now());
    if options.fail_mode == FailMode::Secure {
        return;
    }
    let probe = match options.inactivity_probe.is_zero() {
        true => PROBE,
        false => options.inactivity_probe,
    };
    let patience = (probe * PATIENCE).as_nanos();
    // Without any controller configured there is none to wait for.
    let patience = if switch.links.has_primaries() {
        patience
    } else {
        0
    };
    let act = alone.is_some_and(|alone| u128::from(alone) >= patience);
    let acting = switch.acting.borrow().is_some();
    match (acting, act) {
        (false, true) => begin(switch),
        (true, false) => end(switch),
        _ => {}
    }
}

fn begin(switch: &Rc<Switch>) {
    let set_aside = in_its_place(switch);
    let actions = vec![Action::Output {
        port: PortNo::NORMAL,
        max_len: 0,
    }];
    let normal = FlowMod {
        cookie: COOKIE,
        ..FlowMod::add(TableId(0), 0, Match::any(), Instructions::apply(actions))
    };
    if !modify(switch, &normal) {
        return;
    }
    switch.labels.borrow_mut().set(COOKIE, LABEL);
    *switch.acting.borrow_mut() = Some(Acting { set_aside });
    switch.publish();
    tracing::warn!("no controller: packets without a flow are switched by MAC address");
}

fn end(switch: &Rc<Switch>) {
    let Some(acting) = switch.acting.borrow_mut().take() else {
        return;
    };
    let remove = FlowMod {
        command: FlowCommand::DeleteStrict,
        cookie: COOKIE,
        cookie_mask: u64::MAX,
        ..FlowMod::add(TableId(0), 0, Match::any(), Instructions::default())
    };
    modify(switch, &remove);
    // Somebody may have put a flow there meanwhile; theirs is newer.
    if let Some(former) = acting.set_aside
        && in_its_place(switch).is_none()
    {
        modify(switch, &former);
    }
    switch.publish();
    tracing::info!("a controller is there: its flows decide again");
}

/// The flow of others that matches everything at priority 0 in table 0, as it was added.
fn in_its_place(switch: &Rc<Switch>) -> Option<Box<FlowMod>> {
    let tables = switch.tables.borrow();
    let rule = tables.find(TableId(0), &Match::any(), 0)?;
    Some(Box::new(FlowMod {
        cookie: rule.cookie,
        idle_timeout: rule.idle_timeout,
        hard_timeout: rule.hard_timeout,
        flags: rule.flags,
        importance: rule.importance,
        ..FlowMod::add(
            TableId(0),
            0,
            Match::any(),
            Instructions::clone(&rule.instructions),
        )
    }))
}

fn modify(switch: &Rc<Switch>, request: &FlowMod) -> bool {
    let done = switch
        .tables
        .borrow_mut()
        .flow_mod(request, switch.engine.now());
    match done {
        Ok(mut changes) => {
            switch.note(None, &mut changes);
            true
        }
        Err(refused) => {
            tracing::error!("fail mode: {refused}");
            false
        }
    }
}
