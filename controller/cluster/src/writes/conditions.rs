//! Conditions: whether an object could be accepted, and whether it is in force on all nodes.

use super::{Condition, Picture, Reached, Wanted};
use crate::annotations::OURS;
use crate::name::{Kind, ObjectRef};
use crate::problem::{Effect, Problem};

/// Longest message; more problems than fit are counted.
const LONGEST: usize = 1024;

/// How the two conditions of a kind are called.
struct Names {
    accepted: &'static str,
    in_force: Option<&'static str>,
    /// Written although nothing is wrong.
    always: bool,
}

/// Kube-OVN's own kinds have the condition types that Kube-OVN gives them; Kubernetes' kinds have
/// ours, with our prefix, since others write conditions there too.
fn names(kind: Kind) -> Option<Names> {
    match kind {
        // Others' objects that have no status, or none that is anybody's: Events tell.
        Kind::EndpointSlice | Kind::StatefulSet | Kind::Ip | Kind::NetworkPolicy => None,
        Kind::Node | Kind::Namespace | Kind::Pod => Some(Names {
            accepted: "sluice.io/Accepted",
            in_force: None,
            always: false,
        }),
        Kind::Service
        | Kind::AdminNetworkPolicy
        | Kind::BaselineAdminNetworkPolicy
        | Kind::ClusterNetworkPolicy => Some(Names {
            accepted: "sluice.io/Accepted",
            in_force: Some("sluice.io/InForce"),
            always: true,
        }),
        _ => Some(Names {
            accepted: "Validated",
            in_force: Some("Ready"),
            always: true,
        }),
    }
}

/// True for a condition type that we write, and nobody else, on objects of this kind.
pub fn is_our_condition(kind: Kind, type_: &str) -> bool {
    match kind.api_version() {
        "kubeovn.io/v1" => matches!(type_, "Validated" | "Ready"),
        _ => type_.starts_with(OURS),
    }
}

/// Adds an object's conditions to what shall stand on it.
pub(super) fn add(picture: &Picture<'_>, object: &ObjectRef, wanted: &mut Wanted) {
    let problems = &*picture.problems(object);
    if object.kind == Kind::NetworkPolicy {
        // It has no status any more (since Kubernetes 1.28): annotations say it.
        let reached = picture.reach.of(object);
        let refused = problems.iter().any(|p| p.effect == Effect::Refused);
        let mut set = |name: &str, condition: Option<Condition>| {
            let key = format!("{OURS}{name}");
            match condition {
                Some(condition) => drop(wanted.annotations.insert(key, as_text(&condition))),
                None => drop(wanted.unknown.insert(key)),
            }
        };
        set("accepted", Some(accepted(problems)));
        set("in-force", in_force(&reached, refused));
        return;
    }
    let Some(names) = names(object.kind) else {
        return;
    };
    if problems.is_empty() && !names.always {
        // A switch that has said nothing yet may find what one before us was told.
        if picture.reach.of(object) == Reached::Unknown {
            wanted.unknown.insert(names.accepted.into());
        }
        return;
    }
    let conditions = &mut wanted.conditions;
    conditions.insert(names.accepted.into(), accepted(problems));
    if let Some(name) = names.in_force {
        let refused = problems.iter().any(|p| p.effect == Effect::Refused);
        let in_force = in_force(&picture.reach.of(object), refused);
        if object.kind == Kind::ProviderNetwork {
            // Kube-OVN's has a field that says the same.
            match &in_force {
                Some(now) => drop(wanted.status.insert("ready".into(), now.status.into())),
                None => drop(wanted.unknown.insert("ready".into())),
            }
        }
        match in_force {
            Some(condition) => drop(conditions.insert(name.into(), condition)),
            None => drop(wanted.unknown.insert(name.into())),
        }
    }
}

/// A condition where there is only room for a text.
fn as_text(condition: &Condition) -> String {
    let Condition {
        status,
        reason,
        message,
    } = condition;
    match message.is_empty() {
        true => format!("{status} ({reason})"),
        false => format!("{status} ({reason}): {message}"),
    }
}

fn accepted(problems: &[Problem]) -> Condition {
    let refused = problems.iter().any(|p| p.effect == Effect::Refused);
    let (status, reason) = match (problems.is_empty(), refused) {
        (true, _) => (true, "Accepted"),
        (false, true) => (false, "Refused"),
        (false, false) => (false, "PartlyIgnored"),
    };
    Condition {
        status,
        reason: reason.into(),
        message: message(problems),
    }
}

fn in_force(reached: &Reached<'_>, refused: bool) -> Option<Condition> {
    let (status, reason, message) = match reached {
        // Whether a former version is in force instead, the problem says.
        _ if refused => (false, "Refused", String::new()),
        Reached::Unknown => return None,
        Reached::All => (true, "InForce", "on all nodes".to_string()),
        Reached::NotYet { nodes, example } => (
            false,
            "Pending",
            format!("not yet on {nodes} nodes, {example} for one"),
        ),
    };
    Some(Condition {
        status,
        reason: reason.into(),
        message,
    })
}

/// Every problem, without the object's name, as far as there is room.
fn message(problems: &[Problem]) -> String {
    let mut text = String::new();
    for (index, problem) in problems.iter().enumerate() {
        let one = problem.without_object();
        if !text.is_empty() && text.len() + one.len() > LONGEST {
            text += &format!(" (and {} more)", problems.len() - index);
            break;
        }
        if !text.is_empty() {
            text += " | ";
        }
        text += &one;
    }
    super::notices::shortened(&text, LONGEST + 32)
}
