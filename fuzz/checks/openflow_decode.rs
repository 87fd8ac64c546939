//! What must hold for any bytes taken as an OpenFlow stream. Shared by the fuzz target and by the
//! test that replays the corpus.
//!
//! An input is a message whose version and length are put right, or, where its first byte is odd,
//! a stream as it is. The first byte without its lowest bit says which version.

use openflow::wire::{self, EncodeError, Framer, Header};
use openflow::{Message, Version};

/// Panics if something that must hold does not.
pub fn check(input: &[u8]) {
    let Some((first, message)) = input.split_first() else {
        return;
    };
    let version = Version::ALL[usize::from(first >> 1) % Version::ALL.len()];
    if first & 1 == 1 {
        stream(version, message);
    } else if message.len() >= wire::HEADER_LEN {
        let length = message.len().min(usize::from(u16::MAX));
        let mut frame = message[..length].to_vec();
        frame[0] = version.to_wire();
        frame[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        one(version, &frame);
    }
}

/// The messages of a stream do not depend on how it is cut.
fn stream(version: Version, bytes: &[u8]) {
    let mut seen = Vec::new();
    let whole = frames(&[bytes], &mut |frame| seen.push(frame.to_vec()));
    let halves = bytes.split_at(bytes.len() / 2);
    let mut again = Vec::new();
    let cut = frames(&[halves.0, halves.1], &mut |frame| {
        again.push(frame.to_vec())
    });
    assert_eq!((whole, &seen), (cut, &again));
    for frame in &seen {
        one(version, frame);
    }
}

fn frames(parts: &[&[u8]], see: &mut dyn FnMut(&[u8])) -> Result<usize, u16> {
    let mut framer = Framer::new();
    for part in parts {
        framer.push(part);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => see(frame),
                Ok(None) => break,
                Err(error) => return Err(error.length),
            }
        }
    }
    Ok(framer.pending())
}

/// What decodes is written again, and decodes to the same. In 1.5 it may be said in the standard's
/// words then; from there on it stays.
fn one(version: Version, frame: &[u8]) {
    let Ok(message) = wire::decode(version, frame) else {
        return;
    };
    let xid = Header::read(frame).map_or(0, |header| header.xid);
    let mut bytes = Vec::new();
    match wire::encode(version, xid, &message, &mut bytes) {
        Ok(()) => {}
        // Said at greater length it may not fit any more.
        Err(EncodeError::TooLong { .. }) if frame.len() > 10_000 => return,
        Err(error) => panic!("{error}: {message:?}"),
    }
    let header = Header::read(&bytes).expect("a header was written");
    if usize::from(header.length) < bytes.len() {
        // Likewise a reply, which is split.
        assert!(frame.len() > 10_000 && matches!(message, Message::MultipartReply(_)));
        return;
    }
    let again = wire::decode(version, &bytes);
    if version < Version::V1_5 {
        assert_eq!(again.as_ref(), Ok(&message));
        return;
    }
    let again = again.unwrap_or_else(|error| panic!("{error}: {message:?}"));
    let mut rewritten = Vec::new();
    let written = wire::encode(version, xid, &again, &mut rewritten);
    assert_eq!((written, &rewritten), (Ok(()), &bytes), "{message:?}");
}
