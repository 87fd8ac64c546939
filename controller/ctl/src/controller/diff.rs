//! What is otherwise on switches, as text.

use std::fmt::Write;

use cluster::query::{How, NodeDiff};

/// A line for each node, and below it what is otherwise there: `+` is to come, `-` is to go.
pub fn told(diffs: &[NodeDiff]) -> String {
    let mut text = String::new();
    for diff in diffs {
        let count = |how| diff.differences.iter().filter(|d| d.how == how).count();
        let line = match &diff.unknown {
            Some(why) => format!("{}: not known: {why}", diff.node),
            None if diff.differences.is_empty() => {
                format!(
                    "{}: as it shall be ({} flows, groups and meters)",
                    diff.node, diff.same
                )
            }
            None => format!(
                "{}: {} as they shall be, {} missing, {} different, {} extra",
                diff.node,
                diff.same,
                count(How::Missing),
                count(How::Different),
                count(How::Extra)
            ),
        };
        let _ = writeln!(text, "{line}");
        for difference in &diff.differences {
            let how = match difference.how {
                How::Missing => "missing",
                How::Different => "different",
                How::Extra => "extra",
            };
            let object = match difference.object.as_str() {
                "" => "of nobody that is known",
                object => object,
            };
            let colon = if difference.intent.is_empty() {
                ""
            } else {
                ": "
            };
            let what = &difference.what;
            let _ = writeln!(
                text,
                "\n  {how} {what}, {object}{colon}{}",
                difference.intent
            );
            for (sign, side) in [('-', &difference.held), ('+', &difference.desired)] {
                for line in side.lines() {
                    let _ = writeln!(text, "    {sign} {line}");
                }
            }
        }
    }
    text
}
