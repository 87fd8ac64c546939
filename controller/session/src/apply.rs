//! Carries a plan out: meters, then everything else in one bundle where the switch has them, then
//! meters that go. Errors come back by transaction number and are told by object.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use openflow::error::OfError;
use openflow::model::{FlowCommand, GroupCommand, MeterCommand};
use openflow::msg::{BundleControl, BundleControlType, Message};
use openflow::wire;

use crate::connection::{
    Connection, ConnectionError, VERSION, XID_BARRIER, XID_CLOSE, XID_COMMIT, XID_OPEN,
};
use crate::entry::{BUNDLE, BUNDLE_FLAGS, Step};
use crate::event::Rejected;
use crate::plan::Plan;
use crate::shared::Delta;

/// Messages between two barriers, so that errors of that many at most are under way to us.
const CHUNK: usize = 1000;

/// Parts of a batch up to this are put together, so that they are written at once.
const SMALL: usize = 1 << 16;

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// For this switch.
    pub plan: Plan,
    /// For every switch, as it is.
    pub alike: Option<Arc<Delta>>,
}

impl Work {
    pub fn len(&self) -> usize {
        self.plan.len() + self.alike.as_ref().map_or(0, |delta| delta.plan.len())
    }

    /// Flows set and flows deleted.
    pub fn flows(&self) -> (usize, usize) {
        let alike = self.alike.as_deref().map(|delta| &delta.plan);
        let plans = || [Some(&self.plan), alike].into_iter().flatten();
        (
            plans().map(|plan| plan.flows.len()).sum(),
            plans().map(|plan| plan.deleted_flows.len()).sum(),
        )
    }

    /// Steps of the bundle, in order.
    fn bundle(&self) -> Vec<Step> {
        let none = Plan::default();
        let alike = self.alike.as_deref().map_or(&none, |delta| &delta.plan);
        let own = &self.plan;
        let groups = own.groups.iter().chain(&own.chained);
        let groups = groups.chain(&alike.groups).chain(&alike.chained);
        let flows = groups.chain(&alike.flows).chain(&own.flows);
        let gone = flows.chain(&alike.deleted_flows).chain(&own.deleted_flows);
        let gone = gone
            .chain(&alike.deleted_chained)
            .chain(&alike.deleted_groups);
        let gone = gone.chain(&own.deleted_chained).chain(&own.deleted_groups);
        gone.cloned().collect()
    }

    /// The same as bytes.
    fn bytes(&self) -> Vec<Bytes> {
        let write = |steps: &[&[Step]]| {
            let mut bytes = Vec::new();
            for step in steps.iter().copied().flatten() {
                step.write(&mut bytes);
            }
            Bytes::from(bytes)
        };
        let own = &self.plan;
        let mut parts = vec![write(&[&own.groups, &own.chained])];
        if let Some(alike) = &self.alike {
            parts.push(alike.groups.clone());
            parts.push(alike.flows.clone());
        }
        parts.push(write(&[&own.flows, &own.deleted_flows]));
        if let Some(alike) = &self.alike {
            parts.push(alike.deleted_groups.clone());
        }
        parts.push(write(&[&own.deleted_chained, &own.deleted_groups]));
        parts.retain(|part| !part.is_empty());
        parts
    }
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub sent: usize,
    pub rejected: Vec<(Step, OfError)>,
}

/// Does the switch take bundles?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bundles {
    Unknown,
    Yes,
    No,
}

/// Sends the work.
pub(crate) async fn apply(
    connection: &mut Connection,
    bundles: &mut Bundles,
    work: &Work,
) -> Result<Outcome, ConnectionError> {
    let mut outcome = Outcome::default();
    send_one_by_one(connection, &work.plan.meters, &mut outcome).await?;
    let parts = work.bytes();
    if !parts.is_empty() && !send_bundle(connection, bundles, work, parts, &mut outcome).await? {
        send_one_by_one(connection, &work.bundle(), &mut outcome).await?;
    }
    send_one_by_one(connection, &work.plan.deleted_meters, &mut outcome).await?;
    Ok(outcome)
}

/// Each for itself: one that is refused stops none of the others.
async fn send_one_by_one(
    connection: &mut Connection,
    steps: &[Step],
    outcome: &mut Outcome,
) -> Result<(), ConnectionError> {
    for chunk in steps.chunks(CHUNK) {
        let mut bytes = Vec::new();
        chunk.iter().for_each(|step| step.write_bare(&mut bytes));
        connection
            .send_bytes(vec![bytes.into()], chunk.len())
            .await?;
        let errors = connection.barrier_errors().await?;
        outcome.sent += chunk.len();
        note(chunk, &errors, outcome);
    }
    Ok(())
}

fn note(steps: &[Step], errors: &HashMap<u32, OfError>, outcome: &mut Outcome) {
    if errors.is_empty() {
        return;
    }
    for step in steps {
        if let Some(error) = errors.get(&step.xid()) {
            outcome.rejected.push((step.clone(), *error));
        }
    }
}

