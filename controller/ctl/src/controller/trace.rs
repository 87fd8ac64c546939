//! The way of a packet, as text.

use std::fmt::Write;

use cluster::query::{End, Path, Step, Trace};

use super::get::backends;
use crate::columns::Columns;

/// The whole way.
pub fn told(trace: &Trace, wide: bool) -> String {
    let mut text = head(trace);
    if !trace.backends.is_empty() {
        let _ = writeln!(text, "\nendpoints");
        text += &backends(&trace.backends);
    }
    let common = common(&trace.paths);
    let several = trace.paths.len() > 1;
    if let Some(path) = trace.paths.first().filter(|_| several) {
        let _ = writeln!(text, "\nwhatever is chosen");
        text += &steps(path.steps.iter().take(common), wide);
    }
    for path in &trace.paths {
        match chosen(path) {
            Some(chosen) => drop(writeln!(text, "\n{chosen}")),
            None => text.push('\n'),
        }
        let skip = if several { common } else { 0 };
        text += &steps(path.steps.iter().skip(skip), wide);
        let rules = [
            ("egress", &path.egress_rule),
            ("ingress", &path.ingress_rule),
        ];
        for (direction, rule) in rules {
            if let Some(rule) = rule {
                let _ = writeln!(text, "  {direction} decided by {rule}");
            }
        }
        for end in &path.ends {
            let _ = writeln!(text, "  {}", in_words(end));
        }
    }
    if trace.more_paths > 0 {
        let _ = writeln!(text, "\nand {} more ways, not shown", trace.more_paths);
    }
    text
}

/// Why it is dropped, and what to do; or that it is not, and what may drop it all the same.
pub fn explained(trace: &Trace) -> String {
    let mut text = head(trace);
    let mut told: Vec<&End> = Vec::new();
    for path in &trace.paths {
        let lost = path.ends.iter().filter(|end| !end.is_delivery());
        for end in lost {
            if told.contains(&end) {
                continue;
            }
            told.push(end);
            let _ = writeln!(text, "\n{}", in_words(end));
            if let Some(chosen) = chosen(path) {
                let _ = writeln!(text, "  when it goes {chosen}");
            }
            if let End::Dropped {
                node,
                table,
                object,
                ..
            } = end
            {
                let _ = writeln!(text, "  what to do: {}", remedy(table, object));
                let _ = writeln!(
                    text,
                    "  counted on {node} under the drop reason `rule`, by the flow of {object}"
                );
            }
        }
    }
    if trace
        .paths
        .iter()
        .all(|path| path.ends.iter().any(End::is_delivery))
    {
        text += "\nNo flow drops it. What may, whatever flows say: the pod's rate limits (`meter`), a full \
                 queue or port (`queue_full`, `port_full`), a port that is not open yet (`port_no_recv`, \
                 `port_no_fwd`), a connection that is known as something else. `sluicectl drops` on the \
                 nodes named above counts each, `sluicectl explain drop REASON` says what it means.\n";
    }
    text
}

fn head(trace: &Trace) -> String {
    let mut text = format!(
        "{} to {}\n{}\n{}\n",
        trace.from, trace.to, trace.packet, trace.verdict
    );
    for note in &trace.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// How many steps all ways have in common.
fn common(paths: &[Path]) -> usize {
    let Some((first, others)) = paths.split_first() else {
        return 0;
    };
    let alike = |at: usize| {
        others
            .iter()
            .all(|path| path.steps.get(at) == first.steps.get(at))
    };
    (0..first.steps.len()).take_while(|at| alike(*at)).count()
}

fn chosen(path: &Path) -> Option<String> {
    let parts: Vec<String> = path
        .chosen
        .iter()
        .map(|choice| {
            format!(
                "{} of {} by {}: {}",
                choice.weight, choice.of, choice.group, choice.does
            )
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join(", then "))
}

/// Steps that decide something; `wide`: all, with what each matches and does.
fn steps<'a>(steps: impl Iterator<Item = &'a Step>, wide: bool) -> String {
    let mut table = match wide {
        true => Columns::new(&[
            "NODE",
            "TABLE",
            ">PRIORITY",
            "FROM",
            "WHAT FOR",
            "MATCHES",
            "DOES",
        ]),
        false => Columns::new(&["NODE", "TABLE", "FROM", "WHAT FOR"]),
    };
    let steps: Vec<&Step> = steps.collect();
    let last = steps.len().saturating_sub(1);
    for (at, step) in steps.into_iter().enumerate() {
        let names = [step.node.clone(), step.table.clone()];
        let mut cells = names.to_vec();
        if wide {
            cells.push(step.priority.to_string());
            cells.extend([step.object.clone(), step.intent.clone()]);
            cells.extend([step.matching.clone(), step.does.clone()]);
        } else if step.priority > 0 || at == last {
            cells.extend([step.object.clone(), step.intent.clone()]);
        } else {
            continue; // what a table has no say in goes on
        }
        table.cells(cells);
    }
    table.render("  ")
}

fn in_words(end: &End) -> String {
    match end {
        End::Pod { pod, node, packet } => format!("Pod {pod} on {node} gets {packet}"),
        End::Node { node, packet } => format!("the kernel of {node} gets {packet}"),
        End::Outside {
            node,
            port,
            vlan,
            packet,
        } => {
            let tag = vlan.map_or("untagged".into(), |tag| format!("VLAN {tag}"));
            format!("{packet} leaves {node} by {port}, {tag}")
        }
        End::Answered { node, packet } => format!("{node} answers with {packet}"),
        End::Dropped {
            node,
            table,
            object,
            why,
        } => format!("dropped on {node}, in {table}, by {object}: {why}"),
        End::Unclear { node, why } => format!("not known on {node}: {why}"),
    }
}

/// What to do about a drop, by whose flow it is.
fn remedy(table: &str, object: &str) -> String {
    let (object, part) = match object.split_once(" isolation") {
        Some((object, _)) => (object, true),
        None => (object, false),
    };
    if object.contains("Policy ") {
        let name = object.split_whitespace().nth(1).unwrap_or(object);
        return match part {
            true => format!(
                "let a rule of {object}, or of another policy of the pod, allow it; `sluicectl get \
                 policies {name}` shows its rules"
            ),
            false => format!("that rule denies it: `sluicectl get policies {name}` shows it"),
        };
    }
    match table {
        "SpoofGuard" => {
            "a pod sends from its own MAC and IP addresses only; allow others with the \
                         annotations that docs/kubernetes.md names"
                .into()
        }
        "Service" | "Affinity" | "Backend" => {
            "give the Service an endpoint that this client may use: `sluicectl get services NAME \
             --node NODE` says of each why not"
                .into()
        }
        "SubnetSends" | "SubnetEgress" | "SubnetIngress" => {
            format!("look at acls, private and allowSubnets in the spec of {object}")
        }
        "Sources" => format!("loadBalancerSourceRanges of {object} leaves the client out"),
        "Routing" | "L2Forward" => {
            "see that the address is a pod's that runs (`sluicectl get pods`), or \
                                    that its subnet is connected with the sender's"
                .into()
        }
        "TunnelOut" | "Output" => {
            "see that the pod's port and its node are there: `sluicectl get pods`, \
                                   `sluicectl get nodes`"
                .into()
        }
        _ => "`sluicectl trace` with the same arguments shows what led there".into(),
    }
}
