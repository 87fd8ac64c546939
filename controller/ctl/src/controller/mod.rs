//! What is asked of the controller, by its local socket.

mod diff;
mod get;
mod trace;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cluster::query::{Answer, InForce, Question};

use crate::args::{Cli, Form, Get, TraceArgs};
use crate::{Failure, output};

/// Longest answer read, in bytes: all pods of a large cluster.
const LONGEST: u64 = 1 << 30;
/// What switches are read for takes its time, seconds.
const READING: u64 = 120;

/// `sluicectl get`
pub fn get(cli: &Cli, get: &Get) -> Result<String, Failure> {
    let wide = get.output == Some(Form::Wide) || get.name.is_some();
    match ask(cli, &get.question())? {
        Answer::Pods(pods) => shown(cli, get.output, &pods, || get::pods(&pods, wide)),
        Answer::Services(list) => shown(cli, get.output, &list, || get::services(&list, wide)),
        Answer::Policies(list) => shown(cli, get.output, &list, || get::policies(&list, wide)),
        Answer::Subnets(list) => shown(cli, get.output, &list, || get::subnets(&list, wide)),
        Answer::Nodes(nodes) => shown(cli, get.output, &nodes, || get::nodes(&nodes, wide)),
        other => Err(odd(&other)),
    }
}

/// `sluicectl trace`
pub fn trace(cli: &Cli, arguments: &TraceArgs) -> Result<String, Failure> {
    let trace = traced(cli, arguments)?;
    let wide = arguments.output == Some(Form::Wide);
    shown(cli, arguments.output, &trace, || trace::told(&trace, wide))
}

/// `sluicectl explain drop POD DESTINATION`
pub fn explain(cli: &Cli, arguments: &TraceArgs) -> Result<String, Failure> {
    let trace = traced(cli, arguments)?;
    shown(cli, arguments.output, &trace, || trace::explained(&trace))
}

fn traced(cli: &Cli, arguments: &TraceArgs) -> Result<cluster::query::Trace, Failure> {
    let Some(to) = &arguments.to else {
        return Err(Failure::Usage(
            "say who sends and who is meant, as in `sluicectl trace bank/web-1 bank/api:80`; what a \
             dataplane's tables do with a flow comes in a later version"
                .into(),
        ));
    };
    let question = Question::Trace {
        from: arguments.from.clone(),
        to: to.clone(),
        source_port: arguments.source_port,
        family: arguments.family,
    };
    match ask(cli, &question)? {
        Answer::Trace(trace) => Ok(*trace),
        other => Err(odd(&other)),
    }
}

/// `sluicectl diff`; exit status 1 where something is otherwise, or cannot be said.
pub fn diff(cli: &Cli, node: Option<&str>, form: Option<Form>) -> Result<String, Failure> {
    let question = Question::Diff {
        node: node.map(str::to_owned),
    };
    match ask(cli, &question)? {
        Answer::Diff(diffs) => {
            let text = shown(cli, form, &diffs, || diff::told(&diffs))?;
            let same =
                |d: &cluster::query::NodeDiff| d.unknown.is_none() && d.differences.is_empty();
            match diffs.iter().all(same) {
                true => Ok(text),
                false => Err(Failure::Different(text)),
            }
        }
        other => Err(odd(&other)),
    }
}

/// As text, or as JSON where that is asked for either way.
fn shown<T: serde::Serialize>(
    cli: &Cli,
    form: Option<Form>,
    document: &T,
    text: impl FnOnce() -> String,
) -> Result<String, Failure> {
    output(cli.json || form == Some(Form::Json), document, text)
}

fn odd(answer: &Answer) -> Failure {
    Failure::Failed(format!(
        "the controller answered another question: {answer:?}"
    ))
}

/// Asks, and waits for the answer.
fn ask(cli: &Cli, question: &Question) -> Result<Answer, Failure> {
    let path = cli.controller.display();
    let stream = UnixStream::connect(&cli.controller).map_err(|error| {
        Failure::Failed(format!(
            "cannot reach the controller at {path}: {error}; does sluice-controller run here, and may \
             you open its socket? --controller names another"
        ))
    })?;
    let reads = match question {
        Question::Diff { .. } | Question::Policies { hits: true, .. } => READING,
        _ => 0,
    };
    let wait = Duration::from_secs(cli.timeout.max(reads).max(1));
    let silent = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                format!(
                    "nothing within {} s; --timeout gives it more",
                    wait.as_secs()
                )
            }
            _ => error.to_string(),
        };
        Failure::Failed(format!("the controller at {path} did not answer: {why}"))
    };
    let answer = exchange(stream, question, wait).map_err(silent)?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Error(text)) => Err(Failure::Failed(text)),
        Ok(answer) => Ok(answer),
        Err(error) => Err(Failure::Failed(format!(
            "the controller at {path} answered what this version does not understand: {error}"
        ))),
    }
}

fn exchange(stream: UnixStream, question: &Question, wait: Duration) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut answer = Vec::new();
    let mut lines = BufReader::new(stream.take(LONGEST));
    lines.read_until(b'\n', &mut answer)?;
    match answer.last() {
        Some(b'\n') => Ok(answer),
        _ => Err(std::io::Error::other("it closed the connection")),
    }
}

/// How far an object has come, in a few words.
fn in_force(state: &InForce) -> String {
    match state {
        InForce::InForce => "in force".into(),
        InForce::Pending { nodes: 1, example } => format!("pending on {example}"),
        InForce::Pending { nodes, example } => format!("pending on {nodes} nodes, as {example}"),
        InForce::Waiting { why } => format!("waiting for {why}"),
        InForce::Refused { why } => format!("refused: {why}"),
    }
}
