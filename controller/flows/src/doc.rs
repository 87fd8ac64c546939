//! `docs/pipeline.md`, from the declarations and from what an example cluster compiles to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::fields::{NAMED, ZONES};
use crate::flow::FlowSet;
use crate::tables::{Miss, TABLES, Table};

/// The document; the sentences under each table are the intents of the flows in the examples.
pub fn pipeline<'a>(examples: impl IntoIterator<Item = &'a FlowSet>) -> String {
    let mut intents: BTreeMap<Table, BTreeSet<(std::cmp::Reverse<u16>, &str)>> = BTreeMap::new();
    for set in examples {
        for (id, flow) in set.flows.iter().filter(|(id, _)| id.priority > 0) {
            if let Some(table) = Table::from_id(id.table) {
                let entry = (std::cmp::Reverse(id.priority), flow.intent);
                intents.entry(table).or_default().insert(entry);
            }
        }
    }
    let mut out = String::from(HEAD);
    out.push_str("\n| number | table | decides | what it has no flow for |\n|---|---|---|---|\n");
    for info in TABLES {
        let miss = match info.miss {
            Miss::Goto(next) => format!("goes on to {}", next.name()),
            Miss::Drop(why) => format!("dropped: {why}"),
            Miss::Return(why) => format!("the asking flow goes on: {why}"),
        };
        let (number, name, purpose) = (info.table as u8, info.name, info.purpose);
        let _ = writeln!(out, "| {number} | {name} | {purpose} | {miss} |");
    }
    out.push_str("\n## Registers and connection marks\n\n| name | bits | says | values |\n");
    out.push_str("|---|---|---|---|\n");
    for named in NAMED {
        let (low, high) = (named.low, named.low + named.bits - 1);
        let values = named.values.iter().map(|(v, name)| format!("{v} {name}"));
        let values = values.collect::<Vec<_>>().join(", ");
        let field = named.field.info().name;
        let _ = writeln!(
            out,
            "| {} | {field}[{low}..{high}] | {} | {values} |",
            named.name,
            named.what.trim()
        );
    }
    out.push_str(
        "\n## Zones of the connection tracker\n\n| name | number | holds |\n|---|---|---|\n",
    );
    for zone in ZONES {
        let _ = writeln!(out, "| {} | {} | {} |", zone.name, zone.number, zone.what);
    }
    let first = crate::fields::FIRST_LIMIT_ZONE;
    let what = "Two for each port of a pod with a limit of connections: those that others have with \
                it, and those that it has begun.";
    let _ = writeln!(out, "| | {first} and up | {what} |");
    out.push_str("\n## What the flows are for\n\nBy table, highest priority first.\n");
    for (table, lines) in intents {
        let _ = writeln!(out, "\n### {} {}\n", table as u8, table.name());
        for (priority, intent) in lines {
            let _ = writeln!(out, "- {}: {intent}", priority.0);
        }
    }
    out
}

const HEAD: &str = "\
# The pipeline

Generated from `controller/flows` by `SLUICE_BLESS=1 cargo test -p sluice-flows`; a test fails when it is not current.

Table numbers are fixed for ever.
Every flow carries a cookie: `0x5c`, then a byte for the feature, then 48 bits of a hash of the object it comes from.
`sluicectl dump-flows` shows the object beside the flow.
Every table has a flow of priority 0 for what nothing else matches, so every drop has a counter.

## Tables
";
