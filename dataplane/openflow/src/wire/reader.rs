//! Reading: a cursor over bytes that knows which error a shortage is.

use net::MacAddr;

use crate::Version;
use crate::error::OfError;

/// What is left of a structure. Every read that runs out gives the structure's own length error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    short: OfError,
    pub(crate) version: Version,
    /// How many lists of actions this is inside of.
    pub(crate) depth: u8,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(version: Version, bytes: &'a [u8], short: OfError) -> Self {
        Reader {
            bytes,
            short,
            version,
            depth: 0,
        }
    }

    /// The same bytes, with another error for a shortage.
    pub(crate) const fn failing(self, short: OfError) -> Self {
        Reader { short, ..self }
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], OfError> {
        let (head, tail) = self.bytes.split_at_checked(n).ok_or(self.short)?;
        self.bytes = tail;
        Ok(head)
    }

    /// The next `n` bytes as a structure of its own.
    pub(crate) fn sub(&mut self, n: usize) -> Result<Reader<'a>, OfError> {
        let bytes = self.take(n)?;
        Ok(Reader { bytes, ..*self })
    }

    pub(crate) fn skip(&mut self, n: usize) -> Result<(), OfError> {
        self.take(n).map(drop)
    }

    /// Skips padding, which must be zero.
    pub(crate) fn zeros(&mut self, n: usize, otherwise: OfError) -> Result<(), OfError> {
        if self.take(n)?.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(otherwise)
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], OfError> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(self.short)?;
        self.bytes = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, OfError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, OfError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, OfError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, OfError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next two bytes, without moving on.
    pub(crate) fn peek_u16(&self) -> Result<u16, OfError> {
        Reader { ..*self }.u16()
    }

    pub(crate) fn mac(&mut self) -> Result<MacAddr, OfError> {
        self.array().map(MacAddr)
    }

    /// `n` bytes of big-endian integer, at most 16.
    pub(crate) fn integer(&mut self, n: usize) -> Result<u128, OfError> {
        let bytes = self.take(n)?;
        Ok(bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
    }

    /// A text in a field of fixed size, up to its first zero, of which there should be one. What is
    /// not UTF-8 is replaced; what then does not fit the field any more is cut.
    pub(crate) fn text(&mut self, n: usize) -> Result<String, OfError> {
        let bytes = self.take(n)?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(n);
        let bytes = bytes.get(..end).unwrap_or_default();
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        text.truncate(text.floor_char_boundary(n.saturating_sub(1)));
        Ok(text)
    }

    /// Fails unless everything was read.
    pub(crate) fn end(self) -> Result<(), OfError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(self.short)
        }
    }
}
