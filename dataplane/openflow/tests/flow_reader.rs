//! The reader of flow-mods answers as the decoder does, or not at all.

mod arbitrary;

use net::{FlowKey, PortNo, TableId};
use openflow::model::{FlowHead, FlowMod};
use openflow::wire::{self, FlowModReader, Piece};
use openflow::{Action, Field, Instructions, Match, Message, Version};
use proptest::prelude::*;

const V: Version = Version::V1_3;

/// What a user of the reader makes of a shape.
struct Plan {
    value: FlowKey,
    mask: FlowKey,
    pieces: Vec<Piece>,
}

impl Plan {
    fn new(example: &Match, pieces: &[Piece]) -> Self {
        let (value, mask) = example.to_keys();
        Plan {
            value,
            mask,
            pieces: pieces.to_vec(),
        }
    }

    fn keys(&self, matching: &[u8]) -> (FlowKey, FlowKey) {
        let mut value = self.value;
        for piece in &self.pieces {
            let word = &mut value.words_mut()[usize::from(piece.word)];
            *word = *word & !piece.bits | piece.read(matching);
        }
        (value, self.mask)
    }
}

type Answer = (FlowHead, (FlowKey, FlowKey), Instructions);

fn decoded(frame: &[u8]) -> Option<(Answer, Match)> {
    match wire::decode(V, frame) {
        Ok(Message::FlowMod(m)) => {
            let answer = (m.head(), m.matching.to_keys(), m.instructions.clone());
            Some((answer, m.matching))
        }
        _ => None,
    }
}

fn read(reader: &mut FlowModReader<Plan>, frame: &[u8]) -> Option<Answer> {
    let read = reader.read(V, frame, |_, _| true)?;
    let keys = read.plan.keys(read.matching);
    Some((read.head, keys, (*read.instructions).clone()))
}

fn frame(request: FlowMod) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::encode(V, 7, &Message::FlowMod(request), &mut frame).unwrap();
    frame
}

/// Compares, and learns what decodes. True if the reader knew the shape.
fn agree(reader: &mut FlowModReader<Plan>, frame: &[u8]) -> bool {
    let right = decoded(frame);
    let answer = read(reader, frame);
    if let Some((right, matching)) = &right {
        reader.learn(V, frame, matching, Plan::new);
        if let Some(answer) = &answer {
            assert_eq!(answer, right);
        }
    }
    assert!(
        answer.is_none() || right.is_some(),
        "read what is wrong: {frame:02x?}"
    );
    answer.is_some()
}

proptest! {
    #[test]
    fn the_reader_never_differs_from_the_decoder(
        requests in prop::collection::vec(arbitrary::flow_mod(), 1..8),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..60),
    ) {
        let mut reader = FlowModReader::default();
        let frames: Vec<Vec<u8>> = requests.into_iter().map(frame).collect();
        for frame in &frames {
            agree(&mut reader, frame);
        }
        for (which, flip, length) in changes {
            // Mostly the match's values, which is what the reader looks at closely.
            let mut frame = which.get(&frames).clone();
            let at = which.index(frame.len() - 8) + 8;
            frame[at] ^= flip;
            if length == 0 {
                let at = 8 + which.index(at);
                frame.truncate(at.max(8));
                let length = (frame.len() as u16).to_be_bytes();
                frame[2..4].copy_from_slice(&length);
            }
            agree(&mut reader, &frame);
        }
    }
}

#[test]
fn flows_that_differ_in_values_only_are_read_from_the_second_on() {
    let mut reader = FlowModReader::default();
    let matching = |n: u32| {
        Match::any()
            .with(Field::InPort, n)
            .with(Field::VlanVid, 0x1000 | n)
            .with(Field::EthType, 0x86ddu16)
            .with(Field::EthSrc, 0x0200_0000_0000 | u64::from(n))
            .with_masked(Field::Ipv6Dst, u128::from(n) << 64, u128::MAX << 64)
            .with_masked(Field::Xreg2, u64::from(n) << 8, 0xffff_ff00u64)
    };
    let output = Action::Output {
        port: PortNo(2),
        max_len: 0,
    };
    for n in 1..1000 {
        let actions = Instructions::apply(vec![output.clone()]);
        let frame = frame(FlowMod::add(TableId(3), 5, matching(n), actions));
        assert_eq!(agree(&mut reader, &frame), n > 1, "flow {n}");
    }
    // Another prerequisite is another shape, and here an error.
    let mut wrong = frame(FlowMod::add(
        TableId(3),
        5,
        matching(1),
        Instructions::drop(),
    ));
    let at = wrong.windows(2).position(|w| w == [0x86, 0xdd]).unwrap();
    wrong[at] = 0x08;
    assert!(decoded(&wrong).is_none() && read(&mut reader, &wrong).is_none());
    // So are bits outside a mask.
    let mut wrong = frame(FlowMod::add(
        TableId(3),
        5,
        matching(1),
        Instructions::drop(),
    ));
    let mask = wrong[48..].windows(8).position(|w| w == [0xff; 8]);
    wrong[48 + mask.unwrap() - 1] = 1;
    assert!(decoded(&wrong).is_none() && read(&mut reader, &wrong).is_none());
}

#[test]
fn equal_instructions_are_shared() {
    let mut reader = FlowModReader::default();
    let request = |n: u32, port: u32| {
        let output = Action::Output {
            port: PortNo(port),
            max_len: 0,
        };
        let matching = Match::any().with(Field::InPort, n);
        frame(FlowMod::add(
            TableId(3),
            5,
            matching,
            Instructions::apply(vec![output]),
        ))
    };
    agree(&mut reader, &request(1, 1));
    let mut instructions = |n, port| {
        let frame = request(n, port);
        reader.read(V, &frame, |_, _| true).unwrap().instructions
    };
    let (a, b, c) = (instructions(1, 1), instructions(2, 1), instructions(3, 2));
    assert!(std::sync::Arc::ptr_eq(&a, &b) && a != c);
}
