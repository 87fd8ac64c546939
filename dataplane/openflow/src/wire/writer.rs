//! Writing: bytes appended to a buffer, with lengths filled in afterwards.

use net::MacAddr;

use crate::Version;

/// Why a message cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The version has no words for it.
    #[error("OpenFlow {version} cannot express {what}")]
    Unsupported {
        /// What it was.
        what: &'static str,
        /// The version.
        version: Version,
    },
    /// It is longer than its 16-bit length field can say.
    #[error("{what} is too long for one OpenFlow message; split it")]
    TooLong {
        /// What it was.
        what: &'static str,
    },
    /// A value does not fit its place.
    #[error("{what} is out of range")]
    OutOfRange {
        /// What it was.
        what: &'static str,
    },
}

/// Appends to a buffer.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) version: Version,
    /// What is written describes what the switch holds: what the version has no words for is left
    /// out rather than that the whole is not said.
    pub(crate) describes: bool,
}

impl Writer<'_> {
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// Writes a description; see the field.
    pub(crate) fn describing<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.describes, true);
        let written = write(self);
        self.describes = before;
        written
    }

    pub(crate) fn unsupported<T>(&self, what: &'static str) -> Result<T, EncodeError> {
        let version = self.version;
        Err(EncodeError::Unsupported { what, version })
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn mac(&mut self, mac: MacAddr) {
        self.bytes(&mac.0);
    }

    pub(crate) fn zeros(&mut self, n: usize) {
        self.out.resize(self.out.len() + n, 0);
    }

    /// The low `n` bytes of an integer, at most 16.
    pub(crate) fn integer(&mut self, value: u128, n: usize) {
        let raw = value.to_be_bytes();
        let from = raw.len().saturating_sub(n);
        self.bytes(raw.get(from..).unwrap_or_default());
    }

    /// A text in a field of `n` bytes, cut to leave at least one zero, never inside a character.
    pub(crate) fn text(&mut self, text: &str, n: usize) {
        let end = text.floor_char_boundary(n.saturating_sub(1));
        self.bytes(text.as_bytes().get(..end).unwrap_or_default());
        self.zeros(n - end);
    }

    /// Zeros up to a multiple of eight bytes, counted from `start`.
    pub(crate) fn pad8(&mut self, start: usize) {
        let written = self.len().saturating_sub(start);
        self.zeros(written.next_multiple_of(8) - written);
    }

    /// The 16-bit integer that was written at `at`.
    pub(crate) fn get_u16(&self, at: usize) -> u16 {
        let bytes = self.out.get(at..at + 2).and_then(<[u8]>::as_array);
        bytes.copied().map_or(0, u16::from_be_bytes)
    }

    /// Overwrites the 16-bit integer at `at`.
    pub(crate) fn patch_u16(&mut self, at: usize, value: u16) {
        if let Some(place) = self.out.get_mut(at..at + 2) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Writes the number of bytes since `start` into the 16-bit length at `at`.
    pub(crate) fn patch_length(
        &mut self,
        at: usize,
        start: usize,
        what: &'static str,
    ) -> Result<(), EncodeError> {
        let length = u16::try_from(self.len().saturating_sub(start));
        let length = length.map_err(|_| EncodeError::TooLong { what })?;
        self.patch_u16(at, length);
        Ok(())
    }
}
