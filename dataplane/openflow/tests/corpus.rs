//! Replays the fuzzers' corpora, whose seeds are made here:
//! `SLUICE_WRITE_CORPUS=1 cargo test -p sluice-openflow --test corpus`.

mod arbitrary;
#[path = "../../../fuzz/checks/openflow_decode.rs"]
mod decode;
#[path = "../../../fuzz/checks/flow_text.rs"]
mod flow_text;

use std::fs;
use std::path::PathBuf;

use arbitrary::later::message_in;
use openflow::model::FlowCommand;
use openflow::text::{self, Names};
use openflow::{Message, Version, wire};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus")).join(target)
}

fn flows() -> Vec<&'static str> {
    let lines = include_str!("flows.txt").lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

fn text_seeds() -> Vec<(String, Vec<u8>)> {
    let flows = flows().into_iter().map(|line| (0u8, line));
    let others = [
        (4, "table=3,cookie=5/-1,out_port=2,ip"),
        (5, "table=3,cookie=5/0xff,tcp"),
        (
            6,
            "group_id=2,type=select,bucket=weight:100,actions=output:1,bucket=2",
        ),
        (
            6,
            "group_id=4,type=ff,bucket=watch_port:1,output:1,bucket=watch_group:5,group:5",
        ),
        (
            7,
            "meter=4 pktps burst stats bands=type=dscp_remark rate=5 burst_size=1 prec_level=2",
        ),
    ];
    let all = flows.chain(others).enumerate();
    all.map(|(at, (choice, line))| {
        let mut input = vec![choice];
        input.extend(line.as_bytes());
        (format!("text_{at:03}"), input)
    })
    .collect()
}

fn message_seeds() -> Vec<(String, Vec<u8>)> {
    let encode_in = |at: usize, message: &Message| {
        let mut input = vec![2 * at as u8];
        wire::encode(Version::ALL[at], 7, message, &mut input).unwrap();
        input
    };
    let encode = |message: &Message| encode_in(0, message);
    let mut seeds: Vec<Vec<u8>> = flows()
        .iter()
        .map(|line| text::parse_flow(line, FlowCommand::Add, Names::NONE).unwrap())
        .map(|flow| encode(&Message::FlowMod(flow)))
        .collect();
    let mut runner = TestRunner::deterministic();
    let messages = arbitrary::message();
    for _ in 0..150 {
        let message = messages.new_tree(&mut runner).unwrap().current();
        let seed = encode(&message);
        if seed.len() < 600 {
            seeds.push(seed);
        }
    }
    let mut stream = seeds[0].clone();
    stream[0] = 1;
    stream.extend_from_slice(&seeds[1][1..]);
    stream.extend_from_slice(&seeds[2][1..20]);
    seeds.push(stream);
    for (at, version) in Version::ALL.iter().enumerate() {
        let messages = message_in(*version);
        for _ in 0..150 {
            let message = messages.new_tree(&mut runner).unwrap().current();
            let seed = encode_in(at, &message);
            if seed.len() < 400 {
                seeds.push(seed);
            }
        }
    }
    let named = seeds.into_iter().enumerate();
    named
        .map(|(at, seed)| (format!("message_{at:03}"), seed))
        .collect()
}

fn replay(target: &str, seeds: &[(String, Vec<u8>)], check: fn(&[u8])) {
    let folder = corpus(target);
    if std::env::var_os("SLUICE_WRITE_CORPUS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let mut count = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let held = std::panic::catch_unwind(|| check(&bytes));
        assert!(held.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 100, "only {count} inputs in {}", folder.display());
}

#[test]
fn every_message_in_the_corpus_holds() {
    replay("openflow_decode", &message_seeds(), decode::check);
}

#[test]
fn every_text_in_the_corpus_holds() {
    replay("flow_text", &text_seeds(), flow_text::check);
}
