//! What must hold for any bytes taken as an OpenFlow stream. Shared by the fuzz target and by the
//! test that replays the corpus.
//!
//! An input is a message whose version and length are put right, or, where its first byte is odd,
//! a stream as it is.

use openflow::wire::{self, EncodeError, Framer, Header};
use openflow::{Message, Version};

/// Panics if something that must hold does not.
pub fn check(input: &[u8]) {
    let Some((first, message)) = input.split_first() else {
        return;
    };
    if first & 1 == 1 {
        stream(message);
    } else if message.len() >= wire::HEADER_LEN {
        let length = message.len().min(usize::from(u16::MAX));
        let mut frame = message[..length].to_vec();
        frame[0] = Version::V1_3.to_wire();
        frame[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        one(&frame);
    }
}

/// The messages of a stream do not depend on how it is cut.
fn stream(bytes: &[u8]) {
    let mut seen = Vec::new();
    let whole = frames(&[bytes], &mut |frame| seen.push(frame.to_vec()));
    let halves = bytes.split_at(bytes.len() / 2);
    let mut again = Vec::new();
    let cut = frames(&[halves.0, halves.1], &mut |frame| {
        again.push(frame.to_vec())
    });
    assert_eq!((whole, &seen), (cut, &again));
    for frame in &seen {
        one(frame);
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

/// What decodes is written again, and decodes to the same.
fn one(frame: &[u8]) {
    let Ok(message) = wire::decode(Version::V1_3, frame) else {
        return;
    };
    let xid = Header::read(frame).map_or(0, |header| header.xid);
    let mut bytes = Vec::new();
    match wire::encode(Version::V1_3, xid, &message, &mut bytes) {
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
    assert_eq!(wire::decode(Version::V1_3, &bytes).as_ref(), Ok(&message));
}