/// All or nothing, and the switch is asked to answer once: when it is in force. False where the
/// switch has no bundles, or refused this one: then the steps go one by one, and what was wrong with
/// one harms no other.
async fn send_bundle(
    connection: &mut Connection,
    bundles: &mut Bundles,
    work: &Work,
    mut parts: Vec<Bytes>,
    outcome: &mut Outcome,
) -> Result<bool, ConnectionError> {
    match *bundles {
        Bundles::No => return Ok(false),
        Bundles::Unknown => match open_and_close(connection).await {
            Ok(()) => *bundles = Bundles::Yes,
            Err(ConnectionError::Refused { error, .. }) => {
                tracing::info!("the switch takes no bundles ({error}); changes go one by one");
                *bundles = Bundles::No;
                return Ok(false);
            }
            Err(other) => return Err(other),
        },
        Bundles::Yes => {}
    }
    let end = [
        control(XID_COMMIT, BundleControlType::CommitRequest),
        encode(XID_BARRIER, &Message::BarrierRequest),
    ];
    parts.insert(0, control(XID_OPEN, BundleControlType::OpenRequest));
    parts.extend(end);
    let meters = work.plan.meters.len() + work.plan.deleted_meters.len();
    let messages = work.len() - meters + 3;
    connection.send_bytes(together(parts), messages).await?;
    let mut errors = HashMap::new();
    let committed = connection
        .wait_for(XID_COMMIT, "to commit a bundle", |xid, error| {
            errors.insert(xid, error.error);
        })
        .await;
    let refused = match committed {
        Ok(_) => false,
        Err(ConnectionError::Refused { .. }) => true,
        Err(other) => return Err(other),
    };
    let barrier = connection.wait_for(XID_BARRIER, "a barrier", |xid, error| {
        errors.insert(xid, error.error);
    });
    barrier.await?;
    if refused {
        tracing::debug!("a bundle of {} was refused: {errors:?}", work.len());
        return Ok(false);
    }
    outcome.sent += work.len() - meters;
    if !errors.is_empty() {
        // The switch left out what it refused, and took the rest.
        note(&work.bundle(), &errors, outcome);
    }
    Ok(true)
}

/// Finds out whether the switch has bundles, before many are sent to it.
async fn open_and_close(connection: &mut Connection) -> Result<(), ConnectionError> {
    let open = control(XID_OPEN, BundleControlType::OpenRequest);
    connection.send_bytes(vec![open], 1).await?;
    connection
        .wait_for(XID_OPEN, "to open a bundle", |_, _| ())
        .await?;
    let close = control(XID_CLOSE, BundleControlType::DiscardRequest);
    connection.send_bytes(vec![close], 1).await?;
    connection
        .wait_for(XID_CLOSE, "to discard a bundle", |_, _| ())
        .await?;
    Ok(())
}

fn control(xid: u32, kind: BundleControlType) -> Bytes {
    let message = Message::BundleControl(BundleControl {
        bundle: BUNDLE,
        kind,
        flags: BUNDLE_FLAGS,
        properties: Vec::new(),
    });
    encode(xid, &message)
}

/// For messages that every version can say.
fn encode(xid: u32, message: &Message) -> Bytes {
    let mut bytes = Vec::new();
    if let Err(error) = wire::encode(VERSION, xid, message, &mut bytes) {
        tracing::error!("a message cannot be written in OpenFlow 1.3: {error}");
    }
    bytes.into()
}

/// Puts small parts together; large ones, which many switches share, stay as they are.
fn together(parts: Vec<Bytes>) -> Vec<Bytes> {
    let mut batch: Vec<Bytes> = Vec::new();
    let mut small = Vec::new();
    for part in parts {
        if part.len() <= SMALL {
            small.extend_from_slice(&part);
        } else {
            if !small.is_empty() {
                batch.push(std::mem::take(&mut small).into());
            }
            batch.push(part);
        }
    }
    if !small.is_empty() {
        batch.push(small.into());
    }
    batch
}

/// A step that was refused, as it is told.
pub(crate) fn rejected(step: &Step, object: &str, error: OfError) -> Rejected {
    let what = match &step.message() {
        Message::FlowMod(m) => {
            let table = flows::Table::from_id(m.table).map_or("?", flows::Table::name);
            let verb = match m.command {
                FlowCommand::Add => "to add",
                FlowCommand::Modify | FlowCommand::ModifyStrict => "to change",
                FlowCommand::Delete | FlowCommand::DeleteStrict => "to delete",
            };
            let matching = flows::text::matching(&m.matching);
            format!("{verb} the flow {} {matching} of table {table}", m.priority)
        }
        Message::GroupMod(m) => {
            let verb = if m.command == GroupCommand::Delete {
                "to delete"
            } else {
                "to set"
            };
            format!("{verb} group {}", m.group)
        }
        Message::MeterMod(m) => {
            let verb = if m.command == MeterCommand::Delete {
                "to delete"
            } else {
                "to set"
            };
            format!("{verb} meter {}", m.meter)
        }
        Message::ZoneLimits(_) => {
            "to limit connections (the dataplane is too old, or another's)".into()
        }
        Message::Impairments(_) => {
            "to impair a port (the dataplane is too old, or another's)".into()
        }
        _ => "a message".into(),
    };
    Rejected {
        object: object.to_string(),
        what,
        error,
    }
}
