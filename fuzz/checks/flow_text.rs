//! What must hold for any text taken as a flow, a group or a meter. Shared by the fuzz target and by
//! the test that replays the corpus.
//!
//! An input is one byte that chooses the parser, then the text.

use openflow::model::{FlowCommand, GroupCommand, MeterCommand};
use openflow::text::{self, Names};
use openflow::wire::{self, EncodeError};
use openflow::{Message, Version};

/// Panics if something that must hold does not.
pub fn check(input: &[u8]) {
    let Some((&choice, text)) = input.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match choice % 8 {
        0..=3 => flow(text),
        4 => drop(text::parse_flow(
            text,
            FlowCommand::DeleteStrict,
            Names::NONE,
        )),
        5 => drop(text::parse_flow_filter(text, Names::NONE)),
        6 => group(text),
        _ => meter(text),
    }
}

/// A flow prints to what parses to the same, and goes over the wire.
fn flow(text: &str) {
    let Ok(flow) = text::parse_flow(text, FlowCommand::Add, Names::NONE) else {
        return;
    };
    let printed = text::print_flow_mod(&flow, Names::NONE);
    let again = text::parse_flow(&printed, FlowCommand::Add, Names::NONE);
    assert_eq!(again.as_ref(), Ok(&flow), "{text} -> {printed}");
    let mut sent = flow;
    // 1.3 has no word for it.
    sent.importance = 0;
    travels(&Message::FlowMod(sent));
}

fn group(text: &str) {
    if let Ok(group) = text::parse_group(text, GroupCommand::Add, Names::NONE) {
        let mut bytes = Vec::new();
        // What the switch would refuse (a fast-failover bucket that watches nothing) may be said.
        let _ = wire::encode(Version::V1_3, 1, &Message::GroupMod(group), &mut bytes);
        let _ = wire::decode(Version::V1_3, &bytes);
    }
}

fn meter(text: &str) {
    if let Ok(meter) = text::parse_meter(text, MeterCommand::Add) {
        let mut bytes = Vec::new();
        let _ = wire::encode(Version::V1_3, 1, &Message::MeterMod(meter), &mut bytes);
        let _ = wire::decode(Version::V1_3, &bytes);
    }
}

fn travels(message: &Message) {
    let mut bytes = Vec::new();
    match wire::encode(Version::V1_3, 1, message, &mut bytes) {
        Ok(()) => {}
        Err(EncodeError::TooLong { .. } | EncodeError::OutOfRange { .. }) => return,
        Err(error) => panic!("{error}: {message:?}"),
    }
    assert_eq!(wire::decode(Version::V1_3, &bytes).as_ref(), Ok(message));
}
