//! The policy log (docs/adr/0036-policy-log.md): the controller hears of the first packet of a
//! connection, with the numbers of what decided.
//!
//! What is allowed is told when the connection is committed, which happens once. What is denied is
//! committed nowhere, so it is remembered in a zone of its own, in which nothing else is asked, and
//! which has a limit of its own. In front of the controller is a meter, which drops the copy for the
//! controller and nothing else.

use cluster::policy::{PolicySet, SetRule};
use cluster::view::Action;
use net::MeterId;
use net::key::ct_state::{EST, INV, TRK};
use openflow::action::Controller;
use openflow::model::{Band, BandKind, METER_BURST, METER_PKTPS};
use openflow::{Action as FlowAction, Field};

use super::Direction;
use super::gate::{commit_allowed, commit_stopped};
use crate::fields::{
    CT_ALLOWED, CT_LOGGED, CT_STOPPED, DENIED, LOG_ALLOWED, LOG_DENIED, LOG_EGRESS, LOG_INGRESS,
    Named, ZONE_DENIED,
};
use crate::flow::{Flow, FlowSet, IPV4, IPV6, Logged, Meter, commit, ct, load};
use crate::origin::{Feature, Origin};
use crate::tables::Table;
use crate::view::View;

/// The meter of what the log hears. Those of ports begin at 4.
pub const METER: MeterId = MeterId(2);

/// All that tells a connection: Ethernet, IPv6 with an extension or two, ports.
const LENGTH: u16 = 128;

const STOPS: u16 = 310;
const STOPPED: u16 = 295;
const DENIES: u16 = 292;
const ALLOWS: u16 = 110;

/// A rule that is in the log: it leaves its number with the packet.
pub(super) fn rule(flow: Flow, direction: &Direction, rule: &SetRule, set: &mut FlowSet) -> Flow {
    let denied = rule.action != Action::Allow;
    let number = set.add_logged(Logged {
        ingress: direction.ingress,
        denied,
        policy: rule.policy.clone(),
        rule: Some(rule.part.clone()),
        also: Vec::new(),
    });
    note(flow, direction, denied, number)
}

/// What no rule allows, where a policy that isolates the pod wants it in the log.
pub(super) fn isolation(
    flow: Flow,
    direction: &Direction,
    policies: &PolicySet,
    set: &mut FlowSet,
) -> Flow {
    let [policy, also @ ..] = policies.isolation_logged_by.as_slice() else {
        return flow;
    };
    let number = set.add_logged(Logged {
        ingress: direction.ingress,
        denied: true,
        policy: policy.clone(),
        rule: None,
        also: also.to_vec(),
    });
    note(flow, direction, true, number)
}

/// Before everything else that the flow does: one that passes on asks another table at its end.
fn note(mut flow: Flow, direction: &Direction, denied: bool, number: u32) -> Flow {
    let bit: &Named = if denied { &LOG_DENIED } else { &LOG_ALLOWED };
    let place = if direction.ingress {
        &LOG_INGRESS
    } else {
        &LOG_EGRESS
    };
    let notes = [load(bit, 1), load(place, number)];
    flow.instructions.apply.splice(0..0, notes);
    flow.instructions.has_apply = true;
    flow
}

/// Flows of [`Table::PolicyCommit`] and [`Table::PolicyLog`] for what is in the log, and its meter;
/// none where no policy of a pod here is.
pub(super) fn flows(view: &View<'_>, set: &mut FlowSet) {
    if set.logged.is_empty() {
        return;
    }
    let rate = view.state.policy_log_rate.max(1);
    let band = Band {
        kind: BandKind::Drop,
        rate,
        burst: rate,
    };
    let meter = Meter {
        flags: METER_PKTPS | METER_BURST,
        bands: vec![band],
        label: "Node policy log".into(),
    };
    set.meters.insert(METER, meter);
    let origin = |table| Origin::table(Feature::PolicyLog, table);
    for ethertype in [IPV4, IPV6] {
        let mut add = |flow: Flow| set.add(&origin(flow.table), flow.ether(ethertype));
        let ends = |priority, intent| Flow::new(Table::PolicyCommit, priority, intent);
        let intent = "A connection that is let through, once: the policy log hears of it.";
        let flow = ends(ALLOWS, intent)
            .is(&DENIED, 0)
            .is(&LOG_ALLOWED, 1)
            .ct_state(TRK, INV);
        add(commit_allowed(flow.act(tell())));
        let intent = "A connection that is not let through any more: the policy log hears of it.";
        let flow = ends(STOPS, intent).is(&DENIED, 1).is(&LOG_DENIED, 1);
        let flow = flow.ct_state(TRK | EST, INV);
        let flow = flow.is(&CT_ALLOWED, 1).is(&CT_STOPPED, 0);
        add(commit_stopped(flow.act(tell())));
        let intent = "The policy log has heard that the connection was stopped.";
        let flow = ends(STOPPED, intent).is(&DENIED, 1).is(&LOG_DENIED, 1);
        add(flow.ct_state(TRK | EST, 0).is(&CT_STOPPED, 1));
        let intent = "Has the policy log heard of what is denied?";
        let flow = ends(DENIES, intent).is(&DENIED, 1).is(&LOG_DENIED, 1);
        add(flow.act(ct(ZONE_DENIED, false, vec![], Table::PolicyLog)));

        let log = |priority, intent| Flow::new(Table::PolicyLog, priority, intent);
        let intent = "The policy log has heard of the connection: dropped.";
        add(log(200, intent).is(&CT_LOGGED, 1));
        let intent = "The first packet of a connection that is denied: the policy log hears of it.";
        let flow = log(100, intent).ct_state(TRK, INV);
        add(flow.act(tell()).act(commit(ZONE_DENIED, heard())));
    }
}

/// Gives the controller the beginning of the packet, as far as the meter lets it.
fn tell() -> FlowAction {
    FlowAction::Controller(Controller {
        max_len: LENGTH,
        reason: 1, // OFPR_ACTION
        controller_id: 0,
        userdata: Vec::new(),
        pause: false,
        meter_id: Some(METER),
    })
}

fn heard() -> FlowAction {
    FlowAction::SetField {
        field: Field::CtMark,
        value: CT_LOGGED.place(1),
        mask: CT_LOGGED.mask(),
    }
}
