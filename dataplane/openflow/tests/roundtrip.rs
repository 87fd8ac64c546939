//! Properties: what is encoded decodes to the same, what is printed parses to the same, and no
//! bytes make the decoder do anything but answer.

mod arbitrary;

use arbitrary::later::{message_in, said_in};
use openflow::model::{FlowCommand, FlowMod};
use openflow::msg::HttpAnswers;
use openflow::text::{self, Names};
use openflow::wire::{self, Header};
use openflow::{Instructions, Message, Version};
use proptest::prelude::*;

/// Decodes every message of a stream; multipart replies may be several.
fn decode_all(version: Version, mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(header) = Header::read(bytes) {
        let (frame, rest) = bytes.split_at(usize::from(header.length));
        let message = wire::decode(version, frame);
        messages.push(message.unwrap_or_else(|error| panic!("{error}: {frame:02x?}")));
        bytes = rest;
    }
    messages
}

fn encode(version: Version, message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoded = wire::encode(version, 7, message, &mut bytes);
    encoded.unwrap_or_else(|error| panic!("{error}: {message:?}"));
    bytes
}

/// Any message of any version.
fn message() -> impl Strategy<Value = (Version, Message)> {
    let version = prop::sample::select(Version::ALL.to_vec());
    version.prop_flat_map(|version| (Just(version), message_in(version)))
}

/// 1,000 cases of each, or PROPTEST_CASES.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").is_ok();
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: if asked { config.cases } else { 1000 },
        failure_persistence: None,
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_message_decodes_to_what_was_encoded((version, message) in message()) {
        let bytes = encode(version, &message);
        prop_assert_eq!(decode_all(version, &bytes), [said_in(version, message)]);
    }

    #[test]
    fn answers_to_health_checks_survive_the_wire(
        first: bool,
        entries in prop::collection::vec((any::<u16>(), any::<u16>(), ".{0,40}"), 0..4),
    ) {
        let message = Message::HttpAnswers(HttpAnswers { first, entries });
        for version in Version::ALL {
            let bytes = encode(*version, &message);
            prop_assert_eq!(&decode_all(*version, &bytes)[..], std::slice::from_ref(&message));
        }
    }

    #[test]
    fn every_match_and_field_survives_the_wire(matching in arbitrary::matching()) {
        let flow = FlowMod::add(net::TableId(0), 1, matching, Instructions::drop());
        let message = Message::FlowMod(flow);
        for version in Version::ALL {
            let bytes = encode(*version, &message);
            prop_assert_eq!(&decode_all(*version, &bytes)[..], std::slice::from_ref(&message));
        }
    }

    #[test]
    fn every_match_survives_its_text(matching in arbitrary::matching()) {
        let text = matching.to_string();
        let again = text::parse_match(&text, Names::NONE);
        prop_assert_eq!(again, Ok(matching), "{}", text);
    }

    #[test]
    fn every_action_survives_its_text(actions in prop::collection::vec(arbitrary::action(), 1..4)) {
        let instructions = Instructions::apply(actions.clone());
        let text = instructions.to_string();
        let again = text::parse_instructions(&text, &openflow::Match::any(), Names::NONE);
        let expected = Instructions::apply(arbitrary::as_text_says_it(&actions));
        prop_assert_eq!(again, Ok(expected), "{}", text);
    }

    #[test]
    fn random_bytes_are_refused_or_understood(
        version in 4u8..7,
        kind in 0u8..37,
        mut body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut frame = vec![version, kind, 0, 0, 0, 0, 0, 7];
        frame.append(&mut body);
        let length = u16::try_from(frame.len()).unwrap();
        frame[2..4].copy_from_slice(&length.to_be_bytes());
        let _ = wire::decode(Version::from_wire(version).unwrap(), &frame);
    }

    /// Valid messages with a byte changed reach deeper than random bytes do.
    #[test]
    fn damaged_messages_are_refused_or_understood(
        (version, message) in message(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = encode(version, &message);
        let at = at.index(frame.len());
        frame[at] = byte;
        if let Ok(message) = wire::decode(version, &frame) {
            let bytes = encode(version, &message);
            prop_assert_eq!(decode_all(version, &bytes), [said_in(version, message)]);
        }
        frame.truncate(cut.index(frame.len()) + 1);
        if frame.len() >= 4 {
            let length = u16::try_from(frame.len()).unwrap();
            frame[2..4].copy_from_slice(&length.to_be_bytes());
        }
        let _ = wire::decode(version, &frame);
    }

    #[test]
    fn any_text_is_refused_or_understood(text in "[a-z0-9_=,:/()\\[\\]\\.>+\\- ]{0,80}") {
        for command in [FlowCommand::Add, FlowCommand::Delete] {
            let _ = text::parse_flow(&text, command, Names::NONE);
        }
    }
}

#[test]
fn a_long_reply_is_split_and_says_so() {
    use openflow::msg::{MultipartReply, ReplyBody, TableStats};
    let tables: Vec<TableStats> = (0..5000)
        .map(|n| TableStats {
            table: net::TableId(n as u8),
            active_count: n,
            ..TableStats::default()
        })
        .collect();
    let body = ReplyBody::Table(tables.clone());
    let reply = Message::MultipartReply(MultipartReply { more: false, body });
    let messages = decode_all(Version::V1_3, &encode(Version::V1_3, &reply));
    assert_eq!(messages.len(), 2);
    let mut seen = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let Message::MultipartReply(MultipartReply {
            more,
            body: ReplyBody::Table(part),
        }) = message
        else {
            panic!("{message:?}");
        };
        assert_eq!(*more, at == 0);
        seen.extend_from_slice(part);
    }
    assert_eq!(seen, tables);
}
