//! sluice-cni: the CNI plugin (specification 1.0 and 1.1) that attaches pods to a Sluice dataplane.
//!
//! A container runtime calls it with `CNI_*` variables and a network configuration on standard
//! input; it prints a result, or an error object, on standard output.

mod attach;
mod call;
mod controller;
mod detach;
mod failure;
mod inspect;
mod netlink;
mod netns;
mod record;
mod result;

use std::io::{Read, Write};
use std::process::ExitCode;

use call::{Config, Target, VERSIONS};
use failure::{Failure, code};
use serde_json::{Value, json};

/// No configuration comes near this.
const MAX_STDIN: u64 = 4 << 20;

fn main() -> ExitCode {
    let variables = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    if variables("CNI_COMMAND").is_none() {
        return explain();
    }
    let mut stdin = Vec::new();
    let read = std::io::stdin().take(MAX_STDIN).read_to_end(&mut stdin);
    let outcome = read
        .map_err(|e| Failure::new(code::IO, "cannot read standard input").with(e))
        .and_then(|_| run(&variables, &stdin));
    let (document, status) = match outcome {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(document)) => (document, ExitCode::SUCCESS),
        Err(failure) => (error_object(&stdin, &failure), ExitCode::FAILURE),
    };
    // A runtime that does not read is not there to be told.
    drop(writeln!(std::io::stdout(), "{document}"));
    status
}

/// For a person who starts it by hand.
fn explain() -> ExitCode {
    let text = format!(
        "sluice-cni {}: CNI plugin, versions {}; started by a container runtime with CNI_COMMAND \
         set (ADD, DEL, CHECK, STATUS, GC, VERSION)",
        env!("CARGO_PKG_VERSION"),
        VERSIONS.join(" and ")
    );
    drop(writeln!(std::io::stderr(), "{text}"));
    ExitCode::from(2)
}

/// Does what `CNI_COMMAND` says; some commands print nothing when they succeed.
fn run(variables: call::Variables, stdin: &[u8]) -> Result<Option<Value>, Failure> {
    let command = variables("CNI_COMMAND").unwrap_or_default();
    match command.as_str() {
        "VERSION" => Ok(Some(json!({
            "cniVersion": asked_version(stdin).unwrap_or_else(|| latest().into()),
            "supportedVersions": VERSIONS,
        }))),
        "ADD" => {
            let (config, target) = (Config::read(stdin)?, Target::read(variables, true)?);
            let attachment = attach::add(&config, &target)?;
            let encode = |e| Failure::new(code::IO, "result not encodable").with(e);
            serde_json::to_value(attachment).map(Some).map_err(encode)
        }
        "DEL" => {
            detach::del(&Config::read(stdin)?, &Target::read(variables, false)?).map(|()| None)
        }
        "CHECK" => {
            inspect::check(&Config::read(stdin)?, &Target::read(variables, true)?).map(|()| None)
        }
        "STATUS" => inspect::status(&Config::read(stdin)?).map(|()| None),
        "GC" => detach::gc(&Config::read(stdin)?).map(|()| None),
        other => Err(Failure::new(
            code::INVALID_ENVIRONMENT,
            format!("CNI_COMMAND: {other:?} is none of ADD, DEL, CHECK, STATUS, GC, VERSION"),
        )),
    }
}

fn latest() -> &'static str {
    VERSIONS[VERSIONS.len() - 1]
}

fn asked_version(stdin: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(stdin).ok()?;
    Some(document.get("cniVersion")?.as_str()?.to_owned())
}

fn error_object(stdin: &[u8], failure: &Failure) -> Value {
    let version = asked_version(stdin).filter(|v| VERSIONS.contains(&v.as_str()));
    let mut object = json!({
        "cniVersion": version.unwrap_or_else(|| latest().into()),
        "code": failure.code,
        "msg": failure.msg,
    });
    if !failure.details.is_empty() {
        object["details"] = json!(failure.details);
    }
    object
}
