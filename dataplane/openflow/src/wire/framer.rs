//! From a stream of bytes to messages.

use super::{HEADER_LEN, Header};

/// Cuts a byte stream into messages. Holds at most one incomplete message (64 kB) beyond what was
/// pushed since messages were last taken.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    start: usize,
}

/// The stream cannot be followed any further: a header gives a length below that of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an OpenFlow header gives a length of {length} bytes, below the header's own 8")]
pub struct FrameError {
    /// The header, of which version and xid may be of use in an error.
    pub header: Header,
    /// The length it gave.
    pub length: u16,
}

impl Framer {
    /// An empty one.
    pub const fn new() -> Self {
        Framer {
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Adds bytes from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.compact();
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, header included; none: more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let pending = self.buffer.get(self.start..).unwrap_or_default();
        let Some(header) = Header::read(pending) else {
            return Ok(None);
        };
        let length = usize::from(header.length);
        if length < HEADER_LEN {
            return Err(FrameError {
                header,
                length: header.length,
            });
        }
        if pending.len() < length {
            return Ok(None);
        }
        let from = self.start;
        self.start += length;
        Ok(self.buffer.get(from..self.start))
    }

    /// Bytes that wait for the rest of their message.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        // One long burst of messages shall not pin its memory for ever.
        if self.buffer.capacity() > 1 << 20 && self.buffer.len() < 1 << 16 {
            self.buffer.shrink_to(1 << 16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_the_bytes_arrive() {
        let stream = [
            4, 0, 0, 8, 0, 0, 0, 1, 4, 2, 0, 10, 0, 0, 0, 2, 7, 7, 4, 3, 0, 8,
        ];
        for step in 1..=stream.len() {
            let (mut framer, mut seen) = (Framer::new(), Vec::new());
            for chunk in stream.chunks(step) {
                framer.push(chunk);
                while let Some(frame) = framer.next_frame().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            assert_eq!(seen, [&stream[..8], &stream[8..18]]);
            assert_eq!(framer.pending(), 4);
        }
    }

    #[test]
    fn a_length_below_the_header_ends_the_stream() {
        let mut framer = Framer::new();
        framer.push(&[4, 0, 0, 7, 0, 0, 0, 9, 0]);
        let error = framer.next_frame().unwrap_err();
        assert_eq!((error.length, error.header.xid), (7, 9));
    }
}
