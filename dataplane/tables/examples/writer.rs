//! What a flow-mod costs the writer, from its bytes to a published table: processor time of this
//! thread, which other processes disturb less than the clock's.
//!
//!     cargo run --release -p sluice-tables --example writer -- [FLOWS [FLOW-MODS PER PUBLICATION]]
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs;

use net::{PortNo, TableId};
use openflow::model::FlowMod;
use openflow::wire::{self, FlowModReader};
use openflow::{Action, Field, Instructions, Match, Message, Version};
use tables::{MatchPlan, Tables};

const V: Version = Version::V1_3;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |otherwise: u32| arguments.next().map_or(otherwise, |n| n.parse().unwrap());
    let (flows, part) = (argument(100_000), argument(20_000) as usize);
    let frames = |request: &dyn Fn(u32) -> FlowMod| -> Vec<Vec<u8>> {
        let frame = |n: u32| {
            let mut frame = Vec::new();
            wire::encode(V, n, &Message::FlowMod(request(n)), &mut frame).unwrap();
            frame
        };
        (0..flows).map(frame).collect()
    };
    let adds = frames(&add);
    let modifies = frames(&|n| FlowMod {
        command: openflow::model::FlowCommand::ModifyStrict,
        ..FlowMod::add(TableId(0), 10, matching(n), output(n + 1))
    });
    let deletes = frames(&|n| FlowMod::delete_strict(TableId(0), 10, matching(n)));

    let mut writer = Writer::default();
    let before = resident();
    for round in 0..5 {
        let add = writer.run(&adds, part);
        if round == 0 {
            let bytes = (resident() - before) * 1024 / u64::from(flows);
            println!("{bytes} bytes per flow");
        }
        let again = writer.run(&adds, part);
        let modify = writer.run(&modifies, part);
        let delete = writer.run(&deletes, part);
        println!("add {add} ns, again {again} ns, modify {modify} ns, delete {delete} ns");
    }
}

fn matching(n: u32) -> Match {
    Match::any()
        .with(Field::EthType, 0x0800u16)
        .with(Field::InPort, 1 + n % 4)
        .with(Field::Ipv4Dst, 0x0a00_0000 + n)
}

fn output(n: u32) -> Instructions {
    Instructions::apply(vec![Action::Output {
        port: PortNo(1 + n % 48),
        max_len: 0,
    }])
}

fn add(n: u32) -> FlowMod {
    FlowMod {
        cookie: u64::from(n),
        ..FlowMod::add(TableId(0), 10, matching(n), output(n))
    }
}

#[derive(Default)]
struct Writer {
    tables: Tables,
    reader: FlowModReader<MatchPlan>,
}

impl Writer {
    /// Nanoseconds per flow-mod.
    fn run(&mut self, frames: &[Vec<u8>], part: usize) -> u64 {
        let mut changes = Vec::new();
        let begin = processor_time();
        for part in frames.chunks(part) {
            for frame in part {
                match self.reader.read(V, frame, |_, _| true) {
                    Some(request) => self.tables.flow_mod_read(request, 1, &mut changes).unwrap(),
                    None => {
                        let Ok(Message::FlowMod(request)) = wire::decode(V, frame) else {
                            unreachable!()
                        };
                        changes.extend(self.tables.flow_mod(&request, 1).unwrap());
                        let plan = |m: &_, p: &_| self.tables.plan(m, p);
                        self.reader.learn(V, frame, &request.matching, plan);
                    }
                }
                changes.clear();
            }
            self.tables.publish();
        }
        self.tables.reclaim();
        (processor_time() - begin) / frames.len() as u64
    }
}

/// Nanoseconds.
fn processor_time() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// KiB.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
