//! Carries a plan out: meters, then everything else in one bundle where the switch has them, then
//! meters that go. Errors come back by transaction number and are told by object.

use openflow::error::OfError;
use openflow::model::{FlowCommand, GroupCommand, MeterCommand};
use openflow::msg::{
    BUNDLE_ATOMIC, BUNDLE_ORDERED, BundleAdd, BundleControl, BundleControlType, Message,
};

use crate::connection::{Connection, ConnectionError};
use crate::event::Rejected;
use crate::inventory::Inventory;
use crate::plan::{Plan, Step};

/// Messages between two barriers, so that errors of that many at most are under way to us.
const CHUNK: usize = 1000;

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub sent: usize,
    pub rejected: Vec<Rejected>,
}

/// Does the switch take bundles?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bundles {
    Unknown,
    Yes,
    No,
}

/// Sends the plan and follows it in the inventory.
pub(crate) async fn apply(
    connection: &mut Connection,
    bundles: &mut Bundles,
    plan: Plan,
    held: &mut Inventory,
) -> Result<Outcome, ConnectionError> {
    let mut outcome = Outcome::default();
    send_one_by_one(connection, plan.meters, held, &mut outcome).await?;
    let rest = match *bundles {
        Bundles::No => plan.bundle,
        _ => send_bundle(connection, bundles, plan.bundle, held, &mut outcome).await?,
    };
    send_one_by_one(connection, rest, held, &mut outcome).await?;
    send_one_by_one(connection, plan.deleted_meters, held, &mut outcome).await?;
    Ok(outcome)
}

/// Each for itself: one that is refused stops none of the others.
async fn send_one_by_one(
    connection: &mut Connection,
    steps: Vec<Step>,
    held: &mut Inventory,
    outcome: &mut Outcome,
) -> Result<(), ConnectionError> {
    let mut steps = steps.into_iter().peekable();
    while steps.peek().is_some() {
        let chunk: Vec<Step> = steps.by_ref().take(CHUNK).collect();
        let first = connection
            .send(chunk.iter().map(|s| s.message.clone()))
            .await?;
        let errors = connection.barrier_errors().await?;
        outcome.sent += chunk.len();
        for (number, step) in (0u32..).zip(chunk) {
            match errors.get(&first.wrapping_add(number)) {
                None => step.effect.apply(held),
                Some(error) => outcome.rejected.push(rejected(&step, *error)),
            }
        }
    }
    Ok(())
}

/// All or nothing. Gives the steps back where the switch has no bundles, or refused this one: then
/// they go one by one, and what was wrong with it harms nothing else.
async fn send_bundle(
    connection: &mut Connection,
    bundles: &mut Bundles,
    steps: Vec<Step>,
    held: &mut Inventory,
    outcome: &mut Outcome,
) -> Result<Vec<Step>, ConnectionError> {
    if steps.is_empty() {
        return Ok(steps);
    }
    let bundle = connection.take_xid();
    let flags = BUNDLE_ATOMIC | BUNDLE_ORDERED;
    let control = |kind| {
        Message::BundleControl(BundleControl {
            bundle,
            kind,
            flags,
            properties: Vec::new(),
        })
    };
    match connection
        .ask(control(BundleControlType::OpenRequest), "to open a bundle")
        .await
    {
        Ok(_) => *bundles = Bundles::Yes,
        Err(ConnectionError::Refused { error, .. }) => {
            tracing::info!("the switch takes no bundles ({error}); changes go one by one");
            *bundles = Bundles::No;
            return Ok(steps);
        }
        Err(other) => return Err(other),
    }
    let mut refused = Vec::new();
    for chunk in steps.chunks(CHUNK) {
        let adds = chunk.iter().map(|step| {
            Message::BundleAdd(BundleAdd {
                bundle,
                flags,
                xid: 0, // given when it is sent
                message: Box::new(step.message.clone()),
                properties: Vec::new(),
            })
        });
        connection.send(adds).await?;
        connection
            .barrier(|_, error| refused.push(error.error))
            .await?;
        if !refused.is_empty() {
            break;
        }
    }
    let end = if refused.is_empty() {
        BundleControlType::CommitRequest
    } else {
        BundleControlType::DiscardRequest
    };
    let xid = connection.send([control(end)]).await?;
    let ended = connection
        .wait_for(xid, "to commit a bundle", |_, error| {
            refused.push(error.error)
        })
        .await;
    match ended {
        Ok(_) if refused.is_empty() => {}
        Ok(_) | Err(ConnectionError::Refused { .. }) => {
            tracing::debug!("a bundle of {} was refused: {refused:?}", steps.len());
            return Ok(steps);
        }
        Err(other) => return Err(other),
    }
    connection.barrier(|_, _| ()).await?;
    outcome.sent += steps.len();
    for step in steps {
        step.effect.apply(held);
    }
    Ok(Vec::new())
}

fn rejected(step: &Step, error: OfError) -> Rejected {
    let what = match &step.message {
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
        _ => "a message".into(),
    };
    Rejected {
        object: step.object.clone(),
        what,
        error,
    }
}
